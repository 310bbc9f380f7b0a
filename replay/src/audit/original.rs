//! What the original capture shows that must not be in the rewritten one: addresses, VIPs, apps,
//! zones, and values that the map redacts.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

use meshproof_wire::decoder::Decoded;
use regex::bytes::Regex;

use super::bounds::{self, Context};
use super::fields::{self, Content};
use super::needle::Kind;
use super::scan;
use super::walk::{At, Payload, Visit, walk};
use crate::capture::{Error, Packet, Packets};
use crate::map::{Map, Redact};
use crate::packet::Parsed;
use crate::stream::Mark;

/// Values kept of each kind; the needles have a limit of their own.
const VALUES_MAX: usize = 100_000;
/// Bytes of a stream that are looked at together, so that a name across two segments is seen.
const OVERLAP_BYTES: usize = 512;

/// Keys whose values name an app, in lower case.
const APP_KEYS: [&str; 8] = [
    "app",
    "appname",
    "sofa_head_target_app",
    "targetapp",
    "targetappname",
    "rpc_trace_context.sofacallerapp",
    "sofacallerapp",
    "remote.application",
];

/// What an original capture shows.
#[derive(Clone, Debug, Default)]
pub struct Original {
    addresses: BTreeMap<IpAddr, String>,
    names: BTreeMap<(Kind, String), String>,
    redact: Option<Redact>,
}

impl Original {
    /// Reads a capture. Values that `map` redacts are taken along.
    ///
    /// # Errors
    /// There is nothing to go on with.
    pub fn read(packets: &mut dyn Packets, map: &Map) -> Result<Original, Error> {
        let mut original = Original {
            redact: map.redact.clone(),
            ..Original::default()
        };
        walk(packets, &mut original)?;
        Ok(original)
    }

    /// Addresses, each with where it stands first.
    pub fn addresses(&self) -> impl Iterator<Item = (IpAddr, &str)> {
        self.addresses
            .iter()
            .map(|(address, place)| (*address, place.as_str()))
    }

    /// Names, each with where it stands first.
    pub fn names(&self) -> impl Iterator<Item = (Kind, &str, &str)> {
        self.names
            .iter()
            .map(|((kind, name), place)| (*kind, name.as_str(), place.as_str()))
    }

    fn address(&mut self, address: IpAddr, place: impl FnOnce() -> String) {
        if self.addresses.len() < VALUES_MAX {
            let address = address.to_canonical();
            self.addresses.entry(address).or_insert_with(place);
        }
    }

    fn name(&mut self, kind: Kind, name: &[u8], place: impl FnOnce() -> String) {
        let Ok(name) = std::str::from_utf8(name) else {
            return;
        };
        // SOFARPC writes `-` for an app that is not named.
        if name.len() < 2 || self.names.len() >= VALUES_MAX {
            return;
        }
        let key = (kind, name.to_owned());
        self.names.entry(key).or_insert_with(place);
    }

    /// Addresses and VIPs in any text.
    fn text(&mut self, bytes: &[u8], context: Context, place: &dyn Fn() -> String) {
        bounds::dotted(bytes, context, |_, octets| {
            // `0.1.2.3` is a version or the place of a call in its trace.
            if octets[0] != 0 {
                self.address(Ipv4Addr::from(octets).into(), place);
            }
        });
        bounds::colons(bytes, context, |range, address| {
            // `::` and `::ba` stand in programs.
            if range.len() > 6 {
                self.address(address.into(), place);
            }
        });
        for vip in vips(bytes) {
            self.name(Kind::Vip, vip.name, place);
            if let Some(zone) = vip.zone {
                self.name(Kind::Zone, zone, place);
            }
        }
        // Between the values of a body nothing says where the last word ends.
        let queries = context.text.then(|| QUERY.captures_iter(bytes));
        for found in queries.into_iter().flatten() {
            if let (Some(key), Some(value)) = (found.get(1), found.get(2)) {
                let kind = match key.as_bytes().to_ascii_lowercase().as_slice() {
                    b"zone" => Kind::Zone,
                    _ => Kind::App,
                };
                self.name(kind, value.as_bytes(), place);
            }
        }
    }
}

/// Options of URLs that name an app or a zone.
static QUERY: LazyLock<Regex> = LazyLock::new(|| {
    // The expression is a constant; a test compiles it.
    #[expect(clippy::unwrap_used, reason = "a constant that a test compiles")]
    Regex::new(r"(?i-u)[?&](app_?name|app|zone)=([a-z0-9._-]+)").unwrap()
});

/// Names that look like a VIP's or another server's: a host name with a pool or a `vip` in it,
/// with a port behind it, or within a URL.
static HOSTS: LazyLock<Regex> = LazyLock::new(|| {
    #[expect(clippy::unwrap_used, reason = "a constant that a test compiles")]
    Regex::new(
        r"(?i-u)(://)?([a-z0-9](?:[a-z0-9_-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?)*\.(?:net|com|cn|org|io|local|internal|svc|lan|corp|test))(:[0-9]{2,5})?",
    )
    .unwrap()
});

struct Vip<'a> {
    name: &'a [u8],
    zone: Option<&'a [u8]>,
}

fn vips(bytes: &[u8]) -> impl Iterator<Item = Vip<'_>> {
    HOSTS.captures_iter(bytes).filter_map(|found| {
        let name = found.get(2)?.as_bytes();
        let lower = name.to_ascii_lowercase();
        let labels: Vec<&[u8]> = name.split(|byte| *byte == b'.').collect();
        let pool = lower
            .split(|byte| *byte == b'.')
            .next()
            .is_some_and(|first| first.ends_with(b"-pool"));
        let vip = lower
            .split(|byte| matches!(byte, b'.' | b'-'))
            .any(|part| part == b"vip");
        let served = found.get(1).is_some() || found.get(3).is_some();
        // `com.example.Service` is a class; a host ends with its domain.
        (labels.len() >= 2 && (pool || vip || served)).then(|| Vip {
            name,
            zone: (pool && labels.len() >= 4)
                .then(|| labels.get(1).copied())
                .flatten(),
        })
    })
}

/// The end of a stream, to be looked at with what follows.
#[derive(Debug, Default)]
pub(super) struct Tail(Vec<u8>);

impl Visit for Original {
    type Stream = Tail;

    fn packet(&mut self, packet: &Packet<'_>, parsed: &Parsed, payload: Payload) {
        let place = || format!("packet {}", packet.number);
        match parsed {
            Parsed::Tcp(segment) => {
                self.address(segment.src.ip(), place);
                self.address(segment.dst.ip(), place);
                if payload == Payload::Alone {
                    let bytes = packet.data.get(segment.payload.clone());
                    self.text(bytes.unwrap_or_default(), Context::RUN, &place);
                }
            }
            Parsed::NonTcp {
                addresses: Some((src, dst)),
            } => {
                self.address(*src, place);
                self.address(*dst, place);
            }
            _ => {}
        }
    }

    fn bytes(&mut self, _: At<'_>, tail: &mut Tail, mark: Mark, _: u64, bytes: &[u8]) {
        let place = || format!("packet {}", mark.packet);
        tail.0.extend_from_slice(bytes);
        // The last bytes wait for what follows; the first of them may be half a name, which the
        // context of a run lets pass as a whole one: words count from a bound.
        let upto = tail.0.len().saturating_sub(OVERLAP_BYTES);
        if upto > 0 {
            let seen = std::mem::take(&mut tail.0);
            self.text(&seen, Context::RUN, &place);
            let from = seen.len() - OVERLAP_BYTES;
            let bound = seen[from..]
                .iter()
                .position(|byte| !(byte.is_ascii_alphanumeric() || b"._-:".contains(byte)))
                .unwrap_or(0);
            tail.0 = seen[from + bound..].to_vec();
        }
    }

    fn frame(&mut self, _: At<'_>, _: &mut Tail, decoded: &Decoded<Mark>) {
        let Some(frame) = &decoded.frame else {
            return;
        };
        let packet = decoded.first.packet;
        let redact = self.redact.take();
        fields::fields(frame, |place, content| {
            let at = || format!("packet {packet} {}", place.path());
            let Content::Text(text) = content else {
                return;
            };
            if place.is_key() {
                return;
            }
            self.text(text, Context::FIELD, &at);
            let name = place.name().to_lowercase();
            if APP_KEYS.contains(&name.as_str()) {
                self.name(Kind::App, text, at);
            } else if name.ends_with("zone") && !text.is_empty() {
                self.name(Kind::Zone, text, at);
            } else if name.ends_with("traceid")
                && text.len() >= 21
                && bounds::millis_follow(text, 8)
                && let Some(octets) = scan::hex_address(text, 0)
            {
                self.address(Ipv4Addr::from(octets).into(), at);
            } else if name.ends_with("callerip")
                && let Ok(address) = String::from_utf8_lossy(text).parse()
            {
                self.address(address, at);
            }
            if let Some(redact) = &redact {
                let named = redact.headers.iter().any(|key| place.is_value_of(key))
                    || redact.fields.iter().any(|name| place.passes(name))
                    || redact.paths.iter().any(|path| place.is_within(path));
                if named {
                    self.name(Kind::Redacted, text, at);
                }
            }
        });
        self.redact = redact;
    }

    fn cut(&mut self, at: At<'_>, tail: &mut Tail) {
        let seen = std::mem::take(&mut tail.0);
        self.text(&seen, Context::RUN, &|| format!("stream {}", at.flow));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(Kind, &str)]) {
        let mut original = Original::default();
        original.text(text.as_bytes(), Context::FIELD, &|| "test".to_owned());
        let names: Vec<(Kind, &str)> = original
            .names()
            .map(|(kind, name, _)| (kind, name))
            .collect();
        assert_eq!(names, expected, "{text}");
    }

    #[test]
    fn names_in_text() {
        check(
            "http://sample-pool.zone1.alipay.net:12200?_TIMEOUT=3000",
            &[
                (Kind::Vip, "sample-pool.zone1.alipay.net"),
                (Kind::Zone, "zone1"),
            ],
        );
        check(
            "sample-server-vip.alipay.net",
            &[(Kind::Vip, "sample-server-vip.alipay.net")],
        );
        check("com.alipay.demo.SampleService:1.0", &[]);
        check(
            "bolt://10.15.246.182:12200?appName=sample-server&zone=GZ00A",
            &[(Kind::App, "sample-server"), (Kind::Zone, "GZ00A")],
        );
        check("example.com is a domain", &[]);
    }

    #[test]
    fn addresses_in_text() {
        let mut original = Original::default();
        let text = b"at 10.15.246.182:12200 and [fd00::12]:80, 0.1.2.3 and 1.2.3.4.5";
        original.text(text, Context::FIELD, &|| "test".to_owned());
        let addresses: Vec<String> = original
            .addresses()
            .map(|(address, _)| address.to_string())
            .collect();
        assert_eq!(addresses, ["10.15.246.182", "fd00::12"]);
    }
}
