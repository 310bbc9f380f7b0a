//! Netlink sockets that speak in whole buffers: a request goes in, answers come out.
//!
//! Every conversation here is with the kernel, which queues its answer before the request
//! returns, so nothing waits.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};

use netlink_sys::{Socket, SocketAddr, protocols};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recvmsg, sendmsg};

/// Longest answer that is read at once, in bytes. The kernel makes parts of a long list at most
/// 32 KiB long; an error may quote the request.
pub const ANSWER_BYTES_MAX: usize = 1 << 16;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subsystem {
    /// Links, addresses, routes, queues.
    Route,
    /// nftables, by nfnetlink.
    Netfilter,
    /// Sockets of other processes.
    Sockets,
}

impl Subsystem {
    fn protocol(self) -> isize {
        match self {
            Subsystem::Route => protocols::NETLINK_ROUTE,
            Subsystem::Netfilter => protocols::NETLINK_NETFILTER,
            Subsystem::Sockets => protocols::NETLINK_SOCK_DIAG,
        }
    }
}

/// Opens a socket to a subsystem of the calling thread's network namespace, closed on exec. It
/// speaks of that namespace wherever it is used. Errors are told in words (`NETLINK_EXT_ACK`).
///
/// What belongs to the socket in the kernel, such as tables of nftables, goes with its last
/// descriptor: who wants that passes on no copy, and forks no child that does not exec.
pub fn open(subsystem: Subsystem) -> io::Result<OwnedFd> {
    let mut socket = Socket::new(subsystem.protocol())?;
    socket.set_ext_ack(true)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    // The library's socket is closed here; the copy is the same socket.
    socket.as_fd().try_clone_to_owned()
}

/// The number by which the kernel knows the socket within its namespace.
pub fn port(socket: impl AsFd) -> io::Result<u32> {
    let address = rustix::net::getsockname(socket)?;
    let address = rustix::net::netlink::SocketAddrNetlink::try_from(address)?;
    Ok(address.pid())
}

/// Hands one buffer of messages to the kernel, which has dealt with them when this returns.
pub fn send(socket: impl AsFd, request: &[u8]) -> io::Result<()> {
    loop {
        let sent = sendmsg(
            &socket,
            &[IoSlice::new(request)],
            &mut rustix::net::SendAncillaryBuffer::default(),
            SendFlags::empty(),
        );
        match sent {
            Ok(bytes) if bytes == request.len() => return Ok(()),
            Ok(bytes) => {
                return Err(io::Error::new(
                    io::ErrorKind::WriteZero,
                    format!("{bytes} of {} bytes went to the kernel", request.len()),
                ));
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Appends the next buffer of answers to `answers`; how many bytes it has, or `None` where none
/// waits. An answer longer than [`ANSWER_BYTES_MAX`], and answers that the kernel dropped
/// (ENOBUFS), are errors.
pub fn receive(socket: impl AsFd, answers: &mut Vec<u8>) -> io::Result<Option<usize>> {
    let before = answers.len();
    answers.resize(before + ANSWER_BYTES_MAX, 0);
    let outcome = loop {
        let received = recvmsg(
            &socket,
            &mut [IoSliceMut::new(&mut answers[before..])],
            &mut rustix::net::RecvAncillaryBuffer::default(),
            RecvFlags::DONTWAIT | RecvFlags::TRUNC,
        );
        match received {
            Ok(message) if message.bytes > ANSWER_BYTES_MAX => {
                break Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!(
                        "an answer of {} bytes: expected at most {ANSWER_BYTES_MAX}",
                        message.bytes
                    ),
                ));
            }
            Ok(message) => break Ok(Some(message.bytes)),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => break Ok(None),
            Err(error) => break Err(error.into()),
        }
    };
    let bytes = outcome.as_ref().map_or(0, |bytes| bytes.unwrap_or(0));
    answers.truncate(before + bytes);
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_listed_and_nothing_waits_after() {
        let socket = open(Subsystem::Route).unwrap();
        assert_ne!(port(&socket).unwrap(), 0);
        // RTM_GETLINK with NLM_F_REQUEST | NLM_F_DUMP, and an empty ifinfomsg.
        let mut request = Vec::new();
        request.extend_from_slice(&32_u32.to_ne_bytes());
        request.extend_from_slice(&18_u16.to_ne_bytes());
        request.extend_from_slice(&0x301_u16.to_ne_bytes());
        request.extend_from_slice(&[0; 24]);
        send(&socket, &request).unwrap();
        let mut answers = Vec::new();
        let mut buffers = 0;
        while let Some(bytes) = receive(&socket, &mut answers).unwrap() {
            assert!(bytes > 0);
            buffers += 1;
        }
        assert!(buffers >= 1);
        assert!(answers.windows(3).any(|name| name == b"lo\0"));
    }
}
