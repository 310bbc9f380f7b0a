//! What a person sees when a file is wrong.

use expect_test::{Expect, expect};
use meshproof_input::{Addr, Entries, Millis, Net, Problem, Socket, Spanned, parse, schema, text};
use miette::{GraphicalReportHandler, GraphicalTheme};
use schemars::JsonSchema;
use serde::Deserialize;

/// A map with every kind of thing that the files of this project hold.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(dead_code, reason = "read through Debug")]
struct Map {
    /// Networks by networks.
    #[serde(default)]
    networks: Entries<Net, Net>,
    /// Names by names.
    #[serde(default)]
    names: Entries<String, String>,
    /// Where replays may go.
    #[serde(default)]
    targets: Vec<Target>,
    #[serde(default)]
    within: Option<Spanned<Millis>>,
    #[serde(default)]
    many_to_one: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(dead_code, reason = "read through Debug")]
struct Target {
    network: Spanned<Net>,
    owner: String,
    #[serde(default)]
    writes: Writes,
    #[serde(default)]
    via: Option<Socket>,
    #[serde(default)]
    own: Option<Addr>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Writes {
    #[default]
    Deny,
    Allow,
}

fn render(problem: &Problem) -> String {
    let mut out = String::new();
    GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
        .with_width(100)
        .render_report(&mut out, problem)
        .expect("writing to a string does not fail");
    out.lines()
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect()
}

#[track_caller]
fn check(yaml: &str, expect: Expect) {
    let shown = match parse::<Map>("map.yaml", yaml) {
        Ok(map) => format!("{map:#?}\n"),
        Err(problem) => render(&problem),
    };
    expect.assert_eq(&shown);
}

#[test]
fn unknown_key() {
    check(
        "networks:\n  10.0.0.0/8: 11.0.0.0/8\nmany-to-won: true\n",
        expect![[r#"
            input::unknown_key

              × unknown key `many-to-won`
               ╭─[map.yaml:3:1]
             2 │   10.0.0.0/8: 11.0.0.0/8
             3 │ many-to-won: true
               · ─────┬─────
               ·      ╰── not known here
               ╰────
              help: did you mean `many-to-one`?
        "#]],
    );
    check(
        "targets:\n  - network: 10.0.0.0/8\n    owner: me\n    write: allow\n",
        expect![[r#"
            input::unknown_key

              × unknown key `write`
               ╭─[map.yaml:4:5]
             3 │     owner: me
             4 │     write: allow
               ·     ──┬──
               ·       ╰── not known here
               ╰────
              help: did you mean `writes`?
        "#]],
    );
    check(
        "zebra: 1\n",
        expect![[r#"
        input::unknown_key

          × unknown key `zebra`
           ╭─[map.yaml:1:1]
         1 │ zebra: 1
           · ──┬──
           ·   ╰── not known here
           ╰────
          help: expected one of `networks`, `names`, `targets`, `within`, `many-to-one`
    "#]],
    );
    check(
        "many_to_one: true\n",
        expect![[r#"
        input::unknown_key

          × unknown key `many_to_one`
           ╭─[map.yaml:1:1]
         1 │ many_to_one: true
           · ─────┬─────
           ·      ╰── not known here
           ╰────
          help: did you mean `many-to-one`?
    "#]],
    );
}

#[test]
fn unknown_value() {
    check(
        "targets:\n  - network: 10.0.0.0/8\n    owner: me\n    writes: alow\n",
        expect![[r#"
            input::unknown_value

              × unknown value `alow`
               ╭─[map.yaml:4:13]
             3 │     owner: me
             4 │     writes: alow
               ·             ──┬─
               ·               ╰── not known here
               ╰────
              help: did you mean `allow`?
        "#]],
    );
    check(
        "targets: [{network: 10.0.0.0/8, owner: me, writes: perhaps}]\n",
        expect![[r#"
            input::unknown_value

              × unknown value `perhaps`
               ╭─[map.yaml:1:52]
             1 │ targets: [{network: 10.0.0.0/8, owner: me, writes: perhaps}]
               ·                                                    ───┬───
               ·                                                       ╰── not known here
               ╰────
              help: expected one of `deny`, `allow`
        "#]],
    );
}

#[test]
fn missing_key() {
    check(
        "targets:\n  - network: 10.0.0.0/8\n    writes: deny\n",
        expect![[r#"
            input::missing_key

              × the key `owner` is missing
               ╭─[map.yaml:3:5]
             2 │   - network: 10.0.0.0/8
             3 │     writes: deny
               ·     ───┬──
               ·        ╰── in this mapping
               ╰────
              help: add `owner: …`
        "#]],
    );
}

#[test]
fn wrong_type() {
    check(
        "many-to-one: yes\n",
        expect![[r#"
            input::wrong_type

              × expected `true` or `false`
               ╭─[map.yaml:1:14]
             1 │ many-to-one: yes
               ·              ───
               ╰────
        "#]],
    );
    check(
        "targets: 10.0.0.0/8\n",
        expect![[r#"
            input::wrong_type

              × expected a list (`- item` lines), found `10.0.0.0/8`
               ╭─[map.yaml:1:10]
             1 │ targets: 10.0.0.0/8
               ·          ─────┬────
               ·               ╰── found this
               ╰────
              help: write `[10.0.0.0/8]`
        "#]],
    );
    check(
        "networks: [10.0.0.0/8]\n",
        expect![[r#"
            input::wrong_type

              × expected a mapping (`key: value` lines), found a list
               ╭─[map.yaml:1:11]
             1 │ networks: [10.0.0.0/8]
               ·           ┬
               ·           ╰── found this
               ╰────
        "#]],
    );
    check(
        "targets:\n  - network: {a: b}\n    owner: me\n",
        expect![[r#"
            input::wrong_type

              × expected text, found a mapping
               ╭─[map.yaml:2:14]
             1 │ targets:
             2 │   - network: {a: b}
               ·              ┬
               ·              ╰── found this
             3 │     owner: me
               ╰────
        "#]],
    );
    check(
        "- one\n- two\n",
        expect![[r#"
            input::wrong_type

              × expected a mapping (`key: value` lines), found a list
               ╭─[map.yaml:1:1]
             1 │ - one
               · ▲
               · ╰── found this
             2 │ - two
               ╰────
              help: take the `- ` away: a key stands without it
        "#]],
    );
}

#[test]
fn duplicate_key() {
    check(
        "names:\n  a: b\n  c: d\nnames:\n  e: f\n",
        expect![[r#"
            input::duplicate_key

              × the key `names` stands twice
               ╭─[map.yaml:4:1]
             1 │ names:
               · ──┬──
               ·   ╰── first set here
             2 │   a: b
             3 │   c: d
             4 │ names:
               · ──┬──
               ·   ╰── again here
             5 │   e: f
               ╰────
              help: keep one of the two
        "#]],
    );
    check(
        "names:\n  a: b\n  # words\n  c: d\n  a: e\n",
        expect![[r#"
            input::duplicate_key

              × the key `a` stands twice
               ╭─[map.yaml:5:3]
             1 │ names:
             2 │   a: b
               ·   ┬
               ·   ╰── first set here
             3 │   # words
             4 │   c: d
             5 │   a: e
               ·   ┬
               ·   ╰── again here
               ╰────
              help: keep one of the two
        "#]],
    );
    check(
        "targets:\n  - owner: me\n    network: 10.0.0.0/8\n    owner: you\n",
        expect![[r#"
            input::duplicate_key

              × the key `owner` stands twice
               ╭─[map.yaml:4:5]
             1 │ targets:
             2 │   - owner: me
               ·     ──┬──
               ·       ╰── first set here
             3 │     network: 10.0.0.0/8
             4 │     owner: you
               ·     ──┬──
               ·       ╰── again here
               ╰────
              help: keep one of the two
        "#]],
    );
    check(
        "names: {a: b, a: c}\n",
        expect![[r#"
        input::duplicate_key

          × the key `a` stands twice
           ╭─[map.yaml:1:15]
         1 │ names: {a: b, a: c}
           ·               ┬
           ·               ╰── again here
           ╰────
          help: keep one of the two
    "#]],
    );
}

#[test]
fn form() {
    check(
        "names:\n\ta: b\n",
        expect![[r#"
            input::tab

              × a tab cannot indent YAML
               ╭─[map.yaml:2:1]
             1 │ names:
             2 │     a: b
               · ──┬─
               ·   ╰── tab
               ╰────
              help: replace it by spaces
        "#]],
    );
    check(
        "names:\n  a: \"b\n  c: d\n",
        expect![[r#"
            input::syntax

              × unclosed quote
               ╭─[map.yaml:2:6]
             1 │ names:
             2 │   a: "b
               ·      ─
             3 │   c: d
               ╰────
        "#]],
    );
    check(
        "names:\n  a: 'b\n",
        expect![[r#"
            input::syntax

              × unclosed quote
               ╭─[map.yaml:2:6]
             1 │ names:
             2 │   a: 'b
               ·      ─
               ╰────
        "#]],
    );
    check(
        "names: {a: b\n",
        expect![[r#"
            input::syntax

              × unclosed bracket '{'
               ╭─[map.yaml:1:8]
             1 │ names: {a: b
               ·        ─
               ╰────
        "#]],
    );
    check(
        "names:\n  a: b\n c: d\n",
        expect![[r#"
            input::syntax

              × this line is not indented like its neighbours
               ╭─[map.yaml:3:2]
             2 │   a: b
             3 │  c: d
               ·  ─
               ╰────
              help: the keys of one mapping, and the items of one list, begin in one column
        "#]],
    );
    check(
        "names:\n  a: *nowhere\n",
        expect![[r#"
            input::syntax

              × `*` refers to a name that no `&` has set
               ╭─[map.yaml:2:6]
             1 │ names:
             2 │   a: *nowhere
               ·      ─
               ╰────
              help: put quotes around it if no reference is meant
        "#]],
    );
    check(
        "names: {}\n---\nnames: {}\n",
        expect![[r#"
            input::limit

              × a second document begins here
               ╭─[map.yaml:2:1]
             1 │ names: {}
             2 │ ---
               · ───
             3 │ names: {}
               ╰────
              help: a file holds one document: take `---` and what follows out
        "#]],
    );
}

#[test]
fn bad_scalars() {
    check(
        "networks:\n  10.1.2.3/8: 11.0.0.0/8\n",
        expect![[r#"
        input::bad_value

          × `10.1.2.3/8` has bits set behind its prefix
           ╭─[map.yaml:2:3]
         1 │ networks:
         2 │   10.1.2.3/8: 11.0.0.0/8
           ·   ──────────
           ╰────
          help: write 10.0.0.0/8
    "#]],
    );
    check(
        "networks:\n  10.0.0.0/8: 11.0.0/8\n",
        expect![[r#"
            input::bad_value

              × `11.0.0/8` is not a network: `11.0.0` is not an address
               ╭─[map.yaml:2:15]
             1 │ networks:
             2 │   10.0.0.0/8: 11.0.0/8
               ·               ────────
               ╰────
              help: write one such as 10.0.0.0/8 or fd00::/8
        "#]],
    );
    check(
        "targets:\n  - network: 10.0.0.0/33\n    owner: me\n",
        expect![[r#"
            input::bad_value

              × `10.0.0.0/33` is not a network: `33` is not a number of bits
               ╭─[map.yaml:2:14]
             1 │ targets:
             2 │   - network: 10.0.0.0/33
               ·              ───────────
             3 │     owner: me
               ╰────
              help: write 0 to 32 behind the slash
        "#]],
    );
    check(
        "within: 300\n",
        expect![[r#"
        input::bad_value

          × `300` is not a span of time: the unit is missing
           ╭─[map.yaml:1:9]
         1 │ within: 300
           ·         ───
           ╰────
          help: write a number and a unit: 300ms, 2s, 1.5s, 1m, 1h
    "#]],
    );
    check(
        "within: 3 weeks # or so\n",
        expect![[r#"
        input::bad_value

          × `3 weeks` is not a span of time: `weeks` is not a unit
           ╭─[map.yaml:1:9]
         1 │ within: 3 weeks # or so
           ·         ───────
           ╰────
          help: write a number and a unit: 300ms, 2s, 1.5s, 1m, 1h
    "#]],
    );
    check(
        "targets:\n  - {network: 10.0.0.0/8, owner: me, via: 10.0.0.1}\n",
        expect![[r#"
            input::bad_value

              × `10.0.0.1` is not an address with a port
               ╭─[map.yaml:2:43]
             1 │ targets:
             2 │   - {network: 10.0.0.0/8, owner: me, via: 10.0.0.1}
               ·                                           ────────
               ╰────
              help: write one such as 10.0.0.1:12200 or [fd00::1]:12200
        "#]],
    );
    check(
        "targets:\n  - {network: 10.0.0.0/8, owner: me, own: ten}\n",
        expect![[r#"
            input::bad_value

              × `ten` is not an address
               ╭─[map.yaml:2:43]
             1 │ targets:
             2 │   - {network: 10.0.0.0/8, owner: me, own: ten}
               ·                                           ───
               ╰────
              help: write one such as 10.0.0.1 or fd00::1, without port and prefix
        "#]],
    );
}

#[test]
fn spans_are_those_of_the_words() {
    check(
        "# größer\nnetworks:\n  10.0.0.0/8: 11.0.0.0/8\nnames: {\"ä\": b}\nwithin: 1.5s\n",
        expect![[r#"
            Map {
                networks: Entries(
                    [
                        (
                            Spanned {
                                value: Net(
                                    10.0.0.0/8,
                                ),
                                span: Span {
                                    start: 23,
                                    len: 10,
                                },
                            },
                            Spanned {
                                value: Net(
                                    11.0.0.0/8,
                                ),
                                span: Span {
                                    start: 35,
                                    len: 10,
                                },
                            },
                        ),
                    ],
                ),
                names: Entries(
                    [
                        (
                            Spanned {
                                value: "ä",
                                span: Span {
                                    start: 54,
                                    len: 4,
                                },
                            },
                            Spanned {
                                value: "b",
                                span: Span {
                                    start: 60,
                                    len: 1,
                                },
                            },
                        ),
                    ],
                ),
                targets: [],
                within: Some(
                    Spanned {
                        value: Millis(
                            1500,
                        ),
                        span: Span {
                            start: 71,
                            len: 4,
                        },
                    },
                ),
                many_to_one: false,
            }
        "#]],
    );
}

#[test]
fn nothing_is_an_empty_mapping() {
    for yaml in ["", "\n\n", "# nothing yet\n", "\u{feff}", "{}"] {
        let map = parse::<Map>("map.yaml", yaml).expect("an empty map is a map");
        assert!(map.networks.is_empty() && map.within.is_none(), "{yaml:?}");
    }
    let problem = parse::<Target>("target.yaml", "# nothing yet\n").expect_err("a key is needed");
    expect![[r#"
        input::missing_key

          × the file is empty, and the key `network` is needed
           ╭─[target.yaml:1:14]
         1 │ # nothing yet
           ·              ▲
           ╰────
          help: add `network: …`
    "#]]
    .assert_eq(&render(&problem));
}

#[test]
fn not_text() {
    let problem = text("map.yaml", b"names:\n  a: \xff\n".to_vec()).expect_err("not UTF-8");
    expect![[r#"
        input::not_text

          × byte 12 is 0xff, which is not UTF-8
           ╭─[map.yaml:2:6]
         1 │ names:
         2 │   a: �
           ·      ┬
           ·      ╰── not UTF-8
           ╰────
          help: is this the right file? Text in another encoding has to be converted first: iconv -f
                LATIN1 -t UTF-8
    "#]]
    .assert_eq(&render(&problem));
    let problem = text("map.yaml", vec![b' '; meshproof_input::TEXT_BYTES_MAX + 1])
        .expect_err("longer than the limit");
    expect![[r#"
        input::too_long

          × map.yaml: 4194305 bytes are more than the 4194304 that are read
          help: is this the right file? Split it where it can be split
    "#]]
    .assert_eq(&render(&problem));
    assert_eq!(
        text("map.yaml", b"\xef\xbb\xbfa: b".to_vec()).expect("text"),
        "a: b"
    );
}

#[test]
fn bombs_go_off_in_the_box() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = level - 1;
        let row = format!("*a{below}, ").repeat(10);
        laughs += &format!("a{level}: &a{level} [{}]\n", row.trim_end_matches(", "));
    }
    let deep = format!("names: {}{}\n", "[".repeat(5_000), "]".repeat(5_000));
    let documents = "---\nnames: {}\n".repeat(100);
    let aliases = format!("a: &a x\nb: [{}]\n", "*a, ".repeat(5_000));
    for (what, yaml) in [
        ("laughs", laughs),
        ("deep", deep),
        ("documents", documents),
        ("aliases", aliases),
    ] {
        // Into a type that takes everything, so that only the limits can refuse.
        let problem = parse::<serde_json::Value>("bomb.yaml", &yaml).expect_err(what);
        assert!(
            ["input::limit", "input::syntax", "input::wrong_type"].contains(&problem.code_name()),
            "{what}: {}",
            render(&problem)
        );
    }
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let problem =
        parse::<Map>("map\u{1b}[31m.yaml", "\"na\u{9b}mes\": {}\n").expect_err("no such key");
    let shown = render(&problem);
    assert!(!shown.contains(['\u{1b}', '\u{9b}']), "{shown:?}");
}

#[test]
fn own_checks_report_in_the_same_style() {
    let yaml = "networks:\n  10.0.0.0/8: 11.0.0.0/8\n  10.1.0.0/16: 172.16.0.0/16\n";
    let map = parse::<Map>("map.yaml", yaml).expect("both are networks");
    let (first, second) = (&map.networks.0[0].0, &map.networks.0[1].0);
    let problem = Problem::at(
        "map.yaml",
        yaml,
        second.span,
        "map::overlap",
        format!("`{second}` lies inside `{first}`"),
        "make one of them smaller",
    )
    .label(second.span, "again here")
    .label(first.span, "first set here");
    expect![[r#"
        map::overlap

          × `10.1.0.0/16` lies inside `10.0.0.0/8`
           ╭─[map.yaml:3:3]
         1 │ networks:
         2 │   10.0.0.0/8: 11.0.0.0/8
           ·   ─────┬────
           ·        ╰── first set here
         3 │   10.1.0.0/16: 172.16.0.0/16
           ·   ─────┬─────
           ·        ╰── again here
           ╰────
          help: make one of them smaller
    "#]]
    .assert_eq(&render(&problem));
    assert_eq!(problem.line(), Some(3));

    let beyond = meshproof_input::Span {
        start: 10_000,
        len: 10_000,
    };
    render(&Problem::at(
        "map.yaml",
        yaml,
        beyond,
        "map::nowhere",
        "a place that is not there",
        "",
    ));
}

#[test]
fn schemas() {
    expect![[r##"
        {
          "$schema": "https://json-schema.org/draft/2020-12/schema",
          "title": "Rewrite map",
          "description": "A map with every kind of thing that the files of this project hold.",
          "type": "object",
          "properties": {
            "networks": {
              "description": "Networks by networks.",
              "type": "object",
              "additionalProperties": {
                "description": "a network such as 10.0.0.0/8 or fd00::/8",
                "type": "string"
              },
              "default": {}
            },
            "names": {
              "description": "Names by names.",
              "type": "object",
              "additionalProperties": {
                "type": "string"
              },
              "default": {}
            },
            "targets": {
              "description": "Where replays may go.",
              "type": "array",
              "items": {
                "$ref": "#/$defs/Target"
              }
            },
            "within": {
              "description": "a span of time with its unit, such as 300ms, 2s, 1m or 1h",
              "type": [
                "string",
                "null"
              ],
              "default": null
            },
            "many-to-one": {
              "type": "boolean",
              "default": false
            }
          },
          "additionalProperties": false,
          "$defs": {
            "Target": {
              "type": "object",
              "properties": {
                "network": {
                  "description": "a network such as 10.0.0.0/8 or fd00::/8",
                  "type": "string"
                },
                "owner": {
                  "type": "string"
                },
                "writes": {
                  "$ref": "#/$defs/Writes"
                },
                "via": {
                  "description": "an address with a port, such as 10.0.0.1:12200 or [fd00::1]:12200",
                  "type": [
                    "string",
                    "null"
                  ],
                  "default": null
                },
                "own": {
                  "description": "an IPv4 or IPv6 address",
                  "type": [
                    "string",
                    "null"
                  ],
                  "default": null
                }
              },
              "additionalProperties": false,
              "required": [
                "network",
                "owner"
              ]
            },
            "Writes": {
              "type": "string",
              "enum": [
                "deny",
                "allow"
              ]
            }
          }
        }
    "##]].assert_eq(&schema::<Map>("Rewrite map"));
}
