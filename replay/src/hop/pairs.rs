//! Which exchange behind a sidecar is which one in front of it.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use crate::engine::call::Call;
use crate::exchange::{Exchange, ExchangeKind};
use crate::stream::FlowId;

/// One exchange, seen twice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair<'a> {
    pub(super) before: &'a Exchange,
    pub(super) after: &'a Exchange,
    /// What it was found by.
    pub(super) by: &'static str,
}

/// Everything, paired or not.
#[derive(Debug, Default)]
pub(super) struct Paired<'a> {
    pub(super) pairs: Vec<Pair<'a>>,
    pub(super) only_before: Vec<&'a Exchange>,
    pub(super) only_after: Vec<&'a Exchange>,
}

/// What two sightings have in common, from the closest to the loosest. A sidecar that changes
/// arguments, a trace id or a name is found by what it left.
const ROUNDS: [(&str, Round); 5] = [
    ("trace and arguments", Round::All),
    ("trace and method", Round::TraceAndMethod),
    ("trace", Round::Trace),
    ("arguments", Round::Arguments),
    ("method", Round::Method),
];

#[derive(Clone, Copy)]
enum Round {
    All,
    TraceAndMethod,
    Trace,
    Arguments,
    Method,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    oneway: bool,
    trace: Option<String>,
    service: Option<String>,
    method: Option<Option<String>>,
    arguments: Option<u64>,
}

impl Round {
    /// `None` where an exchange cannot be told by it.
    fn key(self, exchange: &Exchange, call: &Call) -> Option<Key> {
        let trace = || call.trace.clone();
        let empty = Key {
            oneway: exchange.kind == ExchangeKind::Oneway,
            trace: None,
            service: None,
            method: None,
            arguments: None,
        };
        let named = Key {
            service: Some(call.service.clone()),
            method: Some(call.method.clone()),
            ..empty.clone()
        };
        Some(match self {
            Round::All => Key {
                trace: Some(trace()?),
                arguments: Some(call.arguments),
                ..named
            },
            Round::TraceAndMethod => Key {
                trace: Some(trace()?),
                ..named
            },
            // A one-way that became a call is still the one of its trace.
            Round::Trace => Key {
                trace: Some(trace()?),
                oneway: false,
                ..empty
            },
            Round::Arguments => Key {
                arguments: Some(call.arguments),
                ..named
            },
            // Where there are traces, another one is another call.
            Round::Method if call.trace.is_some() => return None,
            Round::Method => named,
        })
    }
}

/// Where and when a request was seen.
fn seen(exchange: &Exchange) -> (u64, u64, u64) {
    let half = exchange.request.as_ref().or(exchange.response.as_ref());
    half.map_or((0, 0, 0), |half| {
        (half.mark.at_ns, half.mark.packet, half.offset)
    })
}

fn call(exchange: &Exchange) -> Call {
    let frame = exchange.request.as_ref().and_then(|it| it.frame.as_ref());
    frame.map(Call::of).unwrap_or_default()
}

/// `service.method`, as far as it is known.
pub(super) fn called(exchange: &Exchange) -> String {
    call(exchange).to_string()
}

/// Pairs exchanges, each with one at most: round by round, among equals in order of time.
pub(super) fn match_all<'a>(before: &'a [Exchange], after: &'a [Exchange]) -> Paired<'a> {
    let sorted = |exchanges: &'a [Exchange]| {
        let mut sorted: Vec<(&Exchange, Call)> =
            exchanges.iter().map(|it| (it, call(it))).collect();
        sorted.sort_by_key(|(it, _)| seen(it));
        sorted
    };
    let (mut left, mut right) = (sorted(before), sorted(after));
    let mut paired = Paired::default();
    for (by, round) in ROUNDS {
        let mut waiting: HashMap<Key, Vec<usize>> = HashMap::new();
        // From the end, so that the first of equals is taken first.
        for (at, (exchange, call)) in right.iter().enumerate().rev() {
            if let Some(key) = round.key(exchange, call) {
                waiting.entry(key).or_default().push(at);
            }
        }
        let mut taken = vec![false; right.len()];
        left.retain(|(exchange, call)| {
            let found = round.key(exchange, call);
            let found = found.and_then(|key| waiting.get_mut(&key)?.pop());
            let Some((at, other)) = found.and_then(|at| Some((at, right.get(at)?.0))) else {
                return true;
            };
            if let Some(taken) = taken.get_mut(at) {
                *taken = true;
            }
            paired.pairs.push(Pair {
                before: exchange,
                after: other,
                by,
            });
            false
        });
        let mut taken = taken.into_iter();
        right.retain(|_| !taken.next().unwrap_or(false));
    }
    paired.pairs.sort_by_key(|pair| seen(pair.before));
    paired.only_before = left.into_iter().map(|(exchange, _)| exchange).collect();
    paired.only_after = right.into_iter().map(|(exchange, _)| exchange).collect();
    paired
}

/// Pairs that share both connections with one that was in front of them and is behind them now:
/// as few as need to be moved to have the others in order.
pub(super) fn out_of_order<'a>(pairs: &[Pair<'a>]) -> Vec<(&'a Exchange, &'a Exchange)> {
    let mut lanes: BTreeMap<(FlowId, FlowId), Vec<Pair<'a>>> = BTreeMap::new();
    for pair in pairs {
        let lane = (pair.before.flow.id, pair.after.flow.id);
        lanes.entry(lane).or_default().push(*pair);
    }
    let mut moved = Vec::new();
    for lane in lanes.into_values() {
        // `pairs` is in the order of the front; the longest run that is in order behind stays.
        let places: Vec<(u64, u64)> = lane
            .iter()
            .map(|pair| {
                let half = pair.after.request.as_ref();
                half.map_or((0, 0), |half| (half.offset, half.mark.packet))
            })
            .collect();
        let kept = longest_run(&places);
        let mut kept = kept.into_iter().peekable();
        for (at, pair) in lane.iter().enumerate() {
            if kept.next_if_eq(&at).is_none() {
                moved.push((pair.before, pair.after));
            }
        }
    }
    moved
}

/// Indices of a longest increasing run, in order.
fn longest_run<T: Ord + Copy>(values: &[T]) -> Vec<usize> {
    // For each length, the run of that length with the smallest end.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = vec![None; values.len()];
    for (at, value) in values.iter().enumerate() {
        let place = ends.partition_point(|end| values.get(*end).is_some_and(|end| end < value));
        if let Some(link) = before.get_mut(at) {
            *link = place.checked_sub(1).and_then(|at| ends.get(at).copied());
        }
        match ends.get_mut(place) {
            Some(end) => *end = at,
            None => ends.push(at),
        }
    }
    let mut run = Vec::with_capacity(ends.len());
    let mut at = ends.last().copied();
    while let Some(here) = at {
        run.push(here);
        at = before.get(here).copied().flatten();
    }
    run.reverse();
    run
}
