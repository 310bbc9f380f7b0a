//! What the config center said of one service, and how much of it is believed.

use meshproof_sys::clock::Nanos;
use meshproof_wire::registry::{Provider, Push};

use crate::{Bug, Bugs};

/// Longest list that is taken, in providers.
pub(super) const PROVIDERS_MAX: usize = 4096;

/// A list in doubt is asked for again after this long, and after twice as long each time.
const ASK_AGAIN_NS: u64 = 200_000_000;

/// Longest pause between two such questions.
const ASK_AGAIN_NS_MAX: u64 = 5_000_000_000;

/// One service at the config center.
///
/// **Invariant:** providers that were believed go only when the config center says so in a way
/// that a config center in trouble does not: by a list that still names others, or by an empty
/// one that is confirmed.
#[derive(Debug, Default)]
pub(super) struct List {
    believed: Option<Push>,
    /// From the snapshot of an earlier life: good until the first real answer.
    provisional: bool,
    /// Named by an earlier life of the config center and not (yet) by this one: they have a lease
    /// to come back in.
    held: Vec<Provider>,
    held_until: Nanos,
    /// The config center said something since the service was subscribed to.
    answered: bool,
    doubt: Option<Doubt>,
}

#[derive(Debug)]
struct Doubt {
    ask_at: Nanos,
    pause_ns: u64,
    asking: bool,
}

/// What became of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It changed the list.
    Taken,
    /// It said what was known.
    Same,
    /// It was not believed.
    Ignored(String),
}

impl List {
    pub(super) fn restored(push: Push, provisional: bool) -> List {
        List {
            believed: Some(push),
            provisional,
            ..List::default()
        }
    }

    /// What is believed, for a snapshot.
    pub(super) fn believed(&self) -> Option<&Push> {
        self.believed.as_ref()
    }

    /// Those to call, in the order of the answer.
    pub(super) fn providers(&self) -> impl Iterator<Item = &Provider> {
        let believed = self.believed.as_ref();
        believed
            .into_iter()
            .flat_map(|push| &push.providers)
            .chain(&self.held)
    }

    /// Whether the config center has said what counts: who is there, or surely nobody.
    pub(super) fn is_settled(&self) -> bool {
        self.believed.is_some() && !self.provisional
    }

    /// Whether it has said anything.
    pub(super) fn is_answered(&self) -> bool {
        self.answered
    }

    /// A push, or the answer to a question.
    pub(super) fn push(&mut self, push: Push, now: Nanos, lease_ns: u64, bugs: Bugs) -> Verdict {
        self.answered = true;
        // Whatever it is worth: a list still in doubt is asked for again.
        self.unanswered();
        if push.providers.len() > PROVIDERS_MAX {
            return Verdict::Ignored(format!(
                "{} providers, at most {PROVIDERS_MAX} are taken",
                push.providers.len()
            ));
        }
        let known = self.believed.as_ref();
        if let Some(known) = known
            && !self.provisional
            && known.epoch == push.epoch
            && push.revision < known.revision
        {
            return Verdict::Ignored(format!(
                "revision {} is older than {}, which is known",
                push.revision, known.revision
            ));
        }
        let wipes = self.believed.is_none() || self.providers().next().is_some();
        if push.providers.is_empty() && !push.confirmed && wipes && !bugs.has(Bug::EmptyPushWipes) {
            self.doubt.get_or_insert(Doubt {
                ask_at: now,
                pause_ns: ASK_AGAIN_NS,
                asking: false,
            });
            return Verdict::Ignored("empty and not confirmed".to_owned());
        }
        self.doubt = None;
        let before: Vec<Provider> = self.providers().cloned().collect();
        let is_new_life = known.is_some_and(|known| !self.provisional && known.epoch != push.epoch);
        if is_new_life && !push.confirmed && !bugs.has(Bug::EmptyPushWipes) {
            self.held.clone_from(&before);
            self.held_until = now.plus_ns(lease_ns);
        } else if push.confirmed || !self.provisional && push.providers.is_empty() {
            self.held.clear();
        }
        self.held.retain(|held| {
            let is_held = |named: &Provider| named.address == held.address;
            !push.providers.iter().any(is_held)
        });
        self.provisional = false;
        // A list that names the same in another order says nothing new, and the order that was
        // taken first stays: balancing need not begin again.
        let is_same = self.believed.as_ref().is_some_and(|known| {
            known.providers.len() == push.providers.len()
                && known
                    .providers
                    .iter()
                    .all(|one| push.providers.contains(one))
        });
        match &mut self.believed {
            Some(known) if is_same => {
                known.epoch = push.epoch;
                known.revision = push.revision;
                known.confirmed = push.confirmed;
            }
            believed => *believed = Some(push),
        }
        if self.providers().eq(&before) && is_same {
            Verdict::Same
        } else {
            Verdict::Taken
        }
    }

    /// Whether the question is to go out now; the next one waits longer.
    pub(super) fn asks(&mut self, now: Nanos) -> bool {
        let Some(doubt) = &mut self.doubt else {
            return false;
        };
        if doubt.asking || now < doubt.ask_at {
            return false;
        }
        doubt.asking = true;
        doubt.ask_at = now.plus_ns(doubt.pause_ns);
        doubt.pause_ns = doubt.pause_ns.saturating_mul(2).min(ASK_AGAIN_NS_MAX);
        true
    }

    /// The question is open no more: it was answered, or will not be.
    pub(super) fn unanswered(&mut self) {
        if let Some(doubt) = &mut self.doubt {
            doubt.asking = false;
        }
    }

    /// When [`List::asks`] or [`List::lapse`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Nanos> {
        let ask = self
            .doubt
            .as_ref()
            .filter(|doubt| !doubt.asking)
            .map(|doubt| doubt.ask_at);
        let lapse = (!self.held.is_empty()).then_some(self.held_until);
        ask.into_iter().chain(lapse).min()
    }

    /// Lets go of those that had a whole lease to come back to a config center that lives;
    /// whether there were any.
    pub(super) fn lapse(&mut self, now: Nanos) -> bool {
        if self.held.is_empty() || now < self.held_until {
            return false;
        }
        self.held.clear();
        true
    }
}
