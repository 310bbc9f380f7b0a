//! One call seen at several points is one call.

use std::fs;
use std::path::Path;

use meshproof_replay::capture::{Captures, Inputs, NamedSource};
use meshproof_replay::exchange::{Exchange, Hop, Listing};
use meshproof_replay::pipeline::{self, Options, Outcome};
use meshproof_replay::select::{Selecting, Selection, Where};
use meshproof_replay::sighting::{Alignment, Call, Calls, Limits, Merger, align};

use super::captures;
use super::ledger::records;

#[derive(Default)]
struct Taken(Vec<Call>);

impl Calls for Taken {
    fn call(&mut self, call: Call) {
        self.0.push(call);
    }
}

/// Another capture point's view of a capture: `later_us` later by its own clock, with ports of
/// servers and addresses replaced, and without the packets that `lost` names.
struct View<'a> {
    later_us: i64,
    replace: &'a [(&'a [u8], &'a [u8])],
    lost: &'a [usize],
}

impl View<'_> {
    fn write(&self, from: &Path, to: &Path) {
        let (mut file, records) = records(from);
        for (at, mut record) in records.into_iter().enumerate() {
            if self.lost.contains(&at) {
                continue;
            }
            let number = |range: std::ops::Range<usize>| {
                i64::from(u32::from_le_bytes(
                    record[range].try_into().expect("4 bytes"),
                ))
            };
            let us = number(0..4) * 1_000_000 + number(4..8) + self.later_us;
            record[0..4].copy_from_slice(&((us / 1_000_000) as u32).to_le_bytes());
            record[4..8].copy_from_slice(&((us % 1_000_000) as u32).to_le_bytes());
            // Addresses and ports of an IPv4 packet on Ethernet.
            for (old, new) in self.replace {
                let head = 16 + 26..16 + 38;
                let places: Vec<usize> = head
                    .clone()
                    .filter(|&at| record[at..].starts_with(old) && at + old.len() <= head.end)
                    .collect();
                for at in places {
                    record[at..at + new.len()].copy_from_slice(new);
                }
            }
            file.extend_from_slice(&record);
        }
        fs::write(to, file).expect("written");
    }
}

fn pass(sources: &[(&str, &Path)], selection: &Selection) -> (Vec<Call>, Vec<Alignment>, Outcome) {
    let inputs = Inputs {
        captures: Vec::new(),
        sources: sources
            .iter()
            .map(|(name, path)| NamedSource {
                name: (*name).to_owned(),
                pattern: path.display().to_string(),
            })
            .collect(),
    };
    let mut captures = Captures::open(&inputs).expect("captures");
    let alignments = align(&mut captures).expect("captures");
    let mut merger = Merger::new(Limits::USUAL, Selecting::new(selection, Taken::default()));
    let outcome = pipeline::read(&mut captures, &Options::FRAMES, &mut merger).expect("packets");
    outcome.ledger.check().expect("the ledger closes");
    let (_, selecting) = merger.finish();
    (selecting.into_parts().1.0, alignments, outcome)
}

/// What a call is, wherever it was seen.
fn what(exchange: &Exchange) -> (u64, Option<String>, &'static str) {
    let listing = Listing::of(exchange);
    (listing.id, listing.method, listing.outcome)
}

#[test]
fn two_capture_points_give_each_call_once() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in [
        "sofarpc_bolt_hessian2",
        "bolt_v1_pipeline",
        "bolt_v1_heartbeat",
    ] {
        let here = captures().join(name).with_extension("pcap");
        let there = folder.path().join("there.pcap");
        // Its clock is 2.5 s ahead.
        let view = View {
            later_us: 2_500_000,
            replace: &[],
            lost: &[],
        };
        view.write(&here, &there);
        let everything = Selection::default();
        let (once, none, _) = pass(&[("here", &here)], &everything);
        assert_eq!(none, []);
        let (calls, alignments, outcome) = pass(&[("here", &here), ("there", &there)], &everything);
        let mut expected: Vec<_> = once.iter().map(|call| what(call.exchange())).collect();
        let mut found: Vec<_> = calls.iter().map(|call| what(call.exchange())).collect();
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "{name}");
        assert!(calls.iter().all(|call| call.sightings().count() == 2));
        assert_eq!(outcome.flows, 2);
        let offsets: Vec<_> = alignments.iter().map(|a| a.offset_ns).collect();
        assert_eq!(offsets, [Some(0), Some(-2_500_000_000)], "{name}");
    }
}

#[test]
fn what_one_point_lacks_the_other_has() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = captures().join("sofarpc_bolt_hessian2.pcap");
    let (here, there) = (
        folder.path().join("here.pcap"),
        folder.path().join("there.pcap"),
    );
    // Here the first response is missing, there the second request.
    let view = |lost| View {
        later_us: 0,
        replace: &[],
        lost,
    };
    view(&[5]).write(&whole, &here);
    view(&[7]).write(&whole, &there);
    let everything = Selection::default();
    let (once, _, _) = pass(&[("whole", &whole)], &everything);
    let (calls, _, _) = pass(&[("here", &here), ("there", &there)], &everything);
    let mut expected: Vec<_> = once.iter().map(|call| what(call.exchange())).collect();
    let mut found: Vec<_> = calls.iter().map(|call| what(call.exchange())).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn hops_of_one_call_are_joined_by_its_trace() {
    let folder = tempfile::tempdir().expect("a folder");
    let wire = captures().join("sofarpc_bolt_hessian2.pcap");
    let app = folder.path().join("app.pcap");
    // The sidecar passes the calls on to its app, on loopback and port 12199.
    let view = View {
        later_us: 40,
        replace: &[
            (&[10, 15, 232, 248], &[127, 0, 0, 1]),
            (&[10, 15, 246, 182], &[127, 0, 0, 1]),
            (&12200u16.to_be_bytes(), &12199u16.to_be_bytes()),
        ],
        lost: &[],
    };
    view.write(&wire, &app);
    let (calls, alignments, _) = pass(&[("wire", &wire), ("app", &app)], &Selection::default());
    assert_eq!(calls.len(), 4);
    for call in &calls {
        let hops: Vec<_> = call.sightings().map(|seen| seen.hop).collect();
        assert_eq!(hops, [Hop::Inbound, Hop::App]);
    }
    // They share no connection, so nothing is known of their clocks.
    assert_eq!(alignments[1].offset_ns, None);

    // One of the hops is picked, and calls that it did not see are left out.
    let at = |hop| Selection {
        hop: Some(hop),
        ..Selection::default()
    };
    let (calls, _, _) = pass(&[("wire", &wire), ("app", &app)], &at(Hop::App));
    assert_eq!(calls.len(), 4);
    assert!(
        calls
            .iter()
            .all(|call| call.exchange().flow.acceptor.port() == 12199)
    );
    let (calls, _, _) = pass(&[("wire", &wire), ("app", &app)], &at(Hop::Outbound));
    assert_eq!(calls.len(), 0);
}

#[test]
fn a_call_again_is_another_call() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = captures().join("sofarpc_bolt_hessian2.pcap");
    let again = folder.path().join("again.pcap");
    // The same traces, services and arguments, over another connection, 5 s later: retries, seen
    // by the same capture point.
    let view = View {
        later_us: 5_000_000,
        replace: &[(&52638u16.to_be_bytes(), &52640u16.to_be_bytes())],
        lost: &[],
    };
    view.write(&first, &again);
    let (calls, _, _) = pass(&[("wire", &first), ("wire", &again)], &Selection::default());
    assert_eq!(calls.len(), 8);
}

#[test]
fn only_the_way_to_the_server_is_direct_where_hops_are_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    let wire = captures().join("sofarpc_bolt_hessian2.pcap");
    let other = captures().join("sofarpc_bolt_url_appName.pcap");
    let outbound = folder.path().join("outbound.pcap");
    let view = View {
        later_us: 0,
        replace: &[(&12200u16.to_be_bytes(), &12220u16.to_be_bytes())],
        lost: &[],
    };
    view.write(&other, &outbound);
    let (calls, _, _) = pass(
        &[("wire", &wire), ("app", &outbound)],
        &Selection::default(),
    );
    let mut hops: Vec<_> = calls
        .iter()
        .map(|call| call.exchange().hop.name())
        .collect();
    hops.sort_unstable();
    assert_eq!(hops, ["direct", "direct", "direct", "direct", "outbound"]);
}

#[track_caller]
fn taken(selection: &Selection) -> Vec<u64> {
    let wire = captures().join("sofarpc_bolt_hessian2.pcap");
    let (calls, _, _) = pass(&[("wire", &wire)], selection);
    calls.iter().map(|call| call.exchange().id.0).collect()
}

#[test]
fn expressions_over_the_fields_of_a_listing() {
    #[track_caller]
    fn check(text: &str, expect: &[u64]) {
        let selection = Selection {
            filter: Some(Where::compile(text).expect("an expression")),
            ..Selection::default()
        };
        assert_eq!(taken(&selection), expect, "{text}");
    }
    check("true", &[1, 2, 3, 4]);
    check("method == 'hello'", &[1]);
    check("kind == 'oneway' || id == 4", &[3, 4]);
    check("service.startsWith('com.alipay.') && id > 2", &[3, 4]);
    check("request.bytes > 900", &[2]);
    check("request.headers['type'] == 'oneway'", &[3]);
    check("request.headers.exists(key, key == 'app')", &[1, 2, 3, 4]);
    check(
        "has(request.timeout_ms) && request.timeout_ms == 3000",
        &[1, 2, 4],
    );
    // Of what is null nothing can be said.
    check("response.exception", &[4]);
    check("response == null", &[3]);
    check("!late && outcome == 'answered'", &[1, 2, 4]);
    check("id", &[]);
}

#[test]
fn times_and_parts() {
    let between = |from: &str, to: &str| Selection {
        from: Some(from.parse().expect("a time")),
        to: Some(to.parse().expect("a time")),
        ..Selection::default()
    };
    assert_eq!(taken(&between("+2s", "+2.4s")), [2, 3]);
    assert_eq!(
        taken(&between("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z")),
        [1, 2, 3, 4]
    );
    let later = between("2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z");
    assert!(taken(&later).is_empty());
    let mut before = Vec::new();
    for part in ["1%", "30%", "60%", "90%", "100%"] {
        let selection = Selection {
            sample: Some(part.parse().expect("a part")),
            ..Selection::default()
        };
        let now = taken(&selection);
        assert!(before.iter().all(|id| now.contains(id)), "{part}");
        before = now;
    }
    assert_eq!(before, [1, 2, 3, 4]);
}
