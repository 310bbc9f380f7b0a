//! The rewrite map: what is replaced by what, what is kept, and where a replay may go.
//!
//! A person writes it as YAML; [`Map::parse`] reads it and refuses rules that contradict each
//! other, with the line and what to type instead. The rewriter, the audit and the guard of the
//! replay engine all read this one type; how they look for a value is each one's own affair.

mod inverse;
mod overlap;
mod parse;
mod path;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

pub use inverse::NoInverse;
pub use parse::schema;
pub use path::{Path, Step};

/// A checked rewrite map. Its rules do not contradict each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Map {
    /// Network to network of equal length; the host bits stay.
    pub networks: Vec<Rule<IpNet>>,
    /// Single addresses. They go before `networks`.
    pub addresses: Vec<Rule<IpAddr>>,
    /// Address and port together. They go before `addresses`.
    pub endpoints: Vec<Rule<SocketAddr>>,
    /// Virtual addresses and any other host names, without regard to case.
    pub vips: Vec<Rule<Host>>,
    /// Names of apps.
    pub apps: Vec<Rule<String>>,
    /// Names of zones.
    pub zones: Vec<Rule<String>>,
    /// Whole values of one header key.
    pub headers: Vec<HeaderRule>,
    /// Strings of a body (and values of a header map), by place, value or pattern.
    pub strings: Vec<StringRule>,
    /// Values that are personal.
    pub redact: Option<Redact>,
    /// What is kept although the rewriter cannot understand it.
    pub keep: Keep,
    /// Two originals may share a replacement; there is no inverse then.
    pub many_to_one: bool,
    /// Where a replay may go.
    pub targets: Vec<Target>,
}

/// One original with its replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule<T> {
    /// What stands in the original.
    pub from: T,
    /// What is put in its place.
    pub to: T,
    /// 1-based line of the map; 0 where no text was read.
    pub line: usize,
}

/// A host name with or without a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    /// The name, as written.
    pub name: String,
    /// With a port the rule holds for this port only; without, for every one.
    pub port: Option<u16>,
}

/// A value of one header key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderRule {
    /// The key, such as `rpc_req_baggage.targetZone`.
    pub key: String,
    /// The whole value.
    pub from: String,
    /// What is put in its place.
    pub to: String,
    /// 1-based line of the map.
    pub line: usize,
}

/// A replacement within strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StringRule {
    /// Where; everywhere without it. See [`PathPattern`].
    pub at: Option<PathPattern>,
    /// What is looked for.
    pub matches: Matches,
    /// The replacement; for a pattern `$1` and `${name}` stand for its groups.
    pub to: String,
    /// 1-based line of the map.
    pub line: usize,
}

/// What a [`StringRule`] looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matches {
    /// The whole string.
    Whole(String),
    /// Every match of a regular expression (syntax of the `regex` crate), checked to compile.
    Pattern(String),
}

/// Values that are replaced by pseudonyms: the same input gives the same output of a similar
/// shape, and nobody without the key finds the way back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redact {
    /// Secret that the pseudonyms depend on.
    pub key: String,
    /// Header keys whose values are replaced.
    pub headers: Vec<String>,
    /// Names of fields or keys; every string at or below one of that name is replaced.
    pub fields: Vec<String>,
    /// Places; every string at or below one is replaced.
    pub paths: Vec<PathPattern>,
}

/// A place in a body or a header map, such as `[1].customer.*`; `*` stands for any one step.
///
/// Steps are separated by `.`. `[0]` at the front is a top-level value of the body (the first
/// argument of a SOFARPC request is `[1]`), within a path an element of a list; it may be written
/// `[*]`. A header value stands at `headers.` and its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPattern(pub String);

/// What is kept although the rewriter cannot understand it. The default keeps nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Link-layer addresses; else they become zeros.
    pub mac: bool,
    /// Streams of no known protocol; else their packets are left out.
    pub foreign: bool,
    /// Packets that are not TCP; else they are left out.
    pub non_tcp: bool,
    /// Bytes of a known stream that are no whole frame, bodies that cannot be decoded, fragments
    /// and malformed packets; else they become zeros or are left out.
    pub undecodable: bool,
}

impl Keep {
    /// Everything is kept.
    pub const ALL: Keep = Keep {
        mac: true,
        foreign: true,
        non_tcp: true,
        undecodable: true,
    };
}

/// A network that a replay may send to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where.
    pub network: IpNet,
    /// Who answers for it.
    pub owner: String,
    /// Whether methods that write may be called there.
    pub writes: Writes,
    /// 1-based line of the map.
    pub line: usize,
}

/// Whether methods that write may be called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Writes {
    /// They are refused.
    #[default]
    Deny,
    /// They are sent.
    Allow,
}

impl Map {
    /// Whether the map has nothing to hide: no rule that replaces a value and nothing to redact.
    /// Rewriting with it keeps every packet as it is.
    pub fn hides_nothing(&self) -> bool {
        self.networks.is_empty()
            && self.addresses.is_empty()
            && self.endpoints.is_empty()
            && self.vips.is_empty()
            && self.apps.is_empty()
            && self.zones.is_empty()
            && self.headers.is_empty()
            && self.strings.is_empty()
            && self.redact.is_none()
    }
}

/// Longest program that a pattern of a map may compile to, in bytes (1 MiB).
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Compiles a pattern of a map, within [`PATTERN_BYTES_MAX`].
pub(crate) fn compile(pattern: &str) -> Result<regex::Regex, regex::Error> {
    regex::RegexBuilder::new(pattern)
        .size_limit(PATTERN_BYTES_MAX)
        .build()
}

impl Host {
    /// Reads `NAME`, `NAME:PORT` and the legacy `http://NAME:PORT?OPTIONS`, whose options are let
    /// go. `None` for what is no host name; an address is none.
    pub fn parse(text: &str) -> Option<Host> {
        let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next()?;
        let (name, port) = match authority.split_once(':') {
            Some((name, port)) => (name, Some(port.parse::<u16>().ok()?)),
            None => (authority, None),
        };
        let good = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        (name.len() <= 253
            && name.split('.').all(good)
            && name.bytes().any(|byte| byte.is_ascii_alphabetic()))
        .then(|| Host {
            name: name.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl fmt::Display for Matches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Matches::Whole(text) => f.write_str(text),
            Matches::Pattern(pattern) => write!(f, "/{pattern}/"),
        }
    }
}
