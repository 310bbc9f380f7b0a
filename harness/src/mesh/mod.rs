//! A topology that is up: its pods' apps and sidecars, its config center, its names.
//!
//! [`Mesh::up`] brings it up and [`Mesh::down`] ends it; in between, [`call`] makes calls,
//! [`control`] stops, kills, orders and asks whatever runs in it, [`shift`] changes who holds a
//! port while calls go on, and [`ledger`] closes the account. Everything that happens is a
//! [`Moment`] of one clock.

pub mod admin;
pub mod call;
pub mod control;
pub mod evidence;
pub mod http;
pub mod ledger;
pub mod metrics;
pub mod shift;
pub mod spec;
pub mod told;

mod pod;
mod rise;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use meshproof_record::case::Moment;
use meshproof_sys::clock::Nanos;
use rustix::time::{ClockId, clock_gettime};

use crate::Error;
use crate::environment::{Backend, Capability, Environment, Escapes};
use crate::pick::{Picked, Raised};
use crate::process::Process;
use crate::relay::Relay;
use crate::site::Site;
use crate::sut::{self, Sut};

pub use call::{Call, Called, Calling, Style};
pub use control::{End, Part};
pub use ledger::Ledger;
pub use metrics::Metrics;
pub use shift::{Handover, Moved};
pub use spec::{AppSpec, MeshSpec, PodSpec, Speaks};

use pod::Member;

/// The pod of the config center.
pub const REGISTRY: &str = "registry";
/// The pod of the VIP name service.
pub const VIP: &str = "vip";

/// Ports of production.
pub(crate) mod port {
    pub(crate) const INBOUND: u16 = 12200;
    pub(crate) const APP: u16 = 12199;
    pub(crate) const OUTBOUND: u16 = 12220;
    pub(crate) const API: u16 = 13330;
    pub(crate) const ADMIN: u16 = 12230;
    /// The app, where a relay holds its port.
    pub(crate) const APP_BEHIND: u16 = 12196;
    /// A relay in front of the outbound port.
    pub(crate) const OUTBOUND_FRONT: u16 = 12221;
    /// Where an app takes orders.
    pub(crate) const CONTROL: u16 = 12198;
    /// The same, of an app that is there while another one leaves.
    pub(crate) const CONTROL_TOO: u16 = 12197;
    pub(crate) const CENTER: u16 = 9600;
    pub(crate) const CENTER_CONTROL: u16 = meshproof_fault::order::CENTER_CONTROL;
    /// Names, where a pod has all ports to itself.
    pub(crate) const NAMES: u16 = 53;
    /// Names, where it has not.
    pub(crate) const NAMES_HIGH: u16 = 9653;
    pub(crate) const NAMES_CONTROL: u16 = meshproof_fault::order::NAMES_CONTROL;
}

/// How a mesh is brought up.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Which backend; none: the best that this machine allows.
    pub backend: Option<Backend>,
    /// The program whose `main` dispatches stages and which is the reference sidecar and the
    /// fixtures; `/proc/self/exe` for the command line.
    pub program: Vec<OsString>,
    /// Adapters by name; [`crate::sut::REFERENCE`] is always there.
    pub suts: Vec<Sut>,
    /// Where logs and journals go; none: a folder that goes with the mesh.
    pub folder: Option<PathBuf>,
    /// Seeded bugs of sidecars by pod, `*` for all. No scenario can read them.
    pub bugs: BTreeMap<String, Vec<String>>,
    /// The site that it stands in.
    pub site: Site,
    /// Legs on which a relay stands that knows frames, by pod.
    pub relays: Vec<(String, Between)>,
    /// When the VIP name service runs.
    pub names: Names,
}

/// When the VIP name service runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// In every mesh: names may be made known while it is up.
    #[default]
    Always,
    /// Where the topology has a VIP. Else a question for a name is refused at once.
    WithVips,
}

/// A leg of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Between {
    /// From the sidecar to the app: port 12199 is the relay's, and the app listens behind it.
    SidecarAndApp,
    /// From the client in the pod to its sidecar: clients call the relay in place of 12220.
    ClientAndSidecar,
    /// From whoever calls the pod to its sidecar, or to its app where it has none: port 12200 of
    /// the pod's address is the relay's, and who serves listens on the same port of the pod's
    /// loopback. It takes connections whether or not anybody serves behind it: whether 12200 is
    /// open is not to be asked then. Only where a pod has a loopback of its own.
    SidecarAndSidecar,
}

impl Default for Setting {
    fn default() -> Self {
        Setting {
            backend: None,
            program: vec!["/proc/self/exe".into()],
            suts: sut::shipped(),
            folder: None,
            bugs: BTreeMap::new(),
            site: Site::default(),
            relays: Vec::new(),
            names: Names::Always,
        }
    }
}

impl Between {
    /// The leg to this port.
    pub fn of_port(port: u16) -> Option<Between> {
        match port {
            port::APP => Some(Between::SidecarAndApp),
            port::OUTBOUND => Some(Between::ClientAndSidecar),
            port::INBOUND => Some(Between::SidecarAndSidecar),
            _ => None,
        }
    }
}

/// Addresses of one pod, as its own programs and others use them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where others call it: port 12200.
    pub inbound: SocketAddr,
    /// Where its app serves its sidecar: port 12199.
    pub app: SocketAddr,
    /// Where its app calls out: port 12220.
    pub outbound: SocketAddr,
    /// The application API: port 13330.
    pub api: SocketAddr,
    /// The sidecar's admin interface.
    pub admin: SocketAddr,
    /// Where the app takes orders.
    pub control: SocketAddr,
}

/// A mesh that is up. Dropping it ends everything in it.
pub struct Mesh {
    // The first that is dropped: programs of an environment that is gone need no signal.
    environment: Box<dyn Environment>,
    picked: Picked,
    relays: BTreeMap<(String, Between), Relay>,
    spec: MeshSpec,
    setting: Setting,
    pods: BTreeMap<String, Mutex<Member>>,
    /// Config center and VIP names, by their pods.
    running: Mutex<BTreeMap<String, Process>>,
    /// Where files of the environment stand.
    root: PathBuf,
    /// Where journals stand, as programs name it.
    journals: PathBuf,
    begun: Begun,
    moments: Mutex<Vec<(Nanos, String, String)>>,
    calls: Mutex<call::Calls>,
}

/// One moment on two clocks.
#[derive(Clone, Copy, Debug)]
struct Begun {
    at: Nanos,
    wall_us: u64,
}

impl Begun {
    fn now() -> Begun {
        let wall = clock_gettime(ClockId::Realtime);
        Begun {
            at: Nanos::now(),
            // The year 1970 is over.
            wall_us: (wall.tv_sec as u64) * 1_000_000 + (wall.tv_nsec as u64) / 1000,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is held is a list or a map that is whole at any time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mesh {
    /// Brings it up: environment, config center, names, sidecars, apps; returns when every app
    /// that is to be published stands at the config center.
    pub fn up(spec: &MeshSpec, setting: &Setting) -> Result<Mesh, Error> {
        rise::up(rise::environment(spec, setting)?, spec, setting)
    }

    /// An environment that has the pods of a topology.
    pub fn environment_for(spec: &MeshSpec, setting: &Setting) -> Result<Raised, Error> {
        rise::environment(spec, setting)
    }

    /// The same in an environment that has its pods, and in which nothing runs.
    pub fn up_in(raised: Raised, spec: &MeshSpec, setting: &Setting) -> Result<Mesh, Error> {
        rise::up(raised, spec, setting)
    }

    /// Whether an environment has the pods of a topology.
    pub fn fits(raised: &Raised, spec: &MeshSpec) -> bool {
        let pods = raised.environment.pods();
        let there = |name: &str| pods.iter().any(|pod| pod.name == name);
        rise::pods(spec).into_iter().all(there)
    }

    /// Ends everything in it and gives back its environment, in which nothing runs and of which
    /// nothing is left. An error: that is in doubt, and the environment has ended.
    pub fn vacate(self) -> Result<Raised, Error> {
        let Mesh {
            environment,
            picked,
            relays,
            pods,
            running,
            ..
        } = self;
        // Their sockets stand in its pods.
        drop(relays);
        environment.reset()?;
        drop((pods, running));
        Ok(Raised {
            environment,
            picked,
            notes: Vec::new(),
        })
    }

    /// What it runs in.
    pub fn environment(&self) -> &dyn Environment {
        self.environment.as_ref()
    }

    /// What its environment is made of, and why.
    pub fn picked(&self) -> &Picked {
        &self.picked
    }

    /// The relay on the leg to a port of a pod.
    pub fn relay_at(&self, pod: &str, port: u16) -> Result<&Relay, Error> {
        let between = Between::of_port(port);
        let relay = between.and_then(|between| self.relay(pod, between));
        relay.ok_or_else(|| {
            Error::Refused(format!(
                "no relay stands on the leg to port {port} of pod {pod}: one can be on 12199 \
                 (sidecar to app), on 12220 (client to sidecar) and on 12200 (sidecar to sidecar)"
            ))
        })
    }

    /// The relay on a leg of a pod, where [`Setting::relays`] asked for one.
    pub fn relay(&self, pod: &str, between: Between) -> Option<&Relay> {
        self.relays.get(&(pod.to_owned(), between))
    }

    /// What it was made from.
    pub fn spec(&self) -> &MeshSpec {
        &self.spec
    }

    /// How it was made.
    pub fn setting(&self) -> &Setting {
        &self.setting
    }

    /// The addresses of a pod.
    pub fn place(&self, pod: &str) -> Result<Place, Error> {
        Ok(lock(self.member(pod)?).place.clone())
    }

    /// The adapter of a pod's sidecar; none: it has none.
    pub fn sidecar_of(&self, pod: &str) -> Result<Option<Sut>, Error> {
        let name = lock(self.member(pod)?).spec.sidecar.clone();
        name.map(|name| self.sut(&name).cloned()).transpose()
    }

    /// Pods of apps and clients, in the order of the topology.
    pub fn pods(&self) -> impl Iterator<Item = &str> {
        self.spec.pods.iter().map(|(name, _)| name.value.as_str())
    }

    fn sut(&self, name: &str) -> Result<&Sut, Error> {
        sut::find(&self.setting.suts, name)
    }

    fn member(&self, pod: &str) -> Result<&Mutex<Member>, Error> {
        self.pods.get(pod).ok_or_else(|| {
            let known: Vec<&str> = self.pods().collect();
            let known = known.join(", ");
            Error::Refused(format!("no pod is called `{pod}`; there are {known}"))
        })
    }

    /// When it began: the zero of its timeline.
    pub fn begun(&self) -> Nanos {
        self.begun.at
    }

    /// The wall clock when it began, in nanoseconds since 1970.
    pub fn begun_ns(&self) -> u64 {
        self.begun.wall_us * 1000
    }

    /// A moment of the wall clock, in microseconds since 1970 as fixtures write it, in nanoseconds
    /// since the mesh began.
    pub fn since_begun(&self, wall_us: u64) -> u64 {
        wall_us.saturating_sub(self.begun.wall_us) * 1000
    }

    /// Adds a line to the timeline, of now.
    pub fn note(&self, seen_by: &str, what: impl Into<String>) {
        self.note_at(Nanos::now(), seen_by, what);
    }

    /// Adds a line to the timeline.
    pub fn note_at(&self, at: Nanos, seen_by: &str, what: impl Into<String>) {
        lock(&self.moments).push((at, seen_by.to_owned(), what.into()));
    }

    /// What happened so far, in order.
    pub fn timeline(&self) -> Vec<Moment> {
        let mut moments: Vec<Moment> = lock(&self.moments)
            .iter()
            .map(|(at, seen_by, what)| Moment {
                at_ns: at.since(self.begun.at),
                seen_by: seen_by.clone(),
                what: what.clone(),
            })
            .collect();
        moments.sort_by_key(|moment| moment.at_ns);
        moments
    }

    /// What tried to leave; none where the backend cannot tell.
    pub fn escapes(&self) -> Result<Option<Escapes>, Error> {
        match self.environment.can(Capability::Escapes) {
            true => self.environment.escapes().map(Some),
            false => Ok(None),
        }
    }

    /// Ends it; what tried to leave, where the backend can tell.
    pub fn down(self) -> Result<Option<Escapes>, Error> {
        let escapes = self.escapes()?;
        self.environment.down()?;
        Ok(escapes)
    }

    /// A file of the mesh, as its programs name it.
    fn journal(&self, name: &str) -> PathBuf {
        self.journals.join(name)
    }

    /// Where the output of a program goes, outside; none without a folder.
    fn log_of(&self, name: &str) -> Option<PathBuf> {
        log_of(self.setting.folder.as_deref(), name)
    }
}

fn log_of(folder: Option<&Path>, name: &str) -> Option<PathBuf> {
    folder.map(|folder| folder.join(format!("{name}.log")))
}
