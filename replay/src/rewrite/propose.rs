//! A first map, from what the captures hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;

use meshproof_wire::Frame;
use meshproof_wire::address::Vip;
use meshproof_wire::bolt::HeaderMap;
use meshproof_wire::decoder::Decoded;
use meshproof_wire::hessian::{Document, Role, Value};

use super::address::{self, IsTraceId};
use super::hessian;
use super::shape::{self, Form, Part};
use crate::capture::{self, Captures};
use crate::idiom::message::Message;
use crate::json::{self, What};
use crate::map::{Path, Step};
use crate::pipeline::{self, Options, Visitor};
use crate::stream::{Direction, Flow, Mark};

/// Values of one kind that are proposed at most; what is beyond is said in the map.
const VALUES_MAX: usize = 1 << 16;

/// Reads the captures and writes a map that names every peer address, every address and host name
/// in a header map or body, every app and every zone, each with where it was seen.
///
/// Replacements come from ranges that nobody routes: 198.18.0.0/15 (RFC 2544), 2001:db8::/32
/// (RFC 3849), `.test` (RFC 6761). Loopback addresses are left: they are the same everywhere.
///
/// # Errors
/// The captures cannot be read.
pub fn propose(captures: &mut Captures) -> Result<String, capture::Error> {
    let mut finder = Finder::default();
    pipeline::read(captures, &Options::FRAMES, &mut finder)?;
    Ok(finder.map())
}

/// Where something was seen first, and how often.
#[derive(Debug)]
struct Seen {
    place: String,
    count: u64,
}

/// Values, and how many did not fit any more.
#[derive(Debug)]
struct Found<K>(BTreeMap<K, Seen>, u64);

impl<K> Default for Found<K> {
    fn default() -> Self {
        Found(BTreeMap::new(), 0)
    }
}

impl<K: Ord> Found<K> {
    fn add(&mut self, key: K, place: impl FnOnce() -> String) {
        if let Some(seen) = self.0.get_mut(&key) {
            seen.count += 1;
        } else if self.0.len() < VALUES_MAX {
            let place = place();
            self.0.insert(key, Seen { place, count: 1 });
        } else {
            self.1 += 1;
        }
    }
}

#[derive(Debug, Default)]
struct Finder {
    addresses: Found<IpAddr>,
    /// In lower case.
    hosts: Found<String>,
    apps: Found<String>,
    zones: Found<String>,
}

impl Visitor for Finder {
    fn opened(&mut self, flow: &Arc<Flow>) {
        self.peer(flow.opener, "opener of a connection");
        self.peer(flow.acceptor, "acceptor of a connection");
    }

    fn frame(&mut self, _: &Arc<Flow>, _: Direction, decoded: &Decoded<Mark>) {
        let Some(frame) = &decoded.frame else {
            return;
        };
        let Some(shape) = shape::of(frame) else {
            return;
        };
        for part in shape.parts() {
            match &part.form {
                Form::HeaderMap => self.header_map(frame, &part),
                Form::Hessian => self.hessian(frame, &part),
                Form::Lines(message) => self.lines(frame, message),
                Form::Json(pieces) => self.json(frame, pieces),
                Form::Other => {}
            }
        }
    }
}

fn last_name(path: &Path) -> &str {
    match path.0.last() {
        Some(Step::Name(name)) => name,
        _ => "",
    }
}

/// Names of fields and keys that hold an app, in lower case.
const APP_NAMES: [&str; 10] = [
    "app",
    "appname",
    "app_name",
    "application",
    "targetapp",
    "targetappname",
    "callerapp",
    "sofacallerapp",
    "sofa_head_target_app",
    "target_app",
];

/// Last labels that make a dotted name a host.
const TOP_LABELS: [&str; 16] = [
    "net",
    "com",
    "cn",
    "org",
    "io",
    "info",
    "biz",
    "dev",
    "app",
    "cloud",
    "local",
    "localdomain",
    "internal",
    "intranet",
    "lan",
    "corp",
];

/// First labels that make a dotted name a package.
const PACKAGES: [&str; 9] = [
    "com", "org", "net", "cn", "io", "java", "javax", "jdk", "sun",
];

impl Finder {
    fn header_map(&mut self, frame: &Frame, part: &Part) {
        for (key, value) in HeaderMap::parse(&frame.bytes, part.range.clone()).texts() {
            let last = key.rsplit('.').next().unwrap_or_default();
            self.text(last, &value, || format!("header {key}"));
        }
    }

    fn lines(&mut self, frame: &Frame, message: &Message) {
        for (name, value) in &message.headers {
            let text = |range: &Range<usize>| {
                let bytes = frame.bytes.get(range.clone()).unwrap_or_default();
                String::from_utf8_lossy(bytes).into_owned()
            };
            let name = text(name);
            self.text(&name, &text(value), || format!("header {name}"));
        }
        if let Some(target) = message.target(&frame.bytes) {
            let target = frame.bytes.get(target).unwrap_or_default();
            let target = String::from_utf8_lossy(target);
            self.text("", &target, || "target of a request".to_owned());
        }
    }

    fn json(&mut self, frame: &Frame, pieces: &[Range<usize>]) {
        let body = super::json::joined(&frame.bytes, pieces);
        for leaf in json::leaves(&body).unwrap_or_default() {
            let (name, text) = match &leaf.what {
                What::Text(text) => (last_name(&leaf.path), text),
                What::Key(text) => ("", text),
                _ => continue,
            };
            self.text(name, text, || {
                format!("{} of the application api", leaf.path)
            });
        }
    }

    fn hessian(&mut self, frame: &Frame, part: &Part) {
        let bytes = frame.bytes.get(part.range.clone()).unwrap_or_default();
        let (document, _) = Document::parse(bytes);
        hessian::walk(&document, part.name, |path, role, node| {
            let text = match document.value(node) {
                Value::String(text) => text,
                Value::Binary(bytes) => match std::str::from_utf8(bytes) {
                    Ok(text) => text,
                    Err(_) => return,
                },
                _ => return,
            };
            let last = match role {
                Role::Key => "",
                _ => last_name(path),
            };
            self.text(last, text, || {
                format!("body {path} of {}", frame.class().unwrap_or_default())
            });
        });
    }

    fn peer(&mut self, socket: SocketAddr, what: &'static str) {
        self.address(socket.ip(), || what.to_owned());
    }

    fn address(&mut self, address: IpAddr, place: impl FnOnce() -> String) {
        let address = address.to_canonical();
        let is_everywhere = address.is_loopback()
            || address.is_unspecified()
            || address.is_multicast()
            || address == IpAddr::V4(Ipv4Addr::BROADCAST);
        if !is_everywhere {
            self.addresses.add(address, place);
        }
    }

    fn text(&mut self, name: &str, text: &str, place: impl Fn() -> String) {
        let name = name.to_ascii_lowercase();
        for found in address::in_text(text) {
            self.address(found.address, &place);
        }
        let is_trace_id = match name.ends_with("traceid") {
            true => IsTraceId::Yes,
            false => IsTraceId::Unknown,
        };
        for found in address::in_trace_ids(text, is_trace_id) {
            self.address(IpAddr::V4(found.address), &place);
        }
        if APP_NAMES.contains(&name.as_str()) {
            self.app(text, &place);
        }
        if name.contains("zone") {
            self.zone(text, &place);
        }
        for (key, value) in parameters(text) {
            let key = key.to_ascii_lowercase();
            if APP_NAMES.contains(&key.as_str()) {
                self.app(value, &place);
            }
            if key.contains("zone") {
                self.zone(value, &place);
            }
        }
        for host in hosts(text) {
            if let Ok(vip) = host.parse::<Vip>() {
                self.app(&vip.app, &place);
                self.zone(&vip.zone, &place);
            }
            self.hosts.add(host.to_ascii_lowercase(), &place);
        }
    }

    fn app(&mut self, text: &str, place: impl FnOnce() -> String) {
        if is_name(text) {
            self.apps.add(text.to_owned(), place);
        }
    }

    fn zone(&mut self, text: &str, place: impl FnOnce() -> String) {
        if is_name(text) {
            self.zones.add(text.to_owned(), place);
        }
    }

    fn map(&self) -> String {
        let mut out = String::from(
            "# A first rewrite map, made from what the captures hold. Review it: take out what may \
             stay,\n# choose replacements that your offline environment knows, and redact what is \
             personal.\n# docs/rewrite-map.md explains every key.\n",
        );
        let hosts: Vec<(&String, Option<Vip>)> = self
            .hosts
            .0
            .keys()
            .map(|host| (host, host.parse().ok()))
            .collect();
        let apps = named("offline-app", self.apps.0.keys());
        let zones = named("offline-zone", self.zones.0.keys());
        let taken: BTreeSet<IpAddr> = self.addresses.0.keys().copied().collect();
        let mut v4 = (1u32..)
            .map(|n| IpAddr::V4(Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + n)));
        let mut v6 = (1u128..).map(|n| {
            IpAddr::V6(Ipv6Addr::from(
                u128::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0)) + n,
            ))
        });
        let addresses = self.addresses.0.iter().filter_map(|(address, seen)| {
            let free = |new: &IpAddr| !taken.contains(new);
            let new = match address {
                IpAddr::V4(_) => v4.find(free),
                IpAddr::V6(_) => v6.find(free),
            }?;
            Some((address.to_string(), new.to_string(), seen))
        });
        section(&mut out, "addresses", self.addresses.1, addresses);

        let lower = |names: &BTreeMap<&String, String>, name: &str| {
            names
                .iter()
                .find(|(old, _)| old.eq_ignore_ascii_case(name))
                .map(|(_, new)| new.clone())
        };
        let mut number = 0;
        let mut made = BTreeSet::new();
        let mut vips = Vec::new();
        for (host, vip) in hosts {
            let of_vip = vip.as_ref().and_then(|vip| {
                let (app, zone) = (lower(&apps, &vip.app)?, lower(&zones, &vip.zone)?);
                Some(format!("{app}-pool.{zone}.offline.test"))
            });
            let new = of_vip
                .filter(|new| !made.contains(new) && !self.hosts.0.contains_key(new))
                .unwrap_or_else(|| {
                    loop {
                        number += 1;
                        let new = format!("host-{number}.offline.test");
                        if !self.hosts.0.contains_key(&new) {
                            break new;
                        }
                    }
                });
            made.insert(new.clone());
            if let Some(seen) = self.hosts.0.get(host) {
                vips.push((host.clone(), new, seen));
            }
        }
        section(&mut out, "vips", self.hosts.1, vips.into_iter());
        for (kind, found, names) in [("apps", &self.apps, &apps), ("zones", &self.zones, &zones)] {
            let rows = found
                .0
                .iter()
                .filter_map(|(old, seen)| Some((old.clone(), names.get(old)?.clone(), seen)));
            section(&mut out, kind, found.1, rows);
        }
        out.push_str(
            "\n# Values that are personal become pseudonyms, the same ones under the same key:\n\
             # redact:\n#   key: a long secret of your own\n#   fields: [mobile, idCard]\n\
             \n# Where a replay may send to:\n\
             # targets:\n# - {network: 198.18.0.0/15, owner: your team, writes: deny}\n",
        );
        out
    }
}

/// New names for old ones, none of which is an old one.
fn named<'a>(
    prefix: &str,
    old: impl Iterator<Item = &'a String> + Clone,
) -> BTreeMap<&'a String, String> {
    let taken: BTreeSet<&String> = old.clone().collect();
    let mut new = (1u32..)
        .map(|n| format!("{prefix}-{n}"))
        .filter(|new| !taken.contains(new));
    old.map(|old| (old, new.next().unwrap_or_default()))
        .collect()
}

fn section<'a>(
    out: &mut String,
    name: &str,
    beyond: u64,
    rows: impl Iterator<Item = (String, String, &'a Seen)>,
) {
    let mut is_first = true;
    // Writing to a String never fails.
    for (old, new, seen) in rows {
        if is_first {
            let _ = writeln!(out, "\n{name}:");
            is_first = false;
        }
        let place: String = seen
            .place
            .chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .take(100)
            .collect();
        let times = if seen.count == 1 { "time" } else { "times" };
        let _ = writeln!(out, "  # {} {times}, first: {place}", seen.count);
        let _ = writeln!(out, "  {}: {}", quoted(&old), quoted(&new));
    }
    if beyond > 0 {
        let _ = writeln!(
            out,
            "  # and others {beyond} times: no more than {VALUES_MAX} are proposed"
        );
    }
}

/// JSON strings are YAML strings.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A name that a rule may be made of.
fn is_name(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.chars().any(char::is_alphanumeric)
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '@'))
}

/// `key=value` behind `?`, `&` or `;`.
fn parameters(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let options = text.split_once('?').map_or("", |(_, options)| options);
    options.split(['&', ';', '?']).filter_map(|option| {
        let (key, value) = option.split_once('=')?;
        let end = value
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | ')' | ']' | '}'))
            .unwrap_or(value.len());
        Some((key, value.get(..end)?))
    })
}

/// Last labels of file names, which stack traces write with a line number like a port.
const FILES: [&str; 6] = ["java", "kt", "scala", "groovy", "go", "class"];

/// Names in a text that are written like hosts.
fn hosts(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    address::runs(text.as_bytes(), is_part).filter_map(move |run| {
        let token = text.get(run.clone())?;
        let name = token.trim_start_matches(['.', '-', '_']);
        let start = run.end - name.len();
        let name = name.trim_end_matches(['.', '-', '_']);
        let before = text.get(..start)?;
        let behind = text.get(start + name.len()..)?;
        let (rest, last) = name.rsplit_once('.')?;
        let first = rest.split('.').next()?;
        let is_letters = last.chars().all(|c| c.is_ascii_alphabetic());
        if !is_letters || FILES.contains(&last) || crate::map::Host::parse(name).is_none() {
            return None;
        }
        let has_port = behind.strip_prefix(':').is_some_and(|port| {
            let digits = port.bytes().take_while(u8::is_ascii_digit).count();
            (1..=5).contains(&digits)
                && !port
                    .get(digits..)
                    .is_some_and(|rest| rest.starts_with(|c: char| c == '.' || c.is_alphanumeric()))
        });
        let in_url = before.ends_with("://") || before.ends_with('@');
        let is_class = last.starts_with(|c: char| c.is_ascii_uppercase())
            && last.contains(|c: char| c.is_ascii_lowercase());
        let top = last.to_ascii_lowercase();
        let is_host = name.parse::<Vip>().is_ok()
            || in_url
            || (has_port && !is_class)
            || (TOP_LABELS.contains(&top.as_str()) && !PACKAGES.contains(&first));
        is_host.then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &[&str]) {
        assert_eq!(hosts(text).collect::<Vec<_>>(), expect, "{text}");
    }

    #[test]
    fn what_is_written_like_a_host() {
        check(
            "http://sample-pool.zone1.alipay.net:12200?_TIMEOUT=3000",
            &["sample-pool.zone1.alipay.net"],
        );
        check(
            "sample-server-vip.alipay.net",
            &["sample-server-vip.alipay.net"],
        );
        check("a.b:80, c.svc:1.0", &["a.b"]);
        check("com.alipay.demo.SampleService:1.0", &[]);
        check("com.alipay.demo.SampleService:12", &[]);
        check("java.lang.String at Foo.java:12", &[]);
        check("10.1.2.3:80 1.0.0", &[]);
    }

    #[test]
    fn parameters_of_urls() {
        let found: Vec<_> = parameters("bolt://a:1?appName=x&zone=GZ00A, b").collect();
        assert_eq!(found, [("appName", "x"), ("zone", "GZ00A")]);
    }
}
