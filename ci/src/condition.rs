//! Conditions in CEL over the values of a result.

use std::collections::HashMap;
use std::fmt;

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::objects::Key;
use serde_json::Value;

/// Longest condition, in bytes.
pub const CONDITION_BYTES_MAX: usize = 4096;

/// A condition, compiled once.
pub struct Condition {
    text: String,
    program: cel::Program,
    /// Every value that it names, but for those that it asks about by `has`.
    paths: Vec<Vec<String>>,
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition").field(&self.text).finish()
    }
}

impl Condition {
    /// Compiles it. The error is one sentence and the byte that it is about.
    pub fn compile(text: &str) -> Result<Condition, (String, usize)> {
        if text.len() > CONDITION_BYTES_MAX {
            let why = format!("the condition is longer than {CONDITION_BYTES_MAX} bytes");
            return Err((why, 0));
        }
        let program =
            cel::Program::compile(text).map_err(|errors| match errors.errors.first() {
                Some(first) => (
                    meshproof_input::condition(&first.msg),
                    byte_of(text, first.pos),
                ),
                None => ("it cannot be read".to_owned(), 0),
            })?;
        if program.references().variables().is_empty() {
            return Err(("the condition names no value".to_owned(), 0));
        }
        let mut names = Names::default();
        names.walk(program.expression());
        let Names { mut paths, has, .. } = names;
        paths.retain(|path| !has.iter().any(|asked| path.starts_with(asked)));
        Ok(Condition {
            text: text.to_owned(),
            program,
            paths,
        })
    }

    /// As it is written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Asks it. The error says why there is no answer that is true or false.
    pub fn holds(&self, facts: &Value) -> Result<bool, String> {
        // In CEL, what is not there is no error beside something that is true; here it is.
        if let Some(path) = self.paths.iter().find(|path| !is_there(facts, path)) {
            return Err(format!("there is no `{}`", path.join(".")));
        }
        let mut context = cel::Context::default();
        for (name, value) in facts.as_object().into_iter().flatten() {
            context.add_variable_from_value(name.as_str(), cel_value(value));
        }
        match self.program.execute(&context) {
            Ok(cel::Value::Bool(holds)) => Ok(holds),
            Ok(other) => Err(format!(
                "it is a {}, neither true nor false",
                other.type_of()
            )),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The values that it names, each with what stands there, for showing.
    pub fn seen(&self, facts: &Value) -> String {
        const NAMED_MAX: usize = 6;
        let references = self.program.references();
        let mut names = references.variables();
        names.sort_unstable();
        let shown: Vec<String> = names
            .into_iter()
            .filter(|name| !name.starts_with('@'))
            .filter_map(|name| {
                let value = facts.get(name)?;
                Some(format!("{name} = {}", crate::value::shown(value)))
            })
            .take(NAMED_MAX)
            .collect();
        shown.join(", ")
    }
}

/// Whether a value is there; what stands below a list or a text is the condition's own to find.
fn is_there(facts: &Value, path: &[String]) -> bool {
    let mut here = facts;
    for name in path {
        match here {
            Value::Object(members) => match members.get(name) {
                None | Some(Value::Null) => return false,
                Some(value) => here = value,
            },
            _ => return false,
        }
    }
    true
}

/// Finds the values that an expression names.
#[derive(Default)]
struct Names {
    /// Variables of `all`, `exists` and the like that are in force.
    bound: Vec<String>,
    paths: Vec<Vec<String>>,
    has: Vec<Vec<String>>,
}

impl Names {
    fn walk(&mut self, expr: &IdedExpr) {
        if let Some((path, asks)) = path_of(expr) {
            let first = path.first().map_or("", String::as_str);
            if first.starts_with('@') || self.bound.iter().any(|bound| bound == first) {
                return;
            }
            match asks {
                true => self.has.push(path),
                false => self.paths.push(path),
            }
            return;
        }
        match &expr.expr {
            Expr::Call(call) => {
                call.target.iter().for_each(|target| self.walk(target));
                call.args.iter().for_each(|arg| self.walk(arg));
            }
            Expr::Comprehension(comprehension) => {
                self.walk(&comprehension.iter_range);
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
                    self.walk(part);
                }
                self.bound.truncate(before);
            }
            Expr::List(list) => list.elements.iter().for_each(|item| self.walk(item)),
            Expr::Map(map) => map.entries.iter().for_each(|it| self.entry(&it.expr)),
            Expr::Struct(made) => made.entries.iter().for_each(|it| self.entry(&it.expr)),
            Expr::Select(select) => self.walk(&select.operand),
            Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
        }
    }

    fn entry(&mut self, entry: &EntryExpr) {
        match entry {
            EntryExpr::StructField(field) => self.walk(&field.value),
            EntryExpr::MapEntry(entry) => {
                self.walk(&entry.key);
                self.walk(&entry.value);
            }
        }
    }
}

/// `a.b.c` as its parts, and whether it is only asked for by `has`.
fn path_of(expr: &IdedExpr) -> Option<(Vec<String>, bool)> {
    let mut parts = Vec::new();
    let mut asks = false;
    let mut here = expr;
    loop {
        match &here.expr {
            Expr::Ident(name) => {
                parts.push(name.clone());
                parts.reverse();
                return Some((parts, asks));
            }
            Expr::Select(select) => {
                parts.push(select.field.clone());
                asks |= select.test;
                here = &select.operand;
            }
            _ => return None,
        }
    }
}

fn cel_value(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(truth) => cel::Value::Bool(*truth),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => cel::Value::Int(whole),
            (None, Some(number)) => cel::Value::Float(number),
            (None, None) => cel::Value::Null,
        },
        Value::String(text) => cel::Value::from(text.as_str()),
        Value::Array(items) => cel::Value::from(items.iter().map(cel_value).collect::<Vec<_>>()),
        Value::Object(members) => {
            let members: HashMap<Key, cel::Value> = members
                .iter()
                .map(|(name, value)| (Key::from(name.as_str()), cel_value(value)))
                .collect();
            cel::Value::from(members)
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(text: &str, expected: Result<bool, &str>) {
        let facts = json!({"tests": {"failed": 0, "ran": 7}, "names": ["a", "b"], "part": 0.5});
        let answer = Condition::compile(text)
            .map_err(|(why, _)| why)
            .and_then(|condition| condition.holds(&facts));
        match (answer, expected) {
            (Ok(holds), Ok(expected)) => assert_eq!(holds, expected, "{text}"),
            (Err(why), Err(part)) => assert!(why.contains(part), "{text}: {why}"),
            (answer, _) => panic!("{text}: {answer:?}"),
        }
    }

    #[test]
    fn conditions_are_true_or_false_or_say_why_not() {
        check("tests.failed == 0 && tests.ran > 5", Ok(true));
        check("tests.failed > 0", Ok(false));
        check("names.all(n, n != 'c')", Ok(true));
        check("part < 0.6", Ok(true));
        check("tests.failled == 0", Err("failled"));
        check("nothing == 0", Err("nothing"));
        check("tests.ran", Err("neither true nor false"));
        check("nothing == 0 || tests.ran == 7", Err("nothing"));
        check("tests.ran == 7 || tests.nothing == 0", Err("tests.nothing"));
        check("!has(tests.flaky) || tests.flaky == 0", Ok(true));
        check("names.exists(n, n.x == 1 || n == 'a')", Ok(true));
        check("tests.ran = 7", Err("expected"));
        check("true", Err("names no value"));
        check("", Err("expected"));
    }
}
