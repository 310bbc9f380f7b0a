//! A link whose far end is a program: what the kernel sends on it is read here, and what is
//! written here is what the kernel receives on it. And a socket that sends whole frames on a link.
//!
//! In front of every frame, both ways, stands a head ([`HEAD_BYTES`]) that tells which checksum is
//! still to be made, and into how many packets a large frame is to be cut (`struct
//! virtio_net_hdr`, Linux `include/uapi/linux/virtio_net.h`). Passed on as it came it keeps a frame
//! what it was.
//!
//! The link goes with its descriptor, whatever happens to the process; whatever hangs at it goes
//! with the link.

#![expect(
    unsafe_code,
    reason = "a TAP device is made by ioctls, and the head in front of frames is an option of \
              packet sockets, for which no library has a safe word"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::libc;
use nix::sys::socket::{
    setsockopt,
    sockopt::{Mark, SndBuf, SndBufForce},
};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::ioctl::{IntegerSetter, Updater, ioctl};
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socket_with};

/// Bytes of the head in front of each frame.
pub const HEAD_BYTES: usize = 10;

/// Longest frame, with its head: what segmentation offload makes of one write, and room to spare.
pub const FRAME_BYTES_MAX: usize = 66 << 10;

/// Bytes that wait in the kernel for the link behind an [`Outlet`]; an ordinary user gets less, by
/// `net.core.wmem_max`.
const SENDING_BYTES: usize = 8 << 20;

/// Longest name of a link, in bytes, without the zero at its end.
const NAME_BYTES_MAX: usize = 15;

/// What the kernel may leave to the other end of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Offload {
    /// Nothing: each frame is one packet as it would be on a cable, with its checksum.
    None,
    /// Checksums of TCP and UDP, and the cutting of large TCP frames.
    All,
}

impl Offload {
    /// The flags of `TUNSETOFFLOAD`: TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6.
    fn flags(self) -> usize {
        match self {
            Offload::None => 0,
            Offload::All => 1 | 2 | 4,
        }
    }
}

/// The descriptor that is a link's far end.
#[derive(Debug)]
pub struct Device {
    fd: OwnedFd,
    number: u32,
}

/// TUNSETIFF, `_IOW('T', 202, int)`; what it takes is a `struct ifreq`.
const SET_INTERFACE: rustix::ioctl::Opcode = 0x4004_54ca;

/// TUNSETOFFLOAD, `_IOW('T', 208, unsigned int)`; what it takes is the number itself.
const SET_OFFLOAD: rustix::ioctl::Opcode = 0x4004_54d0;

/// Bytes of a `struct ifreq`.
const REQUEST_BYTES: usize = 40;

/// The request of `TUNSETIFF`: a name, and flags behind it.
fn request(name: &str) -> io::Result<[u8; REQUEST_BYTES]> {
    /// IFF_TAP, IFF_NO_PI, IFF_VNET_HDR, and IFF_TUN_EXCL: none of this name is there yet.
    const FLAGS: u16 = 0x0002 | 0x1000 | 0x4000 | 0x8000;
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a link called `{name}`: expected 1 to {NAME_BYTES_MAX} bytes"),
        ));
    }
    let mut request = [0; REQUEST_BYTES];
    for (to, from) in request.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    for (to, from) in request.iter_mut().skip(16).zip(FLAGS.to_ne_bytes()) {
        *to = from;
    }
    Ok(request)
}

impl Device {
    /// Makes a link in the calling thread's network, which is down. EBUSY: there is one of this
    /// name. Of `/dev/net/tun`: ENOENT or ENODEV where the kernel has none, EACCES or EPERM where
    /// this user may not open it or make links here.
    pub fn make(name: &str, offload: Offload) -> io::Result<Device> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = open("/dev/net/tun", flags, Mode::empty())?;
        let mut request = request(name)?;
        // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, 40 bytes; `request` has as many,
        // and outlives the call.
        unsafe {
            ioctl(
                &fd,
                Updater::<SET_INTERFACE, [u8; REQUEST_BYTES]>::new(&mut request),
            )?;
        }
        // SAFETY: TUNSETOFFLOAD takes its argument as a number and touches no memory.
        unsafe {
            ioctl(
                &fd,
                IntegerSetter::<SET_OFFLOAD>::new_usize(offload.flags()),
            )?;
        }
        let any = socket_with(
            AddressFamily::UNIX,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let number = name_to_index(&any, name)?;
        Ok(Device { fd, number })
    }

    /// The link's number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The next frame, with its head; how many bytes of `into` it has. None waits: `None`. Of one
    /// that is longer than `into` the rest is missing.
    pub fn read(&self, into: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match rustix::io::read(&self.fd, &mut *into) {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Lets the kernel receive a frame, with its head, on the link.
    pub fn write(&self, frame: &[u8]) -> io::Result<()> {
        loop {
            match rustix::io::write(&self.fd, frame) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A socket that sends frames on one link, as they are, and receives nothing.
#[derive(Debug)]
pub struct Outlet {
    socket: OwnedFd,
}

#[derive(Clone, Debug)]
struct HeadInFront;

nix::setsockopt_impl!(
    HeadInFront,
    libc::SOL_PACKET,
    libc::PACKET_VNET_HDR,
    bool,
    nix::sys::socket::sockopt::SetBool
);

impl Outlet {
    /// On the link of this number in the calling thread's network. What it sends has `mark`, by
    /// which rules know it. Needs CAP_NET_RAW and CAP_NET_ADMIN there (EPERM).
    pub fn open(link: u32, mark: u32) -> io::Result<Outlet> {
        let socket = socket_with(
            AddressFamily::PACKET,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            // Protocol 0: nothing is received.
            None,
        )?;
        setsockopt(&socket, HeadInFront, &true)?;
        setsockopt(&socket, Mark, &mark)?;
        if setsockopt(&socket, SndBufForce, &SENDING_BYTES).is_err() {
            // As much as may be had.
            setsockopt(&socket, SndBuf, &SENDING_BYTES)?;
        }
        bind(&socket, link)?;
        Ok(Outlet { socket })
    }

    /// Sends a frame, with its head. EAGAIN: the link does not keep up; ENOBUFS: it dropped it.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        loop {
            match send(&self.socket, frame, SendFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Which link a packet socket is of.
fn bind(socket: &OwnedFd, link: u32) -> io::Result<()> {
    let number = i32::try_from(link).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: of plain numbers and an array of bytes, all zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = number;
    let length = std::mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the pointer is to `address`, which outlives the call, and `length` is its size.
    let outcome = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if outcome == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_holds_name_and_flags() {
        let request = request("mp1in").unwrap();
        assert_eq!(&request[..6], b"mp1in\0");
        assert_eq!(request[16..18], 0xd002_u16.to_ne_bytes());
        assert!(request[18..].iter().all(|byte| *byte == 0));
        for bad in ["", "a-name-of-16-lts"] {
            let told = super::request(bad).unwrap_err();
            assert_eq!(told.kind(), io::ErrorKind::InvalidInput, "{bad}: {told}");
        }
    }
}
