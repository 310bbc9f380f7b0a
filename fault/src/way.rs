//! How a fault can be done.

words! {
    /// How a fault is done.
    Way {
        /// A table of nftables that its keeper's socket owns: the kernel removes it with the keeper.
        NftOwner = "nft-owner",
        /// Rules of iptables that are nftables inside; journalled, since they outlive everybody.
        IptablesNft = "iptables-nft",
        /// Rules of the old iptables; journalled, since they outlive everybody.
        IptablesLegacy = "iptables-legacy",
        /// A table of nftables at each link of the pod, which drops whatever comes or leaves; its
        /// keeper's socket owns it.
        Cut = "cut",
        /// Connections that stand are ended by order of the kernel.
        Destroy = "destroy",
        /// A relay on the leg, which knows frames; it belongs to the environment.
        Relay = "relay",
        /// Frames of connections that stand, by eBPF.
        Sockhash = "sockhash",
        /// A link of which every packet passes through the keeper.
        Tap = "tap",
        /// The kernel's own queueing discipline for bad links.
        Netem = "netem",
        /// A signal to a program.
        Signal = "signal",
        /// The program is traced and held; it goes on when its tracer ends.
        Trace = "trace",
        /// Children that take processor time or memory.
        Burner = "burner",
        /// A limit of the kernel for the program.
        Limits = "limits",
        /// The app is told to, by its own control.
        AppOrder = "app-order",
        /// The config center is told to, as long as its keeper's connection stands.
        CenterOrder = "center-order",
        /// The VIP names are told to, as long as its keeper's connection stands.
        NamesOrder = "names-order",
        /// A file without a name that fills the disk.
        Filler = "filler",
        /// Mounts over the folder, in the mount namespace of a pod; they go with the pod.
        Mount = "mount",
    }
}

impl Way {
    /// What becomes of the fault when run and keeper are killed in one moment.
    pub fn when_all_are_killed(self) -> Afterlife {
        match self {
            Way::IptablesNft | Way::IptablesLegacy | Way::Netem | Way::Mount => {
                Afterlife::Journalled
            }
            Way::Signal | Way::AppOrder | Way::Limits | Way::Destroy => Afterlife::Stays,
            Way::NftOwner
            | Way::Cut
            | Way::Relay
            | Way::Sockhash
            | Way::Tap
            | Way::Trace
            | Way::Burner
            | Way::Filler
            | Way::CenterOrder
            | Way::NamesOrder => Afterlife::Gone,
        }
    }

    /// One sentence.
    pub fn about(self) -> &'static str {
        match self {
            Way::NftOwner => "a table of nftables that goes with its keeper",
            Way::IptablesNft => "rules of iptables over nftables, journalled",
            Way::IptablesLegacy => "rules of the old iptables, journalled",
            Way::Cut => "a table at each link that drops everything and goes with its keeper",
            Way::Destroy => "an order to the kernel to end connections that stand",
            Way::Relay => "a relay of the environment that knows frames",
            Way::Sockhash => "frames of connections that stand, by eBPF",
            Way::Tap => "a link whose packets pass through the keeper",
            Way::Netem => "the kernel's discipline for bad links",
            Way::Signal => "a signal",
            Way::Trace => "a tracer that holds the program",
            Way::Burner => "children that take what there is",
            Way::Limits => "a limit of the kernel",
            Way::AppOrder => "an order to the app",
            Way::CenterOrder => "an order to the config center that goes with its keeper",
            Way::NamesOrder => "an order to the VIP names that goes with its keeper",
            Way::Filler => "a file without a name that fills the disk",
            Way::Mount => "mounts over the folder, in the pod, with our tag; they go with the pod",
        }
    }
}

words! {
    /// What becomes of a fault when everybody who knows of it is killed.
    Afterlife {
        /// The kernel takes it away.
        Gone = "gone",
        /// It stays; the journal, or the kernel's own table, tells what and where, and `heal` takes
        /// it away.
        Journalled = "journalled",
        /// It stays until somebody undoes it.
        Stays = "stays",
    }
}

/// Why a way is not gone.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Refusal {
    /// It cannot do exactly this, on any machine.
    Inexact(String),
    /// This machine lacks something.
    Missing {
        /// What is missing, and how that was found out.
        missing: String,
        /// What to do.
        advice: String,
    },
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::Inexact(why) => f.write_str(why),
            Refusal::Missing { missing, advice } => write!(f, "lacks {missing}: {advice}"),
        }
    }
}
