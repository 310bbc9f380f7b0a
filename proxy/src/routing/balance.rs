//! Whose turn it is among the providers that qualify.

use std::net::SocketAddr;

use crate::config::Balance;

/// A small generator (SplitMix64): fast, seeded, and good enough to spread calls.
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 where that is 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        // The upper half of a 128-bit product: no division, and no bias worth the name.
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }
}

/// One that may be chosen.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) address: SocketAddr,
    pub(super) weight: u32,
    /// Of the smooth weighted round robin: grows by `weight` each time, pays the sum when chosen.
    credit: i64,
}

impl Candidate {
    pub(super) fn new(address: SocketAddr, weight: u32) -> Candidate {
        Candidate {
            address,
            weight: weight.max(1),
            credit: 0,
        }
    }
}

/// Those that speak one protocol: the ones to be taken first, then the others.
#[derive(Debug, Default)]
pub(super) struct Pool {
    candidates: Vec<Candidate>,
    /// `0 <= first <= candidates.len()`.
    first: usize,
    turn: usize,
}

impl Pool {
    /// The candidates in the order of the list; `others` are taken only where none of `first`
    /// qualifies. `turn` is where the round robin goes on.
    pub(super) fn new(first: Vec<Candidate>, others: Vec<Candidate>, turn: usize) -> Pool {
        let count = first.len();
        let mut candidates = first;
        candidates.extend(others);
        Pool {
            candidates,
            first: count,
            turn,
        }
    }

    pub(super) fn turn(&self) -> usize {
        self.turn
    }

    /// Chooses one that is not passed over, of the first ones if there is one. Where all are
    /// passed over nobody knows better than the list: the choice is made as if none were.
    pub(super) fn choose(
        &mut self,
        balance: Balance,
        chance: &mut Chance,
        passed_over: Option<&dyn Fn(SocketAddr) -> bool>,
    ) -> Option<SocketAddr> {
        let Pool {
            candidates,
            first,
            turn,
        } = self;
        let (first, others) = candidates.split_at_mut(*first);
        let Some(passed_over) = passed_over else {
            let tier = if first.is_empty() { others } else { first };
            return pick(tier, balance, chance, turn, None);
        };
        pick(first, balance, chance, turn, Some(passed_over))
            .or_else(|| pick(others, balance, chance, turn, Some(passed_over)))
            .or_else(|| pick(first, balance, chance, turn, None))
            .or_else(|| pick(others, balance, chance, turn, None))
    }
}

fn pick(
    tier: &mut [Candidate],
    balance: Balance,
    chance: &mut Chance,
    turn: &mut usize,
    passed_over: Option<&dyn Fn(SocketAddr) -> bool>,
) -> Option<SocketAddr> {
    let qualifies = |candidate: &Candidate| {
        passed_over.is_none_or(|passed_over| !passed_over(candidate.address))
    };
    let count = match passed_over {
        None => tier.len(),
        Some(_) => tier.iter().filter(|candidate| qualifies(candidate)).count(),
    };
    if count == 0 {
        return None;
    }
    let nth = match balance {
        Balance::RoundRobin => {
            let nth = *turn % count;
            *turn = nth + 1;
            nth
        }
        Balance::Random => chance.below(count),
        Balance::Weighted => return smooth(tier, &qualifies),
    };
    match passed_over {
        None => tier.get(nth),
        Some(_) => tier
            .iter()
            .filter(|candidate| qualifies(candidate))
            .nth(nth),
    }
    .map(|candidate| candidate.address)
}

/// Smooth weighted round robin: over a round of as many choices as the weights' sum, each is
/// chosen as often as its weight says, and never in a run where that can be helped.
fn smooth(tier: &mut [Candidate], qualifies: &dyn Fn(&Candidate) -> bool) -> Option<SocketAddr> {
    let mut sum = 0_i64;
    let mut best: Option<&mut Candidate> = None;
    for candidate in tier.iter_mut() {
        if !qualifies(candidate) {
            continue;
        }
        let weight = i64::from(candidate.weight);
        sum = sum.saturating_add(weight);
        candidate.credit = candidate.credit.saturating_add(weight);
        if best
            .as_ref()
            .is_none_or(|best| candidate.credit > best.credit)
        {
            best = Some(candidate);
        }
    }
    let best = best?;
    best.credit = best.credit.saturating_sub(sum);
    Some(best.address)
}
