//! What is written reads back; what is edited and edited back is what it was.

use meshproof_wire::check;
use meshproof_wire::hessian::{Document, NodeId, Value, Writer, apply, edit};
use proptest::prelude::*;

/// A value to write.
#[derive(Clone, Debug)]
enum Tree {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Date(i64),
    Text(String),
    Binary(Vec<u8>),
    List(Option<String>, bool, Vec<Tree>),
    Map(Option<String>, Vec<(Tree, Tree)>),
    Object(String, Vec<(String, Tree)>),
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9.:/]{0,40}",
        "\\PC{0,40}",
        (
            prop_oneof![Just('a'), Just('é'), Just('中'), Just('😀')],
            0..70_usize
        )
            .prop_map(|(c, n)| c.to_string().repeat(n)),
        (32_700..32_800_usize, "[a-z😀]{0,4}").prop_map(|(n, tail)| "x".repeat(n) + &tail),
    ]
}

fn trees() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Null),
        any::<bool>().prop_map(Tree::Bool),
        prop_oneof![any::<i32>(), -300_000..300_000, -3000..3000].prop_map(Tree::Int),
        prop_oneof![any::<i64>(), -300_000..300_000_i64, -3000..3000_i64].prop_map(Tree::Long),
        prop_oneof![
            any::<f64>(),
            any::<f32>().prop_map(f64::from),
            (-40_000..40_000).prop_map(f64::from)
        ]
        .prop_map(Tree::Double),
        any::<i64>().prop_map(Tree::Date),
        texts().prop_map(Tree::Text),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Tree::Binary),
    ];
    let types = || prop::option::of("[a-c]{1,2}");
    leaf.prop_recursive(4, 60, 6, move |inner| {
        prop_oneof![
            (
                types(),
                any::<bool>(),
                prop::collection::vec(inner.clone(), 0..6)
            )
                .prop_map(|(name, sized, items)| Tree::List(name, sized, items)),
            (
                types(),
                prop::collection::vec((texts().prop_map(Tree::Text), inner.clone()), 0..5)
            )
                .prop_map(|(name, entries)| Tree::Map(name, entries)),
            ("[A-C]", prop::collection::vec(("[a-f]{1,3}", inner), 0..5))
                .prop_map(|(class, fields)| Tree::Object(class, fields)),
        ]
    })
}

fn write(tree: &Tree, writer: &mut Writer) {
    match tree {
        Tree::Null => drop(writer.null()),
        Tree::Bool(value) => drop(writer.boolean(*value)),
        Tree::Int(value) => drop(writer.int(*value)),
        Tree::Long(value) => drop(writer.long(*value)),
        Tree::Double(value) => drop(writer.double(*value)),
        Tree::Date(at_ms) => drop(writer.date(*at_ms)),
        Tree::Text(text) => drop(writer.string(text)),
        Tree::Binary(bytes) => drop(writer.binary(bytes)),
        Tree::List(name, sized, items) => {
            let length = sized.then_some(items.len() as u32);
            let end = writer.list(name.as_deref(), length);
            items.iter().for_each(|item| write(item, writer));
            writer.end_list(end);
        }
        Tree::Map(name, entries) => {
            writer.map(name.as_deref());
            for (key, value) in entries {
                write(key, writer);
                write(value, writer);
            }
            writer.end_map();
        }
        Tree::Object(class, fields) => {
            let names: Vec<&str> = fields.iter().map(|(name, _)| &name[..]).collect();
            writer.object(class, &names);
            fields.iter().for_each(|(_, value)| write(value, writer));
        }
    }
}

/// The value as it reads.
fn read(document: &Document, node: NodeId) -> Tree {
    let all = |nodes: &[NodeId]| nodes.iter().map(|node| read(document, *node)).collect();
    let owned = |name: Option<&str>| name.map(str::to_owned);
    match document.value(node) {
        Value::Null => Tree::Null,
        Value::Bool(value) => Tree::Bool(value),
        Value::Int(value) => Tree::Int(value),
        Value::Long(value) => Tree::Long(value),
        Value::Double(value) => Tree::Double(value),
        Value::Date(at_ms) => Tree::Date(at_ms),
        Value::String(text) => Tree::Text(text.to_owned()),
        Value::Binary(bytes) => Tree::Binary(bytes.to_owned()),
        Value::List { type_name, items } => Tree::List(owned(type_name), true, all(items)),
        Value::Map { type_name, entries } => {
            let pair = |pair: &[NodeId]| (read(document, pair[0]), read(document, pair[1]));
            Tree::Map(owned(type_name), entries.chunks(2).map(pair).collect())
        }
        Value::Instance {
            class_name,
            names,
            fields,
        } => {
            let name = |node: &NodeId| document.text(*node).expect("a name").to_owned();
            let fields = names.iter().map(name).zip(all(fields));
            Tree::Object(class_name.to_owned(), fields.collect())
        }
        other => panic!("{other:?} was not written"),
    }
}

/// Whether it was read as it was written. A list does not tell whether its length was written,
/// and -0.0 is written as 0.0.
fn alike(one: &Tree, other: &Tree) -> bool {
    match (one, other) {
        (Tree::List(a, _, x), Tree::List(b, _, y)) => {
            a == b && x.len() == y.len() && x.iter().zip(y).all(|(x, y)| alike(x, y))
        }
        (Tree::Map(a, x), Tree::Map(b, y)) => {
            let pairs =
                |((k, v), (l, w)): (&(Tree, Tree), &(Tree, Tree))| alike(k, l) && alike(v, w);
            a == b && x.len() == y.len() && x.iter().zip(y).all(pairs)
        }
        (Tree::Object(a, x), Tree::Object(b, y)) => {
            let fields =
                |((n, v), (m, w)): (&(String, Tree), &(String, Tree))| n == m && alike(v, w);
            a == b && x.len() == y.len() && x.iter().zip(y).all(fields)
        }
        (Tree::Double(a), Tree::Double(b)) => a == b || a.is_nan() && b.is_nan(),
        (one, other) => format!("{one:?}") == format!("{other:?}"),
    }
}

fn body(trees: &[Tree]) -> Vec<u8> {
    let mut writer = Writer::new();
    trees.iter().for_each(|tree| write(tree, &mut writer));
    writer.finish()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_written_reads_back(trees in prop::collection::vec(trees(), 0..4)) {
        let bytes = body(&trees);
        let (document, findings) = Document::parse(&bytes);
        prop_assert_eq!(findings, []);
        prop_assert_eq!(document.roots().len(), trees.len());
        for (tree, root) in trees.iter().zip(document.roots()) {
            let found = read(&document, *root);
            prop_assert!(alike(tree, &found), "{:?} and {:?}", tree, found);
        }
    }

    #[test]
    fn edited_and_edited_back(
        trees in prop::collection::vec(trees(), 1..4),
        new in texts(),
        every in 1..4_usize,
    ) {
        let before = body(&trees);
        let (document, _) = Document::parse(&before);
        let strings: Vec<_> = document.strings().step_by(every).collect();
        let there: Vec<_> = strings.iter().map(|string| (string.node, new.clone())).collect();
        let back: Vec<_> = strings.iter().map(|string| (string.node, string.text.to_owned())).collect();
        let after = apply(&before, &edit(&document, &there).expect("strings"));
        let (changed, findings) = Document::parse(&after);
        prop_assert_eq!(findings, []);
        prop_assert_eq!(changed.len(), document.len());
        for (string, other) in document.strings().zip(changed.strings()) {
            let replaced = there.iter().any(|(node, _)| *node == string.node);
            prop_assert_eq!(other.text, if replaced { &new } else { string.text });
            prop_assert_eq!(other.node, string.node);
        }
        let restored = apply(&after, &edit(&changed, &back).expect("strings"));
        prop_assert!(restored == before);
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        check::hessian(&bytes);
    }

    #[test]
    fn bytes_that_look_like_a_body(codes in prop::collection::vec(
        prop::sample::select(&b"OoVvMzTFNtunlSsBbJKRrIL\x00\x01\x02\x90\x91\x92abc\xe0\x67\x6a"[..]), 0..60)) {
        check::hessian(&codes);
    }
}
