//! Counters that every part writes and the admin interface reads.
//!
//! Plain atomics, relaxed: a reader sees each counter right, not all of them at one moment.

pub mod exposition;

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// `n` more, for a counter that one thread alone writes: without the price of an atomic
    /// addition.
    #[inline]
    pub fn bump(&self, n: u64) {
        let sum = self.0.load(Ordering::Relaxed).wrapping_add(n);
        self.0.store(sum, Ordering::Relaxed);
    }

    /// Its value.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets it.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// Its value.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Outcome {
    /// The server answered.
    Answered,
    /// A one-way, passed on.
    Oneway,
    /// Its time was up.
    TimedOut,
    /// No provider, or none that could be reached.
    NoUpstream,
    /// A limit.
    Overload,
    /// The upstream connection ended.
    Reset,
    /// The client went away.
    Cancelled,
}

impl Outcome {
    /// All of them, in the order of [`Metrics::requests`].
    pub const ALL: [Outcome; 7] = [
        Outcome::Answered,
        Outcome::Oneway,
        Outcome::TimedOut,
        Outcome::NoUpstream,
        Outcome::Overload,
        Outcome::Reset,
        Outcome::Cancelled,
    ];

    /// As in the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Answered => "answered",
            Outcome::Oneway => "oneway",
            Outcome::TimedOut => "timed-out",
            Outcome::NoUpstream => "no-upstream",
            Outcome::Overload => "overload",
            Outcome::Reset => "reset",
            Outcome::Cancelled => "cancelled",
        }
    }
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Requests by side ([`crate::core::Side`] as a number) and [`Outcome`].
    pub requests: [[Counter; 7]; 2],
    /// Latency of answered requests by side: bucket n counts those below 2^n microseconds that
    /// are not in a lower one.
    pub latency: [[Counter; 32]; 2],
    /// Sums of the same, in nanoseconds.
    pub latency_ns: [Counter; 2],
    /// Client connections that are open, by side.
    pub clients: [Gauge; 2],
    /// Client connections accepted, by side.
    pub accepted: [Counter; 2],
    /// Connections refused by a limit or a state, by side.
    pub refused: [Counter; 2],
    /// Upstream connections that are open.
    pub upstreams: Gauge,
    /// Upstream connections opened.
    pub upstreams_opened: Counter,
    /// Connects that failed.
    pub connect_failures: Counter,
    /// Upstream connections closed because their peer did not answer.
    pub half_open: Counter,
    /// Connections closed because of bytes that no served protocol has.
    pub foreign: Counter,
    /// Connections closed because of a frame that is damaged (CRC, length).
    pub damaged: Counter,
    /// Connections closed because their peer read nothing while others waited for it.
    pub stuck: Counter,
    /// Answers that came after their request had ended.
    pub late_answers: Counter,
    /// Requests of a server that nobody could be found for.
    pub server_requests_refused: Counter,
    /// Heartbeats of clients and servers that we answered.
    pub heartbeats_answered: Counter,
    /// Calls that are in flight.
    pub in_flight: Gauge,
    /// Heartbeats sent to the app.
    pub app_heartbeats_sent: Counter,
    /// Those that were not answered in time.
    pub app_heartbeats_missed: Counter,
    /// Routing cache: found and fresh.
    pub cache_hits: Counter,
    /// Routing cache: not there.
    pub cache_misses: Counter,
    /// Routing cache: found, of an older table, and thrown away.
    pub cache_stale: Counter,
    /// Pushes of the config center.
    pub pushes: Counter,
    /// Pushes that were not believed (empty and not confirmed, or older than what is known).
    pub pushes_ignored: Counter,
}
