//! What the trunk does not do yet.

use serde_json::Value;

use crate::Error;
use crate::mesh::Mesh;
use crate::mesh::control::Part;
use crate::process::Signal;
use crate::relay::Relay;

fn later(what: &str) -> Error {
    Error::Refused(format!("{what} is not there yet"))
}

impl Mesh {
    pub(super) fn kill(&self, pod: &str, part: Part) -> Result<(), Error> {
        self.process(pod, part)?.signal(Signal::Kill)
    }
    pub(super) fn pause(&self, pod: &str, part: Part) -> Result<(), Error> {
        self.process(pod, part)?.signal(Signal::Stop)
    }
    pub(super) fn resume(&self, pod: &str, part: Part) -> Result<(), Error> {
        self.process(pod, part)?.signal(Signal::Continue)
    }
    pub(super) fn start(&self, _pod: &str, _part: Part) -> Result<(), Error> {
        Err(later("start"))
    }
    pub(super) fn restart(&self, _pod: &str, _part: Part) -> Result<(), Error> {
        Err(later("restart"))
    }
    pub(super) fn upgrade(&self, _pod: &str, _to: Option<&str>) -> Result<(), Error> {
        Err(later("upgrade"))
    }
    pub(super) fn meshify(&self, _pod: &str, _sut: &str) -> Result<(), Error> {
        Err(later("meshify"))
    }
    pub(super) fn demesh(&self, _pod: &str) -> Result<(), Error> {
        Err(later("demesh"))
    }
    pub(super) fn set_log_level(&self, _pod: &str, _level: &str) -> Result<(), Error> {
        Err(later("set log level"))
    }
    pub(super) fn set_config(&self, _pod: &str, _: &[(String, Value)]) -> Result<(), Error> {
        Err(later("set config"))
    }
    pub(super) fn relay(&self, _pod: &str, _port: u16) -> Result<&Relay, Error> {
        Err(later("relay"))
    }
}
