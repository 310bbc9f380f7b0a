//! Which stories are meant: names, files, folders, what failed in a record.

use std::fs;
use std::path::{Path, PathBuf};

use meshproof_harness::offline::text::HERE;
use meshproof_harness::scenario::{self, Known, Story, shipped};
use meshproof_harness::site;
use meshproof_harness::sut::Suts;
use meshproof_record::event::Event;
use meshproof_record::store::Record;
use meshproof_record::verdict::Verdict;

use crate::commands::setting::{diagnostic, text};
use crate::exit::Failure;

/// Where a story stands.
enum Place {
    /// In the binary.
    Shipped(&'static str, &'static str),
    /// On disk.
    File(PathBuf),
}

/// Stories, and the texts of those that ship.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) stories: Vec<Story>,
    /// What captures they name is unpacked for a run.
    pub(super) shipped: Vec<&'static str>,
}

/// Reads and checks them all; the first that is wrong is told. `unpacked` is the folder where the
/// captures of stories that ship will stand.
pub(super) fn load(
    wanted: &[String],
    bugs: &[&str],
    suts: &Suts,
    unpacked: &Path,
) -> Result<Loaded, Failure> {
    let suts: Vec<&str> = suts.all().iter().map(|sut| sut.sut.as_str()).collect();
    let sites = site::shipped();
    let sites: Vec<&str> = sites.iter().map(|site| site.site.as_str()).collect();
    let known = Known {
        bugs,
        suts: &suts,
        sites: &sites,
    };
    let mut places = Vec::new();
    for wanted in wanted {
        find(wanted, &mut places)?;
    }
    let mut stories: Vec<Story> = Vec::new();
    let mut shipped = Vec::new();
    for place in places {
        let story = one(&place, &known, unpacked)?;
        let name = &story.scenario.scenario;
        if let Some(other) = stories
            .iter()
            .find(|other| other.scenario.scenario == *name)
        {
            if other.file == story.file {
                continue;
            }
            return Err(Failure::Usage(format!(
                "two stories are called `{name}`: {} and {}",
                other.file, story.file
            )));
        }
        if let Place::Shipped(_, text) = place {
            shipped.push(text);
        }
        stories.push(story);
    }
    Ok(Loaded { stories, shipped })
}

fn find(wanted: &str, places: &mut Vec<Place>) -> Result<(), Failure> {
    let path = Path::new(wanted);
    if path.is_dir() {
        let cannot = |error| Failure::Io(wanted.to_owned(), error);
        let mut files = Vec::new();
        for entry in fs::read_dir(path).map_err(cannot)? {
            let path = entry.map_err(cannot)?.path();
            let yaml = path.extension().is_some_and(|kind| kind == "yaml");
            if yaml && path.is_file() {
                files.push(path);
            }
        }
        if files.is_empty() {
            return Err(Failure::Usage(format!("no story stands in {wanted}")));
        }
        files.sort();
        places.extend(files.into_iter().map(Place::File));
        return Ok(());
    }
    if path.is_file() {
        places.push(Place::File(path.to_path_buf()));
        return Ok(());
    }
    // What stands in this project's folders is in the binary, too.
    let suite = wanted.trim_end_matches('/');
    let suite = suite.strip_prefix("scenarios/").unwrap_or(suite);
    let found = shipped::SUITES.iter().find(|(name, _)| *name == suite);
    if let Some((_, all)) = found {
        places.extend(all.iter().map(|(name, text)| Place::Shipped(name, text)));
        return Ok(());
    }
    let found = shipped::stories().find(|(name, _)| *name == wanted);
    let Some((name, text)) = found else {
        let suites = shipped::SUITES.iter().map(|(name, _)| *name);
        let stories = shipped::stories().map(|(name, _)| name);
        let names: Vec<&str> = suites.chain(stories).collect();
        let help = match meshproof_input::suggestion(wanted, &names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`meshproof run --list` names those that ship".to_owned(),
        };
        return Err(Failure::Usage(format!(
            "there is no story and no file `{wanted}`; {help}"
        )));
    };
    places.push(Place::Shipped(name, text));
    Ok(())
}

fn one(place: &Place, known: &Known<'_>, unpacked: &Path) -> Result<Story, Failure> {
    match place {
        Place::Shipped(name, text) => {
            let topologies =
                |name: &str| Some((name.to_owned(), shipped::topology(name)?.to_owned()));
            let text = here(unpacked, (*text).to_owned());
            scenario::load(name, &text, &topologies, known).map_err(diagnostic)
        }
        Place::File(path) => {
            let (name, text) = text(path)?;
            let beside = path.parent().unwrap_or(Path::new(".")).to_path_buf();
            let text = here(&beside, text);
            let topologies = |name: &str| topology(&beside, name);
            scenario::load(&name, &text, &topologies, known).map_err(diagnostic)
        }
    }
}

/// A topology that a story names: a file beside it, one of the folder `topologies` beside it, or
/// one that ships.
fn topology(beside: &Path, name: &str) -> Option<(String, String)> {
    let files = [
        beside.join(name),
        beside.join("topologies").join(format!("{name}.yaml")),
    ];
    let file = files.iter().find(|path| path.is_file());
    match file {
        Some(path) => {
            let (name, text) = text(path).ok()?;
            let folder = path.parent().unwrap_or(Path::new("."));
            Some((name, here(folder, text)))
        }
        None => Some((name.to_owned(), shipped::topology(name)?.to_owned())),
    }
}

/// The text of a file with its folder in the place of `{{here}}`.
fn here(folder: &Path, text: String) -> String {
    if !text.contains(HERE) {
        return text;
    }
    let absolute = std::path::absolute(folder);
    let folder = absolute.as_deref().unwrap_or(folder);
    text.replace(HERE, &folder.to_string_lossy())
}

/// The stories that did not hold in a record, as they were named then.
pub(super) fn failed(folder: &Path) -> Result<Vec<String>, Failure> {
    let wrong = |error: meshproof_record::store::StoreError| Failure::Usage(error.to_string());
    let record = Record::open(folder).map_err(wrong)?;
    let mut wanted = Vec::new();
    for entry in record.events().map_err(wrong)? {
        let Event::CaseEnded { case } = entry.map_err(wrong)?.event else {
            continue;
        };
        if matches!(case.verdict, Verdict::Fail | Verdict::Invalid) {
            // The command that runs it again names it as it was named.
            let story = case.rerun.split_whitespace().nth(2).map(str::to_owned);
            wanted.extend(story.filter(|story| !wanted.contains(story)));
        }
    }
    match wanted.is_empty() {
        true => Err(Failure::Usage(format!(
            "every story of {} held: there is nothing to tell again",
            folder.display()
        ))),
        false => Ok(wanted),
    }
}
