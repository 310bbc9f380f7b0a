//! One window of bytes is searched for every needle in every encoding.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};

use super::addresses::Addresses;
use super::bounds::{self, Bounds, Context};
use super::needle::{NAME_BYTES_MAX, Needles, What};
use super::odds::Odds;
use super::views::{self, View};

/// How a needle was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Encoding {
    /// As people write it; for IPv6 in any of its text forms.
    Text,
    /// UTF-16, low byte first.
    Utf16Le,
    /// UTF-16, high byte first.
    Utf16Be,
    /// With `%3A` and the like.
    UrlEscaped,
    /// With `\u003a`, `\x3a` or `\/`.
    Escaped,
    /// Hexadecimal digits; of an address at the beginning of a run of digits.
    Hex,
    /// The eight hexadecimal digits of an address in the middle of a longer run.
    HexInside,
    /// Hexadecimal pairs with separators: `0a:0f:e8:f8`.
    HexSeparated,
    /// An IPv4 address as one decimal number.
    Decimal,
    /// The four bytes of an address in network order.
    Packed,
    /// The four bytes in reverse.
    PackedReversed,
    /// The sixteen bytes of an address.
    PackedV6,
    /// An IPv4 address in the sixteen bytes of an IPv6 one.
    MappedV6,
    /// Base64 of text, at any alignment, in either alphabet.
    Base64,
    /// Base64 of the four bytes of an address.
    Base64Packed,
    /// The address field of an IP header, or address and port of a TCP segment.
    Header,
    /// A number in a decoded body.
    Integer,
}

impl Encoding {
    /// The name used in every output.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Text => "text",
            Encoding::Utf16Le => "utf16-le",
            Encoding::Utf16Be => "utf16-be",
            Encoding::UrlEscaped => "url-escaped",
            Encoding::Escaped => "escaped",
            Encoding::Hex => "hex",
            Encoding::HexInside => "hex-inside",
            Encoding::HexSeparated => "hex-separated",
            Encoding::Decimal => "decimal",
            Encoding::Packed => "packed",
            Encoding::PackedReversed => "packed-reversed",
            Encoding::PackedV6 => "packed-v6",
            Encoding::MappedV6 => "mapped-v6",
            Encoding::Base64 => "base64",
            Encoding::Base64Packed => "base64-packed",
            Encoding::Header => "header",
            Encoding::Integer => "integer",
        }
    }
}

/// One place where a needle stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    /// Number of the needle.
    pub(super) needle: u32,
    /// How it is written.
    pub(super) encoding: Encoding,
    /// Where, in the window.
    pub(super) range: Range<usize>,
    /// Chance gives no such hit; else it is weighed in the end.
    pub(super) certain: bool,
    /// Distinguishes the addresses of a network from each other.
    pub(super) value: u128,
    /// It lies inside a replacement that holds it by right.
    pub(super) exempt: bool,
}

/// Bytes to the left of a window that are looked at as context only, unless it is the beginning.
pub(super) const CONTEXT_BYTES: usize = 8;

/// Everything needed to search a window.
#[derive(Debug)]
pub(super) struct Scanner {
    addresses: Addresses,
    endpoints: Addresses,
    /// Port and needle of each endpoint, by its number in `endpoints`.
    ports: Vec<Vec<(u16, u32)>>,
    replaced: Addresses,
    names: Option<AhoCorasick>,
    /// For each pattern of `names`.
    entries: Vec<Name>,
    margin: usize,
}

#[derive(Debug)]
struct Name {
    needle: u32,
    /// UTF-16 or bytes of text as they are.
    encoding: Encoding,
    bounds: Bounds,
    /// Replacements that hold the name, and where in them.
    covers: Vec<(Vec<u8>, usize)>,
}

/// Buffers that are used again for every window.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    view: View,
    inner: View,
}

impl Scanner {
    /// Prepares a search. `Err` when the names are too many for one automaton.
    pub(super) fn new(needles: &Needles) -> Result<Scanner, String> {
        let mut networks = Vec::new();
        let mut endpoints: Vec<(IpAddr, Vec<(u16, u32)>)> = Vec::new();
        let mut patterns: Vec<Vec<u8>> = Vec::new();
        let mut entries = Vec::new();
        let mut longest = 64;
        for (needle, number) in needles.list.iter().zip(0u32..) {
            match &needle.what {
                What::Network(network) => networks.push((*network, number)),
                What::Endpoint(endpoint) => {
                    let ip = endpoint.ip().to_canonical();
                    match endpoints.iter_mut().find(|(known, _)| *known == ip) {
                        Some((_, ports)) => ports.push((endpoint.port(), number)),
                        None => endpoints.push((ip, vec![(endpoint.port(), number)])),
                    }
                }
                What::Name(name) => {
                    let name = &name[..name.floor_char_boundary(NAME_BYTES_MAX)];
                    longest = longest.max(name.len());
                    let covers: Vec<(Vec<u8>, usize)> = needles
                        .replacement_names
                        .iter()
                        .filter_map(|to| {
                            let at = to.find(&name.to_lowercase())?;
                            Some((to.clone().into_bytes(), at))
                        })
                        .collect();
                    let mut push = |pattern: Vec<u8>, encoding, bounds| {
                        patterns.push(pattern);
                        entries.push(Name {
                            needle: number,
                            encoding,
                            bounds,
                            covers: covers.clone(),
                        });
                    };
                    let bounds = Bounds::of(name);
                    push(name.as_bytes().to_vec(), Encoding::Text, bounds);
                    if !name.is_ascii() {
                        // Runs of ASCII are laid open; these have to be looked for as they are.
                        let units: Vec<u16> = name.encode_utf16().collect();
                        let bytes = |order: fn(u16) -> [u8; 2]| {
                            units.iter().copied().flat_map(order).collect::<Vec<u8>>()
                        };
                        push(bytes(u16::to_le_bytes), Encoding::Utf16Le, Bounds::None);
                        push(bytes(u16::to_be_bytes), Encoding::Utf16Be, Bounds::None);
                    }
                }
                // Looked for in decoded fields only.
                What::Value { .. } | What::At { .. } | What::Pattern { .. } => {}
            }
        }
        let names = if patterns.is_empty() {
            None
        } else {
            Some(
                AhoCorasickBuilder::new()
                    .ascii_case_insensitive(true)
                    .match_kind(MatchKind::Standard)
                    .build(&patterns)
                    .map_err(|error| format!("the names are too many to search for: {error}"))?,
            )
        };
        let replaced = needles.replacement_networks.iter().map(|to| (*to, 0));
        Ok(Scanner {
            addresses: Addresses::new(networks),
            ports: endpoints.iter().map(|(_, ports)| ports.clone()).collect(),
            endpoints: Addresses::new(endpoints.iter().map(|(ip, _)| (*ip).into()).zip(0..)),
            replaced: Addresses::new(replaced),
            names,
            entries,
            // A name written with `\u0061` for every character is the longest form.
            margin: longest * 6 + 2 * CONTEXT_BYTES,
        })
    }

    /// Bytes of a window that have to be seen again with what follows them.
    pub(super) fn margin(&self) -> usize {
        self.margin
    }

    /// Searches bytes as they came off the wire.
    pub(super) fn raw(
        &self,
        bytes: &[u8],
        context: Context,
        scratch: &mut Scratch,
        odds: &mut Odds,
        emit: &mut dyn FnMut(Hit),
    ) {
        let from = if context.at_start { 0 } else { CONTEXT_BYTES };
        let upto = match context.at_end {
            true => bytes.len(),
            false => bytes.len().saturating_sub(CONTEXT_BYTES),
        };
        let mut inside = |hit: Hit| {
            if hit.range.start >= from && hit.range.end <= upto {
                emit(hit);
            }
        };
        self.packed(bytes, odds, &mut inside);
        self.readings(bytes, context, scratch, odds, &mut inside);
        let Scratch { view, .. } = scratch;
        views::utf16(bytes, view, |view, encoding| {
            self.text(&view.bytes, Context::FIELD, &mut |mut hit| {
                hit.encoding = encoding;
                hit.range = view.source(hit.range);
                inside(hit);
            });
        });
    }

    /// Searches a decoded string: its ends are bounds.
    pub(super) fn field(
        &self,
        text: &[u8],
        scratch: &mut Scratch,
        odds: &mut Odds,
        emit: &mut dyn FnMut(Hit),
    ) {
        self.readings(text, Context::FIELD, scratch, odds, emit);
    }

    /// The needle of an address that stands at a place where only addresses stand.
    pub(super) fn address(&self, address: IpAddr) -> Option<u32> {
        self.addresses
            .find(address)
            .filter(|_| self.replaced.find(address).is_none())
    }

    /// The needle of an address with its port.
    pub(super) fn endpoint(&self, endpoint: SocketAddr) -> Option<u32> {
        let ports = self
            .ports
            .get(self.endpoints.find(endpoint.ip())? as usize)?;
        ports
            .iter()
            .find(|(port, _)| *port == endpoint.port())
            .map(|(_, needle)| *needle)
    }

    /// Text, and what escapes, hexadecimal digits and base64 hide.
    fn readings(
        &self,
        bytes: &[u8],
        context: Context,
        scratch: &mut Scratch,
        odds: &mut Odds,
        emit: &mut dyn FnMut(Hit),
    ) {
        self.text(bytes, context, emit);
        self.numbers(bytes, context, odds, emit);
        let Scratch { view, inner } = scratch;
        for (encoding, open) in [
            (
                Encoding::UrlEscaped,
                views::percent as fn(&[u8], &mut View) -> bool,
            ),
            (Encoding::Escaped, views::escapes),
        ] {
            if open(bytes, view) {
                self.text(&view.bytes, context, &mut |mut hit| {
                    if view.is_encoded(&hit.range) {
                        hit.encoding = encoding;
                        hit.range = view.source(hit.range);
                        emit(hit);
                    }
                });
            }
        }
        views::hex(bytes, view, |view| {
            self.text(&view.bytes, Context::RUN, &mut |mut hit| {
                hit.encoding = Encoding::Hex;
                hit.range = view.source(hit.range);
                emit(hit);
            });
        });
        views::base64(bytes, inner, |view| {
            self.text(&view.bytes, Context::RUN, &mut |mut hit| {
                hit.encoding = Encoding::Base64;
                hit.range = view.source(hit.range);
                emit(hit);
            });
            if odds.is_fresh(view.source(0..0).start) {
                odds.base64(&view.bytes);
            }
            self.four_bytes(&view.bytes, &mut |mut hit| {
                if hit.encoding == Encoding::Packed {
                    hit.encoding = Encoding::Base64Packed;
                    hit.range = view.source(hit.range);
                    emit(hit);
                }
            });
        });
    }

    /// Names and addresses as people write them.
    fn text(&self, bytes: &[u8], context: Context, emit: &mut dyn FnMut(Hit)) {
        if let Some(names) = &self.names {
            for found in names.find_overlapping_iter(bytes) {
                let Some(name) = self.entries.get(found.pattern().as_usize()) else {
                    continue;
                };
                let range = found.range();
                if !name.bounds.hold(bytes, &range, context) {
                    continue;
                }
                let exempt = name.covers.iter().any(|(replacement, at)| {
                    range
                        .start
                        .checked_sub(*at)
                        .and_then(|start| bytes.get(start..start + replacement.len()))
                        .is_some_and(|there| there.eq_ignore_ascii_case(replacement))
                });
                emit(Hit {
                    needle: name.needle,
                    encoding: name.encoding,
                    range,
                    certain: true,
                    value: 0,
                    exempt,
                });
            }
        }
        if self.has_v4() {
            bounds::dotted(bytes, context, |range, octets| {
                let port = bounds::port_after(bytes, range.end);
                self.at_address(IpAddr::from(octets), port, range, emit);
            });
        }
        if self.has_v6() || self.has_v4() {
            bounds::colons(bytes, context, |range, address| {
                let port = bounds::port_after_bracket(bytes, range.end);
                self.at_address(IpAddr::V6(address), port, range, emit);
            });
        }
    }

    /// An address in text, with the port beside it.
    fn at_address(
        &self,
        address: IpAddr,
        port: Option<(u16, usize)>,
        range: Range<usize>,
        emit: &mut dyn FnMut(Hit),
    ) {
        let mut hit = Hit {
            needle: 0,
            encoding: Encoding::Text,
            range,
            certain: true,
            value: bits(address),
            exempt: self.replaced.find(address).is_some(),
        };
        if let Some((port, end)) = port
            && let Some(needle) = self.endpoint(SocketAddr::new(address.to_canonical(), port))
        {
            emit(Hit {
                needle,
                range: hit.range.start..end,
                // An endpoint of the map is looked for as such, whatever its address is.
                exempt: false,
                ..hit.clone()
            });
        }
        if let Some(needle) = self.addresses.find(address) {
            hit.needle = needle;
            emit(hit);
        }
    }

    /// IPv4 addresses as hexadecimal or decimal numbers.
    fn numbers(&self, bytes: &[u8], context: Context, odds: &mut Odds, emit: &mut dyn FnMut(Hit)) {
        views::runs(bytes, u8::is_ascii_hexdigit, 8, |run| {
            let whole = run.start > 0 || context.at_start;
            odds.hex_run(run.start, bytes.get(run.clone()).unwrap_or_default());
            for at in run.start..=run.end - 8 {
                let Some(address) = hex_address(bytes, at) else {
                    continue;
                };
                let first = at == run.start && whole;
                let encoding = match first {
                    true => Encoding::Hex,
                    false => Encoding::HexInside,
                };
                let trace = first && bounds::millis_follow(bytes, at + 8);
                self.v4(address, encoding, at..at + 8, trace, emit);
                if first {
                    let reversed = [address[3], address[2], address[1], address[0]];
                    self.v4(reversed, encoding, at..at + 8, false, emit);
                }
            }
            if self.addresses.has_v6() && run.len() >= 32 {
                for at in run.start..=run.end - 32 {
                    self.hex_v6(bytes, at, emit);
                }
            }
        });
        if !self.addresses.has_v4() {
            return;
        }
        bounds::separated_hex(bytes, |range, address| {
            odds.separated(range.start);
            self.v4(address, Encoding::HexSeparated, range, false, emit);
        });
        bounds::decimal(bytes, |range, number| {
            odds.decimal(range.start);
            self.v4(number.to_be_bytes(), Encoding::Decimal, range, false, emit);
        });
    }

    fn hex_v6(&self, bytes: &[u8], at: usize, emit: &mut dyn FnMut(Hit)) {
        let mut packed = [0; 16];
        for (index, byte) in packed.iter_mut().enumerate() {
            let Some(value) = views::hex_pair(bytes, at + 2 * index) else {
                return;
            };
            *byte = value;
        }
        self.v6(packed, Encoding::Hex, at..at + 32, emit);
    }

    /// Addresses in their four or sixteen bytes.
    pub(super) fn packed(&self, bytes: &[u8], odds: &mut Odds, emit: &mut dyn FnMut(Hit)) {
        odds.bytes(bytes);
        self.four_bytes(bytes, emit);
        if self.addresses.has_v6() {
            for (at, window) in bytes.windows(16).enumerate() {
                if let Ok(packed) = <[u8; 16]>::try_from(window) {
                    self.v6(packed, Encoding::PackedV6, at..at + 16, emit);
                }
            }
        }
        if self.endpoints.has_v4() {
            for (at, window) in bytes.windows(6).enumerate() {
                let [a, b, c, d, high, low] = *window else {
                    continue;
                };
                let endpoint = SocketAddr::new(
                    Ipv4Addr::new(a, b, c, d).into(),
                    u16::from_be_bytes([high, low]),
                );
                if let Some(needle) = self.endpoint(endpoint) {
                    emit(Hit {
                        needle,
                        encoding: Encoding::Packed,
                        range: at..at + 6,
                        certain: true,
                        value: bits(endpoint.ip()),
                        exempt: false,
                    });
                }
            }
        }
    }

    fn four_bytes(&self, bytes: &[u8], emit: &mut dyn FnMut(Hit)) {
        if !self.addresses.has_v4() {
            return;
        }
        for (at, window) in bytes.windows(4).enumerate() {
            let Ok(address) = <[u8; 4]>::try_from(window) else {
                continue;
            };
            if self.addresses.v4(address).is_some() {
                let mapped = at >= 12
                    && bytes.get(at - 12..at) == Some(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255]);
                let encoding = match mapped {
                    true => Encoding::MappedV6,
                    false => Encoding::Packed,
                };
                self.v4(address, encoding, at..at + 4, mapped, emit);
            }
            let reversed = [address[3], address[2], address[1], address[0]];
            self.v4(reversed, Encoding::PackedReversed, at..at + 4, false, emit);
        }
    }

    fn v4(
        &self,
        address: [u8; 4],
        encoding: Encoding,
        range: Range<usize>,
        certain: bool,
        emit: &mut dyn FnMut(Hit),
    ) {
        if let Some(needle) = self.addresses.v4(address) {
            let address = IpAddr::from(address);
            emit(Hit {
                needle,
                encoding,
                range,
                certain,
                value: bits(address),
                exempt: self.replaced.find(address).is_some(),
            });
        }
    }

    fn v6(
        &self,
        packed: [u8; 16],
        encoding: Encoding,
        range: Range<usize>,
        emit: &mut dyn FnMut(Hit),
    ) {
        if let Some(needle) = self.addresses.v6(packed) {
            let address = IpAddr::V6(Ipv6Addr::from(packed));
            emit(Hit {
                needle,
                encoding,
                range,
                certain: false,
                value: bits(address),
                exempt: self.replaced.find(address).is_some(),
            });
        }
    }

    fn has_v4(&self) -> bool {
        self.addresses.has_v4() || self.endpoints.has_v4()
    }

    fn has_v6(&self) -> bool {
        self.addresses.has_v6() || self.endpoints.has_v6()
    }
}

/// The address that eight hexadecimal digits spell.
pub(super) fn hex_address(bytes: &[u8], at: usize) -> Option<[u8; 4]> {
    Some([
        views::hex_pair(bytes, at)?,
        views::hex_pair(bytes, at + 2)?,
        views::hex_pair(bytes, at + 4)?,
        views::hex_pair(bytes, at + 6)?,
    ])
}

/// An address as a number; IPv4 and IPv6 do not meet within one needle.
pub(super) fn bits(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}
