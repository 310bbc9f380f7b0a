//! The page in a real browser.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use meshproof_record::report::{View, html};
use meshproof_record::store::Record;

use super::{case_samples, samples};

/// The first Chromium on the path.
fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|program| program.is_file())
}

/// The document and the log of a page, after `patience_ms` of the page's own time.
fn opened(program: &Path, folder: &Path, page: &Path, patience_ms: u32) -> (String, String) {
    #[expect(clippy::disallowed_methods, reason = "the browser is the judge")]
    let output = Command::new(program)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .args(["--disable-background-networking", "--timeout=60000"])
        .arg(format!("--virtual-time-budget={patience_ms}"))
        // Whatever the page would reach for is not found, and said so.
        .arg("--host-resolver-rules=MAP * ~NOTFOUND")
        .args(["--enable-logging=stderr", "--v=0"])
        .arg(format!(
            "--user-data-dir={}",
            folder.join("profile").display()
        ))
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{log}");
    (String::from_utf8_lossy(&output.stdout).into_owned(), log)
}

fn console(log: &str) -> Vec<&str> {
    log.lines()
        .filter(|line| line.contains("CONSOLE"))
        .collect()
}

#[test]
fn the_page_opens_from_disk_and_says_nothing_on_the_console() {
    let Some(program) = chromium() else {
        println!("SKIPPED: needs chromium: apt-get install chromium");
        return;
    };
    for (name, sample, words) in [
        ("fail", samples::FAIL, ["FAIL", "body.appResponse.amount"]),
        (
            "cut-off",
            samples::CUT_OFF,
            ["INVALID", "the run was cut off"],
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join(name);
        samples::write(&record, &sample);
        let view = View::of(&Record::open(&record).unwrap()).unwrap();
        let page = folder.path().join("report.html");
        let verdict = view.verdict;
        fs::write(&page, html::html(&[view], verdict)).unwrap();
        let (dom, log) = opened(&program, folder.path(), &page, 1_000);
        for word in words {
            assert!(dom.contains(word), "{word} is not shown: {dom}");
        }
        assert_eq!(console(&log), [""; 0], "{name}");
    }
}

#[test]
fn a_matrix_is_read_with_the_keyboard_alone() {
    let Some(program) = chromium() else {
        println!("SKIPPED: needs chromium: apt-get install chromium");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("record");
    case_samples::matrix(&record, 400, case_samples::Mesh::TrBoltMixed);
    let view = View::of(&Record::open(&record).unwrap()).unwrap();
    let fails = view.cases.as_ref().unwrap().totals()[0].1;
    let verdict = view.verdict;
    let text = html::html(&[view], verdict);
    let driver = format!("<script>{}</script></body>", include_str!("driver.js"));
    let page = folder.path().join("report.html");
    fs::write(&page, text.replace("</body>", &driver)).unwrap();
    let (dom, log) = opened(&program, folder.path(), &page, 10_000);
    assert_eq!(console(&log), [""; 0]);
    let after = dom.split("<pre id=\"driven\">").nth(1);
    let said = after.and_then(|rest| rest.split("</pre>").next());
    let said = said.unwrap_or_else(|| panic!("the driver did not come to its end: {log}"));
    let said = said
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&");
    let told: serde_json::Value = serde_json::from_str(&said).unwrap();
    let title = told["title"].as_str().unwrap();
    assert!(title.starts_with("FAIL"), "a log line changed it: {title}");
    for yes in ["start", "moved", "back", "down", "closed", "hidden", "home"] {
        assert_eq!(told[yes], true, "{yes}: {told}");
    }
    assert!(told["tiles"].as_u64().unwrap() >= 12, "{told}");
    let bad = told["bad"].as_array().unwrap();
    assert!(!bad.is_empty());
    for label in bad {
        let label = label.as_str().unwrap();
        let expected = "client.mesh reference, server.mesh ";
        assert!(
            label.starts_with(expected) && label.contains("providers [bolt,tr]: "),
            "{label}"
        );
    }
    let listed = told["listed"].as_u64().unwrap();
    assert!((1..=fails).contains(&listed), "{told}");
    assert_eq!(told["focus"], "A");
    let calls = [
        "sync",
        "oneway",
        "exception",
        "timeout",
        "heartbeat",
        "large",
    ];
    assert_eq!(told["rows"], serde_json::json!(calls));
    assert!(
        told["cell"].as_str().unwrap().starts_with("FAIL c"),
        "{told}"
    );
    assert_eq!(told["drawings"], 2, "{told}");
    assert!(
        told["log"].as_str().unwrap().contains("</script><script>"),
        "{told}"
    );
}
