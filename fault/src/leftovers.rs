//! What any tool left behind, in the network of this process and on this machine; and how what is
//! ours is taken away.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::time::Duration;

use meshproof_sys::clock::Nanos;
use meshproof_sys::netlink::{self, Subsystem};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::Serialize;

use crate::backend::TAG;
use crate::iptables::journal::{self, Entry, Journal};
use crate::iptables::{self, Found};
use crate::link::WIRE;
use crate::netlink::ask::Unanswered;
use crate::nft::list;
use crate::{Error, Leftover, Residue, keeper, mount};

/// Processes that are looked at.
const PROCESSES_MAX: usize = 100_000;

/// How long a keeper that is told to end may take to heal.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// What there is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Survey {
    /// 1.
    pub schema: u32,
    /// Left behind by a tool that is known for it; ours first.
    pub left: Vec<Leftover>,
    /// What may be a leftover, and may be what somebody wants: rules that drop, tasks that stand
    /// still.
    pub suspects: Vec<Leftover>,
    /// Leases that are in force, with a keeper that lives.
    pub in_force: Vec<String>,
    /// What was looked at.
    pub looked_at: Vec<String>,
    /// What could not be looked at, and why.
    pub unseen: Vec<String>,
}

/// Words by which rules, links and mounts of other tools are known.
const TOOLS: [(&str, &str); 6] = [
    ("CHAOS-", "chaos-mesh"),
    ("chaosblade", "chaosblade"),
    ("pumba", "pumba"),
    ("litmus", "litmus"),
    ("blockade", "blockade"),
    ("toda", "chaos-mesh"),
];

/// Looks around.
pub fn survey() -> Survey {
    let mut survey = Survey {
        schema: 1,
        ..Survey::default()
    };
    let kept = survey.journal();
    survey.keepers();
    survey.rules(&kept);
    survey.tables();
    survey.disciplines();
    survey.links();
    survey.tasks();
    survey.mounts();
    survey
}

impl Survey {
    /// What is in the journal; the chains of those that are in force.
    fn journal(&mut self) -> BTreeSet<String> {
        let mut kept = BTreeSet::new();
        let Some(journal) = Journal::existing() else {
            self.looked_at.push("no journal of faults".into());
            return kept;
        };
        let entries = match journal.entries() {
            Ok(entries) => entries,
            Err(error) => {
                self.unseen.push(format!("the journal of faults: {error}"));
                return kept;
            }
        };
        self.looked_at.push(format!(
            "{} leases in {}",
            entries.len(),
            journal.folder().display()
        ));
        for entry in entries {
            let told = format!("{}: {} by {}", entry.lease, entry.fault, entry.way);
            if journal.is_kept(&entry.lease) {
                kept.insert(entry.chain.clone());
                self.in_force.push(told);
            } else {
                self.left.push(Leftover {
                    kind: "journal".into(),
                    what: told,
                    whose: "meshproof".into(),
                    advice: format!("meshproof fault heal {}", entry.lease),
                });
            }
        }
        kept
    }

    /// Those of leases that are not journalled: the kernel takes them away.
    fn keepers(&mut self) {
        for keeper in keepers() {
            let known = format!("{}: ", keeper.lease);
            if !self.in_force.iter().any(|told| told.starts_with(&known)) {
                self.in_force
                    .push(format!("{known}kept by process {}", keeper.pid));
            }
        }
    }

    fn rules(&mut self, kept: &BTreeSet<String>) {
        let (found, looked_at) = iptables::all_rules();
        if looked_at.is_empty() {
            self.unseen
                .push("rules of iptables: no iptables here that may be asked".into());
        }
        self.looked_at.extend(looked_at);
        for rule in found {
            let in_force = kept.iter().any(|chain| {
                rule.chain.strip_suffix(".o").unwrap_or(&rule.chain) == chain
                    || rule.text.ends_with(&format!("-j {chain}"))
                    || rule.text.ends_with(&format!("-j {chain}.o"))
            });
            if in_force {
                continue;
            }
            if rule.ours {
                self.left.push(Leftover {
                    kind: "rule".into(),
                    what: rule.text,
                    whose: "meshproof".into(),
                    advice: "meshproof fault heal --all".into(),
                });
            } else if let Some(tool) = tool_of(&rule.text) {
                self.left.push(of_tool("rule", rule.text, tool));
            } else if harms(&rule) {
                self.suspects.push(unknown("rule", rule.text));
            }
        }
    }

    /// Tables of nftables by what is said of them: one that goes with its socket is in force, and
    /// what iptables has made was looked at before.
    fn tables(&mut self) {
        let all = netlink::open(Subsystem::Netfilter)
            .map_err(Unanswered::from)
            .and_then(list::everything);
        let all = match all {
            Ok(all) => all,
            Err(error) => return self.unseen.push(format!("tables of nftables: {error}")),
        };
        self.looked_at
            .push(format!("{} tables of nftables", all.tables.len()));
        for table in all.tables {
            let comment = table.comment.unwrap_or_default();
            let what = format!("table {} {}: {comment}", table.family, table.name);
            let tool = tool_of(&what);
            match (comment.starts_with(TAG), table.owner, tool) {
                (true, Some(_), _) => self.in_force.push(what),
                (true, None, _) => self.left.push(Leftover {
                    kind: "table".into(),
                    what,
                    whose: TAG.into(),
                    advice: format!("nft delete table {} {}", table.family, table.name),
                }),
                (false, _, Some(tool)) => self.left.push(of_tool("table", what, tool)),
                (false, _, None) => {}
            }
        }
    }

    fn disciplines(&mut self) {
        let said = match iptables::said("tc", &["qdisc", "show"]) {
            Ok(said) => said,
            Err(error) => return self.unseen.push(format!("queueing disciplines: {error}")),
        };
        self.looked_at
            .push(format!("{} queueing disciplines", said.lines().count()));
        let harming = ["netem", "tbf", "htb", "ingress"];
        let bad = said.lines().filter(|line| {
            let mut words = line.split_whitespace();
            let harms = words.next() == Some("qdisc")
                && words.next().is_some_and(|it| harming.contains(&it));
            // What hangs at a link of ours goes with it, and the link with its keeper.
            harms && !words.any(|word| word.starts_with(WIRE))
        });
        self.suspects
            .extend(bad.map(|line| unknown("qdisc", line.trim().to_owned())));
    }

    fn links(&mut self) {
        let text = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
        let names: Vec<&str> = text
            .lines()
            .skip(2)
            .filter_map(|line| line.split(':').next())
            .map(str::trim)
            .collect();
        self.looked_at.push(format!("{} links", names.len()));
        for name in names {
            if name.starts_with(WIRE) {
                self.in_force
                    .push(format!("link {name}: the wire of a bad link"));
            } else if let Some(tool) = tool_of(name) {
                self.left.push(of_tool("link", name.to_owned(), tool));
            } else if name.starts_with("ifb") {
                self.suspects.push(unknown("link", name.to_owned()));
            }
        }
    }

    /// Stopped, traced and frozen ones.
    fn tasks(&mut self) {
        let Ok(entries) = fs::read_dir("/proc") else {
            return self.unseen.push("processes: /proc cannot be read".into());
        };
        let mut seen = 0_usize;
        for entry in entries.flatten().take(PROCESSES_MAX) {
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            // It may have ended meanwhile.
            let Ok(text) = fs::read_to_string(entry.path().join("status")) else {
                continue;
            };
            seen += 1;
            let field = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap_or_default().trim()
            };
            let called = field("Name:");
            let state = match field("State:").chars().next() {
                Some('T') => "stopped".to_owned(),
                Some('t') => format!("held by tracer {}", field("TracerPid:")),
                _ if is_frozen(pid) => "frozen".to_owned(),
                _ => continue,
            };
            self.suspects.push(unknown(
                "task",
                format!("process {pid} ({called}), {state}"),
            ));
        }
        self.looked_at.push(format!("{seen} processes"));
    }

    fn mounts(&mut self) {
        match mount::strays(&is_kept()) {
            Ok(strays) => {
                let strays = strays.iter();
                let left = strays.map(|(path, tag)| mount::leftover(path, tag));
                self.left.extend(left);
            }
            Err(error) => self.unseen.push(format!("the table of mounts: {error}")),
        }
        let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        self.looked_at
            .push(format!("{} mounts", text.lines().count()));
        for line in text.lines() {
            let Some((place, source)) = line.split_once(" - ") else {
                continue;
            };
            let at = place.split(' ').nth(4).unwrap_or_default();
            if let Some(tool) = tool_of(source) {
                self.left
                    .push(of_tool("mount", format!("{at} ({source})"), tool));
            }
        }
    }
}

fn tool_of(text: &str) -> Option<&'static str> {
    let found = TOOLS.iter().find(|(word, _)| text.contains(word));
    found.map(|(_, tool)| *tool)
}

fn of_tool(kind: &str, what: String, tool: &str) -> Leftover {
    Leftover {
        kind: kind.into(),
        what,
        whose: tool.into(),
        advice: format!("remove it by {tool}, or by hand"),
    }
}

fn unknown(kind: &str, what: String) -> Leftover {
    Leftover {
        kind: kind.into(),
        what,
        whose: "unknown".into(),
        advice: "find out who wants it".into(),
    }
}

/// Rules by which packets do not arrive, or not as they were sent.
fn harms(rule: &Found) -> bool {
    ["-j DROP", "-j REJECT", "-j NFQUEUE", "-m statistic"]
        .iter()
        .any(|word| rule.text.contains(word))
}

fn is_frozen(pid: u32) -> bool {
    let Ok(groups) = fs::read_to_string(format!("/proc/{pid}/cgroup")) else {
        return false;
    };
    groups.lines().any(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (kinds, path) = (fields.next(), fields.next().unwrap_or_default());
        let says = |at: String, word: &str| {
            fs::read_to_string(at).is_ok_and(|text| text.lines().any(|line| line == word))
        };
        match kinds {
            Some("") => ["", "/unified"].iter().any(|root| {
                says(
                    format!("/sys/fs/cgroup{root}{path}/cgroup.events"),
                    "frozen 1",
                )
            }),
            Some("freezer") => says(
                format!("/sys/fs/cgroup/freezer{path}/freezer.state"),
                "FROZEN",
            ),
            _ => false,
        }
    })
}

/// What was done about one lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// Its keeper was told to end, and has healed.
    KeeperHealed,
    /// Its rules were taken away here.
    Swept(Residue),
    /// Its network is gone, and its rules went with it.
    NetworkGone,
    /// It is in the network of this process: the same must be done there.
    Elsewhere(u32),
}

/// The leases in the journal; [`heal`] takes them away one by one.
pub fn leases() -> Result<(Journal, Vec<Entry>), Error> {
    let journal = Journal::open().map_err(Error::io("the journal of faults"))?;
    let entries = journal
        .entries()
        .map_err(Error::io("the journal of faults"))?;
    Ok((journal, entries))
}

/// Heals one lease of the journal, whether its keeper lives or not.
pub fn heal(journal: &Journal, entry: &Entry) -> Result<Done, Error> {
    if journal.is_kept(&entry.lease) {
        tell(journal, entry)?;
        return Ok(Done::KeeperHealed);
    }
    let here = journal::network().map_err(Error::io("the network of this process"))?;
    if entry.network == here {
        return iptables::sweep(journal, entry).map(Done::Swept);
    }
    if let Some(pid) = inhabitant(entry.network) {
        return Ok(Done::Elsewhere(pid));
    }
    journal
        .remove(&entry.lease)
        .map_err(Error::io("the journal of faults"))?;
    Ok(Done::NetworkGone)
}

/// Tells the keeper to end, and waits until it has.
fn tell(journal: &Journal, entry: &Entry) -> Result<(), Error> {
    let stays = |why: &str| {
        Error::Refused(format!(
            "the fault `{}` is in force, and its keeper {} {why}",
            entry.lease, entry.keeper
        ))
    };
    let keeper = Keeper {
        pid: entry.keeper,
        lease: entry.lease.clone(),
    };
    let handle = keeper.handle();
    let end = Nanos::now() + ENDS_WITHIN;
    let told = match &handle {
        // Only a tool that it ran is left, for a moment; or it is of other namespaces.
        None => false,
        Some(handle) => pidfd_send_signal(handle, Signal::TERM).is_ok(),
    };
    while journal.is_kept(&entry.lease) {
        let left = end.since(Nanos::now());
        if left == 0 {
            return Err(stays(match told {
                true => "does not end",
                false => "is not a process that is seen here",
            }));
        }
        let pause = Timespec {
            tv_sec: 0,
            tv_nsec: 10_000_000,
        };
        let mut watched: Vec<PollFd<'_>> = Vec::new();
        watched.extend(handle.as_ref().map(|it| PollFd::new(it, PollFlags::IN)));
        // How it ended the lock says.
        let _ = poll(&mut watched, Some(&pause));
    }
    match journal.entries() {
        Ok(entries) if entries.iter().all(|it| it.lease != entry.lease) => Ok(()),
        Ok(_) => Err(Error::Refused(format!(
            "the keeper of `{}` ended without healing: heal it again",
            entry.lease
        ))),
        Err(error) => Err(Error::io("the journal of faults")(error)),
    }
}

/// A keeper that lives, in the network of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeper {
    /// Its process, as it is numbered here.
    pub pid: u32,
    /// What it keeps.
    pub lease: String,
}

/// The keepers in the network of this process, as far as processes are seen from here.
pub fn keepers() -> Vec<Keeper> {
    use std::os::unix::fs::MetadataExt;
    let (Ok(network), Ok(entries)) = (journal::network(), fs::read_dir("/proc")) else {
        return Vec::new();
    };
    entries
        .flatten()
        .take(PROCESSES_MAX)
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let lease = keeper::lease_of(&fs::read(entry.path().join("cmdline")).ok()?)?;
            let found = fs::metadata(entry.path().join("ns/net")).ok()?;
            ((found.dev(), found.ino()) == network).then_some(Keeper { pid, lease })
        })
        .collect()
}

impl Keeper {
    /// None: it has ended, or this number is another process's by now.
    fn handle(&self) -> Option<OwnedFd> {
        let pid = Pid::from_raw(i32::try_from(self.pid).ok()?)?;
        let handle = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let words = fs::read(format!("/proc/{}/cmdline", self.pid)).ok()?;
        let lease = keeper::lease_of(&words)?;
        (lease == self.lease).then_some(handle)
    }

    /// Tells it to heal and to end, and waits until it has ended.
    pub fn end(&self) -> Result<(), Error> {
        let Some(handle) = self.handle() else {
            return Ok(());
        };
        let what = || format!("the keeper {} of `{}`", self.pid, self.lease);
        pidfd_send_signal(&handle, Signal::TERM)
            .map_err(|error| Error::io(what())(error.into()))?;
        let limit = Timespec::try_from(ENDS_WITHIN).ok();
        match poll(&mut [PollFd::new(&handle, PollFlags::IN)], limit.as_ref()) {
            Ok(0) => Err(Error::Refused(format!("{} does not end", what()))),
            Ok(_) => Ok(()),
            Err(error) => Err(Error::io(what())(error.into())),
        }
    }
}

/// A process that is in a network.
fn inhabitant(network: (u64, u64)) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    fs::read_dir("/proc")
        .ok()?
        .flatten()
        .take(PROCESSES_MAX)
        .find_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let found = fs::metadata(entry.path().join("ns/net")).ok()?;
            ((found.dev(), found.ino()) == network).then_some(pid)
        })
}

/// Takes away rules of ours in this network that no entry of the journal tells of, and mounts of
/// ours that no keeper keeps.
pub fn heal_strays() -> Result<Residue, Error> {
    let (journal, entries) = leases()?;
    let known: BTreeSet<&str> = entries.iter().map(|entry| entry.chain.as_str()).collect();
    let mut residue = mount::sweep_strays(&is_kept())?;
    let rules = iptables::sweep_strays(&journal, &known)?;
    residue.left.extend(rules.left);
    residue.looked_at.extend(rules.looked_at);
    Ok(residue)
}

/// Whether a keeper of a lease lives in the network of this process.
fn is_kept() -> impl Fn(&str) -> bool {
    let kept: BTreeSet<String> = keepers().into_iter().map(|keeper| keeper.lease).collect();
    move |lease| kept.contains(lease)
}
