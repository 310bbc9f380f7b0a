//! Servers of which none may pass.

use std::io::Write;

use meshproof_wire::Frame;
use meshproof_wire::bolt::{Build, Version};

use super::*;
use crate::engine::testing::Session;

/// A right answer, changed.
fn changed(request: &Frame, change: impl Fn(&mut Build<'_>)) -> Frame {
    let version = request.parts().unwrap().head.version;
    let right = response(version, request.head.id.0, "D");
    let mut build = Build::of(&right).unwrap();
    change(&mut build);
    Frame::parse(build.encode().unwrap()).unwrap()
}

/// Three right answers, then `last` for the fourth request; whether that passes.
#[track_caller]
fn check(name: &str, version: Version, last: impl Fn(&mut Session, Frame) + Send + 'static) {
    let (to, server) = server(1, move |mut session| {
        for request in session.take(3) {
            session.echo(&request);
        }
        let request = session.next().unwrap();
        last(&mut session, request);
        while session.next().is_some() {}
    });
    let exchanges = (0..4).map(|n| {
        exchange(Case {
            id: n + 1,
            at_ms: u64::from(n),
            version,
            argument: ["a", "b", "c", "d"][n as usize],
            answer: Some(["A", "B", "C", "D"][n as usize]),
            timeout_ms: 200,
            ..Case::default()
        })
    });
    let (_, judged) = replayed(exchanges.collect(), to);
    server.join().unwrap();
    let expect = match name {
        "right" => Verdict::Pass,
        _ => Verdict::Fail,
    };
    let why = &judged.claims;
    assert_eq!(verdict(&judged, "functional"), expect, "{name}: {why:?}");
}

#[test]
fn none_passes() {
    for version in [V1, CRC] {
        check("right", version, |session, request| session.echo(&request));
        check("nothing", version, |_, _| {});
        check("another status", version, |session, request| {
            let status = |build: &mut Build<'_>| {
                build.command = meshproof_wire::bolt::Command::Response { status: 2 };
            };
            session.say(&changed(&request, status));
        });
        check("another class", version, |session, request| {
            session.say(&changed(&request, |build| build.class = b"a.B"));
        });
        check("another codec", version, |session, request| {
            session.say(&changed(&request, |build| build.codec = 11));
        });
        check("a header more", version, |session, request| {
            let headers = b"\0\0\0\x01k\0\0\0\x01v";
            session.say(&changed(&request, |build| build.headers = headers));
        });
        check("a broken header map", version, |session, request| {
            let headers = b"\0\0\0\x09k";
            session.say(&changed(&request, |build| build.headers = headers));
        });
        check("no content", version, |session, request| {
            session.say(&changed(&request, |build| build.content = b""));
        });
        check("a value more", version, |session, request| {
            session.say(&changed(&request, |build| build.content = b"\x01D\x01E"));
        });
        check("a kind that nobody knows", version, |session, request| {
            session.echo(&request);
            session.say(&changed(&request, |build| build.cmdcode = 77));
        });
        check("the wrong id", version, |session, request| {
            session.say(&changed(&request, |build| build.id ^= 0x8000_0000));
        });
        check("a heartbeat's answer", version, |session, request| {
            session.say(&changed(&request, |build| build.cmdcode = 0));
        });
        check("twice", version, |session, request| {
            session.echo(&request);
            session.echo(&request);
        });
        check("half a frame", version, |session, request| {
            let right = changed(&request, |_| {});
            let half = &right.bytes[..right.bytes.len() / 2];
            session.stream.write_all(half).unwrap();
        });
        check("one frame and a half", version, |session, request| {
            session.echo(&request);
            session.stream.write_all(&request.bytes[..9]).unwrap();
        });
        check("a frame too long to end", version, |session, request| {
            session.echo(&request);
            let mut bytes = changed(&request, |_| {}).bytes.to_vec();
            bytes[16..20].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff]);
            session.stream.write_all(&bytes).unwrap();
        });
        check("another version", version, move |session, request| {
            let other = if version == V1 { CRC } else { V1 };
            session.say(&changed(&request, |build| build.version = other));
        });
        check("goaway instead", version, |session, _| {
            session.say(&goaway())
        });
        check("HTTP", version, |session, request| {
            session.echo(&request);
            session
                .stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .unwrap();
        });
    }
    check("a wrong CRC", CRC, |session, request| {
        let mut bytes = changed(&request, |_| {}).bytes.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        session.say(&Frame::parse(bytes.into()).unwrap());
    });
}

#[test]
fn noise_that_covers_everything_is_no_pass() {
    let (to, server) = server(1, |mut session| {
        while let Some(request) = session.next() {
            session.say(&changed(&request, |build| build.content = b"other"));
        }
    });
    let plan = planned(calls(3), to, Pace::Window, Connections::Recorded);
    let settings = Settings::usual(Pace::Window);
    let run = run(&plan, &settings, &Control::new().unwrap()).unwrap();
    server.join().unwrap();
    let claim = |noise: &str| {
        let compare = Frames {
            noise: crate::diff::Noise::parse("noise.yaml", noise).unwrap(),
        };
        let judged = judge(&plan, &run, &compare, &terms(Pace::Window));
        (judged.claims[0].verdict, judged.claims[0].why.clone())
    };
    let nothing = "3 answers compared, but the noise file leaves nothing to judge";
    assert_eq!(
        claim("noise: [{path: '**'}]"),
        (Verdict::Invalid, nothing.to_owned())
    );
    // What is hidden is told.
    let hidden =
        "3 answers compared, no judged difference (3 differ in noise or stack frames only)";
    assert_eq!(
        claim("noise: [{path: body}]"),
        (Verdict::Pass, hidden.to_owned())
    );
    let differ = "3 answers differ from the recorded ones; 3 answers compared";
    assert_eq!(claim("noise: []"), (Verdict::Fail, differ.to_owned()));
}

#[test]
fn a_one_way_that_nobody_took_is_no_pass() {
    let (to, server) = server(1, |mut session| session.echo_all());
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut exchanges = calls(2);
    exchanges.push(exchange(Case {
        flow: 1,
        server: "10.9.8.6:12200",
        timeout_ms: -1,
        ..Case::default()
    }));
    let routes = Routes {
        default: Some(to),
        by_server: vec![("10.9.8.6:12200".parse().unwrap(), nobody)],
    };
    let planning = Planning {
        routes: &routes,
        policy: &Policy::default(),
        pace: Pace::Window,
        connections: Connections::Recorded,
        timeout_ms: None,
        api: None,
    };
    let plan = plan(recorded(exchanges), &planning).unwrap();
    let settings = Settings::usual(Pace::Window);
    let run = run(&plan, &settings, &Control::new().unwrap()).unwrap();
    server.join().unwrap();
    let judged = judge(&plan, &run, &Frames::default(), &terms(Pace::Window));
    assert_eq!(
        verdict(&judged, "functional"),
        Verdict::Fail,
        "{:?}",
        judged.claims
    );
}
