//! One byte with one other value, and what may come of it.

use std::fmt;

use meshproof_wire::bolt::{Version, status};

/// A version of BOLT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Speech {
    /// Version 1.
    V1,
    /// Version 2 without a CRC.
    V2,
    /// Version 2 with one.
    V2Crc,
}

impl Speech {
    /// All there are.
    pub const ALL: [Speech; 3] = [Speech::V1, Speech::V2, Speech::V2Crc];

    /// The word in every output.
    pub fn word(self) -> &'static str {
        match self {
            Speech::V1 => "bolt-v1",
            Speech::V2 => "bolt-v2",
            Speech::V2Crc => "bolt-v2-crc",
        }
    }

    pub(super) fn version(self) -> Version {
        match self {
            Speech::V1 => Version::V1,
            Speech::V2 => Version::V2_PLAIN,
            Speech::V2Crc => Version::V2_CRC,
        }
    }
}

/// Which frames are damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Way {
    /// Requests, on their way into port 12200.
    Request,
    /// Answers, on their way from the app.
    Answer,
}

impl Way {
    /// All there are.
    pub const ALL: [Way; 2] = [Way::Request, Way::Answer];

    /// The word in every output.
    pub fn word(self) -> &'static str {
        match self {
            Way::Request => "request",
            Way::Answer => "answer",
        }
    }
}

/// One byte of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// In which version.
    pub speech: Speech,
    /// Of what.
    pub way: Way,
    /// Counted from 0.
    pub byte: usize,
}

/// Every byte of a header.
pub fn rows(speech: Speech, way: Way) -> impl Iterator<Item = Place> {
    let shorter = match way {
        Way::Request => 0,
        Way::Answer => 2,
    };
    let len = match speech {
        Speech::V1 => 22,
        Speech::V2 | Speech::V2Crc => 24,
    };
    (0..len - shorter).map(move |byte| Place { speech, way, byte })
}

impl Place {
    /// The field that the byte belongs to.
    pub fn field(&self) -> &'static str {
        // As in version 1, which lacks two bytes.
        let byte = match (self.speech, self.byte) {
            (Speech::V1, byte) | (_, byte @ 0) => byte,
            (_, 1) => return "ver1",
            (_, 11) => return "switch",
            (_, byte @ 2..=10) => byte - 1,
            (_, byte) => byte - 2,
        };
        match (self.way, byte) {
            (_, 0) => "protocol",
            (_, 1) => "type",
            (_, 2 | 3) => "command",
            (_, 4) => "ver2",
            (_, 5..=8) => "id",
            (_, 9) => "codec",
            (Way::Request, 10..=13) => "timeout",
            (Way::Answer, 10 | 11) => "status",
            (Way::Request, 14 | 15) | (Way::Answer, 12 | 13) => "class length",
            (Way::Request, 16 | 17) | (Way::Answer, 14 | 15) => "header length",
            _ => "content length",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (speech, way) = (self.speech.word(), self.way.word());
        write!(f, "{speech} {way} byte {} ({})", self.byte, self.field())
    }
}

/// What the sidecar made of a damaged frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Did {
    /// It went on, and what was answered to it came back.
    PassedOn,
    /// It went on, and nothing came back: it was taken for a one-way.
    Oneway,
    /// It was answered by the sidecar, with this status.
    Status(u16),
    /// It was answered as a heartbeat is.
    Heartbeat,
    /// The connection was closed.
    Closed,
    /// It went nowhere and was answered by nobody.
    Ignored,
    /// The rest of a frame was waited for, until the client ended.
    Waited,
    /// The connection was not closed when the client had ended, or a call never got its end.
    Hung,
    /// What came back belongs to something else.
    Wrong,
}

/// What became of the connection and of the good call behind the damaged frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Then {
    /// It was answered as it must be.
    GoesOn,
    /// The connection was closed.
    Closed,
    /// It was taken for the rest of the damaged frame, or was not answered for its time.
    Lost,
}

/// Both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Outcome {
    /// What was made of the frame.
    pub did: Did,
    /// What came behind it.
    pub then: Then,
}

impl Outcome {
    /// Whether no sidecar may do this.
    pub fn is_wrong(self) -> bool {
        matches!(self.did, Did::Hung | Did::Wrong)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.did {
            Did::PassedOn => f.write_str("passed on")?,
            Did::Oneway => f.write_str("passed on as a one-way")?,
            Did::Status(status::TIMEOUT) => f.write_str("timed out by deadline (status 7)")?,
            Did::Status(code) => match status::name(code) {
                Some(name) => write!(f, "answered with error (status {code}, {name})")?,
                None => write!(f, "answered with error (status {code})")?,
            },
            Did::Heartbeat => f.write_str("answered as a heartbeat")?,
            Did::Closed => f.write_str("closed")?,
            Did::Ignored => f.write_str("ignored")?,
            Did::Waited => f.write_str("waited for the rest")?,
            Did::Hung => f.write_str("HUNG")?,
            Did::Wrong => f.write_str("WRONG ANSWER")?,
        }
        match (self.did, self.then) {
            (Did::Closed | Did::Waited | Did::Hung | Did::Wrong, _) | (_, Then::GoesOn) => Ok(()),
            (_, Then::Closed) => f.write_str(", then closed"),
            (_, Then::Lost) => f.write_str(", the next one lost"),
        }
    }
}

/// A case, and what came of it.
#[derive(Clone, Copy, Debug)]
pub struct Met {
    /// Which byte.
    pub place: Place,
    /// What it was combined with.
    pub mask: u8,
    /// What came of it.
    pub outcome: Outcome,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_field() {
        let fields = |speech, way| -> String {
            let fields: Vec<String> = rows(speech, way)
                .map(|place| place.field().chars().take(4).collect::<String>())
                .collect();
            fields.join(" ")
        };
        assert_eq!(
            fields(Speech::V1, Way::Request),
            "prot type comm comm ver2 id id id id code time time time time clas clas head head \
             cont cont cont cont"
        );
        assert_eq!(
            fields(Speech::V2Crc, Way::Answer),
            "prot ver1 type comm comm ver2 id id id id code swit stat stat clas clas head head \
             cont cont cont cont"
        );
        assert_eq!(fields(Speech::V1, Way::Answer).split(' ').count(), 20);
        assert_eq!(fields(Speech::V2, Way::Request).split(' ').count(), 24);
    }
}
