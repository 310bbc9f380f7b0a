//! The run's side of a fault: it asks, beats, and heals.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use meshproof_sys::clock::Nanos;

use crate::spec::FOR_MS_MAX;
use crate::talk::{self, Line, Order, Word};
use crate::{Error, Evidence, Plan, Residue, Scene, Spec, keeper};

/// Between two signs of life of the run.
pub const BEAT: Duration = Duration::from_millis(250);

/// A run that was silent for so long is stopped, or hangs: its faults are healed.
pub const SILENCE: Duration = Duration::from_secs(5);

/// Where a fault is: whoever starts a keeper there.
pub trait Ground {
    /// Starts our own executable with these arguments, and with `line` as its standard input, in
    /// the network where the fault is to be. What is returned waits for its end when it is
    /// dropped; the line has ended then.
    fn start(&self, arguments: Vec<OsString>, line: OwnedFd) -> Result<Box<dyn Send>, Error>;
}

/// The network of this process.
#[derive(Clone, Debug)]
pub struct Here {
    /// The program whose `main` calls [`keeper::stage`] first, and what is to stand in front of
    /// it.
    pub program: Vec<OsString>,
}

impl Default for Here {
    fn default() -> Here {
        Here {
            program: vec!["/proc/self/exe".into()],
        }
    }
}

impl Ground for Here {
    #[expect(
        clippy::disallowed_methods,
        reason = "keepers of this process's network are started here"
    )]
    fn start(&self, arguments: Vec<OsString>, line: OwnedFd) -> Result<Box<dyn Send>, Error> {
        let (first, rest) = self
            .program
            .split_first()
            .ok_or_else(|| Error::Refused("no program is named to keep faults".into()))?;
        // Ctrl-C on the terminal is the run's business.
        let child = Command::new(first)
            .args(rest)
            .args(arguments)
            .stdin(Stdio::from(line))
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(Error::io("starting a keeper"))?;
        Ok(Box::new(Reaped(child)))
    }
}

/// A child that is waited for.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        // How it ended has been said on the line.
        let _ = self.0.wait();
    }
}

/// What is to go wrong, for whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What.
    pub spec: Spec,
    /// Where and for whom.
    pub scene: Scene,
}

impl Fault {
    /// What would be done, found out at its place by a keeper that stands by. Nothing is changed.
    pub fn preflight(&self, ground: &dyn Ground) -> Result<Standby, Error> {
        let (ours, theirs) = UnixStream::pair().map_err(Error::io("a socket pair"))?;
        let keeper = ground.start(keeper::arguments(&self.scene.lease), theirs.into())?;
        let mut keeping = Keeping {
            line: Line::new(ours),
            keeper: Some(keeper),
        };
        let answer = keeping.ask(&Order::Plan {
            spec: self.spec.clone(),
            scene: self.scene.clone(),
        })?;
        match answer {
            Word::Planned(plan) => Ok(Standby {
                plan: *plan,
                keeping,
            }),
            other => Err(unexpected(&other)),
        }
    }
}

/// A keeper that has made a plan, and has changed nothing. Dropping it ends the keeper.
pub struct Standby {
    plan: Plan,
    keeping: Keeping,
}

impl Standby {
    /// What would be done.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Does it, for `limit` at most; a day at the longest. What could not be done wholly is not
    /// done at all.
    pub fn apply(mut self, limit: Duration) -> Result<Lease, Error> {
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        if limit_ms == 0 || limit_ms > FOR_MS_MAX {
            return Err(Error::Refused(format!(
                "a fault for {limit_ms} ms: expected 1 ms to a day"
            )));
        }
        let answer = self.keeping.ask(&Order::Apply {
            limit_ms,
            silence_ms: SILENCE.as_millis() as u64,
        })?;
        let Word::Applied { at_ns } = answer else {
            return Err(unexpected(&answer));
        };
        let heart = Heart::start(self.keeping.line.socket())
            .map_err(Error::io("a thread for signs of life"))?;
        Ok(Lease {
            plan: self.plan,
            since: Nanos(at_ns),
            over: None,
            heart: Some(heart),
            keeping: self.keeping,
        })
    }
}

/// A fault in force. It ends when this is dropped, when this process ends or stands still, and
/// when its time is over.
pub struct Lease {
    plan: Plan,
    since: Nanos,
    over: Option<Healed>,
    heart: Option<Heart>,
    keeping: Keeping,
}

/// A fault that is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Healed {
    /// What met it in all its time, and why it ended.
    pub evidence: Evidence,
    /// What is left of it, after having looked.
    pub residue: Residue,
}

impl Lease {
    /// What was done.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// When it came into force: not before this moment.
    pub fn since(&self) -> Nanos {
        self.since
    }

    /// What met it until now; where it is over already, in all its time.
    pub fn evidence(&mut self) -> Result<Evidence, Error> {
        if let Some(over) = &self.over {
            return Ok(over.evidence.clone());
        }
        match self.keeping.ask(&Order::Evidence)? {
            Word::Met(evidence) => Ok(evidence),
            Word::Healed { evidence, residue } => {
                self.over = Some(Healed {
                    evidence: evidence.clone(),
                    residue,
                });
                Ok(evidence)
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Takes it away and looks for what is left. One that has ended by itself tells of that.
    pub fn heal(mut self) -> Result<Healed, Error> {
        if let Some(over) = self.over.take() {
            return Ok(over);
        }
        match self.keeping.ask(&Order::Heal)? {
            Word::Healed { evidence, residue } => Ok(Healed { evidence, residue }),
            other => Err(unexpected(&other)),
        }
    }

    /// Waits until it has ended by itself: its time was over, or somebody told its keeper to end.
    pub fn wait(mut self) -> Result<Healed, Error> {
        if let Some(over) = self.over.take() {
            return Ok(over);
        }
        match self.keeping.hear()? {
            Word::Healed { evidence, residue } => Ok(Healed { evidence, residue }),
            other => Err(unexpected(&other)),
        }
    }

    /// A descriptor that is readable once the fault has ended by itself.
    pub fn watch(&self) -> io::Result<OwnedFd> {
        Ok(self.keeping.line.socket().try_clone()?.into())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Before the line is hung up.
        self.heart.take();
    }
}

fn unexpected(word: &Word) -> Error {
    Error::Gone(format!("it said what was not asked for: {word:?}"))
}

/// A keeper, and the line to it.
struct Keeping {
    line: Line,
    keeper: Option<Box<dyn Send>>,
}

impl Keeping {
    fn ask(&mut self, order: &Order) -> Result<Word, Error> {
        // One that has ended by itself has said so, and reads no more: its word counts.
        let sent = self.line.send(order);
        match self.hear() {
            Err(Error::Gone(why)) => Err(match sent {
                Ok(()) => Error::Gone(why),
                Err(error) => Error::Gone(format!("{why} ({error})")),
            }),
            other => other,
        }
    }

    fn hear(&mut self) -> Result<Word, Error> {
        match self.line.receive::<Word>() {
            Ok(Some(Word::Unsupported { missing, advice })) => {
                Err(Error::Unsupported { missing, advice })
            }
            Ok(Some(Word::Refused { why })) => Err(Error::Refused(why)),
            Ok(Some(word)) => Ok(word),
            Ok(None) => Err(Error::Gone(
                "it hung up; what the kernel does not take away, `meshproof fault heal` does"
                    .into(),
            )),
            Err(error) => Err(Error::io("the line to the keeper")(error)),
        }
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        // It may have ended already. What it holds it heals now, and then it ends.
        let _ = self.line.socket().shutdown(std::net::Shutdown::Both);
        self.keeper.take();
    }
}

/// The thread that says, from time to time, that this process runs.
struct Heart {
    over: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Heart {
    fn start(socket: &UnixStream) -> io::Result<Heart> {
        let socket = socket.try_clone()?;
        let (over, told) = mpsc::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("fault".into())
            .spawn(move || {
                while told.recv_timeout(BEAT) == Err(mpsc::RecvTimeoutError::Timeout) {
                    if talk::send(&socket, &Order::Beat).is_err() {
                        break;
                    }
                }
            })?;
        Ok(Heart {
            over: Some(over),
            thread: Some(thread),
        })
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.over.take();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}
