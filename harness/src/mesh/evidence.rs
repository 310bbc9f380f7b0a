//! What is kept of a mesh in which something went wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use meshproof_record::case::{Detail, DrawnPod, LogLines, Moment, RegistrySaid};
use serde_json::Value;

use super::{Mesh, REGISTRY, VIP, lock};
use crate::Error;
use crate::environment::{Backend, Command};
use crate::process::Process;

/// Lines of one program that a detail has at most.
pub const LINES_MAX: usize = 200;
/// Moments that a detail has at most.
pub const MOMENTS_MAX: usize = 2_000;
/// Answers and pushes of the config center that a detail has at most.
pub const REGISTRY_MAX: usize = 1_000;

/// How long a copy may take.
const LIMIT: Duration = Duration::from_secs(60);

impl Mesh {
    /// Writes everything that is known into a folder: what programs printed, journals, the
    /// sidecars' files and what they tell of themselves, the config center's log in order, the
    /// timeline. What could not be had is told in `missing.txt`. The files, by their names there.
    pub fn evidence(&self, folder: &Path) -> Result<Vec<String>, Error> {
        fs::create_dir_all(folder).map_err(Error::io(format!("{}", folder.display())))?;
        let mut kept = Kept {
            folder,
            files: Vec::new(),
            missing: Vec::new(),
        };
        for (pod, program, process) in self.programs() {
            let lines = process.lines();
            let lines: String = lines
                .iter()
                .map(|line| {
                    let at = line.at.since(self.begun.at) as f64 / 1e6;
                    format!("{at:>10.3} ms  {}\n", line.text)
                })
                .collect();
            kept.write(&format!("{pod}/{program}.log"), &lines)?;
        }
        for pod in self.pods() {
            let sidecar = self.sidecar_of(pod)?;
            for (file, _) in sidecar.iter().flat_map(|sut| &sut.files) {
                match self.config(pod, file) {
                    Ok(text) => kept.write(&format!("{pod}/{file}"), &text)?,
                    Err(error) => kept.lacks(pod, &error),
                }
            }
            let runs = lock(self.member(pod)?).sidecar.as_ref().map(|it| it.exit());
            if matches!(runs, Some(None)) {
                for (name, text) in self.dumps(pod)? {
                    kept.write(&format!("{pod}/admin-{name}"), &text)?;
                }
            }
            let journals = lock(self.member(pod)?).journals.clone();
            for journal in journals {
                self.copy(&journal, pod, &mut kept)?;
            }
        }
        let calls = lock(&self.calls).journals.clone();
        for journal in calls {
            self.copy(&journal, "calls", &mut kept)?;
        }
        let center = self.setting.site.has_center().then_some("registry.jsonl");
        for name in center.into_iter().chain(["vip.jsonl"]) {
            self.copy(&self.journal(name), "services", &mut kept)?;
        }
        let timeline: String = self
            .whole_timeline()
            .iter()
            .map(|moment| {
                let at = moment.at_ns as f64 / 1e6;
                format!("{at:>10.3} ms  {:<9} {}\n", moment.seen_by, moment.what)
            })
            .collect();
        kept.write("timeline.txt", &timeline)?;
        if !kept.missing.is_empty() {
            let text = kept.missing.join("\n") + "\n";
            kept.write("missing.txt", &text)?;
        }
        Ok(kept.files)
    }

    /// What a reader needs to understand a failure, in bounds.
    pub fn detail(&self, case: &str) -> Result<Detail, Error> {
        let mut detail = Detail {
            case: case.to_owned(),
            pods: self.drawn()?,
            registry: self.registry_said()?,
            timeline: self.whole_timeline(),
            ..Detail::default()
        };
        for (pod, program, process) in self.programs() {
            let lines = process.lines();
            let skipped = lines.len().saturating_sub(LINES_MAX);
            detail.left_out += skipped as u64;
            let lines = lines.into_iter().skip(skipped);
            detail.logs.push(LogLines {
                pod,
                program,
                lines: lines.map(|line| line.text).collect(),
            });
        }
        detail.logs.retain(|log| !log.lines.is_empty());
        for (len, max) in [
            (detail.timeline.len(), MOMENTS_MAX),
            (detail.registry.len(), REGISTRY_MAX),
        ] {
            detail.left_out += len.saturating_sub(max) as u64;
        }
        // The end of a story tells more than its beginning.
        let skipped = detail.timeline.len().saturating_sub(MOMENTS_MAX);
        detail.timeline.drain(..skipped);
        let skipped = detail.registry.len().saturating_sub(REGISTRY_MAX);
        detail.registry.drain(..skipped);
        detail.ledger = self.ledger()?.rows();
        Ok(detail)
    }

    /// The pods, for a drawing.
    pub fn drawn(&self) -> Result<Vec<DrawnPod>, Error> {
        let mut drawn = Vec::new();
        for pod in self.environment().pods() {
            let mut runs = Vec::new();
            let mut sidecar = String::new();
            match (pod.name.as_str(), self.pods.get(&pod.name)) {
                (_, Some(member)) => {
                    let member = lock(member);
                    sidecar = member.spec.sidecar.clone().unwrap_or_default();
                    if let Some(app) = &member.spec.app {
                        let speaks = super::pod::protocols(app.speaks).join(", ");
                        runs.push(format!("app {speaks}"));
                    }
                    runs.extend(member.peers.iter().map(|peer| peer.name().to_owned()));
                }
                (REGISTRY, None) if !self.setting.site.has_center() => continue,
                (REGISTRY, None) => runs.push("config center".into()),
                (VIP, None) => runs.push("VIP names".into()),
                (_, None) => {}
            }
            drawn.push(DrawnPod {
                name: pod.name.clone(),
                address: pod.address.to_string(),
                sidecar,
                runs,
            });
        }
        Ok(drawn)
    }

    /// Every program that runs or ran, in the order of pods: pod, what it is, itself.
    fn programs(&self) -> Vec<(String, String, std::sync::Arc<Process>)> {
        let mut all = Vec::new();
        for (pod, member) in &self.pods {
            let member = lock(member);
            for (number, process) in member.past.iter().enumerate() {
                let word = process.name().trim_start_matches("the ");
                let program = format!("{word}-before-{}", number + 1);
                all.push((pod.clone(), program, process.clone()));
            }
            for (word, process) in [("app", &member.app), ("sidecar", &member.sidecar)] {
                if let Some(process) = process {
                    all.push((pod.clone(), word.to_owned(), process.clone()));
                }
            }
            for peer in &member.peers {
                all.push((pod.clone(), peer.name().to_owned(), peer.clone()));
            }
        }
        all
    }

    /// What the config center said, in order; nothing where there is none.
    pub fn registry_said(&self) -> Result<Vec<RegistrySaid>, Error> {
        if !self.setting.site.has_center() {
            return Ok(Vec::new());
        }
        let log = self.registry_log()?;
        let mut peers = std::collections::BTreeMap::new();
        let mut said = Vec::new();
        for line in &log {
            let text = |value: &Value, name: &str| {
                let text = value.get(name).and_then(Value::as_str);
                text.unwrap_or_default().to_owned()
            };
            let at_us = line
                .get("at_us")
                .and_then(Value::as_u64)
                .unwrap_or_default();
            let Some(event) = line.get("event") else {
                continue;
            };
            let number = event.get("subscriber").and_then(Value::as_u64);
            match (text(event, "kind").as_str(), number) {
                ("watch", Some(number)) => {
                    peers.insert(number, self.pod_at(&text(event, "peer")));
                }
                ("push", Some(number)) => {
                    let addresses = event.get("addresses").and_then(Value::as_array);
                    let addresses = addresses.into_iter().flatten();
                    let lost = event.get("lost").and_then(Value::as_bool) == Some(true);
                    said.push(RegistrySaid {
                        at_ns: self.since_begun(at_us),
                        how: if lost { "push, lost" } else { "push" }.to_owned(),
                        to: peers.get(&number).cloned().unwrap_or_default(),
                        service: text(event, "service"),
                        providers: addresses
                            .filter_map(Value::as_str)
                            .map(str::to_owned)
                            .collect(),
                    });
                }
                _ => {}
            }
        }
        Ok(said)
    }

    /// The pod behind an address, or the address.
    fn pod_at(&self, peer: &str) -> String {
        let host = peer.rsplit_once(':').map_or(peer, |(host, _)| host);
        let pods = self.environment().pods();
        let found = pods.iter().find(|pod| pod.address.to_string() == host);
        found.map_or_else(|| peer.to_owned(), |pod| pod.name.clone())
    }

    /// The timeline with what the config center did and how programs ended.
    pub fn whole_timeline(&self) -> Vec<Moment> {
        let mut timeline = self.timeline();
        for (pod, program, process) in self.programs() {
            if let Some((exit, at)) = process.exit() {
                timeline.push(Moment {
                    at_ns: at.since(self.begun.at),
                    seen_by: "process".into(),
                    what: format!("the {program} of pod {pod} {exit}"),
                });
            }
        }
        // A config center that is away has said nothing that can be told.
        for said in self.registry_said().unwrap_or_default() {
            timeline.push(Moment {
                at_ns: said.at_ns,
                seen_by: "registry".into(),
                what: format!(
                    "{} of {} to {}: [{}]",
                    said.how,
                    said.service,
                    said.to,
                    said.providers.join(", ")
                ),
            });
        }
        timeline.sort_by_key(|moment| moment.at_ns);
        timeline
    }

    /// Copies a file of the mesh into the evidence.
    fn copy(&self, file: &Path, below: &str, kept: &mut Kept<'_>) -> Result<(), Error> {
        let Some(name) = file.file_name() else {
            return Ok(());
        };
        let name = format!("{below}/{}", name.to_string_lossy());
        let to = kept.path(&name)?;
        let outside =
            self.setting.folder.is_some() || self.environment().backend() == Backend::Process;
        let done = match outside {
            true => fs::copy(file, &to)
                .map(drop)
                .map_err(Error::io(format!("{}", file.display()))),
            // It stands where only programs of the environment see it.
            false => self.copy_out(file, &to),
        };
        match done {
            Ok(()) => kept.files.push(name),
            Err(error) => kept.lacks(&name, &error),
        }
        Ok(())
    }

    fn copy_out(&self, file: &Path, to: &Path) -> Result<(), Error> {
        let command = Command {
            log: Some(to.to_path_buf()),
            ..Command::program("cat", [file.to_string_lossy()])
        };
        let process = self.environment().start(REGISTRY, command)?;
        match process.wait(LIMIT)? {
            crate::process::Exit::Code(0) => Ok(()),
            exit => Err(Error::Refused(format!("cat {} {exit}", file.display()))),
        }
    }
}

struct Kept<'a> {
    folder: &'a Path,
    files: Vec<String>,
    missing: Vec<String>,
}

impl Kept<'_> {
    fn path(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.folder.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(Error::io(format!("{}", folder.display())))?;
        }
        Ok(path)
    }

    fn write(&mut self, name: &str, text: &str) -> Result<(), Error> {
        if text.is_empty() {
            return Ok(());
        }
        let path = self.path(name)?;
        fs::write(&path, text).map_err(Error::io(format!("{}", path.display())))?;
        self.files.push(name.to_owned());
        Ok(())
    }

    fn lacks(&mut self, what: &str, error: &Error) {
        self.missing.push(format!("{what}: {error}"));
    }
}
