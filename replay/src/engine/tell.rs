//! What a run leaves in its record: a row for each exchange, and the events worth telling.

use meshproof_record::event::{Entry, Event};
use meshproof_record::row::{ExchangeRow, Outcome as RowOutcome};

use super::judge::Judged;
use super::outcome::{End, Late, Outcome, Run};
use super::plan::{Fate, Item, Plan, Skip};
use crate::diff::response;

/// A row for each exchange of the capture, in recorded order, which is also that of their numbers.
pub fn rows<'a>(
    plan: &'a Plan,
    run: &'a Run,
    judged: &'a Judged,
) -> impl Iterator<Item = ExchangeRow> + 'a {
    plan.items
        .iter()
        .zip(1..)
        .map(move |(item, number)| match item.fate {
            Fate::Send(send) => sent(item, number, send, plan, run, judged),
            Fate::Ask(_) => unsent(item, number, RowOutcome::Skipped, Skip::MeshApi.name()),
            Fate::Refused(why) => unsent(item, number, RowOutcome::Refused, why.name()),
            Fate::Skipped(why) => unsent(item, number, RowOutcome::Skipped, why.name()),
        })
}

fn unsent(item: &Item, number: u64, outcome: RowOutcome, reason: &str) -> ExchangeRow {
    let exchange = &item.exchange;
    let answer = exchange.response.as_ref().and_then(|r| r.frame.as_ref());
    let method = item.call.method.clone().unwrap_or_default();
    ExchangeRow {
        exchange: number,
        flow: format!("{}>{}", exchange.flow.opener, exchange.flow.acceptor),
        connection: exchange.flow.connection,
        id: exchange.id.0,
        protocol: exchange.protocol.name().to_owned(),
        kind: exchange.kind.name().to_owned(),
        service: item.call.service.clone(),
        method,
        arguments: format!("{:016x}", item.call.arguments),
        trace: item.call.trace.clone(),
        target: item.target.map(|target| target.to_string()),
        intended_ns: None,
        sent_ns: None,
        answered_ns: None,
        outcome,
        reason: Some(reason.to_owned()),
        late: false,
        compared: false,
        answer_recorded: exchange.response.is_some() && !exchange.late,
        recorded: answer.map(response),
        observed: None,
        differences: Vec::new(),
    }
}

fn sent(
    item: &Item,
    number: u64,
    send: usize,
    plan: &Plan,
    run: &Run,
    judged: &Judged,
) -> ExchangeRow {
    let Some(outcome) = run.outcomes.get(send) else {
        return unsent(item, number, RowOutcome::Skipped, "interrupted");
    };
    let (word, reason) = match outcome.end {
        End::Unsent(why) => return unsent(item, number, RowOutcome::Skipped, why.name()),
        End::Oneway => (RowOutcome::Oneway, None),
        End::Answered => (RowOutcome::Answered, None),
        End::TimedOut { .. } => (RowOutcome::TimedOut, None),
        End::Lost(why) => (RowOutcome::Lost, Some(why.name())),
    };
    let row = unsent(item, number, word, "");
    let answered = outcome.end == End::Answered;
    let compared = answered && row.recorded.is_some();
    let reason = match (reason, answered && !compared) {
        (_, true) => Some("the capture holds no whole answer"),
        (reason, false) => reason,
    };
    ExchangeRow {
        target: plan
            .sends
            .get(send)
            .and_then(|send| plan.connections.get(send.connection))
            .map(|connection| connection.target.to_string()),
        intended_ns: Some(outcome.intended_ns).filter(|_| judged.lateness.count() > 0),
        sent_ns: outcome.sent_ns,
        answered_ns: outcome.answered_ns,
        reason: reason.map(str::to_owned),
        late: outcome.end == End::TimedOut { late: Late::Came },
        compared,
        observed: outcome.observed.as_ref().map(response),
        differences: judged.differences.get(&send).cloned().unwrap_or_default(),
        ..row
    }
}

/// What is worth telling, by time: refusals, what was not answered, differences, when the pace was
/// lost, what was counted beside the sums, the claims. Single sends and answers are in the rows.
///
/// `late_ns` is how late a send must be for the pace to be lost.
pub fn events(plan: &Plan, run: &Run, judged: &Judged, late_ns: u64) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut tell = |at_ns, event| entries.push(Entry { at_ns, event });
    for (item, number) in plan.items.iter().zip(1..) {
        if let Fate::Refused(why) = item.fate {
            let event = Event::Refused {
                exchange: number,
                reason: why.name().to_owned(),
                target: item.target.map(|t| t.to_string()).unwrap_or_default(),
                service: item.call.service.clone(),
                method: item.call.method.clone().unwrap_or_default(),
            };
            tell(0, event);
        }
    }
    let mut behind = false;
    for (send, outcome) in run.outcomes.iter().enumerate() {
        let Some(planned) = plan.sends.get(send) else {
            continue;
        };
        let exchange = planned.item as u64 + 1;
        if judged.lateness.count() > 0 {
            let late = outcome.lateness_ns().unwrap_or(0);
            if late > late_ns && !behind {
                tell(
                    outcome.sent_ns.unwrap_or(0),
                    Event::PaceLost { late_ns: late },
                );
            }
            behind = late > late_ns;
        }
        for (at_ns, event) in of_send(plan, outcome, exchange, send, judged) {
            tell(at_ns, event);
        }
    }
    if let (Some(last), true) = (plan.sends.last(), judged.lateness.count() > 0) {
        let text = format!(
            "sends spanned {} ns of {} ns intended",
            run.span_ns, last.intended_ns
        );
        let name = "span".to_owned();
        tell(run.elapsed_ns, Event::Finding { name, text });
    }
    for (name, text) in findings(run) {
        tell(run.elapsed_ns, Event::Finding { name, text });
    }
    entries.sort_by_key(|entry| entry.at_ns);
    for claim in &judged.claims {
        entries.push(Entry {
            at_ns: run.elapsed_ns,
            event: Event::Claimed {
                claim: claim.clone(),
            },
        });
    }
    entries
}

fn of_send(
    plan: &Plan,
    outcome: &Outcome,
    exchange: u64,
    send: usize,
    judged: &Judged,
) -> Vec<(u64, Event)> {
    let mut told = Vec::new();
    let sent_ns = outcome.sent_ns.unwrap_or(0);
    match outcome.end {
        End::TimedOut { late } => {
            let timeout_ms = match plan.sends.get(send).map(|send| send.expect) {
                Some(super::plan::Expect::Answer { timeout_ms }) => u64::from(timeout_ms),
                _ => 0,
            };
            let at_ns = sent_ns.saturating_add(timeout_ms * 1_000_000);
            told.push((
                at_ns,
                Event::TimedOut {
                    exchange,
                    timeout_ms,
                },
            ));
            if late == Late::Came {
                told.push((
                    outcome.answered_ns.unwrap_or(at_ns),
                    Event::Late { exchange },
                ));
            }
        }
        End::Lost(why) => {
            let reason = why.name().to_owned();
            told.push((sent_ns, Event::Lost { exchange, reason }));
        }
        End::Unsent(_) | End::Oneway | End::Answered => {}
    }
    let differences = judged.differences.get(&send).map_or(&[][..], Vec::as_slice);
    let mut of_note = differences.iter().filter(|difference| difference.judged);
    if let Some(first) = of_note.next() {
        let item = plan.sends.get(send).and_then(|s| plan.items.get(s.item));
        let call = item.map(|item| item.call.clone()).unwrap_or_default();
        told.push((
            outcome.answered_ns.unwrap_or(sent_ns),
            Event::Differed {
                exchange,
                service: call.service,
                method: call.method.unwrap_or_default(),
                count: 1 + of_note.count() as u64,
                first: first.clone(),
            },
        ));
    }
    told
}

/// What was counted beside the sums, by name, with a sentence.
pub fn findings(run: &Run) -> Vec<(String, String)> {
    let c = &run.counters;
    let beats = format!(
        "heartbeats sent on idle connections: {}, of which {} were answered",
        c.heartbeats_sent, c.heartbeats_answered
    );
    [
        (
            c.surplus,
            "surplus",
            format!("{} answers came that nobody asked for, or twice", c.surplus),
        ),
        (
            c.reopened,
            "reopened",
            format!("{} connections were opened again", c.reopened),
        ),
        (
            c.refused_connects,
            "connect-failed",
            format!("{} attempts to connect failed", c.refused_connects),
        ),
        (
            c.unreadable_bytes,
            "unreadable-bytes",
            format!(
                "{} bytes of the server are no frame of a known protocol and kind",
                c.unreadable_bytes
            ),
        ),
        (
            c.server_requests,
            "server-requests",
            format!(
                "{} requests of the server were not answered",
                c.server_requests
            ),
        ),
        (
            c.goaways,
            "goaway",
            format!(
                "the server said goaway {} times; the rest went to new connections",
                c.goaways
            ),
        ),
        (c.heartbeats_sent, "heartbeats", beats),
    ]
    .into_iter()
    .filter(|(count, ..)| *count > 0)
    .map(|(_, name, text)| (name.to_owned(), text))
    .collect()
}
