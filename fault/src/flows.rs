//! Connections that stand in the network of this process, and which of them a fault means.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use meshproof_sys::netlink::{self, Subsystem};

use crate::netlink::ask::Unanswered;
use crate::sockets::{self, Socket, State};
use crate::spec::{Listener, Version};
use crate::{Flow, Spec};

/// Connections that are read at most; those behind are not seen, which is said in plans.
pub const READ_MAX: usize = 100_000;

/// The connections that stand, of both families, in order. A socket of IPv6 that speaks IPv4
/// counts as IPv4, since its packets are.
pub fn live() -> Result<Vec<Flow>, Unanswered> {
    let socket = netlink::open(Subsystem::Sockets)?;
    let sockets = sockets::list(&socket, &State::STANDING)?;
    let mut flows: Vec<Flow> = sockets.iter().take(READ_MAX).map(flow).collect();
    flows.sort();
    Ok(flows)
}

/// Who listens at a port of the network of this process. A socket that listens at every address is
/// told as the loopback one.
pub(crate) fn listeners(port: u16) -> Result<Vec<SocketAddr>, Unanswered> {
    let socket = netlink::open(Subsystem::Sockets)?;
    let sockets = sockets::list(&socket, &[State::Listen])?;
    let mut all: Vec<SocketAddr> = sockets.iter().map(|one| flow(one).local).collect();
    all.retain(|local| local.port() == port);
    for local in &mut all {
        if local.ip().is_unspecified() {
            local.set_ip(match local {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
    }
    Ok(all)
}

/// The connection of a socket.
pub(crate) fn flow(socket: &Socket) -> Flow {
    let plain = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
    Flow {
        local: plain(socket.local),
        remote: plain(socket.remote),
    }
}

/// At the port that is meant, whatever its addresses.
pub(crate) fn at_port(spec: &Spec, flow: &Flow) -> bool {
    let (listener, opener) = match spec.listens() {
        Listener::Here => (flow.local, flow.remote),
        Listener::Elsewhere => (flow.remote, flow.local),
    };
    spec.port.is_none_or(|port| port.value == listener.port())
        && spec
            .source_port
            .is_none_or(|port| port.value == opener.port())
}

/// Whether a connection that stands is one that the fault means.
pub fn meant(spec: &Spec, flow: &Flow) -> bool {
    let version = spec
        .ip
        .is_none_or(|version| (version.value == Version::V4) == flow.remote.is_ipv4());
    let peer = spec
        .peer()
        .is_none_or(|peer| peer.contains(&flow.remote.ip()));
    version && peer && at_port(spec, flow)
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
        assert_eq!(listeners(there.port()).unwrap(), [there]);
    }

    #[test]
    fn flows_that_are_meant() {
        let flow = |local: &str, remote: &str| Flow {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
        };
        let spec = |text: &str| Spec::parse("fault.yaml", text).unwrap();
        let here = flow("10.0.0.1:12199", "10.0.0.2:40000");
        let away = flow("10.0.0.2:40000", "10.0.0.1:12199");
        for (text, means_here, means_away) in [
            ("{kind: drop, port: 12199}", true, false),
            (
                "{kind: drop, port: 12199, listener: elsewhere}",
                false,
                true,
            ),
            ("{kind: drop, source_port: 40000}", true, false),
            ("{kind: drop, port: 12199, ip: v6}", false, false),
            ("{kind: drop, port: 12199, peer: 10.0.0.2/32}", true, false),
            ("{kind: drop, port: 12199, peer: 10.0.0.3/32}", false, false),
            ("{kind: drop, port: 12200}", false, false),
        ] {
            let spec = spec(text);
            assert_eq!(meant(&spec, &here), means_here, "{text}");
            assert_eq!(meant(&spec, &away), means_away, "{text}");
        }
    }
}
