//! What is written is read again as it was.

use std::io::Write;

use expect_test::expect;
use meshproof_replay::capture::{AtomicFile, Captures, Inputs, Link, Packet, Packets, Writer};

use super::{fixtures, open_bytes, render};

fn copy(captures: &mut Captures) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new()).unwrap();
    while let Some(packet) = captures.next().unwrap() {
        writer.write(&packet).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn real_captures_are_the_same_after_writing() {
    for path in fixtures() {
        let mut captures = Captures::open(&Inputs::of([&path])).unwrap();
        let before = render(&mut captures);
        captures.rewind().unwrap();
        let bytes = copy(&mut captures);
        assert_eq!(render(&mut open_bytes(bytes.clone()).unwrap()), before);
        captures.rewind().unwrap();
        assert_eq!(copy(&mut captures), bytes, "the same bytes every time");
    }
}

#[test]
fn links_times_and_lengths_are_kept() {
    let packet = |at_ns, link, source, data, orig_len| Packet {
        number: 0,
        at_ns,
        link,
        source,
        data,
        orig_len,
    };
    let mut writer = Writer::new(Vec::new()).unwrap();
    for packet in [
        packet(1, Link::Ethernet, 0, &b"a"[..], 1),
        packet(u64::MAX, Link::LinuxSll2, 0, b"", 9),
        packet(3, Link::Ethernet, 1, b"abc", 1500),
        packet(4, Link::Other(147), 0, b"abcd", 4),
        packet(5, Link::Loop, 0, b"abcde", 5),
        packet(6, Link::Null, 0, b"abcde", 5),
        packet(7, Link::Ethernet, 0, b"abcde", 5),
    ] {
        writer.write(&packet).unwrap();
    }
    let bytes = writer.finish().unwrap();
    expect![[r#"
        1 0.000000001 Ethernet A "a" of 1
        2 18446744073.709551615 LinuxSll2 A "" of 9
        3 0.000000003 Ethernet A "abc" of 1500
        4 0.000000004 Other(147) A "abcd" of 4
        5 0.000000005 Loop A "abcde" of 5
        6 0.000000006 Null A "abcde" of 5
        7 0.000000007 Ethernet A "abcde" of 5
        test: byte 220, packet 3: time steps back by 18446744073709551612 ns [capture-time-backwards]
        test: byte 228, packet 4: link type 147 is not known [capture-unknown-link]
    "#]].assert_eq(&render(&mut open_bytes(bytes).unwrap()));
}

#[test]
fn a_file_appears_when_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.pcapng");
    let names = || {
        let mut names: Vec<String> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let mut file = AtomicFile::create(&path).unwrap();
    file.write_all(b"begun").unwrap();
    assert!(!path.exists());
    drop(file);
    assert!(names().is_empty(), "{:?}", names());

    let mut file = AtomicFile::create(&path).unwrap();
    file.write_all(b"whole").unwrap();
    file.commit().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"whole");

    let mut file = AtomicFile::create(&path).unwrap();
    file.write_all(b"another, given up").unwrap();
    drop(file);
    assert_eq!(std::fs::read(&path).unwrap(), b"whole");
    let (mut one, mut two) = (
        AtomicFile::create(&path).unwrap(),
        AtomicFile::create(&path).unwrap(),
    );
    one.write_all(b"one").unwrap();
    two.write_all(b"two").unwrap();
    one.commit().unwrap();
    two.commit().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"two");
    assert_eq!(names(), ["out.pcapng"]);
}

#[test]
fn where_a_file_cannot_stand_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    assert!(AtomicFile::create(&folder.path().join("no/folder")).is_err());
    assert!(AtomicFile::create(std::path::Path::new("/")).is_err());
    let taken = AtomicFile::create(folder.path()).unwrap();
    assert!(taken.commit().is_err());
    let mut null = AtomicFile::create(std::path::Path::new("/dev/null")).unwrap();
    null.write_all(b"x").unwrap();
    null.commit().unwrap();
}
