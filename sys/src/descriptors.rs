//! Bytes with open descriptors beside them, over a unix socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Descriptors that one message carries at most.
pub const DESCRIPTORS_MAX: usize = 64;

/// Sends the front of `bytes`, the descriptors with its first byte; how many bytes went. Never
/// raises SIGPIPE.
pub fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    if descriptors.len() > DESCRIPTORS_MAX || (bytes.is_empty() && !descriptors.is_empty()) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "{} descriptors with {} bytes: expected at most {DESCRIPTORS_MAX}, and a byte to carry them",
                descriptors.len(),
                bytes.len()
            ),
        ));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        beside.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    loop {
        match sendmsg(
            &socket,
            &[IoSlice::new(bytes)],
            &mut beside,
            SendFlags::NOSIGNAL,
        ) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Receives bytes into `bytes` and appends the descriptors that came beside them, which are
/// closed on exec. 0 is the end of the stream.
pub fn receive(
    socket: impl AsFd,
    bytes: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(
            &socket,
            &mut [IoSliceMut::new(bytes)],
            &mut beside,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            descriptors.extend(passed);
        }
    }
    Ok(received.bytes)
}

/// The process that made the other end of a unix socket, as it is numbered here; none where it is
/// in no process namespace of ours.
pub fn peer_process(socket: impl AsFd) -> io::Result<Option<u32>> {
    let peer = nix::sys::socket::getsockopt(&socket, nix::sys::socket::sockopt::PeerCredentials)?;
    Ok(u32::try_from(peer.pid()).ok().filter(|pid| *pid != 0))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_descriptor_arrives_with_its_byte() {
        let (left, right) = UnixStream::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        assert_eq!(send(&left, b"before", &[]).unwrap(), 6);
        assert_eq!(send(&left, b"w", &[writer.as_fd()]).unwrap(), 1);
        drop(writer);
        let (mut bytes, mut passed) = ([0; 6], Vec::new());
        assert_eq!(receive(&right, &mut bytes, &mut passed).unwrap(), 6);
        assert!(passed.is_empty());
        assert_eq!(receive(&right, &mut bytes, &mut passed).unwrap(), 1);
        let mut writer = std::fs::File::from(passed.pop().unwrap());
        writer.write_all(b"through").unwrap();
        drop(writer);
        let mut heard = String::new();
        reader.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "through");
        drop(left);
        assert_eq!(receive(&right, &mut bytes, &mut passed).unwrap(), 0);
    }

    #[test]
    fn the_other_end_is_known() {
        let (left, _right) = UnixStream::pair().unwrap();
        assert_eq!(peer_process(&left).unwrap(), Some(std::process::id()));
    }

    #[test]
    fn too_many_are_refused() {
        let (left, _right) = UnixStream::pair().unwrap();
        let many = vec![left.as_fd(); DESCRIPTORS_MAX + 1];
        assert!(send(&left, b"x", &many).is_err());
        assert!(send(&left, b"", &many[..1]).is_err());
    }
}
