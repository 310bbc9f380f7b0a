//! Where a wire is put: the link of this network by which it speaks to others, and what is said to
//! the kernel so that frames go to the wire and come back from it.
//!
//! Numbers are those of `linux/rtnetlink.h`, `linux/if_link.h`, `linux/pkt_sched.h` and
//! `linux/pkt_cls.h`; all of them are in the byte order of the machine unless it is said.

use std::fs;

use meshproof_sys::links::Hardware;
use meshproof_sys::netlink::{self, Subsystem};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::netlink::ask::{self, Unanswered};
use crate::netlink::read::{attribute, behind, half, messages, text, word};
use crate::netlink::write::{Attributes, Request};
use crate::netlink::{ACK, CREATE, DUMP, EXCLUSIVE, REQUEST};

/// RTM_NEWLINK and RTM_GETLINK, RTM_NEWQDISC, RTM_NEWTFILTER.
const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_DISCIPLINE: u16 = 36;
const NEW_FILTER: u16 = 44;

/// Bytes of a `struct ifinfomsg`.
const LINK_FIXED: usize = 16;

/// IFF_UP
const UP: u32 = 1;

/// With this begin the names of our own links.
pub(crate) const OWN: &str = "mpwire";

/// A link of this network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) hardware: Hardware,
}

/// What one link is, among those that the kernel lists.
struct Listed {
    place: Place,
    /// It is up, of Ethernet, and no port of a bridge.
    speaks: bool,
}

fn listed() -> Result<Vec<Listed>, Unanswered> {
    /// ARPHRD_ETHER
    const ETHERNET: u16 = 1;
    let mut request = Request::default();
    request.message(GET_LINK, REQUEST | DUMP, 1, &[0; LINK_FIXED], |_| {});
    let answers = ask::list(&netlink::open(Subsystem::Route)?, request.bytes())?;
    let read = |body: &[u8]| {
        let rest = behind(body, LINK_FIXED);
        let hardware = attribute(rest, 1).and_then(|value| Hardware::try_from(value).ok());
        let controlled = attribute(rest, 10).is_some();
        let up = word(body, 8)? & UP != 0;
        let speaks = half(body, 2)? == ETHERNET && up && !controlled && hardware.is_some();
        Some(Listed {
            place: Place {
                number: word(body, 4)?,
                name: attribute(rest, 3).map(text)?,
                hardware: hardware.unwrap_or_default(),
            },
            speaks,
        })
    };
    Ok(messages(&answers)
        .filter(|message| message.kind == NEW_LINK)
        .filter_map(|message| read(message.body))
        .collect())
}

/// The link by which this network speaks to others: its only one of Ethernet, or the one by which
/// the default route goes. Why there is none.
pub(super) fn find() -> Result<Place, String> {
    let all = listed().map_err(|error| format!("links cannot be listed: {error}"))?;
    let mut speaking: Vec<Place> = all
        .into_iter()
        .filter(|link| link.speaks && !link.place.name.starts_with(OWN))
        .map(|link| link.place)
        .collect();
    let names: Vec<String> = speaking.iter().map(|place| place.name.clone()).collect();
    if speaking.len() > 1 {
        // Of the network of the thread that reads it.
        let routes = fs::read_to_string("/proc/thread-self/net/route").unwrap_or_default();
        let by_default = default_link(&routes);
        speaking.retain(|place| Some(place.name.as_str()) == by_default);
    }
    match speaking.pop() {
        Some(place) => Ok(place),
        None if names.is_empty() => Err("there is no link of Ethernet here that is up".into()),
        None => Err(format!(
            "there are {} links and no default route by one of them: {}",
            names.len(),
            names.join(", ")
        )),
    }
}

/// The link of the default route, in `/proc/net/route`: destination and mask are zero.
fn default_link(routes: &str) -> Option<&str> {
    routes.lines().skip(1).find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let zero = |at: usize| words.get(at) == Some(&"00000000");
        (zero(1) && zero(7)).then(|| words.first().copied())?
    })
}

/// Names of our own links that are there.
pub(super) fn own() -> Result<Vec<String>, Unanswered> {
    let mut names: Vec<String> = listed()?
        .into_iter()
        .map(|link| link.place.name)
        .filter(|name| name.starts_with(OWN))
        .collect();
    names.sort();
    Ok(names)
}

/// Packets that the kernel dropped on their way to a program behind one of these links, by
/// `/proc/net/dev`.
pub(super) fn dropped(devices: &str, link: &str) -> u64 {
    let line = devices.lines().find_map(|line| {
        let (name, rest) = line.split_once(':')?;
        (name.trim() == link).then_some(rest)
    });
    // Eight words of what came, then bytes, packets, errors and drops of what left.
    line.and_then(|rest| rest.split_whitespace().nth(11)?.parse().ok())
        .unwrap_or(0)
}

/// Takes a link of ours up, as the twin of another: what is for that one is for this one, too.
pub(super) fn twin(link: u32, name: &str, hardware: Hardware) -> Result<(), Unanswered> {
    // It says nothing by itself. Where that cannot be said, there is a little more on the wire.
    let quiet = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
    let _ = fs::write(quiet, "1");
    let mut fixed = [0; LINK_FIXED];
    put(&mut fixed, 4, link);
    put(&mut fixed, 8, UP);
    put(&mut fixed, 12, UP);
    let mut request = Request::default();
    request.message(NEW_LINK, REQUEST | ACK, 1, &fixed, |attributes| {
        attributes.put(1, &hardware);
    });
    ask::order(netlink::open(Subsystem::Route)?, request.bytes(), 1)
}

fn put(fixed: &mut [u8], at: usize, value: u32) {
    for (to, from) in fixed.iter_mut().skip(at).zip(value.to_ne_bytes()) {
        *to = from;
    }
}

/// A way to say that everything is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Everything {
    Matchall,
    U32,
}

/// What is received on link `from` is received on link `to` instead. It hangs at `from`, and goes
/// with it.
pub(super) fn received_at(from: u32, to: u32) -> Result<(), Unanswered> {
    let socket = netlink::open(Subsystem::Route)?;
    ask::order(&socket, discipline(from).bytes(), 1)?;
    let asked = |how| ask::order(&socket, filter(from, to, how).bytes(), 1);
    match asked(Everything::Matchall) {
        // Not every kernel has both.
        Err(error) if error.errno() == Some(Errno::NOENT) => asked(Everything::U32),
        other => other,
    }
}

/// The fixed part of what is said of queueing (`struct tcmsg`).
fn queueing(link: u32, handle: u32, parent: u32, info: u32) -> [u8; 20] {
    let mut fixed = [0; 20];
    for (at, value) in [(4, link), (8, handle), (12, parent), (16, info)] {
        put(&mut fixed, at, value);
    }
    fixed
}

/// `tc qdisc add dev LINK ingress`
fn discipline(link: u32) -> Request {
    /// TC_H_INGRESS
    const INGRESS: u32 = 0xffff_fff1;
    let mut request = Request::default();
    let fixed = queueing(link, 0xffff_0000, INGRESS, 0);
    let flags = REQUEST | ACK | CREATE | EXCLUSIVE;
    request.message(NEW_DISCIPLINE, flags, 1, &fixed, |attributes| {
        attributes.text(1, "ingress");
    });
    request
}

/// `tc qdisc add dev LINK root netem limit 1000`: for finding out whether there is one.
pub(super) fn netem(link: u32) -> Result<(), Unanswered> {
    /// TC_H_ROOT
    const ROOT: u32 = 0xffff_ffff;
    let mut request = Request::default();
    let fixed = queueing(link, 0x0001_0000, ROOT, 0);
    let flags = REQUEST | ACK | CREATE | EXCLUSIVE;
    request.message(NEW_DISCIPLINE, flags, 1, &fixed, |attributes| {
        // TCA_OPTIONS: `struct tc_netem_qopt`, six numbers, the second of which is the limit.
        let mut options = [0; 24];
        put(&mut options, 4, 1000);
        attributes.text(1, "netem").put(2, &options);
    });
    ask::order(netlink::open(Subsystem::Route)?, request.bytes(), 1)
}

/// `tc filter add dev FROM parent ffff: protocol all pref 1 matchall action mirred ingress
/// redirect dev TO`
fn filter(from: u32, to: u32, how: Everything) -> Request {
    // The priority, and ETH_P_ALL in network order.
    let info = 1 << 16 | u32::from(3_u16.to_be());
    let fixed = queueing(from, 0, 0xffff_0000, info);
    let mut request = Request::default();
    let flags = REQUEST | ACK | CREATE | EXCLUSIVE;
    request.message(NEW_FILTER, flags, 1, &fixed, |attributes| {
        match how {
            Everything::Matchall => attributes
                .text(1, "matchall")
                // TCA_MATCHALL_ACT
                .nest(2, |options| redirect(options, 2, to)),
            Everything::U32 => attributes.text(1, "u32").nest(2, |options| {
                // TCA_U32_SEL: it ends here (TC_U32_TERMINAL), one key, which is met by all.
                let mut selector = [0; 32];
                selector[0] = 1;
                selector[2] = 1;
                options.put(5, &selector);
                // TCA_U32_ACT
                redirect(options, 7, to);
            }),
        };
    });
    request
}

/// A list of one action, `mirred`: stolen here (TC_ACT_STOLEN), received there
/// (TCA_INGRESS_REDIR).
fn redirect(options: &mut Attributes<'_>, kind: u16, to: u32) {
    let mut mirred = [0; 28];
    for (at, value) in [(8, 4), (20, 3), (24, to)] {
        put(&mut mirred, at, value);
    }
    options.nest(kind, |actions| {
        actions.nest(1, |action| {
            action.text(1, "mirred").nest(2, |options| {
                options.put(2, &mirred);
            });
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_is_found() {
        let routes = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
                      eth1\t0000630A\t00000000\t0001\t0\t0\t0\t00FFFFFF\n\
                      eth0\t00000000\tFE00630A\t0003\t0\t0\t0\t00000000\n";
        assert_eq!(default_link(routes), Some("eth0"));
        assert_eq!(default_link(""), None);
    }

    #[test]
    fn drops_are_read() {
        let devices = "Inter-|   Receive    |  Transmit\n face |bytes packets\n    lo: 1 2 3 4 5 6 7 8 \
                       9 10 11 12 13 14 15 16\nmpwire1in: 0 0 0 0 0 0 0 0 100 2 0 77 0 0 0 0\n";
        assert_eq!(dropped(devices, "mpwire1in"), 77);
        assert_eq!(dropped(devices, "lo"), 12);
        assert_eq!(dropped(devices, "eth0"), 0);
    }
}
