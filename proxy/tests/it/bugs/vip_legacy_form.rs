//! Both forms of a VIP are in use; with the bug the legacy one is taken for a host name.

use std::net::IpAddr;

use meshproof_proxy::{Bug, Bugs};
use meshproof_wire::Protocol;

use super::pod::{Pod, address, with};

const NAME: &str = "sample-pool.gz00a.alipay.net";
const PLAIN: &str = "sample-pool.gz00a.alipay.net:12200";
const LEGACY: &str = "http://sample-pool.gz00a.alipay.net:12200?_TIMEOUT=3000";

fn subscribe(bugs: Bugs, target: &str) -> Pod {
    let mut pod = Pod::subscribed(bugs, "", Some(target));
    pod.resolves(NAME, IpAddr::from([10, 0, 0, 4]));
    pod
}

#[test]
fn both_forms_route_alike_and_the_option_takes_effect() {
    for (target, timeout_ms) in [(PLAIN, None), (LEGACY, Some(3000))] {
        let mut pod = subscribe(Bugs::NONE, target);
        let choice = pod.calls(Protocol::BoltV1).unwrap();
        assert_eq!((choice.to, choice.timeout_ms), (address(4), timeout_ms));
        let answer = pod.answer.unwrap();
        assert!(answer.success);
        let datas = answer.datas.unwrap().concat();
        assert!(datas.starts_with("10.0.0.4:12200?p=1&"), "{datas}");
        assert_eq!(datas.contains("_TIMEOUT=3000"), timeout_ms.is_some());
    }
}

#[test]
fn with_the_bug_the_legacy_form_never_resolves() {
    let bugs = with(Bug::VipLegacyForm);
    let mut pod = subscribe(bugs, LEGACY);
    assert!(pod.calls(Protocol::BoltV1).is_err());
    let answer = pod.answer.unwrap();
    assert!(!answer.success);
    assert!(answer.error_message.contains(LEGACY), "{answer:?}");
    // The plain form is not touched.
    let mut pod = subscribe(bugs, PLAIN);
    assert_eq!(pod.calls(Protocol::BoltV1).unwrap().to, address(4));
}
