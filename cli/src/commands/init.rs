//! `meshproof init`: what a repository needs to be gated by its CI service.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use meshproof_ci::pipeline;

use crate::exit::{self, Failure};

/// Write the pipeline by which a CI service runs the gate
///
/// The pipeline fetches the whole history and the binary, whose checksum is checked, runs `gate
/// check`, and keeps JUnit, SARIF and the record. A file that is there is never overwritten
/// without --force.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit: 0, 2 where the file is there already.

Examples:
  meshproof init --ci github
  meshproof init --ci gitlab --print > gate.gitlab-ci.yml")]
pub(crate) struct Args {
    /// The service
    #[arg(long, value_name = "SERVICE", value_enum)]
    ci: Service,
    /// The repository
    #[arg(long, value_name = "DIR", default_value = ".")]
    root: PathBuf,
    /// Overwrite what is there
    #[arg(long)]
    force: bool,
    /// Print it, and write nothing
    #[arg(long, conflicts_with = "force")]
    print: bool,
}

/// A service.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Service {
    /// .github/workflows/gate.yml
    Github,
    /// .gitlab-ci.yml
    Gitlab,
    /// Jenkinsfile
    Jenkins,
}

/// Writes it.
pub(crate) fn run(args: Args) -> Result<u8, Failure> {
    let service = match args.ci {
        Service::Github => pipeline::Service::Github,
        Service::Gitlab => pipeline::Service::Gitlab,
        Service::Jenkins => pipeline::Service::Jenkins,
    };
    let mut out = io::stdout().lock();
    if args.print {
        out.write_all(service.template().as_bytes())?;
        return Ok(exit::OK);
    }
    let to = args.root.join(service.path());
    write(&to, service.template(), args.force)?;
    writeln!(out, "{} is written", to.display())?;
    writeln!(out, "now {}", service.needs())?;
    if !args.root.join("meshproof.yaml").exists() {
        writeln!(
            out,
            "there is no meshproof.yaml yet: begin with `extends: [git-flow@stable, commit-style@stable]`"
        )?;
    }
    Ok(exit::OK)
}

fn write(to: &Path, text: &str, force: bool) -> Result<(), Failure> {
    let bad = |error: io::Error| Failure::Io(to.display().to_string(), error);
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(bad)?;
    }
    if force {
        let mut partial = to.as_os_str().to_owned();
        partial.push(".partial");
        return fs::write(&partial, text)
            .and_then(|()| fs::rename(&partial, to))
            .map_err(bad);
    }
    // Whoever writes it at the same moment is not overwritten either.
    let opened = OpenOptions::new().write(true).create_new(true).open(to);
    match opened {
        Ok(mut file) => file.write_all(text.as_bytes()).map_err(bad),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Failure::Usage(format!(
            "{} is there already: look at `--print`, or overwrite it by --force",
            to.display()
        ))),
        Err(error) => Err(bad(error)),
    }
}
