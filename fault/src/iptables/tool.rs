//! Running `iptables-save` and `iptables-restore`, and reading what they say.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::{Error, Family, Way};

/// How long they wait for each other, in seconds.
const WAIT_S: &str = "10";

/// One of the tools: a way and a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    pub(crate) way: Way,
    pub(crate) family: Family,
}

impl Tool {
    fn front(self) -> &'static str {
        match (self.way, self.family) {
            (Way::IptablesLegacy, Family::V4) => "iptables-legacy",
            (Way::IptablesLegacy, Family::V6) => "ip6tables-legacy",
            (_, Family::V4) => "iptables-nft",
            (_, Family::V6) => "ip6tables-nft",
        }
    }

    /// What a person would type.
    pub(crate) fn name(self) -> &'static str {
        self.front()
    }

    fn path(self, verb: &str) -> Option<PathBuf> {
        find(&format!("{}{verb}", self.front()))
    }

    /// Whether it is installed.
    pub(crate) fn is_there(self) -> bool {
        self.path("-save").is_some() && self.path("-restore").is_some()
    }

    /// Every table, with counters.
    pub(crate) fn save(self) -> Result<Saved, Error> {
        let output = self.run("-save", &["-c".as_ref()], None)?;
        Ok(Saved::parse(&String::from_utf8_lossy(&output.stdout)))
    }

    /// Runs a script, wholly or not at all; `held` stays open in the tool as long as it runs.
    pub(crate) fn restore(self, script: &Path, held: Option<&File>) -> Result<(), Error> {
        let arguments: [&OsStr; 4] = [
            "--noflush".as_ref(),
            "-w".as_ref(),
            WAIT_S.as_ref(),
            script.as_os_str(),
        ];
        self.run("-restore", &arguments, held).map(drop)
    }

    /// Removes the table of a filter that holds nothing.
    pub(crate) fn forget_table(self) -> Result<(), Error> {
        // Of the old iptables the kernel keeps a table once it has been asked for; it is empty,
        // and no packet passes it differently.
        if self.way == Way::IptablesLegacy {
            return Ok(());
        }
        let path = find("nft").ok_or_else(|| Error::Unsupported {
            missing: "the program nft, to remove the empty table of iptables".into(),
            advice: "apt-get install nftables".into(),
        })?;
        let family = match self.family {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        };
        let arguments: [&OsStr; 4] = [
            "delete".as_ref(),
            "table".as_ref(),
            family.as_ref(),
            "filter".as_ref(),
        ];
        run(&path, &arguments, None).map(drop)
    }

    fn run(self, verb: &str, arguments: &[&OsStr], held: Option<&File>) -> Result<Output, Error> {
        let path = self.path(verb).ok_or_else(|| Error::Unsupported {
            missing: format!("the program {}{verb}", self.front()),
            advice: INSTALL.into(),
        })?;
        run(&path, arguments, held)
    }
}

/// What brings the tools.
pub(crate) const INSTALL: &str = "apt-get install iptables";

/// A program by its name; folders of administration are searched whoever asks.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the tools that make rules are started here"
)]
pub(crate) fn run(path: &Path, arguments: &[&OsStr], held: Option<&File>) -> Result<Output, Error> {
    let what = || format!("running {}", path.display());
    let input = match held {
        Some(file) => Stdio::from(file.try_clone().map_err(Error::io(what()))?),
        None => Stdio::null(),
    };
    let output = Command::new(path)
        .args(arguments)
        .stdin(input)
        .env("LC_ALL", "C")
        .output()
        .map_err(Error::io(what()))?;
    if output.status.success() {
        return Ok(output);
    }
    let mut command = vec![path.display().to_string()];
    command.extend(arguments.iter().map(|it| it.to_string_lossy().into_owned()));
    Err(Error::Tool {
        command: command.join(" "),
        status: output.status.to_string(),
        said: String::from_utf8_lossy(&output.stderr)
            .trim()
            .replace('\n', "; "),
    })
}

/// What `iptables-save -c` said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Saved {
    /// Table by table, rule by rule.
    pub(crate) rules: Vec<Line>,
    /// Tables, and chains beside those that every table has.
    pub(crate) tables: Vec<String>,
    /// Table and name.
    pub(crate) own_chains: Vec<(String, String)>,
    /// A chain that every table has lets not everything pass.
    pub(crate) policies: Vec<(String, String)>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) table: String,
    pub(crate) chain: String,
    pub(crate) packets: u64,
    /// What follows `-A CHAIN `.
    pub(crate) rest: String,
}

impl Saved {
    pub(crate) fn parse(text: &str) -> Saved {
        let mut saved = Saved::default();
        let mut table = String::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = name.trim().to_owned();
                saved.tables.push(table.clone());
            } else if let Some(chain) = line.strip_prefix(':') {
                let mut words = chain.split(' ');
                let name = words.next().unwrap_or_default().to_owned();
                match words.next() {
                    Some("-") => saved.own_chains.push((table.clone(), name)),
                    Some("ACCEPT") | None => {}
                    Some(_) => saved.policies.push((table.clone(), name)),
                }
            } else if let Some((counters, rule)) =
                line.strip_prefix('[').and_then(|it| it.split_once("] -A "))
            {
                let (chain, rest) = rule.split_once(' ').unwrap_or((rule, ""));
                let packets = counters.split(':').next().and_then(|it| it.parse().ok());
                saved.rules.push(Line {
                    table: table.clone(),
                    chain: chain.to_owned(),
                    packets: packets.unwrap_or(0),
                    rest: rest.to_owned(),
                });
            }
        }
        saved
    }

    /// The rules of a chain of the filter, in order.
    pub(crate) fn chain(&self, chain: &str) -> impl Iterator<Item = &Line> {
        self.rules
            .iter()
            .filter(move |line| line.table == "filter" && line.chain == chain)
    }

    /// What mentions a chain: its own rules, jumps to it, itself.
    pub(crate) fn mentions(&self, chain: &str) -> Vec<String> {
        let jump = format!("-j {chain}");
        let rules = self
            .rules
            .iter()
            .filter(|line| line.chain == chain || line.rest.ends_with(&jump));
        let own = self.own_chains.iter().filter(|(_, name)| name == chain);
        rules
            .map(|line| format!("{} -A {} {}", line.table, line.chain, line.rest))
            .chain(own.map(|(table, name)| format!("{table} -N {name}")))
            .collect()
    }

    /// The script that takes a chain away, with whatever jumps to it; none: it is not there.
    pub(crate) fn without(&self, chain: &str) -> Option<String> {
        if self.mentions(chain).is_empty() {
            return None;
        }
        let jump = format!("-j {chain}");
        let mut script = String::from("*filter\n");
        for line in self.rules.iter().filter(|line| line.rest.ends_with(&jump)) {
            script.push_str(&format!("-D {} {}\n", line.chain, line.rest));
        }
        if self.own_chains.iter().any(|(_, name)| name == chain) {
            script.push_str(&format!("-F {chain}\n-X {chain}\n"));
        }
        script.push_str("COMMIT\n");
        Some(script)
    }

    /// The filter holds no rule and no chain of anybody, and lets everything pass.
    pub(crate) fn filter_is_empty(&self) -> bool {
        let of_filter = |table: &String| table == "filter";
        !self.rules.iter().any(|line| of_filter(&line.table))
            && !self.own_chains.iter().any(|(table, _)| of_filter(table))
            && !self.policies.iter().any(|(table, _)| of_filter(table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# Generated by iptables-save v1.8.9
*filter
:INPUT ACCEPT [3:180]
:FORWARD DROP [0:0]
:MP-x - [0:0]
[5:260] -A INPUT -m comment --comment \"meshproof r x\" -j MP-x
[7:0] -A INPUT -p tcp -j ACCEPT
[4:208] -A MP-x -p tcp -m tcp --sport 12199 -j DROP
COMMIT
";

    #[test]
    fn what_is_saved_is_read() {
        let saved = Saved::parse(TEXT);
        let counts: Vec<u64> = saved.chain("INPUT").map(|line| line.packets).collect();
        assert_eq!(counts, [5, 7]);
        assert_eq!(saved.mentions("MP-x").len(), 3);
        assert_eq!(saved.mentions("MP"), [""; 0]);
        assert_eq!(
            saved.without("MP-x").unwrap(),
            "*filter\n-D INPUT -m comment --comment \"meshproof r x\" -j MP-x\n-F MP-x\n-X MP-x\nCOMMIT\n"
        );
        assert_eq!(saved.without("MP-y"), None);
        assert!(!saved.filter_is_empty());
        assert_eq!(saved.policies, [("filter".into(), "FORWARD".into())]);
        assert!(Saved::parse("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n").filter_is_empty());
    }
}
