//! Files of a project.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::outcome::Code;
use crate::world::{Absent, FILE_BYTES_MAX, FILES_MAX, Seen};

/// Most bytes of all files of one pattern (256 MiB).
const BYTES_MAX: u64 = 256 << 20;

/// The files of a path or pattern, in the order of their names.
pub(super) fn files(root: &Path, pattern: &str) -> Result<Vec<Seen>, Absent> {
    let paths = paths(root, pattern)?;
    if paths.is_empty() {
        return Err(Absent::new(Code::Missing, format!("there is no {pattern}")));
    }
    let mut sum = 0;
    let mut all = Vec::with_capacity(paths.len());
    for path in paths {
        let seen = read(root, &path)?;
        sum += seen.bytes.len() as u64;
        if sum > BYTES_MAX {
            let why = format!("the files of {pattern} hold more than {BYTES_MAX} bytes");
            return Err(Absent::new(Code::TooLarge, why));
        }
        all.push(seen);
    }
    Ok(all)
}

/// Whether any file or folder has this path or pattern.
pub(super) fn exists(root: &Path, pattern: &str) -> bool {
    paths(root, pattern).is_ok_and(|paths| !paths.is_empty())
}

fn paths(root: &Path, pattern: &str) -> Result<Vec<PathBuf>, Absent> {
    let plain = root.join(pattern);
    if fs::symlink_metadata(&plain).is_ok() {
        return Ok(vec![plain]);
    }
    // The root may hold signs of a pattern itself.
    let root = glob::Pattern::escape(&root.to_string_lossy());
    let whole = format!("{root}/{pattern}");
    let bad = |why: String| Absent::new(Code::Unreadable, format!("{pattern}: {why}"));
    let mut all = Vec::new();
    for path in glob::glob(&whole).map_err(|error| bad(error.to_string()))? {
        all.push(path.map_err(|error| bad(error.to_string()))?);
        if all.len() > FILES_MAX {
            let why = format!("more than {FILES_MAX} files fit {pattern}");
            return Err(Absent::new(Code::TooLarge, why));
        }
    }
    all.sort();
    Ok(all)
}

fn read(root: &Path, path: &Path) -> Result<Seen, Absent> {
    let shown = path.strip_prefix(root).unwrap_or(path);
    let shown = shown.display().to_string();
    let bad = |error: std::io::Error| {
        let code = match error.kind() {
            std::io::ErrorKind::NotFound => Code::Missing,
            _ => Code::Unreadable,
        };
        Absent::new(code, format!("{shown} cannot be read: {error}"))
    };
    let metadata = fs::metadata(path).map_err(bad)?;
    // A pipe would keep the gate waiting.
    if !metadata.is_file() {
        let why = format!("{shown} is no file");
        return Err(Absent::new(Code::Unreadable, why));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(bad)?;
    let changed = file.metadata().and_then(|it| it.modified()).map_err(bad)?;
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(bad)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let why = format!("{shown} is larger than {FILE_BYTES_MAX} bytes");
        return Err(Absent::new(Code::TooLarge, why));
    }
    Ok(Seen {
        path: shown,
        bytes,
        changed_unix_ns: super::unix_ns(changed),
    })
}
