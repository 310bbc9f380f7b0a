//! From the program to the supervisor: each stage is our own executable run again.
//!
//! ```text
//! holder ── life line ──> outer: one thread; leaves the namespaces; watches the life line
//!                           └─> pid 1: one thread; mounts; reaps; ends with the supervisor
//!                                 └─> supervisor: links, pods, programs
//! ```
//! Whoever of them dies takes the rest along. The holder's death ends the life line, which outer
//! and the supervisor both watch. Outer's death is pid 1's, by the kernel (outer has one thread,
//! so the signal for the death of a parent means the process). Pid 1's death is that of every
//! process in its namespace; the networks go with the last of them.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;

use meshproof_sys::mounts;
use meshproof_sys::namespaces::{self, Identity, Namespace, unshare};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, wait};

use super::line::Line;
use super::pod::DISK;
use super::supervisor;
use super::talk::Word;
use crate::standing::terminal;
use crate::{doctor, loopback};

/// The first argument of a stage; the second is its name.
pub(crate) const STAGE: &str = "__environment";

/// The first stage of an environment of namespaces.
pub(super) const OUTER: &str = "outer";

/// What stands under this is the environment's own.
pub(super) const FOLDER: &str = "/run/meshproof";

/// Why there will be no environment.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The machine does not allow it.
    Unsupported { missing: String, advice: String },
    /// Something else.
    Failed(String),
}

impl Refusal {
    pub(crate) fn failed(what: &str) -> impl FnOnce(io::Error) -> Refusal {
        move |error| Refusal::Failed(format!("{what}: {error}"))
    }

    /// EPERM and its like are the machine's word; anything else is not.
    pub(crate) fn denied(missing: &str, advice: &str) -> impl FnOnce(io::Error) -> Refusal {
        move |error| {
            // ENOSYS, EINVAL: the kernel was built without. ENOSPC, EUSERS: none are allowed.
            let machine = matches!(
                error.raw_os_error(),
                Some(1 | 13 | 22 | 28 | 38 | 87 | 93 | 95 | 97)
            ) || error.kind() == io::ErrorKind::PermissionDenied;
            if machine {
                Refusal::Unsupported {
                    missing: format!("{missing} ({error})"),
                    advice: advice.to_owned(),
                }
            } else {
                Refusal::Failed(format!("{missing}: {error}"))
            }
        }
    }

    fn word(self) -> Word {
        match self {
            Refusal::Unsupported { missing, advice } => Word::Unsupported { missing, advice },
            Refusal::Failed(why) => Word::Failed { why },
        }
    }
}

/// Runs a stage, where the arguments (without the program's own name) ask for one: the first
/// thing that `main` does, before there is any other thread.
pub fn stage(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    if arguments.next()? != STAGE {
        return None;
    }
    let name = arguments.next().unwrap_or_default();
    if name == loopback::STARTER {
        return Some(ExitCode::from(loopback::starter(arguments)));
    }
    if name == terminal::TERMINAL {
        return Some(ExitCode::from(terminal::stage(arguments)));
    }
    if name == terminal::ASIDE {
        return Some(ExitCode::SUCCESS);
    }
    if name == doctor::TRIAL {
        let what = arguments.next();
        let what = what.as_deref().and_then(OsStr::to_str);
        return Some(ExitCode::from(doctor::trial(what)));
    }
    Some(ExitCode::from(run(&name, arguments)))
}

fn run(name: &OsStr, arguments: impl Iterator<Item = OsString>) -> u8 {
    const USAGE: u8 = 2;
    // Only a person who tries it comes here without.
    let Ok(line) = Line::of_stdin().map(Arc::new) else {
        return USAGE;
    };
    let outcome = match name.to_str() {
        Some(OUTER) => outer(&line),
        Some("init") => init(&line),
        Some("supervisor") => supervisor::run(&line),
        Some(name @ (loopback::GUARD | loopback::KEEPER)) => {
            loopback::stage(name, arguments, &line)
        }
        _ => return USAGE,
    };
    match outcome {
        Ok(code) => code,
        Err(refusal) => {
            // A holder that is gone needs no reason.
            let _ = line.send(&refusal.word(), &[]);
            1
        }
    }
}

/// The arguments that make `program` this stage, the first one.
pub(super) fn first(program: &[OsString], stage: &str) -> Option<Command> {
    let (first, rest) = program.split_first()?;
    let mut command = command(first);
    command.args(rest).args([STAGE, stage]);
    Some(command)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the stages of an environment are started here"
)]
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    Command::new(program)
}

/// Our own executable, as whatever stage; the life line is its standard input.
fn next(name: &str) -> io::Result<Child> {
    command("/proc/self/exe")
        .args([STAGE, name])
        .stdin(Stdio::inherit())
        .stdout(Stdio::null())
        .spawn()
}

/// What to do where namespaces are forbidden.
pub(crate) const ADVICE_NAMESPACES: &str = "run as root, or let users have namespaces: \
    `sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000 \
    kernel.apparmor_restrict_unprivileged_userns=0`; in a container, \
    `docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined`";

/// Makes the namespaces; stays as the parent of pid 1.
fn outer(line: &Line) -> Result<u8, Refusal> {
    leave()?;
    let mut init = next("init").map_err(Refusal::failed("starting pid 1"))?;
    watch(line, &mut init).map_err(Refusal::failed("watching pid 1"))
}

fn leave() -> Result<(), Refusal> {
    const KINDS: [Namespace; 5] = [
        Namespace::Mount,
        Namespace::Pid,
        Namespace::Network,
        Namespace::HostName,
        Namespace::Ipc,
    ];
    let privileged =
        namespaces::privileged().map_err(Refusal::failed("asking for capabilities"))?;
    if privileged {
        return unshare(&KINDS).map_err(Refusal::denied("namespaces", ADVICE_NAMESPACES));
    }
    let identity = Identity::of_this_process();
    let kinds = [&[Namespace::User], KINDS.as_slice()].concat();
    unshare(&kinds).map_err(Refusal::denied("user namespaces", ADVICE_NAMESPACES))?;
    identity.becomes_root().map_err(Refusal::denied(
        "a map of user ids for its namespace",
        ADVICE_NAMESPACES,
    ))
}

/// Until pid 1 has ended, and with it everything in its namespace.
fn watch(line: &Line, init: &mut Child) -> io::Result<u8> {
    let pid = Pid::from_child(init);
    let handle = pidfd_open(pid, PidfdFlags::empty())?;
    loop {
        let mut watched = [
            PollFd::new(&handle, PollFlags::IN),
            // Not what is said on it, which is for the supervisor; its end alone.
            PollFd::from_borrowed_fd(line.as_fd(), PollFlags::RDHUP),
        ];
        match poll(&mut watched, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [ended, hung_up] = watched.map(|fd| !fd.revents().is_empty());
        if hung_up && !ended {
            // It may end at this very moment.
            let _ = pidfd_send_signal(&handle, Signal::KILL);
        }
        if ended || hung_up {
            let status = init.wait()?;
            let code = status.code().or(status.signal().map(|signal| signal + 128));
            return Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1));
        }
    }
}

/// Pid 1.
fn init(line: &Line) -> Result<u8, Refusal> {
    // Outer may have died a moment ago: then nobody sends the signal, and the end of the life
    // line, which the holder closes when outer is gone, is what ends this.
    namespaces::die_with_parent().map_err(Refusal::failed("asking for the parent's death"))?;
    mount(line)?;
    let supervisor = next("supervisor").map_err(Refusal::failed("starting the supervisor"))?;
    let supervisor = Pid::from_child(&supervisor);
    loop {
        // Of the others, whose parents are gone, nobody wants to know how they ended.
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == supervisor => {
                let code = status
                    .exit_status()
                    .and_then(|code| u8::try_from(code).ok());
                return Ok(code.unwrap_or(1));
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(Refusal::failed("reaping")(error.into())),
        }
    }
}

fn mount(line: &Line) -> Result<(), Refusal> {
    mounts::make_private().map_err(Refusal::denied(
        "mounts within a user namespace",
        ADVICE_NAMESPACES,
    ))?;
    if let Err(error) = mounts::proc() {
        let text = format!("/proc shows the processes outside: {error}");
        // A holder that is gone needs no note.
        let _ = line.send(&Word::Note { text }, &[]);
    }
    // Where they lead must be asked before the mount on /run hides it.
    let names = mounts::leads_to(Path::new("/etc/resolv.conf"));
    let hosts = mounts::leads_to(Path::new("/etc/hosts"));
    mounts::tmpfs(Path::new("/run")).map_err(Refusal::denied("a tmpfs", ADVICE_NAMESPACES))?;
    let folder = Path::new(FOLDER);
    let write = |at: &Path, what: &str| {
        at.parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(at, what))
            .map_err(Refusal::failed(&format!("writing {}", at.display())))
    };
    fs::create_dir_all(DISK).map_err(Refusal::failed("the folder of pods' disks"))?;
    for (at, own) in [(&names, RESOLV), (&hosts, HOSTS)] {
        let own = folder.join(own);
        write(&own, "")?;
        if at.starts_with("/run") {
            write(at, "")?;
        }
        mounts::replace_file(at, &own).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                Refusal::Unsupported {
                    missing: format!("the file {}", at.display()),
                    advice: format!("make an empty one: `touch {}`", at.display()),
                }
            } else {
                Refusal::denied("bind mounts", ADVICE_NAMESPACES)(error)
            }
        })?;
    }
    Ok(())
}

/// Our `/etc/resolv.conf`, below [`FOLDER`].
pub(super) const RESOLV: &str = "resolv.conf";

/// Our `/etc/hosts`, below [`FOLDER`].
pub(super) const HOSTS: &str = "hosts";
