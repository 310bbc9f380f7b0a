//! What contradicts itself in a fault, with the place where it stands.

use meshproof_input::{Problem, Span};

use super::{CONNECTIONS_MAX, FOR_MS_MAX, Kind, Only, Spec, Subject, hex};

/// Longest id, in bytes: names of chains and tables are made of it.
const ID_BYTES_MAX: usize = 64;

impl Spec {
    /// Finds what contradicts itself; `text` is what it was read from, `name` its name.
    pub fn check(&self, name: &str, text: &str) -> Result<(), Problem> {
        let problem = |span: Span, code: &'static str, message: String, help: &str| {
            Err(Problem::at(name, text, span, code, message, help))
        };
        let kind = self.kind.value;
        if let Some(id) = &self.id {
            let word = |c: char| c.is_ascii_alphanumeric() || c == '-';
            if id.is_empty() || id.len() > ID_BYTES_MAX || !id.chars().all(word) {
                return problem(
                    id.span,
                    "fault::id",
                    format!("`{id}` is no id of a fault"),
                    "write 1 to 64 letters, digits and hyphens",
                );
            }
        }
        self.check_outside(name, text)?;
        let subject = self.subject();
        if let Some((span, key)) = self.of_frames()
            && subject != Subject::Frames
            && !(key == "service" && subject == Subject::ConfigCenter)
        {
            return problem(
                span,
                "fault::not_frames",
                format!("`{key}` is said of frames, and {kind} happens to {subject}"),
                "leave it out, or name a kind that frames know: drop, delay, duplicate, truncate",
            );
        }
        if let Some(only) = self.only
            && subject != Subject::Packets
        {
            return match subject {
                Subject::Frames => problem(
                    only.span,
                    "fault::packets_and_frames",
                    format!("`only: {only}` means packets, the rest of this fault means frames"),
                    "a packet is not a frame: TCP holds back everything behind a lost packet; \
                     leave out one or the other",
                ),
                _ => problem(
                    only.span,
                    "fault::no_packets",
                    format!("`only: {only}` means packets, and {kind} happens to {subject}"),
                    "leave it out",
                ),
            };
        }
        if let Some(group) = &self.group
            && subject != Subject::Packets
        {
            return problem(
                group.span,
                "fault::no_packets",
                format!("`group` means packets, and {kind} happens to {subject}"),
                "leave it out",
            );
        }
        if let (Some(_), Some(to)) = (self.from, self.to) {
            return problem(
                to.span,
                "fault::from_and_to",
                "`to` says again what `from` says".into(),
                "leave one of the two out",
            );
        }
        self.check_link(name, text)?;
        let on_the_way = matches!(subject, Subject::Packets | Subject::Frames);
        if on_the_way && self.port.is_none() && self.source_port.is_none() && self.peer.is_none() {
            return problem(
                self.kind.span,
                "fault::no_port",
                format!("{kind} of {subject} needs the connections that it happens to"),
                "name `port`, such as `port: 12199` between sidecar and app",
            );
        }
        for (port, key) in [(self.port, "port"), (self.source_port, "source_port")] {
            let Some(port) = port else { continue };
            if !on_the_way {
                return problem(
                    port.span,
                    "fault::no_leg",
                    format!("{kind} happens to {subject}, which has no `{key}`"),
                    "leave it out",
                );
            }
            if port.value == 0 {
                return problem(
                    port.span,
                    "fault::port",
                    "0 is no port".into(),
                    "write a number from 1 to 65535",
                );
            }
        }
        match (kind, self.connections) {
            (Kind::Limit, None) => {
                return problem(
                    self.kind.span,
                    "fault::no_limit",
                    "limit needs a number of connections".into(),
                    "name `connections`, such as `connections: 2`",
                );
            }
            (Kind::Limit, Some(some)) if some.value > CONNECTIONS_MAX => {
                return problem(
                    some.span,
                    "fault::limit",
                    format!("{some} connections are no limit"),
                    "write a number up to 1000000",
                );
            }
            (Kind::Limit, Some(_)) | (_, None) => {}
            (_, Some(some)) => {
                return problem(
                    some.span,
                    "fault::no_limit",
                    format!("{kind} has no number of connections"),
                    "write `kind: limit`, or leave `connections` out",
                );
            }
        }
        if kind == Kind::Limit
            && let Some(only) = self.only
        {
            return problem(
                only.span,
                "fault::limit",
                "limit means new connections and nothing else".into(),
                "leave `only` out",
            );
        }
        if kind == Kind::Reject
            && let Some(only) = self.only
            && only.value == Only::Rst
        {
            return problem(
                only.span,
                "fault::reset_of_resets",
                "a reset is never answered with a reset".into(),
                "write `kind: drop`",
            );
        }
        if matches!(kind, Kind::Delay | Kind::Slow) && self.by.is_none() {
            return problem(
                self.kind.span,
                "fault::no_time",
                format!("{kind} needs a time"),
                "name `by`, such as `by: 500ms`",
            );
        }
        if kind == Kind::Flip && self.byte.is_none() {
            return problem(
                self.kind.span,
                "fault::no_byte",
                "flip needs a byte".into(),
                "name `byte`, counted from 0",
            );
        }
        self.of_bytes(name, text)?;
        for number in [self.nth, self.last, self.connection].into_iter().flatten() {
            if number.value == 0 {
                return problem(
                    number.span,
                    "fault::number",
                    "frames and connections are counted from 1".into(),
                    "write 1 for the first",
                );
            }
        }
        if let (Some(nth), Some(last)) = (self.nth, self.last)
            && last.value < nth.value
        {
            return problem(
                last.span,
                "fault::number",
                format!("the last frame, {last}, is before the first, {nth}"),
                "write a number that is not below `nth`",
            );
        }
        if let Some(percent) = self.percent
            && !(percent.value > 0.0 && percent.value <= 100.0)
        {
            return problem(
                percent.span,
                "fault::percent",
                format!("{percent} is no share of a hundred"),
                "write a number above 0 and up to 100",
            );
        }
        if let (None, Some(seed)) = (self.percent, self.seed)
            && subject == Subject::Frames
        {
            return problem(
                seed.span,
                "fault::percent",
                "a seed without a share picks nothing".into(),
                "name `percent`, such as `percent: 10`, or leave `seed` out",
            );
        }
        if let Some(during) = self.during
            && (during.value.0 == 0 || during.value.0 > FOR_MS_MAX)
        {
            return problem(
                during.span,
                "fault::for",
                format!("{} ms are no time for a fault", during.value.0),
                "write a time up to 24h",
            );
        }
        self.check_schedule(name, text)
    }

    /// What is said of bytes: which one, how it changes, what comes in their place.
    fn of_bytes(&self, name: &str, text: &str) -> Result<(), Problem> {
        let kind = self.kind.value;
        let problem = |span: Span, code: &'static str, message: String, help: &str| {
            Err(Problem::at(name, text, span, code, message, help))
        };
        if let Some(byte) = self.byte
            && !matches!(kind, Kind::Truncate | Kind::Flip)
        {
            return problem(
                byte.span,
                "fault::no_byte",
                format!("{kind} knows no byte"),
                "leave it out, or write `kind: flip` or `kind: truncate`",
            );
        }
        match self.mask {
            Some(mask) if kind != Kind::Flip => {
                return problem(
                    mask.span,
                    "fault::mask",
                    format!("{kind} changes no byte"),
                    "leave `mask` out, or write `kind: flip`",
                );
            }
            Some(mask) if mask.value == 0 => {
                return problem(
                    mask.span,
                    "fault::mask",
                    "a byte stays what it is by exclusive or with 0".into(),
                    "write a number from 1 to 255",
                );
            }
            _ => {}
        }
        if let Some(recorded) = &self.recorded {
            let number = recorded.number;
            if number.value == 0 {
                return problem(
                    number.span,
                    "fault::number",
                    "frames are counted from 1".into(),
                    "write 1 for the first",
                );
            }
            if kind != Kind::Replace || self.hex.is_some() {
                let message = match kind {
                    Kind::Replace => "replace has two things to put in place".into(),
                    kind => format!("{kind} replaces nothing"),
                };
                return problem(
                    recorded.span,
                    "fault::hex",
                    message,
                    "write `kind: replace` with one of `hex` and `recorded`",
                );
            }
        }
        match (&self.hex, kind) {
            (None, Kind::Replace) if self.recorded.is_none() => problem(
                self.kind.span,
                "fault::hex",
                "replace needs the bytes that arrive".into(),
                "name `hex`, such as `hex: \"01 00 00 02\"`, or `recorded`, a frame of a capture",
            ),
            (Some(hex), Kind::Replace) if hex::bytes(hex).is_none() => problem(
                hex.span,
                "fault::hex",
                format!("`{hex}` is no sequence of bytes"),
                "write two hexadecimal digits for each byte, 1 to 65536 of them, in quotes",
            ),
            (Some(_), Kind::Replace) | (None, _) => Ok(()),
            (Some(hex), _) => problem(
                hex.span,
                "fault::hex",
                format!("{kind} replaces nothing"),
                "leave `hex` out, or write `kind: replace`",
            ),
        }
    }

    /// The first thing that is said of frames alone.
    fn of_frames(&self) -> Option<(Span, &'static str)> {
        [
            (self.frame.as_ref().map(|it| it.span), "frame"),
            (self.protocol.as_ref().map(|it| it.span), "protocol"),
            (self.service.as_ref().map(|it| it.span), "service"),
            (self.method.as_ref().map(|it| it.span), "method"),
            (self.nth.as_ref().map(|it| it.span), "nth"),
            (self.last.as_ref().map(|it| it.span), "last"),
            (self.percent.as_ref().map(|it| it.span), "percent"),
            (self.connection.as_ref().map(|it| it.span), "connection"),
        ]
        .into_iter()
        .find_map(|(span, key)| Some((span?, key)))
    }
}
