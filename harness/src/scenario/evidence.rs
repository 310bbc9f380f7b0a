//! What is kept of a story that did not hold: everything that is needed to understand why.

use std::fs;
use std::path::Path;

use meshproof_record::case::{Case, Detail, DrawnPod, LogLines, RegistrySaid};
use serde_json::Value;

use super::account::Account;
use super::stand::Hall;
use super::suite::Stand;
use crate::Error;
use crate::mesh::{REGISTRY, VIP, http};

/// Lines of each program that are kept.
const LINES_MAX: usize = 400;

/// Lines of the config center's journal that are kept.
const SAID_MAX: usize = 2000;

/// Moments of a timeline that are kept.
const MOMENTS_MAX: usize = 5000;

/// Bytes of a journal that are read at most (256 MiB).
const JOURNAL_BYTES_MAX: u64 = 256 << 20;

/// The lines of a journal so far. A last one that is not whole yet is left out; a journal that is
/// not there yet has none.
pub(super) fn lines(journal: &Path) -> Result<Vec<Value>, Error> {
    let what = || format!("reading {}", journal.display());
    match fs::metadata(journal) {
        Ok(file) if file.len() > JOURNAL_BYTES_MAX => {
            return Err(Error::Refused(format!(
                "{} has {} bytes, more than the {JOURNAL_BYTES_MAX} that are read",
                journal.display(),
                file.len()
            )));
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(what())(error)),
    }
    let bytes = fs::read(journal).map_err(Error::io(what()))?;
    Ok(bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect())
}

/// What the config center answered and pushed, in order, by its journal.
fn said(mesh: &crate::mesh::Mesh) -> Result<(Vec<RegistrySaid>, u64), Error> {
    let mut all = Vec::new();
    let name = |address: &str| {
        let ip = address.split(':').next().unwrap_or(address);
        let pods = mesh.environment().pods().iter();
        let pod = pods.clone().find(|pod| pod.address.to_string() == ip);
        pod.map_or_else(|| address.to_owned(), |pod| pod.name.clone())
    };
    let mut peers = std::collections::BTreeMap::new();
    let mut left_out = 0;
    for line in lines(&mesh.registry_journal())? {
        let at_ns = mesh.since_begun(line.get("at_us").and_then(Value::as_u64).unwrap_or(0));
        let Some(event) = line.get("event") else {
            continue;
        };
        let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default();
        let number = |key: &str| event.get(key).and_then(Value::as_u64).unwrap_or(0);
        let entry = match text("kind") {
            "watch" => {
                peers.insert(number("subscriber"), name(text("peer")));
                continue;
            }
            "push" => RegistrySaid {
                at_ns,
                how: match event.get("lost").and_then(Value::as_bool) {
                    Some(true) => "push, lost".to_owned(),
                    _ => "push".to_owned(),
                },
                to: peers
                    .get(&number("subscriber"))
                    .cloned()
                    .unwrap_or_default(),
                service: text("service").to_owned(),
                providers: event
                    .get("addresses")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect(),
            },
            "request" => RegistrySaid {
                at_ns,
                how: text("operation").to_owned(),
                to: name(text("peer")),
                service: event
                    .get("body")
                    .map(|body| body.to_string().chars().take(200).collect())
                    .unwrap_or_default(),
                providers: Vec::new(),
            },
            _ => continue,
        };
        match all.len() < SAID_MAX {
            true => all.push(entry),
            false => left_out += 1,
        }
    }
    Ok((all, left_out))
}

impl Stand for Hall {
    fn evidence(
        &self,
        case: &Case,
        account: &Account,
        folder: &Path,
    ) -> Result<Vec<String>, Error> {
        let mesh = &self.mesh;
        let (registry, mut left_out) = said(mesh)?;
        let mut timeline = mesh.timeline();
        if timeline.len() > MOMENTS_MAX {
            left_out += (timeline.len() - MOMENTS_MAX) as u64;
            timeline.truncate(MOMENTS_MAX);
        }
        let logs = mesh.logs()?;
        let mut files = Vec::new();
        let mut write = |name: String, contents: &[u8]| -> Result<(), Error> {
            let path = folder.join(&name);
            fs::write(&path, contents).map_err(Error::io(format!("writing {}", path.display())))?;
            files.push(format!("{}/{name}", case.id));
            Ok(())
        };
        let detail = Detail {
            case: case.id.clone(),
            pods: drawn(self)?,
            frames: Vec::new(),
            registry,
            timeline,
            logs: logs
                .iter()
                .map(|log| {
                    let skipped = log.lines.len().saturating_sub(LINES_MAX);
                    left_out += skipped as u64;
                    let last = log.lines.iter().skip(skipped);
                    LogLines {
                        pod: log.pod.clone(),
                        program: log.program.clone(),
                        lines: last.map(|line| line.text.clone()).collect(),
                    }
                })
                .collect(),
            ledger: account.rows(),
            changes: Vec::new(),
            left_out,
        };
        let text = serde_json::to_vec_pretty(&detail)
            .map_err(|error| Error::Refused(format!("the detail of {}: {error}", case.id)))?;
        write("detail.json".to_owned(), &text)?;
        // The first of them stands in the claim, all of them here.
        if !account.named.is_empty() {
            write(
                "ledger.txt".to_owned(),
                (account.named.join("\n") + "\n").as_bytes(),
            )?;
        }
        for pod in mesh.pods() {
            for (name, contents) in dumps(self, pod) {
                write(format!("{pod}-{name}"), contents.as_bytes())?;
            }
            for journal in mesh.app_journals(pod)? {
                copy(&journal, &mut write)?;
            }
        }
        copy(&mesh.registry_journal(), &mut write)?;
        for journal in self.call_journals() {
            copy(&journal, &mut write)?;
        }
        for (name, bytes) in self.captures()? {
            write(name, &bytes)?;
        }
        Ok(files)
    }

    fn pods(&self) -> String {
        let pods = self.mesh.environment().pods().iter();
        let pods: Vec<String> = pods
            .map(|pod| format!("{} {}", pod.name, pod.address))
            .collect();
        pods.join(", ")
    }

    fn down(self: Box<Self>) -> Result<(), Error> {
        self.mesh.down().map(|_| ())
    }
}

fn copy(
    journal: &Path,
    write: &mut impl FnMut(String, &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let Some(name) = journal.file_name() else {
        return Ok(());
    };
    match fs::read(journal) {
        Ok(bytes) => write(name.to_string_lossy().into_owned(), &bytes),
        // Nobody has written anything yet.
        Err(_) => Ok(()),
    }
}

/// Whatever the adapter of a pod's sidecar can be asked for.
fn dumps(hall: &Hall, pod: &str) -> Vec<(String, String)> {
    let Ok(Some(sut)) = hall.mesh.sidecar_of(pod) else {
        return Vec::new();
    };
    let Ok(place) = hall.mesh.place(pod) else {
        return Vec::new();
    };
    sut.dumps
        .iter()
        .filter_map(|(name, url)| {
            let url = url.replace("{{admin}}", &place.admin.to_string());
            let (at, path) = http::split(&url).ok()?;
            let answer = http::get(hall.mesh.environment(), pod, at, &path);
            // One that does not answer has nothing to tell: that, too, is evidence.
            let text = answer.map_or_else(|error| error.to_string(), |answer| answer.body);
            Some((name.value.clone(), text))
        })
        .collect()
}

fn drawn(hall: &Hall) -> Result<Vec<DrawnPod>, Error> {
    let pods = hall.mesh.environment().pods().iter();
    pods.map(|pod| {
        let of_story = hall.mesh.pods().any(|name| name == pod.name);
        let sidecar = match of_story {
            true => hall.mesh.sidecar_of(&pod.name)?,
            false => None,
        };
        let runs = match pod.name.as_str() {
            REGISTRY => vec!["config center".to_owned()],
            VIP => vec!["VIP names".to_owned()],
            name if of_story && hall.mesh.has_app(name) => vec!["app".to_owned()],
            _ => vec!["caller".to_owned()],
        };
        Ok(DrawnPod {
            name: pod.name.clone(),
            address: pod.address.to_string(),
            sidecar: sidecar.map(|sut| sut.sut).unwrap_or_default(),
            runs,
        })
    })
    .collect()
}
