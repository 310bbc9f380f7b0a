//! Where a VIP or a static route points to, in any form in which people write it.

use std::net::{IpAddr, SocketAddr};

use meshproof_wire::address::{Address, Host};

use crate::routing::Endpoint;
use crate::{Bug, Bugs};

/// Longest text that is looked at, in bytes.
const TEXT_BYTES_MAX: usize = 2048;

/// The port of a sidecar, where none is written.
const PORT: u16 = 12200;

/// One place to call, or one name that stands for a pool of them.
///
/// `APP-pool.ZONE.alipay.net:12200`, `http://APP-pool.ZONE.alipay.net:12200?_TIMEOUT=3000`,
/// `IP:PORT`, each with or without scheme, port and options. `http://` is what old registries
/// wrote in front of every address and says nothing of the protocol, as no scheme does: both
/// protocols may be spoken there. `bolt://` or the option `p=1` means BOLT alone, `tr://` or
/// `p=13` TR alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The machine, or a name to be resolved.
    pub host: TargetHost,
    /// 12200 where none was written.
    pub port: u16,
    /// BOLT is spoken there.
    pub bolt: bool,
    /// TR is spoken there.
    pub tr: bool,
    /// From `_TIMEOUT`, in milliseconds; bounds every call.
    pub timeout_ms: Option<u32>,
    /// From `_WEIGHT`; 100 where none was written.
    pub weight: u32,
    /// App and zone of a VIP; empty for others.
    pub app: String,
    /// See [`Target::app`].
    pub zone: String,
    /// Every option but `p`, as it stands, for the app.
    pub options: Vec<(String, String)>,
}

/// The host of a [`Target`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetHost {
    /// No need to ask anybody.
    Ip(IpAddr),
    /// The VIP name service is asked.
    Name(String),
}

/// Why a text is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` does not say where to call: {why}; expected APP-pool.ZONE.alipay.net:12200, \
     http://APP-pool.ZONE.alipay.net:12200?_TIMEOUT=3000 or IP:PORT"
)]
pub struct BadTarget {
    /// What was given, its front where it is long.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

impl Target {
    /// Reads a target.
    pub fn parse(text: &str, bugs: Bugs) -> Result<Target, BadTarget> {
        let wrong = |why: String| BadTarget {
            text: text.chars().take(200).collect(),
            why,
        };
        if text.len() > TEXT_BYTES_MAX {
            return Err(wrong(format!(
                "it is {} bytes long, expected at most {TEXT_BYTES_MAX}",
                text.len()
            )));
        }
        if bugs.has(Bug::VipLegacyForm) && text.contains("://") {
            return Ok(Target {
                host: TargetHost::Name(text.to_owned()),
                ..Target::plain(PORT)
            });
        }
        let address: Address = text
            .trim()
            .parse()
            .map_err(|bad: meshproof_wire::address::NotAnAddress| wrong(bad.why.to_owned()))?;
        let mut target = Target::plain(address.port.unwrap_or(PORT));
        if target.port == 0 {
            return Err(wrong("port 0 cannot be called".to_owned()));
        }
        match address.scheme.as_deref() {
            None | Some("http") => {}
            Some("bolt") => target.tr = false,
            Some("tr") => target.bolt = false,
            Some(scheme) => {
                return Err(wrong(format!(
                    "scheme `{scheme}` is not known, expected `http`, `bolt`, `tr` or none"
                )));
            }
        }
        for option in address.options.iter().flatten() {
            let value = option.value.as_deref().unwrap_or("");
            let number = |least: u32| {
                let number = value.parse::<u32>().ok();
                number.filter(|number| *number >= least).ok_or_else(|| {
                    wrong(format!(
                        "option `{}` is `{value}`, expected a number from {least} to {}",
                        option.key,
                        u32::MAX
                    ))
                })
            };
            match option.key.as_str() {
                "" => continue,
                "p" => match value {
                    "1" => target.tr = false,
                    "13" => target.bolt = false,
                    _ => {
                        return Err(wrong(format!(
                            "option `p` is `{value}`, expected 1 (BOLT) or 13 (TR)"
                        )));
                    }
                },
                // 0 is how SOFARPC writes that there is none.
                "_TIMEOUT" => target.timeout_ms = Some(number(0)?).filter(|bound| *bound > 0),
                "_WEIGHT" => target.weight = number(1)?,
                _ => {}
            }
            if option.key != "p" {
                target.options.push((option.key.clone(), value.to_owned()));
            }
        }
        if !target.bolt && !target.tr {
            return Err(wrong(
                "its scheme and its option `p` name different protocols".to_owned(),
            ));
        }
        target.host = match address.host {
            Host::Ip(ip) if ip.is_unspecified() || ip.is_multicast() => {
                return Err(wrong(format!("{ip} is the address of no machine")));
            }
            Host::Ip(ip) => TargetHost::Ip(ip),
            Host::Vip(vip) => {
                target.app = vip.app.clone();
                target.zone = vip.zone.clone();
                TargetHost::Name(vip.to_string())
            }
            // No top-level domain is a number: this was meant to be an IP address.
            Host::Name(name)
                if name
                    .rsplit('.')
                    .next()
                    .is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit())) =>
            {
                return Err(wrong(format!("`{name}` is no IP address and no name")));
            }
            Host::Name(name) => TargetHost::Name(name),
        };
        Ok(target)
    }

    fn plain(port: u16) -> Target {
        Target {
            host: TargetHost::Name(String::new()),
            port,
            bolt: true,
            tr: true,
            timeout_ms: None,
            weight: 100,
            app: String::new(),
            zone: String::new(),
            options: Vec::new(),
        }
    }

    /// The name that must be resolved first.
    pub fn name(&self) -> Option<&str> {
        match &self.host {
            TargetHost::Ip(_) => None,
            TargetHost::Name(name) => Some(name),
        }
    }

    /// The endpoint at one of its addresses.
    pub fn endpoint(&self, ip: IpAddr) -> Endpoint {
        Endpoint {
            address: SocketAddr::new(ip, self.port),
            bolt: self.bolt,
            tr: self.tr,
            zone: self.zone.clone(),
            weight: self.weight,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(target: &Target) -> String {
        let host = match &target.host {
            TargetHost::Ip(ip) => format!("ip {ip}"),
            TargetHost::Name(name) => format!("name {name}"),
        };
        let protocols = match (target.bolt, target.tr) {
            (true, true) => "any",
            (true, false) => "bolt",
            (false, true) => "tr",
            (false, false) => "none",
        };
        let options: Vec<String> = target
            .options
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        format!(
            "{host} {} {protocols} {:?} {}",
            target.port,
            target.timeout_ms,
            options.join("&")
        )
    }

    #[track_caller]
    fn check(text: &str, expect: &str) {
        let target = Target::parse(text, Bugs::NONE).map(|target| render(&target));
        assert_eq!(target.as_deref(), Ok(expect));
    }

    #[track_caller]
    fn refuse(text: &str, why: &str) {
        let refused = Target::parse(text, Bugs::NONE).expect_err("a bad target");
        assert_eq!(refused.why, why);
        assert!(refused.to_string().contains("expected APP-pool.ZONE"));
    }

    #[test]
    fn every_form_means_the_same_place() {
        let vip = "name trade-pool.gz00a.alipay.net 12200 any";
        let plain = format!("{vip} None ");
        check("trade-pool.gz00a.alipay.net:12200", &plain);
        check("trade-pool.gz00a.alipay.net", &plain);
        check("http://trade-pool.gz00a.alipay.net:12200", &plain);
        check("http://trade-pool.gz00a.alipay.net:12200/", &plain);
        check(" trade-pool.gz00a.alipay.net:12200?\n", &plain);
        let bounded = format!("{vip} Some(3000) _TIMEOUT=3000");
        check(
            "http://trade-pool.gz00a.alipay.net:12200?_TIMEOUT=3000",
            &bounded,
        );
        check("trade-pool.gz00a.alipay.net:12200?_TIMEOUT=3000", &bounded);
        check("10.1.2.3:12201", "ip 10.1.2.3 12201 any None ");
        check("10.1.2.3", "ip 10.1.2.3 12200 any None ");
        check("[fd00::1]:9", "ip fd00::1 9 any None ");
        check("tr://10.1.2.3", "ip 10.1.2.3 12200 tr None ");
        check("bolt://10.1.2.3", "ip 10.1.2.3 12200 bolt None ");
        check("10.1.2.3:1?p=13&x=y&z", "ip 10.1.2.3 1 tr None x=y&z=");
        check(
            "h.alipay.net:1?_TIMEOUT=0",
            "name h.alipay.net 1 any None _TIMEOUT=0",
        );
    }

    #[test]
    fn bad_ones_are_told_what_was_expected() {
        refuse("", "expected an IP address or a host name");
        refuse(
            "ftp://trade-pool.gz00a.alipay.net:12200",
            "scheme `ftp` is not known, expected `http`, `bolt`, `tr` or none",
        );
        refuse(
            "a-pool.z.net:99999",
            "the port is no number from 0 to 65535",
        );
        refuse("a-pool.z.net:0", "port 0 cannot be called");
        refuse("a pool.z.net:1", "expected an IP address or a host name");
        refuse("10.1.2.300:1", "`10.1.2.300` is no IP address and no name");
        refuse("0.0.0.0:1", "0.0.0.0 is the address of no machine");
        refuse(
            "a-pool.z.net:1?_TIMEOUT=-1",
            "option `_TIMEOUT` is `-1`, expected a number from 0 to 4294967295",
        );
        refuse(
            "a-pool.z.net:1?_TIMEOUT",
            "option `_TIMEOUT` is ``, expected a number from 0 to 4294967295",
        );
        refuse(
            "a-pool.z.net:1?p=2",
            "option `p` is `2`, expected 1 (BOLT) or 13 (TR)",
        );
        refuse(
            "tr://a-pool.z.net:1?p=1",
            "its scheme and its option `p` name different protocols",
        );
        refuse(
            &"a".repeat(3000),
            "it is 3000 bytes long, expected at most 2048",
        );
    }
}
