//! One link, or all of them, captured by libpcap: what `meshproof capture` does, in a pod or on
//! this machine.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use meshproof_replay::capture::{Link, Packet};
use meshproof_sys::clock::Nanos;
use meshproof_sys::pcap::{self, Capture, Options};
use rustix::event::{Timespec, poll};

use super::{Captured, Ring, Size};
use crate::Error;

/// From one look to the next, where no packet waits: libpcap itself would wait for a packet
/// longer than for any time-out (TPACKET_V3, seen with 1.10.3).
const LOOK: Duration = Duration::from_millis(5);

/// A packet is in its file after this long at the latest.
const HELD: Duration = Duration::from_millis(50);

const OPTIONS: Options = Options {
    snaplen_bytes: 262_144,
    buffer_bytes: 16 << 20,
    block_ms: 20,
};

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
/// then on is seen. [`Error::Unsupported`] where there is no libpcap, or this process may not.
pub fn run(live: &Live, stop: &AtomicBool, began: impl FnOnce()) -> Result<Captured, Error> {
    let mut capture = open(live)?;
    let link = u16::try_from(capture.link_type()).unwrap_or(u16::MAX);
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
        match capture
            .next_packet()
            .map_err(|error| refused(live, &error))?
        {
            Some(packet) => {
                taken += 1;
                ring.put(&Packet {
                    number: taken,
                    at_ns: packet.at_ns,
                    link,
                    source: 0,
                    data: packet.data,
                    orig_len: packet.len,
                });
                if now.since(flushed) >= u64::try_from(HELD.as_nanos()).unwrap_or(0) {
                    ring.settle();
                    flushed = now;
                }
            }
            None => {
                ring.settle();
                flushed = now;
                pause();
            }
        }
    }
    ring.settle();
    Ok(ring.captured(capture.dropped().unwrap_or_default()))
}

fn open(live: &Live) -> Result<Capture, Error> {
    let opened = Capture::open(&live.link, &OPTIONS);
    let mut capture = opened.map_err(|error| refused(live, &error))?;
    if let Some(filter) = &live.filter {
        let set = capture.filter(filter);
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
    match error {
        pcap::Error::Missing(text) => Error::Unsupported {
            missing: format!("libpcap ({text})"),
            advice: match cfg!(target_feature = "crt-static") {
                true => "capture with `tcpdump`, or with a build that is not static",
                false => "apt-get install libpcap0.8; `tcpdump` captures as well",
            }
            .into(),
        },
        pcap::Error::Denied(text) => Error::Unsupported {
            missing: format!("the right to capture on {} ({text})", live.link),
            advice: "run as root, `setcap cap_net_raw+ep` this program, or capture in a pod with \
                     --pod"
                .into(),
        },
        pcap::Error::Refused(text) => Error::Refused(format!("capturing on {}: {text}", live.link)),
    }
}
