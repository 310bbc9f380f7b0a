//! What cells of a matrix do beside calls: replays, and what of a matrix file they use.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use meshproof_record::case::{Blame, Case};
use meshproof_record::event::Event;
use meshproof_record::store::Record;
use meshproof_record::verdict::Verdict;
use serde_json::Value;

use crate::peer::{command, skipped};

const OWN: &str = env!("CARGO_BIN_EXE_meshproof");

/// One run of `meshproof matrix` in a folder of its own.
struct Run {
    code: i32,
    told: String,
    record: PathBuf,
    _folder: Option<tempfile::TempDir>,
}

impl Run {
    fn of(arguments: &[&str]) -> Run {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("record");
        let run = Run::into(&record, arguments);
        Run {
            _folder: Some(folder),
            ..run
        }
    }

    fn into(record: &Path, arguments: &[&str]) -> Run {
        let output = command(OWN)
            .arg("matrix")
            .args(arguments)
            .arg("--record")
            .arg(record)
            .env("NO_COLOR", "1")
            .output()
            .unwrap();
        let told = [output.stdout, output.stderr].concat();
        Run {
            code: output.status.code().unwrap_or(-1),
            told: String::from_utf8_lossy(&told).into_owned(),
            record: record.to_owned(),
            _folder: None,
        }
    }

    fn events(&self) -> Vec<Event> {
        let record = Record::open(&self.record).unwrap();
        let events = record.events().unwrap();
        events.map(|entry| entry.unwrap().event).collect()
    }

    fn cases(&self) -> Vec<Case> {
        let ended = |event| match event {
            Event::CaseEnded { case } => Some(case),
            _ => None,
        };
        self.events().into_iter().filter_map(ended).collect()
    }

    fn blames(&self) -> Vec<Blame> {
        let blamed = |event| match event {
            Event::Blamed { blame } => Some(blame),
            _ => None,
        };
        self.events().into_iter().filter_map(blamed).collect()
    }

    /// This machine has no namespaces for us: said aloud.
    fn is_unsupported(&self) -> bool {
        if self.code == 4 {
            skipped(&format!("needs namespaces: {}", self.told));
        }
        self.code == 4
    }
}

/// The verdict of a claim of a case.
fn claim(case: &Case, name: &str) -> Option<Verdict> {
    let found = case.claims.iter().find(|claim| claim.name == name);
    found.map(|claim| claim.verdict)
}

#[test]
fn one_capture_is_answered_the_same_in_every_cell() {
    let run = Run::of(&["replayed"]);
    if run.is_unsupported() {
        return;
    }
    assert_eq!(run.code, 0, "{}", run.told);
    let cases = run.cases();
    assert_eq!(cases.len(), 4, "{}", run.told);
    for case in &cases {
        for name in ["functional", "ledger", "answers", "escapes"] {
            assert_eq!(claim(case, name), Some(Verdict::Pass), "{name}: {case:?}");
        }
        let sidecars = case.choices.iter().filter(|it| it.value == "reference");
        let hops = case.claims.iter().filter(|it| it.name.starts_with("hop"));
        assert_eq!(hops.count(), sidecars.count(), "{case:?}");
        assert!(case.evidence.is_empty(), "{case:?}");
    }
    assert!(
        !run.record.join("cells").exists(),
        "the scratch folder is left"
    );
}

#[test]
fn a_bug_that_a_replay_shows_is_blamed_on_the_sidecar() {
    let run = Run::of(&["replayed", "--bug", "oneway-answered"]);
    if run.is_unsupported() {
        return;
    }
    assert_eq!(run.code, 1, "{}", run.told);
    for blame in run.blames() {
        assert!(blame.minimal, "{blame:?}");
        assert!(blame.evidence.contains("surplus answers"), "{blame:?}");
    }
    assert_eq!(
        causes(&run),
        ["client.mesh=reference", "server.mesh=reference"]
    );
    let cases = run.cases();
    let failed = cases.iter().find(|case| case.verdict == Verdict::Fail);
    let place = run.record.join("artefacts").join(&failed.unwrap().id);
    let detail = std::fs::read(place.join("detail.json")).unwrap();
    let detail: Value = serde_json::from_slice(&detail).unwrap();
    for part in ["frames", "ledger", "changes", "pods"] {
        assert!(
            !detail[part].as_array().unwrap().is_empty(),
            "{part}: {detail}"
        );
    }
}

/// The file must be refused, with this line and these words.
#[track_caller]
fn refused(matrix: &str, line: usize, words: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("m.yaml");
    std::fs::write(&file, format!("matrix: m\n{matrix}")).unwrap();
    let run = Run::into(&folder.path().join("record"), &[file.to_str().unwrap()]);
    assert_eq!(run.code, 2, "{}", run.told);
    for words in words {
        assert!(run.told.contains(words), "{words}: {}", run.told);
    }
    let at = format!("m.yaml:{line}:");
    assert!(run.told.contains(&at), "{at}: {}", run.told);
    assert!(!run.record.exists(), "a record of nothing is left");
}

#[test]
fn what_no_cell_uses_is_an_error_with_its_line() {
    let replay = "cell:\n  replay: {capture: a.pcap, map: m.yaml}\n";
    refused(
        "axes: {client: {mash: [none]}}\n",
        2,
        &["axis client.mash changes nothing in a cell", "client.mesh"],
    );
    refused(
        "axes:\n  call: [sync, onewy]\n",
        3,
        &["`onewy` means nothing to a cell", "oneway"],
    );
    refused(
        "axes:\n  client: {mesh: [none, refrence]}\n",
        3,
        &["no sidecar is called `refrence`", "`reference`"],
    );
    refused(
        "axes:\n  site: [ant-lik]\n",
        3,
        &["no site is called `ant-lik`", "`ant-like`"],
    );
    refused(
        "axes:\n  providers: [[bolt-v1, tr]]\n  serializer: [hessian, json]\n",
        4,
        &[
            "json cannot go over TR, which carries Hessian alone",
            "add `serializer == 'hessian' || !('tr' in providers)` to `require`",
        ],
    );
    refused(
        "axes:\n  speech: [auto, tr]\n  serializer: [json]\n",
        4,
        &["and speech=tr may", "|| speech != 'tr'` to `require`"],
    );
    refused(
        &format!("axes:\n  call: [sync]\n{replay}"),
        3,
        &["axis call changes nothing in a cell that replays"],
    );
    refused(
        "axes: {client: {mesh: [none]}}\ncell:\n  calls: 3\n  replay: {capture: a, map: m}\n",
        4,
        &["a cell that replays makes no calls of its own"],
    );
}

#[test]
fn what_a_topology_gives_no_use_for_is_an_error_with_its_line() {
    refused(
        "axes:\n  call: [sync]\ncell: {topology: pear}\n",
        4,
        &["no topology is called `pear`", "did you mean `pair`?"],
    );
    refused(
        "axes:\n  call: [sync]\ncell:\n  topology: ./none.yaml\n",
        5,
        &["the topology `./none.yaml` cannot be read"],
    );
    refused(
        "axes:\n  providers: [[bolt-v1, tr]]\ncell: {topology: pair}\n",
        3,
        &["providers has 2 words, and the topology has 1 apps"],
    );
    refused(
        "axes:\n  registry_order: [as-is, reversed]\ncell: {topology: pair}\n",
        3,
        &["the topology pair has one app"],
    );
    refused(
        "axes:\n  serializer: [hessian, json]\ncell: {topology: mixed-providers}\n",
        3,
        &["json cannot go over TR", "server-old knows nothing else"],
    );
    refused(
        "axes:\n  client: {mesh: [none]}\ncell:\n  topology: pair\n  \
         replay: {capture: a, map: m}\n",
        5,
        &["stands on the pods that its capture shows"],
    );
}

/// Runs a matrix of this text with a topology of this text beside it, `own.yaml`.
fn on_own(matrix: &str, topology: &str, more: &[&str]) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let (file, own) = (folder.path().join("m.yaml"), folder.path().join("own.yaml"));
    std::fs::write(&file, matrix).unwrap();
    std::fs::write(&own, topology).unwrap();
    let words = [&[file.to_str().unwrap()], more].concat();
    let run = Run::into(&folder.path().join("record"), &words);
    Run {
        _folder: Some(folder),
        ..run
    }
}

/// What failures of a run are blamed on, sorted.
fn causes(run: &Run) -> Vec<String> {
    let words = |blame: &Blame| {
        let words = blame.because.iter();
        let words = words.map(|it| format!("{}={}", it.axis, it.value));
        words.collect::<Vec<_>>().join(" and ")
    };
    let mut causes: Vec<String> = run.blames().iter().map(words).collect();
    causes.sort();
    causes
}

#[test]
fn cells_stand_on_a_topology_that_ships() {
    let matrix = "matrix: m\naxes:\n  client: {mesh: [none, reference]}\n  \
                  registry_order: [as-is, reversed]\ncover: {strength: 2, seed: 1}\n\
                  cell: {topology: mixed-providers, calls: 16, budget: 60s}\n";
    let run = on_own(matrix, "", &["--bug", "tr-bolt-mixed"]);
    if run.is_unsupported() {
        return;
    }
    assert_eq!(run.code, 1, "{}", run.told);
    let cause = "client.mesh=reference and registry_order=reversed";
    assert_eq!(causes(&run), [cause], "{}", run.told);
    // Its pods have their own names.
    assert!(run.told.contains("the log of server-old"), "{}", run.told);
}

#[test]
fn cells_stand_on_a_topology_beside_the_matrix_and_call_from_all_who_only_call() {
    let matrix = "matrix: m\naxes:\n  server: {mesh: [none, reference]}\n  \
                  providers: [[bolt-v1, tr], [bolt-v2, bolt-v2]]\n  \
                  site: [ant-like, public-cloud-like]\ncover: {strength: 2, seed: 1}\n\
                  cell: {topology: own.yaml, calls: 8, budget: 60s}\n";
    let topology = |zone: &str| {
        format!(
            "topology: own\npods:\n  left: {{sidecar: reference}}\n  right: {{}}\n  \
             first: {{app: {{speaks: new}}}}\n  last: {{zone: {zone}, app: {{speaks: new}}}}\n"
        )
    };
    let run = on_own(matrix, &topology("zone1"), &[]);
    if run.is_unsupported() {
        return;
    }
    assert_eq!(run.code, 0, "{}", run.told);
    let cases = run.cases();
    // Two callers of eight calls each; what a site cannot have is left out.
    for case in &cases {
        let answers = case.claims.iter().find(|it| it.name == "answers").unwrap();
        assert!(answers.why.starts_with("16 of 16"), "{case:?}");
    }
    let told: Vec<&str> = run.told.split_whitespace().collect();
    let why = "apps of public-cloud-like do not speak tr";
    assert!(told.join(" ").contains(why), "{}", run.told);
    let run = on_own(matrix, &topology("zone2"), &["--plan"]);
    assert_eq!(run.code, 0, "{}", run.told);
    let sites = run.told.lines().filter(|line| line.contains("-like"));
    let sites: Vec<&str> = sites.filter(|line| line.contains("[bolt")).collect();
    assert!(
        sites.iter().all(|line| line.contains("ant-like")),
        "{}",
        run.told
    );
    // Where all cells stand in such a site, the file says why none does.
    let text = "matrix: m\naxes:\n  call: [sync]\ncell:\n  topology: own.yaml\n";
    let site = ["--site", "public-cloud-like", "--plan"];
    let run = on_own(text, &topology("zone2"), &site);
    assert_eq!(run.code, 2, "{}", run.told);
    assert!(run.told.contains("m.yaml:5:"), "{}", run.told);
    assert!(run.told.contains("has no zone zone2"), "{}", run.told);
}

#[test]
fn cells_of_a_site_with_vips_call_by_them_and_others_have_no_names() {
    let matrix = "matrix: m\naxes:\n  client: {mesh: [none, reference]}\n  \
                  site: [ant-like, public-cloud-like]\n  speech: [auto, bolt-v2-crc]\n\
                  cover: {strength: 3, seed: 1}\n\
                  cell: {topology: pair, calls: 8, budget: 60s}\n";
    let run = on_own(matrix, "", &["--bug", "vip-legacy-form"]);
    if run.is_unsupported() {
        return;
    }
    assert_eq!(run.code, 1, "{}", run.told);
    let cause = "client.mesh=reference and site=ant-like";
    assert_eq!(causes(&run), [cause], "{}", run.told);
    for case in run.cases() {
        let answers = case.claims.iter().find(|it| it.name == "answers").unwrap();
        let value = |axis: &str| case.choices.iter().find(|it| it.axis == axis).unwrap();
        let by_name =
            value("client.mesh").value == "reference" && value("site").value == "ant-like";
        let wanted = if by_name { "of 16 calls" } else { "of 8 calls" };
        assert!(answers.why.contains(wanted), "{case:?}");
    }
    // What fails on both sites shows what ran there: the name service, and what it was asked.
    let run = on_own(matrix, "", &["--bug", "crc-dropped"]);
    assert_eq!(run.code, 1, "{}", run.told);
    let mut seen = [0, 0];
    for case in run.cases() {
        let site = case.choices.iter().find(|it| it.axis == "site").unwrap();
        let has_names = site.value == "ant-like";
        if case.verdict == Verdict::Fail {
            let names = case
                .evidence
                .iter()
                .any(|file| file.ends_with("/vip.jsonl"));
            assert_eq!(names, has_names, "{case:?}");
            seen[usize::from(has_names)] += 1;
        }
    }
    assert!(
        seen.iter().all(|count| *count > 0),
        "{seen:?}: {}",
        run.told
    );
}

#[test]
fn what_a_capture_gives_no_use_for_is_an_error_too() {
    let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/captures");
    let capture = captures.join("sofarpc_bolt_hessian2.pcap");
    let map = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/maps/recorded.yaml");
    refused(
        &format!(
            "axes:\n  registry_order: [as-is, reversed]\ncell:\n  replay: {{capture: {}, map: {}}}\n",
            capture.display(),
            map.display()
        ),
        3,
        &["axis registry_order: the capture shows one server"],
    );
}

/// Every file of a record, by its name within it.
fn files(record: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![record.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(record).unwrap().to_owned();
                all.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    all
}

#[test]
fn shards_become_one_record_whatever_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let bug = "oneway-answered";
    for shard in ["1", "2"] {
        let of = format!("{shard}/2");
        let run = Run::into(&place(shard), &["replayed", "--bug", bug, "--shard", &of]);
        if run.is_unsupported() {
            return;
        }
        assert!(run.code <= 1, "{}", run.told);
        assert_eq!(run.cases().len(), 2, "{}", run.told);
    }
    let (one, two) = (place("1"), place("2"));
    let (one, two) = (one.to_str().unwrap(), two.to_str().unwrap());
    let merged = |name: &str, shards: &[&str]| {
        let words: Vec<&str> = ["replayed", "--merge"]
            .iter()
            .chain(shards)
            .copied()
            .collect();
        Run::into(&place(name), &words)
    };
    let first = merged("a", &[one, two]);
    assert_eq!(first.code, 1, "{}", first.told);
    let causes = first.blames();
    assert_eq!(causes.len(), 2, "{causes:?}");
    assert!(causes.iter().all(|blame| blame.minimal), "{causes:?}");
    let certified = first.events().into_iter().find_map(|event| match event {
        Event::Certified { certificate } => Some(certificate),
        _ => None,
    });
    let certificate = certified.expect("a certificate");
    assert_eq!((certificate.planned, certificate.ran), (4, 4));
    // Evidence comes along.
    for case in first.cases() {
        for file in &case.evidence {
            assert!(first.record.join("artefacts").join(file).exists(), "{file}");
        }
    }
    for shards in [vec![two, one], vec![one, two, one]] {
        let other = merged(&shards.len().to_string().repeat(3), &shards);
        assert_eq!(other.code, 1, "{}", other.told);
        assert_eq!(files(&first.record), files(&other.record));
    }
    // Half of it covers half: nothing is claimed of the whole.
    let half = merged("half", &[one]);
    assert!(half.told.contains("INVALID"), "{}", half.told);
    // What goes together is of one plan.
    let other = Run::into(&place("b"), &["replayed", "--seed", "9", "--merge", one]);
    assert_eq!(other.code, 2, "{}", other.told);
    assert!(other.told.contains("do not go with"), "{}", other.told);
}

/// What `--plan` says of a matrix.
fn planned(matrix: &str, more: &[&str]) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("m.yaml");
    std::fs::write(&file, matrix).unwrap();
    let words = ["matrix", file.to_str().unwrap(), "--plan"];
    let output = command(OWN).args(words).args(more).output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told).into_owned();
    (output.status.code().unwrap_or(-1), told)
}

#[test]
fn cells_that_a_site_cannot_have_are_left_out() {
    let matrix = "matrix: m\naxes:\n  site: [ant-like, public-cloud-like]\n  \
                  providers: [[tr], [bolt-v1]]\n  call: [sync, oneway]\n\
                  needs: [{combination: {call: oneway}, capabilities: [zones]}]\n";
    let (code, told) = planned(matrix, &[]);
    assert_eq!(code, 0, "{told}");
    let cells = told
        .lines()
        .filter(|line| line.contains("public-cloud-like "));
    let cells: Vec<&str> = cells
        .filter(|line| line.contains("sync") || line.contains("oneway"))
        .collect();
    assert!(!cells.is_empty(), "{told}");
    for cell in cells {
        assert!(!cell.contains("[tr]") && !cell.contains("oneway"), "{cell}");
    }
    // Everything stands in the one site that was named.
    let matrix = "matrix: m\naxes:\n  providers: [[tr], [bolt-v1]]\n";
    let (code, told) = planned(matrix, &["--site", "public-cloud-like"]);
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("1 of 1 cells"), "{told}");
}

#[test]
fn a_budget_that_cuts_cells_off_is_told_in_verdict_and_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("m.yaml");
    let matrix = "matrix: m\naxes:\n  call: [sync, oneway]\n  providers: [[bolt-v1], [bolt-v2]]\n\
                  cover: {cells: 1}\ncell: {calls: 4, budget: 60s}\n";
    std::fs::write(&file, matrix).unwrap();
    let run = Run::into(&folder.path().join("record"), &[file.to_str().unwrap()]);
    if run.is_unsupported() {
        return;
    }
    assert_eq!(run.code, 3, "{}", run.told);
    let certificate = run.events().into_iter().find_map(|event| match event {
        Event::Certified { certificate } => Some(certificate),
        _ => None,
    });
    let not_run = certificate.expect("a certificate").not_run;
    let words = [
        "3 cells beyond the budget",
        "`cover.cells` allows 1, and 4 would cover all",
    ];
    assert!(
        not_run
            .iter()
            .any(|it| it.case == words[0] && it.why == words[1]),
        "{not_run:?}"
    );
    assert!(run.told.contains("beyond the budget"), "{}", run.told);
}
