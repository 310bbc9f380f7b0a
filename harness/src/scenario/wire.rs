//! Frames on the wire of a pod, as a relay on the leg sees them.

use std::path::Path;

use meshproof_sys::clock::Nanos;

use super::harm;
use super::probe::WireProbe;
use super::stand::{Hall, lock};
use super::world::Look;
use crate::Error;
use crate::capture::Captured;
use crate::relay::Account;

/// Whose packets are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// Of every pod.
    All,
    /// Of those that a `record` step names.
    Wanted,
}

/// Frames that a probe means.
fn count(account: &Account, probe: &WireProbe) -> u64 {
    let sort = probe.frame.map(harm::sort);
    let protocols = probe.protocol.map(harm::protocols);
    let meant = account.frames.iter().filter(|(class, _)| {
        sort.is_none_or(|sort| class.sort == sort)
            && protocols
                .as_ref()
                .is_none_or(|protocols| protocols.contains(&class.protocol))
    });
    meant.map(|(_, frames)| frames).sum()
}

impl Hall {
    /// Keeps the packets of a pod whatever comes of the story.
    pub(super) fn capture(&self, pod: &str, _port: Option<u16>) -> Result<(), Error> {
        let mut packets = lock(&self.packets);
        let Some(packets) = packets.as_mut() else {
            return Err(Error::Unsupported {
                missing: format!("a way to keep the packets of pod {pod}"),
                advice: "use the netns backend, or look at frames with a `wire` probe".into(),
            });
        };
        packets.wanted.insert(pod.to_owned());
        Ok(())
    }

    /// Ends the capture and copies what is to be kept into a folder: every pod's packets, or
    /// those that the story wants. What was captured, and the names of the files.
    pub(super) fn captures(
        &self,
        keep: Keep,
        folder: &Path,
    ) -> Result<(Vec<Captured>, Vec<String>), Error> {
        let Some(packets) = lock(&self.packets).take() else {
            return Ok(Default::default());
        };
        let captured = packets.recorder.stop();
        let mut names = Vec::new();
        for one in &captured {
            if keep == Keep::Wanted && !packets.wanted.contains(&one.at) {
                continue;
            }
            for file in &one.files {
                let Some(name) = file.file_name() else {
                    continue;
                };
                let what = || format!("keeping {}", file.display());
                std::fs::create_dir_all(folder).map_err(Error::io(what()))?;
                std::fs::copy(file, folder.join(name)).map_err(Error::io(what()))?;
                names.push(name.to_string_lossy().into_owned());
            }
        }
        Ok((captured, names))
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
