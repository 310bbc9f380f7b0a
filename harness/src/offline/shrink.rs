//! A failing replay, reduced to the few exchanges that matter.
//!
//! Delta debugging (Zeller and Hildebrandt, 2002) over connections first, then over exchanges.
//! Every try is a fresh run on a fresh mesh, and counts only when it shows a symptom of the whole
//! replay: a smaller one that fails for another reason is no smaller form of this failure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use meshproof_replay::capture::Writer;
use meshproof_replay::engine::plan::{Recorded, Skip};
use meshproof_replay::engine::run::Control;
use meshproof_replay::exchange::{Exchange, ExchangeKind};
use meshproof_replay::stream::FlowId;
use meshproof_replay::synth;

use super::folder::{self, Failed, Offline};
use super::judge::Symptoms;
use super::settle::{Originals, settle};
use super::shape::Shows;
use super::text::{CAPTURE, HERE};
use super::through::{self, Ways, says};
use crate::Error;
use crate::mesh::Setting;

/// The story within the folder of a shrunk replay.
pub const SCENARIO: &str = "scenario.yaml";

/// What a shrinking may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Runs at most; then the smallest that was found until then is taken.
    pub tries_max: u32,
    /// Runs of one choice before it counts as passing: some failures hang on timing.
    pub attempts: u32,
}

impl Default for Limits {
    /// 200 runs, 2 of each choice.
    fn default() -> Limits {
        Limits {
            tries_max: 200,
            attempts: 2,
        }
    }
}

/// How a shrinking went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrunk {
    /// What is wrong, in the whole and in the small form.
    pub symptoms: Symptoms,
    /// Connections and exchanges of the whole that took part.
    pub from: (usize, usize),
    /// Those that are left.
    pub to: (usize, usize),
    /// Runs that it took.
    pub tries: u32,
    /// Whether taking any one exchange away was seen to end the failure; otherwise the limit was
    /// reached before.
    pub minimal: bool,
    /// Addresses, names and originals that the audit of the small capture looked at.
    pub searched: u64,
}

/// Finds a smallest part of `items` for which `fails` still holds (1-minimal, ddmin). `fails` says
/// `None` when it will try no more. The result, and whether it is minimal.
pub fn ddmin<T: Clone>(items: &[T], mut fails: impl FnMut(&[T]) -> Option<bool>) -> (Vec<T>, bool) {
    let mut left = items.to_vec();
    match fails(&[]) {
        Some(true) => return (Vec::new(), true),
        Some(false) => {}
        None => return (left, false),
    }
    let mut parts = 2;
    while left.len() > 1 {
        let size = left.len().div_ceil(parts);
        let chunks: Vec<Vec<T>> = left.chunks(size).map(<[T]>::to_vec).collect();
        let mut found = None;
        for (at, chunk) in chunks.iter().enumerate() {
            match fails(chunk) {
                Some(true) => {
                    found = Some((chunk.clone(), 2));
                    break;
                }
                Some(false) => {}
                None => return (left, false),
            }
            // With two parts, the rest is the other part.
            if chunks.len() == 2 {
                continue;
            }
            let rest: Vec<T> = chunks
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != at)
                .flat_map(|(_, chunk)| chunk.iter().cloned())
                .collect();
            match fails(&rest) {
                Some(true) => {
                    found = Some((rest, (parts - 1).max(2)));
                    break;
                }
                Some(false) => {}
                None => return (left, false),
            }
        }
        match found {
            Some((smaller, next)) => {
                left = smaller;
                parts = next;
            }
            None if size == 1 => return (left, true),
            None => parts = (parts * 2).min(left.len()),
        }
    }
    (left, true)
}

/// Tries parts of one capture.
struct Trying<'a> {
    offline: &'a Offline,
    exchanges: &'a [Recorded],
    setting: &'a Setting,
    ways: &'a Ways,
    limits: Limits,
    wanted: &'a Symptoms,
    tries: u32,
    failed: Option<Failed>,
    told: &'a mut dyn FnMut(&str),
}

impl Trying<'_> {
    /// Whether the exchanges of these indices alone show the failure.
    fn fails(&mut self, kept: &[usize]) -> Option<bool> {
        for _ in 0..self.limits.attempts.max(1) {
            if self.tries >= self.limits.tries_max || self.failed.is_some() {
                return None;
            }
            self.tries += 1;
            let chosen = choose(self.exchanges, kept);
            let outcome = Control::new()
                .map_err(|error| Failed::from(Error::io("a wake")(error)))
                .and_then(|control| {
                    through::run(self.offline, chosen, self.setting, self.ways, &control)
                });
            match outcome {
                Ok(through) => {
                    let symptoms = through.symptoms();
                    let same = symptoms.shares(self.wanted);
                    let told = match same {
                        true => "fails",
                        false if symptoms.any() => "fails for another reason",
                        false => "passes",
                    };
                    let text = format!("try {}: {} exchanges: {told}", self.tries, kept.len());
                    (self.told)(&text);
                    if same {
                        return Some(true);
                    }
                }
                Err(failed) => {
                    self.failed = Some(failed);
                    return None;
                }
            }
        }
        Some(false)
    }
}

/// The same exchanges, of which only these take part.
fn choose(exchanges: &[Recorded], kept: &[usize]) -> Vec<Recorded> {
    let kept: BTreeSet<usize> = kept.iter().copied().collect();
    let mut chosen = exchanges.to_vec();
    for (at, recorded) in chosen.iter_mut().enumerate() {
        if recorded.left_out.is_none() && !kept.contains(&at) {
            recorded.left_out = Some(Skip::Filtered);
        }
    }
    chosen
}

/// Shrinks a failing replay and writes the small form into `folder`: topology, page, capture and a
/// story. `wanted` is what was wrong with the whole. Every try is told.
///
/// # Errors
/// A mesh cannot be brought up, the small capture does not pass the audit (nothing stands under its
/// name then), or the folder cannot be written.
#[expect(
    clippy::too_many_arguments,
    reason = "what is tried, how, and where it goes"
)]
pub fn shrink(
    offline: &Offline,
    setting: &Setting,
    ways: &Ways,
    wanted: &Symptoms,
    limits: Limits,
    folder: &Path,
    originals: Option<Originals<'_>>,
    told: &mut dyn FnMut(&str),
) -> Result<Shrunk, Failed> {
    let loaded = offline.load()?;
    let start_ns = loaded.outcome.start_ns.unwrap_or(0);
    let exchanges = loaded.exchanges;
    let shows = Shows::of(exchanges.iter().map(|it| &it.exchange));
    let parts: Vec<usize> = exchanges
        .iter()
        .enumerate()
        .filter(|(_, it)| it.left_out.is_none() && takes_part(offline, shows, &it.exchange))
        .map(|(at, _)| at)
        .collect();
    let lanes = by_connection(&exchanges, &parts);
    std::fs::create_dir_all(folder).map_err(|source| Failed::Io {
        path: folder.to_path_buf(),
        source,
    })?;
    // Hops are looked at only where they are what is wrong: it costs, and is read again.
    let hops = wanted.0.iter().any(|it| it.starts_with("hop: "));
    let ways = &Ways {
        captures: hops.then(|| folder.join("try")),
        ..ways.clone()
    };
    let mut trying = Trying {
        offline,
        exchanges: &exchanges,
        setting,
        ways,
        limits,
        wanted,
        tries: 0,
        failed: None,
        told,
    };
    // Subscriptions are what calls stand on: they stay while connections of calls go.
    let (asks, lanes): (Vec<_>, Vec<_>) = lanes.into_iter().partition(|lane| lane.asks);
    let asks: Vec<usize> = asks.into_iter().flat_map(|lane| lane.parts).collect();
    let with = |lanes: &[Lane]| -> Vec<usize> {
        let calls = lanes.iter().flat_map(|lane| lane.parts.iter().copied());
        asks.iter().copied().chain(calls).collect()
    };
    let (kept, _) = ddmin(&lanes, |lanes| trying.fails(&with(lanes)));
    let calls: Vec<usize> = kept.iter().flat_map(|lane| lane.parts.clone()).collect();
    let (calls, minimal) = ddmin(&calls, |calls| {
        let all: Vec<usize> = asks.iter().copied().chain(calls.iter().copied()).collect();
        trying.fails(&all)
    });
    let (asks, minimal_too) = ddmin(&asks, |asks| {
        let all: Vec<usize> = asks.iter().copied().chain(calls.iter().copied()).collect();
        // What names the app is said before anything else, and what is called is subscribed.
        trying.fails(&all)
    });
    let tries = trying.tries;
    if hops {
        // The last try's; where it passed it is gone.
        let _ = std::fs::remove_dir_all(folder.join("try"));
    }
    if let Some(failed) = trying.failed.take() {
        return Err(failed);
    }
    let mut left: Vec<usize> = asks.into_iter().chain(calls).collect();
    left.sort_unstable();
    let small: Vec<&Exchange> = left
        .iter()
        .filter_map(|at| exchanges.get(*at))
        .map(|it| &it.exchange)
        .collect();
    let searched = write(offline, &small, start_ns, folder, originals, wanted)?;
    let connections = |parts: &[usize]| by_connection(&exchanges, parts).len();
    Ok(Shrunk {
        symptoms: wanted.clone(),
        from: (connections(&parts), parts.len()),
        to: (connections(&left), left.len()),
        tries,
        minimal: minimal && minimal_too,
        searched,
    })
}

fn takes_part(offline: &Offline, shows: Shows, exchange: &Exchange) -> bool {
    exchange.kind == ExchangeKind::Heartbeat || says(offline.side, shows, exchange)
}

/// Exchanges of one connection.
#[derive(Clone, Debug)]
struct Lane {
    parts: Vec<usize>,
    /// It is of the application API.
    asks: bool,
}

fn by_connection(exchanges: &[Recorded], parts: &[usize]) -> Vec<Lane> {
    let mut lanes: BTreeMap<FlowId, Lane> = BTreeMap::new();
    for at in parts {
        let Some(recorded) = exchanges.get(*at) else {
            continue;
        };
        let lane = lanes.entry(recorded.exchange.flow.id).or_insert(Lane {
            parts: Vec::new(),
            asks: recorded.exchange.kind == ExchangeKind::MeshApi,
        });
        lane.parts.push(*at);
    }
    lanes.into_values().collect()
}

fn write(
    offline: &Offline,
    small: &[&Exchange],
    start_ns: u64,
    folder: &Path,
    originals: Option<Originals<'_>>,
    wanted: &Symptoms,
) -> Result<u64, Failed> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| Failed::Io { path, source }
    };
    std::fs::create_dir_all(folder).map_err(io(folder))?;
    let path = folder.join(CAPTURE);
    // Under another name first: nobody finds a capture that was not audited.
    let mut part = tempfile::Builder::new()
        .prefix(".small-")
        .suffix(".pcapng")
        .tempfile_in(folder)
        .map_err(io(&path))?;
    let mut writer = Writer::new(part.as_file_mut()).map_err(io(&path))?;
    synth::write(small.iter().copied(), start_ns, &mut writer).map_err(io(&path))?;
    writer.finish().map_err(io(&path))?;
    let searched = settle(part, &offline.capture, originals, &path)?;
    folder::around(folder, offline.side, offline.adapter())?;
    let path = folder.join(SCENARIO);
    std::fs::write(&path, scenario(offline, small.len(), wanted)).map_err(io(&path))?;
    Ok(searched)
}

/// The story: the same replay, and nothing else.
fn scenario(offline: &Offline, exchanges: usize, wanted: &Symptoms) -> String {
    let name = format!("{}-small", offline.name);
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    format!(
        "# Made by `meshproof replay --shrink`: the part of a failing replay that matters. Topology\n\
         # and capture stand beside it; `meshproof replay --through` takes the folder as well.\n\
         scenario: {}\nabout: {}\ntopology: topology.yaml\nsteps:\n  - replay: {{capture: \"{HERE}/{CAPTURE}\", from: {}}}\n",
        quoted(&name),
        quoted(&format!(
            "{exchanges} exchanges that must be answered as recorded; when they were found: {wanted}"
        )),
        offline.from,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reduces 0..40 to what `needs` is about; how many tries it took at most.
    #[track_caller]
    fn check(needs: &[usize], tries_max: u32) {
        let all: Vec<usize> = (0..40).collect();
        let mut tries = 0;
        let (left, minimal) = ddmin(&all, |part| {
            tries += 1;
            Some(needs.iter().all(|it| part.contains(it)))
        });
        assert_eq!(left, needs);
        assert!(minimal);
        assert!(tries <= tries_max, "{tries} tries");
    }

    #[test]
    fn what_matters_is_found_and_nothing_else() {
        check(&[], 1);
        check(&[17], 20);
        check(&[0, 39], 80);
        check(&[3, 4, 30], 150);
    }

    #[test]
    fn a_limit_ends_it_with_what_was_found() {
        let all: Vec<usize> = (0..40).collect();
        let mut tries = 0;
        let (left, minimal) = ddmin(&all, |part| {
            tries += 1;
            (tries <= 4).then(|| part.contains(&7))
        });
        assert!(!minimal);
        assert!(left.contains(&7) && left.len() < 40, "{left:?}");
    }
}
