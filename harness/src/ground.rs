//! Pods as places of faults.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::time::Duration;

use meshproof_fault::{Error as Fault, Ground};

use crate::environment::{Command, Environment, Streams};
use crate::netns::pod::nothing;
use crate::process::Process;

/// How long a keeper may take to heal and end, once its line has ended.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// A pod of an environment: keepers are started in it, so what they do happens to its network.
#[derive(Clone, Copy)]
pub struct InPod<'a> {
    /// The environment.
    pub environment: &'a dyn Environment,
    /// The pod.
    pub pod: &'a str,
}

impl Ground for InPod<'_> {
    fn start(&self, arguments: Vec<OsString>, line: OwnedFd) -> Result<Box<dyn Send>, Fault> {
        let words = arguments
            .iter()
            .map(|word| word.to_string_lossy().into_owned());
        let nowhere = || {
            nothing().map_err(|source| Fault::Io {
                what: "/dev/null".into(),
                source,
            })
        };
        let streams = Streams {
            input: line,
            output: nowhere()?,
            error: nowhere()?,
        };
        let keeper = self
            .environment
            .spawn(self.pod, Command::own("keeper", words), streams);
        match keeper {
            Ok(keeper) => Ok(Box::new(Waited(keeper))),
            Err(crate::Error::Unsupported { missing, advice }) => {
                Err(Fault::Unsupported { missing, advice })
            }
            Err(error) => Err(Fault::Refused(error.to_string())),
        }
    }
}

/// A keeper that is waited for.
struct Waited(Process);

impl Drop for Waited {
    fn drop(&mut self) {
        // How it ended it has said on its line; the environment ends one that does not.
        let _ = self.0.wait(ENDS_WITHIN);
    }
}
