//! What is said of configurations, right and wrong.

use std::collections::BTreeSet;

use expect_test::{Expect, expect};
use meshproof_input::Problem;
use miette::{GraphicalReportHandler, GraphicalTheme};
use serde_json::Value;

use super::*;
use crate::Bug;

const EXAMPLE: &str = include_str!("../../../docs/proxy.yaml");
const LEAST: &str = "name: a\naddress: 10.0.0.2\nrun: /run/a\n";

fn show(problem: &Problem) -> String {
    let mut out = String::new();
    let theme = GraphicalTheme::unicode_nocolor();
    let handler = GraphicalReportHandler::new_themed(theme).with_width(160);
    handler.render_report(&mut out, problem).unwrap();
    out
}

/// What is said of the least configuration with `text` behind it.
#[track_caller]
fn check(text: &str, expected: Expect) {
    let problem = Config::parse("sidecar.yaml", &format!("{LEAST}{text}")).unwrap_err();
    expected.assert_eq(&show(&problem));
}

/// As [`check`], for a text that stands alone.
#[track_caller]
fn check_whole(text: &str, expected: Expect) {
    let problem = Config::parse("sidecar.yaml", text).unwrap_err();
    expected.assert_eq(&show(&problem));
}

#[test]
fn the_example_is_right_and_says_what_the_defaults_are() {
    let example = Config::parse("docs/proxy.yaml", EXAMPLE).unwrap();
    assert_eq!(example.outbound.routes.len(), 2);
    let mut plain = example.clone();
    plain.outbound.routes.clear();
    plain.log = Log {
        level: Some("info".into()),
        ..Log::default()
    };
    plain.vip.server = None;
    let least = "name: sample-server\naddress: 10.0.0.2\nrun: /run/meshproof/sample-server\nzone: zone1\n\
         config_center: http://10.0.0.1:9603\nlog: {level: info}\n";
    let least = Config::parse("least", least).unwrap();
    assert_eq!(plain.to_json(), least.to_json());
}

#[test]
fn what_is_in_force_can_be_used_as_a_configuration() {
    for text in [EXAMPLE, LEAST] {
        let config = Config::parse("f", text).unwrap();
        let shown = serde_json::to_string_pretty(&config.to_json()).unwrap();
        let again = Config::parse("shown", &shown).unwrap();
        assert_eq!(config.to_json(), again.to_json());
    }
}

/// Every key that the schema knows, as paths.
pub(crate) fn keys_of_schema() -> BTreeSet<String> {
    fn walk(root: &Value, schema: &Value, path: &str, into: &mut BTreeSet<String>) {
        if let Some(Value::String(reference)) = schema.get("$ref") {
            let target = root.pointer(reference.trim_start_matches('#')).unwrap();
            walk(root, target, path, into);
        }
        if let Some(items) = schema.get("items") {
            walk(root, items, &format!("{path}[]"), into);
        }
        for (key, value) in schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let path = match path {
                "" => key.clone(),
                path => format!("{path}.{key}"),
            };
            walk(root, value, &path, into);
            into.insert(path);
        }
    }
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    let mut keys = BTreeSet::new();
    walk(&schema, &schema, "", &mut keys);
    keys
}

#[test]
fn the_example_has_every_key() {
    fn walk(value: &Value, path: &str, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(entries) if path != "log.targets" => {
                for (key, value) in entries {
                    let path = match path {
                        "" => key.clone(),
                        path => format!("{path}.{key}"),
                    };
                    walk(value, &path, into);
                    into.insert(path);
                }
            }
            Value::Array(items) => {
                for item in items {
                    walk(item, &format!("{path}[]"), into);
                }
            }
            _ => {}
        }
    }
    let written: Value = meshproof_input::parse("docs/proxy.yaml", EXAMPLE).unwrap();
    let mut keys = BTreeSet::new();
    walk(&written, "", &mut keys);
    assert_eq!(keys, keys_of_schema());
    assert!(keys.len() > 40);
}

#[test]
fn values_that_contradict_each_other() {
    check(
        "heartbeat:\n  interval: 200ms\n  timeout: 300ms\n",
        expect![[r#"
            config::heartbeat

              × a time-out of 300ms is longer than the interval of 200ms
               ╭─[sidecar.yaml:6:12]
             4 │ heartbeat:
             5 │   interval: 200ms
               ·             ──┬──
               ·               ╰── the interval
             6 │   timeout: 300ms
               ·            ─────
               ╰────
              help: write at most 200ms: a heartbeat is judged before the next one goes out
        "#]],
    );
    check(
        "heartbeat: {interval: 200ms}\n",
        expect![[r#"
            config::heartbeat

              × a time-out of 500ms is longer than the interval of 200ms
               ╭─[sidecar.yaml:4:1]
             3 │ run: /run/a
             4 │ heartbeat: {interval: 200ms}
               · ────┬────             ──┬──
               ·     │                   ╰── the interval
               ·     ╰── not set here
               ╰────
              help: write at most 200ms: a heartbeat is judged before the next one goes out
        "#]],
    );
    check(
        "heartbeat: {misses: 0}\n",
        expect![[r#"
        config::heartbeat

          × with 0 misses the app would be lost before it was asked
           ╭─[sidecar.yaml:4:21]
         3 │ run: /run/a
         4 │ heartbeat: {misses: 0}
           ·                     ─
           ╰────
          help: write 1 or more; 3 is usual
    "#]],
    );
    check(
        "admin: 127.0.0.1:12200\n",
        expect![[r#"
            config::port

              × port 12200 is taken already, by `inbound.listen` (its default)
               ╭─[sidecar.yaml:4:8]
             3 │ run: /run/a
             4 │ admin: 127.0.0.1:12200
               ·        ───────────────
               ╰────
              help: give one of them another port
        "#]],
    );
    check(
        "api: 127.0.0.1:9\noutbound:\n  listen: 127.0.0.1:9\n",
        expect![[r#"
            config::port

              × port 9 is taken already, by `outbound.listen`
               ╭─[sidecar.yaml:4:6]
             3 │ run: /run/a
             4 │ api: 127.0.0.1:9
               ·      ───────────
             5 │ outbound:
             6 │   listen: 127.0.0.1:9
               ·           ─────┬─────
               ·                ╰── by this
               ╰────
              help: give one of them another port
        "#]],
    );
}

#[test]
fn values_that_make_no_sense() {
    check(
        "admin: 0.0.0.0:12230\n",
        expect![[r#"
        config::admin

          × 0.0.0.0:12230 can be reached from outside the pod
           ╭─[sidecar.yaml:4:8]
         3 │ run: /run/a
         4 │ admin: 0.0.0.0:12230
           ·        ─────────────
           ╰────
          help: write a loopback address such as 127.0.0.1:12230: whoever reaches the admin interface can drain the sidecar
    "#]],
    );
    check(
        "api: localhost\n",
        expect![[r#"
        input::bad_value

          × `localhost` is not an address with a port
           ╭─[sidecar.yaml:4:6]
         3 │ run: /run/a
         4 │ api: localhost
           ·      ─────────
           ╰────
          help: write one such as 10.0.0.1:12200 or [fd00::1]:12200
    "#]],
    );
    check(
        "inbound: {app: 127.0.0.1:0}\n",
        expect![[r#"
        config::port

          × port 0 is nowhere
           ╭─[sidecar.yaml:4:16]
         3 │ run: /run/a
         4 │ inbound: {app: 127.0.0.1:0}
           ·                ───────────
           ╰────
          help: write the port that the app serves on, 12199 as a rule
    "#]],
    );
    check(
        "inbound: {protocols: [bolt, dubbo]}\n",
        expect![[r#"
        input::unknown_value

          × unknown value `dubbo`
           ╭─[sidecar.yaml:4:29]
         3 │ run: /run/a
         4 │ inbound: {protocols: [bolt, dubbo]}
           ·                             ──┬──
           ·                               ╰── not known here
           ╰────
          help: expected one of `bolt`, `tr`
    "#]],
    );
    check(
        "inbound: {protocols: []}\n",
        expect![[r#"
        config::protocols

          × a side without protocols serves nobody
           ╭─[sidecar.yaml:4:22]
         3 │ run: /run/a
         4 │ inbound: {protocols: []}
           ·                      ─
           ╰────
          help: write [bolt, tr], or one of them
    "#]],
    );
    check(
        "config_center: 10.0.0.1:9603\n",
        expect![[r#"
        config::config_center

          × `10.0.0.1:9603` does not begin with `http://`
           ╭─[sidecar.yaml:4:16]
         3 │ run: /run/a
         4 │ config_center: 10.0.0.1:9603
           ·                ─────────────
           ╰────
          help: write http://HOST:PORT
    "#]],
    );
    check(
        "config_center: http://10.0.0.1\n",
        expect![[r#"
        config::config_center

          × `http://10.0.0.1` names no port
           ╭─[sidecar.yaml:4:16]
         3 │ run: /run/a
         4 │ config_center: http://10.0.0.1
           ·                ───────────────
           ╰────
          help: write http://HOST:PORT
    "#]],
    );
    check(
        "timeouts: {request: 0ms}\n",
        expect![[r#"
        config::zero

          × a span of time of 0 is over before it begins
           ╭─[sidecar.yaml:4:21]
         3 │ run: /run/a
         4 │ timeouts: {request: 0ms}
           ·                     ───
           ╰────
          help: write 1ms or more
    "#]],
    );
    check(
        "timeouts: {request: 3}\n",
        expect![[r#"
        input::bad_value

          × `3` is not a span of time: the unit is missing
           ╭─[sidecar.yaml:4:21]
         3 │ run: /run/a
         4 │ timeouts: {request: 3}
           ·                     ─
           ╰────
          help: write a number and a unit: 300ms, 2s, 1.5s, 1m, 1h
    "#]],
    );
    check(
        "limits: {in_flight: 0}\n",
        expect![[r#"
        config::zero

          × a limit of 0 lets nothing through
           ╭─[sidecar.yaml:4:21]
         3 │ run: /run/a
         4 │ limits: {in_flight: 0}
           ·                     ─
           ╰────
          help: write 1 or more
    "#]],
    );
    check(
        "bugs: [no-recovery, heartbeats-ignored]\n",
        expect![[r#"
        input::bad_value

          × there is no bug `heartbeats-ignored`
           ╭─[sidecar.yaml:4:21]
         3 │ run: /run/a
         4 │ bugs: [no-recovery, heartbeats-ignored]
           ·                     ──────────────────
           ╰────
          help: did you mean `heartbeat-ignored`?
    "#]],
    );
    check(
        "log: {level: verbose}\n",
        expect![[r#"
        config::log

          × there is no level `verbose`
           ╭─[sidecar.yaml:4:14]
         3 │ run: /run/a
         4 │ log: {level: verbose}
           ·              ───────
           ╰────
          help: expected one of off, error, warn, info, debug, trace
    "#]],
    );
    check(
        "log:\n  targets:\n    proxy::helth: debug\n",
        expect![[r#"
        config::log

          × nothing is logged as `proxy::helth`
           ╭─[sidecar.yaml:6:19]
         5 │   targets:
         6 │     proxy::helth: debug
           ·     ──────┬─────  ─────
           ·           ╰── not known here
           ╰────
          help: did you mean `proxy::health`?
    "#]],
    );
    check(
        "log:\n  targets:\n    proxy::health: debgu\n",
        expect![[r#"
            config::log

              × there is no level `debgu`
               ╭─[sidecar.yaml:6:20]
             5 │   targets:
             6 │     proxy::health: debgu
               ·                    ─────
               ╰────
              help: did you mean `debug`?
        "#]],
    );
    check(
        "heartbeats: {}\n",
        expect![[r#"
        input::unknown_key

          × unknown key `heartbeats`
           ╭─[sidecar.yaml:4:1]
         3 │ run: /run/a
         4 │ heartbeats: {}
           · ─────┬────
           ·      ╰── not known here
           ╰────
          help: did you mean `heartbeat`?
    "#]],
    );
    check_whole(
        "name: a\naddress: 10.0.0.2\nrun: run/a\n",
        expect![[r#"
        config::run

          × the run directory `run/a` is relative
           ╭─[sidecar.yaml:3:6]
         2 │ address: 10.0.0.2
         3 │ run: run/a
           ·      ─────
           ╰────
          help: write a path that begins with `/`, so that two sidecars cannot meet by chance
    "#]],
    );
    check_whole(
        "name: a b\naddress: 10.0.0.2\nrun: /run/a\n",
        expect![[r#"
        config::name

          × `a b` is no name
           ╭─[sidecar.yaml:1:7]
         1 │ name: a b
           ·       ───
         2 │ address: 10.0.0.2
           ╰────
          help: write one or more characters without spaces
    "#]],
    );
    check_whole(
        "name: a\naddress: 0.0.0.0\nrun: /run/a\n",
        expect![[r#"
        config::address

          × nobody can call 0.0.0.0
           ╭─[sidecar.yaml:2:10]
         1 │ name: a
         2 │ address: 0.0.0.0
           ·          ───────
         3 │ run: /run/a
           ╰────
          help: write the pod's own address: the config center tells it to others
    "#]],
    );
    check_whole(
        "name: a\naddress: ten\nrun: /run/a\n",
        expect![[r#"
        input::bad_value

          × `ten` is not an address
           ╭─[sidecar.yaml:2:10]
         1 │ name: a
         2 │ address: ten
           ·          ───
         3 │ run: /run/a
           ╰────
          help: write one such as 10.0.0.1 or fd00::1, without port and prefix
    "#]],
    );
    check_whole(
        "name: a\naddress: 10.0.0.2\n",
        expect![[r#"
        input::missing_key

          × the key `run` is missing
           ╭─[sidecar.yaml:2:1]
         1 │ name: a
         2 │ address: 10.0.0.2
           · ───┬───
           ·    ╰── in this mapping
           ╰────
          help: add `run: …`
    "#]],
    );
}

#[test]
fn routes_that_lead_nowhere() {
    check(
        "outbound:\n  routes:\n    - service: a\n",
        expect![[r#"
            config::route

              × a route that leads nowhere
               ╭─[sidecar.yaml:6:7]
             5 │   routes:
             6 │     - service: a
               ·       ▲
               ·       ╰── not set here
               ╰────
              help: write `to:` with one or more addresses, such as [10.1.2.3:12200]
        "#]],
    );
    check(
        "outbound:\n  routes:\n    - to: [10.0.0.3]\n",
        expect![[r#"
            config::route

              × `10.0.0.3` names no port
               ╭─[sidecar.yaml:6:12]
             5 │   routes:
             6 │     - to: [10.0.0.3]
               ·            ────────
               ╰────
              help: write 10.1.2.3:12200, APP-pool.ZONE.alipay.net:12200 or http://APP-pool.ZONE.alipay.net:12200?_TIMEOUT=3000
        "#]],
    );
    check(
        "outbound:\n  routes:\n    - to: [\"ftp://10.0.0.3:12200\"]\n",
        expect![[r#"
            config::route

              × `ftp://10.0.0.3:12200`: scheme `ftp` is not known, expected `http`, `bolt`, `tr` or none
               ╭─[sidecar.yaml:6:12]
             5 │   routes:
             6 │     - to: ["ftp://10.0.0.3:12200"]
               ·            ──────────────────────
               ╰────
              help: write 10.1.2.3:12200, APP-pool.ZONE.alipay.net:12200 or http://APP-pool.ZONE.alipay.net:12200?_TIMEOUT=3000
        "#]],
    );
    check(
        "outbound:\n  routes:\n    - to: [\"10.0.0.3:12200\", \"10.0.0.3:x\"]\n",
        expect![[r#"
            config::route

              × `10.0.0.3:x` is no address: the port is no number from 0 to 65535
               ╭─[sidecar.yaml:6:30]
             5 │   routes:
             6 │     - to: ["10.0.0.3:12200", "10.0.0.3:x"]
               ·                              ────────────
               ╰────
              help: write 10.1.2.3:12200, APP-pool.ZONE.alipay.net:12200 or http://APP-pool.ZONE.alipay.net:12200?_TIMEOUT=3000
        "#]],
    );
    check(
        "outbound:\n  routes:\n    - {to: [\"10.0.0.3:12200\"], timeout: 0s}\n",
        expect![[r#"
            config::zero

              × a span of time of 0 is over before it begins
               ╭─[sidecar.yaml:6:41]
             5 │   routes:
             6 │     - {to: ["10.0.0.3:12200"], timeout: 0s}
               ·                                         ──
               ╰────
              help: write 1ms or more
        "#]],
    );
}

#[test]
fn sockets_at_different_addresses_may_share_a_port() {
    for text in [
        "inbound: {listen: 127.0.0.2:12200}\nadmin: 127.0.0.1:12200\n",
        "inbound: {listen: 127.0.0.2:0}\noutbound: {listen: 127.0.0.2:0}\nadmin: 127.0.0.2:0\napi: 127.0.0.2:0\n",
    ] {
        Config::parse("f", &format!("{LEAST}{text}")).unwrap();
    }
}

#[track_caller]
fn check_reload(old: &str, new: &str, expected: Expect) {
    let old = Config::parse("old", &format!("{LEAST}{old}")).unwrap();
    let out = match old.reload("sidecar.yaml", &format!("{LEAST}{new}")) {
        Ok(reload) => format!("changed: {}\n", reload.changed.join(", ")),
        Err(problem) => show(&problem),
    };
    expected.assert_eq(&out);
}

#[test]
fn what_can_change_while_it_runs() {
    check_reload(
        "",
        "",
        expect![[r#"
        changed: 
    "#]],
    );
    check_reload(
        "heartbeat: {interval: 2s}\nlog: {targets: {proxy::core: debug}}\n",
        "heartbeat: {interval: 1s}\ntimeouts: {request: 1s}\noutbound: {routes: [{to: [\"10.0.0.3:1\"]}]}\nlog: {level: warn}\n",
        expect![[r#"
            changed: outbound.routes, heartbeat.interval, timeouts.request, log.level, log.targets.proxy::core
        "#]],
    );
}

#[test]
fn what_cannot_change_while_it_runs() {
    check_reload(
        "",
        "timeouts: {request: 1s}\napi: 127.0.0.1:13331\n",
        expect![[r#"
            config::fixed

              × `api` cannot change while the sidecar runs: "127.0.0.1:13330" is in force
               ╭─[sidecar.yaml:5:6]
             4 │ timeouts: {request: 1s}
             5 │ api: 127.0.0.1:13331
               ·      ───────────────
               ╰────
              help: put it back, or start a successor with `meshproof proxy --upgrade`; nothing of this file was taken
        "#]],
    );
    check_reload(
        "api: 127.0.0.1:13331\n",
        "timeouts: {request: 1s}\n",
        expect![[r#"
            config::fixed

              × `api` cannot change while the sidecar runs: "127.0.0.1:13331" is in force
               ╭─[sidecar.yaml:1:1]
             1 │ name: a
               · ▲
               · ╰── not set here
             2 │ address: 10.0.0.2
               ╰────
              help: put it back, or start a successor with `meshproof proxy --upgrade`; nothing of this file was taken
        "#]],
    );
    check_reload(
        "",
        "outbound:\n  listen: 127.0.0.1:12221\n",
        expect![[r#"
        config::fixed

          × `outbound.listen` cannot change while the sidecar runs: "127.0.0.1:12220" is in force
           ╭─[sidecar.yaml:5:11]
         4 │ outbound:
         5 │   listen: 127.0.0.1:12221
           ·           ───────────────
           ╰────
          help: put it back, or start a successor with `meshproof proxy --upgrade`; nothing of this file was taken
    "#]],
    );
    check_reload(
        "",
        "config_center: http://10.0.0.1:9603\n",
        expect![[r#"
        config::fixed

          × `config_center` cannot change while the sidecar runs: none is in force
           ╭─[sidecar.yaml:4:16]
         3 │ run: /run/a
         4 │ config_center: http://10.0.0.1:9603
           ·                ────────────────────
           ╰────
          help: put it back, or start a successor with `meshproof proxy --upgrade`; nothing of this file was taken
    "#]],
    );
    check_reload(
        "",
        "bugs: [no-recovery]\n",
        expect![[r#"
        config::fixed

          × `bugs` cannot change while the sidecar runs: [] is in force
           ╭─[sidecar.yaml:4:7]
         3 │ run: /run/a
         4 │ bugs: [no-recovery]
           ·       ─
           ╰────
          help: put it back, or start a successor with `meshproof proxy --upgrade`; nothing of this file was taken
    "#]],
    );
    check_reload(
        "",
        "heartbeat: {misses: 0}\n",
        expect![[r#"
        config::heartbeat

          × with 0 misses the app would be lost before it was asked
           ╭─[sidecar.yaml:4:21]
         3 │ run: /run/a
         4 │ heartbeat: {misses: 0}
           ·                     ─
           ╰────
          help: write 1 or more; 3 is usual
    "#]],
    );
    for fixed in FIXED {
        assert!(keys_of_schema().contains(*fixed), "{fixed}");
    }
}

#[test]
fn bugs_are_named_as_their_switches() {
    let config = Config::parse("f", &format!("{LEAST}bugs: [id-collision]\n")).unwrap();
    assert_eq!(config.bugs, [Bug::IdCollision]);
    let schema = schema();
    for bug in Bug::ALL {
        assert!(schema.contains(&format!("\"{bug}\"")), "{bug}");
    }
}

/// docs/proxy.md and the schema: the same keys, and the same ones that are fixed.
#[test]
fn every_key_is_documented_and_every_documented_key_is_there() {
    let docs = include_str!("../../../docs/proxy.md");
    let documented: BTreeSet<(String, bool)> = docs
        .lines()
        .skip_while(|line| *line != "## Configuration")
        .take_while(|line| *line != "## Health of the app")
        .filter_map(|line| {
            let (key, rest) = line.strip_prefix("| `")?.split_once('`')?;
            Some((key.to_owned(), rest.starts_with(" ●")))
        })
        .collect();
    let keys = keys_of_schema();
    let is_section = |key: &String| {
        keys.iter()
            .any(|other| other.starts_with(&format!("{key}.")))
    };
    let known: BTreeSet<(String, bool)> = keys
        .iter()
        .filter(|key| !is_section(key))
        .map(|key| (key.clone(), FIXED.contains(&key.as_str())))
        .collect();
    assert_eq!(documented, known);
}
