//! Which frames are harmed.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use meshproof_fault::choose::picks;
use meshproof_wire::{Head, Kind, Protocol};

use super::called::Called;
use super::harm::Harm;

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// From who connected: from the sidecar, on the leg from sidecar to app.
    Forth,
    /// From who was connected to.
    Back,
}

impl Direction {
    /// The word in every output.
    pub fn name(self) -> &'static str {
        match self {
            Direction::Forth => "forth",
            Direction::Back => "back",
        }
    }

    /// The other one.
    pub fn other(self) -> Direction {
        match self {
            Direction::Forth => Direction::Back,
            Direction::Back => Direction::Forth,
        }
    }
}

/// What a frame is, as rules and counts see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sort {
    /// Wants an answer.
    Request,
    /// Wants none.
    Oneway,
    /// An answer to a request.
    Response,
    /// A heartbeat, asking or answering: the direction tells which.
    Heartbeat,
    /// Asks for no further requests.
    Goaway,
    /// A whole frame of an unknown command.
    Unknown,
}

impl Sort {
    /// The sort of a frame.
    pub fn of(kind: Kind) -> Sort {
        match kind {
            Kind::Request => Sort::Request,
            Kind::Oneway => Sort::Oneway,
            Kind::Response => Sort::Response,
            Kind::Heartbeat | Kind::HeartbeatAck => Sort::Heartbeat,
            Kind::Goaway => Sort::Goaway,
            Kind::Unknown => Sort::Unknown,
        }
    }

    /// The word in every output.
    pub fn name(self) -> &'static str {
        match self {
            Sort::Request => "request",
            Sort::Oneway => "oneway",
            Sort::Response => "response",
            Sort::Heartbeat => "heartbeat",
            Sort::Goaway => "goaway",
            Sort::Unknown => "unknown",
        }
    }
}

/// So many of a hundred frames, by a hash of seed, connection, direction and number of the frame
/// among those of its direction of its connection that fit the rule: the same ones on every run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// Above 0, up to 100.
    pub percent: f64,
    /// The seed.
    pub seed: u64,
}

/// What is done to which frames.
///
/// ```
/// use meshproof_harness::relay::{Direction, Harm, Rule, Sort};
///
/// // The app's answers to heartbeats, from the third on.
/// let rule = Rule {
///     sorts: vec![Sort::Heartbeat],
///     direction: Some(Direction::Back),
///     first: 3,
///     ..Rule::new(Harm::Drop)
/// };
/// assert_eq!(rule.to_string(), "drop heartbeat back from 3");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// What is done.
    pub harm: Harm,
    /// To frames of these protocols; none: of all.
    pub protocols: Vec<Protocol>,
    /// Of these sorts; none: of all.
    pub sorts: Vec<Sort>,
    /// That go this way; none: both.
    pub direction: Option<Direction>,
    /// Of calls of this service, in short or in full, requests and answers; none: of all.
    pub service: Option<String>,
    /// Of calls of this method; none: of all.
    pub method: Option<String>,
    /// On the so-manieth connection that the relay has carried, counted from 1; none: on all.
    pub connection: Option<u64>,
    /// On connections that were opened from this port; none: from any.
    pub source_port: Option<u16>,
    /// On connections that were opened from within all of these networks; none: from anywhere.
    pub peers: Vec<IpNet>,
    /// From the so-manieth on that fits the above, counted from 1 over all these connections.
    pub first: u64,
    /// To this one, which is still harmed; none: all that follow.
    pub last: Option<u64>,
    /// Of these, a share; none: all.
    pub share: Option<Share>,
}

/// Whose connection a frame comes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Who {
    /// Counted from 1.
    pub(super) connection: u64,
    /// Who opened it; none where that is not known.
    pub(super) opener: Option<SocketAddr>,
}

impl Rule {
    /// This, to every frame.
    pub fn new(harm: Harm) -> Rule {
        Rule {
            harm,
            protocols: Vec::new(),
            sorts: Vec::new(),
            direction: None,
            service: None,
            method: None,
            connection: None,
            source_port: None,
            peers: Vec::new(),
            first: 1,
            last: None,
            share: None,
        }
    }

    pub(super) fn fits(
        &self,
        who: &Who,
        direction: Direction,
        head: &Head,
        called: Option<&Called>,
    ) -> bool {
        let service = self.service.as_deref();
        let method = self.method.as_deref();
        self.goes(direction)
            && self.is_on(who)
            && (self.protocols.is_empty() || self.protocols.contains(&head.protocol))
            && (self.sorts.is_empty() || self.sorts.contains(&Sort::of(head.kind)))
            && service.is_none_or(|it| called.is_some_and(|called| called.is_of_service(it)))
            && method.is_none_or(|it| called.is_some_and(|called| called.is_of_method(it)))
    }

    pub(super) fn goes(&self, direction: Direction) -> bool {
        self.direction.is_none_or(|wanted| wanted == direction)
    }

    /// Whether a request must be read before one knows whether its answer is meant.
    pub(super) fn names_calls(&self) -> bool {
        self.service.is_some() || self.method.is_some()
    }

    pub(super) fn is_on(&self, who: &Who) -> bool {
        let ip = |opener: SocketAddr| -> IpAddr { opener.ip().to_canonical() };
        let from = |net: &IpNet| who.opener.is_some_and(|it| net.contains(&ip(it)));
        self.connection.is_none_or(|it| it == who.connection)
            && self
                .source_port
                .is_none_or(|port| who.opener.is_some_and(|it| it.port() == port))
            && self.peers.iter().all(from)
    }

    /// Whether it is the turn of a frame that fits: `number` counts over all connections, `index`
    /// over the frames of its direction of its connection.
    pub(super) fn counts(&self, who: &Who, direction: Direction, number: u64, index: u64) -> bool {
        let within = number >= self.first && self.last.is_none_or(|last| number <= last);
        within
            && self.share.is_none_or(|share| {
                let lane = format!("{} {}", who.connection, direction.name());
                picks(share.percent, share.seed, &lane, index)
            })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.harm.fmt(f)?;
        for protocol in &self.protocols {
            write!(f, " {protocol}")?;
        }
        for sort in &self.sorts {
            write!(f, " {}", sort.name())?;
        }
        for called in [&self.service, &self.method].into_iter().flatten() {
            write!(f, " of {called}")?;
        }
        if let Some(direction) = self.direction {
            write!(f, " {}", direction.name())?;
        }
        if let Some(connection) = self.connection {
            write!(f, " on connection {connection}")?;
        }
        if let Some(port) = self.source_port {
            write!(f, " opened from port {port}")?;
        }
        for net in &self.peers {
            write!(f, " opened from {net}")?;
        }
        match (self.first, self.last) {
            (0 | 1, None) => {}
            (first, None) => write!(f, " from {first}")?,
            (first, Some(last)) => write!(f, " {first} to {last}")?,
        }
        match self.share {
            Some(Share { percent, seed }) => write!(f, ", {percent} % by seed {seed}"),
            None => Ok(()),
        }
    }
}
