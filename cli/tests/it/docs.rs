//! What pages of the documentation show as printed is what the program prints.

use std::os::unix::fs::symlink;
use std::path::Path;

use crate::peer::command;

const OWN: &str = env!("CARGO_BIN_EXE_meshproof");

/// A block between fences: its language, and its lines.
struct Block<'p> {
    language: &'p str,
    text: &'p str,
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let fenced = page.split("\n```").skip(1).step_by(2);
    let block = fenced.filter_map(|block| {
        let (language, text) = block.split_once('\n')?;
        Some(Block { language, text })
    });
    block.collect()
}

/// Runs every command of a page that is shown with what it prints, in a folder that holds the
/// files which the page shows, each by the name that it has in its first line: `matrix: mixed` is
/// `mixed.yaml`. `…` in a line stands for what varies.
#[track_caller]
fn check(page: &str, shown: usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(page);
    let text = std::fs::read_to_string(path).unwrap();
    let blocks = blocks(&text);
    let folder = tempfile::tempdir().unwrap();
    symlink(OWN, folder.path().join("meshproof")).unwrap();
    for block in blocks.iter().filter(|block| block.language == "yaml") {
        let first = block.text.lines().next().unwrap_or_default();
        if let Some((_, name)) = first.split_once(": ") {
            let file = folder.path().join(format!("{name}.yaml"));
            std::fs::write(file, format!("{}\n", block.text)).unwrap();
        }
    }
    let mut ran = 0;
    for block in blocks.iter().filter(|block| block.language == "console") {
        for one in format!("\n{}", block.text).split("\n$ ").skip(1) {
            let (typed, printed) = one.split_once('\n').unwrap_or((one, ""));
            let output = command("sh")
                .args(["-c", &format!("({typed}) 2>&1")])
                .current_dir(folder.path())
                .env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()))
                .env("NO_COLOR", "1")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            let (said, printed) = (trimmed(&said), trimmed(printed));
            let same = said.len() == printed.len()
                && said
                    .iter()
                    .zip(&printed)
                    .all(|(said, like)| fits(said, like));
            assert!(
                same,
                "{page}: `{typed}` prints\n{}\nand the page says\n{}",
                said.join("\n"),
                printed.join("\n")
            );
            ran += 1;
        }
    }
    assert_eq!(ran, shown, "{page}: commands that are shown with output");
}

/// Lines without what stands at their end, and without empty ones at the end.
fn trimmed(text: &str) -> Vec<&str> {
    text.trim_end().lines().map(str::trim_end).collect()
}

/// Whether a line is one that the page shows; `…` there is any text.
fn fits(said: &str, like: &str) -> bool {
    let mut parts = like.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = said.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[test]
fn pages_show_what_is_printed() {
    check("docs/matrix.md", 3);
    check("docs/scenarios.md", 1);
    check("docs/faults.md", 1);
}

#[test]
fn what_varies_may_be_left_open() {
    for (like, said, same) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("a…c", "abc", true),
        ("a…c…", "abcd", true),
        ("a…c", "abd", false),
        ("…: 3", "x: 3", true),
    ] {
        assert_eq!(fits(said, like), same, "{like} and {said}");
    }
}

#[test]
fn numbers_of_the_mixed_fleet_are_those_of_its_plan() {
    let planned = command(OWN)
        .args(["matrix", "mixed-mesh", "--plan"])
        .output();
    let planned = String::from_utf8(planned.unwrap().stdout).unwrap();
    let last = planned.lines().last().unwrap_or_default();
    let (cells, covers) = last.split_once(", seed 7; they cover ").unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let page = std::fs::read_to_string(path).unwrap();
    let begun = page
        .find("$ meshproof matrix mixed-mesh | head -2")
        .unwrap();
    let (block, _) = page[begun..].split_once("```").unwrap();
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown = words(&block.replace(" ran", "").replace(';', ","));
    assert_eq!(
        shown,
        format!("$ meshproof matrix mixed-mesh | head -2 PASS {cells} pass, {covers}"),
    );
}
