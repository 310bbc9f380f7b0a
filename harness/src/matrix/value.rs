//! Values of axes: what a cell of a matrix is made of.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

/// Longest text of one value, in bytes.
pub const VALUE_BYTES_MAX: usize = 200;

/// One value of an axis: text, a whole number, a truth value, or a list of those.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// `none`, `as-is`, `'1.10'`.
    Text(String),
    /// `50`.
    Number(i64),
    /// `true`.
    Truth(bool),
    /// `[bolt, tr]`; its order counts.
    List(Vec<Value>),
}

impl Value {
    /// The text, when it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number, when it is one.
    pub fn as_number(&self) -> Option<i64> {
        match self {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The elements of a list; of anything else the value alone.
    pub fn items(&self) -> &[Value] {
        match self {
            Value::List(items) => items,
            other => std::slice::from_ref(other),
        }
    }
}

/// As it stands in records, ids and on the command line: `none`, `50`, `[bolt,tr]`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => f.write_str(text),
            Value::Number(number) => number.fmt(f),
            Value::Truth(truth) => truth.fmt(f),
            Value::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        f.write_str(",")?;
                    }
                    item.fmt(f)?;
                }
                f.write_str("]")
            }
        }
    }
}

/// What to type in place of a value that an axis does not have.
pub(super) fn nearest(value: &Value, known: &[&Value]) -> String {
    let sorted = |value: &Value| {
        let mut items = value.items().to_vec();
        items.sort();
        items
    };
    if let Some(other) = known.iter().find(|known| sorted(known) == sorted(value)) {
        return format!("did you mean `{other}`? The order of a list counts");
    }
    let mut words: Vec<String> = Vec::new();
    for word in known.iter().map(ToString::to_string) {
        if !words.contains(&word) {
            words.push(word);
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match meshproof_input::suggestion(&value.to_string(), &words) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("it has {}", words.join(", ")),
    }
}

impl serde::Serialize for Value {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Text(text) => serializer.serialize_str(text),
            Value::Number(number) => serializer.serialize_i64(*number),
            Value::Truth(truth) => serializer.serialize_bool(*truth),
            Value::List(items) => serializer.collect_seq(items),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visit)
    }
}

struct Visit;

impl<'de> Visitor<'de> for Visit {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value (text, a whole number, true or false, or a list of those)")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        if let Some(wrong) = text
            .chars()
            .find(|c| c.is_control() || [',', '|', '[', ']'].contains(c))
        {
            return Err(E::custom(format!(
                "a value holds {wrong:?}\nvalues are written on one line, without `,`, `|`, `[` and `]`, \
                 which separate values where cells are named"
            )));
        }
        if text.trim() != text || text.is_empty() || text.len() > VALUE_BYTES_MAX {
            return Err(E::custom(format!(
                "a value is empty, begins or ends with a space, or is longer than \
                 {VALUE_BYTES_MAX} bytes\ngive it a short name"
            )));
        }
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        i64::try_from(number).map(Value::Number).map_err(|_| {
            E::custom(format!(
                "{number} is too large for a number\nput quotes around it"
            ))
        })
    }

    fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Truth(truth))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value, E> {
        Err(E::custom(format!(
            "{number} is a number with a fraction, of which 1.1 and 1.10 would be the same\n\
             put quotes around it, as for a version: '1.10'"
        )))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Err(E::custom(
            "a value is missing here\nwrite `none` where nothing is meant",
        ))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Value>()? {
            if let Value::List(_) = item {
                return Err(de::Error::custom(
                    "a list stands in a list that is itself a value\n\
                     the items of such a list are single words or numbers",
                ));
            }
            items.push(item);
        }
        Ok(Value::List(items))
    }
}

impl JsonSchema for Value {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Value".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "one value of an axis; a list is one value, and its order counts",
            "type": ["string", "integer", "boolean", "array"],
            "items": { "type": ["string", "integer", "boolean"] },
        })
    }
}
