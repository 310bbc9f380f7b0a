//! What is printed: lists, plans, progress, the table of bugs.

use std::io::{self, Write};

use comfy_table::Table;
use meshproof_harness::scenario::prove::{self, Mark};
use meshproof_harness::scenario::{Story, plan, shipped};
use meshproof_record::verdict::Verdict;

use crate::exit::{self, Failure};

/// The stories and topologies that ship.
pub(super) fn shipped() -> Result<u8, Failure> {
    let about = |text: &str| {
        let mut lines = text.lines();
        let about = lines.find_map(|line| line.strip_prefix("about: "));
        about.unwrap_or_default().to_owned()
    };
    let mut out = io::stdout().lock();
    for (title, files) in [
        ("STORY", shipped::STORIES),
        ("STORY OF faults", shipped::FAULTS),
        ("TOPOLOGY", shipped::TOPOLOGIES),
    ] {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header([title, "ABOUT"]);
        for (name, text) in files {
            table.add_row([(*name).to_owned(), about(text)]);
        }
        for line in table.to_string().lines() {
            writeln!(out, "{}", line.trim())?;
        }
    }
    Ok(exit::OK)
}

/// What would be done, numbered.
pub(super) fn plans(stories: &[Story]) -> Result<u8, Failure> {
    let mut out = io::stdout().lock();
    for (number, story) in stories.iter().enumerate() {
        if number > 0 {
            writeln!(out)?;
        }
        let scenario = &story.scenario;
        writeln!(out, "{}: {}", scenario.scenario, scenario.about)?;
        let pods: Vec<&str> = story
            .mesh
            .pods
            .iter()
            .map(|(pod, _)| pod.as_str())
            .collect();
        writeln!(out, "     on {}: {}", story.mesh.topology, pods.join(", "))?;
        for line in plan(scenario) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(exit::OK)
}

/// Bug by story: C caught, M missed, ? unclear.
pub(super) fn table(out: &mut dyn Write, table: &prove::Table) -> io::Result<()> {
    let column = |number: usize| {
        // A column needs a letter; what it stands for is told below.
        let letters = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        letters
            .get(number)
            .map_or('+', |letter| char::from(*letter))
    };
    let longest = table.bugs.iter().map(|(bug, _)| bug.len()).max();
    let width = longest.unwrap_or(0).max("all bugs off".len());
    let heads: String = (0..table.stories.len()).map(column).collect();
    writeln!(out, "{:width$}  {heads}", "bug")?;
    let off: String = table
        .off
        .iter()
        .map(|verdict| match verdict {
            Verdict::Pass | Verdict::Known => 'P',
            Verdict::Fail => 'F',
            Verdict::Invalid => '?',
            Verdict::Unsupported => '-',
        })
        .collect();
    writeln!(out, "{:width$}  {off}", "all bugs off")?;
    for (bug, marks) in &table.bugs {
        let letters: String = marks.iter().map(|mark| Mark::letter(*mark)).collect();
        writeln!(out, "{bug:width$}  {letters}")?;
    }
    writeln!(
        out,
        "{:width$}  P held, F did not; C caught, M missed, ? unclear, - not run",
        ""
    )?;
    for (number, story) in table.stories.iter().enumerate() {
        writeln!(out, "  {} {story}", column(number))?;
    }
    writeln!(out)
}
