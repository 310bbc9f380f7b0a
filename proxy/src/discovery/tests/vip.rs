//! VIP names: both forms, bad ones, and what the config center says beside them.

use super::*;

#[test]
fn both_forms_of_a_vip_lead_to_the_same_places() {
    for (target, bound) in [
        ("a-pool.z1.alipay.net:12200", None),
        ("a-pool.z1.alipay.net", None),
        ("http://a-pool.z1.alipay.net:12200", None),
        (LEGACY, Some(3000)),
        ("a-pool.z1.alipay.net:12200?_TIMEOUT=3000", Some(3000)),
    ] {
        let mut rig = Rig::new("");
        rig.subscribe(target, "");
        assert_eq!(rig.seen.remove(0), format!("resolve {NAME}"));
        rig.seen.clear();
        rig.resolved(NAME, Ok(&[4, 5]));
        assert_eq!(rig.addresses(), [4, 5], "{target}");
        assert_eq!(rig.table.services[A].timeout_ms, bound);
        let option = bound.map_or(String::new(), |ms| format!("&_TIMEOUT={ms}"));
        let data = |n| {
            format!(
                "10.0.1.{n}:12200?p=1&_SERIALIZETYPE=hessian2&v=4.0&app_name=a&_WEIGHT=100{option}"
            )
        };
        let answer = format!("answer 1 yes [{} {}]", data(4), data(5));
        assert_eq!(rig.seen.last(), Some(&answer));
    }
}

#[test]
fn an_address_needs_nobody_to_be_asked() {
    let mut rig = Rig::new("");
    rig.subscribe("tr://10.0.0.3:12201?_TIMEOUT=10&_WEIGHT=7", "");
    rig.check(&expect![[r#"
        table com.example.A:1.0 [10.0.0.3:12201] tr 10 ms
        answer 1 yes [10.0.0.3:12201?p=13&_SERIALIZETYPE=hessian2&v=4.0&_TIMEOUT=10&_WEIGHT=7]"#]]);
}

#[test]
fn the_legacy_form_was_taken_for_a_host_name() {
    let mut rig = Rig::with("", Bugs::NONE.with(Bug::VipLegacyForm));
    rig.subscribe(LEGACY, "");
    rig.check(&expect![[r#"
        resolve http://a-pool.z1.alipay.net:12200?_TIMEOUT=3000
        table com.example.A:1.0 []"#]]);
    let none = NoAddress::NoSuchName("that is no host name".to_owned());
    rig.resolved(LEGACY, Err(none));
    rig.check(&expect![[r#"
        answer 1 no: VIP `http://a-pool.z1.alipay.net:12200?_TIMEOUT=3000` does not resolve: that is no host name; expected a name that the VIP name service knows, such as APP-pool.ZONE.alipay.net
        table"#]]);
    // The plain form works all the same.
    rig.subscribe("a-pool.z1.alipay.net:12200", "");
    rig.resolved(NAME, Ok(&[4]));
    assert_eq!(rig.addresses(), [4]);
}

#[test]
fn bad_calls_are_told_what_was_expected() {
    let mut rig = Rig::new("");
    rig.subscribe("ftp://a-pool.z1.alipay.net", "");
    rig.subscribe("a-pool.z1.alipay.net:x", "");
    rig.subscribe("", r#","vipOnly":true"#);
    rig.subscribe("", "");
    rig.call(Operation::Publish, "{");
    rig.call(Operation::Publish, r#"{"serviceName":""}"#);
    rig.call(Operation::Publish, r#"{"serviceName":"a b"}"#);
    rig.call(
        Operation::Publish,
        r#"{"serviceName":"a:1","protocolType":"rest"}"#,
    );
    rig.call(Operation::Subscribe, r#"{"serviceName":7}"#);
    rig.check(&expect![[r#"
        answer 1 no: targetAppAddress: `ftp://a-pool.z1.alipay.net` does not say where to call: scheme `ftp` is not known, expected `http`, `bolt`, `tr` or none; expected APP-pool.ZONE.alipay.net:12200, http://APP-pool.ZONE.alipay.net:12200?_TIMEOUT=3000 or IP:PORT
        answer 2 no: targetAppAddress: `a-pool.z1.alipay.net:x` does not say where to call: the port is no number from 0 to 65535; expected APP-pool.ZONE.alipay.net:12200, http://APP-pool.ZONE.alipay.net:12200?_TIMEOUT=3000 or IP:PORT
        answer 3 no: `vipOnly` asks for a VIP and `targetAppAddress` names none: expected APP-pool.ZONE.alipay.net:12200 there, or `vipOnly` to be false
        table com.example.A:1.0 []
        answer 4 no: nobody knows where `com.example.A:1.0` is: there is no config center, no route names it and the app named no VIP; set `config_center`, add it under `outbound.routes`, or give `targetAppAddress`
        table
        answer 5 no: the body of `/services/publish` is not what it should be: EOF while parsing an object at line 1 column 1; expected a JSON object such as {"serviceName":"com.example.Service:1.0","protocolType":"bolt"}
        answer 6 no: `serviceName` is ``, expected `interface:version` of 1 to 512 bytes without spaces
        answer 7 no: `serviceName` is `a b`, expected `interface:version` of 1 to 512 bytes without spaces
        answer 8 no: protocol `rest` is not served here, expected `bolt` or `tr`
        answer 9 no: the body of `/services/subscribe` is not what it should be: invalid type: integer `7`, expected a string; expected a JSON object such as {"serviceName":"com.example.Service:1.0","protocolType":"bolt"}"#]]);
    assert!(rig.machine.state().subscriptions.is_empty());
}

#[test]
fn a_vip_is_asked_for_again_and_keeps_its_last_good_addresses() {
    let mut rig = Rig::new("vip: {refresh: 5s}");
    rig.subscribe(LEGACY, "");
    rig.resolved(NAME, Ok(&[4, 5]));
    rig.seen.clear();
    rig.pass(4999);
    rig.check(&expect![[""]]);
    rig.pass(1);
    rig.check(&expect!["resolve a-pool.z1.alipay.net"]);
    // Turned round by the name server: no change, no new table.
    rig.resolved(NAME, Ok(&[5, 4]));
    rig.pass(5000);
    rig.check(&expect!["resolve a-pool.z1.alipay.net"]);
    for failure in [
        NoAddress::Trouble("timed out".to_owned()),
        NoAddress::NoSuchName("NXDOMAIN".to_owned()),
    ] {
        rig.resolved(NAME, Err(failure));
        rig.pass(500);
        rig.check(&expect!["resolve a-pool.z1.alipay.net"]);
        assert_eq!(rig.addresses(), [4, 5]);
    }
    rig.resolved(NAME, Ok(&[6]));
    rig.check(&expect!["table com.example.A:1.0 [10.0.1.6:12200] 3000 ms"]);
}

#[test]
fn a_name_that_does_not_exist_is_a_clear_error() {
    let mut rig = Rig::new("");
    rig.subscribe(LEGACY, "");
    rig.seen.clear();
    rig.resolved(NAME, Err(NoAddress::NoSuchName("NXDOMAIN".to_owned())));
    rig.check(&expect![[r#"
        answer 1 no: VIP `a-pool.z1.alipay.net` does not resolve: NXDOMAIN; expected a name that the VIP name service knows, such as APP-pool.ZONE.alipay.net
        table"#]]);
    // Refused: nothing of it is left, and the name is asked for no more.
    rig.pass(60_000);
    rig.check(&expect![[""]]);
    // Trouble is not the app's fault: the name is tried until the wait is over, and after it.
    rig.subscribe(LEGACY, "");
    rig.resolved(NAME, Err(NoAddress::Trouble("timed out".to_owned())));
    rig.pass(500);
    rig.check(&expect![[r#"
        resolve a-pool.z1.alipay.net
        table com.example.A:1.0 [] 3000 ms
        resolve a-pool.z1.alipay.net"#]]);
    rig.pass(1500);
    rig.check(&expect![
        "answer 2 yes []: VIP `a-pool.z1.alipay.net` is not resolved yet: timed out"
    ]);
    rig.resolved(NAME, Ok(&[4]));
    assert_eq!(rig.addresses(), [4]);
}

#[test]
fn config_center_and_vip_together() {
    let run = |more: &str, list: &str| {
        let mut rig = Rig::new(PLAIN);
        rig.subscribe(LEGACY, more);
        rig.resolved(NAME, Ok(&[4]));
        let early = rig.addresses();
        let is_answered = |rig: &Rig| rig.seen.iter().any(|line| line.starts_with("answer"));
        let was_answered = is_answered(&rig);
        rig.push(7, 1, list);
        assert!(is_answered(&rig));
        assert_eq!(rig.table.services[A].timeout_ms, Some(3000));
        (early, was_answered, rig.addresses())
    };
    // The config center first, and the app is not answered before it has spoken.
    assert_eq!(run("", "1|2"), (vec![4], false, vec![1, 2]));
    assert_eq!(run("", "!"), (vec![4], false, vec![4]));
    assert_eq!(run("", ""), (vec![4], false, vec![4]));
    assert_eq!(
        run(r#","vipEnforce":true"#, "1|2"),
        (vec![4], true, vec![4])
    );
    assert_eq!(run(r#","vipOnly":true"#, "1|2"), (vec![4], true, vec![4]));
    // An enforced VIP without address does not take the service away.
    let mut rig = Rig::new(PLAIN);
    rig.subscribe(LEGACY, r#","vipEnforce":true"#);
    rig.push(7, 1, "1");
    rig.resolved(NAME, Err(NoAddress::NoSuchName("NXDOMAIN".to_owned())));
    assert_eq!(rig.addresses(), [1]);
    assert!(rig.seen.iter().any(|line| line.starts_with("answer 1 yes")));
    // With `vipOnly` nobody asks the config center.
    let mut rig = Rig::new(PLAIN);
    rig.subscribe(LEGACY, r#","vipOnly":true"#);
    assert!(!rig.seen.iter().any(|line| line.starts_with("watch")));
}

#[test]
fn a_vip_place_that_the_list_names_as_tr_only_is_called_by_tr() {
    let listed = |list: &str| {
        let mut listed = push(7, 1, list);
        for provider in &mut listed.providers {
            provider.address = provider.address.replace("10.0.0.", "10.0.1.");
        }
        Input::Push(listed)
    };
    let mut rig = Rig::new(PLAIN);
    rig.subscribe(LEGACY, r#","vipEnforce":true"#);
    rig.give(listed("4 tr|5 bolt+tr"));
    rig.resolved(NAME, Ok(&[4, 5]));
    rig.seen.clear();
    rig.subscribe(LEGACY, r#","vipEnforce":true"#);
    let speaks = |rig: &Rig| {
        let endpoints = rig.table.services[A].endpoints.iter();
        endpoints.map(|one| (one.bolt, one.tr)).collect::<Vec<_>>()
    };
    assert_eq!(speaks(&rig), [(false, true), (true, true)]);
    assert!(rig.table.services[A].downgraded);
    assert!(
        rig.seen
            .iter()
            .any(|line| line.contains("10.0.1.4:12200?p=13"))
    );
    // Nobody is listed there any more: the name alone speaks for everything.
    rig.push(7, 2, "!");
    assert_eq!(speaks(&rig), [(true, true), (true, true)]);
}
