//! Frames on the wire of a pod, as a relay on the leg sees them.

use meshproof_sys::clock::Nanos;

use super::harm;
use super::probe::WireProbe;
use super::stand::{Hall, lock};
use super::world::Look;
use crate::Error;
use crate::relay::Account;

/// Frames that a probe means.
fn count(account: &Account, probe: &WireProbe) -> u64 {
    let sort = probe.frame.map(harm::sort);
    let protocol = probe.protocol.map(harm::protocol);
    let meant = account.frames.iter().filter(|(class, _)| {
        sort.is_none_or(|sort| class.sort == sort)
            && protocol.is_none_or(|protocol| class.protocol == protocol)
    });
    meant.map(|(_, frames)| frames).sum()
}

impl Hall {
    /// Keeps the packets of a pod from here on.
    pub(super) fn capture(&self, pod: &str, _port: Option<u16>) -> Result<(), Error> {
        Err(Error::Unsupported {
            missing: format!("a way to keep the packets of pod {pod} for a story"),
            advice: "look at frames with a `wire` probe".into(),
        })
    }

    /// Captures so far, by the name of their file.
    pub(super) fn captures(&self) -> Result<Vec<(String, Vec<u8>)>, Error> {
        Ok(Vec::new())
    }

    /// Counts frames.
    pub(super) fn on_wire(&self, probe: &WireProbe, since: Nanos) -> Result<Look, Error> {
        let (pod, port) = (probe.pod.as_str(), probe.port.value);
        let all = count(&self.mesh.relay_at(pod, port)?.account(), probe);
        let before = match probe.new {
            // The first look of a step is its begin.
            true => {
                let key = (since, probe.pod.span.start);
                *lock(&self.frames).entry(key).or_insert(all)
            }
            false => 0,
        };
        let found = all - before;
        let holds = match probe.count {
            Some(count) => count.holds(found as f64),
            None => found > 0,
        };
        let kind = probe.frame.map_or("frame", |frame| frame.word());
        let said = format!("{found} {kind}s on the leg to {port} of {pod}");
        Ok(Look::new(holds, said))
    }
}
