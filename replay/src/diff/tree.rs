//! Two bodies, compared as trees.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use meshproof_record::difference::Difference;
use meshproof_wire::hessian::{Document, NodeId, Value};
use meshproof_wire::sofarpc;

use super::exception::{self, STACK_SHOWN_MAX};
use super::fingerprint::{Budget, fingerprint};
use super::noise::Applied;
use super::text::{bytes_both, canonical, shown, shown_both, sort};

/// Differences kept of one pair of responses. What is beyond is counted in a last one, whose path
/// is `…`.
pub const DIFFERENCES_MAX: usize = 200;

/// Pairs of values looked at, at most; the rest of the bodies is then not compared, which is told
/// in a difference.
const PAIRS_MAX: usize = 4 << 20;

/// The list whose order is no part of its value.
pub(super) const SET: &str = "java.util.HashSet";

/// Collects differences, judged or not.
pub(super) struct Collector<'n> {
    noise: &'n Applied<'n>,
    found: Vec<Difference>,
    more: u64,
    more_judged: bool,
}

/// Who decides whether a difference is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// The noise file.
    Judged,
    /// It never is.
    Shown,
}

impl<'n> Collector<'n> {
    pub(super) fn new(noise: &'n Applied<'n>) -> Self {
        Collector {
            noise,
            found: Vec::new(),
            more: 0,
            more_judged: false,
        }
    }

    pub(super) fn add(
        &mut self,
        path: String,
        recorded: Option<String>,
        observed: Option<String>,
        weight: Weight,
    ) {
        let judged = weight == Weight::Judged && !self.noise.covers(&path);
        if self.found.len() >= DIFFERENCES_MAX {
            self.more += 1;
            self.more_judged |= judged;
            return;
        }
        self.found.push(Difference {
            path,
            recorded,
            observed,
            judged,
        });
    }

    pub(super) fn finish(mut self) -> Vec<Difference> {
        if self.more > 0 {
            self.found.push(Difference {
                path: "…".to_owned(),
                recorded: Some(format!("{} more differences", self.more)),
                observed: None,
                judged: self.more_judged,
            });
        }
        self.found
    }
}

/// Compares the top-level values of two bodies.
pub(super) fn compare(recorded: &Document, observed: &Document, collector: &mut Collector<'_>) {
    let mut walk = Walk {
        recorded,
        observed,
        collector,
        todo: Vec::new(),
        seen: HashSet::new(),
    };
    let (ours, theirs) = (recorded.roots(), observed.roots());
    let single = ours.len() <= 1 && theirs.len() <= 1;
    let pairs = (0..ours.len().max(theirs.len())).map(|index| {
        let path = if single {
            "body".to_owned()
        } else {
            format!("body[{index}]")
        };
        (path, ours.get(index).copied(), theirs.get(index).copied())
    });
    walk.push(pairs.collect());
    walk.run();
}

/// A key of a map: how it reads, and its fingerprint, where it has one.
type Key = (String, Option<u64>);

/// A place in both trees: its path and what stands there.
type Place = (String, Option<NodeId>, Option<NodeId>);

/// Goes through both trees with a stack of its own: how deep bodies refer is up to their sender.
struct Walk<'a, 'c, 'n> {
    recorded: &'a Document,
    observed: &'a Document,
    collector: &'c mut Collector<'n>,
    /// The next place last.
    todo: Vec<Place>,
    /// Containers that were compared with each other: shared ones need it once, and circles end.
    /// What noise covers at or below one place may still have to be judged elsewhere.
    seen: HashSet<(NodeId, NodeId, Vec<BTreeSet<usize>>)>,
}

impl<'a> Walk<'a, '_, '_> {
    fn push(&mut self, places: Vec<Place>) {
        self.todo.extend(places.into_iter().rev());
    }

    fn run(&mut self) {
        let mut looked_at = 0_usize;
        while let Some((path, ours, theirs)) = self.todo.pop() {
            looked_at += 1;
            if looked_at > PAIRS_MAX {
                let told = || Some("not compared: the bodies are too large".to_owned());
                self.collector.add(path, told(), told(), Weight::Judged);
                return;
            }
            match (ours, theirs) {
                (Some(ours), Some(theirs)) => self.both(path, ours, theirs),
                (ours, theirs) => {
                    let ours = ours.map(|node| shown(self.recorded, node));
                    let theirs = theirs.map(|node| shown(self.observed, node));
                    self.collector.add(path, ours, theirs, Weight::Judged);
                }
            }
        }
    }

    fn both(&mut self, path: String, ours: NodeId, theirs: NodeId) {
        let ours = self.recorded.resolve(ours).unwrap_or(ours);
        let theirs = self.observed.resolve(theirs).unwrap_or(theirs);
        match (self.recorded.value(ours), self.observed.value(theirs)) {
            (Value::Null, Value::Null) => {}
            (Value::Bool(one), Value::Bool(other)) if one == other => {}
            (Value::Int(one), Value::Int(other)) if one == other => {}
            (Value::Long(one), Value::Long(other)) if one == other => {}
            (Value::Date(one), Value::Date(other)) if one == other => {}
            (Value::Double(one), Value::Double(other))
                if one == other || (one.is_nan() && other.is_nan()) => {}
            (Value::String(one), Value::String(other)) => {
                if one != other {
                    let (one, other) = shown_both(one, other);
                    self.differ(path, one, other);
                }
            }
            (Value::Binary(one), Value::Binary(other)) => {
                if one != other {
                    let (one, other) = bytes_both(one, other);
                    self.differ(path, one, other);
                }
            }
            (Value::Remote { .. }, Value::Remote { .. }) => {
                let one = canonical(self.recorded, ours);
                let other = canonical(self.observed, theirs);
                if one != other {
                    let (one, other) = shown_both(&one, &other);
                    self.differ(path, one, other);
                }
            }
            (
                Value::List { type_name, items },
                Value::List {
                    type_name: other_type,
                    items: other_items,
                },
            ) => {
                if self.is_new(&path, ours, theirs)
                    && self.same_type(&path, type_name, other_type, "java.util.ArrayList")
                {
                    self.lists(&path, type_name, items, other_items);
                }
            }
            (
                Value::Map { type_name, entries },
                Value::Map {
                    type_name: other_type,
                    entries: other_entries,
                },
            ) => {
                if self.is_new(&path, ours, theirs)
                    && self.same_type(&path, type_name, other_type, "java.util.HashMap")
                {
                    self.maps(&path, entries, other_entries);
                }
            }
            (
                Value::Instance { class_name, .. },
                Value::Instance {
                    class_name: other_class,
                    ..
                },
            ) => {
                if self.is_new(&path, ours, theirs) {
                    self.instances(path, (ours, class_name), (theirs, other_class));
                }
            }
            (one, other) => self.unlike(path, (ours, one), (theirs, other)),
        }
    }

    /// Values of different sorts, or scalars that differ.
    fn unlike(&mut self, path: String, ours: (NodeId, Value<'_>), theirs: (NodeId, Value<'_>)) {
        let throws = sofarpc::is_throwable(self.recorded, ours.0);
        let other_throws = sofarpc::is_throwable(self.observed, theirs.0);
        if throws || other_throws {
            self.one_throws(
                path,
                throws.then(|| exception::headline(self.recorded, ours.0)),
                other_throws.then(|| exception::headline(self.observed, theirs.0)),
            );
            return;
        }
        let mut one = shown(self.recorded, ours.0);
        let mut other = shown(self.observed, theirs.0);
        if one == other {
            // An int and a long of one value, a string of digits.
            one = format!("{} {one}", sort(&ours.1));
            other = format!("{} {other}", sort(&theirs.1));
        }
        self.differ(path, one, other);
    }

    fn one_throws(&mut self, path: String, ours: Option<String>, theirs: Option<String>) {
        self.collector
            .add(exception_path(path), ours, theirs, Weight::Judged);
    }

    fn instances(&mut self, path: String, ours: (NodeId, &str), theirs: (NodeId, &str)) {
        let throws = sofarpc::is_throwable(self.recorded, ours.0);
        let other_throws = sofarpc::is_throwable(self.observed, theirs.0);
        match (throws, other_throws) {
            (true, true) => {
                return self.exceptions(exception_path(path), ours, theirs);
            }
            (false, false) => {}
            _ => {
                return self.one_throws(
                    path,
                    throws.then(|| exception::headline(self.recorded, ours.0)),
                    other_throws.then(|| exception::headline(self.observed, theirs.0)),
                );
            }
        }
        if ours.1 != theirs.1 {
            let told = |class: &str| format!("object of class {class}");
            return self.differ(path, told(ours.1), told(theirs.1));
        }
        let error = exception::response_error(self.recorded, ours.0);
        let other_error = exception::response_error(self.observed, theirs.0);
        let is_error = error.is_some() || other_error.is_some();
        match (error, other_error) {
            (Some(one), Some(other)) if one != other => {
                let (one, other) = shown_both(&one, &other);
                self.differ("exception.message".to_owned(), one, other);
            }
            (Some(_), Some(_)) | (None, None) => {}
            (one, other) => {
                let told = |message: Option<String>| message.map(|text| format!("error: {text}"));
                self.one_throws(path.clone(), told(one), told(other));
            }
        }
        let told_apart = |field: &str| is_error && ["isError", "errorMsg"].contains(&field);
        let fields = self.fields(&path, ours.0, theirs.0, told_apart);
        self.push(fields);
    }

    /// The fields of two instances, by name.
    fn fields(
        &self,
        path: &str,
        ours: NodeId,
        theirs: NodeId,
        without: impl Fn(&str) -> bool,
    ) -> Vec<Place> {
        let (mine, others) = (named(self.recorded, ours), named(self.observed, theirs));
        let in_order = mine
            .iter()
            .map(|(name, node)| (*name, Some(*node), find(&others, name)))
            .chain(
                others
                    .iter()
                    .filter(|(name, _)| find(&mine, name).is_none())
                    .map(|(name, node)| (*name, None, Some(*node))),
            );
        in_order
            .filter(|(name, ..)| !without(name))
            .map(|(name, ours, theirs)| (format!("{path}.{name}"), ours, theirs))
            .collect()
    }

    fn exceptions(&mut self, path: String, ours: (NodeId, &str), theirs: (NodeId, &str)) {
        if ours.1 != theirs.1 {
            self.differ(
                format!("{path}.class"),
                ours.1.to_owned(),
                theirs.1.to_owned(),
            );
        }
        let message = exception::message(self.recorded, ours.0);
        let other_message = exception::message(self.observed, theirs.0);
        if message != other_message {
            let (one, other) = shown_both(message.unwrap_or(""), other_message.unwrap_or(""));
            self.collector.add(
                format!("{path}.message"),
                message.map(|_| one),
                other_message.map(|_| other),
                Weight::Judged,
            );
        }
        let stack = sofarpc::stack(self.recorded, ours.0);
        let other_stack = sofarpc::stack(self.observed, theirs.0);
        let differing = (0..stack.len().max(other_stack.len()))
            .filter(|at| stack.get(*at) != other_stack.get(*at));
        for at in differing.take(STACK_SHOWN_MAX) {
            let (one, other) = (stack.get(at).cloned(), other_stack.get(at).cloned());
            self.collector
                .add(format!("{path}.stack[{at}]"), one, other, Weight::Shown);
        }
        // Fields of its own: an error code, for one.
        let mut places = self.fields(&path, ours.0, theirs.0, exception::is_of_throwable);
        let cause = exception::cause(self.recorded, ours.0);
        let other_cause = exception::cause(self.observed, theirs.0);
        match (cause, other_cause) {
            (None, None) => {}
            (Some(_), Some(_)) => places.push((format!("{path}.cause"), cause, other_cause)),
            _ => self.collector.add(
                format!("{path}.cause"),
                cause.map(|node| exception::headline(self.recorded, node)),
                other_cause.map(|node| exception::headline(self.observed, node)),
                Weight::Judged,
            ),
        }
        self.push(places);
    }

    fn lists(&mut self, path: &str, type_name: Option<&str>, ours: &[NodeId], theirs: &[NodeId]) {
        // What Java writes of a HashSet has no order.
        if type_name == Some(SET) {
            let sorted = |document: &Document, items: &[NodeId]| {
                let mut budget = Budget::new();
                let each = items.iter();
                let mut numbers: Vec<u64> = each
                    .map(|item| fingerprint(document, *item, &mut budget))
                    .collect::<Option<_>>()?;
                numbers.sort_unstable();
                Some(numbers)
            };
            if let (Some(one), Some(other)) =
                (sorted(self.recorded, ours), sorted(self.observed, theirs))
                && one == other
            {
                return;
            }
        }
        let items = (0..ours.len().max(theirs.len())).map(|index| {
            let path = format!("{path}[{index}]");
            (path, ours.get(index).copied(), theirs.get(index).copied())
        });
        self.push(items.collect());
    }

    fn maps(&mut self, path: &str, ours: &[NodeId], theirs: &[NodeId]) {
        let keyed = |document: &'a Document, entries: &[NodeId]| {
            let mut budget = Budget::new();
            let mut keyed: BTreeMap<Key, Vec<(NodeId, NodeId)>> = BTreeMap::new();
            for entry in entries.chunks_exact(2) {
                if let [key, value] = entry {
                    // A key of another sort is another key, though it reads the same.
                    let resolved = document.resolve(*key).unwrap_or(*key);
                    let name = match document.value(resolved) {
                        Value::String(text) => (text.to_owned(), Some(0)),
                        value => (
                            format!("({} {})", sort(&value), canonical(document, *key)),
                            fingerprint(document, *key, &mut budget),
                        ),
                    };
                    keyed.entry(name).or_default().push((*key, *value));
                }
            }
            keyed
        };
        let mine = keyed(self.recorded, ours);
        let mut others = keyed(self.observed, theirs);
        let mut places = Vec::new();
        for (name, entries) in mine {
            let other_entries = others.remove(&name).unwrap_or_default();
            let (key, number) = name;
            for at in 0..entries.len().max(other_entries.len()) {
                let path = format!("{path}.{key}");
                let (one, other) = (entries.get(at), other_entries.get(at));
                if number.is_none() {
                    // They read the same as far as they were read; the rest has to be looked at.
                    let (one, other) = (one.map(|it| it.0), other.map(|it| it.0));
                    places.push((path.clone(), one, other));
                }
                places.push((path, one.map(|it| it.1), other.map(|it| it.1)));
            }
        }
        for ((key, _), entries) in others {
            for (_, value) in entries {
                places.push((format!("{path}.{key}"), None, Some(value)));
            }
        }
        // Trace ids differ from run to run, by nature.
        places.retain(|(path, ..)| !is_trace(path));
        self.push(places);
    }

    fn same_type(
        &mut self,
        path: &str,
        ours: Option<&str>,
        theirs: Option<&str>,
        usual: &str,
    ) -> bool {
        let ours = ours.filter(|name| !name.is_empty()).unwrap_or(usual);
        let theirs = theirs.filter(|name| !name.is_empty()).unwrap_or(usual);
        if ours != theirs {
            let told = |name: &str| format!("of type {name}");
            self.differ(path.to_owned(), told(ours), told(theirs));
        }
        ours == theirs
    }

    fn is_new(&mut self, path: &str, ours: NodeId, theirs: NodeId) -> bool {
        let noise = self.collector.noise;
        let progress = match noise.is_empty() {
            true => Vec::new(),
            false => noise.progress(path),
        };
        self.seen.insert((ours, theirs, progress))
    }

    fn differ(&mut self, path: String, ours: String, theirs: String) {
        self.collector
            .add(path, Some(ours), Some(theirs), Weight::Judged);
    }
}

/// What an answer throws stands under `exception`, wherever the protocol puts it.
fn exception_path(path: String) -> String {
    match path.as_str() {
        "body" | "body.appResponse" => "exception".to_owned(),
        _ => path,
    }
}

/// Whether a path ends in a trace id or in a place within a trace.
pub(super) fn is_trace(path: &str) -> bool {
    let key = path.rsplit('.').next().unwrap_or(path);
    [sofarpc::header::TRACE_ID, sofarpc::header::RPC_ID]
        .iter()
        .any(|known| known.rsplit('.').next() == Some(key))
}

/// The fields of an instance, in order.
fn named(document: &Document, node: NodeId) -> Vec<(&str, NodeId)> {
    match document.value(node) {
        Value::Instance { names, fields, .. } => names
            .iter()
            .map(|name| document.text(*name).unwrap_or_default())
            .zip(fields.iter().copied())
            .collect(),
        _ => Vec::new(),
    }
}

fn find(fields: &[(&str, NodeId)], name: &str) -> Option<NodeId> {
    fields
        .iter()
        .find(|(field, _)| *field == name)
        .map(|(_, node)| *node)
}
