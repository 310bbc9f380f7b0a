//! `meshproof env exec`: a command in a pod, as if it ran here.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use meshproof_harness::environment::Program;
use meshproof_harness::process::{Exit, Signal};
use meshproof_harness::standing::{self, Exec, Session, Standing};
use tokio::signal::unix::{SignalKind, signal};

use super::terminal::{self, Pair};
use super::{Runs, failure};
use crate::exit::{self, Failure};

/// Run a command in a pod
///
/// It has the pod's network, names and processes, this machine's files, and the input and output
/// of this command. Signals reach it, and it ends with this command. Where input and output are a
/// terminal, it has one of its own: shells, editors and Ctrl-C work as they do here.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit: that of the command, 128 and the signal's number where one ended it, 2 when there is no such
environment, pod or command, 3 when the environment ended first.

Examples:
  meshproof env exec client -- curl -s http://server:12230/api/v1/states
  meshproof env exec server -- ss -tlnp
  meshproof env exec server -- sh
  meshproof env exec --env pair server -- tcpdump -Z root -ni any port 12200")]
pub(super) struct Args {
    /// The pod
    #[arg(value_name = "POD")]
    pod: String,
    /// The command and its arguments
    #[arg(value_name = "CMD", required = true, last = true)]
    command: Vec<String>,
    #[command(flatten)]
    wanted: Wanted,
}

/// Which environment.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Wanted {
    /// Its name, or its folder's; default: the only one that stands
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    #[command(flatten)]
    runs: Runs,
}

impl Wanted {
    pub(crate) fn find(&self) -> Result<Standing, Failure> {
        standing::find(&self.runs.runs, self.env.as_deref()).map_err(failure)
    }
}

pub(super) fn run(args: Args) -> Result<u8, Failure> {
    let standing = args.wanted.find()?;
    let (program, arguments) = args
        .command
        .split_first()
        .ok_or_else(|| Failure::Usage("no command is named".to_owned()))?;
    let program = Program::Named(program.into());
    let exec = order(&args.pod, program, arguments.to_vec());
    match terminal::is_wanted() {
        true => ended(&standing.folder, exec.at_a_terminal(), Some(Pair::open()?)),
        false => ended(&standing.folder, exec, None),
    }
}

/// Runs a program in a pod with our streams, passes signals on, and gives back its exit code.
pub(crate) fn relayed(
    folder: &Path,
    pod: &str,
    program: Program,
    arguments: Vec<String>,
) -> Result<u8, Failure> {
    ended(folder, order(pod, program, arguments), None)
}

fn order(pod: &str, program: Program, arguments: Vec<String>) -> Exec {
    // Of ours, what concerns the terminal and where programs are found.
    const PASSED: [&str; 7] = [
        "PATH", "TERM", "LANG", "LC_ALL", "COLUMNS", "LINES", "NO_COLOR",
    ];
    let variables = PASSED
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
        .collect();
    let name = match &program {
        Program::Own => "meshproof".to_owned(),
        Program::Named(path) => path.display().to_string(),
    };
    Exec {
        pod: pod.to_owned(),
        name,
        program,
        arguments,
        variables,
        directory: std::env::current_dir().ok(),
    }
}

/// Runs it, at a terminal of its own or with our streams.
fn ended(folder: &Path, exec: Exec, pair: Option<Pair>) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(watch(folder, exec, pair));
    runtime.shutdown_background();
    match ended? {
        Exit::Code(code) => Ok(u8::try_from(code).unwrap_or(u8::MAX)),
        Exit::Signal(number) => Ok(u8::try_from(128 + number).unwrap_or(u8::MAX)),
        Exit::Gone => {
            writeln!(io::stderr(), "meshproof: the environment ended first")?;
            Ok(exit::INVALID)
        }
    }
}

fn start(folder: &Path, exec: Exec, pair: Option<&Pair>) -> Result<Session, Failure> {
    let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
    let streams = match pair {
        Some(pair) => pair.streams(&error),
        None => [input.as_fd(), output.as_fd(), error.as_fd()],
    };
    standing::exec(folder, exec, streams).map_err(failure)
}

async fn watch(folder: &Path, exec: Exec, pair: Option<Pair>) -> Result<Exit, Failure> {
    /// For what was printed to be shown; only a terminal that takes nothing needs as long.
    const SHOWN: Duration = Duration::from_secs(2);
    // Before the command runs: no signal is missed.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut quit = signal(SignalKind::quit())?;
    let mut window = signal(SignalKind::window_change())?;
    let mut one = signal(SignalKind::user_defined1())?;
    let mut two = signal(SignalKind::user_defined2())?;
    let session = start(folder, exec, pair.as_ref())?;
    let mut joined = pair.map(Pair::join).transpose()?;
    let waiting = session.clone();
    let mut ended = tokio::task::spawn_blocking(move || waiting.wait());
    loop {
        let signal = tokio::select! {
            ended = &mut ended => {
                let ended = ended.map_err(|error| Failure::Usage(error.to_string()))?;
                if let Some(joined) = &mut joined {
                    let _ = tokio::time::timeout(SHOWN, joined.shown()).await;
                }
                return ended.map_err(failure);
            }
            _ = terminate.recv() => Signal::Terminate,
            _ = interrupt.recv() => Signal::Interrupt,
            _ = hangup.recv() => Signal::HangUp,
            _ = quit.recv() => Signal::Quit,
            _ = window.recv() => match &joined {
                // Of that, the kernel tells whoever is in front.
                Some(joined) => {
                    joined.resize();
                    continue;
                }
                None => Signal::Window,
            },
            _ = one.recv() => Signal::User1,
            _ = two.recv() => Signal::User2,
        };
        // It may end at this very moment: then the wait says so.
        let _ = session.signal(signal);
    }
}
