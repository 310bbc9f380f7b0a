//! Plans, evidence and residue on a terminal.

use std::io::{self, Write};

use meshproof_fault::leftovers::Survey;
use meshproof_fault::spec::Subject;
use meshproof_fault::{Leftover, Plan, Refusal, Way};
use serde::Serialize;

/// Flows that are told one by one.
const FLOWS_TOLD: usize = 10;

pub(super) fn json(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    writeln!(out, "{}", serde_json::to_string_pretty(value)?)
}

pub(super) fn plan(out: &mut impl Write, plan: &Plan, place: &str) -> io::Result<()> {
    writeln!(out, "{} ({place})", plan.spec)?;
    writeln!(out, "  way    {}", plan.why)?;
    writeln!(
        out,
        "  killed {}",
        match plan.way.when_all_are_killed() {
            meshproof_fault::Afterlife::Gone =>
                "if this command and its keeper are killed at once, the kernel takes it away",
            meshproof_fault::Afterlife::Journalled =>
                "best effort: if this command and its keeper are killed at once, it stays until \
                 `meshproof fault heal`",
            meshproof_fault::Afterlife::Stays => "it stays until somebody undoes it",
        }
    )?;
    if plan.spec.subject() == Subject::Frames {
        list(out, "not", &not_taken(plan))?;
    }
    list(out, "needs", &plan.needs)?;
    for rule in &plan.rules {
        writeln!(out, "  rule   {}", rule.exact)?;
    }
    for line in plan.rules.iter().filter_map(|rule| rule.iptables.as_ref()) {
        writeln!(out, "  as     {line}")?;
    }
    match plan.flows_all {
        0 => writeln!(out, "  meets  no connection that stands")?,
        all => writeln!(out, "  meets  {all} connections that stand")?,
    }
    for flow in plan.flows.iter().take(FLOWS_TOLD) {
        writeln!(out, "         {flow}")?;
    }
    let more = plan.flows_all.saturating_sub(FLOWS_TOLD as u64);
    if more > 0 {
        writeln!(out, "         and {more} more")?;
    }
    list(out, "hits", &plan.also_hit)?;
    list(out, "doubt", &plan.doubts)
}

/// Why exact frames are not done nearer to the kernel.
fn not_taken(plan: &Plan) -> Vec<String> {
    let near = |way: Way| {
        matches!(
            way,
            Way::NftOwner
                | Way::IptablesNft
                | Way::IptablesLegacy
                | Way::Sockhash
                | Way::Tap
                | Way::Netem
        )
    };
    let ways = plan.passed_over.iter().filter(|(way, _)| near(*way));
    ways.map(|(way, refusal)| match refusal {
        Refusal::Missing { .. } => format!("{way}: UNSUPPORTED(machine): {refusal}"),
        Refusal::Inexact(why) => format!("{way}: {why}"),
    })
    .collect()
}

fn list(out: &mut impl Write, word: &str, lines: &[String]) -> io::Result<()> {
    for line in lines {
        writeln!(out, "  {word:<6} {line}")?;
    }
    Ok(())
}

pub(super) fn survey(out: &mut impl Write, survey: &Survey, place: &str) -> io::Result<()> {
    let told = |out: &mut dyn Write, word: &str, left: &Leftover| {
        writeln!(out, "{word:<9} {left}\n          {}", left.advice)
    };
    for left in &survey.left {
        told(out, "LEFT", left)?;
    }
    for left in &survey.suspects {
        told(out, "suspect", left)?;
    }
    for lease in &survey.in_force {
        writeln!(out, "{:<9} {lease}", "in force")?;
    }
    for why in &survey.unseen {
        writeln!(out, "{:<9} {why}", "unseen")?;
    }
    writeln!(
        out,
        "{} left behind, {} suspects, {} in force, in {place}: {}",
        survey.left.len(),
        survey.suspects.len(),
        survey.in_force.len(),
        survey.looked_at.join(", ")
    )
}
