//! Plans: how few cells, how well they cover, and whether the verifier notices what is missing.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{MIXED, matrix};
use crate::matrix::{Cell, Error, Matrix, Plan, Verified, verify};

fn ids(cells: &[Cell]) -> BTreeSet<String> {
    cells.iter().map(|cell| cell.id.clone()).collect()
}

fn judged(matrix: &Matrix, cells: &[Cell]) -> Verified {
    verify(matrix, cells, &ids(cells), Vec::new())
}

#[track_caller]
fn complete(matrix: &Matrix) -> Plan {
    let plan = matrix.plan().expect("there are cells");
    let verified = judged(matrix, &plan.cells);
    assert!(
        verified.is_complete(),
        "{}; {:?}",
        verified.sentence(),
        verified.findings
    );
    plan
}

/// A matrix of so many axes with so many values each.
fn sized(sizes: &[(usize, usize)], strength: usize) -> String {
    let mut yaml = "matrix: m\naxes:\n".to_owned();
    let counts = sizes
        .iter()
        .flat_map(|(values, axes)| std::iter::repeat_n(*values, *axes));
    for (axis, count) in counts.enumerate() {
        let values: Vec<String> = (0..count).map(|value| format!("v{value}")).collect();
        yaml.push_str(&format!("  a{axis}: [{}]\n", values.join(", ")));
    }
    yaml.push_str(&format!("cover: {{strength: {strength}, seed: 1}}\n"));
    yaml
}

/// About as few cells as generators need that are known for it. Published: 3^4 9 (all), 3^13 17
/// (IPO), 18 (PICT), 15 (AETG); 4^15 3^17 2^29 34 (IPO), 37 (PICT), 41 (AETG); 10^20 212 (IPO), 210
/// (PICT), 180 (AETG); 2^100 15 (IPO, PICT), 10 (AETG).
#[test]
fn few_cells() {
    #[track_caller]
    fn check(sizes: &[(usize, usize)], strength: usize, most: usize) {
        let plan = complete(&matrix(&sized(sizes, strength)));
        let count = plan.cells.len();
        assert!(
            count <= most,
            "{sizes:?} t={strength}: {count} cells, at most {most}"
        );
    }
    check(&[(3, 4)], 2, 9);
    check(&[(2, 10)], 2, 8);
    check(&[(3, 13)], 2, 19);
    check(&[(4, 1), (3, 9), (2, 10)], 2, 18);
    check(&[(4, 10)], 2, 31);
    check(&[(4, 15), (3, 17), (2, 29)], 2, 37);
    check(&[(10, 20)], 2, 212);
    check(&[(2, 10)], 3, 18);
    check(&[(3, 6)], 3, 43);
    check(&[(5, 1)], 1, 5);
}

#[test]
fn constraints_cost_no_tuple() {
    let matrix = matrix(MIXED);
    let plan = complete(&matrix);
    let verified = judged(&matrix, &plan.cells);
    assert_eq!(
        verified.sentence(),
        "100 of 100 pairs, 10 of 10 triples of client.mesh, providers, registry_order"
    );
    // Sixteen pairs of call with an order or a protocol exclude each other, and so do two triples.
    assert!(
        (18..=19).contains(&plan.cells.len()),
        "{}",
        plan.cells.len()
    );
    assert_eq!(plan.findings, [""; 0]);
    // Pins go first.
    let pins: Vec<&str> = plan.pins.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(pins, ["tr-bolt-mixed", "server.mesh=none ∧ call=heartbeat"]);
    let first = plan.cells.first().expect("there are cells");
    assert_eq!(first.text("client.mesh"), Some("reference"));
    assert_eq!(first.items("providers").len(), 2);
}

#[test]
fn a_tuple_that_only_a_chain_of_conditions_forbids_is_not_possible() {
    // a=1 asks for b=1, that for c=1, that for d=1; and d=1 forbids e=1.
    let matrix = matrix(
        "
matrix: m
axes: {a: [0, 1], b: [0, 1], c: [0, 1], d: [0, 1], e: [0, 1]}
require: [\"a == 0 || b == 1\", \"b == 0 || c == 1\", \"c == 0 || d == 1\", \"d + e < 2\"]
",
    );
    let plan = complete(&matrix);
    let verified = judged(&matrix, &plan.cells);
    // Of 40 pairs: each of the six pairs among a to d loses one, and e=1 goes with none of the
    // four at 1.
    assert_eq!(verified.sentence(), "30 of 30 pairs");
}

#[test]
fn the_same_seed_makes_the_same_plan() {
    let (one, two) = (matrix(MIXED), matrix(MIXED));
    assert_eq!(one.plan(), two.plan());
    let other = two.with_seed(8);
    assert_ne!(
        one.plan().expect("there are cells").hash(),
        other.plan().expect("there are cells").hash()
    );
    complete(&other);
}

#[test]
fn a_budget_is_kept_and_told() {
    let yaml = MIXED.replace("  seed: 7", "  seed: 7\n  cells: 5");
    let matrix = matrix(&yaml);
    let plan = matrix.plan().expect("there are cells");
    assert_eq!(plan.cells.len(), 5);
    assert!(
        plan.findings
            .iter()
            .any(|text| text.ends_with("the budget is 5")),
        "{:?}",
        plan.findings
    );
    let verified = judged(&matrix, &plan.cells);
    assert!(!verified.is_complete());
}

#[test]
fn more_cells_at_random_are_possible_and_new() {
    let yaml = MIXED.replace("  seed: 7", "  seed: 7\n  random: 20");
    let (plain, matrix) = (matrix(MIXED), matrix(&yaml));
    let few = plain.plan().expect("there are cells").cells.len();
    let plan = complete(&matrix);
    assert_eq!(plan.cells.len(), few + 20);
    assert_eq!(ids(&plan.cells).len(), few + 20);
}

#[test]
fn what_is_left_out_is_counted() {
    let mut matrix = matrix(MIXED).with_suts(&["mosn"]).expect("it is new");
    complete(&matrix);
    matrix.exclude_lacking(|axis, value, capability| {
        !axis.is_empty() && value == "mosn" && capability == "tr"
    });
    let whys: Vec<&str> = matrix
        .excluded()
        .iter()
        .map(|one| one.why.as_str())
        .collect();
    assert_eq!(whys, ["mosn lacks tr", "mosn lacks tr"]);
    let plan = complete(&matrix);
    let verified = judged(&matrix, &plan.cells);
    assert_eq!(verified.excluded, [2, 1]);
    assert!(
        verified.sentence().contains("(2 cannot be run here)"),
        "{}",
        verified.sentence()
    );
    let reasons: Vec<String> = verified
        .certificate
        .not_run
        .iter()
        .map(|one| format!("{}: {}", one.case, one.why))
        .collect();
    assert_eq!(
        reasons,
        [
            "client.mesh=mosn ∧ providers=[tr]: mosn lacks tr",
            "server.mesh=mosn ∧ providers=[tr]: mosn lacks tr"
        ]
    );
    // A pin that cannot be run is told, and everything left out is an error.
    let pin = matrix
        .combination(&[("client.mesh", "reference")])
        .expect("it is there");
    matrix.exclude(pin, "no binary");
    let plan = matrix.plan().expect("there are cells");
    assert!(
        plan.findings
            .contains(&"the pin tr-bolt-mixed is not run: no binary".to_owned()),
        "{:?}",
        plan.findings
    );
    for value in ["none", "mosn"] {
        let all = matrix
            .combination(&[("client.mesh", value)])
            .expect("it is there");
        matrix.exclude(all, "no binary");
    }
    assert!(matches!(matrix.plan(), Err(Error::Forbidden(_))));
}

#[test]
fn sidecars_are_added_to_their_axes() {
    let plain = matrix(MIXED);
    let more = plain
        .with_suts(&["mosn", "mosn-old", "reference"])
        .expect("they are new");
    for axis in more
        .axes()
        .iter()
        .filter(|axis| axis.name.ends_with(".mesh"))
    {
        let values: Vec<String> = axis.values.iter().map(ToString::to_string).collect();
        assert_eq!(values, ["none", "reference", "mosn", "mosn-old"]);
        assert!(more.is_sut_axis(&axis.name));
    }
    assert!(!more.is_sut_axis("call"));
    complete(&more);
    // What was there before keeps its name.
    let cell = plain.plan().expect("there are cells").cells.remove(0);
    assert_eq!(more.cell(&cell.row).map(|same| same.id), Some(cell.id));
    let no_suts = MIXED.replace("suts: [client.mesh, server.mesh]\n", "");
    let problem = matrix(&no_suts)
        .with_suts(&["mosn"])
        .expect_err("it has none");
    assert_eq!(
        problem.to_string(),
        "m.yaml: no axis of this matrix is one of sidecars"
    );
}

#[test]
fn an_unlawful_cell_is_found() {
    let matrix = matrix(MIXED);
    let mut plan = complete(&matrix);
    let mut row = plan.cells.first().expect("there are cells").row.clone();
    // client.mesh=none and call=heartbeat.
    for (axis, value) in [(0, 0), (4, 3)] {
        if let Some(here) = row.0.get_mut(axis) {
            *here = value;
        }
    }
    plan.cells
        .push(matrix.cell(&row).expect("it has every axis"));
    let verified = judged(&matrix, &plan.cells);
    assert_eq!(verified.findings.len(), 1, "{:?}", verified.findings);
    let finding = verified.findings.concat();
    assert!(finding.contains("call == 'heartbeat'"), "{finding}");
    assert!(!verified.is_complete());
}

#[test]
fn cells_are_found_by_id_and_by_values() {
    let matrix = matrix(MIXED);
    let plan = matrix.plan().expect("there are cells");
    for cell in &plan.cells {
        assert_eq!(matrix.find(&plan, &cell.id).as_ref(), Ok(cell));
        assert_eq!(matrix.find(&plan, &cell.written()).as_ref(), Ok(cell));
    }
    // A cell that only differs in one axis from one of the plan has a name, too.
    let mut row = plan.cells.first().expect("there are cells").row.clone();
    if let Some(last) = row.0.last_mut() {
        *last ^= 1;
    }
    let near = matrix.cell(&row).expect("it has every axis");
    assert_eq!(matrix.find(&plan, &near.id), Ok(near));
    let check = |id: &str, words: &str| {
        let error = matrix.find(&plan, id).expect_err("there is no such cell");
        assert!(error.to_string().contains(words), "{error}");
    };
    check("c00000000", "no cell is called `c00000000`");
    check("call=sync", "not named");
    check("cal=sync", "there is no axis `cal`");
    check(
        "call=snc",
        "the axis call has no value `snc`: it has sync, oneway",
    );
    check("call=sync,call=oneway", "named twice");
    check(
        "client.mesh=none,server.mesh=none,providers=[tr],registry_order=as-is,call=heartbeat,restart=none",
        "not possible",
    );
}

#[test]
fn ids_do_not_depend_on_the_order_of_axes_and_values() {
    let one = matrix("matrix: m\naxes: {a: [x, y], b: [1, 2]}\n");
    let two = matrix("matrix: other\naxes: {b: [3, 2, 1], a: [y, x]}\n");
    let (plan_one, plan_two) = (one.plan(), two.plan());
    let all = |plan: Result<Plan, Error>| ids(&plan.expect("there are cells").cells);
    assert!(all(plan_one).is_subset(&all(plan_two)));
}

#[test]
fn a_known_failure_holds_until_it_expires() {
    let matrix = matrix(MIXED);
    let plan = matrix.plan().expect("there are cells");
    let pinned = plan.cells.first().expect("there are cells");
    let day = |text: &str| text.parse::<jiff::civil::Date>().expect("a day");
    let known = |evidence: &str, today: &str| {
        matrix
            .known_of(pinned, evidence, day(today))
            .map(|known| known.holds_on(day(today)))
    };
    assert_eq!(known("Invalid protocol header:1", "2026-12-01"), Some(true));
    assert_eq!(
        known("Invalid protocol header:1", "2026-12-02"),
        Some(false)
    );
    assert_eq!(known("lost 1", "2026-12-01"), None);
    let needs: Vec<BTreeSet<&str>> = plan
        .cells
        .iter()
        .map(|cell| matrix.needs_of(cell))
        .collect();
    assert!(needs.contains(&BTreeSet::from(["tr"])));
    assert!(needs.contains(&BTreeSet::new()));
}

#[test]
fn a_large_matrix_with_conditions_is_covered() {
    let mut yaml = "matrix: m\naxes:\n".to_owned();
    for axis in 0..12 {
        yaml.push_str(&format!("  a{axis}: [0, 1, 2, 3]\n"));
    }
    yaml.push_str(
        "require: [\"a0 != 0 || a1 < 2\", \"a1 + a2 + a3 != 5\", \"!(a4 == 3 && a5 == 3)\", \
         \"a6 <= a7 || a8 == 0\", \"a9 != a10 || a11 > 0\"]\ncover: {strength: 3}\n",
    );
    let plan = complete(&matrix(&yaml));
    assert!(plan.cells.len() <= 200, "{}", plan.cells.len());
}

/// A matrix of a few small axes with conditions of chance, and its seed.
fn any_matrix() -> impl Strategy<Value = String> {
    let axes = proptest::collection::vec(1usize..5, 2..7);
    let conditions =
        proptest::collection::vec((0usize..20, 0usize..20, 0usize..20, 0usize..6), 0..5);
    (axes, conditions, 1usize..4, any::<u16>()).prop_map(|(counts, conditions, strength, seed)| {
        let mut yaml = "matrix: m\naxes:\n".to_owned();
        for (axis, count) in counts.iter().enumerate() {
            let values: Vec<String> = (0..*count).map(|value| value.to_string()).collect();
            yaml.push_str(&format!("  a{axis}: [{}]\n", values.join(", ")));
        }
        yaml.push_str("require:\n  - \"a0 >= 0\"\n");
        for (a, b, c, form) in conditions {
            let name = |at: usize| format!("a{}", at % counts.len());
            let (a, b, c) = (name(a), name(b), name(c));
            let text = match form {
                0 => format!("{a} == 0 || {b} != 1"),
                1 => format!("{a} != {b} || {c} == 0"),
                2 => format!("{a} + {b} + {c} != 3"),
                3 => format!("!({a} > 0 && {b} > 0 && {c} > 0)"),
                4 => format!("({a} == 0) == ({b} == 0)"),
                _ => format!("{a} <= {b} + 1"),
            };
            yaml.push_str(&format!("  - \"{text}\"\n"));
        }
        let strength = strength.min(counts.len());
        yaml.push_str(&format!("cover: {{strength: {strength}, seed: {seed}"));
        if counts.len() > strength + 1 {
            let axes: Vec<String> = (0..=strength).map(|axis| format!("a{axis}")).collect();
            yaml.push_str(&format!(
                ", raise: [{{axes: [{}], strength: {}}}]",
                axes.join(", "),
                strength + 1
            ));
        }
        yaml.push_str("}\n");
        yaml
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The generator leaves nothing out that the verifier finds possible, and the verifier notices
    /// each cell that is taken away and mattered.
    #[test]
    fn generator_and_verifier_agree(yaml in any_matrix(), taken in any::<usize>()) {
        // Conditions of chance may contradict each other.
        if let Ok(matrix) = Matrix::parse("m.yaml", &yaml) {
            let plan = matrix.plan().expect("there are cells");
            let whole = judged(&matrix, &plan.cells);
            prop_assert!(whole.is_complete(), "{} {:?}\n{yaml}", whole.sentence(), whole.findings);

            let mut fewer = plan.cells.clone();
            let gone = fewer.remove(taken % fewer.len());
            let tuples = |cells: &[Cell]| -> u64 {
                judged(&matrix, cells).certificate.covered.iter().map(|line| line.planned).sum()
            };
            // Whether it mattered is seen by brute force.
            let mattered = matters(&matrix, &gone, &fewer);
            prop_assert_eq!(tuples(&fewer) < tuples(&plan.cells), mattered);
            prop_assert_eq!(judged(&matrix, &fewer).is_complete(), !mattered);
            // A cell that is planned and did not run is missed as well.
            let ran = verify(&matrix, &plan.cells, &ids(&fewer), Vec::new());
            prop_assert_eq!(ran.is_complete(), !mattered);
        }
    }
}

/// Whether a cell holds a wanted tuple that no other has: every set of axes is tried.
fn matters(matrix: &Matrix, cell: &Cell, others: &[Cell]) -> bool {
    let axes = matrix.axes().len();
    (1u32..1 << axes).any(|set| {
        let places: Vec<usize> = (0..axes).filter(|axis| set >> axis & 1 == 1).collect();
        let raised = matrix.cover().raise.iter().any(|raise| {
            places.len() == raise.strength && places.iter().all(|axis| raise.axes.contains(axis))
        });
        (raised || places.len() == matrix.cover().strength)
            && !others.iter().any(|other| {
                places
                    .iter()
                    .all(|axis| other.row.0.get(*axis) == cell.row.0.get(*axis))
            })
    })
}
