//! The way out: a link in a namespace of its own to which everything goes that a pod sends to
//! other networks. There it ends, counted; some of it is put into words.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use meshproof_sys::links::{Hardware, Link, Links, Peer};
use meshproof_sys::namespaces::{Namespace, unshare};
use meshproof_sys::packets::{self, Tap, Toward};
use rustix::event::{PollFd, PollFlags, poll};

use crate::environment::{Escapes, Pod};

/// Whom pods send to what is for other networks. Nobody has these addresses.
const GATEWAYS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 99, 0, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xfe)),
];

/// The end of the way out; locally administered.
const HARDWARE: Hardware = [0x02, 0x6d, 0x70, 0, 0, 0xfe];

/// Different destinations that are put into words; of more, packets are only counted.
const SAMPLES_MAX: usize = 16;

/// The hardware address of a pod's link: it tells who sent a packet, whatever its header says.
pub(super) fn hardware(pod: &Pod) -> Hardware {
    let [.., last] = pod.address.octets();
    [0x02, 0x6d, 0x70, 0, 0, last]
}

/// What is counted.
#[derive(Clone, Debug)]
pub(super) struct WayOut {
    counted: Arc<Mutex<Counted>>,
}

#[derive(Debug)]
struct Counted {
    tap: Tap,
    pods: Vec<Pod>,
    escapes: Escapes,
    /// Packets that do not count any more.
    before: u64,
}

impl WayOut {
    /// Makes it, behind `bridge`.
    pub(super) fn open(links: &Links, bridge: Link, pods: &[Pod]) -> io::Result<WayOut> {
        const PORT: &str = "out";
        const END: &str = "end";
        // A namespace that nobody is in: the link's end and the socket are all there is.
        let (namespace, socket, inside) = thread::scope(|scope| {
            let made = scope.spawn(|| -> io::Result<(OwnedFd, OwnedFd, Links)> {
                unshare(&[Namespace::Network])?;
                quiet();
                let namespace = Namespace::Network.of_this_thread()?;
                Ok((namespace, packets::open()?, Links::open()?))
            });
            made.join()
                .unwrap_or_else(|_| Err(io::Error::other("its thread ended")))
        })?;
        let peer = Peer {
            name: END,
            namespace: namespace.as_fd(),
            hardware: HARDWARE,
        };
        links.pair(PORT, bridge, peer)?;
        inside.up(inside.find(END)?)?;
        // Else the bridge, which never hears from it, would send it to everybody.
        links.behind(links.find(PORT)?, HARDWARE)?;
        let counted = Counted {
            tap: Tap::new(socket),
            pods: pods.to_vec(),
            escapes: Escapes::default(),
            before: 0,
        };
        let way_out = WayOut {
            counted: Arc::new(Mutex::new(counted)),
        };
        way_out.follow()?;
        Ok(way_out)
    }

    /// Reads as it comes, so that the kernel need not hold much.
    fn follow(&self) -> io::Result<()> {
        let counted = Arc::clone(&self.counted);
        let lock = move || {
            counted
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .read()
        };
        let watched = self.lock().tap.as_fd().try_clone_to_owned()?;
        thread::Builder::new()
            .name("way out".into())
            .spawn(move || {
                loop {
                    match poll(&mut [PollFd::new(&watched, PollFlags::IN)], None) {
                        Ok(_) => lock(),
                        Err(rustix::io::Errno::INTR) => {}
                        Err(_) => return,
                    }
                }
            })?;
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What came until now. The kernel delivers a packet before the call that sent it returns, so
    /// nothing is on its way when this reads.
    pub(super) fn escapes(&self) -> Escapes {
        let mut counted = self.lock();
        counted.read();
        let mut escapes = counted.escapes.clone();
        escapes.packets += counted.tap.lost();
        escapes.packets -= counted.before;
        escapes
    }

    /// What came until now does not count any more.
    pub(super) fn forget(&self) {
        let mut counted = self.lock();
        counted.read();
        counted.before = counted.escapes.packets + counted.tap.lost();
        counted.escapes.samples.clear();
    }
}

/// From now on links of this thread's namespace have no addresses of version 6, and so say nothing
/// by themselves: ends that nobody speaks to would fill the captures of pods.
pub(super) fn quiet() {
    // Where it cannot be said, there is more in captures.
    let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
}

/// Lets what a namespace sends to other networks go to the way out.
pub(super) fn leads_out(links: &Links, link: Link) -> io::Result<()> {
    let [four, six] = GATEWAYS;
    links.default_route(link, four, HARDWARE)?;
    // A kernel without version 6 has no way out by it.
    let _ = links.default_route(link, six, HARDWARE);
    Ok(())
}

impl Counted {
    fn read(&mut self) {
        // A socket that fails has a namespace that is going.
        while let Ok(Some(packet)) = self.tap.take() {
            // What a bridge sends to everybody is no attempt to leave.
            if packet.toward != Toward::Here {
                continue;
            }
            self.escapes.packets += 1;
            if self.escapes.samples.len() < SAMPLES_MAX {
                let sample = say(packet.data, &self.pods);
                if !self.escapes.samples.contains(&sample) {
                    self.escapes.samples.push(sample);
                }
            }
        }
    }
}

/// A packet in words, from its Ethernet header on: who sent it, what, where to.
fn say(data: &[u8], pods: &[Pod]) -> String {
    let sender = data
        .get(6..12)
        .and_then(|from| pods.iter().find(|pod| hardware(pod) == from))
        .map_or("the environment", |pod| pod.name.as_str());
    match destination(data) {
        Some(destination) => format!("{sender}: {destination}"),
        None => format!("{sender}: {} bytes of no known protocol", data.len()),
    }
}

/// Protocol and destination.
fn destination(data: &[u8]) -> Option<String> {
    let ip = data.get(14..)?;
    // Protocol, destination and what follows. Headers between are not looked behind: their number
    // is told.
    let (protocol, to, rest): (u8, IpAddr, &[u8]) = match data.get(12..14)? {
        [0x08, 0x00] => {
            let length = usize::from(ip.first()? & 0x0f) * 4;
            let to: [u8; 4] = ip.get(16..20)?.try_into().ok()?;
            (*ip.get(9)?, to.into(), ip.get(length..)?)
        }
        [0x86, 0xdd] => {
            let to: [u8; 16] = ip.get(24..40)?.try_into().ok()?;
            (*ip.get(6)?, to.into(), ip.get(40..)?)
        }
        _ => return None,
    };
    let port = || {
        let port = rest.get(2..4)?;
        Some(u16::from_be_bytes([port[0], port[1]]))
    };
    let at = |port| std::net::SocketAddr::new(to, port);
    Some(match (protocol, port()) {
        (6, Some(port)) => format!("TCP to {}", at(port)),
        (17, Some(53)) => match question(rest.get(8..).unwrap_or_default()) {
            Some(name) => format!("DNS question for {name} to {}", at(53)),
            None => format!("UDP to {}", at(53)),
        },
        (17, Some(port)) => format!("UDP to {}", at(port)),
        (1 | 58, _) => format!("ICMP to {to}"),
        (other, _) => format!("IP protocol {other} to {to}"),
    })
}

/// The name that a DNS message asks for (RFC 1035, 4.1.2).
fn question(message: &[u8]) -> Option<String> {
    const NAME_BYTES_MAX: usize = 255;
    let mut rest = message.get(12..)?;
    let mut name = String::new();
    loop {
        let (&length, after) = rest.split_first()?;
        if length == 0 {
            return (!name.is_empty()).then_some(name);
        }
        // Longer ones are pointers, which a question has no use for.
        if length > 63 || name.len() + usize::from(length) > NAME_BYTES_MAX {
            return None;
        }
        let (label, after) = after.split_at_checked(usize::from(length))?;
        if !name.is_empty() {
            name.push('.');
        }
        name.extend(label.iter().map(|byte| match byte {
            b'!'..=b'~' => char::from(*byte),
            _ => '?',
        }));
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An Ethernet frame of pod `client` that holds an IPv4 packet to 192.0.2.1.
    fn frame(protocol: u8, rest: &[u8]) -> Vec<u8> {
        let mut data = HARDWARE.to_vec();
        data.extend([0x02, 0x6d, 0x70, 0, 0, 2, 0x08, 0x00]);
        let mut ip = [0; 20];
        ip[0] = 0x45;
        ip[9] = protocol;
        ip[12..16].copy_from_slice(&[10, 99, 0, 2]);
        ip[16..20].copy_from_slice(&[192, 0, 2, 1]);
        data.extend(ip);
        data.extend(rest);
        data
    }

    #[track_caller]
    fn check(data: &[u8], expected: &str) {
        let pods = [Pod {
            name: "client".into(),
            address: Ipv4Addr::new(10, 99, 0, 2),
        }];
        assert_eq!(say(data, &pods), expected);
        // However it is cut, it is something.
        for length in 0..data.len() {
            assert!(say(&data[..length], &pods).contains(": "));
        }
    }

    #[test]
    fn packets_are_put_into_words() {
        let ports = |to: u16| [&[0xa0, 0x00], to.to_be_bytes().as_slice(), &[0; 4]].concat();
        check(&frame(6, &ports(80)), "client: TCP to 192.0.2.1:80");
        check(&frame(17, &ports(9)), "client: UDP to 192.0.2.1:9");
        check(&frame(1, &[8, 0, 0, 0]), "client: ICMP to 192.0.2.1");
        check(&frame(132, &[]), "client: IP protocol 132 to 192.0.2.1");
        let asked = |name: &[u8]| frame(17, &[ports(53).as_slice(), &[0; 12], name].concat());
        check(
            &asked(b"\x07example\x03com\0\0\x01\0\x01"),
            "client: DNS question for example.com to 192.0.2.1:53",
        );
        check(
            &asked(b"\x01\x1b\0"),
            "client: DNS question for ? to 192.0.2.1:53",
        );
        check(&asked(b"\xc0\x0c"), "client: UDP to 192.0.2.1:53");
        let mut six = HARDWARE.to_vec();
        six.extend([0x02, 0x6d, 0x70, 0, 0, 9, 0x86, 0xdd]);
        six.extend([0x60, 0, 0, 0, 0, 8, 6, 64]);
        six.extend(Ipv6Addr::LOCALHOST.octets());
        six.extend(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).octets());
        six.extend(ports(443));
        check(&six, "the environment: TCP to [2001:db8::1]:443");
        six[12..14].copy_from_slice(&[0x08, 0x06]);
        check(&six, "the environment: 62 bytes of no known protocol");
    }
}
