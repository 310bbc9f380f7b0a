//! Whatever is done to what runs in a mesh.

use std::net::SocketAddr;
use std::sync::Arc;

use super::pod::Services;
use super::rise::Site;
use super::{Mesh, REGISTRY, VIP, http, lock, port};
use crate::Error;
use crate::environment::Capability;
use crate::process::Process;

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
    pub fn center(&self) -> Result<SocketAddr, Error> {
        Ok(self.services_at()?.center)
    }

    /// Where the VIP name service is.
    pub fn names(&self) -> Result<SocketAddr, Error> {
        Ok(self.services_at()?.names)
    }

    pub(super) fn services_at(&self) -> Result<Services, Error> {
        let environment = self.environment();
        let names = match environment.can(Capability::OwnPorts)
            || environment.backend() == crate::Backend::Netns
        {
            true => port::NAMES,
            false => port::NAMES_HIGH,
        };
        Ok(Services {
            center: SocketAddr::new(environment.address(REGISTRY)?, port::CENTER),
            names: SocketAddr::new(environment.address(VIP)?, names),
        })
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
        let control = SocketAddr::new(self.center()?.ip(), port::CENTER_CONTROL);
        self.order(REGISTRY, control, orders, "the config center")
    }

    /// Orders for the VIP name service: `{"faults":{"*":{"answer":"servfail"}}}`.
    pub fn order_names(&self, orders: &str) -> Result<(), Error> {
        let control = SocketAddr::new(self.names()?.ip(), port::NAMES_CONTROL);
        self.order(VIP, control, orders, "the VIP name service")
    }

    fn order(&self, pod: &str, at: SocketAddr, orders: &str, who: &str) -> Result<(), Error> {
        let answer = http::post(self.environment(), pod, at, "/v1/control", orders)?;
        answer.good(&format!("{who}, told {orders}"))?;
        self.note("harness", format!("{who} is told {orders}"));
        Ok(())
    }
}
