//! Two records, exchange by exchange.

use std::collections::{BTreeMap, HashMap, VecDeque};

use meshproof_record::difference::Difference;
use meshproof_record::report::text::count;
use meshproof_record::row::{ExchangeRow, Outcome};
use meshproof_record::verdict::{Claim, Verdict};

use super::answer::{Answer, compare};
use super::noise::Noise;

/// What two records say of the same requests. The first is taken as recorded, the second as
/// observed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordDiff {
    /// Exchanges that were answered in both and compared.
    pub compared: u64,
    /// Exchanges without an answer in both, ended alike.
    pub without_answer: u64,
    /// Exchanges that differ, in the order of the second record; differences that are only shown
    /// count here too.
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
        } else if first + second > 0 {
            let why = format!(
                "{} compared alike, but {first} exchanges are in the first record only and \
                 {second} in the second only",
                count(compared, "answer", "answers")
            );
            (Verdict::Invalid, why)
        } else {
            let compared = count(compared, "answer", "answers");
            (Verdict::Pass, format!("{compared} compared, no difference"))
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

/// Compares the answers observed in two runs.
///
/// Exchanges are joined by their number where both ask for the same, which is so for two runs of
/// one capture; the others by what they ask for, in order. The first record is held in memory,
/// bodies included.
pub fn diff_records(
    first: impl IntoIterator<Item = ExchangeRow>,
    second: impl IntoIterator<Item = ExchangeRow>,
    noise: &Noise,
) -> RecordDiff {
    let mut by_number: BTreeMap<u64, ExchangeRow> = BTreeMap::new();
    for mut row in first {
        // Only what was observed is compared.
        row.recorded = None;
        by_number.insert(row.exchange, row);
    }
    let mut diff = RecordDiff::default();
    let mut unmatched = Vec::new();
    for row in second {
        match by_number.remove(&row.exchange) {
            Some(one) if asked(&one) == asked(&row) => diff.pair(&one, &row, noise),
            other => {
                if let Some(one) = other {
                    by_number.insert(one.exchange, one);
                }
                unmatched.push(row);
            }
        }
    }
    let mut waiting: HashMap<Asked, VecDeque<ExchangeRow>> = HashMap::new();
    for row in by_number.into_values() {
        waiting.entry(asked(&row)).or_default().push_back(row);
    }
    unmatched.sort_by_key(|row| row.exchange);
    for row in unmatched {
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

impl RecordDiff {
    fn pair(&mut self, one: &ExchangeRow, other: &ExchangeRow, noise: &Noise) {
        let differences = match (&one.observed, &other.observed) {
            (Some(recorded), Some(observed)) => {
                self.compared += 1;
                let method = Some(one.method.as_str()).filter(|method| !method.is_empty());
                let noise = noise.of(&one.service, method);
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
