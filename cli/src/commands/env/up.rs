//! `meshproof env up`: an environment that stands until there is a reason to end.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use jiff::Timestamp;
use meshproof_harness::environment::Environment;
use meshproof_harness::mesh::{Mesh, MeshSpec, Setting};
use meshproof_harness::netns::Options;
use meshproof_harness::offline::fit;
use meshproof_harness::offline::text::parse_topology;
use meshproof_harness::scenario::shipped;
use meshproof_harness::standing::{self, Folder, Notice, Stop};
use meshproof_harness::sut::Suts;
use meshproof_harness::{Backend, Topology, pick};
use meshproof_record::store;

use super::{Runs, failure};
use crate::commands::setting;
use crate::exit::{self, Failure};

/// The last line of one that is kept in the background.
const READY: &str = "READY";

/// Bring up the pods of a topology, with all that runs in them
///
/// In the foreground until Ctrl-C, until its time is over, or until `env down`; with --detach in
/// the background.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit: 0 when it ended as it was told (Ctrl-C too), or stands with --detach; 1 when packets tried to
leave it, 2 for a topology that is wrong, 3 when it did not come up or ended by itself, 4 when this
machine allows none.

Examples:
  meshproof env up pair
  meshproof env up my-topology.yaml --detach --for 10m
  meshproof env up pair --sut mosn=./mosn --site public-cloud-like
  meshproof env up --pods client,server          two empty pods")]
pub(super) struct Args {
    /// A topology: the name of one that ships, a file, or a folder of `env from-capture`
    #[arg(value_name = "TOPOLOGY", required_unless_present = "pods")]
    topology: Option<String>,
    /// Pods with nothing in them, in place of a topology
    #[arg(
        long,
        value_name = "POD,…",
        value_delimiter = ',',
        conflicts_with = "topology"
    )]
    pods: Vec<String>,
    /// Stand in the background; needs --for
    #[arg(long, requires = "limit")]
    detach: bool,
    /// End after this long: 90s, 10m; at most a day
    #[arg(long = "for", value_name = "TIME", value_parser = setting::duration)]
    limit: Option<Duration>,
    /// What it is called [default: that of the topology]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Its folder: logs, and how others find it [default: a new one among the runs]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// This process is the one in the background
    #[arg(long, hide = true)]
    kept: bool,
    #[command(flatten)]
    setting: setting::SettingArgs,
    #[command(flatten)]
    runs: Runs,
}

/// What stands.
enum Held {
    Mesh(Box<Mesh>),
    Pods(Box<dyn Environment>),
}

impl Held {
    fn environment(&self) -> &dyn Environment {
        match self {
            Held::Mesh(mesh) => mesh.environment(),
            Held::Pods(environment) => environment.as_ref(),
        }
    }
}

pub(super) fn run(args: Args) -> Result<u8, Failure> {
    // What is wrong is told before anything is made.
    let (setting, suts) = args.setting.read()?;
    let spec = match &args.topology {
        Some(wanted) => Some(topology(wanted, &suts)?),
        None => None,
    };
    let folder = match &args.folder {
        Some(folder) => folder.clone(),
        None => {
            let line = std::env::args().collect();
            let start = store::start(env!("CARGO_PKG_VERSION"), line, 0, Timestamp::now());
            let run = store::default_folder(&start);
            args.runs.runs.join(run.file_name().unwrap_or_default())
        }
    };
    if args.detach && !args.kept {
        return detach(&folder);
    }
    if args.kept {
        // No terminal's signals from here on; it is the leader of a group already where it is.
        let _ = rustix::process::setsid();
    }
    keep(&args, spec, setting, &folder)
}

/// Has another process keep it, and waits until it stands.
fn detach(folder: &Path) -> Result<u8, Failure> {
    fs::create_dir_all(folder)
        .map_err(|error| Failure::Io(format!("the folder {}", folder.display()), error))?;
    let log = folder.join("env.log");
    let cannot = |error| Failure::Io(log.display().to_string(), error);
    let errors = File::create(&log).map_err(cannot)?;
    #[expect(
        clippy::disallowed_methods,
        reason = "the process that keeps an environment is started here"
    )]
    let mut command = std::process::Command::new("/proc/self/exe");
    let mut kept = command
        .args(std::env::args_os().skip(1))
        .args(["--kept", "--folder"])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::from(errors))
        .spawn()?;
    let said = kept.stdout.take();
    for line in said
        .into_iter()
        .flat_map(|pipe| BufReader::new(pipe).lines())
    {
        let line = line?;
        if line == READY {
            return Ok(exit::OK);
        }
        writeln!(io::stdout(), "{line}")?;
    }
    let status = kept.wait()?;
    let why = fs::read(&log).map_err(cannot)?;
    io::stderr().write_all(&why)?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.filter(|code| *code != 0).unwrap_or(exit::INVALID))
}

fn keep(args: &Args, spec: Option<MeshSpec>, setting: Setting, path: &Path) -> Result<u8, Failure> {
    let (stops, reasons) = mpsc::channel();
    let interrupted = Arc::new(AtomicBool::new(false));
    let stands = Arc::new(AtomicBool::new(false));
    {
        let (stops, interrupted, stands) =
            (stops.clone(), Arc::clone(&interrupted), Arc::clone(&stands));
        // Where no handler can be had, a signal ends us and so everything.
        let _ = ctrlc::set_handler(move || {
            if interrupted.swap(true, Ordering::Relaxed) || !stands.load(Ordering::Relaxed) {
                std::process::exit(i32::from(exit::INTERRUPTED));
            }
            let _ = stops.send(Stop::Interrupted);
        });
    }
    let folder = Folder::take(path).map_err(failure)?;
    let (held, name) = match rise(args, spec, setting, path) {
        Ok(held) => held,
        Err(Rise::Failed(error)) => {
            let failed = failure(error);
            return match failed {
                Failure::Usage(why) => {
                    writeln!(io::stderr(), "meshproof: {why}")?;
                    Ok(exit::INVALID)
                }
                other => Err(other),
            };
        }
        Err(Rise::Wrong(failure)) => return Err(failure),
    };
    let environment = held.environment();
    let now = u64::try_from(Timestamp::now().as_second()).unwrap_or(0);
    let notice = Notice {
        schema: 1,
        name: args.name.clone().unwrap_or(name),
        backend: environment.backend(),
        pid: std::process::id(),
        since_s: now,
        until_s: args.limit.map(|limit| now + limit.as_secs()),
        pods: environment.pods().to_vec(),
    };
    stands.store(true, Ordering::Relaxed);
    folder.announce(&notice).map_err(failure)?;
    say(args, &held, &notice, path)?;
    let stop = standing::stand(environment, &folder, args.limit, (stops, reasons));
    let stop = stop.map_err(failure)?;
    end(held, stop)
}

/// Why there is no environment.
enum Rise {
    /// What a person wrote.
    Wrong(Failure),
    /// What was tried.
    Failed(meshproof_harness::Error),
}

fn rise(
    args: &Args,
    spec: Option<MeshSpec>,
    setting: Setting,
    folder: &Path,
) -> Result<(Held, String), Rise> {
    let backend = args.setting.backend();
    let Some(spec) = spec else {
        let pods = Topology::new(args.pods.iter().map(String::as_str), None);
        let raised = pick::raise(&pods, backend, &Options::default()).map_err(Rise::Failed)?;
        return Ok((Held::Pods(raised.environment), "pods".to_owned()));
    };
    let logs = folder.join("logs");
    fs::create_dir_all(&logs)
        .map_err(|error| Rise::Wrong(Failure::Io(logs.display().to_string(), error)))?;
    let setting = Setting {
        folder: Some(logs),
        ..setting
    };
    let mesh = Mesh::up(&spec, &setting).map_err(Rise::Failed)?;
    Ok((Held::Mesh(Box::new(mesh)), spec.topology.clone()))
}

/// A topology that ships, or of a file.
fn topology(wanted: &str, suts: &Suts) -> Result<MeshSpec, Failure> {
    let (name, text) = match shipped::topology(wanted) {
        Some(text) => (wanted.to_owned(), text.to_owned()),
        None => {
            let path = Path::new(wanted);
            let inside = path.join("topology.yaml");
            if inside.is_file() {
                // An offline mesh names its files from where it stands.
                let (name, text) = setting::text(&inside)?;
                let here = std::path::absolute(path)?;
                let mut spec = parse_topology(&name, &text, &here.display().to_string())
                    .map_err(setting::diagnostic)?;
                fit::topology(&mut spec, suts.all()).map_err(failure)?;
                return Ok(spec);
            }
            if !path.is_file() {
                return Err(Failure::Usage(format!(
                    "there is no topology `{wanted}`; `meshproof run --list` shows those that \
                     ship, or a file can be named"
                )));
            }
            setting::text(path)?
        }
    };
    MeshSpec::parse(&name, &text, suts.all()).map_err(setting::diagnostic)
}

fn say(args: &Args, held: &Held, notice: &Notice, folder: &Path) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let made = match notice.backend {
        Backend::Netns => "namespaces",
        Backend::Process => "loopback addresses",
    };
    writeln!(
        out,
        "{} stands, of {made}: {}",
        notice.name,
        folder.display()
    )?;
    for pod in &notice.pods {
        let sidecar = match held {
            Held::Mesh(mesh) => mesh.sidecar_of(&pod.name).ok().flatten(),
            Held::Pods(_) => None,
        };
        let sidecar = sidecar.map_or(String::new(), |sut| format!("  sidecar {}", sut.sut));
        writeln!(
            out,
            "  {:<16} {:<12}{sidecar}",
            pod.name,
            pod.address.to_string()
        )?;
    }
    let first = notice.pods.first().map_or("POD", |pod| pod.name.as_str());
    writeln!(out, "run in it: meshproof env exec {first} -- sh")?;
    if args.kept {
        writeln!(out, "end it:    meshproof env down {}", notice.name)?;
        writeln!(out, "{READY}")?;
    } else {
        writeln!(out, "end it:    Ctrl-C")?;
    }
    out.flush()
}

/// Ends it, and says why and what tried to leave.
fn end(held: Held, stop: Stop) -> Result<u8, Failure> {
    let why = match stop {
        Stop::Asked => "as it was told",
        Stop::Limit => "since its time was over",
        Stop::Interrupted => "as you told it",
        Stop::Gone => {
            writeln!(io::stderr(), "meshproof: the environment ended by itself")?;
            return Ok(exit::INVALID);
        }
    };
    // Where it cannot be counted there is nothing to say.
    let escapes = held.environment().escapes().ok().unwrap_or_default();
    match held {
        Held::Mesh(mesh) => drop(mesh.down().map_err(failure)?),
        Held::Pods(environment) => environment.down().map_err(failure)?,
    }
    // Whoever started it may be gone.
    let _ = writeln!(io::stdout(), "it ended {why}");
    if escapes.packets > 0 {
        let packets = escapes.packets;
        let samples = escapes.samples.join("; ");
        let _ = writeln!(
            io::stderr(),
            "meshproof: {packets} packets tried to leave: {samples}"
        );
        return Ok(exit::FAIL);
    }
    Ok(exit::OK)
}
