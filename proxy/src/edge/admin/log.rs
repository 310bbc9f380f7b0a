//! Log levels, shown and changed.

use serde_json::{Value, json};

use crate::logs::Levels;

/// What was asked: `target=proxy::core&level=debug`, in the query or in the body. Without a
/// target, the level of everything that has none of its own.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) target: Option<String>,
    pub(super) level: String,
}

impl Change {
    /// The error is for people.
    pub(super) fn parse(query: &str, body: &[u8]) -> Result<Change, String> {
        let body = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8".to_owned())?;
        let mut change = Change::default();
        for pair in query.split('&').chain(body.trim().split('&')) {
            match pair.split_once('=') {
                Some(("target", target)) => change.target = Some(unescape(target)),
                Some(("level", level)) => change.level = unescape(level),
                None if pair.is_empty() => {}
                _ => {
                    return Err(format!(
                        "`{pair}` is not understood; expected target=TARGET&level=LEVEL"
                    ));
                }
            }
        }
        match change.level.as_str() {
            "" => Err("no level; expected target=TARGET&level=LEVEL".to_owned()),
            _ => Ok(change),
        }
    }
}

/// Percent signs as forms and clients write them. What is no escape stays as it is.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (first, digits) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = behind.get(2..).unwrap_or_default();
            }
            (byte, _) => {
                bytes.push(*byte);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(super) fn show(levels: &Levels) -> Value {
    let targets: serde_json::Map<String, Value> = levels
        .in_force()
        .map(|(target, level)| (target.to_owned(), level.to_string().into()))
        .collect();
    json!({ "level": levels.level.to_string(), "targets": targets })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, body: &str, expected: Result<(Option<&str>, &str), &str>) {
        let change = Change::parse(query, body.as_bytes());
        match (change, expected) {
            (Ok(change), Ok((target, level))) => {
                assert_eq!(change.target.as_deref(), target);
                assert_eq!(change.level, level);
            }
            (Err(error), Err(words)) => assert!(error.contains(words), "{error}"),
            (change, expected) => panic!("{change:?} is not {expected:?}"),
        }
    }

    #[test]
    fn by_query_by_body_or_by_both() {
        let core = Some("proxy::core");
        check("target=proxy::core&level=debug", "", Ok((core, "debug")));
        check(
            "",
            "target=proxy%3A%3Acore&level=debug\n",
            Ok((core, "debug")),
        );
        check("target=proxy::core", "level=off", Ok((core, "off")));
        check("level=warn", "", Ok((None, "warn")));
        check("", "", Err("no level"));
        check("target=proxy::core", "", Err("no level"));
        check("levle=warn", "", Err("`levle=warn` is not understood"));
        check("level=100%", "", Ok((None, "100%")));
        check("level=%zz", "", Ok((None, "%zz")));
    }
}
