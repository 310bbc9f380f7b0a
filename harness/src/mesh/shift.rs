//! Who holds a port, changed while calls go on: upgrade, meshify, demesh.
//!
//! An app and a sidecar cannot both hold 12200. A move is therefore done in this order, so that
//! no call that was sent is lost:
//!
//! 1. the one that holds 12200 is taken off the config center, and everybody who routes is seen
//!    to have heard of it;
//! 2. it accepts no more, tells its clients to go away and finishes what is under way;
//! 3. as soon as 12200 is free the other one takes it, with an app behind it that listens already,
//!    and the app makes itself known again.
//!
//! In between 12200 refuses connections for as long as a process takes to start. Where there is
//! another provider nobody sees that; where there is none, callers have to wait or are told that
//! nobody provides the service, and no call is on the wire.

use std::sync::Arc;
use std::time::Duration;

use meshproof_sys::clock::Nanos;

use super::pod::{self as adapters, Member};
use super::rise::{LIMIT, Way, becomes};
use super::{Mesh, Part, REGISTRY, lock, port};
use crate::environment::{Command, Ready};
use crate::process::{Exit, Process};
use crate::watch::{Port, Presence};
use crate::{Error, sut};

/// From one look to the next.
const PAUSE: Duration = Duration::from_millis(1);

/// A port that changed hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// For how long 12200 refused connections, as seen from another pod.
    pub refused: Duration,
    /// From the first step until the app stood at the config center again.
    pub took: Duration,
    /// How the one that had held 12200 ended.
    pub old: Exit,
}

/// A sidecar that took over from another one.
#[derive(Clone, Debug)]
pub struct Handover {
    /// From its start until it served.
    pub took: Duration,
    old: Arc<Process>,
    limit: Duration,
}

impl Handover {
    /// Waits for the end of the one before: how it ended.
    pub fn ended(&self) -> Result<Exit, Error> {
        self.old.wait(self.limit)
    }
}

impl Mesh {
    /// Starts a second process of a pod's sidecar that takes over from the first; `to` names
    /// another adapter, such as one with another binary. Returns when it has taken over; the first
    /// one may still finish what it had begun.
    pub fn upgrade(&self, pod: &str, to: Option<&str>) -> Result<Handover, Error> {
        let begun = Nanos::now();
        let mut member = lock(self.member(pod)?);
        let Some(old) = member.sidecar.as_ref().map(Arc::clone) else {
            return Err(Error::Refused(format!("no sidecar runs in pod {pod}")));
        };
        let mut spec = member.spec.clone();
        if let Some(to) = to {
            spec.sidecar = Some(to.to_owned());
        }
        let name = spec.sidecar.clone().unwrap_or_default();
        let adapter = self.sut(&name)?;
        let limit = adapter.upgrade.as_ref();
        let limit = limit.map_or(60_000, |upgrade| upgrade.old_ends_within_ms);
        let site = self.site()?;
        let values = site.values(pod, &spec, &site.folder(pod))?;
        let once = adapter.upgrade.as_ref();
        if let Some(file) = once.and_then(|upgrade| upgrade.once.as_ref()) {
            self.exists(pod, &values.fill(file).map_err(adapters::lacks(adapter))?)?;
        }
        let new = site.sidecar(pod, &spec, adapter, member.started, Way::TakesOver)?;
        member.started += 1;
        member.spec = spec;
        member.past.push(Arc::clone(&old));
        member.sidecar = Some(Arc::new(new));
        drop(member);
        let took = Duration::from_nanos(Nanos::now().since(begun));
        self.note(
            "process",
            format!("a second {name} has taken over in pod {pod}"),
        );
        Ok(Handover {
            took,
            old,
            limit: Duration::from_millis(limit),
        })
    }

    /// Gives a pod without a sidecar one, while calls go on: the sidecar takes 12200 from the app,
    /// which moves to 12199 and publishes through the sidecar.
    pub fn meshify(&self, pod: &str, sidecar: &str) -> Result<Moved, Error> {
        self.can_move()?;
        sut::find(&self.setting.suts, sidecar)?;
        if self.sidecar_of(pod)?.is_some() {
            return Err(Error::Refused(format!("pod {pod} has a sidecar already")));
        }
        let old = self.process(pod, Part::App)?;
        let before = self.place(pod)?.control;
        self.moved(pod, &old, || {
            self.leave(pod)?;
            // The app is there before its sidecar is, so that no call finds a sidecar alone.
            let mut member = lock(self.member(pod)?);
            member.spec.sidecar = Some(sidecar.to_owned());
            other_control(&mut member);
            let site = self.site()?;
            site.start_app(pod, &mut member)?;
            drop(member);
            let who = format!("the app that holds 12200 of pod {pod}");
            self.order(pod, before, "{\"goaway\":true}", &who)?;
            self.is_free(pod)?;
            site.start_sidecar(pod, &mut lock(self.member(pod)?))?;
            self.note("process", format!("{sidecar} and its app run in pod {pod}"));
            Ok(())
        })
    }

    /// Takes the sidecar of a pod away, while calls go on: the app takes 12200 back and registers
    /// itself.
    pub fn demesh(&self, pod: &str) -> Result<Moved, Error> {
        self.can_move()?;
        let app = self.process(pod, Part::App)?;
        let old = self.process(pod, Part::Sidecar)?;
        let before = self.place(pod)?.control;
        let moved = self.moved(pod, &old, || {
            self.leave(pod)?;
            self.drain(pod)?;
            self.is_free(pod)?;
            let mut member = lock(self.member(pod)?);
            member.spec.sidecar = None;
            other_control(&mut member);
            let site = self.site()?;
            site.start_app(pod, &mut member)?;
            let sidecar = member.sidecar.take();
            member.past.extend(sidecar);
            drop(member);
            self.note(
                "process",
                format!("the app of pod {pod} holds 12200 itself"),
            );
            Ok(())
        })?;
        // Nobody calls it any more.
        let who = format!("the app that was behind the sidecar of pod {pod}");
        self.order(pod, before, "{\"goaway\":true}", &who)?;
        app.wait(LIMIT)?;
        Ok(moved)
    }

    /// Whether callers can be told of a move before it begins.
    fn can_move(&self) -> Result<(), Error> {
        // Its error says why not.
        self.center().map(drop)
    }

    /// Watches 12200 during a move, and waits until it is over.
    fn moved(
        &self,
        pod: &str,
        old: &Process,
        work: impl FnOnce() -> Result<(), Error>,
    ) -> Result<Moved, Error> {
        let begun = Nanos::now();
        let inbound = self.place(pod)?.inbound;
        let refused = std::thread::scope(|scope| {
            let port = Port::watch(scope, self.environment(), REGISTRY, inbound);
            work()?;
            self.stands(pod, Presence::There, LIMIT)?;
            let closed = port.turns(Presence::Gone, begun, Duration::ZERO);
            let refused = closed.and_then(|closed| {
                let open = port.turns(Presence::There, closed.at, LIMIT)?;
                Some(Duration::from_nanos(open.at.since(closed.after)))
            });
            Ok::<_, Error>(refused.unwrap_or_default())
        })?;
        let took = Duration::from_nanos(Nanos::now().since(begun));
        let exit = old.wait(LIMIT)?;
        self.note(
            "process",
            format!("the one that held 12200 of pod {pod} {exit}"),
        );
        self.note(
            "socket",
            format!(
                "{inbound} refused connections for {:.1} ms",
                refused.as_secs_f64() * 1e3
            ),
        );
        Ok(Moved {
            refused,
            took,
            old: exit,
        })
    }

    /// Takes the app of a pod off the config center, and waits until those who route know.
    fn leave(&self, pod: &str) -> Result<(), Error> {
        self.order_app(pod, "{\"leave\":true}")?;
        self.stands(pod, Presence::Gone, LIMIT)?;
        let inbound = self.place(pod)?.inbound;
        let end = Nanos::now() + LIMIT;
        for other in self.pods().filter(|other| *other != pod) {
            while self.routes_to(other, inbound) == Some(true) {
                if Nanos::now() > end {
                    let what = format!("the end of routes to {inbound} in pod {other}");
                    return Err(Error::Late { what, limit: LIMIT });
                }
                std::thread::park_timeout(PAUSE);
            }
        }
        Ok(())
    }

    /// Waits for a file that only programs of the environment may see.
    fn exists(&self, pod: &str, file: &str) -> Result<(), Error> {
        const LOOK: &str = "until test -e \"$0\"; do sleep 0.001; done";
        let command = Command {
            limit: LIMIT,
            ..Command::program("sh", ["-c", LOOK, file]).ready(Ready::Done)
        };
        self.environment().start(pod, command).map(drop)
    }

    /// Waits until 12200 of a pod refuses connections.
    fn is_free(&self, pod: &str) -> Result<(), Error> {
        let inbound = self.place(pod)?.inbound;
        becomes(self.environment(), inbound, Presence::Gone, LIMIT).map(drop)
    }
}

/// The next app takes its orders at the other of two ports: the one before may still hold its own.
fn other_control(member: &mut Member) {
    let next = match member.place.control.port() {
        port::CONTROL => port::CONTROL_TOO,
        _ => port::CONTROL,
    };
    member.place.control.set_port(next);
}
