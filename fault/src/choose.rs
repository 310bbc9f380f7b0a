//! Which way a fault is done, and which frames a share of a hundred means.

use crate::{Backend, Error, Plan, Refusal, Scene, Spec, Way};

/// Asks the ways in order; the first that can do exactly this here is it. Where the fault names a
/// way, only that one is asked.
///
/// [`Error::Unsupported`] where some way could on another machine, [`Error::Refused`] where none
/// could on any.
pub fn choose(
    ways: &[Box<dyn Backend>],
    spec: &Spec,
    scene: &Scene,
) -> Result<(usize, Plan), Error> {
    let wanted = spec.way.map(|way| way.value);
    let mut refusals: Vec<(Way, Refusal)> = Vec::new();
    for (index, backend) in ways.iter().enumerate() {
        let way = backend.way();
        if wanted.is_some_and(|wanted| wanted != way) {
            continue;
        }
        match backend.preflight(spec, scene) {
            Ok(mut plan) => {
                plan.why = reason(way, wanted, &refusals);
                plan.passed_over = refusals;
                return Ok((index, plan));
            }
            Err(refusal) => refusals.push((way, refusal)),
        }
    }
    Err(none(spec, wanted, refusals))
}

fn reason(way: Way, wanted: Option<Way>, refusals: &[(Way, Refusal)]) -> String {
    let about = way.about();
    if wanted.is_some() {
        return format!("{way} was asked for: {about}");
    }
    // That a way is for something else needs no words here; the plan has all of them.
    let lacking: Vec<String> = refusals
        .iter()
        .filter(|(_, refusal)| matches!(refusal, Refusal::Missing { .. }))
        .map(|(way, refusal)| format!("{way} {refusal}"))
        .collect();
    match lacking.as_slice() {
        [] => format!("{way} is the best way there is: {about}"),
        lacking => format!("{way}: {about}; {}", lacking.join("; ")),
    }
}

fn none(spec: &Spec, wanted: Option<Way>, refusals: Vec<(Way, Refusal)>) -> Error {
    let told = |refusals: &[(Way, Refusal)]| {
        let told: Vec<String> = refusals
            .iter()
            .map(|(way, refusal)| format!("{way} {refusal}"))
            .collect();
        told.join("; ")
    };
    let lacking = refusals.iter().find_map(|(way, refusal)| match refusal {
        Refusal::Missing { missing, advice } => Some((way, missing, advice)),
        Refusal::Inexact(_) => None,
    });
    if let Some((way, missing, advice)) = lacking {
        return Error::Unsupported {
            missing: format!("{missing}, for {way}"),
            advice: advice.clone(),
        };
    }
    if !refusals.is_empty() {
        return Error::Refused(format!("no way does exactly `{spec}`: {}", told(&refusals)));
    }
    Error::Refused(match (wanted, spec.subject()) {
        (Some(way), _) => format!("{way} is no way of a keeper: it belongs to an environment"),
        (None, subject) => {
            format!("`{spec}` happens to {subject}: no keeper can do it from outside")
        }
    })
}

/// Whether a share of a hundred means this frame: by a hash of seed, connection and number of the
/// frame, so that it is the same one on every run, whatever came in between.
///
/// ```
/// use meshproof_fault::choose::picks;
///
/// let picked = (1..=1000).filter(|frame| picks(25.0, 7, "10.0.0.1:1 10.0.0.2:2", *frame));
/// assert_eq!(picked.count(), 243);
/// ```
pub fn picks(percent: f64, seed: u64, connection: &str, frame: u64) -> bool {
    Share::of(percent, seed, connection).picks(frame)
}

/// [`picks`] in two parts: what is known of a connection, and what is to be done for each frame.
/// The second is so little that a program in the kernel does it, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// What seed and connection come to.
    pub key: u64,
    /// Frames are picked whose hash has its upper [`Share::BITS`] bits below this.
    pub below: u64,
}

impl Share {
    /// Bits of a hash that are compared: those that a float of a share holds exactly.
    pub const BITS: u32 = 53;

    /// So many numbers have these bits.
    const ALL: f64 = (1_u64 << Share::BITS) as f64;

    /// From one frame to the next.
    pub const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

    /// What is folded into the hash: so many bits down, then times this; then [`Share::LAST`] bits
    /// down.
    pub const FOLDS: [(u32, u64); 2] = [(30, 0xbf58_476d_1ce4_e5b9), (27, 0x94d0_49bb_1331_11eb)];

    /// See [`Share::FOLDS`].
    pub const LAST: u32 = 31;

    /// Of the frames of a connection.
    pub fn of(percent: f64, seed: u64, connection: &str) -> Share {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.update(connection.as_bytes());
        let mut front = [0; 8];
        for (to, from) in front.iter_mut().zip(hasher.finalize().as_bytes()) {
            *to = *from;
        }
        Share {
            key: u64::from_le_bytes(front),
            below: (percent.clamp(0.0, 100.0) / 100.0 * Share::ALL) as u64,
        }
    }

    /// Whether it means this frame.
    pub fn picks(self, frame: u64) -> bool {
        self.hash(frame) < self.below
    }

    /// The upper bits of a frame's hash.
    fn hash(self, frame: u64) -> u64 {
        // The generator `splitmix64`, whose n-th number needs none before it.
        let mut hash = self.key.wrapping_add(frame.wrapping_mul(Share::STEP));
        for (down, times) in Share::FOLDS {
            hash = (hash ^ (hash >> down)).wrapping_mul(times);
        }
        hash ^= hash >> Share::LAST;
        hash >> (u64::BITS - Share::BITS)
    }
}

/// A number from 0 up to 1 that seed, connection and number of the frame make, evenly: [`picks`]
/// means those that are below its share.
pub(crate) fn share(seed: u64, connection: &str, frame: u64) -> f64 {
    Share::of(100.0, seed, connection).hash(frame) as f64 / Share::ALL
}
