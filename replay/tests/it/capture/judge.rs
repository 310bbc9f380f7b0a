//! tshark counts the same.

use std::path::Path;

use meshproof_replay::capture::{Captures, Inputs, Packet, Packets, Writer};
use meshproof_replay::packet::{self, Parsed};

use super::fixtures;

/// Runs tshark; `None` where it is not installed.
#[expect(
    clippy::disallowed_methods,
    reason = "tshark is the judge of what a capture holds"
)]
fn tshark(path: &Path, fields: &[&str]) -> Option<String> {
    let mut command = std::process::Command::new("tshark");
    command.arg("-r").arg(path).args(["-T", "fields"]);
    // Sequence numbers as they stand in the packet.
    command.args(["-o", "tcp.relative_sequence_numbers:FALSE"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.output().ok()?;
    assert!(output.status.success(), "{output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn every_packet_is_what_tshark_says() {
    let fields = [
        "frame.time_epoch",
        "frame.cap_len",
        "frame.len",
        "ip.src",
        "tcp.srcport",
        "ip.dst",
        "tcp.dstport",
        "tcp.seq",
        "tcp.ack",
        "tcp.len",
        "tcp.window_size_value",
    ];
    let folder = tempfile::tempdir().unwrap();
    let all = folder.path().join("all.pcapng");
    let mut writer = Writer::new(std::fs::File::create(&all).unwrap()).unwrap();
    let mut ours_of_all = String::new();
    for (n, path) in fixtures().iter().enumerate() {
        let mut ours = String::new();
        let mut captures = Captures::open(&Inputs::of([path])).unwrap();
        while let Some(packet) = captures.next().unwrap() {
            writer.write(&packet).unwrap();
            ours += &line(&packet);
        }
        // Starting tshark takes its time: some files as they are, and all of them as one.
        if n % 6 == 0 {
            let Some(theirs) = tshark(path, &fields) else {
                println!("SKIPPED: needs tshark");
                return;
            };
            assert_eq!(ours, theirs, "{}", path.display());
        }
        ours_of_all += &ours;
    }
    writer.finish().unwrap();
    assert!(ours_of_all.lines().count() > 500);
    assert_eq!(Some(ours_of_all), tshark(&all, &fields));
}

/// The fields of one packet as tshark prints them.
fn line(packet: &Packet<'_>) -> String {
    let Parsed::Tcp(s) = packet::parse(packet.link, packet.data, packet.orig_len) else {
        panic!("packet {} is no segment", packet.number);
    };
    assert_eq!(s.payload_len as usize, s.payload.len());
    format!(
        "{}.{:09}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\n",
        packet.at_ns / 1_000_000_000,
        packet.at_ns % 1_000_000_000,
        packet.data.len(),
        packet.orig_len,
        s.src.ip(),
        s.src.port(),
        s.dst.ip(),
        s.dst.port(),
        s.seq.0,
        s.ack.0,
        s.payload_len,
        s.window
    )
}
