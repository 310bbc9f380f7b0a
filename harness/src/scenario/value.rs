//! Values that steps and probes are given: numbers with a comparison, scalars.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

/// A number, or a comparison with one: `3`, `0`, `> 2`, `>= 1`, `< 10`, `<= 4`, `!= 0`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Count {
    compare: Compare,
    than: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Equal,
    NotEqual,
    More,
    AtLeast,
    Less,
    AtMost,
}

const COMPARES: [(&str, Compare); 7] = [
    // The longer of two that begin alike stands first.
    (">=", Compare::AtLeast),
    ("<=", Compare::AtMost),
    ("!=", Compare::NotEqual),
    ("==", Compare::Equal),
    (">", Compare::More),
    ("<", Compare::Less),
    ("=", Compare::Equal),
];

impl Count {
    /// Exactly so many.
    pub fn exactly(than: u32) -> Count {
        Count {
            compare: Compare::Equal,
            than: than.into(),
        }
    }

    /// Whether a number is one of those that are meant.
    pub fn holds(self, found: f64) -> bool {
        match self.compare {
            Compare::Equal => found == self.than,
            Compare::NotEqual => found != self.than,
            Compare::More => found > self.than,
            Compare::AtLeast => found >= self.than,
            Compare::Less => found < self.than,
            Compare::AtMost => found <= self.than,
        }
    }

    fn parse(text: &str) -> Option<Count> {
        let text = text.trim();
        let (compare, rest) = COMPARES
            .iter()
            .find_map(|(sign, compare)| Some((*compare, text.strip_prefix(sign)?)))
            .unwrap_or((Compare::Equal, text));
        let than: f64 = rest.trim().parse().ok()?;
        than.is_finite().then_some(Count { compare, than })
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.compare {
            Compare::Equal => "",
            Compare::NotEqual => "!= ",
            Compare::More => "> ",
            Compare::AtLeast => ">= ",
            Compare::Less => "< ",
            Compare::AtMost => "<= ",
        };
        write!(f, "{sign}{}", self.than)
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;

        impl Visitor<'_> for Visit {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or a comparison such as `> 2`")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Count, E> {
                self.visit_f64(number as f64)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Count, E> {
                self.visit_f64(number as f64)
            }

            fn visit_f64<E: de::Error>(self, than: f64) -> Result<Count, E> {
                Ok(Count {
                    compare: Compare::Equal,
                    than,
                })
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Count, E> {
                Count::parse(text).ok_or_else(|| {
                    E::custom(format!(
                        "`{text}` is no number and no comparison\nwrite a number, or one such as \
                         `> 2`, `>= 1`, `< 10`, `!= 0`, in quotes"
                    ))
                })
            }
        }

        deserializer.deserialize_any(Visit)
    }
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Count {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Count".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["number", "string"],
            "description": "a number, or a comparison such as \"> 2\"",
        })
    }
}

/// A word, a number, `true` or `false`.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Number(i64),
    /// Any other.
    Text(String),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Bool(value) => value.fmt(f),
            Scalar::Number(value) => value.fmt(f),
            Scalar::Text(value) => value.fmt(f),
        }
    }
}

impl Scalar {
    /// As JSON.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Scalar::Bool(value) => (*value).into(),
            Scalar::Number(value) => (*value).into(),
            Scalar::Text(value) => value.as_str().into(),
        }
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;

        impl Visitor<'_> for Visit {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a word, a whole number, `true` or `false`")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar::Bool(value))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Scalar, E> {
                i64::try_from(value)
                    .map(Scalar::Number)
                    .map_err(|_| E::custom(format!("{value} is too large\nwrite it in quotes")))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar::Number(value))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(value.to_owned()))
            }
        }

        deserializer.deserialize_any(Visit)
    }
}

impl Serialize for Scalar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl JsonSchema for Scalar {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer", "boolean"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, holds: &[f64], fails: &[f64]) {
        let count = Count::parse(text).unwrap_or_else(|| panic!("{text}"));
        assert!(holds.iter().all(|found| count.holds(*found)), "{text}");
        assert!(!fails.iter().any(|found| count.holds(*found)), "{text}");
        assert_eq!(Count::parse(&count.to_string()), Some(count));
    }

    #[test]
    fn counts_compare() {
        check("3", &[3.0], &[2.0, 4.0]);
        check("= 3", &[3.0], &[2.0]);
        check("> 2", &[3.0, 2.5], &[2.0]);
        check(">=2", &[2.0, 3.0], &[1.9]);
        check("< 2", &[1.0], &[2.0]);
        check("<= 2", &[2.0], &[2.1]);
        check("!= 0", &[1.0, -1.0], &[0.0]);
        for bad in ["", ">", "many", "> x", "inf", "1 2"] {
            assert_eq!(Count::parse(bad), None, "{bad}");
        }
    }
}
