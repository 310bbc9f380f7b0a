//! Conditions in CEL that every cell satisfies, compiled once, with the place of what is wrong.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::objects::Key;
use meshproof_input::{Problem, Span, Spanned, suggestion};

use super::model::{Axis, Source};
use super::value::Value;

/// Longest condition, in bytes.
pub const CONDITION_BYTES_MAX: usize = 4096;
/// Most combinations of values that one condition may be about.
pub const TABLE_MAX: usize = 1 << 16;

/// A condition that every cell satisfies.
pub struct Constraint {
    text: String,
    span: Span,
    program: cel::Program,
    axes: Vec<usize>,
    table: Vec<bool>,
}

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Constraint").field(&self.text).finish()
    }
}

impl Constraint {
    /// Compiles a condition and asks it about every combination of the axes that it names.
    ///
    /// `open` are axes to which values may be added later, so that a value which they lack is no
    /// slip of the pen.
    pub(super) fn compile(
        source: &Source,
        written: &Spanned<String>,
        axes: &[Axis],
        open: &[usize],
    ) -> Result<Constraint, Problem> {
        let place = Place::new(source, written);
        if written.value.len() > CONDITION_BYTES_MAX {
            return Err(place.whole(
                "matrix::condition",
                format!("the condition is longer than {CONDITION_BYTES_MAX} bytes"),
                "split it: every entry of `require` has to hold".into(),
            ));
        }
        let program =
            cel::Program::compile(&written.value).map_err(|errors| place.syntax(&errors))?;
        let mut names = Names {
            place: &place,
            program: &program,
            axes,
            open,
            bound: Vec::new(),
            used: Vec::new(),
        };
        names.walk(program.expression())?;
        let mut used = names.used;
        used.sort_unstable();
        used.dedup();
        if used.is_empty() {
            return Err(place.whole(
                "matrix::condition",
                "the condition names no axis".into(),
                format!("the axes are {}", list(axes)),
            ));
        }
        let mut constraint = Constraint {
            text: written.value.clone(),
            span: written.span,
            program,
            axes: used,
            table: Vec::new(),
        };
        constraint.tabulate(source, axes)?;
        Ok(constraint)
    }

    /// Asks it about every combination again: values were added.
    pub(super) fn tabulate(&mut self, source: &Source, axes: &[Axis]) -> Result<(), Problem> {
        let written = Spanned {
            value: self.text.clone(),
            span: self.span,
        };
        let place = Place::new(source, &written);
        let counts: Vec<usize> = self
            .axes
            .iter()
            .map(|axis| axes.get(*axis).map_or(0, |axis| axis.values.len()))
            .collect();
        let size = counts
            .iter()
            .try_fold(1usize, |size, count| size.checked_mul(*count))
            .filter(|size| *size <= TABLE_MAX);
        let Some(size) = size else {
            return Err(place.whole(
                "matrix::condition",
                format!(
                    "the condition is about {} axes with more than {TABLE_MAX} combinations",
                    self.axes.len()
                ),
                "split it at its `&&`: every entry of `require` has to hold".into(),
            ));
        };
        let mut table = Vec::with_capacity(size);
        let mut places = vec![0usize; counts.len()];
        let mut context = cel::Context::default();
        for _ in 0..size {
            let chosen: Vec<(&str, &Value)> = self
                .axes
                .iter()
                .zip(&places)
                .filter_map(|(axis, place)| {
                    let axis = axes.get(*axis)?;
                    Some((axis.name.as_str(), axis.values.get(*place)?))
                })
                .collect();
            bind(&mut context, &chosen);
            match self.program.execute(&context) {
                Ok(cel::Value::Bool(holds)) => table.push(holds),
                Ok(other) => {
                    return Err(place.whole(
                        "matrix::condition",
                        format!(
                            "the condition is a {} for {}",
                            other.type_of(),
                            written_choices(&chosen)
                        ),
                        "write one that is true or false, such as \"client.mesh != 'none'\"".into(),
                    ));
                }
                Err(error) => {
                    return Err(place.whole(
                        "matrix::condition",
                        format!(
                            "the condition has no answer for {}: {error}",
                            written_choices(&chosen)
                        ),
                        String::new(),
                    ));
                }
            }
            // The last axis turns fastest.
            for (place, count) in places.iter_mut().zip(&counts).rev() {
                *place += 1;
                if *place < *count {
                    break;
                }
                *place = 0;
            }
        }
        if !table.contains(&true) {
            return Err(place.whole(
                "matrix::condition",
                "no combination satisfies the condition".into(),
                "then there is no cell at all; is it meant the other way round?".into(),
            ));
        }
        self.table = table;
        Ok(())
    }

    /// As it is written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The axes that it names, as places in [`super::Matrix::axes`], ascending.
    pub fn axes(&self) -> &[usize] {
        &self.axes
    }

    /// Whether it holds, for every combination of its axes; the last axis turns fastest.
    pub(super) fn table(&self) -> &[bool] {
        &self.table
    }

    /// What was compiled, for whoever wants to ask it in a way of his own.
    pub(super) fn program(&self) -> &cel::Program {
        &self.program
    }
}

/// Makes the variables of an expression: `client.mesh` is the member `mesh` of `client`.
fn bind(context: &mut cel::Context<'_, '_>, chosen: &[(&str, &Value)]) {
    let mut roots: BTreeMap<&str, Tree> = BTreeMap::new();
    for (name, value) in chosen {
        let (root, rest) = name.split_once('.').unwrap_or((name, ""));
        roots.entry(root).or_default().set(rest, value);
    }
    for (root, tree) in roots {
        context.add_variable_from_value(root, tree.value());
    }
}

#[derive(Default)]
struct Tree<'a> {
    here: Option<&'a Value>,
    below: BTreeMap<&'a str, Tree<'a>>,
}

impl<'a> Tree<'a> {
    fn set(&mut self, path: &'a str, value: &'a Value) {
        if path.is_empty() {
            self.here = Some(value);
            return;
        }
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        self.below.entry(first).or_default().set(rest, value);
    }

    fn value(self) -> cel::Value {
        match self.here {
            Some(value) => cel_value(value),
            None => {
                let members: HashMap<Key, cel::Value> = self
                    .below
                    .into_iter()
                    .map(|(name, tree)| (Key::from(name), tree.value()))
                    .collect();
                cel::Value::from(members)
            }
        }
    }
}

fn cel_value(value: &Value) -> cel::Value {
    match value {
        Value::Text(text) => cel::Value::from(text.as_str()),
        Value::Number(number) => cel::Value::Int(*number),
        Value::Truth(truth) => cel::Value::Bool(*truth),
        Value::List(items) => cel::Value::from(items.iter().map(cel_value).collect::<Vec<_>>()),
    }
}

fn written_choices(chosen: &[(&str, &Value)]) -> String {
    let all: Vec<String> = chosen
        .iter()
        .map(|(axis, value)| format!("{axis}={value}"))
        .collect();
    all.join(", ")
}

fn list(axes: &[Axis]) -> String {
    let names: Vec<&str> = axes.iter().map(|axis| axis.name.as_str()).collect();
    names.join(", ")
}

/// Where a condition stands in its file.
struct Place<'a> {
    source: &'a Source,
    written: &'a Spanned<String>,
    /// Where its first byte stands, when it stands there as it reads: without folding and
    /// escapes.
    start: Option<usize>,
}

impl<'a> Place<'a> {
    fn new(source: &'a Source, written: &'a Spanned<String>) -> Place<'a> {
        let start = [0, 1].into_iter().find_map(|quote| {
            let start = written.span.start + quote;
            let here = source.text.get(start..)?;
            here.starts_with(&written.value).then_some(start)
        });
        Place {
            source,
            written,
            start,
        }
    }

    fn problem(&self, span: Span, code: &'static str, message: String, help: String) -> Problem {
        Problem::at(
            &self.source.name,
            &self.source.text,
            span,
            code,
            message,
            help,
        )
    }

    fn whole(&self, code: &'static str, message: String, help: String) -> Problem {
        self.problem(self.written.span, code, message, help)
    }

    /// A part of the condition, given in bytes within it.
    fn part(&self, at: usize, len: usize) -> Span {
        match self.start {
            Some(start) => Span {
                start: start + at,
                len,
            },
            None => self.written.span,
        }
    }

    fn syntax(&self, errors: &cel::ParseErrors) -> Problem {
        let text = self.written.value.as_str();
        let (at, why) = match errors.errors.first() {
            Some(first) => {
                let why = meshproof_input::condition(&first.msg);
                (byte_of(text, first.pos), why)
            }
            None => (0, "it cannot be read".to_owned()),
        };
        // Where the text ends too early, its last character is shown.
        let last = text.char_indices().next_back().map_or(0, |(at, _)| at);
        let at = text.floor_char_boundary(at.min(last));
        let len = text
            .get(at..)
            .and_then(|rest| rest.chars().next())
            .map_or(0, char::len_utf8);
        self.problem(
            self.part(at, len),
            "matrix::condition",
            format!("this is no condition: {why}"),
            "write CEL over the axes, such as \"!(client.mesh == 'none' && call == 'oneway')\""
                .into(),
        )
    }
}

/// Byte offset of a line and column, both from 1.
fn byte_of(text: &str, (line, column): (isize, isize)) -> usize {
    let line = usize::try_from(line - 1).unwrap_or(0);
    let column = usize::try_from(column - 1).unwrap_or(0);
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text.get(start..).unwrap_or_default();
    let within: usize = rest.chars().take(column).map(char::len_utf8).sum();
    (start + within).min(text.len())
}

/// Finds which axes an expression names, and what is misspelt in it.
struct Names<'a> {
    place: &'a Place<'a>,
    program: &'a cel::Program,
    axes: &'a [Axis],
    open: &'a [usize],
    /// Variables of `all`, `exists` and the like that are in force.
    bound: Vec<String>,
    used: Vec<usize>,
}

impl Names<'_> {
    fn walk(&mut self, expr: &IdedExpr) -> Result<(), Problem> {
        if let Some((root, path)) = path_of(expr) {
            let first = path.split('.').next().unwrap_or_default();
            if first.starts_with('@') || self.bound.iter().any(|bound| bound == first) {
                return Ok(());
            }
            let axis = self.axis(root, &path)?;
            self.used.push(axis);
            return Ok(());
        }
        match &expr.expr {
            Expr::Call(call) => {
                self.compared(&call.func_name, &call.args)?;
                call.target
                    .iter()
                    .try_for_each(|target| self.walk(target))?;
                call.args.iter().try_for_each(|arg| self.walk(arg))
            }
            Expr::Comprehension(comprehension) => {
                self.walk(&comprehension.iter_range)?;
                let before = self.bound.len();
                self.bound.push(comprehension.iter_var.clone());
                self.bound.extend(comprehension.iter_var2.clone());
                self.bound.push(comprehension.accu_var.clone());
                for part in [
                    &comprehension.accu_init,
                    &comprehension.loop_cond,
                    &comprehension.loop_step,
                    &comprehension.result,
                ] {
                    self.walk(part)?;
                }
                self.bound.truncate(before);
                Ok(())
            }
            Expr::List(list) => list.elements.iter().try_for_each(|item| self.walk(item)),
            Expr::Map(map) => map
                .entries
                .iter()
                .try_for_each(|entry| self.entry(&entry.expr)),
            Expr::Struct(made) => made
                .entries
                .iter()
                .try_for_each(|entry| self.entry(&entry.expr)),
            Expr::Select(select) => self.walk(&select.operand),
            Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => Ok(()),
        }
    }

    fn entry(&mut self, entry: &EntryExpr) -> Result<(), Problem> {
        match entry {
            EntryExpr::StructField(field) => self.walk(&field.value),
            EntryExpr::MapEntry(entry) => {
                self.walk(&entry.key)?;
                self.walk(&entry.value)
            }
        }
    }

    /// Where a node of the expression stands, in bytes within it.
    fn at(&self, id: u64) -> Option<(usize, usize)> {
        let text = self.place.written.value.as_str();
        let (start, stop) = self.program.source_info().offset_for(id)?;
        // The parser counts characters, and the last one is included.
        let byte = |chars: u32| -> usize {
            let chars = usize::try_from(chars).unwrap_or(0);
            text.chars().take(chars).map(char::len_utf8).sum()
        };
        let (start, stop) = (byte(start), byte(stop.saturating_add(1)));
        Some((start, stop.saturating_sub(start)))
    }

    /// The axis that a path names: `client.mesh`.
    fn axis(&self, root: u64, path: &str) -> Result<usize, Problem> {
        let named = self.axes.iter().position(|axis| axis.name == path);
        if let Some(axis) = named {
            return Ok(axis);
        }
        let text = self.place.written.value.as_str();
        let at = self.at(root).map_or(0, |(at, _)| at);
        // A path may be written with spaces around its dots; then its first word is shown.
        let len = match text.get(at..) {
            Some(here) if here.starts_with(path) => path.len(),
            _ => path.split('.').next().map_or(0, str::len),
        };
        let problem = |message: String, help: String| {
            let span = self.place.part(at, len);
            self.place
                .problem(span, "matrix::unknown_axis", message, help)
                .label(span, "not an axis")
        };
        let below = format!("{path}.");
        let members: Vec<&str> = self
            .axes
            .iter()
            .map(|axis| axis.name.as_str())
            .filter(|name| name.starts_with(&below))
            .collect();
        if !members.is_empty() {
            return Err(problem(
                format!("`{path}` is a group of axes, not an axis"),
                format!("write one of {}", members.join(", ")),
            ));
        }
        let above = self.axes.iter().find(|axis| {
            path.strip_prefix(&axis.name)
                .is_some_and(|rest| rest.starts_with('.'))
        });
        if let Some(above) = above {
            return Err(problem(
                format!("there is no axis `{path}`"),
                format!(
                    "`{}` is an axis, and its values have no members",
                    above.name
                ),
            ));
        }
        let value = self.axes.iter().find(|axis| {
            axis.values
                .iter()
                .flat_map(Value::items)
                .any(|value| value.as_text() == Some(path))
        });
        if let Some(axis) = value {
            return Err(problem(
                format!("there is no axis `{path}`"),
                format!(
                    "it is a value of {}: put quotes around it, '{path}'",
                    axis.name
                ),
            ));
        }
        let names: Vec<&str> = self.axes.iter().map(|axis| axis.name.as_str()).collect();
        Err(problem(
            format!("there is no axis `{path}`"),
            match suggestion(path, &names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the axes are {}", names.join(", ")),
            },
        ))
    }

    /// An axis that is compared with a value which it does not have would make a condition that
    /// never says anything.
    fn compared(&self, function: &str, args: &[IdedExpr]) -> Result<(), Problem> {
        let [left, right] = args else { return Ok(()) };
        match function {
            operators::EQUALS | operators::NOT_EQUALS => {
                self.is_value(left, right)?;
                self.is_value(right, left)
            }
            operators::IN => {
                if let Expr::List(list) = &right.expr {
                    for item in &list.elements {
                        self.is_value(left, item)?;
                    }
                }
                let Some(axis) = self.closed_axis(right) else {
                    return Ok(());
                };
                let Some(value) = literal(left) else {
                    return Ok(());
                };
                let items: Vec<&Value> = axis.values.iter().flat_map(Value::items).collect();
                if items.contains(&&value) {
                    return Ok(());
                }
                Err(self.no_value(axis, left, &value, &items))
            }
            _ => Ok(()),
        }
    }

    fn is_value(&self, path: &IdedExpr, value: &IdedExpr) -> Result<(), Problem> {
        let (Some(axis), Some(wanted)) = (self.closed_axis(path), literal(value)) else {
            return Ok(());
        };
        let values: Vec<&Value> = axis.values.iter().collect();
        if values.contains(&&wanted) {
            return Ok(());
        }
        Err(self.no_value(axis, value, &wanted, &values))
    }

    /// The axis of a path, when all its values are known.
    fn closed_axis(&self, path: &IdedExpr) -> Option<&Axis> {
        let (_, path) = path_of(path)?;
        let at = self.axes.iter().position(|axis| axis.name == path)?;
        (!self.open.contains(&at) && !self.bound.contains(&path))
            .then(|| self.axes.get(at))
            .flatten()
    }

    fn no_value(&self, axis: &Axis, at: &IdedExpr, value: &Value, known: &[&Value]) -> Problem {
        let (start, len) = self.at(at.id).unwrap_or_default();
        let span = self.place.part(start, len);
        let help = super::value::nearest(value, known);
        self.place
            .problem(
                span,
                "matrix::unknown_value",
                format!("the axis {} has no value `{value}`", axis.name),
                help,
            )
            .label(span, "never true")
    }
}

/// `client.mesh`, with the node of its first word.
fn path_of(expr: &IdedExpr) -> Option<(u64, String)> {
    let mut words = Vec::new();
    let mut expr = expr;
    loop {
        match &expr.expr {
            Expr::Ident(name) => {
                words.push(name.as_str());
                words.reverse();
                return Some((expr.id, words.join(".")));
            }
            Expr::Select(select) => {
                words.push(select.field.as_str());
                expr = &select.operand;
            }
            _ => return None,
        }
    }
}

/// The value that a literal stands for.
fn literal(expr: &IdedExpr) -> Option<Value> {
    match &expr.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(Value::Text(text.inner().to_owned())),
        Expr::Literal(LiteralValue::Int(number)) => Some(Value::Number(*number.inner())),
        Expr::Literal(LiteralValue::Boolean(truth)) => Some(Value::Truth(*truth.inner())),
        Expr::List(list) => list
            .elements
            .iter()
            .map(literal)
            .collect::<Option<Vec<Value>>>()
            .map(Value::List),
        _ => None,
    }
}
