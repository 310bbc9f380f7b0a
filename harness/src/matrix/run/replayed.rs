//! Cells that replay a capture in place of calls: one capture, rewritten once, through the mesh of
//! each cell; every answer beside the one that came without a mesh.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

use meshproof_record::case::Detail;
use meshproof_record::ledger::ReplayLedger;
use meshproof_record::row::ExchangeRow;
use meshproof_record::verdict::{Claim, Verdict, overall};
use meshproof_replay::map::Map;

use super::fits::fits_capture;
use super::judge::Judged;
use super::make::{order, sidecar};
use super::{FRAMES_KEPT, NotMade, Runner, exec};
use crate::matrix::{Cell, Matrix};
use crate::offline::fleet::{self, Order, Passed};
use crate::offline::folder::Failed;
use crate::offline::{Fleet, Sidecars};
use crate::{Error, capture};

/// The axes that cells of a replay are made from.
pub const REPLAY_AXES: [&str; 4] = ["client.mesh", "server.mesh", "registry_order", "site"];

/// The capture of a matrix, and what it is answered without a mesh.
#[derive(Debug)]
pub struct Replay {
    fleet: Fleet,
    reference: OnceLock<Result<Vec<ExchangeRow>, String>>,
}

/// What a cell's values say of its replay.
struct Asked {
    client: Option<String>,
    server: Option<String>,
    registry_order: String,
    site: Option<String>,
}

impl Asked {
    fn of(cell: &Cell, servers: &[String]) -> Result<Asked, NotMade> {
        Ok(Asked {
            client: sidecar(cell.text("client.mesh").unwrap_or("none")),
            server: sidecar(cell.text("server.mesh").unwrap_or("none")),
            registry_order: order(cell.text("registry_order").unwrap_or("as-is"), servers)?,
            site: cell.text("site").map(str::to_owned),
        })
    }

    /// The same without any mesh.
    fn without_mesh(servers: &[String]) -> Result<Asked, NotMade> {
        Ok(Asked {
            client: None,
            server: None,
            registry_order: order("as-is", servers)?,
            site: None,
        })
    }
}

impl Replay {
    /// Rewrites the capture of a matrix by its map into a folder, which must be empty or not
    /// there, and reads it.
    ///
    /// # Errors
    /// No mesh can be made from the capture, something of the original deployment is left, or an
    /// axis changes nothing for it.
    pub fn make(
        matrix: &Matrix,
        capture: &Path,
        map: &Map,
        folder: &Path,
    ) -> Result<Replay, Failed> {
        let fleet = Fleet::make(capture, map, folder)?;
        fits_capture(matrix, &fleet)?;
        Ok(Replay {
            fleet,
            reference: OnceLock::new(),
        })
    }
}

impl Runner {
    /// Runs a cell and judges it; also the files of its evidence.
    pub(super) fn replayed(
        &self,
        cell: &Cell,
        replay: &Replay,
    ) -> Result<(Judged, Vec<String>), Error> {
        let reference = replay.reference.get_or_init(|| self.without_mesh(replay));
        let reference = match reference {
            Ok(rows) => rows,
            Err(why) => {
                let judged = Judged {
                    claims: vec![Claim::new("reference", Verdict::Invalid, why.clone())],
                    ..Judged::default()
                };
                return Ok((judged, Vec::new()));
            }
        };
        let refused = |error: NotMade| Error::Refused(error.to_string());
        let asked = Asked::of(cell, &replay.fleet.servers()).map_err(refused)?;
        let folder = self.folder(&cell.id)?;
        let passed = match self.pass(replay, &asked, &folder) {
            Ok(passed) => passed,
            Err(error) => {
                let judged = stuck(exec::stuck(error)?);
                super::sweep(&folder);
                return Ok((judged, Vec::new()));
            }
        };
        let judged = judge(&passed, reference);
        let mut kept = Vec::new();
        if overall(&judged.claims) != Verdict::Pass {
            let detail = detail(&passed, &cell.id);
            kept = self.keep(cell, &detail, Some(&passed.mesh))?;
        }
        passed.mesh.down()?;
        super::sweep(&folder);
        Ok((judged, kept))
    }

    /// What is answered without a mesh; everything must be as it was recorded: what else could
    /// cells be held to?
    fn without_mesh(&self, replay: &Replay) -> Result<Vec<ExchangeRow>, String> {
        let told = |error: Error| format!("the replay without any mesh: {error}");
        let asked = Asked::without_mesh(&replay.fleet.servers())
            .map_err(|error| told(Error::Refused(error.to_string())))?;
        let folder = self.folder("reference").map_err(told)?;
        let passed = self.pass(replay, &asked, &folder).map_err(told)?;
        let failed = passed.through.judged.claims.iter();
        let mut failed = failed.filter(|claim| claim.verdict == Verdict::Fail);
        let rows = match failed.next() {
            None => Ok(passed.rows()),
            Some(claim) => Err(format!("without any mesh, {}: {}", claim.name, claim.why)),
        };
        passed.mesh.down().map_err(told)?;
        super::sweep(&folder);
        rows
    }

    fn pass(&self, replay: &Replay, asked: &Asked, folder: &Path) -> Result<Passed, Error> {
        let setting = self.setting(asked.site.as_deref(), folder)?;
        let order = Order {
            sidecars: Sidecars {
                client: asked.client.as_deref(),
                server: asked.server.as_deref(),
            },
            registry_order: &asked.registry_order,
            budget: self.options.budget,
            captures: &folder.join("packets"),
        };
        replay
            .fleet
            .pass(&order, &setting)
            .map_err(|failed| match failed {
                Failed::Mesh(error) => error,
                other => Error::Refused(other.to_string()),
            })
    }
}

fn stuck(why: String) -> Judged {
    let first = why.lines().next().unwrap_or_default().to_owned();
    Judged {
        claims: vec![Claim::new("mesh", Verdict::Fail, why)],
        evidence: vec![first.clone()],
        sentence: first,
    }
}

/// Judges a replay by what was recorded, by what each sidecar changed, and by the same replay
/// without a mesh.
fn judge(passed: &Passed, reference: &[ExchangeRow]) -> Judged {
    let mut claims = passed.through.judged.claims.clone();
    let mut evidence: Vec<String> = Vec::new();
    let mut sentences: Vec<String> = Vec::new();
    let answers = fleet::compare(reference, passed.rows());
    let mut claim = answers.claim();
    claim.name = "answers".to_owned();
    claim.why = format!("beside the replay without a mesh: {}", claim.why);
    // Of requests that expect no answer there is nothing to compare, with and without a mesh.
    let silent = answers.compared == 0 && passed.through.judged.ledger.answered == 0;
    if !(silent && claim.verdict == Verdict::Invalid) {
        claims.push(claim);
    }
    let paths: BTreeSet<&str> = answers
        .pairs
        .iter()
        .filter(|pair| pair.differs())
        .filter_map(|pair| pair.differences.iter().find(|it| it.judged))
        .map(|difference| difference.path.as_str())
        .collect();
    for path in paths {
        evidence.push(format!("answers are not those without a mesh: {path}"));
    }
    let symptoms = passed.through.symptoms();
    // What did not come often follows from something else.
    let late = |text: &&String| ["time-outs", "lost connections"].contains(&text.as_str());
    let (last, first): (Vec<&String>, Vec<&String>) = symptoms.0.iter().partition(late);
    evidence.extend(first.into_iter().chain(last).cloned());
    for (pod, report) in &passed.hops {
        let changed = report.changes.iter().filter(|it| !it.allowed);
        let told = changed.map(|it| format!("hop: {} {}", it.field, it.change));
        for text in told.collect::<BTreeSet<String>>() {
            if !evidence.contains(&text) {
                sentences.push(format!("{text} by the sidecar of {pod}"));
                evidence.push(text);
            }
        }
    }
    if passed.late {
        let why = "the budget of the cell was over before its work was";
        claims.push(Claim::new("mesh", Verdict::Fail, why));
        evidence.push(why.to_owned());
    }
    let failed: Vec<&Claim> = claims
        .iter()
        .filter(|claim| claim.verdict == Verdict::Fail)
        .collect();
    // A claim may fail for something that is no symptom of its own.
    if evidence.is_empty() {
        evidence.extend(failed.iter().map(|claim| format!("{} fails", claim.name)));
    }
    let sentence = failed.first().map(|claim| {
        let symptom = evidence.first().map(String::as_str).unwrap_or_default();
        format!("{symptom} ({}: {})", claim.name, claim.why)
    });
    Judged {
        sentence: sentence.unwrap_or_default(),
        claims,
        evidence,
    }
}

/// What is needed to understand a failure, with frames from the wire.
fn detail(passed: &Passed, case: &str) -> Detail {
    let mesh = &passed.mesh;
    // What cannot be had of a mesh in trouble is left out: the verdict stands without it.
    let mut detail = mesh.detail(case).unwrap_or_default();
    detail.case = case.to_owned();
    detail.ledger = rows(&passed.through.judged.ledger);
    let first = passed.through.hop.iter();
    let others = passed.hops.iter().map(|(_, report)| report);
    detail.changes = first
        .chain(others)
        .flat_map(|it| it.hop_changes())
        .collect();
    let pods = mesh.environment().pods();
    let behind = |pod: &str| mesh.sidecar_of(pod).is_ok_and(|sut| sut.is_some());
    let (mut frames, left_out) = capture::frames(&passed.captured, pods, mesh.begun_ns(), &behind);
    let more = frames.len().saturating_sub(FRAMES_KEPT);
    frames.truncate(FRAMES_KEPT);
    detail.frames = frames;
    detail.left_out += left_out + more as u64;
    detail
}

/// The sums of a replay in words and numbers; what is 0 is left out.
fn rows(ledger: &ReplayLedger) -> Vec<(String, u64)> {
    let of = |map: &std::collections::BTreeMap<String, u64>| map.values().sum::<u64>();
    let all = [
        ("recorded", ledger.recorded),
        ("sent", ledger.sent),
        ("refused", of(&ledger.refused)),
        ("left out", of(&ledger.skipped)),
        ("one-way", ledger.oneway),
        ("answered", ledger.answered),
        ("timed out", ledger.timed_out),
        ("lost", of(&ledger.lost)),
        ("compared", ledger.compared),
        ("late answers", ledger.late),
        ("surplus answers", ledger.surplus),
    ];
    let told = all.into_iter().filter(|(_, count)| *count > 0);
    told.map(|(what, count)| (what.to_owned(), count)).collect()
}
