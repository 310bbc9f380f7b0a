//! Faults by rules of iptables, over nftables or of the old kind: what hosts have.
//!
//! Each fault has a chain of its own, with a jump inserted before all other rules, in the table
//! `filter` of each family; both come by one `iptables-restore --noflush`, wholly or not at all.
//! The kernel keeps rules for ever, so what is done is journalled first ([`journal`]), the keeper
//! takes it away whatever happens to the run, and where both are killed, [`sweep`] does.

pub mod journal;
pub(crate) mod tool;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::PathBuf;

use meshproof_record::verdict::Verdict;
use serde::{Deserialize, Serialize};

use crate::rule::{self, Hook, Rule};
use crate::{
    Backend, Count, Error, Evidence, Family, Flow, Hold, Leftover, Plan, Refusal, Residue,
    RuleText, Scene, Spec, Way, flows,
};
use journal::{Entry, Journal, Made};
use tool::{INSTALL, Saved, Tool};

/// With this begins every chain of ours.
pub const CHAIN: &str = "MP-";

/// Longest name of a chain, in bytes: every iptables takes two more.
const CHAIN_BYTES_MAX: usize = 26;

/// One of the two kinds.
#[derive(Clone, Copy, Debug)]
pub struct Iptables {
    way: Way,
}

impl Iptables {
    /// Over nftables.
    pub const NFT: Iptables = Iptables {
        way: Way::IptablesNft,
    };
    /// Of the old kind.
    pub const LEGACY: Iptables = Iptables {
        way: Way::IptablesLegacy,
    };

    fn tool(self, family: Family) -> Tool {
        Tool {
            way: self.way,
            family,
        }
    }

    fn other(self) -> Iptables {
        match self.way {
            Way::IptablesLegacy => Iptables::NFT,
            _ => Iptables::LEGACY,
        }
    }

    /// How many rules there are of this kind that are not ours.
    fn foreign(self) -> u64 {
        let tools = Family::ALL.iter().map(|family| self.tool(*family));
        tools
            .filter(|tool| tool.is_there())
            .filter_map(|tool| tool.save().ok())
            .flat_map(|saved| saved.rules)
            .filter(|line| !is_ours(&line.chain, &line.rest))
            .count() as u64
    }
}

/// What plan and lease share.
#[derive(Debug, Serialize, Deserialize)]
struct Memory {
    rules: Vec<Rule>,
}

fn is_ours(chain: &str, rest: &str) -> bool {
    chain.starts_with(CHAIN) || rest.contains(&format!("\"{} ", crate::backend::TAG))
}

/// The chain of a lease.
fn chain(scene: &Scene) -> String {
    let mut name = format!("{CHAIN}{}", scene.lease);
    if name.len() > CHAIN_BYTES_MAX {
        // Two long names that begin alike are still two.
        let hash = blake3::hash(scene.lease.as_bytes()).to_hex();
        name.truncate(CHAIN_BYTES_MAX - 9);
        name.push('-');
        name.extend(hash.chars().take(8));
    }
    name
}

impl Backend for Iptables {
    fn way(&self) -> Way {
        self.way
    }

    fn preflight(&self, spec: &Spec, scene: &Scene) -> Result<Plan, Refusal> {
        let broken = |error: &dyn std::fmt::Display| Refusal::Missing {
            missing: format!("a look at its rules ({error})"),
            advice: "run as root, or within a pod of `meshproof env up`".into(),
        };
        let live = flows::live().map_err(|error| broken(&error))?;
        let rules = rule::rules(spec, &live)?;
        let mut needs = Vec::new();
        let mut families: Vec<Family> = rules.iter().map(|rule| rule.family).collect();
        families.dedup();
        for family in &families {
            let tool = self.tool(*family);
            if !tool.is_there() {
                return Err(Refusal::Missing {
                    missing: format!("the programs {0}-save and {0}-restore", tool.name()),
                    advice: INSTALL.into(),
                });
            }
            let saved = tool.save().map_err(|error| broken(&error))?;
            needs.push(format!(
                "{}: {} rules in its tables",
                tool.name(),
                saved.rules.len()
            ));
        }
        let (ours, others) = (self.foreign(), self.other().foreign());
        if spec.way.is_none() && ours == 0 && others > 0 {
            return Err(Refusal::Inexact(format!(
                "is not what this machine uses: {others} rules of {} exist and none of {}",
                self.other().way,
                self.way
            )));
        }
        let mut doubts = Vec::new();
        if others > 0 {
            doubts.push(format!(
                "{others} rules of {} stand beside those of {}: what they redirect or drop does \
                 not come here",
                self.other().way,
                self.way
            ));
        }
        let met: Vec<Flow> = live
            .iter()
            .copied()
            .filter(|flow| flows::meant(spec, flow))
            .collect();
        doubts.extend(reasons_in_flows(spec, &live));
        let (tag, chain) = (scene.tag(), chain(scene));
        let texts = rules
            .iter()
            .map(|rule| {
                let line = rule.iptables(&tag);
                RuleText {
                    exact: format!("-A {} {line}", chain_of(&chain, rule.hook)),
                    iptables: Some(format!(
                        "{} -I {} 1 {line}",
                        self.tool(rule.family).name(),
                        rule.hook.chain()
                    )),
                }
            })
            .collect();
        let memory = serde_json::to_value(Memory { rules }).map_err(|error| broken(&error))?;
        Ok(Plan {
            spec: spec.clone(),
            way: self.way,
            why: String::new(),
            passed_over: Vec::new(),
            lease: scene.lease.clone(),
            rules: texts,
            flows_all: met.len() as u64,
            flows: met.into_iter().take(crate::FLOWS_MAX).collect(),
            needs,
            also_hit: also_hit(spec),
            doubts,
            memory,
        })
    }

    fn apply(&self, plan: &Plan, scene: &Scene) -> Result<Box<dyn Hold>, Error> {
        let memory: Memory = serde_json::from_value(plan.memory.clone())
            .map_err(|error| Error::Refused(format!("a plan of another version: {error}")))?;
        let journal = Journal::open().map_err(Error::io("the journal of faults"))?;
        let written = || Error::io("the journal of faults");
        let network = journal::network().map_err(written())?;
        let mut families: Vec<Family> = memory.rules.iter().map(|rule| rule.family).collect();
        families.dedup();
        let entry = Entry {
            schema: 1,
            run: scene.run.clone(),
            lease: scene.lease.clone(),
            way: self.way,
            chain: chain(scene),
            fault: plan.spec.to_string(),
            families: families.clone(),
            network,
            keeper: std::process::id(),
        };
        let turn = journal.turn().map_err(written())?;
        if journal
            .entries()
            .map_err(written())?
            .iter()
            .any(|other| other.lease == entry.lease)
        {
            return Err(Error::Refused(format!(
                "a fault `{}` is in the journal in {}: heal it first, or name another id",
                entry.lease,
                journal.folder().display()
            )));
        }
        let mut made = journal.made();
        for family in &families {
            let one = Made {
                way: self.way,
                family: *family,
                network,
            };
            let there = self.tool(*family).save()?.tables;
            if !there.iter().any(|table| table == "filter") && !made.contains(&one) {
                made.push(one);
            }
        }
        let held = journal.write(&entry).map_err(written())?;
        let mut hold = Held {
            rules: memory.rules,
            spec: plan.spec.clone(),
            tag: scene.tag(),
            counted: None,
            rests: Some((journal.clone(), entry, held)),
        };
        // After the entry, so that nobody remembers a table whose lease is not known.
        let remembered = journal.remember(&made).map_err(written());
        let installed = remembered.and_then(|()| hold.install());
        drop(turn);
        match installed {
            Ok(()) => Ok(Box::new(hold)),
            Err(error) => {
                // Whichever family was first has rules already.
                hold.heal()?;
                Err(unsupported(error))
            }
        }
    }
}

/// A tool that says so lacks something in the kernel.
fn unsupported(error: Error) -> Error {
    const LACKS: [&str; 6] = [
        "No chain/target/match",
        "Couldn't load match",
        "Couldn't load target",
        "missing kernel module",
        "Permission denied",
        "Operation not supported",
    ];
    match &error {
        Error::Tool { said, .. } if LACKS.iter().any(|lack| said.contains(lack)) => {
            Error::Unsupported {
                missing: format!("a part of iptables ({said})"),
                advice: "load the module that is named, or take another way: `way: nft-owner`"
                    .into(),
            }
        }
        _ => error,
    }
}

fn chain_of(chain: &str, hook: Hook) -> String {
    match hook {
        Hook::Input => chain.to_owned(),
        Hook::Output => format!("{chain}.o"),
    }
}

/// What else than the one connection that somebody may have in mind.
fn also_hit(spec: &Spec) -> Vec<String> {
    let mut also = Vec::new();
    if spec.peer.is_none() && spec.source_port.is_none() {
        also.push(match spec.port {
            Some(port) => format!("every connection to port {port}, whoever opens it"),
            None => "every TCP connection of this network".to_owned(),
        });
    }
    if spec.port.is_none() && (spec.peer.is_some() || spec.source_port.is_some()) {
        also.push("connections to every port".to_owned());
    }
    also
}

/// What the connections that stand say of a fault that may be inert.
fn reasons_in_flows(spec: &Spec, live: &[Flow]) -> Vec<String> {
    if live.iter().any(|flow| flows::meant(spec, flow)) {
        return Vec::new();
    }
    let any = Spec {
        ip: None,
        peer: None,
        ..spec.clone()
    };
    let near: Vec<&Flow> = live
        .iter()
        .filter(|flow| flows::meant(&any, flow))
        .collect();
    if near.is_empty() {
        return vec!["no live connection matches".to_owned()];
    }
    let six = near.iter().filter(|flow| flow.local.is_ipv6()).count();
    vec![format!(
        "no live connection matches; {} to the same port do not: {} of IPv4, {six} of IPv6",
        near.len(),
        near.len() - six
    )]
}

/// Rules in force.
#[derive(Debug)]
struct Held {
    rules: Vec<Rule>,
    spec: Spec,
    tag: String,
    /// What was counted last, rule by rule.
    counted: Option<Evidence>,
    /// None: it is healed.
    rests: Option<(Journal, Entry, File)>,
}

impl Held {
    fn families(&self) -> Vec<Family> {
        let mut families: Vec<Family> = self.rules.iter().map(|rule| rule.family).collect();
        families.dedup();
        families
    }

    /// The script of one family.
    fn script(&self, family: Family, chain: &str) -> String {
        let of_family = || self.rules.iter().filter(|rule| rule.family == family);
        let mut hooks: Vec<Hook> = of_family().map(|rule| rule.hook).collect();
        hooks.sort_unstable();
        hooks.dedup();
        let mut script = String::from("*filter\n");
        for hook in &hooks {
            script.push_str(&format!(":{} - [0:0]\n", chain_of(chain, *hook)));
        }
        for rule in of_family() {
            script.push_str(&format!(
                "-A {} {}\n",
                chain_of(chain, rule.hook),
                rule.iptables(&self.tag)
            ));
        }
        for hook in &hooks {
            script.push_str(&format!(
                "-I {} 1 -m comment --comment \"{}\" -j {}\n",
                hook.chain(),
                self.tag,
                chain_of(chain, *hook)
            ));
        }
        script.push_str("COMMIT\n");
        script
    }

    fn install(&self) -> Result<(), Error> {
        let Some((journal, entry, held)) = &self.rests else {
            return Ok(());
        };
        for family in self.families() {
            let path = journal.script(&entry.lease, family);
            fs::write(&path, self.script(family, &entry.chain))
                .map_err(Error::io("the journal of faults"))?;
            let tool = Tool {
                way: entry.way,
                family,
            };
            tool.restore(&path, Some(held))?;
        }
        Ok(())
    }

    fn count(&self, entry: &Entry) -> Result<Evidence, Error> {
        let mut evidence = Evidence::default();
        let mut inert = Vec::new();
        for family in self.families() {
            let tool = Tool {
                way: entry.way,
                family,
            };
            let saved = tool.save()?;
            let mut seen: BTreeMap<Hook, usize> = BTreeMap::new();
            for rule in self.rules.iter().filter(|rule| rule.family == family) {
                let at = seen.entry(rule.hook).or_default();
                let chain = chain_of(&entry.chain, rule.hook);
                let found = saved.chain(&chain).nth(*at);
                *at += 1;
                evidence.counts.push(Count {
                    what: rule.counted(),
                    met: found.map_or(0, |line| line.packets),
                });
            }
            for hook in seen.keys() {
                inert.extend(in_front(
                    &saved,
                    tool,
                    *hook,
                    &chain_of(&entry.chain, *hook),
                ));
            }
        }
        if evidence.claim("").verdict == Verdict::Invalid {
            evidence.reasons = inert;
            let others = Iptables { way: entry.way }.other();
            let beside = others.foreign();
            if beside > 0 {
                evidence.reasons.push(format!(
                    "{beside} rules of {} stand beside it: what they redirect or drop does not \
                     come here",
                    others.way
                ));
            }
            let live = flows::live().unwrap_or_default();
            evidence.reasons.extend(reasons_in_flows(&self.spec, &live));
        }
        Ok(evidence)
    }
}

/// What stands before our jump, which was inserted before everything.
fn in_front(saved: &Saved, tool: Tool, hook: Hook, chain: &str) -> Option<String> {
    let jump = format!("-j {chain}");
    let lines: Vec<&tool::Line> = saved.chain(hook.chain()).collect();
    match lines.iter().position(|line| line.rest.ends_with(&jump)) {
        None => Some(format!(
            "{}: the jump from {} is gone: somebody removed it",
            tool.name(),
            hook.chain()
        )),
        Some(at) => {
            // Jumps of our own faults stand before older ones.
            let before: Vec<&str> = lines
                .iter()
                .take(at)
                .filter(|line| !is_ours(&line.chain, &line.rest))
                .map(|line| line.rest.as_str())
                .collect();
            let first = before.first()?;
            Some(format!(
                "{}: {} rules stand before it in {} by now, the first is `{first}`",
                tool.name(),
                before.len(),
                hook.chain()
            ))
        }
    }
}

impl Hold for Held {
    fn evidence(&mut self) -> Result<Evidence, Error> {
        match (&self.rests, &self.counted) {
            (Some((_, entry, _)), _) => {
                let evidence = self.count(entry)?;
                self.counted = Some(evidence.clone());
                Ok(evidence)
            }
            (None, counted) => Ok(counted.clone().unwrap_or_default()),
        }
    }

    fn heal(&mut self) -> Result<Residue, Error> {
        let Some((journal, entry, held)) = &self.rests else {
            return Ok(Residue::default());
        };
        let residue = sweep(journal, entry)?;
        if residue.is_empty() {
            let _ = held;
            self.rests = None;
        }
        Ok(residue)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Where it fails, the journal still tells of it.
        let _ = self.heal();
    }
}

/// Takes the rules of a lease away, in this network, and looks for what is left. The entry goes
/// when nothing is. Its keeper may be dead.
pub fn sweep(journal: &Journal, entry: &Entry) -> Result<Residue, Error> {
    let written = || Error::io("the journal of faults");
    let _turn = journal.turn().map_err(written())?;
    let mut residue = Residue::default();
    let mut made = journal.made();
    for family in &entry.families {
        let tool = Tool {
            way: entry.way,
            family: *family,
        };
        let path = journal.script(&entry.lease, *family);
        let saved = purge(tool, &entry.chain, &path)?;
        let one = Made {
            way: entry.way,
            family: *family,
            network: entry.network,
        };
        if made.contains(&one) && saved.filter_is_empty() {
            if saved.tables.iter().any(|table| table == "filter")
                && let Err(error) = tool.forget_table()
            {
                residue.left.push(Leftover {
                    kind: "table".into(),
                    what: format!("an empty table of {} ({error})", tool.name()),
                    whose: "meshproof".into(),
                    advice: "nft delete table ip filter".into(),
                });
            }
            made.retain(|it| *it != one);
        }
        residue.looked_at.push(format!("tables of {}", tool.name()));
        let mentions = Hook::both().map(|hook| saved.mentions(&chain_of(&entry.chain, hook)));
        residue
            .left
            .extend(mentions.into_iter().flatten().map(|what| Leftover {
                kind: "rule".into(),
                what: format!("{} {what}", tool.name()),
                whose: "meshproof".into(),
                advice: format!("meshproof fault heal {}", entry.lease),
            }));
    }
    journal.remember(&made).map_err(written())?;
    if residue.is_empty() {
        journal.remove(&entry.lease).map_err(written())?;
    }
    Ok(residue)
}

/// Removes the chains of a lease, and every jump to them; what is there then.
fn purge(tool: Tool, chain: &str, script: &PathBuf) -> Result<Saved, Error> {
    /// Somebody else may change rules at the same time, so that a script of ours fails.
    const TRIES: usize = 3;
    let mut failed = None;
    for _ in 0..TRIES {
        let saved = tool.save()?;
        let scripts: Vec<String> = Hook::both()
            .into_iter()
            .filter_map(|hook| saved.without(&chain_of(chain, hook)))
            .collect();
        if scripts.is_empty() {
            return Ok(saved);
        }
        fs::write(script, scripts.concat()).map_err(Error::io("the journal of faults"))?;
        if let Err(error) = tool.restore(script, None) {
            failed = Some(error);
        }
    }
    let saved = tool.save()?;
    match failed {
        Some(error)
            if Hook::both()
                .iter()
                .any(|hook| !saved.mentions(&chain_of(chain, *hook)).is_empty()) =>
        {
            Err(error)
        }
        _ => Ok(saved),
    }
}

/// Takes away chains of ours that no lease is known of.
pub(crate) fn sweep_strays(journal: &Journal, known: &BTreeSet<&str>) -> Result<Residue, Error> {
    let mut residue = Residue::default();
    let _turn = journal.turn().map_err(Error::io("the journal of faults"))?;
    for kind in [Iptables::NFT, Iptables::LEGACY] {
        for family in Family::ALL {
            let tool = kind.tool(*family);
            let Ok(saved) = tool.save() else {
                continue;
            };
            let strays: BTreeSet<String> = saved
                .own_chains
                .iter()
                .map(|(_, name)| name.strip_suffix(".o").unwrap_or(name))
                .filter(|name| name.starts_with(CHAIN) && !known.contains(name))
                .map(str::to_owned)
                .collect();
            for chain in strays {
                let script = journal.script(&chain, *family);
                let purged = purge(tool, &chain, &script);
                // It is not there where there was nothing to write.
                let _ = fs::remove_file(&script);
                let saved = purged?;
                let mentions = Hook::both().map(|hook| saved.mentions(&chain_of(&chain, hook)));
                residue
                    .left
                    .extend(mentions.into_iter().flatten().map(|what| Leftover {
                        kind: "rule".into(),
                        what: format!("{} {what}", tool.name()),
                        whose: "meshproof".into(),
                        advice: "meshproof fault heal --all".into(),
                    }));
                residue
                    .looked_at
                    .push(format!("chain {chain} of {}", tool.name()));
            }
        }
    }
    Ok(residue)
}

/// What a program says that is asked for its state.
pub(crate) fn said(program: &str, arguments: &[&str]) -> Result<String, Error> {
    let path = tool::find(program).ok_or_else(|| Error::Unsupported {
        missing: format!("the program {program}"),
        advice: "install it".into(),
    })?;
    let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
    let output = tool::run(&path, &arguments, None)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Rules of every kind of iptables in this network, as `TOOL TABLE -A CHAIN …`, and what was
/// looked at.
pub fn all_rules() -> (Vec<Found>, Vec<String>) {
    let (mut found, mut looked_at) = (Vec::new(), Vec::new());
    for kind in [Iptables::NFT, Iptables::LEGACY] {
        for family in Family::ALL {
            let tool = kind.tool(*family);
            let Ok(saved) = tool.save() else {
                continue;
            };
            looked_at.push(format!("{} rules of {}", saved.rules.len(), tool.name()));
            found.extend(saved.rules.iter().map(|line| Found {
                text: format!(
                    "{} {} -A {} {}",
                    tool.name(),
                    line.table,
                    line.chain,
                    line.rest
                ),
                ours: is_ours(&line.chain, &line.rest),
                way: kind.way,
                family: *family,
                chain: line.chain.clone(),
            }));
        }
    }
    (found, looked_at)
}

/// A rule of somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// As the tool tells it.
    pub text: String,
    /// It has our comment, or is in a chain of ours.
    pub ours: bool,
    /// Of which kind.
    pub way: Way,
    /// Of which family.
    pub family: Family,
    /// The chain that it is in.
    pub chain: String,
}
