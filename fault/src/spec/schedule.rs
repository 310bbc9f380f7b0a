//! When a fault is in force: from `at`, for `for`, again and again by `repeat`.

use std::time::Duration;

use meshproof_input::{Millis, Problem, Span, Spanned};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FOR_MS_MAX, Spec};

/// Occurrences of one fault at most.
pub const TIMES_MAX: u32 = 10_000;

/// How often, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    /// So many times, the first one included.
    pub times: Spanned<u32>,
    /// From the begin of one to the begin of the next.
    #[serde(default)]
    pub every: Option<Spanned<Millis>>,
    /// At moments that are drawn by `seed`, all within this time.
    #[serde(default)]
    pub within: Option<Spanned<Millis>>,
    /// The seed of the moments: the same ones on every run; 0 where it is not named.
    #[serde(default)]
    pub seed: Option<Spanned<u64>>,
}

/// One time that a fault is in force, counted from when it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// From this moment on.
    pub from: Duration,
    /// Until this one; none: to the end of the lease.
    pub until: Option<Duration>,
}

impl Spec {
    /// Whether it is in force at other times than from now on, for as long as its lease.
    pub fn is_scheduled(&self) -> bool {
        self.at.is_some() || self.repeat.is_some()
    }

    /// When it is in force, in order; they do not overlap. One of which nothing is said: from now
    /// on.
    ///
    /// ```
    /// use meshproof_fault::Spec;
    ///
    /// let text = "{kind: drop, port: 12199, at: 1s, for: 100ms, repeat: {times: 3, every: 500ms}}";
    /// let spec = Spec::parse("fault.yaml", text).expect("a fault");
    /// let begin: Vec<u128> = spec.occurrences().iter().map(|one| one.from.as_millis()).collect();
    /// assert_eq!(begin, [1000, 1500, 2000]);
    /// ```
    pub fn occurrences(&self) -> Vec<Occurrence> {
        let at_ms = self.at.map_or(0, |at| at.value.0);
        let for_ms = self.during.map(|during| during.value.0);
        let begins = match &self.repeat {
            None => vec![at_ms],
            Some(repeat) => repeat.begins(at_ms, for_ms.unwrap_or(0)),
        };
        let one = |from_ms: u64| Occurrence {
            from: Duration::from_millis(from_ms),
            until: for_ms.map(|for_ms| Duration::from_millis(from_ms.saturating_add(for_ms))),
        };
        begins.into_iter().map(one).collect()
    }

    /// How long all of it takes, counted from when it was asked for; none: nothing says.
    pub fn takes(&self) -> Option<Duration> {
        self.occurrences().last()?.until
    }

    /// Finds what contradicts itself in it.
    pub(super) fn check_schedule(&self, name: &str, text: &str) -> Result<(), Problem> {
        let wrong = |span: Span, message: String, help: &str| {
            Err(Problem::at(
                name,
                text,
                span,
                "fault::schedule",
                message,
                help,
            ))
        };
        if let Some(at) = self.at
            && at.value.0 > FOR_MS_MAX
        {
            return wrong(
                at.span,
                format!("{} is later than any fault begins", at.value),
                "write a time up to 24h",
            );
        }
        let Some(repeat) = &self.repeat else {
            return Ok(());
        };
        let times = repeat.times;
        if times.value == 0 || times.value > TIMES_MAX {
            return wrong(
                times.span,
                format!("{times} times: expected 1 to {TIMES_MAX}"),
                "write how often it is in force, the first time included",
            );
        }
        let Some(during) = self.during else {
            return wrong(
                times.span,
                "what happens again has to end before".to_owned(),
                "name `for`, how long it is in force each time",
            );
        };
        let (span, room_ms, what) = match (repeat.every, repeat.within) {
            (Some(every), None) => (every.span, every.value.0, "from one begin to the next"),
            (None, Some(within)) => {
                let each = within.value.0 / u64::from(times.value);
                (within.span, each, "for each time")
            }
            (Some(_), Some(within)) => {
                return wrong(
                    within.span,
                    "`within` and `every` both say when".to_owned(),
                    "keep one of the two",
                );
            }
            (None, None) => {
                return wrong(
                    times.span,
                    "nothing says when it happens again".to_owned(),
                    "name `every`, or `within` and `seed` for moments by chance",
                );
            }
        };
        if let (Some(seed), Some(_)) = (repeat.seed, repeat.every) {
            return wrong(
                seed.span,
                "`seed` is of moments by chance".to_owned(),
                "write `within` in place of `every`, or leave `seed` out",
            );
        }
        if room_ms <= during.value.0 {
            return wrong(
                span,
                format!(
                    "{room_ms} ms {what} leave no time between: it is in force for {} ms",
                    during.value.0
                ),
                "write more, or a shorter `for`",
            );
        }
        match self.takes() {
            Some(takes) if takes.as_millis() > u128::from(FOR_MS_MAX) => wrong(
                times.span,
                format!("all of it takes {} ms", takes.as_millis()),
                "a fault has a day at most",
            ),
            _ => Ok(()),
        }
    }
}

impl Repeat {
    /// When each begins, in milliseconds.
    fn begins(&self, at_ms: u64, for_ms: u64) -> Vec<u64> {
        let times = u64::from(self.times.value.min(TIMES_MAX));
        if let Some(every) = self.every {
            let begin = |n: u64| at_ms.saturating_add(n.saturating_mul(every.value.0));
            return (0..times).map(begin).collect();
        }
        let within_ms = self.within.map_or(0, |within| within.value.0);
        let seed = self.seed.map_or(0, |seed| seed.value);
        // Points in what is left when all of them are taken out, put apart again: they are drawn
        // evenly and never overlap, with a millisecond at least between them.
        let room_ms = within_ms.saturating_sub(times.saturating_mul(for_ms.saturating_add(1)));
        let mut points: Vec<u64> = (0..times).map(|n| draw(seed, n, room_ms)).collect();
        points.sort_unstable();
        let apart = |(n, point): (usize, u64)| {
            let before = (n as u64).saturating_mul(for_ms.saturating_add(1));
            at_ms.saturating_add(point).saturating_add(before)
        };
        points.into_iter().enumerate().map(apart).collect()
    }
}

/// A number up to `most`, by a hash: the same on every run and machine.
fn draw(seed: u64, n: u64, most: u64) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(&n.to_le_bytes());
    let mut front = [0; 8];
    for (to, from) in front.iter_mut().zip(hasher.finalize().as_bytes()) {
        *to = *from;
    }
    u64::from_le_bytes(front) % most.saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(u128, Option<u128>)]) {
        let spec = Spec::parse("fault.yaml", text).unwrap_or_else(|problem| panic!("{problem}"));
        let found: Vec<(u128, Option<u128>)> = spec
            .occurrences()
            .iter()
            .map(|one| (one.from.as_millis(), one.until.map(|it| it.as_millis())))
            .collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_fault_is_in_force_when_it_says() {
        check("{kind: drop, port: 1}", &[(0, None)]);
        check("{kind: drop, port: 1, for: 2s}", &[(0, Some(2000))]);
        check("{kind: drop, port: 1, at: 1s}", &[(1000, None)]);
        check(
            "{kind: drop, port: 1, at: 1s, for: 2s}",
            &[(1000, Some(3000))],
        );
        check(
            "{kind: drop, port: 1, for: 50ms, repeat: {times: 3, every: 200ms}}",
            &[(0, Some(50)), (200, Some(250)), (400, Some(450))],
        );
    }

    #[test]
    fn chance_is_the_same_on_every_run_and_overlaps_never() {
        for seed in 0..200 {
            let text = format!(
                "{{kind: drop, port: 1, at: 10ms, for: 20ms, repeat: {{times: 5, within: 200ms, \
                 seed: {seed}}}}}"
            );
            let spec = Spec::parse("fault.yaml", &text).expect("a fault");
            let all = spec.occurrences();
            assert_eq!(all, spec.occurrences(), "{seed}");
            assert_eq!(all.len(), 5);
            let mut free = Duration::from_millis(10);
            for one in &all {
                assert!(one.from >= free, "{seed}: {all:?}");
                free = one.until.expect("an end") + Duration::from_millis(1);
            }
            assert!(free <= Duration::from_millis(211), "{seed}: {all:?}");
        }
        let of = |seed: u64| {
            let text = format!(
                "{{kind: drop, port: 1, for: 1ms, repeat: {{times: 9, within: 10s, seed: {seed}}}}}"
            );
            Spec::parse("fault.yaml", &text)
                .expect("a fault")
                .occurrences()
        };
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (keys, says) in [
            ("at: 25h", "later than any"),
            ("for: 1s, repeat: {times: 0, every: 2s}", "0 times"),
            ("for: 1s, repeat: {times: 3}", "nothing says when"),
            ("repeat: {times: 3, every: 2s}", "has to end"),
            ("for: 2s, repeat: {times: 3, every: 2s}", "no time between"),
            ("for: 2s, repeat: {times: 3, within: 6s}", "no time between"),
            (
                "for: 1s, repeat: {times: 3, every: 2s, within: 9s}",
                "both say",
            ),
            (
                "for: 1s, repeat: {times: 3, every: 2s, seed: 1}",
                "by chance",
            ),
            ("for: 1h, repeat: {times: 30, every: 2h}", "all of it takes"),
        ] {
            let text = format!("{{kind: drop, port: 1, {keys}}}");
            let problem = Spec::parse("fault.yaml", &text).expect_err("it contradicts itself");
            assert_eq!(problem.code_name(), "fault::schedule", "{text}: {problem}");
            assert!(problem.to_string().contains(says), "{text}: {problem}");
            assert!(problem.help_text().is_some(), "{text}");
        }
    }
}
