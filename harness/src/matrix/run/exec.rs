//! One cell, carried out in a mesh.

use std::path::Path;
use std::time::Duration;

use meshproof_record::case::{Detail, FrameSeen, Moment};
use meshproof_sys::clock::Nanos;

use super::judge::{Answer, Observed, Round};
use super::make::{Act, Made, Restart};
use super::{FRAMES_KEPT, files};
use crate::Error;
use crate::capture::{self, Captured};
use crate::mesh::call::Called;
use crate::mesh::control::{End, Part};
use crate::mesh::{Call, Mesh, REGISTRY, Style};
use crate::watch::Presence;

/// How long calls that have ended may take to show in the journals of apps.
const SETTLE: Duration = Duration::from_secs(1);

/// How long whoever came back may take to be known again: leases are renewed each second.
const KNOWN: Duration = Duration::from_secs(15);

/// As a sentence has it.
pub(crate) fn style_word(style: Style) -> &'static str {
    match style {
        Style::Sync => "sync",
        Style::Oneway => "oneway",
        Style::Exception => "exception",
        Style::Timeout => "timeout",
        Style::Heartbeat => "heartbeat",
        Style::Large => "large",
    }
}

/// How many acts are left out once one round has failed: a failure is decided then, and what comes
/// after it says less of its cause than of what it left behind. None: go on.
pub(crate) fn left_out(seen: &Observed, acts: &[Act], done: usize) -> Option<usize> {
    let failed = seen.rounds.last().is_some_and(|round| !round.is_right());
    failed.then(|| acts.len().saturating_sub(done))
}

/// Carries out what a cell does, in a mesh that is up and writes into `folder`; until `end`.
pub(super) fn carry_out(
    mesh: &Mesh,
    made: &Made,
    folder: &Path,
    end: Nanos,
) -> Result<Observed, Error> {
    let mut seen = Observed::default();
    let mut calls = 0;
    for (done, act) in made.acts.iter().enumerate() {
        if let Some(left) = left_out(&seen, &made.acts, done) {
            seen.left_out = left;
            break;
        }
        if Nanos::now() > end {
            seen.stuck = Some("the budget of the cell was over before its work was".into());
            break;
        }
        let done = match act {
            Act::Call(call) => {
                calls += 1;
                one_round(mesh, call, calls, folder).map(|round| seen.rounds.push(round))
            }
            Act::Restart(what) => {
                // A one-way that is on its way when its client ends would end with the app.
                let answers = answers(&seen);
                files::settled(folder, &answers, SETTLE).map_err(journals())?;
                restart(mesh, *what)
            }
        };
        match done {
            Ok(()) => {}
            Err(error) => {
                seen.stuck = Some(stuck(error)?);
                break;
            }
        }
    }
    let answers = answers(&seen);
    let sightings = files::settled(folder, &answers, SETTLE).map_err(journals())?;
    seen.refused = sightings
        .iter()
        .flat_map(|(pod, lines)| {
            let refused = lines.iter().filter(|line| line.kind == "refused");
            refused.filter_map(|line| Some((pod.clone(), line.error.clone()?)))
        })
        .collect();
    seen.ledger = Some((answers.len() as u64, files::open(&answers, &sightings)));
    seen.escapes = mesh.escapes()?.map(|escapes| escapes.packets);
    Ok(seen)
}

fn journals() -> impl FnOnce(std::io::Error) -> Error {
    Error::io("the journals of a cell")
}

/// Every answer so far.
fn answers(seen: &Observed) -> Vec<Answer> {
    let rounds = seen.rounds.iter();
    rounds
        .flat_map(|round| round.answers.iter().cloned())
        .collect()
}

/// What did not come is a finding; whatever else went wrong is ours.
pub(super) fn stuck(error: Error) -> Result<String, Error> {
    match error {
        Error::NotReady { .. } | Error::Late { .. } => Ok(error.to_string()),
        other => Err(other),
    }
}

fn one_round(mesh: &Mesh, call: &Call, number: u32, folder: &Path) -> Result<Round, Error> {
    let Called {
        right,
        wrong,
        first,
        left_out,
        ..
    } = mesh.call(call)?;
    let journal = folder.join(format!("call-{number}-{}.jsonl", call.from));
    let what = || format!("the journal {}", journal.display());
    Ok(Round {
        style: style_word(call.style),
        wanted: call.count,
        right,
        wrong,
        first,
        left_out,
        answers: files::lines(&journal).map_err(Error::io(what()))?,
    })
}

/// Ends something and waits until it is back and known.
fn restart(mesh: &Mesh, what: Restart) -> Result<(), Error> {
    let pods: Vec<String> = mesh.pods().map(str::to_owned).collect();
    match what {
        Restart::Registry => mesh.restart_service(REGISTRY)?,
        Restart::App | Restart::Sidecar => {
            for pod in &pods {
                let behind = mesh.sidecar_of(pod)?.is_some();
                if what == Restart::Sidecar && behind {
                    mesh.restart(pod, Part::Sidecar, End::Kill)?;
                }
                // It makes itself known once: a sidecar that has forgotten it is told again.
                if mesh.has_app(pod) && (what == Restart::App || behind) {
                    mesh.restart(pod, Part::App, End::Kill)?;
                }
            }
        }
    }
    for pod in pods.iter().filter(|pod| mesh.has_app(pod)) {
        mesh.stands(pod, Presence::There, KNOWN)?;
    }
    Ok(())
}

/// What is needed to understand a failure: frames are those of the packets of its pods, or, where
/// nobody captured them, what the journals of apps tell.
pub(super) fn detail(
    mesh: &Mesh,
    case: &str,
    seen: &Observed,
    folder: &Path,
    captured: &[Captured],
) -> Detail {
    // What cannot be had of a mesh in trouble is left out: the verdict stands without it.
    let mut detail = mesh.detail(case).unwrap_or_default();
    detail.case = case.to_owned();
    if let Some((calls, open)) = &seen.ledger {
        detail.ledger = vec![("calls".into(), *calls)];
        detail.ledger.extend(open.iter().cloned());
    }
    match captured {
        [] => told_by_apps(mesh, folder, &mut detail),
        captured => on_the_wire(mesh, folder, captured, &mut detail),
    }
    detail.frames.sort_by_key(|frame| frame.at_ns);
    let more = detail.frames.len().saturating_sub(FRAMES_KEPT);
    detail.left_out += more as u64;
    detail.frames.truncate(FRAMES_KEPT);
    detail
}

/// Frames on the wire, and in the timeline those that apps refused: no frame says so.
fn on_the_wire(mesh: &Mesh, folder: &Path, captured: &[Captured], detail: &mut Detail) {
    let pods = mesh.environment().pods();
    let behind = |pod: &str| mesh.sidecar_of(pod).is_ok_and(|sut| sut.is_some());
    let (frames, left_out) = capture::frames(captured, pods, mesh.begun_ns(), &behind);
    detail.frames = frames;
    detail.left_out += left_out;
    for (pod, lines) in files::sightings(folder).unwrap_or_default() {
        for line in lines.into_iter().filter(|line| line.kind == "refused") {
            let why = line.error.unwrap_or_default();
            detail.timeline.push(Moment {
                at_ns: mesh.since_begun(line.at_us),
                seen_by: "app".to_owned(),
                what: format!("the app of pod {pod} refused a frame: {why}"),
            });
        }
    }
    detail.timeline.sort_by_key(|moment| moment.at_ns);
}

/// What apps saw, as frames that came to them.
fn told_by_apps(mesh: &Mesh, folder: &Path, detail: &mut Detail) {
    let pods = mesh.environment().pods();
    let Ok(seen) = files::sightings(folder) else {
        return;
    };
    for (pod, lines) in seen {
        let behind = mesh.sidecar_of(&pod).ok().flatten().is_some();
        for line in lines {
            let kind = match line.kind.as_str() {
                "request" | "oneway" | "heartbeat" => line.kind.clone(),
                "refused" => "request".to_owned(),
                _ => continue,
            };
            let peer = line.peer.split(':').next().unwrap_or_default();
            let from = pods
                .iter()
                .find(|other| other.address.to_string() == peer)
                .map_or_else(|| pod.clone(), |other| other.name.clone());
            let what = match (&line.error, &line.method) {
                (Some(error), _) => format!("refused: {error}"),
                (None, Some(method)) => format!("{method}, {}", line.outcome),
                (None, None) => line.outcome.clone(),
            };
            detail.frames.push(FrameSeen {
                at_ns: mesh.since_begun(line.at_us),
                at: pod.clone(),
                from,
                to: pod.clone(),
                port: if behind { 12199 } else { 12200 },
                protocol: line.protocol.clone(),
                kind,
                id: line.id.unwrap_or_default(),
                what,
            });
        }
    }
}
