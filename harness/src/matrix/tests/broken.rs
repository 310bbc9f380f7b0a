//! Files that are wrong: the line, the message and what to type.

use std::fmt::Write as _;

use expect_test::{Expect, expect};

use crate::matrix::Matrix;

/// Reads `front` with `rest` behind it; shows code, line, message and help.
#[track_caller]
fn check(yaml: &str, expect: Expect) {
    let problem = Matrix::parse("m.yaml", yaml).expect_err("it is wrong");
    let mut shown = String::new();
    let line = problem
        .line()
        .map_or("-".to_owned(), |line| line.to_string());
    let _ = writeln!(shown, "{} line {line}: {problem}", problem.code_name());
    if let Some(help) = problem.help_text() {
        let _ = writeln!(shown, "  {help}");
    }
    expect.assert_eq(&shown);
}

const AXES: &str = "matrix: m
axes:
  client: {mesh: [none, reference]}
  providers: [[tr], [bolt], [bolt, tr]]
  call: [sync, oneway]
";

#[track_caller]
fn check_behind(rest: &str, expect: Expect) {
    check(&format!("{AXES}{rest}"), expect);
}

#[test]
fn keys_and_axes() {
    check(
        "",
        expect![[r#"
        input::missing_key line -: m.yaml: the file is empty, and the key `matrix` is needed
          add `matrix: …`
    "#]],
    );
    check(
        "matrix: m\naxis: {a: [b]}\n",
        expect![[r#"
        input::unknown_key line 2: unknown key `axis`
          did you mean `axes`?
    "#]],
    );
    check(
        "matrix: m m\naxes: {a: [b]}\n",
        expect![[r#"
        matrix::name line 1: `m m` is no name of a matrix
          write up to 64 letters, digits, `-` and `_`
    "#]],
    );
    check(
        "matrix: m\naxes: {}\n",
        expect![[r#"
        matrix::axis line 2: a matrix without axes has no cells
          write what varies, such as `axes: {call: [sync, oneway]}`
    "#]],
    );
    check(
        "matrix: m\naxes:\n  call: sync\n",
        expect![[r#"
        input::bad_value line 3: an axis is a list of values, and `sync` is a single one
          write `[sync]`
    "#]],
    );
    check(
        "matrix: m\naxes:\n  call: []\n",
        expect![[r#"
        matrix::axis line 3: the axis call has no values
          write at least one, such as `[none]`
    "#]],
    );
    check(
        "matrix: m\naxes:\n  call: [a, b, a]\n",
        expect![[r#"
        matrix::value line 3: the axis call has the value `a` twice
          keep one of the two
    "#]],
    );
    check(
        "matrix: m\naxes:\n  registry-order: [a, b]\n",
        expect![[r#"
            matrix::axis line 3: `registry-order` is no name of an axis: conditions could not name it
              write `registry_order`
        "#]],
    );
    check(
        "matrix: m\naxes:\n  in: [a, b]\n",
        expect![[r#"
        matrix::axis line 3: `in` is no name of an axis: it is a word of CEL
          choose another, such as `in_`
    "#]],
    );
    check(
        "matrix: m\naxes:\n  version: [1.9, 1.10]\n",
        expect![[r#"
        input::bad_value line 3: 1.9 is a number with a fraction, of which 1.1 and 1.10 would be the same
          put quotes around it, as for a version: '1.10'
    "#]],
    );
    check(
        "matrix: m\naxes:\n  call: [a, ]\n  x: [~]\n",
        expect![[r#"
        input::bad_value line 4: a value is missing here
          write `none` where nothing is meant
    "#]],
    );
    check(
        "matrix: m\naxes:\n  call: [[a, [b]]]\n",
        expect![[r#"
        input::bad_value line 3: a list stands in a list that is itself a value
          the items of such a list are single words or numbers
    "#]],
    );
    check(
        "matrix: m\naxes:\n  call: ['a,b']\n",
        expect![[r#"
        input::bad_value line 3: a value holds ','
          values are written on one line, without `,`, `|`, `[` and `]`, which separate values where cells are named
    "#]],
    );
    check(
        "matrix: m\naxes:\n  client: [a]\n  client.mesh: [b]\n",
        expect![[r#"
            matrix::axis line 4: the axes `client` and `client.mesh` are in each other's way
              an axis has values or members, not both; rename one of the two
        "#]],
    );
    check_behind(
        "suts: [client.msh]\n",
        expect![[r#"
        matrix::unknown_axis line 6: there is no axis `client.msh`
          did you mean `client.mesh`?
    "#]],
    );
}

#[test]
fn conditions() {
    check_behind(
        "require: [\"client.msh != 'none'\"]\n",
        expect![[r#"
        matrix::unknown_axis line 6: there is no axis `client.msh`
          did you mean `client.mesh`?
    "#]],
    );
    check_behind(
        "require:\n  - \"call == 'sync'\"\n  - \"call != 'snyc'\"\n",
        expect![[r#"
            matrix::unknown_value line 8: the axis call has no value `snyc`
              did you mean `sync`?
        "#]],
    );
    check_behind(
        "require: [\"client.mesh != none\"]\n",
        expect![[r#"
        matrix::unknown_axis line 6: there is no axis `none`
          it is a value of client.mesh: put quotes around it, 'none'
    "#]],
    );
    check_behind(
        "require: [\"client != 'none'\"]\n",
        expect![[r#"
        matrix::unknown_axis line 6: `client` is a group of axes, not an axis
          write one of client.mesh
    "#]],
    );
    check_behind(
        "require: [\"'dubbo' in providers\"]\n",
        expect![[r#"
        matrix::unknown_value line 6: the axis providers has no value `dubbo`
          it has tr, bolt
    "#]],
    );
    check_behind(
        "require: [\"providers == ['tr', 'bolt']\"]\n",
        expect![[r#"
            matrix::unknown_value line 6: the axis providers has no value `[tr,bolt]`
              did you mean `[bolt,tr]`? The order of a list counts
        "#]],
    );
    check_behind(
        "require: [\"call == 'sync' &&\"]\n",
        expect![[r#"
            matrix::condition line 6: this is no condition: it ends too early: expected a value, a field, or the bracket or quote that closes what is open
              write CEL over the axes, such as "!(client.mesh == 'none' && call == 'oneway')"
        "#]],
    );
    check_behind(
        "require: [\"call\"]\n",
        expect![[r#"
        matrix::condition line 6: the condition is a string for call=sync
          write one that is true or false, such as "client.mesh != 'none'"
    "#]],
    );
    check_behind(
        "require: [\"call > 3\"]\n",
        expect![[r#"
        matrix::condition line 6: the condition has no answer for call=sync: found no matching overload for '_>_' applied to '(string, int)'
    "#]],
    );
    check_behind(
        "require: [\"1 == 1\"]\n",
        expect![[r#"
        matrix::condition line 6: the condition names no axis
          the axes are client.mesh, providers, call
    "#]],
    );
    check_behind(
        "require: [\"call == 'sync' && call == 'oneway'\"]\n",
        expect![[r#"
            matrix::condition line 6: no combination satisfies the condition
              then there is no cell at all; is it meant the other way round?
        "#]],
    );
    check_behind(
        "require:\n  - \"call == 'sync'\"\n  - \"call == 'oneway'\"\n",
        expect![[r#"
            matrix::impossible line 8: no cell satisfies all conditions
              these two contradict each other: take one out, or weaken it
        "#]],
    );
    check_behind(
        "require:\n  - call.foo == 'sync'\n",
        expect![[r#"
        matrix::unknown_axis line 7: there is no axis `call.foo`
          `call` is an axis, and its values have no members
    "#]],
    );
    check_behind(
        "require:\n  - providers.exists(p, p == q)\n",
        expect![[r#"
        matrix::unknown_axis line 7: there is no axis `q`
          the axes are client.mesh, providers, call
    "#]],
    );
}

#[test]
fn what_is_to_be_covered() {
    check_behind(
        "cover: {strength: 4}\n",
        expect![[r#"
        matrix::strength line 6: strength 4 is more than the 3 axes that the matrix has
          write 1 to 3
    "#]],
    );
    check_behind(
        "cover: {strength: 0}\n",
        expect![[r#"
        matrix::strength line 6: strength 0 covers nothing
          write 2 for pairs, 3 for triples
    "#]],
    );
    check_behind(
        "cover: {strength: two}\n",
        expect![[r#"
        input::wrong_type line 6: expected a whole number from 0 on, found `two`
    "#]],
    );
    check_behind(
        "cover:\n  raise:\n    - {axes: [call, provider], strength: 3}\n",
        expect![[r#"
            matrix::unknown_axis line 8: there is no axis `provider`
              did you mean `providers`?
        "#]],
    );
    check_behind(
        "cover:\n  raise:\n    - {axes: [call, providers], strength: 2}\n",
        expect![[r#"
            matrix::raise line 8: strength 2 is not above the 2 of the whole matrix
              write at least 3, or leave the entry out
        "#]],
    );
    check_behind(
        "cover: {pin: [tr-bolt]}\n",
        expect![[r#"
        matrix::combination line 6: there is no combination `tr-bolt`
          write it under `combinations`, or its values here: `{client.mesh: none}`
    "#]],
    );
    check_behind(
        "combinations: {tr-bolt-mixed: {call: sync}}\ncover: {pin: [tr-bolt-mixd]}\n",
        expect![[r#"
            matrix::combination line 7: there is no combination `tr-bolt-mixd`
              did you mean `tr-bolt-mixed`?
        "#]],
    );
    check_behind(
        "cover: {pin: [{call: snyc}]}\n",
        expect![[r#"
        matrix::unknown_value line 6: the axis call has no value `snyc`
          did you mean `sync`?
    "#]],
    );
    check_behind(
        "cover: {pin: [{}]}\n",
        expect![[r#"
        matrix::combination line 6: a combination has at least one value
          write axes and values, such as `{client.mesh: none}`
    "#]],
    );
    check_behind(
        "require: [\"call != 'oneway' || client.mesh == 'none'\"]\n\
         cover: {pin: [{call: oneway, client: {mesh: reference}}]}\n",
        expect![[r#"
            matrix::impossible line 7: no cell can hold the pin client.mesh=reference ∧ call=oneway
              the condition `call != 'oneway' || client.mesh == 'none'` forbids it
        "#]],
    );
    check_behind(
        "cover: {cells: 0}\n",
        expect![[r#"
        matrix::limit line 6: a plan of no cells shows nothing
          write at least 1, or leave `cells` out for as many as are needed
    "#]],
    );
    check_behind(
        "cover: {cells: 100000}\n",
        expect![[r#"
        matrix::limit line 6: 100000 cells are more than the 20000 of a plan
          write fewer
    "#]],
    );
    check_behind(
        "cell: {budget: 8}\n",
        expect![[r#"
        input::bad_value line 6: `8` is not a span of time: the unit is missing
          write a number and a unit: 300ms, 2s, 1.5s, 1m, 1h
    "#]],
    );
}

#[test]
fn needs_and_known_failures() {
    check_behind(
        "needs: [{combination: {call: sync}, capabilities: []}]\n",
        expect![[r#"
            matrix::needs line 6: this need names no capability
              write what is needed, such as `capabilities: [tr]`
        "#]],
    );
    let known = |owner: &str, since: &str, expires: &str| {
        format!(
            "known:\n  - combination: {{call: sync}}\n    because: it is old\n    owner: {owner}\n    \
             since: {since}\n    expires: {expires}\n"
        )
    };
    check_behind(
        &known("me", "2026-11-31", "2026-12-01"),
        expect![[r#"
        matrix::known line 10: `2026-11-31` is no day
          write year, month and day, such as 2026-11-23
    "#]],
    );
    check_behind(
        &known("me", "2026-12-02", "2026-12-01"),
        expect![[r#"
        matrix::known line 11: 2026-12-01 is before 2026-12-02
          an entry expires after it was written down
    "#]],
    );
    check_behind(
        &known("''", "2026-11-01", "2026-12-01"),
        expect![[r#"
        matrix::known line 9: a known failure has an owner
          write who answers for it
    "#]],
    );
    check_behind(
        &known("me", "yesterday", "2026-12-01"),
        expect![[r#"
        matrix::known line 10: `yesterday` is no day
          write year, month and day, such as 2026-11-23
    "#]],
    );
}
