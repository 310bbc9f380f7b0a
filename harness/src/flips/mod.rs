//! Every byte of a frame's header as every other value, and what a sidecar makes of it.
//!
//! A sidecar stands alone between a client and an app that are both played here, so that both ends
//! of every damaged frame are seen: requests are damaged on their way into port 12200, answers on
//! their way from the app. Beside it good calls go on all the time, in every version, and each has
//! its own end in the [`Ledger`]; of answers, those of other protocols, since a connection to the
//! app is shared by whoever speaks the same.
//!
//! Nothing here asks the sidecar: what it did is what came out of it.

pub(crate) mod app;
mod case;
mod cut;
mod lane;
mod say;
mod stream;
pub(crate) mod talk;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use meshproof_sys::clock::Nanos;

use crate::Error;
use crate::environment::Topology;
use crate::mesh::Setting;
use crate::netns::Options;
use crate::pick::raise;

pub use case::{Met, Outcome, Place, Speech, Then, Way, rows};
pub use say::{json, markdown, summary};
pub use stream::Ledger;

use lane::Lane;

/// Sidecars side by side, at most.
pub const LANES_MAX: usize = 16;

/// What is tried.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// In these versions.
    pub speeches: Vec<Speech>,
    /// These ways.
    pub ways: Vec<Way>,
    /// What each byte is combined with by exclusive or: all of 1 to 255 make every other value.
    pub masks: Vec<u8>,
    /// Only every so-manieth byte, beginning with the first; 1: every one.
    pub step: usize,
    /// Sidecars side by side, up to [`LANES_MAX`].
    pub lanes: usize,
}

impl Wanted {
    /// Everything.
    pub fn all() -> Wanted {
        Wanted {
            speeches: Speech::ALL.to_vec(),
            ways: Way::ALL.to_vec(),
            masks: (1..=u8::MAX).collect(),
            step: 1,
            lanes: 8,
        }
    }
}

/// One byte: what came of each of its values.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which byte of what.
    pub place: Place,
    /// How often what came of it, and one mask as an example.
    pub outcomes: BTreeMap<Outcome, (u64, u8)>,
}

/// What came of everything.
#[derive(Clone, Debug)]
pub struct Table {
    /// One for each byte, in order.
    pub rows: Vec<Row>,
    /// Good calls beside it.
    pub good: Ledger,
    /// Sidecars that ended by themselves.
    pub died: usize,
    /// What the environment is made of.
    pub backend: String,
    /// How long it took.
    pub took: Duration,
}

impl Table {
    /// Frames that were damaged.
    pub fn cases(&self) -> u64 {
        self.rows.iter().map(Row::cases).sum()
    }

    /// What speaks against the sidecar, in words; nothing: it stood.
    pub fn against(&self) -> Vec<String> {
        let mut against = Vec::new();
        for row in &self.rows {
            for (outcome, (times, mask)) in &row.outcomes {
                if outcome.is_wrong() {
                    against.push(format!(
                        "{}: {times} times {outcome}, such as mask {mask:#04x}",
                        row.place
                    ));
                }
            }
        }
        if self.died > 0 {
            against.push(format!("{} sidecars ended by themselves", self.died));
        }
        if !self.good.is_right() {
            against.push(format!("good calls beside it: {}", self.good));
        }
        against
    }
}

impl Row {
    /// Values that were tried.
    pub fn cases(&self) -> u64 {
        self.outcomes.values().map(|(times, _)| times).sum()
    }
}

/// Tries it on sidecars of their own: the reference sidecar, which is this program.
pub fn run(wanted: &Wanted, setting: &Setting) -> Result<Table, Error> {
    let begun = Nanos::now();
    let lanes = wanted.lanes.clamp(1, LANES_MAX);
    let names: Vec<String> = (1..=lanes).map(|lane| format!("lane-{lane}")).collect();
    let topology = Topology::new(names.iter().map(String::as_str), None);
    let options = match setting.program.as_slice() {
        [] => Options::default(),
        program => Options {
            program: program.to_vec(),
        },
    };
    let raised = raise(&topology, setting.backend, &options)?;
    let environment = raised.environment.as_ref();
    let folder = tempfile::tempdir().map_err(Error::io("a folder for sidecars"))?;
    let mut all = Vec::new();
    for name in &names {
        all.push(Lane::start(environment, name, folder.path())?);
    }
    let mut rows: BTreeMap<Place, Row> = BTreeMap::new();
    let mut good = Ledger::default();
    for speech in &wanted.speeches {
        for way in &wanted.ways {
            let places: Vec<Place> = rows_of(*speech, *way, wanted.step);
            let cases: Vec<(Place, u8)> = places
                .iter()
                .flat_map(|place| wanted.masks.iter().map(|mask| (*place, *mask)))
                .collect();
            let next = AtomicUsize::new(0);
            let told = std::thread::scope(|scope| {
                let workers: Vec<_> = all
                    .iter_mut()
                    .map(|lane| {
                        let take = || cases.get(next.fetch_add(1, Ordering::Relaxed)).copied();
                        scope.spawn(move || lane.phase(*speech, *way, take))
                    })
                    .collect();
                let joined = workers.into_iter().map(|worker| {
                    let panicked = |_| Err(Error::Refused("a lane panicked".into()));
                    worker.join().unwrap_or_else(panicked)
                });
                joined.collect::<Result<Vec<_>, Error>>()
            })?;
            for (found, ledger) in told {
                good.add(&ledger);
                for Met {
                    place,
                    mask,
                    outcome,
                } in found
                {
                    let row = rows.entry(place).or_insert_with(|| Row {
                        place,
                        outcomes: BTreeMap::new(),
                    });
                    row.outcomes.entry(outcome).or_insert((0, mask)).0 += 1;
                }
            }
        }
    }
    let died = all.iter().filter(|lane| !lane.lives()).count();
    drop(all);
    let backend = raised.picked.backend.name().to_owned();
    raised.environment.down()?;
    Ok(Table {
        rows: rows.into_values().collect(),
        good,
        died,
        backend,
        took: Duration::from_nanos(Nanos::now().since(begun)),
    })
}

fn rows_of(speech: Speech, way: Way, step: usize) -> Vec<Place> {
    rows(speech, way).step_by(step.max(1)).collect()
}
