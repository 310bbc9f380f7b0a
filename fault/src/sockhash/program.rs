//! The program that judges frames as they are sent: the steps of it, for one fault.
//!
//! The kernel runs it for what one call hands over to be sent, in the turn of who sends. It reads
//! the head of the frame that stands in front, says that its verdict is for just the bytes of this
//! frame (so it is asked again for the next one), and either lets it go on or takes it out: it is
//! never on the wire, and its sender has sent it. The last frame of what was handed over goes to a
//! socket of the keeper, since nothing would be left otherwise; one with others behind it is cut
//! out, since the kernel would send all the rest after it to the keeper.
//!
//! It harms no frame that it does not know whole. What does not begin as a frame does (the program
//! came in the middle of one, or a head was sent in pieces) is let go, and so is all that follows
//! on that connection, since nobody can tell any more where frames begin; a frame that was not sent
//! in one piece is let go, too, so that the kernel may end the program at any moment without
//! leaving half a frame. Both are counted.

use meshproof_wire::decoder::Limits;
use meshproof_wire::tr;

use super::assembler::{Helper, Label, Operand, Operation, Register, Step, When, Width};
use crate::choose::Share;

use Operand::{Number, Of};
use Register::{R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10};

/// Sorts of frames, a bit each.
pub(super) mod sort {
    pub(crate) const REQUEST: i32 = 1;
    pub(crate) const ONEWAY: i32 = 2;
    pub(crate) const RESPONSE: i32 = 4;
    pub(crate) const HEARTBEAT: i32 = 8;
    pub(crate) const GOAWAY: i32 = 16;
    /// A whole frame of a command that nobody knows.
    pub(crate) const UNKNOWN: i32 = 32;
    pub(crate) const ALL: i32 = 63;
}

/// Protocols, a bit each.
pub(super) mod protocol {
    pub(crate) const BOLT_V1: i32 = 1;
    pub(crate) const BOLT_V2: i32 = 2;
    pub(crate) const TR: i32 = 4;
    pub(crate) const ALL: i32 = 7;
}

/// Which frames are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Wanted {
    /// Of these sorts.
    pub(super) sorts: i32,
    /// Of these protocols.
    pub(super) protocols: i32,
    /// From the so-manieth on that is of both, counted from 1 over all connections.
    pub(super) first: u64,
    /// To this one.
    pub(super) last: Option<u64>,
    /// See [`Share::below`]; none: all of them.
    pub(super) below: Option<u64>,
}

/// The descriptors of what it works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Maps {
    /// Connections, as [`connection`] says.
    pub(super) connections: i32,
    /// One value of [`counter::BYTES`].
    pub(super) counters: i32,
    /// One socket, to which lost frames go.
    pub(super) sink: i32,
}

/// A connection's value, and its key: the port here, and the port there in the order of the
/// network, both as words.
pub(super) mod connection {
    pub(crate) const KEY_BYTES: u32 = 8;
    /// [`super::Share::key`].
    pub(crate) const SHARE: i16 = 0;
    /// Frames that were wanted, whatever their number.
    pub(crate) const WANTED: i16 = 8;
    /// Not 0: nobody knows where frames begin.
    pub(crate) const ASTRAY: i16 = 16;
    pub(crate) const BYTES: u32 = 24;
}

/// What is counted, 8 bytes each.
pub(super) mod counter {
    /// Frames that were read.
    pub(crate) const READ: i16 = 0;
    /// Of these, those of the wanted sorts and protocols.
    pub(crate) const WANTED: i16 = 8;
    /// Of these, those that were lost.
    pub(crate) const DROPPED: i16 = 16;
    /// Of these, those that should have been, and were not sent in one piece.
    pub(crate) const PIECES: i16 = 24;
    /// Connections on which something began that is no frame.
    pub(crate) const ASTRAY: i16 = 32;
    pub(crate) const BYTES: u32 = 40;
}

// Of `struct sk_msg_md`.
const DATA: i16 = 0;
const DATA_END: i16 = 8;
const REMOTE_PORT: i16 = 60;
const LOCAL_PORT: i16 = 64;
const SIZE: i16 = 68;

// What the program keeps on its stack, from the end of it down.
const KEY_PORT_HERE: i16 = -8;
const KEY_PORT_THERE: i16 = -4;
const LENGTH: i16 = -16;
const IS_WANTED: i16 = -24;
const CUT_OUT: i16 = -32;

/// Frames in a row that are cut out of what one call hands over; what follows passes, and counts as
/// not sent in one piece.
const CUT_OUT_MAX: i32 = 32;

/// The shortest whole frame: an answer to a heartbeat in BOLT v1.
const SHORTEST: i32 = 20;
/// The longest head: a request in BOLT v2.
const LONGEST_HEAD: i32 = 24;

/// Verdict: it goes on, or where it was redirected to.
const PASS: i32 = 1;
/// To who reads there, not to who it is connected to.
const INGRESS: i32 = 1;

// Places.
const PARSE: Label = Label(0);
const BOLT_V1: Label = Label(1);
const BOLT_V2: Label = Label(2);
const TR: Label = Label(3);
const DECIDE: Label = Label(4);
const GO_ON: Label = Label(5);
const ASTRAY: Label = Label(6);
const NEXT: Label = Label(7);
/// Places of one part are numbered from here on.
const INNER: u16 = 10;

/// The steps of the program.
pub(super) fn steps(wanted: &Wanted, maps: &Maps) -> Vec<Step> {
    let mut all = Vec::new();
    find(&mut all, maps);
    front(&mut all);
    bolt(&mut all, wanted, Version::V1);
    bolt(&mut all, wanted, Version::V2);
    of_tr(&mut all, wanted);
    decide(&mut all, wanted, maps);
    all.extend([
        Step::Place(ASTRAY),
        Step::Do(Operation::Set, R1, Number(1)),
        Step::Store(Width::Double, R9, connection::ASTRAY, R1),
        Step::Value(R2, maps.counters),
        Step::FetchAdd(R2, counter::ASTRAY, R1),
        Step::Place(GO_ON),
        Step::Do(Operation::Set, R0, Number(PASS)),
        Step::Exit,
    ]);
    all
}

/// The connection: its value is at `R9` then, what was handed over at `R6`.
fn find(all: &mut Vec<Step>, maps: &Maps) {
    all.extend([
        Step::Do(Operation::Set, R6, Of(R1)),
        Step::Load(Width::Word, R1, R6, LOCAL_PORT),
        Step::Store(Width::Word, R10, KEY_PORT_HERE, R1),
        Step::Load(Width::Word, R1, R6, REMOTE_PORT),
        Step::Store(Width::Word, R10, KEY_PORT_THERE, R1),
        Step::Map(R1, maps.connections),
        Step::Do(Operation::Set, R2, Of(R10)),
        Step::Do(Operation::Add, R2, Number(i32::from(KEY_PORT_HERE))),
        Step::Call(Helper::MapLookup),
        Step::If(When::Same, R0, Number(0), GO_ON),
        Step::Do(Operation::Set, R9, Of(R0)),
        Step::Load(Width::Double, R1, R9, connection::ASTRAY),
        Step::If(When::Other, R1, Number(0), GO_ON),
        Step::Do(Operation::Set, R1, Number(0)),
        Step::Store(Width::Double, R10, CUT_OUT, R1),
        Step::Place(NEXT),
    ]);
}

/// The front of the frame: at least [`SHORTEST`] bytes are readable at `R7` then, up to `R8`.
fn front(all: &mut Vec<Step>) {
    let (short, pull) = (Label(INNER), Label(INNER + 1));
    bounds(all);
    reach(all, LONGEST_HEAD, short);
    all.extend([
        Step::Go(PARSE),
        Step::Place(short),
        Step::Load(Width::Word, R3, R6, SIZE),
        Step::If(When::Less, R3, Number(SHORTEST), ASTRAY),
        Step::If(When::Less, R3, Number(LONGEST_HEAD), pull),
        Step::Do(Operation::Set, R3, Number(LONGEST_HEAD)),
        Step::Place(pull),
        Step::Do(Operation::Set, R1, Of(R6)),
        Step::Do(Operation::Set, R2, Number(0)),
        Step::Do(Operation::Set, R4, Number(0)),
        Step::Call(Helper::MessagePull),
        Step::If(When::Other, R0, Number(0), ASTRAY),
    ]);
    bounds(all);
    reach(all, SHORTEST, ASTRAY);
    all.extend([
        Step::Place(PARSE),
        Step::Load(Width::Byte, R1, R7, 0),
        Step::If(When::Same, R1, Number(1), BOLT_V1),
        Step::If(When::Same, R1, Number(2), BOLT_V2),
        Step::If(When::Same, R1, Number(13), TR),
        Step::Go(ASTRAY),
    ]);
}

fn bounds(all: &mut Vec<Step>) {
    all.extend([
        Step::Load(Width::Double, R7, R6, DATA),
        Step::Load(Width::Double, R8, R6, DATA_END),
    ]);
}

/// Goes elsewhere where fewer bytes are readable.
fn reach(all: &mut Vec<Step>, bytes: i32, elsewhere: Label) {
    all.extend([
        Step::Do(Operation::Set, R1, Of(R7)),
        Step::Do(Operation::Add, R1, Number(bytes)),
        Step::If(When::Greater, R1, Of(R8), elsewhere),
    ]);
}

/// Adds a number of the frame to `R4`.
fn add(all: &mut Vec<Step>, width: Width, at: i16) {
    all.push(Step::Load(width, R1, R7, at));
    if width != Width::Byte {
        all.push(Step::FromNetwork(width, R1));
    }
    all.push(Step::Do(Operation::Add, R4, Of(R1)));
}

/// Goes to [`DECIDE`] with the sort in `R5`.
fn is(all: &mut Vec<Step>, sort: i32) {
    all.push(Step::Do(Operation::Set, R5, Number(sort)));
    all.push(Step::Go(DECIDE));
}

/// Whether frames of this protocol are wanted, in `R3`.
fn of_protocol(all: &mut Vec<Step>, wanted: &Wanted, protocol: i32) {
    let is = i32::from(wanted.protocols & protocol != 0);
    all.push(Step::Do(Operation::Set, R3, Number(is)));
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// A frame of BOLT; its length is in `R4` then, its sort in `R5`.
fn bolt(all: &mut Vec<Step>, wanted: &Wanted, version: Version) {
    let (here, protocol, shift, labels) = match version {
        Version::V1 => (BOLT_V1, protocol::BOLT_V1, 0, INNER + 10),
        Version::V2 => (BOLT_V2, protocol::BOLT_V2, 1, INNER + 30),
    };
    let [answers, sorts, one, two, hundred] = [0, 1, 2, 3, 4].map(|it| Label(labels + it));
    let kind_at = 1 + shift;
    let longer = 2 * i32::from(shift);
    all.push(Step::Place(here));
    if version == Version::V2 {
        all.extend([
            Step::Load(Width::Byte, R1, R7, 1),
            Step::If(When::Same, R1, Number(0), ASTRAY),
            Step::If(When::Greater, R1, Number(2), ASTRAY),
        ]);
        reach(all, SHORTEST + 2, ASTRAY);
    }
    // The second version byte is 1 in every real frame.
    all.extend([
        Step::Load(Width::Byte, R1, R7, kind_at + 3),
        Step::If(When::Other, R1, Number(1), ASTRAY),
        Step::Load(Width::Byte, R2, R7, kind_at),
        Step::If(When::Greater, R2, Number(2), ASTRAY),
        Step::Do(Operation::Set, R4, Number(0)),
    ]);
    // In v2 the switch stands in front of time-out or status.
    let status_at = kind_at + 9 + shift;
    all.push(Step::If(When::Same, R2, Number(0), answers));
    reach(all, 22 + longer, ASTRAY);
    all.push(Step::Do(Operation::Add, R4, Number(22 + longer)));
    lengths(all, status_at + 4);
    all.extend([Step::Go(sorts), Step::Place(answers)]);
    all.push(Step::Do(Operation::Add, R4, Number(20 + longer)));
    lengths(all, status_at + 2);
    all.push(Step::Place(sorts));
    if version == Version::V2 {
        let no_sum = Label(labels + 5);
        all.extend([
            Step::Load(Width::Byte, R1, R7, 1),
            Step::If(When::Other, R1, Number(2), no_sum),
            Step::Load(Width::Byte, R1, R7, 11),
            Step::Do(Operation::And, R1, Number(1)),
            Step::If(When::Same, R1, Number(0), no_sum),
            Step::Do(Operation::Add, R4, Number(4)),
            Step::Place(no_sum),
        ]);
    }
    of_protocol(all, wanted, protocol);
    all.extend([
        Step::Load(Width::Half, R1, R7, kind_at + 1),
        Step::FromNetwork(Width::Half, R1),
        Step::If(When::Same, R1, Number(1), one),
        Step::If(When::Same, R1, Number(2), two),
        Step::If(When::Same, R1, Number(100), hundred),
    ]);
    let [unknown, request, oneway] = [6, 7, 8].map(|it| Label(labels + it));
    all.extend([
        Step::If(When::Other, R1, Number(0), unknown),
        Step::If(When::Same, R2, Number(2), unknown),
    ]);
    is(all, sort::HEARTBEAT);
    all.extend([
        Step::Place(one),
        Step::If(When::Same, R2, Number(1), request),
        Step::If(When::Same, R2, Number(2), oneway),
        Step::Go(unknown),
        Step::Place(request),
    ]);
    is(all, sort::REQUEST);
    all.push(Step::Place(oneway));
    is(all, sort::ONEWAY);
    all.extend([
        Step::Place(two),
        Step::If(When::Other, R2, Number(0), unknown),
    ]);
    is(all, sort::RESPONSE);
    all.extend([
        Step::Place(hundred),
        Step::If(When::Same, R2, Number(0), unknown),
    ]);
    is(all, sort::GOAWAY);
    all.push(Step::Place(unknown));
    is(all, sort::UNKNOWN);
}

/// Class, header and content, whose lengths stand behind each other.
fn lengths(all: &mut Vec<Step>, at: i16) {
    add(all, Width::Half, at);
    add(all, Width::Half, at + 2);
    add(all, Width::Word, at + 4);
}

/// A frame of TR, likewise. What it is for stands in the name of a class, behind an object.
fn of_tr(all: &mut Vec<Step>, wanted: &Wanted) {
    const FIXED: i32 = tr::Head::BYTES as i32;
    let labels = INNER + 50;
    let [beat, plain, request, answer] = [0, 1, 2, 3].map(|it| Label(labels + it));
    let name = tr::HEARTBEAT_CLASS.as_bytes();
    let bytes = i32::try_from(name.len()).unwrap_or(0);
    all.extend([
        Step::Place(TR),
        Step::Load(Width::Byte, R2, R7, 1),
        Step::If(When::Greater, R2, Number(1), ASTRAY),
        Step::Load(Width::Byte, R1, R7, 2),
        Step::If(When::Same, R1, Number(0), ASTRAY),
        Step::If(When::Greater, R1, Number(4), ASTRAY),
        // Flag and direction, for when the bytes are readable no more.
        Step::Load(Width::Byte, R5, R7, 3),
        Step::If(When::Same, R5, Number(0), ASTRAY),
        Step::If(When::Greater, R5, Number(2), ASTRAY),
        Step::Do(Operation::Up, R5, Number(8)),
        Step::Do(Operation::Add, R5, Of(R2)),
        Step::Store(Width::Double, R10, IS_WANTED, R5),
        Step::Load(Width::Word, R3, R7, 5),
        Step::FromNetwork(Width::Word, R3),
        Step::If(
            When::Greater,
            R3,
            Number(i32::try_from(tr::CONNECTION_BYTES_MAX).unwrap_or(i32::MAX)),
            ASTRAY,
        ),
        Step::Do(Operation::Add, R3, Number(FIXED)),
        Step::Do(Operation::Set, R4, Of(R3)),
    ]);
    add(all, Width::Byte, 9);
    add(all, Width::Word, 10);
    all.extend([
        Step::Store(Width::Double, R10, LENGTH, R4),
        Step::Load(Width::Byte, R1, R7, 9),
        Step::If(When::Other, R1, Number(bytes), plain),
        Step::Do(Operation::Set, R2, Of(R3)),
        Step::Do(Operation::Add, R3, Number(bytes)),
        Step::Load(Width::Word, R1, R6, SIZE),
        Step::If(When::Greater, R3, Of(R1), plain),
        Step::Do(Operation::Set, R1, Of(R6)),
        Step::Do(Operation::Set, R4, Number(0)),
        Step::Call(Helper::MessagePull),
        Step::If(When::Other, R0, Number(0), plain),
    ]);
    bounds(all);
    reach(all, bytes, plain);
    let last = name.len().saturating_sub(8);
    for at in (0..last).step_by(8).chain([last]) {
        let Some(eight) = name.get(at..).and_then(<[u8]>::first_chunk) else {
            continue;
        };
        all.extend([
            Step::Load(Width::Double, R1, R7, i16::try_from(at).unwrap_or(0)),
            Step::Long(R2, u64::from_ne_bytes(*eight)),
            Step::If(When::Other, R1, Of(R2), plain),
        ]);
    }
    all.extend([Step::Go(beat), Step::Place(plain)]);
    restore(all, wanted);
    all.extend([
        Step::If(When::Common, R5, Number(1), answer),
        Step::If(When::Common, R5, Number(2 << 8), request),
    ]);
    is(all, sort::ONEWAY);
    all.push(Step::Place(request));
    is(all, sort::REQUEST);
    all.push(Step::Place(answer));
    is(all, sort::RESPONSE);
    all.push(Step::Place(beat));
    restore(all, wanted);
    is(all, sort::HEARTBEAT);
}

/// What a call took from the registers.
fn restore(all: &mut Vec<Step>, wanted: &Wanted) {
    all.push(Step::Load(Width::Double, R4, R10, LENGTH));
    all.push(Step::Load(Width::Double, R5, R10, IS_WANTED));
    of_protocol(all, wanted, protocol::TR);
}

/// A frame of the length `R4`, the sort `R5`, of a protocol that is wanted or not (`R3`).
fn decide(all: &mut Vec<Step>, wanted: &Wanted, maps: &Maps) {
    let (in_pieces, last) = (Label(INNER + 70), Label(INNER + 72));
    let longest = i32::try_from(Limits::USUAL.frame_bytes_max).unwrap_or(i32::MAX);
    let kept = Label(INNER + 71);
    all.extend([
        Step::Place(DECIDE),
        Step::If(When::Greater, R4, Number(longest), ASTRAY),
        Step::Store(Width::Double, R10, LENGTH, R4),
        Step::Do(Operation::And, R5, Number(wanted.sorts)),
        Step::If(When::Other, R3, Number(0), kept),
        Step::Do(Operation::Set, R5, Number(0)),
        Step::Place(kept),
        Step::Store(Width::Double, R10, IS_WANTED, R5),
        // The verdict is for this frame alone.
        Step::Do(Operation::Set, R1, Of(R6)),
        Step::Do(Operation::Set, R2, Of(R4)),
        Step::Call(Helper::MessageApply),
        Step::Value(R8, maps.counters),
        Step::Do(Operation::Set, R1, Number(1)),
        Step::FetchAdd(R8, counter::READ, R1),
        Step::Load(Width::Double, R1, R10, IS_WANTED),
        Step::If(When::Same, R1, Number(0), GO_ON),
        // Its number on this connection, in R7; nobody else sends on it now.
        Step::Load(Width::Double, R7, R9, connection::WANTED),
        Step::Do(Operation::Add, R7, Number(1)),
        Step::Store(Width::Double, R9, connection::WANTED, R7),
        // Its number on all of them, less one, in R1.
        Step::Do(Operation::Set, R1, Number(1)),
        Step::FetchAdd(R8, counter::WANTED, R1),
        Step::Long(R2, wanted.first.saturating_sub(1)),
        Step::If(When::Less, R1, Of(R2), GO_ON),
    ]);
    if let Some(to) = wanted.last {
        all.extend([
            Step::Long(R2, to.saturating_sub(1)),
            Step::If(When::Greater, R1, Of(R2), GO_ON),
        ]);
    }
    if let Some(below) = wanted.below {
        share(all, below);
    }
    all.extend([
        Step::Load(Width::Double, R3, R10, LENGTH),
        Step::Load(Width::Word, R2, R6, SIZE),
        Step::If(When::Greater, R3, Of(R2), in_pieces),
        Step::If(When::Same, R3, Of(R2), last),
        Step::Load(Width::Double, R1, R10, CUT_OUT),
        Step::If(When::Greater, R1, Number(CUT_OUT_MAX - 1), in_pieces),
        Step::Do(Operation::Add, R1, Number(1)),
        Step::Store(Width::Double, R10, CUT_OUT, R1),
        Step::Do(Operation::Set, R1, Of(R6)),
        Step::Do(Operation::Set, R2, Number(0)),
        Step::Do(Operation::Set, R4, Number(0)),
        Step::Call(Helper::MessageCut),
        Step::If(When::Other, R0, Number(0), in_pieces),
        Step::Do(Operation::Set, R1, Number(1)),
        Step::FetchAdd(R8, counter::DROPPED, R1),
        Step::Go(NEXT),
        Step::Place(last),
        Step::Do(Operation::Set, R1, Of(R6)),
        Step::Map(R2, maps.sink),
        Step::Do(Operation::Set, R3, Number(0)),
        Step::Do(Operation::Set, R4, Number(INGRESS)),
        Step::Call(Helper::MessageRedirect),
        // The keeper is just going, and its socket has gone already.
        Step::If(When::Same, R0, Number(0), GO_ON),
        Step::Do(Operation::Set, R1, Number(1)),
        Step::FetchAdd(R8, counter::DROPPED, R1),
        Step::Do(Operation::Set, R0, Number(PASS)),
        Step::Exit,
        Step::Place(in_pieces),
        Step::Do(Operation::Set, R1, Number(1)),
        Step::FetchAdd(R8, counter::PIECES, R1),
        Step::Go(GO_ON),
    ]);
}

/// [`Share::picks`] of the frame `R7`: goes on where it does not.
fn share(all: &mut Vec<Step>, below: u64) {
    all.extend([
        Step::Load(Width::Double, R1, R9, connection::SHARE),
        Step::Long(R2, Share::STEP),
        Step::Do(Operation::Times, R7, Of(R2)),
        Step::Do(Operation::Add, R1, Of(R7)),
    ]);
    let fold = |all: &mut Vec<Step>, down: u32| {
        all.extend([
            Step::Do(Operation::Set, R2, Of(R1)),
            Step::Do(Operation::Down, R2, Number(down as i32)),
            Step::Do(Operation::Xor, R1, Of(R2)),
        ]);
    };
    for (down, times) in Share::FOLDS {
        fold(all, down);
        all.extend([
            Step::Long(R2, times),
            Step::Do(Operation::Times, R1, Of(R2)),
        ]);
    }
    fold(all, Share::LAST);
    all.extend([
        Step::Do(
            Operation::Down,
            R1,
            Number((u64::BITS - Share::BITS) as i32),
        ),
        Step::Long(R2, below.saturating_sub(1)),
        Step::If(When::Greater, R1, Of(R2), GO_ON),
    ]);
}
