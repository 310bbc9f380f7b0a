//! Which sidecars and which site: arguments that commands have in common.

use std::path::{Path, PathBuf};

use meshproof_harness::site::{self, Site};
use meshproof_harness::sut::{Sut, Suts};

use crate::exit::Failure;

/// Which sidecars, and where they stand.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct SutArgs {
    /// Put a binary in the place of a sidecar's; NAME is an adapter, or one with `-` and anything
    /// behind it: mosn=./mosn --sut mosn-old=./mosn-1.5
    #[arg(long, value_name = "NAME=BINARY", help_heading = "Sidecars and site")]
    pub(crate) sut: Vec<String>,
    /// The adapter of another sidecar (YAML)
    #[arg(long, value_name = "FILE", help_heading = "Sidecars and site")]
    pub(crate) sut_file: Vec<PathBuf>,
    /// A site, by its file or the name of one that ships; several are an axis
    #[arg(long, value_name = "SITE", help_heading = "Sidecars and site")]
    pub(crate) site: Vec<String>,
}

impl SutArgs {
    /// The adapters, with binaries in their places.
    pub(crate) fn suts(&self) -> Result<Suts, Failure> {
        let mut suts = Suts::default();
        for path in &self.sut_file {
            let (name, text) = read(path)?;
            suts.add(Sut::parse(&name, &text).map_err(diagnostic)?);
        }
        for text in &self.sut {
            suts.choose(text)
                .map_err(|error| Failure::Usage(error.to_string()))?;
        }
        Ok(suts)
    }

    /// The sites; the first that ships where none is named.
    pub(crate) fn sites(&self) -> Result<Vec<Site>, Failure> {
        if self.site.is_empty() {
            return Ok(site::shipped().into_iter().take(1).collect());
        }
        let sites = self.site.iter().map(|given| match Site::shipped(given) {
            Some(site) => Ok(site),
            None => {
                let known: Vec<String> = site::shipped().into_iter().map(|it| it.site).collect();
                let (name, text) = read_or_named("site", given, &known)?;
                Site::parse(&name, &text).map_err(diagnostic)
            }
        });
        sites.collect()
    }
}

/// A file; where there is none, what may have been meant.
pub(crate) fn read_or_named(
    what: &str,
    given: &str,
    known: &[String],
) -> Result<(String, String), Failure> {
    let path = Path::new(given);
    if path.exists() || given.contains('/') || given.contains('.') {
        return read(path);
    }
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let help = match meshproof_input::suggestion(given, &known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are {}", known.join(", ")),
    };
    Err(Failure::Usage(format!(
        "no {what} is called `{given}`, and no file: {help}"
    )))
}

fn read(path: &Path) -> Result<(String, String), Failure> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| Failure::Io(name.clone(), error))?;
    let text = meshproof_input::text(&name, bytes).map_err(diagnostic)?;
    Ok((name, text))
}

fn diagnostic(problem: meshproof_input::Problem) -> Failure {
    Failure::Diagnostic(Box::new(miette::Report::new(problem)))
}
