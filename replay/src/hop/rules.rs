//! What a sidecar may change.

use meshproof_input::{Problem, Spanned};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Change;
use crate::diff::like;

/// The text of a file of hop rules.
///
/// ```yaml
/// may:
///   - field: request.header.x-mesh-*
///     change: added
///     why: the sidecar names itself
///   - field: request.timeout
///     change: changed
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Document {
    /// What may change, beside what changes with every sidecar: ids, the connection, a checksum
    /// that follows.
    may: Vec<Entry>,
    /// `false`: what changes with every sidecar must be named too.
    #[serde(default = "yes")]
    usual: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    /// The field as `meshproof hop` shows it; `*` stands for any characters.
    field: Spanned<String>,
    /// What may become of it; without it, anything.
    #[serde(default)]
    change: Option<Word>,
    /// Why; for readers of the file and of the result.
    #[serde(default)]
    why: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Word {
    /// It may come.
    Added,
    /// It may go.
    Removed,
    /// It may have another value.
    Changed,
    /// It may have the value that follows from other changes.
    Follows,
    /// Anything.
    Any,
}

/// What a sidecar may change. The default allows what every sidecar that shares connections must
/// change: ids, the connection, a checksum that follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    field: String,
    /// `None`: anything.
    change: Option<Change>,
    why: String,
}

/// What changes with every sidecar.
const USUAL: [(&str, Change, &str); 5] = [
    (
        "request.id",
        Change::Changed,
        "connections are shared, so ids are the connection's own",
    ),
    (
        "response.id",
        Change::Changed,
        "an answer carries the id of its request",
    ),
    (
        "exchange.connection",
        Change::Changed,
        "a sidecar is a peer of both sides",
    ),
    ("request.crc", Change::Follows, "the checksum covers the id"),
    (
        "response.crc",
        Change::Follows,
        "the checksum covers the id",
    ),
];

/// The first words of the fields that there are.
const HEADS: [&str; 3] = ["request", "response", "exchange"];

/// The schema of a file of hop rules, as JSON.
pub fn schema() -> String {
    meshproof_input::schema::<Document>("what a sidecar may change")
}

/// Whether a change comes with every sidecar.
pub(super) fn is_inherent(field: &str, change: Change) -> bool {
    USUAL
        .iter()
        .any(|(usual, kind, _)| *usual == field && *kind == change)
}

impl Default for Rules {
    fn default() -> Rules {
        let usual = USUAL.iter();
        Rules {
            rules: usual
                .map(|(field, change, why)| Rule {
                    field: (*field).to_owned(),
                    change: Some(*change),
                    why: (*why).to_owned(),
                })
                .collect(),
        }
    }
}

impl Rules {
    /// Reads a file of hop rules; `name` is for showing only.
    ///
    /// # Errors
    /// What is wrong with the text, where, and what to type instead.
    pub fn parse(name: &str, text: &str) -> Result<Rules, Problem> {
        let document: Document = meshproof_input::parse(name, text)?;
        let mut rules = match document.usual {
            true => Rules::default().rules,
            false => Vec::new(),
        };
        for entry in document.may {
            let head = entry.field.split('.').next().unwrap_or_default();
            if head != "*" && !HEADS.contains(&head) {
                let help = match meshproof_input::suggestion(head, &HEADS) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "fields begin with `request`, `response` or `exchange`, as \
                             `meshproof hop` shows them"
                        .to_owned(),
                };
                return Err(Problem::at(
                    name,
                    text,
                    entry.field.span,
                    "hop::bad_field",
                    format!("no field is called `{}`", entry.field.value),
                    help,
                ));
            }
            let change = entry.change.and_then(|word| match word {
                Word::Added => Some(Change::Added),
                Word::Removed => Some(Change::Removed),
                Word::Changed => Some(Change::Changed),
                Word::Follows => Some(Change::Follows),
                Word::Any => None,
            });
            rules.push(Rule {
                field: entry.field.value,
                change,
                why: entry.why.unwrap_or_default(),
            });
        }
        Ok(Rules { rules })
    }

    /// The rule that allows a change, with its reason.
    pub(super) fn allows(&self, field: &str, change: Change) -> Option<String> {
        let rule = self.rules.iter().find(|rule| {
            rule.change.is_none_or(|allowed| allowed == change) && like(&rule.field, field)
        })?;
        Some(match rule.why.as_str() {
            "" => rule.field.clone(),
            why => format!("{}: {why}", rule.field),
        })
    }
}
