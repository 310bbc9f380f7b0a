//! `meshproof bench heartbeat`: how a sidecar keeps to the laws of its heartbeats.

mod told;

use std::io::{self, Write};
use std::path::PathBuf;

use jiff::Timestamp;
use meshproof_fault::Way;
use meshproof_harness::Error;
use meshproof_harness::heartbeat::Trial;
use meshproof_harness::heartbeat::callers::Hop;
use meshproof_harness::heartbeat::law::{Law, uniform};
use meshproof_harness::heartbeat::trial::closing::{self, Closing};
use meshproof_harness::heartbeat::trial::{self, Outcome, WAYS};
use meshproof_harness::heartbeat::wire::Leaving;
use meshproof_harness::mesh::Setting;
use meshproof_record::event::Event;
use meshproof_record::spread::Spread;
use meshproof_record::store::{self, Ending, StoreError, Writer};
use meshproof_record::verdict::{Claim, End, Lacking, OnUnsupported, Verdict};
use meshproof_sys::clock::Nanos;
use serde_json::json;

use crate::commands::env;
use crate::commands::report::{Format, Saying, say};
use crate::commands::setting::SettingArgs;
use crate::exit::Failure;

/// When a sidecar notices that its app is silent, and when it is back
///
/// In each trial the app's answers to heartbeats stop at a random moment, in one way; five moments
/// are stamped on one clock: the last answered heartbeat (wire), the loss (the sidecar's own word),
/// the message to the config center (wire), its push (registry), 12200 refusing (another pod). Law
/// A: the message leaves T + N*I after the last answered heartbeat was sent; the bound is wider by
/// what this machine held the measurement up at that time. Law B: counted from the silence, every
/// moment of its interval is as likely; a picture in the report, with Kolmogorov's and Smirnov's
/// test. Calls go on meanwhile: only those may fail that were in the silent pod without an answer of
/// the app, by its packets, and were sent before anybody could know better.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit: 0 at least 99 of 100 trials keep law A and no caller got an error that could be avoided, 1 they
do not, or a fault left something, 3 a fault met nothing, 4 this machine can do none of the ways.

Examples:
  meshproof bench heartbeat
  meshproof bench heartbeat --trials 60 --way nft-owner --way relay --json
  meshproof bench heartbeat --sut reference=./new --record new
  meshproof report new --html new.html")]
pub(crate) struct HeartbeatArgs {
    /// Trials of each way
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    trials: u32,
    /// How answers are stopped; default: every way
    #[arg(long, value_name = "WAY", value_parser = way)]
    way: Vec<Way>,
    /// The seed of the moments at which the app falls silent
    #[arg(long, value_name = "N", default_value_t = 7)]
    seed: u64,
    /// Every trial as a line of JSON
    #[arg(long)]
    json: bool,
    /// The adapter of the sidecar in every pod; one that does not isolate is tried for what it does:
    /// to close its connection to the app
    #[arg(long, value_name = "NAME", default_value = "reference")]
    sidecar: String,
    #[command(flatten)]
    setting: SettingArgs,
    /// Where the record goes (default: meshproof-runs/<id>)
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Exit 0 where all that is wrong is that the machine cannot do a way
    #[arg(long)]
    allow_unsupported: bool,
}

/// Of a hundred trials, so many must keep law A.
const KEPT_PERCENT: f64 = 99.0;

/// Wrong ends of calls that nobody had to get, told one by one; more are in the trials.
const OTHERS_TOLD: usize = 10;

/// The file of trials in the record's artefacts.
const TRIALS: &str = "trials.jsonl";

fn way(word: &str) -> Result<Way, String> {
    let known = WAYS.map(|(way, _)| way);
    let found = known.into_iter().find(|way| way.word() == word);
    found.ok_or_else(|| {
        let known = known.map(Way::word).join(", ");
        format!("expected one of {known}")
    })
}

/// Measures.
pub(crate) fn run(args: &HeartbeatArgs) -> Result<u8, Failure> {
    let (setting, _) = args.setting.read()?;
    if !setting.site.has_center() {
        let why = format!(
            "site {} has no config center, and the word to it is what is measured: choose another \
             site, such as --site ant-like",
            setting.site.site
        );
        return Err(Failure::Usage(why));
    }
    let sut = setting.suts.iter().find(|sut| sut.sut == args.sidecar);
    let isolates = match sut {
        Some(sut) => sut.can("isolates_on_heartbeat_loss"),
        None => return Err(Failure::Usage(unknown(&setting, &args.sidecar))),
    };
    if isolates && args.sidecar != "reference" {
        let why = "a build of a sidecar that isolates is given as --sut reference=BINARY";
        return Err(Failure::Usage(why.to_owned()));
    }
    let spec = trial::topology(&setting).map_err(env::failure)?;
    let law = trial::law(&spec);
    let ways = match args.way.as_slice() {
        [] => WAYS.map(|(way, _)| way).to_vec(),
        ways => ways.to_vec(),
    };
    let start = store::start(
        env!("CARGO_PKG_VERSION"),
        std::env::args().collect(),
        args.seed,
        Timestamp::now(),
    );
    let folder = args.record.clone();
    let folder = folder.unwrap_or_else(|| store::default_folder(&start));
    let mut writer = Writer::create(&folder, start).map_err(stored)?;
    let artefacts = writer.artefacts().map_err(stored)?;
    let file = artefacts.join(TRIALS);
    let mut file = std::fs::File::create(&file)
        .map_err(|error| Failure::Io(format!("{}", file.display()), error))?;
    let begun = Nanos::now();
    let mut out = io::stdout().lock();
    if !args.json {
        told::law(&mut out, law)?;
    }
    let mut sum = Sum::default();
    for way in ways {
        let mut told = Ok(());
        let journals = artefacts.join(way.word());
        let setting = Setting {
            folder: Some(journals.clone()),
            ..setting.clone()
        };
        if !isolates {
            let tried = closing::run(way, args.trials, args.seed, &setting, &args.sidecar);
            match tried {
                Ok((closings, outcome)) => {
                    sum.add_closings(way, &args.sidecar, &closings, &outcome)
                }
                Err(Error::Unsupported { missing, advice }) => sum.lacks(way, &missing, &advice),
                Err(error) => return Err(env::failure(error)),
            }
            continue;
        }
        let outcome = trial::run(way, args.trials, args.seed, &setting, &mut |_, trial| {
            if args.json
                && told.is_ok()
                && let Ok(trial) = trial
            {
                told = writeln!(out, "{}", line(law, trial)).and_then(|()| out.flush());
            }
        });
        told?;
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(Error::Unsupported { missing, advice }) => {
                sum.lacks(way, &missing, &advice);
                continue;
            }
            Err(error) => return Err(env::failure(error)),
        };
        for trial in &outcome.trials {
            // Calls are counted when all are over: this line has them.
            writeln!(file, "{}", line(law, trial))?;
        }
        let phases: Vec<f64> = outcome.trials.iter().map(|one| law.phase(one)).collect();
        let test = uniform(&phases);
        let event = Event::Spread {
            spread: spread(way, law, &outcome, test),
        };
        let at_ns = Nanos::now().since(begun);
        writer.event(at_ns, event).map_err(stored)?;
        if !args.json {
            told::way(&mut out, way, law, &outcome, test)?;
        }
        if sum.add(way, law, &outcome) {
            // They are long, and nobody will ask.
            let _ = std::fs::remove_dir_all(&journals);
        }
    }
    let claims = sum.claims();
    let at_ns = Nanos::now().since(begun);
    for claim in &claims {
        let claim = claim.clone();
        writer
            .event(at_ns, Event::Claimed { claim })
            .map_err(stored)?;
    }
    let ending = Ending {
        now: Timestamp::now(),
        at_ns,
        end: End::Finished,
        claims,
        capture: None,
        replay: None,
        latency: None,
        lateness: None,
    };
    writer.finish(ending).map_err(stored)?;
    drop(out);
    let saying = Saying {
        format: match args.json {
            true => Format::Json,
            false => Format::Human,
        },
        on_unsupported: match args.allow_unsupported {
            true => OnUnsupported::Allow,
            false => OnUnsupported::Exit4,
        },
    };
    say(&folder, saying, |_| Ok(()))
}

fn unknown(setting: &Setting, sidecar: &str) -> String {
    let known: Vec<&str> = setting.suts.iter().map(|sut| sut.sut.as_str()).collect();
    format!(
        "no adapter is called `{sidecar}`; expected one of {}",
        known.join(", ")
    )
}

fn stored(error: StoreError) -> Failure {
    Failure::Usage(error.to_string())
}

fn line(law: Law, trial: &Trial) -> String {
    let held = law.of(trial);
    json!({
        "schema": 1,
        "trial": trial,
        "took_ms": held.took_ms,
        "expected_ms": held.expected_ms,
        "wider_ms": held.wider_ms,
        "holds": held.holds(),
        "phase": law.phase(trial),
        "recovery_tcp_ns": trial.recovery.tcp_ns(),
        "recovery_own_ns": trial.recovery.own_ns(),
    })
    .to_string()
}

/// Law B as a picture: when the message left, counted from the silence.
fn spread(way: Way, law: Law, outcome: &Outcome, test: Option<(f64, f64)>) -> Spread {
    let ns = |ms: f64| (ms * 1e6) as u64;
    let until = law.expected_ms();
    let came = outcome.trials.iter().map(|trial| {
        let stamps = &trial.stamps;
        stamps.deregistered_ns.saturating_sub(stamps.silent_ns)
    });
    Spread {
        name: way.to_string(),
        from_ns: ns(until - law.interval.as_secs_f64() * 1e3),
        until_ns: ns(until),
        came_ns: came.collect(),
        test: test.map_or_else(String::new, |(distance, likely)| {
            format!("distance {distance:.3} from even, p = {likely:.3} (Kolmogorov, Smirnov)")
        }),
    }
}

/// What all ways came to.
#[derive(Default)]
struct Sum {
    all: usize,
    kept: usize,
    under_way: u64,
    beyond: u64,
    sent: u64,
    /// Wrong ends that the silence held before the app was asked, and behind that.
    to_app: u64,
    from_app: u64,
    /// Wrong ends of others, in words.
    others: Vec<String>,
    outliers: Vec<String>,
    claims: Vec<Claim>,
}

impl Sum {
    fn lacks(&mut self, way: Way, missing: &str, advice: &str) {
        let why = format!("{missing}; {advice}");
        let claim = Claim::unsupported(format!("law A: {way}"), Lacking::Machine, why);
        self.claims.push(claim);
    }

    /// Of a sidecar that does not isolate.
    fn add_closings(&mut self, way: Way, sidecar: &str, closings: &[Closing], outcome: &Outcome) {
        let why = format!("{sidecar} does not take a silent app off the config center");
        let claim = Claim::unsupported(format!("law A: {way}"), Lacking::Sut, why);
        self.claims.push(claim);
        let mut took: Vec<f64> = closings.iter().filter_map(Closing::took_ms).collect();
        took.sort_by(f64::total_cmp);
        let back = closings.iter().filter(|one| one.again_ns.is_some()).count();
        let [least, median, most] = [0, took.len() / 2, took.len().saturating_sub(1)]
            .map(|at| took.get(at).copied().unwrap_or(f64::NAN));
        let all = closings.len() + outcome.broken.len();
        let seen = |how| closings.iter().filter(|one| one.how == Some(how)).count();
        self.claim(
            format!("connection closed: {way}"),
            all > 0 && took.len() == all && back == all,
            Verdict::Fail,
            format!(
                "{} of {all} times it left its connection to the silent app, {least:.0} to \
                 {most:.0} ms after the last answered heartbeat was sent (median {median:.0}; {} \
                 times seen by its close, {} times by the connect that followed, since the close \
                 waits behind bytes that nobody acknowledges), and {back} times a heartbeat was \
                 answered again after healing",
                took.len(),
                seen(Leaving::Closed),
                seen(Leaving::Connected),
            ),
        );
        for why in &outcome.broken {
            self.claim(format!("trials: {way}"), false, Verdict::Fail, why.clone());
        }
    }

    /// Whether nothing speaks against it.
    fn add(&mut self, way: Way, law: Law, outcome: &Outcome) -> bool {
        let before = self.beyond;
        let held = outcome.trials.iter().filter(|one| law.of(one).holds());
        let held = held.count();
        self.all += outcome.trials.len() + outcome.broken.len();
        self.kept += held;
        for trial in &outcome.trials {
            self.sent += trial.callers.sent;
            self.under_way += trial.callers.under_way;
            self.beyond += trial.callers.beyond;
            if !law.of(trial).holds() {
                self.outliers.push(told::outlier(law, trial));
            }
        }
        self.beyond += outcome.wrong_outside.len() as u64;
        let of_trials = outcome.trials.iter().flat_map(|trial| &trial.callers.wrong);
        for wrong in of_trials.chain(&outcome.wrong_outside) {
            match (wrong.held, wrong.hop) {
                (true, Hop::ToApp) => self.to_app += 1,
                (true, _) => self.from_app += 1,
                (false, _) if self.others.len() < OTHERS_TOLD => {
                    self.others.push(told::wrong(way, wrong));
                }
                (false, _) => {}
            }
        }
        let inert = outcome.evidence.iter().filter(|one| one.is_empty()).count();
        let left = outcome.residue.iter().filter(|one| !one.is_empty()).count();
        let faults = outcome.evidence.len();
        if faults > 0 {
            let met: u64 = outcome.evidence.iter().map(|one| one.met()).sum();
            self.claim(
                format!("fault effect: {way}"),
                inert == 0,
                Verdict::Invalid,
                format!("{met} packets met {faults} faults; {inert} met nothing"),
            );
            self.claim(
                format!("residue: {way}"),
                left == 0,
                Verdict::Fail,
                format!("{left} of {faults} faults left something"),
            );
        }
        for why in &outcome.broken {
            self.claim(format!("trials: {way}"), false, Verdict::Fail, why.clone());
        }
        let whole = held == outcome.trials.len() && outcome.broken.is_empty();
        whole && self.beyond == before && inert + left == 0
    }

    fn claim(&mut self, name: String, good: bool, else_: Verdict, why: String) {
        let verdict = if good { Verdict::Pass } else { else_ };
        self.claims.push(Claim::new(name, verdict, why));
    }

    fn claims(mut self) -> Vec<Claim> {
        if self.all == 0 {
            return self.claims;
        }
        let percent = self.kept as f64 * 100.0 / self.all as f64;
        let mut why = format!(
            "{} of {} trials within the widened bound ({percent:.1} %)",
            self.kept, self.all
        );
        for outlier in &self.outliers {
            why.push_str("; ");
            why.push_str(outlier);
        }
        let good = percent >= KEPT_PERCENT;
        self.claim("law A".to_owned(), good, Verdict::Fail, why);
        let mut why = format!(
            "{} calls; {} wrong ends of those that the silence held ({} between sidecar and app, {} \
             at the app or on its way from there), {} of others",
            self.sent, self.under_way, self.to_app, self.from_app, self.beyond
        );
        for other in &self.others {
            why.push_str("; ");
            why.push_str(other);
        }
        let good = self.beyond == 0 && self.sent > 0;
        let wrong = match self.sent {
            0 => Verdict::Invalid,
            _ => Verdict::Fail,
        };
        self.claim("callers".to_owned(), good, wrong, why);
        self.claims
    }
}
