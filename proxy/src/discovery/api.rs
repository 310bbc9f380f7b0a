//! Calls of the application API: what they ask, and what is wrong with them.

use meshproof_wire::mesh_api::{Application, Operation, Publish, Subscribe, Withdraw};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Target;
use crate::Bugs;
use crate::config::Speaks;

/// Longest service key, in bytes.
const SERVICE_BYTES_MAX: usize = 512;

/// A call that makes sense.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Call {
    Application(Application),
    Publish(Publish, Speaks),
    Subscribe(Subscribe, Option<Target>),
    Unpublish(Withdraw, Option<Speaks>),
    Unsubscribe(Withdraw),
}

/// Reads the body of a call. The error is for the app.
pub(super) fn read(operation: Operation, body: &[u8], bugs: Bugs) -> Result<Call, String> {
    Ok(match operation {
        Operation::Application => Call::Application(json(operation, body)?),
        Operation::Publish => {
            let publish: Publish = json(operation, body)?;
            check_service(&publish.service_name)?;
            let written = match publish.protocol_type.as_str() {
                "" => publish
                    .provider_meta_info
                    .protocol
                    .as_deref()
                    .unwrap_or("bolt"),
                written => written,
            };
            let speaks = protocol(written)?;
            Call::Publish(publish, speaks)
        }
        Operation::Subscribe => {
            let subscribe: Subscribe = json(operation, body)?;
            check_service(&subscribe.service_name)?;
            if !subscribe.protocol_type.is_empty() {
                protocol(&subscribe.protocol_type)?;
            }
            let target = match subscribe.target_app_address.as_deref().map(str::trim) {
                None | Some("") if subscribe.vip_only => {
                    return Err(
                        "`vipOnly` asks for a VIP and `targetAppAddress` names none: expected \
                         APP-pool.ZONE.alipay.net:12200 there, or `vipOnly` to be false"
                            .to_owned(),
                    );
                }
                None | Some("") => None,
                Some(text) => Some(
                    Target::parse(text, bugs).map_err(|bad| format!("targetAppAddress: {bad}"))?,
                ),
            };
            Call::Subscribe(subscribe, target)
        }
        Operation::Unpublish => {
            let withdraw: Withdraw = json(operation, body)?;
            check_service(&withdraw.service_name)?;
            let speaks = withdraw
                .protocol_type
                .as_deref()
                .filter(|written| !written.is_empty())
                .map(protocol)
                .transpose()?;
            Call::Unpublish(withdraw, speaks)
        }
        Operation::Unsubscribe => {
            let withdraw: Withdraw = json(operation, body)?;
            check_service(&withdraw.service_name)?;
            Call::Unsubscribe(withdraw)
        }
    })
}

fn json<T: DeserializeOwned>(operation: Operation, body: &[u8]) -> Result<T, String> {
    let wrong = |error: serde_json::Error| {
        format!(
            "the body of `{}` is not what it should be: {error}; expected a JSON object such as \
             {{\"serviceName\":\"com.example.Service:1.0\",\"protocolType\":\"bolt\"}}",
            operation.path()
        )
    };
    let mut value: Value = serde_json::from_slice(body).map_err(wrong)?;
    without_nulls(&mut value);
    serde_json::from_value(value).map_err(wrong)
}

/// SOFARPC writes `null` for whatever is not set: that is as good as nothing.
fn without_nulls(value: &mut Value) {
    if let Value::Object(members) = value {
        members.retain(|_, member| !member.is_null());
        members.values_mut().for_each(without_nulls);
    }
}

fn check_service(service: &str) -> Result<(), String> {
    let is_clean = !service.contains(|char: char| char.is_whitespace() || char.is_control());
    if !service.is_empty() && service.len() <= SERVICE_BYTES_MAX && is_clean {
        return Ok(());
    }
    let front: String = service.chars().take(100).collect();
    Err(format!(
        "`serviceName` is `{}`, expected `interface:version` of 1 to {SERVICE_BYTES_MAX} bytes \
         without spaces",
        front.escape_debug()
    ))
}

fn protocol(written: &str) -> Result<Speaks, String> {
    if written.eq_ignore_ascii_case("bolt") {
        Ok(Speaks::Bolt)
    } else if written.eq_ignore_ascii_case("tr") {
        Ok(Speaks::Tr)
    } else {
        let front: String = written.chars().take(100).collect();
        Err(format!(
            "protocol `{}` is not served here, expected `bolt` or `tr`",
            front.escape_debug()
        ))
    }
}
