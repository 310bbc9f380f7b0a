//! A program that gets no further descriptors.

use std::fs;
use std::io;

use rustix::process::{Resource, Rlimit, prlimit};

use super::Target;
use crate::spec::Kind;
use crate::{
    Backend, Count, Error, Evidence, Hold, Leftover, Plan, Refusal, Residue, Scene, Spec, Way,
};

/// The limit of open descriptors, lowered to what the program has open.
#[derive(Debug)]
pub struct Limits;

impl Backend for Limits {
    fn way(&self) -> Way {
        Way::Limits
    }

    fn preflight(&self, spec: &Spec, scene: &Scene) -> Result<Plan, Refusal> {
        let kind = spec.kind.value;
        if kind != Kind::Descriptors {
            return Err(Refusal::Inexact(format!(
                "a limit of descriptors does no {kind}"
            )));
        }
        let target = Target::of(scene)?;
        let free = lowest_free(target).map_err(|error| Refusal::Missing {
            missing: format!("a look at its descriptors: {error}"),
            advice: "run as its user, or as root".to_owned(),
        })?;
        let order = format!("prlimit --pid {} --nofile={free}:", target.process);
        let mut plan = target.plan(Way::Limits, spec, scene, order)?;
        plan.doubts = vec![
            "a program that closes one may open one; one that knows its limit may raise it"
                .to_owned(),
        ];
        Ok(plan)
    }

    fn apply(&self, plan: &Plan, _: &Scene) -> Result<Box<dyn Hold>, Error> {
        let target = Target::of_plan(plan)?;
        let process = target.process;
        let told =
            |error| Error::io(format!("the limit of descriptors of process {process}"))(error);
        let free = lowest_free(target).map_err(told)?;
        let before = limit(target).map_err(told)?;
        let lowered = Rlimit {
            current: Some(free),
            maximum: before.maximum,
        };
        set(target, lowered).map_err(told)?;
        Ok(Box::new(Lowered {
            target,
            to: free,
            before: Some(before),
        }))
    }
}

struct Lowered {
    target: Target,
    to: u64,
    before: Option<Rlimit>,
}

impl Lowered {
    fn lift(&mut self) -> io::Result<()> {
        match self.before.take() {
            // Where the program has changed it meanwhile, that is its own affair.
            Some(before)
                if self.target.is_there()
                    && limit(self.target).is_ok_and(|now| now.current == Some(self.to)) =>
            {
                set(self.target, before)
            }
            _ => Ok(()),
        }
    }
}

impl Hold for Lowered {
    fn evidence(&mut self) -> Result<Evidence, Error> {
        let full = lowest_free(self.target).is_ok_and(|free| free >= self.to);
        let mut evidence = Evidence {
            counts: vec![Count {
                what: format!("descriptors open, and no number free below {}", self.to),
                met: if full { self.to } else { 0 },
            }],
            ..Evidence::default()
        };
        if !full {
            evidence
                .reasons
                .push("the program has closed some meanwhile".to_owned());
        }
        Ok(evidence)
    }

    fn heal(&mut self) -> Result<Residue, Error> {
        self.lift().map_err(Error::io("lifting a limit"))?;
        let mut residue = Residue {
            looked_at: vec![format!("the limits of process {}", self.target.process)],
            ..Residue::default()
        };
        let now = limit(self.target).ok().and_then(|now| now.current);
        if self.target.is_there() && now == Some(self.to) {
            residue.left.push(Leftover {
                kind: "limit".to_owned(),
                what: format!(
                    "{} descriptors for process {}",
                    self.to, self.target.process
                ),
                whose: crate::backend::TAG.to_owned(),
                advice: format!("prlimit --pid {} --nofile=…:", self.target.process),
            });
        }
        Ok(residue)
    }
}

impl Drop for Lowered {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = self.lift();
    }
}

/// The lowest number that no descriptor of the program has: the next one that it would get.
fn lowest_free(target: Target) -> io::Result<u64> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(format!("/proc/{}/fd", target.process))? {
        let name = entry?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    let gap = (0_u64..).zip(&numbers).find(|(at, number)| at != *number);
    Ok(gap.map_or(numbers.len() as u64, |(at, _)| at))
}

/// The limit of another process is told by a text alone.
fn limit(target: Target) -> io::Result<Rlimit> {
    let text = fs::read_to_string(format!("/proc/{}/limits", target.process))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let mut words = line.unwrap_or_default().split_whitespace();
    let mut next = || match words.next() {
        Some("unlimited") => Ok(None),
        Some(number) => number
            .parse()
            .map(Some)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidData)),
        None => Err(io::Error::from(io::ErrorKind::InvalidData)),
    };
    Ok(Rlimit {
        current: next()?,
        maximum: next()?,
    })
}

fn set(target: Target, to: Rlimit) -> io::Result<()> {
    prlimit(Some(target.pid()?), Resource::Nofile, to)?;
    Ok(())
}
