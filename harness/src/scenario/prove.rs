//! Whether stories catch what they claim to: one run with all bugs off, then each bug against the
//! stories that claim it.

use std::collections::BTreeMap;

use meshproof_record::case::{Case, CaseKind};
use meshproof_record::verdict::{Claim, Verdict};

use super::Story;
use super::suite::{Job, id};

/// What is run: every story with all bugs off, then every bug against its stories.
pub fn jobs(stories: &[Story], bugs: &[&str]) -> Vec<Job> {
    let off = (0..stories.len()).map(|story| Job { story, bug: None });
    let on = bugs.iter().flat_map(|bug| {
        let claims = move |story: &Story| {
            let mut catches = story.scenario.catches.iter();
            catches.any(|one| one.as_str() == *bug)
        };
        let numbered = stories.iter().enumerate();
        numbered
            .filter(move |(_, story)| claims(story))
            .map(|(story, _)| Job {
                story,
                bug: Some((*bug).to_owned()),
            })
    });
    off.chain(on).collect()
}

/// What came of a story with a bug on, or with all off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It is not there to catch this.
    Nothing,
    /// It failed, as it was to.
    Caught,
    /// It held, and was to fail.
    Missed,
    /// It supports no word.
    Unclear,
}

impl Mark {
    /// A letter in a table.
    pub fn letter(self) -> char {
        match self {
            Mark::Nothing => '.',
            Mark::Caught => 'C',
            Mark::Missed => 'M',
            Mark::Unclear => '?',
        }
    }
}

/// Bug by story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Names of the stories: the columns.
    pub stories: Vec<String>,
    /// With all bugs off.
    pub off: Vec<Verdict>,
    /// For each bug, what each story made of it.
    pub bugs: Vec<(String, Vec<Mark>)>,
}

/// The table of what ran.
pub fn table(stories: &[Story], bugs: &[&str], cases: &[Case]) -> Table {
    let by_id: BTreeMap<&str, &Case> = cases.iter().map(|case| (&case.id[..], case)).collect();
    let verdict =
        |story: &Story, bug: Option<&str>| by_id.get(&id(story, bug)[..]).map(|case| case.verdict);
    let mark = |story: &Story, bug: &str| {
        let mut catches = story.scenario.catches.iter();
        if !catches.any(|one| one.as_str() == bug) {
            return Mark::Nothing;
        }
        // A story that fails anyway catches nothing.
        let holds = verdict(story, None) == Some(Verdict::Pass);
        match verdict(story, Some(bug)) {
            Some(Verdict::Pass) if holds => Mark::Caught,
            Some(Verdict::Fail) => Mark::Missed,
            _ => Mark::Unclear,
        }
    };
    Table {
        stories: stories.iter().map(|story| id(story, None)).collect(),
        off: stories
            .iter()
            .map(|story| verdict(story, None).unwrap_or(Verdict::Invalid))
            .collect(),
        bugs: bugs
            .iter()
            .map(|bug| {
                let marks = stories.iter().map(|story| mark(story, bug)).collect();
                ((*bug).to_owned(), marks)
            })
            .collect(),
    }
}

impl Table {
    /// What the table shows: that stories hold with all bugs off, and that each bug is caught by
    /// every story that claims to, by one at least.
    pub fn claims(&self, cases: &[Case]) -> Vec<Claim> {
        let red: Vec<&str> = cases
            .iter()
            .filter(|case| case.kind != CaseKind::Proof)
            .filter(|case| matches!(case.verdict, Verdict::Fail | Verdict::Invalid))
            .map(|case| &case.id[..])
            .collect();
        let ran = self
            .off
            .iter()
            .filter(|verdict| **verdict != Verdict::Unsupported)
            .count();
        let off = match red.is_empty() {
            true => Claim::new(
                "off",
                Verdict::Pass,
                format!("{ran} stories hold with all bugs off"),
            ),
            false => Claim::new(
                "off",
                Verdict::Fail,
                format!("with all bugs off not held: {}", red.join(", ")),
            ),
        };
        let mut missed = Vec::new();
        let mut caught = 0;
        for (bug, marks) in &self.bugs {
            let has = |mark| marks.contains(&mark);
            if has(Mark::Caught) && !has(Mark::Missed) && !has(Mark::Unclear) {
                caught += 1;
                continue;
            }
            let by: Vec<&str> = marks
                .iter()
                .zip(&self.stories)
                .filter(|(mark, _)| matches!(mark, Mark::Missed | Mark::Unclear))
                .map(|(_, story)| &story[..])
                .collect();
            missed.push(match by.is_empty() {
                true => format!("{bug} (nothing claims to catch it)"),
                false => format!("{bug} (by {})", by.join(", ")),
            });
        }
        let of = self.bugs.len();
        let on = match missed.is_empty() {
            true => Claim::new(
                "on",
                Verdict::Pass,
                format!("{caught} of {of} bugs are caught"),
            ),
            false => Claim::new(
                "on",
                Verdict::Fail,
                format!(
                    "{caught} of {of} bugs are caught; not caught: {}",
                    missed.join(", ")
                ),
            ),
        };
        vec![off, on]
    }
}
