//! Packets as they pass the links of a network namespace.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, LinkAddr, MsgFlags, recvmsg, setsockopt,
    sockopt::{RcvBuf, RcvBufForce, ReceiveTimestampns, RxqOvfl},
};
use nix::sys::time::TimeSpec;
use rustix::net::{AddressFamily, SocketFlags, SocketType, eth, socket_with};

/// Longest packet that is seen whole, in bytes: what segmentation offload makes of one write,
/// with its headers. Of a longer one the rest is missing.
pub const PACKET_BYTES_MAX: usize = 66 << 10;

/// Bytes that the kernel holds for a tap that is not read; what comes beyond is counted as lost.
/// An ordinary user gets less, by `net.core.rmem_max`.
const HELD_BYTES: usize = 8 << 20;

/// The hardware type of a loopback link (ARPHRD_LOOPBACK).
const LOOPBACK: u16 = 772;

/// Opens a socket to which every packet comes that passes a link of the calling thread's network
/// namespace, from now on, in either direction. It needs CAP_NET_RAW there (EPERM). It may be read
/// from anywhere; while it is open the namespace lives.
pub fn open() -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::PACKET,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(eth::ALL),
    )?;
    setsockopt(&socket, ReceiveTimestampns, &true)?;
    setsockopt(&socket, RxqOvfl, &1)?;
    if setsockopt(&socket, RcvBufForce, &HELD_BYTES).is_err() {
        // As much as may be had.
        setsockopt(&socket, RcvBuf, &HELD_BYTES)?;
    }
    Ok(socket)
}

/// For whom a packet is, as the link that it passes sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toward {
    /// This host.
    Here,
    /// Everybody, or a group.
    Many,
    /// Another host.
    Elsewhere,
    /// It is on its way out.
    Out,
}

/// One packet, from its link header on, borrowed from the tap.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// When it passed, in nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// The number of the link that it passed.
    pub link: u32,
    /// For whom it is.
    pub toward: Toward,
    /// Its bytes, at most [`PACKET_BYTES_MAX`].
    pub data: &'a [u8],
    /// Its length as it passed.
    pub length: usize,
}

/// Reads what comes to a socket of [`open`].
#[derive(Debug)]
pub struct Tap {
    socket: OwnedFd,
    data: Vec<u8>,
    beside: Vec<u8>,
    lost: u64,
}

impl Tap {
    /// On a socket of [`open`].
    pub fn new(socket: OwnedFd) -> Tap {
        Tap {
            socket,
            data: vec![0; PACKET_BYTES_MAX],
            beside: nix::cmsg_space!(TimeSpec, u32),
            lost: 0,
        }
    }

    /// The next packet; none waits: `None`. On a loopback link, where each packet passes twice,
    /// it is told once.
    pub fn take(&mut self) -> io::Result<Option<Packet<'_>>> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
        loop {
            let mut room = [IoSliceMut::new(&mut self.data)];
            let received = match recvmsg::<LinkAddr>(
                self.socket.as_raw_fd(),
                &mut room,
                Some(&mut self.beside),
                flags,
            ) {
                Ok(received) => received,
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let length = received.bytes;
            let mut at_ns = 0;
            for message in received.cmsgs()? {
                match message {
                    ControlMessageOwned::ScmTimestampns(at) => {
                        let seconds = u64::try_from(at.tv_sec()).unwrap_or(0);
                        let rest = u64::try_from(at.tv_nsec()).unwrap_or(0);
                        at_ns = seconds.saturating_mul(1_000_000_000).saturating_add(rest);
                    }
                    ControlMessageOwned::RxqOvfl(lost) => {
                        // The kernel counts in 32 bits, from the socket's beginning.
                        let more = lost.wrapping_sub(self.lost as u32);
                        self.lost += u64::from(more);
                    }
                    _ => {}
                }
            }
            let Some(from) = received.address else {
                continue;
            };
            // The numbers are those of packet(7).
            let toward = match from.pkttype() {
                0 => Toward::Here,
                1 | 2 => Toward::Many,
                4 => Toward::Out,
                _ => Toward::Elsewhere,
            };
            if from.hatype() == LOOPBACK && toward == Toward::Out {
                continue;
            }
            let link = u32::try_from(from.ifindex()).unwrap_or(0);
            let data = self.data.get(..length).unwrap_or(&self.data);
            return Ok(Some(Packet {
                at_ns,
                link,
                toward,
                data,
                length,
            }));
        }
    }

    /// Packets that came when no room was left, as far as the packets that were read tell.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
