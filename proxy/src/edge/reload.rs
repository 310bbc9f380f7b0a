//! The configuration's file, read again.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use meshproof_input::{Problem, TEXT_BYTES_MAX};
use miette::{GraphicalReportHandler, GraphicalTheme};

use crate::Config;
use crate::config::Reload;

/// Reads the successor of `old` from its file; the error is for people, with line and caret.
pub(super) fn read(file: Option<&Path>, old: &Config) -> Result<Reload, String> {
    let Some(path) = file else {
        return Err("this sidecar was started without a file: there is nothing to reload".into());
    };
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    // One byte more than is allowed, so that what is too long is seen to be.
    let limit = TEXT_BYTES_MAX as u64 + 1;
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|error| format!("{name}: {error}"))?;
    meshproof_input::text(&name, bytes)
        .and_then(|text| old.reload(&name, &text))
        .map_err(|problem| show(&problem))
}

fn show(problem: &Problem) -> String {
    let mut out = String::new();
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor());
    match handler.render_report(&mut out, problem) {
        Ok(()) => out,
        Err(_) => problem.to_string(),
    }
}
