//! When requests are meant to be sent, and how late they may be.

use std::fmt;
use std::str::FromStr;

/// When requests are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Pace {
    /// As fast as a window of unanswered requests per connection allows, in recorded order per
    /// connection. There is no schedule, so nothing is claimed about latency.
    #[default]
    Window,
    /// All at once, without a window. There is no schedule to be late against, so nothing is
    /// claimed about latency.
    Max,
    /// As recorded, `factor` times as fast (more than 0).
    Recorded {
        /// 2.0 halves every interval.
        factor: f64,
    },
    /// Evenly spread, in recorded order.
    Rate {
        /// Requests per second over all connections (more than 0).
        per_second: f64,
    },
}

impl Pace {
    /// Whether requests have an intended time, so that latency can be claimed.
    pub fn has_schedule(self) -> bool {
        match self {
            Pace::Window | Pace::Max => false,
            Pace::Recorded { .. } | Pace::Rate { .. } => true,
        }
    }

    /// When the `nth` request (from 0), recorded `recorded_ns` after the first one, is meant to
    /// be sent: nanoseconds after the start. 0 where there is no schedule.
    pub fn intended_ns(self, nth: u64, recorded_ns: u64) -> u64 {
        // A product beyond u64 saturates: 584 years are as good as never.
        match self {
            Pace::Window | Pace::Max => 0,
            Pace::Recorded { factor: 1.0 } => recorded_ns,
            Pace::Recorded { factor } => (recorded_ns as f64 / factor) as u64,
            Pace::Rate { per_second } => (nth as f64 * 1e9 / per_second) as u64,
        }
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pace::Window => f.write_str("window"),
            Pace::Max => f.write_str("max"),
            Pace::Recorded { factor: 1.0 } => f.write_str("recorded"),
            Pace::Recorded { factor } => write!(f, "{factor}x"),
            Pace::Rate { per_second } => write!(f, "rate={per_second}/s"),
        }
    }
}

/// A pace, a lateness or a route that a person wrote cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is no {what}: expected {expected}")]
pub struct NotUnderstood {
    /// What was written.
    pub given: String,
    /// What it should have been.
    pub what: &'static str,
    /// How that is written.
    pub expected: &'static str,
}

impl FromStr for Pace {
    type Err = NotUnderstood;

    /// `window`, `recorded`, `2x`, `0.5x`, `max`, `rate=500/s`.
    fn from_str(text: &str) -> Result<Pace, NotUnderstood> {
        let wrong = || NotUnderstood {
            given: text.to_owned(),
            what: "pace",
            expected: "`window`, `recorded`, `2x`, `0.5x`, `max` or `rate=500/s`",
        };
        let positive = |number: &str| {
            number
                .parse::<f64>()
                .ok()
                .filter(|n| n.is_finite() && *n > 0.0)
                .ok_or_else(wrong)
        };
        match text {
            "window" => Ok(Pace::Window),
            "max" => Ok(Pace::Max),
            "recorded" => Ok(Pace::Recorded { factor: 1.0 }),
            _ => {
                if let Some(factor) = text.strip_suffix('x') {
                    Ok(Pace::Recorded {
                        factor: positive(factor)?,
                    })
                } else if let Some(rate) = text.strip_prefix("rate=") {
                    let per_second = positive(rate.strip_suffix("/s").unwrap_or(rate))?;
                    Ok(Pace::Rate { per_second })
                } else {
                    Err(wrong())
                }
            }
        }
    }
}

/// How late sends may be before nothing can be said about latency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatenessLimit {
    /// The 99th percentile of lateness may not exceed this.
    pub p99_ns: u64,
    /// A send that is later than this is late.
    pub late_ns: u64,
    /// At most this share of sends may be late; 0.01 is 1 %.
    pub share: f64,
}

impl Default for LatenessLimit {
    fn default() -> LatenessLimit {
        LatenessLimit {
            p99_ns: 10_000_000,
            late_ns: 50_000_000,
            share: 0.01,
        }
    }
}

impl LatenessLimit {
    /// Whether `late` of `sends` being late, with a 99th percentile of `p99_ns`, still allows a
    /// word on latency.
    pub fn holds(&self, p99_ns: u64, late: u64, sends: u64) -> bool {
        p99_ns <= self.p99_ns && late as f64 <= self.share * sends as f64
    }
}

impl FromStr for LatenessLimit {
    type Err = NotUnderstood;

    /// `p99=10ms,late=50ms,share=1%`, any of them left out.
    fn from_str(text: &str) -> Result<LatenessLimit, NotUnderstood> {
        let wrong = || NotUnderstood {
            given: text.to_owned(),
            what: "lateness limit",
            expected: "`p99=10ms,late=50ms,share=1%`, any of them left out",
        };
        let mut limit = LatenessLimit::default();
        for part in text.split(',') {
            let (key, value) = part.trim().split_once('=').ok_or_else(wrong)?;
            match key {
                "p99" => limit.p99_ns = duration_ns(value).ok_or_else(wrong)?,
                "late" => limit.late_ns = duration_ns(value).ok_or_else(wrong)?,
                "share" => {
                    let percent = value.strip_suffix('%').ok_or_else(wrong)?;
                    limit.share = percent
                        .parse::<f64>()
                        .ok()
                        .filter(|p| (0.0..=100.0).contains(p))
                        .ok_or_else(wrong)?
                        / 100.0;
                }
                _ => return Err(wrong()),
            }
        }
        Ok(limit)
    }
}

/// `250us`, `10ms`, `1.5s`, as nanoseconds.
pub fn duration_ns(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let unit = match unit {
        "ns" => 1.0,
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some((number * unit) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pace: &str, expected: &[u64]) {
        let pace: Pace = pace.parse().unwrap();
        let recorded = [0, 1_000_000, 1_000_000, 90_000_000];
        let got: Vec<u64> = (0..)
            .zip(recorded)
            .map(|(nth, at)| pace.intended_ns(nth, at))
            .collect();
        assert_eq!(got, expected, "{pace}");
        assert_eq!(pace.to_string().parse(), Ok(pace));
    }

    #[test]
    fn intended_times() {
        check("recorded", &[0, 1_000_000, 1_000_000, 90_000_000]);
        check("2x", &[0, 500_000, 500_000, 45_000_000]);
        check("0.5x", &[0, 2_000_000, 2_000_000, 180_000_000]);
        check("rate=500/s", &[0, 2_000_000, 4_000_000, 6_000_000]);
        check("max", &[0; 4]);
        check("window", &[0; 4]);
    }

    #[test]
    fn what_is_no_pace_is_said() {
        for text in [
            "", "fast", "x", "0x", "-1x", "infx", "NaNx", "rate=", "rate=0/s", "rate=-3",
        ] {
            let error = text.parse::<Pace>().unwrap_err();
            assert!(error.to_string().contains("expected `window`"), "{text}");
        }
    }

    #[test]
    fn lateness_limits() {
        let usual = LatenessLimit::default();
        assert_eq!("p99=10ms,late=50ms,share=1%".parse(), Ok(usual));
        assert_eq!(
            "late=1.5s".parse(),
            Ok(LatenessLimit {
                late_ns: 1_500_000_000,
                ..usual
            })
        );
        for text in [
            "",
            "p99",
            "p99=10",
            "p99=x",
            "share=1",
            "share=101%",
            "p50=1ms",
            "p99=-1ms",
        ] {
            assert!(text.parse::<LatenessLimit>().is_err(), "{text}");
        }
        assert!(usual.holds(10_000_000, 1, 100));
        assert!(!usual.holds(10_000_001, 0, 100));
        assert!(!usual.holds(0, 2, 100));
    }
}
