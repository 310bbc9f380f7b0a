//! VIP names: their addresses, and when they are asked for again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use meshproof_sys::clock::Nanos;

use super::Resolved;

/// A name that could not be resolved is asked for again after this long, or after the usual time
/// where that is shorter.
const RETRY_NS: u64 = 500_000_000;

/// Addresses that are taken of one name.
const ADDRESSES_MAX: usize = 256;

/// Why a name has no addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAddress {
    /// The name service says that there is no such name, or none with an address; or the text
    /// is no name at all.
    NoSuchName(String),
    /// It did not answer, or with a failure of its own.
    Trouble(String),
}

/// Every name in use.
///
/// **Invariant:** addresses that were good go only when others come: a name service in trouble,
/// or one that has lost a name, takes nobody out of service.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: BTreeMap<String, Name>,
    /// From an earlier life, until somebody uses the name.
    remembered: BTreeMap<String, Vec<IpAddr>>,
    refresh_ns: u64,
}

#[derive(Debug, Default)]
pub(super) struct Name {
    addresses: Vec<IpAddr>,
    failure: Option<NoAddress>,
    asking: bool,
    ask_at: Nanos,
}

/// What an answer changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// Other addresses.
    Addresses(Vec<IpAddr>),
    /// A failure that was not there before.
    Failure(String),
}

impl Names {
    pub(super) fn new(refresh_ns: u64) -> Names {
        Names {
            names: BTreeMap::new(),
            remembered: BTreeMap::new(),
            refresh_ns,
        }
    }

    pub(super) fn configure(&mut self, refresh_ns: u64) {
        self.refresh_ns = refresh_ns;
    }

    pub(super) fn restore(&mut self, resolved: Resolved) {
        self.remembered.insert(resolved.name, resolved.addresses);
    }

    pub(super) fn state(&self) -> Vec<Resolved> {
        let names = self
            .names
            .iter()
            .map(|(text, name)| (text, &name.addresses));
        let remembered = self.remembered.iter();
        names
            .chain(remembered)
            .filter(|(_, addresses)| !addresses.is_empty())
            .map(|(name, addresses)| Resolved {
                name: name.clone(),
                addresses: addresses.clone(),
            })
            .collect()
    }

    /// Takes up the names that are in use and lets go of the others.
    pub(super) fn used(&mut self, used: &BTreeSet<&str>) {
        self.names.retain(|text, _| used.contains(text.as_str()));
        for text in used {
            if !self.names.contains_key(*text) {
                let name = Name {
                    addresses: self.remembered.remove(*text).unwrap_or_default(),
                    ..Name::default()
                };
                self.names.insert((*text).to_owned(), name);
            }
        }
    }

    /// Its last good addresses.
    pub(super) fn addresses(&self, text: &str) -> &[IpAddr] {
        self.names
            .get(text)
            .map_or(&[], |name| name.addresses.as_slice())
    }

    /// Why it has none; `None` while it is being asked for, or where it has some.
    pub(super) fn failure(&self, text: &str) -> Option<&NoAddress> {
        let name = self.names.get(text)?;
        name.failure.as_ref().filter(|_| name.addresses.is_empty())
    }

    /// Asks for a name again at once, for somebody who waits.
    pub(super) fn hurry(&mut self, text: &str, now: Nanos) {
        if let Some(name) = self.names.get_mut(text)
            && name.addresses.is_empty()
        {
            name.failure = None;
            name.ask_at = now;
        }
    }

    /// The names to ask for now.
    pub(super) fn asks(&mut self, now: Nanos) -> Vec<String> {
        let due = self
            .names
            .iter_mut()
            .filter(|(_, name)| !name.asking && name.ask_at <= now);
        due.map(|(text, name)| {
            name.asking = true;
            text.clone()
        })
        .collect()
    }

    /// An answer.
    pub(super) fn answered(
        &mut self,
        text: &str,
        answer: Result<Vec<IpAddr>, NoAddress>,
        now: Nanos,
    ) -> Change {
        let retry_ns = RETRY_NS.min(self.refresh_ns);
        let Some(name) = self.names.get_mut(text) else {
            return Change::None;
        };
        name.asking = false;
        let answer = answer.and_then(|mut addresses| {
            addresses.truncate(ADDRESSES_MAX);
            if addresses.is_empty() {
                return Err(NoAddress::NoSuchName("it has no address".to_owned()));
            }
            Ok(addresses)
        });
        match answer {
            Ok(addresses) => {
                name.failure = None;
                name.ask_at = now.plus_ns(self.refresh_ns);
                // Name servers turn their answers round; that is no change.
                let is_same = addresses.len() == name.addresses.len()
                    && addresses.iter().all(|ip| name.addresses.contains(ip));
                if is_same {
                    return Change::None;
                }
                name.addresses.clone_from(&addresses);
                Change::Addresses(addresses)
            }
            Err(failure) => {
                name.ask_at = now.plus_ns(retry_ns);
                let is_known = name.failure.as_ref() == Some(&failure);
                let (NoAddress::NoSuchName(why) | NoAddress::Trouble(why)) = &failure;
                let why = why.clone();
                name.failure = Some(failure);
                if is_known {
                    Change::None
                } else {
                    Change::Failure(why)
                }
            }
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Nanos> {
        let waiting = self.names.values().filter(|name| !name.asking);
        waiting.map(|name| name.ask_at).min()
    }
}
