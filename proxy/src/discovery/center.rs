//! What stands at the config center against what is to stand there.

use std::collections::BTreeMap;

use meshproof_sys::clock::Nanos;
use meshproof_wire::registry::{Deregister, Provider, Register, Renew};

/// Providers in one request, at most.
const REGISTERED_AT_ONCE_MAX: usize = 256;

/// First pause after a request that failed; it doubles with each one, up to a third of the lease.
const RETRY_NS: u64 = 100_000_000;

/// One thing to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Say {
    /// `POST /v1/register`.
    Register(Register),
    /// `POST /v1/deregister`.
    Deregister(Deregister),
    /// `POST /v1/renew`.
    Renew(Renew),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Status 200.
    Done,
    /// Status 404: it does not know the session (any more).
    UnknownSession,
    /// No answer, or another status.
    Failed(String),
}

/// The conversation about this pod's publications: one thing is said at a time, so that nothing
/// overtakes anything.
///
/// **Invariant:** what may stand at the config center is in `told`. A request without an answer
/// may have been carried out, so what it named stays there and is not `sure`.
#[derive(Debug, Default)]
pub(super) struct Center {
    session: String,
    lease_ms: u64,
    told: BTreeMap<String, Told>,
    saying: Option<Saying>,
    renew_at: Nanos,
    retry_at: Nanos,
    failures: u32,
}

#[derive(Debug)]
struct Told {
    provider: Provider,
    sure: bool,
}

#[derive(Debug)]
struct Saying {
    say: Say,
    since: Nanos,
}

/// What changed at the config center.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) registered: Vec<String>,
    pub(super) deregistered: Vec<String>,
}

impl Center {
    pub(super) fn new(session: String, lease_ms: u64) -> Center {
        Center {
            session,
            lease_ms,
            told: BTreeMap::new(),
            saying: None,
            renew_at: Nanos(0),
            retry_at: Nanos(0),
            failures: 0,
        }
    }

    pub(super) fn session(&self) -> &str {
        &self.session
    }

    /// These may stand there since an earlier process.
    pub(super) fn restore(&mut self, providers: impl Iterator<Item = Provider>) {
        self.told.extend(providers.map(|provider| {
            let told = Told {
                provider: provider.clone(),
                sure: false,
            };
            (provider.service, told)
        }));
    }

    /// Whether exactly `wanted` stands there, as far as the config center has said.
    pub(super) fn stands(&self, wanted: &BTreeMap<String, Provider>) -> bool {
        self.told.len() == wanted.len()
            && self
                .told
                .iter()
                .all(|(service, told)| told.sure && wanted.get(service) == Some(&told.provider))
    }

    /// What to say now.
    pub(super) fn next(&mut self, wanted: &BTreeMap<String, Provider>, now: Nanos) -> Option<Say> {
        if self.saying.is_some() || now < self.retry_at {
            return None;
        }
        let say = self.unsaid(wanted, now)?;
        if let Say::Register(register) = &say {
            for provider in &register.providers {
                let told = self.told.get(&provider.service);
                if told.is_some_and(|told| told.provider == *provider) {
                    continue;
                }
                let told = Told {
                    provider: provider.clone(),
                    sure: false,
                };
                self.told.insert(provider.service.clone(), told);
            }
        }
        if let Say::Deregister(Deregister { services, .. }) = &say {
            // Whether it is carried out is not known until it is answered.
            for (service, told) in &mut self.told {
                if services.is_empty() || services.contains(service) {
                    told.sure = false;
                }
            }
        }
        self.saying = Some(Saying {
            say: say.clone(),
            since: now,
        });
        Some(say)
    }

    fn unsaid(&self, wanted: &BTreeMap<String, Provider>, now: Nanos) -> Option<Say> {
        let session = || self.session.clone();
        // Before what is refused again and again: what stands there is not to lapse over it.
        let stands = |service: &String| self.told.get(service).is_some_and(|told| told.sure);
        if self.renew_at <= now && wanted.keys().any(stands) {
            return Some(Say::Renew(Renew { session: session() }));
        }
        let surplus: Vec<String> = self
            .told
            .keys()
            .filter(|service| !wanted.contains_key(*service))
            .cloned()
            .collect();
        if !surplus.is_empty() {
            let all = surplus.len() == self.told.len();
            return Some(Say::Deregister(Deregister {
                session: session(),
                // Naming none takes all out and ends the session.
                services: if all { Vec::new() } else { surplus },
            }));
        }
        let is_missing = |provider: &&Provider| {
            self.told
                .get(&provider.service)
                .is_none_or(|told| !told.sure || told.provider != **provider)
        };
        let (missing, rest): (Vec<&Provider>, Vec<&Provider>) =
            wanted.values().partition(is_missing);
        if missing.is_empty() {
            return None;
        }
        // The others as well: a config center that forgot the session makes a new one of this
        // request, and would say yes to every renewal of it without what it forgot.
        let all = missing.into_iter().chain(rest);
        Some(Say::Register(Register {
            session: session(),
            lease_ms: self.lease_ms,
            providers: all.take(REGISTERED_AT_ONCE_MAX).cloned().collect(),
        }))
    }

    /// What came of what was said last.
    pub(super) fn said(&mut self, said: &Said, now: Nanos) -> Outcome {
        let mut outcome = Outcome::default();
        let Some(Saying { say, since }) = self.saying.take() else {
            return outcome;
        };
        match said {
            Said::Failed(_) => {
                let third = self.third_ns();
                let pause = RETRY_NS.checked_shl(self.failures).unwrap_or(third);
                self.retry_at = now.plus_ns(pause.min(third));
                // Doubling further than this would only overflow.
                self.failures = (self.failures + 1).min(16);
                return outcome;
            }
            Said::UnknownSession => {
                self.told.clear();
                if let Say::Deregister(deregister) = say {
                    outcome.deregistered = deregister.services;
                }
            }
            Said::Done => match say {
                Say::Register(register) => {
                    for provider in register.providers {
                        let told = self.told.get_mut(&provider.service);
                        let was_sure =
                            told.is_some_and(|told| std::mem::replace(&mut told.sure, true));
                        if !was_sure {
                            outcome.registered.push(provider.service);
                        }
                    }
                }
                Say::Deregister(deregister) if deregister.services.is_empty() => {
                    outcome.deregistered = std::mem::take(&mut self.told).into_keys().collect();
                }
                Say::Deregister(deregister) => {
                    self.told
                        .retain(|service, _| !deregister.services.contains(service));
                    outcome.deregistered = deregister.services;
                }
                Say::Renew(_) => {}
            },
        }
        self.failures = 0;
        self.retry_at = now;
        // From when it was said: the config center's clock of the lease began no earlier.
        self.renew_at = since.plus_ns(self.third_ns());
        outcome
    }

    fn third_ns(&self) -> u64 {
        self.lease_ms.saturating_mul(1_000_000) / 3
    }

    /// Somebody waits, or the config center is back: no pause before the next try.
    pub(super) fn hurry(&mut self, now: Nanos) {
        self.retry_at = now;
    }

    /// When [`Center::next`] has something to say, if nothing else happens.
    pub(super) fn next_deadline(&self, wanted: &BTreeMap<String, Provider>) -> Option<Nanos> {
        if self.saying.is_some() {
            return None;
        }
        if !self.stands(wanted) {
            return Some(self.retry_at);
        }
        (!self.told.is_empty()).then(|| self.renew_at.max(self.retry_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> BTreeMap<String, Provider> {
        let service = "com.alipay.demo.SampleService:1.0".to_owned();
        let provider = Provider {
            service: service.clone(),
            address: "10.0.0.1:12200".to_owned(),
            protocols: vec!["bolt".to_owned()],
            app: "sample-server".to_owned(),
            zone: String::new(),
            weight: 100,
            properties: serde_json::Map::new(),
        };
        [(service, provider)].into()
    }

    /// A config center that is slower than we wait has carried the deregistration out: whoever is
    /// wanted again meanwhile has to be registered again.
    #[test]
    fn a_deregistration_without_an_answer_leaves_nothing_sure() {
        let mut center = Center::new("session".to_owned(), 30_000);
        let (wanted, nobody) = (wanted(), BTreeMap::new());
        let now = |ms: u64| Nanos(ms * 1_000_000);
        assert!(matches!(
            center.next(&wanted, now(0)),
            Some(Say::Register(_))
        ));
        center.said(&Said::Done, now(1));
        assert!(center.stands(&wanted));
        assert!(matches!(
            center.next(&nobody, now(2)),
            Some(Say::Deregister(_))
        ));
        assert!(!center.stands(&wanted), "it is on its way out");
        center.said(&Said::Failed("no answer".to_owned()), now(1002));
        assert!(!center.stands(&wanted), "it may be out");
        assert!(matches!(
            center.next(&wanted, now(2000)),
            Some(Say::Register(_))
        ));
        let said = center.said(&Said::Done, now(2001));
        assert_eq!(said.registered.len(), 1);
        assert!(center.stands(&wanted));
    }
}
