//! The request ledger of a mesh: every call that a client made, seen once and answered once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Mesh, REGISTRY, lock};
use crate::Error;
use crate::environment::Command;

/// How long the account may take.
const LIMIT: Duration = Duration::from_secs(120);

/// The account of all calls so far, from the clients' journals and the apps'.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Calls that clients made.
    pub calls: u64,
    /// Calls with the outcome that belongs to them, seen exactly once by exactly one app.
    pub closed: u64,
    /// Calls that no app saw.
    pub lost: u64,
    /// Calls that were seen more than once.
    pub doubled: u64,
    /// Calls that were seen and not answered rightly.
    pub unanswered: u64,
    /// Answers that no app sent.
    pub invented: u64,
    /// Trace ids that several calls have.
    pub ambiguous: u64,
    /// Calls that apps saw and no client made.
    pub strays: u64,
    /// What does not close, with the hop: at most 20.
    pub named: Vec<String>,
}

impl Ledger {
    /// Whether every call was seen exactly once and had the end that belongs to it. An account of
    /// no call closes.
    pub fn closes(&self) -> bool {
        self.closed == self.calls && self.strays == 0
    }

    /// As rows of a report.
    pub fn rows(&self) -> Vec<(String, u64)> {
        [
            ("calls", self.calls),
            ("closed", self.closed),
            ("lost", self.lost),
            ("doubled", self.doubled),
            ("unanswered", self.unanswered),
            ("invented", self.invented),
            ("ambiguous", self.ambiguous),
            ("strays", self.strays),
        ]
        .map(|(name, count)| (name.to_owned(), count))
        .into()
    }

    /// In one line.
    pub fn sentence(&self) -> String {
        let rows = self.rows();
        let rows = rows.iter().skip(1).filter(|(_, count)| *count > 0);
        let rows: Vec<String> = rows
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        let first = self.named.first();
        let first = first.map_or_else(String::new, |first| format!("; {first}"));
        format!("{} calls: {}{first}", self.calls, rows.join(", "))
    }
}

impl Mesh {
    /// Joins the journals of all clients and apps so far. Calls that are under way count as
    /// strays: wait for their end.
    pub fn ledger(&self) -> Result<Ledger, Error> {
        let clients = lock(&self.calls).journals.clone();
        let mut servers = Vec::new();
        for pod in self.pods() {
            servers.extend(lock(self.member(pod)?).journals.iter().cloned());
        }
        if clients.is_empty() || servers.is_empty() {
            return Ok(Ledger::default());
        }
        let mut arguments: Vec<String> = ["fixture", "ledger", "--json"].map(str::to_owned).into();
        let files = clients.iter().map(|file| ("--client", file));
        for (name, file) in files.chain(servers.iter().map(|file| ("--server", file))) {
            arguments.push(name.into());
            arguments.push(file.to_string_lossy().into_owned());
        }
        let command = Command::own("the ledger", arguments);
        let process = self.environment().start(REGISTRY, command)?;
        let exit = process.wait(LIMIT)?;
        let lines = process.lines();
        let said = lines.iter().find_map(|line| {
            let ledger: Option<Ledger> = serde_json::from_str(&line.text).ok();
            ledger
        });
        let mut ledger = said
            .ok_or_else(|| Error::Refused(format!("the ledger {exit}{}", process.last_lines())))?;
        ledger.named = ledger.named.iter().map(|line| with_hop(line)).collect();
        Ok(ledger)
    }
}

/// What does not close, with the hop on which it was lost, as far as both ends tell.
fn with_hop(line: &str) -> String {
    let said = |what: &str| line.contains(what);
    let hop = if said("no server saw it") {
        if said("client: unsent") {
            "never sent: nobody took the client's connection"
        } else if said("client: status") || said("client: error") {
            "lost between the client and the app: a sidecar on the way refused it"
        } else if said("client: closed") {
            "lost between the client and the app: the client's connection was closed"
        } else if said("client: sent") {
            "lost between the client and the app: a one-way that never arrived"
        } else {
            "lost between the client and the app: nobody answered"
        }
    } else if said("seen once; the client:") {
        "lost on the way back from the app"
    } else {
        return line.to_owned();
    };
    format!("{line} ({hop})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &str) {
        assert_eq!(with_hop(line), format!("{line}{expected}"));
    }

    #[test]
    fn a_loss_is_named_with_its_hop() {
        check(
            "7f: no server saw it; the client: unsent",
            " (never sent: nobody took the client's connection)",
        );
        check(
            "7f: no server saw it; the client: status 6",
            " (lost between the client and the app: a sidecar on the way refused it)",
        );
        check(
            "7f: no server saw it; the client: timeout",
            " (lost between the client and the app: nobody answered)",
        );
        check(
            "7f: seen once; the client: timeout",
            " (lost on the way back from the app)",
        );
        check("7f: two calls have this trace id", "");
    }

    #[test]
    fn an_account_closes_or_says_what_does_not() {
        let ledger = Ledger {
            calls: 5,
            closed: 3,
            unanswered: 2,
            ..Ledger::default()
        };
        assert!(!ledger.closes());
        let told = "5 calls: 3 closed, 2 unanswered";
        assert_eq!(ledger.sentence(), told);
        let all = Ledger {
            closed: 5,
            unanswered: 0,
            ..ledger
        };
        assert!(all.closes());
        assert!(!Ledger { strays: 1, ..all }.closes());
        assert!(Ledger::default().closes());
    }
}
