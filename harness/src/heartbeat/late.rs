//! By how much this machine holds up whoever wants to run at a given moment.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use meshproof_sys::clock::Nanos;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::trial::{lock, wait_until};
use crate::Error;

/// A beat that was late: when it came, and by how many nanoseconds.
type Late = (Nanos, u64);

/// A thread on each processor that wants to run every millisecond. What is measured runs on any of
/// them, and one that is held up by another program says nothing of the others.
pub(super) struct Metronome {
    late: Arc<Mutex<Vec<Late>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Processors that are watched, at most.
const PROCESSORS_MAX: usize = 64;

impl Metronome {
    /// From one beat to the next.
    const BEAT: Duration = Duration::from_millis(1);
    /// Beats less late than this are as good as on time, and not remembered.
    const LEAST_NS: u64 = 100_000;
    /// Late beats that are remembered.
    const KEPT: usize = 120_000;

    pub(super) fn start() -> Result<Metronome, Error> {
        let late: Arc<Mutex<Vec<Late>>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let ours = sched_getaffinity(None).unwrap_or_default();
        let mut places: Vec<Option<usize>> = (0..CpuSet::MAX_CPU)
            .filter(|cpu| ours.is_set(*cpu))
            .take(PROCESSORS_MAX)
            .map(Some)
            .collect();
        if places.is_empty() {
            places.push(None);
        }
        let mut metronome = Metronome {
            late,
            stop,
            threads: Vec::new(),
        };
        for place in places {
            let (late, over) = (Arc::clone(&metronome.late), Arc::clone(&metronome.stop));
            let thread = std::thread::Builder::new()
                .name("metronome".into())
                .spawn(move || beat(place, &late, &over))
                .map_err(Error::io("a thread that measures lateness"))?;
            metronome.threads.push(thread);
        }
        Ok(metronome)
    }

    /// The most that a beat was late between two moments.
    pub(super) fn latest(&self, from: Nanos, until: Nanos) -> u64 {
        let late = lock(&self.late);
        let within = late.iter().filter(|(at, late)| {
            // One that came after the end may have been wanted before it.
            *at >= from && at.0.saturating_sub(*late) <= until.0 + Self::BEAT.as_nanos() as u64
        });
        within.map(|(_, late)| *late).max().unwrap_or(0)
    }
}

fn beat(place: Option<usize>, told: &Mutex<Vec<Late>>, over: &AtomicBool) {
    if let Some(place) = place {
        let mut only = CpuSet::new();
        only.set(place);
        // Where it may not be chosen, it beats wherever it is put.
        let _ = sched_setaffinity(None, &only);
    }
    while !over.load(Ordering::Relaxed) {
        let wanted = Nanos::now() + Metronome::BEAT;
        wait_until(wanted);
        let at = Nanos::now();
        let late = at.since(wanted);
        if late < Metronome::LEAST_NS {
            continue;
        }
        let mut told = lock(told);
        if told.len() >= Metronome::KEPT {
            told.drain(..Metronome::KEPT / 2);
        }
        told.push((at, late));
    }
}

impl Drop for Metronome {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}
