//! A terminal for a command in a pod: a pseudo terminal of its own, joined with ours.
//!
//! ```text
//! our terminal (raw) <──> env exec <──> master | slave <──> the command, in a session of its own
//! ```
//! Ours is raw meanwhile, so that every key goes through: Ctrl-C becomes a signal at the slave.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{
    OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};
use tokio::sync::oneshot;

/// Bytes that are copied at a time.
const CHUNK: usize = 16 << 10;

/// Whether a command is to have a terminal: whether our input and output are one.
pub(super) fn is_wanted() -> bool {
    isatty(io::stdin()) && isatty(io::stdout())
}

/// A pseudo terminal, not joined yet.
pub(super) struct Pair {
    master: File,
    /// The command's end.
    slave: OwnedFd,
}

impl Pair {
    /// A new one, with the size of our window.
    pub(super) fn open() -> io::Result<Pair> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        // Keys and line ends as a person has set them.
        tcsetattr(&slave, OptionalActions::Now, &tcgetattr(io::stdin())?)?;
        let pair = Pair {
            master: master.into(),
            slave,
        };
        resize(&pair.master);
        Ok(pair)
    }

    /// The command's input, output and error output; the last is ours where ours is no terminal.
    pub(super) fn streams<'a>(&'a self, error: &'a io::Stderr) -> [BorrowedFd<'a>; 3] {
        let slave = self.slave.as_fd();
        let error = if isatty(error) { slave } else { error.as_fd() };
        [slave, slave, error]
    }

    /// Copies both ways from here on. The slave is the command's alone then: its end is the
    /// output's.
    pub(super) fn join(self) -> io::Result<Joined> {
        let Pair { master, slave } = self;
        let raw = Raw::new()?;
        drop(slave);
        let (mut keys, mut shown) = (master.try_clone()?, master.try_clone()?);
        // It waits for a key when the command has ended, and ends with the process.
        thread::Builder::new()
            .name("keys".into())
            .spawn(move || copy(&mut File::from(owned(io::stdin())?), &mut keys))?;
        let (done, all) = oneshot::channel();
        thread::Builder::new().name("shown".into()).spawn(move || {
            let copied = copy(&mut shown, &mut io::stdout());
            // Nobody waits any more where the environment ended first.
            let _ = done.send(());
            copied
        })?;
        Ok(Joined {
            master,
            all,
            _raw: raw,
        })
    }
}

/// A pseudo terminal that is joined with ours; when it is dropped, ours is as it was.
pub(super) struct Joined {
    master: File,
    all: oneshot::Receiver<()>,
    _raw: Raw,
}

impl Joined {
    /// Hands on the size of our window, of which the kernel tells the command.
    pub(super) fn resize(&self) {
        resize(&self.master);
    }

    /// Until all that the command printed has been shown.
    pub(super) async fn shown(&mut self) {
        // A thread that is gone shows no more either.
        let _ = (&mut self.all).await;
    }
}

fn owned(stream: impl AsFd) -> io::Result<OwnedFd> {
    stream.as_fd().try_clone_to_owned()
}

fn resize(master: &File) {
    // A window without a size is one of a program; then the command sees none.
    if let Ok(size) = tcgetwinsize(io::stdout()) {
        let _ = tcsetwinsize(master, size);
    }
}

/// Until the end of either; the end of a slave is an error of its master.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut bytes = [0; CHUNK];
    loop {
        let length = match from.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(bytes.get(..length).unwrap_or_default())?;
        to.flush()?;
    }
}

/// Our terminal without any meaning of its own for keys, until this is dropped.
struct Raw {
    before: Termios,
}

impl Raw {
    fn new() -> io::Result<Raw> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Drain, &raw)?;
        Ok(Raw { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing. Not drained: whoever reads it may have stopped.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}
