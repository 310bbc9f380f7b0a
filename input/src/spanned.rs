//! Values that remember where they were written.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// A place in the text: bytes `start..start + len`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Length in bytes; 0 points between two characters.
    pub len: usize,
}

impl Span {
    /// The first place, from a byte on, at which a word stands by itself outside of comments: for
    /// values that do not remember their place.
    pub fn of_word(text: &str, word: &str, from: usize) -> Option<Span> {
        let part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let code = match line.trim_start().starts_with('#') {
                true => "",
                false => line.split_once(" #").map_or(line, |(code, _)| code),
            };
            for (at, found) in code.match_indices(word) {
                let (before, after) = code.split_at(at);
                let alone = !before.ends_with(part)
                    && !after.get(found.len()..)?.starts_with(part)
                    && !word.is_empty();
                if alone && start + at >= from {
                    let start = start + at;
                    return Some(Span {
                        start,
                        len: word.len(),
                    });
                }
            }
            start += line.len();
        }
        None
    }
}

/// A value with the place where it was written.
///
/// Compares, orders and hashes by the value alone, so that the same thing written twice is found
/// by the ordinary collections. Not for the inside of untagged or internally tagged enums: serde
/// loses the place there and the span is empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spanned<T> {
    /// What was written.
    pub value: T,
    /// Where. For an alias (`*name`) it is the place of use.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// The same place with another value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned {
            value: f(self.value),
            span: self.span,
        }
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Display> fmt::Display for Spanned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Spanned<T> {}

impl<T: PartialOrd> PartialOrd for Spanned<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.value.partial_cmp(&other.value)
    }
}

impl<T: Ord> Ord for Spanned<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.value.cmp(&other.value)
    }
}

impl<T: Hash> Hash for Spanned<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.value.hash(state);
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let inner = serde_saphyr::Spanned::<T>::deserialize(deserializer)?;
        Ok(Spanned {
            value: inner.value,
            span: span_of(&inner.referenced).unwrap_or_default(),
        })
    }
}

impl<T: serde::Serialize> serde::Serialize for Spanned<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<T: JsonSchema> JsonSchema for Spanned<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// The place that the parser names by bytes, when it does.
pub(crate) fn span_of(location: &serde_saphyr::Location) -> Option<Span> {
    let span = location.span();
    Some(Span {
        start: usize::try_from(span.byte_offset()?).ok()?,
        len: usize::try_from(span.byte_len().unwrap_or(0)).ok()?,
    })
}

/// The place that the parser names, by bytes or by line and column (both from 1).
pub(crate) fn place_of(location: &serde_saphyr::Location, text: &str) -> Option<Span> {
    span_of(location).or_else(|| {
        let above = usize::try_from(location.line()).ok()?.checked_sub(1)?;
        let left = usize::try_from(location.column()).ok()?.checked_sub(1)?;
        let line_at = match above {
            0 => 0,
            above => text.match_indices('\n').nth(above - 1)?.0 + 1,
        };
        let line = text.get(line_at..)?.lines().next().unwrap_or_default();
        let chars = line.char_indices().nth(left);
        Some(Span {
            start: line_at + chars.map_or(line.len(), |(at, _)| at),
            len: chars.map_or(0, |(_, c)| c.len_utf8()),
        })
    })
}

/// A mapping in the order in which it was written, both sides with their places.
///
/// A key that stands twice (as text) was refused by [`crate::parse`] before it gets here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entries<K, V>(pub Vec<(Spanned<K>, Spanned<V>)>);

impl<K, V> Default for Entries<K, V> {
    fn default() -> Self {
        Entries(Vec::new())
    }
}

impl<K, V> Entries<K, V> {
    /// The entries in order.
    pub fn iter(&self) -> std::slice::Iter<'_, (Spanned<K>, Spanned<V>)> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a, K, V> IntoIterator for &'a Entries<K, V> {
    type Item = &'a (Spanned<K>, Spanned<V>);
    type IntoIter = std::slice::Iter<'a, (Spanned<K>, Spanned<V>)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<K: serde::Serialize, V: serde::Serialize> serde::Serialize for Entries<K, V> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Entries<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<K, V>(PhantomData<(K, V)>);

        impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Visitor<'de> for Visit<K, V> {
            type Value = Entries<K, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping (`key: value` lines)")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(Visit(PhantomData))
    }
}

impl<K, V: JsonSchema> JsonSchema for Entries<K, V> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Entries_of_{}", V::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "type": "object",
            "additionalProperties": generator.subschema_for::<V>(),
        })
    }
}
