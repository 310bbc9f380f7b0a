//! What each protocol says in its own way: what a request asks, what an answer tells, how a
//! heartbeat looks, and how a recorded answer becomes one to another request.
//!
//! One file per protocol; [`of`] is the only place where one is chosen. How frames are laid out
//! for a rewrite is `rewrite::shape`'s, how the audit reads them its own.

mod bolt;
pub(crate) mod mesh_api;
pub(crate) mod message;
pub(crate) mod tr;

use std::borrow::Cow;
use std::net::SocketAddr;

use bytes::Bytes;
use meshproof_wire::{Frame, Head, Kind, Protocol, RequestId};

/// What a request says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The service, with version and, where there is one, unique id.
    pub(crate) service: Option<String>,
    /// The method; of the application API, the operation.
    pub(crate) method: Option<String>,
    /// The app that asks.
    pub(crate) app: Option<String>,
    /// The trace id.
    pub(crate) trace: Option<String>,
    /// The place of the call in its trace.
    pub(crate) rpc_id: Option<String>,
    /// The VIP or address that a subscription names.
    pub(crate) vip: Option<String>,
}

/// What an answer says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// The status by name.
    pub(crate) status: Option<Cow<'static, str>>,
    /// Whether it is an exception, of whatever layer; `None` where the frame was not looked at.
    pub(crate) exception: Option<bool>,
    /// The server's own address, where the protocol carries it.
    pub(crate) host: Option<String>,
    /// The addresses that a subscription gives.
    pub(crate) datas: Option<Vec<String>>,
}

/// One protocol.
pub(crate) trait Idiom: Sync {
    /// What a request asks; `None` where what is on top of the protocol is not known.
    fn asked(&self, request: &Frame) -> Option<Asked>;

    /// A hash of what is asked: equal for equal arguments, whatever the trace id.
    fn argument_hash(&self, request: &Frame) -> u64;

    /// The method that the body names, where it may say another than [`Idiom::asked`].
    fn method_of_body(&self, request: &Frame) -> Option<String>;

    /// What an answer tells.
    fn told(&self, response: &Frame) -> Told;

    /// The name of a status.
    fn status(&self, code: u16) -> Cow<'static, str>;

    /// The serializer by name.
    fn codec(&self, code: u8) -> Cow<'static, str>;

    /// A heartbeat in the version of `like`; `None` where the protocol has none.
    fn heartbeat(&self, like: &Frame, id: RequestId) -> Option<Bytes>;

    /// The answer to a heartbeat, from `host`.
    fn heartbeat_ack(&self, heartbeat: &Frame, host: SocketAddr) -> Option<Bytes>;

    /// A recorded answer as one to `request`: its id, and its version where there are several.
    /// The answer must be of this protocol or its other version.
    fn readdressed(&self, answer: &Frame, request: &Frame) -> Bytes;

    /// An answer that says that there is none, as a server exception.
    fn refusal(&self, request: &Frame, why: &str) -> Bytes;
}

/// The idiom of a protocol.
pub(crate) fn of(protocol: Protocol) -> &'static dyn Idiom {
    match protocol {
        Protocol::Tr => &tr::Tr,
        Protocol::MeshApi => &mesh_api::MeshApi,
        _ => &bolt::Bolt,
    }
}

/// What a request asks.
pub(crate) fn asked(request: &Frame) -> Option<Asked> {
    of(request.head.protocol).asked(request)
}

/// The protocol without its version: what speaks the one version may be answered from the other.
pub(crate) fn family(protocol: Protocol) -> Protocol {
    match protocol {
        Protocol::BoltV2 => Protocol::BoltV1,
        other => other,
    }
}

/// The protocol of a name, as records hold it.
pub(crate) fn named(name: &str) -> Option<Protocol> {
    [
        Protocol::BoltV1,
        Protocol::BoltV2,
        Protocol::Tr,
        Protocol::MeshApi,
    ]
    .into_iter()
    .find(|protocol| protocol.name() == name)
}

/// Whether content under this serializer's code is Hessian.
pub(crate) fn is_hessian(protocol: Protocol, codec: u8) -> bool {
    let head = Head {
        protocol,
        kind: Kind::Response,
        id: RequestId(0),
        len: 0,
        codec,
        timeout_ms: None,
        status: None,
    };
    head.is_hessian()
}
