//! Measures with their units, and the limits that they are held to.
//!
//! A number without a unit and a limit with one are never compared: `0.2` is no answer to
//! `<250ms`. A unit comes from the text (`240ms`), from the end of the value's name (`p99_ms`), or
//! from the rule.

use std::cmp::Ordering;
use std::fmt;

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// Things; no unit.
    Count,
    /// Time, in nanoseconds.
    Time,
    /// Bytes.
    Bytes,
    /// Parts of a hundred.
    Percent,
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dimension::Count => "a number without a unit",
            Dimension::Time => "a time",
            Dimension::Bytes => "a number of bytes",
            Dimension::Percent => "a percentage",
        })
    }
}

/// Units as they are written, what they count and how much of its base unit they are.
const UNITS: [(&str, Dimension, f64); 12] = [
    ("ns", Dimension::Time, 1.0),
    ("us", Dimension::Time, 1e3),
    ("ms", Dimension::Time, 1e6),
    ("s", Dimension::Time, 1e9),
    ("m", Dimension::Time, 60e9),
    ("h", Dimension::Time, 3_600e9),
    ("d", Dimension::Time, 86_400e9),
    ("B", Dimension::Bytes, 1.0),
    ("KiB", Dimension::Bytes, 1024.0),
    ("MiB", Dimension::Bytes, 1_048_576.0),
    ("GiB", Dimension::Bytes, 1_073_741_824.0),
    ("%", Dimension::Percent, 1.0),
];

/// Ends of names that say a unit.
const SUFFIXES: [(&str, &str); 9] = [
    ("_ns", "ns"),
    ("_us", "us"),
    ("_ms", "ms"),
    ("_s", "s"),
    ("_seconds", "s"),
    ("_bytes", "B"),
    ("_percent", "%"),
    (".percent", "%"),
    ("_pct", "%"),
];

/// A unit: what it counts, and how much of the base unit it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unit {
    word: &'static str,
    /// What it counts.
    pub dimension: Dimension,
    factor: f64,
}

impl Unit {
    /// No unit.
    pub const NONE: Unit = Unit {
        word: "",
        dimension: Dimension::Count,
        factor: 1.0,
    };

    /// The unit of this word: `ms`, `MiB`, `%`.
    pub fn of_word(word: &str) -> Option<Unit> {
        UNITS
            .into_iter()
            .find(|(known, ..)| *known == word)
            .map(|(word, dimension, factor)| Unit {
                word,
                dimension,
                factor,
            })
    }

    /// The unit that the end of a name says: `latency.p99_ms`.
    pub fn of_name(name: &str) -> Unit {
        let found = SUFFIXES.iter().find(|(suffix, _)| name.ends_with(suffix));
        let whole = (name == "percent").then_some("%");
        found
            .map(|(_, word)| *word)
            .or(whole)
            .and_then(Unit::of_word)
            .unwrap_or(Unit::NONE)
    }

    /// Every word that is a unit.
    pub fn words() -> Vec<&'static str> {
        UNITS.iter().map(|(word, ..)| *word).collect()
    }
}

/// A number with its unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measure {
    /// As it is written, in [`Measure::unit`].
    pub number: f64,
    /// Its unit.
    pub unit: Unit,
}

impl Measure {
    /// A finite number; `None` for another.
    pub fn new(number: f64, unit: Unit) -> Option<Measure> {
        number.is_finite().then_some(Measure { number, unit })
    }

    /// Reads `240`, `240ms`, `-3.5 %`.
    pub fn parse(text: &str) -> Option<Measure> {
        let text = text.trim();
        let digits = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | '_');
        let unit_at = text.find(|c| !digits(c)).unwrap_or(text.len());
        let (number, unit) = text.split_at(unit_at);
        let plain: String = number.chars().filter(|c| *c != '_').collect();
        let unit = match unit.trim() {
            "" => Unit::NONE,
            word => Unit::of_word(word)?,
        };
        if !plain.ends_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        Measure::new(plain.parse().ok()?, unit)
    }

    /// In the base unit of its dimension.
    fn base(self) -> f64 {
        self.number * self.unit.factor
    }

    /// A time in whole milliseconds, at most 100 years; `None` for what is no time.
    pub fn millis(self) -> Option<u64> {
        const MS_MAX: f64 = 100.0 * 366.0 * 86_400_000.0;
        let ms = self.base() / 1e6;
        let is_time = self.unit.dimension == Dimension::Time;
        // Within 2^53, so that nothing is lost.
        (is_time && (0.0..=MS_MAX).contains(&ms)).then_some(ms as u64)
    }

    /// How two of one dimension stand to each other; `None` where they cannot be compared.
    pub fn compare(self, other: Measure) -> Option<Ordering> {
        if self.unit.dimension != other.unit.dimension {
            return None;
        }
        // Sums and products of binary fractions are off by a little.
        let (own, other) = (self.base(), other.base());
        let within = 1e-9 * own.abs().max(other.abs());
        if (own - other).abs() <= within {
            return Some(Ordering::Equal);
        }
        own.partial_cmp(&other)
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounded = (self.number * 1_000.0).round() / 1_000.0;
        // What rounding would hide is shown whole.
        let shown = if rounded == 0.0 && self.number != 0.0 {
            self.number
        } else {
            rounded
        };
        write!(f, "{shown}{}", self.unit.word)
    }
}

/// How a value must stand to its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
    /// `==`
    Equal,
}

impl Comparison {
    /// Whether it holds for a value that stands so to its bound.
    pub fn holds(self, ordering: Ordering) -> bool {
        match self {
            Comparison::Less => ordering.is_lt(),
            Comparison::AtMost => ordering.is_le(),
            Comparison::Greater => ordering.is_gt(),
            Comparison::AtLeast => ordering.is_ge(),
            Comparison::Equal => ordering.is_eq(),
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Comparison::Less => "<",
            Comparison::AtMost => "<=",
            Comparison::Greater => ">",
            Comparison::AtLeast => ">=",
            Comparison::Equal => "==",
        }
    }
}

/// What a value is held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// A value: `<250ms`.
    Absolute(Measure),
    /// The baseline and a part of it: `<=+10%`; the part is signed.
    Relative(f64),
    /// The baseline and a difference: `<=+5ms`.
    Offset(Measure),
}

/// A comparison and its bound: `<=+10%`, `<250ms`. A bound with a sign is relative to the
/// baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// How.
    pub comparison: Comparison,
    /// Against what.
    pub bound: Bound,
}

impl Limit {
    /// A limit against a value.
    pub fn absolute(comparison: Comparison, bound: Measure) -> Limit {
        Limit {
            comparison,
            bound: Bound::Absolute(bound),
        }
    }

    /// Reads `<=+10%`, `>= 80%`, `<250ms`, `==0`.
    pub fn parse(text: &str) -> Option<Limit> {
        let text = text.trim();
        let signs = [
            ("<=", Comparison::AtMost),
            (">=", Comparison::AtLeast),
            ("==", Comparison::Equal),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        let (rest, comparison) = signs
            .into_iter()
            .find_map(|(sign, comparison)| Some((text.strip_prefix(sign)?, comparison)))?;
        let rest = rest.trim();
        let measure = Measure::parse(rest)?;
        let bound = match measure.unit.dimension {
            _ if !rest.starts_with(['+', '-']) => Bound::Absolute(measure),
            Dimension::Percent => Bound::Relative(measure.number / 100.0),
            _ => Bound::Offset(measure),
        };
        Some(Limit { comparison, bound })
    }

    /// Whether a baseline is needed.
    pub fn is_relative(&self) -> bool {
        !matches!(self.bound, Bound::Absolute(_))
    }

    /// The value that is the bound. `None` where there is none: no baseline, one that is not
    /// above zero (a part of it would say nothing), or one of another dimension.
    pub fn bound(&self, baseline: Option<Measure>) -> Option<Measure> {
        match self.bound {
            Bound::Absolute(bound) => Some(bound),
            Bound::Relative(part) => {
                let baseline = baseline.filter(|it| it.number > 0.0)?;
                Measure::new(baseline.number * (1.0 + part), baseline.unit)
            }
            Bound::Offset(by) => {
                let baseline = baseline?;
                if baseline.unit.dimension != by.unit.dimension {
                    return None;
                }
                let number = (baseline.base() + by.base()) / baseline.unit.factor;
                Measure::new(number, baseline.unit)
            }
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = self.comparison.sign();
        match self.bound {
            Bound::Absolute(bound) => write!(f, "{sign} {bound}"),
            Bound::Relative(part) => {
                let percent = (part * 100_000.0).round() / 1_000.0;
                write!(f, "{sign} baseline {percent:+}%")
            }
            Bound::Offset(by) if by.number < 0.0 => write!(f, "{sign} baseline {by}"),
            Bound::Offset(by) => write!(f, "{sign} baseline +{by}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(limit: &str, baseline: Option<&str>, value: &str, holds: Option<bool>) {
        let read = Limit::parse(limit).unwrap_or_else(|| panic!("{limit} is a limit"));
        let baseline = baseline.map(|text| Measure::parse(text).expect("a measure"));
        let value = Measure::parse(value).expect("a measure");
        let seen = read
            .bound(baseline)
            .and_then(|bound| value.compare(bound))
            .map(|ordering| read.comparison.holds(ordering));
        assert_eq!(seen, holds, "{value} {limit}, baseline {baseline:?}");
    }

    #[test]
    fn values_are_held_to_limits() {
        check("<250ms", None, "249ms", Some(true));
        check("<250ms", None, "250ms", Some(false));
        check("<250ms", None, "0.2s", Some(true));
        check("<=250ms", None, "250ms", Some(true));
        check(">= 80%", None, "79.9%", Some(false));
        check("==0", None, "0", Some(true));
        check("<1MiB", None, "1048575B", Some(true));
    }

    #[test]
    fn a_part_of_the_baseline_needs_one() {
        check("<=+10%", Some("100ms"), "110ms", Some(true));
        check("<=+10%", Some("100ms"), "110.1ms", Some(false));
        check("<=+10%", Some("0.1s"), "110ms", Some(true));
        check(">=-5%", Some("1000"), "950", Some(true));
        check(">=-5%", Some("1000"), "949", Some(false));
        check("<=+5ms", Some("1s"), "1005ms", Some(true));
        check("<=+5ms", Some("1s"), "1006ms", Some(false));
        check("<=+10%", None, "1ms", None);
        check("<=+10%", Some("0ms"), "0ms", None);
        check("<=+5ms", Some("7"), "7", None);
    }

    #[test]
    fn units_that_do_not_fit_are_not_compared() {
        check("<250ms", None, "0.2", None);
        check("<250", None, "3ms", None);
        check("<250ms", None, "3%", None);
        check("<=+10%", Some("100ms"), "100", None);
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        for text in [
            "",
            "250ms",
            "=<3",
            "<",
            "<ms",
            "<3 parsecs",
            "<1e5",
            "< nan",
            "<-",
            "<3ms ms",
        ] {
            assert_eq!(Limit::parse(text), None, "{text}");
        }
    }
}
