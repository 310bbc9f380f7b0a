//! The words of which a fault is made.

words! {
    /// What goes wrong.
    Kind {
        /// Packets or frames do not arrive.
        Drop = "drop",
        /// Packets are answered with a reset: their sender's connection ends, the other end does
        /// not learn of it (half-open).
        Reject = "reject",
        /// No more than so many connections.
        Limit = "limit",
        /// The pod has no network any more but its own loopback.
        Cut = "cut",
        /// The pod's link is a bad one: late, lossy, narrow.
        Link = "link",
        /// Frames wait, and what follows them on their way.
        Delay = "delay",
        /// Frames come twice.
        Duplicate = "duplicate",
        /// Frames change places with the next one, or are overtaken for a time; lists of the config
        /// center come in another order.
        Reorder = "reorder",
        /// A frame is cut, and its connection closed.
        Truncate = "truncate",
        /// A byte of a frame is another.
        Flip = "flip",
        /// Other bytes arrive in place of a frame.
        Replace = "replace",
        /// The connection is closed after the frame.
        Close = "close",
        /// Neither the frame nor what follows arrives, and nothing is lost.
        Stall = "stall",
        /// Neither the frame nor what follows arrives. Without `port`: an app that does not answer.
        Mute = "mute",
        /// SIGKILL; healed by a new start.
        Kill = "kill",
        /// SIGTERM, the graceful end; healed by a new start.
        Stop = "stop",
        /// The program stands still.
        Pause = "pause",
        /// Answers wait: of an app, or of what is outside.
        Slow = "slow",
        /// An app's methods throw.
        Throw = "throw",
        /// An app's methods are not run: an error of the server.
        Error = "error",
        /// An app reads nothing any more.
        Hang = "hang",
        /// Less processor time.
        Cpu = "cpu",
        /// Less memory.
        Memory = "memory",
        /// No further descriptors.
        Descriptors = "descriptors",
        /// The disk is full.
        Full = "full",
        /// The disk takes no writes.
        ReadOnly = "read-only",
        /// The folder is another one: empty, and takes no writes.
        Gone = "gone",
        /// The config center answers that it is not available.
        Unavailable = "unavailable",
        /// Lists of the config center stay as they are.
        Stale = "stale",
        /// Lists of the config center, or answers to a VIP name, are empty.
        Empty = "empty",
        /// Lists of the config center lack providers that are there.
        Partial = "partial",
        /// Providers go from the lists of the config center and come back.
        Flapping = "flapping",
        /// Sessions at the config center run out.
        Expired = "expired",
        /// A VIP name is said not to exist.
        Nxdomain = "nxdomain",
        /// The VIP names answer that they failed.
        Servfail = "servfail",
        /// The VIP names do not answer.
        Silent = "silent",
        /// A VIP name is answered with addresses of others.
        Wrong = "wrong",
    }
}

words! {
    /// What outside of the pods a fault is of.
    Outside {
        /// The config center.
        ConfigCenter = "config-center",
        /// The VIP names.
        Vip = "vip",
    }
}

/// What a kind of fault happens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dependency {
    /// Packets alone.
    Packets,
    /// Frames alone.
    Frames,
    /// Frames where something is said of frames, else packets.
    Either,
    /// Frames with a port, an order to the app without.
    App,
    /// A program.
    Program,
    /// A whole pod.
    Pod,
    /// The link of a pod.
    Link,
    /// A disk.
    Disk,
    /// The config center or the VIP names.
    Outside,
}

impl Kind {
    /// What it happens to.
    pub fn dependency(self) -> Dependency {
        match self {
            Kind::Reject | Kind::Limit => Dependency::Packets,
            Kind::Drop => Dependency::Either,
            Kind::Delay
            | Kind::Duplicate
            | Kind::Reorder
            | Kind::Truncate
            | Kind::Flip
            | Kind::Replace
            | Kind::Close
            | Kind::Stall => Dependency::Frames,
            Kind::Mute => Dependency::App,
            Kind::Kill
            | Kind::Stop
            | Kind::Pause
            | Kind::Slow
            | Kind::Throw
            | Kind::Error
            | Kind::Hang
            | Kind::Cpu
            | Kind::Memory
            | Kind::Descriptors => Dependency::Program,
            Kind::Cut => Dependency::Pod,
            Kind::Link => Dependency::Link,
            Kind::Full | Kind::ReadOnly | Kind::Gone => Dependency::Disk,
            Kind::Unavailable
            | Kind::Stale
            | Kind::Empty
            | Kind::Partial
            | Kind::Flapping
            | Kind::Expired
            | Kind::Nxdomain
            | Kind::Servfail
            | Kind::Silent
            | Kind::Wrong => Dependency::Outside,
        }
    }

    /// One sentence.
    pub fn about(self) -> &'static str {
        match self {
            Kind::Drop => "packets, or exact frames, do not arrive",
            Kind::Reject => {
                "packets are answered with a reset; the other end stays behind, half-open"
            }
            Kind::Limit => "connections beyond so many are refused",
            Kind::Cut => "the pod has no network but its own loopback",
            Kind::Link => {
                "the pod's link is a bad one: delay, jitter, loss, duplicate, reorder, corrupt, rate"
            }
            Kind::Delay => "frames wait",
            Kind::Duplicate => "frames come twice",
            Kind::Reorder => {
                "frames change places; lists of the config center come in another order"
            }
            Kind::Truncate => "a frame is cut, and its connection closed",
            Kind::Flip => "a byte of a frame is another",
            Kind::Replace => "other bytes arrive in place of a frame",
            Kind::Close => "the connection is closed after the frame",
            Kind::Stall => "neither the frame nor what follows arrives, and nothing is lost",
            Kind::Mute => "neither the frame nor what follows arrives; an app does not answer",
            Kind::Kill => "SIGKILL; healed by a new start",
            Kind::Stop => "SIGTERM, the graceful end; healed by a new start",
            Kind::Pause => "the program stands still",
            Kind::Slow => "answers wait: of an app, the config center, the VIP names",
            Kind::Throw => "an app's methods throw",
            Kind::Error => "an app's methods are not run: an error of the server",
            Kind::Hang => "an app reads nothing any more",
            Kind::Cpu => "less processor time",
            Kind::Memory => "less memory",
            Kind::Descriptors => "no further descriptors",
            Kind::Full => "the disk is full",
            Kind::ReadOnly => "the folder takes no writes; what is open stays open",
            Kind::Gone => "the folder is empty and takes no writes; what is open stays open",
            Kind::Unavailable => "the config center answers 503 and closes its watch connections",
            Kind::Stale => "lists of the config center stay as they are, nothing is pushed",
            Kind::Empty => "lists, or answers to a name, are empty; lists not confirmed",
            Kind::Partial => "lists name only some of the providers that are there",
            Kind::Flapping => "providers go from the lists and come back, again and again",
            Kind::Expired => "sessions at the config center run out, whoever renews them",
            Kind::Nxdomain => "a name is said not to exist",
            Kind::Servfail => "the VIP names answer that they failed",
            Kind::Silent => "the VIP names do not answer",
            Kind::Wrong => "a name is answered with other addresses",
        }
    }
}

words! {
    /// One side of a connection.
    Side {
        /// The app.
        App = "app",
        /// The sidecar.
        Sidecar = "sidecar",
        /// Whoever opened the connection.
        Client = "client",
        /// Whoever accepted it.
        Server = "server",
    }
}

words! {
    /// Who listens at a port.
    Listener {
        /// Somebody in the pod: the port is one of its own.
        Here = "here",
        /// Somebody elsewhere: the pod is a client.
        Elsewhere = "elsewhere",
    }
}

words! {
    /// Which way packets pass a pod's link.
    Direction {
        /// They come to the pod.
        In = "in",
        /// They leave it.
        Out = "out",
    }
}

words! {
    /// A version of IP.
    Version {
        /// Version 4.
        V4 = "v4",
        /// Version 6.
        V6 = "v6",
    }
}

words! {
    /// Which packets.
    Only {
        /// The first packet of a connection: new connections fail, those that stand go on.
        New = "new",
        /// Packets of connections that stand when the fault begins: new connections pass.
        Established = "established",
        /// Packets that carry bytes: the acknowledgements pass, so nobody sees an error of sending.
        Payload = "payload",
        /// The answer to the first packet: the connection stands at one end.
        SynAck = "syn-ack",
        /// The end of a connection: the other end does not learn of it.
        Fin = "fin",
        /// Resets.
        Rst = "rst",
    }
}

words! {
    /// Sorts of frames.
    Frames {
        /// A call that expects an answer.
        Request = "request",
        /// A call that expects none.
        Oneway = "oneway",
        /// The answer to a call.
        Response = "response",
        /// A heartbeat, or the answer to one: the direction tells which.
        Heartbeat = "heartbeat",
        /// The server asks for nothing more.
        Goaway = "goaway",
    }
}

words! {
    /// Protocols of frames.
    Protocol {
        /// BOLT, both versions.
        Bolt = "bolt",
        /// BOLT v1.
        BoltV1 = "bolt-v1",
        /// BOLT v2.
        BoltV2 = "bolt-v2",
        /// TR.
        Tr = "tr",
    }
}

words! {
    /// What an app leaves unanswered.
    Muted {
        /// Heartbeats alone: the app works and looks dead.
        Heartbeats = "heartbeats",
        /// Everything.
        Everything = "everything",
    }
}

words! {
    /// Which program of a pod.
    Program {
        /// The app.
        App = "app",
        /// The sidecar.
        Sidecar = "sidecar",
    }
}

#[expect(
    clippy::derivable_impls,
    reason = "the macro that makes the enum marks no variant"
)]
impl Default for Program {
    fn default() -> Program {
        Program::App
    }
}

words! {
    /// What a fault happens to.
    Subject {
        /// Packets.
        Packets = "packets",
        /// Frames.
        Frames = "frames",
        /// A program.
        Program = "program",
        /// A whole pod.
        Pod = "pod",
        /// The link of a pod.
        Link = "link",
        /// A disk.
        Disk = "disk",
        /// The config center.
        ConfigCenter = "config-center",
        /// The VIP names.
        Vip = "vip",
    }
}
