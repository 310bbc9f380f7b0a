//! A stream cut into frames as a server cuts it: by the head in front, and by nothing else. What
//! looks for frames behind damage would see more than a server does.

use bytes::Bytes;
use meshproof_wire::{Frame, bolt, tr};

/// Bytes that are no frame; nothing behind them can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damaged;

/// Cuts one stream.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    held: Vec<u8>,
}

impl Cutter {
    /// Whole frames, in their order, until there is none or the bytes are none.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        sink: &mut impl FnMut(Frame),
    ) -> Result<(), Damaged> {
        self.held.extend_from_slice(bytes);
        while let Some(len) = self.front()? {
            if self.held.len() < len {
                break;
            }
            let rest = self.held.split_off(len);
            let frame = std::mem::replace(&mut self.held, rest);
            sink(Frame::parse(Bytes::from(frame)).map_err(|_| Damaged)?);
        }
        Ok(())
    }

    /// How long the frame in front is, as far as that can be told.
    fn front(&self) -> Result<Option<usize>, Damaged> {
        let len = match self.held.first() {
            None => return Ok(None),
            Some(13) => match tr::Head::parse(&self.held) {
                tr::Step::Head(head) => head.frame_len(),
                tr::Step::Need(_) => return Ok(None),
                tr::Step::Malformed(_) => return Err(Damaged),
            },
            Some(_) => match bolt::Head::parse(&self.held) {
                bolt::Step::Head(head) => head.frame_len(),
                bolt::Step::Need(_) => return Ok(None),
                bolt::Step::Malformed(_) => return Err(Damaged),
            },
        };
        usize::try_from(len).map(Some).map_err(|_| Damaged)
    }
}

#[cfg(test)]
mod tests {
    use meshproof_wire::bolt::{Version, heartbeat};

    use super::*;

    #[test]
    fn frames_are_cut_wherever_their_bytes_are() {
        let mut second = heartbeat(Version::V2_CRC, 2).to_vec();
        // A second version byte that nobody writes.
        second[5] = 9;
        let third = tr::heartbeat(meshproof_wire::RequestId(3));
        let all = [&heartbeat(Version::V1, 1)[..], &second, &third].concat();
        for piece in [1, 5, 23, 1000] {
            let mut cutter = Cutter::default();
            let mut ids = Vec::new();
            for bytes in all.chunks(piece) {
                let cut = cutter.feed(bytes, &mut |frame| ids.push(frame.head.id.0));
                assert_eq!(cut, Ok(()));
            }
            assert_eq!(ids, [1, 2, 3], "by {piece}");
        }
        let cut = Cutter::default().feed(b"HTTP", &mut |_| {});
        assert_eq!(cut, Err(Damaged));
    }
}
