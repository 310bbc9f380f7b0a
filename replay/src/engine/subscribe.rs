//! What is said to the sidecar's application API before the first call, and what it must answer.
//!
//! An app behind a sidecar names itself, subscribes, and calls only then; a sidecar that nobody
//! asked may know no way to a service. So a replay that enters where the app would makes the
//! recorded subscriptions first. Publications change what the sidecar registers, and are made
//! only when a person says so; withdrawals are never made, for the calls come after them.

use std::net::SocketAddr;

use meshproof_record::ledger::MeshApiLedger;
use meshproof_record::verdict::{Claim, Verdict};
use meshproof_wire::Frame;
use meshproof_wire::http::Message;
use meshproof_wire::mesh_api::{Answer, Operation};

use super::plan::{Ask, Plan, Routes};
use crate::idiom::mesh_api::{self, protocol_code, protocol_name};

/// Whether recorded publications are made as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Publishing {
    /// They are left out.
    #[default]
    LeftOut,
    /// They are made: the sidecar registers the services for its own address.
    Made,
}

/// Where the application API is, and what is said to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Api {
    /// Where requests to a recorded API go.
    pub routes: Routes,
    /// Whether publications are made.
    pub publishing: Publishing,
}

impl Api {
    /// Whether a request is one that is made again.
    pub(super) fn makes(&self, request: &Frame) -> bool {
        match mesh_api::operation(request) {
            Some(Operation::Application | Operation::Subscribe) => true,
            Some(Operation::Publish) => self.publishing == Publishing::Made,
            Some(Operation::Unpublish | Operation::Unsubscribe) | None => false,
        }
    }
}

/// What came of one request to the API: its answer, or why there is none.
pub type Made = Result<Message, String>;

/// What was asked, what came of it, and whether that is as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// An index into [`Plan::items`].
    pub item: usize,
    /// Where it was sent.
    pub target: SocketAddr,
    /// What is wrong with the answer; `None` where nothing is.
    pub wrong: Option<String>,
}

/// Holds every answer against the recorded one. `made` is as long as [`Plan::asks`].
pub fn judge(plan: &Plan, made: &[Made]) -> Vec<Asked> {
    let nothing = Err("nothing was sent".to_owned());
    plan.asks
        .iter()
        .enumerate()
        .map(|(at, ask)| Asked {
            item: ask.item,
            target: ask.target,
            wrong: wrong(plan, ask, made.get(at).unwrap_or(&nothing)),
        })
        .collect()
}

/// What is wrong with an answer, in one sentence.
fn wrong(plan: &Plan, ask: &Ask, made: &Made) -> Option<String> {
    let item = plan.items.get(ask.item)?;
    let what = || {
        let method = item.call.method.as_deref().unwrap_or("request");
        match item.call.service.as_str() {
            "" => method.to_owned(),
            service => format!("{method} of {service}"),
        }
    };
    let recorded = item.exchange.response.as_ref();
    let recorded = recorded
        .and_then(|half| half.frame.as_ref())
        .and_then(mesh_api::answer);
    let answer = match made {
        Err(why) => return Some(format!("{} at {}: {why}", what(), ask.target)),
        Ok(message) => match (&message.head.start, Answer::of(message)) {
            (meshproof_wire::http::Start::Response { status: 200 }, Ok(answer)) => answer,
            (meshproof_wire::http::Start::Response { status: 200 }, Err(why)) => {
                return Some(format!("{}: the answer is no such json: {why}", what()));
            }
            (meshproof_wire::http::Start::Response { status }, _) => {
                return Some(format!("{}: status {status}, expected 200", what()));
            }
            _ => return Some(format!("{}: a request came as answer", what())),
        },
    };
    // What was refused when it was recorded may be refused again.
    let was_refused = recorded.as_ref().is_some_and(|answer| !answer.success);
    if !answer.success {
        let message = match answer.error_message.as_str() {
            "" => "no reason was given",
            message => message,
        };
        return (!was_refused).then(|| format!("{}: {message}", what()));
    }
    let first = |answer: &Answer| answer.datas.as_ref()?.first().cloned();
    let recorded = recorded.as_ref().and_then(first)?;
    let Some(observed) = first(&answer) else {
        return Some(format!(
            "{}: no address was given, recorded was {recorded}",
            what()
        ));
    };
    // The app takes the protocol of its calls from the first address alone.
    let (code, other) = (protocol_code(&recorded), protocol_code(&observed));
    (code != other).then(|| {
        format!(
            "{}: the first address says {}, recorded was {}",
            what(),
            protocol_name(other),
            protocol_name(code)
        )
    })
}

/// The claim that the sidecar took the subscriptions as they were recorded. `INVALID` where the
/// captures hold none.
pub fn claim(asked: &[Asked]) -> Claim {
    const SHOWN: usize = 3;
    let wrong: Vec<&str> = asked
        .iter()
        .filter_map(|asked| asked.wrong.as_deref())
        .collect();
    let name = "subscriptions";
    if asked.is_empty() {
        let why = "the captures hold no request to an application api that could be made";
        return Claim::new(name, Verdict::Invalid, why);
    }
    let all = asked.len();
    if wrong.is_empty() {
        let why = match all {
            1 => "1 request to the application api, answered as recorded".to_owned(),
            _ => format!("{all} requests to the application api, answered as recorded"),
        };
        return Claim::new(name, Verdict::Pass, why);
    }
    let shown: Vec<&str> = wrong.iter().take(SHOWN).copied().collect();
    let more = match wrong.len().saturating_sub(SHOWN) {
        0 => String::new(),
        n => format!("; and {n} more"),
    };
    let why = format!(
        "{} of {all} requests to the application api failed: {}{more}",
        wrong.len(),
        shown.join("; ")
    );
    Claim::new(name, Verdict::Fail, why)
}

/// The account of the application API within a replay; `None` where the captures hold none of it.
pub fn ledger(plan: &Plan, asked: &[Asked]) -> Option<MeshApiLedger> {
    let left_out = plan
        .items
        .iter()
        .filter(|item| item.fate == super::plan::Fate::Skipped(super::plan::Skip::MeshApi))
        .count() as u64;
    let failed = asked.iter().filter(|asked| asked.wrong.is_some()).count() as u64;
    let made = asked.len() as u64;
    (made + left_out > 0).then_some(MeshApiLedger {
        recorded: made + left_out,
        succeeded: made - failed,
        failed,
        left_out,
    })
}
