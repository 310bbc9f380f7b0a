//! What a replay through a mesh shows, beside what any replay shows.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;

use meshproof_record::report::text::count;
use meshproof_record::verdict::{Claim, Verdict};
use meshproof_replay::engine::outcome::End;
use meshproof_replay::engine::run::Dial;
use meshproof_wire::bolt::{self, Version};
use meshproof_wire::decoder::{Decoder, Detail, Limits, Start};
use meshproof_wire::{Frame, Kind, Protocol};

use super::through::{Through, say};

/// How long the answer to a heartbeat may take: as long as SOFABolt waits for it.
const BEAT: Duration = Duration::from_secs(1);

/// Heartbeats of one protocol version: recorded ones are made live, one for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beats {
    /// The version.
    pub protocol: Protocol,
    /// How many were recorded.
    pub recorded: u64,
    /// What is wrong with the answer; `None` where nothing is.
    pub wrong: Option<String>,
}

/// The id of a heartbeat; no request of the replay is on its connection.
const ID: u32 = 7;

impl Beats {
    /// Sends one heartbeat on a connection of its own; its answer must come in the same version,
    /// under the same id.
    pub(super) fn ask(dial: &dyn Dial, to: SocketAddr, protocol: Protocol, recorded: u64) -> Beats {
        let wrong = match protocol {
            Protocol::BoltV1 => ask(dial, to, protocol, Version::V1),
            Protocol::BoltV2 => ask(dial, to, protocol, Version::V2_CRC),
            // Its heartbeats carry addresses that are the peers' own.
            _ => None,
        };
        Beats {
            protocol,
            recorded,
            wrong,
        }
    }
}

fn ask(dial: &dyn Dial, to: SocketAddr, protocol: Protocol, version: Version) -> Option<String> {
    let heard = (|| {
        let mut stream = dial.connect(to, BEAT)?;
        stream.set_read_timeout(Some(BEAT))?;
        say(&mut stream, &bolt::heartbeat(version, ID))?;
        let mut decoder: Decoder<()> =
            Decoder::new(Start::Beginning, Detail::Frames, Limits::USUAL);
        let mut buffer = [0; 4096];
        loop {
            let read = stream.read(&mut buffer)?;
            let mut frames: Vec<Frame> = Vec::new();
            let bytes = buffer.get(..read).unwrap_or_default();
            decoder.feed((), bytes, &mut |decoded| frames.extend(decoded.frame));
            if let Some(frame) = frames.into_iter().next() {
                return Ok(frame);
            }
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    })();
    let heard: Frame = match heard {
        Ok(frame) => frame,
        Err(error) => return Some(not_answered(protocol, &error)),
    };
    let head = heard.head;
    if head.protocol != protocol {
        return Some(format!(
            "a heartbeat in {protocol} was answered in {}",
            head.protocol
        ));
    }
    if head.kind != Kind::HeartbeatAck || head.id.0 != u64::from(ID) {
        return Some(format!(
            "a heartbeat in {protocol} under id {ID} was answered by a {:?} under id {}",
            head.kind, head.id
        ));
    }
    None
}

fn not_answered(protocol: Protocol, error: &std::io::Error) -> String {
    format!("a heartbeat in {protocol} was not answered: {error}")
}

/// Adds the claims that only a mesh supports: heartbeats, hop, escapes.
pub(super) fn finish(through: &mut Through) {
    let claims = &mut through.judged.claims;
    // That a target may be sent to is so by itself here.
    claims.retain(|claim| claim.name != "targets" || claim.verdict != Verdict::Pass);
    if !through.beats.is_empty() {
        let wrong: Vec<&str> = through
            .beats
            .iter()
            .filter_map(|beats| beats.wrong.as_deref())
            .collect();
        let recorded: u64 = through.beats.iter().map(|beats| beats.recorded).sum();
        let told = count(
            recorded,
            "heartbeat was recorded",
            "heartbeats were recorded",
        );
        claims.push(match wrong.is_empty() {
            true => Claim::new(
                "heartbeats",
                Verdict::Pass,
                format!(
                    "{told}; one of each version, {} in all, was answered in its own version",
                    through.beats.len()
                ),
            ),
            false => Claim::new(
                "heartbeats",
                Verdict::Fail,
                format!("{told}; {}", wrong.join("; ")),
            ),
        });
    }
    if let Some(hop) = &through.hop {
        let claim = hop.claim("hop");
        // What expects no answer is shown by what came out behind the sidecar.
        let oneways = through.run.outcomes.iter();
        let oneways = oneways.filter(|it| it.end == End::Oneway).count();
        if oneways > 0 && oneways == through.run.outcomes.len() && claim.verdict == Verdict::Pass {
            for functional in claims.iter_mut().filter(|it| it.name == "functional") {
                if functional.verdict == Verdict::Invalid {
                    let went = count(oneways as u64, "one-way", "one-ways");
                    functional.verdict = Verdict::Pass;
                    functional.why = format!("{went} went through, and no answer came");
                }
            }
        }
        claims.push(claim);
    }
    claims.push(match &through.escapes {
        Some(escapes) if escapes.packets > 0 => {
            let packets = count(escapes.packets, "packet", "packets");
            let first = escapes.samples.first().map(String::as_str);
            let why = format!("{packets} tried to leave: {}", first.unwrap_or("no sample"));
            Claim::new("escapes", Verdict::Fail, why)
        }
        Some(_) => Claim::new("escapes", Verdict::Pass, "0 packets tried to leave"),
        None => Claim::unsupported(
            "escapes",
            meshproof_record::verdict::Lacking::Machine,
            "this backend cannot count packets that leave; the netns backend can",
        ),
    });
    // Nothing but subscriptions or heartbeats may be what was recorded.
    let shown = claims.iter().any(|claim| {
        ["subscriptions", "heartbeats"].contains(&claim.name.as_str())
            && claim.verdict != Verdict::Invalid
    });
    let calls = through.run.outcomes.is_empty();
    if shown && calls {
        claims.retain(|claim| {
            claim.verdict != Verdict::Invalid
                || !["functional", "targets", "hop"].contains(&claim.name.as_str())
        });
    }
    // A capture without a subscription has nothing to be made of the api.
    let nothing_asked = through.asked.as_ref().is_some_and(Vec::is_empty);
    if nothing_asked {
        claims.retain(|claim| claim.name != "subscriptions");
    }
}

/// What is wrong with a run, in words that another run of the same capture shares: not numbers,
/// not ids, not times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symptoms(pub BTreeSet<String>);

impl Symptoms {
    pub(super) fn of(through: &Through) -> Symptoms {
        let mut symptoms = BTreeSet::new();
        let mut add = |text: &str| {
            symptoms.insert(text.to_owned());
        };
        let counters = &through.run.counters;
        for (count, name) in [
            (counters.surplus, "surplus answers"),
            (counters.unreadable_bytes, "unreadable bytes"),
        ] {
            if count > 0 {
                add(name);
            }
        }
        for (at, outcome) in through.run.outcomes.iter().enumerate() {
            let item = through.plan.sends.get(at);
            let recorded = item
                .and_then(|send| through.plan.items.get(send.item))
                .is_some_and(|item| item.exchange.response.is_some() && !item.exchange.late);
            match outcome.end {
                End::TimedOut { .. } if recorded => add("time-outs"),
                End::Lost(_) if recorded => add("lost connections"),
                End::Unsent(why) => add(why.name()),
                _ => {}
            }
        }
        for differences in through.judged.differences.values() {
            if let Some(first) = differences.iter().find(|it| it.judged) {
                add(&format!("answers differ in {}", first.path));
            }
        }
        let asked = through.asked.iter().flatten();
        if asked.filter(|it| it.wrong.is_some()).count() > 0 {
            add("subscriptions");
        }
        if through.beats.iter().any(|it| it.wrong.is_some()) {
            add("heartbeats");
        }
        if through.escapes.as_ref().is_some_and(|it| it.packets > 0) {
            add("escapes");
        }
        let changes = through.hop.iter().flat_map(|hop| &hop.changes);
        for changed in changes.filter(|it| !it.allowed) {
            add(&format!("hop: {} {}", changed.field, changed.change));
        }
        Symptoms(symptoms)
    }

    /// Whether anything is wrong.
    pub fn any(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether the two have something in common.
    pub fn shares(&self, other: &Symptoms) -> bool {
        self.0.intersection(&other.0).next().is_some()
    }
}

impl fmt::Display for Symptoms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<&str> = self.0.iter().map(String::as_str).collect();
        f.write_str(&all.join(", "))
    }
}
