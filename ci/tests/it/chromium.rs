//! The release page in a real browser: it opens from disk without a word on the console, fits one
//! screen and one sheet, light and dark, and is read with the keyboard.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use meshproof_ci::outcome::Code;
use meshproof_ci::release::Release;
use meshproof_ci::report;
use meshproof_ci::world::Absent;
use serde_json::Value;

use super::release::{HOUR_NS, NOW_NS, RULES, facts_of, record_of, release, world};

/// The first Chromium on the path.
fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|program| program.is_file())
}

/// What the browser writes, and its log.
fn opened(program: &Path, folder: &Path, page: &Path, more: &[&str]) -> (Vec<u8>, String) {
    #[expect(clippy::disallowed_methods, reason = "the browser is the judge")]
    let output = Command::new(program)
        .args(["--headless", "--no-sandbox", "--disable-gpu"])
        .args(["--disable-background-networking", "--timeout=60000"])
        // Whatever the page would reach for is not found, and said so.
        .arg("--host-resolver-rules=MAP * ~NOTFOUND")
        .args(["--enable-logging=stderr", "--v=0"])
        .arg(format!(
            "--user-data-dir={}",
            folder.join("profile").display()
        ))
        .args(more)
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("it runs");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{log}");
    (output.stdout, log)
}

/// Measures the page from within, where its policy is lifted for that.
const DRIVER: &str = "<script>
var out = {wide: document.documentElement.scrollWidth, high: document.documentElement.scrollHeight};
out.inner = window.innerWidth;
out.title = document.title;
out.heading = document.querySelector('h1').textContent.trim();
out.dark = getComputedStyle(document.body).backgroundColor;
out.focus = Array.prototype.map.call(document.querySelectorAll('a, summary, button'),
  function (it) { it.focus(); return document.activeElement === it; });
out.icons = Array.prototype.every.call(document.querySelectorAll('.areas .badge'),
  function (it) { return it.querySelector('svg') && it.textContent.trim().length > 1; });
var pre = document.createElement('pre'); pre.id = 'driven'; pre.textContent = JSON.stringify(out);
document.body.appendChild(pre);
</script></body>";

fn driven(program: &Path, folder: &Path, text: &str, dark: &str) -> Value {
    let page = folder.join("driven.html");
    let lifted = text.replace(
        "default-src 'none'",
        "default-src 'none'; script-src 'unsafe-inline'",
    );
    fs::write(&page, lifted.replace("</body>", DRIVER)).expect("a file");
    let scheme = format!("--blink-settings=preferredColorScheme={dark}");
    let more = ["--dump-dom", "--window-size=1280,1000", &scheme];
    let (dom, log) = opened(program, folder, &page, &more);
    let dom = String::from_utf8_lossy(&dom);
    let said = dom
        .split("<pre id=\"driven\">")
        .nth(1)
        .unwrap_or_else(|| panic!("{log}"));
    let said = said.split("</pre>").next().unwrap_or_default();
    let said = said
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&");
    serde_json::from_str(&said).expect("JSON")
}

/// A page for every kind of answer.
fn pages() -> Vec<(&'static str, Release)> {
    let ships = release(RULES, &world());
    let mut broken = world();
    facts_of(&mut broken, "scenarios/faults").values["verdict"] = "FAIL".into();
    facts_of(&mut broken, "calls.pcap").made_unix_ns = Some(NOW_NS - 30 * HOUR_NS);
    let why = "meshproof-runs/01K: the run was cut off: it has no manifest";
    *record_of(&mut broken, "--prove") = Err(Absent::new(Code::Unreadable, why));
    broken.records.retain(|(line, _)| line[0] != "matrix");
    broken.files.remove("fleet.json");
    let waivers = "waivers:
  - {rule: release/known/days_left, owner: bob, reason: it is mended next week, expires: 2026-11-01}
  - {rule: release/fleet/stragglers, owner: ann, reason: two pods are old, expires: 2026-12-01}
";
    let blocks = release(&format!("{RULES}{waivers}"), &broken);
    let nothing = release(
        "owner: a\ncheckpoints: {a: {run: {command: [a]}}}\n",
        &world(),
    );
    vec![
        ("SHIP 1.4.0", ships),
        ("DO NOT SHIP 1.4.0", blocks),
        ("NOT APPLICABLE 1.4.0", nothing),
    ]
}

#[test]
fn the_page_is_one_screen_and_one_sheet() {
    let Some(program) = chromium() else {
        println!("SKIPPED: needs chromium: apt-get install chromium");
        return;
    };
    for (heading, release) in pages() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path();
        let text = report::page(&release);
        let page = at.join("page.html");
        fs::write(&page, &text).expect("a file");
        let sheet = at.join("page.pdf");
        let print = format!("--print-to-pdf={}", sheet.display());
        let (_, log) = opened(&program, at, &page, &[&print]);
        let console: Vec<&str> = log
            .lines()
            .filter(|line| line.contains("CONSOLE"))
            .collect();
        assert_eq!(console, [""; 0], "{heading}");
        let sheet = fs::read(&sheet).expect("a file");
        let sheet = String::from_utf8_lossy(&sheet);
        let sheets = sheet.matches("/Type /Page\n").count();
        assert_eq!(sheets, 1, "{heading} is printed on {sheets} sheets");
        let mut grounds = Vec::new();
        for dark in ["0", "1"] {
            let told = driven(&program, at, &text, dark);
            assert_eq!(told["heading"], heading);
            assert_eq!(told["title"], heading);
            assert!(told["wide"].as_u64() <= told["inner"].as_u64(), "{told}");
            assert!(told["high"].as_u64() <= Some(1000), "{heading}: {told}");
            assert_eq!(told["icons"], true);
            let focus = told["focus"].as_array().expect("a list");
            assert!(
                !focus.is_empty() && focus.iter().all(|it| *it == true),
                "{told}"
            );
            grounds.push(told["dark"].clone());
        }
        assert_ne!(grounds[0], grounds[1], "light is not dark");
    }
}
