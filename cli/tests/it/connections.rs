//! Connections as the kernel tells of them: which stand, how they fare, and their end by order.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use meshproof_fault::nft::recipe::{Only, Sender};
use meshproof_fault::nft::rule::Action;
use meshproof_fault::sockets::backoff::{Backoff, RTO_MAX_NS};
use meshproof_fault::sockets::{self, Socket, State};
use meshproof_sys::clock::Nanos;
use meshproof_sys::netlink::{self, Subsystem};

use crate::nft::{Talk, alone, make};

fn socket() -> OwnedFd {
    netlink::open(Subsystem::Sockets).unwrap()
}

/// The end of a connection that stands here.
fn end(local: SocketAddr, remote: SocketAddr) -> Option<Socket> {
    let all = sockets::list(socket(), &State::STANDING).unwrap();
    all.into_iter()
        .find(|socket| (socket.local, socket.remote) == (local, remote))
}

#[test]
fn a_connection_is_ended_by_order() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        alone(move || {
            let mut talk = Talk::new(address);
            let listening = sockets::list(socket(), &[State::Listen]).unwrap();
            assert_eq!(listening.len(), 1);
            assert_eq!(listening[0].local, talk.listener.local_addr().unwrap());
            let (local, remote) = (
                talk.accepted.local_addr().unwrap(),
                talk.accepted.peer_addr().unwrap(),
            );
            let accepted = end(local, remote).unwrap();
            assert_eq!(accepted.state, State::Established);
            assert!(end(remote, local).is_some());
            assert!(sockets::destroy(socket(), &accepted).unwrap());
            // Its owner's next call, and the other end, are told.
            let owner = talk.accepted.read(&mut [0]).unwrap_err();
            assert_eq!(owner.kind(), io::ErrorKind::ConnectionAborted);
            let other = talk.opener.read(&mut [0]).unwrap_err();
            assert_eq!(other.kind(), io::ErrorKind::ConnectionReset);
            assert!(
                !sockets::destroy(socket(), &accepted).unwrap(),
                "it is gone"
            );
            assert!(end(local, remote).is_none());
        });
    }
}

#[test]
fn what_was_lost_comes_when_it_is_predicted_and_not_before() {
    alone(|| {
        let mut talk = Talk::new("127.0.0.1:0");
        let owned = make(
            &talk.aim(Some(Sender::Listener)),
            &Only::Payload,
            Action::Drop,
        );
        let (local, remote) = (
            talk.accepted.local_addr().unwrap(),
            talk.accepted.peer_addr().unwrap(),
        );
        let sent = Nanos::now();
        talk.accepted.write_all(b"word").unwrap();
        let fare = loop {
            let fare = end(local, remote).unwrap().fare.unwrap();
            if fare.backoff >= 1 {
                break fare;
            }
            std::thread::yield_now();
        };
        assert!(fare.total_retransmits >= 1 && fare.unacked >= 1, "{fare:?}");
        owned.remove().unwrap();
        let mut word = [0; 4];
        talk.opener.read_exact(&mut word).unwrap();
        let age_ns = Nanos::now().since(sent);
        let backoff = Backoff::of(fare.rto_us, fare.backoff, RTO_MAX_NS).unwrap();
        // After `backoff` doublings it is sent for the next time; a timer never fires early, but
        // the time-out that is told is in whole ticks.
        let predicted_ns = backoff.again_ns(u32::from(fare.backoff) + 1);
        assert!(
            age_ns * 10 >= predicted_ns * 9,
            "{age_ns} ns, predicted {predicted_ns} ns: {fare:?}"
        );
    });
}
