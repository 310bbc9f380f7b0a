//! The mesh that a story is told on: the name of a topology, or the topology itself.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};

use crate::mesh::MeshSpec;

/// The mesh of a story.
#[derive(Clone, Debug)]
pub enum Stage {
    /// A topology that ships, or a file beside the story.
    Named(String),
    /// Written in place.
    Here(Box<MeshSpec>),
}

impl<'de> Deserialize<'de> for Stage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;

        impl<'de> Visitor<'de> for Visit {
            type Value = Stage;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a topology, or a topology")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Stage, E> {
                Ok(Stage::Named(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Stage, A::Error> {
                MeshSpec::deserialize(MapAccessDeserializer::new(map))
                    .map(|spec| Stage::Here(Box::new(spec)))
            }
        }

        deserializer.deserialize_any(Visit)
    }
}

impl Serialize for Stage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Stage::Named(name) => name.serialize(serializer),
            Stage::Here(spec) => spec.serialize(serializer),
        }
    }
}

impl JsonSchema for Stage {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Stage".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let spec = generator.subschema_for::<MeshSpec>();
        json_schema!({ "anyOf": [{ "type": "string" }, spec] })
    }
}
