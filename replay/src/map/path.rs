//! Places in a body or a header map, and patterns for them.

use std::fmt;

use super::PathPattern;

/// One step down: into a field or key of a name, or into a list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A field of an object or a key of a map.
    Name(String),
    /// An element of a list.
    Index(usize),
}

/// A place, as steps from the top: `[1].customer.mobile`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Path(pub Vec<Step>);

impl Path {
    /// Whether the place is the one that the pattern names.
    pub fn is_at(&self, pattern: &PathPattern) -> bool {
        let mut wanted = pattern.steps();
        self.0
            .iter()
            .all(|step| wanted.next().is_some_and(|wanted| wanted.fits(step)))
            && wanted.next().is_none()
    }

    /// Whether the place is the one that the pattern names or lies below it.
    pub fn is_within(&self, pattern: &PathPattern) -> bool {
        let mut steps = self.0.iter();
        pattern
            .steps()
            .all(|wanted| steps.next().is_some_and(|step| wanted.fits(step)))
    }

    /// Whether one of its steps has this name. A header key such as `a.b` may be several steps.
    pub fn passes(&self, name: &str) -> bool {
        self.0
            .iter()
            .any(|step| matches!(step, Step::Name(step) if step == name))
    }

    /// Whether its last steps, joined by dots, are `key`: `requestProps.rpc_req_baggage.zone`
    /// ends as the header key `rpc_req_baggage.zone`.
    pub fn ends_as(&self, key: &str) -> bool {
        let mut rest = key;
        for step in self.0.iter().rev() {
            let Step::Name(name) = step else {
                return false;
            };
            match rest.strip_suffix(name.as_str()) {
                Some("") => return true,
                Some(shorter) => match shorter.strip_suffix('.') {
                    Some(shorter) => rest = shorter,
                    None => return false,
                },
                None => return false,
            }
        }
        false
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Name(name) if at == 0 => f.write_str(name)?,
                Step::Name(name) => write!(f, ".{name}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// One step of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted<'a> {
    Any,
    Name(&'a str),
    Index(usize),
}

impl Wanted<'_> {
    fn fits(self, step: &Step) -> bool {
        match (self, step) {
            (Wanted::Any, _) => true,
            (Wanted::Name(wanted), Step::Name(name)) => wanted == name,
            (Wanted::Index(wanted), Step::Index(index)) => wanted == *index,
            _ => false,
        }
    }
}

impl PathPattern {
    /// Checks that the text is a pattern: names, `*`, `[3]` or `[*]`.
    pub(super) fn parse(text: &str) -> Option<PathPattern> {
        let good = |part: &str| {
            let (name, indices) = part.split_at(part.find('[').unwrap_or(part.len()));
            let mut rest = indices;
            while let Some((index, after)) =
                rest.strip_prefix('[').and_then(|open| open.split_once(']'))
            {
                if index != "*" && index.parse::<usize>().is_err() {
                    return false;
                }
                rest = after;
            }
            rest.is_empty() && !name.contains(']') && !(name.is_empty() && indices.is_empty())
        };
        text.split('.')
            .all(good)
            .then(|| PathPattern(text.to_owned()))
    }

    fn steps(&self) -> impl Iterator<Item = Wanted<'_>> {
        self.0.split('.').flat_map(|part| {
            let (name, indices) = part.split_at(part.find('[').unwrap_or(part.len()));
            let name = match name {
                "" => None,
                "*" => Some(Wanted::Any),
                name => Some(Wanted::Name(name)),
            };
            let indices = indices
                .split(['[', ']'])
                .filter(|index| !index.is_empty())
                .map(|index| index.parse().map_or(Wanted::Any, Wanted::Index));
            name.into_iter().chain(indices)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        let pattern = PathPattern::parse(text).expect("a path");
        Path(
            pattern
                .steps()
                .map(|step| match step {
                    Wanted::Name(name) => Step::Name(name.to_owned()),
                    Wanted::Index(index) => Step::Index(index),
                    Wanted::Any => Step::Name("*".to_owned()),
                })
                .collect(),
        )
    }

    #[track_caller]
    fn check(place: &str, pattern: &str, at: bool, within: bool) {
        let pattern = PathPattern::parse(pattern).expect("a pattern");
        assert_eq!(path(place).is_at(&pattern), at, "at");
        assert_eq!(path(place).is_within(&pattern), within, "within");
        assert_eq!(path(place).to_string(), place);
    }

    #[test]
    fn places_fit_patterns() {
        check("args[0].url", "args[0].url", true, true);
        check("args[0].url", "args[*].url", true, true);
        check("args[0].url", "args.*.url", true, true);
        check("args[0].url", "args[1].url", false, false);
        check("args[0].customer.name", "args[0].customer", false, true);
        check("args[0].customer.name", "*[0].*.name", true, true);
        check("args[0].customers", "args[0].customer", false, false);
        check("args", "args[0]", false, false);
        check("a[1][2]", "a[*][2]", true, true);
    }

    #[test]
    fn what_is_no_pattern() {
        for text in ["", "a..b", ".a", "a.", "a[", "a[x]", "a[1", "a]", "a[1]b"] {
            assert_eq!(PathPattern::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_body_ends_as_a_header_key() {
        let place = path("requestProps.rpc_trace_context.sofaTraceId");
        assert!(place.ends_as("rpc_trace_context.sofaTraceId"));
        assert!(place.ends_as("sofaTraceId"));
        assert!(!place.ends_as("TraceId"));
        assert!(!place.ends_as("x.rpc_trace_context.sofaTraceId"));
        let key_with_dots = Path(vec![
            Step::Name("props".into()),
            Step::Name("rpc_req.zone".into()),
        ]);
        assert!(key_with_dots.ends_as("rpc_req.zone"));
    }
}
