//! Bodies that are not what they should be.

use meshproof_wire::check;
use meshproof_wire::hessian::{Document, Limits, Value};

use crate::frames::{bolt_captures, frames};

/// Parses what `text` writes (hex digits, and text in quotes) and compares the findings.
#[track_caller]
fn check(text: &str, expected: &[&str]) -> Document {
    let body = body(text);
    check::hessian(&body);
    let (document, findings) = Document::parse(&body);
    let found: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(found, expected, "{text}");
    document
}

fn body(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (n, piece) in text.split('\'').enumerate() {
        if n % 2 == 1 {
            bytes.extend_from_slice(piece.as_bytes());
            continue;
        }
        let digits: String = piece.split_whitespace().collect();
        for at in (0..digits.len()).step_by(2) {
            bytes.push(u8::from_str_radix(&digits[at..at + 2], 16).expect("hex"));
        }
    }
    bytes
}

#[test]
fn what_is_not_understood_is_a_finding_and_the_rest_opaque() {
    let document = check("03 'abc' 40 03 'def'", &["byte 4: unknown type code 0x40"]);
    assert_eq!(document.roots().len(), 2);
    assert_eq!(document.value(document.roots()[0]), Value::String("abc"));
    assert_eq!(document.value(document.roots()[1]), Value::Opaque);
    assert_eq!(document.range(document.roots()[1]), 4..9);

    // The end of nothing.
    check("7a", &["byte 0: unknown type code 0x7a"]);
    // Of Dubbo's dialect.
    check("43 03 'abc' 90", &["byte 0: unknown type code 0x43"]);
    // An opaque value within containers keeps what came before it.
    let document = check(
        "'M' 01 'k' 'V' 6e02 91 40",
        &["byte 7: unknown type code 0x40"],
    );
    let list = document.find("[0].k").expect("the list");
    assert_eq!(document.children(list).len(), 2);
    assert_eq!(document.path(document.children(list)[1]), "[0].k[1]");
}

#[test]
fn bytes_that_end_too_early() {
    check("05 'abc'", &["byte 4: the bytes end inside a string"]);
    check("'S' 00", &["byte 2: the bytes end inside a string"]);
    check("'S' ffff 'abc'", &["byte 6: the bytes end inside a string"]);
    check("'s' 0001 'a'", &["byte 4: the bytes end inside a string"]);
    check(
        "'s' 0001 'a' 91",
        &["byte 4: expected a string, found code 0x91"],
    );
    check("'B' ffff 00", &["byte 4: the bytes end inside a binary"]);
    check("'I' 00", &["byte 2: the bytes end inside an int"]);
    check("'L' 00", &["byte 2: the bytes end inside a long"]);
    check("'M' 01 'a'", &["byte 3: the bytes end inside a container"]);
    check("'V' 6e01", &["byte 3: the bytes end inside a container"]);
    check(
        "'O' 93 'abc' 91 01 'f'",
        &["byte 0: the bytes end inside a class definition"],
    );
    check(
        "'O' 93 'abc' 91 01 'f' 'o' 90",
        &["byte 10: the bytes end inside a container"],
    );
    check("c3", &["byte 1: the bytes end inside a number"]);
}

#[test]
fn lengths_that_are_wrong() {
    // Two thousand million items in one byte, by every way to say so.
    check(
        "'V' 'l' 7fffffff 91",
        &["byte 7: the bytes end inside a container"],
    );
    check(
        "'V' 'l' 7fffffff 91 'z'",
        &["byte 8: list says 2147483647 items and holds 1"],
    );
    check(
        "'V' 'l' ffffffff 'z'",
        &["byte 7: list says -1 items and holds 0"],
    );
    check(
        "'V' 't' 0001 'x' 'z' 'v' 90 'I' 7fffffff 91",
        &["byte 14: the bytes end inside a container"],
    );
    check(
        "'V' 't' 0001 'x' 'z' 'v' 90 8f",
        &["byte 8: length -1 is negative"],
    );
    check(
        "'O' 'I' 7fffffff 'abc'",
        &["byte 9: the bytes end inside a class name"],
    );
    check("'O' 8f", &["byte 1: length -1 is negative"]);
    check(
        "'O' 91 'a' 'I' 7fffffff 01 'f'",
        &["byte 10: the bytes end inside a string"],
    );
    check("'O' 91 'a' 8f", &["byte 3: length -1 is negative"]);
    check(
        "'O' 91 'a' 91 91",
        &["byte 4: expected a string, found code 0x91"],
    );
    check("'O' 'N'", &["byte 1: expected an int, found code 0x4e"]);
    check(
        "'M' 01 'a' 'z'",
        &["byte 4: map ends after a key without a value"],
    );
}

#[test]
fn numbers_of_what_is_not_there() {
    check(
        "'o' 90",
        &["byte 1: instance of class 0, of which there is no definition"],
    );
    check(
        "'o' 8f",
        &["byte 1: instance of class -1, of which there is no definition"],
    );
    check("'V' 'u' 90 'z'", &["byte 2: type 0 was not named before"]);
    check("'v' 90 90", &["byte 1: type 0 was not named before"]);
    let document = check(
        "4a 00 'V' 6e00 'z'",
        &["byte 0: reference to object 0, which did not come before"],
    );
    assert_eq!(document.roots().len(), 2);
    // A map whose first key is true, and a map whose type is given by number as `T`.
    let document = check("'M' 'T' 03 'yes' 'z'", &[]);
    assert!(document.find("[0]{true}").is_some());
    let document = check("'M' 't' 0001 'x' 'z' 'M' 'T' 90 'z'", &[]);
    assert_eq!(document.class_name(document.roots()[1]), Some("x"));
}

#[test]
fn text_that_is_wrong() {
    check("01 ff", &["byte 1: byte 0xff begins no character"]);
    check("01 80", &["byte 1: byte 0x80 begins no character"]);
    let document = check(
        "02 f09f9880",
        &["byte 0: a four-byte character, where Java writes two surrogates of three bytes"],
    );
    assert_eq!(document.text(document.roots()[0]), Some("\u{1f600}"));
    // Half a pair: Java can hold it, and so it is no damage.
    let document = check("01 eda0bd", &[]);
    assert_eq!(document.text(document.roots()[0]), Some("\u{fffd}"));
    assert!(!document.is_exact(document.roots()[0]));
    // A pair over two chunks.
    let document = check("'s' 0001 eda0bd 01 edb880", &[]);
    assert_eq!(document.text(document.roots()[0]), Some("\u{1f600}"));
}

#[test]
fn limits_are_findings() {
    let limits = Limits {
        depth_max: 3,
        nodes_max: 10,
        text_bytes_max: 20,
    };
    let found = |text: &str| {
        let (document, findings) = Document::parse_within(&body(text), limits);
        let found: Vec<String> = findings.iter().map(ToString::to_string).collect();
        (document.len(), found.join("; "))
    };
    assert_eq!(found("'VVVzzz'"), (3, String::new()));
    assert_eq!(
        found("'VVVVzzzz'"),
        (4, "byte 4: more than 3 containers inside each other".into())
    );
    assert_eq!(
        found("'NNNNNNNNNNNN'"),
        (11, "byte 10: more than 10 nodes".into())
    );
    assert_eq!(
        found("'S' 0016 'aaaaaaaaaaaaaaaaaaaaaa'"),
        (1, "byte 0: more than 20 bytes of text".into())
    );
}

#[test]
fn nesting_does_not_recurse() {
    let deep = b"V".repeat(1 << 20);
    let (document, findings) = Document::parse(&deep);
    assert_eq!(findings.len(), 1);
    assert_eq!(document.len(), Limits::USUAL.depth_max + 1);
    let unlimited = Limits {
        depth_max: usize::MAX,
        nodes_max: usize::MAX,
        ..Limits::USUAL
    };
    let (document, findings) = Document::parse_within(&deep, unlimited);
    assert_eq!(findings.len(), 1);
    let last = document.nodes().last().expect("a node");
    assert_eq!(document.find(&document.path(last)), Some(last));
}

#[test]
fn real_bodies_cut_anywhere_and_with_any_byte_changed() {
    for name in bolt_captures()
        .into_iter()
        .filter(|name| name.starts_with("sofa"))
    {
        for frame in frames(&name) {
            let body = frame.content();
            // The longest ones repeat what the short ones hold.
            for cut in (0..body.len()).take(700) {
                let (document, findings) = Document::parse(&body[..cut]);
                let (whole, _) = Document::parse(body);
                let between = whole
                    .roots()
                    .iter()
                    .any(|root| whole.range(*root).end == cut);
                assert_eq!(
                    findings.is_empty(),
                    between || cut == 0,
                    "{name} cut at {cut}"
                );
                assert!(document.len() <= whole.len() + 1);
            }
            let mut changed = body[..body.len().min(700)].to_vec();
            for at in 0..changed.len() {
                let was = changed[at];
                for byte in [0x00, 0x7a, 0xff, was ^ 1] {
                    changed[at] = byte;
                    let (document, _) = Document::parse(&changed);
                    document.nodes().for_each(|node| drop(document.path(node)));
                }
                changed[at] = was;
            }
        }
    }
}
