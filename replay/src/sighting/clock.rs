//! How far the clocks of capture points are apart.

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::capture::{Captures, Error, Packet, Packets};
use crate::packet::{self, Parsed};

/// Segments that are remembered to be found again at another capture point.
const SEGMENTS_MAX: usize = 1 << 18;

/// How a capture point's clock was corrected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alignment {
    /// The capture point's name.
    pub source: String,
    /// What is added to its times, in nanoseconds, so that they agree with those of the first
    /// capture point; `None` where they share no segment, directly or by way of others.
    pub offset_ns: Option<i64>,
    /// Segments that tell so.
    pub segments: usize,
}

/// Reads several capture points once to find out how far their clocks are apart, corrects them,
/// and goes back to the beginning. With one capture point there is nothing to do.
///
/// A segment that two points saw tells their clocks' difference, and how long it was on its way
/// between them. Segments of the other direction tell the same difference and the way back; half
/// way between the two medians is the difference alone.
///
/// # Errors
/// As of [`Packets::next`] and [`Captures::rewind`].
pub fn align(captures: &mut Captures) -> Result<Vec<Alignment>, Error> {
    let names: Vec<String> = captures.sources().iter().map(|s| s.name.clone()).collect();
    if names.len() < 2 {
        return Ok(Vec::new());
    }
    let mut seen = Seen::default();
    while let Some(packet) = captures.next()? {
        seen.packet(&packet);
    }
    captures.rewind()?;
    let found = seen.offsets(names.len());
    let mut alignments = Vec::with_capacity(names.len());
    for (at, (source, (offset_ns, segments))) in names.into_iter().zip(found).enumerate() {
        if let (Ok(at), Some(offset_ns)) = (u16::try_from(at), offset_ns) {
            captures.set_offset(at, offset_ns);
        }
        alignments.push(Alignment {
            source,
            offset_ns,
            segments,
        });
    }
    Ok(alignments)
}

/// A segment that can be told from others: ends, sequence and acknowledgement number, length.
type Segment = (
    std::net::SocketAddr,
    std::net::SocketAddr,
    u32,
    u32,
    u32,
    u8,
);

#[derive(Debug, Default)]
struct Seen {
    first: HashMap<Segment, (u16, u64)>,
    /// For two points, the first with the smaller number: differences of the segments that go
    /// from the smaller address to the larger, and of the others.
    deltas: HashMap<(u16, u16), [Vec<i64>; 2]>,
}

impl Seen {
    fn packet(&mut self, packet: &Packet<'_>) {
        let Parsed::Tcp(segment) = packet::parse(packet.link, packet.data, packet.orig_len) else {
            return;
        };
        // Bare acknowledgements look alike.
        if segment.payload_len == 0 && segment.flags.0 & 0x07 == 0 {
            return;
        }
        let key = (
            segment.src,
            segment.dst,
            segment.seq.0,
            segment.ack.0,
            segment.payload_len,
            segment.flags.0,
        );
        let len = self.first.len();
        match self.first.entry(key) {
            Entry::Vacant(place) => {
                if len < SEGMENTS_MAX {
                    place.insert((packet.source, packet.at_ns));
                }
            }
            Entry::Occupied(known) => {
                let (source, at_ns) = *known.get();
                if source == packet.source {
                    return;
                }
                let delta = i64::try_from(i128::from(packet.at_ns) - i128::from(at_ns));
                let Ok(delta) = delta else { return };
                let (pair, delta) = if source < packet.source {
                    ((source, packet.source), delta)
                } else {
                    ((packet.source, source), -delta)
                };
                let [there, back] = self.deltas.entry(pair).or_default();
                if segment.src < segment.dst {
                    there.push(delta);
                } else {
                    back.push(delta);
                }
            }
        }
    }

    /// For each point, what is to be added to its times to agree with those of point 0.
    fn offsets(mut self, points: usize) -> Vec<(Option<i64>, usize)> {
        let mut edges = Vec::new();
        for (pair, [mut there, mut back]) in self.deltas.drain() {
            let segments = there.len() + back.len();
            let difference = match (median(&mut there), median(&mut back)) {
                (Some(there), Some(back)) => there / 2 + back / 2 + (there % 2 + back % 2) / 2,
                (one, other) => match one.or(other) {
                    Some(one) => one,
                    None => continue,
                },
            };
            edges.push((pair, difference, segments));
        }
        // The pairs that tell most come first; equal ones by their numbers.
        edges.sort_by_key(|&(pair, _, segments)| (usize::MAX - segments, pair));
        let mut found: Vec<(Option<i64>, usize)> = vec![(None, 0); points];
        if let Some(first) = found.first_mut() {
            *first = (Some(0), 0);
        }
        // From the known to the unknown, at most once for each point.
        for _ in 0..points {
            for &((a, b), difference, segments) in &edges {
                let at = |n: u16| found.get(usize::from(n)).copied().unwrap_or((None, 0)).0;
                let (to, offset) = match (at(a), at(b)) {
                    (Some(known), None) => (b, known.checked_sub(difference)),
                    (None, Some(known)) => (a, known.checked_add(difference)),
                    _ => continue,
                };
                if let Some(place) = found.get_mut(usize::from(to)) {
                    *place = (offset, segments);
                }
            }
        }
        found
    }
}

fn median(values: &mut [i64]) -> Option<i64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}
