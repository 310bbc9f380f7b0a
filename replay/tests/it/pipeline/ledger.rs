//! The ledger closes for every input, and parts of a capture give what the whole gives.

use std::fs;
use std::path::Path;

use meshproof_replay::capture::{Inputs, Link, Packet};
use meshproof_replay::exchange::{Listing, Outcome as Ending};
use meshproof_replay::pipeline::{Options, Outcome, Pass};
use meshproof_replay::stream;
use proptest::prelude::*;

use super::{Seen, captures, pass};

/// A classic pcap in its records: file header, then each record with its header.
pub(super) fn records(path: &Path) -> (Vec<u8>, Vec<Vec<u8>>) {
    let file = fs::read(path).expect("a capture");
    let (head, mut rest) = file.split_at(24);
    assert_eq!(head[..4], [0xd4, 0xc3, 0xb2, 0xa1], "little-endian pcap");
    let mut records = Vec::new();
    while rest.len() >= 16 {
        let len = u32::from_le_bytes(rest[8..12].try_into().expect("4 bytes")) as usize;
        let (record, next) = rest.split_at(16 + len);
        records.push(record.to_vec());
        rest = next;
    }
    (head.to_vec(), records)
}

fn data(record: &[u8]) -> (&[u8], u32) {
    let len = u32::from_le_bytes(record[12..16].try_into().expect("4 bytes"));
    (&record[16..], len)
}

/// Feeds packets one millisecond apart.
fn feed<'a>(
    packets: impl IntoIterator<Item = (&'a [u8], u32)>,
    options: Options,
) -> (Seen, Outcome) {
    let mut pass = Pass::new(options);
    let mut seen = Seen::default();
    for (at, (data, orig_len)) in packets.into_iter().enumerate() {
        let packet = Packet {
            number: at as u64 + 1,
            at_ns: at as u64 * 1_000_000,
            link: Link::Ethernet,
            source: 0,
            data,
            orig_len,
        };
        pass.packet(&packet, &mut seen);
    }
    let outcome = pass.finish(&mut seen);
    outcome.ledger.check().expect("the ledger closes");
    (seen, outcome)
}

fn listings(seen: &Seen) -> Vec<String> {
    let mut listings: Vec<String> = seen
        .exchanges
        .iter()
        .map(|exchange| serde_json::to_string(&Listing::of(exchange)).expect("JSON"))
        .collect();
    listings.sort();
    listings
}

#[test]
fn two_rotated_files_give_what_one_gives() {
    for name in [
        "sofarpc_bolt_hessian2",
        "bolt_v1_pipeline",
        "sofaregistry_pub_sub",
    ] {
        let whole = captures().join(name).with_extension("pcap");
        let (head, records) = records(&whole);
        let folder = tempfile::tempdir().expect("a folder");
        let cut = records.len() / 2;
        // Named so that the order of names is not that of time.
        for (part, records) in [("b", &records[..cut]), ("a", &records[cut..])] {
            let bytes = [head.clone(), records.concat()].concat();
            fs::write(folder.path().join(format!("{part}.pcap")), bytes).expect("written");
        }
        let (one, one_outcome) = pass(&Inputs::of([whole]), &Options::FRAMES);
        let (two, two_outcome) = pass(&Inputs::of([folder.path()]), &Options::FRAMES);
        assert_eq!(listings(&one), listings(&two), "{name}");
        assert_eq!(one_outcome, two_outcome, "{name}");
    }
}

#[test]
fn one_sided_captures_give_their_side() {
    let (_, records) = records(&captures().join("bolt_v1_pipeline.pcap"));
    let from_server = |record: &&Vec<u8>| data(record).0[34..36] == 12199u16.to_be_bytes();
    let requests = records.iter().filter(|r| !from_server(r)).map(|r| data(r));
    let (seen, outcome) = feed(requests, Options::FRAMES);
    assert_eq!(outcome.ledger.frames.requests, 60);
    assert!(
        seen.exchanges
            .iter()
            .all(|e| e.outcome == Ending::Unanswered)
    );
    assert_eq!(seen.exchanges.len(), 60);

    let responses = records.iter().filter(from_server).map(|r| data(r));
    let (seen, outcome) = feed(responses, Options::FRAMES);
    assert_eq!(outcome.ledger.frames.responses, 60);
    assert!(
        seen.exchanges
            .iter()
            .all(|e| e.outcome == Ending::OrphanResponse)
    );
    assert_eq!(seen.exchanges.len(), 60);
}

#[test]
fn a_packet_seen_twice_is_a_duplicate() {
    for name in ["sofarpc_bolt_hessian2", "bolt_v2_pipeline_crc"] {
        let (_, records) = records(&captures().join(name).with_extension("pcap"));
        let (once, plain) = feed(records.iter().map(|r| data(r)), Options::FRAMES);
        let twice = records.iter().flat_map(|r| [data(r), data(r)]);
        let (seen, outcome) = feed(twice, Options::FRAMES);
        assert_eq!(seen.exchanges.len(), once.exchanges.len(), "{name}");
        assert_eq!(outcome.ledger.frames, plain.ledger.frames, "{name}");
        let bytes = outcome.ledger.bytes;
        assert_eq!(
            bytes.duplicate,
            plain.ledger.bytes.payload + 2 * plain.ledger.bytes.duplicate
        );
        assert!(outcome.ledger.findings.is_empty(), "{name}");
    }
}

#[test]
fn a_response_captured_before_its_request_is_no_orphan() {
    let (_, records) = records(&captures().join("bolt_v1_exception.pcap"));
    let mut order: Vec<usize> = (0..records.len()).collect();
    let with_payload: Vec<usize> = order
        .iter()
        .copied()
        .filter(|&at| data(&records[at]).0.len() > 80)
        .collect();
    assert_eq!(with_payload.len(), 2, "a request and its response");
    order.swap(with_payload[0], with_payload[1]);
    let (seen, _) = feed(order.iter().map(|&at| data(&records[at])), Options::FRAMES);
    let outcomes: Vec<_> = seen.exchanges.iter().map(|e| e.outcome).collect();
    assert_eq!(outcomes, [Ending::Answered]);
}

/// What is done to the packets of a capture.
#[derive(Clone, Debug)]
enum Harm {
    /// The n-th packet is lost.
    Lose(prop::sample::Index),
    /// It is seen again at the place of another.
    Repeat(prop::sample::Index, prop::sample::Index),
    /// It changes places with another.
    Swap(prop::sample::Index, prop::sample::Index),
    /// The snaplen cuts it.
    Cut(prop::sample::Index, usize),
    /// One of its bytes is another.
    Spoil(prop::sample::Index, prop::sample::Index, u8),
    /// Something else stands between the packets.
    Garbage(prop::sample::Index, Vec<u8>),
    /// All from one of the two sides is lost.
    OneSide,
    /// What is before it is lost.
    StartAt(prop::sample::Index),
}

fn harm() -> impl Strategy<Value = Harm> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        index().prop_map(Harm::Lose),
        (index(), index()).prop_map(|(a, b)| Harm::Repeat(a, b)),
        (index(), index()).prop_map(|(a, b)| Harm::Swap(a, b)),
        (index(), 0..200usize).prop_map(|(at, len)| Harm::Cut(at, len)),
        (index(), index(), any::<u8>()).prop_map(|(a, b, to)| Harm::Spoil(a, b, to)),
        (index(), prop::collection::vec(any::<u8>(), 0..80)).prop_map(|(a, b)| Harm::Garbage(a, b)),
        Just(Harm::OneSide),
        index().prop_map(Harm::StartAt),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn the_ledger_closes_whatever_happens(
        name in prop::sample::select(vec![
            "sofarpc_bolt_hessian2", "bolt_v2_pipeline_crc", "bolt_v1_heartbeat",
            "sofaregistry_pub_sub", "dubbo_hessian2", "tr_hessian_stub",
        ]),
        harms in prop::collection::vec(harm(), 0..12),
        heads in any::<bool>(),
        small in any::<bool>(),
    ) {
        let (_, records) = records(&captures().join(name).with_extension("pcap"));
        let mut packets: Vec<(Vec<u8>, u32)> = records
            .iter()
            .map(|r| (data(r).0.to_vec(), data(r).1))
            .collect();
        for harm in harms {
            if packets.is_empty() {
                break;
            }
            let len = packets.len();
            match harm {
                Harm::Lose(at) => {
                    packets.remove(at.index(len));
                }
                Harm::Repeat(from, to) => {
                    let again = packets[from.index(len)].clone();
                    packets.insert(to.index(len), again);
                }
                Harm::Swap(a, b) => packets.swap(a.index(len), b.index(len)),
                Harm::Cut(at, to) => packets[at.index(len)].0.truncate(to),
                Harm::Spoil(at, byte, to) => {
                    let packet = &mut packets[at.index(len)].0;
                    if !packet.is_empty() {
                        let byte = byte.index(packet.len());
                        packet[byte] = to;
                    }
                }
                Harm::Garbage(at, bytes) => {
                    let orig_len = bytes.len() as u32;
                    packets.insert(at.index(len), (bytes, orig_len));
                }
                Harm::OneSide => packets.retain(|(data, _)| {
                    data.get(34..38).is_none_or(|ports| ports[..2] < ports[2..])
                }),
                Harm::StartAt(at) => {
                    packets.drain(..at.index(len));
                }
            }
        }
        let mut options = if heads { Options::HEADS } else { Options::FRAMES };
        if small {
            options.stream = stream::Limits {
                flows_max: 2,
                held_bytes_max: 400,
                held_pieces_max: 3,
                held_total_bytes_max: 600,
                ..options.stream
            };
            options.exchange.open_max = 3;
            options.exchange.parked_max = 2;
        }
        // The sums are checked within.
        let count = packets.len() as u64;
        let (seen, outcome) = feed(packets.iter().map(|(d, l)| (d.as_slice(), *l)), options);
        let ledger = outcome.ledger;
        prop_assert_eq!(ledger.packets.total, count);
        prop_assert_eq!(seen.frames.len() as u64, ledger.frames.total + ledger.frames.cut);
        // Each frame but the unknown ones is in exactly one exchange.
        let halves: usize = seen
            .exchanges
            .iter()
            .map(|e| usize::from(e.request.is_some()) + usize::from(e.response.is_some()))
            .sum();
        let unknown = seen
            .frames
            .iter()
            .filter(|(_, _, frame)| frame.head.kind == meshproof_wire::Kind::Unknown)
            .count();
        prop_assert_eq!(halves + unknown, seen.frames.len());
    }
}
