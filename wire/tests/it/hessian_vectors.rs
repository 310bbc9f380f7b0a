//! The bytes of the real encoder, and what the real decoder reads in them.

use std::fmt::Write;

use meshproof_wire::hessian::{Copier, Document, NodeId, Value, Writer, apply, edit};

const VECTORS: &str = include_str!("../vectors/hessian.txt");

/// One entry of the file: its kind and name, and its lines by their first word.
struct Vector<'v> {
    kind: &'v str,
    name: &'v str,
    lines: Vec<(&'v str, &'v str)>,
}

impl Vector<'_> {
    fn line(&self, key: &str) -> Option<&str> {
        let found = self.lines.iter().find(|(word, _)| *word == key);
        found.map(|(_, rest)| *rest)
    }

    fn bytes(&self, key: &str) -> Vec<u8> {
        unhex(
            self.line(key)
                .unwrap_or_else(|| panic!("{} has no {key}", self.name)),
        )
    }
}

fn vectors(kind: &str) -> impl Iterator<Item = Vector<'static>> {
    let vectors = VECTORS.split("\n\n").filter_map(|entry| {
        let mut lines = entry
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_once(' ').unwrap_or((line, "")));
        let (kind, name) = lines.next()?;
        Some(Vector {
            kind,
            name,
            lines: lines.collect(),
        })
    });
    vectors.filter(move |vector| vector.kind == kind)
}

#[test]
fn values_are_what_the_real_decoder_reads() {
    let mut models = 0;
    for vector in vectors("vector") {
        let bytes = vector.bytes("bytes");
        let (document, findings) = Document::parse(&bytes);
        assert_eq!(findings, [], "{}", vector.name);
        // What is not read back alike has no model; it has no findings either.
        if let Some(model) = vector.line("model") {
            assert_eq!(model_of(&document), model, "{}", vector.name);
            models += 1;
        }
        // Top-level values follow each other without holes, except for class definitions.
        let end = document
            .roots()
            .last()
            .map(|root| document.range(*root).end);
        assert_eq!(end, Some(bytes.len()), "{}", vector.name);
    }
    assert!(models > 100, "only {models} models");
}

#[test]
fn the_writer_writes_what_the_real_encoder_writes() {
    for vector in vectors("vector") {
        // A stream is cut into chunks as its reads happen to come.
        if vector.name == "stream" {
            continue;
        }
        let bytes = vector.bytes("bytes");
        let (document, _) = Document::parse(&bytes);
        let (mut writer, mut copier) = (Writer::new(), Copier::new());
        for root in document.roots() {
            copier.copy(&document, *root, &mut writer);
        }
        assert_eq!(hex(writer.bytes()), hex(&bytes), "{}", vector.name);
    }
}

#[test]
fn an_edited_string_is_written_as_the_real_encoder_writes_it() {
    let mut edits_seen = 0;
    for vector in vectors("edit") {
        let (before, after) = (vector.bytes("before"), vector.bytes("after"));
        let new = unquote(vector.line("to").expect("a text"));
        check_edit(
            vector.name,
            &before,
            &after,
            vector.line("path").expect("a path"),
            &new,
        );
        let (document, _) = Document::parse(&before);
        let old = document
            .find(vector.line("path").expect("a path"))
            .expect("a node");
        let old = document.text(old).expect("a string").to_owned();
        check_edit(vector.name, &after, &before, "[0].callbackUrl", &old);
        edits_seen += 1;
    }
    assert!(edits_seen > 8);
}

#[track_caller]
fn check_edit(name: &str, before: &[u8], after: &[u8], path: &str, new: &str) {
    let (document, _) = Document::parse(before);
    let node = document.find(path).expect("a node");
    let edits = edit(&document, &[(node, new.to_owned())]).expect("a string");
    assert_eq!(hex(&apply(before, &edits)), hex(after), "{name}");
}

#[test]
fn every_node_is_found_by_its_path() {
    for vector in vectors("vector") {
        let bytes = vector.bytes("bytes");
        let (document, _) = Document::parse(&bytes);
        // Deep and wide ones take long, and show nothing that the others do not.
        for node in document.nodes().take(300) {
            let path = document.path(node);
            assert_eq!(document.find(&path), Some(node), "{}: {path}", vector.name);
        }
    }
}

#[test]
fn paths_read_well() {
    check_paths(
        "map-in-map",
        "[0] [0].rpc_trace_context#key [0].rpc_trace_context \
        [0].rpc_trace_context.sofaTraceId#key [0].rpc_trace_context.sofaTraceId",
    );
    check_paths(
        "map-keys",
        r#"[0] [0]{null}#key [0]{null} [0][""]#key [0][""] [0]{1}#key [0]{1} [0]{2L}#key [0]{2L} [0]["a.b"]#key [0]["a.b"]"#,
    );
    check_paths(
        "shadowed-field",
        "#class[0] #class[0]#field[0] #class[0]#field[1] #class[0]#field[2] \
        #class[0]#field[3] [0] [0].name [0]{#1} [0].size [0].more [0].more.x#key [0].more.x",
    );
    check_paths(
        "array-types-by-number",
        "[0] #type[0] [0][0] [1] [1][0] [1][1] [2] #type[1] [3] [3][0]",
    );
    check_paths(
        "shared-arguments",
        "#class[0] #class[0]#field[0] #class[0]#field[1] #class[0]#field[2] \
        #class[0]#field[3] [0] [0].id [0].callbackUrl [0].amount [0].hosts [0].hosts[0] [0].hosts[1] [1] [2]",
    );
}

#[track_caller]
fn check_paths(name: &str, expected: &str) {
    let vector = vectors("vector")
        .find(|vector| vector.name == name)
        .expect("the vector");
    let (document, _) = Document::parse(&vector.bytes("bytes"));
    let paths: Vec<String> = document.nodes().map(|node| document.path(node)).collect();
    assert_eq!(paths.join(" "), expected);
}

/// The document in the words of the file.
fn model_of(document: &Document) -> String {
    let mut model = String::new();
    for (n, root) in document.roots().iter().enumerate() {
        if n > 0 {
            model.push_str(" ; ");
        }
        show(document, *root, &mut model);
    }
    model
}

fn show(document: &Document, node: NodeId, out: &mut String) {
    let items = |open: char, close: char, nodes: &[NodeId], out: &mut String| {
        out.push(open);
        for (n, node) in nodes.iter().enumerate() {
            if n > 0 {
                out.push_str(", ");
            }
            show(document, *node, out);
        }
        out.push(close);
    };
    match document.value(node) {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => write!(out, "{value}").expect("a string"),
        Value::Int(value) => write!(out, "{value}").expect("a string"),
        Value::Long(value) => write!(out, "{value}L").expect("a string"),
        Value::Double(value) => write!(out, "double:{:016x}", value.to_bits()).expect("a string"),
        Value::Date(at_ms) => write!(out, "date:{at_ms}").expect("a string"),
        Value::String(text) => out.push_str(&quote(text)),
        Value::Binary(bytes) => write!(out, "bytes:{}", hex(bytes)).expect("a string"),
        Value::Reference(index) => write!(out, "^{index}").expect("a string"),
        Value::List {
            type_name,
            items: nodes,
        } => {
            out.push_str(type_name.unwrap_or_default());
            items('(', ')', nodes, out);
        }
        Value::Map { type_name, entries } => {
            out.push_str(type_name.unwrap_or_default());
            out.push('{');
            for (n, entry) in entries.chunks(2).enumerate() {
                if n > 0 {
                    out.push_str(", ");
                }
                show(document, entry[0], out);
                out.push_str(": ");
                show(document, entry[1], out);
            }
            out.push('}');
        }
        Value::Instance {
            class_name,
            names,
            fields,
        } => {
            write!(out, "{class_name}<").expect("a string");
            for (n, (name, field)) in names.iter().zip(fields).enumerate() {
                if n > 0 {
                    out.push_str(", ");
                }
                write!(out, "{}: ", document.text(*name).expect("a name")).expect("a string");
                show(document, *field, out);
            }
            out.push('>');
        }
        other => panic!("{other:?} is in no vector"),
    }
}

fn quote(text: &str) -> String {
    let escape = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        ' '..='~' => c.to_string(),
        _ => format!("\\{{{:x}}}", u32::from(c)),
    };
    let chars: Vec<char> = text.chars().collect();
    let (mut pieces, mut plain) = (Vec::new(), String::new());
    for run in chars.chunk_by(|one, other| one == other) {
        if run.len() >= 40 {
            if !plain.is_empty() {
                pieces.push(format!("\"{plain}\""));
                plain.clear();
            }
            pieces.push(format!("\"{}\"*{}", escape(run[0]), run.len()));
        } else {
            plain.extend(run.iter().map(|c| escape(*c)));
        }
    }
    if !plain.is_empty() || pieces.is_empty() {
        pieces.push(format!("\"{plain}\""));
    }
    pieces.join("+")
}

fn unquote(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some(quoted) = rest.trim_start_matches('+').strip_prefix('"') {
        let (inner, after) = quoted.split_once('"').expect("a closing quote");
        let digits = after.strip_prefix('*').unwrap_or_default();
        let end = digits.find('+').unwrap_or(digits.len());
        let times = digits[..end].parse().unwrap_or(1);
        rest = if digits.is_empty() {
            after
        } else {
            &digits[end..]
        };
        let mut pieces = inner.split("\\{");
        let mut plain = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let (code, tail) = piece.split_once('}').expect("a code point");
            let code = u32::from_str_radix(code, 16).expect("hex");
            plain.push(char::from_u32(code).expect("a character"));
            plain.push_str(tail);
        }
        result.push_str(&plain.repeat(times));
    }
    result
}

/// Hex digits, what repeats as (6161)*300.
fn hex(bytes: &[u8]) -> String {
    let mut out = String::new();
    let mut at = 0;
    while at < bytes.len() {
        let run = [1, 2, 3, 4, 6].into_iter().find_map(|period| {
            let unit = bytes.get(at..at + period)?;
            let times = bytes[at..]
                .chunks(period)
                .take_while(|chunk| *chunk == unit)
                .count();
            (times > 1 && times * period >= 48).then_some((unit, times))
        });
        match run {
            Some((unit, times)) => {
                out.push('(');
                unit.iter()
                    .for_each(|b| write!(out, "{b:02x}").expect("a string"));
                write!(out, ")*{times} ").expect("a string");
                at += unit.len() * times;
            }
            None => {
                write!(out, "{:02x}", bytes[at]).expect("a string");
                at += 1;
            }
        }
    }
    out.trim_end().to_owned()
}

fn unhex(text: &str) -> Vec<u8> {
    let plain = |digits: &str| -> Vec<u8> {
        (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex"))
            .collect()
    };
    let mut bytes = Vec::new();
    for word in text.split_inclusive(' ').map(str::trim) {
        let (before, run) = word.split_once('(').unwrap_or((word, ""));
        bytes.extend(plain(before));
        if let Some((unit, times)) = run.split_once(")*") {
            bytes.extend(plain(unit).repeat(times.parse().expect("a count")));
        }
    }
    bytes
}
