//! A relay between two programs that knows frames and can harm them.
//!
//! It stands on one leg: it listens where one program believes the other to be, and connects to
//! where that one is. What no rule means passes unchanged, and at once while there is no rule.
//! It needs no privilege, and works on any leg of any environment.
//!
//! ```no_run
//! use meshproof_harness::relay::{Direction, Harm, Relay, Rule, Sort};
//!
//! # fn lose(environment: &dyn meshproof_harness::Environment) -> Result<(), meshproof_harness::Error> {
//! // The sidecar believes the app at 12199; it is at 12198.
//! let local = environment.local("server")?;
//! let relay = Relay::in_pod(
//!     environment,
//!     "server",
//!     (local, 12199).into(),
//!     (local, 12198).into(),
//! )?;
//! let mute = relay.put(Rule {
//!     sorts: vec![Sort::Heartbeat],
//!     direction: Some(Direction::Back),
//!     ..Rule::new(Harm::Drop)
//! })?;
//! // … the sidecar must isolate the pod …
//! let seen = relay.heal(mute)?;
//! assert!(seen.harmed > 0, "a fault that met nothing is none");
//! # Ok(())
//! # }
//! ```

mod account;
mod called;
#[cfg(test)]
mod exact;
mod harm;
mod lane;
mod pump;
mod rule;

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use meshproof_sys::clock::Nanos;
use meshproof_sys::wake::Wake;

use crate::Error;
use crate::environment::{Dialer, Environment};

use pump::Pump;

pub use account::{Account, Applied, Class, HEALED_MAX, RULES_MAX, RuleId};
pub use called::REMEMBERED_MAX;
pub use harm::{Harm, Overtaken, Replacement};
pub use lane::HELD_BYTES_MAX;
pub use rule::{Direction, Rule, Share, Sort};

/// Connections that a relay carries at a time; more are reset.
pub const CONNECTIONS_MAX: usize = 4096;

/// Where a relay stands.
pub struct Leg {
    /// What messages call it: `sidecar to app`.
    pub name: String,
    /// Where one program believes the other to be.
    pub listener: TcpListener,
    /// Where that one is.
    pub to: SocketAddr,
    /// What connects there.
    pub dial: Dialer,
}

/// A relay that runs. Dropping it closes its connections.
#[derive(Debug)]
pub struct Relay {
    name: String,
    at: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What its threads and its holder share.
#[derive(Debug)]
struct Shared {
    account: Mutex<Account>,
    changed: Condvar,
    /// Rules have changed, or a connection has come, or it is over: for the thread that carries.
    wake: Wake,
    /// It is over: for the thread that accepts. Never cleared.
    over: Wake,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Account> {
        // An account whose holder panicked is still counts.
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Relay {
    /// Starts one on any leg.
    pub fn start(leg: Leg) -> Result<Relay, Error> {
        let what = |what: &str| format!("the relay {}: {what}", leg.name);
        let at = leg
            .listener
            .local_addr()
            .map_err(Error::io(what("its address")))?;
        let wake = || Wake::new().map_err(Error::io(what("an event")));
        let shared = Arc::new(Shared {
            account: Mutex::default(),
            changed: Condvar::new(),
            wake: wake()?,
            over: wake()?,
        });
        let pump = Pump::new(Arc::clone(&shared)).map_err(Error::io(what("epoll")))?;
        let (arrivals, arrived) = mpsc::channel();
        let mut relay = Relay {
            name: leg.name.clone(),
            at,
            shared: Arc::clone(&shared),
            threads: Vec::new(),
        };
        let thread = || std::thread::Builder::new().name("relay".into());
        let pumping = thread().spawn(move || pump.run(&arrived));
        let pumping = pumping.map_err(Error::io(what("a thread")))?;
        relay.threads.push(pumping);
        let name = leg.name.clone();
        let accepting = thread().spawn(move || {
            pump::accept(leg, &shared, &arrivals);
            // The other thread is to see that no more can come.
            drop(arrivals);
            shared.wake.raise();
        });
        let accepting = accepting.map_err(Error::io(format!("the relay {name}: a thread")))?;
        relay.threads.push(accepting);
        Ok(relay)
    }

    /// Starts one in a pod: it listens there at `at` and connects from there to `to`.
    pub fn in_pod(
        environment: &dyn Environment,
        pod: &str,
        at: SocketAddr,
        to: SocketAddr,
    ) -> Result<Relay, Error> {
        Relay::start(Leg {
            name: format!("{at} to {to} in pod {pod}"),
            listener: environment.listen(pod, at)?,
            to,
            dial: environment.dialer(pod)?,
        })
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    pub fn at(&self) -> SocketAddr {
        self.at
    }

    /// Puts a rule in force, for frames that come from now on.
    pub fn put(&self, rule: Rule) -> Result<RuleId, Error> {
        let id = self.shared.lock().add(rule).ok_or_else(|| {
            Error::Refused(format!(
                "the relay {} has {RULES_MAX} rules: heal one first",
                self.name
            ))
        })?;
        self.tell();
        Ok(id)
    }

    /// Takes a rule out of force; what it did.
    pub fn heal(&self, id: RuleId) -> Result<Applied, Error> {
        let applied = self.shared.lock().heal(id);
        self.tell();
        applied.ok_or_else(|| {
            Error::Refused(format!(
                "the relay {} has no rule {} in force",
                self.name, id.0
            ))
        })
    }

    /// What it saw and did until now.
    pub fn account(&self) -> Account {
        self.shared.lock().clone()
    }

    /// Waits until the account is as `wanted`, no longer than `limit`.
    pub fn until<T>(
        &self,
        limit: Duration,
        mut wanted: impl FnMut(&Account) -> Option<T>,
    ) -> Option<T> {
        let end = Nanos::now() + limit;
        let mut account = self.shared.lock();
        loop {
            if let Some(found) = wanted(&account) {
                return Some(found);
            }
            let left = end.since(Nanos::now());
            if left == 0 {
                return None;
            }
            account = self
                .shared
                .changed
                .wait_timeout(account, Duration::from_nanos(left))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn tell(&self) {
        self.shared.wake.raise();
        self.shared.changed.notify_all();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.over.raise();
        for thread in self.threads.drain(..) {
            // One that panicked has closed its connections, too.
            let _ = thread.join();
        }
    }
}
