//! Frames on the wire of a pod, from its packets.

use meshproof_sys::clock::Nanos;

use super::probe::WireProbe;
use super::stand::{Hall, refused};
use super::world::Look;
use crate::Error;

impl Hall {
    /// Keeps the packets of a pod from here on.
    pub(super) fn capture(&self, pod: &str, _port: Option<u16>) -> Result<(), Error> {
        Err(refused(format!("packets of pod {pod} cannot be kept yet")))
    }

    /// Captures so far, by the name of their file.
    pub(super) fn captures(&self) -> Result<Vec<(String, Vec<u8>)>, Error> {
        Ok(Vec::new())
    }

    /// Counts frames.
    pub(super) fn on_wire(&self, probe: &WireProbe, _since: Nanos) -> Result<Look, Error> {
        Err(refused(format!(
            "packets of pod {} are not kept",
            probe.pod
        )))
    }
}
