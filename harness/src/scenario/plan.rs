//! The numbered plan of a story: what would be done, in order.

use std::fmt;

use meshproof_input::Spanned;

use super::model::{Scenario, Step};
use super::say;

/// One line of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Counts from 1, through all levels.
    pub number: u32,
    /// How deep it stands: 0 is the story itself.
    pub depth: usize,
    /// The branch that it belongs to, of steps that happen side by side.
    pub branch: Option<String>,
    /// As a reader would say it.
    pub text: String,
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let indent = self.depth * 2;
        write!(f, "{:>3}. {:indent$}", self.number, "")?;
        if let Some(branch) = &self.branch {
            write!(f, "[{branch}] ")?;
        }
        f.write_str(&self.text)
    }
}

/// Every step of a story, in the order in which they begin when branches take turns.
pub fn plan(story: &Scenario) -> Vec<Planned> {
    let lines = numbered(&story.steps).into_iter();
    lines.map(Numbered::planned).collect()
}

/// A step and where it stands, as [`Planned`] has it.
pub(super) struct Numbered<'s> {
    pub(super) number: u32,
    depth: usize,
    branch: Option<&'s str>,
    pub(super) step: &'s Step,
}

impl Numbered<'_> {
    fn planned(self) -> Planned {
        Planned {
            number: self.number,
            depth: self.depth,
            branch: self.branch.map(str::to_owned),
            text: say::step(self.step),
        }
    }
}

/// These steps and those in them, in the order of a plan.
pub(super) fn numbered(steps: &[Spanned<Step>]) -> Vec<Numbered<'_>> {
    let mut lines = Vec::new();
    enter(steps, 0, None, &mut lines);
    lines
}

fn enter<'s>(
    steps: &'s [Spanned<Step>],
    depth: usize,
    branch: Option<&'s str>,
    lines: &mut Vec<Numbered<'s>>,
) {
    for step in steps {
        let number = u32::try_from(lines.len() + 1).unwrap_or(u32::MAX);
        lines.push(Numbered {
            number,
            depth,
            branch,
            step,
        });
        match &step.value {
            Step::Within(within) => enter(&within.steps, depth + 1, branch, lines),
            Step::When(when) => {
                enter(&when.meanwhile, depth + 1, Some("meanwhile"), lines);
                enter(&when.steps, depth + 1, Some("then"), lines);
            }
            Step::Parallel(branches) => {
                for (name, steps) in branches {
                    enter(steps, depth + 1, Some(name.as_str()), lines);
                }
            }
            _ => {}
        }
    }
}

/// How many steps stand in these, themselves and nested ones.
pub(crate) fn count(steps: &[Spanned<Step>]) -> u32 {
    steps
        .iter()
        .map(|step| {
            1 + match &step.value {
                Step::Within(within) => count(&within.steps),
                Step::When(when) => count(&when.meanwhile) + count(&when.steps),
                Step::Parallel(branches) => branches.iter().map(|(_, steps)| count(steps)).sum(),
                _ => 0,
            }
        })
        .sum()
}
