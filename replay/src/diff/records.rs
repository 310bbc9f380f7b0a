//! Two records, exchange by exchange.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};

use meshproof_record::difference::Difference;
use meshproof_record::report::text::count;
use meshproof_record::row::{self, ExchangeRow, Outcome};
use meshproof_record::verdict::{Claim, Verdict};

use super::answer::{Answer, compare};
use super::noise::Noise;
use crate::engine::judge::unjudged;

/// What two records say of the same requests. The first is taken as recorded, the second as
/// observed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordDiff {
    /// Exchanges that were answered in both and compared.
    pub compared: u64,
    /// Exchanges without an answer in both, ended alike.
    pub without_answer: u64,
    /// Of the compared ones: those of which noise leaves nothing to judge.
    pub blind: u64,
    /// Exchanges of either record that were not looked at, as too many waited for a counterpart.
    pub left_out: u64,
    /// Exchanges that differ, as they were met; differences that are only shown count here too.
    pub pairs: Vec<Pair>,
    /// Numbers of exchanges that only the first record has.
    pub only_first: Vec<u64>,
    /// Numbers of exchanges that only the second record has.
    pub only_second: Vec<u64>,
}

/// One request whose two answers differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Its number in the first record.
    pub first: u64,
    /// Its number in the second.
    pub second: u64,
    /// Service; empty where it is not known.
    pub service: String,
    /// Method; empty where it is not known.
    pub method: String,
    /// Where they part.
    pub differences: Vec<Difference>,
}

impl Pair {
    /// Whether a judged difference was found.
    pub fn differs(&self) -> bool {
        self.differences.iter().any(|difference| difference.judged)
    }
}

impl RecordDiff {
    /// Pairs with a judged difference.
    pub fn differing(&self) -> usize {
        self.pairs.iter().filter(|pair| pair.differs()).count()
    }

    /// What the comparison shows.
    pub fn claim(&self) -> Claim {
        let compared = self.compared;
        let (first, second) = (self.only_first.len(), self.only_second.len());
        let shown_only = (self.pairs.len() - self.differing()) as u64;
        let (verdict, why) = if self.differing() > 0 {
            let differ = count(
                self.differing() as u64,
                "exchange differs",
                "exchanges differ",
            );
            let compared = count(compared, "answer", "answers");
            (Verdict::Fail, format!("{differ}, {compared} compared"))
        } else if compared == 0 {
            let why = "no exchange was answered in both records: nothing was compared";
            (Verdict::Invalid, why.to_owned())
        } else if self.blind == compared {
            let answers = count(compared, "answer", "answers");
            let why = format!("{answers} compared, but the noise file leaves nothing to judge");
            (Verdict::Invalid, why)
        } else if self.left_out > 0 {
            let why = format!(
                "{} compared alike, but {} left out: too many wait for their counterpart in the \
                 other record; are these runs of one capture?",
                count(compared, "answer", "answers"),
                count(self.left_out, "exchange was", "exchanges were")
            );
            (Verdict::Invalid, why)
        } else if first + second > 0 {
            let why = format!(
                "{} compared alike, but {first} exchanges are in the first record only and \
                 {second} in the second only",
                count(compared, "answer", "answers")
            );
            (Verdict::Invalid, why)
        } else {
            let compared = count(compared, "answer", "answers");
            let told = unjudged(shown_only, self.blind);
            (Verdict::Pass, format!("{compared} compared, {told}"))
        };
        Claim::new("records", verdict, why)
    }
}

/// What was asked: exchanges of two records that agree in this can be compared.
type Asked = (String, String, String, String);

fn asked(row: &ExchangeRow) -> Asked {
    (
        row.kind.clone(),
        row.service.clone(),
        row.method.clone(),
        row.arguments.clone(),
    )
}

/// Bytes of rows that wait for their counterpart, at most, as far as the rows themselves go. Two
/// runs of one capture write their rows in the same order, and nothing waits for long.
const HELD_BYTES_MAX: usize = 256 << 20;

/// Compares the answers observed in two runs.
///
/// Exchanges are joined by their number where both ask for the same, which is so for two runs of
/// one capture; the others by what they ask for, in order. Both records are read in step; rows
/// without a counterpart wait, 256 MiB of them at most.
pub fn diff_records(
    first: impl IntoIterator<Item = ExchangeRow>,
    second: impl IntoIterator<Item = ExchangeRow>,
    noise: &Noise,
) -> RecordDiff {
    diff_within(first, second, noise, HELD_BYTES_MAX)
}

pub(super) fn diff_within(
    first: impl IntoIterator<Item = ExchangeRow>,
    second: impl IntoIterator<Item = ExchangeRow>,
    noise: &Noise,
    held_bytes_max: usize,
) -> RecordDiff {
    let mut diff = RecordDiff::default();
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let (mut ones, mut others) = (Waiting::default(), Waiting::default());
    loop {
        let (one, other) = (first.next(), second.next());
        if one.is_none() && other.is_none() {
            break;
        }
        if let Some(one) = one {
            match others.counterpart(&one) {
                Some(other) => diff.pair(&one, &other, noise),
                None => diff.left_out += ones.hold(one, held_bytes_max),
            }
        }
        if let Some(other) = other {
            match ones.counterpart(&other) {
                Some(one) => diff.pair(&one, &other, noise),
                None => diff.left_out += others.hold(other, held_bytes_max),
            }
        }
    }
    let mut waiting: HashMap<Asked, VecDeque<ExchangeRow>> = HashMap::new();
    for row in ones.rest() {
        waiting.entry(asked(&row)).or_default().push_back(row);
    }
    for row in others.rest() {
        match waiting.get_mut(&asked(&row)).and_then(VecDeque::pop_front) {
            Some(one) => diff.pair(&one, &row, noise),
            None => diff.only_second.push(row.exchange),
        }
    }
    let mut left: Vec<_> = waiting
        .into_values()
        .flatten()
        .map(|row| row.exchange)
        .collect();
    left.sort_unstable();
    diff.only_first = left;
    diff
}

/// Rows of one record that wait for those of the other.
#[derive(Default)]
struct Waiting {
    by_number: BTreeMap<u64, ExchangeRow>,
    /// Rows whose number stood before.
    again: Vec<ExchangeRow>,
    bytes: usize,
}

impl Waiting {
    /// Takes out the row of the same number that asks for the same.
    fn counterpart(&mut self, row: &ExchangeRow) -> Option<ExchangeRow> {
        let found = self.by_number.get(&row.exchange)?;
        if asked(found) != asked(row) {
            return None;
        }
        let found = self.by_number.remove(&row.exchange)?;
        self.bytes = self.bytes.saturating_sub(size(&found));
        Some(found)
    }

    /// Keeps a row; 1 where there is no room for it.
    fn hold(&mut self, mut row: ExchangeRow, bytes_max: usize) -> u64 {
        // Only what was observed is compared.
        row.recorded = None;
        row.differences = Vec::new();
        let bytes = self.bytes.saturating_add(size(&row));
        if bytes > bytes_max {
            return 1;
        }
        self.bytes = bytes;
        match self.by_number.entry(row.exchange) {
            Entry::Vacant(place) => drop(place.insert(row)),
            Entry::Occupied(_) => self.again.push(row),
        }
        0
    }

    /// What never met its counterpart, by number.
    fn rest(mut self) -> Vec<ExchangeRow> {
        self.again.extend(self.by_number.into_values());
        self.again.sort_by_key(|row| row.exchange);
        self.again
    }
}

/// Bytes that a held row takes, about.
fn size(row: &ExchangeRow) -> usize {
    let headers = |it: &row::Response| {
        let each = it.headers.iter();
        each.map(|(key, value)| key.len() + value.len() + 64)
            .sum::<usize>()
    };
    let observed = row.observed.as_ref();
    let names = row.service.len() + row.method.len() + row.flow.len();
    1024 + names + observed.map_or(0, |it| it.body.0.len() + it.class.len() + headers(it))
}

impl RecordDiff {
    fn pair(&mut self, one: &ExchangeRow, other: &ExchangeRow, noise: &Noise) {
        let differences = match (&one.observed, &other.observed) {
            (Some(recorded), Some(observed)) => {
                self.compared += 1;
                let method = Some(one.method.as_str()).filter(|method| !method.is_empty());
                let noise = noise.of(&one.service, method);
                self.blind += u64::from(noise.covers_all());
                compare(&Answer::from(recorded), &Answer::from(observed), &noise)
            }
            _ if ended(one) == ended(other) => {
                self.without_answer += 1;
                Vec::new()
            }
            _ => vec![Difference {
                path: "outcome".to_owned(),
                recorded: Some(ended(one)),
                observed: Some(ended(other)),
                judged: true,
            }],
        };
        if !differences.is_empty() {
            self.pairs.push(Pair {
                first: one.exchange,
                second: other.exchange,
                service: one.service.clone(),
                method: one.method.clone(),
                differences,
            });
        }
    }
}

fn ended(row: &ExchangeRow) -> String {
    let word = row.outcome.word();
    match (&row.reason, row.outcome) {
        (Some(reason), Outcome::Lost | Outcome::Refused | Outcome::Skipped) => {
            format!("{word}: {reason}")
        }
        _ => word.to_owned(),
    }
}
