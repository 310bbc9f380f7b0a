//! Rules as people write them: for `nft`, and the same for `iptables`.

use ipnet::IpNet;

use super::rule::{
    Action, Chain, Flags, Hook, Match, Rule, Side, State, Table, Transport, Version,
};

impl Table {
    /// The whole table as `nft` would read it.
    pub fn nft(&self) -> String {
        let family = if self.of_links() { "netdev" } else { "inet" };
        let mut text = format!("table {family} {} {{\n", self.name);
        text.push_str(&format!("\tcomment \"{}\"\n\tflags owner\n", self.tag));
        for chain in &self.chains {
            text.push_str(&format!(
                "\n\tchain {} {{\n\t\t{}\n",
                chain.name,
                chain.nft()
            ));
            for rule in &chain.rules {
                text.push_str(&format!("\t\t{}\n", rule.nft()));
            }
            text.push_str("\t}\n");
        }
        text.push_str("}\n");
        text
    }
}

impl Chain {
    /// Where it hangs, as `nft` would read it.
    pub fn nft(&self) -> String {
        let device = match self.hook.link() {
            Some(link) => format!(" device \"{link}\""),
            None => String::new(),
        };
        let hook = self.hook.name();
        let priority = self.priority;
        format!("type filter hook {hook}{device} priority {priority}; policy accept;")
    }
}

impl Rule {
    /// As `nft` would read it.
    pub fn nft(&self) -> String {
        let mut words: Vec<String> = self.matches.iter().map(Match::nft).collect();
        words.push("counter".to_owned());
        words.extend(match self.action {
            Action::Count => None,
            Action::Drop => Some("drop".to_owned()),
            Action::Accept => Some("accept".to_owned()),
            Action::Forward(link) => Some(format!("fwd to {link}")),
            Action::Reset => Some("reject with tcp reset".to_owned()),
            // With `port-unreachable`, which is what it says by itself.
            Action::Unreachable => Some("reject".to_owned()),
        });
        words.push(format!("comment \"{}\"", self.label));
        words.join(" ")
    }

    /// As lines of `iptables` and `ip6tables` that do the same at `hook`; why there are none,
    /// where there are none.
    pub fn iptables(&self, hook: &Hook) -> Result<Vec<String>, String> {
        let chain = match hook {
            Hook::Input => "INPUT",
            Hook::Output => "OUTPUT",
            Hook::Forward => "FORWARD",
            Hook::Prerouting => "PREROUTING",
            Hook::Ingress(_) | Hook::Egress(_) => {
                return Err("iptables has no hooks of links".to_owned());
            }
        };
        let versions = self.versions();
        versions
            .into_iter()
            .map(|version| {
                let program = match version {
                    Version::V4 => "iptables",
                    Version::V6 => "ip6tables",
                };
                let mut line = format!("{program} -w");
                if *hook == Hook::Prerouting {
                    line.push_str(" -t raw");
                }
                line.push_str(&format!(" -I {chain}"));
                let mut transport = None;
                for condition in &self.matches {
                    for word in condition.iptables(version, &mut transport)? {
                        line.push(' ');
                        line.push_str(&word);
                    }
                }
                match (self.action, version) {
                    (Action::Count, _) => {}
                    (Action::Accept, _) => line.push_str(" -j ACCEPT"),
                    (Action::Forward(_), _) => {
                        return Err("iptables does not send packets on another link".to_owned());
                    }
                    (Action::Drop, _) => line.push_str(" -j DROP"),
                    (Action::Reset, _) => line.push_str(" -j REJECT --reject-with tcp-reset"),
                    (Action::Unreachable, Version::V4) => {
                        line.push_str(" -j REJECT --reject-with icmp-port-unreachable");
                    }
                    (Action::Unreachable, Version::V6) => {
                        line.push_str(" -j REJECT --reject-with icmp6-port-unreachable");
                    }
                }
                Ok(line)
            })
            .collect()
    }

    /// The versions of IP that it can meet.
    pub fn versions(&self) -> Vec<Version> {
        let said = self.matches.iter().find_map(|condition| match condition {
            Match::Version(version) => Some(*version),
            Match::Address(_, IpNet::V4(_)) => Some(Version::V4),
            Match::Address(_, IpNet::V6(_)) => Some(Version::V6),
            _ => None,
        });
        said.map_or(vec![Version::V4, Version::V6], |version| vec![version])
    }
}

/// Flags as `nft` lists them.
fn joined(flags: Flags, between: &str) -> String {
    match flags.names() {
        names if names.is_empty() => "0x0".to_owned(),
        names => names.join(between),
    }
}

/// A number, as `nft` lists it: without zeros in front.
fn hexadecimal(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let digits = digits.trim_start_matches('0');
    format!("0x{}", if digits.is_empty() { "0" } else { digits })
}

/// An address of a link.
fn hardware(address: &[u8; 6]) -> String {
    let bytes: Vec<String> = address.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(":")
}

impl Match {
    /// As `nft` would read it.
    pub fn nft(&self) -> String {
        match self {
            Match::Version(Version::V4) => "meta nfproto ipv4".to_owned(),
            Match::Version(Version::V6) => "meta nfproto ipv6".to_owned(),
            Match::From(link) => format!("iifname \"{link}\""),
            Match::NotFrom(link) => format!("iifname != \"{link}\""),
            Match::Toward(link) => format!("oifname \"{link}\""),
            Match::NotToward(link) => format!("oifname != \"{link}\""),
            Match::Sender { value, mask } => {
                let [value, mask] = [value, mask].map(hardware);
                format!("ether saddr & {mask} == {value}")
            }
            Match::Mark { value, mask } => format!("meta mark & {mask:#x} == {value:#x}"),
            Match::Address(side, network) => {
                let family = match network {
                    IpNet::V4(_) => "ip",
                    IpNet::V6(_) => "ip6",
                };
                let side = match side {
                    Side::Source => "saddr",
                    Side::Destination => "daddr",
                };
                let whole = network.prefix_len() == network.max_prefix_len();
                if whole {
                    format!("{family} {side} {}", network.addr())
                } else {
                    format!("{family} {side} {}", network.trunc())
                }
            }
            Match::Transport(transport) => format!("meta l4proto {}", transport.name()),
            Match::Port(transport, side, port) => {
                let side = match side {
                    Side::Source => "sport",
                    Side::Destination => "dport",
                };
                format!("{} {side} {port}", transport.name())
            }
            Match::Flags { of, set } => {
                format!("tcp flags {} / {}", joined(*set, ","), joined(*of, ","))
            }
            Match::AnyFlag(flags) => format!("tcp flags {}", joined(*flags, ",")),
            Match::Payload => "@ih,0,8 & 0x0 == 0x0".to_owned(),
            Match::Bytes {
                offset,
                value,
                mask,
            } => {
                let place = format!("@ih,{},{}", offset * 8, value.len() * 8);
                if mask.iter().all(|byte| *byte == 0xff) {
                    format!("{place} {}", hexadecimal(value))
                } else {
                    let (mask, value) = (hexadecimal(mask), hexadecimal(value));
                    format!("{place} & {mask} == {value}")
                }
            }
            Match::State(State::New) => "ct state new".to_owned(),
            Match::State(State::Established) => "ct state established".to_owned(),
            Match::ConnectionsOver(count) => format!("ct count over {count}"),
            Match::User(user) => format!("meta skuid {user}"),
            Match::Group { level, path, .. } => {
                format!("socket cgroupv2 level {level} \"{path}\"")
            }
        }
    }

    /// As words of `iptables`; `transport` is what was said of it already, since it is said once.
    fn iptables(
        &self,
        version: Version,
        transport: &mut Option<Transport>,
    ) -> Result<Vec<String>, String> {
        let mut words = Vec::new();
        let mut of = |wanted: Transport, words: &mut Vec<String>| {
            if transport.is_none() {
                words.push(format!("-p {}", wanted.name()));
                *transport = Some(wanted);
            }
        };
        match self {
            // The program says it.
            Match::Version(_) => {}
            Match::From(link) => words.push(format!("-i {link}")),
            Match::NotFrom(link) => words.push(format!("! -i {link}")),
            Match::Toward(link) => words.push(format!("-o {link}")),
            Match::NotToward(link) => words.push(format!("! -o {link}")),
            Match::Address(Side::Source, network) => words.push(format!("-s {}", network.trunc())),
            Match::Address(Side::Destination, network) => {
                words.push(format!("-d {}", network.trunc()));
            }
            Match::Sender { .. } => {
                return Err("iptables has no part of an address of a link".to_owned());
            }
            Match::Mark { value, mask } => {
                words.push(format!("-m mark --mark {value:#x}/{mask:#x}"));
            }
            Match::Transport(wanted) => of(*wanted, &mut words),
            Match::Port(wanted, side, port) => {
                of(*wanted, &mut words);
                words.push(match side {
                    Side::Source => format!("--sport {port}"),
                    Side::Destination => format!("--dport {port}"),
                });
            }
            Match::Flags { of: looked, set } => {
                of(Transport::Tcp, &mut words);
                let name = |flags: Flags| match flags.names() {
                    names if names.is_empty() => "NONE".to_owned(),
                    names => names.join(",").to_uppercase(),
                };
                words.push(format!("--tcp-flags {} {}", name(*looked), name(*set)));
            }
            Match::AnyFlag(flags) => {
                of(Transport::Tcp, &mut words);
                let [name] = flags.names()[..] else {
                    return Err("iptables asks for one flag at a time".to_owned());
                };
                let name = name.to_uppercase();
                words.push(format!("--tcp-flags {name} {name}"));
            }
            Match::Payload => words.push(format!("-m bpf --bytecode \"{}\"", carries(version))),
            // `string` finds them anywhere, `u32` counts from the IP header: neither is exact.
            Match::Bytes { .. } => {
                return Err("iptables does not know where a payload begins".to_owned());
            }
            Match::State(State::New) => words.push("-m conntrack --ctstate NEW".to_owned()),
            Match::State(State::Established) => {
                words.push("-m conntrack --ctstate ESTABLISHED".to_owned());
            }
            Match::ConnectionsOver(count) => words.push(format!(
                "-m connlimit --connlimit-above {count} --connlimit-mask 0"
            )),
            Match::User(user) => words.push(format!("-m owner --uid-owner {user}")),
            Match::Group { path, .. } => words.push(format!("-m cgroup --path {path}")),
        }
        Ok(words)
    }
}

/// A filter for `-m bpf` that finds TCP packets that carry something: what the header of the
/// network says of the length, less both headers. Extension headers of version 6 are not seen.
fn carries(version: Version) -> &'static str {
    match version {
        // ldh [2]; st M[0]; ldxb 4*([0]&0xf); ldb [x+12]; rsh 2; and 0x3c; add x; tax; ld M[0];
        // sub x; jgt 0
        Version::V4 => {
            "12,40 0 0 2,2 0 0 0,177 0 0 0,80 0 0 12,116 0 0 2,84 0 0 60,12 0 0 0,7 0 0 0,\
             96 0 0 0,29 2 0 0,6 0 0 65535,6 0 0 0"
        }
        // ldh [4]; tax; ldb [52]; rsh 2; and 0x3c; jeq x
        Version::V6 => {
            "8,40 0 0 4,7 0 0 0,48 0 0 52,116 0 0 2,84 0 0 60,29 1 0 0,6 0 0 65535,6 0 0 0"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(matches: Vec<Match>, action: Action) -> Rule {
        Rule {
            label: "it".into(),
            matches,
            action,
        }
    }

    #[track_caller]
    fn check(rule: &Rule, hook: Hook, nft: &str, iptables: &[&str]) {
        assert_eq!(rule.nft(), format!("{nft} comment \"it\""));
        assert_eq!(rule.iptables(&hook).unwrap(), iptables);
    }

    #[test]
    fn rules_are_said_both_ways() {
        let port = |side| Match::Port(Transport::Tcp, side, 12199);
        check(
            &rule(vec![port(Side::Source)], Action::Drop),
            Hook::Input,
            "tcp sport 12199 counter drop",
            &[
                "iptables -w -I INPUT -p tcp --sport 12199 -j DROP",
                "ip6tables -w -I INPUT -p tcp --sport 12199 -j DROP",
            ],
        );
        check(
            &rule(
                vec![
                    Match::From("lo".into()),
                    Match::Address(Side::Source, "10.0.0.7/8".parse().unwrap()),
                    port(Side::Destination),
                    Match::Flags {
                        of: Flags::SYN.and(Flags::ACK),
                        set: Flags::SYN,
                    },
                ],
                Action::Reset,
            ),
            Hook::Output,
            "iifname \"lo\" ip saddr 10.0.0.0/8 tcp dport 12199 tcp flags syn / syn,ack counter \
             reject with tcp reset",
            &[
                "iptables -w -I OUTPUT -i lo -s 10.0.0.0/8 -p tcp --dport 12199 --tcp-flags \
                 SYN,ACK SYN -j REJECT --reject-with tcp-reset",
            ],
        );
        check(
            &rule(
                vec![Match::Version(Version::V6), Match::ConnectionsOver(3)],
                Action::Unreachable,
            ),
            Hook::Input,
            "meta nfproto ipv6 ct count over 3 counter reject",
            &[
                "ip6tables -w -I INPUT -m connlimit --connlimit-above 3 --connlimit-mask 0 -j \
                 REJECT --reject-with icmp6-port-unreachable",
            ],
        );
    }

    #[test]
    fn what_iptables_cannot_is_said() {
        let bytes = Match::Bytes {
            offset: 1,
            value: vec![1, 0],
            mask: vec![0xff, 0xf0],
        };
        let bytes = rule(vec![bytes], Action::Drop);
        assert!(bytes.iptables(&Hook::Input).is_err());
        assert!(
            bytes
                .nft()
                .starts_with("@ih,8,16 & 0xfff0 == 0x100 counter drop")
        );
        let mark = Match::Mark {
            value: 0x6d70_7702,
            mask: 0xffff_ff02,
        };
        let aside = rule(vec![mark], Action::Forward(7));
        assert!(aside.iptables(&Hook::Input).is_err());
        assert!(
            aside
                .nft()
                .starts_with("meta mark & 0xffffff02 == 0x6d707702 counter fwd to 7")
        );
        let sender = Match::Sender {
            value: [2, 0x6d, 0x70, 0x77, 0, 1],
            mask: [0xff, 0xff, 0xff, 0xff, 0xff, 1],
        };
        let passed = rule(vec![sender], Action::Accept);
        assert!(passed.iptables(&Hook::Input).is_err());
        assert!(
            passed
                .nft()
                .starts_with("ether saddr & ff:ff:ff:ff:ff:01 == 02:6d:70:77:00:01 counter accept")
        );
        let link = rule(vec![Match::Payload], Action::Drop);
        assert!(link.iptables(&Hook::Egress("lo".into())).is_err());
        assert_eq!(link.iptables(&Hook::Input).unwrap().len(), 2);
    }
}
