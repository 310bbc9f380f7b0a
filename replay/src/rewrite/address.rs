//! Which address becomes which, and where addresses stand in text.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use ipnet::IpNet;

use crate::map::Map;

/// The rules for addresses, ready to be asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Addresses {
    endpoints: HashMap<SocketAddr, (SocketAddr, usize)>,
    addresses: HashMap<IpAddr, (IpAddr, usize)>,
    /// Disjoint, by first address, IPv4 before IPv6.
    networks: Vec<(IpNet, IpNet, usize)>,
}

/// A replacement and the line of the rule that asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found<T> {
    pub(super) to: T,
    pub(super) line: usize,
}

impl Addresses {
    pub(super) fn new(map: &Map) -> Addresses {
        let mut networks: Vec<_> = map
            .networks
            .iter()
            .map(|rule| (rule.from, rule.to, rule.line))
            .collect();
        networks.sort_by_key(|(from, ..)| from.network());
        Addresses {
            endpoints: map
                .endpoints
                .iter()
                .map(|rule| (rule.from, (rule.to, rule.line)))
                .collect(),
            addresses: map
                .addresses
                .iter()
                .map(|rule| (rule.from, (rule.to, rule.line)))
                .collect(),
            networks,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.endpoints.is_empty() && self.addresses.is_empty() && self.networks.is_empty()
    }

    /// What an address becomes. One that is an IPv4 address mapped into IPv6 follows the rules for
    /// IPv4 where it has none of its own.
    pub(super) fn address(&self, address: IpAddr) -> Option<Found<IpAddr>> {
        if let Some(found) = self.exact(address) {
            return Some(found);
        }
        let IpAddr::V6(v6) = address else {
            return None;
        };
        let found = self.exact(IpAddr::V4(v6.to_ipv4_mapped()?))?;
        match found.to {
            IpAddr::V4(to) => Some(Found {
                to: IpAddr::V6(to.to_ipv6_mapped()),
                line: found.line,
            }),
            IpAddr::V6(_) => None,
        }
    }

    fn exact(&self, address: IpAddr) -> Option<Found<IpAddr>> {
        if let Some(&(to, line)) = self.addresses.get(&address) {
            return Some(Found { to, line });
        }
        let before = self
            .networks
            .partition_point(|(from, ..)| from.network() <= address);
        let (from, to, line) = self.networks.get(before.checked_sub(1)?)?;
        from.contains(&address).then(|| Found {
            to: with_host_bits(*to, address),
            line: *line,
        })
    }

    /// What an address with a port becomes; the port changes by a rule for both only.
    pub(super) fn socket(&self, socket: SocketAddr) -> Option<Found<SocketAddr>> {
        if let Some(&(to, line)) = self.endpoints.get(&plain(socket)) {
            return Some(Found { to, line });
        }
        self.address(socket.ip()).map(|found| Found {
            to: SocketAddr::new(found.to, socket.port()),
            line: found.line,
        })
    }
}

/// Without flow label and scope, which rules know nothing of.
fn plain(socket: SocketAddr) -> SocketAddr {
    SocketAddr::new(socket.ip(), socket.port())
}

/// The address of `network` with the host bits of `address`; both are of one family.
fn with_host_bits(network: IpNet, address: IpAddr) -> IpAddr {
    match (network, address) {
        (IpNet::V4(network), IpAddr::V4(address)) => {
            let host = u32::from(address) & u32::from(network.hostmask());
            IpAddr::V4(Ipv4Addr::from(u32::from(network.network()) | host))
        }
        (IpNet::V6(network), IpAddr::V6(address)) => {
            let host = u128::from(address) & u128::from(network.hostmask());
            IpAddr::V6(Ipv6Addr::from(u128::from(network.network()) | host))
        }
        (_, address) => address,
    }
}

/// An address in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InText {
    /// The address alone, without brackets.
    pub(super) range: Range<usize>,
    pub(super) address: IpAddr,
    /// The port behind it, and where it stands.
    pub(super) port: Option<(u16, Range<usize>)>,
}

/// Every address that stands in a text as text: `10.1.2.3`, `10.1.2.3:80`, `10.1.2.3%3A80`,
/// `fd00::1`, `[fd00::1]:80`.
///
/// An IPv4 address may stand beside letters but not within more digits and dots; an IPv6 address
/// may not touch a letter or digit that is not its own.
pub(super) fn in_text(text: &str) -> Vec<InText> {
    let bytes = text.as_bytes();
    let mut found: Vec<InText> = Vec::new();
    if !bytes.iter().any(|byte| matches!(byte, b'.' | b':')) {
        return found;
    }
    for run in runs(bytes, |byte| byte.is_ascii_digit() || byte == b'.') {
        let run = trimmed(bytes, run, |byte| byte == b'.');
        if run.len() < 7 {
            continue;
        }
        if let Some(address) = text.get(run.clone()).and_then(|text| text.parse().ok()) {
            found.push(InText {
                address: IpAddr::V4(address),
                port: port_behind(text, run.end),
                range: run,
            });
        }
    }
    for run in runs(bytes, |byte| {
        byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')
    }) {
        let colons = bytes
            .get(run.clone())
            .unwrap_or_default()
            .iter()
            .filter(|byte| **byte == b':')
            .count();
        if colons < 2 || touches_word(bytes, &run) {
            continue;
        }
        let Some((run, address)) = v6(text, run) else {
            continue;
        };
        let bracketed = bytes.get(run.end) == Some(&b']');
        let port = bracketed.then(|| port_behind(text, run.end + 1)).flatten();
        // Text of an IPv4 address within this one has been found already; the whole goes before.
        found.retain(|other| other.range.start < run.start || other.range.end > run.end);
        found.push(InText {
            range: run,
            address: IpAddr::V6(address),
            port,
        });
    }
    found
}

/// The run, or what is left of it without punctuation behind it.
fn v6(text: &str, run: Range<usize>) -> Option<(Range<usize>, Ipv6Addr)> {
    let parse = |end| Some((run.start..end, text.get(run.start..end)?.parse().ok()?));
    parse(run.end).or_else(|| {
        let shorter = text.get(run.clone())?.trim_end_matches(['.', ':']).len();
        (shorter < run.len())
            .then(|| parse(run.start + shorter))
            .flatten()
    })
}

/// `:80` or its URL-escaped form.
fn port_behind(text: &str, at: usize) -> Option<(u16, Range<usize>)> {
    let rest = text.get(at..)?;
    let digits_at = if rest.starts_with(':') {
        at + 1
    } else if rest.starts_with("%3A") || rest.starts_with("%3a") {
        at + 3
    } else {
        return None;
    };
    let digits = text.get(digits_at..)?;
    let len = digits
        .bytes()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let port = digits.get(..len)?.parse().ok()?;
    Some((port, digits_at..digits_at + len))
}

/// An IPv4 address in hex at the front of a SOFA trace id: 8 hex digits, 13 digits of a time in
/// milliseconds, a counter, a process id. Seen with SOFARPC 5.13.2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InTraceId {
    /// The 8 hex digits.
    pub(super) range: Range<usize>,
    pub(super) address: Ipv4Addr,
}

/// Every trace id that stands in a text by itself. Where the text is known to be one
/// (`is_trace_id`), any 8 hex digits at its front will do.
pub(super) fn in_trace_ids(text: &str, is_trace_id: IsTraceId) -> Vec<InTraceId> {
    const HEX: usize = 8;
    const TIME: usize = 13;
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    for run in runs(bytes, |byte| byte.is_ascii_alphanumeric()) {
        let known = is_trace_id == IsTraceId::Yes && run.start == 0;
        let digits = bytes.get(run.start + HEX..run.end).unwrap_or_default();
        let time_like = digits.len() > TIME
            && digits.iter().all(u8::is_ascii_digit)
            && digits.first() == Some(&b'1');
        if !(known || time_like) {
            continue;
        }
        let hex = run.start..run.start + HEX;
        let Some(number) = text
            .get(hex.clone())
            .filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|hex| u32::from_str_radix(hex, 16).ok())
        else {
            continue;
        };
        found.push(InTraceId {
            range: hex,
            address: Ipv4Addr::from(number),
        });
    }
    found
}

/// Whether a text is known to be a trace id, by the key or field it stands under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IsTraceId {
    /// It stands under a name that says so.
    Yes,
    /// It may hold one.
    Unknown,
}

/// Writes an address in hex the way `like` is written.
pub(super) fn hex_like(address: Ipv4Addr, like: &str) -> String {
    if like.bytes().any(|byte| byte.is_ascii_uppercase()) {
        format!("{:08X}", u32::from(address))
    } else {
        format!("{:08x}", u32::from(address))
    }
}

/// Maximal runs of bytes that fit.
pub(super) fn runs(
    bytes: &[u8],
    fits: impl Fn(u8) -> bool + Copy,
) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + bytes.get(at..)?.iter().position(|byte| fits(*byte))?;
        let rest = bytes.get(start..)?;
        let len = rest
            .iter()
            .position(|byte| !fits(*byte))
            .unwrap_or(rest.len());
        at = start + len;
        Some(start..at)
    })
}

fn trimmed(bytes: &[u8], mut run: Range<usize>, surplus: impl Fn(u8) -> bool) -> Range<usize> {
    while run.start < run.end && bytes.get(run.start).is_some_and(|byte| surplus(*byte)) {
        run.start += 1;
    }
    while run.end > run.start && bytes.get(run.end - 1).is_some_and(|byte| surplus(*byte)) {
        run.end -= 1;
    }
    run
}

fn touches_word(bytes: &[u8], run: &Range<usize>) -> bool {
    let is_word = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let before = run.start.checked_sub(1).and_then(|at| bytes.get(at));
    is_word(before) || is_word(bytes.get(run.end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &[&str]) {
        let found: Vec<String> = in_text(text)
            .into_iter()
            .map(|found| match found.port {
                Some((port, _)) => SocketAddr::new(found.address, port).to_string(),
                None => found.address.to_string(),
            })
            .collect();
        assert_eq!(found, expect, "{text}");
    }

    #[test]
    fn addresses_in_text() {
        check("10.15.246.182", &["10.15.246.182"]);
        check("10.15.246.182:12200", &["10.15.246.182:12200"]);
        check("bolt://10.15.246.182:12200?app=x", &["10.15.246.182:12200"]);
        check("a%3A10.1.2.3%3A80%2F", &["10.1.2.3:80"]);
        check("ip10.1.2.3,10.1.2.4.", &["10.1.2.3", "10.1.2.4"]);
        check("1.10.1.2.3 10.1.2 10.1.2.300 010.1.2.3", &[]);
        check("10.1.2.3:99999", &["10.1.2.3"]);
        check("fd00::1 and [fd00::2]:80.", &["fd00::1", "[fd00::2]:80"]);
        check("::ffff:10.1.2.3", &["::ffff:10.1.2.3"]);
        check("12:30:45 a::b::c com::x", &[]);
        check("::1", &["::1"]);
    }

    #[test]
    fn addresses_in_trace_ids() {
        let id = "0a0fe8f8179542344391810018173";
        for text in [id.to_owned(), format!("trace={id},")] {
            let found = in_trace_ids(&text, IsTraceId::Unknown);
            assert_eq!(found.len(), 1, "{text}");
            assert_eq!(found[0].address, Ipv4Addr::new(10, 15, 232, 248));
        }
        assert_eq!(in_trace_ids("0a0fe8f8", IsTraceId::Unknown), []);
        assert_eq!(in_trace_ids("0a0fe8f8", IsTraceId::Yes).len(), 1);
        assert_eq!(in_trace_ids("xx0fe8f81795423443918100", IsTraceId::Yes), []);
        assert_eq!(in_trace_ids("", IsTraceId::Yes), []);
    }

    #[test]
    fn closer_rules_go_first() {
        let map = Map::parse(
            "map",
            "networks: {10.15.0.0/16: 10.99.0.0/16, 'fd00::/64': 'fd99::/64'}\n\
             addresses: {10.15.0.1: 127.0.0.1}\nendpoints: {10.15.0.1:80: 127.0.0.2:81}\n",
        )
        .expect("a map");
        let rules = Addresses::new(&map);
        let address = |text: &str| {
            rules
                .address(text.parse().expect("an address"))
                .map(|found| found.to.to_string())
        };
        assert_eq!(address("10.15.3.4").as_deref(), Some("10.99.3.4"));
        assert_eq!(address("10.15.0.1").as_deref(), Some("127.0.0.1"));
        assert_eq!(address("10.16.0.1"), None);
        assert_eq!(address("fd00::7").as_deref(), Some("fd99::7"));
        assert_eq!(
            address("::ffff:10.15.3.4").as_deref(),
            Some("::ffff:10.99.3.4")
        );
        let socket = |text: &str| {
            rules
                .socket(text.parse().expect("a socket"))
                .map(|found| found.to.to_string())
        };
        assert_eq!(socket("10.15.0.1:80").as_deref(), Some("127.0.0.2:81"));
        assert_eq!(socket("10.15.0.1:82").as_deref(), Some("127.0.0.1:82"));
    }
}
