//! What the repository says, by the program `git`.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::outcome::Code;
use crate::world::Absent;

/// How long one call may take.
const WITHIN: Duration = Duration::from_secs(60);
/// Most bytes of one answer (256 MiB).
const BYTES_MAX: u64 = 256 << 20;
/// Most lines that a branch may add before it is not looked at line by line.
const ADDED_MAX: usize = 1_000_000;

/// Variables by which services name the branch that is to be merged into.
const TARGETS: [&str; 3] = [
    "GITHUB_BASE_REF",
    "CI_MERGE_REQUEST_TARGET_BRANCH_NAME",
    "CHANGE_TARGET",
];
/// Variables by which services name the branch that is built, where none is checked out.
const BRANCHES: [&str; 6] = [
    "GITHUB_HEAD_REF",
    "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME",
    "CHANGE_BRANCH",
    "GITHUB_REF_NAME",
    "CI_COMMIT_REF_NAME",
    "BRANCH_NAME",
];

/// `head`, `branch`, `clean`, `shallow`, `tags`, `tracked`; with a branch to merge into also
/// `target`, `commits`, `merges`, `changes`, `added`, `added_lines`; with two branches
/// `back.missing`.
pub(super) fn facts(
    root: &Path,
    target: Option<&str>,
    back: Option<&(String, String)>,
) -> Result<Value, Absent> {
    let git = Git { root };
    let head = git.ask(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])?;
    let head = head.ok_or_else(|| {
        Absent::new(
            Code::Missing,
            format!("{} is no repository of git with a commit", root.display()),
        )
    })?;
    let mut facts = Map::new();
    facts.insert("head".into(), head.trim().into());
    let is_shallow = git.need(&["rev-parse", "--is-shallow-repository"])?.trim() == "true";
    facts.insert("shallow".into(), is_shallow.into());
    let branch = git.ask(&["symbolic-ref", "--short", "--quiet", "HEAD"])?;
    let branch = branch
        .map(|it| it.trim().to_owned())
        .or_else(|| variable(&BRANCHES));
    if let Some(branch) = branch {
        facts.insert("branch".into(), branch.into());
    }
    let status = git.need(&["status", "--porcelain", "-z", "--untracked-files=no"])?;
    facts.insert("clean".into(), status.is_empty().into());
    let tags = git.need(&["tag", "--points-at", "HEAD"])?;
    facts.insert("tags".into(), tags.lines().map(Value::from).collect());
    let tracked = git.need(&["ls-files", "-z"])?;
    let tracked = tracked.split('\0').filter(|path| !path.is_empty());
    facts.insert("tracked".into(), tracked.map(Value::from).collect());
    let target = target.map(str::to_owned).or_else(|| variable(&TARGETS));
    if let Some(target) = target {
        git.change(&target, is_shallow, &mut facts)?;
    }
    if let Some((from, into)) = back {
        let (from_at, into_at) = (git.commit_of(from)?, git.commit_of(into)?);
        let range = format!("{into_at}..{from_at}");
        let missing = git.need(&["log", "--format=%h %s", "--no-merges", &range])?;
        let missing: Vec<Value> = missing.lines().map(Value::from).collect();
        let back = json!({"from": from, "into": into, "missing": missing, "count": missing.len()});
        facts.insert("back".into(), back);
    }
    Ok(Value::Object(facts))
}

/// The branch and the commit that stand in a folder: `main 1a2b3c4d5e6f`; `None` where there is
/// no repository.
pub fn head(root: &Path) -> Option<String> {
    let git = Git { root };
    let head = git.ask(&[
        "rev-parse",
        "--verify",
        "--quiet",
        "--short=12",
        "HEAD^{commit}",
    ]);
    let head = head.ok()??;
    let branch = git.ask(&["symbolic-ref", "--short", "--quiet", "HEAD"]);
    let branch = branch.ok().flatten().map(|it| it.trim().to_owned());
    let branch = branch.or_else(|| variable(&BRANCHES));
    let words = branch.as_deref().into_iter().chain([head.trim()]);
    Some(words.collect::<Vec<_>>().join(" "))
}

fn variable(names: &[&str]) -> Option<String> {
    names
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|value| !value.is_empty())
}

struct Git<'a> {
    root: &'a Path,
}

impl Git<'_> {
    /// What would be merged into a branch.
    fn change(
        &self,
        target: &str,
        is_shallow: bool,
        facts: &mut Map<String, Value>,
    ) -> Result<(), Absent> {
        let target_at = self.commit_of(target)?;
        let base = self.ask(&["merge-base", "--", &target_at, "HEAD"])?;
        let Some(base) = base.map(|it| it.trim().to_owned()) else {
            let why = match is_shallow {
                true => "this clone is shallow, so that what the branch changes is not known: \
                         fetch its whole history (fetch-depth: 0)"
                    .to_owned(),
                false => format!("HEAD and {target} have no commit in common"),
            };
            return Err(Absent::new(Code::Unreadable, why));
        };
        facts.insert("target".into(), target.into());
        facts.insert("base".into(), base.as_str().into());
        let range = format!("{target_at}..HEAD");
        facts.insert("commits".into(), self.commits(&range, "--no-merges")?);
        facts.insert("merges".into(), self.commits(&range, "--merges")?);
        let diff = [
            "diff",
            "--no-ext-diff",
            "--no-textconv",
            "--no-renames",
            "--no-color",
        ];
        let numbers = [&diff[..], &["--numstat", "-z", &base, "HEAD"]].concat();
        facts.insert("changes".into(), changes(&self.need(&numbers)?));
        let added = [
            &diff[..],
            &[
                "--unified=0",
                "--src-prefix=a/",
                "--dst-prefix=b/",
                &base,
                "HEAD",
            ],
        ];
        let (texts, lines) = added_of(&self.need(&added.concat())?)?;
        facts.insert("added".into(), texts);
        facts.insert("added_lines".into(), lines);
        Ok(())
    }

    fn commits(&self, range: &str, which: &str) -> Result<Value, Absent> {
        let format = "--format=%H%x1f%P%x1f%ae%x1f%an%x1f%B";
        let text = self.need(&["log", "-z", format, which, range])?;
        let commits = text.split('\0').filter(|commit| !commit.trim().is_empty());
        Ok(commits.map(commit).collect())
    }

    /// The commit that a branch stands at: as the remote has it, else as it is here.
    fn commit_of(&self, branch: &str) -> Result<String, Absent> {
        let places = [
            format!("refs/remotes/origin/{branch}^{{commit}}"),
            format!("refs/heads/{branch}^{{commit}}"),
            format!("refs/tags/{branch}^{{commit}}"),
        ];
        for place in &places {
            if let Some(found) = self.ask(&["rev-parse", "--verify", "--quiet", place])? {
                return Ok(found.trim().to_owned());
            }
        }
        let why = format!("git knows no branch `{branch}`: git fetch origin {branch}");
        Err(Absent::new(Code::Missing, why))
    }

    /// An answer that has to be there.
    fn need(&self, arguments: &[&str]) -> Result<String, Absent> {
        let asked = arguments.first().copied().unwrap_or_default();
        self.ask(arguments)?.ok_or_else(|| {
            let why = format!("`git {asked}` does not answer in {}", self.root.display());
            Absent::new(Code::Unreadable, why)
        })
    }

    /// An answer; `None` where git says no.
    #[expect(clippy::disallowed_methods, reason = "git is asked here")]
    fn ask(&self, arguments: &[&str]) -> Result<Option<String>, Absent> {
        let asked = arguments.first().copied().unwrap_or_default();
        let bad = |why: String| Absent::new(Code::Unreadable, format!("git {asked}: {why}"));
        let mut child = std::process::Command::new("git")
            .args([
                "-c",
                "core.quotepath=off",
                "-c",
                "core.fsmonitor=false",
                "--no-pager",
            ])
            .args(arguments)
            .current_dir(self.root)
            .env("LC_ALL", "C")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_TERMINAL_PROMPT", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| {
                Absent::new(Code::Missing, format!("git cannot be started: {error}"))
            })?;
        let Some(output) = child.stdout.take() else {
            return Err(bad("it has no output".to_owned()));
        };
        let (said, answer) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = output.take(BYTES_MAX + 1).read_to_end(&mut bytes);
            let _ = said.send(read.map(|_| bytes));
        });
        let bytes = answer.recv_timeout(WITHIN);
        if !matches!(&bytes, Ok(Ok(bytes)) if bytes.len() as u64 <= BYTES_MAX) {
            let _ = child.kill();
        }
        let status = child.wait().map_err(|error| bad(error.to_string()))?;
        let bytes = bytes
            .map_err(|_| bad(format!("no answer within {} s", WITHIN.as_secs())))?
            .map_err(|error| bad(error.to_string()))?;
        if bytes.len() as u64 > BYTES_MAX {
            let why = format!("git {asked}: more than {BYTES_MAX} bytes");
            return Err(Absent::new(Code::TooLarge, why));
        }
        // Names and texts need not be UTF-8; what is not is shown by a sign of its own.
        Ok(status
            .success()
            .then(|| String::from_utf8_lossy(&bytes).into_owned()))
    }
}

fn commit(text: &str) -> Value {
    let mut parts = text.trim_start_matches('\n').splitn(5, '\u{1f}');
    let mut part = || parts.next().unwrap_or_default().to_owned();
    let (id, parents, email, author, body) = (part(), part(), part(), part(), part());
    let subject = body.lines().next().unwrap_or_default().trim_end();
    let signed_off = body.lines().any(|line| line.starts_with("Signed-off-by: "));
    let second = body.lines().nth(1).unwrap_or_default();
    json!({
        "id": id,
        "short": id.get(..10).unwrap_or(&id),
        "parents": parents.split_whitespace().count(),
        "email": email,
        "author": author,
        "subject": subject,
        "second": second,
        "body": body.trim_end(),
        "signed_off": signed_off,
    })
}

/// `--numstat -z`: additions, deletions and path; `-` where a file is no text.
fn changes(text: &str) -> Value {
    let (mut files, mut paths) = (Vec::new(), Vec::new());
    let (mut plus_all, mut minus_all) = (0u64, 0u64);
    for entry in text.split('\0').filter(|entry| !entry.is_empty()) {
        let mut parts = entry.splitn(3, '\t');
        let mut number = || parts.next().unwrap_or_default().parse::<u64>().ok();
        let (plus, minus) = (number(), number());
        let path = parts.next().unwrap_or_default();
        plus_all += plus.unwrap_or(0);
        minus_all += minus.unwrap_or(0);
        paths.push(Value::from(path));
        files.push(json!({"path": path, "added": plus, "deleted": minus, "text": plus.is_some()}));
    }
    json!({
        "count": files.len(), "files": files, "paths": paths,
        "added": plus_all, "deleted": minus_all, "lines": plus_all + minus_all,
    })
}

/// Lines that were added: as `PATH:LINE:TEXT`, and their numbers by path.
fn added_of(diff: &str) -> Result<(Value, Value), Absent> {
    let mut texts = Vec::new();
    let mut lines: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut path = String::new();
    let mut next = 0u64;
    // Lines of the hunk that are still to come: what stands there may look like a head.
    let (mut minus, mut plus) = (0u64, 0u64);
    for line in diff.split('\n') {
        if minus > 0 && line.starts_with('-') {
            minus -= 1;
        } else if plus > 0 && line.starts_with('+') {
            plus -= 1;
            let text = line.get(1..).unwrap_or_default();
            texts.push(Value::from(format!("{path}:{next}:{text}")));
            lines.entry(path.clone()).or_default().push(next.into());
            next += 1;
            if texts.len() > ADDED_MAX {
                let why = format!("the branch adds more than {ADDED_MAX} lines");
                return Err(Absent::new(Code::TooLarge, why));
            }
        } else if let Some(name) = line.strip_prefix("+++ ") {
            let name = name.trim_end_matches('\t').trim_matches('"');
            path = name.strip_prefix("b/").unwrap_or(name).to_owned();
        } else if let Some(hunk) = line.strip_prefix("@@ -") {
            let mut words = hunk.split(' ');
            let from = range(words.next().unwrap_or_default());
            let to = range(words.next().unwrap_or_default().trim_start_matches('+'));
            (minus, next, plus) = (from.1, to.0, to.1);
        }
    }
    let lines: Map<String, Value> = lines
        .into_iter()
        .map(|(path, numbers)| (path, Value::from(numbers)))
        .collect();
    Ok((Value::from(texts), Value::Object(lines)))
}

/// `START,COUNT`; without a count it is 1.
fn range(text: &str) -> (u64, u64) {
    let (start, count) = text.split_once(',').unwrap_or((text, "1"));
    (start.parse().unwrap_or(0), count.parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_lines_have_places_and_are_not_taken_for_heads() {
        let diff = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,0 +2,2 @@ fn\n+one\n+++ b/y\n\
                    @@ -9 +11 @@\n--- a/z\n+two\ndiff --git a/n b/n\n--- a/n\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n";
        let (texts, lines) = added_of(diff).expect("few lines");
        assert_eq!(texts, json!(["x:2:one", "x:3:++ b/y", "x:11:two"]));
        assert_eq!(lines, json!({"x": [2, 3, 11]}));
    }

    #[test]
    fn changes_are_counted() {
        let changes = changes("3\t1\ta.rs\0-\t-\tb.png\0");
        assert_eq!(changes["lines"], json!(4));
        assert_eq!(changes["paths"], json!(["a.rs", "b.png"]));
        assert_eq!(changes["files"][1]["text"], json!(false));
    }
}
