//! The application API of a sidecar (127.0.0.1:13330), as SOFARPC 5.13.2 speaks it (its module
//! `registry-mesh`): JSON over HTTP/1.1 POST, with `Content-Type: text/plain`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::http::{self, Message, Start};
use crate::protocol::{Frame, Protocol};

/// What is asked for, by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `/configs/application`: once per process, before anything else.
    Application,
    /// `/services/publish`.
    Publish,
    /// `/services/subscribe`.
    Subscribe,
    /// `/services/unpublish`.
    Unpublish,
    /// `/services/unsubscribe`.
    Unsubscribe,
}

impl Operation {
    /// All of them.
    pub const ALL: [Operation; 5] = [
        Operation::Application,
        Operation::Publish,
        Operation::Subscribe,
        Operation::Unpublish,
        Operation::Unsubscribe,
    ];

    /// The path of the request.
    pub fn path(self) -> &'static str {
        match self {
            Operation::Application => "/configs/application",
            Operation::Publish => "/services/publish",
            Operation::Subscribe => "/services/subscribe",
            Operation::Unpublish => "/services/unpublish",
            Operation::Unsubscribe => "/services/unsubscribe",
        }
    }

    /// The last part of the path: the method name in every output.
    pub fn name(self) -> &'static str {
        let path = self.path();
        path.rsplit('/').next().unwrap_or(path)
    }

    /// By the path of a request, without its query.
    pub fn of_path(path: &str) -> Option<Operation> {
        Operation::ALL
            .into_iter()
            .find(|known| known.path() == path)
    }
}

/// Body of [`Operation::Application`]; other members may be there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Application {
    /// The app that runs in this pod.
    pub app_name: Option<String>,
}

/// Body of [`Operation::Publish`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Publish {
    /// `interface:version[:uniqueId]`.
    #[serde(deserialize_with = "null_is_default")]
    pub service_name: String,
    /// `bolt` or `tr`.
    #[serde(deserialize_with = "null_is_default")]
    pub protocol_type: String,
    /// What goes into the provider's options.
    #[serde(deserialize_with = "null_is_default")]
    pub provider_meta_info: ProviderMeta,
    /// As SOFARPC sends it.
    #[serde(deserialize_with = "null_is_default")]
    pub only_publish_in_cloud: bool,
    /// As SOFARPC sends it.
    pub group: Option<String>,
}

/// Part of [`Publish`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProviderMeta {
    /// `bolt` or `tr`.
    pub protocol: Option<String>,
    /// Of the RPC framework: `4.0`.
    pub version: Option<String>,
    /// `hessian2`.
    pub serialize_type: Option<String>,
    /// The app.
    pub app_name: Option<String>,
    /// Whatever else.
    #[serde(deserialize_with = "null_is_default")]
    pub properties: serde_json::Map<String, serde_json::Value>,
}

/// Body of [`Operation::Subscribe`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Subscribe {
    /// `interface:version[:uniqueId]`.
    #[serde(deserialize_with = "null_is_default")]
    pub service_name: String,
    /// `bolt` or `tr`: what the app can speak.
    #[serde(deserialize_with = "null_is_default")]
    pub protocol_type: String,
    /// A VIP, in either form, or an address.
    pub target_app_address: Option<String>,
    /// Ask the VIP even where the config center knows the service.
    #[serde(deserialize_with = "null_is_default")]
    pub vip_enforce: bool,
    /// Never ask the config center.
    #[serde(deserialize_with = "null_is_default")]
    pub vip_only: bool,
    /// As SOFARPC sends it.
    #[serde(deserialize_with = "null_is_default")]
    pub local_cloud_first: bool,
    /// As SOFARPC sends it.
    pub group: Option<String>,
    /// As SOFARPC sends it.
    pub properties: Option<serde_json::Map<String, serde_json::Value>>,
}

/// Body of [`Operation::Unpublish`] and [`Operation::Unsubscribe`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Withdraw {
    /// `interface:version[:uniqueId]`.
    #[serde(deserialize_with = "null_is_default")]
    pub service_name: String,
    /// `bolt` or `tr`.
    pub protocol_type: Option<String>,
    /// Only in [`Operation::Unsubscribe`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_app_address: Option<String>,
    /// As SOFARPC sends it.
    pub group: Option<String>,
}

/// Every answer, with status 200.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Answer {
    /// Without it the app gives up.
    #[serde(deserialize_with = "null_is_default")]
    pub success: bool,
    /// Empty where there is none; answers to `unpublish` and `unsubscribe` may lack it.
    #[serde(deserialize_with = "null_is_default")]
    pub error_message: String,
    /// Only after [`Operation::Subscribe`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    /// Only after [`Operation::Subscribe`]: `IP:PORT?p=1&…`. SOFARPC takes the protocol and the
    /// options of the first one alone, and calls 127.0.0.1:12220 in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datas: Option<Vec<String>>,
}

/// The protocol code in the `p` option of [`Answer::datas`].
pub mod protocol_code {
    /// BOLT.
    pub const BOLT: u8 = 1;
    /// TR.
    pub const TR: u8 = 13;
}

/// A request of the application API, with its body as its operation has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Names the app.
    Application(Application),
    /// Publishes a service.
    Publish(Publish),
    /// Subscribes to one.
    Subscribe(Subscribe),
    /// Withdraws a publication.
    Unpublish(Withdraw),
    /// Withdraws a subscription.
    Unsubscribe(Withdraw),
}

/// Why a message is no request of the application API.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoCall {
    /// Not a POST to one of the paths.
    #[error("`{method} {target}` is nothing of the application api")]
    Target {
        /// Of the request.
        method: String,
        /// Of the request.
        target: String,
    },
    /// An answer, where a request is expected.
    #[error("an http answer with status {0}, expected a request")]
    Response(u16),
    /// The body is not what the operation has.
    #[error("body of `{operation}`: {why}")]
    Body {
        /// The operation.
        operation: &'static str,
        /// What is wrong.
        why: serde_json::Error,
    },
    /// Not a message of HTTP/1.
    #[error(transparent)]
    Http(#[from] http::Malformed),
    /// It ends early.
    #[error("http message ends early")]
    Cut,
}

impl Call {
    /// Reads a message.
    ///
    /// # Errors
    /// What is no request of the application API, or has another body.
    pub fn of(message: &Message) -> Result<Call, NoCall> {
        let operation = operation(&message.head)?;
        let body = &message.body[..];
        let call = match operation {
            Operation::Application => serde_json::from_slice(body).map(Call::Application),
            Operation::Publish => serde_json::from_slice(body).map(Call::Publish),
            Operation::Subscribe => serde_json::from_slice(body).map(Call::Subscribe),
            Operation::Unpublish => serde_json::from_slice(body).map(Call::Unpublish),
            Operation::Unsubscribe => serde_json::from_slice(body).map(Call::Unsubscribe),
        };
        call.map_err(|why| NoCall::Body {
            operation: operation.name(),
            why,
        })
    }

    /// What is asked for.
    pub fn operation(&self) -> Operation {
        match self {
            Call::Application(_) => Operation::Application,
            Call::Publish(_) => Operation::Publish,
            Call::Subscribe(_) => Operation::Subscribe,
            Call::Unpublish(_) => Operation::Unpublish,
            Call::Unsubscribe(_) => Operation::Unsubscribe,
        }
    }

    /// The service, where the operation has one.
    pub fn service(&self) -> Option<&str> {
        match self {
            Call::Application(_) => None,
            Call::Publish(body) => Some(&body.service_name),
            Call::Subscribe(body) => Some(&body.service_name),
            Call::Unpublish(body) | Call::Unsubscribe(body) => Some(&body.service_name),
        }
    }

    /// The app, where the operation names it.
    pub fn app(&self) -> Option<&str> {
        match self {
            Call::Application(body) => body.app_name.as_deref(),
            Call::Publish(body) => body.provider_meta_info.app_name.as_deref(),
            _ => None,
        }
    }

    /// `targetAppAddress`: where a VIP stands, in either form. Empty counts as none.
    pub fn target(&self) -> Option<&str> {
        match self {
            Call::Subscribe(body) => body.target_app_address.as_deref(),
            Call::Unpublish(body) | Call::Unsubscribe(body) => body.target_app_address.as_deref(),
            Call::Application(_) | Call::Publish(_) => None,
        }
        .filter(|target| !target.is_empty())
    }

    /// The message, as SOFARPC 5.13.2 sends it; `host` is `HOST:PORT`.
    pub fn encode(&self, host: &str) -> Vec<u8> {
        let body = match self {
            Call::Application(body) => serde_json::to_vec(body),
            Call::Publish(body) => serde_json::to_vec(body),
            Call::Subscribe(body) => serde_json::to_vec(body),
            Call::Unpublish(body) | Call::Unsubscribe(body) => serde_json::to_vec(body),
        };
        // Strings, flags and maps with string keys always serialize.
        let body = body.unwrap_or_default();
        http::request("POST", self.operation().path(), host, CONTENT_TYPE, &body)
    }
}

/// The type of every body, JSON as they are.
pub const CONTENT_TYPE: &str = "text/plain";

impl Answer {
    /// The message with status 200.
    pub fn encode(&self) -> Vec<u8> {
        let body = serde_json::to_vec(self).unwrap_or_default();
        http::response(200, CONTENT_TYPE, &body)
    }

    /// Reads a message.
    ///
    /// # Errors
    /// A body that is no such answer.
    pub fn of(message: &Message) -> Result<Answer, serde_json::Error> {
        serde_json::from_slice(&message.body)
    }
}

/// What a head asks for.
///
/// # Errors
/// What is no request of the application API.
pub fn operation(head: &http::Head) -> Result<Operation, NoCall> {
    let (method, target) = match &head.start {
        Start::Request { method, target } => (method, target),
        Start::Response { status } => return Err(NoCall::Response(*status)),
    };
    let path = target.split('?').next().unwrap_or_default();
    match Operation::of_path(path) {
        Some(operation) if method == "POST" => Ok(operation),
        _ => Err(NoCall::Target {
            method: method.clone(),
            target: target.clone(),
        }),
    }
}

/// Whether `front` is how a request of the application API begins: `None` while more bytes are
/// needed to tell.
pub(crate) fn begins(front: &[u8]) -> Option<bool> {
    let mut open = false;
    for operation in Operation::ALL {
        let path = operation.path().as_bytes();
        let line = [b"POST ", path].concat();
        match front.split_at_checked(line.len()) {
            Some((start, rest)) if start == line => match rest.first() {
                Some(b' ' | b'?') => return Some(true),
                Some(_) => {}
                None => open = true,
            },
            Some(_) => {}
            None => open |= line.starts_with(front),
        }
    }
    if open { None } else { Some(false) }
}

/// The message that a frame of [`Protocol::MeshApi`] is.
///
/// # Errors
/// Bytes that are no whole message.
pub fn message(frame: &Frame) -> Result<Message, NoCall> {
    debug_assert_eq!(frame.head.protocol, Protocol::MeshApi);
    let mut messages = http::Messages::new(http::Limits {
        body_bytes_max: u64::MAX,
        ..http::Limits::USUAL
    });
    messages.feed(&frame.bytes);
    let found = messages.message()?.or_else(|| messages.close());
    found.ok_or(NoCall::Cut)
}

/// The request that a frame is.
///
/// # Errors
/// Bytes that are none.
pub fn call(frame: &Frame) -> Result<Call, NoCall> {
    Call::of(&message(frame)?)
}

/// The answer that a frame is, with its status.
///
/// # Errors
/// Bytes that are none.
pub fn answer(frame: &Frame) -> Result<(u16, Answer), NoCall> {
    let message = message(frame)?;
    match message.head.start {
        Start::Response { status } => match Answer::of(&message) {
            Ok(answer) => Ok((status, answer)),
            Err(why) => Err(NoCall::Body {
                operation: "answer",
                why,
            }),
        },
        Start::Request { method, target } => Err(NoCall::Target { method, target }),
    }
}

/// Takes null for an absent value: what SOFARPC writes for a field that is not set.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + serde::de::DeserializeOwned,
{
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(T::default()),
        value => T::deserialize(value).map_err(serde::de::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As SOFARPC 5.13.2 sends them.
    const SUBSCRIBE: &str = r#"{"serviceName":"com.alipay.demo.SampleService:1.0","protocolType":"bolt","targetAppAddress":"http://sample-pool.zone.alipay.net:12200?_TIMEOUT=3000","vipEnforce":false,"vipOnly":false,"localCloudFirst":false,"group":null,"properties":null}"#;
    const PUBLISH: &str = r#"{"serviceName":"com.alipay.demo.SampleService:1.0","protocolType":"bolt","providerMetaInfo":{"protocol":"bolt","version":"4.0","serializeType":"hessian2","appName":"sample-server","properties":null},"onlyPublishInCloud":false,"group":null}"#;

    fn read(bytes: &[u8]) -> Result<Call, NoCall> {
        let mut messages = http::Messages::new(http::Limits::USUAL);
        messages.feed(bytes);
        Call::of(&messages.message()?.ok_or(NoCall::Cut)?)
    }

    fn post(path: &str, body: &str) -> Vec<u8> {
        http::request(
            "POST",
            path,
            "127.0.0.1:13330",
            CONTENT_TYPE,
            body.as_bytes(),
        )
    }

    #[test]
    fn calls_as_sent() {
        let call = read(&post("/services/subscribe", SUBSCRIBE)).unwrap();
        assert_eq!(call.service(), Some("com.alipay.demo.SampleService:1.0"));
        let vip = "http://sample-pool.zone.alipay.net:12200?_TIMEOUT=3000";
        assert_eq!(call.target(), Some(vip));
        assert_eq!(
            call.encode("127.0.0.1:13330"),
            post("/services/subscribe", SUBSCRIBE)
        );
        let call = read(&post("/services/publish?a=b", PUBLISH)).unwrap();
        assert_eq!(call.app(), Some("sample-server"));
        assert_eq!(call.operation().name(), "publish");
        let call = read(&post("/configs/application", r#"{"appName":"a","more":1}"#)).unwrap();
        assert_eq!((call.app(), call.service()), (Some("a"), None));
    }

    #[test]
    fn every_call_is_read_as_it_was_written() {
        let service = "a.B:1.0".to_owned();
        let withdraw = Withdraw {
            service_name: service.clone(),
            target_app_address: Some("x-pool.z.alipay.net:12200".to_owned()),
            ..Withdraw::default()
        };
        for call in [
            Call::Application(Application::default()),
            Call::Publish(Publish {
                service_name: service.clone(),
                ..Publish::default()
            }),
            Call::Subscribe(Subscribe {
                service_name: service,
                ..Subscribe::default()
            }),
            Call::Unpublish(withdraw.clone()),
            Call::Unsubscribe(withdraw),
        ] {
            let bytes = call.encode("localhost:1");
            assert_eq!(read(&bytes).unwrap(), call);
            for len in 0..bytes.len() {
                assert_ne!(begins(&bytes[..len]), Some(false), "{len}");
            }
            assert_eq!(begins(&bytes), Some(true));
        }
    }

    #[track_caller]
    fn refuse(bytes: &[u8], expect: &str) {
        let why = read(bytes).unwrap_err().to_string();
        assert!(why.contains(expect), "{why}");
    }

    #[test]
    fn what_is_no_call_is_named() {
        refuse(
            &post("/services/other", "{}"),
            "`POST /services/other` is nothing",
        );
        refuse(
            b"GET /services/publish HTTP/1.1\r\n\r\n",
            "`GET /services/publish`",
        );
        refuse(&post("/services/publish", "[1]"), "body of `publish`");
        refuse(&post("/services/publish", ""), "body of `publish`");
        refuse(
            &Answer::default().encode(),
            "an http answer with status 200",
        );
        for text in [
            "POST /services/publishers ",
            "GET /",
            "POST /services/publ?",
        ] {
            assert_eq!(begins(text.as_bytes()), Some(false), "{text}");
        }
    }
}
