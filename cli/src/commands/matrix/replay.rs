//! The capture of a matrix whose cells replay one.

use meshproof_harness::matrix::run::Replay;
use meshproof_harness::matrix::{Matrix, shipped, shipped_file};
use meshproof_record::manifest::Input;
use meshproof_record::store::Writer;
use meshproof_replay::map::Map;

use super::{Args, beside, scratch, stored};
use crate::commands::replay::through;
use crate::exit::Failure;

/// What a matrix names: a capture and its map.
pub(super) struct Files {
    capture: (String, Vec<u8>),
    map: (String, Vec<u8>),
    read: Map,
}

impl Files {
    /// Reads them; none where cells make calls.
    pub(super) fn of(matrix: &Matrix, args: &Args) -> Result<Option<Files>, Failure> {
        let Some(replay) = &matrix.work().replay else {
            return Ok(None);
        };
        if args.in_process {
            let why = "cells that replay are meshes of programs: leave --in-process out";
            return Err(Failure::Usage(why.into()));
        }
        let ships = shipped().iter().any(|(name, _)| *name == args.matrix);
        let bytes = |name: &str| -> Result<(String, Vec<u8>), Failure> {
            if let Some(bytes) = shipped_file(name).filter(|_| ships) {
                return Ok((name.to_owned(), bytes.to_vec()));
            }
            let path = beside(&args.matrix, name);
            let told = path.display().to_string();
            match std::fs::read(&path) {
                Ok(bytes) => Ok((told, bytes)),
                Err(error) => Err(Failure::Io(told, error)),
            }
        };
        let (capture, map) = (bytes(&replay.capture)?, bytes(&replay.map)?);
        let read = meshproof_input::text(&map.0, map.1.clone())
            .and_then(|text| Map::parse(&map.0, &text))
            .map_err(super::diagnostic)?;
        Ok(Some(Files { capture, map, read }))
    }

    /// Rewrites the capture into the folder of the run.
    pub(super) fn make(self, matrix: &Matrix, writer: &mut Writer) -> Result<Replay, Failure> {
        for (role, (name, bytes)) in [("capture", &self.capture), ("map", &self.map)] {
            let input = Input::of_bytes(role, name, bytes);
            writer.input(0, input).map_err(stored)?;
        }
        let folder = scratch(writer);
        let path = folder.join("recorded.pcap");
        std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(&path, &self.capture.1))
            .map_err(|error| Failure::Io(path.display().to_string(), error))?;
        let made = Replay::make(matrix, &path, &self.read, &folder.join("offline"));
        made.map_err(through::failed)
    }
}
