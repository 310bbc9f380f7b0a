//! The page in a real browser.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use meshproof_record::report::{View, html};
use meshproof_record::store::Record;

use super::samples;

/// The first Chromium on the path.
fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|program| program.is_file())
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
        #[expect(clippy::disallowed_methods, reason = "the browser is the judge")]
        let output = Command::new(&program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
            .args(["--disable-background-networking", "--timeout=30000"])
            // Whatever the page would reach for is not found, and said so.
            .arg("--host-resolver-rules=MAP * ~NOTFOUND")
            .args(["--enable-logging=stderr", "--v=0"])
            .arg(format!(
                "--user-data-dir={}",
                folder.path().join("profile").display()
            ))
            .arg(format!("file://{}", page.display()))
            .output()
            .unwrap();
        let dom = String::from_utf8_lossy(&output.stdout);
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{log}");
        for word in words {
            assert!(dom.contains(word), "{word} is not shown: {dom}");
        }
        let console: Vec<&str> = log
            .lines()
            .filter(|line| line.contains("CONSOLE"))
            .collect();
        assert_eq!(console, [""; 0], "{name}");
    }
}
