//! A wire in force: frames of a link that pass through this process.
//!
//! ```text
//!             eth0                                              eth0
//! received ──ingress──> mpwireNin ──> machine ──> mpwireNin ──ingress──> the pod      (in)
//! the pod ───egress───> mpwireNout ─> machine ──> packet socket ─egress──> sent      (out)
//! ```
//! A table of nftables at the link turns frames aside; those that come from a wire already are
//! known by their source address (in) or their mark (out), in which each wire has a bit of its
//! own: so wires stand one behind another, and each frame passes each once.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use meshproof_sys::clock::Nanos;
use meshproof_sys::links::Hardware;
use meshproof_sys::netlink::{self, Subsystem};
use meshproof_sys::tap::{Device, FRAME_BYTES_MAX, HEAD_BYTES, Offload, Outlet};
use rustix::io::Errno;

use super::late::Lateness;
use super::machine::{Counts, Fate, Harm, How, Machine};
use super::place::{self, OWN, Place};
use crate::Error;
use crate::netlink::ask::Unanswered;
use crate::nft::rule::{Action, Chain, Hook, Match, Rule, Table};
use crate::nft::table::Owned;
use crate::spec::Direction;

/// Wires that may stand one behind another at one link, each way: each has a bit of a byte.
pub(super) const WIRES_MAX: u8 = 8;

/// Source address of a frame that comes from a wire, on its way in; the last byte has the bits.
const FROM_WIRE: Hardware = [0x02, 0x6d, 0x70, 0x77, 0, 0];

/// Mark of a frame that comes from a wire, on its way out; the last byte has the bits.
const MARK: u32 = 0x6d70_7700;

/// Before what others do at the link.
const PRIORITY: i32 = -400;

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// How long frames are passed on before the keeper looks after the rest of its business.
const TURN: Duration = Duration::from_millis(2);

/// Frames of one direction that are taken before the other has its turn.
const BATCH: usize = 32;

/// What a wire knows a frame by that it has passed on; `bit` is its own.
fn passed(direction: Direction, bit: u8) -> Match {
    match direction {
        Direction::In => {
            let [a, b, c, d, e, _] = FROM_WIRE;
            Match::Sender {
                value: [a, b, c, d, e, bit],
                mask: [0xff, 0xff, 0xff, 0xff, 0xff, bit],
            }
        }
        Direction::Out => Match::Mark {
            value: MARK | u32::from(bit),
            mask: 0xffff_ff00 | u32::from(bit),
        },
    }
}

/// The rules of a wire at `place`: each direction with its number and the link it goes to.
pub(super) fn rules(name: &str, tag: &str, place: &Place, lanes: &[(Direction, u8, u32)]) -> Table {
    let chain = |(direction, number, link): &(Direction, u8, u32)| {
        let rule = |label: &str, matches, action| Rule {
            label: format!("{label}, {direction}"),
            matches,
            action,
        };
        Chain {
            name: direction.word().to_owned(),
            hook: match direction {
                Direction::In => Hook::Ingress(place.name.clone()),
                Direction::Out => Hook::Egress(place.name.clone()),
            },
            // The first wire has the lowest number, so that no frame leaves one out.
            priority: PRIORITY + i32::from(*number),
            rules: vec![
                rule(
                    "passed on",
                    vec![passed(*direction, bit(*number))],
                    Action::Accept,
                ),
                rule("turned aside", Vec::new(), Action::Forward(*link)),
            ],
        }
    };
    Table {
        name: name.to_owned(),
        tag: tag.to_owned(),
        chains: lanes.iter().map(chain).collect(),
    }
}

fn bit(number: u8) -> u8 {
    1 << (number.clamp(1, WIRES_MAX) - 1)
}

/// The bits of a wire and of all that stand before it.
fn bits(number: u8) -> u8 {
    u8::MAX >> (WIRES_MAX - number.clamp(1, WIRES_MAX))
}

/// A wire. Dropping it gives the link back, and so does the end of the process.
pub(super) struct Wire {
    /// First, so that it goes first: frames that are turned aside to nobody are lost.
    table: Option<Owned>,
    lanes: Vec<Lane>,
    buffer: Vec<u8>,
}

/// One direction.
struct Lane {
    direction: Direction,
    link: String,
    device: Device,
    back: Back,
    machine: Machine<Vec<u8>>,
    late: Lateness,
    /// Frames that the kernel did not take.
    refused: u64,
}

/// Where frames go on.
enum Back {
    /// They are received on the link, from a sender with these bits.
    Received(u8),
    /// They are sent on the link.
    Sent(Outlet),
}

/// What one direction did until now.
pub(super) struct Told {
    pub(super) direction: Direction,
    pub(super) counts: Counts,
    pub(super) late: Lateness,
    /// Packets that the wire itself lost: it did not keep up.
    pub(super) own_losses: u64,
}

fn told(what: &'static str) -> impl FnOnce(Unanswered) -> Error {
    move |error| Error::io(what)(io::Error::other(error))
}

impl Wire {
    /// Puts a wire into the link at `place`, for each direction as bad as told.
    pub(super) fn put(
        name: &str,
        tag: &str,
        place: &Place,
        ways: &[(Direction, How)],
    ) -> Result<Wire, Error> {
        let mut lanes = Vec::new();
        let mut numbered = Vec::new();
        for (direction, how) in ways {
            let (lane, number, link) = lane(place, *direction, *how)?;
            numbered.push((*direction, number, link));
            lanes.push(lane);
        }
        let socket = netlink::open(Subsystem::Netfilter).map_err(Error::io("nfnetlink"))?;
        let table = rules(name, tag, place, &numbered);
        let table = Owned::make(socket, table)
            .map_err(|wrong| Error::io("making a table")(io::Error::other(wrong)))?;
        Ok(Wire {
            table: Some(table),
            lanes,
            buffer: vec![0; FRAME_BYTES_MAX],
        })
    }

    /// Descriptors that are readable when there is something to pass on.
    pub(super) fn watched(&self) -> Vec<BorrowedFd<'_>> {
        self.lanes.iter().map(|lane| lane.device.as_fd()).collect()
    }

    /// Passes on what is there; when there is something to do again, though nothing comes.
    pub(super) fn work(&mut self) -> Option<Nanos> {
        let until = Nanos::now() + TURN;
        loop {
            let mut busy = false;
            for lane in &mut self.lanes {
                busy |= lane.turn(&mut self.buffer);
            }
            let now = Nanos::now();
            if !busy {
                return self
                    .lanes
                    .iter()
                    .filter_map(|lane| lane.machine.next())
                    .min();
            }
            if now >= until {
                return Some(now);
            }
        }
    }

    /// Looks at all that has come; of a flood, as much as there is time for.
    pub(super) fn catch_up(&mut self) {
        /// Turns at most.
        const TURNS: usize = 8;
        for _ in 0..TURNS {
            if self.work().is_none_or(|next| next > Nanos::now()) {
                return;
            }
        }
    }

    /// What was done until now.
    pub(super) fn told(&self) -> Vec<Told> {
        let devices = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
        let told = |lane: &Lane| Told {
            direction: lane.direction,
            counts: lane.machine.counts(),
            late: lane.late.clone(),
            own_losses: lane.refused + place::dropped(&devices, &lane.link),
        };
        self.lanes.iter().map(told).collect()
    }

    /// Gives the link back: what waits is passed on at once, and nothing is turned aside any more.
    /// Another call changes nothing.
    pub(super) fn lift(&mut self) -> Result<(), Error> {
        for lane in &mut self.lanes {
            lane.release();
        }
        let removed = self.table.take().map_or(Ok(()), Owned::remove);
        for lane in &mut self.lanes {
            // What came meanwhile; nothing more comes.
            while lane.turn(&mut self.buffer) {}
            lane.release();
        }
        removed.map_err(|wrong| Error::io("removing a table")(io::Error::other(wrong)))
    }
}

/// Makes one direction: its link, and the way back. Its number, and its link's.
fn lane(place: &Place, direction: Direction, how: How) -> Result<(Lane, u8, u32), Error> {
    // What chooses among packets must see each as it would be on a cable, and so must what a
    // narrow link has to pass one by one.
    const NARROW: u64 = 200_000_000;
    let offload = match how.chooses() || how.rate.is_some_and(|rate| rate < NARROW) {
        true => Offload::None,
        false => Offload::All,
    };
    let (device, number, link) = device(direction, offload)?;
    place::twin(device.number(), &link, place.hardware).map_err(told("taking a link up"))?;
    let back = match direction {
        Direction::In => {
            place::received_at(device.number(), place.number).map_err(told("a filter of tc"))?;
            Back::Received(bits(number))
        }
        Direction::Out => {
            let mark = MARK | u32::from(bits(number));
            let outlet = Outlet::open(place.number, mark);
            Back::Sent(outlet.map_err(Error::io("a packet socket"))?)
        }
    };
    let index = device.number();
    let lane = Lane {
        direction,
        link,
        device,
        back,
        machine: Machine::new(how, direction.word()),
        late: Lateness::default(),
        refused: 0,
    };
    Ok((lane, number, index))
}

/// A device with the first number that is free, which tells where it stands among others.
fn device(direction: Direction, offload: Offload) -> Result<(Device, u8, String), Error> {
    for number in 1..=WIRES_MAX {
        let name = format!("{OWN}{number}{direction}");
        match Device::make(&name, offload) {
            Ok(device) => return Ok((device, number, name)),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::BUSY) => {}
            Err(error) => return Err(Error::io("/dev/net/tun")(error)),
        }
    }
    Err(Error::Refused(format!(
        "{WIRES_MAX} wires stand in this link already: heal one first"
    )))
}

impl Lane {
    /// Passes on what is due, takes what has come; whether there was anything to take.
    fn turn(&mut self, buffer: &mut [u8]) -> bool {
        let mut busy = false;
        for _ in 0..BATCH {
            self.due();
            // One that fails has a link that is gone.
            let Ok(Some(bytes)) = self.device.read(buffer) else {
                break;
            };
            busy = true;
            let Some(frame) = buffer.get_mut(..bytes) else {
                break;
            };
            let length = bytes.saturating_sub(HEAD_BYTES);
            let fate = self.machine.offer(Nanos::now(), length, || frame.to_vec());
            if let Fate::Passes(harm) = fate {
                self.refused += u64::from(self.back.pass(&self.device, frame, harm).is_err());
            }
        }
        self.due();
        busy
    }

    /// Passes on what is due.
    fn due(&mut self) {
        if self.machine.next().is_none() {
            return;
        }
        while let Some(mut out) = self.machine.take(Nanos::now()) {
            let passed = self.back.pass(&self.device, &mut out.packet, out.harm);
            self.refused += u64::from(passed.is_err());
            self.late.note(Nanos::now().since(out.due));
        }
    }

    /// Passes on everything, though it is not due.
    fn release(&mut self) {
        for mut out in self.machine.drain() {
            let passed = self.back.pass(&self.device, &mut out.packet, out.harm);
            self.refused += u64::from(passed.is_err());
        }
    }
}

impl Back {
    /// Lets a frame go on.
    fn pass(&self, device: &Device, frame: &mut [u8], harm: Option<Harm>) -> io::Result<()> {
        if let Some(harm) = harm {
            // Else the kernel would believe the checksum that it made before.
            if let Some(flags) = frame.first_mut() {
                *flags = 0;
            }
            harm.harm(frame, HEAD_BYTES + ETHERNET);
        }
        match self {
            Back::Received(bits) => {
                let [a, b, c, d, e, _] = FROM_WIRE;
                let sender = frame.get_mut(HEAD_BYTES + 6..HEAD_BYTES + 12);
                if let Some(sender) = sender {
                    sender.copy_from_slice(&[a, b, c, d, e, *bits]);
                }
                device.write(frame)
            }
            Back::Sent(outlet) => outlet.send(frame),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wire_passes_what_it_and_those_behind_it_sent() {
        for number in 1..=WIRES_MAX {
            for sender in 1..=WIRES_MAX {
                // A frame of a wire that stands behind has passed this one.
                let met = bits(sender) & bit(number) != 0;
                assert_eq!(met, sender >= number, "{sender} at {number}");
            }
        }
    }
}
