//! One link, or all of them, captured by libpcap: what `meshproof capture` does, in a pod or on
//! this machine.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::{Captured, Size};
use crate::Error;

/// What is captured, and for how long.
#[derive(Clone, Debug)]
pub struct Live {
    /// The link; `any`: all of this network.
    pub link: String,
    /// What packets must be, as tcpdump writes it: `port 12200`. None: all are taken.
    pub filter: Option<String>,
    /// Where the files go.
    pub folder: PathBuf,
    /// How they begin: `NAME.0001.pcapng`.
    pub name: String,
    /// Their size.
    pub size: Size,
    /// After so many packets it is over.
    pub packets_max: Option<u64>,
    /// After this time it is over.
    pub limit: Option<Duration>,
}

/// Captures until a limit, or until `stop`; `began` is called when everything that passes from
/// then on is seen. [`Error::Unsupported`] where this program was built without libpcap, or may
/// not.
#[cfg(feature = "live")]
pub fn run(live: &Live, stop: &AtomicBool, began: impl FnOnce()) -> Result<Captured, Error> {
    bpf::run(live, stop, began)
}

/// This program was built without it.
#[cfg(not(feature = "live"))]
pub fn run(_live: &Live, _stop: &AtomicBool, _began: impl FnOnce()) -> Result<Captured, Error> {
    Err(Error::Unsupported {
        missing: "libpcap, without which this program was built".into(),
        advice: "install libpcap-dev and build with the feature `live`; `tcpdump` captures as well"
            .into(),
    })
}

#[cfg(feature = "live")]
mod bpf {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use meshproof_replay::capture::{Link, Packet};
    use meshproof_sys::clock::Nanos;
    use pcap::{Active, Capture, Precision};
    use rustix::event::{Timespec, poll};

    use super::{Captured, Live};
    use crate::Error;
    use crate::capture::Ring;

    /// The kernel gives packets away by blocks: one that is not full, after this.
    const BLOCK_MS: i32 = 20;

    /// From one look to the next, where no packet waits: libpcap itself would wait for a packet
    /// longer than for any time-out (TPACKET_V3, seen with 1.10.3).
    const LOOK: Duration = Duration::from_millis(5);

    /// A packet is in its file after this long at the latest.
    const HELD: Duration = Duration::from_millis(50);

    /// Bytes that the kernel holds for us.
    const BUFFER_BYTES: i32 = 16 << 20;

    /// The longest packet that is taken whole.
    const SNAPLEN: i32 = 262_144;

    pub(super) fn run(
        live: &Live,
        stop: &AtomicBool,
        began: impl FnOnce(),
    ) -> Result<Captured, Error> {
        let mut capture = open(live)?;
        let link = u16::try_from(capture.get_datalink().0).unwrap_or(u16::MAX);
        let link = Link::from_number(link);
        let mut ring = Ring::begin(&live.folder, &live.name, live.size)
            .map_err(Error::io("the files of a capture"))?;
        began();
        let start = Nanos::now();
        let end = live.limit.map(|limit| start + limit);
        let (mut taken, mut flushed) = (0, start);
        loop {
            let full = live.packets_max.is_some_and(|max| taken >= max);
            let now = Nanos::now();
            if full || stop.load(Ordering::Relaxed) || end.is_some_and(|end| now >= end) {
                break;
            }
            match capture.next_packet() {
                Ok(packet) => {
                    taken += 1;
                    let seconds = u64::try_from(packet.header.ts.tv_sec).unwrap_or(0);
                    // Asked for with nanoseconds, that is what they are.
                    let nanos = u64::try_from(packet.header.ts.tv_usec).unwrap_or(0);
                    ring.put(&Packet {
                        number: taken,
                        at_ns: seconds.saturating_mul(1_000_000_000).saturating_add(nanos),
                        link,
                        source: 0,
                        data: packet.data,
                        orig_len: packet.header.len,
                    });
                    if now.since(flushed) >= u64::try_from(HELD.as_nanos()).unwrap_or(0) {
                        ring.settle();
                        flushed = now;
                    }
                }
                Err(pcap::Error::TimeoutExpired) => {
                    ring.settle();
                    flushed = now;
                    pause();
                }
                Err(pcap::Error::NoMorePackets) => break,
                Err(error) => return Err(refused(live, &error)),
            }
        }
        ring.settle();
        let dropped = capture.stats().map_or(0, |stats| {
            u64::from(stats.dropped) + u64::from(stats.if_dropped)
        });
        Ok(ring.captured(dropped))
    }

    fn open(live: &Live) -> Result<Capture<Active>, Error> {
        let opened = Capture::from_device(live.link.as_str())
            .map(|capture| {
                capture
                    .snaplen(SNAPLEN)
                    .buffer_size(BUFFER_BYTES)
                    .timeout(BLOCK_MS)
                    .precision(Precision::Nano)
            })
            .and_then(Capture::open)
            .and_then(Capture::setnonblock);
        let mut capture = opened.map_err(|error| {
            let text = error.to_string();
            match text.contains("ermission") || text.contains("not permitted") {
                true => Error::Unsupported {
                    missing: format!("the right to capture on {} ({text})", live.link),
                    advice: "run as root, `setcap cap_net_raw+ep` this program, or capture in a \
                             pod with --pod"
                        .into(),
                },
                false => refused(live, &error),
            }
        })?;
        if let Some(filter) = &live.filter {
            let set = capture.filter(filter, true);
            set.map_err(|error| Error::Refused(format!("the filter `{filter}`: {error}")))?;
        }
        Ok(capture)
    }

    fn pause() {
        if let Ok(look) = Timespec::try_from(LOOK) {
            // A signal ends it: what it was for is looked at next.
            let _ = poll(&mut [], Some(&look));
        }
    }

    fn refused(live: &Live, error: &pcap::Error) -> Error {
        Error::Refused(format!("capturing on {}: {error}", live.link))
    }
}
