//! A seeded world around the core: clients, one sidecar or two in a row, servers that answer late,
//! out of order or never, that close, push requests and say GoAway; byte streams that are cut
//! anywhere, connects that fail, peers that read slowly, orders of the control side.
//!
//! The laws: every two-way request of a client that is there ends exactly once, with its own
//! payload or a failure; a one-way is never answered; nothing reaches a server twice; an answer
//! comes in the version of its request; nothing comes out of a connection that was closed; limits
//! hold; and when all is over, nothing is left in the tables.

mod net;
mod node;
mod parties;
mod wire;
mod world;

use world::{Tally, World};

/// Seeds that once failed.
const KEPT: &[u64] = &[];

fn run(seed: u64, steps: usize) -> Tally {
    let mut world = World::new(seed);
    // Told by a failing test.
    println!("seed {seed}: {}", world.plan());
    for _ in 0..steps {
        world.step();
    }
    world.finish();
    world.tally
}

#[test]
fn the_laws_hold_whatever_happens() {
    let seeds = std::env::var("MESHPROOF_SIM_SEEDS").ok();
    let seeds = seeds.and_then(|text| text.parse().ok()).unwrap_or(96);
    let mut tally = Tally::default();
    for seed in KEPT.iter().copied().chain(1..=seeds) {
        tally.add(&run(seed, 1200));
    }
    println!("{tally:?}");
    // A world in which nothing happens would hold every law.
    tally.must_have_seen_all();
}
