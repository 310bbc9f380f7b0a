//! A table in force.

use std::fmt;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::encode::{self, Batch, Listed, Part, Standing};
use super::list::{self, Counted};
use super::rule::Table;
use crate::netlink::ask::{self, Unanswered};

/// Why a table could not be made, read or removed.
#[derive(Debug)]
pub struct Wrong {
    /// What of it the kernel did not take.
    pub part: Option<Part>,
    /// What it said.
    pub why: Unanswered,
}

impl std::error::Error for Wrong {}

impl Wrong {
    fn of(batch: &Batch, why: Unanswered) -> Wrong {
        let part = match &why {
            Unanswered::Refused(refusal) => batch.parts.get(refusal.sequence as usize).cloned(),
            Unanswered::Broken(_) => None,
        };
        Wrong { part, why }
    }

    /// What the machine lacks, where that is the reason, and what to do: the kernel has no word
    /// for a missing feature but that something is not there.
    pub fn lacks(&self) -> Option<(String, String)> {
        let lacking = match (self.why.errno()?, &self.part) {
            (Errno::PERM | Errno::ACCESS, _) => (
                "the right to make rules here (CAP_NET_ADMIN)",
                "run inside an environment, or as root",
            ),
            (Errno::OPNOTSUPP | Errno::INVAL, Some(Part::Table)) => (
                "tables of nftables that go with their owner (kernel 5.12)",
                "use a newer kernel, or `way: iptables-nft`",
            ),
            (Errno::OPNOTSUPP | Errno::NOENT | Errno::PROTONOSUPPORT, Some(Part::Chain(_))) => (
                "this hook of nftables (CONFIG_NETFILTER_INGRESS, CONFIG_NETFILTER_EGRESS)",
                "use a kernel that has it",
            ),
            (Errno::OPNOTSUPP | Errno::NOENT | Errno::INVAL, Some(Part::Rule(_))) => (
                "an expression of this rule (CONFIG_NFT_CT, CONFIG_NFT_REJECT, \
                 CONFIG_NFT_CONNLIMIT, CONFIG_NFT_SOCKET; payload within TCP: kernel 5.16)",
                "load the module, or use a kernel that has it",
            ),
            (Errno::PROTONOSUPPORT | Errno::INVAL | Errno::OPNOTSUPP, _) => (
                "nftables (CONFIG_NF_TABLES)",
                "load the module: `modprobe nf_tables`",
            ),
            _ => return None,
        };
        let (missing, advice) = lacking;
        Some((format!("{missing}: {self}"), advice.to_owned()))
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.part {
            Some(Part::Table) => write!(formatter, "the table: {}", self.why),
            Some(Part::Chain(name)) => write!(formatter, "chain {name}: {}", self.why),
            Some(Part::Rule(label)) => write!(formatter, "the rule `{label}`: {}", self.why),
            Some(Part::Batch) | None => self.why.fmt(formatter),
        }
    }
}

/// A table that is owned by the socket within. Dropping this, or the death of the process,
/// removes it.
#[derive(Debug)]
pub struct Owned {
    socket: OwnedFd,
    table: Table,
}

impl Owned {
    /// Makes a table, whole or not at all. The socket is of `Subsystem::Netfilter`, of the network
    /// in which the table is to be, and nobody else has a descriptor of it.
    pub fn make(socket: OwnedFd, table: Table) -> Result<Owned, Wrong> {
        Owned::with(socket, table, Standing::Awake)
    }

    /// Tries whether the kernel takes this table, and takes it back. No packet meets it. (Rules
    /// with `ct` do turn connection tracking on for that moment.)
    pub fn try_out(socket: OwnedFd, table: Table) -> Result<(), Wrong> {
        Owned::with(socket, table, Standing::Asleep)?.remove()
    }

    fn with(socket: OwnedFd, table: Table, standing: Standing) -> Result<Owned, Wrong> {
        if let Err(why) = table.check() {
            let why = std::io::Error::new(std::io::ErrorKind::InvalidInput, why);
            return Err(Wrong {
                part: None,
                why: why.into(),
            });
        }
        let batch = encode::make(&table, standing);
        ask::order(&socket, batch.request.bytes(), batch.last)
            .map_err(|why| Wrong::of(&batch, why))?;
        Ok(Owned { socket, table })
    }

    /// What it is made of.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// What met its rules until now, in their order.
    pub fn counters(&self) -> Result<Vec<Counted>, Wrong> {
        let request = encode::list(Listed::RulesOf(&self.table));
        let rules =
            ask::list(&self.socket, request.bytes()).map_err(|why| Wrong { part: None, why })?;
        Ok(list::counters(&rules, &self.table))
    }

    /// Removes it. The kernel has done it when this returns.
    pub fn remove(self) -> Result<(), Wrong> {
        let batch = encode::remove(&self.table);
        ask::order(&self.socket, batch.request.bytes(), batch.last)
            .map_err(|why| Wrong::of(&batch, why))
    }
}
