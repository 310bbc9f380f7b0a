//! Whatever is done to what runs in a mesh.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use meshproof_sys::clock::Nanos;
use meshproof_wire::registry::Push;

use super::pod::Services;
use super::rise::{self, LIMIT, SERVICE, Site};
use super::{Mesh, REGISTRY, VIP, http, lock, port};
use crate::Error;
use crate::process::{Exit, Process, Signal};
use crate::watch::{Presence, Pushes};

/// Which program of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The app.
    App,
    /// The sidecar.
    Sidecar,
}

impl Mesh {
    /// Where the config center is.
    ///
    /// # Errors
    /// The site has none.
    pub fn center(&self) -> Result<SocketAddr, Error> {
        let center = self.services_at()?.center;
        center.ok_or_else(|| {
            Error::Refused(format!(
                "site {} has no config center (`registry: static`): addresses stand in \
                 configurations there; choose a site that has one, such as --site ant-like",
                self.setting.site.site
            ))
        })
    }

    /// Where the VIP name service is.
    pub fn names(&self) -> Result<SocketAddr, Error> {
        Ok(self.services_at()?.names)
    }

    /// Where the config center takes orders.
    pub fn center_control(&self) -> Result<SocketAddr, Error> {
        Ok(SocketAddr::new(self.center()?.ip(), port::CENTER_CONTROL))
    }

    /// Where the VIP name service takes orders.
    pub fn names_control(&self) -> Result<SocketAddr, Error> {
        Ok(SocketAddr::new(self.names()?.ip(), port::NAMES_CONTROL))
    }

    pub(super) fn services_at(&self) -> Result<Services, Error> {
        rise::services(self.environment(), &self.setting)
    }

    pub(super) fn site(&self) -> Result<Site<'_>, Error> {
        Ok(Site {
            environment: self.environment(),
            spec: &self.spec,
            setting: &self.setting,
            services: self.services_at()?,
            root: &self.root,
            journals: &self.journals,
        })
    }

    /// Whether an app runs, or ran, in a pod.
    pub fn has_app(&self, pod: &str) -> bool {
        self.member(pod)
            .is_ok_and(|member| lock(member).spec.app.is_some())
    }

    /// A program of a pod, as it runs now.
    pub fn process(&self, pod: &str, part: Part) -> Result<Arc<Process>, Error> {
        let member = lock(self.member(pod)?);
        let found = match part {
            Part::App => member.app.as_ref(),
            Part::Sidecar => member.sidecar.as_ref(),
        };
        let what = match part {
            Part::App => "app",
            Part::Sidecar => "sidecar",
        };
        let found = found.map(Arc::clone);
        found.ok_or_else(|| Error::Refused(format!("no {what} runs in pod {pod}")))
    }

    /// Orders for the app of a pod, as JSON: `{"mute":"heartbeats"}`.
    pub fn order_app(&self, pod: &str, orders: &str) -> Result<(), Error> {
        let control = self.place(pod)?.control;
        self.order(pod, control, orders, &format!("the app of pod {pod}"))
    }

    /// Orders for the config center: `{"order":"reversed"}`.
    pub fn order_registry(&self, orders: &str) -> Result<(), Error> {
        let control = self.center_control()?;
        self.order(REGISTRY, control, orders, "the config center")
    }

    /// Orders for the VIP name service: `{"faults":{"*":{"answer":"servfail"}}}`.
    pub fn order_names(&self, orders: &str) -> Result<(), Error> {
        let control = self.names_control()?;
        self.order(VIP, control, orders, "the VIP name service")
    }

    pub(super) fn order(
        &self,
        pod: &str,
        at: SocketAddr,
        orders: &str,
        who: &str,
    ) -> Result<(), Error> {
        let answer = http::post(self.environment(), pod, at, "/v1/control", orders)?;
        answer.good(&format!("{who}, told {orders}"))?;
        self.note("harness", format!("{who} is told {orders}"));
        Ok(())
    }
}

/// How something ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In good order, as its adapter says.
    Stop,
    /// By SIGKILL.
    Kill,
}

impl Part {
    fn word(self) -> &'static str {
        match self {
            Part::App => "app",
            Part::Sidecar => "sidecar",
        }
    }
}

impl Mesh {
    /// Ends a program of a pod, and waits for its end.
    pub fn end(&self, pod: &str, part: Part, how: End) -> Result<Exit, Error> {
        let process = self.process(pod, part)?;
        let exit = match (how, part) {
            (End::Kill, _) => {
                process.signal(Signal::Kill)?;
                process.wait(LIMIT)?
            }
            (End::Stop, Part::App) => process.stop(LIMIT)?,
            (End::Stop, Part::Sidecar) => {
                let stop = self
                    .sidecar_of(pod)?
                    .map(|sut| sut.stop)
                    .unwrap_or_default();
                process.signal(stop.signal)?;
                match process.wait(Duration::from_millis(stop.grace_ms)) {
                    Err(Error::Late { .. }) => {
                        process.signal(Signal::Kill)?;
                        process.wait(LIMIT)?
                    }
                    other => other?,
                }
            }
        };
        let at = process.exit().map_or_else(Nanos::now, |(_, at)| at);
        self.note_at(
            at,
            "process",
            format!("the {} of pod {pod} {exit}", part.word()),
        );
        Ok(exit)
    }

    /// Sends a signal to a program of a pod: [`Signal::Stop`] holds it, [`Signal::Continue`] lets
    /// it go on.
    pub fn signal(&self, pod: &str, part: Part, signal: Signal) -> Result<(), Error> {
        self.process(pod, part)?.signal(signal)?;
        let word = part.word();
        self.note("harness", format!("{signal:?} for the {word} of pod {pod}"));
        Ok(())
    }

    /// Kills a program of a pod, and waits for its end.
    pub fn kill(&self, pod: &str, part: Part) -> Result<(), Error> {
        self.end(pod, part, End::Kill).map(drop)
    }

    /// Holds a program of a pod: it does nothing, and its sockets stay open.
    pub fn pause(&self, pod: &str, part: Part) -> Result<(), Error> {
        self.signal(pod, part, Signal::Stop)
    }

    /// Lets a program go on that was held.
    pub fn resume(&self, pod: &str, part: Part) -> Result<(), Error> {
        self.signal(pod, part, Signal::Continue)
    }

    /// Starts a program of a pod as it was started before; one that runs is refused.
    pub fn start(&self, pod: &str, part: Part) -> Result<(), Error> {
        let word = part.word();
        {
            let mut member = lock(self.member(pod)?);
            let before = match part {
                Part::App => &member.app,
                Part::Sidecar => &member.sidecar,
            };
            if before
                .as_ref()
                .is_some_and(|process| process.exit().is_none())
            {
                return Err(Error::Refused(format!(
                    "the {word} of pod {pod} runs already"
                )));
            }
            if part == Part::Sidecar && member.spec.sidecar.is_none() {
                return Err(Error::Refused(format!("pod {pod} has no sidecar")));
            }
            let site = self.site()?;
            match part {
                Part::App => site.start_app(pod, &mut member)?,
                Part::Sidecar => site.start_sidecar(pod, &mut member)?,
            }
        }
        self.note("process", format!("the {word} of pod {pod} runs again"));
        Ok(())
    }

    /// Ends a program of a pod and starts it again.
    pub fn restart(&self, pod: &str, part: Part, how: End) -> Result<(), Error> {
        self.end(pod, part, how)?;
        self.start(pod, part)
    }

    /// Kills the config center, or the VIP name service, and starts it again: it has forgotten
    /// everything. `{"restart":"with-memory"}` is an order for one that remembers.
    pub fn restart_service(&self, service: &str) -> Result<(), Error> {
        if service == REGISTRY {
            self.center()?;
        }
        let mut services = lock(&self.running);
        let running = services.remove(service).ok_or_else(|| {
            Error::Refused(format!(
                "no service is called `{service}`: write {REGISTRY} or {VIP}"
            ))
        })?;
        running.signal(Signal::Kill)?;
        let exit = running.wait(LIMIT)?;
        self.note("process", format!("{} {exit}", running.name()));
        let site = self.site()?;
        let started = match service {
            REGISTRY => site.registry()?,
            _ => site.names()?,
        };
        self.note("process", format!("{} runs again", started.name()));
        services.insert(service.to_owned(), started);
        Ok(())
    }

    /// What the config center names for a service now.
    pub fn provided(&self, service: &str) -> Result<Push, Error> {
        let path = format!("/v1/services/{}", service.replace(':', "%3A"));
        let answer = http::get(self.environment(), REGISTRY, self.center()?, &path)?;
        let text = answer.good("the config center")?;
        serde_json::from_str(&text)
            .map_err(|error| Error::Refused(format!("the config center said {text}: {error}")))
    }

    /// Subscribes to services, as a witness.
    pub fn pushes(&self, services: &[&str]) -> Result<Pushes, Error> {
        Pushes::watch(self.environment(), REGISTRY, self.center()?, services)
    }

    /// The services that the app of a pod provides: `com.alipay.demo.SampleService:1.0`.
    pub fn services_of(&self, pod: &str) -> Result<Vec<String>, Error> {
        let member = lock(self.member(pod)?);
        let versions = member.spec.app.iter().flat_map(|app| &app.versions);
        Ok(versions
            .map(|version| format!("{SERVICE}:{version}"))
            .collect())
    }

    /// Waits until the config center names a pod for all that its app provides, or for none of it;
    /// where there is none, until 12200 of the pod takes connections, or refuses them.
    pub fn stands(&self, pod: &str, there: Presence, limit: Duration) -> Result<(), Error> {
        let address = self.place(pod)?.inbound;
        if !self.setting.site.has_center() {
            return rise::becomes(self.environment(), address, there, limit).map(drop);
        }
        for service in self.services_of(pod)? {
            let pushes = self.pushes(&[&service])?;
            if pushes.lists(address, there, Nanos(0), limit).is_none() {
                let what = match there {
                    Presence::There => format!("{service} of {address} at the config center"),
                    Presence::Gone => {
                        format!("the end of {service} of {address} at the config center")
                    }
                };
                return Err(Error::Late { what, limit });
            }
        }
        Ok(())
    }

    /// What the config center did, in order: the lines of its log.
    pub fn registry_log(&self) -> Result<Vec<serde_json::Value>, Error> {
        let control = self.center_control()?;
        self.log_over_http(REGISTRY, control, "the log of the config center")
    }

    /// The questions that the VIP name service was asked, in order: the lines of its log.
    pub fn names_log(&self) -> Result<Vec<serde_json::Value>, Error> {
        let control = self.names_control()?;
        self.log_over_http(VIP, control, "the log of the VIP name service")
    }

    fn log_over_http(
        &self,
        pod: &str,
        at: SocketAddr,
        what: &str,
    ) -> Result<Vec<serde_json::Value>, Error> {
        let text = http::get(self.environment(), pod, at, "/v1/log")?.good(what)?;
        // A line that is cut at the limit of an answer is left out.
        let lines = text.lines().map(serde_json::from_str);
        Ok(lines.filter_map(Result::ok).collect())
    }
}
