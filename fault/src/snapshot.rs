//! What there is, before and after: the proof that healing left nothing, whoever made it and by
//! whatever tool it would be shown.
//!
//! ```
//! use meshproof_fault::snapshot::{Snapshot, Sort};
//!
//! let mut before = Snapshot::default();
//! before.note(Sort::Rule, "inet filter input 4: drop");
//! let after = Snapshot::default();
//! let change = before.until(&after);
//! assert_eq!(change.to_string(), "gone: rule inet filter input 4: drop");
//! assert!(before.until(&before).is_empty());
//! ```
//!
//! Nothing that changes by itself is noted: no counters, no times, no order.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use meshproof_sys::netlink::{self, Subsystem};

use crate::netlink::ask::{self, Unanswered};
use crate::netlink::read::{attribute, behind, messages, text, word};
use crate::netlink::write::Request;
use crate::netlink::{DUMP, REQUEST};
use crate::nft::list;
use crate::{Leftover, Residue};

/// Processes that are looked at, at most.
const PROCESSES_MAX: usize = 100_000;

/// Folders of control groups that are looked at, at most.
const GROUPS_MAX: usize = 20_000;

words! {
    /// Sorts of things.
    Sort {
        /// Tables of nftables, with their chains.
        Table = "table",
        /// Rules of nftables; iptables over nftables is among them.
        Rule = "rule",
        /// Tables of the old iptables: that they are there, not what stands in them.
        LegacyTable = "legacy table",
        /// Links, whether they are up, and their size of packets.
        Link = "link",
        /// Addresses of links.
        Address = "address",
        /// Routes.
        Route = "route",
        /// Which routes count for whom.
        RouteRule = "route rule",
        /// Queueing disciplines.
        Discipline = "qdisc",
        /// Mounts of this mount namespace.
        Mount = "mount",
        /// Control groups, and whether they are frozen.
        Group = "cgroup",
        /// Programs that stand still, or are traced.
        Task = "task",
        /// Descriptors of this process.
        Descriptor = "descriptor",
        /// Limits of a program; noted by whoever looks at one.
        Limit = "limit",
        /// Room on a disk, likewise.
        Disk = "disk",
        /// Leases in the journal, likewise.
        Journal = "journal",
    }
}

/// What there is. Equal things are counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    things: BTreeMap<(Sort, String), u64>,
    /// What could not be looked at, and why.
    pub unseen: Vec<String>,
}

/// What is different afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// There now, and not before.
    pub new: Vec<(Sort, String)>,
    /// There before, and not now.
    pub gone: Vec<(Sort, String)>,
}

impl Change {
    /// Nothing is different.
    pub fn is_empty(&self) -> bool {
        self.new.is_empty() && self.gone.is_empty()
    }

    /// The same as residue: what is new is left behind, and what is gone was not given back.
    pub fn residue(&self, looked_at: String) -> Residue {
        let told = |sort: &Sort, what: String| Leftover {
            kind: sort.word().to_owned(),
            what,
            whose: "unknown".to_owned(),
            advice: String::new(),
        };
        let new = self.new.iter().map(|(sort, what)| told(sort, what.clone()));
        let gone = self
            .gone
            .iter()
            .map(|(sort, what)| told(sort, format!("{what} (was there before)")));
        Residue {
            left: new.chain(gone).collect(),
            looked_at: vec![looked_at],
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = |how: &str, things: &[(Sort, String)]| {
            let things: Vec<String> = things
                .iter()
                .map(|(sort, what)| format!("{how}: {sort} {what}"))
                .collect();
            things
        };
        let mut all = told("new", &self.new);
        all.extend(told("gone", &self.gone));
        formatter.write_str(&all.join("; "))
    }
}

impl Snapshot {
    /// Notes one thing.
    pub fn note(&mut self, sort: Sort, what: impl Into<String>) {
        *self.things.entry((sort, what.into())).or_default() += 1;
    }

    /// How many things of a sort there are.
    pub fn count(&self, sort: Sort) -> u64 {
        let of = self.things.iter().filter(|((each, _), _)| *each == sort);
        of.map(|(_, count)| count).sum()
    }

    /// What is different in `after`.
    pub fn until(&self, after: &Snapshot) -> Change {
        let more = |than: &Snapshot, this: &Snapshot| {
            let mut things = Vec::new();
            for (thing, count) in &this.things {
                let others = than.things.get(thing).copied().unwrap_or(0);
                for _ in others..*count {
                    things.push(thing.clone());
                }
            }
            things
        };
        Change {
            new: more(self, after),
            gone: more(after, self),
        }
    }

    /// Everything: of the network of the calling thread, of its mounts, of the programs that it
    /// sees, of this process. What cannot be looked at is told in `unseen`.
    pub fn take() -> Snapshot {
        let mut snapshot = Snapshot::network();
        snapshot.machine();
        snapshot
    }

    /// The network of the calling thread alone.
    pub fn network() -> Snapshot {
        let mut snapshot = Snapshot::default();
        if let Err(error) = snapshot.rules() {
            snapshot.unseen.push(format!("nftables: {error}"));
        }
        if let Err(error) = snapshot.links() {
            snapshot.unseen.push(format!("links and routes: {error}"));
        }
        for version in ["ip", "ip6"] {
            let names = fs::read_to_string(format!("/proc/thread-self/net/{version}_tables_names"));
            // Without the module there are none.
            for name in names.unwrap_or_default().lines() {
                snapshot.note(Sort::LegacyTable, format!("{version} {name}"));
            }
        }
        snapshot
    }

    fn rules(&mut self) -> Result<(), Unanswered> {
        let all = list::everything(netlink::open(Subsystem::Netfilter)?)?;
        for table in all.tables {
            self.note(Sort::Table, format!("{} {}", table.family, table.name));
        }
        for chain in all.chains {
            self.note(Sort::Table, format!("{chain} (chain)"));
        }
        for rule in all.rules {
            let what = format!("{} {}: {}", rule.place, rule.handle, rule.what);
            self.note(Sort::Rule, what);
        }
        Ok(())
    }

    fn links(&mut self) -> Result<(), Unanswered> {
        let socket = netlink::open(Subsystem::Route)?;
        for listed in LISTED {
            let mut request = Request::default();
            let fixed = vec![0; listed.fixed];
            request.message(listed.asks, REQUEST | DUMP, 1, &fixed, |_| {});
            let answers = ask::list(&socket, request.bytes())?;
            let bodies = messages(&answers)
                .filter(|message| message.kind == listed.tells)
                .filter_map(|message| {
                    (listed.read)(message.body, behind(message.body, listed.fixed))
                });
            for what in bodies {
                self.note(listed.sort, what);
            }
        }
        Ok(())
    }

    fn machine(&mut self) {
        let told = [
            ("mounts", self.mounts()),
            ("programs", self.tasks()),
            ("descriptors", self.descriptors()),
        ];
        for (what, outcome) in told {
            if let Err(error) = outcome {
                self.unseen.push(format!("{what}: {error}"));
            }
        }
        let mut left = GROUPS_MAX;
        self.groups(Path::new("/sys/fs/cgroup"), &mut left);
        if left == 0 {
            self.unseen
                .push(format!("control groups beyond {GROUPS_MAX}"));
        }
    }

    fn mounts(&mut self) -> io::Result<()> {
        for line in fs::read_to_string("/proc/thread-self/mountinfo")?.lines() {
            // Numbers of mounts are new each time; what follows is root, place, options and, behind
            // a dash, kind and source.
            let words: Vec<&str> = line.split(' ').collect();
            let (Some(named), Some(dash)) =
                (words.get(3..6), words.iter().position(|word| *word == "-"))
            else {
                continue;
            };
            let kind = words.get(dash + 1..dash + 3).unwrap_or_default();
            self.note(
                Sort::Mount,
                format!("{} {}", named.join(" "), kind.join(" ")),
            );
        }
        Ok(())
    }

    fn tasks(&mut self) -> io::Result<()> {
        for entry in fs::read_dir("/proc")?.take(PROCESSES_MAX) {
            let name = entry?.file_name();
            let Some(number) = name.to_str().filter(|name| name.parse::<u32>().is_ok()) else {
                continue;
            };
            // Ended while it was listed.
            let Ok(status) = fs::read_to_string(format!("/proc/{number}/status")) else {
                continue;
            };
            if let Some(what) = still(number, &status) {
                self.note(Sort::Task, what);
            }
        }
        Ok(())
    }

    fn descriptors(&mut self) -> io::Result<()> {
        for entry in fs::read_dir("/proc/self/fd")? {
            // The one that reads the folder is among them, each time.
            let Ok(target) = fs::read_link(entry?.path()) else {
                continue;
            };
            let target = target.to_string_lossy().into_owned();
            // Inodes of sockets and pipes are new each time; that there is one more counts.
            let kind = match target.split_once(":[") {
                Some((kind, _)) => kind.to_owned(),
                None if target.starts_with("/proc/") => "/proc".to_owned(),
                None => target,
            };
            self.note(Sort::Descriptor, kind);
        }
        Ok(())
    }

    fn groups(&mut self, folder: &Path, left: &mut usize) {
        // Not mounted, or not ours to see.
        let Ok(entries) = fs::read_dir(folder) else {
            return;
        };
        for entry in entries.flatten() {
            if *left == 0 {
                return;
            }
            // A link is no folder here.
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            *left -= 1;
            let path = entry.path();
            let frozen = |name: &str, word: &str| {
                fs::read_to_string(path.join(name)).is_ok_and(|text| text.trim() == word)
            };
            let state = if frozen("cgroup.freeze", "1") || frozen("freezer.state", "FROZEN") {
                " (frozen)"
            } else {
                ""
            };
            self.note(Sort::Group, format!("{}{state}", path.display()));
            self.groups(&path, left);
        }
    }
}

/// A program that stands still, or is traced, by its `/proc/PID/status`.
fn still(number: &str, status: &str) -> Option<String> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().to_owned())
    };
    let state = field("State:")?;
    let tracer = field("TracerPid:").filter(|tracer| tracer != "0");
    let stands = state.starts_with('T') || state.starts_with('t');
    if !stands && tracer.is_none() {
        return None;
    }
    let by = tracer.map(|tracer| format!(", traced by {tracer}"));
    let name = field("Name:").unwrap_or_default();
    Some(format!("{number} {name} {state}{}", by.unwrap_or_default()))
}

/// One list of rtnetlink.
struct Listed {
    sort: Sort,
    asks: u16,
    tells: u16,
    /// Bytes of the fixed part.
    fixed: usize,
    /// From the whole body, and the attributes in it.
    read: fn(&[u8], &[u8]) -> Option<String>,
}

/// `linux/rtnetlink.h`
const LISTED: [Listed; 5] = [
    Listed {
        sort: Sort::Link,
        asks: 18,
        tells: 16,
        fixed: 16,
        read: link,
    },
    Listed {
        sort: Sort::Address,
        asks: 22,
        tells: 20,
        fixed: 8,
        read: address,
    },
    Listed {
        sort: Sort::Route,
        asks: 26,
        tells: 24,
        fixed: 12,
        read: route,
    },
    Listed {
        sort: Sort::RouteRule,
        asks: 34,
        tells: 32,
        fixed: 12,
        read: route_rule,
    },
    Listed {
        sort: Sort::Discipline,
        asks: 38,
        tells: 36,
        fixed: 20,
        read: discipline,
    },
];

fn link(body: &[u8], rest: &[u8]) -> Option<String> {
    let name = attribute(rest, 3).map(text)?;
    let up = word(body, 8)? & 1 != 0;
    let mtu = attribute(rest, 4).and_then(|value| word(value, 0))?;
    let state = if up { "up" } else { "down" };
    let master = attribute(rest, 10).and_then(|value| word(value, 0));
    let master = master.map(|master| format!(" at link {master}"));
    Some(format!(
        "{name} {state} mtu {mtu}{}",
        master.unwrap_or_default()
    ))
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(IpAddr::from(*value.first_chunk::<4>()?)),
        16 => Some(IpAddr::from(*value.first_chunk::<16>()?)),
        _ => None,
    }
}

fn address(body: &[u8], rest: &[u8]) -> Option<String> {
    let address = attribute(rest, 2).or(attribute(rest, 1)).and_then(ip)?;
    Some(format!(
        "{address}/{} link {}",
        body.get(1)?,
        word(body, 4)?
    ))
}

fn route(body: &[u8], rest: &[u8]) -> Option<String> {
    /// RTM_F_CLONED: learnt on the way, and forgotten again.
    const CLONED: u32 = 0x200;
    if word(body, 8)? & CLONED != 0 {
        return None;
    }
    let number = |kind| {
        attribute(rest, kind)
            .and_then(|value| word(value, 0))
            .unwrap_or(0)
    };
    let end = |kind| {
        let address = attribute(rest, kind).and_then(ip);
        address.map_or("-".to_owned(), |address| address.to_string())
    };
    Some(format!(
        "table {} family {} {}/{} by {} link {} priority {} type {}",
        number(15),
        body.first()?,
        end(1),
        body.get(1)?,
        end(5),
        number(4),
        number(6),
        body.get(7)?
    ))
}

fn route_rule(body: &[u8], rest: &[u8]) -> Option<String> {
    let number = |kind| {
        attribute(rest, kind)
            .and_then(|value| word(value, 0))
            .unwrap_or(0)
    };
    Some(format!(
        "family {} priority {} table {} action {}",
        body.first()?,
        number(6),
        number(15),
        body.get(7)?
    ))
}

fn discipline(body: &[u8], rest: &[u8]) -> Option<String> {
    let kind = attribute(rest, 1).map(text)?;
    let (link, handle, parent) = (word(body, 4)?, word(body, 8)?, word(body, 12)?);
    Some(format!(
        "{kind} link {link} handle {handle:x} parent {parent:x}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_things_are_counted() {
        let mut before = Snapshot::default();
        before.note(Sort::Descriptor, "socket");
        before.note(Sort::Mount, "/ rw");
        let mut after = before.clone();
        assert!(before.until(&after).is_empty());
        after.note(Sort::Descriptor, "socket");
        after.note(Sort::Descriptor, "socket");
        let change = before.until(&after);
        assert_eq!(
            change.to_string(),
            "new: descriptor socket; new: descriptor socket"
        );
        assert_eq!(after.until(&before).gone.len(), 2);
        let residue = after.until(&before).residue("all".into());
        assert_eq!(residue.left[0].what, "socket (was there before)");
        assert_eq!(after.count(Sort::Descriptor), 3);
    }

    #[test]
    fn those_that_stand_still_are_told_from_those_that_wait() {
        let status = |state: &str, tracer: u32| {
            format!("Name:\tcat\nUmask:\t0022\nState:\t{state}\nTracerPid:\t{tracer}\n")
        };
        for (state, tracer, expected) in [
            ("S (sleeping)", 0, None),
            ("T (stopped)", 0, Some("7 cat T (stopped)")),
            (
                "t (tracing stop)",
                9,
                Some("7 cat t (tracing stop), traced by 9"),
            ),
            ("S (sleeping)", 9, Some("7 cat S (sleeping), traced by 9")),
        ] {
            assert_eq!(still("7", &status(state, tracer)).as_deref(), expected);
        }
    }

    #[test]
    fn this_machine_is_seen() {
        let snapshot = Snapshot::take();
        for sort in [Sort::Link, Sort::Mount, Sort::Descriptor] {
            assert!(snapshot.count(sort) > 0, "{sort}: {:?}", snapshot.unseen);
        }
        assert!(
            snapshot
                .things
                .keys()
                .any(|(_, what)| what.starts_with("lo "))
        );
    }
}
