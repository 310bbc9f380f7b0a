//! What the kernel lets us do, found out by doing it, in a process of its own.
//!
//! The process leaves for namespaces as an environment does, and then tries one thing after the
//! other; it says on its output what became of each. With it everything goes that it made.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;

use meshproof_sys::links::{Links, Peer};
use meshproof_sys::mounts;
use meshproof_sys::namespaces::{self, Identity, Namespace, set_host_name, unshare};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use serde::{Deserialize, Serialize};

use super::run;

/// The stage that tries.
pub(crate) const TRIAL: &str = "trial";

/// What became of one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tried {
    pub(super) what: What,
    /// What was seen, or what the kernel said.
    pub(super) outcome: Result<String, String>,
}

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum What {
    UserNamespace,
    Namespaces,
    Mounts,
    Nested,
    Bridge,
    Veth,
    Packets,
    Tun,
    Bpf,
    Nft,
    Iptables,
}

/// The order in which they are tried: each needs those before it to be told apart from them.
const INSIDE: [What; 9] = [
    What::Mounts,
    What::Nested,
    What::Bridge,
    What::Veth,
    What::Packets,
    What::Tun,
    What::Bpf,
    What::Nft,
    What::Iptables,
];

/// Tries everything; the value is the exit code. The argument says what: a user namespace, or
/// everything else.
pub(crate) fn trial(argument: Option<&str>) -> u8 {
    let tell = |what, outcome: io::Result<String>| {
        let tried = Tried {
            what,
            outcome: outcome.map_err(|error| error.to_string()),
        };
        // Who asked has gone, or reads it.
        if let Ok(line) = serde_json::to_string(&tried) {
            let _ = writeln!(io::stdout(), "{line}");
        }
        tried.outcome.is_ok()
    };
    match argument {
        Some("user") => {
            tell(What::UserNamespace, user_namespace());
        }
        Some("inside") => {
            if tell(What::Namespaces, leave()) {
                let mut tools = Tools::default();
                for what in INSIDE {
                    tell(what, tools.attempt(what));
                }
            }
        }
        _ => return 2,
    }
    0
}

/// A capability that such a namespace gives must be *used*: where AppArmor restricts them, making
/// one succeeds.
fn user_namespace() -> io::Result<String> {
    let identity = Identity::of_this_process();
    unshare(&[Namespace::User])?;
    identity.becomes_root()?;
    unshare(&[Namespace::HostName])?;
    set_host_name("trial")?;
    Ok("made, and a capability of it used".into())
}

fn leave() -> io::Result<String> {
    const KINDS: [Namespace; 4] = [
        Namespace::Mount,
        Namespace::Network,
        Namespace::HostName,
        Namespace::Ipc,
    ];
    if namespaces::privileged()? {
        unshare(&KINDS)?;
        return Ok("made by privilege".into());
    }
    let identity = Identity::of_this_process();
    unshare(&[&[Namespace::User], KINDS.as_slice()].concat())?;
    identity.becomes_root()?;
    Ok("made within a user namespace".into())
}

#[derive(Default)]
struct Tools {
    links: Option<Links>,
    nested: Option<std::os::fd::OwnedFd>,
}

impl Tools {
    fn attempt(&mut self, what: What) -> io::Result<String> {
        let missing = |what: &str| io::Error::other(format!("not tried: no {what}"));
        match what {
            // They were tried before.
            What::UserNamespace | What::Namespaces => Ok(String::new()),
            What::Mounts => {
                mounts::make_private()?;
                mounts::tmpfs(Path::new("/run"))?;
                Ok("a tmpfs over /run".into())
            }
            What::Nested => {
                let made = std::thread::spawn(|| {
                    unshare(&[Namespace::Network])?;
                    Namespace::Network.of_this_thread()
                });
                let made = made.join().map_err(|_| io::Error::other("it panicked"))??;
                self.nested = Some(made);
                Ok("a network within it".into())
            }
            What::Bridge => {
                let links = Links::open()?;
                let bridge = links.bridge("br0");
                self.links = Some(links);
                bridge.map(|_| "made by netlink".into())
            }
            What::Veth => {
                let links = self.links.as_ref().ok_or_else(|| missing("netlink"))?;
                let nested = self
                    .nested
                    .as_ref()
                    .ok_or_else(|| missing("second network"))?;
                let bridge = links.find("br0").map_err(|_| missing("bridge"))?;
                let peer = Peer {
                    name: "eth0",
                    namespace: nested.as_fd(),
                    hardware: [0x02, 0x6d, 0x70, 0, 0, 2],
                };
                links.pair("pod0", bridge, peer)?;
                Ok("a pair from one network to another".into())
            }
            What::Packets => {
                let flags = SocketFlags::CLOEXEC;
                socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
                Ok("a packet socket".into())
            }
            What::Tun => {
                let mut options = OpenOptions::new();
                let _: File = options.read(true).write(true).open("/dev/net/tun")?;
                Ok("/dev/net/tun opens".into())
            }
            What::Bpf => {
                let allowed = run::first_line("mount", &["-t", "bpf", "bpf", "/run"]);
                allowed.map_err(io::Error::other)?;
                Ok("its file system mounts".into())
            }
            What::Nft => {
                let listed = run::first_line("nft", &["list", "ruleset"]);
                listed.map_err(io::Error::other)?;
                Ok("`nft list ruleset` works in a namespace".into())
            }
            What::Iptables => {
                run::first_line("iptables", &["-S"]).map_err(io::Error::other)?;
                Ok("`iptables -S` works in a namespace".into())
            }
        }
    }
}
