//! A stub makes itself known: to the sidecar of its pod, or to the config center.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use meshproof_sys::clock::Nanos;
use meshproof_wire::http::{self, Start};
use meshproof_wire::mesh_api::{Answer, Application, Call, ProviderMeta, Publish};
use meshproof_wire::registry::{Provider, Register};
use serde_json::Map;

use crate::engine::api::ask;
use crate::engine::run::{Dial, Direct};

/// How long a provider stands at the config center without a renewal: the config center's longest
/// lease, a day. A stub lives as long as its mesh.
const LEASE_MS: u64 = 86_400_000;
/// How long whoever is told may take to be there.
const PATIENCE_MS: u64 = 30_000;
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(1);
/// One attempt to connect.
const CONNECT: Duration = Duration::from_secs(3);

/// What a stub provides: services, and `bolt`, `tr` or both of each.
pub type Services = BTreeMap<String, BTreeSet<&'static str>>;

/// To whom a stub makes itself known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// To the sidecar of its pod, at the application API.
    Sidecar(SocketAddr),
    /// To the config center, as a server without a sidecar does.
    ConfigCenter {
        /// Where it is.
        center: SocketAddr,
        /// What others call.
        advertise: SocketAddr,
        /// The zone that the pod stands in.
        zone: String,
    },
}

/// Makes `services` of `app` known; waits until whoever is told is there, and has said yes.
///
/// # Errors
/// Who was told, and what was said, in one sentence.
pub fn make(to: &To, app: &str, services: &Services) -> Result<(), String> {
    match to {
        To::Sidecar(api) => {
            let application = Call::Application(Application {
                app_name: Some(app.to_owned()),
            });
            said(*api, &application)?;
            for (service, protocols) in services {
                for protocol in protocols {
                    said(*api, &publish(app, service, protocol))?;
                }
            }
            Ok(())
        }
        To::ConfigCenter {
            center,
            advertise,
            zone,
        } => {
            let provider = |(service, protocols): (&String, &BTreeSet<&'static str>)| Provider {
                service: service.clone(),
                address: advertise.to_string(),
                protocols: protocols.iter().map(|it| (*it).to_owned()).collect(),
                app: app.to_owned(),
                zone: zone.clone(),
                weight: 100,
                properties: Map::new(),
            };
            let register = Register {
                session: format!("stub-{advertise}"),
                lease_ms: LEASE_MS,
                providers: services.iter().map(provider).collect(),
            };
            let body = serde_json::to_vec(&register).map_err(|error| error.to_string())?;
            let host = center.to_string();
            let request = http::request("POST", "/v1/register", &host, "text/plain", &body);
            let (status, body) = exchange(*center, &request)?;
            match status {
                200 => Ok(()),
                _ => {
                    let said = String::from_utf8_lossy(&body).trim().to_owned();
                    Err(format!(
                        "the config center at {center}: status {status}: {said}"
                    ))
                }
            }
        }
    }
}

fn publish(app: &str, service: &str, protocol: &str) -> Call {
    Call::Publish(Publish {
        service_name: service.to_owned(),
        protocol_type: protocol.to_owned(),
        provider_meta_info: ProviderMeta {
            protocol: Some(protocol.to_owned()),
            version: Some("4.0".to_owned()),
            serialize_type: Some("hessian2".to_owned()),
            app_name: Some(app.to_owned()),
            properties: Map::new(),
        },
        ..Publish::default()
    })
}

fn said(api: SocketAddr, call: &Call) -> Result<(), String> {
    let what = || format!("{} at {api}", call.operation().name());
    let (status, body) = exchange(api, &call.encode(&api.to_string()))?;
    let answer: Answer = serde_json::from_slice(&body).map_err(|_| {
        format!(
            "{}: status {status}, and no json of the application api",
            what()
        )
    })?;
    match answer.success {
        true => Ok(()),
        false => Err(format!("{}: {}", what(), answer.error_message)),
    }
}

fn exchange(to: SocketAddr, request: &[u8]) -> Result<(u16, Vec<u8>), String> {
    let end = Nanos::now().plus_ns(PATIENCE_MS * 1_000_000);
    let stream = loop {
        match Direct.connect(to, CONNECT) {
            Ok(stream) => break stream,
            Err(error) if Nanos::now() > end => return Err(format!("{to}: {error}")),
            Err(_) => std::thread::park_timeout(PAUSE),
        }
    };
    let message = ask(stream, request).map_err(|why| format!("{to}: {why}"))?;
    match message.head.start {
        Start::Response { status } => Ok((status, message.body.to_vec())),
        Start::Request { .. } => Err(format!("{to}: a request came as answer")),
    }
}
