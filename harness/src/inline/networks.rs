//! How many networks a run leaves behind, counted by the kernel.
//!
//! The kernel keeps an account of network namespaces for every user namespace: one is added when it
//! is made, and taken off when the last of its clean-up is done, whoever held it by whatever. The
//! account cannot be read, but it has a limit, and what would go beyond is refused. So a run has
//! a user namespace of its own, in which there are none at first; later *one more* is asked for
//! under a limit of `n + 1`, and whether it is given says exactly whether more than `n` are left.
//! A refusal makes nothing; what was given is thrown away, and is the last that is asked for.
//!
//! `/proc/slabinfo`, in contrast, counts approximately, and with what the kernel keeps for later.

use std::fs;
use std::io;
use std::time::Duration;

use meshproof_sys::clock::Nanos;
use meshproof_sys::namespaces::{Identity, Namespace, unshare};

use crate::Error;
use crate::netns::ADVICE_NAMESPACES;

/// The limit of the reader's own user namespace.
const LIMIT: &str = "/proc/sys/user/max_net_namespaces";

/// More are not counted one by one.
const COUNTED_MAX: u64 = 10_000;

/// Between two looks: the kernel cleans up in its own time, and tells nobody.
const PAUSE: Duration = Duration::from_millis(5);

/// The network namespaces that were made by this process and what it started, since [`Networks::none`].
#[derive(Debug)]
pub struct Networks {
    _none_else: (),
}

impl Networks {
    /// Takes this process to a user namespace of its own, in which it may make networks, and in
    /// which there are none. The process must not have a second thread yet.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where this machine allows no user namespaces.
    pub fn none() -> Result<Networks, Error> {
        let identity = Identity::of_this_process();
        let made = unshare(&[Namespace::User]).and_then(|()| identity.becomes_root());
        made.map_err(|error| Error::Unsupported {
            missing: format!("a user namespace ({error})"),
            advice: ADVICE_NAMESPACES.to_owned(),
        })?;
        Ok(Networks { _none_else: () })
    }

    /// How many are left, as soon as that is none, or else after a limit. Nobody may make any
    /// meanwhile: it would be refused.
    ///
    /// # Errors
    /// The kernel lets nobody set its limit here, as where `/proc` may only be read.
    pub fn left(&self, patience: Duration) -> io::Result<u64> {
        let usual = fs::read_to_string(LIMIT)?;
        let left = self.counted(patience);
        fs::write(LIMIT, usual.trim())?;
        left
    }

    fn counted(&self, patience: Duration) -> io::Result<u64> {
        let end = Nanos::now() + patience;
        while !at_most(0)? {
            if Nanos::now() > end {
                for left in 1..COUNTED_MAX {
                    if at_most(left)? {
                        return Ok(left);
                    }
                }
                return Ok(COUNTED_MAX);
            }
            std::thread::park_timeout(PAUSE);
        }
        Ok(0)
    }
}

/// Whether no more than so many are left.
fn at_most(count: u64) -> io::Result<bool> {
    fs::write(LIMIT, (count + 1).to_string())?;
    // On a thread that ends at once, and what it got with it.
    let one_more = std::thread::spawn(|| unshare(&[Namespace::Network])).join();
    match one_more.unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
        Ok(()) => Ok(true),
        // ENOSPC is the kernel's word for a limit of namespaces.
        Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(false),
        Err(error) => Err(error),
    }
}
