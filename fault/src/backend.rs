//! What a way has to offer. All of it runs in the keeper: a process of one thread, in the network
//! in which the fault is to be.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use meshproof_sys::clock::Nanos;

use crate::{Error, Evidence, Plan, Refusal, Residue, Spec, Way, iptables};

/// Where and for whom a fault is to be.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Scene {
    /// The run, as it stands in comments and journals.
    pub run: String,
    /// This fault of the run: letters, digits and hyphens, and nobody else's.
    pub lease: String,
    /// The process that the fault is done to, for faults of programs, as the keeper sees it.
    pub process: Option<u32>,
    /// Where the config center, or the VIP names, take orders, for faults of theirs; none: at the
    /// usual port in the network of the keeper.
    pub control: Option<SocketAddr>,
}

impl Scene {
    /// What tells whose a rule is: the comment on every rule that we make.
    pub fn tag(&self) -> String {
        format!("{TAG} {} {}", self.run, self.lease)
    }
}

/// With this begins every comment of ours.
pub const TAG: &str = "meshproof";

/// A way of doing faults.
pub trait Backend {
    /// Which one.
    fn way(&self) -> Way;

    /// What would be done; changes nothing. Refuses what it cannot do exactly, and what this
    /// machine lacks. `why` and `passed_over` of the plan are the chooser's to fill.
    fn preflight(&self, spec: &Spec, scene: &Scene) -> Result<Plan, Refusal>;

    /// Does it, wholly or not at all: after an error nothing is left.
    fn apply(&self, plan: &Plan, scene: &Scene) -> Result<Box<dyn Hold>, Error>;
}

/// A fault in force, in its keeper. Dropping it without healing leaves to the kernel what is the
/// kernel's; so a way that the kernel does not clean up heals in its `drop`, too.
pub trait Hold {
    /// What met it until now. The times are the keeper's to fill.
    fn evidence(&mut self) -> Result<Evidence, Error>;

    /// Takes it away; what is left, after having looked. Another call changes nothing.
    fn heal(&mut self) -> Result<Residue, Error>;

    /// Does what must be done from time to time, at `now`; when it wants to be called again.
    fn tick(&mut self, now: Nanos) -> Option<Nanos> {
        let _ = now;
        None
    }

    /// Descriptors that are readable when it wants to be called, whatever the time.
    fn watched(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }
}

/// Every way that a keeper knows, the best first.
pub fn all() -> Vec<Box<dyn Backend>> {
    vec![
        Box::new(crate::nft::NftOwner),
        Box::new(crate::sockhash::Sockhash),
        Box::new(crate::nft::Cut),
        Box::new(crate::link::Netem),
        Box::new(crate::link::Tap),
        Box::new(iptables::Iptables::NFT),
        Box::new(iptables::Iptables::LEGACY),
        Box::new(crate::sockets::end::Destroy),
        Box::new(crate::process::Trace),
        Box::new(crate::process::Signal),
        Box::new(crate::process::Burner),
        Box::new(crate::process::Limits),
        Box::new(crate::disk::Filler),
        Box::new(crate::mount::Mount),
        Box::new(crate::relay::Relay),
        Box::new(crate::order::Order::CENTER),
        Box::new(crate::order::Order::NAMES),
    ]
}
