//! Packets of a pod whose app is asked by heartbeats, read for the moments that only they tell.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use meshproof_replay::packet::{Flags, Segment, Seq};
use meshproof_wire::Kind;
use meshproof_wire::decoder::{Decoded, Decoder, Detail, Limits, Start};

/// Heartbeats that are remembered; of more, the oldest go.
const BEATS_MAX: usize = 10_000;

/// Connections that are followed at a time.
const CONNECTIONS_MAX: usize = 1_000;

/// What a message to the config center begins with when a pod is taken off it.
const DEREGISTER: &[u8] = b"POST /v1/deregister ";

/// One heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// When it passed, in nanoseconds since the Unix epoch.
    pub sent_ns: u64,
    /// When the sidecar had all bytes of its answer: when it acknowledged them.
    pub answered_ns: Option<u64>,
}

/// Both directions of one connection to the app.
struct Connection {
    asks: Way,
    answers: Way,
    /// Heartbeats without an answer, by id: their place among all.
    open: BTreeMap<u64, u64>,
    /// Answers that were not acknowledged: where they end, and which heartbeat they answer.
    unheard: Vec<(Seq, u64)>,
}

/// One direction.
struct Way {
    decoder: Decoder<u64>,
    /// What comes next; none: nothing came yet.
    next: Option<Seq>,
}

impl Way {
    fn new() -> Way {
        Way {
            decoder: Decoder::new(Start::Beginning, Detail::Heads, Limits::USUAL),
            next: None,
        }
    }

    /// Feeds what was not seen before: a segment that is sent again says nothing new.
    fn feed(&mut self, at_ns: u64, segment: &Segment, payload: &[u8]) -> Vec<Decoded<u64>> {
        let mut found = Vec::new();
        let next = *self.next.get_or_insert(segment.seq);
        let old = next.since(segment.seq);
        // A hole is what the capture lost; nobody can say what was in it.
        let fresh = match usize::try_from(old) {
            Ok(old) => payload.get(old..).unwrap_or_default(),
            Err(_) => {
                let gap = u64::from(old.unsigned_abs());
                self.decoder.gap(gap, &mut |decoded| found.push(decoded));
                payload
            }
        };
        if !fresh.is_empty() {
            self.decoder
                .feed(at_ns, fresh, &mut |decoded| found.push(decoded));
            self.next = Some(end(segment, payload));
        }
        found
    }
}

/// The number behind a segment's last byte.
fn end(segment: &Segment, payload: &[u8]) -> Seq {
    // A segment is shorter than 64 KiB.
    Seq(segment.seq.0.wrapping_add(payload.len() as u32))
}

/// What has passed so far.
pub struct Watched {
    app_port: u16,
    center: SocketAddr,
    connections: BTreeMap<(SocketAddr, SocketAddr), Connection>,
    beats: BTreeMap<u64, Beat>,
    last: u64,
    deregistered: Vec<u64>,
    closed: Vec<u64>,
}

impl Watched {
    /// Of a pod whose app serves its sidecar on this port, and whose config center is there.
    pub fn new(app_port: u16, center: SocketAddr) -> Watched {
        Watched {
            app_port,
            center,
            connections: BTreeMap::new(),
            beats: BTreeMap::new(),
            last: 0,
            deregistered: Vec::new(),
            closed: Vec::new(),
        }
    }

    /// Takes one segment that passed at this time, in nanoseconds since the Unix epoch.
    pub fn take(&mut self, at_ns: u64, segment: &Segment, payload: &[u8]) {
        if segment.dst == self.center && payload.starts_with(DEREGISTER) {
            self.deregistered.push(at_ns);
        } else if segment.dst.port() == self.app_port {
            self.asks(at_ns, segment, payload);
        } else if segment.src.port() == self.app_port {
            self.answers(at_ns, segment, payload);
        }
    }

    fn asks(&mut self, at_ns: u64, segment: &Segment, payload: &[u8]) {
        let key = (segment.src, segment.dst);
        if segment.flags.has(Flags::FIN) || segment.flags.has(Flags::RST) {
            self.closed.push(at_ns);
        }
        if segment.flags.has(Flags::SYN) || segment.flags.has(Flags::RST) {
            self.connections.remove(&key);
            return;
        }
        if !self.connections.contains_key(&key) && self.connections.len() >= CONNECTIONS_MAX {
            self.connections.pop_first();
        }
        let connection = self.connections.entry(key).or_insert_with(|| Connection {
            asks: Way::new(),
            answers: Way::new(),
            open: BTreeMap::new(),
            unheard: Vec::new(),
        });
        if segment.flags.has(Flags::ACK) {
            let beats = &mut self.beats;
            connection.unheard.retain(|(end, beat)| {
                let heard = segment.ack.since(*end) >= 0;
                if heard && let Some(beat) = beats.get_mut(beat) {
                    beat.answered_ns.get_or_insert(at_ns);
                }
                !heard
            });
        }
        for decoded in connection.asks.feed(at_ns, segment, payload) {
            if decoded.head.kind == Kind::Heartbeat {
                self.last += 1;
                let beat = Beat {
                    sent_ns: decoded.first,
                    answered_ns: None,
                };
                self.beats.insert(self.last, beat);
                connection.open.insert(decoded.head.id.0, self.last);
            }
        }
        if self.beats.len() > BEATS_MAX {
            self.beats.pop_first();
        }
    }

    fn answers(&mut self, at_ns: u64, segment: &Segment, payload: &[u8]) {
        let Some(connection) = self.connections.get_mut(&(segment.dst, segment.src)) else {
            return;
        };
        let found = connection.answers.feed(at_ns, segment, payload);
        for decoded in found {
            if let Some(beat) = connection.open.remove(&decoded.head.id.0) {
                connection.unheard.push((end(segment, payload), beat));
            }
        }
    }

    /// Heartbeats in the order in which they were sent.
    pub fn beats(&self) -> impl DoubleEndedIterator<Item = &Beat> {
        self.beats.values()
    }

    /// The last heartbeat that was answered before this moment.
    pub fn last_answered(&self, before_ns: u64) -> Option<Beat> {
        let heard = |beat: &&Beat| beat.answered_ns.is_some_and(|at| at <= before_ns);
        self.beats().rev().find(heard).copied()
    }

    /// The first heartbeat that was answered at this moment or later.
    pub fn first_answer(&self, from_ns: u64) -> Option<Beat> {
        let heard = |beat: &&Beat| beat.answered_ns.is_some_and(|at| at >= from_ns);
        self.beats().find(heard).copied()
    }

    /// When the sidecar first closed or reset a connection to its app, at this moment or later.
    pub fn closed(&self, from_ns: u64) -> Option<u64> {
        self.closed.iter().copied().find(|at| *at >= from_ns)
    }

    /// When the first message that takes the pod off the config center left, at this moment or
    /// later.
    pub fn deregistered(&self, from_ns: u64) -> Option<u64> {
        self.deregistered.iter().copied().find(|at| *at >= from_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: &str = "127.0.0.1:12199";
    const SIDECAR: &str = "127.0.0.1:40000";

    /// Heads of BOLT v1 without a body: 22 bytes of a heartbeat that asks, 20 of one that answers.
    fn frame(asks: bool, id: u8) -> Vec<u8> {
        let kind = u8::from(asks);
        let mut frame = vec![1, kind, 0, 0, 1, 0, 0, 0, id, 1];
        frame.resize(if asks { 22 } else { 20 }, 0);
        frame
    }

    struct Rig {
        watched: Watched,
        now_ns: u64,
    }

    impl Rig {
        fn new() -> Rig {
            let center = "10.99.0.2:9600".parse().unwrap();
            Rig {
                watched: Watched::new(12199, center),
                now_ns: 0,
            }
        }

        /// One segment, a millisecond after the one before.
        fn segment(&mut self, from: &str, to: &str, seq: u32, ack: u32, payload: &[u8]) {
            self.now_ns += 1_000_000;
            let segment = Segment {
                src: from.parse().unwrap(),
                dst: to.parse().unwrap(),
                seq: Seq(seq),
                ack: Seq(ack),
                flags: Flags(Flags::ACK),
                window: 1000,
                ip_at: 14,
                tcp_at: 34,
                options: 54..54,
                payload: 54..54 + payload.len(),
                payload_len: payload.len() as u32,
            };
            self.watched.take(self.now_ns, &segment, payload);
        }

        fn asks(&mut self, seq: u32, ack: u32, payload: &[u8]) {
            self.segment(SIDECAR, APP, seq, ack, payload);
        }

        fn answers(&mut self, seq: u32, ack: u32, payload: &[u8]) {
            self.segment(APP, SIDECAR, seq, ack, payload);
        }
    }

    #[test]
    fn an_answer_counts_when_it_is_acknowledged() {
        let mut rig = Rig::new();
        rig.asks(100, 500, &frame(true, 1));
        rig.answers(500, 122, &frame(false, 1));
        assert_eq!(rig.watched.last_answered(u64::MAX), None);
        // The next heartbeat carries the acknowledgement.
        rig.asks(122, 520, &frame(true, 2));
        let first = Beat {
            sent_ns: 1_000_000,
            answered_ns: Some(3_000_000),
        };
        assert_eq!(rig.watched.last_answered(3_000_000), Some(first));
        assert_eq!(rig.watched.last_answered(2_999_999), None);
        // The answer passes, is dropped behind where we look, and is sent again: acknowledged once.
        rig.answers(520, 144, &frame(false, 2));
        rig.answers(520, 144, &frame(false, 2));
        assert_eq!(rig.watched.last_answered(u64::MAX), Some(first));
        rig.asks(144, 540, b"");
        let second = Beat {
            sent_ns: 3_000_000,
            answered_ns: Some(6_000_000),
        };
        assert_eq!(rig.watched.first_answer(4_000_000), Some(second));
        assert_eq!(rig.watched.beats().count(), 2);
    }

    #[test]
    fn a_heartbeat_that_is_sent_again_is_one() {
        let mut rig = Rig::new();
        rig.asks(100, 500, &frame(true, 1));
        rig.asks(100, 500, &frame(true, 1));
        // Half of it with the next: only what is new is read.
        let mut both = frame(true, 1)[11..].to_vec();
        both.extend(frame(true, 2));
        rig.asks(111, 500, &both);
        assert_eq!(rig.watched.beats().count(), 2);
    }

    #[test]
    fn the_message_to_the_config_center_is_seen() {
        let mut rig = Rig::new();
        let says = |rig: &mut Rig, text: &str| {
            rig.segment("10.99.0.5:41000", "10.99.0.2:9600", 1, 1, text.as_bytes());
        };
        says(&mut rig, "POST /v1/renew HTTP/1.1\r\n");
        assert_eq!(rig.watched.deregistered(0), None);
        says(&mut rig, "POST /v1/deregister HTTP/1.1\r\n");
        assert_eq!(rig.watched.deregistered(0), Some(2_000_000));
        assert_eq!(rig.watched.deregistered(2_000_001), None);
    }
}
