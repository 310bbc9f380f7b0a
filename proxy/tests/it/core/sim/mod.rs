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

use meshproof_proxy::{Bug, Bugs};
pub(super) use wire::sofa_request;
use world::{Tally, World};

/// Seeds that once failed.
const KEPT: &[u64] = &[];

fn run(seed: u64, steps: usize, bugs: Bugs) -> Tally {
    let mut world = World::new(seed, bugs);
    #[expect(clippy::print_stdout, reason = "told when the test fails")]
    {
        println!("seed {seed}: {}", world.plan());
    }
    for _ in 0..steps {
        world.step();
    }
    world.finish();
    world.tally
}

#[test]
fn the_laws_hold_whatever_happens() {
    let seeds = std::env::var("MESHPROOF_SIM_SEEDS").ok();
    let seeds = seeds.and_then(|text| text.parse().ok()).unwrap_or(64);
    let mut tally = Tally::default();
    for seed in KEPT.iter().copied().chain(1..=seeds) {
        tally.add(&run(seed, 1200, Bugs::NONE));
    }
    println!("{tally:?}");
    // A world in which nothing happens would hold every law.
    tally.must_have_seen_all();
}

/// The laws are worth something: each bug of the data path breaks one of them.
#[test]
fn every_bug_of_the_data_path_breaks_a_law() {
    let bugs = [
        Bug::CrcDropped,
        Bug::ReplyVersion,
        Bug::ForeignFrameHeld,
        Bug::OnewayAnswered,
        Bug::IdCollision,
        Bug::TimeoutIgnored,
        Bug::HalfOpenLeak,
        Bug::UpgradeDrops,
        Bug::UpgradeDoubles,
    ];
    for bug in bugs {
        let bugs = Bugs::NONE.with(bug);
        let caught = |seed| std::panic::catch_unwind(|| run(seed, 1200, bugs)).is_err();
        assert!((1..=200).any(caught), "{bug} breaks no law");
    }
}
