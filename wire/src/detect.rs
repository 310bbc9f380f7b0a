//! Which protocol a stream speaks, by its first bytes and never by its port.

use std::fmt;

use crate::protocol::Protocol;
use crate::{bolt, mesh_api, tr};

/// What a stream was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// Not enough was seen.
    Undecided,
    /// A protocol that this crate decodes; the version is that of the first frame.
    Known(Protocol),
    /// TLS: counted and named, never decrypted.
    Tls,
    /// HTTP/1.0 or 1.1.
    Http1,
    /// HTTP/2 with prior knowledge, as gRPC and Triple use it.
    Http2,
    /// Dubbo with its own 16-byte header.
    Dubbo,
    /// TR, protocol code 13, whose frames cannot be read: another serializer than Hessian.
    Tr,
    /// None of these.
    Unknown,
}

impl Verdict {
    /// The name used in every output.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Undecided => "undecided",
            Verdict::Known(protocol) => protocol.name(),
            Verdict::Tls => "tls",
            Verdict::Http1 => "http1",
            Verdict::Http2 => "http2",
            Verdict::Dubbo => "dubbo",
            Verdict::Tr => "tr",
            Verdict::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an HTTP/2 client says first (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How HTTP/1 messages start: the methods of RFC 9110 and PATCH, and the status line.
const HTTP1_STARTS: [&[u8]; 10] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"CONNECT ",
    b"OPTIONS ",
    b"TRACE ",
    b"PATCH ",
    b"HTTP/1.",
];

/// The most bytes that [`look`] asks for.
pub const LOOK_BYTES_MAX: usize = 28;

/// Looks at the first bytes of a stream. Never [`Verdict::Undecided`] from [`LOOK_BYTES_MAX`] on.
pub fn look(front: &[u8]) -> Verdict {
    match front {
        [] => Verdict::Undecided,
        [1 | 2, ..] => match bolt::Head::parse(front) {
            bolt::Step::Head(head) if is_bolt(&head) => Verdict::Known(head.version.protocol()),
            bolt::Step::Need(_) => Verdict::Undecided,
            _ => Verdict::Unknown,
        },
        [0x0d, ..] => match tr::Head::parse(front) {
            tr::Step::Head(_) => Verdict::Known(Protocol::Tr),
            tr::Step::Need(_) => Verdict::Undecided,
            tr::Step::Malformed(_) => Verdict::Unknown,
        },
        [0xda] => Verdict::Undecided,
        [0xda, 0xbb, ..] => Verdict::Dubbo,
        // Change cipher spec, alert, handshake, application data; the version starts with 3.
        [0x14..=0x17] => Verdict::Undecided,
        [0x14..=0x17, 3, ..] => Verdict::Tls,
        [0, ..] => server_settings(front),
        _ => text(front),
    }
}

/// A first frame that is taken for BOLT: its command is known and it is of the one second version
/// that exists.
pub(crate) fn is_bolt(head: &bolt::Head) -> bool {
    head.kind() != crate::Kind::Unknown && head.ver2 == 1
}

/// An HTTP/2 server speaks first with SETTINGS (type 4) on stream 0; 6 bytes for each setting.
fn server_settings(front: &[u8]) -> Verdict {
    match front {
        [0, 0, len, 4, 0, 0, 0, 0, 0, ..] if len % 6 == 0 => Verdict::Http2,
        [_, _, _, _, _, _, _, _, _, ..] => Verdict::Unknown,
        _ => Verdict::Undecided,
    }
}

fn text(front: &[u8]) -> Verdict {
    let api = mesh_api::begins(front);
    if front.starts_with(HTTP2_PREFACE) {
        Verdict::Http2
    } else if api == Some(true) {
        Verdict::Known(Protocol::MeshApi)
    } else if api.is_none() {
        Verdict::Undecided
    } else if HTTP1_STARTS.iter().any(|start| front.starts_with(start)) {
        Verdict::Http1
    } else if HTTP2_PREFACE.starts_with(front)
        || HTTP1_STARTS.iter().any(|start| start.starts_with(front))
    {
        Verdict::Undecided
    } else {
        Verdict::Unknown
    }
}

/// Whether HTTP/1 answers begin so.
pub(crate) fn is_answer(front: &[u8]) -> bool {
    front.starts_with(ANSWER_START)
}

/// Whether HTTP/1 answers may begin so, once more is there.
pub(crate) fn may_be_answer(front: &[u8]) -> bool {
    ANSWER_START.starts_with(front)
}

const ANSWER_START: &[u8] = b"HTTP/1.";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(front: &[u8], expect: Verdict) {
        assert_eq!(look(front), expect);
        // What was decided stays decided, and a front of it never says something else.
        for len in 0..front.len() {
            let earlier = look(&front[..len]);
            assert!(
                earlier == Verdict::Undecided || earlier == expect,
                "{len}: {earlier}"
            );
        }
    }

    #[test]
    fn by_first_bytes() {
        let heartbeat = bolt::heartbeat(bolt::Version::V1, 1);
        check(&heartbeat, Verdict::Known(Protocol::BoltV1));
        let heartbeat = bolt::heartbeat(bolt::Version::V2_CRC, 1);
        check(&heartbeat, Verdict::Known(Protocol::BoltV2));
        check(&[1, 1, 0, 0, 9], Verdict::Undecided);
        check(&[1, 1, 0, 9, 9], Verdict::Unknown);
        check(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3], Verdict::Tls);
        check(&[0x17, 3, 3, 0, 0x40], Verdict::Tls);
        check(&[0x16, 2], Verdict::Unknown);
        check(b"GET / HTTP/1.1\r\n", Verdict::Http1);
        check(b"HTTP/1.1 200 OK\r\n", Verdict::Http1);
        check(b"POST /a HTTP/1.1\r\n", Verdict::Http1);
        check(b"PO", Verdict::Undecided);
        check(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0", Verdict::Http2);
        check(b"\0\0\x12\x04\0\0\0\0\0\0\x03", Verdict::Http2);
        check(b"\0\0\x13\x04\0\0\0\0\0\0\x03", Verdict::Unknown);
        check(&[0xda, 0xbb, 0xe2, 0, 0x1c], Verdict::Dubbo);
        check(
            &tr::heartbeat(crate::RequestId(1)),
            Verdict::Known(Protocol::Tr),
        );
        check(&[0x0d, 0, 4, 2, 0], Verdict::Undecided);
        let subscribe = b"POST /services/subscribe HTTP/1.1\r\n";
        check(subscribe, Verdict::Known(Protocol::MeshApi));
        check(b"POST /services/subscribers HTTP/1.1\r\n", Verdict::Http1);
        check(b"POST /configs", Verdict::Undecided);
        check(&[0x0d, 0, 9], Verdict::Unknown);
        check(b"SSH-2.0-OpenSSH", Verdict::Unknown);
        check(b"", Verdict::Undecided);
    }
}
