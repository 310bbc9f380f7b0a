//! What probes look at in a mesh.

use meshproof_sys::clock::Nanos;
use serde_json::Value;

use super::account::Account;
use super::look;
use super::model::Program;
use super::probe::{
    AdminProbe, ConnectionsProbe, LedgerProbe, Living, LogProbe, MetricProbe, Probe, ProcessProbe,
    SeenProbe, VersionProbe,
};
use super::stand::{Hall, is_call, part, refused};
use super::value::Count;
use super::world::{Look, World};
use crate::environment::Command;
use crate::mesh::http;
use crate::{Error, mesh};

/// How long a small program may take.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

/// Lines that are shown of what was found.
const SHOWN: usize = 200;

/// What a look at something that may be away is: an error of it is no error of ours.
fn looked(look: Result<Look, Error>) -> Result<Look, Error> {
    match look {
        Err(error @ (Error::Gone(_) | Error::Unsupported { .. })) => Err(error),
        Err(error) => Ok(Look::new(false, error.to_string())),
        look => look,
    }
}

fn at_least_one(count: Option<Count>, found: usize) -> bool {
    match count {
        Some(count) => count.holds(found as f64),
        None => found > 0,
    }
}

impl Hall {
    /// Looks.
    pub(super) fn probe(&self, probe: &Probe, since: Nanos) -> Result<Look, Error> {
        match probe {
            Probe::Port(port) => {
                let from = port.from.as_ref().map_or(mesh::VIP, |from| from.as_str());
                let at = self.address(from, &port.pod, port.number.value)?;
                let found = look::door(self.mesh.environment(), from, at)?;
                Ok(look::port(found, port.is, at))
            }
            Probe::Registry(registry) => {
                let asked = registry.service.as_ref().map(|it| it.as_str());
                let pushed = self.pushed(&self.service(asked)?)?;
                let address = |pod: &str| Some(self.mesh.place(pod).ok()?.inbound.to_string());
                Ok(look::registry(pushed.as_ref(), registry, address))
            }
            Probe::Metric(metric) => looked(self.metric(metric)),
            Probe::Log(log) => self.logged(log, since),
            Probe::Wire(wire) => self.on_wire(wire, since),
            Probe::Ledger(ledger) => {
                let account = self.account(&|_| Vec::new())?;
                Ok(in_account(ledger, &account))
            }
            Probe::Admin(admin) => looked(self.told(admin)),
            Probe::Process(process) => looked(self.lives(process)),
            Probe::Latency(_) => Err(refused("latency is known to the story alone")),
            Probe::Connections(it) => self.connections(it),
            Probe::Seen(seen) => self.seen(seen, since),
            Probe::Version(version) => looked(self.version(version)),
        }
    }

    /// GET of an address that the adapter of a pod's sidecar names.
    fn ask(&self, pod: &str, url: &str) -> Result<String, Error> {
        let place = self.mesh.place(pod)?;
        let url = url.replace("{{admin}}", &place.admin.to_string());
        let (at, path) = http::split(&url)?;
        http::get(self.mesh.environment(), pod, at, &path)?.good(&url)
    }

    fn metric(&self, probe: &MetricProbe) -> Result<Look, Error> {
        let pod = probe.pod.as_str();
        let sut = self.mesh.sidecar_of(pod)?;
        let Some(url) = sut.as_ref().and_then(|sut| sut.metrics.as_ref()) else {
            return Err(refused(format!(
                "the sidecar of pod {pod} tells no metrics"
            )));
        };
        let text = self.ask(pod, url)?;
        let name = probe.name.as_str();
        Ok(match look::metric(&text, name) {
            Some(value) => Look::new(probe.is.holds(value), format!("{name} of {pod} is {value}")),
            None => Look::new(false, format!("{pod} tells no {name}")),
        })
    }

    fn logged(&self, probe: &LogProbe, since: Nanos) -> Result<Look, Error> {
        let pod = probe.pod.as_ref().map(|pod| pod.as_str());
        let mut found = 0;
        let mut first = None;
        for log in self.log(pod, probe.program)? {
            for line in &log.lines {
                if (!probe.new || line.at >= since) && line.text.contains(probe.holds.as_str()) {
                    found += 1;
                    first.get_or_insert_with(|| {
                        let text: String = line.text.chars().take(SHOWN).collect();
                        format!("{} of {}: {text}", log.program, log.pod)
                    });
                }
            }
        }
        let said = match first {
            Some(first) => format!("{found} lines with `{}`; {first}", probe.holds),
            None => format!("no line with `{}`", probe.holds),
        };
        Ok(Look::new(at_least_one(probe.count, found), said))
    }

    fn told(&self, probe: &AdminProbe) -> Result<Look, Error> {
        let pod = probe.pod.as_str();
        let admin = self.mesh.place(pod)?.admin;
        let answer = http::get(self.mesh.environment(), pod, admin, &probe.path)?;
        let body = answer.body.trim();
        let Some(is) = &probe.is else {
            let found = format!("{} of {pod} answers {}", probe.path, answer.status);
            return Ok(Look::new((200..300).contains(&answer.status), found));
        };
        let Some(at) = &probe.at else {
            let shown: String = body.chars().take(SHOWN).collect();
            return Ok(Look::new(body.contains(&is.to_string()), shown));
        };
        let value: Value = serde_json::from_str(body).unwrap_or(Value::Null);
        let found = value.pointer(at).cloned().unwrap_or(Value::Null);
        let text = match &found {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let holds = text == is.to_string();
        Ok(Look::new(
            holds,
            format!("{}#{at} of {pod} is {text}", probe.path),
        ))
    }

    fn lives(&self, probe: &ProcessProbe) -> Result<Look, Error> {
        let process = self.mesh.process(&probe.pod, part(probe.program))?;
        let program = probe.program.word();
        let pod = &probe.pod;
        Ok(match (process.exit(), probe.is) {
            (None, is) => Look::new(
                is == Living::Running,
                format!("the {program} of {pod} runs"),
            ),
            (Some((exit, _)), is) => {
                let code = match (probe.code, exit) {
                    (None, _) => true,
                    (Some(code), crate::process::Exit::Code(found)) => code == found,
                    (Some(_), _) => false,
                };
                let holds = is == Living::Ended && code;
                Look::new(holds, format!("the {program} of {pod} {exit}"))
            }
        })
    }

    fn connections(&self, probe: &ConnectionsProbe) -> Result<Look, Error> {
        let to = self.address(&probe.from, &probe.to, probe.port.value)?;
        let mut read = Command::program("cat", ["/proc/net/tcp"]);
        read.name = "the list of sockets".into();
        let read = self.mesh.environment().start(&probe.from, read)?;
        read.wait(LIMIT)?;
        let lines = read.lines();
        let text: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        let found = look::connections(&text.join("\n"), to);
        let said = format!("{found} connections from {} to {to}", probe.from);
        Ok(Look::new(probe.count.holds(found as f64), said))
    }

    fn seen(&self, probe: &SeenProbe, since: Nanos) -> Result<Look, Error> {
        let pod = probe.pod.as_str();
        let kind = probe.frame.map(|frame| frame.word());
        let found = self
            .sightings()?
            .iter()
            .filter(|(at, of, _)| of == pod && (!probe.new || *at >= since))
            .filter(|(.., line)| match kind {
                Some(kind) => line.get("kind").and_then(Value::as_str) == Some(kind),
                None => is_call(line),
            })
            .count();
        let kind = kind.unwrap_or("request");
        let said = format!("the app of {pod} saw {found} {kind}s");
        Ok(Look::new(at_least_one(probe.count, found), said))
    }

    /// By its admin interface and its metrics, beside what the file says that its process runs.
    fn version(&self, probe: &VersionProbe) -> Result<Look, Error> {
        let pod = probe.pod.as_str();
        let sut = self.mesh.sidecar_of(pod)?;
        let Some((sut, version)) = sut
            .as_ref()
            .and_then(|sut| Some((sut, sut.version.as_ref()?)))
        else {
            return Err(refused(format!(
                "the sidecar of pod {pod} tells no version"
            )));
        };
        let answer = self.ask(pod, &version.url)?;
        let told = match (&version.field, &version.after) {
            (Some(field), _) => {
                let answer: Value = serde_json::from_str(&answer).unwrap_or(Value::Null);
                let field = answer.get(field).and_then(Value::as_str);
                field.unwrap_or_default().to_owned()
            }
            (None, Some(after)) => {
                let rest = answer
                    .split_once(after.as_str())
                    .map_or("", |(_, rest)| rest);
                let word = rest.split_whitespace().next();
                word.unwrap_or_default().to_owned()
            }
            (None, None) => answer.trim().to_owned(),
        };
        let own = self.own_version(pod, sut)?;
        // The whole word: 1.2 is no 1.20.
        let right = own.split_whitespace().any(|word| word == told);
        let mut said = format!("{pod} tells version {told}, its program {own}");
        let mut holds = right;
        if let Some(url) = &sut.metrics {
            let text = self.ask(pod, url)?;
            if let Some(label) = label(&text, "version") {
                holds &= own.split_whitespace().any(|word| word == label);
                said = format!("{said}, its metrics {label}");
            }
        }
        Ok(Look::new(holds, said))
    }

    /// What the file says that a sidecar's process runs.
    fn own_version(&self, pod: &str, sut: &crate::sut::Sut) -> Result<String, Error> {
        let mut ask = match &sut.binary {
            None => Command::own("the sidecar's program", ["--version"]),
            Some(path) => Command::program(path, ["--version"]),
        };
        ask.limit = LIMIT;
        let ask = self.mesh.environment().start(pod, ask)?;
        ask.wait(LIMIT)?;
        let lines = ask.lines();
        let first = lines.first().map(|line| line.text.trim().to_owned());
        first.ok_or_else(|| refused(format!("the program of {pod}'s sidecar tells no version")))
    }

    /// Lines of programs.
    fn log(
        &self,
        pod: Option<&str>,
        program: Option<Program>,
    ) -> Result<Vec<mesh::told::Logged>, Error> {
        let mut logs = self.mesh.logs()?;
        logs.retain(|log| {
            pod.is_none_or(|pod| log.pod == pod)
                && program.is_none_or(|program| log.program == program.word())
        });
        Ok(logs)
    }
}

/// The first label of this name in Prometheus text.
fn label<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let start = format!("{name}=\"");
    let mut lines = text.lines().filter(|line| line.contains("build_info"));
    lines.find_map(|line| line.split_once(&start)?.1.split('"').next())
}

fn in_account(probe: &LedgerProbe, account: &Account) -> Look {
    let buckets = [
        (probe.calls, account.calls),
        (probe.closed, account.closed),
        (probe.lost, account.lost),
        (probe.doubled, account.doubled),
        (probe.unanswered, account.unanswered),
    ];
    let holds = buckets
        .into_iter()
        .all(|(wanted, found)| wanted.is_none_or(|wanted| wanted.holds(found as f64)));
    Look::new(holds, account.to_string())
}
