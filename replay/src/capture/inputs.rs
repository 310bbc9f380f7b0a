//! Which files are meant: names, globs, folders, standard input.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::Error;

/// What the captures of unnamed inputs are called.
const UNNAMED: &str = "capture";

/// Files in a folder or under a glob that are looked at, at most.
const FILES_MAX: usize = 100_000;

/// What was named as input.
///
/// All of `captures` together are one source: rotated parts of one capture point. Each entry of
/// `sources` is a capture point of its own; entries of the same name belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// Files, folders (their captures, not those of folders within), globs, or `-`.
    pub captures: Vec<String>,
    /// Named capture points.
    pub sources: Vec<NamedSource>,
}

/// A capture point with a name, as `--source NAME=GLOB` gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedSource {
    /// Its name.
    pub name: String,
    /// A file, a folder, a glob, or `-`.
    pub pattern: String,
}

/// Why a text is no named source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected NAME=GLOB, such as app='/captures/app-*.pcap'")]
pub struct BadSource;

impl FromStr for NamedSource {
    type Err = BadSource;

    fn from_str(text: &str) -> Result<NamedSource, BadSource> {
        match text.split_once('=') {
            Some((name, pattern)) if !name.is_empty() && !pattern.is_empty() => Ok(NamedSource {
                name: name.to_owned(),
                pattern: pattern.to_owned(),
            }),
            _ => Err(BadSource),
        }
    }
}

impl Inputs {
    /// Files of one unnamed source.
    pub fn of<I, P>(paths: I) -> Inputs
    where
        I: IntoIterator<Item = P>,
        P: AsRef<Path>,
    {
        Inputs {
            captures: paths
                .into_iter()
                .map(|path| path.as_ref().to_string_lossy().into_owned())
                .collect(),
            sources: Vec::new(),
        }
    }

    /// The files meant, each once per source, and the names of the sources.
    pub(super) fn files(&self) -> Result<(Vec<String>, Vec<Named>), Error> {
        let unnamed = self.captures.iter().map(|pattern| (UNNAMED, pattern));
        let named = self.sources.iter().map(|s| (s.name.as_str(), &s.pattern));
        let mut names: Vec<String> = Vec::new();
        let mut files = Vec::new();
        let mut known = BTreeSet::new();
        for (name, pattern) in unnamed.chain(named) {
            let source = match names.iter().position(|known| known == name) {
                Some(source) => source,
                None => {
                    names.push(name.to_owned());
                    names.len() - 1
                }
            };
            let source = u16::try_from(source).map_err(|_| Error::TooManySources {
                count: self.sources.len(),
            })?;
            let (paths, chosen) = expand(pattern)?;
            for path in paths {
                let real = path.canonicalize().unwrap_or_else(|_| path.clone());
                if known.insert((source, real)) {
                    files.push(Named {
                        path,
                        source,
                        chosen,
                    });
                }
            }
        }
        if files.is_empty() {
            return Err(Error::Nothing);
        }
        Ok((names, files))
    }
}

/// A file that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) path: PathBuf,
    pub(super) source: u16,
    pub(super) chosen: Chosen,
}

/// Whether a person named a file, or a pattern did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chosen {
    /// By name: it must be a capture.
    ByName,
    /// By a glob or folder: it may be something else and is then left out, with a finding.
    ByPattern,
}

fn expand(pattern: &str) -> Result<(Vec<PathBuf>, Chosen), Error> {
    let path = Path::new(pattern);
    if pattern == "-" {
        return Ok((vec![path.to_owned()], Chosen::ByName));
    }
    let no_match = |why| Error::NoMatch {
        pattern: pattern.to_owned(),
        why,
    };
    match path.metadata() {
        Ok(metadata) if metadata.is_dir() => {
            let io = |source| Error::Io {
                path: path.to_owned(),
                source,
            };
            let mut paths = Vec::new();
            for entry in path.read_dir().map_err(io)?.take(FILES_MAX) {
                let entry = entry.map_err(io)?;
                let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
                if !hidden && entry.path().is_file() {
                    paths.push(entry.path());
                }
            }
            paths.sort();
            if paths.is_empty() {
                return Err(no_match("the folder holds no file"));
            }
            Ok((paths, Chosen::ByPattern))
        }
        Ok(_) => Ok((vec![path.to_owned()], Chosen::ByName)),
        Err(_) if pattern.contains(['*', '?', '[']) => {
            let found = glob::glob(pattern).map_err(|error| Error::BadPattern {
                pattern: pattern.to_owned(),
                at: error.pos,
                why: error.msg,
            })?;
            let paths: Vec<PathBuf> = found
                .take(FILES_MAX)
                .filter_map(Result::ok)
                .filter(|path| path.is_file())
                .collect();
            if paths.is_empty() {
                return Err(no_match("no file matches"));
            }
            Ok((paths, Chosen::ByPattern))
        }
        Err(source) => Err(Error::Io {
            path: path.to_owned(),
            source,
        }),
    }
}
