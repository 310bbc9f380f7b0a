//! Speaking to an environment that another process keeps.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use meshproof_sys::clock::Nanos;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{PidfdFlags, Signal as Kernel, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::folder::{socket, stands};
use super::{Ask, Say};
use crate::Error;
use crate::environment::Program;
use crate::netns::line::Line;
use crate::process::{Exit, Signal};

/// A program that is to run in a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// The pod.
    pub pod: String,
    /// What messages call it.
    pub name: String,
    /// Which program; [`Program::Own`] is that of the environment.
    pub program: Program,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables beside those of whoever keeps the environment.
    pub variables: Vec<(String, String)>,
    /// Where it runs.
    pub directory: Option<PathBuf>,
}

/// A program that runs in a pod for us. It ends when this is dropped, and when this process does.
#[derive(Clone, Debug)]
pub struct Session {
    line: Arc<Line>,
}

fn connect(folder: &Path) -> Result<UnixStream, Error> {
    let opened = File::open(folder);
    opened
        .and_then(|opened| UnixStream::connect(socket(&opened)))
        .map_err(Error::io(format!(
            "speaking to the environment in {}",
            folder.display()
        )))
}

/// Starts a program in the environment that stands in `folder`. It has these streams: input,
/// output, error output.
pub fn exec(folder: &Path, exec: Exec, streams: [BorrowedFd<'_>; 3]) -> Result<Session, Error> {
    let line = Line::new(connect(folder)?);
    let broken = || Error::io("speaking to the environment");
    line.send(&Ask::Exec(exec), &streams).map_err(broken())?;
    match line.receive::<Say>().map_err(broken())? {
        Some((Say::Started, _)) => Ok(Session {
            line: Arc::new(line),
        }),
        Some((Say::Refused { why }, _)) => Err(Error::Refused(why)),
        Some((Say::Ended { .. }, _)) | None => {
            Err(Error::Gone("whoever keeps it hung up".to_owned()))
        }
    }
}

impl Session {
    /// Sends a signal to it and what it started.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        self.line
            .send(&Ask::Signal(signal), &[])
            .map_err(Error::io("speaking to the environment"))
    }

    /// Waits for its end; [`Exit::Gone`]: the environment ended before.
    pub fn wait(&self) -> Result<Exit, Error> {
        loop {
            match self.line.receive::<Say>() {
                Ok(Some((Say::Ended { exit }, _))) => return Ok(exit),
                Ok(Some(_)) => {}
                Ok(None) => return Ok(Exit::Gone),
                Err(error) => return Err(Error::io("speaking to the environment")(error)),
            }
        }
    }
}

/// Ends the environment that stands in `folder`, and returns when it has ended. One that does not
/// within `limit` is killed, with everything in it.
pub fn down(folder: &Path, limit: Duration) -> Result<(), Error> {
    let what = || format!("ending the environment in {}", folder.display());
    let stream = connect(folder)?;
    let keeper = socket_peercred(&stream)
        .and_then(|peer| pidfd_open(peer.pid, PidfdFlags::empty()))
        .map_err(|error| Error::io(what())(error.into()))?;
    let line = Line::new(stream);
    line.send(&Ask::Down, &[]).map_err(Error::io(what()))?;
    let ended = |limit: Duration| -> Result<bool, Error> {
        let end = Nanos::now() + limit;
        loop {
            // The lock goes with the environment; the process may have more to do.
            if !stands(folder) {
                return Ok(true);
            }
            let left = Duration::from_nanos(end.since(Nanos::now()));
            if left.is_zero() {
                return Ok(false);
            }
            let pause = Timespec::try_from(left.min(Duration::from_millis(5)));
            let pause = pause.map_err(|_| Error::io(what())(io::ErrorKind::InvalidInput.into()))?;
            match poll(&mut [PollFd::new(&keeper, PollFlags::IN)], Some(&pause)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Error::io(what())(error.into())),
            }
        }
    };
    if ended(limit)? {
        return Ok(());
    }
    // It may end at this very moment.
    let _ = pidfd_send_signal(&keeper, Kernel::KILL);
    match ended(limit)? {
        true => Ok(()),
        false => Err(Error::Late {
            what: "the end of an environment whose keeper was killed".into(),
            limit,
        }),
    }
}
