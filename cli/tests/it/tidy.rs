//! The rules of the house that a machine can hold.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest Rust file. One that comes near it holds more than one idea.
const LINES_MAX: usize = 900;

/// Who may use whom: the arrows of ARCHITECTURE.md. What is tested may use more.
const ARROWS: [(&str, &[&str]); 11] = [
    ("wire", &[]),
    ("sys", &[]),
    ("input", &[]),
    ("record", &["input"]),
    ("replay", &["wire", "record", "input", "sys"]),
    ("proxy", &["wire", "input", "sys"]),
    ("fault", &["wire", "record", "input", "sys"]),
    (
        "harness",
        &["fault", "replay", "wire", "record", "input", "sys"],
    ),
    ("fixtures", &["sys", "wire"]),
    ("ci", &["record", "input"]),
    (
        "cli",
        &[
            "ci", "fault", "fixtures", "harness", "input", "proxy", "record", "replay", "sys",
            "wire",
        ],
    ),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file below the root that belongs to the project, with its path from there.
fn files() -> Vec<(String, PathBuf)> {
    /// Made by builds and runs.
    const MADE: [&str; 5] = [
        "target",
        ".git",
        "meshproof-runs",
        "artifacts",
        "node_modules",
    ];
    fn walk(folder: &Path, name: &str, found: &mut Vec<(String, PathBuf)>) {
        let mut entries: Vec<_> = fs::read_dir(folder)
            .expect("a folder of the project")
            .map(|entry| entry.expect("an entry of it"))
            .collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let file_name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path();
            let name = match name {
                "" => file_name.clone(),
                name => format!("{name}/{file_name}"),
            };
            if MADE.contains(&file_name.as_str()) {
                continue;
            }
            let kind = entry.file_type().expect("the kind of an entry");
            if kind.is_dir() {
                walk(&path, &name, found);
            } else if kind.is_file() {
                found.push((name, path));
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), "", &mut found);
    found
}

fn rust_files() -> Vec<(String, String)> {
    let files: Vec<(String, String)> = files()
        .into_iter()
        .filter(|(name, _)| name.ends_with(".rs"))
        .map(|(name, path)| (name, fs::read_to_string(path).expect("Rust is UTF-8")))
        .collect();
    assert!(files.len() > 50, "the walk finds the project");
    files
}

fn manifest(krate: &str) -> String {
    fs::read_to_string(root().join(krate).join("Cargo.toml")).expect("a crate of the workspace")
}

/// The entries of one section of a manifest.
fn section(manifest: &str, name: &str) -> Vec<String> {
    manifest
        .lines()
        .skip_while(|line| *line != format!("[{name}]"))
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn arrows_are_those_of_the_architecture() {
    let workspace = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace");
    let members = workspace
        .lines()
        .find_map(|line| line.strip_prefix("members = "))
        .expect("members on one line");
    let known: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    let mut seen = 0;
    for member in members.split('"').skip(1).step_by(2) {
        let allowed = known
            .get(member)
            .unwrap_or_else(|| panic!("{member}: say in this test whom it may use"));
        let manifest = manifest(member);
        for line in section(&manifest, "dependencies") {
            if let Some(rest) = line.strip_prefix("meshproof-") {
                let used = rest.split(['.', ' ', '=']).next().unwrap_or_default();
                assert!(allowed.contains(&used), "{member} must not use {used}");
            }
        }
        seen += 1;
    }
    assert_eq!(seen, ARROWS.len(), "members: {members}");
}

#[test]
fn versions_and_lints_stand_once() {
    for (krate, _) in ARROWS {
        let manifest = manifest(krate);
        assert_eq!(
            section(&manifest, "lints"),
            ["workspace = true"],
            "{krate}: the lints are those of the workspace"
        );
        for part in ["dependencies", "dev-dependencies"] {
            for line in section(&manifest, part) {
                assert!(
                    line.contains("workspace = true"),
                    "{krate}: versions stand in the workspace: {line}"
                );
            }
        }
    }
}

#[test]
fn what_the_compiler_cannot_check_stands_in_sys() {
    for (name, text) in rust_files() {
        let lifted = text.contains(concat!("(unsafe", "_code"));
        assert!(
            !lifted || name.starts_with("sys/src/"),
            "{name}: only `sys` may do what the compiler cannot check"
        );
        let said = text
            .lines()
            .filter(|line| line.contains("SAFETY: "))
            .count();
        let blocks = text
            .lines()
            .filter(|line| line.contains(concat!("uns", "afe {")));
        let blocks = blocks.count();
        assert!(
            said >= blocks,
            "{name}: {blocks} blocks that the compiler cannot check, {said} reasons (`SAFETY: `)"
        );
    }
}

#[test]
fn every_rust_file_says_what_it_is() {
    for (name, text) in rust_files() {
        let first = text
            .lines()
            .find(|line| !line.starts_with("#!"))
            .unwrap_or_default();
        assert!(
            first.starts_with("//! ") && first.len() > 10 && !first.contains("placeholder"),
            "{name}: the first line says what the file is: {first}"
        );
    }
}

#[test]
fn files_are_of_one_idea() {
    let long: Vec<String> = rust_files()
        .into_iter()
        .map(|(name, text)| (name, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(name, lines)| format!("{name}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "longer than {LINES_MAX} lines: {long:#?}");
}

#[test]
fn nothing_is_left_undone() {
    let words = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("#[ig", "nore"),
        concat!("FIX", "ME"),
        concat!("clippy::", "all)]"),
    ];
    for (name, text) in rust_files() {
        for word in words {
            assert!(!text.contains(word), "{name}: holds {word}");
        }
    }
}

#[test]
fn a_crate_has_one_binary_of_integration_tests() {
    for (krate, _) in ARROWS {
        let Ok(entries) = fs::read_dir(root().join(krate).join("tests")) else {
            continue;
        };
        for entry in entries {
            let entry = entry.expect("an entry of tests");
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path();
            let is_binary = name.ends_with(".rs") || path.join("main.rs").is_file();
            assert!(!is_binary || name == "it", "{krate}/tests/{name}");
        }
    }
}

#[test]
fn every_capture_has_a_model_beside_it() {
    let mut captures = 0;
    for (name, path) in files() {
        if name.starts_with("fixtures/captures/") && name.ends_with(".pcap") {
            assert!(path.with_extension("json").is_file(), "{name}");
            captures += 1;
        }
    }
    assert!(captures > 10);
}

#[test]
fn every_command_has_help_with_an_example() {
    let help = |args: &[&str]| {
        let output = assert_cmd::Command::cargo_bin("meshproof")
            .expect("the program")
            .args(args)
            .arg("--help")
            .output()
            .expect("it runs");
        assert!(output.status.success());
        String::from_utf8(output.stdout).expect("help is text")
    };
    let top = help(&[]);
    let commands: Vec<&str> = top
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect();
    assert!(commands.len() > 5, "{top}");
    for command in commands {
        let text = help(&[command]);
        // A command of commands has its examples there.
        let nested = text.contains("\nCommands:\n");
        assert!(
            nested || text.contains("Example"),
            "`meshproof {command} --help` shows an example: {text}"
        );
    }
}
