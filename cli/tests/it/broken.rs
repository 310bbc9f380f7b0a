//! Files as people break them: each is refused by the program with its line, a caret and a
//! sentence that helps, and nothing is started for it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use assert_cmd::Command;

/// Least number of files, in all and of each kind.
const LEAST: (usize, usize) = (60, 8);

/// A capture that can be read.
const CAPTURE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../fixtures/captures/sofarpc_bolt_hessian2.pcap"
);

/// The kinds of files: the folder that the broken ones stand in, and how the program is given one.
/// `FILE` stands for the file, `CAPTURE` for a good capture.
const KINDS: [(&str, &[&str]); 6] = [
    (
        "maps",
        &["rewrite", "CAPTURE", "--map", "FILE", "-o", "out.pcapng"],
    ),
    ("matrices", &["matrix", "FILE", "--plan"]),
    ("scenarios", &["run", "FILE", "--plan"]),
    (
        "sites",
        &["run", "heartbeat-lost", "--plan", "--site", "FILE"],
    ),
    (
        "suts",
        &["run", "heartbeat-lost", "--plan", "--sut-file", "FILE"],
    ),
    ("topologies", &["env", "up", "FILE", "--for", "1s"]),
];

/// What nobody who writes YAML knows: words of the program and of its libraries.
const JARGON: [&str; 17] = [
    "variant",
    "enum",
    "untagged",
    "newtype",
    "struct",
    "serde",
    "unit type",
    "deserial",
    "usize",
    "u16",
    "u32",
    "u64",
    "f64",
    "scalar",
    "sequence",
    "panicked",
    "RUST_BACKTRACE",
];

/// What the first line of a file says of it.
struct Expected {
    line: usize,
    /// Words of the message, words of the help.
    words: Vec<String>,
}

/// `# expect: LINE: words of the sentence | words of the help`
fn expected(bytes: &[u8]) -> Option<Expected> {
    let first = bytes.split(|byte| *byte == b'\n').next()?;
    let said = std::str::from_utf8(first)
        .ok()?
        .strip_prefix("# expect: ")?;
    let (line, words) = said.split_once(": ")?;
    Some(Expected {
        line: line.parse().ok().filter(|line| *line > 1)?,
        words: words.split(" | ").map(str::to_owned).collect(),
    })
}

fn broken() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/broken")
}

/// The files of a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files
}

/// Everything that is wrong with how the program takes this file.
fn complaints(file: &Path, arguments: &[&str]) -> Vec<String> {
    let name = file
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let bytes = fs::read(file).expect("a file");
    let Some(expected) = expected(&bytes) else {
        return vec!["it does not begin with `# expect: LINE: words | words`".to_owned()];
    };
    // A copy in a folder of its own, in which anything that is written would be seen.
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join(&name), &bytes).expect("a copy");
    let arguments = arguments.iter().map(|argument| match *argument {
        "FILE" => name.as_str(),
        "CAPTURE" => CAPTURE,
        other => other,
    });
    let output = Command::cargo_bin("meshproof")
        .expect("the program")
        .current_dir(folder.path())
        .env("NO_COLOR", "1")
        .args(arguments)
        .timeout(Duration::from_secs(120))
        .output()
        .expect("it runs");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut wrong = Vec::new();
    let mut must = |holds: bool, what: String| {
        if !holds {
            wrong.push(what);
        }
    };
    let code = output.status.code();
    must(code == Some(2), format!("exit code {code:?}, not 2"));
    must(output.stdout.is_empty(), "something on stdout".to_owned());
    let place = format!("[{name}:{}:", expected.line);
    must(error.contains(&place), format!("no `{place}`"));
    let sentence = joined(&error);
    for words in &expected.words {
        must(sentence.contains(words), format!("no `{words}`"));
    }
    let messages = error
        .lines()
        .filter(|line| line.trim_start().starts_with("× "))
        .count();
    must(messages == 1, format!("{messages} messages, not 1"));
    must(
        has_caret(&error, expected.line),
        "no caret in that line".to_owned(),
    );
    for word in JARGON {
        let said = sentence.split(" ╭─[").next().unwrap_or_default();
        must(!said.contains(word), format!("`{word}` is jargon"));
    }
    let left = files(folder.path()).len();
    must(
        left == 1,
        format!("{} things were made", left.saturating_sub(1)),
    );
    if !wrong.is_empty() {
        wrong.push(error);
    }
    wrong
}

/// The lines of a message as one, without the bars in front of those that go on.
fn joined(error: &str) -> String {
    let lines = error
        .lines()
        .map(|line| line.trim().trim_start_matches("│ "));
    lines.collect::<Vec<_>>().join(" ")
}

/// Whether the line of the file that is shown has a mark below it.
fn has_caret(error: &str, line: usize) -> bool {
    let shown = format!("{line} │");
    let mut lines = error
        .lines()
        .skip_while(|text| !text.trim_start().starts_with(&shown));
    let below = lines.nth(1).unwrap_or_default();
    below.contains('·') && below.contains(['┬', '─', '▲', '╰'])
}

#[test]
fn every_broken_file_is_refused_with_its_line_and_a_sentence() {
    let mut wrong = BTreeMap::new();
    let mut all = 0;
    for (kind, arguments) in KINDS {
        let files = files(&broken().join(kind));
        assert!(files.len() >= LEAST.1, "{} files of {kind}", files.len());
        all += files.len();
        for file in files {
            let complaints = complaints(&file, arguments);
            if !complaints.is_empty() {
                wrong.insert(file, complaints.join("\n  "));
            }
        }
    }
    assert!(all >= LEAST.0, "{all} files");
    let told: Vec<String> = wrong
        .iter()
        .map(|(file, wrong)| format!("{}:\n  {wrong}", file.display()))
        .collect();
    assert!(
        told.is_empty(),
        "{} of {all}:\n{}",
        told.len(),
        told.join("\n")
    );
}

/// A folder that no test reads would prove nothing.
#[test]
fn every_folder_of_broken_files_is_read() {
    let folders = files(&broken());
    let names: Vec<_> = folders.iter().filter_map(|path| path.file_name()).collect();
    assert_eq!(names, KINDS.map(|(kind, _)| std::ffi::OsStr::new(kind)));
}
