//! The YAML of a matrix, as it is written; [`super::Matrix`] is what was made of it.

use std::fmt;
use std::marker::PhantomData;

use meshproof_input::{Entries, Millis, Spanned};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::value::Value;

/// A matrix file.
#[derive(Clone, Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// Its name.
    pub(super) matrix: Spanned<String>,
    /// One sentence.
    #[serde(default)]
    pub(super) about: String,
    /// What varies: a list of values, or a mapping of more axes: `client: {mesh: […]}` is the
    /// axis `client.mesh`.
    pub(super) axes: Spanned<Nested<List>>,
    /// Axes whose values name sidecars; `--sut NAME=BINARY` adds NAME to each of them.
    #[serde(default)]
    pub(super) suts: Vec<Spanned<String>>,
    /// Conditions in CEL that every cell satisfies.
    #[serde(default)]
    pub(super) require: Vec<Spanned<String>>,
    /// Combinations of values that have a name.
    #[serde(default)]
    pub(super) combinations: Entries<String, Nested<Value>>,
    /// Which cells are wanted.
    #[serde(default)]
    pub(super) cover: Cover,
    /// What a cell does.
    #[serde(default)]
    pub(super) cell: Work,
    /// What combinations cannot do without.
    #[serde(default)]
    pub(super) needs: Vec<Need>,
    /// Failures that somebody knows of.
    #[serde(default)]
    pub(super) known: Vec<Known>,
}

/// Which cells are wanted.
#[derive(Clone, Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Cover {
    /// t: every combination of values of any t axes that is possible stands in a cell.
    pub(super) strength: Spanned<u64>,
    /// Higher for some axes.
    pub(super) raise: Vec<Raise>,
    /// Combinations that get a cell of their own, first of all: named ones, or written out.
    pub(super) pin: Vec<Spanned<Which>>,
    /// Makes the same plan each time.
    pub(super) seed: u64,
    /// At most so many cells; the certificate tells what is not covered for it.
    pub(super) cells: Option<Spanned<u64>>,
    /// So many more cells at random.
    pub(super) random: Spanned<u64>,
}

impl Default for Cover {
    fn default() -> Self {
        Cover {
            strength: Spanned {
                value: 2,
                span: meshproof_input::Span::default(),
            },
            raise: Vec::new(),
            pin: Vec::new(),
            seed: 0,
            cells: None,
            random: Spanned::default(),
        }
    }
}

/// A higher strength for some axes.
#[derive(Clone, Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Raise {
    /// The axes, dotted.
    pub(super) axes: Spanned<Vec<Spanned<String>>>,
    /// t among these.
    pub(super) strength: Spanned<u64>,
}

/// What a cell does.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Work {
    /// The topology that the axes change; none: made from the axes alone.
    pub topology: Option<Spanned<String>>,
    /// How many calls; 20 where nothing is said.
    pub calls: Option<Spanned<u64>>,
    /// How long a cell may take.
    #[schemars(with = "String")]
    pub budget: Millis,
    /// A capture that is replayed in place of calls.
    pub replay: Option<Replayed>,
}

impl Work {
    /// How many calls a round has.
    pub fn calls(&self) -> u64 {
        self.calls.as_ref().map_or(20, |calls| calls.value)
    }
}

impl Default for Work {
    fn default() -> Self {
        Work {
            topology: None,
            calls: None,
            budget: Millis(10_000),
            replay: None,
        }
    }
}

/// A capture that every cell replays.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replayed {
    /// The capture, relative to the matrix file.
    pub capture: Spanned<String>,
    /// Its map, relative to the matrix file.
    pub map: Spanned<String>,
}

/// What a combination cannot do without.
#[derive(Clone, Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Need {
    /// The combination: a name, or values by axis.
    pub(super) combination: Spanned<Which>,
    /// Capabilities of sidecars, site and environment.
    pub(super) capabilities: Vec<Spanned<String>>,
}

/// A failure that somebody knows of: what it predicts is KNOWN until it expires, then FAIL.
#[derive(Clone, Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Known {
    /// The combination that fails: a name, or values by axis.
    pub(super) combination: Spanned<Which>,
    /// Text that the evidence of the failure holds; empty: any.
    #[serde(default)]
    pub(super) evidence: String,
    /// Why it is not repaired.
    pub(super) because: String,
    /// Who answers for it.
    pub(super) owner: Spanned<String>,
    /// The day it was written down: `2026-11-23`.
    pub(super) since: Spanned<String>,
    /// The last day on which it holds.
    pub(super) expires: Spanned<String>,
}

/// A combination of values: by its name, or written out.
#[derive(Clone, Debug)]
pub(super) enum Which {
    /// A name under `combinations`.
    Named(String),
    /// Values by axis.
    Written(Nested<Value>),
}

impl<'de> Deserialize<'de> for Which {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;

        impl<'de> Visitor<'de> for Visit {
            type Value = Which;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a combination, or a mapping from axis to value")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Which, E> {
                Ok(Which::Named(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Which, A::Error> {
                Deserialize::deserialize(MapAccessDeserializer::new(map)).map(Which::Written)
            }
        }

        deserializer.deserialize_any(Visit)
    }
}

impl JsonSchema for Which {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Combination".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "a name under `combinations`, or values by axis",
            "anyOf": [{ "type": "string" }, generator.subschema_for::<Nested<Value>>()],
        })
    }
}

/// The values of an axis with their places.
#[derive(Clone, Debug)]
pub(super) struct List(pub(super) Vec<Spanned<Value>>);

/// Something for each axis, where `client: {mesh: …}` is the same as `client.mesh: …`.
#[derive(Clone, Debug)]
pub(super) enum Nested<T> {
    /// One axis.
    One(T),
    /// More of them.
    More(Entries<String, Nested<T>>),
}

impl<T> Nested<T> {
    /// Every axis with its dotted name and the place of the last part of the name.
    pub(super) fn flat(&self) -> Vec<(Spanned<String>, Spanned<&T>)> {
        let mut all = Vec::new();
        if let Nested::More(entries) = self {
            collect("", entries, &mut all);
        }
        all
    }
}

fn collect<'a, T>(
    front: &str,
    entries: &'a Entries<String, Nested<T>>,
    all: &mut Vec<(Spanned<String>, Spanned<&'a T>)>,
) {
    for (key, below) in entries {
        let name = match front {
            "" => key.value.clone(),
            front => format!("{front}.{}", key.value),
        };
        match &below.value {
            Nested::One(one) => {
                let name = Spanned {
                    value: name,
                    span: key.span,
                };
                let one = Spanned {
                    value: one,
                    span: below.span,
                };
                all.push((name, one));
            }
            Nested::More(entries) => collect(&name, entries, all),
        }
    }
}

/// What may stand for one axis.
pub(super) trait Leaf: Sized {
    /// What messages call it.
    const EXPECTED: &'static str;

    fn scalar<E: de::Error>(value: Value) -> Result<Self, E>;

    fn list<'de, A: SeqAccess<'de>>(seq: A) -> Result<Self, A::Error>;
}

impl Leaf for Value {
    const EXPECTED: &'static str = "a value, or a mapping of more axes";

    fn scalar<E: de::Error>(value: Value) -> Result<Self, E> {
        Ok(value)
    }

    fn list<'de, A: SeqAccess<'de>>(seq: A) -> Result<Self, A::Error> {
        Deserialize::deserialize(SeqAccessDeserializer::new(seq))
    }
}

impl Leaf for List {
    const EXPECTED: &'static str = "a list of values, or a mapping of more axes";

    fn scalar<E: de::Error>(value: Value) -> Result<Self, E> {
        Err(E::custom(format!(
            "an axis is a list of values, and `{value}` is a single one\nwrite `[{value}]`"
        )))
    }

    fn list<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element()? {
            values.push(value);
        }
        Ok(List(values))
    }
}

impl<'de, T: Leaf> Deserialize<'de> for Nested<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<T>(PhantomData<T>);

        impl<T: Leaf> Visit<T> {
            fn scalar<E: de::Error, I>(value: I) -> Result<Nested<T>, E>
            where
                I: de::IntoDeserializer<'static, E>,
            {
                T::scalar(Value::deserialize(value.into_deserializer())?).map(Nested::One)
            }
        }

        impl<'de, T: Leaf> Visitor<'de> for Visit<T> {
            type Value = Nested<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Nested<T>, E> {
                Self::scalar(text.to_owned())
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Nested<T>, E> {
                Self::scalar(number)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Nested<T>, E> {
                Self::scalar(number)
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Nested<T>, E> {
                Self::scalar(number)
            }

            fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Nested<T>, E> {
                Self::scalar(truth)
            }

            fn visit_unit<E: de::Error>(self) -> Result<Nested<T>, E> {
                Err(E::custom(format!(
                    "nothing stands here\nwrite {}",
                    T::EXPECTED
                )))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Nested<T>, A::Error> {
                T::list(seq).map(Nested::One)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Nested<T>, A::Error> {
                Deserialize::deserialize(MapAccessDeserializer::new(map)).map(Nested::More)
            }
        }

        deserializer.deserialize_any(Visit(PhantomData))
    }
}

impl JsonSchema for Nested<List> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Axes".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "values of an axis, or a mapping of more axes",
            "type": ["array", "object"],
            "items": generator.subschema_for::<Value>(),
            "additionalProperties": { "$ref": "#/$defs/Axes" },
        })
    }
}

impl JsonSchema for Nested<Value> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Assignment".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "a value, or a mapping of more axes",
            "anyOf": [
                generator.subschema_for::<Value>(),
                { "type": "object", "additionalProperties": { "$ref": "#/$defs/Assignment" } },
            ],
        })
    }
}
