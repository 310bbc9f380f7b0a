//! Texts with places for values: `{{name}}`.

use std::collections::BTreeMap;

/// Every name that may stand between `{{` and `}}`.
pub const NAMES: [&str; 24] = [
    "address",
    "admin",
    "api",
    "app",
    "config_center",
    "disk",
    "folder",
    "heartbeat.interval_ms",
    "heartbeat.misses",
    "heartbeat.timeout_ms",
    "inbound",
    "level",
    "local",
    "name",
    "open",
    "outbound",
    "pid",
    "providers",
    "providers.objects",
    "registry",
    "routes",
    "vip",
    "vip.ip",
    "zone",
];

/// The config center, where there is one.
const REGISTRY: &str = "registry";

/// Values by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values(BTreeMap<String, String>);

/// Why a text cannot be filled: it names something that has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{{{{{name}}}}}` has no value here; {help}")]
pub struct Unknown {
    /// What stands between the braces.
    pub name: String,
    /// What may stand there.
    pub help: String,
}

impl Values {
    /// Gives a name its value.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// The same values and this one.
    #[must_use]
    pub fn with(&self, name: &str, value: impl Into<String>) -> Values {
        let mut values = self.clone();
        values.set(name, value);
        values
    }

    /// Puts values in their places.
    pub fn fill(&self, text: &str) -> Result<String, Unknown> {
        let mut filled = String::with_capacity(text.len());
        for piece in pieces(text) {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Name(name) => match self.0.get(name) {
                    Some(value) => filled.push_str(value),
                    None => return Err(self.lacking(name)),
                },
            }
        }
        Ok(filled)
    }

    fn lacking(&self, name: &str) -> Unknown {
        let no_center = self.0.get("config_center").is_some_and(|it| it == "null");
        match name {
            REGISTRY if no_center => Unknown {
                name: name.to_owned(),
                help: "this site has no config center: write `{{config_center}}`, which is `null` \
                       there, and `{{routes}}`, which are the addresses; or choose a site that has \
                       one"
                .to_owned(),
            },
            _ => unknown(name),
        }
    }
}

/// Whether a text names the config center as one that must be there.
pub(crate) fn asks_center(text: &str) -> bool {
    pieces(text).any(|piece| matches!(piece, Piece::Name(REGISTRY)))
}

/// The first name in a text that nobody knows, with what may be meant.
pub fn stranger(text: &str) -> Option<Unknown> {
    pieces(text).find_map(|piece| match piece {
        Piece::Name(name) if !NAMES.contains(&name) => Some(unknown(name)),
        _ => None,
    })
}

fn unknown(name: &str) -> Unknown {
    let help = match meshproof_input::suggestion(name, &NAMES) {
        Some(near) if near != name => format!("did you mean `{{{{{near}}}}}`?"),
        _ => format!("there are {}", NAMES.join(", ")),
    };
    Unknown {
        name: name.to_owned(),
        help,
    }
}

enum Piece<'a> {
    Text(&'a str),
    Name(&'a str),
}

/// Text and names in turn. What is opened and not closed is text.
fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        if let Some(inside) = rest.strip_prefix("{{")
            && let Some((name, after)) = inside.split_once("}}")
        {
            rest = after;
            return Some(Piece::Name(name.trim()));
        }
        // Behind an opening that is not closed, the search goes on behind it.
        let from = if rest.starts_with("{{") { 2 } else { 0 };
        let next = rest.get(from..).and_then(|after| after.find("{{"));
        let (text, after) = rest.split_at(next.map_or(rest.len(), |at| at + from));
        rest = after;
        Some(Piece::Text(text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let mut values = Values::default();
        values.set("name", "server");
        values.set("app", "127.0.0.1:12199");
        let told = match values.fill(text) {
            Ok(text) => text,
            Err(unknown) => unknown.to_string(),
        };
        assert_eq!(told, expected);
    }

    #[test]
    fn names_become_values_or_are_told_of() {
        check("", "");
        check("plain {text} }}", "plain {text} }}");
        check("{{name}}", "server");
        check("a {{ name }}-{{app}}.", "a server-127.0.0.1:12199.");
        check("{{name", "{{name");
        check("{{", "{{");
        check("{\"a\": {\"b\": {{name}}}}", "{\"a\": {\"b\": server}}");
        check(
            "{{nmae}}",
            "`{{nmae}}` has no value here; did you mean `{{name}}`?",
        );
        // One that is known, but not here.
        let without = Values::default().with("config_center", "null");
        let told = without.fill("{{ registry }}").unwrap_err().to_string();
        assert!(told.contains("this site has no config center"), "{told}");
        assert!(asks_center("a {{ registry }}") && !asks_center("{{routes}} registry"));
        let told = Values::default().fill("{{zone}}").unwrap_err().to_string();
        assert!(told.starts_with("`{{zone}}` has no value here; there are address, "));
        assert!(stranger("{{zone}} {{name}}").is_none());
        assert_eq!(stranger("{{zone}} {{x y}}").unwrap().name, "x y");
    }
}
