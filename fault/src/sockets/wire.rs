//! Requests and answers of sock_diag, as bytes: `linux/inet_diag.h`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Fare, Socket, State};
use crate::netlink::read::{attribute, behind, half, messages, word};
use crate::netlink::write::Request;
use crate::netlink::{ACK, DUMP, REQUEST};

/// AF_INET and AF_INET6.
pub(super) const INET: u8 = 2;
pub(super) const INET6: u8 = 10;

const TCP: u8 = 6;
const BY_FAMILY: u16 = 20;
const DESTROY: u16 = 21;

/// The number of every request here.
pub(super) const NUMBER: u32 = 1;

/// INET_DIAG_INFO
const INFO: u16 = 2;

/// Bytes of `inet_diag_sockid`.
const KEY: usize = 48;
/// Bytes of `inet_diag_msg`.
const FIXED: usize = 72;

/// What the kernel knows a socket by: family, and addresses, ports and cookie as it told them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    family: u8,
    bytes: [u8; KEY],
}

fn request(kind: u16, flags: u16, family: u8, states: u32, key: &[u8; KEY]) -> Request {
    let mut fixed = vec![family, TCP, 1 << (INFO - 1), 0];
    fixed.extend_from_slice(&states.to_ne_bytes());
    fixed.extend_from_slice(key);
    let mut request = Request::default();
    request.message(kind, REQUEST | flags, NUMBER, &fixed, |_| {});
    request
}

pub(super) fn list(family: u8, states: u32) -> Request {
    request(BY_FAMILY, DUMP, family, states, &[0; KEY])
}

pub(super) fn destroy(target: &Socket) -> Request {
    let Key { family, bytes } = &target.key;
    request(DESTROY, ACK, *family, u32::MAX, bytes)
}

pub(super) fn sockets(answers: &[u8]) -> Vec<Socket> {
    messages(answers)
        .filter(|message| message.kind == BY_FAMILY)
        .filter_map(|message| socket(message.body))
        .collect()
}

fn socket(body: &[u8]) -> Option<Socket> {
    let [family, state, ..] = *body else {
        return None;
    };
    let bytes: [u8; KEY] = *body.get(4..)?.first_chunk()?;
    let end = |port: usize, at: usize| {
        let port = u16::from_be_bytes(*bytes.get(port..)?.first_chunk()?);
        let address: [u8; 16] = *bytes.get(at..)?.first_chunk()?;
        let address = match family {
            INET => IpAddr::V4(Ipv4Addr::from(*address.first_chunk::<4>()?)),
            _ => IpAddr::V6(Ipv6Addr::from(address)),
        };
        Some(SocketAddr::new(address, port))
    };
    let number = |at: usize| word(body, 52 + at);
    Some(Socket {
        state: State::of(state)?,
        local: end(0, 4)?,
        remote: end(2, 20)?,
        unread: number(4)?,
        unsent: number(8)?,
        user: number(12)?,
        inode: number(16)?,
        fare: attribute(behind(body, FIXED), INFO).and_then(fare),
        key: Key { family, bytes },
    })
}

fn fare(info: &[u8]) -> Option<Fare> {
    let [_, _, retransmits, probes, backoff, ..] = *info else {
        return None;
    };
    // The first eight bytes are numbers of one byte.
    half(info, 6)?;
    Some(Fare {
        retransmits,
        probes,
        backoff,
        rto_us: word(info, 8)?,
        unacked: word(info, 24)?,
        lost: word(info, 32)?,
        last_sent_ms: word(info, 44)?,
        last_received_ms: word(info, 52)?,
        rtt_us: word(info, 68)?,
        total_retransmits: word(info, 100)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::write::Request;

    /// An answer as the kernel would give it.
    fn answer(family: u8, state: u8) -> Vec<u8> {
        let mut fixed = vec![family, state, 0, 0];
        fixed.extend_from_slice(&12199_u16.to_be_bytes());
        fixed.extend_from_slice(&40000_u16.to_be_bytes());
        fixed.extend_from_slice(&[127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        fixed.extend_from_slice(&[127, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        fixed.extend_from_slice(&[0; 4]);
        fixed.extend_from_slice(&7_u64.to_ne_bytes());
        for number in [0_u32, 3, 5, 1000, 77] {
            fixed.extend_from_slice(&number.to_ne_bytes());
        }
        assert_eq!(fixed.len(), FIXED);
        let mut info = vec![0; 232];
        info[2..5].copy_from_slice(&[4, 0, 3]);
        info[8..12].copy_from_slice(&1_728_000_u32.to_ne_bytes());
        info[100..104].copy_from_slice(&9_u32.to_ne_bytes());
        let mut request = Request::default();
        request.message(BY_FAMILY, 0, 1, &fixed, |attributes| {
            attributes.put(INFO, &info);
        });
        request.bytes().to_vec()
    }

    #[test]
    fn an_answer_is_read() {
        let sockets = sockets(&answer(INET, 1));
        let [socket] = &sockets[..] else {
            panic!("{sockets:?}");
        };
        assert_eq!(socket.state, State::Established);
        assert_eq!(socket.local, "127.0.0.1:12199".parse().unwrap());
        assert_eq!(socket.remote, "127.0.0.2:40000".parse().unwrap());
        assert_eq!((socket.unread, socket.unsent), (3, 5));
        assert_eq!((socket.user, socket.inode), (1000, 77));
        let fare = socket.fare.unwrap();
        assert_eq!((fare.retransmits, fare.backoff), (4, 3));
        assert_eq!((fare.rto_us, fare.total_retransmits), (1_728_000, 9));
        // What ends it names it as it was told.
        let request = destroy(socket);
        let message = messages(request.bytes()).next().unwrap();
        assert_eq!(message.kind, DESTROY);
        assert_eq!(message.body[8..], answer(INET, 1)[20..68]);
    }

    #[test]
    fn what_is_cut_or_unknown_is_passed_over() {
        let whole = answer(INET6, 10);
        assert_eq!(sockets(&whole).len(), 1);
        for length in 0..whole.len() {
            assert_eq!(sockets(&whole[..length]).len(), 0);
        }
        assert_eq!(sockets(&answer(INET, 99)).len(), 0);
    }
}
