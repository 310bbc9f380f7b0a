//! A topology that is up: its pods' apps and sidecars, its config center, its names.

pub mod call;
pub mod spec;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use meshproof_record::case::Moment;

use crate::Error;
use crate::environment::{Backend, Environment, Escapes};
use crate::sut::Sut;

pub use call::{Call, Called, Style};
pub use spec::{AppSpec, MeshSpec, PodSpec, Speaks};

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
    environment: Box<dyn Environment>,
    spec: MeshSpec,
}

impl Mesh {
    /// Brings it up: environment, config center, names, sidecars, apps; returns when every app
    /// that is to be published stands at the config center.
    pub fn up(spec: &MeshSpec, setting: &Setting) -> Result<Mesh, Error> {
        let _ = (spec, setting);
        Err(Error::Refused("not there yet".into()))
    }

    /// What it runs in.
    pub fn environment(&self) -> &dyn Environment {
        self.environment.as_ref()
    }

    /// What it was made from.
    pub fn spec(&self) -> &MeshSpec {
        &self.spec
    }

    /// The addresses of a pod.
    pub fn place(&self, pod: &str) -> Result<Place, Error> {
        Err(Error::Refused(format!("no pod is called `{pod}`")))
    }

    /// Calls, and waits until every call has its end.
    pub fn call(&self, call: &Call) -> Result<Called, Error> {
        let _ = call;
        Err(Error::Refused("not there yet".into()))
    }

    /// What happened so far, in order.
    pub fn timeline(&self) -> Vec<Moment> {
        Vec::new()
    }

    /// Ends it; what tried to leave.
    pub fn down(self) -> Result<Option<Escapes>, Error> {
        self.environment.down()?;
        Ok(None)
    }
}
