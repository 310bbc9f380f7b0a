//! Addresses, VIP names and SOFA trace ids, parsed in one place for everybody.
//!
//! ```
//! use meshproof_wire::address::{Address, Host};
//!
//! let legacy = "http://trade-pool.gz00a.alipay.net:12200?_TIMEOUT=3000";
//! let address: Address = legacy.parse()?;
//! assert_eq!(address.port, Some(12200));
//! assert_eq!(address.option("_TIMEOUT"), Some("3000"));
//! assert!(matches!(&address.host, Host::Vip(vip) if vip.app == "trade" && vip.zone == "gz00a"));
//! assert_eq!(address.to_string(), legacy);
//! # Ok::<(), meshproof_wire::address::NotAnAddress>(())
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Where a provider is, as registries, configuration and request bodies write it.
///
/// `10.1.2.3:12200`, `[fd00::1]:12200`, `trade-pool.gz00a.alipay.net:12200`, and any of them as a
/// URL: `http://trade-pool.gz00a.alipay.net:12200?_TIMEOUT=3000`, `bolt://10.1.2.3:12200?appName=x`.
/// What was parsed is written as it stood, save that an IPv6 address takes its canonical form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// `http`, `bolt`, `tr`, …; `None` where there is no `://`.
    pub scheme: Option<String>,
    /// The machine, or the pool of them.
    pub host: Host,
    /// The port.
    pub port: Option<u16>,
    /// Empty, or from the `/` on.
    pub path: String,
    /// What stands behind the `?`, in order; `None` where there is no `?`.
    pub options: Option<Vec<Parameter>>,
}

/// One parameter behind the `?`, as it stands: nothing is unescaped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Parameter {
    /// In front of the `=`.
    pub key: String,
    /// Behind the first `=`; `None` where there is none.
    pub value: Option<String>,
}

/// The host of an [`Address`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An IP address.
    Ip(IpAddr),
    /// The name of an app's pool in a zone.
    Vip(Vip),
    /// Any other name.
    Name(String),
}

/// A virtual address that stands for a pool of servers of an app: `APP-pool.ZONE.alipay.net`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Vip {
    /// The app.
    pub app: String,
    /// The zone.
    pub zone: String,
    /// The rest of the name: `alipay.net`, or what another site has in its place.
    pub domain: String,
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no address: {why}")]
pub struct NotAnAddress {
    /// What was given.
    pub text: String,
    /// What is wrong with it, as a lower-case fragment.
    pub why: &'static str,
}

impl Address {
    /// The value of the first parameter with this key.
    pub fn option(&self, key: &str) -> Option<&str> {
        let options = self.options.as_deref()?;
        let found = options.iter().find(|parameter| parameter.key == key)?;
        found.value.as_deref()
    }

    /// IP address and port, where both are there.
    pub fn socket(&self) -> Option<SocketAddr> {
        match self.host {
            Host::Ip(ip) => Some(SocketAddr::new(ip, self.port?)),
            Host::Vip(_) | Host::Name(_) => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(socket: SocketAddr) -> Self {
        Address {
            scheme: None,
            host: Host::Ip(socket.ip()),
            port: Some(socket.port()),
            path: String::new(),
            options: None,
        }
    }
}

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let wrong = |why| NotAnAddress {
            text: text.to_owned(),
            why,
        };
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest),
            None => (None, text),
        };
        let is_scheme = |scheme: &str| {
            scheme.starts_with(|first: char| first.is_ascii_alphabetic())
                && scheme
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        };
        if scheme.is_some_and(|scheme| !is_scheme(scheme)) {
            return Err(wrong("what stands before `://` is no scheme"));
        }
        let (rest, options) = match rest.split_once('?') {
            Some((rest, options)) => (rest, Some(parameters(options))),
            None => (rest, None),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (host, port) = split_port(authority).map_err(wrong)?;
        Ok(Address {
            scheme: scheme.map(str::to_owned),
            host: host.parse().map_err(|_| wrong(HOST_EXPECTED))?,
            port,
            path: path.to_owned(),
            options,
        })
    }
}

const HOST_EXPECTED: &str = "expected an IP address or a host name";

fn parameters(text: &str) -> Vec<Parameter> {
    text.split('&')
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) => Parameter {
                key: key.to_owned(),
                value: Some(value.to_owned()),
            },
            None => Parameter {
                key: pair.to_owned(),
                value: None,
            },
        })
        .collect()
}

/// Host and port of an authority; the host without the brackets of IPv6.
fn split_port(authority: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = if let Some(bracketed) = authority.strip_prefix('[') {
        let (host, behind) = bracketed
            .split_once(']')
            .ok_or("the `[` has no matching `]`")?;
        if host.parse::<Ipv6Addr>().is_err() {
            return Err("what stands in brackets is no IPv6 address");
        }
        match behind {
            "" => (host, None),
            _ => (
                host,
                Some(
                    behind
                        .strip_prefix(':')
                        .ok_or("expected a port behind `]`")?,
                ),
            ),
        }
    } else if authority.parse::<Ipv6Addr>().is_ok() {
        (authority, None)
    } else {
        match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    let Some(port) = port else {
        return Ok((host, None));
    };
    let number = port
        .parse::<u16>()
        .ok()
        .filter(|number| number.to_string() == port);
    Ok((
        host,
        Some(number.ok_or("the port is no number from 0 to 65535")?),
    ))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = &self.scheme {
            write!(f, "{scheme}://")?;
        }
        match &self.host {
            // Bare IPv6 is clear only where nothing stands around it.
            Host::Ip(IpAddr::V6(ip)) if self.port.is_some() || self.scheme.is_some() => {
                write!(f, "[{ip}]")?;
            }
            host => write!(f, "{host}")?,
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(&self.path)?;
        for (number, parameter) in self.options.iter().flatten().enumerate() {
            f.write_str(if number == 0 { "?" } else { "&" })?;
            f.write_str(&parameter.key)?;
            if let Some(value) = &parameter.value {
                write!(f, "={value}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Host {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        if let Ok(ip) = text.parse() {
            return Ok(Host::Ip(ip));
        }
        let is_label = |label: &str| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        if text.len() > 253 || !text.split('.').all(is_label) {
            return Err(NotAnAddress {
                text: text.to_owned(),
                why: HOST_EXPECTED,
            });
        }
        Ok(match text.parse() {
            Ok(vip) => Host::Vip(vip),
            Err(_) => Host::Name(text.to_owned()),
        })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Ip(ip) => ip.fmt(f),
            Host::Vip(vip) => vip.fmt(f),
            Host::Name(name) => f.write_str(name),
        }
    }
}

impl FromStr for Vip {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let parse = || {
            let (pool, rest) = text.split_once('.')?;
            let (zone, domain) = rest.split_once('.')?;
            let app = pool.strip_suffix("-pool")?;
            let filled = [app, zone, domain].iter().all(|part| !part.is_empty());
            filled.then(|| Vip {
                app: app.to_owned(),
                zone: zone.to_owned(),
                domain: domain.to_owned(),
            })
        };
        parse().ok_or_else(|| NotAnAddress {
            text: text.to_owned(),
            why: "expected APP-pool.ZONE.DOMAIN",
        })
    }
}

impl fmt::Display for Vip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Vip { app, zone, domain } = self;
        write!(f, "{app}-pool.{zone}.{domain}")
    }
}

/// A SOFA trace id: 8 hex digits of the caller's IPv4 address, 13 digits of milliseconds since the
/// Unix epoch, then a counter and the caller's process id, of no fixed length.
///
/// `0a0fe8f8179542344391810018173` came from 10.15.232.248.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TraceId {
    text: String,
    address: Ipv4Addr,
    at_ms: u64,
}

impl TraceId {
    /// Reads a trace id; `None` where the text is none.
    pub fn parse(text: &str) -> Option<TraceId> {
        let (address, rest) = text.split_at_checked(8)?;
        let (at_ms, rest) = rest.split_at_checked(13)?;
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        // A first digit of 0 would be a time before 2001: no trace id.
        if !address.bytes().all(|byte| byte.is_ascii_hexdigit())
            || !digits(at_ms)
            || at_ms.starts_with('0')
            || !digits(rest)
        {
            return None;
        }
        Some(TraceId {
            address: u32::from_str_radix(address, 16).ok()?.into(),
            at_ms: at_ms.parse().ok()?,
            text: text.to_owned(),
        })
    }

    /// The caller's address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// When it was made, in milliseconds since the Unix epoch.
    pub fn at_ms(&self) -> u64 {
        self.at_ms
    }

    /// What stands behind the time: counter and process id.
    pub fn rest(&self) -> &str {
        self.text.get(21..).unwrap_or("")
    }

    /// The same id as if another machine had made it. Its length does not change, and hex letters
    /// stay upper-case where they were.
    pub fn with_address(&self, address: Ipv4Addr) -> TraceId {
        let old = self.text.get(..8).unwrap_or("");
        let number = u32::from(address);
        let hex = if old.bytes().any(|byte| byte.is_ascii_uppercase()) {
            format!("{number:08X}")
        } else {
            format!("{number:08x}")
        };
        TraceId {
            text: hex + self.text.get(8..).unwrap_or(""),
            address,
            at_ms: self.at_ms,
        }
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, host: &str, port: Option<u16>) -> Address {
        let address: Address = text.parse().unwrap();
        assert_eq!(address.to_string(), text);
        let kind = match &address.host {
            Host::Ip(ip) => format!("ip {ip}"),
            Host::Vip(vip) => format!("vip {} {} {}", vip.app, vip.zone, vip.domain),
            Host::Name(name) => format!("name {name}"),
        };
        assert_eq!(kind, host);
        assert_eq!(address.port, port);
        address
    }

    #[track_caller]
    fn refuse(text: &str) {
        let refused = text.parse::<Address>();
        assert!(refused.is_err(), "{refused:?}");
    }

    #[test]
    fn every_form() {
        let socket = check("10.15.246.182:12200", "ip 10.15.246.182", Some(12200));
        assert_eq!(socket.socket(), "10.15.246.182:12200".parse().ok());
        check("10.15.246.182", "ip 10.15.246.182", None);
        check("[fd00::1]:12200", "ip fd00::1", Some(12200));
        check("fd00::1", "ip fd00::1", None);
        check("bolt://[fd00::1]", "ip fd00::1", None);
        let vip = "vip sample zone1 alipay.net";
        check("sample-pool.zone1.alipay.net:12200", vip, Some(12200));
        check("sample-pool.zone1.alipay.net", vip, None);
        let legacy = "http://sample-pool.zone1.alipay.net:12200?_TIMEOUT=3000";
        let legacy = check(legacy, vip, Some(12200));
        assert_eq!(legacy.option("_TIMEOUT"), Some("3000"));
        let odd = "http://sample-pool.zone1.alipay.net:12200?_TIMEOUT=3000&a&b=&a=1=2&";
        let odd = check(odd, vip, Some(12200));
        assert_eq!((odd.option("a"), odd.option("b")), (None, Some("")));
        let name = "name sample-server-vip.alipay.net";
        check("sample-server-vip.alipay.net", name, None);
        check("tr://host:12200?", "name host", Some(12200));
        check("http://h:1/a/b?c", "name h", Some(1));
        check("a-b-pool.z.x:1", "vip a-b z x", Some(1));
        check("-pool.z.x:1", "name -pool.z.x", Some(1));
    }

    #[test]
    fn what_is_no_address() {
        for text in [
            "",
            ":12200",
            "host:",
            "host:0x1",
            "host:+1",
            "host:00080",
            "host:65536",
            "ho st:1",
            "a..b:1",
            "[10.1.2.3]:1",
            "[::1",
            "[::1]1",
            "1:2:3",
            "://a",
            "1a://b",
            "http://",
        ] {
            refuse(text);
        }
    }

    #[test]
    fn trace_ids() {
        let text = "0a0fe8f8179542344391810018173";
        let id = TraceId::parse(text).unwrap();
        assert_eq!(id.address(), Ipv4Addr::new(10, 15, 232, 248));
        assert_eq!(id.at_ms(), 1_795_423_443_918);
        assert_eq!(id.rest(), "10018173");
        assert_eq!(id.to_string(), text);
        let moved = id.with_address(Ipv4Addr::new(192, 0, 2, 171));
        assert_eq!(moved.to_string(), "c00002ab179542344391810018173");
        assert_eq!(TraceId::parse(&moved.to_string()), Some(moved));
        let upper = TraceId::parse("0A0FE8F81795423443918").unwrap();
        let moved = upper.with_address(Ipv4Addr::new(192, 0, 2, 171));
        assert_eq!(moved.to_string(), "C00002AB1795423443918");
        for text in [
            "",
            "0a0fe8f8",
            "0a0fe8f8179542344391",
            "0a0fe8f8079542344391810018173",
            "0a0fe8g8179542344391810018173",
            "0a0fe8f81795423443918x",
            "0a0fe8f817954234é",
        ] {
            assert_eq!(TraceId::parse(text), None, "{text}");
        }
    }
}
