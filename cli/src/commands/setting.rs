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
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SettingArgs {
    /// What it is made of; default: the best that this machine allows
    #[arg(long, value_name = "BACKEND")]
    backend: Option<Made>,
    /// A binary in the place of an adapter's, or beside it: reference=./new, mosn=./mosn; may be
    /// repeated
    #[arg(long, value_name = "NAME=BINARY")]
    sut: Vec<String>,
    /// An adapter in a file; may be repeated
    #[arg(long, value_name = "FILE")]
    sut_file: Vec<PathBuf>,
    /// The site: the name of one that ships, or a file
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
}

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

    /// Reads what the flags name.
    pub(crate) fn read(&self) -> Result<(Setting, Suts), Failure> {
        let usage = |error: meshproof_harness::Error| Failure::Usage(error.to_string());
        let mut suts = Suts::default();
        for path in &self.sut_file {
            let (name, text) = text(path)?;
            suts.add(Sut::parse(&name, &text).map_err(diagnostic)?);
        }
        for text in &self.sut {
            suts.choose(text).map_err(usage)?;
        }
        let setting = Setting {
            backend: self.backend(),
            suts: suts.all().to_vec(),
            site: site_of(self.site.as_deref())?,
            ..Setting::default()
        };
        Ok((setting, suts))
    }
}

fn site_of(wanted: Option<&str>) -> Result<Site, Failure> {
    let shipped = site::shipped();
    let Some(wanted) = wanted else {
        return Ok(shipped.into_iter().next().unwrap_or_default());
    };
    let names: Vec<String> = shipped.iter().map(|site| site.site.clone()).collect();
    if let Some(site) = shipped.into_iter().find(|site| site.site == wanted) {
        return Ok(site);
    }
    let path = Path::new(wanted);
    if !path.is_file() {
        let names = names.join(", ");
        return Err(Failure::Usage(format!(
            "there is no site `{wanted}`; there are {names}, or a file can be named"
        )));
    }
    let (name, text) = text(path)?;
    Site::parse(&name, &text).map_err(diagnostic)
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
