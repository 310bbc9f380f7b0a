//! What is said of links: a bad one may have several properties at once.

use std::fmt;

use meshproof_input::{Problem, Span, Spanned};

use super::{FOR_MS_MAX, Kind, Spec};

/// Longest delay of a link, in milliseconds: what waits is held in memory.
pub const LINK_DELAY_MS_MAX: u64 = 60_000;

/// What is wrong: where, its code, in words, and what to do.
type Wrong = (Span, &'static str, String, &'static str);

impl Spec {
    /// Shares of a hundred packets, and what happens to them.
    fn shares(&self) -> [(&'static str, Option<Spanned<f64>>); 4] {
        [
            ("loss", self.loss),
            ("duplicate", self.duplicate),
            ("reorder", self.reorder),
            ("corrupt", self.corrupt),
        ]
    }

    /// The first thing that is said of links alone.
    fn of_link(&self) -> Option<(Span, &'static str)> {
        let times = [("delay", self.delay), ("jitter", self.jitter)];
        let mut named = times
            .into_iter()
            .filter_map(|(key, it)| Some((it?.span, key)))
            .chain(
                self.shares()
                    .into_iter()
                    .filter_map(|(key, it)| Some((it?.span, key))),
            )
            .chain(self.rate.map(|it| (it.span, "rate")));
        named.next()
    }

    /// Finds what contradicts itself in what is said of a link.
    pub(super) fn check_link(&self, name: &str, text: &str) -> Result<(), Problem> {
        match self.wrong_of_link() {
            None => Ok(()),
            Some((span, code, message, help)) => {
                Err(Problem::at(name, text, span, code, message, help))
            }
        }
    }

    fn wrong_of_link(&self) -> Option<Wrong> {
        let kind = self.kind.value;
        let said = self.of_link();
        if kind != Kind::Link {
            let direction = self.direction.map(|it| (it.span, "direction"));
            return said.or(direction).map(|(span, key)| {
                let message = format!(
                    "`{key}` is said of a link, and {kind} happens to {}",
                    self.subject()
                );
                (
                    span,
                    "fault::not_a_link",
                    message,
                    "write `kind: link`, or leave it out",
                )
            });
        }
        if said.is_none() {
            return Some((
                self.kind.span,
                "fault::good_link",
                "a link of which nothing bad is said".into(),
                "name one or more of delay, jitter, loss, duplicate, reorder, corrupt, rate",
            ));
        }
        let elsewhere = [
            (self.from.map(|it| it.span), "from"),
            (self.to.map(|it| it.span), "to"),
            (self.peer.map(|it| it.span), "peer"),
            (self.ip.map(|it| it.span), "ip"),
            (self.listener.map(|it| it.span), "listener"),
        ];
        if let Some((span, key)) = elsewhere
            .into_iter()
            .find_map(|(span, key)| Some((span?, key)))
        {
            return Some((
                span,
                "fault::whole_link",
                format!("a link has no `{key}`: everything that passes it is meant"),
                "write `direction: in` for what comes to the pod, `direction: out` for what leaves",
            ));
        }
        for (key, time) in [("delay", self.delay), ("jitter", self.jitter)] {
            if let Some(time) = time
                && (time.value.0 == 0 || time.value.0 > LINK_DELAY_MS_MAX.min(FOR_MS_MAX))
            {
                return Some((
                    time.span,
                    "fault::link_time",
                    format!("{time} is no {key} of a link"),
                    "write a time from 1ms to 60s",
                ));
            }
        }
        if let Some(jitter) = self.jitter
            && self
                .delay
                .is_none_or(|delay| delay.value.0 < jitter.value.0)
        {
            return Some((
                jitter.span,
                "fault::jitter",
                format!("a jitter of {jitter} goes below a delay of nothing"),
                "name a `delay` that is at least as long: the jitter is more or less than that",
            ));
        }
        self.shares().into_iter().find_map(|(key, share)| {
            let share = share?;
            let fits = share.value > 0.0 && share.value <= 100.0;
            (!fits).then(|| {
                (
                    share.span,
                    "fault::percent",
                    format!("{key}: {share} is no share of a hundred"),
                    "write a number above 0 and up to 100",
                )
            })
        })
    }

    /// The properties of a bad link, in words.
    pub(super) fn say_link(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut with = Vec::new();
        for (key, time) in [("delay", self.delay), ("jitter", self.jitter)] {
            with.extend(time.map(|time| format!("{key} {time}")));
        }
        for (key, share) in self.shares() {
            with.extend(share.map(|share| format!("{key} {share} %")));
        }
        with.extend(self.rate.map(|rate| format!("rate {rate}")));
        write!(f, " with {}", with.join(", "))?;
        match self.direction {
            Some(direction) => write!(f, ", {direction} only"),
            None => Ok(()),
        }
    }
}
