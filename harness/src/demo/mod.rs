//! The story of a mesh whose app dies: what a newcomer sees first, and what each sidecar must do.
//!
//! Five pods on the ports of production: config center, VIP names, a client and a server with a
//! sidecar each, and an onlooker. The client's app calls, the server's app is killed, the sidecar
//! takes the service off the config center and closes its port; the app comes back, and so does
//! the service. Everything is judged from outside: by the config center's pushes, by connecting,
//! and by what the apps saw.

mod order;
mod plan;
mod proof;

use std::net::SocketAddr;
use std::time::Duration;

use meshproof_record::verdict::{Claim, Verdict, overall};
use meshproof_sys::clock::Nanos;
use serde::Serialize;

use crate::Error;
use crate::environment::{Environment, Topology};
use crate::netns::Options;
use crate::pick::raise;
use crate::process::{Exit, Process, Signal};
use crate::watch::{Port, Presence, Pushes, Turn};

pub use plan::{Heartbeat, Plan};

/// Longer than any step takes on a machine that works.
const LIMIT: Duration = Duration::from_secs(30);

/// Calls by VIP.
const BY_NAME: u32 = 10;

/// Who saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Witness {
    /// The kernel: environments and programs that begin and end.
    Process,
    /// The config center's pushes, as a subscriber gets them.
    Registry,
    /// Connecting from another pod.
    Socket,
    /// The app that calls.
    Caller,
}

impl Witness {
    /// The word in every output.
    pub fn word(self) -> &'static str {
        match self {
            Witness::Process => "process",
            Witness::Registry => "registry",
            Witness::Socket => "socket",
            Witness::Caller => "caller",
        }
    }
}

/// One line of the timeline.
#[derive(Clone, Debug, Serialize)]
pub struct Moment {
    /// Since the beginning, in milliseconds.
    pub at_ms: f64,
    /// Who saw it.
    pub seen_by: Witness,
    /// What.
    pub what: String,
}

/// How long it took to find out that the app was dead.
#[derive(Clone, Debug, Serialize)]
pub struct Detection {
    /// Interval, timeout, misses.
    pub heartbeat: Heartbeat,
    /// T + N·I: from the last answered heartbeat (law A).
    pub expected_ms: f64,
    /// From the last heartbeat that the app answered to the config center's push.
    pub measured_ms: Option<f64>,
    /// From the kill to the push; by law B within `[T + (N-1)·I, T + N·I]`.
    pub from_kill_ms: f64,
    /// The longest time for which the onlooker did not look.
    pub longest_gap_ms: f64,
}

/// The whole story.
#[derive(Clone, Debug, Serialize)]
pub struct Story {
    /// Of this structure.
    pub schema: u32,
    /// The worst of the claims.
    pub verdict: Verdict,
    /// What was shown.
    pub claims: Vec<Claim>,
    /// What it took to see the death.
    pub detection: Option<Detection>,
    /// Everything in its order.
    pub timeline: Vec<Moment>,
}

/// Runs it; `told` hears every line as it happens.
///
/// `Err` where there is no environment or a program of ours does not start; whatever the mesh
/// does wrong is a claim that fails.
pub fn mesh(plan: &Plan, told: &mut dyn FnMut(&Moment)) -> Result<Story, Error> {
    let mut teller = Teller {
        start: Nanos::now(),
        timeline: Vec::new(),
        claims: Vec::new(),
        told,
    };
    let topology = Topology::new(plan::PODS, Some(plan::VIP));
    let raised = raise(&topology, plan.backend, &Options::default())?;
    let environment = raised.environment;
    let pods: Vec<String> = environment
        .pods()
        .iter()
        .map(|pod| format!("{} {}", pod.name, pod.address))
        .collect();
    teller.now(
        Witness::Process,
        format!("environment up: {}", pods.join(", ")),
    );
    let picked = raised.picked;
    teller.now(
        Witness::Process,
        format!("backend {}: {}", picked.backend, picked.why),
    );
    for note in &raised.notes {
        teller.now(Witness::Process, format!("without: {note}"));
    }
    let mut detection = None;
    let outcome = tell(environment.as_ref(), plan, &mut teller, &mut detection);
    let down = Nanos::now();
    environment.down()?;
    let took = ms(Nanos::now().since(down));
    outcome?;
    teller.now(
        Witness::Process,
        format!("environment down in {took:.1} ms, nothing left of it"),
    );
    Ok(Story {
        schema: 1,
        verdict: overall(&teller.claims),
        claims: teller.claims,
        detection,
        timeline: teller.timeline,
    })
}

fn ms(ns: u64) -> f64 {
    // Tenths of a millisecond are what a reader wants.
    (ns / 10_000) as f64 / 100.0
}

struct Teller<'a> {
    start: Nanos,
    timeline: Vec<Moment>,
    claims: Vec<Claim>,
    told: &'a mut dyn FnMut(&Moment),
}

impl Teller<'_> {
    fn at(&mut self, at: Nanos, seen_by: Witness, what: impl Into<String>) {
        let moment = Moment {
            at_ms: ms(at.since(self.start)),
            seen_by,
            what: what.into(),
        };
        (self.told)(&moment);
        self.timeline.push(moment);
    }

    /// Several at once, in the order in which they were seen.
    fn all(&mut self, mut seen: Vec<(Nanos, Witness, String)>) {
        seen.sort_by_key(|(at, ..)| *at);
        for (at, seen_by, what) in seen {
            self.at(at, seen_by, what);
        }
    }

    fn now(&mut self, seen_by: Witness, what: impl Into<String>) {
        self.at(Nanos::now(), seen_by, what);
    }

    fn claim(&mut self, name: &str, holds: bool, why: impl Into<String>) {
        let verdict = if holds { Verdict::Pass } else { Verdict::Fail };
        self.claims.push(Claim::new(name, verdict, why));
    }
}

/// The pods' programs, held so that they live.
struct Mesh<'a> {
    environment: &'a dyn Environment,
    plan: &'a Plan,
    /// Where the service is called from outside its pod.
    service: SocketAddr,
}

fn tell(
    environment: &dyn Environment,
    plan: &Plan,
    teller: &mut Teller<'_>,
    detection: &mut Option<Detection>,
) -> Result<(), Error> {
    let mesh = Mesh {
        environment,
        plan,
        service: SocketAddr::new(environment.address(plan::SERVER)?, plan::INBOUND),
    };
    let mut running = Vec::new();
    for (pod, command) in plan::infrastructure(environment, plan)? {
        let what = format!("{} runs in pod {pod}", command.name);
        running.push(environment.start(pod, command)?);
        teller.now(Witness::Process, what);
    }
    let center = plan::center(environment)?;
    let pushes = Pushes::watch(environment, plan::ONLOOKER, center, &[plan::SERVICE])?;
    let app = mesh.app(teller)?;
    let registered = pushes.lists(mesh.service, Presence::There, Nanos(0), LIMIT);
    let Some((at, revision)) = registered else {
        teller.claim(
            "registered",
            false,
            "the service never came to the config center",
        );
        return Ok(());
    };
    teller.at(
        at,
        Witness::Registry,
        format!(
            "{} is provided at {}, revision {revision}",
            plan::SERVICE,
            mesh.service
        ),
    );
    mesh.calls(&app, plan.calls, None, "calls", teller)?;
    let vip = plan::legacy_vip();
    mesh.calls(&app, BY_NAME, Some(&vip), "calls by VIP", teller)?;

    let died = mesh.death(app, &pushes, teller, detection)?;
    if !died {
        return Ok(());
    }
    mesh.recovery(&pushes, teller)
}

impl Mesh<'_> {
    /// The server's app: it serves on 12199 and publishes itself at its sidecar.
    fn app(&self, teller: &mut Teller<'_>) -> Result<Process, Error> {
        let app = self
            .environment
            .start(plan::SERVER, plan::server_app(self.environment)?)?;
        teller.now(
            Witness::Process,
            format!("the app runs in pod {}, pid {} there", app.pod(), app.pid()),
        );
        Ok(app)
    }

    /// The client's app calls; `app` is the one that is to see it.
    fn calls(
        &self,
        app: &Process,
        count: u32,
        vip: Option<&str>,
        name: &str,
        teller: &mut Teller<'_>,
    ) -> Result<(), Error> {
        let before = proof::Counted::now(self.environment)?;
        let begun = Nanos::now();
        let caller = self.environment.start(
            plan::CLIENT,
            plan::client_app(self.environment, count, vip)?,
        )?;
        let exit = caller.wait(LIMIT * 4)?;
        let took = ms(Nanos::now().since(begun));
        let right = plan::right_answers(&caller);
        let all = exit == Exit::Code(0) && right == Some(count.into());
        let right = right.map_or("none".into(), |right| right.to_string());
        let (way, by) = match vip {
            Some(vip) => (format!("to {vip}"), "in all"),
            None => (
                format!(
                    "app -> {} -> {} -> {}",
                    plan::OUTBOUND,
                    plan::INBOUND,
                    plan::APP
                ),
                "from start to end of the client",
            ),
        };
        let what =
            format!("{right} of {count} calls answered rightly, {way}, in {took:.0} ms {by}");
        teller.now(Witness::Caller, what.clone());
        if !all {
            let why = format!("{what}; it {exit}{}", caller.last_lines());
            teller.claim(name, false, why);
            return Ok(());
        }
        let proof = proof::of(self.environment, app, begun, before, count)?;
        let all = proof.is_ok();
        let (Ok(seen) | Err(seen)) = proof;
        let why = format!("{what}; {seen}");
        teller.claim(name, all, why);
        Ok(())
    }

    /// Long enough for the slowest that the heartbeat allows, and then as long again.
    fn patience(&self) -> Duration {
        Duration::from_millis(self.plan.heartbeat.detection_ms() * 2) + Duration::from_secs(5)
    }

    /// SIGKILL for the app; whether the sidecar did what it must.
    fn death(
        &self,
        app: Process,
        pushes: &Pushes,
        teller: &mut Teller<'_>,
        detection: &mut Option<Detection>,
    ) -> Result<bool, Error> {
        let limit = self.patience();
        let (deregistered, closed, killed, gap) = std::thread::scope(|scope| {
            let port = Port::watch(scope, self.environment, plan::ONLOOKER, self.service);
            if port.turns(Presence::There, Nanos(0), LIMIT).is_none() {
                return Err(Error::Refused(format!(
                    "{} took no connection",
                    self.service
                )));
            }
            app.signal(Signal::Kill)?;
            let exit = app.wait(LIMIT)?;
            let killed = app.exit().map_or_else(Nanos::now, |(_, at)| at);
            teller.at(killed, Witness::Process, format!("the app {exit}"));
            let gone = pushes.lists(self.service, Presence::Gone, killed, limit);
            let closed = port.turns(Presence::Gone, killed, limit);
            Ok((gone, closed, killed, port.longest_gap()))
        })?;
        let mut seen = Vec::new();
        if let Some((at, revision)) = deregistered {
            let after = ms(at.since(killed));
            let what =
                format!("the service is gone, revision {revision}, {after:.1} ms after the kill");
            seen.push((at, Witness::Registry, what));
        }
        if let Some(Turn { at, .. }) = closed {
            let after = ms(at.since(killed));
            let what = format!(
                "{} refuses connections from pod {}, {after:.1} ms after the kill",
                self.service,
                plan::ONLOOKER
            );
            seen.push((at, Witness::Socket, what));
        }
        teller.all(seen);
        let limit = limit.as_millis();
        teller.claim(
            "deregistered",
            deregistered.is_some(),
            match deregistered {
                Some(_) => "the config center named the dead app's pod no more".into(),
                None => {
                    format!("the config center still named the dead app's pod after {limit} ms")
                }
            },
        );
        teller.claim(
            "closed",
            closed.is_some(),
            match closed {
                Some(_) => format!("{} refused connections", self.service),
                None => format!(
                    "{} had not refused a connection after {limit} ms",
                    self.service
                ),
            },
        );
        let (Some((gone_at, _)), Some(closed)) = (deregistered, closed) else {
            return Ok(false);
        };
        teller.claims.push(order::end(closed, gone_at, gap));
        let found = plan::detection(self.plan.heartbeat, &app, killed, gone_at, gap);
        teller.claims.push(plan::judge(&found));
        *detection = Some(found);
        Ok(true)
    }

    fn recovery(&self, pushes: &Pushes, teller: &mut Teller<'_>) -> Result<(), Error> {
        let limit = self.patience();
        let (app, listens, registered) = std::thread::scope(|scope| {
            let port = Port::watch(scope, self.environment, plan::ONLOOKER, self.service);
            let begun = Nanos::now();
            let app = self.app(teller)?;
            let listens = port.turns(Presence::There, begun, limit);
            let registered = pushes.lists(self.service, Presence::There, begun, limit);
            Ok::<_, Error>((app, listens, registered))
        })?;
        let mut seen = Vec::new();
        if let Some(Turn { at, .. }) = listens {
            let what = format!("{} takes connections again", self.service);
            seen.push((at, Witness::Socket, what));
        }
        if let Some((at, revision)) = registered {
            let what = format!("the service is back, revision {revision}");
            seen.push((at, Witness::Registry, what));
        }
        teller.all(seen);
        let (Some(listens), Some((registered, _))) = (listens, registered) else {
            let missing = if listens.is_none() {
                "12200"
            } else {
                "the config center"
            };
            teller.claim(
                "recovered",
                false,
                format!("{missing} knew nothing of the app that was back"),
            );
            return Ok(());
        };
        teller.claims.push(order::recovery(listens, registered));
        self.calls(&app, self.plan.calls_after, None, "calls after it", teller)?;
        drop(app);
        Ok(())
    }
}
