//! A program that was started: its lines, its end.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meshproof_sys::clock::Nanos;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;

/// Lines that are kept of one program; of more, the oldest go (the log file has them all).
pub const LINES_MAX: usize = 20_000;

/// Bytes of a line at most; what is longer becomes several.
pub const LINE_BYTES_MAX: u64 = 8 << 10;

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// With its environment.
    Gone,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "ended with code {code}"),
            Exit::Signal(signal) => write!(f, "ended by signal {signal}"),
            Exit::Gone => f.write_str("ended with its environment"),
        }
    }
}

/// Signals that programs are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
    /// SIGINT.
    Interrupt,
    /// SIGHUP.
    HangUp,
    /// SIGSTOP.
    Stop,
    /// SIGCONT.
    Continue,
    /// SIGUSR1.
    User1,
    /// SIGUSR2.
    User2,
    /// SIGQUIT.
    Quit,
    /// SIGWINCH: the window has another size.
    Window,
}

/// Where a line was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// The standard output.
    Out,
    /// The standard error output.
    Error,
}

/// One line of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When it was read.
    pub at: Nanos,
    /// Where it was written.
    pub stream: Stream,
    /// Without its end.
    pub text: String,
}

/// Sends signals for a [`Process`].
pub(crate) trait Control: Send + Sync {
    fn signal(&self, process: u64, signal: Signal) -> Result<(), Error>;
}

/// What is known of a program, written by those who watch it.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Line>,
    /// Lines that went before the first of `lines`.
    gone: usize,
    /// Streams that have not ended.
    open: usize,
    exit: Option<(Exit, Nanos)>,
}

impl Watched {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A state whose holder panicked is still lines and an exit.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ended(&self, exit: Exit, at: Nanos) {
        self.lock().exit.get_or_insert((exit, at));
        self.changed.notify_all();
    }

    /// Waits until `done` says so, or the limit is over.
    fn until<T>(&self, limit: Duration, mut done: impl FnMut(&State) -> Option<T>) -> Option<T> {
        let end = Nanos::now() + limit;
        let mut state = self.lock();
        loop {
            if let Some(value) = done(&state) {
                return Some(value);
            }
            let left = end.since(Nanos::now());
            if left == 0 {
                return None;
            }
            state = self
                .changed
                .wait_timeout(state, Duration::from_nanos(left))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Reads a stream to its end, on a thread of its own.
    pub(crate) fn follow(
        self: &Arc<Watched>,
        pipe: PipeReader,
        stream: Stream,
        mut log: Option<File>,
    ) -> std::io::Result<()> {
        self.lock().open += 1;
        let watched = Arc::clone(self);
        std::thread::Builder::new()
            .name("lines".into())
            .spawn(move || {
                let mut pipe = BufReader::new(pipe);
                let mut bytes = Vec::new();
                loop {
                    bytes.clear();
                    let read = (&mut pipe)
                        .take(LINE_BYTES_MAX)
                        .read_until(b'\n', &mut bytes);
                    if !matches!(read, Ok(1..)) {
                        break;
                    }
                    // A full disk must not stop what is watched.
                    if log
                        .as_mut()
                        .is_some_and(|log| log.write_all(&bytes).is_err())
                    {
                        log = None;
                    }
                    let end = bytes
                        .iter()
                        .rposition(|byte| !matches!(byte, b'\n' | b'\r'));
                    bytes.truncate(end.map_or(0, |end| end + 1));
                    let line = Line {
                        at: Nanos::now(),
                        stream,
                        text: String::from_utf8_lossy(&bytes).into_owned(),
                    };
                    let mut state = watched.lock();
                    if state.lines.len() == LINES_MAX {
                        state.lines.pop_front();
                        state.gone += 1;
                    }
                    state.lines.push_back(line);
                    drop(state);
                    watched.changed.notify_all();
                }
                watched.lock().open -= 1;
                watched.changed.notify_all();
            })?;
        Ok(())
    }
}

/// A program in a pod. Dropping this kills it.
pub struct Process {
    pub(crate) number: u64,
    pub(crate) name: String,
    pub(crate) pod: String,
    pub(crate) pid: u32,
    pub(crate) watched: Arc<Watched>,
    pub(crate) control: Arc<dyn Control>,
    pub(crate) input: Mutex<Option<PipeWriter>>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("name", &self.name)
            .field("pod", &self.pod)
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

impl Process {
    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it runs.
    pub fn pod(&self) -> &str {
        &self.pod
    }

    /// Its number, as its environment sees it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal; to one that has ended, nothing.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        self.control.signal(self.number, signal)
    }

    /// How and when it ended, if it has.
    pub fn exit(&self) -> Option<(Exit, Nanos)> {
        self.watched.lock().exit
    }

    /// Waits until it has ended and all its lines are there.
    pub fn wait(&self, limit: Duration) -> Result<Exit, Error> {
        // A child that it left behind may hold its streams; its end is the point.
        let all = |state: &State| state.exit.filter(|_| state.open == 0);
        let exit = self.watched.until(limit, all).or_else(|| self.exit());
        exit.map(|(exit, _)| exit).ok_or_else(|| Error::Late {
            what: format!("the end of {} in pod {}", self.name, self.pod),
            limit,
        })
    }

    /// SIGTERM, and SIGKILL after `grace`.
    pub fn stop(&self, grace: Duration) -> Result<Exit, Error> {
        self.signal(Signal::Terminate)?;
        match self.wait(grace) {
            Err(Error::Late { .. }) => {
                self.signal(Signal::Kill)?;
                self.wait(Duration::from_secs(10))
            }
            other => other,
        }
    }

    /// Its lines so far, of both streams in the order in which they were read.
    pub fn lines(&self) -> Vec<Line> {
        self.watched.lock().lines.iter().cloned().collect()
    }

    /// Waits for the first line, from line `from` on (0 is its first), that `wanted` takes; also
    /// where to go on from there.
    pub fn line(
        &self,
        from: usize,
        limit: Duration,
        wanted: impl Fn(&Line) -> bool,
    ) -> Result<(Line, usize), Error> {
        let mut next = from;
        let found = self.watched.until(limit, |state| {
            let skipped = next.saturating_sub(state.gone);
            for line in state.lines.iter().skip(skipped) {
                next = next.max(state.gone) + 1;
                if wanted(line) {
                    return Some(Some(line.clone()));
                }
            }
            // Nothing more can come.
            (state.exit.is_some() && state.open == 0).then_some(None)
        });
        match found {
            Some(Some(line)) => Ok((line, next)),
            Some(None) => Err(Error::Refused(format!(
                "{} in pod {} ended without the line that was waited for{}",
                self.name,
                self.pod,
                self.last_lines()
            ))),
            None => Err(Error::Late {
                what: format!("a line of {} in pod {}", self.name, self.pod),
                limit,
            }),
        }
    }

    /// Writes to its input, if that is a pipe.
    pub fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        let what = || format!("writing to {} in pod {}", self.name, self.pod);
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        match input.as_mut() {
            Some(pipe) => pipe.write_all(bytes).map_err(Error::io(what())),
            None => Err(Error::Refused(format!("{}: it has no pipe", what()))),
        }
    }

    /// Ends its input.
    pub fn end_input(&self) {
        self.input
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    /// Waits for an end, or for as long as `limit`.
    pub(crate) fn pause(&self, limit: Duration) -> Option<Exit> {
        let ended = |state: &State| state.exit.map(|(exit, _)| exit);
        self.watched.until(limit, ended)
    }

    /// Its last lines, each after a line break.
    pub(crate) fn last_lines(&self) -> String {
        const SHOWN: usize = 20;
        let state = self.watched.lock();
        let skipped = state.lines.len().saturating_sub(SHOWN);
        state
            .lines
            .iter()
            .skip(skipped)
            .map(|line| format!("\n  | {}", line.text))
            .collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exit().is_none() {
            // Where the environment is gone, so is the program.
            let _ = self.signal(Signal::Kill);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct NoControl;
    impl Control for NoControl {
        fn signal(&self, _: u64, _: Signal) -> Result<(), Error> {
            Ok(())
        }
    }

    fn process() -> (Process, PipeWriter) {
        let watched = Arc::new(Watched::default());
        let (reader, writer) = std::io::pipe().unwrap();
        watched.follow(reader, Stream::Out, None).unwrap();
        let process = Process {
            number: 1,
            name: "it".into(),
            pod: "here".into(),
            pid: 1,
            watched,
            control: Arc::new(NoControl),
            input: Mutex::new(None),
        };
        (process, writer)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn lines_are_found_once_and_in_order() {
        let (process, mut pipe) = process();
        pipe.write_all(b"one\r\ntwo\n\xff\nthree").unwrap();
        let (line, next) = process.line(0, LONG, |line| line.text == "two").unwrap();
        assert_eq!((line.stream, next), (Stream::Out, 2));
        // An end of the stream ends a line.
        drop(pipe);
        let (line, next) = process
            .line(next, LONG, |line| line.text.starts_with('t'))
            .unwrap();
        assert_eq!((line.text.as_str(), next), ("three", 4));
        process.watched.ended(Exit::Code(0), Nanos::now());
        let told = process.line(next, LONG, |_| true).unwrap_err().to_string();
        assert!(told.starts_with("it in pod here ended without"), "{told}");
        let all: Vec<String> = process.lines().into_iter().map(|line| line.text).collect();
        assert_eq!(all, ["one", "two", "\u{fffd}", "three"]);
        assert_eq!(process.wait(LONG).unwrap(), Exit::Code(0));
    }

    #[test]
    fn what_does_not_come_is_late() {
        let (process, _pipe) = process();
        let told = process.line(0, Duration::from_millis(1), |_| true);
        assert!(matches!(told, Err(Error::Late { .. })), "{told:?}");
        let told = process.wait(Duration::from_millis(1));
        assert!(matches!(told, Err(Error::Late { .. })), "{told:?}");
        // The first end is the one that counts.
        process.watched.ended(Exit::Signal(9), Nanos(1));
        process.watched.ended(Exit::Gone, Nanos(2));
        assert_eq!(process.exit(), Some((Exit::Signal(9), Nanos(1))));
        // Its stream is still open: the limit is waited for, and the end told.
        assert_eq!(
            process.wait(Duration::from_millis(1)).unwrap(),
            Exit::Signal(9)
        );
    }
}
