//! `meshproof fault inject`: a fault in force, until its time is over or somebody ends it.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use meshproof_fault::{Ending, Healed, Here, Lease, Spec};
use meshproof_input::Millis;
use meshproof_record::verdict::{Claim, End, Policy, Verdict, exit_code};
use meshproof_sys::wake::Wake;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::{Place, failure, made, print, read};
use crate::exit::{self, Failure};

/// Put a fault in force, for a time
///
/// It ends with its time, with Ctrl-C, and with this command, however that ends: killed, stopped
/// or hanging. Then what met it is told, and that nothing is left of it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit: 0 something met the fault and nothing is left, 1 something is left, 2 wrong use, 3 nothing met
it, or it ended before its time: INVALID, 4 this machine cannot, 130 Ctrl-C (healed first; a second
Ctrl-C ends this command at once, and the keeper heals).

Examples:
  meshproof fault inject '{kind: drop, from: app, port: 12199}' --for 10s --pod server
  meshproof fault inject '{kind: drop, from: app, port: 12199, only: payload}' --for 10s --pod server
  meshproof fault inject '{kind: reject, from: app, port: 12199}' --for 5s --pid 4711
  meshproof fault inject '{kind: limit, connections: 2, port: 12200}' --for 1m --pod server
  meshproof fault inject '{kind: nxdomain, of: vip}' --for 5s       in the environment that stands
  meshproof fault inject '{kind: drop, port: 12199, for: 1s, repeat: {times: 5, every: 3s}}' --pod server
  meshproof fault inject mute.yaml --host         shows the plan and asks")]
pub(super) struct Args {
    /// The fault: a YAML file, or the YAML itself
    #[arg(value_name = "FAULT")]
    fault: String,
    /// How long at most; may stand in the fault as `for`
    #[arg(long = "for", value_name = "TIME")]
    during: Option<Millis>,
    #[command(flatten)]
    place: Place,
    /// Do it on this machine without asking
    #[arg(long)]
    yes: bool,
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let spec = read(&args.fault)?;
    let limit = limit(&spec, args.during)?;
    let place = args.place.of(&spec);
    let mut again = vec!["inject".to_owned(), args.fault.clone()];
    if let Some(during) = args.during {
        again.extend(["--for".to_owned(), format!("{}ms", during.0)]);
    }
    if let Some(done) = place.elsewhere(&again) {
        return done;
    }
    if place.inside.is_none() && !place.host {
        return Err(Failure::Usage(
            "name the place: --pod NAME, --pid PID, or --host for this machine".into(),
        ));
    }
    let fault = made(spec, place.process);
    let standby = fault.preflight(&Here::default()).map_err(failure)?;
    let mut out = io::stdout().lock();
    print::plan(&mut out, standby.plan(), place.told())?;
    if place.host && !args.yes && !agreed(&mut out)? {
        return Err(Failure::Usage(
            "nothing was done: it is the network of this machine; --yes does it without asking"
                .into(),
        ));
    }
    let watch = Interrupts::watch()?;
    let lease = standby
        .apply(Duration::from_millis(limit.0))
        .map_err(failure)?;
    let name = fault.scene.lease.clone();
    writeln!(
        out,
        "{name} is in force, for {} ms at most; another terminal ends it with `meshproof fault \
         heal {name}`",
        limit.0
    )?;
    out.flush()?;
    watch.until(&lease)?;
    let interrupted = watch.happened.load(Ordering::Relaxed);
    let healed = match interrupted {
        true => lease.heal(),
        false => lease.wait(),
    }
    .map_err(failure)?;
    let claims = claims(&name, &healed);
    for claim in &claims {
        // Whoever reads no more still gets the exit code.
        let _ = writeln!(out, "{:<8} {}: {}", claim.verdict, claim.name, claim.why);
    }
    let end = match interrupted {
        true => End::Interrupted,
        false => End::Finished,
    };
    Ok(exit_code(&claims, end, &Policy::USUAL))
}

/// How long all of it may take: what the command line says, or the fault itself.
fn limit(spec: &Spec, during: Option<Millis>) -> Result<Millis, Failure> {
    let takes = spec.takes();
    let takes = takes.and_then(|takes| u64::try_from(takes.as_millis()).ok());
    match (during, takes) {
        (Some(during), Some(takes)) if spec.is_scheduled() && during.0 < takes => {
            Err(Failure::Usage(format!(
                "its schedule takes {takes} ms: --for {during} would cut it short"
            )))
        }
        // The schedule ends it; its last time is not to be cut short by a moment.
        (None, Some(takes)) if spec.is_scheduled() => Ok(Millis(takes.saturating_add(1_000))),
        (Some(during), _) => Ok(during),
        (None, Some(takes)) => Ok(Millis(takes)),
        (None, None) => Err(Failure::Usage(
            "a fault needs a time: --for 30s, or `for: 30s` in the fault".into(),
        )),
    }
}

/// What was shown.
fn claims(name: &str, healed: &Healed) -> Vec<Claim> {
    let mut claims = vec![healed.evidence.claim(name), healed.residue.claim(name)];
    let ran_ms = healed.evidence.in_force_ns(meshproof_sys::clock::Nanos(0)) / 1_000_000;
    let (verdict, why) = match healed.evidence.ending {
        Some(ending @ (Ending::Limit | Ending::Healed | Ending::Told)) => {
            (Verdict::Pass, ending.because())
        }
        Some(ending) => (Verdict::Invalid, ending.because()),
        None => (Verdict::Invalid, "nobody knows why"),
    };
    claims.push(Claim::new(
        format!("fault time: {name}"),
        verdict,
        format!("in force for {ran_ms} ms; it ended because {why}"),
    ));
    claims
}

/// Asks the person at the terminal.
fn agreed(out: &mut impl Write) -> io::Result<bool> {
    let input = io::stdin();
    if !input.is_terminal() {
        return Ok(false);
    }
    write!(out, "Do this on this machine? Type yes: ")?;
    out.flush()?;
    let mut line = String::new();
    input.lock().read_line(&mut line)?;
    Ok(line.trim() == "yes")
}

/// Ctrl-C and its like.
struct Interrupts {
    wake: Arc<Wake>,
    happened: Arc<AtomicBool>,
}

impl Interrupts {
    fn watch() -> Result<Interrupts, Failure> {
        let wake = Arc::new(Wake::new()?);
        let happened = Arc::new(AtomicBool::new(false));
        let (raised, seen) = (Arc::clone(&wake), Arc::clone(&happened));
        // Without a handler the command ends at once, and the keeper heals.
        let _ = ctrlc::set_handler(move || {
            if seen.swap(true, Ordering::Relaxed) {
                std::process::exit(i32::from(exit::INTERRUPTED));
            }
            raised.raise();
        });
        Ok(Interrupts { wake, happened })
    }

    /// Until the fault has ended by itself, or somebody wants it to.
    fn until(&self, lease: &Lease) -> io::Result<()> {
        let ended = lease.watch()?;
        loop {
            let mut watched = [
                PollFd::new(&ended, PollFlags::IN),
                PollFd::new(&*self.wake, PollFlags::IN),
            ];
            match poll(&mut watched, None) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
