//! How fast a link is.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bits in a second, written with a unit: `64kbit`, `10mbit`, `1gbit`; each is 1000 of the one
/// before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rate(pub u64);

/// Units, the largest first.
const UNITS: [(&str, u64); 3] = [
    ("gbit", 1_000_000_000),
    ("mbit", 1_000_000),
    ("kbit", 1_000),
];

impl FromStr for Rate {
    /// The first line says what is wrong, the second what to type.
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        let wrong = || format!("`{text}` is not a rate\nwrite one such as 64kbit, 10mbit or 1gbit");
        let (number, unit) = UNITS
            .iter()
            .find_map(|(unit, bits)| Some((text.strip_suffix(unit)?, *bits)))
            .ok_or_else(wrong)?;
        let number: f64 = number.trim_end().parse().map_err(|_| wrong())?;
        let bits = number * unit as f64;
        if !(1.0..=1e12).contains(&bits) {
            return Err(format!(
                "`{text}` is no rate of a link\nwrite one above 0 and up to 1000gbit"
            ));
        }
        Ok(Rate(bits.round() as u64))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS
            .iter()
            .find(|(_, bits)| self.0 >= *bits && self.0.is_multiple_of(*bits));
        match whole {
            Some((unit, bits)) => write!(f, "{}{unit}", self.0 / bits),
            // Thousandths of the smallest unit are bits.
            None => write!(f, "{}kbit", self.0 as f64 / 1000.0),
        }
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Rate, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Rate {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "bits in a second with their unit, such as 64kbit, 10mbit or 1gbit"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_and_written() {
        for (text, bits, written) in [
            ("64kbit", 64_000, "64kbit"),
            ("10mbit", 10_000_000, "10mbit"),
            ("1.5mbit", 1_500_000, "1500kbit"),
            ("1000mbit", 1_000_000_000, "1gbit"),
            ("0.5kbit", 500, "0.5kbit"),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.0, rate.to_string().as_str()), (bits, written));
            assert_eq!(written.parse(), Ok(rate));
        }
        for bad in [
            "", "10", "10mb", "mbit", "0kbit", "-1kbit", "nankbit", "1e9gbit",
        ] {
            let told = bad.parse::<Rate>().unwrap_err();
            assert_eq!(told.lines().count(), 2, "{bad}: {told}");
        }
    }
}
