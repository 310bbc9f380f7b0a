//! The choice itself, on the data thread.

use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;

use hashbrown::{Equivalent, HashMap};
use meshproof_sys::clock::Nanos;
use meshproof_wire::Protocol;

use super::balance::{Candidate, Chance, Pool};
use super::{Choice, Endpoint, NoRoute, Query, Service, Settings, Table};
use crate::config::Cache;
use crate::metrics::Metrics;
use crate::{Bug, Bugs};

/// A provider that could not be reached is passed over for this long.
const PASSED_OVER_NS: u64 = 1_000_000_000;

/// Answers that are remembered at most; a full cache starts anew.
const CACHED_MAX: usize = 8192;

/// Providers that are passed over at a time, at most; more are not noted.
const PASSED_OVER_MAX: usize = 4096;

/// Chooses; lives on the data thread.
///
/// **Invariant:** a choice is one of the endpoints that the table published last has for the
/// query, and it speaks the query's protocol.
#[derive(Debug)]
pub struct Router {
    settings: Settings,
    bugs: Bugs,
    metrics: Arc<Metrics>,
    table: Arc<Table>,
    /// Grows with every table and every change of the settings. The tables' own numbers are not
    /// enough: settings have none.
    epoch: u64,
    by_class: bool,
    cache: HashMap<Key, Entry>,
    passed_over: HashMap<SocketAddr, Nanos>,
    chance: Chance,
}

/// What an answer depends on. The class is empty where no rule asks for one, so that a service
/// has one entry however many classes its calls have.
#[derive(Debug, PartialEq, Eq)]
struct Key {
    service: Box<str>,
    class: Box<str>,
}

#[derive(Hash)]
struct Asked<'a> {
    service: &'a str,
    class: &'a str,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Asked {
            service: &self.service,
            class: &self.class,
        }
        .hash(state);
    }
}

impl Equivalent<Key> for Asked<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self.service == *key.service && *self.class == *key.class
    }
}

/// One answer, ready to be chosen from.
#[derive(Debug)]
struct Entry {
    epoch: u64,
    timeout_ms: Option<u32>,
    /// Whether the list that it was made from held anybody.
    empty: bool,
    bolt: Pool,
    tr: Pool,
}

impl Router {
    /// Knows nothing yet.
    pub fn new(settings: Settings, metrics: Arc<Metrics>, bugs: Bugs) -> Router {
        Router {
            chance: Chance::new(settings.seed),
            settings,
            bugs,
            metrics,
            table: Arc::default(),
            epoch: 0,
            by_class: false,
            cache: HashMap::new(),
            passed_over: HashMap::new(),
        }
    }

    /// Takes a new table: the next choice is made from it. One that is older than what is known
    /// is let go of.
    pub fn publish(&mut self, table: Arc<Table>) {
        if table.generation < self.table.generation {
            return;
        }
        let by_class = table.rules.iter().any(|rule| rule.class.is_some());
        if by_class != self.by_class {
            // Keys mean something else from now on.
            self.cache.clear();
        }
        self.by_class = by_class;
        self.table = table;
        self.epoch += 1;
    }

    /// Takes new settings, from the next choice on.
    pub fn configure(&mut self, settings: Settings) {
        self.settings = settings;
        self.epoch += 1;
    }

    /// Generation of the table that is in force.
    pub fn generation(&self) -> u64 {
        self.table.generation
    }

    #[cfg(test)]
    pub(super) fn cached(&self) -> usize {
        self.cache.len()
    }

    /// Chooses a provider for one call. A hit in the cache costs one look-up and allocates
    /// nothing.
    pub fn select(&mut self, query: &Query<'_>, now: Nanos) -> Result<Choice, NoRoute> {
        let asked = Asked {
            service: query.service,
            class: if self.by_class { query.class } else { "" },
        };
        let bugs = self.bugs;
        let warm = self.settings.cache == Cache::Warm;
        let entry = match self.cache.get_mut(&asked) {
            Some(entry) if warm && (entry.epoch == self.epoch || bugs.has(Bug::CacheStale)) => {
                self.metrics.cache_hits.add(1);
                entry
            }
            found => {
                let old = match found {
                    // Whose turn it is is remembered in any case: it is no answer of the table.
                    Some(entry) => {
                        match warm {
                            true => self.metrics.cache_stale.add(1),
                            false => self.metrics.cache_misses.add(1),
                        }
                        Some((entry.bolt.turn(), entry.tr.turn()))
                    }
                    None => {
                        self.metrics.cache_misses.add(1);
                        None
                    }
                };
                let Some(target) = target(&self.table, query) else {
                    self.cache.remove(&asked);
                    return Err(match query.service {
                        "" => NoRoute::Unnamed(query.class.to_owned()),
                        service => NoRoute::Unknown(service.to_owned()),
                    });
                };
                // Many sidecars that start together must not all begin with the same provider.
                let turns = old.unwrap_or_else(|| {
                    let count = target.endpoints.len();
                    (self.chance.below(count), self.chance.below(count))
                });
                let entry = entry(target, self.epoch, turns, &self.settings, bugs);
                if self.cache.len() >= CACHED_MAX {
                    self.cache.clear();
                }
                let key = Key {
                    service: asked.service.into(),
                    class: asked.class.into(),
                };
                self.cache.entry(key).insert(entry).into_mut()
            }
        };
        let pool = match query.protocol {
            Protocol::BoltV1 | Protocol::BoltV2 => Some(&mut entry.bolt),
            Protocol::Tr => Some(&mut entry.tr),
            _ => None,
        };
        let passed_over = &self.passed_over;
        let is_passed_over =
            |address: SocketAddr| passed_over.get(&address).is_some_and(|until| now < *until);
        let passed_over = (!passed_over.is_empty()).then_some(&is_passed_over as _);
        let chosen =
            pool.and_then(|pool| pool.choose(self.settings.balance, &mut self.chance, passed_over));
        match chosen {
            Some(to) => Ok(Choice {
                to,
                timeout_ms: entry.timeout_ms,
            }),
            None if entry.empty => Err(NoRoute::Empty(query.service.to_owned())),
            None => Err(NoRoute::Protocol {
                service: query.service.to_owned(),
                protocol: query.protocol,
            }),
        }
    }

    /// Tells that a provider could not be reached: it is passed over for a second, unless all
    /// that qualify are.
    pub fn unreachable(&mut self, address: SocketAddr, now: Nanos) {
        self.passed_over.retain(|_, until| now < *until);
        if self.passed_over.len() < PASSED_OVER_MAX {
            let until = now.plus_ns(PASSED_OVER_NS);
            self.passed_over.insert(address, until);
        }
    }

    /// Tells that a provider was reached: it is not passed over any more.
    pub fn reached(&mut self, address: SocketAddr) {
        if !self.passed_over.is_empty() {
            self.passed_over.remove(&address);
        }
    }
}

/// Rules first, then what was subscribed to.
fn target<'t>(table: &'t Table, query: &Query<'_>) -> Option<&'t Service> {
    table
        .rules
        .iter()
        .find(|rule| rule.is_for(query))
        .map(|rule| &rule.target)
        .or_else(|| table.services.get(query.service))
}

fn entry(
    target: &Service,
    epoch: u64,
    (bolt, tr): (usize, usize),
    settings: &Settings,
    bugs: Bugs,
) -> Entry {
    let zone = settings
        .zone_first
        .as_deref()
        .filter(|zone| !zone.is_empty());
    let pool = |protocol: Protocol, turn: usize| {
        let speakers = target.endpoints.iter().filter(|endpoint| {
            // The historic mistake: the protocol was settled with the app, by the first entry.
            bugs.has(Bug::TrBoltMixed) || endpoint.speaks(protocol)
        });
        let (first, others): (Vec<&Endpoint>, Vec<&Endpoint>) = match zone {
            Some(zone) => speakers.partition(|endpoint| endpoint.zone == zone),
            None => (speakers.collect(), Vec::new()),
        };
        let candidates = |endpoints: Vec<&Endpoint>| {
            endpoints
                .into_iter()
                .map(|endpoint| Candidate::new(endpoint.address, endpoint.weight))
                .collect()
        };
        Pool::new(candidates(first), candidates(others), turn)
    };
    Entry {
        epoch,
        timeout_ms: target.timeout_ms,
        empty: target.endpoints.is_empty(),
        bolt: pool(Protocol::BoltV1, bolt),
        tr: pool(Protocol::Tr, tr),
    }
}
