//! What is shown and not judged.

use std::collections::BTreeSet;

use meshproof_input::{Problem, Spanned};
use schemars::JsonSchema;
use serde::Deserialize;

/// The text of a noise file.
///
/// ```yaml
/// noise:
///   - path: body.appResponse.servedAt
///   - path: body.appResponse.items[*].price
///     service: com.alipay.demo.SampleService:1.0
///     method: place
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Document {
    /// Places whose differences are shown and not judged.
    noise: Vec<Entry>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    /// The place, with all that lies below it: `body.appResponse.servedAt`,
    /// `headers.x-served-by`. `*` stands for any one step, `[*]` for any element, `**` for any
    /// number of steps.
    path: Spanned<String>,
    /// Only in answers of this service; `*` stands for any characters.
    #[serde(default)]
    service: Option<String>,
    /// Only in answers of this method; `*` stands for any characters.
    #[serde(default)]
    method: Option<String>,
    /// Why it may differ; for readers of the file.
    #[serde(default, rename = "why")]
    _why: Option<String>,
}

/// What is shown and not judged, service by service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noise {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    steps: Vec<Step>,
    service: Option<String>,
    method: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Name(String),
    AnyName,
    Index(usize),
    AnyIndex,
    AnyDepth,
}

/// The schema of a noise file, as JSON.
pub fn schema() -> String {
    meshproof_input::schema::<Document>("what a comparison does not judge")
}

impl Noise {
    /// Reads a noise file; `name` is for showing only.
    pub fn parse(name: &str, text: &str) -> Result<Noise, Problem> {
        let document: Document = meshproof_input::parse(name, text)?;
        let mut rules = Vec::new();
        for entry in document.noise {
            let Some(steps) = steps(&entry.path.value) else {
                return Err(Problem::at(
                    name,
                    text,
                    entry.path.span,
                    "noise::bad_path",
                    format!("`{}` is no path", entry.path.value),
                    "write it as differences are shown, such as `body.appResponse.items[*].price`",
                ));
            };
            rules.push(Rule {
                steps,
                service: entry.service,
                method: entry.method,
            });
        }
        Ok(Noise { rules })
    }

    /// What holds for the answers of one method.
    pub fn of(&self, service: &str, method: Option<&str>) -> Applied<'_> {
        let fits = |wanted: &Option<String>, name: Option<&str>| {
            wanted
                .as_deref()
                .is_none_or(|wanted| name.is_some_and(|name| like(wanted, name)))
        };
        let rules = self
            .rules
            .iter()
            .filter(|rule| fits(&rule.service, Some(service)) && fits(&rule.method, method));
        Applied(rules.map(|rule| rule.steps.as_slice()).collect())
    }
}

/// The part of a [`Noise`] that holds for one method. The default is none.
#[derive(Clone, Debug, Default)]
pub struct Applied<'a>(Vec<&'a [Step]>);

impl Applied<'_> {
    /// Whether a place is named, or lies below one that is.
    pub fn covers(&self, path: &str) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let Some(path) = steps(path) else {
            return false;
        };
        self.0.iter().any(|pattern| within(pattern, &path))
    }

    /// How far into each pattern a place is: two places of the same progress have the same covered
    /// and not covered places below them.
    pub(super) fn progress(&self, path: &str) -> Vec<BTreeSet<usize>> {
        let path = steps(path).unwrap_or_default();
        self.0.iter().map(|it| progress(it, &path)).collect()
    }

    /// Whether nothing that an answer says is left to judge: neither its status nor what it
    /// returns or throws.
    pub fn covers_all(&self) -> bool {
        ["status", "body", "exception"]
            .iter()
            .all(|path| self.covers(path))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The steps of a path or pattern; `None` where it is none. A key that holds dots is several steps,
/// in the pattern as in the path.
fn steps(text: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    for part in text.split('.') {
        let (name, mut rest) = part.split_at(part.find('[').unwrap_or(part.len()));
        steps.push(match name {
            "" => return None,
            "*" => Step::AnyName,
            "**" => Step::AnyDepth,
            name => Step::Name(name.to_owned()),
        });
        while !rest.is_empty() {
            let (index, behind) = rest.strip_prefix('[')?.split_once(']')?;
            steps.push(match index {
                "*" => Step::AnyIndex,
                index => Step::Index(index.parse().ok()?),
            });
            rest = behind;
        }
    }
    Some(steps)
}

/// Whether `path` is at `pattern` or below. Linear in the product of the lengths, whatever the
/// pattern: of several `**`, only the last one needs to be tried further on.
fn within(pattern: &[Step], path: &[Step]) -> bool {
    let (mut wanted, mut at) = (0, 0);
    let mut retry = None;
    loop {
        match (pattern.get(wanted), path.get(at)) {
            (None, _) => return true,
            (Some(Step::AnyDepth), _) => {
                retry = Some((wanted + 1, at));
                wanted += 1;
            }
            (Some(step), Some(there)) if fits(step, there) => {
                wanted += 1;
                at += 1;
            }
            _ => match retry {
                Some((behind, from)) if from < path.len() => {
                    wanted = behind;
                    at = from + 1;
                    retry = Some((behind, at));
                }
                _ => return false,
            },
        }
    }
}

/// The positions in `pattern` that `path` can have led to.
fn progress(pattern: &[Step], path: &[Step]) -> BTreeSet<usize> {
    let mut at = BTreeSet::new();
    let reach = |mut position: usize, at: &mut BTreeSet<usize>| {
        at.insert(position);
        while pattern.get(position) == Some(&Step::AnyDepth) {
            position += 1;
            at.insert(position);
        }
    };
    reach(0, &mut at);
    for there in path {
        let mut next = BTreeSet::new();
        for position in at {
            match pattern.get(position) {
                // All that lies below is covered as well.
                None => reach(position, &mut next),
                Some(Step::AnyDepth) => reach(position, &mut next),
                Some(wanted) if fits(wanted, there) => reach(position + 1, &mut next),
                Some(_) => {}
            }
        }
        at = next;
    }
    at
}

fn fits(wanted: &Step, there: &Step) -> bool {
    match (wanted, there) {
        (Step::AnyName, Step::Name(_) | Step::AnyName) => true,
        (Step::AnyIndex, Step::Index(_)) => true,
        (wanted, there) => wanted == there,
    }
}

/// Whether `name` is like `pattern`, in which `*` stands for any characters.
pub(crate) fn like(pattern: &str, name: &str) -> bool {
    let Some((front, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(front) else {
        return false;
    };
    let mut parts: Vec<_> = rest.split('*').collect();
    let last = parts.pop().unwrap_or("");
    for part in parts {
        match name.find(part) {
            Some(at) => name = name.get(at + part.len()..).unwrap_or(""),
            None => return false,
        }
    }
    name.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, path: &str, covered: bool) {
        let noise = Noise {
            rules: vec![Rule {
                steps: steps(pattern).unwrap(),
                service: None,
                method: None,
            }],
        };
        assert_eq!(noise.of("", None).covers(path), covered);
    }

    #[test]
    fn places() {
        check("body.a", "body.a", true);
        check("body.a", "body.a.b[3]", true);
        check("body.a", "body.ab", false);
        check("body.a.b", "body.a", false);
        check("body.*.b", "body.x.b", true);
        check("body.*.b", "body.x[1].b", false);
        check("body.x[*].b", "body.x[12].b", true);
        check("body.x[1]", "body.x[12]", false);
        check("**.servedAt", "body.a[3].servedAt", true);
        check("**.a.b", "body.a.a.c.a.b.d", true);
        check("**.a.b", "body.a.c.b", false);
        check("body.**.x.**.y", "body.x.y", true);
        check("body.**.x.**.y", "body.y.x", false);
        check(
            "headers.rpc_trace_context.samp",
            "headers.rpc_trace_context.samp",
            true,
        );
        check("headers.*", "headers.a", true);
        check("**", "anything", true);
    }

    #[test]
    fn names() {
        for (pattern, name, expect) in [
            ("a.B:1.0", "a.B:1.0", true),
            ("a.B:1.0", "a.B:1.0:x", false),
            ("a.*", "a.B:1.0", true),
            ("*:1.0", "a.B:1.0", true),
            ("*B*0", "a.B:1.0", true),
            ("*C*0", "a.B:1.0", false),
            ("*", "", true),
        ] {
            assert_eq!(like(pattern, name), expect, "{pattern} {name}");
        }
    }

    #[test]
    fn a_rule_holds_for_its_service_and_method() {
        let text = "noise:\n  - {path: body.a, service: 's*', method: m, why: it is a clock}\n";
        let noise = Noise::parse("noise.yaml", text).unwrap();
        assert!(noise.of("service", Some("m")).covers("body.a"));
        assert!(!noise.of("service", Some("n")).covers("body.a"));
        assert!(!noise.of("service", None).covers("body.a"));
        assert!(!noise.of("other", Some("m")).covers("body.a"));
    }

    #[test]
    fn what_is_wrong_is_shown() {
        let problem = Noise::parse("n", "noise:\n  - path: body..a\n").unwrap_err();
        assert_eq!(
            (problem.to_string(), problem.line()),
            ("`body..a` is no path".to_owned(), Some(2))
        );
        let problem = Noise::parse("n", "noise:\n  - paths: body.a\n").unwrap_err();
        assert_eq!(problem.line(), Some(2));
    }
}
