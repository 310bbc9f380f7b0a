//! How a sidecar is configured, started, asked, upgraded and stopped, from a file.

pub mod template;

mod shipped;

use std::collections::BTreeSet;
use std::path::PathBuf;

use meshproof_input::{Entries, Problem, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::needs::{self, Owner};

pub(crate) use shipped::find;
pub use shipped::{Suts, shipped};

/// The name of the sidecar that ships.
pub const REFERENCE: &str = "reference";

/// An adapter: everything that the harness has to know of a sidecar. A third one is a file.
///
/// In arguments, variables, files and addresses, `{{name}}` stands for values of the pod:
/// [`template::NAMES`] has all of them. `name`, `address`, `zone` are the pod's; `local` and
/// `open` are the IP addresses on which its own programs and others reach it; `inbound`, `app`,
/// `outbound`, `api` and `admin` are where the sidecar listens and the app serves, as `IP:PORT`;
/// `registry` and `vip` are config center and VIP name service; `config_center` is the first as
/// `http://IP:PORT`, `null` at a site that has none, where `registry` has no value; `routes` are
/// what stands in its place there, as a JSON list of rules (`service`, and the addresses of those
/// who provide it in `to`), `[]` where there is a config center; `folder` is the sidecar's own
/// folder; `providers` are the addresses of the other pods that serve as a JSON list, and
/// `providers.objects` the same as objects with the member `address`; `level` is the level that
/// `log_level` is asked to set, and `pid`, in `holds` alone, the number of the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sut {
    /// Its name: a value of matrix axes.
    pub sut: String,
    /// One sentence.
    #[serde(default)]
    pub about: String,
    /// The binary; none: this program itself.
    #[serde(default)]
    pub binary: Option<PathBuf>,
    /// Whether a binary has to be named by `--sut`: this program is none.
    #[serde(default)]
    pub needs_binary: bool,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables of its process.
    #[serde(default)]
    pub variables: Entries<String, String>,
    /// Files that are written before it starts, by name, into a folder of its own.
    #[serde(default)]
    pub files: Entries<String, String>,
    /// When it is ready.
    pub ready: ReadyWhen,
    /// How a second process takes over from one that runs; none: it cannot.
    #[serde(default)]
    pub upgrade: Option<Upgrade>,
    /// How it ends when it is stopped in good order.
    #[serde(default)]
    pub stop: Stop,
    /// Who is asked which version runs.
    #[serde(default)]
    pub version: Option<Version>,
    /// What sets its log level to `{{level}}`.
    #[serde(default)]
    pub log_level: Option<Ask>,
    /// What makes it read its configuration again.
    #[serde(default)]
    pub reload: Option<Ask>,
    /// What begins its graceful end.
    #[serde(default)]
    pub drain: Option<Ask>,
    /// Where its metrics stand, as Prometheus text.
    #[serde(default)]
    pub metrics: Option<String>,
    /// What is asked of it for the evidence of a failure: name of the file, address.
    #[serde(default)]
    pub dumps: Entries<String, String>,
    /// What it can do, as `needs:` of scenarios name it: `publishes`, `subscribes`,
    /// `isolates_on_heartbeat_loss`, `tr`, `bolt_v2_crc`, `hot_upgrade`, `admin_log_level`, …
    #[serde(default)]
    pub capabilities: BTreeSet<String>,
}

/// How a second process takes over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upgrade {
    /// Its arguments. Its files are those of the first.
    pub arguments: Vec<String>,
    /// A file that the first process must have made before a second one can find it.
    #[serde(default)]
    pub once: Option<String>,
    /// When it has taken over.
    pub ready: ReadyWhen,
    /// How long the first process may live on, in milliseconds.
    #[serde(default = "a_minute")]
    pub old_ends_within_ms: u64,
}

fn a_minute() -> u64 {
    60_000
}

/// How it is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Stop {
    /// The signal.
    pub signal: crate::process::Signal,
    /// After so long it is killed, in milliseconds.
    pub grace_ms: u64,
}

impl Default for Stop {
    fn default() -> Self {
        Stop {
            signal: crate::process::Signal::Terminate,
            grace_ms: 15_000,
        }
    }
}

/// A request that changes something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// POST to this address: `http://{{admin}}/log?level={{level}}`.
    pub url: String,
    /// The body.
    #[serde(default)]
    pub body: String,
    /// Words for levels, where it has its own: `error: ERROR`.
    #[serde(default)]
    pub words: Entries<String, String>,
}

/// Where the version stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// GET of this address.
    pub url: String,
    /// The member of the JSON answer.
    #[serde(default)]
    pub field: Option<String>,
    /// What stands in front of it in a text.
    #[serde(default)]
    pub after: Option<String>,
}

/// When a program counts as ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum ReadyWhen {
    /// A line that begins so, on either stream.
    Line(String),
    /// A port that takes connections: `{{inbound}}`.
    Port(String),
    /// An answer over HTTP that holds this text.
    Http {
        /// `http://{{admin}}/api/v1/states`.
        url: String,
        /// `state=6`.
        holds: String,
    },
    /// It ended with code 0.
    Exit,
}

impl Sut {
    /// Reads an adapter; a name in `{{…}}` that nobody knows is told of with its place.
    pub fn parse(name: &str, text: &str) -> Result<Sut, Problem> {
        let sut: Sut = meshproof_input::parse(name, text)?;
        for written in sut.templates() {
            if let Some(unknown) = template::stranger(written) {
                let span = place(text, &unknown.name);
                let message = format!("`{{{{{}}}}}` is no value of a pod", unknown.name);
                let code = "sut::unknown_value";
                let problem = Problem::at(name, text, span, code, message, unknown.help);
                return Err(problem.label(span, "not known here"));
            }
        }
        let capabilities = sut.capabilities.iter().map(String::as_str);
        if let Some((strange, help)) = needs::misspelt(capabilities, Some(Owner::Sut)) {
            let key = Span::of_word(text, "capabilities", 0).unwrap_or_default();
            let span = Span::of_word(text, strange, key.start + key.len).unwrap_or(key);
            let message = format!("`{strange}` is no capability of a sidecar");
            let code = "sut::unknown_capability";
            let problem = Problem::at(name, text, span, code, message, help);
            return Err(problem.label(span, "not known here"));
        }
        Ok(sut)
    }

    /// Whether it can do that.
    pub fn can(&self, capability: &str) -> bool {
        self.capabilities.contains(capability)
    }

    /// Everything of it in which values may be named.
    fn templates(&self) -> impl Iterator<Item = &str> {
        let asks = [&self.log_level, &self.reload, &self.drain];
        let asks = asks.into_iter().flatten();
        let upgrade = self.upgrade.iter();
        self.arguments
            .iter()
            .chain(upgrade.clone().flat_map(|upgrade| &upgrade.arguments))
            .chain(upgrade.clone().flat_map(|upgrade| &upgrade.once))
            .chain(self.variables.iter().map(|(_, value)| &value.value))
            .chain(self.files.iter().map(|(_, value)| &value.value))
            .chain(self.dumps.iter().map(|(_, value)| &value.value))
            .chain(asks.flat_map(|ask| [&ask.url, &ask.body]))
            .chain(self.version.iter().map(|version| &version.url))
            .chain(&self.metrics)
            .chain(self.ready.templates())
            .chain(upgrade.flat_map(|upgrade| upgrade.ready.templates()))
            .map(String::as_str)
    }
}

impl ReadyWhen {
    fn templates(&self) -> Vec<&String> {
        match self {
            ReadyWhen::Line(text) | ReadyWhen::Port(text) => vec![text],
            ReadyWhen::Http { url, holds } => vec![url, holds],
            ReadyWhen::Exit => Vec::new(),
        }
    }
}

/// Where `{{name}}` stands in the text of a file; a comment at the margin is none of its values.
pub(crate) fn place(text: &str, name: &str) -> Span {
    let comments = text
        .split_inclusive('\n')
        .take_while(|line| line.starts_with('#'));
    let mut from = comments.map(str::len).sum();
    while let Some(at) = text.get(from..).and_then(|rest| rest.find("{{")) {
        let start = from + at;
        let inside = text.get(start + 2..).unwrap_or_default();
        if let Some((found, _)) = inside.split_once("}}")
            && found.trim() == name
        {
            let len = found.len() + 4;
            return Span { start, len };
        }
        from = start + 2;
    }
    Span::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "sut: s\narguments: [start]\nready: {line: UP}\n";

    #[track_caller]
    fn check(more: &str, line: usize, code: &str, message: &str, help: &str) {
        let text = format!("{LEAST}{more}");
        let problem = Sut::parse("s.yaml", &text).unwrap_err();
        let told = (
            problem.line(),
            problem.code_name(),
            problem.to_string(),
            problem.help_text().unwrap_or_default().to_owned(),
        );
        assert_eq!(
            told,
            (Some(line), code, message.to_owned(), help.to_owned())
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        assert!(Sut::parse("s.yaml", LEAST).unwrap().capabilities.is_empty());
        check(
            "files:\n  a.yaml: |\n    # {{name}}\n    x: {{ adress }}\n",
            7,
            "sut::unknown_value",
            "`{{adress}}` is no value of a pod",
            "did you mean `{{address}}`?",
        );
        check(
            "metrics: http://{{admn}}/m\n",
            4,
            "sut::unknown_value",
            "`{{admn}}` is no value of a pod",
            "did you mean `{{admin}}`?",
        );
        check(
            "capabilties: [tr]\n",
            4,
            "input::unknown_key",
            "unknown key `capabilties`",
            "did you mean `capabilities`?",
        );
        check(
            "stop: {signal: term}\n",
            4,
            "input::unknown_value",
            "unknown value `term`",
            "did you mean `terminate`?",
        );
        check(
            "upgrade: {arguments: []}\n",
            4,
            "input::missing_key",
            "the key `ready` is missing",
            "add `ready: …`",
        );
    }
}
