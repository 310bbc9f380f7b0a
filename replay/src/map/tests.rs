//! Maps, good and bad: what is said of them.

use expect_test::{Expect, expect};

use super::parse::schema;
use super::{Map, Matches, Writes};

/// The whole map of the documentation must be good.
#[test]
fn a_map_with_everything() {
    let map = Map::parse(
        "map.yaml",
        "networks: {10.15.0.0/16: 10.99.0.0/16, \"fd00:1::/32\": \"fd00:2::/32\"}\n\
         addresses: {10.15.232.248: 127.0.0.1}\n\
         endpoints: {10.15.246.182:12200: 127.0.0.2:13200}\n\
         vips:\n  http://sample-pool.zone1.alipay.net:12200?_TIMEOUT=3000: offline-pool.z9.test.net:12200\n\
         apps: {sample-client: c1}\nzones: {zone1: zoneA}\n\
         headers: {rpc_req_baggage.targetZone: {zone1: z9}}\n\
         strings:\n  - {at: 'args[0].id', pattern: 'ord-(\\d+)', to: test-$1}\n  - {from: a, to: b}\n\
         redact: {key: 12345678, fields: [mobile]}\nkeep: [mac, non-tcp]\n\
         targets: [{network: 10.99.0.0/16, owner: team}]\n",
    )
    .unwrap_or_else(|problem| panic!("{problem}"));
    assert_eq!(map.networks.len(), 2);
    assert_eq!(map.addresses[0].line, 2);
    assert_eq!(map.vips[0].from.name, "sample-pool.zone1.alipay.net");
    assert_eq!(map.vips[0].from.port, Some(12200));
    assert_eq!(map.strings[1].matches, Matches::Whole("a".into()));
    assert_eq!(
        map.redact.as_ref().map(|redact| redact.key.as_str()),
        Some("12345678")
    );
    assert!(map.keep.mac && map.keep.non_tcp && !map.keep.foreign);
    assert_eq!(map.targets[0].writes, Writes::Deny);
    assert!(!map.hides_nothing());
    assert!(matches!(map.inverse(), Err(super::NoInverse::Redact)));
}

#[test]
fn an_empty_map_hides_nothing() {
    for text in ["", "# nothing\n", "keep: [mac]\n"] {
        assert!(Map::parse("map.yaml", text).expect("a map").hides_nothing());
    }
}

#[test]
fn an_inverse_leads_back() {
    let map = Map::parse(
        "m",
        "apps: {a: b}\nvips: {x.y: z.y}\nstrings: [{from: p, to: q}]\n",
    )
    .expect("a map");
    let back = map.inverse().expect("an inverse");
    assert_eq!(back.apps[0].from, "b");
    assert_eq!(back.inverse().expect("an inverse"), map);
}

#[track_caller]
fn check(text: &str, expect: Expect) {
    let said = match Map::parse("map.yaml", text) {
        Ok(_) => "accepted".to_owned(),
        Err(problem) => format!(
            "line {}: {}: {problem}\n{}",
            problem.line().unwrap_or(0),
            problem.code_name(),
            problem.help_text().unwrap_or("no help"),
        ),
    };
    expect.assert_eq(&said);
}

#[test]
fn unknown_key() {
    check(
        "apps: {a: b}\nnetwroks: {}\n",
        expect![[r#"
        line 2: input::unknown_key: unknown key `netwroks`
        did you mean `networks`?"#]],
    );
    // Nothing carries them over, so that nobody may ask for it.
    check(
        "keep: [comments]\n",
        expect![[r#"
        line 1: input::unknown_value: unknown value `comments`
        expected one of `mac`, `foreign`, `non-tcp`, `undecodable`"#]],
    );
    check(
        "keep: [macs]\n",
        expect![[r#"
        line 1: input::unknown_value: unknown value `macs`
        did you mean `mac`?"#]],
    );
    check(
        "redact: {key: 12345678, feilds: [a]}\n",
        expect![[r#"
        line 1: input::unknown_key: unknown key `feilds`
        did you mean `fields`?"#]],
    );
    check(
        "targets:\n- {network: 10.0.0.0/8, owner: me, writes: maybe}\n",
        expect![[r#"
            line 2: input::unknown_value: unknown value `maybe`
            expected one of `deny`, `allow`"#]],
    );
}

#[test]
fn bad_networks() {
    check(
        "networks:\n  10.15.0.0/16: 10.99.0.0/24\n",
        expect![[r#"
        line 2: map::prefix_length: a /16 cannot be replaced by a /24
        the host bits are kept, so both need the same length: write 10.99.0.0/16"#]],
    );
    check(
        "networks:\n  10.15.0.0/16: 10.99.3.0/16\n",
        expect![[r#"
        line 2: input::bad_value: `10.99.3.0/16` has bits set behind its prefix
        write 10.99.0.0/16"#]],
    );
    check(
        "networks:\n  10.15.0.0: 10.99.3.0/16\n",
        expect![[r#"
        line 2: input::bad_value: `10.15.0.0` is an address, and a network is needed
        write 10.15.0.0/32 for this address alone"#]],
    );
    check(
        "networks:\n  10.15.0.0/33: 10.99.3.0/16\n",
        expect![[r#"
        line 2: input::bad_value: `10.15.0.0/33` is not a network: `33` is not a number of bits
        write 0 to 32 behind the slash"#]],
    );
    check(
        "networks:\n  10.15.0.0/16: fd00::/16\n",
        expect![[r#"
            line 2: map::family: an IPv4 network cannot be replaced by one of the other family
            packet headers have room for IPv4 only: write one such as 10.99.0.0/16"#]],
    );
    check(
        "addresses:\n  10.15.0.1: ::1\n",
        expect![[r#"
        line 2: map::family: an IPv4 address cannot be replaced by one of the other family
        packet headers have room for IPv4 only: write one such as 127.0.0.1"#]],
    );
}

#[test]
fn overlaps() {
    check(
        "networks:\n  10.15.0.0/16: 10.99.0.0/16\n  10.15.7.0/24: 10.98.0.0/24\n",
        expect![[r#"
            line 3: map::overlap: `10.15.7.0/24` overlaps `10.15.0.0/16`
            originals under `networks` must not overlap: take one out, or make them disjoint (one address of a network goes under `addresses`)"#]],
    );
    check(
        "vips:\n  a.b: c.d\n  A.B:80: e.f:80\n",
        expect![[r#"
        line 3: map::overlap: `A.B:80` overlaps `a.b`
        originals under `vips` must not overlap: take one out, or make them disjoint (one address of a network goes under `addresses`)"#]],
    );
    // One address of a network may go elsewhere; text in another order is no contradiction.
    check(
        "networks: {10.15.0.0/16: 10.99.0.0/16}\naddresses: {10.15.7.1: 127.0.0.1}\n",
        expect!["accepted"],
    );
    check(
        "vips:\n  a.b:81: c.d:1\n  a.b:80: c.d:2\n",
        expect!["accepted"],
    );
}

#[test]
fn replacement_is_original() {
    check(
        "apps:\n  a: b\n  b: c\n",
        expect![[r#"
        line 2: map::replacement_is_original: the replacement `b` lies inside the original `b`
        choose a replacement that is no original: else nobody can tell a value that was replaced from one that was missed"#]],
    );
    check(
        "apps:\n  a: a\n",
        expect![[r#"
        line 2: map::replacement_is_original: the replacement `a` lies inside the original `a`
        take the rule out: what has no rule stays as it is"#]],
    );
    check(
        "networks:\n  10.0.0.0/8: 10.0.0.0/8\n",
        expect![[r#"
        line 2: map::replacement_is_original: the replacement `10.0.0.0/8` lies inside the original `10.0.0.0/8`
        take the rule out: what has no rule stays as it is"#]],
    );
    check(
        "networks: {10.15.0.0/16: 10.99.0.0/16}\naddresses:\n  10.16.0.1: 10.15.0.1\n",
        expect![[r#"
            line 3: map::replacement_is_original: the replacement `10.15.0.1` lies inside the original `10.15.0.0/16`
            choose a replacement that is no original: else nobody can tell a value that was replaced from one that was missed"#]],
    );
    check(
        "addresses: {10.0.0.1: 10.9.9.9}\nendpoints:\n  10.0.0.2:80: 10.0.0.1:80\n",
        expect![[r#"
            line 3: map::replacement_is_original: the replacement `10.0.0.1:80` lies inside the original `10.0.0.1`
            choose a replacement that is no original: else nobody can tell a value that was replaced from one that was missed"#]],
    );
}

#[test]
fn shared_replacements() {
    check(
        "zones:\n  a: z\n  b: z\n",
        expect![[r#"
            line 3: map::shared_replacement: the replacement `z` is taken already, for `a`
            choose another one, or write `many-to-one: true` when what is different may become the same (there is no inverse then)"#]],
    );
    check(
        "many-to-one: true\nzones:\n  a: z\n  b: z\n",
        expect!["accepted"],
    );
    check(
        "many-to-one: true\nzones:\n  a: z\n  z: y\n",
        expect![[r#"
        line 3: map::replacement_is_original: the replacement `z` lies inside the original `z`
        choose a replacement that is no original: else nobody can tell a value that was replaced from one that was missed"#]],
    );
    check(
        "networks: {10.15.0.0/16: 10.99.0.0/16}\naddresses:\n  10.15.0.1: 10.99.3.3\n",
        expect![[r#"
            line 3: map::shared_replacement: the replacement `10.99.3.3` is taken already, for `10.15.0.0/16`
            choose another one, or write `many-to-one: true` when what is different may become the same (there is no inverse then)"#]],
    );
    // The port tells them apart.
    check(
        "addresses: {10.0.0.1: 127.0.0.1}\nendpoints: {10.0.0.1:80: 127.0.0.1:8080}\n",
        expect!["accepted"],
    );
    check(
        "headers:\n  k: {a: z, b: z}\n",
        expect![[r#"
            line 2: map::shared_replacement: the replacement `z` is taken already, for `a`
            choose another one, or write `many-to-one: true` when what is different may become the same (there is no inverse then)"#]],
    );
    check("headers:\n  k: {a: z}\n  l: {b: z}\n", expect!["accepted"]);
    check(
        "strings:\n- {from: a, to: z}\n- {from: b, to: z}\n",
        expect![[r#"
            line 3: map::shared_replacement: the replacement `z` is taken already, for `a`
            choose another one, or write `many-to-one: true` when what is different may become the same (there is no inverse then)"#]],
    );
}

#[test]
fn bad_strings() {
    check(
        "strings:\n- {pattern: '(', to: z}\n",
        expect![[r#"
        line 2: map::pattern: the pattern is not a regular expression
        regex parse error:
            (
            ^
        error: unclosed group"#]],
    );
    check(
        "strings:\n- {pattern: 'a*', to: z}\n",
        expect![[r#"
        line 2: map::pattern: the pattern matches the empty string, so it would match everywhere
        make it longer, for example by `+` in place of `*`"#]],
    );
    check(
        "strings:\n- {pattern: 'a', from: a, to: z}\n",
        expect![[r#"
            line 2: map::string_rule: a rule for strings has either `from` or `pattern`
            make two rules of it"#]],
    );
    check(
        "strings:\n- {to: z}\n",
        expect![[r#"
        line 2: map::string_rule: a rule for strings needs `from` or `pattern`
        add `from: the whole string`, or `pattern: a regular expression`"#]],
    );
    check(
        "strings:\n- {from: a, to: z, at: 'x..y'}\n",
        expect![[r#"
            line 2: map::path: `x..y` is not a place
            write steps with dots between them, such as [1].callbackUrl; `*` is any step"#]],
    );
    check(
        "vips: {10.0.0.1: a.b}\n",
        expect![[r#"
        line 1: map::host: `10.0.0.1` is not a host name
        write one such as sample-pool.zone1.alipay.net or sample-pool.zone1.alipay.net:12200; addresses stand under `addresses`"#]],
    );
    check(
        "vips: {a.b:80: c.d}\n",
        expect![[r#"
        line 1: map::port: a port stands on one side of the rule only
        write the port on both sides, or on neither to keep every port"#]],
    );
    check(
        "apps: {'': b}\n",
        expect![[r#"
        line 1: map::empty: a name is empty or begins or ends with a space
        write the name, or take the rule out"#]],
    );
    check(
        "redact: {key: short}\n",
        expect![[r#"
        line 1: map::redact_key: the key is shorter than 8 characters
        pseudonyms of a key that can be guessed can be undone: write a long one"#]],
    );
}

#[test]
fn the_schema_names_every_key() {
    let schema = schema();
    for key in [
        "networks",
        "addresses",
        "endpoints",
        "vips",
        "apps",
        "zones",
        "headers",
        "strings",
        "redact",
        "keep",
        "many-to-one",
        "targets",
        "non-tcp",
    ] {
        assert!(
            schema.contains(&format!("\"{key}\"")),
            "{key} is not in\n{schema}"
        );
    }
}

/// The example of the documentation is a good map, and names every key.
#[test]
fn the_documented_map() {
    let page = include_str!("../../../docs/rewrite-map.md");
    let (_, rest) = page.split_once("```yaml\n").expect("an example");
    let (example, _) = rest.split_once("```").expect("its end");
    let map =
        Map::parse("docs/rewrite-map.md", example).unwrap_or_else(|problem| panic!("{problem}"));
    assert!(!map.networks.is_empty() && !map.addresses.is_empty() && !map.endpoints.is_empty());
    assert!(!map.vips.is_empty() && !map.apps.is_empty() && !map.zones.is_empty());
    assert!(!map.headers.is_empty() && !map.strings.is_empty() && !map.targets.is_empty());
    assert!(map.redact.is_some() && map.keep.mac);
}
