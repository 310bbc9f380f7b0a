//! Keeping an environment: waits for whoever asks, and for the reason to end.

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::thread;
use std::time::Duration;

use meshproof_sys::wake::Wake;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::sockopt::socket_peercred;

use super::folder::{Folder, SOCKET};
use super::{Ask, Exec, Say};
use crate::Error;
use crate::environment::{Command, Environment, Streams};
use crate::netns::line::Line;
use crate::process::{Process, Signal};

/// Programs and questions at a time; who comes then is hung up on.
pub const ASKERS_MAX: usize = 64;

/// Why an environment is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Somebody told it to.
    Asked,
    /// Its time is over.
    Limit,
    /// Ctrl-C, or another signal.
    Interrupted,
    /// It has ended by itself.
    Gone,
}

/// Serves those who ask in `folder` until there is a reason to end; programs that were started
/// for them have ended then. The environment itself is the caller's to end. Whoever has a sender
/// of `stops` may give a reason.
pub fn stand(
    environment: &dyn Environment,
    folder: &Folder,
    limit: Option<Duration>,
    stops: (mpsc::Sender<Stop>, mpsc::Receiver<Stop>),
) -> Result<Stop, Error> {
    let what = || format!("the socket in {}", folder.path().display());
    let (sender, stops) = stops;
    let listener = &folder.listener;
    let wake = Wake::new().map_err(Error::io(what()))?;
    let over = AtomicBool::new(false);
    let lines = Mutex::new(Vec::<Weak<Line>>::new());
    let stop = thread::scope(|scope| {
        let (wake, over, lines) = (&wake, &over, &lines);
        let gone = sender.clone();
        scope.spawn(move || {
            while !over.load(Ordering::Relaxed) {
                if environment.ended(Duration::from_millis(50)) {
                    // Nobody listens any more where another reason came first.
                    let _ = gone.send(Stop::Gone);
                    return;
                }
            }
        });
        scope.spawn(move || {
            while let Some(stream) = accept(listener, wake) {
                let mut known = lines.lock().unwrap_or_else(PoisonError::into_inner);
                known.retain(|line| line.strong_count() > 0);
                if over.load(Ordering::Relaxed) || known.len() >= ASKERS_MAX || !is_ours(&stream) {
                    continue;
                }
                let line = Arc::new(Line::new(stream));
                known.push(Arc::downgrade(&line));
                drop(known);
                let sender = sender.clone();
                scope.spawn(move || answer(environment, &line, &sender));
            }
        });
        let stop = match limit {
            Some(limit) => stops.recv_timeout(limit).unwrap_or(Stop::Limit),
            None => stops.recv().unwrap_or(Stop::Interrupted),
        };
        over.store(true, Ordering::Relaxed);
        wake.raise();
        // What was started for others ends with their lines.
        for line in lines.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some(line) = line.upgrade() {
                line.hang_up();
            }
        }
        stop
    });
    // A name that leads nowhere helps nobody.
    let _ = std::fs::remove_file(folder.path().join(SOCKET));
    Ok(stop)
}

/// The next who asks; none: it is over.
fn accept(listener: &UnixListener, wake: &Wake) -> Option<UnixStream> {
    loop {
        let mut watched = [
            PollFd::new(listener, PollFlags::IN),
            PollFd::new(wake, PollFlags::IN),
        ];
        match poll(&mut watched, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return None,
        }
        if !watched[1].revents().is_empty() {
            return None;
        }
        if let Ok((stream, _)) = listener.accept() {
            return Some(stream);
        }
    }
}

/// Whether the other side is the same user, or root.
fn is_ours(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid();
    socket_peercred(stream).is_ok_and(|peer| peer.uid == own || peer.uid.is_root())
}

fn answer(environment: &dyn Environment, line: &Line, sender: &mpsc::Sender<Stop>) {
    match line.receive::<Ask>() {
        Ok(Some((Ask::Exec(exec), passed))) => run(environment, line, exec, passed),
        Ok(Some((Ask::Down, _))) => drop(sender.send(Stop::Asked)),
        Ok(Some((Ask::Signal(_), _)) | None) | Err(_) => {}
    }
}

fn run(environment: &dyn Environment, line: &Line, exec: Exec, passed: Vec<OwnedFd>) {
    let refuse = |why: String| drop(line.send(&Say::Refused { why }, &[]));
    let Ok([input, output, error]) = <[OwnedFd; 3]>::try_from(passed) else {
        return refuse("expected three streams beside the order".to_owned());
    };
    let streams = Streams {
        input,
        output,
        error,
    };
    let command = Command {
        program: exec.program,
        variables: exec.variables,
        directory: exec.directory,
        ..Command::own(&exec.name, exec.arguments)
    };
    let process = match environment.spawn(&exec.pod, command, streams) {
        Ok(process) => process,
        Err(error) => return refuse(error.to_string()),
    };
    // Whoever asked may be gone: the next read says so.
    let _ = line.send(&Say::Started, &[]);
    thread::scope(|scope| {
        scope.spawn(|| relay(line, &process));
        /// A wait begins anew after it.
        const LONG: Duration = Duration::from_secs(3600);
        let exit = loop {
            match process.wait(LONG) {
                Err(Error::Late { .. }) => {}
                other => break other,
            }
        };
        if let Ok(exit) = exit {
            let _ = line.send(&Say::Ended { exit }, &[]);
        }
        line.hang_up();
    });
}

/// Passes signals on until the line ends, and with it the program.
fn relay(line: &Line, process: &Process) {
    /// Between being told that whoever wanted it is gone, and the end.
    const GRACE: Duration = Duration::from_millis(200);
    while let Ok(Some((ask, _))) = line.receive::<Ask>() {
        if let Ask::Signal(signal) = ask {
            // To one that has ended, nothing.
            let _ = process.signal(signal);
        }
    }
    if process.exit().is_none() {
        let _ = process.signal(Signal::HangUp);
        if process.pause(GRACE).is_none() {
            let _ = process.signal(Signal::Kill);
        }
    }
}
