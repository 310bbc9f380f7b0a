//! The keeper of a fault: our own executable run again, one thread, in the network of the fault.
//!
//! It makes the plan, does it, and holds it. It heals and ends when it is told to, when the time
//! is over, when the run has ended (the line hangs up, or its pidfd says so), when the run gives
//! no sign of life (SIGSTOP), and on SIGTERM, SIGINT and SIGHUP.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use meshproof_sys::clock::Nanos;
use meshproof_sys::descriptors::peer_process;
use meshproof_sys::namespaces::{Namespace, enter as enter_namespace};
use meshproof_sys::signals::Signals;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::choose::choose;
use crate::course::Course;
use crate::process::burner::{self, BURNER};
use crate::talk::{Line, Order, Word};
use crate::{Ending, Error, Evidence, Plan, Scene, backend, soak};

/// The first argument of a stage; the second is its name.
const STAGE: &str = "__fault";

const KEEPER: &str = "keeper";

const AT: &str = "at";

/// The arguments that make our own executable a keeper; the name of the lease is for those who
/// look at processes.
pub(crate) fn arguments(lease: &str) -> Vec<OsString> {
    vec![STAGE.into(), KEEPER.into(), lease.into()]
}

/// The lease of a keeper, by the words of its command line; none: it is none.
pub(crate) fn lease_of(words: &[u8]) -> Option<String> {
    let mut words = words.split(|byte| *byte == 0);
    words.find(|word| *word == STAGE.as_bytes())?;
    words.next().filter(|word| *word == KEEPER.as_bytes())?;
    Some(String::from_utf8_lossy(words.next()?).into_owned())
}

/// The arguments that make our own executable a stage of this name.
pub(crate) fn arguments_of(stage: &str) -> Vec<OsString> {
    vec![STAGE.into(), stage.into()]
}

/// Runs a stage, where the arguments (without the program's own name) ask for one: the first
/// thing that `main` does, before there is any other thread.
pub fn stage(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    if arguments.next()? != STAGE {
        return None;
    }
    let name = arguments.next().unwrap_or_default();
    if name == AT {
        return Some(ExitCode::from(at(arguments)));
    }
    if name == BURNER {
        return Some(ExitCode::from(burner::run(arguments)));
    }
    if name == soak::run::RUN {
        return Some(ExitCode::from(soak::run::run(arguments)));
    }
    if name == soak::run::TARGET {
        return Some(ExitCode::from(soak::run::target()));
    }
    Some(ExitCode::from(run(&name)))
}

/// The arguments that make our own executable run itself with `arguments` in the network of a
/// process.
pub fn arguments_at(pid: u32, arguments: Vec<OsString>) -> Vec<OsString> {
    let mut all = vec![STAGE.into(), AT.into(), pid.to_string().into()];
    all.extend(arguments);
    all
}

/// Enters the network of a process and becomes our own executable again.
#[expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "this process becomes another, and tells a person why it could not"
)]
fn at(mut arguments: impl Iterator<Item = OsString>) -> u8 {
    const USAGE: u8 = 2;
    const UNSUPPORTED: u8 = 4;
    let pid = arguments.next().unwrap_or_default();
    let Some(pid) = pid.to_str().and_then(|pid| pid.parse::<u32>().ok()) else {
        return USAGE;
    };
    if let Err(error) = enter(pid) {
        if error.kind() == io::ErrorKind::NotFound {
            eprintln!("meshproof: there is no process {pid}");
            return USAGE;
        }
        eprintln!(
            "meshproof: UNSUPPORTED(machine): the network of process {pid}: {error}; \
             run as root, or as the user who made it"
        );
        return UNSUPPORTED;
    }
    let error = Command::new("/proc/self/exe").args(arguments).exec();
    eprintln!("meshproof: running itself: {error}");
    USAGE
}

fn enter(pid: u32) -> io::Result<()> {
    let open = |kind: &str| File::open(format!("/proc/{pid}/ns/{kind}"));
    let network = open("net")?;
    match enter_namespace(Namespace::Network, &network) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            // An ordinary user has rights in the user namespace that they made.
            enter_namespace(Namespace::User, open("user")?)?;
            enter_namespace(Namespace::Network, &network)
        }
        other => other,
    }
}

fn run(name: &OsStr) -> u8 {
    const USAGE: u8 = 2;
    // Only a person who tries it comes here without.
    if name != KEEPER {
        return USAGE;
    }
    let Ok(line) = line() else {
        return USAGE;
    };
    match Keeper::new(line).and_then(|mut keeper| keeper.run()) {
        Ok(()) => 0,
        // A run that is gone needs no reason, and to another it was said.
        Err(_) => 1,
    }
}

fn line() -> io::Result<Line> {
    let fd = io::stdin().as_fd().try_clone_to_owned()?;
    rustix::net::sockopt::socket_type(&fd)?;
    let socket = UnixStream::from(fd);
    // A run that stands still reads nothing, and must not hold up the healing.
    socket.set_write_timeout(Some(Duration::from_secs(1)))?;
    Ok(Line::new(socket))
}

struct Keeper {
    line: Line,
    signals: Signals,
    standby: Option<(Plan, usize, Scene)>,
    held: Option<Held>,
}

/// A fault in force.
struct Held {
    course: Course,
    /// Why its schedule could not be kept.
    broken: Option<Error>,
    since: Nanos,
    until: Nanos,
    silence: Duration,
    heard: Nanos,
}

/// What ended a wait.
enum Event {
    Said,
    Ends(Ending),
    Nothing,
}

impl Keeper {
    fn new(line: Line) -> io::Result<Keeper> {
        Ok(Keeper {
            line,
            signals: Signals::of_the_end()?,
            standby: None,
            held: None,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let run = peer_process(self.line.socket())?
            // One that is in no namespace of ours has no number here; then the line alone tells.
            .and_then(|pid| i32::try_from(pid).ok())
            .and_then(Pid::from_raw)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        loop {
            let ending = match self.wait(run.as_ref().map(AsFd::as_fd))? {
                Event::Nothing => continue,
                Event::Ends(ending) => ending,
                Event::Said => match self.listen()? {
                    Some(ending) => ending,
                    None => continue,
                },
            };
            return self.end(ending);
        }
    }

    fn wait(&mut self, run: Option<std::os::fd::BorrowedFd<'_>>) -> io::Result<Event> {
        let now = Nanos::now();
        let mut next = None::<Nanos>;
        if let Some(held) = &mut self.held {
            let silent = held.heard + held.silence;
            if now >= held.until {
                return Ok(Event::Ends(Ending::Limit));
            }
            let due = match held.course.step(now) {
                Ok(due) => due,
                Err(error) => {
                    held.broken = Some(error);
                    return Ok(Event::Ends(Ending::Limit));
                }
            };
            if held.course.is_over() {
                return Ok(Event::Ends(Ending::Limit));
            }
            next = [Some(held.until), Some(silent), due]
                .into_iter()
                .flatten()
                .min();
        }
        // The tick may have taken a while.
        let now = Nanos::now();
        let timeout =
            next.and_then(|at| Timespec::try_from(Duration::from_nanos(at.since(now))).ok());
        let mut watched = vec![
            PollFd::from_borrowed_fd(self.line.socket().as_fd(), PollFlags::IN),
            PollFd::new(&self.signals, PollFlags::IN),
        ];
        watched.extend(run.map(|run| PollFd::from_borrowed_fd(run, PollFlags::IN)));
        // These end the wait, and no more: the next one begins with a tick.
        let of_hold = self.held.iter().flat_map(|held| held.course.watched());
        watched.extend(of_hold.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        match poll(&mut watched, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = watched.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(watched);
        let [said, told, third] = [0, 1, 2].map(|at| ready.get(at) == Some(&true));
        let gone = run.is_some() && third;
        if told {
            return Ok(Event::Ends(Ending::Told));
        }
        // What it said before it went counts: it may have been an order to heal.
        if said {
            return Ok(Event::Said);
        }
        if gone {
            return Ok(Event::Ends(Ending::RunGone));
        }
        let now = Nanos::now();
        match &self.held {
            Some(held) if now >= held.until => Ok(Event::Ends(Ending::Limit)),
            Some(held) if now >= held.heard + held.silence => Ok(Event::Ends(Ending::RunSilent)),
            _ => Ok(Event::Nothing),
        }
    }

    /// Reads what was said and answers it; why it is over, where it is.
    fn listen(&mut self) -> io::Result<Option<Ending>> {
        if !self.line.fill()? {
            return Ok(Some(Ending::RunGone));
        }
        while let Some(order) = self.line.take::<Order>()? {
            if let Some(held) = &mut self.held {
                held.heard = Nanos::now();
            }
            let answer = match order {
                Order::Beat => continue,
                Order::Heal => return Ok(Some(Ending::Healed)),
                Order::Plan { spec, scene } => {
                    choose(&backend::all(), &spec, &scene).map(|(index, plan)| {
                        self.standby = Some((plan.clone(), index, scene));
                        Word::Planned(Box::new(plan))
                    })
                }
                Order::Apply {
                    limit_ms,
                    silence_ms,
                } => self.apply(limit_ms, silence_ms),
                Order::Evidence => self.evidence().map(Word::Met),
            };
            let answer = answer.unwrap_or_else(refusal);
            self.line.send(&answer)?;
        }
        Ok(None)
    }

    fn apply(&mut self, limit_ms: u64, silence_ms: u64) -> Result<Word, Error> {
        let Some((plan, index, scene)) = self.standby.take() else {
            return Err(Error::Refused("there is no plan, or it was done".into()));
        };
        let backend = backend::all().into_iter().nth(index);
        let backend = backend.ok_or_else(|| Error::Refused("its way is gone".into()))?;
        let course = Course::begin(backend, plan, scene, Nanos::now())?;
        // Of one that begins later: when that was asked for.
        let now = Nanos::now();
        self.held = Some(Held {
            course,
            broken: None,
            since: now,
            until: now + Duration::from_millis(limit_ms),
            silence: Duration::from_millis(silence_ms),
            heard: now,
        });
        Ok(Word::Applied { at_ns: now.0 })
    }

    fn evidence(&mut self) -> Result<Evidence, Error> {
        let Some(held) = &mut self.held else {
            return Err(Error::Refused("no fault is in force".into()));
        };
        let evidence = held.course.evidence()?;
        Ok(Evidence {
            since_ns: held.since.0,
            ..evidence
        })
    }

    /// Heals what is held, says what came of it, and is done.
    fn end(&mut self, ending: Ending) -> io::Result<()> {
        let Some(mut held) = self.held.take() else {
            return Ok(());
        };
        // What is told of it then, and its rules, end together.
        let healed = held.course.heal();
        let evidence = held.course.evidence();
        let word = match (evidence, healed) {
            (Ok(_), Ok(_)) if held.broken.is_some() => refusal(
                held.broken
                    .take()
                    .unwrap_or_else(|| Error::Gone(String::new())),
            ),
            (Ok(evidence), Ok(residue)) => Word::Healed {
                evidence: Evidence {
                    since_ns: held.since.0,
                    until_ns: Some(Nanos::now().0),
                    ending: Some(ending),
                    ..evidence
                },
                residue,
            },
            (Err(error), _) | (_, Err(error)) => refusal(error),
        };
        self.line.send(&word)
    }
}

fn refusal(error: Error) -> Word {
    match error {
        Error::Unsupported { missing, advice } => Word::Unsupported { missing, advice },
        other => Word::Refused {
            why: other.to_string(),
        },
    }
}
