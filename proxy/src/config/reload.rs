//! A new configuration for a sidecar that runs.

use meshproof_input::Problem;
use serde_json::Value;

use super::Config;
use super::places::Places;

/// What cannot change while a sidecar runs: who it is and where it stands. All else takes effect
/// at once.
pub const FIXED: &[&str] = &[
    "name",
    "address",
    "run",
    "zone",
    "inbound.listen",
    "inbound.app",
    "outbound.listen",
    "api",
    "admin",
    "config_center",
    "log.file",
    "bugs",
];

/// A configuration that may take the place of another.
#[derive(Clone, Debug)]
pub struct Reload {
    /// The new one.
    pub config: Config,
    /// What is different, as paths such as `heartbeat.interval`.
    pub changed: Vec<String>,
}

impl Config {
    /// Reads the successor of this configuration.
    ///
    /// # Errors
    /// As [`Config::parse`], and where something of [`FIXED`] has changed. Nothing is taken then.
    pub fn reload(&self, name: &str, text: &str) -> Result<Reload, Problem> {
        let config = Config::parse(name, text)?;
        let mut changed = Vec::new();
        differences(
            &self.to_json(),
            &config.to_json(),
            String::new(),
            &mut changed,
        );
        let is_fixed = |path: &&String| {
            FIXED.iter().any(|fixed| {
                path.strip_prefix(fixed)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        if let Some(path) = changed.iter().find(is_fixed) {
            let before = lookup(&self.to_json(), path);
            return Err(Places::of(name, text).problem(
                path,
                "config::fixed",
                format!("`{path}` cannot change while the sidecar runs: {before} is in force"),
                "put it back, or start a successor with `meshproof proxy --upgrade`; nothing of this file was taken",
            ));
        }
        Ok(Reload { config, changed })
    }

    /// All of it, defaults included. JSON is YAML: it can be used as a configuration.
    pub fn to_json(&self) -> Value {
        // String keys and finite numbers only: this cannot fail.
        serde_json::to_value(self).unwrap_or_default()
    }
}

fn lookup(value: &Value, path: &str) -> String {
    let found = value.pointer(&format!("/{}", path.replace('.', "/")));
    match found {
        None | Some(Value::Null) => "none".to_owned(),
        Some(value) => value.to_string(),
    }
}

/// Paths of what differs. Lists differ as a whole: an item has no name to call it by.
fn differences(a: &Value, b: &Value, path: String, into: &mut Vec<String>) {
    match (a, b) {
        (Value::Object(old), Value::Object(new)) => {
            let gone = old.keys().filter(|key| !new.contains_key(*key));
            for key in new.keys().chain(gone) {
                let path = match path.as_str() {
                    "" => key.clone(),
                    path => format!("{path}.{key}"),
                };
                let none = Value::Null;
                let (old, new) = (old.get(key).unwrap_or(&none), new.get(key).unwrap_or(&none));
                differences(old, new, path, into);
            }
        }
        _ if a == b => {}
        _ => into.push(path),
    }
}
