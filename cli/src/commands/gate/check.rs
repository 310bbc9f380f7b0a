//! `meshproof gate check`: every checkpoint, judged.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;

use meshproof_ci::edge::status::Statuses;
use meshproof_ci::report;
use meshproof_ci::status::Stand;

use super::Rules;
use super::judging::{self, Done, How, colour, write};
use crate::commands::report::Format;
use crate::exit::Failure;

/// Judge every checkpoint: what blocks, why, and what to type
///
/// One line for each checkpoint, and for each block the rule, where it is written, what was seen
/// and wanted, who answers for it and what to type. What is missing, stale, empty or unreadable
/// blocks, each with a code of its own; nothing passes by default.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit: 0 all that applies passed, 1 a rule was shown not to hold or a waiver expired, 2 the rules
cannot be read, 3 something could not be judged (missing, stale, empty, unreadable) or nothing
applies, 130 Ctrl-C.

Examples:
  meshproof gate check
  meshproof gate check --target main --junit gate.xml --sarif gate.sarif
  meshproof gate check --status                       in GitHub's actions and GitLab's pipelines
  meshproof gate check --format json | jq '.checkpoints[] | [.id, .state]'")]
pub(super) struct Args {
    #[command(flatten)]
    rules: Rules,
    #[command(flatten)]
    how: How,
    /// What goes to stdout
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
    /// Write the outcome for programs
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write SARIF
    #[arg(long, value_name = "FILE")]
    sarif: Option<PathBuf>,
    /// Also print annotations for GitHub's actions; done by itself where GITHUB_ACTIONS is set
    #[arg(long)]
    github: bool,
    /// Post a commit status to the service that runs this (GitHub, GitLab): pending, then how it
    /// came out; the exit is the gate's, whether that is taken or not
    #[arg(long)]
    status: bool,
}

pub(super) fn run(args: Args) -> Result<u8, Failure> {
    let statuses = statuses(&args)?;
    let gate = args.rules.read().inspect_err(|_| {
        post(statuses.as_ref(), Stand::Error, "the rules cannot be read");
    })?;
    post(statuses.as_ref(), Stand::Pending, "the gate is at work");
    let human = matches!(args.format, Format::Human);
    let root = args.rules.root();
    let lines = human.then(colour);
    let done = judging::judged(&gate, &root, &args.how, lines).inspect_err(|_| {
        post(statuses.as_ref(), Stand::Error, "the gate could not begin");
    })?;
    let sentence = report::sentence(&done.outcome, done.verdict.word());
    post(statuses.as_ref(), Stand::of_exit(done.code), &sentence);
    let document = done.document();
    let text = match human {
        true => report::summary(&done.outcome, done.verdict.word()),
        false => document.clone(),
    };
    io::stdout().lock().write_all(text.as_bytes())?;
    told_to_service(&args, &done)?;
    if let Some(to) = &args.json {
        write(to, &document)?;
    }
    if let Some(to) = &args.junit {
        write(to, &report::junit(&done.outcome))?;
    }
    if let Some(to) = &args.sarif {
        write(to, &report::sarif(&done.outcome))?;
    }
    // The verdict is told by now, whatever the disk says to its record.
    let code = done.code;
    done.finish(&[("gate.json", &document)])?;
    Ok(code)
}

/// Where statuses go. A service that is not there is wrong use; a token that is not there is told:
/// runs for forks have none.
fn statuses(args: &Args) -> Result<Option<Statuses>, Failure> {
    if !args.status {
        return Ok(None);
    }
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match Statuses::of_environment() {
        Ok(statuses) => Ok(Some(statuses)),
        Err(why) if is_set("GITHUB_ACTIONS") || is_set("GITLAB_CI") => {
            writeln!(io::stderr(), "no commit status is posted: {why}")?;
            Ok(None)
        }
        Err(why) => Err(Failure::Usage(format!("--status: {why}"))),
    }
}

/// Posts a status. That it was not taken is told and changes nothing: a status that is missing or
/// pending lets nothing through at the service.
fn post(statuses: Option<&Statuses>, stand: Stand, sentence: &str) {
    let Some(statuses) = statuses else { return };
    if let Err(why) = statuses.post(stand, sentence) {
        let _ = writeln!(io::stderr(), "the commit status is not posted: {why}");
    }
}

/// Annotations and the summary of the step, where GitHub's actions run this.
fn told_to_service(args: &Args, done: &Done) -> Result<(), Failure> {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_github = std::env::var("GITHUB_ACTIONS").is_ok_and(|value| value == "true");
    if args.github || is_github {
        // What is on stdout for programs stays readable for them.
        let annotations = report::annotations(&done.outcome);
        match args.format {
            Format::Human => io::stdout().lock().write_all(annotations.as_bytes())?,
            Format::Json if args.github => io::stdout().lock().write_all(annotations.as_bytes())?,
            Format::Json => io::stderr().lock().write_all(annotations.as_bytes())?,
        }
    }
    if is_github && is_set("GITHUB_STEP_SUMMARY") {
        let summary = report::summary_markdown(&done.outcome, done.verdict, done.code);
        let path = std::env::var_os("GITHUB_STEP_SUMMARY").unwrap_or_default();
        let appended = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .and_then(|mut file| file.write_all(summary.as_bytes()));
        // The verdict does not hang on who is told of it.
        if let Err(error) = appended {
            let path = PathBuf::from(path);
            writeln!(
                io::stderr(),
                "the step's summary {} is not written: {error}",
                path.display()
            )?;
        }
    }
    Ok(())
}
