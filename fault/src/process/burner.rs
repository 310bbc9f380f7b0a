//! Less processor time, less memory: children of the keeper take it.
//!
//! A burner is our own executable run again. It dies with the thread that started it (the keeper
//! has one), so nothing is left of it whatever happens to the keeper; a quota of a control group
//! would stay.

use std::ffi::OsString;
use std::fs;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use meshproof_sys::namespaces::die_with_parent;
use rustix::process::{Pid, getppid};
use rustix::thread::{sched_getaffinity, sched_setaffinity};

use super::Target;
use crate::spec::Kind;
use crate::{
    Backend, Count, Error, Evidence, Hold, Leftover, Plan, Refusal, Residue, Scene, Spec, Way,
};

/// The name of the stage.
pub(crate) const BURNER: &str = "burner";

/// Burners for each processor that the program may use: it gets one part of so many and one.
const PER_PROCESSOR: usize = 4;

/// Burners at most.
const BURNERS_MAX: usize = 256;

/// Memory that a burner takes at most, in bytes.
const MEMORY_BYTES_MAX: u64 = 1 << 40;

/// Bytes of a page, at least: one byte of each is written.
const PAGE: usize = 4096;

/// Processor time and memory.
#[derive(Debug)]
pub struct Burner;

impl Backend for Burner {
    fn way(&self) -> Way {
        Way::Burner
    }

    fn preflight(&self, spec: &Spec, scene: &Scene) -> Result<Plan, Refusal> {
        let kind = spec.kind.value;
        let target = Target::of(scene)?;
        let looked = |what: &str, error: io::Error| Refusal::Missing {
            missing: format!("{what}: {error}"),
            advice: "mount /proc".to_owned(),
        };
        match kind {
            Kind::Cpu => {
                waited_ns(target)
                    .map_err(|error| looked("how long programs wait (CONFIG_SCHED_INFO)", error))?;
                let processors = processors(target).map_err(|error| looked("processors", error))?;
                let burners = burners(processors);
                let order = format!("{burners} children that compute, on {processors} processors");
                let mut plan = target.plan(Way::Burner, spec, scene, order)?;
                plan.also_hit = vec!["every program on these processors".to_owned()];
                Ok(plan)
            }
            Kind::Memory => {
                let free =
                    available().map_err(|error| looked("how much memory there is", error))?;
                let order = format!(
                    "a child that takes {} MiB, half of what is left",
                    (free / 2) >> 20
                );
                let mut plan = target.plan(Way::Burner, spec, scene, order)?;
                plan.also_hit = vec![
                    "every program of the machine, or of the control group; the child is the \
                     first that the kernel kills"
                        .to_owned(),
                ];
                Ok(plan)
            }
            _ => Err(Refusal::Inexact(format!("a burner does no {kind}"))),
        }
    }

    fn apply(&self, plan: &Plan, _: &Scene) -> Result<Box<dyn Hold>, Error> {
        let target = Target::of_plan(plan)?;
        let told = Error::io("burners");
        match plan.spec.kind.value {
            Kind::Cpu => burn(target).map_err(told),
            Kind::Memory => available()
                .and_then(|free| take(free / 2))
                .map(|taken| Box::new(taken) as Box<dyn Hold>)
                .map_err(told),
            _ => Err(Error::Refused("a plan that is not of this way".to_owned())),
        }
    }
}

fn burners(processors: usize) -> usize {
    (processors * PER_PROCESSOR).min(BURNERS_MAX)
}

/// Processors that the program may use.
fn processors(target: Target) -> io::Result<usize> {
    let set = sched_getaffinity(Some(target.pid()?))?;
    Ok(set.count() as usize)
}

/// Memory that could be had without swapping, in bytes.
fn available() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    let number = number.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok((number << 10).min(MEMORY_BYTES_MAX))
}

/// How long all tasks of the program, together, have waited for a processor, in nanoseconds.
fn waited_ns(target: Target) -> io::Result<u64> {
    let mut waited = 0;
    for task in fs::read_dir(format!("/proc/{}/task", target.process))? {
        // Ended while it was listed.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else {
            continue;
        };
        let number = text
            .split_whitespace()
            .nth(1)
            .and_then(|word| word.parse::<u64>().ok());
        waited += number.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    }
    Ok(waited)
}

/// Children, killed and waited for at their end.
struct Children(Vec<Child>);

impl Children {
    fn end(&mut self) {
        for child in &mut self.0 {
            // It may have been killed already.
            let _ = child.kill();
        }
        for mut child in self.0.drain(..) {
            let _ = child.wait();
        }
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.end();
    }
}

/// Starts one; it says one byte when it is at work.
#[expect(clippy::disallowed_methods, reason = "burners are started here")]
fn start(what: &str, amount: u64) -> io::Result<(Child, ChildStdout)> {
    let parent = rustix::process::getpid().as_raw_nonzero().to_string();
    let mut arguments: Vec<OsString> = crate::keeper::arguments_of(BURNER);
    arguments.extend([what.into(), amount.to_string().into(), parent.into()]);
    let mut child = Command::new("/proc/self/exe")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let said = child
        .stdout
        .take()
        .ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
    Ok((child, said))
}

fn started(children: &mut Children, what: &str, amount: u64) -> io::Result<()> {
    let (child, mut said) = start(what, amount)?;
    children.0.push(child);
    said.read_exact(&mut [0])
}

fn burn(target: Target) -> io::Result<Box<dyn Hold>> {
    let before_ns = waited_ns(target)?;
    let mut children = Children(Vec::new());
    for _ in 0..burners(processors(target)?) {
        started(&mut children, "cpu", u64::from(target.process))?;
    }
    Ok(Box::new(Burning {
        target,
        before_ns,
        waited_ns: 0,
        children,
    }))
}

struct Burning {
    target: Target,
    before_ns: u64,
    waited_ns: u64,
    children: Children,
}

impl Hold for Burning {
    fn evidence(&mut self) -> Result<Evidence, Error> {
        if !self.children.0.is_empty()
            && let Ok(now_ns) = waited_ns(self.target)
        {
            // Tasks that ended take their time along.
            self.waited_ns = self.waited_ns.max(now_ns.saturating_sub(self.before_ns));
        }
        let mut evidence = Evidence {
            counts: vec![Count {
                what: format!(
                    "ms that process {} waited for a processor",
                    self.target.process
                ),
                met: self.waited_ns / 1_000_000,
            }],
            ..Evidence::default()
        };
        if evidence.is_empty() {
            evidence
                .reasons
                .push("the program wanted no processor".to_owned());
        }
        Ok(evidence)
    }

    fn heal(&mut self) -> Result<Residue, Error> {
        let _ = self.evidence();
        Ok(ended(&mut self.children))
    }
}

/// Ends them all, and looks whether they are gone.
fn ended(children: &mut Children) -> Residue {
    let numbers: Vec<u32> = children.0.iter().map(Child::id).collect();
    children.end();
    let own = rustix::process::getpid().as_raw_nonzero().to_string();
    let left = numbers
        .iter()
        // The number may be another's by now: ours has us as its parent.
        .filter(|number| super::fields(**number).is_some_and(|fields| fields.get(1) == Some(&own)))
        .map(|number| Leftover {
            kind: "task".to_owned(),
            what: format!("burner {number}"),
            whose: crate::backend::TAG.to_owned(),
            advice: format!("kill -KILL {number}"),
        })
        .collect();
    Residue {
        left,
        looked_at: vec![format!("{} children", numbers.len())],
    }
}

/// Starts a child that holds so many bytes.
fn take(bytes: u64) -> io::Result<Taken> {
    let mut children = Children(Vec::new());
    started(&mut children, "memory", bytes)?;
    Ok(Taken {
        bytes,
        held: 0,
        children,
    })
}

struct Taken {
    bytes: u64,
    held: u64,
    children: Children,
}

impl Hold for Taken {
    fn evidence(&mut self) -> Result<Evidence, Error> {
        for child in &self.children.0 {
            let status = fs::read_to_string(format!("/proc/{}/status", child.id()));
            let held = status.ok().and_then(|status| {
                let line = status
                    .lines()
                    .find_map(|line| line.strip_prefix("VmRSS:"))?;
                line.split_whitespace().next()?.parse::<u64>().ok()
            });
            self.held = held.map_or(self.held, |kib| kib << 10);
        }
        let mut evidence = Evidence {
            counts: vec![Count {
                what: format!("MiB of memory held, of {} MiB", self.bytes >> 20),
                met: self.held >> 20,
            }],
            ..Evidence::default()
        };
        if evidence.is_empty() {
            evidence
                .reasons
                .push("the kernel has killed what held it".to_owned());
        }
        Ok(evidence)
    }

    fn heal(&mut self) -> Result<Residue, Error> {
        let _ = self.evidence();
        Ok(ended(&mut self.children))
    }
}

/// The stage: what, how much, and whose child. Never returns but where it is not asked rightly.
pub(crate) fn run(arguments: impl Iterator<Item = OsString>) -> u8 {
    const USAGE: u8 = 2;
    let words: Vec<String> = arguments
        .filter_map(|word| word.into_string().ok())
        .collect();
    let [what, amount, parent] = &words[..] else {
        return USAGE;
    };
    let (Ok(amount), Ok(parent)) = (amount.parse::<u64>(), parent.parse::<i32>()) else {
        return USAGE;
    };
    // A parent that ended before the kernel was told is not told of any more.
    if die_with_parent().is_err() || getppid() != Pid::from_raw(parent) {
        return USAGE;
    }
    // Where memory runs out this is what the kernel takes first; it may always be said.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    let ready = || {
        io::stdout()
            .write_all(b"!")
            .and_then(|()| io::stdout().flush())
    };
    match what.as_str() {
        "cpu" => {
            let process = i32::try_from(amount).ok().and_then(Pid::from_raw);
            if let Ok(set) = sched_getaffinity(process) {
                // Where it is refused, the scheduler puts it somewhere.
                let _ = sched_setaffinity(None, &set);
            }
            if ready().is_err() {
                return USAGE;
            }
            let mut number = 1_u64;
            loop {
                number = black_box(
                    number
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1),
                );
            }
        }
        "memory" => {
            let bytes = usize::try_from(amount.min(MEMORY_BYTES_MAX)).unwrap_or(0);
            let mut held: Vec<u8> = Vec::new();
            if held.try_reserve_exact(bytes).is_err() {
                return USAGE;
            }
            held.resize(bytes, 0);
            for page in held.chunks_mut(PAGE) {
                if let Some(byte) = page.first_mut() {
                    // Pages that hold the same may be made one.
                    *byte = black_box(1);
                }
            }
            if ready().is_err() {
                return USAGE;
            }
            loop {
                std::thread::park();
                black_box(&held);
            }
        }
        _ => USAGE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_and_what_was_waited_is_told() {
        assert!(available().unwrap() > 0);
        let own = Target {
            process: std::process::id(),
            began: 0,
        };
        assert!(waited_ns(own).is_ok());
        assert!(processors(own).unwrap() >= 1);
    }

    #[test]
    fn a_burner_that_is_nobodys_child_does_nothing() {
        let words = |words: &[&str]| {
            words
                .iter()
                .map(OsString::from)
                .collect::<Vec<_>>()
                .into_iter()
        };
        assert_eq!(run(words(&[])), 2);
        assert_eq!(run(words(&["cpu", "1"])), 2);
        assert_eq!(run(words(&["cpu", "x", "1"])), 2);
    }
}
