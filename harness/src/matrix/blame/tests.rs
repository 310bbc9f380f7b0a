//! Blame against truths that are known.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// A cause: values by axis that together make a cell fail, and how.
type Truth<'a> = (&'a [(&'a str, &'a [&'a str])], &'a str);

const MIXED: &str = "
matrix: mixed
axes:
  client: {mesh: [none, reference, mosn]}
  server: {mesh: [none, reference, mosn]}
  providers: [[tr], [bolt], [bolt, tr]]
  registry_order: [as-is, reversed, shuffled]
  call: [sync, oneway, exception, timeout, heartbeat, large]
  serializer: [hessian2, json]
  restart: [none, between]
cover:
  raise:
    - {axes: [client.mesh, providers, registry_order], strength: 3}
    - {axes: [client.mesh, providers, call], strength: 3}
";

fn fails<'a>(cell: &Cell, truths: &[Truth<'a>]) -> Option<&'a str> {
    let holds = |values: &[(&str, &[&str])]| {
        values.iter().all(|(axis, values)| {
            let value = cell
                .value(axis)
                .map(ToString::to_string)
                .unwrap_or_default();
            values.contains(&value.as_str())
        })
    };
    truths
        .iter()
        .find(|(values, _)| holds(values))
        .map(|(_, signature)| *signature)
}

struct Solved {
    lines: Vec<String>,
    blames: Vec<Blame>,
    extra: usize,
    rounds: usize,
}

/// Runs the plan against the truth, and blame until it has no more questions.
fn solve(yaml: &str, truths: &[Truth<'_>]) -> Solved {
    let matrix = Matrix::parse("m.yaml", yaml).expect("the matrix is right");
    let plan = matrix.plan().expect("there are cells");
    let mut blamer = Blamer::new(&matrix, 150);
    let outcome = |cell: &Cell| match fails(cell, truths) {
        None => Outcome::Pass,
        Some(signature) => Outcome::Fail {
            signature: signature.to_owned(),
            evidence: signature.to_owned(),
        },
    };
    for cell in &plan.cells {
        blamer.heard(cell, outcome(cell));
    }
    let (mut extra, mut rounds) = (0, 0);
    loop {
        let wanted = blamer.wanted();
        if wanted.is_empty() {
            break;
        }
        rounds += 1;
        extra += wanted.len();
        let solver = Solver::of(&matrix);
        for cell in &wanted {
            assert!(
                solver.allows(&cell.row),
                "{} is not possible",
                cell.written()
            );
            blamer.heard(cell, outcome(cell));
        }
    }
    let blames = blamer.done();
    let lines = blames
        .iter()
        .map(|blame| {
            let because: Vec<String> = blame
                .because
                .iter()
                .map(|choice| format!("{}={}", choice.axis, choice.value))
                .collect();
            let minimal = if blame.minimal { "" } else { " (not minimal)" };
            format!("{}: {}{minimal}", because.join(" ∧ "), blame.evidence)
        })
        .collect();
    Solved {
        lines,
        blames,
        extra,
        rounds,
    }
}

#[track_caller]
fn check(yaml: &str, truths: &[Truth<'_>], expected: &[&str]) {
    let solved = solve(yaml, truths);
    assert_eq!(
        solved.lines, expected,
        "{} more cells in {} rounds",
        solved.extra, solved.rounds
    );
}

#[test]
fn one_value() {
    check(
        MIXED,
        &[(&[("call", &["large"])], "status 5")],
        &["call=large: status 5"],
    );
}

#[test]
fn two_values() {
    let header = "Invalid protocol header:1";
    check(
        MIXED,
        &[(
            &[
                ("client.mesh", &["reference"]),
                ("providers", &["[bolt,tr]"]),
            ],
            header,
        )],
        &["client.mesh=reference ∧ providers=[bolt,tr]: Invalid protocol header:1"],
    );
}

#[test]
fn three_values() {
    check(
        MIXED,
        &[(
            &[
                ("client.mesh", &["mosn"]),
                ("providers", &["[bolt,tr]"]),
                ("registry_order", &["reversed"]),
            ],
            "lost",
        )],
        &["client.mesh=mosn ∧ providers=[bolt,tr] ∧ registry_order=reversed: lost"],
    );
}

#[test]
fn values_of_one_axis_that_do_the_same_are_told_together() {
    check(
        MIXED,
        &[(
            &[
                ("client.mesh", &["reference"]),
                ("providers", &["[bolt,tr]"]),
                ("call", &["sync", "oneway", "exception", "timeout", "large"]),
            ],
            "header",
        )],
        &["client.mesh=reference ∧ providers=[bolt,tr] \
           ∧ call=sync|oneway|exception|timeout|large: header"],
    );
    check(
        MIXED,
        &[(
            &[
                ("client.mesh", &["reference", "mosn"]),
                ("server.mesh", &["reference", "mosn"]),
            ],
            "id",
        )],
        &["client.mesh=reference|mosn ∧ server.mesh=reference|mosn: id"],
    );
}

#[test]
fn two_causes_with_symptoms_of_their_own() {
    check(
        MIXED,
        &[
            (
                &[
                    ("client.mesh", &["reference"]),
                    ("providers", &["[bolt,tr]"]),
                ],
                "header",
            ),
            (
                &[("server.mesh", &["mosn"]), ("call", &["large"])],
                "timeout 3",
            ),
        ],
        &[
            "client.mesh=reference ∧ providers=[bolt,tr]: header",
            "server.mesh=mosn ∧ call=large: timeout 3",
        ],
    );
}

#[test]
fn two_causes_with_the_same_symptom() {
    check(
        MIXED,
        &[
            (
                &[
                    ("client.mesh", &["reference"]),
                    ("providers", &["[bolt,tr]"]),
                ],
                "lost",
            ),
            (&[("serializer", &["json"]), ("call", &["large"])], "lost"),
        ],
        &[
            "client.mesh=reference ∧ providers=[bolt,tr]: lost",
            "call=large ∧ serializer=json: lost",
        ],
    );
}

#[test]
fn a_cause_is_not_taken_for_shorter_than_it_is_where_another_hides_it() {
    let six = "matrix: m
axes: {a0: [v0, v1, v2], a1: [v0, v1, v2], a2: [v0, v1, v2], a3: [v0, v1, v2], a4: [v0, v1], a5: [v0, v1]}
";
    let mut both = 0;
    for seed in 0..10 {
        let solved = solve(
            &format!("{six}cover: {{seed: {seed}}}\n"),
            &[
                (&[("a2", &["v0"])], "lost"),
                (&[("a0", &["v0"]), ("a3", &["v2"])], "lost"),
            ],
        );
        // Where every cell with the second fails for the first, nobody can know of it.
        match solved.lines.as_slice() {
            [one] => assert_eq!(one, "a2=v0: lost"),
            two => {
                assert_eq!(two, ["a2=v0: lost", "a0=v0 ∧ a3=v2: lost"]);
                both += 1;
            }
        }
    }
    assert!(both >= 5, "{both}");
}

#[test]
fn a_symptom_that_depends_on_the_call_does_not_make_two_causes() {
    check(
        MIXED,
        &[
            (
                &[
                    ("client.mesh", &["mosn"]),
                    ("restart", &["between"]),
                    ("call", &["timeout"]),
                ],
                "timeout 3",
            ),
            (
                &[("client.mesh", &["mosn"]), ("restart", &["between"])],
                "closed",
            ),
        ],
        &["client.mesh=mosn ∧ restart=between: closed (and one more symptom)"],
    );
}

#[test]
fn everything_fails() {
    let solved = solve(MIXED, &[(&[], "no READY")]);
    assert_eq!(solved.lines, [": no READY"]);
    assert_eq!(solved.extra, 0);
}

#[test]
fn nothing_fails() {
    let solved = solve(MIXED, &[]);
    assert_eq!(solved.lines, [""; 0]);
    assert_eq!(solved.extra, 0);
}

#[test]
fn what_the_conditions_forbid_to_check_is_said() {
    // TR providers are only ever called through the reference sidecar, so that nobody can tell
    // which of the two it is.
    let yaml = "
matrix: m
axes:
  mesh: [none, reference]
  providers: [bolt, tr]
  call: [sync, oneway, large]
require: [\"(mesh == 'reference') == (providers == 'tr')\"]
";
    let solved = solve(
        yaml,
        &[(&[("mesh", &["reference"]), ("call", &["large"])], "lost")],
    );
    assert_eq!(
        solved.lines,
        ["mesh=reference ∧ call=large: lost (not minimal)"]
    );
    assert!(solved.blames.iter().all(|blame| !blame.minimal));
}

#[test]
fn every_blame_names_its_evidence() {
    let solved = solve(
        MIXED,
        &[(
            &[
                ("client.mesh", &["reference"]),
                ("providers", &["[bolt,tr]"]),
            ],
            "header",
        )],
    );
    let [blame] = solved.blames.as_slice() else {
        panic!("one cause, and {} were told", solved.blames.len());
    };
    assert!(blame.minimal);
    assert!(blame.fails.len() >= 3, "{:?}", blame.fails);
    // At least one check for each value.
    assert!(blame.checked.len() >= 2, "{:?}", blame.checked);
    let (fails, checked): (BTreeSet<_>, BTreeSet<_>) =
        (blame.fails.iter().collect(), blame.checked.iter().collect());
    assert!(fails.is_disjoint(&checked));
    assert!(solved.extra <= 30, "{} more cells", solved.extra);
}

#[test]
fn cells_that_nothing_was_heard_of_are_given_up() {
    let matrix = Matrix::parse("m.yaml", MIXED).expect("the matrix is right");
    let plan = matrix.plan().expect("there are cells");
    let mut blamer = Blamer::new(&matrix, 100);
    for cell in &plan.cells {
        let fails = cell.text("client.mesh") == Some("mosn") && cell.text("call") == Some("large");
        blamer.heard(
            cell,
            match fails {
                false => Outcome::Pass,
                true => Outcome::Fail {
                    signature: "lost".into(),
                    evidence: "lost".into(),
                },
            },
        );
    }
    let mut rounds = 0;
    let mut asked = BTreeSet::new();
    loop {
        let wanted = blamer.wanted();
        if wanted.is_empty() {
            break;
        }
        for cell in wanted {
            assert!(
                asked.insert(cell.id.clone()),
                "{} is asked for twice",
                cell.id
            );
        }
        rounds += 1;
        assert!(rounds < 100, "it never ends");
    }
    assert!(asked.len() <= 100);
    assert!(blamer.done().iter().all(|blame| !blame.minimal));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// One cause of one to three values, found exactly, with few cells.
    #[test]
    fn one_cause_is_found(
        counts in proptest::collection::vec(2usize..5, 4..9),
        picks in proptest::collection::vec((0usize..100, 0usize..100), 1..4),
        seed in 0u64..1000,
    ) {
        let mut yaml = "matrix: m\naxes:\n".to_owned();
        for (axis, count) in counts.iter().enumerate() {
            let values: Vec<String> = (0..*count).map(|value| format!("v{value}")).collect();
            yaml.push_str(&format!("  a{axis}: [{}]\n", values.join(", ")));
        }
        yaml.push_str(&format!("cover: {{seed: {seed}}}\n"));
        let mut truth: BTreeMap<usize, usize> = BTreeMap::new();
        for (axis, value) in picks {
            let axis = axis % counts.len();
            truth.insert(axis, value % counts.get(axis).copied().unwrap_or(1));
        }
        let names: Vec<(String, String)> = truth
            .iter()
            .map(|(axis, value)| (format!("a{axis}"), format!("v{value}")))
            .collect();
        let values: Vec<[&str; 1]> = names.iter().map(|(_, value)| [value.as_str()]).collect();
        let literals: Vec<(&str, &[&str])> = names
            .iter()
            .zip(&values)
            .map(|((axis, _), value)| (axis.as_str(), value.as_slice()))
            .collect();
        let solved = solve(&yaml, &[(&literals, "lost")]);
        // Pairs are always met; three values may be in no cell of the plan.
        if solved.lines.is_empty() {
            prop_assert!(truth.len() > 2);
        } else {
            let words: Vec<String> = names.iter().map(|(a, v)| format!("{a}={v}")).collect();
            prop_assert_eq!(&solved.lines, &[format!("{}: lost", words.join(" ∧ "))]);
            // A few for each value that might have been a part of it.
            let most = 16 + 2 * counts.iter().sum::<usize>();
            prop_assert!(solved.extra <= most, "{} more cells, at most {most}", solved.extra);
        }
    }

    /// Two causes at once, in one symptom or two: what is told holds of every failing cell that
    /// was seen and of no passing one, and each line is one of the truths or says that it is not
    /// shown to be minimal.
    #[test]
    fn two_causes_at_once(
        first in proptest::collection::vec((0usize..6, 0usize..3), 1..4),
        second in proptest::collection::vec((0usize..6, 0usize..3), 1..4),
        symptoms in 1usize..3,
        seed in 0u64..1000,
    ) {
        let mut yaml = "matrix: m\naxes:\n".to_owned();
        for axis in 0..6 {
            yaml.push_str(&format!("  a{axis}: [v0, v1, v2]\n"));
        }
        yaml.push_str(&format!("cover: {{seed: {seed}}}\n"));
        let named = |picks: &[(usize, usize)]| -> Vec<(String, String)> {
            let truth: BTreeMap<usize, usize> = picks.iter().copied().collect();
            truth.iter().map(|(axis, value)| (format!("a{axis}"), format!("v{value}"))).collect()
        };
        let (first, second) = (named(&first), named(&second));
        fn values(names: &[(String, String)]) -> Vec<[&str; 1]> {
            names.iter().map(|(_, value)| [value.as_str()]).collect()
        }
        fn literals<'a>(names: &'a [(String, String)], values: &'a [[&'a str; 1]]) -> Vec<(&'a str, &'a [&'a str])> {
            names.iter().zip(values).map(|((axis, _), value)| (axis.as_str(), value.as_slice())).collect()
        }
        let (v1, v2) = (values(&first), values(&second));
        let (l1, l2) = (literals(&first, &v1), literals(&second, &v2));
        let other = if symptoms == 1 { "lost" } else { "closed" };
        let solved = solve(&yaml, &[(&l1, "lost"), (&l2, other)]);
        let words = |names: &[(String, String)]| -> BTreeSet<String> {
            names.iter().map(|(a, v)| format!("{a}={v}")).collect()
        };
        let truths = [words(&first), words(&second)];
        for blame in &solved.blames {
            let told: BTreeSet<String> = blame.because.iter().map(|c| format!("{}={}", c.axis, c.value)).collect();
            let is_true = truths.contains(&told);
            // Two causes that differ in one axis alone are told as one.
            let is_joined = told.iter().any(|word| word.contains('|'));
            prop_assert!(is_true || is_joined || !blame.minimal, "{:?} of {:?}", solved.lines, truths);
            prop_assert!(!blame.fails.is_empty());
        }
        prop_assert!(solved.extra <= 150);
    }
}
