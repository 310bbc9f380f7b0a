//! Connections that stand in the network of this process.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::Flow;

/// Connections that are read at most; those behind are not seen, which is said in plans.
pub const READ_MAX: usize = 100_000;

/// The connections that stand, of both families. A socket of IPv6 that speaks IPv4 counts as
/// IPv4, since its packets are.
pub fn live() -> io::Result<Vec<Flow>> {
    let mut flows = Vec::new();
    for name in ["tcp", "tcp6"] {
        match fs::read_to_string(format!("/proc/thread-self/net/{name}")) {
            Ok(text) => flows.extend(text.lines().skip(1).filter_map(parse)),
            // A kernel without IPv6 has no such file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    flows.truncate(READ_MAX);
    Ok(flows)
}

/// Who listens at a port of the network of this process. A socket that listens at every address is
/// told as the loopback one.
pub(crate) fn listeners(port: u16) -> io::Result<Vec<SocketAddr>> {
    /// TCP_LISTEN.
    const LISTENS: &str = "0A";
    let mut all = Vec::new();
    for name in ["tcp", "tcp6"] {
        let text = match fs::read_to_string(format!("/proc/thread-self/net/{name}")) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        all.extend(text.lines().skip(1).filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
            let mut local = address(local)?;
            if local.ip().is_unspecified() {
                local.set_ip(match local {
                    SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                    SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
                });
            }
            (state == LISTENS && local.port() == port).then_some(local)
        }));
    }
    Ok(all)
}

/// One line of `/proc/net/tcp`.
fn parse(line: &str) -> Option<Flow> {
    /// Established, both halves of an opening, both halves of a closing that still carries bytes.
    const STATES: [&str; 6] = ["01", "02", "03", "04", "05", "08"];
    let mut fields = line.split_whitespace().skip(1);
    let (local, remote, state) = (fields.next()?, fields.next()?, fields.next()?);
    if !STATES.contains(&state) {
        return None;
    }
    Some(Flow {
        local: address(local)?,
        remote: address(remote)?,
    })
}

fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // Words of 32 bits, each as the machine keeps it.
    let mut bytes = Vec::with_capacity(16);
    for at in (0..ip.len()).step_by(8) {
        let word = u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let ip = match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => {
            let ip = Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?);
            ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4)
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_seen_from_both_ends() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let there = listener.local_addr().unwrap();
        let stream = std::net::TcpStream::connect(there).unwrap();
        let (_accepted, _) = listener.accept().unwrap();
        let here = stream.local_addr().unwrap();
        let flows = live().unwrap();
        for (local, remote) in [(here, there), (there, here)] {
            assert!(flows.contains(&Flow { local, remote }), "{flows:?}");
        }
    }

    #[test]
    fn addresses_of_both_families_are_read() {
        if cfg!(target_endian = "little") {
            let ip = |text| address(text).unwrap().to_string();
            assert_eq!(ip("0100007F:2FA7"), "127.0.0.1:12199");
            assert_eq!(ip("00000000000000000000000001000000:0050"), "[::1]:80");
            assert_eq!(
                ip("0000000000000000FFFF00000100007F:2FA7"),
                "127.0.0.1:12199"
            );
        }
        assert_eq!(address("nonsense"), None);
        assert_eq!(parse("  0: 0100007F:2FA7 00000000:0000 0A 0"), None);
    }
}
