//! JSON with the place of every value in its bytes, for whoever changes values and keeps all else.
//!
//! Reads what RFC 8259 calls JSON and no more; what is none is no error but nothing: `None`.

use std::ops::Range;

use crate::map::{Path, Step};

/// Deepest nesting that is read.
const DEPTH_MAX: usize = 128;

/// A value that is no object and no list, or the key of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// Where it stands; a key has the path of its object.
    pub(crate) path: Path,
    /// Its bytes: of a string with its quotes.
    pub(crate) range: Range<usize>,
    /// What it is.
    pub(crate) what: What,
}

/// What a leaf is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The key of a member.
    Key(String),
    /// A string.
    Text(String),
    /// A number, as it stands.
    Number,
    /// `true` or `false`.
    Bool,
    /// `null`.
    Null,
}

/// Every leaf of one JSON text, in the order of its bytes; `None` where it is no JSON.
pub(crate) fn leaves(text: &[u8]) -> Option<Vec<Leaf>> {
    let mut reader = Reader { text, at: 0 };
    let mut leaves = Vec::new();
    let mut path = Path::default();
    // What is open, outermost first.
    let mut open: Vec<Open> = Vec::new();
    loop {
        reader.space();
        let is_container = match reader.peek()? {
            b'{' => {
                reader.at += 1;
                reader.space();
                if reader.peek()? == b'}' {
                    reader.at += 1;
                    false
                } else {
                    open.push(Open::Object);
                    reader.key(&mut path, &mut leaves)?;
                    true
                }
            }
            b'[' => {
                reader.at += 1;
                reader.space();
                if reader.peek()? == b']' {
                    reader.at += 1;
                    false
                } else {
                    open.push(Open::List);
                    path.0.push(Step::Index(0));
                    true
                }
            }
            _ => {
                let start = reader.at;
                let what = reader.scalar()?;
                leaves.push(Leaf {
                    path: path.clone(),
                    range: start..reader.at,
                    what,
                });
                false
            }
        };
        if open.len() > DEPTH_MAX {
            return None;
        }
        if is_container {
            continue;
        }
        // The value is over: the next one, or the end of what it stands in.
        loop {
            reader.space();
            let Some(inner) = open.last() else {
                return (reader.at == text.len()).then_some(leaves);
            };
            let last = path.0.pop();
            match (inner, reader.next()?) {
                (Open::Object, b',') => {
                    reader.space();
                    reader.key(&mut path, &mut leaves)?;
                    break;
                }
                (Open::List, b',') => {
                    let Some(Step::Index(index)) = last else {
                        return None;
                    };
                    path.0.push(Step::Index(index + 1));
                    break;
                }
                (Open::Object, b'}') | (Open::List, b']') => {
                    open.pop();
                }
                _ => return None,
            }
        }
    }
}

/// A text as a JSON string, with its quotes.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[derive(Clone, Copy)]
enum Open {
    Object,
    List,
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// A key and its colon.
    fn key(&mut self, path: &mut Path, leaves: &mut Vec<Leaf>) -> Option<()> {
        let start = self.at;
        let name = self.string()?;
        leaves.push(Leaf {
            path: path.clone(),
            range: start..self.at,
            what: What::Key(name.clone()),
        });
        path.0.push(Step::Name(name));
        self.space();
        (self.next()? == b':').then_some(())
    }

    fn scalar(&mut self) -> Option<What> {
        if self.peek()? == b'"' {
            return self.string().map(What::Text);
        }
        let rest = self.text.get(self.at..)?;
        let end = rest
            .iter()
            .position(|byte| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n'))
            .unwrap_or(rest.len());
        let word = rest.get(..end)?;
        self.at += end;
        // Each of these words is a whole JSON text of its own.
        match serde_json::from_slice(word).ok()? {
            serde_json::Value::Null => Some(What::Null),
            serde_json::Value::Bool(_) => Some(What::Bool),
            serde_json::Value::Number(_) => Some(What::Number),
            _ => None,
        }
    }

    fn string(&mut self) -> Option<String> {
        let start = self.at;
        if self.next()? != b'"' {
            return None;
        }
        loop {
            match self.next()? {
                b'"' => break,
                b'\\' => {
                    self.next()?;
                }
                _ => {}
            }
        }
        serde_json::from_slice(self.text.get(start..self.at)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &[&str]) {
        let leaves = leaves(text.as_bytes()).expect("JSON");
        let told: Vec<String> = leaves
            .iter()
            .map(|leaf| match &leaf.what {
                What::Key(key) => format!("{}#{key}", leaf.path),
                _ => format!("{} {}", leaf.path, &text[leaf.range.clone()]),
            })
            .collect();
        assert_eq!(told, expect);
    }

    #[test]
    fn every_leaf_has_its_place() {
        check("\"a\"", &[" \"a\""]);
        check(" {} ", &[]);
        check("[]", &[]);
        check(
            r#"{"a" : [1, {"b\u0041":null}, [ ] ,"x\"y"],"c":true}"#,
            &[
                "#a",
                "a[0] 1",
                "a[1]#bA",
                "a[1].bA null",
                r#"a[3] "x\"y""#,
                "#c",
                "c true",
            ],
        );
    }

    #[test]
    fn what_is_no_json() {
        for text in [
            "", "{", "[1", "{\"a\"}", "{\"a\":}", "[1,]", "[1 2]", "{}x", "\"", "\"\\", "tru", "01",
        ] {
            assert_eq!(leaves(text.as_bytes()), None, "{text}");
        }
        assert_eq!(leaves("[".repeat(100_000).as_bytes()), None);
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            ".*".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::vec((".*", inner), 0..6).prop_map(|members| {
                    members
                        .into_iter()
                        .collect::<serde_json::Map<_, _>>()
                        .into()
                }),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// Reads what another reader reads, and every text stands where it is said to.
        #[test]
        fn agrees_with_serde(value in any_json(), pretty: bool) {
            let text = if pretty {
                serde_json::to_string_pretty(&value)
            } else {
                serde_json::to_string(&value)
            }
            .expect("JSON");
            let leaves = leaves(text.as_bytes()).expect("JSON");
            for leaf in leaves {
                if let What::Text(told) | What::Key(told) = leaf.what {
                    let there: String =
                        serde_json::from_str(&text[leaf.range.clone()]).expect("a string");
                    prop_assert_eq!(told, there);
                }
            }
        }

        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(prop::sample::select(&b"[]{},:\"\\ 1tn\xff"[..]), 0..64)) {
            let is_json = serde_json::from_slice::<serde_json::Value>(&bytes).is_ok();
            prop_assert_eq!(leaves(&bytes).is_some(), is_json);
        }
    }
}
