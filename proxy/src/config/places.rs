//! Where in the text a value was written.

use std::fmt;

use meshproof_input::{Problem, Span, Spanned};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A text with the places of everything in it.
///
/// The configuration itself is made of plain values; whoever finds something wrong with one asks
/// here where it stands, by a path such as `outbound.routes.0.to.1`.
pub(super) struct Places<'a> {
    name: &'a str,
    text: &'a str,
    root: Node,
}

/// Anything in a YAML text.
#[derive(Debug, Default)]
enum Node {
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
    List(Vec<Spanned<Node>>),
    #[default]
    Scalar,
}

/// Where something stands, or would stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// The value.
    pub(super) value: Span,
    /// Its key, where it has one.
    pub(super) key: Option<Span>,
    /// It was left out, and this is the place of what it would stand in.
    pub(super) absent: bool,
}

impl<'a> Places<'a> {
    /// Of a text that was parsed already.
    pub(super) fn of(name: &'a str, text: &'a str) -> Places<'a> {
        let root = meshproof_input::parse(name, text).unwrap_or_default();
        Places { name, text, root }
    }

    /// The place of a value; of the nearest thing around it where it was left out.
    pub(super) fn find(&self, path: &str) -> Place {
        let mut place = Place::default();
        let mut node = &self.root;
        for step in path.split('.') {
            let found = match node {
                Node::Map(entries) => entries
                    .iter()
                    .find(|(key, _)| key.value == step)
                    .map(|(key, value)| (Some(key.span), value)),
                Node::List(items) => step
                    .parse()
                    .ok()
                    .and_then(|index: usize| items.get(index))
                    .map(|value| (None, value)),
                Node::Scalar => None,
            };
            let Some((key, value)) = found else {
                // A section is long; its key is what one wants to see.
                return Place {
                    value: place.key.unwrap_or(place.value),
                    key: place.key,
                    absent: true,
                };
            };
            place = Place {
                value: value.span,
                key,
                absent: false,
            };
            node = &value.value;
        }
        place
    }

    /// A problem with one value.
    pub(super) fn problem(
        &self,
        path: &str,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Problem {
        let place = self.find(path);
        let problem = Problem::at(self.name, self.text, place.value, code, message, help);
        match place.absent {
            true => problem.label(place.value, "not set here"),
            false => problem,
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        struct Visit;

        impl<'de> Visitor<'de> for Visit {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Node::Map(entries))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Node::List(items))
            }

            fn visit_str<E: de::Error>(self, _: &str) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_none<E: de::Error>(self) -> Result<Node, E> {
                Ok(Node::Scalar)
            }
        }

        deserializer.deserialize_any(Visit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keys_items_and_what_was_left_out() {
        let text = "name: a\nsection:\n  number: 17\n  list: [x, {deep: ~}]\nlast: true\n";
        let places = Places::of("f", text);
        let at = |path: &str| {
            let place = places.find(path);
            let show = |span: Span| &text[span.start..span.start + span.len];
            format!(
                "{:?} {:?} {}",
                show(place.value),
                place.key.map(show),
                place.absent
            )
        };
        assert_eq!(at("name"), r#""a" Some("name") false"#);
        assert_eq!(at("section.number"), r#""17" Some("number") false"#);
        assert_eq!(at("section.list.0"), r#""x" None false"#);
        assert_eq!(at("section.other"), r#""section" Some("section") true"#);
        assert_eq!(
            at("section.other.deeper"),
            r#""section" Some("section") true"#
        );
        assert_eq!(at("nothing"), r#""" None true"#);
        assert_eq!(at("last"), r#""true" Some("last") false"#);
    }
}
