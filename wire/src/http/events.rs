//! Server-sent events (the `text/event-stream` of WHATWG HTML, section 9.2).

/// Longest event, in bytes; a longer one is passed over and counted.
const EVENT_BYTES_MAX: usize = 4 << 20;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its type; empty where none is given.
    pub name: String,
    /// Its data, lines joined by line feeds.
    pub data: String,
}

impl Event {
    /// As it goes into a body.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = String::new();
        if !self.name.is_empty() {
            out.push_str(&format!("event: {}\n", self.name));
        }
        for line in self.data.split('\n') {
            out.push_str(&format!("data: {line}\n"));
        }
        out.push('\n');
        out.into_bytes()
    }
}

/// Reads events from the bytes of a body. Holds one event, up to 4 MiB.
#[derive(Clone, Debug, Default)]
pub struct Events {
    line: Vec<u8>,
    event: Event,
    has_data: bool,
    /// The last byte was a carriage return: a line feed after it belongs to it.
    after_cr: bool,
    /// The event is longer than is held; it is passed over up to the next empty line.
    too_long: bool,
    /// Within such an event: its current line is not empty.
    in_line: bool,
    dropped: u64,
}

impl Events {
    /// At the front of a body.
    pub fn new() -> Events {
        Events::default()
    }

    /// Takes bytes of the body; `sink` gets every event that ends in them.
    pub fn feed(&mut self, bytes: &[u8], sink: &mut impl FnMut(Event)) {
        let mut rest = bytes;
        if std::mem::take(&mut self.after_cr) {
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
            self.after_cr = bytes.is_empty();
        }
        while let Some(at) = memchr::memchr2(b'\r', b'\n', rest) {
            let (line, tail) = rest.split_at(at);
            self.hold(line);
            self.end_line(sink);
            rest = match tail {
                [b'\r', b'\n', tail @ ..] => tail,
                [b'\r'] => {
                    self.after_cr = true;
                    &[]
                }
                [_, tail @ ..] => tail,
                [] => &[],
            };
        }
        self.hold(rest);
    }

    /// Events that were longer than is held.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn hold(&mut self, bytes: &[u8]) {
        if self.line.len() + self.event.data.len() + bytes.len() > EVENT_BYTES_MAX {
            self.too_long = true;
            self.line.clear();
            self.event.data.clear();
        }
        if self.too_long {
            self.in_line |= !bytes.is_empty();
        } else {
            self.line.extend_from_slice(bytes);
        }
    }

    fn end_line(&mut self, sink: &mut impl FnMut(Event)) {
        let line = std::mem::take(&mut self.line);
        if self.too_long {
            if !std::mem::take(&mut self.in_line) {
                self.dropped += 1;
                self.too_long = false;
                self.event = Event::default();
                self.has_data = false;
            }
            return;
        }
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            if std::mem::take(&mut self.has_data) {
                sink(event);
            }
            return;
        }
        let line = String::from_utf8_lossy(&line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.event.name = value.to_owned(),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            // Comments, ids and retry times are of no concern here.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expect: &[(&str, &str)]) {
        for piece in [1, 2, 5, usize::MAX] {
            let mut events = Events::new();
            let mut found = Vec::new();
            for piece in body.as_bytes().chunks(piece) {
                events.feed(piece, &mut |event| found.push((event.name, event.data)));
            }
            let found: Vec<_> = found
                .iter()
                .map(|(name, data)| (&name[..], &data[..]))
                .collect();
            assert_eq!(found, expect, "in pieces of {piece}");
        }
    }

    #[test]
    fn events_as_they_stand_in_a_body() {
        check(
            "event: providers\ndata: {\"a\":\ndata: 1}\n\n: alive\n\nevent: alive\ndata\n\n",
            &[("providers", "{\"a\":\n1}"), ("alive", "")],
        );
        check(
            "data:x\r\n\r\ndata: y\r\rdata: z\n\n",
            &[("", "x"), ("", "y"), ("", "z")],
        );
        check("event: nothing\n\ndata: not ended\n", &[]);
        let event = Event {
            name: "providers".to_owned(),
            data: "one\ntwo".to_owned(),
        };
        let body = String::from_utf8(event.encode()).unwrap();
        check(&body, &[("providers", "one\ntwo")]);
    }

    #[test]
    fn an_event_that_is_too_long_is_counted_and_those_behind_it_are_read() {
        let mut events = Events::new();
        let mut found = Vec::new();
        let mut sink = |event: Event| found.push(event.data);
        events.feed(b"data: ", &mut sink);
        for _ in 0..5 {
            events.feed(&vec![b'x'; 1 << 20], &mut sink);
        }
        events.feed(b"\ndata: its last line\n\ndata: next\n\n", &mut sink);
        assert_eq!(events.dropped(), 1);
        assert_eq!(found, ["next"]);
    }
}
