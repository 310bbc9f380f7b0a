//! Pipelines that `init --ci` writes, run step by step on a real repository; and the statuses that
//! they post, at a stub of the services' interfaces.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::Value;

use crate::gate::{RULES, git, project};

const PROGRAM: &str = env!("CARGO_BIN_EXE_meshproof");

/// A request that the stub saw: its first line, its headers in lower case, what was posted.
type Seen = (String, Vec<String>, Value);

/// A service's interface, answering with these statuses, the last for ever.
struct Stub {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Stub {
    fn start(statuses: &'static [u16]) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let over = Arc::new(AtomicBool::new(false));
        let (kept, ended) = (Arc::clone(&seen), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if ended.load(Ordering::SeqCst) {
                    break;
                }
                let mut seen = kept.lock().unwrap();
                let status = statuses[seen.len().min(statuses.len() - 1)];
                if let Some(request) = answer(stream, status) {
                    seen.push(request);
                }
            }
        });
        Stub {
            address,
            seen,
            over,
            thread: Some(thread),
        }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The states that were posted, in their order.
    fn states(&self) -> Vec<String> {
        let state = |(_, _, body): &Seen| body["state"].as_str().unwrap_or("none").to_owned();
        self.seen().iter().map(state).collect()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(stream: TcpStream, status: u16) -> Option<Seen> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let first = line.trim().to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim() {
            "" => break,
            header => headers.push(header.to_lowercase()),
        }
    }
    let length = headers
        .iter()
        .find_map(|it| it.strip_prefix("content-length: "))?;
    let mut body = vec![0; length.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    let said = r#"{"message": "so it is"}"#;
    let text = format!(
        "HTTP/1.1 {status} so\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{said}",
        said.len()
    );
    reader.get_mut().write_all(text.as_bytes()).ok()?;
    Some((first, headers, serde_json::from_slice(&body).ok()?))
}

/// A command of a service: no variable of a service but those that are named.
#[expect(
    clippy::disallowed_methods,
    reason = "a service runs steps as processes"
)]
fn within(folder: &Path, program: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let of_service = ["GITHUB_", "GITLAB_", "CI_", "CHANGE_", "MESHPROOF_", "GH_"];
        let of_proxy = name.to_lowercase().ends_with("_proxy");
        if of_proxy || of_service.iter().any(|front| name.starts_with(front)) {
            command.env_remove(name);
        }
    }
    command.env("NO_COLOR", "1").envs(variables.iter().copied());
    command
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}", text(&output.stdout), text(&output.stderr))
}

/// A clone of a project with a branch that may be merged, as services check it out: its origin
/// beside it, the commit without its branch.
fn checked_out() -> (tempfile::TempDir, tempfile::TempDir) {
    let origin = project(RULES);
    let clone = tempfile::tempdir().unwrap();
    let from = origin.path().to_str().unwrap();
    git(clone.path(), &["clone", "--quiet", from, "."]);
    git(
        clone.path(),
        &["checkout", "--quiet", "--detach", "origin/feature/one"],
    );
    fs::copy(
        origin.path().join("junit.in"),
        clone.path().join("junit.in"),
    )
    .unwrap();
    (origin, clone)
}

fn init(folder: &Path, more: &[&str]) -> Output {
    within(folder, PROGRAM, &[])
        .args(["init", "--ci"])
        .args(more)
        .output()
        .unwrap()
}

fn sum() -> String {
    let output = within(Path::new("/"), "sha256sum", &[])
        .arg(PROGRAM)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().next().unwrap().to_owned()
}

/// Runs the shell of a pipeline in turn; stops where a step fails, as services do.
fn steps(folder: &Path, shells: &[String], variables: &[(&str, &str)]) -> (i32, String) {
    let mut all = String::new();
    assert!(!shells.is_empty());
    for shell in shells {
        let output = within(folder, "bash", variables)
            .args(["--noprofile", "--norc", "-eo", "pipefail", "-c", shell])
            .output()
            .unwrap();
        all.push_str(&said(&output));
        if !output.status.success() {
            return (output.status.code().unwrap_or(-1), all);
        }
    }
    (0, all)
}

fn yaml(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap();
    meshproof_input::parse("pipeline.yml", &text).unwrap_or_else(|problem| panic!("{problem}"))
}

#[test]
fn what_is_there_is_never_overwritten_unasked() {
    let folder = tempfile::tempdir().unwrap();
    for (service, path) in [
        ("github", ".github/workflows/gate.yml"),
        ("gitlab", ".gitlab-ci.yml"),
        ("jenkins", "Jenkinsfile"),
    ] {
        let file = folder.path().join(path);
        let printed = init(folder.path(), &[service, "--print"]);
        assert!(printed.status.success() && !file.exists());
        let written = init(folder.path(), &[service]);
        assert!(written.status.success(), "{}", said(&written));
        assert!(said(&written).contains("MESHPROOF_SHA256"));
        assert_eq!(fs::read(&file).unwrap(), printed.stdout);
        fs::write(&file, "mine").unwrap();
        let refused = init(folder.path(), &[service]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(said(&refused).contains("--force"), "{}", said(&refused));
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
        assert!(init(folder.path(), &[service, "--force"]).status.success());
        assert_eq!(fs::read(&file).unwrap(), printed.stdout);
    }
    let other = init(folder.path(), &["travis"]);
    assert_eq!(other.status.code(), Some(2));
}

#[test]
fn the_pipeline_of_github_works_as_it_is() {
    let (_origin, clone) = checked_out();
    let at = clone.path();
    assert!(init(at, &["github"]).status.success());
    let pipeline = yaml(&at.join(".github/workflows/gate.yml"));
    let job = &pipeline["jobs"]["gate"];
    let all = job["steps"].as_array().unwrap();
    assert_eq!(all[0]["with"]["fetch-depth"], 0);
    assert!(pipeline["on"].get("pull_request").is_some());
    assert_eq!(pipeline["permissions"]["statuses"], "write");
    let shells: Vec<String> = all
        .iter()
        .filter_map(|step| Some(step["run"].as_str()?.to_owned()))
        .collect();
    assert_eq!(shells.len(), 2);
    let kept = all.iter().find_map(|step| step["with"]["path"].as_str());
    assert!(kept.unwrap().contains("gate.xml"));
    let stub = Stub::start(&[201]);
    let api = format!("http://{}", stub.address);
    let temp = tempfile::tempdir().unwrap();
    let summary = temp.path().join("summary.md");
    let url = format!("file://{PROGRAM}");
    let sum = sum();
    let mut variables = vec![
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_API_URL", api.as_str()),
        ("GITHUB_REPOSITORY", "a/b"),
        ("GITHUB_SHA", "00ff00ff"),
        ("GITHUB_RUN_ID", "17"),
        ("GITHUB_HEAD_REF", "feature/one"),
        ("GITHUB_STEP_SUMMARY", summary.to_str().unwrap()),
        ("GITHUB_TOKEN", "a-secret-token"),
        ("RUNNER_TEMP", temp.path().to_str().unwrap()),
        ("TARGET", "refs/heads/main"),
        ("MESHPROOF_URL", url.as_str()),
        ("MESHPROOF_SHA256", sum.as_str()),
    ];
    let (code, out) = steps(at, &shells, &variables);
    assert_eq!(code, 0, "{out}");
    assert!(!out.contains("a-secret-token"));
    assert!(at.join("gate.xml").is_file() && at.join("gate.sarif").is_file());
    assert_eq!(stub.states(), ["pending", "success"]);
    let (line, headers, body) = stub.seen().pop().unwrap();
    assert_eq!(line, "POST /repos/a/b/statuses/00ff00ff HTTP/1.1");
    assert!(headers.contains(&"authorization: bearer a-secret-token".to_owned()));
    assert_eq!(body["context"], "meshproof/gate");
    assert_eq!(body["target_url"], "https://github.com/a/b/actions/runs/17");
    let told = body["description"].as_str().unwrap();
    assert!(told.starts_with("PASS: ") && told.len() <= 140, "{told}");
    assert!(fs::read_to_string(&summary).unwrap().contains("✅ Gate"));

    // A commit that breaks a rule: annotated, summed up, told to the service.
    git(
        at,
        &["commit", "--quiet", "--allow-empty", "-m", "Fixed it"],
    );
    let (code, out) = steps(at, &shells, &variables);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("::error file="), "{out}");
    assert_eq!(stub.states()[2..], ["pending", "failure"]);
    let summed = fs::read_to_string(&summary).unwrap();
    assert!(
        summed.contains("⛔ Gate") && summed.contains("Fixed it"),
        "{summed}"
    );

    // Another binary than the one that was meant is not run.
    let wrong = "0".repeat(64);
    variables.retain(|(name, _)| *name != "MESHPROOF_SHA256");
    variables.push(("MESHPROOF_SHA256", &wrong));
    let (code, out) = steps(at, &shells, &variables);
    assert_ne!(code, 0);
    assert!(out.contains("FAILED"), "{out}");
    assert_eq!(stub.states().len(), 4);
}

#[test]
fn the_pipeline_of_gitlab_works_as_it_is() {
    let (_origin, clone) = checked_out();
    let at = clone.path();
    assert!(init(at, &["gitlab"]).status.success());
    let pipeline = yaml(&at.join(".gitlab-ci.yml"));
    let job = &pipeline["gate"];
    assert_eq!(job["variables"]["GIT_DEPTH"], "0");
    assert_eq!(job["artifacts"]["reports"]["junit"], "gate.xml");
    let script = job["script"].as_array().unwrap().iter();
    let shells: Vec<String> = script.map(|it| it.as_str().unwrap().to_owned()).collect();
    let stub = Stub::start(&[201]);
    let api = format!("http://{}/api/v4", stub.address);
    let (url, sum) = (format!("file://{PROGRAM}"), sum());
    let variables = [
        ("GITLAB_CI", "true"),
        ("CI_API_V4_URL", api.as_str()),
        ("CI_PROJECT_ID", "12"),
        ("CI_COMMIT_SHA", "00ff00ff"),
        ("CI_JOB_URL", "https://gitlab.example.org/j/1"),
        ("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "main"),
        ("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "feature/one"),
        ("MESHPROOF_URL", url.as_str()),
        ("MESHPROOF_SHA256", sum.as_str()),
    ];
    // Without a token there is no status, and the gate works.
    let (code, out) = steps(at, &shells, &variables);
    assert_eq!(code, 0, "{out}");
    assert_eq!(stub.states(), [""; 0]);
    assert!(at.join("gate.xml").is_file() && at.join("gate.sarif").is_file());
    let token = [("GITLAB_TOKEN", "a-secret-token")];
    let (code, out) = steps(at, &shells, &[&variables[..], &token].concat());
    assert_eq!(code, 0, "{out}");
    assert_eq!(stub.states(), ["pending", "success"]);
    let (line, headers, body) = stub.seen().pop().unwrap();
    assert_eq!(line, "POST /api/v4/projects/12/statuses/00ff00ff HTTP/1.1");
    assert!(headers.contains(&"private-token: a-secret-token".to_owned()));
    assert_eq!(body["name"], "meshproof/gate");
}

#[test]
fn the_pipeline_of_jenkins_works_as_it_is() {
    let (_origin, clone) = checked_out();
    let at = clone.path();
    assert!(init(at, &["jenkins"]).status.success());
    let groovy = fs::read_to_string(at.join("Jenkinsfile")).unwrap();
    for (open, close) in [('{', '}'), ('(', ')'), ('[', ']')] {
        assert_eq!(groovy.matches(open).count(), groovy.matches(close).count());
    }
    let (_, rest) = groovy.split_once("sh '''").unwrap();
    let (shell, _) = rest.split_once("'''").unwrap();
    // Jenkins makes a file of it and honours its first line; Groovy would take a backslash away
    // that stands before a line's end no more than bash does.
    let script = at.join("step.sh");
    fs::write(&script, shell).unwrap();
    let (url, sum) = (format!("file://{PROGRAM}"), sum());
    let variables = [
        ("CHANGE_TARGET", "main"),
        ("CHANGE_BRANCH", "feature/one"),
        ("MESHPROOF_URL", url.as_str()),
        ("MESHPROOF_SHA256", sum.as_str()),
    ];
    let (code, out) = steps(at, &["bash ./step.sh".to_owned()], &variables);
    assert_eq!(code, 0, "{out}");
    assert!(at.join("gate.xml").is_file() && at.join("gate.sarif").is_file());
    let lacking = &variables[..2];
    let (code, out) = steps(at, &["bash ./step.sh".to_owned()], lacking);
    assert_ne!(code, 0);
    assert!(out.contains("MESHPROOF_URL: set this variable"), "{out}");
}

/// The gate with a status, at a service that answers so: the exit code, what it said, the states.
fn with_service(
    folder: &Path,
    statuses: &'static [u16],
    token: &str,
) -> (i32, String, Vec<String>) {
    let stub = Stub::start(statuses);
    let api = format!("http://{}", stub.address);
    let variables = [
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_API_URL", api.as_str()),
        ("GITHUB_REPOSITORY", "a/b"),
        ("GITHUB_SHA", "00ff00ff"),
        ("GITHUB_TOKEN", token),
    ];
    let output = within(folder, PROGRAM, &variables)
        .args(["gate", "check", "--status", "--target", "main"])
        .output()
        .unwrap();
    let code = output.status.code().unwrap();
    (code, said(&output), stub.states())
}

#[test]
fn what_a_service_answers_changes_no_verdict() {
    let folder = project(RULES);
    let at = folder.path();
    let told = |statuses: &'static [u16], token: &str| with_service(at, statuses, token);
    // A server's error is tried again.
    let (code, _, states) = told(&[500, 503, 201], "t");
    let wanted = ["pending", "pending", "pending", "success"];
    assert_eq!((code, &states[..]), (0, &wanted.map(str::to_owned)[..]));
    // Not for ever.
    let (code, out, states) = told(&[500], "t");
    assert_eq!((code, states.len()), (0, 6));
    assert!(
        out.contains("not posted") && out.contains("answered 500"),
        "{out}"
    );
    // A refusal is not.
    let (code, out, states) = told(&[401], "a-secret-token");
    assert_eq!((code, states.len()), (0, 2));
    assert!(out.contains("answered 401: {"), "{out}");
    assert!(!out.contains("a-secret-token"));
    // Nobody is sent on with the token.
    let (_, out, states) = told(&[302], "t");
    assert_eq!(states.len(), 2, "{out}");
    // Without a token nothing is posted, and that is told.
    let (code, out, states) = told(&[201], "");
    assert_eq!((code, states.len()), (0, 0));
    assert!(out.contains("no token for"), "{out}");
    // A block stays a block.
    git(
        at,
        &["commit", "--quiet", "--allow-empty", "-m", "Fixed it"],
    );
    let (code, _, states) = told(&[201], "t");
    assert_eq!((code, &states[1][..]), (1, "failure"));
    let (code, ..) = told(&[500], "t");
    assert_eq!(code, 1);
    // Rules that cannot be read are told as well.
    fs::write(at.join("meshproof.yaml"), "owner: [").unwrap();
    let (code, _, states) = told(&[201], "t");
    assert_eq!((code, &states[..]), (2, &["error".to_owned()][..]));
    // Elsewhere there is nobody to tell.
    let output = within(at, PROGRAM, &[])
        .args(["gate", "check", "--status"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("GITLAB_CI"), "{}", said(&output));
}
