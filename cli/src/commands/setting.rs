//! How meshes are brought up: the same flags for every command that does.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use meshproof_harness::Backend;
use meshproof_harness::mesh::Setting;
use meshproof_harness::site::{self, Site};
use meshproof_harness::sut::{Sut, Suts};
use meshproof_input::Problem;
use meshproof_replay::engine::pace::duration_ns;

use crate::exit::Failure;

/// Backend, sidecars, site; flattened into the arguments of a command.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct SettingArgs {
    /// What it is made of; default: the best that this machine allows
    #[arg(long, value_name = "BACKEND", help_heading = HEADING)]
    backend: Option<Made>,
    /// A binary in the place of a sidecar's; NAME is an adapter, or one with `-` and anything
    /// behind it: reference=./new, mosn=./mosn, mosn-old=./mosn-1.5; may be repeated
    #[arg(long, value_name = "NAME=BINARY", help_heading = HEADING)]
    pub(crate) sut: Vec<String>,
    /// The adapter of another sidecar, in a file (YAML); may be repeated
    #[arg(long, value_name = "FILE", help_heading = HEADING)]
    sut_file: Vec<PathBuf>,
    /// A site, by its file or the name of one that ships; several are an axis of a matrix
    #[arg(long, value_name = "SITE", help_heading = HEADING)]
    site: Vec<String>,
}

const HEADING: &str = "Sidecars and site";

/// What meshes are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Made {
    /// A network namespace per pod
    Netns,
    /// A loopback address per pod
    Process,
}

impl SettingArgs {
    /// The backend that was asked for.
    pub(crate) fn backend(&self) -> Option<Backend> {
        self.backend.map(|made| match made {
            Made::Netns => Backend::Netns,
            Made::Process => Backend::Process,
        })
    }

    /// Reads what the flags name, for meshes of one site.
    pub(crate) fn read(&self) -> Result<(Setting, Suts), Failure> {
        let suts = self.suts()?;
        Ok((self.on(&suts, self.one_site()?), suts))
    }

    /// The one site of those who can have no other.
    pub(crate) fn one_site(&self) -> Result<Site, Failure> {
        match <[Site; 1]>::try_from(self.sites()?) {
            Ok([one]) => Ok(one),
            Err(several) => Err(Failure::Usage(format!(
                "{} sites: give one; several are an axis of `meshproof matrix`",
                several.len()
            ))),
        }
    }

    /// A setting at a site, of these adapters.
    pub(crate) fn on(&self, suts: &Suts, site: Site) -> Setting {
        Setting {
            backend: self.backend(),
            suts: suts.all().to_vec(),
            site,
            ..Setting::default()
        }
    }

    /// The adapters, with binaries in their places.
    pub(crate) fn suts(&self) -> Result<Suts, Failure> {
        let mut suts = self.adapters()?;
        for text in &self.sut {
            suts.choose(text)
                .map_err(|error| Failure::Usage(error.to_string()))?;
        }
        Ok(suts)
    }

    /// The adapters that ship and those of files, as they are.
    pub(crate) fn adapters(&self) -> Result<Suts, Failure> {
        let mut suts = Suts::default();
        for path in &self.sut_file {
            let (name, text) = text(path)?;
            suts.add(Sut::parse(&name, &text).map_err(diagnostic)?);
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
                let (name, text) = text_or_named("site", given, &known)?;
                Site::parse(&name, &text).map_err(diagnostic)
            }
        });
        sites.collect()
    }

    /// The first of these flags that was given.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let all = [
            (self.backend.is_some(), "--backend"),
            (!self.sut.is_empty(), "--sut"),
            (!self.sut_file.is_empty(), "--sut-file"),
            (!self.site.is_empty(), "--site"),
        ];
        all.into_iter().find(|(given, _)| *given).map(|it| it.1)
    }

    /// The same flags on a command line that runs something again: each with a blank before it.
    pub(crate) fn again(&self) -> String {
        let backend = self.backend().map(|it| ("backend", it.name().to_owned()));
        let suts = self.sut.iter().map(|sut| ("sut", sut.clone()));
        let files = self.sut_file.iter();
        let files = files.map(|path| ("sut-file", path.display().to_string()));
        let sites = self.site.iter().map(|site| ("site", site.clone()));
        let all = backend.into_iter().chain(suts).chain(files).chain(sites);
        all.map(|(name, value)| format!(" --{name} {value}"))
            .collect()
    }
}

/// A file's name and text; where there is no such file, what may have been meant.
pub(crate) fn text_or_named(
    what: &str,
    given: &str,
    known: &[String],
) -> Result<(String, String), Failure> {
    let path = Path::new(given);
    if path.exists() || given.contains('/') || given.contains('.') {
        return text(path);
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

/// What is wrong in a file, as a failure of the command.
pub(crate) fn diagnostic(problem: Problem) -> Failure {
    Failure::Diagnostic(Box::new(miette::Report::new(problem)))
}

/// A file's name for showing, and its text.
pub(crate) fn text(path: &Path) -> Result<(String, String), Failure> {
    let name = path.display().to_string();
    let bytes = fs::read(path).map_err(|error| Failure::Io(name.clone(), error))?;
    let text = meshproof_input::text(&name, bytes).map_err(diagnostic)?;
    Ok((name, text))
}

/// A time that something may take: `250ms`, `90s`, `10m`, `2h`; at most a day.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(24 * 3600);
    let long = |unit: char, seconds: u64| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(Duration::from_secs(number.checked_mul(seconds)?))
    };
    let short = || duration_ns(text).map(Duration::from_nanos);
    let limit = long('m', 60).or_else(|| long('h', 3600)).or_else(short);
    limit
        .filter(|limit| (Duration::from_millis(1)..=LONGEST).contains(limit))
        .ok_or_else(|| "expected a time of 1ms to 24h, such as 90s or 10m".to_owned())
}
