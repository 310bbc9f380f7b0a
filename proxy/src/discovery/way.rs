//! The way to a service: its providers as the router and the app are told of them.

use std::fmt::Write as _;

use meshproof_wire::mesh_api::protocol_code;
use meshproof_wire::registry::Provider;
use serde_json::{Map, Value};

use super::names::Names;
use super::target::{Target, TargetHost};
use crate::routing::{Endpoint, Service};
use crate::{Bug, Bugs};

/// Where a service is provided, and what the app is to know of each place.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Way {
    pub(super) places: Vec<Place>,
    pub(super) timeout_ms: Option<u32>,
    pub(super) downgraded: bool,
}

/// One place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    pub(super) endpoint: Endpoint,
    app: String,
    serialize: String,
    version: String,
    options: Vec<(String, String)>,
}

impl Place {
    /// `None` where the provider has no address or no protocol that is known here.
    pub(super) fn of_provider(provider: &Provider) -> Option<Place> {
        let address: meshproof_wire::address::Address = provider.address.parse().ok()?;
        let speaks = |name: &str| {
            let mut protocols = provider.protocols.iter();
            protocols.any(|protocol| protocol.eq_ignore_ascii_case(name))
        };
        let endpoint = Endpoint {
            address: address.socket()?,
            bolt: speaks("bolt"),
            tr: speaks("tr"),
            zone: provider.zone.clone(),
            weight: provider.weight.max(1),
        };
        (endpoint.bolt || endpoint.tr).then(|| Place {
            endpoint,
            app: provider.app.clone(),
            serialize: text(&provider.properties, "serializeType", "hessian2"),
            version: text(&provider.properties, "version", "4.0"),
            options: Vec::new(),
        })
    }

    /// Every address of a target that is known.
    pub(super) fn of_target(target: &Target, names: &Names) -> Vec<Place> {
        let one;
        let addresses = match &target.host {
            TargetHost::Ip(ip) => {
                one = [*ip];
                one.as_slice()
            }
            TargetHost::Name(name) => names.addresses(name),
        };
        let place = |ip: &std::net::IpAddr| Place {
            endpoint: target.endpoint(*ip),
            app: target.app.clone(),
            serialize: "hessian2".to_owned(),
            version: "4.0".to_owned(),
            options: target.options.clone(),
        };
        addresses.iter().map(place).collect()
    }

    /// It speaks nothing but TR.
    pub(super) fn is_old(&self) -> bool {
        self.endpoint.tr && !self.endpoint.bolt
    }

    /// As the app reads it: `IP:PORT?p=1&_SERIALIZETYPE=hessian2&v=4.0&app_name=…&_WEIGHT=…`.
    fn data(&self, code: u8) -> String {
        let mut data = format!("{}?p={code}", self.endpoint.address);
        let mut option = |key: &str, value: &str| {
            let is_set = self.options.iter().any(|(set, _)| set == key);
            if !value.is_empty() && !is_set {
                let _ = write!(data, "&{key}={}", escaped(value));
            }
        };
        option("_SERIALIZETYPE", &self.serialize);
        option("v", &self.version);
        option("app_name", &self.app);
        option("_WEIGHT", &self.endpoint.weight.to_string());
        for (key, value) in &self.options {
            let _ = write!(data, "&{key}={value}");
        }
        data
    }
}

fn text(properties: &Map<String, Value>, key: &str, usual: &str) -> String {
    let found = properties.get(key).and_then(Value::as_str);
    found.unwrap_or(usual).to_owned()
}

/// What would end the value or the entry is percent-encoded.
fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for char in value.chars() {
        if char.is_control() || " &=?#%,;".contains(char) {
            let mut utf8 = [0; 4];
            for byte in char.encode_utf8(&mut utf8).bytes() {
                let _ = write!(escaped, "%{byte:02X}");
            }
        } else {
            escaped.push(char);
        }
    }
    escaped
}

impl Way {
    pub(super) fn new(places: Vec<Place>, timeout_ms: Option<u32>, bugs: Bugs) -> Way {
        Way {
            downgraded: places.iter().any(Place::is_old) && !bugs.has(Bug::TrBoltMixed),
            places,
            timeout_ms,
        }
    }

    pub(super) fn service(&self) -> Service {
        Service {
            endpoints: self
                .places
                .iter()
                .map(|place| place.endpoint.clone())
                .collect(),
            timeout_ms: self.timeout_ms,
            downgraded: self.downgraded,
        }
    }

    /// What the app is told. It takes protocol and options of the first entry and calls the
    /// sidecar in any case (SOFARPC 5.13.2), so every entry names the same protocol and only
    /// those that speak it are named: TR where a provider speaks nothing else or the app asked
    /// for it, else BOLT. An app that asked for BOLT is told TR all the same: its client follows
    /// `p`.
    pub(super) fn datas(&self, asks_tr: bool, bugs: Bugs) -> Vec<String> {
        let places = || self.places.iter();
        if bugs.has(Bug::TrBoltMixed) {
            return places()
                .map(|place| {
                    place.data(if place.endpoint.bolt {
                        protocol_code::BOLT
                    } else {
                        protocol_code::TR
                    })
                })
                .collect();
        }
        let by_tr = self.downgraded || asks_tr && places().any(|place| place.endpoint.tr);
        if by_tr {
            places()
                .filter(|place| place.endpoint.tr)
                .map(|place| place.data(protocol_code::TR))
                .collect()
        } else {
            places()
                .filter(|place| place.endpoint.bolt)
                .map(|place| place.data(protocol_code::BOLT))
                .collect()
        }
    }
}
