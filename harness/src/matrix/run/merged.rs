//! The results of shards as one run of the whole matrix: the same events, claims and causes,
//! whatever the order in which shards are named. It runs nothing.

use meshproof_record::event::Event;
use meshproof_record::verdict::{Verdict, overall};

use super::Ran;
use super::whole::{self, BLAME_CELLS_MAX, Told};
use crate::matrix::{Blamer, Cell, Error, Matrix, Part, Plan};

/// Cells that are named for one command at most; more come when these are there.
const NAMED_MAX: usize = 12;

/// Tells what shards have found out together. Where cells that nobody has run would bring a
/// failure down to fewer values, a finding names them behind `command`.
///
/// # Errors
/// A result is of a cell that this matrix does not have.
pub fn merge(
    matrix: &Matrix,
    plan: &Plan,
    part: &Part,
    command: &str,
    tell: &mut dyn FnMut(Event),
) -> Result<Told, Error> {
    let mut ran: Vec<(Cell, Ran)> = Vec::new();
    for one in part.results() {
        ran.push((matrix.find(plan, &one.case.about)?, one));
    }
    // As a run has them: the plan first, then what was run to find causes.
    let place = |cell: &Cell| plan.cells.iter().position(|one| one.id == cell.id);
    ran.sort_by_key(|(cell, _)| (place(cell).unwrap_or(usize::MAX), cell.id.clone()));
    let flaky = part.flaky();
    for (cell, one) in &mut ran {
        if flaky.contains(&cell.id.as_str()) {
            for claim in &mut one.case.claims {
                claim.flaky = claim.verdict == Verdict::Fail;
            }
            one.case.verdict = overall(&one.case.claims);
        }
    }
    tell(Event::Planned {
        name: matrix.name().to_owned(),
        axes: matrix.record_axes(),
        cases: plan
            .cells
            .iter()
            .map(|cell| (cell.id.clone(), cell.choices.clone()))
            .collect(),
    });
    let finding = |name: &str, text: String| Event::Finding {
        name: name.into(),
        text,
    };
    for text in &plan.findings {
        tell(finding("plan", text.clone()));
    }
    for (cell, one) in &ran {
        tell(Event::CaseStarted {
            case: cell.id.clone(),
        });
        tell(Event::CaseEnded {
            case: one.case.clone(),
        });
    }
    for id in flaky {
        tell(finding(
            "flaky",
            format!("cell {id} gave different results"),
        ));
    }
    let heard = |cells_max| {
        let mut blamer = Blamer::new(matrix, cells_max);
        for (cell, one) in &ran {
            blamer.heard(cell, whole::outcome(one));
        }
        blamer
    };
    let wanted = heard(BLAME_CELLS_MAX).wanted();
    // With nothing left to ask for, each cause is told as far as it is known.
    let blames = heard(0).done();
    for blame in &blames {
        tell(Event::Blamed {
            blame: blame.clone(),
        });
    }
    if !wanted.is_empty() {
        let named = wanted.iter().take(NAMED_MAX);
        let named: Vec<String> = named
            .map(|cell| format!("--cell {}", cell.written()))
            .collect();
        let text = format!(
            "{} cells that no shard has run would tell more of the cause; run some and give their \
             record as well: {command} {}",
            wanted.len(),
            named.join(" ")
        );
        tell(finding("blame", text));
    }
    let mut claims = vec![whole::cells(&plan.cells, &ran, &blames)];
    claims.extend(whole::escapes(&ran));
    claims.push(whole::coverage(matrix, plan, &ran, tell));
    Ok(Told {
        claims,
        blames,
        ran: ran.into_iter().map(|(_, ran)| ran).collect(),
        interrupted: false,
    })
}
