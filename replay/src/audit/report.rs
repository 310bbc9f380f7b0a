//! What an audit found, weighed.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::needle::{Exempt, Kind, NEEDLES_MAX, Needles, What};
use super::odds::{CHANCE_FROM, Odds, probability};
use super::scan::Encoding;

/// Places kept of each needle in each encoding; all are counted.
pub const PLACES_MAX: usize = 5;
/// Different addresses of one network that are told apart in one encoding.
const VALUES_MAX: usize = 4096;

/// What an audit found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Version of this form.
    pub schema: u32,
    /// `FAIL` when something was found; else `INVALID` when not everything could be searched;
    /// else `PASS`.
    pub verdict: &'static str,
    /// What was not searched or not searched for, and why. A `PASS` has none.
    pub unsearched: Vec<String>,
    /// What was searched for.
    pub needles: Searched,
    /// What was found.
    pub findings: Vec<Found>,
    /// Hits in short binary or numeric forms that chance explains.
    pub chance: Vec<Found>,
    /// What was not searched for, or stands where a replacement holds it.
    pub exempt: Vec<Exempted>,
    /// What was looked at.
    pub scanned: Scanned,
}

impl Report {
    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

/// How many needles there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Searched {
    /// Rules of the map.
    pub map: u64,
    /// Of the original capture, beyond the map.
    pub original: u64,
    /// Left out at [`super::NEEDLES_MAX`].
    pub left_out: u64,
}

/// A needle that was found in one encoding.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// What.
    pub needle: String,
    /// What it is in the world.
    pub kind: Kind,
    /// Who says that it must not be there.
    pub origin: String,
    /// How it is written.
    pub encoding: Encoding,
    /// How often it stands there.
    pub count: u64,
    /// How many hits chance would give; 0 for forms that chance does not give.
    pub expected: f64,
    /// The first places.
    pub places: Vec<Place>,
}

/// Where something stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Place {
    /// What part of the capture: `stream`, `packet`, `header`, `file`.
    pub part: &'static str,
    /// 1-based packet number of the first byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packet: Option<u64>,
    /// The stream, as `opener>acceptor to-acceptor`; the block, within a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// Offset of the first byte: in the stream, in the packet, or in the file.
    pub offset: u64,
    /// The decoded field that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What stands around it, other characters as `.`.
    pub context: String,
}

/// A value that stands there by right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exempted {
    /// What it is.
    #[serde(flatten)]
    pub exempt: Exempt,
    /// How often it was seen; 0 for what was not searched for.
    pub count: u64,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Scanned {
    /// Packets.
    pub packets: u64,
    /// Bytes of packets.
    pub packet_bytes: u64,
    /// Bytes of reassembled streams.
    pub stream_bytes: u64,
    /// Frames that were decoded.
    pub frames: u64,
    /// Header values, strings, numbers and binaries of those.
    pub fields: u64,
    /// Bytes of file blocks that hold no packet.
    pub block_bytes: u64,
}

/// One hit on its way into the report.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) needle: u32,
    pub(super) encoding: Encoding,
    pub(super) certain: bool,
    pub(super) value: u128,
    pub(super) exempt: bool,
}

/// Counts hits.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    found: BTreeMap<(u32, Encoding, Sure), Tally>,
    exempt: BTreeMap<u32, u64>,
    pub(super) scanned: Scanned,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sure {
    Certain,
    Weighed,
}

#[derive(Debug, Default)]
struct Tally {
    count: u64,
    values: BTreeSet<u128>,
    places: Vec<Place>,
}

impl Tallies {
    pub(super) fn add(&mut self, mark: Mark, place: impl FnOnce() -> Place) {
        if mark.exempt {
            *self.exempt.entry(mark.needle).or_default() += 1;
            return;
        }
        let sure = match mark.certain {
            true => Sure::Certain,
            false => Sure::Weighed,
        };
        let tally = self
            .found
            .entry((mark.needle, mark.encoding, sure))
            .or_default();
        tally.count += 1;
        if tally.values.len() < VALUES_MAX {
            tally.values.insert(mark.value);
        }
        if tally.places.len() < PLACES_MAX {
            tally.places.push(place());
        }
    }

    /// Weighs what chance may have given and puts everything in order. `unsearched` is what is
    /// known already not to have been searched.
    pub(super) fn report(self, needles: &Needles, odds: &Odds, unsearched: Vec<String>) -> Report {
        let mut report = Report {
            schema: 1,
            scanned: self.scanned,
            ..Report::default()
        };
        for needle in &needles.list {
            match needle.origin {
                super::Origin::Map { .. } => report.needles.map += 1,
                super::Origin::Original { .. } => report.needles.original += 1,
            }
        }
        report.needles.left_out = needles.left_out as u64;
        for ((number, encoding, sure), tally) in self.found {
            let Some(needle) = needles.list.get(number as usize) else {
                continue;
            };
            let expected = match (&needle.what, sure) {
                (What::Network(network), Sure::Weighed) => odds.expected(network, encoding),
                _ => 0.0,
            };
            // A network that chance hits is hit at many of its addresses. The same one again and
            // again is often the same bytes sent again and again, and tells no more than once.
            let seen = match &needle.what {
                What::Network(network) if network.prefix_len() < network.max_prefix_len() => {
                    tally.values.len() as u64
                }
                _ => tally.count,
            };
            let by_chance = sure == Sure::Weighed && probability(seen, expected) >= CHANCE_FROM;
            let found = Found {
                needle: needle.what.to_string(),
                kind: needle.kind,
                origin: needle.origin.to_string(),
                encoding,
                count: tally.count,
                expected,
                places: tally.places,
            };
            match by_chance {
                true => report.chance.push(found),
                false => report.findings.push(found),
            }
        }
        report.exempt = needles
            .exempt
            .iter()
            .map(|exempt| Exempted {
                exempt: exempt.clone(),
                count: 0,
            })
            .collect();
        for (number, count) in self.exempt {
            if let Some(needle) = needles.list.get(number as usize) {
                report.exempt.push(Exempted {
                    exempt: Exempt {
                        needle: needle.what.to_string(),
                        kind: needle.kind,
                        why: "stands where a replacement holds it",
                    },
                    count,
                });
            }
        }
        report.unsearched = unsearched;
        report.judge();
        report
    }
}

impl Report {
    /// Finding nothing proves nothing where nothing was looked at or looked for.
    fn judge(&mut self) {
        let needles = &self.needles;
        if self.scanned.packets == 0 {
            self.unsearched
                .push("there was nothing to search in: the capture holds no packet".into());
        }
        if needles.map + needles.original == 0 {
            self.unsearched.push(
                "there was nothing to search for: no rule of the map and nothing of an original \
                 capture can be looked for"
                    .into(),
            );
        }
        if needles.left_out > 0 {
            self.unsearched.push(format!(
                "{} originals beyond the limit of {NEEDLES_MAX} were not searched for; audit with \
                 parts of the map",
                needles.left_out
            ));
        }
        self.verdict = match (self.findings.is_empty(), self.unsearched.is_empty()) {
            (false, _) => "FAIL",
            (true, false) => "INVALID",
            (true, true) => "PASS",
        };
    }
}

/// What stands around a range, for people.
pub(super) fn context(bytes: &[u8], range: &std::ops::Range<usize>) -> String {
    const AROUND: usize = 16;
    const LONGEST: usize = 96;
    let from = range.start.saturating_sub(AROUND);
    let to = range
        .end
        .saturating_add(AROUND)
        .min(bytes.len())
        .min(from + LONGEST);
    bytes
        .get(from..to)
        .unwrap_or_default()
        .iter()
        .map(|byte| match byte {
            0x20..0x7f => char::from(*byte),
            _ => '.',
        })
        .collect()
}
