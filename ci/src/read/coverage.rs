//! Coverage of lines, from Cobertura or LCOV; counted from its lines, not taken from its sums.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::xml::{Part, walk};
use super::{empty, percent, text, unreadable};
use crate::world::{Absent, Seen};

/// Files listed as not covered, at most.
const PLACES_MAX: usize = 50;

/// How often each line of each file ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines(pub BTreeMap<String, BTreeMap<u64, u64>>);

impl Lines {
    fn note(&mut self, file: &str, line: u64, hits: u64) {
        let lines = self.0.entry(file.to_owned()).or_default();
        let sum = lines.entry(line).or_default();
        *sum = sum.saturating_add(hits);
    }

    /// `lines.{total,covered,percent}`, and of the lines that changed `change.{total,covered,
    /// percent,uncovered}`; `changed` names files and lines of the repository. Where the change
    /// holds no line that can be covered, `change.percent` is 100 and `change.total` is 0.
    pub fn facts(&self, changed: Option<&BTreeMap<String, BTreeSet<u64>>>) -> Value {
        let (mut total, mut covered) = (0u64, 0u64);
        for hits in self.0.values().flat_map(BTreeMap::values) {
            total += 1;
            covered += u64::from(*hits > 0);
        }
        let mut facts = json!({
            "lines": {"total": total, "covered": covered, "percent": percent(covered, total)},
            "files": self.0.len(),
        });
        if let (Some(changed), Some(members)) = (changed, facts.as_object_mut()) {
            members.insert("change".to_owned(), self.of_change(changed));
        }
        facts
    }

    fn of_change(&self, changed: &BTreeMap<String, BTreeSet<u64>>) -> Value {
        let (mut total, mut covered) = (0u64, 0u64);
        let mut uncovered = Vec::new();
        let mut unknown = Vec::new();
        for (path, numbers) in changed {
            let Some(lines) = self.of_path(path) else {
                unknown.push(path.as_str());
                continue;
            };
            for (number, hits) in lines.iter().filter(|(number, _)| numbers.contains(number)) {
                total += 1;
                if *hits > 0 {
                    covered += 1;
                } else if uncovered.len() < PLACES_MAX {
                    uncovered.push(format!("{path}:{number}"));
                }
            }
        }
        let part = match total {
            0 => Value::from(100),
            total => percent(covered, total),
        };
        unknown.truncate(PLACES_MAX);
        json!({
            "total": total, "covered": covered, "percent": part,
            "uncovered": uncovered, "unknown": unknown,
        })
    }

    /// The lines of a file of the repository: tools write its path whole, or from a folder of
    /// their own. A path that fits two files is none.
    fn of_path(&self, path: &str) -> Option<&BTreeMap<u64, u64>> {
        if let Some(lines) = self.0.get(path) {
            return Some(lines);
        }
        let ends = |long: &str, short: &str| {
            long.strip_suffix(short)
                .is_some_and(|front| front.ends_with('/'))
        };
        let mut fitting = self
            .0
            .iter()
            .filter(|(known, _)| ends(known, path) || ends(path, known));
        let first = fitting.next()?;
        fitting.next().is_none().then_some(first.1)
    }
}

/// Reads LCOV files as one.
pub fn lcov(files: &[Seen]) -> Result<Lines, Absent> {
    let mut lines = Lines::default();
    for seen in files {
        let text = text(seen, "LCOV")?;
        let bad = |number: usize, why: String| {
            unreadable(seen, "LCOV", format!("line {}: {why}", number + 1))
        };
        let mut open: Option<(String, u64, Option<u64>)> = None;
        let mut any = false;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            let (key, value) = line.split_once(':').unwrap_or((line, ""));
            match (key, open.as_mut()) {
                ("SF", None) => open = Some((value.to_owned(), 0, None)),
                ("SF", Some(_)) => {
                    return Err(bad(number, "a file begins within another".to_owned()));
                }
                ("DA", Some((file, found, _))) => {
                    let mut parts = value.split(',');
                    let at = parts.next().and_then(|part| part.parse().ok());
                    let hits = parts.next().and_then(|part| part.parse().ok());
                    let (Some(at), Some(hits)) = (at, hits) else {
                        return Err(bad(number, format!("`{line}` is no DA:LINE,HITS")));
                    };
                    lines.note(file, at, hits);
                    *found += 1;
                    any = true;
                }
                ("LF", Some((_, _, said))) => *said = value.parse().ok(),
                ("end_of_record", Some((file, found, said))) => {
                    if let Some(said) = said.filter(|said| said != found) {
                        let why = format!("{file} says {said} lines (LF) and holds {found} (DA)");
                        return Err(bad(number, why));
                    }
                    open = None;
                }
                ("DA" | "LF" | "LH" | "end_of_record", None) => {
                    return Err(bad(number, format!("`{key}` stands outside of a file")));
                }
                (
                    "" | "TN" | "VER" | "FN" | "FNDA" | "FNF" | "FNH" | "FNL" | "FNA" | "BRDA"
                    | "BRF" | "BRH" | "LH" | "MCDC" | "MCF" | "MCH",
                    _,
                ) => {}
                _ if line.starts_with('#') => {}
                (key, _) => return Err(bad(number, format!("`{key}` is no key of LCOV"))),
            }
        }
        if let Some((file, ..)) = open {
            let why = format!("it ends before `end_of_record` of {file}: it was cut short");
            return Err(unreadable(seen, "LCOV", why));
        }
        if !any {
            return Err(empty(seen, "line that can be covered"));
        }
    }
    Ok(lines)
}

/// Reads Cobertura files as one.
pub fn cobertura(files: &[Seen]) -> Result<Lines, Absent> {
    let mut lines = Lines::default();
    for seen in files {
        let text = text(seen, "Cobertura XML")?;
        let mut file: Option<String> = None;
        let mut in_methods = 0usize;
        let mut is_first = true;
        let mut any = false;
        let walked = walk(text, |part| {
            match part {
                Part::Open(name, _) if is_first && name != "coverage" => {
                    return Err(format!("its root is <{name}>, expected <coverage>"));
                }
                Part::Open("class", attributes) => {
                    let Some(name) = attributes.get("filename") else {
                        return Err("a class has no `filename`".to_owned());
                    };
                    file = Some(name.clone());
                }
                // Lines of methods stand a second time below the class.
                Part::Open("methods", _) => in_methods += 1,
                Part::Close("methods") => in_methods = in_methods.saturating_sub(1),
                Part::Open("line", attributes) if in_methods == 0 => {
                    let number = |name: &str| attributes.get(name).and_then(|it| it.parse().ok());
                    match (&file, number("number"), number("hits")) {
                        (Some(file), Some(at), Some(hits)) => {
                            lines.note(file, at, hits);
                            any = true;
                        }
                        (None, ..) => return Err("a line stands outside of a class".to_owned()),
                        _ => return Err("a line lacks `number` or `hits`".to_owned()),
                    }
                }
                Part::Close("class") => file = None,
                Part::Open(..) | Part::Close(_) => {}
            }
            is_first = false;
            Ok(())
        });
        walked.map_err(|why| unreadable(seen, "Cobertura XML", why))?;
        if !any {
            return Err(empty(seen, "line that can be covered"));
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::super::seen;
    use super::*;
    use crate::outcome::Code;

    const LCOV: &str = "TN:\nSF:/w/src/a.rs\nDA:1,1\nDA:2,0\nDA:3,4\nLF:3\nLH:2\nend_of_record\n";
    const COBERTURA: &str = "<coverage line-rate='1'><packages><package><classes>\
        <class filename='src/a.rs'><methods><method><lines><line number='1' hits='1'/></lines></method></methods>\
        <lines><line number='1' hits='1'/><line number='2' hits='0'/><line number='3' hits='4'/></lines>\
        </class></classes></package></packages></coverage>";

    #[track_caller]
    fn check(read: Result<Lines, Absent>, expected: Result<&str, Code>) {
        let changed = BTreeMap::from([("src/a.rs".to_owned(), BTreeSet::from([2, 3, 9]))]);
        let shown = read.map_err(|absent| absent.code).map(|lines| {
            let facts = lines.facts(Some(&changed));
            format!("{} {}", facts["lines"]["percent"], facts["change"])
        });
        assert_eq!(shown.as_deref().map_err(|code| *code), expected);
    }

    #[test]
    fn lines_are_counted() {
        let expected = "66.666 {\"total\":2,\"covered\":1,\"percent\":50.0,\
                        \"uncovered\":[\"src/a.rs:2\"],\"unknown\":[]}";
        check(lcov(&[seen("l", LCOV)]), Ok(expected));
        check(cobertura(&[seen("c", COBERTURA)]), Ok(expected));
    }

    #[test]
    fn what_is_cut_short_or_contradicts_itself_is_not_read() {
        let of = |from: &str, to: &str| lcov(&[seen("l", &LCOV.replace(from, to))]);
        check(of("end_of_record\n", ""), Err(Code::Unreadable));
        check(of("LF:3", "LF:9"), Err(Code::Unreadable));
        check(of("DA:2,0", "DA:2,none"), Err(Code::Unreadable));
        check(of("DA:2,0", "DA:2,-1"), Err(Code::Unreadable));
        check(of("SF:/w/src/a.rs\n", ""), Err(Code::Unreadable));
        check(lcov(&[seen("l", "TN:\n")]), Err(Code::Empty));
        check(lcov(&[seen("l", "{\"a\": 1}")]), Err(Code::Unreadable));
        let of = |from: &str, to: &str| cobertura(&[seen("c", &COBERTURA.replace(from, to))]);
        check(of("</coverage>", ""), Err(Code::Unreadable));
        check(of(" hits='0'", ""), Err(Code::Unreadable));
        check(
            cobertura(&[seen("c", "<coverage line-rate='1'/>")]),
            Err(Code::Empty),
        );
        check(
            cobertura(&[seen("c", "<testsuite/>")]),
            Err(Code::Unreadable),
        );
    }
}
