//! The proof that faults leave nothing: runs that hold them are killed with SIGKILL at random
//! moments, also while they are put in force, alone and together with their keepers; then what
//! there is is compared with what there was.
//!
//! All of it happens in a small machine of its own: the calling thread leaves its network and its
//! mounts for good, and becomes the one whom processes without a parent are given to. Its process
//! ids should be its own as well, since tasks that stand still are compared, too.
//!
//! Whoever adds a kind of lease adds a line to [`KINDS`].

mod enclosure;
mod family;
mod kill;
mod kinds;
pub(crate) mod run;
mod tally;

use std::time::Duration;

use meshproof_sys::clock::Nanos;

pub use kinds::{KINDS, Kind};
pub use tally::Tally;

use crate::Error;
use kill::Soak;

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Options {
    /// Kills of each kind.
    pub kills: u32,
    /// Pairs of kinds that are drawn.
    pub pairs: u32,
    /// Kills of each pair.
    pub pair_kills: u32,
    /// Draws moments and pairs.
    pub seed: u64,
    /// Which kinds.
    pub kinds: Vec<Kind>,
}

/// Kills as often as it is asked to; `told` hears of each kind and pair when it is through.
///
/// # Errors
/// [`Error::Unsupported`] where this process may not have a network and mounts of its own.
pub fn kill(options: &Options, told: &mut dyn FnMut(&Tally)) -> Result<Vec<Tally>, Error> {
    let mut soak = Soak::begin(options.seed)?;
    let mut tallies = Vec::new();
    let mut usable = Vec::new();
    for kind in &options.kinds {
        match soak.rehearse(*kind)? {
            Ok(()) => usable.push(*kind),
            Err(why) => {
                let tally = Tally {
                    lacking: Some(why),
                    ..Tally::of(&[*kind])
                };
                told(&tally);
                tallies.push(tally);
            }
        }
    }
    soak.all_is_as_it_was_from_here()?;
    for kind in &usable {
        let mut tally = Tally::of(&[*kind]);
        soak.stop_a_run(*kind, &mut tally)?;
        soak.kill_often(&[*kind], options.kills, &mut tally)?;
        told(&tally);
        tallies.push(tally);
    }
    if usable.len() < 2 {
        return Ok(tallies);
    }
    for pair in soak.draw_pairs(&usable, options.pairs) {
        let mut tally = Tally::of(&pair);
        soak.kill_often(&pair, options.pair_kills, &mut tally)?;
        told(&tally);
        tallies.push(tally);
    }
    Ok(tallies)
}

/// Numbers that are the same for the same seed (splitmix64).
#[derive(Debug)]
struct Draw(u64);

impl Draw {
    /// A number below this one; 0 where that is 0.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).checked_rem(limit).unwrap_or(0)
    }
}

/// Waits as exactly as the machine lets it.
fn wait_until(at: Nanos) {
    /// Shorter than this nobody sleeps exactly, in nanoseconds.
    const EXACT_NS: u64 = 200_000;
    loop {
        match at.since(Nanos::now()) {
            0 => return,
            left if left > EXACT_NS => {
                std::thread::park_timeout(Duration::from_nanos(left - EXACT_NS));
            }
            _ => std::hint::spin_loop(),
        }
    }
}
