//! 256 loopback addresses that one environment has to itself.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Where an environment stands, on the first address of its range: whoever listens here has the
/// range, and the kernel takes it back when he ends.
const CLAIM: u16 = 12298;

/// Ranges that are tried: 127.0.1.0/24 and on. One machine has no room for as many environments.
const RANGES: u16 = 1024;

/// The ports of production; one that somebody listens on at 0.0.0.0 is taken from all pods.
const PORTS: [u16; 5] = [12200, 12220, 13330, 12199, 12230];

/// A range, for as long as this lives.
#[derive(Debug)]
pub(super) struct Range {
    first: [u8; 3],
    /// Of the holder; nobody ever connects.
    _claim: TcpListener,
}

impl Range {
    /// The first range that is free. `Err` is the kernel's word about the last one that was tried.
    pub(super) fn claim() -> io::Result<Range> {
        let mut said = io::Error::from(io::ErrorKind::AddrInUse);
        for number in 1..=RANGES {
            let [high, low] = number.to_be_bytes();
            let first = [127, high, low];
            match TcpListener::bind((address(first, 1), CLAIM)) {
                Ok(claim) => {
                    return Ok(Range {
                        first,
                        _claim: claim,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => said = error,
                Err(error) => return Err(error),
            }
        }
        Err(said)
    }

    /// What stands before the last byte of every address.
    pub(super) fn first(&self) -> [u8; 3] {
        self.first
    }

    /// Ports of production that somebody has on all addresses.
    pub(super) fn taken(&self) -> Vec<u16> {
        let free = |port: &u16| {
            let at = SocketAddr::from((address(self.first, 1), *port));
            !matches!(TcpListener::bind(at), Err(error) if error.kind() == io::ErrorKind::AddrInUse)
        };
        PORTS.into_iter().filter(|port| !free(port)).collect()
    }
}

/// One address of a range.
pub(super) fn address([a, b, c]: [u8; 3], last: u8) -> Ipv4Addr {
    Ipv4Addr::new(a, b, c, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_had_once_and_given_back() {
        let one = Range::claim().unwrap();
        let two = Range::claim().unwrap();
        assert_ne!(one.first(), two.first());
        let claimed = (address(one.first(), 1), CLAIM);
        let told = TcpListener::bind(claimed).unwrap_err();
        assert_eq!(told.kind(), io::ErrorKind::AddrInUse);
        drop(one);
        // Another environment of this machine may have taken it a moment ago.
        match TcpListener::bind(claimed) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::AddrInUse),
        }
    }

    #[test]
    fn a_port_that_is_taken_everywhere_is_named() {
        let range = Range::claim().unwrap();
        // Somebody may have it already: then it is named all the same.
        let _everywhere = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORTS[4]));
        assert!(range.taken().contains(&PORTS[4]));
    }
}
