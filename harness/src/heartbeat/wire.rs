//! Packets of a pod whose app is asked by heartbeats, read for the moments that only they tell,
//! and for how far each call came.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use meshproof_replay::packet::{Flags, Segment, Seq};
use meshproof_wire::decoder::{Decoded, Decoder, Detail, Limits, Start};
use meshproof_wire::{Kind, sofarpc};
use serde::Serialize;

/// Heartbeats that are remembered; of more, the oldest go.
const BEATS_MAX: usize = 10_000;

/// Connections that are followed at a time.
const CONNECTIONS_MAX: usize = 1_000;

/// Calls that are followed; of more, nothing is known.
const CALLS_MAX: usize = 500_000;

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

/// One call on its way through the pod and back; times in nanoseconds since the Unix epoch. None:
/// it did not come so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passage {
    /// Its request came to the pod's port.
    pub entered_ns: Option<u64>,
    /// Its request passed to the app.
    pub asked_ns: Option<u64>,
    /// The sidecar had all bytes of the app's answer: it acknowledged them.
    pub heard_ns: Option<u64>,
    /// An answer left by the pod's port, the app's or one of the sidecar's own.
    pub left_ns: Option<u64>,
}

/// How the wire shows that a sidecar has left a connection to its app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leaving {
    /// It closed or reset it.
    Closed,
    /// It connects anew. Where a fault swallows acknowledgements, the end of the connection before
    /// waits behind bytes that are sent again and again (FIN-WAIT-1), and never passes.
    Connected,
}

/// Which leg a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leg {
    /// From elsewhere to the pod's port.
    Inbound,
    /// From the sidecar to its app.
    App,
}

/// What a request is.
#[derive(Clone, Debug)]
enum Asked {
    /// A heartbeat: its place among all.
    Beat(u64),
    /// A call: its trace id.
    Call(String),
}

/// Both directions of one connection.
struct Connection {
    leg: Leg,
    asks: Way,
    answers: Way,
    /// What has no answer, by id.
    open: BTreeMap<u64, Asked>,
    /// Answers that were not acknowledged: where they end, and what they answer.
    unheard: Vec<(Seq, Asked)>,
}

/// One direction.
struct Way {
    decoder: Decoder<u64>,
    /// What comes next; none: nothing came yet.
    next: Option<Seq>,
}

impl Way {
    fn new(detail: Detail) -> Way {
        Way {
            decoder: Decoder::new(Start::Beginning, detail, Limits::USUAL),
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
    inbound: SocketAddr,
    center: SocketAddr,
    connections: BTreeMap<(SocketAddr, SocketAddr), Connection>,
    beats: BTreeMap<u64, Beat>,
    last: u64,
    deregistered: Vec<u64>,
    /// When the sidecar left a connection to its app, and how.
    left: Vec<(u64, Leaving)>,
    passages: BTreeMap<String, Passage>,
    /// Calls that came to the pod and to which no answer has left: since when.
    inside: BTreeMap<String, u64>,
}

impl Watched {
    /// Of a pod that serves others at `inbound`, whose app serves its sidecar on this port, and
    /// whose config center is there.
    pub fn new(app_port: u16, inbound: SocketAddr, center: SocketAddr) -> Watched {
        Watched {
            app_port,
            inbound,
            center,
            connections: BTreeMap::new(),
            beats: BTreeMap::new(),
            last: 0,
            deregistered: Vec::new(),
            left: Vec::new(),
            passages: BTreeMap::new(),
            inside: BTreeMap::new(),
        }
    }

    /// Takes one segment that passed at this time, in nanoseconds since the Unix epoch.
    pub fn take(&mut self, at_ns: u64, segment: &Segment, payload: &[u8]) {
        if segment.dst == self.center && payload.starts_with(DEREGISTER) {
            self.deregistered.push(at_ns);
        } else if segment.dst.port() == self.app_port {
            let leaving = match segment.flags {
                flags if flags.has(Flags::FIN) || flags.has(Flags::RST) => Some(Leaving::Closed),
                flags if flags.has(Flags::SYN) => Some(Leaving::Connected),
                _ => None,
            };
            self.left.extend(leaving.map(|how| (at_ns, how)));
            self.asks(Leg::App, at_ns, segment, payload);
        } else if segment.src.port() == self.app_port {
            self.answers(at_ns, segment, payload);
        } else if segment.dst == self.inbound {
            self.asks(Leg::Inbound, at_ns, segment, payload);
        } else if segment.src == self.inbound {
            self.answers(at_ns, segment, payload);
        }
    }

    fn asks(&mut self, leg: Leg, at_ns: u64, segment: &Segment, payload: &[u8]) {
        let key = (segment.src, segment.dst);
        if segment.flags.has(Flags::SYN) || segment.flags.has(Flags::RST) {
            self.connections.remove(&key);
            return;
        }
        if !self.connections.contains_key(&key) {
            // Who looks whether a port is open says nothing, and does so a thousand times a second.
            if payload.is_empty() {
                return;
            }
            if self.connections.len() >= CONNECTIONS_MAX {
                self.connections.pop_first();
            }
        }
        let connection = self.connections.entry(key).or_insert_with(|| Connection {
            leg,
            asks: Way::new(Detail::Frames),
            answers: Way::new(Detail::Heads),
            open: BTreeMap::new(),
            unheard: Vec::new(),
        });
        if segment.flags.has(Flags::ACK) {
            let (beats, passages) = (&mut self.beats, &mut self.passages);
            connection.unheard.retain(|(end, asked)| {
                let heard = segment.ack.since(*end) >= 0;
                if heard {
                    let at = match asked {
                        Asked::Beat(beat) => beats.get_mut(beat).map(|it| &mut it.answered_ns),
                        Asked::Call(call) => passages.get_mut(call).map(|it| &mut it.heard_ns),
                    };
                    if let Some(at) = at {
                        at.get_or_insert(at_ns);
                    }
                }
                !heard
            });
        }
        for decoded in connection.asks.feed(at_ns, segment, payload) {
            let asked = match decoded.head.kind {
                Kind::Heartbeat if leg == Leg::App => {
                    self.last += 1;
                    let beat = Beat {
                        sent_ns: decoded.first,
                        answered_ns: None,
                    };
                    self.beats.insert(self.last, beat);
                    Asked::Beat(self.last)
                }
                Kind::Request => {
                    let request = decoded.frame.as_ref().and_then(sofarpc::request);
                    let Some(trace) = request.and_then(|request| request.trace) else {
                        continue;
                    };
                    let room = self.passages.len() < CALLS_MAX;
                    if !room && !self.passages.contains_key(&trace) {
                        continue;
                    }
                    let passage = self.passages.entry(trace.clone()).or_default();
                    match leg {
                        Leg::Inbound => {
                            passage.entered_ns.get_or_insert(decoded.last);
                            self.inside.insert(trace.clone(), decoded.last);
                        }
                        Leg::App => {
                            passage.asked_ns.get_or_insert(decoded.last);
                        }
                    }
                    Asked::Call(trace)
                }
                _ => continue,
            };
            connection.open.insert(decoded.head.id.0, asked);
        }
        let over = segment.flags.has(Flags::FIN)
            && connection.open.is_empty()
            && connection.unheard.is_empty();
        if over {
            self.connections.remove(&key);
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
            // What the side that answers says by itself, a GoAway, has ids of its own.
            if !matches!(decoded.head.kind, Kind::Response | Kind::HeartbeatAck) {
                continue;
            }
            match (connection.open.remove(&decoded.head.id.0), connection.leg) {
                (Some(asked), Leg::App) => {
                    connection.unheard.push((end(segment, payload), asked));
                }
                (Some(Asked::Call(call)), Leg::Inbound) => {
                    self.inside.remove(&call);
                    if let Some(passage) = self.passages.get_mut(&call) {
                        passage.left_ns.get_or_insert(at_ns);
                    }
                }
                _ => {}
            }
        }
    }

    /// How far the call with this trace id came; all none: it never came to the pod.
    pub fn passage(&self, trace: &str) -> Passage {
        self.passages.get(trace).copied().unwrap_or_default()
    }

    /// How many calls came to the pod until this moment, and no answer to them has left it.
    pub fn inside(&self, until_ns: u64) -> usize {
        self.inside.values().filter(|at| **at <= until_ns).count()
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

    /// When the sidecar first left a connection to its app, at this moment or later, and how.
    pub fn left(&self, from_ns: u64) -> Option<(u64, Leaving)> {
        self.left.iter().copied().find(|(at, _)| *at >= from_ns)
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
            let inbound = "10.99.0.5:12200".parse().unwrap();
            let center = "10.99.0.2:9600".parse().unwrap();
            Rig {
                watched: Watched::new(12199, inbound, center),
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

    /// A call of BOLT v1 with no more than its trace id, or what answers it.
    fn call(asks: bool, id: u8) -> Vec<u8> {
        if !asks {
            let mut frame = vec![1, 0, 0, 2, 1, 0, 0, 0, id, 1];
            frame.resize(20, 0);
            return frame;
        }
        let class = b"com.alipay.sofa.rpc.core.request.SofaRequest";
        let mut header = Vec::new();
        for text in [
            "rpc_trace_context.sofaTraceId",
            "7f01",
            "sofa_head_target_service",
            "s",
            "sofa_head_method_name",
            "m",
        ] {
            header.extend((text.len() as u32).to_be_bytes());
            header.extend(text.as_bytes());
        }
        let mut frame = vec![1, 1, 0, 1, 1, 0, 0, 0, id, 1, 0, 0, 0, 100];
        frame.extend((class.len() as u16).to_be_bytes());
        frame.extend((header.len() as u16).to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(class);
        frame.extend(header);
        frame
    }

    #[test]
    fn who_says_nothing_takes_no_place() {
        const CLIENT: &str = "10.99.0.4:60000";
        const POD: &str = "10.99.0.5:12200";
        let mut rig = Rig::new();
        rig.segment(CLIENT, POD, 1, 1, &call(true, 7));
        for port in 1024..=3_100 {
            rig.segment(&format!("10.99.0.4:{port}"), POD, 1, 1, b"");
        }
        rig.segment(POD, CLIENT, 1, 300, &call(false, 7));
        assert_eq!(rig.watched.inside(u64::MAX), 0);
    }

    #[test]
    fn a_call_is_followed_through_the_pod() {
        const CLIENT: &str = "10.99.0.4:41000";
        const POD: &str = "10.99.0.5:12200";
        let mut rig = Rig::new();
        assert_eq!(rig.watched.passage("7f01"), Passage::default());
        let asked = call(true, 7);
        rig.segment(CLIENT, POD, 1, 1, &asked);
        rig.asks(100, 500, &call(true, 1));
        assert_eq!(
            (rig.watched.inside(0), rig.watched.inside(1_000_000)),
            (0, 1)
        );
        rig.answers(500, 300, &call(false, 1));
        rig.asks(100 + asked.len() as u32, 520, b"");
        // A GoAway has an id of its own, which may be that of a call.
        let mut goaway = frame(true, 7);
        goaway[3] = 100;
        rig.segment(POD, CLIENT, 1, 300, &goaway);
        assert_eq!(rig.watched.inside(u64::MAX), 1);
        rig.segment(POD, CLIENT, 23, 300, &call(false, 7));
        assert_eq!(rig.watched.inside(u64::MAX), 0);
        let ms = |ms: u64| Some(ms * 1_000_000);
        let passage = Passage {
            entered_ns: ms(1),
            asked_ns: ms(2),
            heard_ns: ms(4),
            left_ns: ms(6),
        };
        assert_eq!(rig.watched.passage("7f01"), passage);
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
