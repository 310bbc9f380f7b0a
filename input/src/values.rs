//! Scalars that people write as text: networks, addresses, durations.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::str::FromStr;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

/// Why a scalar was refused: the first line says what is wrong, the second what to type.
/// [`crate::parse`] makes message and help of the two.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}\n{help}")]
pub struct BadValue {
    message: String,
    help: String,
}

impl BadValue {
    fn new(message: String, help: impl Into<String>) -> BadValue {
        BadValue {
            message,
            help: help.into(),
        }
    }
}

macro_rules! scalar {
    ($(#[$doc:meta])* $name:ident($inner:ty), $schema:literal, $expecting:literal, $parse:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub $inner);

        impl FromStr for $name {
            type Err = BadValue;

            fn from_str(text: &str) -> Result<Self, BadValue> {
                let parse: fn(&str) -> Result<$inner, BadValue> = $parse;
                parse(text).map($name)
            }
        }

        impl Deref for $name {
            type Target = $inner;

            fn deref(&self) -> &$inner {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visit;

                impl Visitor<'_> for Visit {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }

                deserializer.deserialize_str(Visit)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "description": $schema })
            }
        }
    };
}

scalar!(
    /// A network such as `10.0.0.0/8` or `fd00::/8`, without host bits.
    Net(IpNet),
    "a network such as 10.0.0.0/8 or fd00::/8",
    "a network such as 10.0.0.0/8",
    net
);
scalar!(
    /// An IPv4 or IPv6 address.
    Addr(IpAddr),
    "an IPv4 or IPv6 address",
    "an address such as 10.0.0.1",
    |text| text.parse().map_err(|_| BadValue::new(
        format!("`{text}` is not an address"),
        "write one such as 10.0.0.1 or fd00::1, without port and prefix",
    ))
);
scalar!(
    /// An address with a port: `10.0.0.1:12200`, `[fd00::1]:12200`.
    Socket(SocketAddr),
    "an address with a port, such as 10.0.0.1:12200 or [fd00::1]:12200",
    "an address with a port such as 10.0.0.1:12200",
    |text| text.parse().map_err(|_| BadValue::new(
        format!("`{text}` is not an address with a port"),
        "write one such as 10.0.0.1:12200 or [fd00::1]:12200",
    ))
);
scalar!(
    /// A span of time in milliseconds, written with its unit: `300ms`, `2s`, `1.5s`, `1m`, `1h`.
    Millis(u64),
    "a span of time with its unit, such as 300ms, 2s, 1m or 1h",
    "a span of time with its unit, such as 300ms or 2s",
    millis
);

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms if ms % 1000 == 0 => write!(f, "{}s", ms / 1000),
            ms => write!(f, "{ms}ms"),
        }
    }
}

fn net(text: &str) -> Result<IpNet, BadValue> {
    let usual = "write one such as 10.0.0.0/8 or fd00::/8";
    let Some((address, prefix)) = text.split_once('/') else {
        return Err(match text.parse::<IpAddr>() {
            Ok(address) => BadValue::new(
                format!("`{text}` is an address, and a network is needed"),
                format!("write {} for this address alone", IpNet::from(address)),
            ),
            Err(_) => BadValue::new(format!("`{text}` is not a network"), usual),
        });
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err(BadValue::new(
            format!("`{text}` is not a network: `{address}` is not an address"),
            usual,
        ));
    };
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let network = prefix
        .parse::<u8>()
        .ok()
        .filter(|bits| bits.to_string() == prefix)
        .and_then(|prefix| IpNet::new(address, prefix).ok())
        .ok_or_else(|| {
            BadValue::new(
                format!("`{text}` is not a network: `{prefix}` is not a number of bits"),
                format!("write 0 to {bits} behind the slash"),
            )
        })?;
    if network.addr() == network.network() {
        Ok(network)
    } else {
        Err(BadValue::new(
            format!("`{text}` has bits set behind its prefix"),
            format!("write {}", network.trunc()),
        ))
    }
}

fn millis(text: &str) -> Result<u64, BadValue> {
    let bad = |why: &str| {
        BadValue::new(
            format!("`{text}` is not a span of time: {why}"),
            "write a number and a unit: 300ms, 2s, 1.5s, 1m, 1h",
        )
    };
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .ok_or_else(|| bad("the unit is missing"))?;
    let (number, unit) = text.split_at(unit_at);
    let factor: u64 = match unit.trim_start() {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        other => return Err(bad(&format!("`{other}` is not a unit"))),
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let too_long = || bad("it is too long");
    let whole: u64 = match whole.parse() {
        Ok(whole) => whole,
        Err(_) if whole.is_empty() || whole.contains('.') => {
            return Err(bad("the number is missing"));
        }
        Err(_) => return Err(too_long()),
    };
    let mut ms = whole.checked_mul(factor).ok_or_else(too_long)?;
    if number.contains('.') {
        // Three digits are all that a millisecond can show of a second.
        let scale = 10u64.pow(part.len().min(9) as u32);
        let digits: u64 = match part.parse() {
            Ok(digits) if part.len() <= 9 => digits,
            _ => return Err(bad("the digits behind the point are none or too many")),
        };
        let fraction = digits.checked_mul(factor).ok_or_else(too_long)?;
        if fraction % scale != 0 {
            return Err(bad("it is finer than a millisecond"));
        }
        ms = ms.checked_add(fraction / scale).ok_or_else(too_long)?;
    }
    Ok(ms)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check<T: FromStr<Err = BadValue> + fmt::Display>(texts: &[&str], expect: Expect) {
        let mut out = String::new();
        for text in texts {
            match text.parse::<T>() {
                Ok(value) => out += &format!("{text} => {value}\n"),
                Err(error) => {
                    out += &format!("{text} => {}\n", error.to_string().replace('\n', " | "));
                }
            }
        }
        expect.assert_eq(&out);
    }

    #[test]
    fn durations() {
        check::<Millis>(
            &[
                "300ms",
                "2s",
                "1.5s",
                "0.25s",
                "1m",
                "1h",
                "2 s",
                "300",
                "ms",
                "",
                "1.s",
                "1..5s",
                "0.0001s",
                "3 weeks",
                "-1s",
                "99999999999999999999s",
                "9999999999999999h",
            ],
            expect![[r#"
                300ms => 300ms
                2s => 2s
                1.5s => 1500ms
                0.25s => 250ms
                1m => 60s
                1h => 3600s
                2 s => 2s
                300 => `300` is not a span of time: the unit is missing | write a number and a unit: 300ms, 2s, 1.5s, 1m, 1h
                ms => `ms` is not a span of time: the number is missing | write a number and a unit: 300ms, 2s, 1.5s, 1m, 1h
                 => `` is not a span of time: the unit is missing | write a number and a unit: 300ms, 2s, 1.5s, 1m, 1h
                1.s => `1.s` is not a span of time: the digits behind the point are none or too many | write a number and a unit: 300ms, 2s, 1.5s, 1m, 1h
                1..5s => `1..5s` is not a span of time: the digits behind the point are none or too many | write a number and a unit: 300ms, 2s, 1.5s, 1m, 1h
                0.0001s => `0.0001s` is not a span of time: it is finer than a millisecond | write a number and a unit: 300ms, 2s, 1.5s, 1m, 1h
                3 weeks => `3 weeks` is not a span of time: `weeks` is not a unit | write a number and a unit: 300ms, 2s, 1.5s, 1m, 1h
                -1s => `-1s` is not a span of time: `-1s` is not a unit | write a number and a unit: 300ms, 2s, 1.5s, 1m, 1h
                99999999999999999999s => `99999999999999999999s` is not a span of time: it is too long | write a number and a unit: 300ms, 2s, 1.5s, 1m, 1h
                9999999999999999h => `9999999999999999h` is not a span of time: it is too long | write a number and a unit: 300ms, 2s, 1.5s, 1m, 1h
            "#]],
        );
    }

    #[test]
    fn networks() {
        check::<Net>(
            &[
                "10.0.0.0/8",
                "fd00::/8",
                "10.1.2.3",
                "10.1.2.3/8",
                "10.0.0.0/33",
                "10.0.0.0/x",
                "10.0.0.0/+8",
                "10.0.0/8",
                "ten",
                "::/0",
                "fd00::1/64",
            ],
            expect![[r#"
                10.0.0.0/8 => 10.0.0.0/8
                fd00::/8 => fd00::/8
                10.1.2.3 => `10.1.2.3` is an address, and a network is needed | write 10.1.2.3/32 for this address alone
                10.1.2.3/8 => `10.1.2.3/8` has bits set behind its prefix | write 10.0.0.0/8
                10.0.0.0/33 => `10.0.0.0/33` is not a network: `33` is not a number of bits | write 0 to 32 behind the slash
                10.0.0.0/x => `10.0.0.0/x` is not a network: `x` is not a number of bits | write 0 to 32 behind the slash
                10.0.0.0/+8 => `10.0.0.0/+8` is not a network: `+8` is not a number of bits | write 0 to 32 behind the slash
                10.0.0/8 => `10.0.0/8` is not a network: `10.0.0` is not an address | write one such as 10.0.0.0/8 or fd00::/8
                ten => `ten` is not a network | write one such as 10.0.0.0/8 or fd00::/8
                ::/0 => ::/0
                fd00::1/64 => `fd00::1/64` has bits set behind its prefix | write fd00::/64
            "#]],
        );
    }

    #[test]
    fn addresses() {
        check::<Addr>(
            &["10.0.0.1", "::1", "10.0.0.1:80", "010.0.0.1", "host"],
            expect![[r#"
                10.0.0.1 => 10.0.0.1
                ::1 => ::1
                10.0.0.1:80 => `10.0.0.1:80` is not an address | write one such as 10.0.0.1 or fd00::1, without port and prefix
                010.0.0.1 => `010.0.0.1` is not an address | write one such as 10.0.0.1 or fd00::1, without port and prefix
                host => `host` is not an address | write one such as 10.0.0.1 or fd00::1, without port and prefix
            "#]],
        );
        check::<Socket>(
            &[
                "10.0.0.1:80",
                "[::1]:80",
                "10.0.0.1",
                "::1:80",
                "10.0.0.1:99999",
            ],
            expect![[r#"
                10.0.0.1:80 => 10.0.0.1:80
                [::1]:80 => [::1]:80
                10.0.0.1 => `10.0.0.1` is not an address with a port | write one such as 10.0.0.1:12200 or [fd00::1]:12200
                ::1:80 => `::1:80` is not an address with a port | write one such as 10.0.0.1:12200 or [fd00::1]:12200
                10.0.0.1:99999 => `10.0.0.1:99999` is not an address with a port | write one such as 10.0.0.1:12200 or [fd00::1]:12200
            "#]],
        );
    }
}
