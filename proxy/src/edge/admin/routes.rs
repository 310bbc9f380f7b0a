//! The routing table as JSON.

use serde_json::{Value, json};

use crate::routing::{Endpoint, Service, Table};

/// Services in the order of their names.
pub(super) fn show(table: &Table) -> Value {
    let mut names: Vec<&String> = table.services.keys().collect();
    names.sort();
    let services: serde_json::Map<String, Value> = names
        .into_iter()
        .filter_map(|name| Some((name.clone(), service(table.services.get(name)?))))
        .collect();
    let rules: Vec<Value> = table
        .rules
        .iter()
        .map(|rule| {
            json!({
                "service": rule.service,
                "class": rule.class,
                "target": service(&rule.target),
            })
        })
        .collect();
    json!({
        "generation": table.generation,
        "rules": rules,
        "services": services,
    })
}

fn service(service: &Service) -> Value {
    let endpoints: Vec<Value> = service.endpoints.iter().map(endpoint).collect();
    json!({
        "endpoints": endpoints,
        "timeout_ms": service.timeout_ms,
        "downgraded": service.downgraded,
    })
}

fn endpoint(endpoint: &Endpoint) -> Value {
    let speaks = [(endpoint.bolt, "bolt"), (endpoint.tr, "tr")];
    let protocols: Vec<&str> = speaks
        .into_iter()
        .filter_map(|(does, name)| does.then_some(name))
        .collect();
    json!({
        "address": endpoint.address,
        "protocols": protocols,
        "zone": endpoint.zone,
        "weight": endpoint.weight,
    })
}
