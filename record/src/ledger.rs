//! The account of a capture and of a replay: every unit in exactly one named bucket.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One sum of a ledger: what there is, and the buckets that it went to.
///
/// A sum that does not close is a bug of ours, and fails the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// The left side, by name: `sent`, `packets.total`.
    pub name: &'static str,
    /// The left side.
    pub total: u64,
    /// The right side, by name and number.
    pub parts: Vec<(&'static str, u64)>,
}

impl Sum {
    /// Whether both sides are equal.
    pub fn closes(&self) -> bool {
        // In 128 bits, as a hostile record may hold any number.
        self.parts.iter().map(|(_, n)| u128::from(*n)).sum::<u128>() == u128::from(self.total)
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.closes() { '=' } else { '≠' };
        write!(f, "{} {} {sign}", self.name, self.total)?;
        for (at, (name, n)) in self.parts.iter().enumerate() {
            write!(f, "{} {name} {n}", if at == 0 { "" } else { " +" })?;
        }
        Ok(())
    }
}

/// What became of a capture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureLedger {
    /// Packets.
    pub packets: Packets,
    /// TCP payload bytes that the capture holds.
    pub bytes: Bytes,
    /// Frames.
    pub frames: Frames,
    /// Bytes that streams lack: the first [`CaptureLedger::GAPS_MAX`] in the order found.
    pub gaps: Vec<Gap>,
    /// Things worth telling that are in no sum, by name: `conflicting-overlap`, `bad-crc`,
    /// `flow-limit`, …
    pub findings: BTreeMap<String, u64>,
}

impl CaptureLedger {
    /// How many gaps are listed one by one; those beyond are the finding `gaps-not-listed`.
    pub const GAPS_MAX: usize = 10_000;

    /// The sums: packets, bytes, frames.
    pub fn sums(&self) -> [Sum; 3] {
        let (packets, bytes, frames) = (&self.packets, &self.bytes, &self.frames);
        [
            Sum {
                name: "packets.total",
                total: packets.total,
                parts: vec![
                    ("tcp", packets.tcp),
                    ("non_tcp", packets.non_tcp),
                    ("fragment", packets.fragment),
                    ("malformed", packets.malformed),
                ],
            },
            Sum {
                name: "bytes.payload",
                total: bytes.payload,
                parts: vec![
                    ("framed", bytes.framed),
                    ("duplicate", bytes.duplicate),
                    ("skipped", bytes.skipped),
                    ("incomplete", bytes.incomplete),
                    ("foreign", bytes.foreign),
                    ("dropped", bytes.dropped),
                ],
            },
            Sum {
                name: "frames.total",
                total: frames.total,
                parts: vec![
                    ("requests", frames.requests),
                    ("oneways", frames.oneways),
                    ("responses", frames.responses),
                    ("heartbeats", frames.heartbeats),
                    ("goaways", frames.goaways),
                    ("unknown", frames.unknown),
                ],
            },
        ]
    }

    /// Whether every sum closes.
    ///
    /// # Errors
    /// The first sum that does not.
    pub fn check(&self) -> Result<(), Sum> {
        match self.sums().into_iter().find(|sum| !sum.closes()) {
            Some(open) => Err(open),
            None => Ok(()),
        }
    }

    /// Adds to the count of a finding.
    pub fn find(&mut self, name: &str, times: u64) {
        if times > 0 {
            match self.findings.get_mut(name) {
                Some(count) => *count += times,
                None => {
                    self.findings.insert(name.to_owned(), times);
                }
            }
        }
    }
}

/// `total = tcp + non_tcp + fragment + malformed`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packets {
    /// All packets read.
    pub total: u64,
    /// TCP segments.
    pub tcp: u64,
    /// Everything else that is whole.
    pub non_tcp: u64,
    /// IP fragments.
    pub fragment: u64,
    /// Headers that contradict themselves or are cut short.
    pub malformed: u64,
    /// A flag beside the sum: packets that the snaplen cut.
    pub truncated: u64,
}

/// `payload = framed + duplicate + skipped + incomplete + foreign + dropped`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes {
    /// All TCP payload bytes captured.
    pub payload: u64,
    /// In whole frames.
    pub framed: u64,
    /// Seen before: retransmissions, overlaps, keep-alive probes.
    pub duplicate: u64,
    /// Passed over while looking for a frame.
    pub skipped: u64,
    /// In frames that were begun and not ended.
    pub incomplete: u64,
    /// In streams of no known protocol.
    pub foreign: u64,
    /// Let go at a limit.
    pub dropped: u64,
}

/// `total = requests + oneways + responses + heartbeats + goaways + unknown`, whole frames only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frames {
    /// All whole frames.
    pub total: u64,
    /// Requests that expect a response.
    pub requests: u64,
    /// Requests that expect none.
    pub oneways: u64,
    /// Responses.
    pub responses: u64,
    /// Heartbeats, both directions.
    pub heartbeats: u64,
    /// Goaways.
    pub goaways: u64,
    /// Frames of an unknown command.
    pub unknown: u64,
    /// Beside the sum: frames begun and not ended.
    pub cut: u64,
}

/// A run of bytes that a stream lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// `opener>acceptor`.
    pub flow: String,
    /// `to-acceptor` or `to-opener`.
    pub direction: String,
    /// Stream offset of the first missing byte.
    pub offset: u64,
    /// How many bytes are missing.
    pub length: u64,
    /// `acked`, `limit`, `snaplen`, `end-of-capture`.
    pub reason: String,
}

/// What became of a replay's exchanges.
///
/// `recorded = sent + refused + Σ skipped` · `sent = oneway + answered + timed_out + Σ lost` ·
/// `answered = compared + not_comparable`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayLedger {
    /// Exchanges of the capture that were looked at.
    pub recorded: u64,
    /// Requests written to a connection.
    pub sent: u64,
    /// Requests that the guard refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Requests left out on purpose: `heartbeat`, `server_request`, `cut`, `filtered`,
    /// `duplicate_hop`, `mesh_api`, and `interrupted` and `unreachable`, which are no choice.
    pub skipped: BTreeMap<String, u64>,
    /// Sent, and no answer is expected.
    pub oneway: u64,
    /// Sent and answered.
    pub answered: u64,
    /// Sent, and not answered in time.
    pub timed_out: u64,
    /// Sent, and the connection went: `reset`, `closed`.
    pub lost: BTreeMap<String, u64>,
    /// Answered and compared with what was recorded.
    pub compared: u64,
    /// Answered, and the capture holds nothing to compare with.
    pub not_comparable: u64,
    /// Apart: answers after the time-out.
    pub late: u64,
    /// Apart: answers that nobody asked for; more than 0 is a FAIL.
    pub surplus: u64,
    /// What was said to the application API of a sidecar; left out where the captures hold none
    /// of it. Its `recorded` is the bucket `mesh_api` of `skipped`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh_api: Option<MeshApiLedger>,
}

/// `recorded = succeeded + failed + left_out`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshApiLedger {
    /// Exchanges with the application API that were looked at.
    pub recorded: u64,
    /// Made again, and answered as recorded.
    pub succeeded: u64,
    /// Made again, and not answered as recorded.
    pub failed: u64,
    /// Not made again: publications and withdrawals, or no API was named.
    pub left_out: u64,
}

impl ReplayLedger {
    /// The sums: what was recorded, what was sent, what was answered; and where there is one, the
    /// two of the application API.
    pub fn sums(&self) -> Vec<Sum> {
        let mut sums = vec![
            Sum {
                name: "recorded",
                total: self.recorded,
                parts: vec![
                    ("sent", self.sent),
                    ("refused", total(&self.refused)),
                    ("skipped", total(&self.skipped)),
                ],
            },
            Sum {
                name: "sent",
                total: self.sent,
                parts: vec![
                    ("answered", self.answered),
                    ("oneway", self.oneway),
                    ("timed_out", self.timed_out),
                    ("lost", total(&self.lost)),
                ],
            },
            Sum {
                name: "answered",
                total: self.answered,
                parts: vec![
                    ("compared", self.compared),
                    ("not_comparable", self.not_comparable),
                ],
            },
        ];
        if let Some(api) = &self.mesh_api {
            let skipped = self.skipped.get("mesh_api").copied().unwrap_or(0);
            sums.push(Sum {
                name: "skipped.mesh_api",
                total: skipped,
                parts: vec![("mesh_api.recorded", api.recorded)],
            });
            sums.push(Sum {
                name: "mesh_api",
                total: api.recorded,
                parts: vec![
                    ("succeeded", api.succeeded),
                    ("failed", api.failed),
                    ("left_out", api.left_out),
                ],
            });
        }
        sums
    }

    /// The sums that do not close; empty when all do.
    pub fn check(&self) -> Vec<Sum> {
        self.sums()
            .into_iter()
            .filter(|sum| !sum.closes())
            .collect()
    }
}

/// Sum over named buckets, without overflow: a hostile record may hold any number.
fn total(buckets: &BTreeMap<String, u64>) -> u64 {
    buckets.values().fold(0, |sum, n| sum.saturating_add(*n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(ledger: &ReplayLedger, expect: &[&str]) {
        let told: Vec<String> = ledger.check().iter().map(ToString::to_string).collect();
        assert_eq!(told, expect);
    }

    fn closed() -> ReplayLedger {
        ReplayLedger {
            recorded: 12,
            sent: 9,
            refused: BTreeMap::from([("writes denied".into(), 1)]),
            skipped: BTreeMap::from([("heartbeat".into(), 1), ("cut".into(), 1)]),
            oneway: 2,
            answered: 5,
            timed_out: 1,
            lost: BTreeMap::from([("reset".into(), 1)]),
            compared: 4,
            not_comparable: 1,
            late: 3,
            surplus: 1,
            mesh_api: None,
        }
    }

    #[test]
    fn every_sum_is_checked() {
        check(&ReplayLedger::default(), &[]);
        check(&closed(), &[]);
        let mut one = closed();
        one.recorded = 13;
        check(&one, &["recorded 13 ≠ sent 9 + refused 1 + skipped 2"]);
        let mut one = closed();
        one.timed_out = 0;
        check(
            &one,
            &["sent 9 ≠ answered 5 + oneway 2 + timed_out 0 + lost 1"],
        );
        let mut one = closed();
        one.not_comparable = u64::MAX;
        check(
            &one,
            &["answered 5 ≠ compared 4 + not_comparable 18446744073709551615"],
        );
        let mut one = closed();
        one.skipped.insert("mesh_api".into(), 3);
        one.recorded += 3;
        one.mesh_api = Some(MeshApiLedger {
            recorded: 3,
            succeeded: 1,
            failed: 1,
            left_out: 1,
        });
        check(&one, &[]);
        one.mesh_api = Some(MeshApiLedger {
            recorded: 2,
            ..MeshApiLedger::default()
        });
        check(
            &one,
            &[
                "skipped.mesh_api 3 ≠ mesh_api.recorded 2",
                "mesh_api 2 ≠ succeeded 0 + failed 0 + left_out 0",
            ],
        );
    }
}

#[cfg(test)]
mod capture_tests {
    use super::*;

    #[track_caller]
    fn check(change: impl FnOnce(&mut CaptureLedger), expect: Option<&str>) {
        let mut ledger = CaptureLedger {
            packets: Packets {
                total: 10,
                tcp: 7,
                non_tcp: 1,
                fragment: 1,
                malformed: 1,
                truncated: 3,
            },
            bytes: Bytes {
                payload: 21,
                framed: 6,
                duplicate: 5,
                skipped: 4,
                incomplete: 3,
                foreign: 2,
                dropped: 1,
            },
            frames: Frames {
                total: 21,
                requests: 6,
                oneways: 5,
                responses: 4,
                heartbeats: 3,
                goaways: 2,
                unknown: 1,
                cut: 9,
            },
            ..CaptureLedger::default()
        };
        change(&mut ledger);
        let told = ledger.check().err().map(|sum| sum.to_string());
        assert_eq!(told.as_deref(), expect);
    }

    #[test]
    fn names_the_sum_that_does_not_close() {
        check(|_| {}, None);
        check(|l| l.packets.truncated = 0, None);
        check(|l| l.frames.cut = 0, None);
        check(
            |l| l.packets.fragment = 2,
            Some("packets.total 10 ≠ tcp 7 + non_tcp 1 + fragment 2 + malformed 1"),
        );
        check(
            |l| l.bytes.dropped = 0,
            Some(
                "bytes.payload 21 ≠ framed 6 + duplicate 5 + skipped 4 + incomplete 3 \
                 + foreign 2 + dropped 0",
            ),
        );
        check(
            |l| l.frames.total = 20,
            Some(
                "frames.total 20 ≠ requests 6 + oneways 5 + responses 4 + heartbeats 3 \
                 + goaways 2 + unknown 1",
            ),
        );
        check(
            |l| l.bytes.framed = u64::MAX,
            Some(
                "bytes.payload 21 ≠ framed 18446744073709551615 + duplicate 5 + skipped 4 \
                 + incomplete 3 + foreign 2 + dropped 1",
            ),
        );
    }
}
