//! What the control thread writes and the admin interface reads.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use meshproof_sys::clock::Nanos;
use serde::Serialize;
use tracing::{Level, event};

use super::run::Addresses;
use crate::health::{State, What};
use crate::metrics::Metrics;
use crate::routing::Table;
use crate::{Bugs, Config, discovery};

/// Events that are kept; older ones are let go of.
pub(super) const EVENTS_KEPT: usize = 1024;

/// One for each sidecar.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) addresses: Addresses,
    pub(super) bugs: Bugs,
    /// Of these, those that `/state` names.
    pub(super) told: Bugs,
    pub(super) metrics: Arc<Metrics>,
    pub(super) started: Timestamp,
    pub(super) started_ns: Nanos,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Arc<Config>,
    table: Arc<Table>,
    status: Status,
    events: VecDeque<Entry>,
    /// Of all that were ever told.
    told: BTreeMap<&'static str, u64>,
    next_seq: u64,
}

/// Where the sidecar stands, as the control thread knows it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Status {
    pub(super) state: State,
    /// 12200 listens.
    pub(super) listening: bool,
    /// Publications stand at the config center, as far as was ordered.
    pub(super) registered: bool,
    /// Heartbeats to the app go out.
    pub(super) watched: bool,
    /// The app is taken for lost.
    pub(super) app_lost: bool,
}

/// One event, as `/events` tells it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Entry {
    /// Grows by 1.
    pub(super) seq: u64,
    /// When, by the wall clock (RFC 3339).
    #[serde(serialize_with = "as_text")]
    pub(super) at: Timestamp,
    /// When, in nanoseconds of the monotonic clock since the sidecar started.
    pub(super) at_ns: u64,
    #[serde(flatten)]
    pub(super) what: Told,
}

/// Of whom it is told.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Told {
    Sidecar(What),
    Directory(discovery::Event),
}

impl Shared {
    pub(super) fn new(
        addresses: Addresses,
        config: Arc<Config>,
        (bugs, told): (Bugs, Bugs),
        metrics: Arc<Metrics>,
    ) -> Shared {
        Shared {
            addresses,
            bugs,
            told,
            metrics,
            started: Timestamp::now(),
            started_ns: Nanos::now(),
            inner: Mutex::new(Inner {
                config,
                table: Arc::default(),
                status: Status {
                    state: State::Serving,
                    listening: true,
                    registered: true,
                    watched: false,
                    app_lost: false,
                },
                events: VecDeque::new(),
                told: BTreeMap::new(),
                next_seq: 0,
            }),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing that is done under the lock can leave it half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.inner().config)
    }

    pub(super) fn set_config(&self, config: Arc<Config>) {
        self.inner().config = config;
    }

    pub(super) fn table(&self) -> Arc<Table> {
        Arc::clone(&self.inner().table)
    }

    pub(super) fn set_table(&self, table: Arc<Table>) {
        self.inner().table = table;
    }

    pub(super) fn status(&self) -> Status {
        self.inner().status.clone()
    }

    pub(super) fn set_status(&self, status: Status) {
        self.inner().status = status;
    }

    /// Those from `since` on, oldest first.
    pub(super) fn events(&self, since: u64) -> Vec<Entry> {
        let inner = self.inner();
        let kept = inner.events.iter();
        kept.filter(|entry| entry.seq >= since).cloned().collect()
    }

    /// How often each was told.
    pub(super) fn told(&self) -> BTreeMap<&'static str, u64> {
        self.inner().told.clone()
    }

    /// Logs, counts and keeps what the sidecar tells of itself.
    pub(super) fn tell(&self, at: Nanos, what: What) {
        let name = what.name();
        let detail = what.to_string();
        let detail = detail.strip_prefix(name).unwrap_or(&detail).trim_start();
        match severity(&what) {
            Level::WARN => event!(target: "proxy::health", Level::WARN, event = name, detail),
            Level::DEBUG => event!(target: "proxy::health", Level::DEBUG, event = name, detail),
            _ => event!(target: "proxy::health", Level::INFO, event = name, detail),
        }
        let mut inner = self.inner();
        *inner.told.entry(name).or_default() += 1;
        self.keep(&mut inner, at, Told::Sidecar(what));
    }

    /// Keeps what the directory tells; it logs by itself.
    pub(super) fn tell_of_directory(&self, at: Nanos, event: discovery::Event) {
        self.keep(&mut self.inner(), at, Told::Directory(event));
    }

    fn keep(&self, inner: &mut Inner, at: Nanos, what: Told) {
        if inner.events.len() == EVENTS_KEPT {
            inner.events.pop_front();
        }
        let seq = inner.next_seq;
        inner.next_seq += 1;
        inner.events.push_back(Entry {
            seq,
            at: Timestamp::now(),
            at_ns: at.since(self.started_ns),
            what,
        });
    }
}

fn as_text<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

fn severity(what: &What) -> Level {
    match what {
        What::HeartbeatMissed { .. }
        | What::AppLost { .. }
        | What::DeregisterUnanswered
        | What::RegisterUnanswered
        | What::ListenerFailed { .. }
        | What::ListenerUnanswered
        | What::DrainUnfinished
        | What::ReloadRefused { .. } => Level::WARN,
        _ => Level::INFO,
    }
}
