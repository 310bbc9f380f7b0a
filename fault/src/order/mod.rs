//! Faults of the config center and of the VIP names: they are told to, by the port at which they
//! take orders.
//!
//! What they are told holds as long as the connection stands over which it was said, so it ends
//! with its keeper, however that ends. Each tells what met it.

mod http;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::spec::{Kind, Outside};
use crate::{
    Backend, Count, Error, Evidence, Hold, Leftover, Plan, Refusal, Residue, RuleText, Scene, Spec,
    Way,
};

/// The port at which a config center of an environment takes orders.
pub const CENTER_CONTROL: u16 = 9601;

/// The port at which the VIP names of an environment take orders.
pub const NAMES_CONTROL: u16 = 9654;

/// Orders to one of the two.
#[derive(Clone, Copy, Debug)]
pub struct Order(Outside);

impl Order {
    /// To the config center.
    pub const CENTER: Order = Order(Outside::ConfigCenter);

    /// To the VIP names.
    pub const NAMES: Order = Order(Outside::Vip);

    /// Where it takes orders: as the scene says, or who listens at the usual port in this network.
    fn place(self, scene: &Scene) -> Result<SocketAddr, Refusal> {
        if let Some(control) = scene.control {
            return Ok(control);
        }
        let port = match self.0 {
            Outside::ConfigCenter => CENTER_CONTROL,
            Outside::Vip => NAMES_CONTROL,
        };
        let lacking = |why: String| Refusal::Missing {
            missing: format!("somebody who takes orders for {}: {why}", self.0.told()),
            advice: format!(
                "name the pod of an environment that stands: --pod {}",
                self.0.pod()
            ),
        };
        let listeners =
            crate::flows::listeners(port).map_err(|error| lacking(error.to_string()))?;
        match listeners.as_slice() {
            [one] => Ok(*one),
            [] => Err(lacking(format!(
                "nobody listens at port {port} of this network"
            ))),
            many => Err(lacking(format!(
                "{} listen at port {port} of this network",
                many.len()
            ))),
        }
    }
}

impl Backend for Order {
    fn way(&self) -> Way {
        match self.0 {
            Outside::ConfigCenter => Way::CenterOrder,
            Outside::Vip => Way::NamesOrder,
        }
    }

    fn preflight(&self, spec: &Spec, scene: &Scene) -> Result<Plan, Refusal> {
        let told = self.0.told();
        if spec.of.is_none_or(|of| of.value != self.0) {
            return Err(Refusal::Inexact(format!(
                "an order to {told} does no fault of {}",
                spec.subject()
            )));
        }
        let body = body(self.0, spec)?;
        let at = self.place(scene)?;
        let held = http::get(at, "/v1/held").map_err(|error| Refusal::Missing {
            missing: format!("the port at which {told} takes orders, {at}: {error}"),
            advice: "see whether it runs: `meshproof env ls`".to_owned(),
        })?;
        let held: Vec<Held> = serde_json::from_str(&held).unwrap_or_default();
        let mut plan = Plan::bare(self.way(), spec, scene);
        plan.rules = vec![RuleText {
            exact: format!("POST http://{at}/v1/hold {body}"),
            iptables: None,
        }];
        plan.also_hit = vec![format!("everybody who asks {told}")];
        if !held.is_empty() {
            plan.doubts = vec![format!(
                "{} faults are held there already; what they change is not met by this one",
                held.len()
            )];
        }
        plan.memory = json!({ "at": at.to_string(), "body": body });
        Ok(plan)
    }

    fn apply(&self, plan: &Plan, _: &Scene) -> Result<Box<dyn Hold>, Error> {
        let foreign = || Error::Refused("a plan that is not of this way".to_owned());
        let text = |key: &str| plan.memory.get(key).and_then(Value::as_str);
        let at: SocketAddr = text("at")
            .and_then(|at| at.parse().ok())
            .ok_or_else(foreign)?;
        let body = plan.memory.get("body").ok_or_else(foreign)?;
        let told = self.0.told();
        let what = format!("the order to {told} at {at}");
        let (line, answer) = http::hold(at, "/v1/hold", &body.to_string())
            .map_err(|error| Error::io(what)(error))?;
        let held: Number = serde_json::from_str(&answer)
            .map_err(|error| Error::Refused(format!("{told} answered `{answer}`: {error}")))?;
        Ok(Box::new(InForce {
            of: self.0,
            at,
            number: held.held,
            line: Some(line),
            met: BTreeMap::new(),
        }))
    }
}

/// What is said, as JSON.
fn body(of: Outside, spec: &Spec) -> Result<Value, Refusal> {
    let mut addresses: Vec<String> = Vec::new();
    for address in &spec.addresses {
        let text = address.as_str();
        let good = match of {
            Outside::ConfigCenter => {
                text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok()
            }
            Outside::Vip => text.parse::<IpAddr>().is_ok(),
        };
        if !good {
            return Err(Refusal::Inexact(format!(
                "`{text}` is no address; pods are known by name in stories alone"
            )));
        }
        addresses.push(text.to_owned());
    }
    let mut body = serde_json::Map::new();
    let mut say = |key: &str, value: Value| drop(body.insert(key.to_owned(), value));
    say("kind", spec.kind.value.word().into());
    if let Some(by) = spec.by {
        say("by_ms", by.value.0.into());
    }
    if !addresses.is_empty() {
        say("addresses", addresses.into());
    }
    if let Some(service) = &spec.service {
        say("services", json!([service.value]));
    }
    if let Some(name) = &spec.name {
        say("names", json!([name.value]));
    }
    if let (Some(seed), Kind::Reorder) = (spec.seed, spec.kind.value) {
        say("seed", seed.value.into());
    }
    Ok(Value::Object(body))
}

#[derive(Debug, Deserialize)]
struct Number {
    held: u64,
}

/// One that is told of by who holds it; what it is, is not of interest here.
#[derive(Debug, Deserialize)]
struct Held {
    held: u64,
    met: BTreeMap<String, u64>,
}

/// In force.
struct InForce {
    of: Outside,
    at: SocketAddr,
    number: u64,
    line: Option<TcpStream>,
    /// What was met when it was last asked.
    met: BTreeMap<String, u64>,
}

impl InForce {
    /// What is held there now, by number.
    fn all(&self) -> io::Result<Vec<Held>> {
        Ok(serde_json::from_str(&http::get(self.at, "/v1/held")?)?)
    }
}

impl Hold for InForce {
    fn evidence(&mut self) -> Result<Evidence, Error> {
        let told = self.of.told();
        let mut reasons = Vec::new();
        match self.all() {
            Ok(all) => match all.into_iter().find(|held| held.held == self.number) {
                Some(held) => self.met = held.met,
                None if self.line.is_some() => {
                    reasons.push(format!("{told} has let go of it: it was started again"));
                }
                None => {}
            },
            Err(error) => reasons.push(format!("{told} does not take orders any more: {error}")),
        }
        let mut counts: Vec<Count> = self
            .met
            .iter()
            .map(|(what, met)| Count {
                what: format!("{what} of {told}"),
                met: *met,
            })
            .collect();
        if counts.is_empty() {
            counts.push(Count {
                what: format!("answers of {told}"),
                met: 0,
            });
        }
        if counts.iter().all(|count| count.met == 0) {
            reasons.push(format!("nobody asked {told}, or was told otherwise by it"));
        }
        Ok(Evidence {
            counts,
            reasons,
            ..Evidence::default()
        })
    }

    fn heal(&mut self) -> Result<Residue, Error> {
        let told = self.of.told();
        if let Some(line) = self.line.take() {
            // One that is gone, or has let go of it, has nothing to release.
            let body = json!({ "held": self.number }).to_string();
            let _ = http::post(self.at, "/v1/release", &body);
            drop(line);
        }
        let mut residue = Residue::default();
        match self.all() {
            Ok(all) => {
                let left = all.iter().filter(|held| held.held == self.number);
                residue.left.extend(left.map(|held| Leftover {
                    kind: "order".to_owned(),
                    what: format!("fault {} at {told}", held.held),
                    whose: "meshproof".to_owned(),
                    advice: "it ends with the environment".to_owned(),
                }));
                residue
                    .looked_at
                    .push(format!("{} faults that {told} holds", all.len()));
            }
            Err(error) => residue.looked_at.push(format!(
                "the connection that held it, which is closed ({told}: {error})"
            )),
        }
        Ok(residue)
    }
}
