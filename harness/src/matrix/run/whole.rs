//! A whole matrix: plan, cells, coverage, blame; told as events.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use jiff::civil::Date;
use meshproof_record::case::{Blame, Case, NotRun};
use meshproof_record::event::Event;
use meshproof_record::verdict::{Claim, Verdict};

use super::{News, Ran, Runner};
use crate::matrix::{Blamer, Cell, Matrix, Outcome, Plan, verify};

/// Cells that blame may ask for beyond the plan.
pub const BLAME_CELLS_MAX: usize = 120;

/// Which cells of a plan are run.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// They, in the order of the plan.
    pub cells: Vec<Cell>,
    /// Whether they are all that the matrix has: only then coverage is claimed, and failures are
    /// blamed on something.
    pub scope: Scope,
}

/// How much of a matrix is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole plan.
    Whole,
    /// A shard of it, or single cells: coverage is claimed when all shards are put together.
    Part,
}

/// What a matrix came to.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// The claims of the whole.
    pub claims: Vec<Claim>,
    /// What failures are blamed on, the one that explains most first.
    pub blames: Vec<Blame>,
    /// Every cell that ran, those of the plan first.
    pub ran: Vec<Ran>,
    /// Ctrl-C: cells were left out.
    pub interrupted: bool,
}

/// Runs it; every event is told as it happens, on this thread.
pub fn run_matrix(
    matrix: &Matrix,
    plan: &Plan,
    wanted: &Wanted,
    today: Date,
    runner: &Runner,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(Event),
) -> Told {
    tell(Event::Planned {
        name: matrix.name().to_owned(),
        axes: matrix.record_axes(),
        cases: wanted
            .cells
            .iter()
            .map(|cell| (cell.id.clone(), cell.choices.clone()))
            .collect(),
    });
    for finding in &plan.findings {
        tell(Event::Finding {
            name: "plan".into(),
            text: finding.clone(),
        });
    }
    let mut ran = some(matrix, &wanted.cells, today, runner, stop, tell);
    let blames = blame(matrix, wanted, today, &mut ran, runner, stop, tell);
    for blame in &blames {
        tell(Event::Blamed {
            blame: blame.clone(),
        });
    }
    for text in mended(matrix, &ran) {
        tell(Event::Finding {
            name: "known".into(),
            text,
        });
    }
    let interrupted = stop.load(Ordering::Relaxed);
    let mut claims = vec![cells(&wanted.cells, &ran, &blames)];
    if let Some(claim) = escapes(&ran) {
        claims.push(claim);
    }
    if wanted.scope == Scope::Whole {
        claims.push(coverage(matrix, plan, &ran, tell));
    }
    Told {
        claims,
        blames,
        ran: ran.into_iter().map(|(_, ran)| ran).collect(),
        interrupted,
    }
}

/// Runs cells, telling of each as it begins and ends.
fn some(
    matrix: &Matrix,
    cells: &[Cell],
    today: Date,
    runner: &Runner,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(Event),
) -> Vec<(Cell, Ran)> {
    let (told, news) = mpsc::channel();
    let ran = std::thread::scope(|scope| {
        let running = scope.spawn(move || {
            // Events are told on one thread, in the order in which they come.
            let told = std::sync::Mutex::new(told);
            runner.run(cells, stop, &|news| {
                let event = match news {
                    News::Started(cell) => Event::CaseStarted {
                        case: cell.id.clone(),
                    },
                    News::Ended(ran) => Event::CaseEnded {
                        case: known(matrix, cells, ran, today),
                    },
                };
                // Who hears it lives as long as this does.
                let _ = super::lock(&told).send(event);
            })
        });
        for event in news {
            tell(event);
        }
        running.join()
    });
    let mut ran = match ran {
        Ok(ran) => ran,
        Err(panic) => std::panic::resume_unwind(panic),
    };
    for ran in &mut ran {
        ran.case = known(matrix, cells, ran, today);
    }
    let cell_of = |ran: &Ran| cells.iter().find(|cell| cell.id == ran.case.id).cloned();
    ran.into_iter()
        .filter_map(|ran| Some((cell_of(&ran)?, ran)))
        .collect()
}

/// A failure that somebody knows of is KNOWN as long as its entry holds.
fn known(matrix: &Matrix, cells: &[Cell], ran: &Ran, today: Date) -> Case {
    let mut case = ran.case.clone();
    if case.verdict != Verdict::Fail {
        return case;
    }
    let cell = cells.iter().find(|cell| cell.id == case.id);
    let evidence = ran.evidence.first().map(String::as_str).unwrap_or_default();
    let entry = cell.and_then(|cell| matrix.known_of(cell, evidence, today));
    if let Some(entry) = entry {
        let why = format!("{}; {} until {}", entry.because, entry.owner, entry.expires);
        let (verdict, why) = match entry.holds_on(today) {
            true => (Verdict::Known, format!("known: {why}")),
            false => (
                Verdict::Fail,
                format!("known no more since it expired: {why}"),
            ),
        };
        case.claims.push(Claim::new("known", verdict, why));
        if verdict == Verdict::Known {
            for claim in &mut case.claims {
                if claim.verdict == Verdict::Fail {
                    claim.verdict = Verdict::Known;
                }
            }
        }
        case.verdict = match meshproof_record::verdict::overall(&case.claims) {
            // Claims that hold beside it do not make it a cell that passes: blame would take it for
            // a contradiction, and the entry would look mended.
            Verdict::Pass => verdict,
            other => other,
        };
    }
    case
}

/// Entries of known failures that no longer fail: cells hold their combination, all of them pass.
fn mended(matrix: &Matrix, ran: &[(Cell, Ran)]) -> Vec<String> {
    let mended = matrix.known().iter().filter_map(|entry| {
        let holds = |(cell, _): &&(Cell, Ran)| entry.combination.is_in(&cell.row);
        let verdicts: Vec<Verdict> = ran
            .iter()
            .filter(holds)
            .map(|(_, ran)| ran.case.verdict)
            .collect();
        let passed = |verdict: &Verdict| *verdict == Verdict::Pass;
        let all_pass = !verdicts.is_empty() && verdicts.iter().all(passed);
        all_pass.then(|| {
            let (words, count) = (matrix.words(&entry.combination), verdicts.len());
            let (because, owner, since) = (&entry.because, &entry.owner, entry.since);
            format!(
                "{words} no longer fails: all of its {count} cells pass; take the entry of {since} \
                 out ({because}; {owner})"
            )
        })
    });
    mended.collect()
}

/// Reduces failures to the smallest combinations, by running cells that differ in one axis.
fn blame(
    matrix: &Matrix,
    wanted: &Wanted,
    today: Date,
    ran: &mut Vec<(Cell, Ran)>,
    runner: &Runner,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(Event),
) -> Vec<Blame> {
    let fails = |(_, ran): &(Cell, Ran)| ran.case.verdict == Verdict::Fail;
    if wanted.scope == Scope::Part || !ran.iter().any(fails) {
        return Vec::new();
    }
    let mut blamer = Blamer::new(matrix, BLAME_CELLS_MAX);
    for (cell, ran) in ran.iter() {
        blamer.heard(cell, outcome(ran));
    }
    loop {
        let more = blamer.wanted();
        if more.is_empty() || stop.load(Ordering::Relaxed) {
            return blamer.done();
        }
        for (cell, one) in some(matrix, &more, today, runner, stop, tell) {
            blamer.heard(&cell, outcome(&one));
            ran.push((cell, one));
        }
    }
}

pub(super) fn outcome(ran: &Ran) -> Outcome {
    match (ran.case.verdict, ran.evidence.first()) {
        (Verdict::Pass, _) => Outcome::Pass,
        (Verdict::Fail, Some(signature)) => Outcome::Fail {
            signature: signature.clone(),
            evidence: ran.sentence.clone(),
        },
        _ => Outcome::Unknown,
    }
}

/// Every cell answers as it would without a mesh.
pub(super) fn cells(planned: &[Cell], ran: &[(Cell, Ran)], blames: &[Blame]) -> Claim {
    let of = |verdict: Verdict| {
        ran.iter()
            .filter(|(_, ran)| ran.case.verdict == verdict)
            .count()
    };
    let (passed, failed, invalid) = (of(Verdict::Pass), of(Verdict::Fail), of(Verdict::Invalid));
    let verdict = if failed > 0 {
        Verdict::Fail
    } else if invalid > 0 || ran.is_empty() {
        Verdict::Invalid
    } else if passed > 0 {
        Verdict::Pass
    } else if of(Verdict::Known) > 0 {
        Verdict::Known
    } else {
        Verdict::Unsupported
    };
    let mut why = format!("{passed} of {} cells answer as without a mesh", ran.len());
    if ran.len() > planned.len() {
        why += &format!(
            ", {} of them run to find the cause",
            ran.len() - planned.len()
        );
    }
    if let Some(blame) = blames.first() {
        why = format!("{}: {}; {why}", words(blame), blame.evidence);
    } else if let Some((_, first)) = ran.iter().find(|(_, ran)| ran.case.verdict == verdict)
        && verdict != Verdict::Pass
    {
        let said = first
            .case
            .claims
            .iter()
            .find(|claim| claim.verdict == verdict);
        let said = said.map(|claim| claim.why.as_str()).unwrap_or_default();
        why = format!("{why}; first {}: {said}", first.case.id);
    }
    match verdict {
        Verdict::Unsupported => {
            let lacking = ran.iter().find_map(|(_, ran)| {
                let mut claims = ran.case.claims.iter();
                claims.find_map(|claim| claim.lacking)
            });
            let lacking = lacking.unwrap_or(meshproof_record::verdict::Lacking::Machine);
            Claim::unsupported("cells", lacking, why)
        }
        verdict => Claim::new("cells", verdict, why),
    }
}

/// `client.mesh=reference ∧ providers=[bolt,tr]`.
fn words(blame: &Blame) -> String {
    let choices = blame.because.iter();
    let words: Vec<String> = choices
        .map(|choice| format!("{}={}", choice.axis, choice.value))
        .collect();
    words.join(" ∧ ")
}

/// Nothing of any cell tried to leave.
pub(super) fn escapes(ran: &[(Cell, Ran)]) -> Option<Claim> {
    let claims = || {
        ran.iter()
            .flat_map(|(_, ran)| &ran.case.claims)
            .filter(|claim| claim.name == "escapes")
    };
    if let Some(failed) = claims().find(|claim| claim.verdict == Verdict::Fail) {
        return Some(Claim::new("escapes", Verdict::Fail, failed.why.clone()));
    }
    let shown = claims()
        .filter(|claim| claim.verdict == Verdict::Pass)
        .count();
    (shown > 0).then(|| {
        let why = format!("0 packets tried to leave {shown} cells");
        Claim::new("escapes", Verdict::Pass, why)
    })
}

/// The verifier's word on what was covered.
pub(super) fn coverage(
    matrix: &Matrix,
    plan: &Plan,
    ran: &[(Cell, Ran)],
    tell: &mut dyn FnMut(Event),
) -> Claim {
    let shown = |ran: &Ran| {
        matches!(
            ran.case.verdict,
            Verdict::Pass | Verdict::Fail | Verdict::Known
        )
    };
    let ids: BTreeSet<String> = ran
        .iter()
        .filter(|(_, ran)| shown(ran))
        .map(|(cell, _)| cell.id.clone())
        .collect();
    let cut = plan.beyond.map(|all| {
        let left_out = all.saturating_sub(plan.cells.len());
        NotRun {
            case: format!("{left_out} cells beyond the budget"),
            why: format!(
                "`cover.cells` allows {}, and {all} would cover all",
                plan.cells.len()
            ),
        }
    });
    let why_cut = match &cut {
        Some(cut) => format!("; {}: {}", cut.case, cut.why),
        None => String::new(),
    };
    let not_run = plan
        .cells
        .iter()
        .filter(|cell| !ids.contains(&cell.id))
        .map(|cell| {
            let one = ran.iter().find(|(other, _)| other.id == cell.id);
            let claim = one.and_then(|(_, ran)| ran.case.claims.first());
            NotRun {
                case: cell.id.clone(),
                why: claim.map_or_else(|| "it was left out".into(), |claim| claim.why.clone()),
            }
        })
        .chain(cut)
        .collect();
    let verified = verify(matrix, &plan.cells, &ids, not_run);
    for finding in &verified.findings {
        tell(Event::Finding {
            name: "coverage".into(),
            text: finding.clone(),
        });
    }
    let (complete, sentence) = (verified.is_complete(), verified.sentence());
    tell(Event::Certified {
        certificate: verified.certificate,
    });
    let verdict = if complete {
        Verdict::Pass
    } else {
        Verdict::Invalid
    };
    Claim::new("coverage", verdict, format!("{sentence} ran{why_cut}"))
}
