//! What every report shows, read off a record in one pass.

use std::collections::{BTreeMap, HashMap};

use super::cases::{self, Cases};
use super::text;
use super::timeline::Timeline;
use crate::difference::Difference;
use crate::event::Event;
use crate::histogram::{Histogram, Recorder};
use crate::ledger::{CaptureLedger, ReplayLedger};
use crate::manifest::{Input, Manifest, Start};
use crate::row::{ExchangeRow, Outcome};
use crate::spread::Spread;
use crate::store::{Damage, Record, StoreError};
use crate::verdict::{Claim, EXIT_UNSUPPORTED, End, Lacking, Policy, Verdict, exit_code, overall};

/// Methods told apart; calls of further ones are summed up under one name.
const METHODS_MAX: usize = 500;
/// Places of difference told apart; those of further ones are counted only.
const GROUPS_MAX: usize = 2_000;
/// Kinds of refusals and of findings told apart.
const KINDS_MAX: usize = 500;
/// Spreads shown.
const SPREADS_MAX: usize = 40;
/// Examples kept of each place of difference.
const EXAMPLES_MAX: usize = 3;
/// Characters kept of a recorded or observed value.
const VALUE_CHARS_MAX: usize = 400;
/// Characters kept of a name.
const NAME_CHARS_MAX: usize = 160;
/// Characters kept of a sentence.
const SENTENCE_CHARS_MAX: usize = 600;

/// What every report shows. Memory is bounded by the limits of this module, not by the run.
#[derive(Clone, Debug)]
pub struct View {
    /// The record's folder as given.
    pub folder: String,
    /// What was known when the run began.
    pub start: Option<Start>,
    /// When it ended, and how long it took in nanoseconds; `None` for a run that was cut off.
    pub ended: Option<(String, u64)>,
    /// How it ended.
    pub end: End,
    /// The files that it read.
    pub inputs: Vec<Input>,
    /// What it claims.
    pub claims: Vec<Claim>,
    /// The worst of them.
    pub verdict: Verdict,
    /// Account of the replay; for a run that was cut off, counted from its rows.
    pub replay: Option<ReplayLedger>,
    /// Account of the capture.
    pub capture: Option<CaptureLedger>,
    /// Answer minus intended send time.
    pub latency: Option<Histogram>,
    /// Actual minus intended send time.
    pub lateness: Option<Histogram>,
    /// What happened when.
    pub timeline: Timeline,
    /// By service and method; most differences first, then most calls.
    pub methods: Vec<Method>,
    /// Calls of methods beyond the limit.
    pub methods_left_out: u64,
    /// Compared answers with a judged difference.
    pub differing: u64,
    /// Calls that timed out, of which the capture shows an answer.
    pub missing_timed_out: u64,
    /// Calls that were lost, of which the capture shows an answer.
    pub missing_lost: u64,
    /// Places of difference: judged ones first, then by count.
    pub groups: Vec<Group>,
    /// Differences in places beyond the limit.
    pub groups_left_out: u64,
    /// What the guard refused.
    pub refusals: Vec<Refusal>,
    /// Things worth telling that are in no sum.
    pub findings: Vec<NamedFinding>,
    /// What is to be known of the record itself: cut off, torn, damaged.
    pub notes: Vec<String>,
    /// Rows in the record.
    pub rows: u64,
    /// Scenarios or cells; `None` for a run that has none.
    pub cases: Option<Cases>,
    /// Moments of many trials, each beside its law.
    pub spreads: Vec<Spread>,
}

/// The calls of one method.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Method {
    /// Service.
    pub service: String,
    /// Method.
    pub method: String,
    /// Requests sent.
    pub sent: u64,
    /// Answers in time.
    pub answered: u64,
    /// Answers compared.
    pub compared: u64,
    /// Answers with a judged difference.
    pub differing: u64,
    /// No answer in time.
    pub timed_out: u64,
    /// The connection went.
    pub lost: u64,
    /// Of those two: calls to which the capture shows an answer.
    pub missing: u64,
    /// Not sent: the guard refused.
    pub refused: u64,
    /// Answer minus intended send time.
    pub latency: Histogram,
}

impl Method {
    /// `service.method`, or what is known of it.
    pub fn name(&self) -> String {
        join(&self.service, &self.method)
    }
}

/// One place where answers differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Service.
    pub service: String,
    /// Method.
    pub method: String,
    /// Path into the decoded answer.
    pub path: String,
    /// Whether it counts against the verdict.
    pub judged: Kept,
    /// In how many answers.
    pub count: u64,
    /// The first of them.
    pub examples: Vec<Example>,
}

impl Group {
    /// `service.method`, or what is known of it.
    pub fn name(&self) -> String {
        join(&self.service, &self.method)
    }
}

/// Whether a difference counts against the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kept {
    /// It does.
    Judged,
    /// It is shown only: stack frames, noise.
    Shown,
}

/// One answer that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The exchange's number.
    pub exchange: u64,
    /// What was recorded; `None` where it is not there.
    pub recorded: Option<String>,
    /// What was observed; `None` where it is not there.
    pub observed: Option<String>,
}

/// What the guard refused, for one reason, target and method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: String,
    /// Where it would have gone.
    pub target: String,
    /// `service.method`.
    pub name: String,
    /// How often.
    pub count: u64,
}

/// Something worth telling, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFinding {
    /// Its name.
    pub name: String,
    /// The first sentence of that name; empty where only a count is known.
    pub text: String,
    /// How often.
    pub count: u64,
}

impl View {
    /// Reads a record, whole or cut off.
    pub fn of(record: &Record) -> Result<View, StoreError> {
        let mut gather = Gather::default();
        let mut events = record.events()?;
        for entry in &mut events {
            gather.event(entry?.event);
        }
        let mut rows = record.rows()?;
        for row in &mut rows {
            gather.row(&row?);
        }
        gather.damage("events.jsonl", events.damage());
        gather.damage("exchanges.jsonl.zst", rows.damage());
        let folder = record.folder().display().to_string();
        let cases = std::mem::take(&mut gather.cases).finish(record)?;
        let mut view = gather.finish(folder, record.start(), record.manifest());
        view.cases = cases;
        Ok(view)
    }

    /// The exit code of the run.
    pub fn exit_code(&self, policy: &Policy<'_>) -> u8 {
        exit_code(&self.claims, self.end, policy)
    }

    /// The record as one part of a larger whole.
    pub fn whole(&self) -> Claim {
        let machine = self.exit_code(&Policy::USUAL) == EXIT_UNSUPPORTED;
        Claim {
            lacking: machine.then_some(Lacking::Machine),
            ..Claim::new(self.folder.as_str(), self.verdict, self.sentence())
        }
    }

    /// Whether the run was cut off before it could say how it ended.
    pub fn is_cut_off(&self) -> bool {
        self.ended.is_none()
    }

    /// The verdict as one sentence, without the word itself.
    pub fn sentence(&self) -> String {
        let mut of_verdict = self
            .claims
            .iter()
            .filter(|claim| claim.verdict == self.verdict);
        let of_cases = self.cases.as_ref();
        if let Some(sentence) = of_cases.and_then(|cases| cases.sentence(self.verdict)) {
            return sentence;
        }
        match (self.verdict, of_verdict.next()) {
            (_, None) => "the run claims nothing".into(),
            (Verdict::Pass, Some(first)) => {
                let others: Vec<&str> = of_verdict.map(|claim| claim.name.as_str()).collect();
                match others.as_slice() {
                    [] => format!("{}: {}", first.name, first.why),
                    others => format!("{}: {}; {} too", first.name, first.why, others.join(", ")),
                }
            }
            (_, Some(claim)) => format!("{}: {}", claim.name, claim.why),
        }
    }

    /// The command line that makes the run again, as a shell reads it: without the folder of this
    /// record, which is not empty any more.
    pub fn command(&self) -> Option<String> {
        let mut words = Vec::new();
        let mut given = self.start.as_ref()?.command_line.iter();
        while let Some(word) = given.next() {
            if word == "--record" {
                given.next();
            } else if !word.starts_with("--record=") {
                words.push(word.clone());
            }
        }
        (!words.is_empty()).then(|| text::shell(&words))
    }
}

fn join(service: &str, method: &str) -> String {
    match (service, method) {
        ("", "") => "(unknown)".into(),
        ("", name) | (name, "") => name.into(),
        (service, method) => format!("{service}.{method}"),
    }
}

fn name(text: &str) -> String {
    text::tame(text, NAME_CHARS_MAX)
}

/// Reason, target and call, and how often.
type Refusals = BTreeMap<(String, String, String), u64>;

fn count_refusal(refusals: &mut Refusals, key: (String, String, String)) {
    let key = (name(&key.0), name(&key.1), name(&key.2));
    if refusals.len() < KINDS_MAX || refusals.contains_key(&key) {
        *refusals.entry(key).or_insert(0) += 1;
    }
}

#[derive(Default)]
struct Gather {
    inputs: Vec<Input>,
    claims: Vec<Claim>,
    of_record: Vec<Claim>,
    ledger: ReplayLedger,
    latency: Recorder,
    lateness: Recorder,
    timeline: Timeline,
    methods: HashMap<(String, String), (Method, Recorder)>,
    methods_left_out: u64,
    differing: u64,
    missing_timed_out: u64,
    missing_lost: u64,
    groups: HashMap<(String, String, String, Kept), Group>,
    groups_left_out: u64,
    refused_events: Refusals,
    refused_rows: Refusals,
    findings: BTreeMap<String, NamedFinding>,
    notes: Vec<String>,
    rows: u64,
    cases: cases::Gather,
    spreads: Vec<Spread>,
}

impl Gather {
    fn event(&mut self, event: Event) {
        match event {
            Event::InputRead { input } => self.inputs.push(input),
            Event::Claimed { claim } => {
                self.claims.retain(|earlier| earlier.name != claim.name);
                self.claims.push(claim);
            }
            Event::Finding { name: kind, text } => {
                self.finding(name(&kind), text::tame(&text, SENTENCE_CHARS_MAX), 1);
            }
            Event::Surplus { .. } => self.ledger.surplus += 1,
            Event::Refused {
                reason,
                target,
                service,
                method,
                ..
            } => {
                let key = (reason, target, join(&service, &method));
                count_refusal(&mut self.refused_events, key);
            }
            Event::Spread { spread } if self.spreads.len() < SPREADS_MAX => {
                self.spreads.push(spread);
            }
            other => self.cases.event(other),
        }
    }

    fn finding(&mut self, kind: String, text: String, count: u64) {
        if self.findings.len() >= KINDS_MAX && !self.findings.contains_key(&kind) {
            return;
        }
        let finding = self
            .findings
            .entry(kind.clone())
            .or_insert_with(|| NamedFinding {
                name: kind,
                text,
                count: 0,
            });
        finding.count = finding.count.saturating_add(count);
    }

    fn row(&mut self, row: &ExchangeRow) {
        self.rows += 1;
        self.tally(row);
        self.timeline.add(row);
        if let Some(ns) = row.latency_ns() {
            self.latency.record(ns);
        }
        if let Some(ns) = row.lateness_ns() {
            self.lateness.record(ns);
        }
        if row.outcome == Outcome::Refused {
            let reason = row.reason.clone().unwrap_or_default();
            let target = row.target.clone().unwrap_or_default();
            let key = (reason, target, join(&row.service, &row.method));
            count_refusal(&mut self.refused_rows, key);
        }
        let key = (name(&row.service), name(&row.method));
        if row.outcome != Outcome::Skipped {
            self.method(&key, row);
        }
        self.differing += u64::from(row.differs());
        match row.outcome {
            Outcome::TimedOut => self.missing_timed_out += u64::from(row.misses_answer()),
            Outcome::Lost => self.missing_lost += u64::from(row.misses_answer()),
            _ => {}
        }
        for difference in &row.differences {
            self.difference(&key, row.exchange, difference);
        }
    }

    /// Counts the row as the engine does: the account of a run that was cut off.
    fn tally(&mut self, row: &ExchangeRow) {
        let ledger = &mut self.ledger;
        let reason = || name(row.reason.as_deref().unwrap_or("unknown"));
        ledger.recorded += 1;
        ledger.late += u64::from(row.late);
        if !matches!(row.outcome, Outcome::Refused | Outcome::Skipped) {
            ledger.sent += 1;
        }
        match row.outcome {
            Outcome::Answered => {
                ledger.answered += 1;
                ledger.compared += u64::from(row.compared);
                ledger.not_comparable += u64::from(!row.compared);
            }
            Outcome::Oneway => ledger.oneway += 1,
            Outcome::TimedOut => ledger.timed_out += 1,
            Outcome::Lost => *ledger.lost.entry(reason()).or_insert(0) += 1,
            Outcome::Refused => *ledger.refused.entry(reason()).or_insert(0) += 1,
            Outcome::Skipped => *ledger.skipped.entry(reason()).or_insert(0) += 1,
        }
    }

    fn method(&mut self, key: &(String, String), row: &ExchangeRow) {
        if self.methods.len() >= METHODS_MAX && !self.methods.contains_key(key) {
            self.methods_left_out += 1;
            return;
        }
        let (method, latency) = self.methods.entry(key.clone()).or_insert_with(|| {
            let method = Method {
                service: key.0.clone(),
                method: key.1.clone(),
                ..Method::default()
            };
            (method, Recorder::coarse())
        });
        match row.outcome {
            Outcome::Answered => method.answered += 1,
            Outcome::TimedOut => method.timed_out += 1,
            Outcome::Lost => method.lost += 1,
            Outcome::Refused => method.refused += 1,
            Outcome::Oneway | Outcome::Skipped => {}
        }
        method.missing += u64::from(row.misses_answer());
        method.sent += u64::from(row.outcome != Outcome::Refused);
        method.compared += u64::from(row.compared);
        method.differing += u64::from(row.differs());
        if let Some(ns) = row.latency_ns() {
            latency.record(ns);
        }
    }

    fn difference(&mut self, key: &(String, String), exchange: u64, difference: &Difference) {
        let judged = if difference.judged {
            Kept::Judged
        } else {
            Kept::Shown
        };
        let path = name(&difference.path);
        let key = (key.0.clone(), key.1.clone(), path, judged);
        if self.groups.len() >= GROUPS_MAX && !self.groups.contains_key(&key) {
            self.groups_left_out += 1;
            return;
        }
        let group = self.groups.entry(key.clone()).or_insert_with(|| Group {
            service: key.0,
            method: key.1,
            path: key.2,
            judged,
            count: 0,
            examples: Vec::new(),
        });
        group.count += 1;
        if group.examples.len() < EXAMPLES_MAX {
            let (recorded, observed) = match (&difference.recorded, &difference.observed) {
                (Some(a), Some(b)) => {
                    let (a, b) = text::excerpts(a, b, VALUE_CHARS_MAX);
                    (Some(a), Some(b))
                }
                (a, b) => {
                    let tame = |text: &String| text::tame(text, VALUE_CHARS_MAX);
                    (a.as_ref().map(tame), b.as_ref().map(tame))
                }
            };
            group.examples.push(Example {
                exchange,
                recorded,
                observed,
            });
        }
    }

    fn damage(&mut self, file: &str, damage: &Damage) {
        if damage.torn {
            self.notes
                .push(format!("{file} ends within a line: that line was dropped"));
        }
        if let Some((line, why)) = &damage.first {
            self.notes.push(format!(
                "{file}: {} could not be read and stand in no number here; the first is line {line}: {}",
                text::count(damage.unreadable, "line", "lines"),
                text::tame(why, SENTENCE_CHARS_MAX),
            ));
        }
    }

    fn finish(
        mut self,
        folder: String,
        start: Option<&Start>,
        manifest: Option<&Manifest>,
    ) -> View {
        if let Some(capture) = manifest.and_then(|manifest| manifest.capture.as_ref()) {
            for (kind, count) in &capture.findings {
                self.finding(name(kind), String::new(), *count);
            }
        }
        self.compare_with(manifest);
        let from_rows = |recorder: &Recorder| (recorder.count() > 0).then(|| recorder.finish());
        let (latency, lateness) = (from_rows(&self.latency), from_rows(&self.lateness));
        // The manifest's claims stand for those that the events told; what was found wrong with
        // the record itself comes on top.
        let mut claims = self.of_record;
        let told = match manifest {
            Some(manifest) => manifest.claims.clone(),
            None => self.claims,
        };
        let twice = |claim: &Claim| claims.iter().any(|one| one.name == claim.name);
        let told: Vec<Claim> = told.into_iter().filter(|claim| !twice(claim)).collect();
        claims.extend(told);
        let claims: Vec<Claim> = claims.into_iter().map(tame_claim).collect();
        let mut methods: Vec<Method> = self
            .methods
            .into_values()
            .map(|(method, latency)| Method {
                latency: latency.finish(),
                ..method
            })
            .collect();
        methods.sort_by(|a, b| {
            let rank = |method: &Method| {
                let wrong = method.differing + method.missing;
                (u64::MAX - wrong, u64::MAX - method.sent)
            };
            (rank(a), a.name()).cmp(&(rank(b), b.name()))
        });
        let mut groups: Vec<Group> = self.groups.into_values().collect();
        groups.sort_by(|a, b| {
            let rank = |group: &Group| (group.judged, u64::MAX - group.count);
            (rank(a), a.name(), &a.path).cmp(&(rank(b), b.name(), &b.path))
        });
        // Rows are the evidence; a run that wrote none of what it refused has told it in events.
        let refused = if self.refused_rows.is_empty() {
            self.refused_events
        } else {
            self.refused_rows
        };
        let mut refusals: Vec<Refusal> = refused
            .into_iter()
            .map(|((reason, target, name), count)| Refusal {
                reason,
                target,
                name,
                count,
            })
            .collect();
        refusals.sort_by_key(|refusal| u64::MAX - refusal.count);
        View {
            folder,
            start: start.cloned(),
            ended: manifest.map(|manifest| (manifest.ended.clone(), manifest.elapsed_ns)),
            end: manifest.map_or(End::Finished, |manifest| manifest.end),
            inputs: manifest.map_or(self.inputs, |manifest| manifest.inputs.clone()),
            verdict: overall(&claims),
            claims,
            replay: match manifest {
                Some(manifest) => manifest.replay.clone(),
                None => (self.rows > 0).then_some(self.ledger),
            },
            capture: manifest.and_then(|manifest| manifest.capture.clone()),
            latency: manifest
                .and_then(|manifest| manifest.latency.clone())
                .or(latency),
            lateness: manifest
                .and_then(|manifest| manifest.lateness.clone())
                .or(lateness),
            timeline: self.timeline,
            methods,
            methods_left_out: self.methods_left_out,
            differing: self.differing,
            missing_timed_out: self.missing_timed_out,
            missing_lost: self.missing_lost,
            groups,
            groups_left_out: self.groups_left_out,
            refusals,
            findings: self.findings.into_values().collect(),
            notes: self.notes,
            rows: self.rows,
            cases: None,
            spreads: self.spreads,
        }
    }

    /// Holds what the lines say against what the manifest says.
    fn compare_with(&mut self, manifest: Option<&Manifest>) {
        let Some(manifest) = manifest else {
            let why = "no manifest.json: the run was cut off, or has not ended yet; \
                       what stands here was written until then";
            self.of_record
                .push(Claim::new("record", Verdict::Invalid, why));
            return;
        };
        if manifest.exchanges != self.rows {
            let why = format!(
                "exchanges.jsonl.zst holds {}, the manifest counts {}: evidence is missing",
                text::count(self.rows, "exchange", "exchanges"),
                text::thousands(manifest.exchanges),
            );
            self.of_record
                .push(Claim::new("record", Verdict::Invalid, why));
        } else if let Some(why) = self.contradiction(manifest) {
            self.of_record
                .push(Claim::new("record", Verdict::Invalid, why));
        }
        let replay = manifest.replay.iter().flat_map(ReplayLedger::check);
        let capture = manifest
            .capture
            .iter()
            .filter_map(|ledger| ledger.check().err());
        for imbalance in replay.chain(capture) {
            let why = format!("a sum does not close: {imbalance}");
            self.of_record
                .push(Claim::new("ledger", Verdict::Fail, why));
        }
    }
}

impl Gather {
    /// Where the exchanges, all of them there, say something else than the manifest.
    fn contradiction(&self, manifest: &Manifest) -> Option<String> {
        let claimed = |claim: &Claim| claim.name == "functional" && claim.verdict == Verdict::Pass;
        if manifest.claims.iter().any(claimed) {
            let missing = self.missing_timed_out + self.missing_lost;
            if self.differing + missing > 0 {
                return Some(format!(
                    "the manifest claims a PASS, and of the exchanges {} and {} no answer",
                    text::count(self.differing, "differs", "differ"),
                    text::count(missing, "got", "got"),
                ));
            }
        }
        let told = manifest.replay.as_ref()?;
        let sums = [
            ("sent", told.sent, self.ledger.sent),
            ("answered", told.answered, self.ledger.answered),
            ("compared", told.compared, self.ledger.compared),
        ];
        let (name, told, found) = sums.into_iter().find(|(_, told, found)| told != found)?;
        Some(format!(
            "the manifest counts {} exchanges as {name}, exchanges.jsonl.zst holds {}",
            text::thousands(told),
            text::thousands(found),
        ))
    }
}

fn tame_claim(claim: Claim) -> Claim {
    Claim {
        name: name(&claim.name),
        why: text::tame(&claim.why, SENTENCE_CHARS_MAX),
        ..claim
    }
}
