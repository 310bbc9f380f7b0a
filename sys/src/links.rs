//! Links and addresses of the calling thread's network namespace, by netlink.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use futures_util::TryStreamExt;
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth};
use rtnetlink::packet_route::neighbour::{NeighbourFlags, NeighbourState};
use rtnetlink::{LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use tokio::runtime::Runtime;

/// A link, by the number that the kernel gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link(u32);

/// The address of a link itself: 48 bits.
pub type Hardware = [u8; 6];

/// The far end of a pair of links.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// What it is called.
    pub name: &'a str,
    /// The network namespace that it stands in.
    pub namespace: BorrowedFd<'a>,
    /// Its own address.
    pub hardware: Hardware,
}

/// A netlink connection to the namespace that the thread was in when it was opened; calls block.
#[derive(Debug)]
pub struct Links {
    runtime: Runtime,
    handle: rtnetlink::Handle,
}

fn told(what: &str, error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => {
            let error = message.to_io();
            io::Error::new(error.kind(), format!("{what}: {error}"))
        }
        other => io::Error::other(format!("{what}: {other}")),
    }
}

impl Links {
    /// Opens it. Fails when the process has no descriptor left.
    pub fn open() -> io::Result<Links> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        let handle = {
            let _inside = runtime.enter();
            let (connection, handle, _) = rtnetlink::new_connection()?;
            runtime.spawn(connection);
            handle
        };
        Ok(Links { runtime, handle })
    }

    /// The link of this name.
    pub fn find(&self, name: &str) -> io::Result<Link> {
        let what = format!("link {name}");
        let answer = self.runtime.block_on(
            self.handle
                .link()
                .get()
                .match_name(name)
                .execute()
                .try_next(),
        );
        match answer.map_err(|error| told(&what, error))? {
            Some(found) => Ok(Link(found.header.index)),
            None => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("{what} is not there"),
            )),
        }
    }

    /// Makes a bridge and takes it up.
    pub fn bridge(&self, name: &str) -> io::Result<Link> {
        let message = LinkBridge::new(name).up().build();
        self.runtime
            .block_on(self.handle.link().add(message).execute())
            .map_err(|error| told(&format!("bridge {name}"), error))?;
        self.find(name)
    }

    /// Makes a pair of links: `name` here, at `bridge`; the other end as `peer` says. This
    /// one is up. The pair goes when either namespace does.
    pub fn pair(&self, name: &str, bridge: Link, peer: Peer<'_>) -> io::Result<()> {
        let far = LinkMessageBuilder::<LinkUnspec>::new()
            .name(peer.name.to_owned())
            .address(peer.hardware.to_vec())
            .setns_by_fd(peer.namespace.as_raw_fd())
            .build();
        let message = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(name.to_owned())
            .set_info_data(InfoData::Veth(InfoVeth::Peer(far)))
            .controller(bridge.0)
            .up()
            .build();
        self.runtime
            .block_on(self.handle.link().add(message).execute())
            .map_err(|error| told(&format!("veth {name}"), error))
    }

    /// What is sent to `hardware` goes by `port` of its bridge, and by no other.
    pub fn behind(&self, port: Link, hardware: Hardware) -> io::Result<()> {
        let request = self.handle.neighbours().add_bridge(port.0, &hardware);
        // The bridge's table, not the port's own; and what is permanent there is the bridge's own
        // address, which it keeps to itself.
        let request = request
            .flags(NeighbourFlags::Controller)
            .state(NeighbourState::Noarp);
        self.runtime
            .block_on(request.execute())
            .map_err(|error| told("an entry of a bridge", error))
    }

    /// What is for no network of this namespace goes by `link` to `gateway`, which has the
    /// address `hardware` and is never asked for it. The link is up, and where `gateway` is an
    /// address of version 4, in one of its networks; of version 6 it is one of the link's own.
    pub fn default_route(&self, link: Link, gateway: IpAddr, hardware: Hardware) -> io::Result<()> {
        let neighbour = self.handle.neighbours().add(link.0, gateway);
        let neighbour = neighbour.link_layer_address(&hardware);
        self.runtime
            .block_on(neighbour.execute())
            .map_err(|error| told(&format!("neighbour {gateway}"), error))?;
        let route = match gateway {
            IpAddr::V4(gateway) => RouteMessageBuilder::<Ipv4Addr>::new()
                .gateway(gateway)
                .output_interface(link.0)
                .build(),
            IpAddr::V6(gateway) => RouteMessageBuilder::<Ipv6Addr>::new()
                .gateway(gateway)
                .output_interface(link.0)
                .build(),
        };
        self.runtime
            .block_on(self.handle.route().add(route).execute())
            .map_err(|error| told(&format!("a route by {gateway}"), error))
    }

    /// Gives a link an address in a network of `prefix` bits.
    pub fn address(&self, link: Link, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let request = self.handle.address().add(link.0, address.into(), prefix);
        self.runtime
            .block_on(request.execute())
            .map_err(|error| told(&format!("address {address}/{prefix}"), error))
    }

    /// Takes a link up.
    pub fn up(&self, link: Link) -> io::Result<()> {
        let message = LinkUnspec::new_with_index(link.0).up().build();
        self.runtime
            .block_on(self.handle.link().set(message).execute())
            .map_err(|error| told("taking a link up", error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_there_and_another_is_not() {
        let links = Links::open().unwrap();
        assert_eq!(links.find("lo").unwrap(), links.find("lo").unwrap());
        let missing = links.find("no-such-link").unwrap_err().to_string();
        assert!(missing.starts_with("link no-such-link"), "{missing}");
    }
}
