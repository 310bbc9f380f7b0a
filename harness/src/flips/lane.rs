//! One sidecar between a client and an app that are played here.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use meshproof_wire::bolt::Head;
use meshproof_wire::{Frame, Kind, Protocol};

use super::app::App;
use super::case::{Did, Met, Outcome, Place, Speech, Then, Way};
use super::stream::{self, Ledger};
use super::talk::{CLASS, Heard, Talk, Tongue};
use crate::Error;
use crate::environment::{Command, Dialer, Environment, Ready};
use crate::process::Process;

/// After so much silence a good call is made on another connection. Both share the connection to
/// the app, on which answers come in order: what was going to be said is said when it is answered.
const SILENCE: Duration = Duration::from_millis(20);

/// So many good calls are waited for, each after a silence, before silence is an outcome.
const WITNESSES: u32 = 3;

/// Everything has its end within this, or it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a call of whose answer is damaged may take.
const DEADLINE_MS: i32 = 120;

/// What every other call may take.
const LONG_MS: i32 = 10_000;

/// Ids of damaged frames, and of good ones.
const ID: u32 = 0x0101_0203;
const BEHIND: u32 = 0x0707_0707;

const CONNECT: Duration = Duration::from_secs(5);

pub(super) struct Lane {
    sidecar: Process,
    inbound: SocketAddr,
    dial: Dialer,
    app: App,
    cases: u64,
}

impl Lane {
    pub(super) fn start(
        environment: &dyn Environment,
        pod: &str,
        folder: &Path,
    ) -> Result<Lane, Error> {
        let local = environment.local(pod)?;
        let listener = environment.listen(pod, (local, 0).into())?;
        let app = App::start(listener, environment.dialer(pod)?)?;
        let run = folder.join(pod);
        let yaml = format!(
            "name: {pod}\naddress: {local}\nrun: {}\napi: '{local}:0'\nadmin: '{local}:0'\n\
             inbound: {{listen: '{local}:0', app: '{}'}}\noutbound: {{listen: '{local}:0'}}\n",
            run.display(),
            app.at()
        );
        let file = environment.place(&format!("{pod}/sidecar.yaml"), &yaml)?;
        let arguments = ["proxy", "--config", &file.to_string_lossy()].map(str::to_owned);
        let command = Command::own("the sidecar", arguments);
        let sidecar = environment.start(pod, command.ready(Ready::Line("READY".into())))?;
        let (ready, _) = sidecar.line(0, PATIENCE, |line| line.text.starts_with("READY"))?;
        let inbound = ready
            .text
            .split(' ')
            .find_map(|word| word.strip_prefix("inbound=")?.parse().ok());
        let inbound = inbound
            .ok_or_else(|| Error::Refused(format!("the sidecar named no port: {}", ready.text)))?;
        Ok(Lane {
            sidecar,
            inbound,
            dial: environment.dialer(pod)?,
            app,
            cases: 0,
        })
    }

    /// Whether the sidecar runs.
    pub(super) fn lives(&self) -> bool {
        self.sidecar.exit().is_none()
    }

    fn connect(&self) -> Result<Talk, Error> {
        let stream = (self.dial)(self.inbound, CONNECT)?;
        Talk::new(stream).map_err(Error::io("a connection to the sidecar"))
    }

    /// Takes cases until there are none, with good calls beside them.
    pub(super) fn phase(
        &mut self,
        speech: Speech,
        way: Way,
        take: impl Fn() -> Option<(Place, u8)>,
    ) -> Result<(Vec<Met>, Ledger), Error> {
        let tongue = Tongue::Bolt(speech.version());
        let beside = [
            Tongue::Bolt(Speech::V1.version()),
            Tongue::Bolt(Speech::V2Crc.version()),
            Tongue::Tr,
        ];
        // Who speaks the same shares the connection to the app, on which answers are damaged.
        let beside: Vec<Tongue> = beside
            .into_iter()
            .filter(|it| way == Way::Request || it.protocol() != tongue.protocol())
            .collect();
        let mut cases = self.cases;
        let this = &*self;
        let (met, good) = std::thread::scope(|scope| {
            let mut holds = Vec::new();
            let mut streams = Vec::new();
            for tongue in beside {
                let (hold, over) = mpsc::channel();
                holds.push(hold);
                streams.push(scope.spawn(move || stream::run(tongue, &|| this.connect(), &over)));
            }
            let mut other = Other::default();
            let mut met = Vec::new();
            while let Some((place, mask)) = take() {
                cases += 1;
                if !this.lives() {
                    break;
                }
                let outcome = match way {
                    Way::Request => this.request(cases, tongue, place, mask, &mut other),
                    Way::Answer => this.answer(cases, tongue, place, mask, &mut other),
                };
                let outcome = outcome.unwrap_or(Outcome {
                    did: Did::Hung,
                    then: Then::Closed,
                });
                met.push(Met {
                    place,
                    mask,
                    outcome,
                });
            }
            drop(holds);
            let mut good = Ledger::default();
            for stream in streams {
                if let Ok(ledger) = stream.join() {
                    good.add(&ledger);
                }
            }
            (met, good)
        });
        self.cases = cases;
        self.app.forget();
        Ok((met, good))
    }

    /// A request with a damaged header, and a good one right behind it on the same connection.
    fn request(
        &self,
        case: u64,
        tongue: Tongue,
        place: Place,
        mask: u8,
        other: &mut Other,
    ) -> Result<Outcome, Error> {
        let content = format!("case {case} plain");
        let behind = "good behind";
        let mut said = tongue.request(ID, &content, LONG_MS).to_vec();
        if let Some(byte) = said.get_mut(place.byte) {
            *byte ^= mask;
        }
        let id = match Head::parse(&said) {
            meshproof_wire::bolt::Step::Head(head) => u64::from(head.id),
            _ => u64::from(ID),
        };
        said.extend_from_slice(&tongue.request(BEHIND, behind, LONG_MS));
        let garbled = self.app.garbled();
        let mut talk = self.connect()?;
        talk.say(&said);
        let mut first = None;
        let mut then = None;
        let mut witnesses = 0;
        while first.is_none() || then.is_none() {
            match talk.hear(SILENCE) {
                Heard::Frame(frame) => match frame.head.id.0 {
                    it if it == u64::from(BEHIND) => {
                        let good = frame.content() == behind.as_bytes();
                        then = Some(match (good, frame.head.status) {
                            (true, Some(0)) => Then::GoesOn,
                            _ => Then::Lost,
                        });
                    }
                    it => first = Some(judge(&frame, it == id, &said)),
                },
                Heard::Closed => break,
                Heard::Damaged => {
                    return Ok(Outcome {
                        did: Did::Wrong,
                        then: Then::Lost,
                    });
                }
                Heard::Nothing if witnesses == WITNESSES => break,
                Heard::Nothing => {
                    witnesses += 1;
                    let mut talk = match other.0.take() {
                        Some(talk) => talk,
                        None => self.connect()?,
                    };
                    if self.good(&mut talk, tongue, LONG_MS) == Then::GoesOn {
                        other.0 = Some(talk);
                    }
                }
            }
        }
        let closed = talk.is_closed();
        if !closed && !talk.ends_within(PATIENCE) {
            return Ok(Outcome {
                did: Did::Hung,
                then: Then::Lost,
            });
        }
        let went_on = self.app.got(case) || self.app.garbled() != garbled;
        let did = match first {
            Some(did) => did,
            None if went_on => Did::Oneway,
            None if closed => Did::Closed,
            None if then.is_some() => Did::Ignored,
            None => Did::Waited,
        };
        let then = then.unwrap_or(match closed {
            true => Then::Closed,
            false => Then::Lost,
        });
        Ok(Outcome { did, then })
    }

    /// A good request whose answer the app damages, and a good one after it.
    fn answer(
        &self,
        case: u64,
        tongue: Tongue,
        place: Place,
        mask: u8,
        other: &mut Other,
    ) -> Result<Outcome, Error> {
        let mut talk = match other.0.take() {
            Some(talk) => talk,
            None => self.recover(tongue)?,
        };
        let content = format!("case {case} flip {} {mask}", place.byte);
        // With other lengths the class may end as content, and the reverse.
        let echoed = [CLASS, content.as_bytes()].concat();
        talk.say(&tongue.request(ID, &content, DEADLINE_MS));
        // The status that is on its way, where that is what is damaged.
        let status = match place.field() {
            "status" => {
                let behind = rows_behind(place);
                Some(u16::from(mask) << (8 * behind))
            }
            _ => Some(0),
        };
        let did = match talk.hear(PATIENCE) {
            Heard::Nothing => Did::Hung,
            Heard::Closed => Did::Closed,
            Heard::Damaged => Did::Wrong,
            Heard::Frame(frame) if frame.head.id.0 != u64::from(ID) => Did::Wrong,
            Heard::Frame(frame) if frame.head.kind == Kind::HeartbeatAck => Did::Heartbeat,
            Heard::Frame(frame) => {
                let whole = frame.content() == content.as_bytes();
                match frame.head.status {
                    it if it == status && whole => Did::PassedOn,
                    Some(0) if is_part(&frame, &echoed) => Did::PassedOn,
                    Some(0) | None => Did::Wrong,
                    Some(status) => Did::Status(status),
                }
            }
        };
        let then = match did {
            Did::Hung | Did::Closed | Did::Wrong => Then::Closed,
            _ => self.good(&mut talk, tongue, DEADLINE_MS),
        };
        other.0 = match then {
            Then::GoesOn => Some(talk),
            // What waits for the rest of a frame is not to wait for those of the next cases.
            Then::Closed | Then::Lost => Some(self.recover(tongue)?),
        };
        Ok(Outcome { did, then })
    }

    /// A good call.
    fn good(&self, talk: &mut Talk, tongue: Tongue, timeout_ms: i32) -> Then {
        let content = "good after";
        talk.say(&tongue.request(BEHIND, content, timeout_ms));
        loop {
            match talk.hear(PATIENCE) {
                Heard::Frame(frame) if frame.head.id.0 == u64::from(BEHIND) => {
                    let right =
                        frame.head.status == Some(0) && frame.content() == content.as_bytes();
                    return match right {
                        true => Then::GoesOn,
                        false => Then::Lost,
                    };
                }
                // A late answer to the one before.
                Heard::Frame(_) => {}
                Heard::Closed | Heard::Nothing | Heard::Damaged => return Then::Closed,
            }
        }
    }

    /// The app closes the connections that are in doubt; good calls must then come through again.
    /// The connection on which one did.
    fn recover(&self, tongue: Tongue) -> Result<Talk, Error> {
        let protocol: Protocol = tongue.protocol();
        self.app.close(protocol);
        const TRIES: usize = 50;
        for _ in 0..TRIES {
            let mut talk = self.connect()?;
            if self.good(&mut talk, tongue, LONG_MS) == Then::GoesOn {
                return Ok(talk);
            }
        }
        Err(Error::Refused(format!(
            "none of {TRIES} good calls came through any more"
        )))
    }
}

/// A connection on which nothing is damaged that is sent: for good calls beside damaged requests,
/// and for calls whose answers are damaged.
#[derive(Default)]
struct Other(Option<Talk>);

/// Bytes of the status behind this one.
fn rows_behind(place: Place) -> u32 {
    let next = Place {
        byte: place.byte + 1,
        ..place
    };
    u32::from(next.field() == "status")
}

/// Whether a content is a part of what was said, of which another length was given.
fn is_part(frame: &Frame, said: &[u8]) -> bool {
    let content = frame.content();
    content.is_empty() || said.windows(content.len()).any(|part| part == content)
}

/// The answer to a damaged request.
fn judge(frame: &Frame, is_its_id: bool, said: &[u8]) -> Did {
    match (frame.head.kind, frame.head.status) {
        _ if !is_its_id => Did::Wrong,
        (Kind::HeartbeatAck, _) => Did::Heartbeat,
        (_, Some(0)) if is_part(frame, said) => Did::PassedOn,
        (_, Some(0) | None) => Did::Wrong,
        (_, Some(status)) => Did::Status(status),
    }
}
