//! What is searched for: every original of the map, and what the original capture shows.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::original::Original;
use crate::map::{Map, Matches, PathPattern};

/// Needles beyond this number are not searched for; how many were left out is in the report.
pub const NEEDLES_MAX: usize = 200_000;

/// Longest name that is searched for, in bytes. Longer ones are cut to this length, so that
/// what a search holds back stays small.
pub const NAME_BYTES_MAX: usize = 512;

/// One thing that must not be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needle {
    /// What to look for.
    pub what: What,
    /// What it is in the world.
    pub kind: Kind,
    /// Who says that it must not be there.
    pub origin: Origin,
}

/// What to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Any address of a network; a single address is a network of its own.
    Network(IpNet),
    /// An address with its port beside it.
    Endpoint(SocketAddr),
    /// A name, without regard to case.
    Name(String),
    /// The whole value of one key.
    Value {
        /// The key, as it stands in a header map or as the end of a path in a body.
        key: String,
        /// The value.
        value: String,
    },
    /// A whole string at the places of a pattern.
    At {
        /// Where.
        at: PathPattern,
        /// The string.
        value: String,
    },
    /// Whatever matches a regular expression, in decoded strings; index into the needles' list of
    /// compiled patterns.
    Pattern {
        /// Where; everywhere without it.
        at: Option<PathPattern>,
        /// The expression.
        pattern: String,
    },
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Network(network) if network.prefix_len() == network.max_prefix_len() => {
                network.addr().fmt(f)
            }
            What::Network(network) => network.fmt(f),
            What::Endpoint(endpoint) => endpoint.fmt(f),
            What::Name(name) => f.write_str(name),
            What::Value { key, value } => write!(f, "{key}={value}"),
            What::At { at, value } => write!(f, "{value} at {}", at.0),
            What::Pattern { pattern, at: None } => write!(f, "/{pattern}/"),
            What::Pattern {
                pattern,
                at: Some(at),
            } => write!(f, "/{pattern}/ at {}", at.0),
        }
    }
}

/// What a needle is in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// A network of the map.
    Network,
    /// An address.
    Address,
    /// An address with a port.
    Endpoint,
    /// A VIP or another host name.
    Vip,
    /// The name of an app.
    App,
    /// The name of a zone.
    Zone,
    /// The value of a header.
    Header,
    /// A string of a body.
    String,
    /// A value that was to be redacted.
    Redacted,
}

impl Kind {
    /// The name used in every output.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Network => "network",
            Kind::Address => "address",
            Kind::Endpoint => "endpoint",
            Kind::Vip => "vip",
            Kind::App => "app",
            Kind::Zone => "zone",
            Kind::Header => "header",
            Kind::String => "string",
            Kind::Redacted => "redacted",
        }
    }
}

/// Who says that a needle must not be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A rule of the map, by its 1-based line; 0 where the map came from no text.
    Map {
        /// The line.
        line: usize,
    },
    /// The original capture, where it first stands: `packet 4 headers.app`.
    Original {
        /// Where.
        place: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Map { line } => write!(f, "map line {line}"),
            Origin::Original { place } => write!(f, "original {place}"),
        }
    }
}

/// A needle that is not searched for.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Exempt {
    /// What it is.
    pub needle: String,
    /// What it is in the world.
    pub kind: Kind,
    /// Why it is not searched for.
    pub why: &'static str,
}

/// All needles, and what their replacements are.
#[derive(Clone, Debug, Default)]
pub struct Needles {
    pub(super) list: Vec<Needle>,
    pub(super) exempt: Vec<Exempt>,
    /// Names that stand in the rewritten capture by right, in lower case.
    pub(super) replacement_names: Vec<String>,
    /// Addresses that stand there by right.
    pub(super) replacement_networks: Vec<IpNet>,
    pub(super) left_out: usize,
}

impl Needles {
    /// The originals of every rule of `map`, and what `original` shows besides.
    pub fn new(map: &Map, original: Option<&Original>) -> Needles {
        let mut needles = Needles::default();
        needles.replacements(map);
        needles.of_map(map);
        if let Some(original) = original {
            needles.of_original(original);
        }
        needles
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// What is searched for.
    pub fn iter(&self) -> std::slice::Iter<'_, Needle> {
        self.list.iter()
    }

    fn replacements(&mut self, map: &Map) {
        let networks = &mut self.replacement_networks;
        networks.extend(map.networks.iter().map(|rule| rule.to));
        networks.extend(map.addresses.iter().map(|rule| IpNet::from(rule.to)));
        networks.extend(map.endpoints.iter().map(|rule| IpNet::from(rule.to.ip())));
        let names = &mut self.replacement_names;
        names.extend(map.vips.iter().map(|rule| rule.to.name.to_lowercase()));
        names.extend(map.apps.iter().map(|rule| rule.to.to_lowercase()));
        names.extend(map.zones.iter().map(|rule| rule.to.to_lowercase()));
        names.extend(map.headers.iter().map(|rule| rule.to.to_lowercase()));
        names.extend(map.strings.iter().map(|rule| rule.to.to_lowercase()));
        names.retain(|name| !name.is_empty());
        names.sort();
        names.dedup();
    }

    fn of_map(&mut self, map: &Map) {
        let origin = |line: usize| Origin::Map { line };
        for rule in &map.networks {
            self.add(What::Network(rule.from), Kind::Network, origin(rule.line));
        }
        for rule in &map.addresses {
            let what = What::Network(IpNet::from(rule.from));
            self.add(what, Kind::Address, origin(rule.line));
        }
        for rule in &map.endpoints {
            self.add(What::Endpoint(rule.from), Kind::Endpoint, origin(rule.line));
        }
        for rule in &map.vips {
            let name = match rule.from.port {
                Some(port) => format!("{}:{port}", rule.from.name),
                None => rule.from.name.clone(),
            };
            self.add(What::Name(name), Kind::Vip, origin(rule.line));
        }
        for rule in &map.apps {
            let what = What::Name(rule.from.clone());
            self.add(what, Kind::App, origin(rule.line));
        }
        for rule in &map.zones {
            let what = What::Name(rule.from.clone());
            self.add(what, Kind::Zone, origin(rule.line));
        }
        for rule in &map.headers {
            let what = What::Value {
                key: rule.key.clone(),
                value: rule.from.clone(),
            };
            self.add(what, Kind::Header, origin(rule.line));
        }
        for rule in &map.strings {
            let at = rule.at.clone();
            let what = match (&rule.matches, at) {
                (Matches::Whole(value), None) => What::Name(value.clone()),
                (Matches::Whole(value), Some(at)) => What::At {
                    at,
                    value: value.clone(),
                },
                (Matches::Pattern(pattern), at) => What::Pattern {
                    at,
                    pattern: pattern.clone(),
                },
            };
            self.add(what, Kind::String, origin(rule.line));
        }
    }

    fn of_original(&mut self, original: &Original) {
        let mut known: BTreeMap<String, ()> = BTreeMap::new();
        for needle in &self.list {
            known.insert(needle.what.to_string().to_lowercase(), ());
        }
        for (address, place) in original.addresses() {
            let what = What::Network(IpNet::from(address));
            if known.insert(what.to_string(), ()).is_none() {
                let place = place.to_owned();
                self.add(what, Kind::Address, Origin::Original { place });
            }
        }
        for (kind, name, place) in original.names() {
            if known.insert(name.to_lowercase(), ()).is_none() {
                let origin = Origin::Original {
                    place: place.to_owned(),
                };
                self.add(What::Name(name.to_owned()), kind, origin);
            }
        }
    }

    fn add(&mut self, what: What, kind: Kind, origin: Origin) {
        if let Some(why) = self.exemption(&what, &origin) {
            self.exempt.push(Exempt {
                needle: what.to_string(),
                kind,
                why,
            });
        } else if self.list.len() >= NEEDLES_MAX {
            self.left_out += 1;
        } else {
            self.list.push(Needle { what, kind, origin });
        }
    }

    /// Why a needle is not searched for, if it is not.
    fn exemption(&self, what: &What, origin: &Origin) -> Option<&'static str> {
        // Whoever writes a rule for such an address wants it gone.
        let is_nobodys = |address| !matches!(origin, Origin::Map { .. }) && is_nobodys(address);
        let is_replacement = |name: &str| {
            let name = name.to_lowercase();
            self.replacement_names.binary_search(&name).is_ok()
        };
        match what {
            What::Network(network) => {
                let address = network.addr();
                if self
                    .replacement_networks
                    .iter()
                    .any(|to| to.contains(network))
                {
                    return Some("equals a replacement");
                }
                (network.prefix_len() == network.max_prefix_len() && is_nobodys(address))
                    .then_some("belongs to no host of a network")
            }
            What::Endpoint(endpoint) => {
                is_nobodys(endpoint.ip()).then_some("belongs to no host of a network")
            }
            What::Name(name) | What::At { value: name, .. } | What::Value { value: name, .. } => {
                if name.trim().is_empty() {
                    Some("is empty")
                } else {
                    is_replacement(name).then_some("equals a replacement")
                }
            }
            What::Pattern { .. } => None,
        }
    }
}

/// Loopback, unspecified, multicast and broadcast: they name no host.
fn is_nobodys(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            address.is_loopback()
                || address.is_unspecified()
                || address.is_multicast()
                || address.is_broadcast()
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unspecified() || address.is_multicast()
        }
    }
}
