//! What a run shows: answers compared, sums closed, claims judged.

use std::collections::BTreeMap;

use meshproof_record::difference::Difference;
use meshproof_record::histogram::Recorder;
use meshproof_record::ledger::ReplayLedger;
use meshproof_record::report::text::count;
use meshproof_record::verdict::{Claim, Verdict};
use meshproof_wire::Frame;

use super::call::Call;
use super::outcome::{Compared, End, Run, Stop, Unsent, ledger};
use super::pace::{LatenessLimit, Pace};
use super::plan::{Item, Plan};
use super::subscribe::{self, Asked};
use crate::exchange::ExchangeKind;

/// How a recorded and an observed answer are compared.
pub trait Compare {
    /// Where the answers to `call` part; empty where they do not. Ids are never compared.
    fn compare(&self, call: &Call, recorded: &Frame, observed: &Frame) -> Vec<Difference>;

    /// Whether a difference in the answers to `call` could be judged at all.
    fn judges(&self, call: &Call) -> bool;
}

/// What a run is judged by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// The pace that was asked for.
    pub pace: Pace,
    /// How late sends may be.
    pub lateness: LatenessLimit,
    /// Answers of our own stubs that fitted service and method only.
    pub loose: u64,
}

/// A run, judged.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The account.
    pub ledger: ReplayLedger,
    /// What is claimed, and what was shown of it.
    pub claims: Vec<Claim>,
    /// Where answers part from the recorded ones, by index into [`Plan::sends`]; also what is
    /// shown and not judged.
    pub differences: BTreeMap<usize, Vec<Difference>>,
    /// Answers with a difference that is judged.
    pub differed: u64,
    /// From the intended time (without a schedule: from the turn) to the answer.
    pub latency: Recorder,
    /// From the intended time to the send; empty without a schedule.
    pub lateness: Recorder,
}

/// Compares every answer, closes the account and judges the claims.
pub fn judge(plan: &Plan, run: &Run, compare: &dyn Compare, terms: &Terms) -> Judged {
    let mut latency = Recorder::new();
    let mut lateness = Recorder::new();
    let mut differences = BTreeMap::new();
    let mut differed = 0;
    let mut judged = 0;
    let mut shown_only = 0;
    let mut late_sends = 0;
    // What did not come although it was recorded.
    let mut missing = Missing::default();
    for (at, outcome) in run.outcomes.iter().enumerate() {
        if let Some(ns) = outcome.latency_ns() {
            latency.record(ns);
        }
        if let (Some(ns), true) = (outcome.lateness_ns(), terms.pace.has_schedule()) {
            lateness.record(ns);
            late_sends += u64::from(ns > terms.lateness.late_ns);
        }
        let recorded_in_time = recorded(plan, at).is_some_and(|recorded| !recorded.late);
        match outcome.end {
            End::TimedOut { .. } if recorded_in_time => missing.timed_out += 1,
            End::Lost(_) if recorded_in_time || is_oneway(plan, at) => missing.lost += 1,
            End::Unsent(Unsent::Unreachable) => missing.unreachable += 1,
            _ => {}
        }
        if let (End::Answered, Some(observed), Some(recorded), Some(item)) = (
            outcome.end,
            &outcome.observed,
            recorded_answer(plan, at),
            item(plan, at),
        ) {
            let found = compare.compare(&item.call, recorded, observed);
            let differs = found.iter().any(|difference| difference.judged);
            differed += u64::from(differs);
            judged += u64::from(compare.judges(&item.call));
            shown_only += u64::from(!differs && !found.is_empty());
            if !found.is_empty() {
                differences.insert(at, found);
            }
        }
    }
    let ledger = ledger(plan, run, |at| match recorded_answer(plan, at) {
        Some(_) => Compared::Yes,
        None => Compared::No,
    });
    let facts = Facts {
        plan,
        run,
        terms,
        ledger: &ledger,
        missing,
        differed,
        judged,
        shown_only,
    };
    let mut claims = vec![facts.functional(), facts.account(), facts.targets()];
    if terms.pace.has_schedule() {
        claims.push(facts.latency(&lateness, late_sends));
    }
    Judged {
        claims,
        ledger,
        differences,
        differed,
        latency,
        lateness,
    }
}

impl Judged {
    /// Adds what was said to the application API: its claim, in front of those that it supports,
    /// where something was to be said, and its account.
    #[must_use]
    pub fn with_api(mut self, plan: &Plan, asked: Option<&[Asked]>) -> Judged {
        if let Some(asked) = asked {
            self.claims.insert(0, subscribe::claim(asked));
        }
        self.ledger.mesh_api = subscribe::ledger(plan, asked.unwrap_or_default());
        self
    }
}

fn item(plan: &Plan, send: usize) -> Option<&Item> {
    plan.items.get(plan.sends.get(send)?.item)
}

fn recorded(plan: &Plan, send: usize) -> Option<RecordedAnswer<'_>> {
    let exchange = &item(plan, send)?.exchange;
    let half = exchange.response.as_ref()?;
    Some(RecordedAnswer {
        frame: half.frame.as_ref(),
        late: exchange.late,
    })
}

fn is_oneway(plan: &Plan, send: usize) -> bool {
    item(plan, send).is_some_and(|item| item.exchange.kind == ExchangeKind::Oneway)
}

struct RecordedAnswer<'a> {
    frame: Option<&'a Frame>,
    late: bool,
}

fn recorded_answer(plan: &Plan, send: usize) -> Option<&Frame> {
    recorded(plan, send)?.frame
}

/// Requests whose recorded answer was in time, and that got none.
#[derive(Clone, Copy, Default)]
struct Missing {
    timed_out: u64,
    lost: u64,
    unreachable: u64,
}

struct Facts<'a> {
    plan: &'a Plan,
    run: &'a Run,
    terms: &'a Terms,
    ledger: &'a ReplayLedger,
    missing: Missing,
    /// Compared answers with a difference that is judged.
    differed: u64,
    /// Compared answers of which something is judged.
    judged: u64,
    /// Compared answers that differ only in what is not judged.
    shown_only: u64,
}

impl Facts<'_> {
    fn functional(&self) -> Claim {
        let counters = &self.run.counters;
        let compared = self.ledger.compared;
        let answers = count(compared, "answer", "answers");
        let wrong = listed(&[
            (
                self.differed,
                "answer differs from the recorded one",
                "answers differ from the recorded ones",
            ),
            (
                counters.surplus,
                "answer came that nobody asked for (or twice)",
                "answers came that nobody asked for (or twice)",
            ),
            (
                self.missing.timed_out,
                "request timed out",
                "requests timed out",
            ),
            (
                self.missing.lost,
                "request was lost with its connection",
                "requests were lost with their connection",
            ),
            (
                counters.unreadable_bytes,
                "byte of the server is no frame that is known",
                "bytes of the server are no frame that is known",
            ),
        ]);
        let unsure = listed(&[
            (
                self.missing.unreachable,
                "request was not sent: the target accepted no connection",
                "requests were not sent: the target accepted no connection",
            ),
            (
                self.terms.loose,
                "answer came from a stub that matched service and method only",
                "answers came from a stub that matched service and method only",
            ),
            (
                u64::from(self.run.stop == Stop::Interrupted),
                "stop was asked for before the end",
                "",
            ),
        ]);
        let (verdict, why) = if !wrong.is_empty() {
            (Verdict::Fail, format!("{wrong}; {answers} compared"))
        } else if compared == 0 && unsure.is_empty() {
            (Verdict::Invalid, "nothing was compared".to_owned())
        } else if !unsure.is_empty() && (self.missing.unreachable == 0 || compared == 0) {
            (
                Verdict::Invalid,
                format!("{answers} compared, but {unsure}"),
            )
        } else if !unsure.is_empty() {
            (Verdict::Fail, format!("{unsure}; {answers} compared"))
        } else if self.judged == 0 {
            (
                Verdict::Invalid,
                format!("{answers} compared, but the noise file leaves nothing to judge"),
            )
        } else {
            let told = unjudged(self.shown_only, compared - self.judged);
            (Verdict::Pass, format!("{answers} compared, {told}"))
        };
        Claim::new("functional", verdict, why)
    }

    fn account(&self) -> Claim {
        let open = self.ledger.check();
        let sums: Vec<String> = open.iter().map(ToString::to_string).collect();
        match sums.is_empty() {
            true => Claim::new(
                "ledger",
                Verdict::Pass,
                format!(
                    "{} recorded exchanges, each in one bucket",
                    self.ledger.recorded
                ),
            ),
            false => Claim::new("ledger", Verdict::Fail, sums.join("; ")),
        }
    }

    fn targets(&self) -> Claim {
        let refused: u64 = self.ledger.refused.values().sum();
        let sent = self.ledger.sent;
        if sent == 0 {
            return Claim::new(
                "targets",
                Verdict::Invalid,
                format!("nothing was sent; {refused} requests were refused"),
            );
        }
        let targets: std::collections::BTreeSet<_> =
            self.plan.connections.iter().map(|c| c.target).collect();
        let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
        let shown = targets.iter().take(4).cloned().collect::<Vec<_>>();
        let more = targets.len().saturating_sub(shown.len());
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        Claim::new(
            "targets",
            Verdict::Pass,
            format!(
                "{sent} requests to {}{more}; {refused} refused",
                shown.join(", ")
            ),
        )
    }

    fn latency(&self, lateness: &Recorder, late: u64) -> Claim {
        let sends = lateness.count();
        let limit = &self.terms.lateness;
        let p99 = lateness.quantile_ns(0.99);
        let told = format!(
            "p99 lateness {} ms (limit {}), {late} of {sends} sends more than {} ms late (limit {} %)",
            as_ms(p99),
            as_ms(limit.p99_ns),
            as_ms(limit.late_ns),
            limit.share * 100.0,
        );
        let held = sends > 0 && limit.holds(p99, late, sends);
        match held {
            true => Claim::new("latency", Verdict::Pass, format!("pace held: {told}")),
            false => Claim::new(
                "latency",
                Verdict::Invalid,
                format!("pace not held: {told}"),
            ),
        }
    }
}

/// `no difference`, or what stands behind it: answers that differ in what is not judged, and
/// answers of which nothing is judged.
pub(crate) fn unjudged(shown_only: u64, blind: u64) -> String {
    let mut told = match shown_only {
        0 => "no difference".to_owned(),
        1 => "no judged difference (1 differs in noise or stack frames only)".to_owned(),
        n => format!("no judged difference ({n} differ in noise or stack frames only)"),
    };
    if blind > 0 {
        told.push_str(&format!(
            "; of {blind} the noise file leaves nothing to judge"
        ));
    }
    told
}

fn as_ms(ns: u64) -> String {
    let ms = ns as f64 / 1e6;
    if ms >= 10.0 || ns.is_multiple_of(1_000_000) {
        format!("{ms:.0}")
    } else {
        format!("{ms:.2}")
    }
}

/// `2 requests, 1 answer`, without what is 0.
fn listed(facts: &[(u64, &str, &str)]) -> String {
    let told: Vec<String> = facts
        .iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, many)| format!("{count} {}", if *count == 1 { one } else { many }))
        .collect();
    told.join(", ")
}
