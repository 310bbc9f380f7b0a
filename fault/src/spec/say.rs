//! A fault in one line.

use std::fmt;

use super::{Kind, Listener, Spec, Subject, hex};

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        let subject = self.subject();
        match subject {
            Subject::Packets if self.kind.value == Kind::Close => f.write_str(" connections")?,
            Subject::Packets => {
                match self.only {
                    Some(only) => write!(f, " {only} packets")?,
                    None => f.write_str(" packets")?,
                }
                if let Some(version) = self.ip {
                    write!(f, " of IP{version}")?;
                }
            }
            Subject::Frames => {
                self.bytes(f)?;
                if let Some(protocol) = self.protocol {
                    write!(f, " {protocol}")?;
                }
                match self.frame {
                    Some(frame) => write!(f, " {frame} frames")?,
                    None => f.write_str(" frames")?,
                }
                for called in [&self.service, &self.method].into_iter().flatten() {
                    write!(f, " of {called}")?;
                }
                if let Some(connection) = self.connection {
                    write!(f, " on connection {connection}")?;
                }
                match self.span() {
                    (1, None) => {}
                    (first, None) => write!(f, " from {first}")?,
                    (first, Some(last)) if first == last => write!(f, " number {first}")?,
                    (first, Some(last)) => write!(f, " {first} to {last}")?,
                }
                if let Some(percent) = self.percent {
                    write!(f, ", {percent} % of them")?;
                    if let Some(seed) = self.seed {
                        write!(f, " by seed {seed}")?;
                    }
                }
            }
            Subject::Program => write!(f, " the {}", self.program)?,
            Subject::Pod => f.write_str(" the pod off")?,
            Subject::Link => self.say_link(f)?,
            Subject::Disk => f.write_str(" disk")?,
            Subject::ConfigCenter | Subject::Vip => self.outside(f)?,
        }
        if let Some(connections) = self.connections {
            write!(f, " beyond {connections} connections")?;
        }
        if let Some(by) = self.by {
            write!(f, " by {} ms", by.value.0)?;
        }
        if let Some(from) = self.from {
            write!(f, " from the {from}")?;
        }
        if let Some(to) = self.to {
            write!(f, " to the {to}")?;
        }
        if let Some(port) = self.port {
            write!(f, ", port {port}")?;
            if self.listens() == Listener::Elsewhere {
                f.write_str(" elsewhere")?;
            }
        }
        if let Some(port) = self.source_port {
            write!(f, ", opened from port {port}")?;
        }
        if let Some(peer) = self.peer() {
            write!(f, ", other end {peer}")?;
        }
        if let Some(folder) = &self.folder {
            write!(f, " at {folder}")?;
        }
        if subject == Subject::ConfigCenter
            && let Some(service) = &self.service
        {
            write!(f, ", service {service}")?;
        }
        if let Some(name) = &self.name {
            write!(f, ", name {name}")?;
        }
        if !self.addresses.is_empty() {
            let all: Vec<&str> = self.addresses.iter().map(|one| one.as_str()).collect();
            write!(f, ", addresses {}", all.join(" "))?;
        }
        if let Some(pod) = &self.pod {
            write!(f, ", pod {pod}")?;
        }
        self.when(f)
    }
}

impl Spec {
    fn outside(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = self.of.map_or("nobody", |of| of.value.told());
        let what = match self.kind.value {
            Kind::Stale | Kind::Partial | Kind::Flapping | Kind::Reorder => "lists",
            Kind::Empty if self.subject() == Subject::ConfigCenter => "lists",
            Kind::Expired => "sessions",
            _ => "answers",
        };
        write!(f, " {what} of {of}")
    }

    /// When it is in force, where that is not simply from now on.
    fn when(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = self.at {
            write!(f, ", at {} ms", at.value.0)?;
        }
        let Some(repeat) = &self.repeat else {
            return Ok(());
        };
        write!(f, ", {} times", repeat.times)?;
        match (repeat.every, repeat.within) {
            (Some(every), _) => write!(f, " every {} ms", every.value.0)?,
            (None, Some(within)) => {
                let seed = repeat.seed.map_or(0, |seed| seed.value);
                write!(f, " within {} ms by seed {seed}", within.value.0)?;
            }
            (None, None) => {}
        }
        match self.during {
            Some(during) => write!(f, " for {} ms", during.value.0),
            None => Ok(()),
        }
    }
}

impl Spec {
    /// Which byte, or which bytes in place of the frame.
    fn bytes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind.value, self.byte, &self.hex) {
            (Kind::Truncate, Some(byte), _) => write!(f, " at byte {byte}"),
            (Kind::Flip, Some(byte), _) => {
                let mask = self.mask.map_or(u8::MAX, |mask| mask.value);
                write!(f, " byte {byte} by {mask:#04x} of")
            }
            (Kind::Replace, _, Some(text)) => {
                let len = hex::bytes(text).map_or(0, |bytes| bytes.len());
                write!(f, " by {len} bytes")
            }
            (Kind::Replace, _, None) => match &self.recorded {
                Some(recorded) => {
                    write!(f, " by frame {} of {}", recorded.number, recorded.capture)
                }
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }
}
