//! What pods cost, and what cells leave behind.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use meshproof_record::verdict::Verdict;
use meshproof_sys::clock::Nanos;

use super::Pods;
use crate::matrix::Cell;
use crate::matrix::run::{Ran, Runner};

/// What a machine holds on behalf of cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Processes of our program, this one among them.
    pub processes: u64,
    /// Threads of this process.
    pub threads: u64,
    /// Descriptors of this process.
    pub descriptors: u64,
    /// Links of the network that this process stands in.
    pub links: u64,
    /// Mounts that this process sees.
    pub mounts: u64,
}

impl Held {
    /// As it is now.
    pub fn now() -> io::Result<Held> {
        Ok(Held {
            processes: processes()?,
            threads: entries("/proc/self/task")?,
            // Reading the list holds one of them.
            descriptors: entries("/proc/self/fd")?.saturating_sub(1),
            links: entries("/sys/class/net").unwrap_or_default(),
            mounts: fs::read_to_string("/proc/self/mountinfo")?.lines().count() as u64,
        })
    }

    /// As soon as it is no more than `before`, or, after a limit, as it is then: who was told to end
    /// needs a moment.
    pub fn settled(before: Held, limit: Duration) -> io::Result<Held> {
        /// Between two looks.
        // It is looked at in files of the kernel that take milliseconds themselves.
        const PAUSE: Duration = Duration::from_millis(20);
        let end = Nanos::now() + limit;
        loop {
            let now = Held::now()?;
            if now.beyond(before).is_none() || Nanos::now() > end {
                return Ok(now);
            }
            std::thread::park_timeout(PAUSE);
        }
    }

    /// What is there now and was not before; none: nothing.
    pub fn beyond(self, before: Held) -> Option<Held> {
        let more = Held {
            processes: self.processes.saturating_sub(before.processes),
            threads: self.threads.saturating_sub(before.threads),
            descriptors: self.descriptors.saturating_sub(before.descriptors),
            links: self.links.saturating_sub(before.links),
            mounts: self.mounts.saturating_sub(before.mounts),
        };
        (more != Held::default()).then_some(more)
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Held {
            processes,
            threads,
            descriptors,
            links,
            mounts,
        } = self;
        write!(
            f,
            "{processes} processes, {threads} threads, {descriptors} descriptors, {links} links, \
             {mounts} mounts"
        )
    }
}

fn entries(folder: &str) -> io::Result<u64> {
    Ok(fs::read_dir(folder)?.count() as u64)
}

/// Processes that run this executable and were started by this user.
fn processes() -> io::Result<u64> {
    let own = fs::read_link("/proc/self/exe")?;
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let is_process = path.file_name().is_some_and(|name| {
            let name = name.to_string_lossy();
            name.bytes().all(|byte| byte.is_ascii_digit())
        });
        // One that has ended, or is another's, has no executable for us.
        let exe = fs::read_link(path.join("exe")).ok();
        if is_process && exe.as_deref().is_some_and(|exe| exe == own) {
            found.insert(path);
        }
    }
    Ok(found.len() as u64)
}

/// How fast cells are run.
#[derive(Debug)]
pub struct Rate {
    /// All of them, in nanoseconds.
    pub took_ns: u64,
    /// Those that did not pass.
    pub failed: Vec<Ran>,
}

impl Rate {
    /// Cells a second.
    pub fn a_second(&self, count: usize) -> f64 {
        count as f64 * 1e9 / self.took_ns.max(1) as f64
    }
}

/// Runs one cell so many times; what its answers are without a mesh is found out before.
pub fn rate(runner: &Runner, cell: &Cell, count: usize) -> Rate {
    let go_on = AtomicBool::new(false);
    let first = runner.run(std::slice::from_ref(cell), &go_on, &|_| {});
    let cells = vec![cell.clone(); count];
    let begun = Nanos::now();
    let ran = runner.run(&cells, &go_on, &|_| {});
    let took_ns = Nanos::now().since(begun);
    let all = first.into_iter().chain(ran);
    Rate {
        took_ns,
        failed: all
            .filter(|ran| ran.case.verdict != Verdict::Pass)
            .collect(),
    }
}

/// How long it takes to make two pods on a bridge, and to end them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// Median until each can reach the other, in nanoseconds.
    pub up_ns: u64,
    /// Median until their threads have ended, in nanoseconds; the kernel takes what they held away
    /// in its own time.
    pub down_ns: u64,
}

/// Makes and ends a pair, so many times.
pub fn pair(times: u32) -> io::Result<Pair> {
    let (mut ups, mut downs) = (Vec::new(), Vec::new());
    for _ in 0..times.max(1) {
        let begun = Nanos::now();
        let pods = Pods::make(["a", "b"])?;
        let up = Nanos::now();
        drop(pods);
        ups.push(up.since(begun));
        downs.push(Nanos::now().since(up));
    }
    Ok(Pair {
        up_ns: median(&mut ups),
        down_ns: median(&mut downs),
    })
}

fn median(values: &mut [u64]) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted() {
        // Threads of other tests come and go: only what this test holds is looked at.
        let before = Held::now().unwrap();
        assert!(before.processes >= 1 && before.threads >= 1, "{before}");
        let held: Vec<_> = (0..200)
            .map(|_| fs::File::open("/dev/null").unwrap())
            .collect();
        let more = Held::now().unwrap().beyond(before);
        let more = more.expect("200 descriptors more");
        assert!(more.descriptors >= 150, "{more}");
        drop(held);
        let less = Held {
            descriptors: u64::MAX,
            processes: u64::MAX,
            threads: u64::MAX,
            links: u64::MAX,
            mounts: u64::MAX,
        };
        assert_eq!(before.beyond(less), None);
        assert_eq!(median(&mut [3, 1, 2]), 2);
    }
}
