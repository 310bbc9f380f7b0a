//! What is said to the application API, to scripted ones.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

use meshproof_record::ledger::MeshApiLedger;
use meshproof_wire::mesh_api::{self, Answer, Application, Publish, Subscribe, Withdraw};
use meshproof_wire::{Frame, Head, Kind, RequestId};

use super::*;
use crate::engine::api;
use crate::engine::subscribe::{self, Api, Asked, Publishing};
use crate::exchange::{Half, Hop, Outcome as Ending};
use crate::stream::Mark;

const SERVICE: &str = "a.B:1.0";
const BOLT: &str = "10.0.0.1:12200?p=1&v=4.0";
const TR: &str = "10.0.0.1:12200?p=13";

fn answered(datas: Option<&[&str]>) -> Answer {
    Answer {
        success: true,
        datas: datas.map(|datas| datas.iter().map(ToString::to_string).collect()),
        ..Answer::default()
    }
}

fn refused(why: &str) -> Answer {
    Answer {
        error_message: why.to_owned(),
        ..Answer::default()
    }
}

fn subscribe_call() -> mesh_api::Call {
    mesh_api::Call::Subscribe(Subscribe {
        service_name: SERVICE.to_owned(),
        target_app_address: Some("x-pool.z.alipay.net:12200".to_owned()),
        ..Subscribe::default()
    })
}

/// A recorded exchange with the API.
fn said(call: &mesh_api::Call, answer: Option<&Answer>, at_ms: u64) -> Exchange {
    let half = |kind, bytes: Vec<u8>, at_ms: u64| {
        let head = Head {
            protocol: Protocol::MeshApi,
            kind,
            id: RequestId(at_ms),
            len: bytes.len() as u64,
            codec: 0,
            timeout_ms: None,
            status: (kind == Kind::Response).then_some(200),
        };
        Half {
            mark: Mark {
                packet: at_ms,
                at_ns: at_ms * 1_000_000,
            },
            offset: 0,
            head,
            missing: 0,
            frame: Some(Frame {
                head,
                bytes: bytes.into(),
            }),
            crc: meshproof_wire::Crc::Absent,
        }
    };
    let like = exchange(Case {
        server: "127.0.0.1:13330",
        ..Case::default()
    });
    Exchange {
        hop: Hop::Unknown,
        protocol: Protocol::MeshApi,
        kind: ExchangeKind::MeshApi,
        request: Some(half(Kind::Request, call.encode("127.0.0.1:13330"), at_ms)),
        response: answer.map(|answer| half(Kind::Response, answer.encode(), at_ms + 1)),
        outcome: match answer {
            Some(_) => Ending::Answered,
            None => Ending::Unanswered,
        },
        ..like
    }
}

/// An API that gives each connection the next of these answers, as they are.
fn scripted(answers: Vec<Vec<u8>>) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        answers
            .into_iter()
            .map(|answer| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut asked = Vec::new();
                let mut buffer = [0; 4096];
                while !asked.ends_with(b"}") {
                    let n = stream.read(&mut buffer).unwrap();
                    asked.extend_from_slice(&buffer[..n]);
                }
                // In two writes: an answer may come in parts.
                let (front, behind) = answer.split_at(answer.len() / 2);
                stream.write_all(front).unwrap();
                stream.write_all(behind).unwrap();
                String::from_utf8(asked).unwrap()
            })
            .collect()
    });
    (address, thread)
}

fn planned(exchanges: Vec<Exchange>, to: Option<SocketAddr>, publishing: Publishing) -> Plan {
    let routes = Routes {
        default: to,
        by_server: Vec::new(),
    };
    let api = Api { routes, publishing };
    let calls = Routes::default();
    let planning = Planning {
        routes: &calls,
        policy: &Policy::default(),
        pace: Pace::Window,
        connections: Connections::Recorded,
        timeout_ms: None,
        api: to.is_some().then_some(&api),
    };
    plan(recorded(exchanges), &planning).unwrap()
}

/// Says it and judges the answers; the account must close.
fn made(plan: &Plan) -> Vec<Asked> {
    let asked = subscribe::judge(plan, &api::make(plan));
    let ledger = subscribe::ledger(plan, &asked).unwrap();
    assert_eq!(
        ledger.recorded,
        ledger.succeeded + ledger.failed + ledger.left_out
    );
    asked
}

#[track_caller]
fn check(recorded: Option<&Answer>, observed: Vec<u8>, wrong: Option<&str>) {
    let (to, server) = scripted(vec![observed]);
    let plan = planned(
        vec![said(&subscribe_call(), recorded, 1)],
        Some(to),
        Publishing::LeftOut,
    );
    let asked = made(&plan);
    server.join().unwrap();
    let [one] = &asked[..] else {
        panic!("{asked:?}");
    };
    match (&one.wrong, wrong) {
        (None, None) => {}
        (Some(found), Some(wrong)) if found.contains(wrong) => {}
        (found, wrong) => panic!("{found:?} instead of {wrong:?}"),
    }
    let claim = subscribe::claim(&asked);
    let expected = match wrong {
        None => Verdict::Pass,
        Some(_) => Verdict::Fail,
    };
    assert_eq!(claim.verdict, expected, "{claim:?}");
}

#[test]
fn answers_are_held_against_the_recorded_ones() {
    let bolt = answered(Some(&[BOLT, TR]));
    let same = |answer: &Answer| answer.encode();
    check(Some(&bolt), same(&bolt), None);
    // Addresses are another deployment's; the protocol is what the app goes by.
    let elsewhere = answered(Some(&["127.0.0.1:9?p=1"]));
    check(Some(&bolt), same(&elsewhere), None);
    let tr = answered(Some(&[TR, BOLT]));
    let why = "the first address says tr, recorded was bolt";
    check(Some(&bolt), same(&tr), Some(why));
    check(Some(&tr), same(&bolt), Some("says bolt, recorded was tr"));
    check(Some(&bolt), same(&answered(Some(&[]))), Some("no address"));
    check(Some(&bolt), same(&answered(None)), Some("no address"));
    let no = refused("no such pool");
    check(
        Some(&bolt),
        same(&no),
        Some("subscribe of a.B:1.0: no such pool"),
    );
    check(Some(&no), same(&no), None);
    check(None, same(&bolt), None);
    check(None, same(&no), Some("no such pool"));
}

#[test]
fn what_is_no_answer_fails() {
    let bolt = answered(Some(&[BOLT]));
    let of = |bytes: &[u8]| bytes.to_vec();
    let went_on = [b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), bolt.encode()].concat();
    check(Some(&bolt), went_on, None);
    let none = of(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n");
    check(Some(&bolt), none, Some("status 500, expected 200"));
    let odd = of(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{]");
    check(Some(&bolt), odd, Some("no such json"));
    check(Some(&bolt), of(b"\x01\x00\x00\x02"), Some("subscribe"));
    check(
        Some(&bolt),
        of(b"HTTP/1.1 200 OK\r\n"),
        Some("closed without an answer"),
    );
}

#[test]
fn an_api_that_is_not_there_is_asked_once() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = gone.local_addr().unwrap();
    drop(gone);
    let bolt = answered(Some(&[BOLT]));
    let exchanges = (1..4).map(|at| said(&subscribe_call(), Some(&bolt), at));
    let plan = planned(exchanges.collect(), Some(to), Publishing::LeftOut);
    let asked = made(&plan);
    assert_eq!(asked.len(), 3);
    let is_refused = |asked: &Asked| asked.wrong.as_ref().unwrap().contains("refused");
    assert!(asked.iter().all(is_refused), "{asked:?}");
}

fn all_operations() -> Vec<Exchange> {
    let fine = answered(None);
    let calls = [
        mesh_api::Call::Application(Application {
            app_name: Some("x".to_owned()),
        }),
        mesh_api::Call::Publish(Publish {
            service_name: SERVICE.to_owned(),
            ..Publish::default()
        }),
        subscribe_call(),
        mesh_api::Call::Unsubscribe(Withdraw::default()),
        mesh_api::Call::Unpublish(Withdraw::default()),
    ];
    let exchanges = calls.iter().zip(1..);
    exchanges
        .map(|(call, at)| said(call, Some(&fine), at))
        .collect()
}

#[test]
fn publications_are_made_when_asked_for_and_withdrawals_never() {
    let to = "127.0.0.1:1".parse().unwrap();
    let methods = |plan: &Plan| -> Vec<String> {
        let items = plan.asks.iter().map(|ask| &plan.items[ask.item]);
        items.filter_map(|item| item.call.method.clone()).collect()
    };
    let plan = planned(all_operations(), Some(to), Publishing::LeftOut);
    assert_eq!(methods(&plan), ["application", "subscribe"]);
    let plan = planned(all_operations(), Some(to), Publishing::Made);
    assert_eq!(methods(&plan), ["application", "publish", "subscribe"]);
    assert!(plan.sends.is_empty());
    let plan = planned(all_operations(), None, Publishing::LeftOut);
    assert!(plan.asks.is_empty());
    let left_out = MeshApiLedger {
        recorded: 5,
        left_out: 5,
        ..MeshApiLedger::default()
    };
    assert_eq!(subscribe::ledger(&plan, &[]), Some(left_out));
}

#[test]
fn the_guard_is_asked_about_the_api_too() {
    let to = "198.18.0.9:13330".parse().unwrap();
    let plan = planned(all_operations(), Some(to), Publishing::LeftOut);
    assert!(plan.asks.is_empty());
    let refused = plan.refusals();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0].count, 2);
}

#[test]
fn the_account_of_a_replay_closes_around_it() {
    let fine = answered(None).encode();
    let (to, server) = scripted(vec![fine.clone(), refused("no").encode()]);
    let plan = planned(all_operations(), Some(to), Publishing::LeftOut);
    let asked = made(&plan);
    server.join().unwrap();
    let run = run(
        &plan,
        &Settings::usual(Pace::Window),
        &Control::new().unwrap(),
    )
    .unwrap();
    let judged =
        judge(&plan, &run, &Frames::default(), &terms(Pace::Window)).with_api(&plan, Some(&asked));
    assert_eq!(judged.ledger.check(), []);
    assert_eq!(judged.ledger.skipped.get("mesh_api"), Some(&5));
    let api = judged.ledger.mesh_api.unwrap();
    assert_eq!((api.succeeded, api.failed, api.left_out), (1, 1, 3));
    assert_eq!(verdict(&judged, "subscriptions"), Verdict::Fail);
}
