//! How long it takes to put the same rules in force and to take them away: by netlink, by `nft`,
//! by both kinds of `iptables-restore`.

use std::fs;
use std::path::Path;

use meshproof_sys::clock::Nanos;
use meshproof_sys::netlink::{self, Subsystem};

use crate::iptables::tool::{self, Tool};
use crate::nft::recipe::{self, Aim, Only};
use crate::nft::rule::{Action, Table, Transport};
use crate::nft::table::Owned;
use crate::{Error, Family, Spec, Way, rule};

/// The rules that are made: what an app sends from its port is lost, of both families.
const FAULT: &str = "{kind: drop, from: app, port: 12199}";

const NAME: &str = "meshproof_speed";

/// One way of making and removing rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speed {
    /// `netlink`, `nft`, `iptables-nft`, `iptables-legacy`.
    pub by: &'static str,
    /// How long it took to put them in force, in nanoseconds; sorted.
    pub inject_ns: Vec<u64>,
    /// How long it took to take them away, likewise.
    pub remove_ns: Vec<u64>,
}

impl Speed {
    fn of(by: &'static str) -> Speed {
        Speed {
            by,
            inject_ns: Vec::new(),
            remove_ns: Vec::new(),
        }
    }

    fn time(&mut self, made: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
        let begun = Nanos::now();
        made()?;
        self.inject_ns.push(Nanos::now().since(begun));
        Ok(())
    }

    fn time_removal(&mut self, gone: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
        let begun = Nanos::now();
        gone()?;
        self.remove_ns.push(Nanos::now().since(begun));
        Ok(())
    }
}

/// The median of sorted times, in nanoseconds; 0 where there are none.
pub fn median(sorted: &[u64]) -> u64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

/// Makes and removes the rules in the network of the calling thread, by each in turn, `rounds`
/// times. A program that is not installed is left out. Scripts are written to `folder`.
///
/// # Errors
/// Where the kernel, or a program, does not take them.
pub fn rounds(rounds: u32, folder: &Path) -> Result<Vec<Speed>, Error> {
    let table = table()?;
    let mut netlink = Speed::of("netlink");
    let mut programs = programs(&table, folder)?;
    for _ in 0..rounds {
        by_netlink(&table, &mut netlink)?;
        for program in &mut programs {
            program.once()?;
        }
    }
    let mut all = vec![netlink];
    all.extend(programs.into_iter().map(|program| program.speed));
    for speed in &mut all {
        speed.inject_ns.sort_unstable();
        speed.remove_ns.sort_unstable();
    }
    Ok(all)
}

fn table() -> Result<Table, Error> {
    let aim = Aim {
        transport: Transport::Tcp,
        listener: recipe::Listener::Here,
        sender: Some(recipe::Sender::Listener),
        port: Some(12199),
        source_port: None,
        peer: None,
        version: None,
        owner: None,
    };
    recipe::aimed(NAME, NAME, &aim, &Only::All, Action::Drop).map_err(Error::Refused)
}

fn by_netlink(table: &Table, speed: &mut Speed) -> Result<(), Error> {
    let refused = |wrong: crate::nft::table::Wrong| Error::Refused(wrong.to_string());
    let mut owned = None;
    // With the socket, as a keeper does.
    speed.time(|| {
        let socket = netlink::open(Subsystem::Netfilter).map_err(Error::io("netlink"))?;
        owned = Some(Owned::make(socket, table.clone()).map_err(refused)?);
        Ok(())
    })?;
    speed.time_removal(|| match owned.take() {
        Some(owned) => owned.remove().map_err(refused),
        None => Ok(()),
    })
}

/// A program that is run with one script after the other.
struct Program {
    speed: Speed,
    inject: Vec<(Runs, std::path::PathBuf)>,
    remove: Vec<(Runs, std::path::PathBuf)>,
}

#[derive(Clone, Copy)]
enum Runs {
    Nft,
    Restore(Tool),
}

impl Program {
    fn once(&mut self) -> Result<(), Error> {
        let all = |scripts: &[(Runs, std::path::PathBuf)]| {
            scripts.iter().try_for_each(|(runs, script)| match runs {
                Runs::Nft => {
                    let Some(nft) = tool::find("nft") else {
                        return Err(Error::Refused("nft has gone".to_owned()));
                    };
                    tool::run(&nft, &["-f".as_ref(), script.as_os_str()], None).map(drop)
                }
                Runs::Restore(tool) => tool.restore(script, None),
            })
        };
        let (inject, remove) = (&self.inject, &self.remove);
        self.speed.time(|| all(inject))?;
        self.speed.time_removal(|| all(remove))
    }
}

fn programs(table: &Table, folder: &Path) -> Result<Vec<Program>, Error> {
    let written = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).map_err(Error::io(format!("writing {}", path.display())))?;
        Ok::<_, Error>(path)
    };
    let mut programs = Vec::new();
    if tool::find("nft").is_some() {
        // One that `nft` owned would end with it.
        let text = table.nft().replace("\tflags owner\n", "");
        let gone = format!("delete table inet {NAME}\n");
        programs.push(Program {
            speed: Speed::of("nft"),
            inject: vec![(Runs::Nft, written("make.nft", text)?)],
            remove: vec![(Runs::Nft, written("remove.nft", gone)?)],
        });
    }
    let spec =
        Spec::parse("speed", FAULT).map_err(|problem| Error::Refused(problem.to_string()))?;
    let rules = rule::rules(&spec, &[]).map_err(|why| Error::Refused(why.to_string()))?;
    for way in [Way::IptablesNft, Way::IptablesLegacy] {
        let mut program = Program {
            speed: Speed::of(way.word()),
            inject: Vec::new(),
            remove: Vec::new(),
        };
        for family in Family::ALL.iter().copied() {
            let tool = Tool { way, family };
            if !tool.is_there() {
                continue;
            }
            let script = |verb: &str| {
                let of = rules.iter().filter(|rule| rule.family == family);
                let lines: String = of
                    .map(|rule| format!("{verb} {} {}\n", rule.hook.chain(), rule.iptables(NAME)))
                    .collect();
                format!("*filter\n{lines}COMMIT\n")
            };
            let file = |what: &str| format!("{what}.{way}.{family}");
            let inject = written(&file("make"), script("-A"))?;
            let remove = written(&file("remove"), script("-D"))?;
            program.inject.push((Runs::Restore(tool), inject));
            program.remove.push((Runs::Restore(tool), remove));
        }
        if !program.inject.is_empty() {
            programs.push(program);
        }
    }
    Ok(programs)
}
