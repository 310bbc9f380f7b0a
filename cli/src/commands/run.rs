//! `meshproof run`.

mod files;
mod keep;
mod print;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use meshproof_harness::environment::Environment;
use meshproof_harness::mesh::Setting;
use meshproof_harness::scenario::suite::{self, Job, Options};
use meshproof_harness::scenario::{Story, prove, shipped};
use meshproof_harness::sut::Suts;
use meshproof_proxy::Bug;
use meshproof_record::case::{Case, CaseKind, Choice};
use meshproof_record::event::Event;
use meshproof_record::store::{self, Ending, StoreError, Writer};
use meshproof_record::verdict::{Claim, End, OnUnsupported, Verdict};

use super::report::{Format, Saying, say};
use super::setting::SettingArgs;
use crate::exit::{self, Failure};
use crate::live::Live;

/// The folder within the record where the captures of stories that ship stand during a run.
const UNPACKED: &str = "artefacts/scenarios";

/// Tell stories on meshes, and judge them
///
/// A story is a file, the name of one that ships, or a folder of them. Each is told on a mesh of
/// its own; what is shown is in the record.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit: 0 when every story held, 1 when one did not, 2 for a story that is wrong (line and caret are
shown), 3 when nothing could be shown, 4 when this machine cannot run them, 130 after Ctrl-C.

Examples:
  meshproof run heartbeat-lost
  meshproof run scenarios --jobs 4
  meshproof run heartbeat-lost --plan
  meshproof run my-story.yaml --keep
  meshproof run --failed meshproof-runs/01K…
  meshproof run scenarios --backend process --site public-cloud-like
  meshproof run scenarios --sut reference=./sidecar-new
  meshproof run faults                            an app unheard at 12199, by every way
  meshproof run scenarios --prove                 every seeded bug must be caught
  meshproof run faults --prove                    every one that these claim to catch
  meshproof run --list")]
pub(crate) struct Args {
    /// Stories: names of those that ship, files, folders
    #[arg(value_name = "STORY", required_unless_present_any = ["failed", "list"])]
    stories: Vec<String>,
    /// Tell those again that did not hold in this record
    #[arg(long, value_name = "RECORD")]
    failed: Option<PathBuf>,
    /// List the stories and topologies that ship, and end
    #[arg(long)]
    list: bool,
    /// Print what would be done, numbered, and end
    #[arg(long)]
    plan: bool,
    /// Show that the stories catch what they claim to: all bugs off, then each bug on
    #[arg(long)]
    prove: bool,
    /// With --prove: only this seeded bug; may be repeated
    #[arg(long, value_name = "NAME", requires = "prove")]
    bug: Vec<Bug>,
    /// Leave the mesh of a story that did not hold up until Enter, Ctrl-C or `env down`
    #[arg(long, conflicts_with = "prove")]
    keep: bool,
    /// So many stories at a time; default: twice the processors
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=64))]
    jobs: Option<u64>,
    #[command(flatten)]
    setting: SettingArgs,
    /// Where the record goes (default: meshproof-runs/<id>)
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// What goes to stdout
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
    /// Exit 0 where all that is wrong is that this machine cannot run it
    #[arg(long)]
    allow_unsupported: bool,
}

/// Reads, checks, tells, records, and says what was shown.
pub(crate) fn run(args: Args) -> Result<u8, Failure> {
    if args.list {
        return print::shipped();
    }
    let (setting, suts) = args.setting.read()?;
    let bugs: Vec<&str> = Bug::ALL.iter().map(|bug| bug.name()).collect();
    let wanted = match &args.failed {
        Some(folder) => files::failed(folder)?,
        None => args.stories.clone(),
    };
    let start = store::start(
        env!("CARGO_PKG_VERSION"),
        std::env::args().collect(),
        0,
        Timestamp::now(),
    );
    let folder = args.record.clone();
    let folder = folder.unwrap_or_else(|| store::default_folder(&start));
    let unpacked = folder.join(UNPACKED);
    let files::Loaded { stories, shipped } = files::load(&wanted, &bugs, &suts, &unpacked)?;
    if stories.is_empty() {
        return Err(Failure::Usage("no story is named".to_owned()));
    }
    if args.plan {
        return print::plans(&stories);
    }
    let chosen: Vec<&str> = match args.bug.is_empty() {
        true => to_prove(bugs, &stories),
        false => args.bug.iter().map(|bug| bug.name()).collect(),
    };
    let jobs = match args.prove {
        true => prove::jobs(&stories, &chosen),
        false => (0..stories.len())
            .map(|story| Job { story, bug: None })
            .collect(),
    };
    let writer = Writer::create(&folder, start).map_err(stored)?;
    shipped::unpack(shipped, &unpacked).map_err(|error| Failure::Usage(error.to_string()))?;
    tell(&args, &stories, &jobs, &chosen, (&setting, &suts), writer)
}

/// The seeded bugs of a proof where none is named: all of them for the whole suite, else those that
/// the stories claim to catch.
fn to_prove<'a>(bugs: Vec<&'a str>, stories: &[Story]) -> Vec<&'a str> {
    let named = |name: &str| {
        stories
            .iter()
            .any(|it| it.scenario.scenario.as_str() == name)
    };
    let claimed = |bug: &&str| {
        let mut all = stories.iter().flat_map(|story| &story.scenario.catches);
        all.any(|one| one.as_str() == *bug)
    };
    let whole = shipped::STORIES.iter().all(|(name, _)| named(name));
    // Stories that claim nothing are told of every bug that they do not catch.
    if whole || !bugs.iter().any(&claimed) {
        return bugs;
    }
    bugs.into_iter().filter(|bug| claimed(bug)).collect()
}

fn tell(
    args: &Args,
    stories: &[Story],
    jobs: &[Job],
    bugs: &[&str],
    (setting, suts): (&Setting, &Suts),
    mut writer: Writer,
) -> Result<u8, Failure> {
    let folder = writer.folder().to_owned();
    let begun = meshproof_sys::clock::Nanos::now();
    let at_ns = || meshproof_sys::clock::Nanos::now().since(begun);
    let name = match stories {
        [story] => story.scenario.scenario.value.clone(),
        _ => "scenarios".to_owned(),
    };
    let choices = vec![
        Choice {
            axis: "site".to_owned(),
            value: setting.site.site.clone(),
        },
        Choice {
            axis: "sut".to_owned(),
            value: suts.axis().join(","),
        },
    ];
    let cases = jobs
        .iter()
        .filter_map(|job| Some((job, stories.get(job.story)?)))
        .map(|(job, story)| {
            let id = suite::id(story, job.bug.as_deref());
            (id, suite::choices(story, &choices))
        })
        .collect();
    let planned = Event::Planned {
        name,
        axes: Vec::new(),
        cases,
    };
    writer.event(at_ns(), planned).map_err(stored)?;
    let options = Options {
        jobs: args.jobs.map_or_else(usual_jobs, |jobs| jobs as usize),
        artefacts: writer.artefacts().map_err(stored)?,
        again: args.setting.again(),
        choices,
    };
    let stop = stopped();
    let live = Live::new(jobs.len() as u64);
    let mut broken = None;
    let record = folder.file_name().unwrap_or_default().to_string_lossy();
    let keep = |case: &Case, environment: &dyn Environment| {
        // Where `env ls` looks, wherever the record is.
        let folder = Path::new(store::RUNS).join(format!("{record}-{}", case.id));
        keep::keep(case, environment, &folder, &stop)
    };
    let kept = args.keep.then_some(&keep as suite::Kept<'_>);
    let cases = suite::tell(
        stories,
        jobs,
        &options,
        setting,
        kept,
        &stop,
        &mut |event| {
            match &event {
                Event::CaseStarted { case } => live.began(case),
                Event::CaseEnded { case } => live.ended(case),
                _ => {}
            }
            if let Err(error) = writer.event(at_ns(), event) {
                broken.get_or_insert(error);
            }
        },
    );
    live.finish();
    if let Some(error) = broken {
        return Err(stored(error));
    }
    let table = args.prove.then(|| prove::table(stories, bugs, &cases));
    let mut claims = claims(&cases);
    if let Some(table) = &table {
        claims.extend(table.claims(&cases));
    }
    let end = match stop.load(Ordering::Relaxed) {
        true => End::Interrupted,
        false => End::Finished,
    };
    for claim in &claims {
        let claim = claim.clone();
        writer
            .event(at_ns(), Event::Claimed { claim })
            .map_err(stored)?;
    }
    writer
        .finish(Ending {
            now: Timestamp::now(),
            at_ns: at_ns(),
            end,
            claims,
            capture: None,
            replay: None,
            latency: None,
            lateness: None,
        })
        .map_err(stored)?;
    let on_unsupported = match args.allow_unsupported {
        true => OnUnsupported::Allow,
        false => OnUnsupported::Exit4,
    };
    let format = args.format;
    let saying = Saying {
        format,
        on_unsupported,
    };
    say(&folder, saying, |out| match &table {
        Some(table) => print::table(out, table),
        None => Ok(()),
    })
}

/// One claim for each story; of proofs the table makes them.
fn claims(cases: &[Case]) -> Vec<Claim> {
    cases
        .iter()
        .filter(|case| case.kind == CaseKind::Scenario)
        .map(|case| {
            let worst = case
                .claims
                .iter()
                .find(|claim| claim.verdict == case.verdict);
            let why = match (case.verdict, worst) {
                (Verdict::Pass, _) | (_, None) => {
                    let first = case.claims.first();
                    first.map_or_else(|| "nothing ran".to_owned(), |claim| claim.why.clone())
                }
                (_, Some(claim)) => format!("{}: {}", claim.name, claim.why),
            };
            Claim {
                lacking: worst.and_then(|claim| claim.lacking),
                ..Claim::new(case.id.clone(), case.verdict, why)
            }
        })
        .collect()
}

/// Most of what a story does is to wait.
fn usual_jobs() -> usize {
    std::thread::available_parallelism().map_or(2, |cpus| cpus.get() * 2)
}

/// Set by Ctrl-C; a second one kills.
fn stopped() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    // A handler that is there already is another run's of this process.
    let _ = ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(exit::INTERRUPTED));
        }
    });
    stop
}

fn stored(error: StoreError) -> Failure {
    Failure::Usage(error.to_string())
}
