//! Many files become one sequence.

use std::path::Path;

use expect_test::{Expect, expect};
use meshproof_replay::capture::{Captures, Error, Inputs, NamedSource, Packets};

use super::build::{Order, Pcap, PcapNg, gzip, zstd};
use super::{fixture, render};

/// A folder with these files; `name: times` gives each file packets that tell their name and time.
fn folder(files: &[(&str, &[u32])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, times) in files {
        let mut file = Pcap::usual();
        for at in *times {
            file = file.packet(*at, 0, format!("{name}@{at}").as_bytes());
        }
        std::fs::write(folder.path().join(name), file.bytes).unwrap();
    }
    folder
}

fn inputs(folder: &Path, names: &[&str]) -> Inputs {
    Inputs::of(names.iter().map(|name| folder.join(name)))
}

/// Only what each packet says, in the order of reading.
fn said(captures: &mut Captures) -> String {
    let mut out = Vec::new();
    while let Some(packet) = captures.next().unwrap() {
        assert_eq!(packet.number, out.len() as u64 + 1);
        out.push(String::from_utf8(packet.data.to_vec()).unwrap());
    }
    out.join(" ")
}

#[track_caller]
fn check(files: &[(&str, &[u32])], names: &[&str], expect: Expect) {
    let folder = folder(files);
    let mut captures = Captures::open(&inputs(folder.path(), names)).unwrap();
    let once = said(&mut captures);
    expect.assert_eq(&once);
    captures.rewind().unwrap();
    assert_eq!(said(&mut captures), once);
    assert_eq!(captures.findings(), []);
}

#[test]
fn rotated_parts_in_whatever_order_they_were_named() {
    check(
        &[("a", &[1, 2]), ("b", &[3, 4]), ("c", &[5])],
        &["c", "a", "b", "a"],
        expect![["a@1 a@2 b@3 b@4 c@5"]],
    );
}

#[test]
fn parts_that_overlap_are_merged() {
    check(
        &[("a", &[1, 3, 5, 9]), ("b", &[2, 4, 6]), ("c", &[5, 7])],
        &["a", "b", "c"],
        expect![["a@1 b@2 a@3 b@4 a@5 c@5 b@6 c@7 a@9"]],
    );
}

#[test]
fn a_folder_and_a_glob_take_what_is_a_capture() {
    let folder = folder(&[("x.pcap1", &[3]), ("x.pcap0", &[1, 2]), (".hidden", &[0])]);
    std::fs::write(folder.path().join("empty"), b"").unwrap();
    std::fs::write(folder.path().join("notes.json"), b"{}   ").unwrap();
    std::fs::write(folder.path().join("header"), Pcap::usual().bytes).unwrap();
    std::fs::create_dir(folder.path().join("within")).unwrap();
    let mut captures = Captures::open(&Inputs::of([folder.path()])).unwrap();
    expect![[r#"
        1 1.000000000 Ethernet A "x.pcap0@1" of 9
        2 2.000000000 Ethernet A "x.pcap0@2" of 9
        3 3.000000000 Ethernet A "x.pcap1@3" of 9
        empty: byte 0, packet 0: left out: the file is empty [capture-left-out]
        notes.json: byte 0, packet 0: left out: starts with 7b7d2020, which is no capture [capture-left-out]
    "#]].assert_eq(&render(&mut captures));
    captures.rewind().unwrap();
    expect![[r#"
        1 1.000000000 Ethernet A "x.pcap0@1" of 9
        2 2.000000000 Ethernet A "x.pcap0@2" of 9
        3 3.000000000 Ethernet A "x.pcap1@3" of 9
        empty: byte 0, packet 0: left out: the file is empty [capture-left-out]
        notes.json: byte 0, packet 0: left out: starts with 7b7d2020, which is no capture [capture-left-out]
    "#]].assert_eq(&render(&mut captures));
    let mut captures = Captures::open(&inputs(folder.path(), &["x.*"])).unwrap();
    expect![["x.pcap0@1 x.pcap0@2 x.pcap1@3"]].assert_eq(&said(&mut captures));
    // What a person named must be a capture.
    for name in ["empty", "notes.json"] {
        assert!(Captures::open(&inputs(folder.path(), &["x.*", name])).is_err());
    }
    let Err(error) = Captures::open(&inputs(folder.path(), &["n*"])) else {
        panic!("was opened");
    };
    assert!(matches!(error, Error::NoMatch { .. }), "{error}");
    // A capture without a packet is one.
    let mut captures = Captures::open(&inputs(folder.path(), &["header"])).unwrap();
    expect![[""]].assert_eq(&said(&mut captures));
}

#[test]
fn sources_are_merged_and_their_clocks_corrected() {
    let folder = folder(&[
        ("app.1", &[10, 20]),
        ("app.2", &[30]),
        ("net", &[11, 21, 31]),
    ]);
    let pattern = |name: &str| folder.path().join(name).display().to_string();
    let sources: Vec<NamedSource> = [
        format!("app={}", pattern("app.2")),
        format!("net={}", pattern("net")),
        format!("app={}", pattern("app.1")),
    ]
    .iter()
    .map(|text| text.parse().unwrap())
    .collect();
    let mut captures = Captures::open(&Inputs {
        captures: vec![],
        sources,
    })
    .unwrap();
    let names: Vec<&str> = captures.sources().iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["app", "net"]);
    expect![["app.1@10 net@11 app.1@20 net@21 app.2@30 net@31"]].assert_eq(&said(&mut captures));
    captures.set_offset(1, -2_000_000_000);
    captures.rewind().unwrap();
    expect![["net@11 app.1@10 net@21 app.1@20 net@31 app.2@30"]].assert_eq(&said(&mut captures));
    captures.rewind().unwrap();
    let first = captures.next().unwrap().unwrap();
    assert_eq!((first.source, first.at_ns), (1, 9_000_000_000));
    // In the middle of a pass it holds from the next packet on.
    captures.set_offset(1, 500_000_000_000);
    expect![["app.1@10 app.1@20 app.2@30 net@21 net@31"]].assert_eq(&{
        let mut out = Vec::new();
        while let Some(packet) = captures.next().unwrap() {
            out.push(String::from_utf8(packet.data.to_vec()).unwrap());
        }
        out.join(" ")
    });
    captures.set_offset(7, 1);
}

#[test]
fn texts_that_are_no_source() {
    for text in ["", "=", "a=", "=b", "ab"] {
        assert!(text.parse::<NamedSource>().is_err(), "{text}");
    }
}

#[test]
fn formats_may_differ_from_part_to_part() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: Vec<u8>| {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    };
    write("1", gzip(&Pcap::usual().packet(1, 0, b"gzip").bytes));
    write(
        "2",
        PcapNg::new(Order::Big)
            .clock(0, 0)
            .packet(0, 2, b"pcapng")
            .bytes,
    );
    write("3", zstd(&Pcap::usual().packet(3, 0, b"zstd").bytes));
    let mut captures = Captures::open(&Inputs::of([folder.path()])).unwrap();
    expect![["gzip pcapng zstd"]].assert_eq(&said(&mut captures));
}

#[test]
fn hundreds_of_parts_cost_one_buffer_and_too_many_at_once_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..300u32 {
        let file = Pcap::usual().packet(n, 0, b"x").packet(n, 9, b"y");
        std::fs::write(folder.path().join(format!("{n}")), file.bytes).unwrap();
    }
    let mut captures = Captures::open(&Inputs::of([folder.path()])).unwrap();
    assert_eq!(said(&mut captures).len(), 300 * 4 - 1);
    for n in 0..300u32 {
        let file = Pcap::usual().packet(n, 0, b"x").packet(1000, 0, b"y");
        std::fs::write(folder.path().join(format!("{n}")), file.bytes).unwrap();
    }
    let mut captures = Captures::open(&Inputs::of([folder.path()])).unwrap();
    let error = loop {
        match captures.next() {
            Ok(packet) => assert!(packet.is_some()),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::TooManyOpen { .. }), "{error}");
}

#[test]
fn a_real_capture_cut_into_parts_gives_what_the_whole_gives() {
    let bytes = std::fs::read(fixture("bolt_v1_pipeline.pcap")).unwrap();
    let mut whole = Captures::open(&Inputs::of([fixture("bolt_v1_pipeline.pcap")])).unwrap();
    let whole = render(&mut whole);
    // Cut between records.
    let folder = tempfile::tempdir().unwrap();
    let (header, mut rest) = bytes.split_at(24);
    let mut n = 0;
    while !rest.is_empty() {
        let mut len = 0;
        for _ in 0..37 {
            if len < rest.len() {
                let caplen: [u8; 4] = rest[len + 8..len + 12].try_into().unwrap();
                len += 16 + u32::from_le_bytes(caplen) as usize;
            }
        }
        let (part, after) = rest.split_at(len);
        let name = folder.path().join(format!("{}", 1000 - n));
        std::fs::write(name, [header, part].concat()).unwrap();
        rest = after;
        n += 1;
    }
    assert!(n > 2);
    let mut parts = Captures::open(&Inputs::of([folder.path()])).unwrap();
    assert_eq!(render(&mut parts), whole);
}

#[test]
fn a_pipe_is_read_once() {
    let file = Pcap::usual().packet(1, 0, b"once").bytes;
    let mut captures = super::open_bytes(file).unwrap();
    expect![["once"]].assert_eq(&said(&mut captures));
    let Err(error) = captures.rewind() else {
        panic!("was read twice");
    };
    expect!["test: cannot be read a second time; store it in a file first"]
        .assert_eq(&error.to_string());
}
