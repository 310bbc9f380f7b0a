//! JSON, strictly: a key that stands twice is refused, since nobody knows which was meant.

use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{text, unreadable};
use crate::outcome::Code;
use crate::world::{Absent, Seen};

/// Reads a JSON document; `{}`, `[]` and `null` hold nothing.
pub fn json(seen: &Seen) -> Result<Value, Absent> {
    let text = text(seen, "JSON")?;
    let Strict(value) =
        serde_json::from_str(text).map_err(|error| unreadable(seen, "JSON", error))?;
    let is_empty = match &value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    };
    if is_empty {
        let why = format!("{} holds nothing: {value}", seen.path);
        return Err(Absent::new(Code::Empty, why));
    }
    Ok(value)
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any).map(Strict)
    }
}

struct Any;

impl<'de> DeserializeSeed<'de> for Any {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

impl<'de> Visitor<'de> for Any {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element_seed(Any)? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(Any)?;
            if all.contains_key(&name) {
                return Err(de::Error::custom(format!("the key `{name}` stands twice")));
            }
            all.insert(name, value);
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use super::super::seen;
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(), Code>) {
        let read = json(&seen("a.json", text));
        assert_eq!(
            read.map(drop).map_err(|absent| absent.code),
            expected,
            "{text}"
        );
    }

    #[test]
    fn only_a_whole_document_is_read() {
        check(r#"{"a": [1, 2.5, "x", true, null]}"#, Ok(()));
        check("3", Ok(()));
        check("", Err(Code::Empty));
        check(" \n", Err(Code::Empty));
        check("{}", Err(Code::Empty));
        check("[]", Err(Code::Empty));
        check("null", Err(Code::Empty));
        check(r#"{"a": 1"#, Err(Code::Unreadable));
        check(r#"{"a": 1, "a": 2}"#, Err(Code::Unreadable));
        check(r#"{"b": {"a": 1, "a": 1}}"#, Err(Code::Unreadable));
        check(r#"{"a": NaN}"#, Err(Code::Unreadable));
        check(r#"{"a": 1} x"#, Err(Code::Unreadable));
        check(r#"{"a": 1e999}"#, Err(Code::Unreadable));
        check("<xml/>", Err(Code::Unreadable));
    }
}
