//! The run that is killed, and the program that faults are done to: stages of our own executable.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::{Deserialize, Serialize};

use crate::{Error, Fault, Here, Lease, Scene, Spec};

/// The name of the stage that holds faults.
pub(crate) const RUN: &str = "soak-run";

/// The name of the stage that faults are done to.
pub(crate) const TARGET: &str = "soak-target";

/// A keeper stands by.
pub(super) const PLANNED: u8 = b'p';
/// A fault is in force.
pub(super) const IN_FORCE: u8 = b'f';
/// What follows says what went wrong.
pub(super) const WRONG: u8 = b'!';

/// What a run is to hold.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) fault: String,
    pub(super) lease: String,
    pub(super) process: u32,
    pub(super) limit_ms: u64,
}

/// Puts one fault after the other in force and says so, byte by byte; heals them when its input
/// ends.
pub(crate) fn run(mut arguments: impl Iterator<Item = OsString>) -> u8 {
    const USAGE: u8 = 2;
    let text = arguments.next().and_then(|text| text.into_string().ok());
    let asked = text.and_then(|text| serde_json::from_str::<Vec<Asked>>(&text).ok());
    let Some(asked) = asked else {
        return USAGE;
    };
    match held(&asked) {
        Ok(()) => 0,
        Err(error) => {
            let mut words = vec![WRONG];
            words.extend(error.to_string().bytes());
            // Whoever reads no more has seen enough.
            let _ = say(&words);
            1
        }
    }
}

fn say(words: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(words)?;
    out.flush()
}

fn held(asked: &[Asked]) -> Result<(), Error> {
    let told = |words: &[u8]| say(words).map_err(Error::io("saying how far it is"));
    let mut leases: Vec<Lease> = Vec::new();
    for one in asked {
        let spec = Spec::parse("fault", &one.fault)
            .map_err(|problem| Error::Refused(problem.to_string()))?;
        let fault = Fault {
            spec,
            scene: Scene {
                run: "soak".to_owned(),
                lease: one.lease.clone(),
                process: Some(one.process),
                control: None,
            },
        };
        let standby = fault.preflight(&Here::default())?;
        told(&[PLANNED])?;
        leases.push(standby.apply(Duration::from_millis(one.limit_ms))?);
        told(&[IN_FORCE])?;
    }
    // Ends with whoever started it, however that ends.
    let _ = io::stdin().read_to_end(&mut Vec::new());
    for lease in leases {
        let healed = lease.heal()?;
        if !healed.residue.is_empty() {
            return Err(Error::Refused(healed.residue.claim("residue").why));
        }
    }
    Ok(())
}

/// Does nothing, on one processor, until its input ends.
pub(crate) fn target() -> u8 {
    if let Ok(all) = sched_getaffinity(None)
        && let Some(first) = (0..CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu))
    {
        let mut one = CpuSet::new();
        one.set(first);
        // On all of them it does nothing as well.
        let _ = sched_setaffinity(None, &one);
    }
    let _ = say(&[PLANNED]);
    let _ = io::stdin().read_to_end(&mut Vec::new());
    0
}
