//! Which calls a command takes: by time, hop, sample and expression.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use cel::Value;
use cel::objects::Key;
use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

use crate::exchange::{Exchange, Hop, Listing};
use crate::sighting::{Call, Calls};

/// Longest expression that is compiled, in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 4096;

/// The variables that an expression knows: the fields of a listing.
const VARIABLES: [&str; 16] = [
    "flow",
    "connection",
    "hop",
    "protocol",
    "kind",
    "from",
    "id",
    "service",
    "method",
    "app",
    "trace",
    "vip",
    "request",
    "response",
    "outcome",
    "late",
];

/// What is taken; the default takes everything.
#[derive(Debug, Default)]
pub struct Selection {
    /// Nothing before it.
    pub from: Option<Moment>,
    /// Nothing from it on.
    pub to: Option<Moment>,
    /// Only what this is true of.
    pub filter: Option<Where>,
    /// Only what was seen at this hop, as it was seen there.
    pub hop: Option<Hop>,
    /// Only a part.
    pub sample: Option<Sample>,
}

impl Selection {
    /// Whether it takes by time.
    pub fn is_by_time(&self) -> bool {
        self.from.is_some() || self.to.is_some()
    }

    /// Whether it looks at calls, and not only at times.
    pub fn is_by_call(&self) -> bool {
        self.filter.is_some() || self.hop.is_some() || self.sample.is_some()
    }

    /// Whether a time lies within, in nanoseconds since the first packet; `start_ns` is that
    /// packet's time.
    pub fn is_in_time(&self, at_ns: u64, start_ns: u64) -> bool {
        self.from
            .is_none_or(|from| at_ns >= from.since_start(start_ns))
            && self.to.is_none_or(|to| at_ns < to.since_start(start_ns))
    }
}

/// A time, as `--from` and `--to` give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Nanoseconds since the Unix epoch: `2026-11-23T08:36:12.5Z`.
    Absolute(u64),
    /// Nanoseconds since the capture's first packet: `+1.5s`, `+2m`.
    SinceStart(u64),
}

/// A text that is no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a time such as 2026-11-23T08:36:12Z, or +1.5s after the first packet")]
pub struct BadMoment;

impl FromStr for Moment {
    type Err = BadMoment;

    fn from_str(text: &str) -> Result<Moment, BadMoment> {
        if let Some(since) = text.strip_prefix('+') {
            let span: jiff::SignedDuration = since.parse().map_err(|_| BadMoment)?;
            let ns = u64::try_from(span.as_nanos()).map_err(|_| BadMoment)?;
            return Ok(Moment::SinceStart(ns));
        }
        let at: jiff::Timestamp = text.parse().map_err(|_| BadMoment)?;
        let ns = u64::try_from(at.as_nanosecond()).map_err(|_| BadMoment)?;
        Ok(Moment::Absolute(ns))
    }
}

impl Moment {
    fn since_start(self, start_ns: u64) -> u64 {
        match self {
            Moment::Absolute(ns) => ns.saturating_sub(start_ns),
            Moment::SinceStart(ns) => ns,
        }
    }
}

/// A part of all calls, as `--sample` gives it. Whether a call is in it depends on its trace id
/// (without one: on its place in the capture) and on nothing else: the same calls are taken each
/// time and at every hop, and a smaller part is a part of a larger one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Calls whose hash is at most this.
    upto: u64,
}

/// A text that is no part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a part above 0 and up to 1, such as 0.05 or 5%")]
pub struct BadSample;

impl FromStr for Sample {
    type Err = BadSample;

    fn from_str(text: &str) -> Result<Sample, BadSample> {
        let part: f64 = match text.strip_suffix('%') {
            Some(percent) => percent.trim().parse().map(|p: f64| p / 100.0),
            None => text.parse(),
        }
        .map_err(|_| BadSample)?;
        if !(part > 0.0 && part <= 1.0) {
            return Err(BadSample);
        }
        // Saturates at 1, where everything is taken.
        let upto = (part * u64::MAX as f64) as u64;
        Ok(Sample { upto })
    }
}

impl Sample {
    fn takes(self, listing: &Listing) -> bool {
        let key = match &listing.trace {
            Some(trace) => trace.clone(),
            None => {
                let offset = |at: Option<u64>| at.unwrap_or(u64::MAX);
                format!(
                    "{} {} {} {} {}",
                    listing.flow,
                    listing.connection,
                    listing.id,
                    offset(listing.request.as_ref().map(|r| r.frame.offset)),
                    offset(listing.response.as_ref().map(|r| r.frame.offset)),
                )
            }
        };
        let hash = blake3::hash(key.as_bytes());
        let front = hash.as_bytes().first_chunk().copied().unwrap_or_default();
        u64::from_le_bytes(front) <= self.upto
    }
}

/// An expression in CEL over the fields of a listing, compiled once.
pub struct Where {
    program: cel::Program,
    /// Which variables it uses.
    uses: Vec<&'static str>,
}

impl fmt::Debug for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Where").field("uses", &self.uses).finish()
    }
}

/// An expression that cannot be compiled, with the place.
#[derive(Debug, thiserror::Error)]
#[error("--where: {why}")]
pub struct BadWhere {
    why: String,
    help: String,
    source_code: NamedSource<String>,
    at: LabeledSpan,
}

impl Diagnostic for BadWhere {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new("select::where"))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.help))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source_code)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(self.at.clone())))
    }
}

const HELP: &str = "write CEL over the fields of `ls --format json`, such as \
                    'method == \"hello\" && response.status_code != 0'";

impl Where {
    /// Compiles an expression of at most [`EXPRESSION_BYTES_MAX`].
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn compile(text: &str) -> Result<Where, Box<BadWhere>> {
        let bad = |at: usize, len: usize, label: &str, why: String, help: String| {
            Box::new(BadWhere {
                why,
                help,
                source_code: NamedSource::new("--where", text.to_owned()),
                at: LabeledSpan::new(Some(label.to_owned()), at, len),
            })
        };
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(bad(
                EXPRESSION_BYTES_MAX,
                0,
                "too long from here on",
                format!("the expression is longer than {EXPRESSION_BYTES_MAX} bytes"),
                HELP.into(),
            ));
        }
        let program = cel::Program::compile(text).map_err(|errors| {
            let (at, why) =
                errors
                    .errors
                    .first()
                    .map_or((0, "it cannot be read".to_owned()), |first| {
                        let why = meshproof_input::condition(&first.msg);
                        (place(text, first.pos), why)
                    });
            // Where the text ends too early, its last character is shown.
            let last = text.char_indices().next_back().map_or(0, |(at, _)| at);
            let at = at.min(last);
            let len = text.get(at..).and_then(|rest| rest.chars().next());
            bad(at, len.map_or(0, char::len_utf8), "here", why, HELP.into())
        })?;
        let known = |name: &&str| VARIABLES.contains(name) || is_bound(text, name);
        let references = program.references();
        let unknown = references.variables().into_iter().find(|name| !known(name));
        if let Some(name) = unknown {
            let at = text.find(name).unwrap_or(0);
            let nearest = VARIABLES
                .into_iter()
                .filter(|known| is_near(known, name))
                .min_by_key(|known| known.len().abs_diff(name.len()));
            let help = match nearest {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None => format!("the fields are {}", VARIABLES.join(", ")),
            };
            let why = format!("there is no field `{name}`");
            return Err(bad(at, name.len(), "not a field", why, help));
        }
        let uses = VARIABLES
            .into_iter()
            .filter(|name| references.has_variable(name))
            .collect();
        Ok(Where { program, uses })
    }

    /// Whether it is true of a listing.
    ///
    /// # Errors
    /// It has no answer there: a field that is null was looked into, or it is no truth value.
    pub fn is_true_of(&self, listing: &Listing) -> Result<bool, Unanswerable> {
        let mut context = cel::Context::default();
        let fields = serde_json::to_value(listing).map_err(|_| Unanswerable)?;
        for name in &self.uses {
            let value = fields.get(name).map_or(Value::Null, value);
            context.add_variable_from_value(*name, value);
        }
        match self.program.execute(&context) {
            Ok(Value::Bool(answer)) => Ok(answer),
            _ => Err(Unanswerable),
        }
    }
}

/// An expression has no answer for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unanswerable;

/// Numbers become signed, so that they compare with what a person writes.
fn value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(b) => Value::Bool(*b),
        serde_json::Value::Number(n) => match n.as_i64() {
            Some(n) => Value::Int(n),
            None => n.as_u64().map_or(Value::Null, Value::UInt),
        },
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => Value::from(items.iter().map(value).collect::<Vec<_>>()),
        serde_json::Value::Object(fields) => {
            let fields: HashMap<Key, Value> = fields
                .iter()
                .map(|(name, field)| (Key::from(name.as_str()), value(field)))
                .collect();
            Value::from(fields)
        }
    }
}

/// Byte offset of a line and column as the parser counts them (from 1 and from 0).
fn place(text: &str, (line, column): (isize, isize)) -> usize {
    let line = usize::try_from(line - 1).unwrap_or(0);
    let column = usize::try_from(column - 1).unwrap_or(0);
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text.get(start..).unwrap_or_default();
    let within: usize = rest.chars().take(column).map(char::len_utf8).sum();
    (start + within).min(text.len())
}

/// Whether a name is bound by a macro: `headers.exists(name, …)`.
fn is_bound(text: &str, name: &str) -> bool {
    name.starts_with('@')
        || text.match_indices(name).any(|(at, _)| {
            let before = text.get(..at).unwrap_or_default().trim_end();
            let behind = text.get(at + name.len()..).unwrap_or_default().trim_start();
            before.ends_with('(') && behind.starts_with(',')
        })
}

/// Whether two words differ by a letter or two, or one begins the other.
fn is_near(known: &str, word: &str) -> bool {
    if known.starts_with(word) || word.starts_with(known) {
        return true;
    }
    let (known, word) = (known.as_bytes(), word.as_bytes());
    let mut row: Vec<usize> = (0..=word.len()).collect();
    for (i, a) in known.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (b, &above) in word.iter().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(a != b))
                .min(above + 1)
                .min(left + 1);
            diagonal = above;
            next.push(left);
        }
        row = next;
    }
    row.last().is_some_and(|&distance| distance <= 2)
}

/// Passes on the calls that a selection takes.
#[derive(Debug)]
pub struct Selecting<'a, C> {
    selection: &'a Selection,
    start_ns: u64,
    next: C,
    tally: Tally,
}

/// What a selection did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls passed on.
    pub taken: u64,
    /// Calls left out.
    pub left_out: u64,
    /// Of those, calls for which the expression has no answer.
    pub unanswerable: u64,
}

impl<'a, C: Calls> Selecting<'a, C> {
    /// Passes on to `next`.
    pub fn new(selection: &'a Selection, next: C) -> Selecting<'a, C> {
        Selecting {
            selection,
            start_ns: 0,
            next,
            tally: Tally::default(),
        }
    }

    /// What was taken, and where it went.
    pub fn into_parts(self) -> (Tally, C) {
        (self.tally, self.next)
    }

    fn takes(&mut self, exchange: &Exchange) -> bool {
        let half = exchange.request.as_ref().or(exchange.response.as_ref());
        let at_ns = half.map_or(0, |half| half.mark.at_ns);
        if !self.selection.is_in_time(at_ns, self.start_ns) {
            return false;
        }
        if self.selection.sample.is_none() && self.selection.filter.is_none() {
            return true;
        }
        let listing = Listing::of(exchange);
        if self
            .selection
            .sample
            .is_some_and(|part| !part.takes(&listing))
        {
            return false;
        }
        match &self.selection.filter {
            None => true,
            Some(filter) => filter.is_true_of(&listing).unwrap_or_else(|Unanswerable| {
                self.tally.unanswerable += 1;
                false
            }),
        }
    }
}

impl<C: Calls> Calls for Selecting<'_, C> {
    fn start(&mut self, start_ns: u64) {
        self.start_ns = start_ns;
        self.next.start(start_ns);
    }

    fn call(&mut self, mut call: Call) {
        let is_there = match self.selection.hop {
            Some(hop) => call.put_first(|exchange| exchange.hop == hop),
            None => true,
        };
        if is_there && self.takes(call.exchange()) {
            self.tally.taken += 1;
            self.next.call(call);
        } else {
            self.tally.left_out += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        #[track_caller]
        fn check(text: &str, expect: Result<Moment, BadMoment>) {
            assert_eq!(text.parse(), expect, "{text}");
        }
        check("+1.5s", Ok(Moment::SinceStart(1_500_000_000)));
        check("+2m", Ok(Moment::SinceStart(120_000_000_000)));
        check("1970-01-01T00:00:01Z", Ok(Moment::Absolute(1_000_000_000)));
        check(
            "1970-01-01T01:00:01+01:00",
            Ok(Moment::Absolute(1_000_000_000)),
        );
        for wrong in ["", "+", "1.5", "yesterday", "+-1s", "1969-01-01T00:00:00Z"] {
            check(wrong, Err(BadMoment));
        }
    }

    #[test]
    fn samples() {
        let part = |text: &str| text.parse::<Sample>();
        assert_eq!(part("100%"), Ok(Sample { upto: u64::MAX }));
        assert_eq!(part("25%"), part("0.25"));
        for wrong in ["", "0", "1.01", "101%", "-0.1", "NaN", "some"] {
            assert_eq!(part(wrong), Err(BadSample), "{wrong}");
        }
    }

    #[track_caller]
    fn check(text: &str, why: &str, at: usize, help: &str) {
        let bad = Where::compile(text).expect_err("it cannot be compiled");
        assert!(bad.why.contains(why), "{}", bad.why);
        assert_eq!(bad.at.offset(), at, "{bad:?}");
        assert!(bad.help.contains(help), "{}", bad.help);
    }

    #[test]
    fn wrong_expressions_are_told_with_their_place() {
        check(
            "servce == 'x'",
            "no field `servce`",
            0,
            "did you mean `service`?",
        );
        check(
            "late && hopp == 'app'",
            "no field `hopp`",
            8,
            "did you mean `hop`?",
        );
        check(
            "late && xyzzy",
            "no field `xyzzy`",
            8,
            "the fields are flow,",
        );
        check("late &&", "", 6, "write CEL");
        check("late == ) 1", "", 8, "write CEL");
        check(
            &"(".repeat(5000),
            "longer than 4096 bytes",
            4096,
            "write CEL",
        );
    }
}
