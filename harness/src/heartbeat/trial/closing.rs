//! Trials of a sidecar that takes nothing off the config center when its app is silent: what it
//! does is to close its connection to the app, and to open another one for the next call. Where packets from
//! the app are dropped, acknowledgements are dropped, too: the end of the connection waits behind
//! what is sent again, and what the wire shows of it is the connect that follows.

use meshproof_sys::clock::Nanos;
use serde::Serialize;

use super::{
    CLIENT, LIMIT, Mesh, Metronome, Outcome, Phases, Port, SERVER, SERVICE, Setting, Sniffer,
    Stage, calls, law, port, topology_of, wait_until,
};
use crate::Error;
use crate::heartbeat::ms;
use crate::heartbeat::wire::{Leaving, Watched};
use meshproof_fault::Way;

/// One trial, on the monotonic clock.
#[derive(Clone, Debug, Serialize)]
pub struct Closing {
    /// How answers were stopped.
    pub way: Way,
    /// The fault came into force.
    pub silent_ns: u64,
    /// When the last heartbeat was sent that was answered, on the wire.
    pub answered_ns: u64,
    /// When the sidecar left its connection to the app, on the wire; none: it did not in time.
    pub closed_ns: Option<u64>,
    /// How the wire shows it.
    pub how: Option<Leaving>,
    /// The fault was taken away.
    pub healed_ns: u64,
    /// When a heartbeat was answered again, on the wire; none: none was in time.
    pub again_ns: Option<u64>,
}

impl Closing {
    /// From the last answered heartbeat to the close, or to the connect that shows it, in
    /// milliseconds.
    pub fn took_ms(&self) -> Option<f64> {
        Some(ms(self.answered_ns, self.closed_ns?))
    }
}

/// Carries out `count` trials of one way, with `sidecar` in every pod; what held the faults is in
/// the outcome, which has no trials of its own.
pub fn run(
    way: Way,
    count: u32,
    seed: u64,
    setting: &Setting,
    sidecar: &str,
) -> Result<(Vec<Closing>, Outcome), Error> {
    let setting = super::relayed(way, setting);
    let spec = topology_of(&setting, sidecar)?;
    let mesh = Mesh::up(&spec, &setting)?;
    let inbound = mesh.place(SERVER)?.inbound;
    let pushes = mesh.pushes(&[SERVICE])?;
    let tap = mesh.environment().packets(SERVER)?;
    let watched = Watched::new(port::APP, inbound, mesh.center()?);
    let sniffer = Sniffer::start(tap, watched)?;
    let metronome = Metronome::start()?;
    // Such a sidecar asks its app only on connections that calls have opened.
    let calling = mesh.begin(&calls())?;
    let mut outcome = Outcome::default();
    let mut closings = Vec::new();
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
            let Some(asked) = sniffer.next_beat(Nanos::now(), LIMIT) else {
                let why = format!("trial {number} of {way}: no heartbeat passed");
                outcome.broken.push(why);
                break;
            };
            wait_until(asked + stage.law.interval.mul_f64(1.0 + phases.next()));
            let silence = stage.silence(way, number)?;
            let silent = Nanos::now();
            let left = sniffer.left(silent, LIMIT);
            let closed = left.map(|(at, _)| at);
            let answered = sniffer.last_answered(closed.unwrap_or(silent));
            stage.heal(silence, &mut outcome)?;
            let healed = Nanos::now();
            let again = sniffer.first_answer(healed).map(|(_, at)| at.0);
            closings.push(Closing {
                way,
                silent_ns: silent.0,
                answered_ns: answered.unwrap_or(silent).0,
                closed_ns: closed.map(|at| at.0),
                how: left.map(|(_, how)| how),
                healed_ns: healed.0,
                again_ns: again,
            });
        }
        Ok::<_, Error>(())
    })?;
    calling.stop()?;
    mesh.down()?;
    Ok((closings, outcome))
}
