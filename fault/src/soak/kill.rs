//! One kill after the other.

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use meshproof_sys::clock::Nanos;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::statvfs;
use rustix::process::{Signal, kill_process};

use super::enclosure::{self, DISK};
use super::run::{Asked, IN_FORCE, PLANNED, RUN, TARGET, WRONG};
use super::{Draw, Kind, Tally, family, wait_until};
use crate::iptables::journal::Journal;
use crate::leftovers::{self, Done};
use crate::snapshot::{Change, Snapshot, Sort};
use crate::{Afterlife, Error, Way, iptables, keeper};

/// Longer than any part of a kill takes.
const LIMIT: Duration = Duration::from_secs(60);

/// How long what the kernel takes away may take to be gone after the last process.
const VANISH: Duration = Duration::from_secs(2);

/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(1);

/// Longer than any kill: the time of a fault that is killed.
const FAULT_LIMIT_MS: u64 = 600_000;

/// The time of a fault whose run is stopped; shorter than the silence that a keeper bears.
const STOPPED_LIMIT_MS: u64 = 300;

/// How often a kind is tried before it is killed.
const REHEARSALS: u32 = 3;

/// After everything is in force, a kill comes within this time, in nanoseconds.
const LATE_NS: u64 = 2_000_000;

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Run,
    RunThenKeepers,
    KeepersThenRun,
}

/// What runs are killed in.
pub(super) struct Soak {
    draw: Draw,
    target: Target,
    before: Snapshot,
    /// How long each kind takes.
    usual: Vec<(&'static str, Usual)>,
}

/// How long a fault takes, in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Usual {
    /// From the start of the run until it is in force.
    all: u64,
    /// Of that, since there was a plan.
    apply: u64,
}

/// The program that faults are done to.
struct Target(Child);

impl Target {
    #[expect(
        clippy::disallowed_methods,
        reason = "what faults are done to starts here"
    )]
    fn start() -> Result<Target, Error> {
        let told = Error::io("a program that faults are done to");
        let begun = || {
            let mut child = Command::new("/proc/self/exe")
                .args(keeper::arguments_of(TARGET))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            if let Some(out) = &mut child.stdout {
                out.read_exact(&mut [0])?;
            }
            Ok(Target(child))
        };
        begun().map_err(told)
    }

    /// Another one where it was killed.
    fn again(&mut self) -> Result<(), Error> {
        let ended = self.0.try_wait();
        if ended.map_err(Error::io("looking at a program"))?.is_some() {
            *self = Target::start()?;
        }
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A run that puts faults in force.
struct Run {
    child: Child,
    said: Vec<u8>,
    faults: usize,
    began: Nanos,
}

impl Run {
    #[expect(clippy::disallowed_methods, reason = "runs that are killed start here")]
    fn start(kinds: &[Kind], target: u32, limit_ms: u64) -> Result<Run, Error> {
        let asked: Vec<Asked> = kinds
            .iter()
            .map(|kind| Asked {
                fault: kind.fault(),
                lease: kind.name.to_owned(),
                process: target,
                limit_ms,
            })
            .collect();
        let asked = serde_json::to_string(&asked)
            .map_err(|error| Error::Refused(format!("faults as JSON: {error}")))?;
        let began = Nanos::now();
        let child = Command::new("/proc/self/exe")
            .args(keeper::arguments_of(RUN))
            .arg(asked)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(Error::io("a run that is to be killed"))?;
        Ok(Run {
            child,
            said: Vec::new(),
            faults: kinds.len(),
            began,
        })
    }

    fn count(&self, of: u8) -> usize {
        self.said.iter().filter(|byte| **byte == of).count()
    }

    fn is_in_force(&self) -> bool {
        self.wrong().is_none() && self.count(IN_FORCE) == self.faults
    }

    /// What went wrong, in its words.
    fn wrong(&self) -> Option<String> {
        let at = self.said.iter().position(|byte| *byte == WRONG)?;
        let words = self.said.get(at + 1..).unwrap_or_default();
        Some(String::from_utf8_lossy(words).into_owned())
    }

    fn until_in_force(&mut self) {
        self.until(IN_FORCE);
    }

    /// Reads what it says until it has said this of every fault, or says no more.
    fn until(&mut self, word: u8) {
        let end = Nanos::now() + LIMIT;
        while self.count(word) < self.faults {
            let left = Duration::from_nanos(end.since(Nanos::now()));
            let Some(out) = &mut self.child.stdout else {
                return;
            };
            if !is_readable(out, left) || !read_some(out, &mut self.said) {
                return;
            }
        }
    }

    /// What it had said before it was killed.
    fn rest(&mut self) {
        if let Some(out) = &mut self.child.stdout {
            // Nobody writes any more.
            let _ = out.read_to_end(&mut self.said);
        }
    }
}

fn is_readable(out: &ChildStdout, limit: Duration) -> bool {
    let limit = Timespec::try_from(limit).ok();
    poll(&mut [PollFd::new(out, PollFlags::IN)], limit.as_ref()).is_ok_and(|ready| ready > 0)
}

fn read_some(out: &mut ChildStdout, said: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 4096];
    match out.read(&mut buffer) {
        Ok(count) => {
            said.extend(buffer.iter().take(count));
            count > 0
        }
        Err(_) => false,
    }
}

/// Whether the kernel still looks for another one with an address of this network's (RFC 4862):
/// its route comes when it has found none.
fn addresses_are_tried() -> bool {
    /// `IFA_F_TENTATIVE`.
    const TENTATIVE: u32 = 0x40;
    let listed = fs::read_to_string("/proc/self/net/if_inet6").unwrap_or_default();
    listed.lines().any(|line| {
        let flags = line.split_whitespace().nth(4);
        let flags = flags.and_then(|flags| u32::from_str_radix(flags, 16).ok());
        flags.is_some_and(|flags| flags & TENTATIVE != 0)
    })
}

impl Soak {
    /// Leaves this machine for a small one.
    pub(super) fn begin(seed: u64) -> Result<Soak, Error> {
        enclosure::enter()?;
        family::adopt()?;
        Ok(Soak {
            draw: Draw(seed),
            target: Target::start()?,
            before: Snapshot::default(),
            usual: Vec::new(),
        })
    }

    /// Some faults from their beginning to their end, with nobody killed: how long they take, and
    /// whether they can be done here. Else: why not.
    pub(super) fn rehearse(&mut self, kind: Kind) -> Result<Result<(), String>, Error> {
        let mut usual = Usual {
            all: u64::MAX,
            apply: u64::MAX,
        };
        // The first finds files and pages that are not in memory.
        for _ in 0..REHEARSALS {
            let mut run = self.start(&[kind], FAULT_LIMIT_MS)?;
            run.until(PLANNED);
            let planned = Nanos::now();
            run.until_in_force();
            let in_force = Nanos::now();
            drop(run.child.stdin.take());
            run.rest();
            family::gone(self.target.0.id(), LIMIT);
            if let Some(why) = run.wrong() {
                return Ok(Err(why));
            }
            if !run.is_in_force() {
                return Ok(Err("it ended before it was in force".to_owned()));
            }
            usual = Usual {
                all: usual.all.min(in_force.since(run.began)),
                apply: usual.apply.min(in_force.since(planned)),
            };
        }
        self.usual.push((kind.name, usual));
        Ok(Ok(()))
    }

    /// What there is now is what must be there after each kill. Of some things, such as tables of
    /// the old iptables, the kernel keeps an empty one for ever once they were used.
    pub(super) fn all_is_as_it_was_from_here(&mut self) -> Result<(), Error> {
        self.target.again()?;
        let until = Nanos::now() + LIMIT;
        while addresses_are_tried() && Nanos::now() < until {
            wait_until(Nanos::now() + LOOK);
        }
        // Twice: what is opened once and kept is no leftover.
        self.look(true);
        self.before = self.look(true);
        Ok(())
    }

    fn start(&mut self, kinds: &[Kind], limit_ms: u64) -> Result<Run, Error> {
        self.target.again()?;
        Run::start(kinds, self.target.0.id(), limit_ms)
    }

    fn usual(&self, kind: Kind) -> Usual {
        let found = self.usual.iter().find(|(name, _)| *name == kind.name);
        // Only what was rehearsed is killed.
        found.map_or(Usual { all: 0, apply: 0 }, |(_, usual)| *usual)
    }

    /// Waits for the moment of a kill: a quarter of them when all is in force, a quarter anywhere
    /// on the way there, and half while the last fault is being put in force.
    fn wait_for_the_moment(&mut self, kinds: &[Kind], run: &mut Run) {
        let at = match self.draw.below(4) {
            0 => {
                run.until_in_force();
                Nanos::now().plus_ns(self.draw.below(LATE_NS))
            }
            1 => {
                let all: u64 = kinds.iter().map(|kind| self.usual(*kind).all).sum();
                run.began.plus_ns(self.draw.below(all))
            }
            _ => {
                let last = kinds.last().map(|kind| self.usual(*kind).apply);
                run.until(PLANNED);
                let late = self.draw.below(last.unwrap_or(0));
                Nanos::now().plus_ns(late)
            }
        };
        wait_until(at);
    }

    /// Kinds that are held side by side, each pair once.
    pub(super) fn draw_pairs(&mut self, kinds: &[Kind], count: u32) -> Vec<[Kind; 2]> {
        let mut all: Vec<[Kind; 2]> = Vec::new();
        for (at, first) in kinds.iter().enumerate() {
            all.extend(kinds.iter().skip(at + 1).map(|second| [*first, *second]));
        }
        // Nothing can be done any more to a program that has ended.
        let ends = |kind: Kind| kind.way == Way::Signal;
        all.retain(|[first, second]| !ends(*first) || !ends(*second));
        // One folder has one mount of ours; what shuts it cannot be filled any more.
        let shuts = |kind: Kind| kind.way == Way::Mount;
        all.retain(|[first, second]| !shuts(*first) || !shuts(*second));
        let mut drawn = Vec::new();
        while !all.is_empty() && drawn.len() < count as usize {
            let at = self.draw.below(all.len() as u64) as usize;
            let mut pair = all.swap_remove(at);
            let turned = self.draw.below(2) == 1;
            let [first, second] = pair;
            let fills = |kind: Kind| kind.way == Way::Filler;
            let fixed = (fills(first) && shuts(second)) || (shuts(first) && fills(second));
            if ends(first) || shuts(first) && fixed || (turned && !ends(second) && !fixed) {
                pair.reverse();
            }
            drawn.push(pair);
        }
        drawn
    }

    /// A run that is stopped cannot heal: its keeper does, when the time is over.
    pub(super) fn stop_a_run(&mut self, kind: Kind, tally: &mut Tally) -> Result<(), Error> {
        let mut run = self.start(&[kind], STOPPED_LIMIT_MS)?;
        run.until_in_force();
        let began = Nanos::now();
        let process = run.child.id();
        let keepers = family::children(process).unwrap_or_default();
        let handles: Vec<OwnedFd> = keepers
            .iter()
            .filter_map(|it| family::handle(*it))
            .collect();
        if let Some(pid) = family::pid(process) {
            // It is our child, and not waited for.
            let _ = kill_process(pid, Signal::STOP);
        }
        // One that has ended already had its time.
        let ended = handles.is_empty() || family::one_ended(&handles, LIMIT);
        tally.stopped_ns = ended.then(|| Nanos::now().since(began));
        family::kill(process);
        if !family::gone(self.target.0.id(), LIMIT).is_empty() || !ended {
            tally.leftover("a keeper whose run was stopped did not end".to_owned());
        }
        drop((run, handles));
        self.target.again()?;
        let change = self.settled(&[kind]);
        if !change.is_empty() {
            tally.leftover(format!("after a run was stopped: {change}"));
        }
        Ok(())
    }

    pub(super) fn kill_often(
        &mut self,
        kinds: &[Kind],
        count: u32,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        for _ in 0..count {
            self.kill_once(kinds, tally)?;
        }
        tally.vanished_ns.sort_unstable();
        Ok(())
    }

    fn who(&mut self, kinds: &[Kind]) -> Who {
        // A signal leaves its effect, which is meant; whatever else stays has nobody to undo it.
        let stays = |kind: &Kind| {
            kind.way != Way::Signal && kind.way.when_all_are_killed() == Afterlife::Stays
        };
        if kinds.iter().any(stays) {
            return Who::Run;
        }
        match self.draw.below(4) {
            0 => Who::RunThenKeepers,
            1 => Who::KeepersThenRun,
            _ => Who::Run,
        }
    }

    fn kill_once(&mut self, kinds: &[Kind], tally: &mut Tally) -> Result<(), Error> {
        let who = self.who(kinds);
        let mut run = self.start(kinds, FAULT_LIMIT_MS)?;
        let process = run.child.id();
        self.wait_for_the_moment(kinds, &mut run);
        if who == Who::KeepersThenRun {
            for keeper in family::children(process).unwrap_or_default() {
                family::kill(keeper);
            }
        }
        family::kill(process);
        let killed = Nanos::now();
        if who != Who::Run {
            if let Some(handle) = family::handle(process) {
                family::one_ended(&[handle], LIMIT);
            }
            family::kill_keepers(self.target.0.id());
        }
        let left = family::gone(self.target.0.id(), LIMIT);
        run.rest();
        tally.kills += 1;
        tally.together += u64::from(who != Who::Run);
        if let Some(why) = run.wrong() {
            // One whose keeper was killed first says so.
            if who != Who::KeepersThenRun {
                tally.leftover(format!("no fault: {why}"));
            }
        } else if run.is_in_force() {
            tally.in_force += 1;
        } else if run.count(PLANNED) > 0 {
            tally.midway += 1;
        }
        if !left.is_empty() {
            for process in &left {
                family::kill(*process);
            }
            family::gone(self.target.0.id(), LIMIT);
            tally.leftover(format!("processes {left:?} did not end"));
        }
        drop(run);
        if kinds.iter().any(|kind| kind.way == Way::Signal) {
            // It may have got a signal and be about to end.
            self.target = Target::start()?;
        }
        self.target.again()?;
        if who != Who::Run && !self.before.until(&self.look(journalled(kinds))).is_empty() {
            self.heal_what_is_journalled(kinds, tally);
        }
        let change = self.settled(kinds);
        tally.vanished_ns.push(Nanos::now().since(killed));
        if !change.is_empty() {
            tally.leftover(format!("{who:?} killed: {change}"));
            self.before = self.look(true);
        }
        Ok(())
    }

    /// What stands after run and keeper were killed must be listed, and go when it is told to.
    fn heal_what_is_journalled(&mut self, kinds: &[Kind], tally: &mut Tally) {
        if !journalled(kinds) {
            return;
        }
        if leftovers::survey().left.is_empty() {
            return;
        }
        let healed = || -> Result<bool, Error> {
            let (journal, entries) = leftovers::leases()?;
            let mut whole = true;
            for entry in &entries {
                if let Done::Swept(residue) = leftovers::heal(&journal, entry)? {
                    whole &= residue.is_empty();
                }
            }
            Ok(whole && leftovers::heal_strays()?.is_empty())
        };
        match healed() {
            Ok(true) => tally.listed_and_healed += 1,
            Ok(false) => tally.leftover("what was listed did not go".to_owned()),
            Err(error) => tally.leftover(format!("healing: {error}")),
        }
    }

    /// What is different, after the kernel had its time.
    fn settled(&self, kinds: &[Kind]) -> Change {
        let end = Nanos::now() + VANISH;
        loop {
            let change = self.before.until(&self.look(journalled(kinds)));
            let now = Nanos::now();
            if change.is_empty() || now >= end {
                return change;
            }
            wait_until(now + LOOK);
        }
    }

    /// What there is.
    fn look(&self, tools: bool) -> Snapshot {
        let mut snapshot = Snapshot::take();
        if tools {
            for rule in iptables::all_rules().0 {
                snapshot.note(Sort::Rule, rule.text);
            }
        }
        if let Some(journal) = Journal::existing() {
            for entry in journal.entries().unwrap_or_default() {
                snapshot.note(Sort::Journal, entry.lease);
            }
        }
        let limits = fs::read_to_string(format!("/proc/{}/limits", self.target.0.id()));
        for line in limits.unwrap_or_default().lines() {
            snapshot.note(Sort::Limit, line);
        }
        if let Ok(disk) = statvfs(DISK) {
            snapshot.note(Sort::Disk, format!("{} blocks free", disk.f_bavail));
        }
        snapshot
    }
}

fn journalled(kinds: &[Kind]) -> bool {
    kinds
        .iter()
        .any(|kind| kind.way.when_all_are_killed() == Afterlife::Journalled)
}
