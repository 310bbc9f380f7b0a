//! Shards of a plan, the order within, and their results put together.

use std::collections::BTreeMap;

use meshproof_record::case::{Case, CaseKind};
use meshproof_record::verdict::Verdict;
use proptest::prelude::*;

use super::{MIXED, matrix};
use crate::matrix::run::Ran;
use crate::matrix::{BadPart, Cell, Part, Shard};

fn ran(cell: &Cell, verdict: Verdict, took_ns: u64) -> Ran {
    let case = Case {
        id: cell.id.clone(),
        kind: CaseKind::Cell,
        about: String::new(),
        choices: cell.choices.clone(),
        verdict,
        claims: Vec::new(),
        took_ns,
        rerun: String::new(),
        evidence: Vec::new(),
    };
    Ran {
        case,
        evidence: Vec::new(),
        sentence: String::new(),
    }
}

#[test]
fn shards_are_a_partition() {
    let plan = matrix(MIXED).plan().expect("there are cells");
    for count in 1..=plan.cells.len() + 1 {
        let mut all: Vec<String> = (1..=count)
            .flat_map(|index| {
                let shard: Shard = format!("{index}/{count}").parse().expect("a shard");
                assert_eq!(shard.to_string(), format!("{index}/{count}"));
                plan.shard(shard).cells
            })
            .map(|cell| cell.id)
            .collect();
        all.sort();
        let mut whole: Vec<String> = plan.cells.iter().map(|cell| cell.id.clone()).collect();
        whole.sort();
        assert_eq!(all, whole, "{count}");
    }
    for wrong in ["", "1", "0/2", "3/2", "1/0", "a/b", "-1/2", "1/2/3"] {
        let error = wrong.parse::<Shard>().expect_err(wrong);
        assert!(error.to_string().contains("is no shard"), "{error}");
    }
}

#[test]
fn the_longest_runs_first_and_the_unknown_before_it() {
    let plan = matrix(MIXED).plan().expect("there are cells");
    let took: BTreeMap<String, u64> = plan
        .cells
        .iter()
        .zip([5, 9, 7])
        .map(|(cell, took)| (cell.id.clone(), took))
        .collect();
    let order: Vec<&str> = plan
        .longest_first(&took)
        .iter()
        .map(|cell| cell.id.as_str())
        .collect();
    let at = |place: usize| plan.cells.get(place).map(|cell| cell.id.as_str());
    assert_eq!(order.first().copied(), at(3));
    assert_eq!(
        order
            .iter()
            .rev()
            .take(3)
            .rev()
            .copied()
            .map(Some)
            .collect::<Vec<_>>(),
        [at(1), at(2), at(0)]
    );
    assert_eq!(order.len(), plan.cells.len());
}

#[test]
fn parts_of_other_plans_are_refused() {
    let one = matrix(MIXED);
    let two = one.clone().with_seed(8);
    let part = |matrix: &crate::matrix::Matrix| {
        Part::new(matrix, &matrix.plan().expect("there are cells"))
    };
    let error = Part::merge([part(&one), part(&two)]).expect_err("they differ");
    assert!(matches!(error, BadPart::Other { .. }));
    assert_eq!(Part::merge([part(&two), part(&one)]), Err(error));
    assert_eq!(Part::merge([]), Err(BadPart::Nothing));
    assert!(matches!(
        Part::from_bytes(b"{}"),
        Err(BadPart::Unreadable(_))
    ));
    let text = String::from_utf8(part(&one).to_bytes()).expect("it is text");
    let newer = text.replacen("\"schema\": 1", "\"schema\": 2", 1);
    assert_eq!(
        Part::from_bytes(newer.as_bytes()),
        Err(BadPart::Schema { found: 2 })
    );
    assert_eq!(Part::from_bytes(text.as_bytes()), Ok(part(&one)));
}

#[test]
fn a_retry_does_not_turn_red_to_green() {
    let matrix = matrix(MIXED);
    let plan = matrix.plan().expect("there are cells");
    let mut part = Part::new(&matrix, &plan);
    let (first, second) = match plan.cells.as_slice() {
        [first, second, ..] => (first, second),
        _ => panic!("a plan of two cells at least"),
    };
    part.add(&ran(first, Verdict::Pass, 1));
    part.add(&ran(first, Verdict::Fail, 2));
    part.add(&ran(second, Verdict::Pass, 3));
    part.add(&ran(second, Verdict::Pass, 4));
    assert_eq!(part.flaky(), [first.id.as_str()]);
    let worst: BTreeMap<String, Verdict> = part
        .results()
        .into_iter()
        .map(|ran| (ran.case.id, ran.case.verdict))
        .collect();
    assert_eq!(worst.get(&first.id), Some(&Verdict::Fail));
    assert_eq!(worst.get(&second.id), Some(&Verdict::Pass));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the order in which parts come, in however many steps they are put together, and
    /// however often one is given: the same bytes.
    #[test]
    fn merging_knows_no_order(
        results in proptest::collection::vec((0usize..9, any::<bool>(), 0u64..4, 0usize..3), 1..40),
        order in any::<u64>(),
        again in 0usize..3,
    ) {
        let matrix = matrix(MIXED);
        let plan = matrix.plan().expect("there are cells");
        let empty = Part::new(&matrix, &plan);
        let mut parts = vec![empty.clone(), empty.clone(), empty];
        for (cell, passes, took, part) in results {
            let cell = plan.cells.get(cell % plan.cells.len()).expect("it is within");
            let verdict = if passes { Verdict::Pass } else { Verdict::Fail };
            if let Some(part) = parts.get_mut(part) {
                part.add(&ran(cell, verdict, took));
            }
        }
        let all = Part::merge(parts.clone()).expect("one plan").to_bytes();
        let mut other: Vec<Part> = parts.clone();
        other.extend(parts.get(again).cloned());
        let turn = usize::try_from(order % 4).unwrap_or(0);
        other.rotate_left(turn);
        if order & 8 == 8 {
            other.reverse();
        }
        let last = other.pop().expect("there are four");
        // In two steps, and through bytes.
        let some = Part::merge(other).expect("one plan");
        let some = Part::from_bytes(&some.to_bytes()).expect("it was written");
        let merged = Part::merge([last, some]).expect("one plan").to_bytes();
        prop_assert_eq!(all, merged);
    }
}
