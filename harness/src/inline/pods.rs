//! Threads of this process, each in a network of its own.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc;
use std::thread::JoinHandle;

use meshproof_sys::links::{Links, Peer};
use meshproof_sys::namespaces::{Namespace, unshare};

/// Pods side by side at most: they share a network of 8 bits.
const PODS_MAX: usize = 240;

const BRIDGE: &str = "br0";
const BRIDGE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 1);
const LINK: &str = "eth0";
const PREFIX: u8 = 24;

type Job = Box<dyn FnOnce() + Send>;

/// One pod.
struct Pod {
    name: String,
    address: Ipv4Addr,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// Pods that see each other and nothing else. Dropping them ends their threads; their networks go
/// with the last thread and the last socket in them.
pub struct Pods {
    pods: Vec<Pod>,
    /// Holds the bridge.
    _bridge: OwnedFd,
}

impl Pods {
    /// Makes them; returns when each can reach every other.
    ///
    /// # Errors
    /// The kernel refuses: this process may not make networks.
    pub fn make<'a>(names: impl IntoIterator<Item = &'a str>) -> io::Result<Pods> {
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        if names.is_empty() || names.len() > PODS_MAX {
            let found = names.len();
            return Err(io::Error::other(format!(
                "{found} pods: expected 1 to {PODS_MAX}"
            )));
        }
        let mut pods = Vec::with_capacity(names.len());
        let mut networks = Vec::with_capacity(names.len());
        for (name, last) in names.into_iter().zip(2_u8..) {
            let (pod, network) = Pod::begin(name, Ipv4Addr::new(10, 98, 0, last))?;
            pods.push(pod);
            networks.push(network);
        }
        let networks = networks
            .into_iter()
            .map(|network| network.recv().unwrap_or_else(|_| Err(gone())))
            .collect::<io::Result<Vec<OwnedFd>>>()?;
        // On a thread of its own: the caller stays where it is.
        let (made, done) = mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name("bridge".into())
            .spawn(move || {
                // Whoever waits may have given up.
                let _ = made.send(bridge(&networks));
            })?;
        let bridge = done.recv().unwrap_or_else(|_| Err(gone()))?;
        let joining: Vec<_> = pods.iter().map(Pod::join).collect::<io::Result<_>>()?;
        for joined in joining {
            joined.recv().unwrap_or_else(|_| Err(gone()))?;
        }
        Ok(Pods {
            pods,
            _bridge: bridge,
        })
    }

    /// The address of a pod; none: there is no such pod.
    pub fn address(&self, name: &str) -> Option<Ipv4Addr> {
        let found = self.pods.iter().find(|pod| pod.name == name);
        found.map(|pod| pod.address)
    }

    /// Whether there is such a pod.
    pub fn has(&self, name: &str) -> bool {
        self.pods.iter().any(|pod| pod.name == name)
    }

    /// Does something on a pod's thread, in its network, and waits for it.
    pub fn within<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let wait = self.begin(name, work)?;
        wait.recv().unwrap_or_else(|_| Err(gone()))
    }

    /// The same without waiting: the outcome comes by the channel.
    pub fn begin<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<mpsc::Receiver<io::Result<T>>> {
        let pod = self.pods.iter().find(|pod| pod.name == name);
        let pod = pod.ok_or_else(|| io::Error::other(format!("no pod is called `{name}`")))?;
        pod.begin_work(work)
    }
}

impl Pod {
    fn begin(
        name: String,
        address: Ipv4Addr,
    ) -> io::Result<(Pod, mpsc::Receiver<io::Result<OwnedFd>>)> {
        let (jobs, todo) = mpsc::channel::<Job>();
        let (network, made) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name(format!("pod-{name}"))
            .spawn(move || {
                let left = unshare(&[Namespace::Network])
                    .and_then(|()| Namespace::Network.of_this_thread());
                let failed = left.is_err();
                let _ = network.send(left);
                if !failed {
                    todo.into_iter().for_each(|job| job());
                }
            })?;
        let pod = Pod {
            name,
            address,
            jobs: Some(jobs),
            thread: Some(thread),
        };
        Ok((pod, made))
    }

    fn begin_work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<mpsc::Receiver<io::Result<T>>> {
        let (done, wait) = mpsc::sync_channel(1);
        let job: Job = Box::new(move || {
            // Whoever waits may have given up.
            let _ = done.send(work());
        });
        let sent = self.jobs.as_ref().map(|jobs| jobs.send(job));
        sent.and_then(Result::ok).ok_or_else(gone)?;
        Ok(wait)
    }

    /// Takes its links up.
    fn join(&self) -> io::Result<mpsc::Receiver<io::Result<()>>> {
        let address = self.address;
        self.begin_work(move || {
            let links = Links::open()?;
            links.up(links.find("lo")?)?;
            let link = links.find(LINK)?;
            links.address(link, address, PREFIX)?;
            links.up(link)
        })
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A panic was told of by its hook.
            let _ = thread.join();
        }
    }
}

/// A bridge in a network of its own, and a link of each pod at it.
fn bridge(pods: &[OwnedFd]) -> io::Result<OwnedFd> {
    unshare(&[Namespace::Network])?;
    let links = Links::open()?;
    let bridge = links.bridge(BRIDGE)?;
    links.address(bridge, BRIDGE_ADDRESS, PREFIX)?;
    for (number, pod) in (0_u8..).zip(pods) {
        let peer = Peer {
            name: LINK,
            namespace: pod.as_fd(),
            // Locally administered, and each pod's own.
            hardware: [2, 0, 10, 98, 0, number],
        };
        links.pair(&format!("pod{number}"), bridge, peer)?;
    }
    Namespace::Network.of_this_thread()
}

fn gone() -> io::Error {
    io::Error::other("the thread of a pod has ended")
}
