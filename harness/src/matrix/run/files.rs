//! What a mesh wrote down of a cell: the journals of its client and of its apps.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use meshproof_sys::clock::Nanos;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::judge::{Answer, Open};
use crate::mesh::call::UNJUDGED;

/// Lines of one journal that are read.
const LINES_MAX: usize = 100_000;

/// What an app says of one thing that it saw.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Sighting {
    /// When, in microseconds since 1970.
    pub(crate) at_us: u64,
    /// Who is on the other side.
    pub(crate) peer: String,
    /// `request`, `oneway`, `heartbeat`, `refused`, …
    pub(crate) kind: String,
    /// `bolt-v1`, `bolt-v2`, `tr`.
    pub(crate) protocol: String,
    /// The id of the frame.
    pub(crate) id: Option<u64>,
    /// The method.
    pub(crate) method: Option<String>,
    /// The trace id of the call.
    pub(crate) trace: Option<String>,
    /// Why it was refused.
    pub(crate) error: Option<String>,
    /// `answered`, `exception`, `error`, `muted`, `silent`.
    pub(crate) outcome: String,
}

/// Reads a journal; a last line that was cut off is let go of, and so is a journal that was never
/// begun.
pub(super) fn lines<L: DeserializeOwned>(path: &Path) -> io::Result<Vec<L>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut all = Vec::new();
    for line in BufReader::new(file).split(b'\n').take(LINES_MAX) {
        if let Ok(line) = serde_json::from_slice(&line?) {
            all.push(line);
        }
    }
    Ok(all)
}

/// The journals of the apps in a folder, by pod, in the order in which the apps ran.
pub(super) fn apps(folder: &Path) -> io::Result<BTreeMap<String, Vec<PathBuf>>> {
    let mut all: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some((pod, _)) = name
            .split_once("-app-")
            .filter(|_| name.ends_with(".jsonl"))
        {
            all.entry(pod.to_owned()).or_default().push(path.clone());
        }
    }
    for paths in all.values_mut() {
        paths.sort();
    }
    Ok(all)
}

/// What every app saw, by pod.
pub(super) fn sightings(folder: &Path) -> io::Result<Vec<(String, Vec<Sighting>)>> {
    let mut all = Vec::new();
    for (pod, paths) in apps(folder)? {
        let mut seen = Vec::new();
        for path in paths {
            seen.extend(lines::<Sighting>(&path)?);
        }
        all.push((pod, seen));
    }
    Ok(all)
}

/// The same, when every call that was answered has been seen; or, after a limit, what there is:
/// a one-way may still be on its way when its client has ended.
pub(super) fn settled(
    folder: &Path,
    answers: &[Answer],
    limit: Duration,
) -> io::Result<Vec<(String, Vec<Sighting>)>> {
    /// Between two looks.
    const PAUSE: Duration = Duration::from_millis(1);
    let end = Nanos::now() + limit;
    loop {
        let seen = sightings(folder)?;
        let mut traces = seen
            .iter()
            .flat_map(|(_, lines)| lines.iter().filter_map(|line| line.trace.as_deref()))
            .collect::<Vec<_>>();
        traces.sort_unstable();
        let all = answers
            .iter()
            .filter(|answer| answer.right)
            .all(|answer| traces.binary_search(&answer.trace.as_str()).is_ok());
        if all || Nanos::now() > end {
            return Ok(seen);
        }
        std::thread::park_timeout(PAUSE);
    }
}

/// What of the calls does not close: every call is seen once by one app, and ends as that app
/// says.
pub(crate) fn open(answers: &[Answer], seen: &[(String, Vec<Sighting>)]) -> Open {
    let mut by_trace: BTreeMap<&str, Vec<&Sighting>> = BTreeMap::new();
    for (_, lines) in seen {
        for line in lines {
            if let ("request" | "oneway", Some(trace)) = (line.kind.as_str(), &line.trace) {
                by_trace.entry(trace).or_default().push(line);
            }
        }
    }
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut count = |what: &'static str| *counts.entry(what).or_default() += 1;
    for answer in answers {
        match by_trace.remove(answer.trace.as_str()).as_deref() {
            // Nobody waited for its end.
            None | Some([_]) if answer.outcome == UNJUDGED => {}
            None => count("calls that no app saw"),
            Some([line]) if answer.right && !agree(answer, line) => {
                count("answers that no app gave");
            }
            Some([_]) if answer.right => {}
            Some([_]) => count("calls that an app saw and that ended otherwise"),
            Some(_) => count("calls that apps saw twice"),
        }
    }
    for _ in by_trace {
        count("calls that nobody made");
    }
    counts
        .into_iter()
        .map(|(what, count)| (what.to_owned(), count))
        .collect()
}

fn agree(answer: &Answer, line: &Sighting) -> bool {
    match (line.kind.as_str(), line.outcome.as_str()) {
        // Too late, or not at all.
        ("request", "answered" | "muted")
            if matches!(answer.outcome.as_str(), "timeout" | "status 7") =>
        {
            true
        }
        ("request", "answered") => answer.outcome == "ok",
        ("request", "exception") => answer.outcome == "exception",
        ("oneway", "silent" | "muted") => answer.outcome == "sent",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(trace: &str, outcome: &str) -> Answer {
        Answer {
            trace: trace.into(),
            outcome: outcome.into(),
            right: matches!(outcome, "ok" | "sent" | "exception" | "status 7"),
            ..Answer::default()
        }
    }

    fn sighting(trace: &str, outcome: &str) -> Sighting {
        Sighting {
            trace: Some(trace.into()),
            kind: if outcome == "silent" {
                "oneway"
            } else {
                "request"
            }
            .into(),
            outcome: outcome.into(),
            ..Sighting::default()
        }
    }

    #[track_caller]
    fn check(answers: &[(&str, &str)], seen: &[(&str, &str)], expected: &[(&str, u64)]) {
        let answers: Vec<_> = answers
            .iter()
            .map(|(trace, how)| answer(trace, how))
            .collect();
        let lines = seen
            .iter()
            .map(|(trace, how)| sighting(trace, how))
            .collect();
        let open = open(&answers, &[("server-1".into(), lines)]);
        let open: Vec<_> = open.iter().map(|(what, n)| (what.as_str(), *n)).collect();
        assert_eq!(open, expected);
    }

    #[test]
    fn every_call_is_seen_once_and_ends_as_its_app_says() {
        check(
            &[
                ("a", "ok"),
                ("b", "sent"),
                ("c", "exception"),
                ("d", "status 7"),
            ],
            &[
                ("a", "answered"),
                ("b", "silent"),
                ("c", "exception"),
                ("d", "answered"),
            ],
            &[],
        );
        check(&[("a", "ok")], &[], &[("calls that no app saw", 1)]);
        check(
            &[("a", "ok")],
            &[("a", "answered"), ("a", "answered")],
            &[("calls that apps saw twice", 1)],
        );
        check(
            &[("a", "unjudged"), ("b", "unjudged"), ("c", "unjudged")],
            &[("a", "answered"), ("b", "answered"), ("b", "answered")],
            &[("calls that apps saw twice", 1)],
        );
        check(
            &[("a", "ok"), ("b", "closed")],
            &[("a", "exception"), ("b", "answered"), ("c", "answered")],
            &[
                ("answers that no app gave", 1),
                ("calls that an app saw and that ended otherwise", 1),
                ("calls that nobody made", 1),
            ],
        );
    }

    #[test]
    fn a_journal_may_end_in_the_middle_of_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server-1-app-0.jsonl");
        let text =
            "{\"kind\":\"request\",\"trace\":\"a\",\"outcome\":\"answered\"}\n{\"kind\":\"re";
        fs::write(&path, text).unwrap();
        let seen = sightings(folder.path()).unwrap();
        assert_eq!(seen.len(), 1);
        assert_eq!((seen[0].0.as_str(), seen[0].1.len()), ("server-1", 1));
        assert!(
            lines::<Sighting>(&folder.path().join("none"))
                .unwrap()
                .is_empty()
        );
    }
}
