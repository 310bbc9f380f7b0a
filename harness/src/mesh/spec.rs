//! What a mesh is made of: a topology file, or made by a matrix.

use meshproof_input::{Entries, Problem, Span, Spanned};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::needs;
use crate::sut::{Sut, template};

/// A topology: pods and what runs in them. The ports are those of production.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeshSpec {
    /// Its name.
    pub topology: String,
    /// One sentence.
    #[serde(default)]
    pub about: String,
    /// Capabilities of environment, site and sidecars that it cannot do without.
    #[serde(default)]
    pub needs: Vec<Spanned<String>>,
    /// Heartbeats from sidecar to app.
    #[serde(default)]
    pub heartbeat: Heartbeat,
    /// The order of the config center's answers: `as-is`, `reversed`, `shuffled:SEED`,
    /// `fixed:POD,POD`.
    #[serde(default = "as_is")]
    pub registry_order: String,
    /// Pools of the VIP name service: `sample.zone1: [server]`.
    #[serde(default)]
    pub vips: Entries<String, Vec<String>>,
    /// The pods by name. Config center and VIP names have pods of their own, `registry` and
    /// `vip`, that need not be named.
    pub pods: Entries<String, PodSpec>,
}

fn as_is() -> String {
    "as-is".into()
}

/// Heartbeats to the app: every interval, missed when not answered within the timeout, lost
/// after so many misses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Heartbeat {
    /// I, in milliseconds.
    pub interval_ms: u64,
    /// T, in milliseconds, no longer than the interval.
    pub timeout_ms: u64,
    /// N.
    pub misses: u32,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Heartbeat {
            interval_ms: 300,
            timeout_ms: 150,
            misses: 3,
        }
    }
}

/// One pod.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PodSpec {
    /// The zone that it stands in; none: the first of the site.
    pub zone: Option<String>,
    /// Its sidecar, by the name of its adapter; none: the app routes and serves by itself.
    pub sidecar: Option<String>,
    /// What serves in it; none: a pod that only calls.
    pub app: Option<AppSpec>,
    /// Programs by file: peers of other languages.
    pub peers: Vec<PeerSpec>,
    /// Whether one of the peers serves at 12200, as an app would: sidecars with a static list of
    /// providers have it in theirs.
    pub serves: bool,
}

/// An app that serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AppSpec {
    /// What it understands.
    pub speaks: Speaks,
    /// Versions of `com.alipay.demo.SampleService` that it publishes.
    pub versions: Vec<String>,
    /// More arguments of the fixture app.
    pub arguments: Vec<String>,
}

impl Default for AppSpec {
    fn default() -> Self {
        AppSpec {
            speaks: Speaks::New,
            versions: vec!["1.0".into()],
            arguments: Vec::new(),
        }
    }
}

/// What an app understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Speaks {
    /// TR alone: a BOLT frame is refused with `Invalid protocol header:1`.
    Old,
    /// BOLT alone.
    Bolt,
    /// Both.
    New,
}

/// A program that is started by file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PeerSpec {
    /// What messages call it.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Variables.
    #[serde(default)]
    pub environment: Entries<String, String>,
    /// Files that are written before it starts, into a folder of its own, which it starts in.
    #[serde(default)]
    pub files: Entries<String, String>,
    /// When it is ready.
    pub ready: crate::sut::ReadyWhen,
}

impl PeerSpec {
    /// Everything of it in which values may be named, but for when it is ready.
    fn templates(&self) -> impl Iterator<Item = &str> {
        let texts = self.command.iter();
        let texts = texts.chain(self.files.iter().map(|(_, text)| &text.value));
        let texts = texts.chain(self.environment.iter().map(|(_, text)| &text.value));
        texts.map(String::as_str)
    }
}

/// The topologies that ship: name, name of the file, text.
pub const SHIPPED: [(&str, &str, &str); 3] = [
    (
        "pair",
        "scenarios/topologies/pair.yaml",
        include_str!("../../../scenarios/topologies/pair.yaml"),
    ),
    (
        "mixed-providers",
        "scenarios/topologies/mixed-providers.yaml",
        include_str!("../../../scenarios/topologies/mixed-providers.yaml"),
    ),
    (
        "chain",
        "scenarios/topologies/chain.yaml",
        include_str!("../../../scenarios/topologies/chain.yaml"),
    ),
];

impl MeshSpec {
    /// Reads a topology and judges what of it can be judged without bringing it up: names of pods
    /// and sidecars, pools, the order of answers, heartbeats, templates of peers.
    pub fn parse(name: &str, text: &str, suts: &[Sut]) -> Result<MeshSpec, Problem> {
        let spec: MeshSpec = meshproof_input::parse(name, text)?;
        let suts: Vec<&str> = suts.iter().map(|sut| sut.sut.as_str()).collect();
        spec.judge(name, text, &suts)?;
        Ok(spec)
    }

    /// Judges one that was read from this text, alone or as a part of it; `suts` are the names of
    /// the adapters that there are.
    pub fn judge(&self, name: &str, text: &str, suts: &[&str]) -> Result<(), Problem> {
        Check { name, text, suts }.all(self)
    }

    /// The first peer that is told where the config center is, in words; none: the topology can
    /// stand where addresses are configured.
    pub(crate) fn asks_center(&self) -> Option<String> {
        self.pods.iter().find_map(|(pod, spec)| {
            let mut peers = spec.peers.iter();
            let peer = peers.find(|peer| peer.templates().any(template::asks_center))?;
            Some(format!("peer {} of pod {pod}", peer.name))
        })
    }

    /// A topology that ships, by its name.
    pub fn shipped(name: &str) -> Option<&'static str> {
        let found = SHIPPED.iter().find(|(known, ..)| *known == name);
        found.map(|(_, _, text)| *text)
    }
}

struct Check<'a> {
    name: &'a str,
    text: &'a str,
    suts: &'a [&'a str],
}

impl Check<'_> {
    fn all(&self, spec: &MeshSpec) -> Result<(), Problem> {
        if spec.pods.is_empty() {
            let message = "a topology without pods";
            let help = "add one: `client: {sidecar: reference}`";
            return Err(self.at(self.word("pods", 0), "topology::no_pods", message, help));
        }
        let needed = spec.needs.iter().map(|need| need.value.as_str());
        if let Some((strange, help)) = needs::misspelt(needed, None) {
            let span = spec.needs.iter().find(|need| need.value == strange);
            let span = span.map(|need| need.span).unwrap_or_default();
            let message = format!("`{strange}` is no capability");
            let problem = self.at(span, "topology::unknown_capability", message, help);
            return Err(problem.label(span, "not known here"));
        }
        let names: Vec<&str> = spec
            .pods
            .iter()
            .map(|(name, _)| name.value.as_str())
            .collect();
        for (name, pod) in &spec.pods {
            self.pod(name, pod)?;
        }
        for (pool, pods) in &spec.vips {
            for pod in pods.iter() {
                if !names.contains(&pod.as_str()) {
                    let span = self.word(pod, pool.span.start + pool.span.len);
                    let message = format!("pool `{pool}` has no pod `{pod}`");
                    return Err(self.unknown(span, "topology::no_pod", message, pod, &names));
                }
            }
        }
        self.order(&spec.registry_order, &names)?;
        let Heartbeat {
            interval_ms,
            timeout_ms,
            misses,
        } = spec.heartbeat;
        if timeout_ms > interval_ms || timeout_ms == 0 || misses == 0 {
            let message = format!(
                "a heartbeat of {interval_ms} ms, timeout {timeout_ms} ms, {misses} misses"
            );
            let help = "the timeout is no longer than the interval, and nothing is 0";
            let span = self.word("heartbeat", 0);
            return Err(self.at(span, "topology::heartbeat", message, help));
        }
        Ok(())
    }

    fn pod(&self, name: &Spanned<String>, pod: &Spanned<PodSpec>) -> Result<(), Problem> {
        let named = crate::Topology::new([name.as_str()], None).addressed();
        if let Err(error) = named {
            let help = "take another name";
            return Err(self.at(name.span, "topology::bad_name", error.to_string(), help));
        }
        let behind = name.span.start + name.span.len;
        if let Some(sidecar) = &pod.sidecar
            && !self.suts.contains(&sidecar.as_str())
        {
            let span = self.word(sidecar, behind);
            let message = format!("no sidecar is called `{sidecar}`");
            return Err(self.unknown(span, "topology::no_sut", message, sidecar, self.suts));
        }
        if let Some(app) = &pod.app
            && app.versions.is_empty()
        {
            let message = format!("the app of pod `{name}` provides nothing");
            let help = "name a version: `versions: [\"1.0\"]`";
            let span = self.word("versions", behind);
            return Err(self.at(span, "topology::no_version", message, help));
        }
        for peer in &pod.peers {
            if let Some(unknown) = peer.templates().find_map(template::stranger) {
                let span = crate::sut::place(self.text, &unknown.name);
                let message = format!("`{{{{{}}}}}` is no value of a pod", unknown.name);
                return Err(self.at(span, "topology::unknown_value", message, unknown.help));
            }
        }
        Ok(())
    }

    fn order(&self, order: &str, names: &[&str]) -> Result<(), Problem> {
        let span = || self.word(order, self.word("registry_order", 0).start);
        match order.split_once(':') {
            None if matches!(order, "as-is" | "reversed") => Ok(()),
            Some(("shuffled", seed)) if seed.parse::<u64>().is_ok() => Ok(()),
            Some(("fixed", pods)) => {
                let mut pods = pods.split(',').map(str::trim);
                match pods.find(|pod| !names.contains(pod)) {
                    None => Ok(()),
                    Some(pod) => {
                        let message = format!("no pod is called `{pod}`");
                        Err(self.unknown(span(), "topology::no_pod", message, pod, names))
                    }
                }
            }
            _ => {
                let message = format!("`{order}` is no order of answers");
                let help = "write as-is, reversed, shuffled:SEED or fixed:POD,POD";
                Err(self.at(span(), "topology::bad_order", message, help))
            }
        }
    }

    fn unknown(
        &self,
        span: Span,
        code: &'static str,
        message: String,
        word: &str,
        known: &[&str],
    ) -> Problem {
        let help = match meshproof_input::suggestion(word, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", known.join(", ")),
        };
        let problem = self.at(span, code, message, help);
        problem.label(span, "not known here")
    }

    fn at(
        &self,
        span: Span,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Problem {
        Problem::at(self.name, self.text, span, code, message, help)
    }

    /// The first place, from a byte on, at which a word stands by itself.
    fn word(&self, word: &str, from: usize) -> Span {
        Span::of_word(self.text, word, from).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ships_can_be_read() {
        for (name, file, text) in SHIPPED {
            let spec = MeshSpec::parse(file, text, &crate::sut::shipped()).unwrap();
            assert_eq!(spec.topology, name);
        }
        assert!(MeshSpec::shipped("pair").is_some());
        assert!(MeshSpec::shipped("triple").is_none());
    }

    #[track_caller]
    fn check(text: &str, line: usize, code: &str, message: &str, help: &str) {
        let problem = MeshSpec::parse("t.yaml", text, &crate::sut::shipped()).unwrap_err();
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
        check(
            "topology: t\npods: {}\n",
            2,
            "topology::no_pods",
            "a topology without pods",
            "add one: `client: {sidecar: reference}`",
        );
        check(
            "topology: t\npods:\n  client:\n    sidecar: refrence\n",
            4,
            "topology::no_sut",
            "no sidecar is called `refrence`",
            "did you mean `reference`?",
        );
        check(
            "topology: t\npods:\n  a b: {}\n",
            3,
            "topology::bad_name",
            "pod `a b`: expected 1 to 32 letters, digits and hyphens",
            "take another name",
        );
        check(
            "topology: t\nvips:\n  s.z: [server]\npods:\n  serve: {}\n",
            3,
            "topology::no_pod",
            "pool `s.z` has no pod `server`",
            "did you mean `serve`?",
        );
        check(
            "topology: t\nregistry_order: backwards\npods:\n  a: {}\n",
            2,
            "topology::bad_order",
            "`backwards` is no order of answers",
            "write as-is, reversed, shuffled:SEED or fixed:POD,POD",
        );
        check(
            "topology: t\nregistry_order: fixed:b\npods:\n  a: {}\n",
            2,
            "topology::no_pod",
            "no pod is called `b`",
            "there are a",
        );
        check(
            "topology: t\nheartbeat: {interval_ms: 100, timeout_ms: 200}\npods:\n  a: {}\n",
            2,
            "topology::heartbeat",
            "a heartbeat of 100 ms, timeout 200 ms, 3 misses",
            "the timeout is no longer than the interval, and nothing is 0",
        );
        check(
            "topology: t\npods:\n  a:\n    app: {versions: []}\n",
            4,
            "topology::no_version",
            "the app of pod `a` provides nothing",
            "name a version: `versions: [\"1.0\"]`",
        );
        check(
            "topology: t\npods:\n  a:\n    app: {speaks: newer}\n",
            4,
            "input::unknown_value",
            "unknown value `newer`",
            "did you mean `new`?",
        );
        check(
            "topology: t\npods:\n  a:\n    peers:\n      - name: p\n        command: [x, \"{{adress}}\"]\n        ready: exit\n",
            6,
            "topology::unknown_value",
            "`{{adress}}` is no value of a pod",
            "did you mean `{{address}}`?",
        );
    }
}
