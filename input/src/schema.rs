//! JSON schemas of what people write.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;

/// The JSON schema (draft 2020-12) of `T`, with a title, as indented JSON that ends in a newline.
pub fn schema<T: JsonSchema>(title: &str) -> String {
    let mut schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<T>();
    schema.insert("title".into(), title.into());
    let mut text = serde_json::to_string_pretty(&schema)
        // A schema is JSON by construction: string keys and finite numbers only.
        .unwrap_or_default();
    text.push('\n');
    text
}
