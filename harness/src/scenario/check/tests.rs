//! What is wrong with a story is said with its line and what to write.

use super::super::shipped;
use super::*;

const HEAD: &str = "scenario: it\nabout: it is tried\ntopology: pair\n";

fn problem(text: &str) -> Problem {
    let topologies = |name: &str| Some((name.to_owned(), shipped::topology(name)?.to_owned()));
    let known = Known {
        bugs: &["heartbeat-ignored", "crc-dropped"],
        suts: &["reference", "mosn"],
        sites: &["ant-like", "public-cloud-like"],
    };
    match super::super::load("story.yaml", text, &topologies, &known) {
        Ok(_) => panic!("it is taken:\n{text}"),
        Err(problem) => problem,
    }
}

/// A story whose file is wrong at this line, with this code, and whose help says what to type.
#[track_caller]
fn file(text: &str, line: usize, code: &str, says: &str) {
    let problem = problem(text);
    let told = format!("{problem}; {}", problem.help_text().unwrap_or_default());
    assert_eq!(
        (problem.code_name(), problem.line()),
        (code, Some(line)),
        "{told}\n{text}"
    );
    assert!(told.contains(says), "{told}");
    assert!(!told.ends_with('.'), "{told}");
}

/// The same, of one step behind a good head.
#[track_caller]
fn step(yaml: &str, code: &str, says: &str) {
    file(&format!("{HEAD}steps:\n  - {yaml}\n"), 5, code, says);
}

#[test]
fn heads_that_are_wrong() {
    let steps = "steps: [{call: {from: client}}]\n";
    file(
        &format!("scenario: It is\nabout: a\ntopology: pair\n{steps}"),
        1,
        "scenario::name",
        "small letters",
    );
    file(
        &format!("scenario: it\nabuot: a\ntopology: pair\n{steps}"),
        2,
        "input::unknown_key",
        "did you mean `about`?",
    );
    file(
        &format!("scenario: it\nabout: a\ntopology: piar\n{steps}"),
        3,
        "scenario::unknown_topology",
        "no topology `piar`",
    );
    file(
        &format!("{HEAD}needs: [hot_upgrades]\n{steps}"),
        4,
        "scenario::unknown_capability",
        "did you mean `hot_upgrade`?",
    );
    file(
        &format!("{HEAD}site: ant-lik\n{steps}"),
        4,
        "scenario::unknown_site",
        "did you mean `ant-like`?",
    );
    file(
        &format!("{HEAD}catches: [crc-droped]\n{steps}"),
        4,
        "scenario::unknown_bug",
        "did you mean `crc-dropped`?",
    );
    file(
        &format!("{HEAD}budget: 2h\n{steps}"),
        4,
        "scenario::time",
        "up to 1h",
    );
    file(
        &format!("{HEAD}budget: 60\n{steps}"),
        4,
        "input::bad_value",
        "a number and a unit",
    );
    file(
        &format!("{HEAD}steps: []\n"),
        1,
        "scenario::nothing",
        "add steps",
    );
    file(
        &format!("{HEAD}steps: {{call: {{from: client}}}}\n"),
        4,
        "input::wrong_type",
        "a list",
    );
}

#[test]
fn steps_that_are_wrong() {
    step(
        "cal: {from: client}",
        "input::unknown_value",
        "did you mean `call`?",
    );
    step(
        "call: {from: clinet}",
        "scenario::unknown_pod",
        "did you mean `client`?",
    );
    step("call: {count: 3}", "input::missing_key", "`from`");
    step(
        "call: {from: client, service: SampelService}",
        "scenario::unknown_service",
        "com.alipay.demo.SampleService:1.0",
    );
    step(
        "call: {from: client, service: \"SampleService:2.0\"}",
        "scenario::unknown_service",
        "unknown service",
    );
    step(
        "call: {from: client, style: synk}",
        "input::unknown_value",
        "did you mean `sync`?",
    );
    step(
        "call: {from: client, speech: bolt2}",
        "input::unknown_value",
        "did you mean `bolt`?",
    );
    step("call: {from: client, count: 0}", "scenario::number", "1 to");
    step(
        "call: {from: client, count: many}",
        "input::wrong_type",
        "expected",
    );
    step(
        "call: {from: client, rate: 10, depth: 2}",
        "scenario::call",
        "keep one of the two",
    );
    step(
        "call: {from: client, timeout: 300}",
        "input::bad_value",
        "300ms",
    );
    step(
        "call: {from: client, expect: timeuot}",
        "scenario::unknown_outcome",
        "did you mean `timeout`?",
    );
    step(
        "call: {from: client, style: oneway, expect: ok}",
        "scenario::call",
        "seen",
    );
    step(
        "call: {from: client, seen_by: [client]}",
        "scenario::no_program",
        "has no app",
    );
    step(
        "send: {from: client, to: server, port: 12200, hex: abc, expect: closed, within: 1s}",
        "scenario::hex",
        "two hexadecimal digits",
    );
    step(
        "send: {from: client, to: server, port: 122000, hex: ab, expect: closed, within: 1s}",
        "input::wrong_type",
        "",
    );
    step(
        "upgrade: {pod: server, to: mson}",
        "scenario::unknown_sidecar",
        "did you mean `mosn`?",
    );
    step(
        "set: {pod: server}",
        "scenario::nothing",
        "`log_level` or `config`",
    );
    step(
        "set: {pod: server, log_level: {level: debugg}}",
        "scenario::unknown_level",
        "did you mean `debug`?",
    );
    step("registry: {}", "scenario::nothing", "push_empty");
    step(
        "registry: {order: \"fixed:servr\"}",
        "scenario::unknown_pod",
        "did you mean `server`?",
    );
    step(
        "registry: {order: backwards}",
        "scenario::order",
        "shuffled:SEED",
    );
    step(
        "parallel: {one: [{call: {from: client}}]}",
        "scenario::parallel",
        "add a branch",
    );
    step(
        "within: {limit: 5m, steps: [{call: {from: client}}]}",
        "scenario::time",
        "budget: 300s",
    );
}

#[test]
fn faults_that_are_wrong() {
    step(
        "fault: {id: a, kind: kil, pod: server}",
        "input::unknown_value",
        "did you mean `kill`?",
    );
    step(
        "fault: {id: a, kind: drop, pod: server}",
        "fault::no_port",
        "name `port`",
    );
    step(
        "fault: {kind: drop, pod: server, port: 12199}",
        "scenario::fault",
        "what `heal` calls it",
    );
    step(
        "fault: {id: a, kind: drop, port: 12199}",
        "scenario::fault",
        "which is where it is",
    );
    step(
        "fault: {id: a, kind: drop, pod: servr, port: 12199}",
        "scenario::unknown_pod",
        "did you mean `server`?",
    );
    step(
        "fault: {id: a, kind: drop, pod: server, port: 12199, way: relay, listener: elsewhere}",
        "scenario::fault",
        "no relay of an environment can do `listener`",
    );
    step(
        "fault: {id: a, kind: flip, byte: 2, mask: 0, pod: server, port: 12199}",
        "fault::mask",
        "a byte stays what it is",
    );
    step(
        "fault: {id: a, kind: drop, pod: server, port: 12200, from: app}",
        "scenario::fault",
        "`server` for who serves in it",
    );
    step(
        "fault: {id: a, kind: kill, pod: server, way: trace}",
        "scenario::fault",
        "write one of signal",
    );
    step(
        "fault: {id: a, kind: drop, pod: server, port: 12199, way: app-order}",
        "scenario::fault",
        "write one of nft-owner",
    );
    step(
        "fault: {id: a, kind: mute, pod: server, for: 2s}",
        "scenario::fault",
        "heal it in steps",
    );
    step(
        "fault: {id: a, kind: kill, pod: server, port: 12199}",
        "fault::no_leg",
        "leave it out",
    );
    step(
        "fault: {id: a, kind: drop, pod: server, port: 80, frame: request}",
        "scenario::fault",
        "12199",
    );
    step(
        "fault: {id: a, kind: mute, pod: server, frame: heartbeat}",
        "fault::not_frames",
        "`frame` is said of frames",
    );
    step(
        "fault: {id: a, kind: slow, pod: server}",
        "fault::no_time",
        "name `by`, such as `by: 500ms`",
    );
    step(
        "fault: {id: a, kind: throw, pod: server, methods: [helo]}",
        "scenario::unknown_method",
        "did you mean `hello`?",
    );
    step(
        "fault: {id: a, kind: kill, pod: client}",
        "scenario::no_program",
        "has no app",
    );
    step("heal: a", "scenario::unknown_fault", "no fault here");
    let fault = "  - fault: {id: mute, kind: mute, pod: server}\n";
    file(
        &format!("{HEAD}steps:\n{fault}  - heal: mut\n"),
        6,
        "scenario::unknown_fault",
        "did you mean `mute`?",
    );
    file(
        &format!("{HEAD}steps:\n{fault}{fault}"),
        6,
        "scenario::fault_again",
        "heal it before",
    );
    file(
        &format!("{HEAD}steps:\n{fault}  - heal: mute\n  - heal: mute\n"),
        7,
        "scenario::unknown_fault",
        "healed already",
    );
}

#[test]
fn probes_that_are_wrong() {
    let eventually = |probe: &str, code: &str, says: &str| {
        step(
            &format!("eventually: {{within: 5s, all: [{probe}]}}"),
            code,
            says,
        );
    };
    eventually("", "scenario::nothing", "add a probe");
    eventually(
        "{prt: {pod: server, number: 1, is: open}}",
        "input::unknown_value",
        "did you mean `port`?",
    );
    eventually(
        "{port: {pod: server, number: 12200, is: opn}}",
        "input::unknown_value",
        "did you mean `open`?",
    );
    eventually(
        "{port: {pod: servre, number: 12200, is: open}}",
        "scenario::unknown_pod",
        "did you mean `server`?",
    );
    eventually("{registry: {}}", "scenario::nothing", "with: POD");
    eventually(
        "{registry: {with: serve}}",
        "scenario::unknown_pod",
        "did you mean `server`?",
    );
    eventually(
        "{metric: {pod: server, name: a, is: more}}",
        "input::bad_value",
        "> 2",
    );
    eventually("{ledger: {}}", "scenario::nothing", "lost: 0");
    eventually(
        "{latency: {call: load, p99: 1s}}",
        "scenario::unknown_call",
        "no call here",
    );
    eventually(
        "{seen: {pod: client}}",
        "scenario::no_program",
        "has no app",
    );
    step(
        "always: {for: 0s, all: [{ledger: {lost: 0}}]}",
        "scenario::time",
        "no time at all",
    );
    step(
        "never: {within: 1s, any: [{ledger: {lost: 1}}]}",
        "input::unknown_key",
        "for",
    );
}

#[test]
fn a_service_is_meant_by_any_of_its_names() {
    let mesh: MeshSpec = meshproof_input::parse(
        "mesh.yaml",
        "topology: t\npods: {a: {app: {versions: [\"1.0\", \"2.0\"]}}}\n",
    )
    .expect("a topology");
    let full = |version: &str| Some(format!("{INTERFACE}:{version}"));
    for (asked, version) in [
        (None, "1.0"),
        (Some("SampleService"), "1.0"),
        (Some("SampleService:2.0"), "2.0"),
        (Some(INTERFACE), "1.0"),
        (Some("com.alipay.demo.SampleService:2.0"), "2.0"),
    ] {
        assert_eq!(service(&mesh, asked), full(version), "{asked:?}");
    }
    for asked in ["Sample", "SampleService:3.0", "", "x.SampleService"] {
        assert_eq!(service(&mesh, Some(asked)), None, "{asked}");
    }
}
