//! A whole gate: checkpoints in their order, side by side where they can be, and what comes of
//! them together.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, PoisonError};

use crate::gate::{Gate, Waiver};
use crate::judge::{judge, not_reached};
use crate::outcome::{Block, Code, Granted, Judged, Outcome, Ruling, Waived};
use crate::world::World;

/// The version of [`Outcome`] as JSON.
pub const SCHEMA: u32 = 1;

/// Where every checkpoint stands.
struct Board {
    judged: Vec<Option<Judged>>,
    taken: Vec<bool>,
}

/// What to do next.
enum Next {
    /// Judge this one.
    Judge(usize),
    /// This one is not reached: why.
    Lost(usize, String),
    /// Wait: all that is left comes after something that runs.
    Wait,
    /// There is nothing left.
    Done,
}

impl Board {
    fn next(&self, gate: &Gate, is_stopped: bool) -> Next {
        let mut is_done = true;
        for (at, checkpoint) in gate.checkpoints.iter().enumerate() {
            if self.taken.get(at).copied().unwrap_or(true) {
                continue;
            }
            if is_stopped {
                return Next::Lost(at, "the gate was stopped before it".to_owned());
            }
            is_done = false;
            let before = |at: &usize| self.judged.get(*at).and_then(Option::as_ref);
            let stuck = checkpoint
                .after
                .iter()
                .filter_map(before)
                .find(|judged| !judged.state.lets_on());
            if let Some(stuck) = stuck {
                return Next::Lost(at, format!("{} is {}", stuck.id, stuck.state.word()));
            }
            if checkpoint.after.iter().all(|at| before(at).is_some()) {
                return Next::Judge(at);
            }
        }
        if is_done { Next::Done } else { Next::Wait }
    }
}

/// Judges every checkpoint, at most `jobs` at a time, and tells each as it is over. `is_stopped`
/// is asked before each; what is running then is the world's to end.
pub fn check(
    gate: &Gate,
    world: &dyn World,
    jobs: usize,
    is_stopped: &(dyn Fn() -> bool + Sync),
    tell: &(dyn Fn(&Judged) + Sync),
) -> Outcome {
    let count = gate.checkpoints.len();
    let board = Mutex::new(Board {
        judged: vec![None; count],
        taken: vec![false; count],
    });
    let moved = Condvar::new();
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, count.max(1)) {
            scope.spawn(|| work(gate, world, &board, &moved, is_stopped, tell));
        }
    });
    let board = board.into_inner().unwrap_or_else(PoisonError::into_inner);
    let checkpoints: Vec<Judged> = gate
        .checkpoints
        .iter()
        .zip(board.judged)
        .map(|(checkpoint, judged)| {
            judged.unwrap_or_else(|| not_reached(checkpoint, "it was not begun".to_owned()))
        })
        .collect();
    let now = world.now_unix_ns();
    Outcome {
        schema: SCHEMA,
        expired: expired(gate, now),
        notes: notes(gate, &checkpoints, now),
        checkpoints,
        generation: gate.generation,
        packs: gate.packs.clone(),
        judged_unix_ms: millis(now),
        rules: crate::report::rules(gate),
        waivers: gate.waivers.iter().map(granted).collect(),
    }
}

fn work(
    gate: &Gate,
    world: &dyn World,
    board: &Mutex<Board>,
    moved: &Condvar,
    is_stopped: &(dyn Fn() -> bool + Sync),
    tell: &(dyn Fn(&Judged) + Sync),
) {
    let mut held = board.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let (at, lost) = match held.next(gate, is_stopped()) {
            Next::Done => break,
            Next::Wait => {
                held = moved.wait(held).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            Next::Judge(at) => (at, None),
            Next::Lost(at, why) => (at, Some(why)),
        };
        if let Some(taken) = held.taken.get_mut(at) {
            *taken = true;
        }
        drop(held);
        let judged = gate.checkpoints.get(at).map(|checkpoint| match lost {
            Some(why) => not_reached(checkpoint, why),
            // A gate that breaks blocks; whoever waits for this checkpoint is let go.
            None => catch_unwind(AssertUnwindSafe(|| judge(checkpoint, &gate.waivers, world)))
                .unwrap_or_else(|_| {
                    not_reached(checkpoint, "the gate broke while it judged this".to_owned())
                }),
        });
        if let Some(judged) = &judged {
            tell(judged);
        }
        held = board.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = held.judged.get_mut(at) {
            *place = judged;
        }
        moved.notify_all();
    }
}

fn millis(ns: i128) -> i64 {
    i64::try_from(ns / 1_000_000).unwrap_or(i64::MAX)
}

fn granted(waiver: &Waiver) -> Granted {
    Granted {
        rule: waiver.rule.clone(),
        waived: Waived {
            owner: waiver.owner.clone(),
            reason: waiver.reason.clone(),
            expires: waiver.expires.clone(),
            origin: waiver.origin.clone(),
        },
        over_unix_ms: millis(waiver.over_unix_ns),
    }
}

/// Waivers past their day: each blocks, whether its rule holds or not.
fn expired(gate: &Gate, now: i128) -> Vec<Ruling> {
    let over = gate.waivers.iter().filter(|it| it.over_unix_ns <= now);
    over.map(|waiver| Ruling {
        rule: waiver.rule.clone(),
        origin: waiver.origin.clone(),
        seen: format!("expired after {}", waiver.expires),
        wanted: "a waiver in force, or none".to_owned(),
        block: Some(Block {
            code: Code::WaiverExpired,
            why: format!(
                "the waiver of {} ({}) expired after {}",
                waiver.rule, waiver.reason, waiver.expires
            ),
            owner: waiver.owner.clone(),
            fix: "mend what it covers and take it away, or agree on another day".to_owned(),
            waiver: None,
            place: Some((waiver.origin.file.clone(), waiver.origin.line)),
        }),
    })
    .collect()
}

/// Waivers in force that covered nothing.
fn notes(gate: &Gate, checkpoints: &[Judged], now: i128) -> Vec<String> {
    let used: Vec<&str> = checkpoints
        .iter()
        .flat_map(Judged::waived)
        .map(|(ruling, ..)| ruling.rule.as_str())
        .collect();
    gate.waivers
        .iter()
        .filter(|it| it.over_unix_ns > now && !used.contains(&it.rule.as_str()))
        .map(|it| {
            format!(
                "the waiver of {} at {} covered nothing: take it away",
                it.rule, it.origin
            )
        })
        .collect()
}
