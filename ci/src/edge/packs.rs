//! Rule packs in a folder: `NAME/pack.yaml` with `NAME/fixtures.yaml` beside it.

use std::fs;
use std::path::Path;

use meshproof_input::Problem;

use crate::file::Source;
use crate::pack::{Written, shipped};

/// Most folders that are looked at.
const FOLDERS_MAX: usize = 1_000;

/// The packs of a folder, and of those that ship each whose name is not among them: whoever keeps
/// packs of his own decides what a name means.
pub fn packs_of(folder: &Path) -> Result<Vec<Written>, Problem> {
    let shown = folder.display().to_string();
    let bad = |why: String| Problem::of_file(&shown, "pack::folder", why, "");
    let entries = fs::read_dir(folder).map_err(|error| bad(error.to_string()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| bad(error.to_string()))?.path();
        if path.join("pack.yaml").is_file() {
            names.push(path);
        }
        if names.len() > FOLDERS_MAX {
            return Err(bad(format!("it holds more than {FOLDERS_MAX} packs")));
        }
    }
    names.sort();
    if names.is_empty() {
        return Err(bad("it holds no NAME/pack.yaml".to_owned()));
    }
    let mut all = Vec::new();
    for path in names {
        let pack = source(&path.join("pack.yaml"))?;
        let fixtures = source(&path.join("fixtures.yaml"))?;
        all.push(Written { pack, fixtures });
    }
    let own = all.len();
    for written in shipped() {
        let file = |written: &Written| written.pack.parse::<crate::file::PackFile>();
        let name = file(&written)?.pack.value;
        let mut is_ours = false;
        for one in all.iter().take(own) {
            is_ours |= file(one)?.pack.value == name;
        }
        if !is_ours {
            all.push(written);
        }
    }
    Ok(all)
}

fn source(path: &Path) -> Result<Source, Problem> {
    let name = path.display().to_string();
    let bytes = fs::read(path).map_err(|error| {
        let help = "a pack has pack.yaml and fixtures.yaml";
        Problem::of_file(&name, "pack::folder", error.to_string(), help)
    })?;
    let text = meshproof_input::text(&name, bytes)?;
    Ok(Source::new(name, text))
}
