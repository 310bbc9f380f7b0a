//! What is logged, and how much of it; changed while the sidecar runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::Log;
use crate::{Bug, Bugs};

/// Everything that the sidecar logs is logged as one of these, or below it.
pub const TARGETS: &[&str] = &[
    "proxy::core",
    "proxy::discovery",
    "proxy::health",
    "proxy::upgrade",
    "proxy::api",
    "proxy::admin",
];

/// Levels, quietest first.
pub const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

/// Levels that are in force, of one sidecar.
#[derive(Clone, Debug)]
pub struct Logs {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    levels: Mutex<Levels>,
    handle: reload::Handle<Targets, Registry>,
}

/// What holds: one level, and exceptions from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    /// Of everything.
    pub level: LevelFilter,
    /// Of single targets.
    pub targets: BTreeMap<String, LevelFilter>,
}

/// A word that is no level or no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no {what} `{word}`; there are {known}")]
pub struct Unknown {
    /// `level` or `target`.
    what: &'static str,
    word: String,
    known: String,
}

impl Unknown {
    fn new(what: &'static str, word: &str, known: &[&str]) -> Unknown {
        Unknown {
            what,
            word: word.to_owned(),
            known: known.join(", "),
        }
    }
}

impl Levels {
    /// As configured; `info` where nothing is said.
    ///
    /// # Errors
    /// Where a level is none; [`crate::Config::parse`] has refused such a configuration.
    pub fn of(log: &Log) -> Result<Levels, Unknown> {
        let mut levels = Levels {
            level: match &log.level {
                Some(word) => level(word)?,
                None => LevelFilter::INFO,
            },
            targets: BTreeMap::new(),
        };
        for (target, word) in &log.targets {
            levels.targets.insert(target.clone(), level(word)?);
        }
        Ok(levels)
    }

    /// With one level changed: of one target, or without one, of everything that has none of its
    /// own.
    ///
    /// # Errors
    /// Where the target or the level is none.
    pub fn with(mut self, target: Option<&str>, word: &str) -> Result<Levels, Unknown> {
        let level = level(word)?;
        match target {
            None => self.level = level,
            Some(target) if TARGETS.contains(&target) => {
                self.targets.insert(target.to_owned(), level);
            }
            Some(target) => return Err(Unknown::new("target", target, TARGETS)),
        }
        Ok(self)
    }

    /// The level of every target.
    pub fn in_force(&self) -> impl Iterator<Item = (&'static str, LevelFilter)> {
        TARGETS.iter().map(|target| {
            let own = self.targets.get(*target).copied();
            (*target, own.unwrap_or(self.level))
        })
    }

    fn filter(&self) -> Targets {
        let targets = self.targets.iter();
        Targets::new()
            .with_default(self.level)
            .with_targets(targets.map(|(target, level)| (target.clone(), *level)))
    }
}

fn level(word: &str) -> Result<LevelFilter, Unknown> {
    match LEVELS.contains(&word) {
        true => word
            .parse()
            .map_err(|_| Unknown::new("level", word, LEVELS)),
        false => Err(Unknown::new("level", word, LEVELS)),
    }
}

impl Logs {
    /// Logs that go to `writer`, and the dispatcher by which threads write them. Nothing global
    /// is set: whoever wants it for the whole process makes the dispatcher its default.
    pub fn new<W>(levels: Levels, writer: W) -> (Logs, tracing::Dispatch)
    where
        W: for<'a> fmt::MakeWriter<'a> + Send + Sync + 'static,
    {
        let (filter, handle) = reload::Layer::new(levels.filter());
        let lines = fmt::layer().with_writer(writer).with_ansi(false);
        let subscriber = Registry::default().with(lines.with_filter(filter));
        let logs = Logs {
            inner: Arc::new(Inner {
                levels: Mutex::new(levels),
                handle,
            }),
        };
        (logs, tracing::Dispatch::new(subscriber))
    }

    /// What is in force.
    pub fn levels(&self) -> Levels {
        let levels = self.inner.levels.lock();
        levels.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts levels in force, at once and for every thread.
    pub fn set(&self, levels: Levels, bugs: Bugs) {
        let mut held = self
            .inner
            .levels
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !bugs.has(Bug::LogLevelIgnored) {
            // Fails only when the dispatcher is gone, and with it everything that logs.
            let _ = self.inner.handle.reload(levels.filter());
        }
        *held = levels;
    }
}
