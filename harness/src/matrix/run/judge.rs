//! Whether what was seen of a cell is what it would have been without a mesh.

use std::collections::BTreeMap;

use meshproof_record::verdict::{Claim, Lacking, Verdict};
use serde::Deserialize;

use crate::mesh::call::UNJUDGED;

/// What the server of the incident says when it is given a frame of another protocol.
const HEADER: &str = "Invalid protocol header";

/// The end of one call, as the log of the client tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// Which call of its round, from 0.
    pub number: u64,
    /// The method.
    pub method: String,
    /// `ok`, `exception`, `sent`, `timeout`, `closed`, `status 7`, `wrong`, …
    pub outcome: String,
    /// Whether that belongs to the call.
    pub right: bool,
    /// What the answer came in.
    pub protocol: Option<String>,
    /// Length and checksum of its content.
    pub content: Option<String>,
    /// What was wrong, in words.
    pub said: Option<String>,
    /// The trace id.
    pub trace: String,
}

/// One round of calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// The style, as a sentence has it.
    pub style: &'static str,
    /// Calls that were to be made.
    pub wanted: u64,
    /// Of these, with the outcome that belongs to them.
    pub right: u64,
    /// The others by outcome.
    pub wrong: Vec<(String, u64)>,
    /// The first thing that was wrong, in words.
    pub first: Option<String>,
    /// Calls that were not begun, or whose end nobody waited for, since failures were enough.
    pub left_out: u64,
    /// One by one; of heartbeats there are none.
    pub answers: Vec<Answer>,
}

impl Round {
    /// Whether every call ended as it should.
    pub fn is_right(&self) -> bool {
        self.right == self.wanted
    }
}

/// How often each thing is that keeps a ledger from closing; no entry where it closes.
pub type Open = Vec<(String, u64)>;

/// What was seen of a cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Rounds of calls, in order.
    pub rounds: Vec<Round>,
    /// What apps refused, in their own words: pod and line.
    pub refused: Vec<(String, String)>,
    /// Calls in the ledger, and what does not close.
    pub ledger: Option<(u64, Open)>,
    /// Packets that tried to leave; none: the backend cannot tell.
    pub escapes: Option<u64>,
    /// Acts that were not begun since a round had failed.
    pub left_out: usize,
    /// Why the cell went no further: something that should have come did not.
    pub stuck: Option<String>,
}

/// What was shown of a cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// The claims.
    pub claims: Vec<Claim>,
    /// Everything that speaks against the cell, the most telling first. Texts are the same in
    /// every run and in every cell with the same cause.
    pub evidence: Vec<String>,
    /// The same as a sentence, with place and number.
    pub sentence: String,
}

/// Collects what speaks against a cell.
#[derive(Default)]
struct Found(Vec<(String, String)>);

impl Found {
    fn add(&mut self, canonical: impl Into<String>, sentence: impl Into<String>) {
        let canonical = canonical.into();
        if !self.0.iter().any(|(known, _)| *known == canonical) {
            self.0.push((canonical, sentence.into()));
        }
    }
}

/// Judges a cell; `reference` is what its calls come to without any mesh.
pub fn judge(seen: &Observed, reference: &[Round]) -> Judged {
    let mut found = Found::default();
    let claims = [
        refused(seen, &mut found),
        answers(seen, reference, &mut found),
        ledger(seen, &mut found),
        escapes(seen, &mut found),
        stuck(seen, &mut found),
    ];
    let sentence = found
        .0
        .first()
        .map(|(_, sentence)| sentence.clone())
        .unwrap_or_default();
    Judged {
        claims: claims.into_iter().flatten().collect(),
        evidence: found
            .0
            .into_iter()
            .map(|(canonical, _)| canonical)
            .collect(),
        sentence,
    }
}

/// No app was given anything that it does not understand.
fn refused(seen: &Observed, found: &mut Found) -> Option<Claim> {
    let mut lines: Vec<&(String, String)> = seen.refused.iter().collect();
    // The one that the incident is known by goes first.
    lines.sort_by_key(|(pod, line)| (!line.contains(HEADER), pod.clone()));
    for (pod, line) in &lines {
        let short = short(line);
        found.add(
            format!("`{short}` in the log of an app"),
            format!("`{short}` in the log of {pod}"),
        );
    }
    let claim = match lines.first() {
        None => Claim::new("apps", Verdict::Pass, "no app refused a frame"),
        Some((pod, line)) => {
            let why = format!(
                "apps refused {} frames; first `{}` in the log of {pod}",
                lines.len(),
                short(line)
            );
            Claim::new("apps", Verdict::Fail, why)
        }
    };
    (!seen.rounds.is_empty()).then_some(claim)
}

/// `java.io.IOException: Invalid protocol header:1` is as telling without the class.
fn short(line: &str) -> &str {
    line.find(HEADER)
        .and_then(|at| line.get(at..))
        .unwrap_or(line)
        .trim()
}

/// What an outcome counts as when answers are compared: a client that gave up and a sidecar that
/// said so are the same to the app.
fn class(outcome: &str) -> &str {
    match outcome {
        "timeout" | "status 7" => "timed out",
        other => other,
    }
}

/// Every answer is the one that comes without a mesh.
fn answers(seen: &Observed, reference: &[Round], found: &mut Found) -> Option<Claim> {
    let mut same = 0_u64;
    let mut wanted = 0_u64;
    let mut left_out = 0_u64;
    let mut differ: Vec<(String, String)> = Vec::new();
    for (n, round) in seen.rounds.iter().enumerate() {
        wanted += round.wanted;
        // After a restart the rounds come again.
        let at = n.checked_rem(reference.len()).unwrap_or(n);
        let mut missing = round.wanted.saturating_sub(round.left_out);
        left_out += round.left_out;
        match reference.get(at).filter(|plain| !plain.answers.is_empty()) {
            Some(plain) if round.style != "heartbeat" => {
                let by_number: BTreeMap<u64, &Answer> = plain
                    .answers
                    .iter()
                    .map(|answer| (answer.number, answer))
                    .collect();
                let judged = |answer: &&Answer| answer.outcome != UNJUDGED;
                for answer in round.answers.iter().filter(judged) {
                    missing = missing.saturating_sub(1);
                    match difference(answer, by_number.get(&answer.number).copied()) {
                        None => same += 1,
                        Some(text) => {
                            let place = format!("{} call {}", round.style, answer.number);
                            let told = told(answer, &text);
                            differ.push((text, format!("{place}: {told}")));
                        }
                    }
                }
            }
            // Heartbeats have no lines of their own; their outcomes are counted.
            _ => {
                same += round.right;
                missing = missing.saturating_sub(round.right);
                let said = round.first.as_deref().unwrap_or_default();
                for (outcome, count) in &round.wrong {
                    missing = missing.saturating_sub(*count);
                    let text = canonical(outcome, Some(said));
                    differ.push((text.clone(), format!("{count} {}s: {text}", round.style)));
                }
            }
        }
        if missing > 0 {
            let text = format!("{} calls without an end", round.style);
            differ.push((text.clone(), format!("{missing} {text}")));
        }
    }
    differ.sort_by_key(|(text, _)| rank(text));
    for (canonical, sentence) in &differ {
        found.add(canonical.clone(), sentence.clone());
    }
    if seen.rounds.is_empty() {
        return None;
    }
    let claim = match differ.first() {
        None => {
            let why = format!("{same} of {wanted} calls end as they do without a mesh");
            Claim::new("answers", Verdict::Pass, why)
        }
        Some((_, first)) => {
            let mut why =
                format!("{same} of {wanted} calls end as they do without a mesh; first: {first}");
            if left_out > 0 {
                why += &format!("; {left_out} were left out, since these were enough");
            }
            if seen.left_out > 0 {
                why += &format!("; {} acts after it were left out", seen.left_out);
            }
            Claim::new("answers", Verdict::Fail, why)
        }
    };
    Some(claim)
}

/// An answer that nobody should have read comes before one that did not come: the second often
/// follows from the first.
fn rank(text: &str) -> u8 {
    match text {
        text if text.starts_with("an answer over") => 0,
        text if text.starts_with("another answer") => 1,
        text if text.starts_with("timed out") || text.starts_with("closed") => 3,
        _ => 2,
    }
}

/// Why an answer is not the one that comes without a mesh.
fn difference(answer: &Answer, plain: Option<&Answer>) -> Option<String> {
    let Some(plain) = plain else {
        return Some("a call that was never made".to_owned());
    };
    if class(&answer.outcome) != class(&plain.outcome) || !answer.right {
        return Some(canonical(&answer.outcome, answer.said.as_deref()));
    }
    // What a call that timed out is told has no content to compare.
    let compared = class(&answer.outcome) != "timed out";
    (compared && answer.content != plain.content).then(|| OTHER_CONTENT.to_owned())
}

const OTHER_CONTENT: &str = "an answer of another content than without a mesh";

/// The same with what the answer said, for the sentence of one cell.
fn told(answer: &Answer, text: &str) -> String {
    match (&answer.said, &answer.content) {
        (Some(said), _) if !text.contains(said.as_str()) => format!("{text} ({said})"),
        (_, Some(content)) if text == OTHER_CONTENT => {
            format!("{text} (bytes and CRC-32 {content})")
        }
        _ => text.to_owned(),
    }
}

/// An outcome that is wrong, in words without numbers of calls.
fn canonical(outcome: &str, said: Option<&str>) -> String {
    let version = said.and_then(|said| said.find("an answer over").and_then(|at| said.get(at..)));
    match (outcome, version) {
        (_, Some(version)) => version.to_owned(),
        ("wrong", None) => "another answer than the one that belongs to the call".to_owned(),
        ("timeout", None) => "timed out without an answer".to_owned(),
        ("closed", None) => "closed before the answer came".to_owned(),
        (other, None) => format!("{other} in place of the answer"),
    }
}

/// Every call was seen once and has one end.
fn ledger(seen: &Observed, found: &mut Found) -> Option<Claim> {
    let (calls, open) = seen.ledger.as_ref()?;
    for (what, count) in open {
        found.add(
            format!("the ledger does not close: {what}"),
            format!("the ledger does not close: {count} {what}"),
        );
    }
    let claim = if open.is_empty() {
        let why = format!("{calls} calls, each seen once and ended once");
        Claim::new("ledger", Verdict::Pass, why)
    } else {
        let open: Vec<String> = open
            .iter()
            .map(|(what, count)| format!("{count} {what}"))
            .collect();
        let why = format!("of {calls} calls {}", open.join(", "));
        Claim::new("ledger", Verdict::Fail, why)
    };
    Some(claim)
}

/// Nothing tried to leave.
fn escapes(seen: &Observed, found: &mut Found) -> Option<Claim> {
    let claim = match seen.escapes {
        None if seen.rounds.is_empty() => return None,
        None => {
            let why = "this backend cannot count packets that leave";
            Claim::unsupported("escapes", Lacking::Machine, why)
        }
        Some(0) => Claim::new("escapes", Verdict::Pass, "0 packets tried to leave"),
        Some(count) => {
            found.add(
                "packets tried to leave",
                format!("{count} packets tried to leave"),
            );
            let why = format!("{count} packets tried to leave");
            Claim::new("escapes", Verdict::Fail, why)
        }
    };
    Some(claim)
}

fn stuck(seen: &Observed, found: &mut Found) -> Option<Claim> {
    let why = seen.stuck.as_ref()?;
    // Its first line: logs follow.
    let first = why.lines().next().unwrap_or_default();
    found.add(first, first);
    Some(Claim::new("mesh", Verdict::Fail, why.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(number: u64, outcome: &str, content: &str) -> Answer {
        Answer {
            number,
            outcome: outcome.into(),
            right: matches!(
                outcome,
                "ok" | "exception" | "sent" | "timeout" | "status 7"
            ),
            content: (!content.is_empty()).then(|| content.into()),
            ..Answer::default()
        }
    }

    fn round(answers: Vec<Answer>) -> Round {
        Round {
            style: "sync",
            wanted: 2,
            right: answers.iter().filter(|answer| answer.right).count() as u64,
            answers,
            ..Round::default()
        }
    }

    fn plain() -> Vec<Round> {
        vec![round(vec![answer(0, "ok", "5:a"), answer(1, "ok", "5:b")])]
    }

    #[track_caller]
    fn check(seen: Observed, verdicts: &[(&str, Verdict)], evidence: &[&str]) {
        let judged = judge(&seen, &plain());
        let found: Vec<(&str, Verdict)> = judged
            .claims
            .iter()
            .map(|claim| (claim.name.as_str(), claim.verdict))
            .collect();
        assert_eq!(found, verdicts, "{:?}", judged.claims);
        assert_eq!(judged.evidence, evidence);
        assert_eq!(judged.sentence.is_empty(), evidence.is_empty());
    }

    #[test]
    fn a_cell_is_judged_by_what_comes_without_a_mesh() {
        use Verdict::{Fail, Pass};
        let well = Observed {
            // The last to be sent may be the first to be answered.
            rounds: vec![round(vec![answer(1, "ok", "5:b"), answer(0, "ok", "5:a")])],
            ledger: Some((2, Vec::new())),
            escapes: Some(0),
            ..Observed::default()
        };
        let all = [
            ("apps", Pass),
            ("answers", Pass),
            ("ledger", Pass),
            ("escapes", Pass),
        ];
        check(well.clone(), &all, &[]);
        // After a restart the same is asked again.
        let twice = Observed {
            rounds: [well.rounds.clone(), well.rounds.clone()].concat(),
            ..well.clone()
        };
        check(twice, &all, &[]);
        let mixed = Observed {
            rounds: vec![round(vec![answer(0, "closed", ""), answer(1, "ok", "5:b")])],
            refused: vec![
                ("server-1".into(), "a frame whose CRC is wrong".into()),
                (
                    "server-2".into(),
                    "java.io.IOException: Invalid protocol header:1".into(),
                ),
            ],
            ledger: Some((2, vec![("lost".into(), 1)])),
            ..well.clone()
        };
        check(
            mixed,
            &[
                ("apps", Fail),
                ("answers", Fail),
                ("ledger", Fail),
                ("escapes", Pass),
            ],
            &[
                "`Invalid protocol header:1` in the log of an app",
                "`a frame whose CRC is wrong` in the log of an app",
                "closed before the answer came",
                "the ledger does not close: lost",
            ],
        );
        let swapped = Observed {
            rounds: vec![round(vec![answer(0, "ok", "5:b"), answer(1, "ok", "5:a")])],
            escapes: Some(2),
            ..well.clone()
        };
        check(
            swapped,
            &[
                ("apps", Pass),
                ("answers", Fail),
                ("ledger", Pass),
                ("escapes", Fail),
            ],
            &[
                "an answer of another content than without a mesh",
                "packets tried to leave",
            ],
        );
        let short = Observed {
            rounds: vec![round(vec![answer(0, "ok", "5:a")])],
            ..well
        };
        check(
            short,
            &[
                ("apps", Pass),
                ("answers", Fail),
                ("ledger", Pass),
                ("escapes", Pass),
            ],
            &["sync calls without an end"],
        );
        let never_up = Observed {
            stuck: Some("the sidecar in pod client was not ready\n  | a line".into()),
            ..Observed::default()
        };
        check(
            never_up,
            &[("mesh", Fail)],
            &["the sidecar in pod client was not ready"],
        );
    }

    #[test]
    fn a_time_out_is_one_whoever_says_so() {
        let plain = [round(vec![
            answer(0, "timeout", ""),
            answer(1, "timeout", ""),
        ])];
        let seen = |one: Answer| Observed {
            rounds: vec![round(vec![one, answer(1, "timeout", "")])],
            escapes: Some(0),
            ..Observed::default()
        };
        let told = judge(&seen(answer(0, "status 7", "0:0")), &plain);
        assert_eq!(told.evidence, [] as [&str; 0]);
        let version = Answer {
            said: Some("an answer over bolt-v1 to a call over bolt-v2".into()),
            ..answer(0, "wrong", "0:0")
        };
        let told = judge(&seen(version), &plain);
        assert_eq!(
            told.evidence,
            ["an answer over bolt-v1 to a call over bolt-v2"]
        );
        assert_eq!(
            told.sentence,
            "sync call 0: an answer over bolt-v1 to a call over bolt-v2"
        );
    }
}
