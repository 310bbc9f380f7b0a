//! The mesh of a story that did not hold stays, as an environment that others find.

use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, mpsc};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use meshproof_harness::Error;
use meshproof_harness::environment::Environment;
use meshproof_harness::standing::{self, Folder, Notice, Stop};
use meshproof_record::case::Case;
use meshproof_sys::wake::Wake;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Leaves a mesh up, in a folder of its own, until Enter, Ctrl-C (`stop`) or `env down`. The folder
/// is to go after the mesh: the story's evidence is in the record.
pub(super) fn keep(
    case: &Case,
    environment: &dyn Environment,
    folder: &Path,
    stop: &AtomicBool,
) -> Option<Folder> {
    let stood = stand(case, environment, folder, stop);
    stood
        .map_err(|why| {
            // Whoever does not see it has closed the terminal.
            let _ = writeln!(io::stderr(), "meshproof: {} did not stay: {why}", case.id);
        })
        .ok()
}

fn stand(
    case: &Case,
    environment: &dyn Environment,
    path: &Path,
    stop: &AtomicBool,
) -> Result<Folder, String> {
    let told = |error: Error| error.to_string();
    let over = Wake::new().map_err(|error| error.to_string())?;
    let folder = Folder::take(path).map_err(told)?;
    let notice = Notice {
        schema: 1,
        name: case.id.clone(),
        backend: environment.backend(),
        pid: std::process::id(),
        since_s: u64::try_from(Timestamp::now().as_second()).unwrap_or(0),
        until_s: None,
        pods: environment.pods().to_vec(),
    };
    folder.announce(&notice).map_err(told)?;
    say(case, &notice);
    let (stops, reasons) = mpsc::channel();
    thread::scope(|scope| {
        let (enter, over) = (stops.clone(), &over);
        scope.spawn(move || {
            heed(stop, over);
            // Nobody listens any more where another reason came first.
            let _ = enter.send(Stop::Interrupted);
        });
        let stood = standing::stand(environment, &folder, None, (stops, reasons));
        over.raise();
        stood.map_err(told)
    })?;
    Ok(folder)
}

fn say(case: &Case, notice: &Notice) {
    let pods = notice.pods.iter();
    let pods: Vec<String> = pods
        .map(|pod| format!("{} {}", pod.name, pod.address))
        .collect();
    let first = notice.pods.first().map_or("POD", |pod| pod.name.as_str());
    let id = &case.id;
    // Whoever does not see it has closed the terminal.
    let _ = writeln!(
        io::stderr().lock(),
        "{} {id} is still up: {}\n\
         run in it: meshproof env exec --env {id} {first} -- sh\n\
         Enter ends it, or: meshproof env down {id}",
        case.verdict,
        pods.join(", "),
    );
}

/// Until Enter, Ctrl-C, or until it is over by itself.
fn heed(stop: &AtomicBool, over: &Wake) {
    /// One Enter ends one of those that stay.
    static KEYS: Mutex<()> = Mutex::new(());
    /// How soon Ctrl-C is seen, and that the keys are another one's no more.
    const PAUSE: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: Duration::from_millis(100).as_nanos() as i64,
    };
    let mut keys: Option<MutexGuard<'_, ()>> = None;
    let input = io::stdin();
    while !stop.load(Ordering::Relaxed) {
        keys = keys.or_else(|| KEYS.try_lock().ok());
        let mut watched = [
            PollFd::new(over, PollFlags::IN),
            PollFd::new(&input, PollFlags::IN),
        ];
        let count = if keys.is_some() { 2 } else { 1 };
        // An interruption is as good as a pause.
        let _ = poll(&mut watched[..count], Some(&PAUSE));
        let [ended, pressed] = watched.map(|fd| !fd.revents().is_empty());
        if ended {
            return;
        }
        let mut bytes = [0; 256];
        if pressed {
            match rustix::io::read(&input, &mut bytes) {
                Err(rustix::io::Errno::INTR) => {}
                // The end of the input is as good as Enter.
                Ok(0) | Err(_) => return,
                Ok(length) if bytes[..length].contains(&b'\n') => return,
                Ok(_) => {}
            }
        }
    }
}
