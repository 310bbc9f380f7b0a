//! Trials: the app falls silent in one way, everything that follows is stamped, and undone.

pub mod closing;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use meshproof_fault::{Evidence, Fault, Lease, Residue, Scene, Spec, Way};
use meshproof_replay::capture::Link;
use meshproof_replay::packet::{Parsed, parse};
use meshproof_sys::clock::{Clocks, Nanos};
use meshproof_sys::packets::Tap;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::callers::{self, Callers, Ended, Wrong};
use super::late::Metronome;
use super::law::Law;
use super::wire::{Leaving, Passage, Watched};
use super::{Recovery, Stamps, Trial};
use crate::Error;
use crate::ground::InPod;
use crate::mesh::control::Part;
use crate::mesh::{Between, Call, Calling, Mesh, MeshSpec, Setting, port};
use crate::relay::{Direction, Harm, Rule, RuleId, Sort};
use crate::scenario::shipped;
use crate::watch::{Port, Presence, Pushes};

/// Ways in which an app can be made silent here, with half a sentence on each.
pub const WAYS: [(Way, &str); 6] = [
    (
        Way::IptablesNft,
        "packets from 12199 are dropped by iptables over nftables",
    ),
    (
        Way::IptablesLegacy,
        "packets from 12199 are dropped by the old iptables",
    ),
    (
        Way::NftOwner,
        "packets from 12199 are dropped by a table that goes with its keeper",
    ),
    (
        Way::Relay,
        "exactly the frames that answer heartbeats are dropped",
    ),
    (Way::Signal, "the app stands still"),
    (Way::AppOrder, "the app works and answers no heartbeat"),
];

/// Who falls silent.
const SERVER: &str = "server";
/// Who looks on.
const CLIENT: &str = "client";
const SERVICE: &str = "com.alipay.demo.SampleService:1.0";

/// What is longer than anything here takes: TCP that backs off for as long as the fault was.
const LIMIT: Duration = Duration::from_secs(20);

/// A fault that nobody heals ends by itself.
const FAULT_LIMIT: Duration = Duration::from_secs(60);

/// Between two looks at packets that may have come.
const PAUSE: Duration = Duration::from_millis(1);

/// What trials of one way came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Those that were carried to their end.
    pub trials: Vec<Trial>,
    /// The others: what did not come.
    pub broken: Vec<String>,
    /// What met the faults, of those that a keeper held.
    pub evidence: Vec<Evidence>,
    /// What was left of them.
    pub residue: Vec<Residue>,
    /// Calls with a wrong end that were made in no trial.
    pub wrong_outside: Vec<Wrong>,
}

/// The law of a mesh.
pub fn law(spec: &MeshSpec) -> Law {
    Law {
        interval: Duration::from_millis(spec.heartbeat.interval_ms),
        timeout: Duration::from_millis(spec.heartbeat.timeout_ms),
        misses: spec.heartbeat.misses,
    }
}

/// The mesh of trials.
pub fn topology(setting: &Setting) -> Result<MeshSpec, Error> {
    topology_of(setting, "reference")
}

/// The same, with another sidecar in every pod.
fn topology_of(setting: &Setting, sidecar: &str) -> Result<MeshSpec, Error> {
    let text = shipped::topology("heartbeat").unwrap_or_default();
    let text = text.replace("sidecar: reference", &format!("sidecar: {sidecar}"));
    MeshSpec::parse("heartbeat.yaml", &text, &setting.suts)
        .map_err(|problem| Error::Refused(problem.to_string()))
}

/// With the relay that a way needs.
fn relayed(way: Way, setting: &Setting) -> Setting {
    Setting {
        relays: match way {
            Way::Relay => vec![(SERVER.to_owned(), Between::SidecarAndApp)],
            _ => Vec::new(),
        },
        ..setting.clone()
    }
}

/// Carries out `count` trials of one way, in a mesh of their own; `told` hears of each. With a
/// folder in the setting, calls go on meanwhile, and what became of them is counted.
pub fn run(
    way: Way,
    count: u32,
    seed: u64,
    setting: &Setting,
    told: &mut dyn FnMut(u32, Result<&Trial, &str>),
) -> Result<Outcome, Error> {
    let setting = relayed(way, setting);
    let spec = topology(&setting)?;
    let mesh = Mesh::up(&spec, &setting)?;
    let inbound = mesh.place(SERVER)?.inbound;
    let pushes = mesh.pushes(&[SERVICE])?;
    let tap = mesh.environment().packets(SERVER)?;
    let watched = Watched::new(port::APP, inbound, mesh.center()?);
    let sniffer = Sniffer::start(tap, watched)?;
    let metronome = Metronome::start()?;
    // Their journal is read at the end, and stands outside of the mesh only with a folder.
    let calling = match &setting.folder {
        Some(_) => Some(mesh.begin(&calls())?),
        None => None,
    };
    let mut outcome = Outcome::default();
    std::thread::scope(|scope| {
        let port = Port::watch(scope, mesh.environment(), CLIENT, inbound);
        let mut phases = Phases(seed);
        let stage = Stage {
            mesh: &mesh,
            pushes: &pushes,
            port: &port,
            sniffer: &sniffer,
            metronome: &metronome,
            law: law(&spec),
        };
        for number in 1..=count {
            match stage.one(way, number, phases.next(), &mut outcome)? {
                Ok(trial) => {
                    // No call may meet two faults: what one has lost, TCP would send into the
                    // next, and no law says when it comes then.
                    sniffer.emptied(Nanos(trial.recovery.healed_ns), PATIENCE + GRACE);
                    told(number, Ok(&trial));
                    outcome.trials.push(trial);
                }
                Err(why) => {
                    told(number, Err(&why));
                    outcome
                        .broken
                        .push(format!("trial {number} of {way}: {why}"));
                    // What follows would stand on ground that is not known.
                    break;
                }
            }
        }
        Ok::<_, Error>(())
    })?;
    if let Some(calling) = calling {
        let calls = ended(calling, &sniffer)?;
        outcome.wrong_outside = callers::count(&mut outcome.trials, &calls);
    }
    mesh.down()?;
    Ok(outcome)
}

/// How long a call waits for its answer: what addresses of production say (`_TIMEOUT=3000`). It is
/// longer than TCP takes to send again what was lost.
const PATIENCE: Duration = Duration::from_secs(3);

/// A sidecar answers by itself what is not answered in time; that is on its way for so long.
const GRACE: Duration = Duration::from_secs(1);

/// Calls that go on for as long as the trials do, over both servers.
fn calls() -> Call {
    Call {
        rate: Some(50.0),
        connections: 2,
        depth: 64,
        timeout: PATIENCE,
        reconnect: LIMIT,
        ..Call::new(CLIENT, 100_000_000)
    }
}

/// Ends the calls, and reads what became of each.
fn ended(calling: Calling, sniffer: &Sniffer) -> Result<Vec<Ended>, Error> {
    let journal = calling.journal().to_path_buf();
    calling.stop()?;
    let text = std::fs::read_to_string(&journal)
        .map_err(Error::io(format!("reading {}", journal.display())))?;
    let lines = text.lines().filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let trace = line["trace"].as_str().unwrap_or_default().to_owned();
        Some(Ended {
            passage: sniffer.passage(&trace),
            trace,
            outcome: line["outcome"].as_str().unwrap_or_default().to_owned(),
            sent_ns: sniffer.moment(line["at_us"].as_u64()?.checked_mul(1000)?).0,
            right: line["right"].as_bool()?,
            took_ns: line["took_us"].as_u64().and_then(|us| us.checked_mul(1000)),
        })
    });
    Ok(lines.collect())
}

/// Numbers between 0 and 1, the same for the same seed (splitmix64).
struct Phases(u64);

impl Phases {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// What a trial stands on.
struct Stage<'a> {
    mesh: &'a Mesh,
    pushes: &'a Pushes,
    port: &'a Port<'a>,
    sniffer: &'a Sniffer,
    metronome: &'a Metronome,
    law: Law,
}

/// A fault in force.
enum Silence {
    Lease(Box<Lease>),
    Relay(RuleId),
    Paused,
    Muted,
}

impl Stage<'_> {
    /// One trial; what did not come, in words, where it could not be ended.
    fn one(
        &self,
        way: Way,
        number: u32,
        phase: f64,
        outcome: &mut Outcome,
    ) -> Result<Result<Trial, String>, Error> {
        let Some(asked) = self.sniffer.next_beat(Nanos::now(), LIMIT) else {
            return Ok(Err("no heartbeat passed".into()));
        };
        // Anywhere between two heartbeats.
        let at = asked + self.law.interval.mul_f64(1.0 + phase);
        wait_until(at);
        let silence = self.silence(way, number)?;
        let silent = match &silence {
            Silence::Lease(lease) => lease.since(),
            _ => Nanos::now(),
        };
        let inbound = self.mesh.place(SERVER)?.inbound;
        let known = self.pushes.lists(inbound, Presence::Gone, silent, LIMIT);
        let refused = self.port.turns(Presence::Gone, silent, LIMIT);
        let deregistered = self.sniffer.deregistered(silent);
        let healed_at = Nanos::now();
        self.heal(silence, outcome)?;
        let healed = Nanos::now();
        let (Some((known, _)), Some(refused)) = (known, refused) else {
            return Ok(Err(format!(
                "within {} s the config center {} and 12200 was {}",
                LIMIT.as_secs(),
                if known.is_some() {
                    "knew"
                } else {
                    "did not know"
                },
                if refused.is_some() { "refused" } else { "open" },
            )));
        };
        let Some(deregistered) = deregistered else {
            return Ok(Err("no message to the config center left the pod".into()));
        };
        let Some(answered) = self.sniffer.last_answered(deregistered) else {
            return Ok(Err("no answered heartbeat was seen before".into()));
        };
        let detected = self.detected(silent);
        let late_ns = self.late(answered, detected.map(Nanos), deregistered);
        let stamps = Stamps {
            silent_ns: silent.0,
            answered_ns: answered.0,
            detected_ns: detected,
            deregistered_ns: deregistered.0,
            known_ns: known.0,
            refused_ns: refused.at.0,
        };
        let back = self
            .pushes
            .lists(inbound, Presence::There, healed_at, LIMIT);
        let open = self.port.turns(Presence::There, healed_at, LIMIT);
        let again = self.sniffer.first_answer(healed_at);
        let (Some((back, _)), Some(open), Some((asked, answered_again))) = (back, open, again)
        else {
            return Ok(Err(format!(
                "it was not back {} s after healing",
                LIMIT.as_secs()
            )));
        };
        let recovery = Recovery {
            healing_ns: healed_at.0,
            healed_ns: healed.0,
            asked_ns: asked.0,
            answered_ns: answered_again.0,
            known_ns: back.0,
            open_ns: open.at.0,
        };
        Ok(Ok(Trial {
            way,
            stamps,
            recovery,
            late_ns,
            callers: Callers::default(),
        }))
    }

    /// By how much the machine may have held up what followed, in nanoseconds: the sidecar wakes to
    /// find its app lost, and what it then says takes wakes of its own.
    fn late(&self, answered: Nanos, detected: Option<Nanos>, deregistered: Nanos) -> u64 {
        // From the heartbeat before on: one that is held up when it is sent counts from too late a
        // moment.
        let interval_ns = self.law.interval.as_nanos() as u64;
        let from = Nanos(answered.0.saturating_sub(interval_ns));
        let detected = detected.unwrap_or(deregistered).min(deregistered);
        let told = match detected < deregistered {
            true => self.metronome.latest(detected, deregistered),
            false => 0,
        };
        self.metronome.latest(from, detected) + told
    }

    /// When the sidecar took its app for lost, by its own word; none: it says nothing of that.
    fn detected(&self, from: Nanos) -> Option<u64> {
        let answer = self.mesh.ask_admin(SERVER, "/events").ok()?;
        let said: serde_json::Value = serde_json::from_str(&answer.body).ok()?;
        let lost = |event: &&serde_json::Value| event["event"] == "app-lost";
        let moments = said["events"].as_array()?.iter().filter(lost);
        let mut moments = moments.filter_map(|event| {
            let at: jiff::Timestamp = event["at"].as_str()?.parse().ok()?;
            let unix_ns = u64::try_from(at.as_nanosecond()).ok()?;
            Some(self.sniffer.moment(unix_ns))
        });
        moments.find(|at| *at >= from).map(|at| at.0)
    }

    fn silence(&self, way: Way, number: u32) -> Result<Silence, Error> {
        Ok(match way {
            Way::Relay => {
                let rule = Rule {
                    direction: Some(Direction::Back),
                    sorts: vec![Sort::Heartbeat],
                    ..Rule::new(Harm::Drop)
                };
                Silence::Relay(self.mesh.relay_at(SERVER, port::APP)?.put(rule)?)
            }
            Way::Signal => {
                self.mesh.pause(SERVER, Part::App)?;
                Silence::Paused
            }
            Way::AppOrder => {
                self.mesh.order_app(SERVER, r#"{"mute":"heartbeats"}"#)?;
                Silence::Muted
            }
            packets => {
                let text = format!(
                    "{{id: silence, kind: drop, port: {}, from: app, way: {packets}, for: 60s}}",
                    port::APP
                );
                let spec = Spec::parse("silence", &text)
                    .map_err(|problem| Error::Refused(problem.to_string()))?;
                let fault = Fault {
                    spec,
                    scene: Scene {
                        control: None,
                        run: format!("trial-{}", std::process::id()),
                        lease: format!("silence-{number}"),
                        process: None,
                    },
                };
                let ground = InPod {
                    environment: self.mesh.environment(),
                    pod: SERVER,
                };
                let standby = fault.preflight(&ground).map_err(of_fault)?;
                Silence::Lease(Box::new(standby.apply(FAULT_LIMIT).map_err(of_fault)?))
            }
        })
    }

    fn heal(&self, silence: Silence, outcome: &mut Outcome) -> Result<(), Error> {
        match silence {
            Silence::Lease(lease) => {
                let healed = lease.heal().map_err(of_fault)?;
                outcome.evidence.push(healed.evidence);
                outcome.residue.push(healed.residue);
            }
            Silence::Relay(rule) => {
                self.mesh.relay_at(SERVER, port::APP)?.heal(rule)?;
            }
            Silence::Paused => self.mesh.resume(SERVER, Part::App)?,
            Silence::Muted => self.mesh.order_app(SERVER, r#"{"mute":"nothing"}"#)?,
        }
        Ok(())
    }
}

fn of_fault(error: meshproof_fault::Error) -> Error {
    match error {
        meshproof_fault::Error::Unsupported { missing, advice } => {
            Error::Unsupported { missing, advice }
        }
        other => Error::Refused(other.to_string()),
    }
}

/// Waits as exactly as the machine lets it.
pub(super) fn wait_until(at: Nanos) {
    loop {
        let left = at.since(Nanos::now());
        if left == 0 {
            return;
        }
        std::thread::park_timeout(Duration::from_nanos(left));
    }
}

/// Reads the packets of a pod as they pass.
struct Sniffer {
    watched: Arc<Mutex<Watched>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// One moment on both clocks: packets carry that of the wall.
    both: Clocks,
}

impl Sniffer {
    fn start(mut tap: Tap, watched: Watched) -> Result<Sniffer, Error> {
        let watched = Arc::new(Mutex::new(watched));
        let stop = Arc::new(AtomicBool::new(false));
        let (theirs, over) = (Arc::clone(&watched), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("sniffer".into())
            .spawn(move || {
                let pause = Timespec::try_from(Duration::from_millis(20)).ok();
                while !over.load(Ordering::Relaxed) {
                    // Whether it came or the time is over: the next look tells.
                    let _ = poll(&mut [PollFd::new(&tap, PollFlags::IN)], pause.as_ref());
                    while let Ok(Some(packet)) = tap.take() {
                        let length = u32::try_from(packet.length).unwrap_or(u32::MAX);
                        if let Parsed::Tcp(segment) = parse(Link::Ethernet, packet.data, length) {
                            let payload = packet.data.get(segment.payload.clone());
                            let payload = payload.unwrap_or_default();
                            lock(&theirs).take(packet.at_ns, &segment, payload);
                        }
                    }
                }
            })
            .map_err(Error::io("a thread for packets"))?;
        Ok(Sniffer {
            watched,
            stop,
            thread: Some(thread),
            both: Clocks::now(),
        })
    }

    /// A time of packets on the clock of everything else.
    fn moment(&self, unix_ns: u64) -> Nanos {
        self.both.moment(unix_ns)
    }

    fn unix(&self, at: Nanos) -> u64 {
        self.both.unix_ns(at)
    }

    /// Looks until something is there.
    fn until(&self, limit: Duration, look: impl Fn(&Watched) -> Option<u64>) -> Option<Nanos> {
        let end = Nanos::now() + limit;
        loop {
            let found = look(&lock(&self.watched));
            if let Some(found) = found {
                return Some(self.moment(found));
            }
            if Nanos::now() > end {
                return None;
            }
            std::thread::park_timeout(PAUSE);
        }
    }

    fn next_beat(&self, from: Nanos, limit: Duration) -> Option<Nanos> {
        let from = self.unix(from);
        self.until(limit, |watched| {
            let mut beats = watched.beats().rev();
            let last = beats.next().map(|beat| beat.sent_ns);
            last.filter(|sent| *sent >= from)
        })
    }

    fn deregistered(&self, from: Nanos) -> Option<Nanos> {
        let from = self.unix(from);
        // It has left before the config center told of it.
        self.until(Duration::from_secs(1), |watched| watched.deregistered(from))
    }

    fn last_answered(&self, before: Nanos) -> Option<Nanos> {
        let before = self.unix(before);
        let beat = lock(&self.watched).last_answered(before);
        beat.map(|beat| self.moment(beat.sent_ns))
    }

    /// When the sidecar left a connection to its app, and how.
    fn left(&self, from: Nanos, limit: Duration) -> Option<(Nanos, Leaving)> {
        let from = self.unix(from);
        self.until(limit, |watched| watched.left(from).map(|(at, _)| at))?;
        let left = lock(&self.watched).left(from);
        left.map(|(at, how)| (self.moment(at), how))
    }

    /// Waits until every call that came to the pod by then has an answer.
    fn emptied(&self, by: Nanos, limit: Duration) {
        let by = self.unix(by);
        self.until(limit, |watched| (watched.inside(by) == 0).then_some(by));
    }

    /// How far a call came, on the monotonic clock.
    fn passage(&self, trace: &str) -> Passage {
        let moment = |at: Option<u64>| at.map(|at| self.moment(at).0);
        let passage = lock(&self.watched).passage(trace);
        Passage {
            entered_ns: moment(passage.entered_ns),
            asked_ns: moment(passage.asked_ns),
            heard_ns: moment(passage.heard_ns),
            left_ns: moment(passage.left_ns),
        }
    }

    /// When the heartbeat was sent that was answered first, and when it was.
    fn first_answer(&self, from: Nanos) -> Option<(Nanos, Nanos)> {
        let from = self.unix(from);
        let answered = self.until(LIMIT, |watched| watched.first_answer(from)?.answered_ns)?;
        let beat = lock(&self.watched).first_answer(from)?;
        Some((self.moment(beat.sent_ns), answered))
    }
}

impl Drop for Sniffer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

pub(super) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is held is whole at any time.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
