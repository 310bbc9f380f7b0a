//! `meshproof proxy`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use comfy_table::Table;
use meshproof_proxy::edge::upgrade::Upgrade;
use meshproof_proxy::edge::{Ending, LogFile, Options, Proxy};
use meshproof_proxy::logs::{Levels, Logs};
use meshproof_proxy::{Bug, Bugs, Config};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::fmt::writer::MakeWriterExt;

use crate::exit::{self, Failure};

/// Names the file of bugs that are told to nobody.
const SEEDED: &str = "MESHPROOF_SEEDED";

/// Run the reference sidecar
///
/// From the network to the app (12200 to 12199), from the app to the network (12220), the
/// application API of SOFARPC (13330), and an admin interface on loopback. Prints one line when it
/// serves: `READY inbound=ADDRESS outbound=ADDRESS api=ADDRESS admin=ADDRESS`. Logs go to stderr,
/// and to a file where the configuration names one.
///
/// SIGTERM or Ctrl-C: off the config center, GoAway, finish what is in flight, end; a second one
/// ends at once. SIGHUP: read the configuration again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
docs/proxy.md says what stands in the configuration; `meshproof schema proxy` prints its schema.

Exit: 0 after a graceful end, 1 when it could not go on, 2 for a configuration that is wrong or a
port that is taken, 130 after a second signal.

Examples:
  meshproof proxy --config docs/proxy.yaml --check
  meshproof proxy --config sidecar.yaml
  meshproof proxy --config sidecar.yaml --upgrade
  meshproof proxy --config sidecar.yaml --bug heartbeat-ignored
  meshproof proxy --list-bugs")]
pub(crate) struct Args {
    /// The configuration (YAML)
    #[arg(long, value_name = "FILE", required_unless_present = "list_bugs")]
    config: Option<PathBuf>,
    /// Take over from the sidecar of the same name that runs, without an interruption: listeners,
    /// state and connections. Where none runs, start as usual
    #[arg(long)]
    upgrade: bool,
    /// Switch a seeded bug on; may be repeated
    #[arg(long, value_name = "NAME")]
    bug: Vec<Bug>,
    /// Print the seeded bugs and the incident that each stands for
    #[arg(long)]
    list_bugs: bool,
    /// Check the configuration, print what would be in force, and end
    #[arg(long, conflicts_with = "list_bugs")]
    check: bool,
}

/// Serves until it is told to stop.
pub(crate) fn run(args: Args) -> Result<u8, Failure> {
    let Some(path) = args.config.filter(|_| !args.list_bugs) else {
        return list_bugs();
    };
    let config = read(&path)?;
    let bugs: Bugs = args.bug.into_iter().collect();
    if args.check {
        let mut config = config;
        config.bugs = config
            .bugs
            .into_iter()
            .fold(bugs, Bugs::with)
            .iter()
            .collect();
        let text = serde_json::to_string_pretty(&config.to_json())
            .map_err(|error| Failure::Usage(error.to_string()))?;
        writeln!(io::stdout(), "{text}")?;
        return Ok(exit::OK);
    }
    let levels = Levels::of(&config.log).map_err(|error| Failure::Usage(error.to_string()))?;
    let log_file = config.log.file.clone().map(LogFile::new);
    let (logs, dispatch) = match &log_file {
        None => Logs::new(levels, io::stderr),
        Some(file) => Logs::new(levels, io::stderr.and(file.clone())),
    };
    // Everything that this process logs, also from threads that nobody told.
    let _ = tracing::dispatcher::set_global_default(dispatch.clone());
    meshproof_proxy::edge::raise_open_files(&config);
    let options = Options {
        upgrade: match args.upgrade {
            true => Upgrade::Wanted,
            false => Upgrade::Refused,
        },
        file: Some(path),
        logs: Some((logs, dispatch)),
        log_file,
        bugs,
        seeded: seeded()?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let code = runtime.block_on(serve(config, options));
    // A thread that waits for a sidecar which was not to be waited for.
    runtime.shutdown_background();
    code
}

/// Seeded bugs that a harness has on without anybody knowing: they stand in a file, a name on each
/// line, that is named by a variable and is gone as soon as it has been read.
fn seeded() -> Result<Bugs, Failure> {
    let Some(path) = std::env::var_os(SEEDED).map(PathBuf::from) else {
        return Ok(Bugs::default());
    };
    let cannot = |error| Failure::Io(format!("{SEEDED}={}", path.display()), error);
    let names = std::fs::read_to_string(&path).map_err(cannot)?;
    std::fs::remove_file(&path).map_err(cannot)?;
    let bugs = names.lines().map(str::parse::<Bug>);
    bugs.collect::<Result<_, _>>()
        .map_err(|error| Failure::Usage(format!("{SEEDED}: {error}")))
}

fn read(path: &Path) -> Result<Config, Failure> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| Failure::Io(name.clone(), error))?;
    let diagnostic = |problem| Failure::Diagnostic(Box::new(miette::Report::new(problem)));
    let text = meshproof_input::text(&name, bytes).map_err(diagnostic)?;
    Config::parse(&name, &text).map_err(diagnostic)
}

async fn serve(config: Config, options: Options) -> Result<u8, Failure> {
    // Before anybody is told that the sidecar is there: no signal is missed.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let running =
        Proxy::start(config, options).map_err(|error| Failure::Usage(error.to_string()))?;
    let at = running.addresses();
    {
        let mut out = io::stdout().lock();
        writeln!(
            out,
            "READY inbound={} outbound={} api={} admin={}",
            at.inbound, at.outbound, at.api, at.admin
        )?;
        out.flush()?;
    }
    let handle = running.handle();
    let mut ended = tokio::task::spawn_blocking(move || running.wait());
    let mut stopping = false;
    loop {
        let stop = tokio::select! {
            ending = &mut ended => {
                return match ending {
                    Ok(Ending::Failed(why)) => {
                        tracing::error!(target: "proxy::admin", why, "the sidecar has failed");
                        Ok(exit::FAIL)
                    }
                    Ok(_) => Ok(exit::OK),
                    Err(error) => Err(Failure::Usage(error.to_string())),
                };
            }
            _ = terminate.recv() => true,
            _ = interrupt.recv() => true,
            _ = hangup.recv() => false,
        };
        match (stop, stopping) {
            (false, _) => handle.reload(),
            (true, false) => {
                stopping = true;
                handle.drain();
            }
            (true, true) => return Ok(exit::INTERRUPTED),
        }
    }
}

fn list_bugs() -> Result<u8, Failure> {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["BUG", "INCIDENT"]);
    for bug in Bug::ALL {
        table.add_row([bug.name(), bug.incident()]);
    }
    let mut out = io::stdout().lock();
    for line in table.to_string().lines() {
        writeln!(out, "{}", line.trim())?;
    }
    Ok(exit::OK)
}
