//! Writes the sample records that the tests use into a folder, with all their reports, for whoever
//! changes a report and wants to look at it.

#[path = "../tests/it/samples.rs"]
mod samples;

#[path = "../tests/it/case_samples.rs"]
mod case_samples;

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use meshproof_record::report::terminal::{Colour, Style, summary, table};
use meshproof_record::report::{View, html, json, junit};
use meshproof_record::store::Record;
use meshproof_record::verdict::{Policy, Verdict};

fn main() {
    let into = PathBuf::from(std::env::args().nth(1).expect("a folder to write into"));
    let mut out = io::stdout().lock();
    let mut views = Vec::new();
    for (name, sample) in [
        ("pass", samples::PASS),
        ("fail", samples::FAIL),
        ("invalid", samples::INVALID),
        ("cut-off", samples::CUT_OFF),
    ] {
        let folder = into.join(name);
        samples::write(&folder, &sample);
        let view = View::of(&Record::open(&folder).unwrap()).unwrap();
        let alone = std::slice::from_ref(&view);
        let style = Style {
            colour: Colour::Ansi,
            width: 100,
        };
        write!(out, "{}", summary(&view, style)).unwrap();
        fs::write(folder.join("report.html"), html::html(alone, view.verdict)).unwrap();
        fs::write(folder.join("junit.xml"), junit::junit(alone)).unwrap();
        let code = view.exit_code(&Policy::USUAL);
        let text = json::json(alone, view.verdict, code, &Policy::USUAL);
        fs::write(folder.join("report.json"), text).unwrap();
        views.push(view);
    }
    type Made = fn(&std::path::Path);
    let made: [(&str, Made); 4] = [
        ("matrix-fail", |folder| {
            case_samples::matrix(folder, 180, case_samples::Mesh::TrBoltMixed);
        }),
        ("matrix-pass", |folder| {
            case_samples::matrix(folder, 180, case_samples::Mesh::Right);
        }),
        ("matrix-2000", |folder| {
            case_samples::matrix(folder, 2_000, case_samples::Mesh::TrBoltMixed);
        }),
        ("suite", case_samples::suite),
    ];
    for (name, make) in made {
        let folder = into.join(name);
        make(&folder);
        let view = View::of(&Record::open(&folder).unwrap()).unwrap();
        let style = Style {
            colour: Colour::Ansi,
            width: 100,
        };
        writeln!(out, "{}", summary(&view, style)).unwrap();
        let page = html::html(std::slice::from_ref(&view), view.verdict);
        fs::write(folder.join("report.html"), page).unwrap();
    }
    let folder = into.join("hostile");
    samples::write_hostile(&folder, 100_000);
    let view = View::of(&Record::open(&folder).unwrap()).unwrap();
    let page = html::html(std::slice::from_ref(&view), view.verdict);
    fs::write(folder.join("report.html"), page).unwrap();
    let style = Style {
        colour: Colour::Ansi,
        width: 100,
    };
    write!(out, "{}", table(&views, Verdict::Fail, style)).unwrap();
    fs::write(into.join("all.html"), html::html(&views, Verdict::Fail)).unwrap();
}
