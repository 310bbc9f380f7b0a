//! `meshproof gate release`: ship or do not ship, on one screen.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use meshproof_ci::edge::head;
use meshproof_ci::outcome::Outcome;
use meshproof_ci::release::{About, Answer, Earlier, Release};
use meshproof_ci::report;
use meshproof_record::store::ARTEFACTS;

use super::Rules;
use super::judging::{self, How, write};
use crate::commands::report::Format;
use crate::exit::Failure;

/// Largest page that is read as the release before, in bytes.
const EARLIER_BYTES_MAX: u64 = 64 << 20;
/// Most folders that are looked through for it.
const FOLDERS_MAX: usize = 10_000;
/// The page as values, in the record.
const RELEASE: &str = "release.json";

/// Ship or do not ship: the reasons, the evidence, what was not run, waivers, what is otherwise
///
/// Judges the rules as `gate check` does; the checkpoints of the pack `release` are the areas of
/// the page. Everything that applies must pass. Pages can be made again from the record.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit: 0 ship, 1 a rule was shown not to hold or a waiver expired, 2 the rules or the record cannot
be read, 3 something could not be judged, or there is nothing to judge, 130 Ctrl-C.

Examples:
  meshproof gate release --version 1.4.0 --html release.html --md release.md
  meshproof gate release --previous last/release.json --json release.json
  meshproof gate release --previous meshproof-runs        the newest there that was shipped
  meshproof gate release --from meshproof-runs/01K… --html again.html")]
pub(super) struct Args {
    #[command(flatten)]
    rules: Rules,
    #[command(flatten)]
    how: How,
    /// The version that is to be released
    #[arg(long, value_name = "NAME")]
    version: Option<String>,
    /// The release before: its page as JSON, its record, or a folder of records, of which the
    /// newest that was shipped is taken
    #[arg(long, value_name = "RECORD|DIR")]
    previous: Option<PathBuf>,
    /// The pack whose checkpoints are the areas of the page
    #[arg(long, value_name = "NAME", default_value = "release")]
    pack: String,
    /// Judge nothing: make the pages of this record again
    #[arg(long, value_name = "RECORD", conflicts_with_all = ["version", "previous", "target", "jobs", "record", "file", "packs", "pack"])]
    from: Option<PathBuf>,
    /// What goes to stdout
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
    /// Write the page: one file, one screen, one printed page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write Markdown for a comment or a summary
    #[arg(long, value_name = "FILE")]
    md: Option<PathBuf>,
    /// Write the page for programs; the next release is compared with it
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(super) fn run(args: Args) -> Result<u8, Failure> {
    if let Some(record) = &args.from {
        let release = read(record)?;
        return told(&args, &release);
    }
    let gate = args.rules.read()?;
    let root = args.rules.root();
    let done = judging::judged(&gate, &root, &args.how, None)?;
    let document = done.document();
    let about = About {
        version: args.version.clone(),
        commit: head(&root),
        record: shown(&done.folder),
        pack: args.pack.clone(),
        exit: done.code,
    };
    let earlier = match &args.previous {
        Some(place) => earlier(place, &done.folder),
        None => Earlier::NotAsked,
    };
    let release = Release::of(done.outcome.clone(), about, &earlier);
    let code = told(&args, &release)?;
    // The answer is told by now, whatever the disk says to its record.
    let page = report::release_json(&release);
    done.finish(&[("gate.json", &document), (RELEASE, &page)])?;
    Ok(code)
}

fn shown(folder: &Path) -> String {
    let folder = folder.strip_prefix(".").unwrap_or(folder);
    folder.display().to_string()
}

/// Prints and writes what was asked for.
fn told(args: &Args, release: &Release) -> Result<u8, Failure> {
    let text = match args.format {
        Format::Human => report::release(release),
        Format::Json => report::release_json(release),
    };
    io::stdout().lock().write_all(text.as_bytes())?;
    if let Some(to) = &args.html {
        write(to, &report::page(release))?;
    }
    if let Some(to) = &args.md {
        write(to, &report::markdown(release))?;
    }
    if let Some(to) = &args.json {
        write(to, &report::release_json(release))?;
    }
    Ok(release.exit)
}

/// The page that a file or a record holds.
fn read(place: &Path) -> Result<Release, Failure> {
    let within = place.join(ARTEFACTS).join(RELEASE);
    let file = match place.is_dir() {
        true => within.as_path(),
        false => place,
    };
    let bad = |error: io::Error| Failure::Io(file.display().to_string(), error);
    let bytes = fs::metadata(file).map_err(bad)?.len();
    if bytes > EARLIER_BYTES_MAX {
        return Err(Failure::Usage(format!(
            "{} has {bytes} bytes, expected at most {EARLIER_BYTES_MAX}",
            file.display()
        )));
    }
    let text = fs::read(file).map_err(bad)?;
    serde_json::from_slice(&text).map_err(|error| {
        Failure::Usage(format!(
            "{} is no release: {error}; expected what `gate release --json` writes",
            file.display()
        ))
    })
}

/// The release before. That there is none is told on the page and no failure: a first release
/// has none.
fn earlier(place: &Path, own: &Path) -> Earlier {
    let found = |release: Release, place: &Path| {
        let label = release
            .version
            .unwrap_or_else(|| place.display().to_string());
        let outcome: Box<Outcome> = Box::new(release.outcome);
        Earlier::Found { label, outcome }
    };
    let is_record = place.join(ARTEFACTS).join(RELEASE).is_file();
    if is_record || !place.is_dir() {
        return match read(place) {
            Ok(release) => found(release, place),
            Err(failure) => Earlier::None(failure.to_string()),
        };
    }
    let own = fs::canonicalize(own).ok();
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let newest = entries
        .take(FOLDERS_MAX)
        .map(|entry| entry.path())
        .filter(|path| fs::canonicalize(path).ok() != own)
        .filter_map(|path| Some((read(&path).ok()?, path)))
        .filter(|(release, _)| release.answer == Answer::Ship)
        // Of two of one moment the name decides, so that the answer is always the same.
        .max_by_key(|(release, path)| (release.outcome.judged_unix_ms, path.clone()));
    match newest {
        Some((release, path)) => found(release, &path),
        None => Earlier::None(format!(
            "no release that was shipped is recorded below {}",
            place.display()
        )),
    }
}
