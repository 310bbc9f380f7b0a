//! `meshproof matrix --merge`: the records of shards become one.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use meshproof_harness::matrix::run::merge;
use meshproof_harness::matrix::{Matrix, PART, Part, Plan};
use meshproof_record::event::Event;
use meshproof_record::manifest::{Input, Manifest, Start};
use meshproof_record::store::{self, ARTEFACTS, Ending, Record, Writer};
use meshproof_record::verdict::End;

use super::{Args, saying, stored};
use crate::commands::report::say;
use crate::exit::Failure;

/// A record of cells of one plan.
struct Shard {
    folder: PathBuf,
    manifest: Manifest,
    part: Part,
}

impl Shard {
    fn open(folder: &Path) -> Result<Shard, Failure> {
        let told = || folder.display();
        let record = Record::open(folder).map_err(stored)?;
        let Some(manifest) = record.manifest().cloned() else {
            let why = format!("{}: the run was cut off: run this shard again", told());
            return Err(Failure::Usage(why));
        };
        let path = folder.join(ARTEFACTS).join(PART);
        let bytes = fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::Usage(format!(
                "{}: this is no record of cells of a matrix: name what `meshproof matrix --shard` \
                 has written",
                told()
            )),
            _ => Failure::Io(path.display().to_string(), error),
        })?;
        let part = Part::from_bytes(&bytes)
            .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
        Ok(Shard {
            folder: folder.to_owned(),
            manifest,
            part,
        })
    }
}

/// Writes the record of the whole, and says what it says. Whatever the order of the shards, it has
/// the same bytes: it is dated by the shards, and named after them.
pub(super) fn run(
    matrix: &Matrix,
    plan: &Plan,
    text: &str,
    args: &Args,
    command: &str,
) -> Result<u8, Failure> {
    let shards = args.merge.iter().map(|folder| Shard::open(folder));
    let mut shards = shards.collect::<Result<Vec<_>, _>>()?;
    shards.sort_by(|a, b| a.manifest.start.run.cmp(&b.manifest.start.run));
    shards.dedup_by(|a, b| a.manifest.start.run == b.manifest.start.run);
    let own = std::iter::once(Part::new(matrix, plan));
    let part = Part::merge(own.chain(shards.iter().map(|shard| shard.part.clone())))
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let Some(start) = start(&shards, args, plan.seed) else {
        return Err(Failure::Usage("name at least one record of a shard".into()));
    };
    let mut events = Vec::new();
    let told = merge(matrix, plan, &part, command, &mut |event| {
        events.push(event)
    })
    .map_err(|error| Failure::Usage(error.to_string()))?;
    let folder = match &args.record {
        Some(folder) => folder.clone(),
        None => store::default_folder(&start),
    };
    let mut writer = Writer::create(&folder, start).map_err(stored)?;
    let input = Input::of_bytes("matrix", &args.matrix, text.as_bytes());
    writer.input(0, input).map_err(stored)?;
    let artefacts = writer.artefacts().map_err(stored)?;
    put(&artefacts.join(PART), &part.to_bytes())?;
    for one in &told.ran {
        // The one whose result it is.
        let whose = shards.iter().find(|shard| shard.part.holds(one));
        let Some(shard) = whose else { continue };
        // What a record says is a path within it, or nothing.
        let within = |file: &&String| {
            let mut parts = Path::new(file.as_str()).components();
            parts.all(|part| matches!(part, Component::Normal(_)))
        };
        for file in one.case.evidence.iter().filter(within) {
            let from = shard.folder.join(ARTEFACTS).join(file);
            let bytes =
                fs::read(&from).map_err(|error| Failure::Io(from.display().to_string(), error))?;
            put(&artefacts.join(file), &bytes)?;
        }
    }
    for event in events {
        let event: Event = event;
        writer.event(0, event).map_err(stored)?;
    }
    let ended = shards.iter().map(|shard| shard.manifest.ended.as_str());
    let ended = ended.max().and_then(|ended| ended.parse().ok());
    let ran = shards.iter().map(|shard| shard.manifest.elapsed_ns);
    let ends = shards.iter().map(|shard| shard.manifest.end);
    let cut = ends.clone().find(|end| *end != End::Finished);
    writer
        .finish(Ending {
            now: ended.unwrap_or_default(),
            at_ns: ran.sum(),
            end: cut.unwrap_or(End::Finished),
            claims: told.claims,
            capture: None,
            replay: None,
            latency: None,
            lateness: None,
        })
        .map_err(stored)?;
    say(&folder, saying(args), |_| Ok(()))
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, bytes))
        .map_err(|error| Failure::Io(path.display().to_string(), error))
}

/// When the first shard began, under a name that is made of theirs.
fn start(shards: &[Shard], args: &Args, seed: u64) -> Option<Start> {
    let first = &shards.first()?.manifest.start;
    let mut names = vec!["meshproof", "matrix", &args.matrix, "--merge"];
    names.extend(shards.iter().map(|shard| shard.manifest.start.run.as_str()));
    let command_line: Vec<String> = names.into_iter().map(str::to_owned).collect();
    Some(Start {
        run: store::named_after(&first.run, &command_line.join(" ")),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command_line,
        seed,
        ..first.clone()
    })
}
