//! How well cells cover a matrix: a verifier that shares no code with the generator.
//!
//! It lists tuples on its own, asks the conditions as they were compiled and not as the generator
//! tabulates them, learns from the compiled expression itself which axes they may name, and
//! decides by plain backtracking whether a tuple can stand in a cell: one axis after the other,
//! each value tried, each condition asked as soon as everything that it may name is chosen.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cel::objects::Key;
use meshproof_record::case::{Certificate, Coverage, NotRun};

use super::{Cell, Excluded, Matrix, Value};

/// Values that are tried for one tuple before it is given up as undecided; it then counts as
/// possible, so that doubt lowers the coverage and never raises it.
const STEPS_MAX: u64 = 2_000_000;

/// What a verifier found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// For the record. Combinations that were excluded stand in `not_run` by their values.
    pub certificate: Certificate,
    /// Tuples of each line of the certificate that are possible by the conditions, and in no cell
    /// because of what was excluded.
    pub excluded: Vec<u64>,
    /// Cells that a condition forbids, and tuples that could not be decided.
    pub findings: Vec<String>,
}

impl Verified {
    /// Whether every tuple that can be run stands in a cell that ran, and every cell is lawful.
    pub fn is_complete(&self) -> bool {
        self.findings.is_empty()
            && self
                .certificate
                .covered
                .iter()
                .zip(&self.excluded)
                .all(|(line, excluded)| line.ran + excluded >= line.possible)
    }

    /// One sentence with the numbers: `606 of 606 pairs, 240 of 240 triples of a, b, c`.
    pub fn sentence(&self) -> String {
        let lines: Vec<String> = self
            .certificate
            .covered
            .iter()
            .zip(&self.excluded)
            .map(|(line, excluded)| {
                let what = match line.strength {
                    1 => "values".to_owned(),
                    2 => "pairs".to_owned(),
                    3 => "triples".to_owned(),
                    t => format!("{t}-tuples"),
                };
                let of = match line.axes.is_empty() {
                    true => String::new(),
                    false => format!(" of {}", line.axes.join(", ")),
                };
                let out = match excluded {
                    0 => String::new(),
                    count => format!(" ({count} cannot be run here)"),
                };
                format!("{} of {} {what}{of}{out}", line.ran, line.possible)
            })
            .collect();
        lines.join(", ")
    }
}

/// Judges the cells of a plan and those of them that ran, by their ids.
///
/// `not_run` goes into the certificate as it is.
pub fn verify(
    matrix: &Matrix,
    planned: &[Cell],
    ran: &BTreeSet<String>,
    not_run: Vec<NotRun>,
) -> Verified {
    let mut judge = Judge::new(matrix);
    let mut findings = Vec::new();
    let mut lawful: Vec<(&Cell, bool)> = Vec::new();
    for cell in planned {
        match judge.broken(&cell.row.0) {
            None => lawful.push((cell, ran.contains(&cell.id))),
            Some(why) => findings.push(format!("cell {} is not allowed: {why}", cell.id)),
        }
    }
    let mut verified = Verified::default();
    let axes = matrix.axes();
    let everything: Vec<usize> = (0..axes.len()).collect();
    let mut wanted = vec![(matrix.cover().strength, everything, Vec::new())];
    for raise in &matrix.cover().raise {
        let names = raise
            .axes
            .iter()
            .filter_map(|axis| axes.get(*axis).map(|axis| axis.name.clone()))
            .collect();
        wanted.push((raise.strength, raise.axes.clone(), names));
    }
    for (strength, among, names) in wanted {
        let line = judge.line(strength, &among, &lawful);
        if line.undecided > 0 {
            findings.push(format!(
                "{} tuples could not be decided and count as possible",
                line.undecided
            ));
        }
        verified.excluded.push(line.excluded);
        verified.certificate.covered.push(Coverage {
            strength: u32::try_from(strength).unwrap_or(u32::MAX),
            axes: names,
            possible: line.possible,
            planned: line.planned,
            ran: line.ran,
        });
    }
    verified.certificate.planned = planned.len() as u64;
    verified.certificate.ran = planned.iter().filter(|cell| ran.contains(&cell.id)).count() as u64;
    verified.certificate.not_run = not_run;
    for excluded in matrix.excluded() {
        verified.certificate.not_run.push(NotRun {
            case: matrix.words(&excluded.combination),
            why: excluded.why.clone(),
        });
    }
    verified.certificate.seed = matrix.cover().seed;
    verified.findings = findings;
    verified
}

/// What was counted for one strength.
#[derive(Default)]
struct Line {
    possible: u64,
    planned: u64,
    ran: u64,
    excluded: u64,
    undecided: u64,
}

enum Answer {
    Yes,
    No,
    Unknown,
}

/// A condition with every axis that it may name.
struct Condition<'a> {
    text: &'a str,
    program: &'a cel::Program,
    axes: Vec<usize>,
}

struct Judge<'a> {
    matrix: &'a Matrix,
    conditions: Vec<Condition<'a>>,
    /// What a condition said of the values of its axes.
    said: HashMap<(usize, Vec<u8>), bool>,
}

impl<'a> Judge<'a> {
    fn new(matrix: &'a Matrix) -> Judge<'a> {
        let conditions = matrix
            .constraints()
            .iter()
            .map(|constraint| {
                let program = constraint.program();
                let references = program.references();
                // `client.mesh` refers to the variable `client`.
                let axes = matrix
                    .axes()
                    .iter()
                    .enumerate()
                    .filter(|(_, axis)| {
                        let root = axis.name.split('.').next().unwrap_or_default();
                        references.has_variable(root)
                    })
                    .map(|(at, _)| at)
                    .collect();
                Condition {
                    text: constraint.text(),
                    program,
                    axes,
                }
            })
            .collect();
        Judge {
            matrix,
            conditions,
            said: HashMap::new(),
        }
    }

    /// What a whole row violates.
    fn broken(&mut self, row: &[u8]) -> Option<String> {
        if row.len() != self.matrix.axes().len() {
            return Some("it lacks an axis".into());
        }
        let chosen: Vec<Option<u8>> = row.iter().copied().map(Some).collect();
        for index in 0..self.conditions.len() {
            if !self.holds(index, &chosen) {
                let text = self.conditions.get(index).map_or("", |one| one.text);
                return Some(format!("`{text}` does not hold"));
            }
        }
        let excluded = self.matrix.excluded();
        let held = excluded.iter().find(|one| is_held(one, &chosen));
        held.map(|one| format!("it was excluded: {}", one.why))
    }

    /// Whether a condition holds; true as long as something that it may name is not chosen.
    fn holds(&mut self, index: usize, chosen: &[Option<u8>]) -> bool {
        let Some(condition) = self.conditions.get(index) else {
            return true;
        };
        let values: Option<Vec<u8>> = condition
            .axes
            .iter()
            .map(|axis| chosen.get(*axis).copied().flatten())
            .collect();
        let Some(values) = values else {
            return true;
        };
        let key = (index, values);
        if let Some(said) = self.said.get(&key) {
            return *said;
        }
        let mut context = cel::Context::default();
        let mut whole = Members::default();
        for (axis, value) in condition.axes.iter().zip(&key.1) {
            let Some(axis) = self.matrix.axes().get(*axis) else {
                continue;
            };
            if let Some(value) = axis.values.get(usize::from(*value)) {
                let path: Vec<&str> = axis.name.split('.').collect();
                whole.put(&path, value);
            }
        }
        for (name, member) in whole.0 {
            context.add_variable_from_value(name, member.into_cel());
        }
        let said = matches!(
            condition.program.execute(&context),
            Ok(cel::Value::Bool(true))
        );
        self.said.insert(key, said);
        said
    }

    fn line(&mut self, strength: usize, among: &[usize], cells: &[(&Cell, bool)]) -> Line {
        let mut line = Line::default();
        let mut set: Vec<usize> = (0..strength).collect();
        if strength > among.len() {
            return line;
        }
        loop {
            let axes: Vec<usize> = set
                .iter()
                .filter_map(|at| among.get(*at).copied())
                .collect();
            self.count(&axes, cells, &mut line);
            // The next set of places in ascending order.
            let Some(turn) = (0..strength).rev().find(|at| {
                set.get(*at)
                    .is_some_and(|here| *here + strength < among.len() + at)
            }) else {
                return line;
            };
            let base = set.get(turn).copied().unwrap_or(0) + 1;
            for (step, place) in set.iter_mut().skip(turn).enumerate() {
                *place = base + step;
            }
        }
    }

    /// Counts the tuples of these axes.
    fn count(&mut self, axes: &[usize], cells: &[(&Cell, bool)], line: &mut Line) {
        let mut seen: BTreeMap<Vec<u8>, bool> = BTreeMap::new();
        for (cell, ran) in cells {
            let tuple: Vec<u8> = axes
                .iter()
                .filter_map(|axis| cell.row.0.get(*axis).copied())
                .collect();
            *seen.entry(tuple).or_default() |= ran;
        }
        let mut tuple = vec![0u8; axes.len()];
        loop {
            match seen.get(&tuple) {
                // A lawful cell holds it: nothing shows better that it is possible.
                Some(ran) => {
                    line.possible += 1;
                    line.planned += 1;
                    line.ran += u64::from(*ran);
                }
                None => match self.extends(axes, &tuple, Exclusions::Ignored) {
                    Answer::No => {}
                    Answer::Unknown => {
                        line.possible += 1;
                        line.undecided += 1;
                    }
                    Answer::Yes => {
                        line.possible += 1;
                        if !self.matrix.excluded().is_empty()
                            && let Answer::No = self.extends(axes, &tuple, Exclusions::Kept)
                        {
                            line.excluded += 1;
                        }
                    }
                },
            }
            let mut turned = false;
            for (axis, value) in axes.iter().zip(tuple.iter_mut()).rev() {
                let count = self
                    .matrix
                    .axes()
                    .get(*axis)
                    .map_or(0, |axis| axis.values.len());
                *value += 1;
                if usize::from(*value) < count {
                    turned = true;
                    break;
                }
                *value = 0;
            }
            if !turned {
                return;
            }
        }
    }

    /// Whether a tuple stands in any cell that the conditions allow.
    fn extends(&mut self, axes: &[usize], tuple: &[u8], exclusions: Exclusions) -> Answer {
        let mut chosen: Vec<Option<u8>> = vec![None; self.matrix.axes().len()];
        for (axis, value) in axes.iter().zip(tuple) {
            if let Some(here) = chosen.get_mut(*axis) {
                *here = Some(*value);
            }
        }
        if !self.is_fine(&chosen, exclusions) {
            return Answer::No;
        }
        let order = self.order(axes, exclusions);
        let mut steps = 0;
        match self.step(&order, &mut chosen, exclusions, &mut steps) {
            _ if steps > STEPS_MAX => Answer::Unknown,
            true => Answer::Yes,
            false => Answer::No,
        }
    }

    /// The axes that are left and matter, those first that a condition joins with what is chosen.
    fn order(&self, chosen: &[usize], exclusions: Exclusions) -> Vec<usize> {
        let mut sets: Vec<Vec<usize>> = self
            .conditions
            .iter()
            .map(|condition| condition.axes.clone())
            .collect();
        if exclusions == Exclusions::Kept {
            sets.extend(self.matrix.excluded().iter().map(|excluded| {
                let pairs = excluded.combination.pairs().iter();
                pairs.map(|(axis, _)| *axis).collect()
            }));
        }
        let mut reached: Vec<usize> = chosen.to_vec();
        let mut order = Vec::new();
        while !sets.is_empty() {
            // A condition that hangs together with nothing so far is last: it may still make
            // everything impossible.
            let next = sets
                .iter()
                .position(|set| set.iter().any(|axis| reached.contains(axis)))
                .unwrap_or(0);
            for axis in sets.swap_remove(next) {
                if !reached.contains(&axis) {
                    reached.push(axis);
                    order.push(axis);
                }
            }
        }
        order
    }

    fn is_fine(&mut self, chosen: &[Option<u8>], exclusions: Exclusions) -> bool {
        (0..self.conditions.len()).all(|index| self.holds(index, chosen))
            && (exclusions == Exclusions::Ignored
                || !self
                    .matrix
                    .excluded()
                    .iter()
                    .any(|one| is_held(one, chosen)))
    }

    fn step(
        &mut self,
        order: &[usize],
        chosen: &mut Vec<Option<u8>>,
        exclusions: Exclusions,
        steps: &mut u64,
    ) -> bool {
        let Some((axis, rest)) = order.split_first() else {
            return true;
        };
        let count = self
            .matrix
            .axes()
            .get(*axis)
            .map_or(0, |axis| axis.values.len());
        for value in 0..count {
            *steps += 1;
            if *steps > STEPS_MAX {
                break;
            }
            if let Some(here) = chosen.get_mut(*axis) {
                *here = u8::try_from(value).ok();
            }
            if self.is_fine(chosen, exclusions) && self.step(rest, chosen, exclusions, steps) {
                return true;
            }
        }
        if let Some(here) = chosen.get_mut(*axis) {
            *here = None;
        }
        false
    }
}

/// Whether what was excluded counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exclusions {
    Kept,
    Ignored,
}

fn is_held(excluded: &Excluded, chosen: &[Option<u8>]) -> bool {
    let pairs = excluded.combination.pairs();
    pairs
        .iter()
        .all(|(axis, value)| chosen.get(*axis).copied().flatten() == Some(*value))
}

/// Values by the words of their axes' names.
#[derive(Default)]
struct Members(BTreeMap<String, Member>);

enum Member {
    Leaf(cel::Value),
    Group(Members),
}

impl Members {
    fn put(&mut self, path: &[&str], value: &Value) {
        match path {
            [] => {}
            [last] => {
                self.0
                    .insert((*last).to_owned(), Member::Leaf(as_cel(value)));
            }
            [first, rest @ ..] => {
                let below = self
                    .0
                    .entry((*first).to_owned())
                    .or_insert_with(|| Member::Group(Members::default()));
                if let Member::Group(below) = below {
                    below.put(rest, value);
                }
            }
        }
    }
}

impl Member {
    fn into_cel(self) -> cel::Value {
        match self {
            Member::Leaf(value) => value,
            Member::Group(members) => {
                let fields: HashMap<Key, cel::Value> = members
                    .0
                    .into_iter()
                    .map(|(name, member)| (Key::from(name), member.into_cel()))
                    .collect();
                cel::Value::from(fields)
            }
        }
    }
}

fn as_cel(value: &Value) -> cel::Value {
    match value {
        Value::Text(text) => text.as_str().into(),
        Value::Number(number) => cel::Value::Int(*number),
        Value::Truth(truth) => cel::Value::Bool(*truth),
        Value::List(items) => items.iter().map(as_cel).collect::<Vec<_>>().into(),
    }
}
