//! Pods as network namespaces of one private corner of the machine, with the ports of production.
//!
//! No root is needed, no link or rule is made outside, nothing has a name under `/run` that is
//! seen outside, and nothing is cleaned up: namespaces, links and mounts go with their last
//! process, also when the holder is killed with SIGKILL.
//!
//! Inside there are a bridge (10.99.0.1/24), one link `eth0` per pod (10.99.0.2 and on), pods'
//! host names in `/etc/hosts`, the pod that answers for names in `/etc/resolv.conf`, a `/proc`
//! of its own, an empty `/run`, and a way out that ends in a link on which packets are counted and
//! go nowhere.

pub(crate) mod line;
mod out;
pub(crate) mod pod;
mod reset;
pub(crate) mod stages;
pub(crate) mod supervisor;
pub(crate) mod talk;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use meshproof_sys::clock::Nanos;
use meshproof_sys::packets::Tap;

use crate::Error;
use crate::environment::{
    Capability, Command, Dialer, Environment, Escapes, Input, Pod, Ready, Streams, Topology, find,
};
use crate::process::{Control, Exit, Process, Signal, Stream, Watched};
use line::Line;
use talk::{Kind, Order, Outcome, Reach, Request, Start, Word};

pub(crate) use stages::ADVICE_NAMESPACES;
pub use stages::stage;

/// How an environment is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program whose `main` calls [`stage`] first, and what is to stand in front of it, such
    /// as a program that takes privileges away. It becomes every stage, and [`crate::environment::Program::Own`].
    pub program: Vec<OsString>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            program: vec!["/proc/self/exe".into()],
        }
    }
}

/// A running environment. Dropping it ends everything in it, and so does the end of this
/// process, whatever ends it.
#[derive(Debug)]
pub struct Netns {
    pods: Vec<Pod>,
    notes: Vec<String>,
    outer: Child,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

type Answer = Result<(Outcome, Vec<OwnedFd>), String>;

#[derive(Debug)]
struct Shared {
    line: Line,
    state: Mutex<State>,
    /// Told when it is gone.
    gone: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Numbers that were given.
    last: u64,
    waiting: BTreeMap<u64, mpsc::SyncSender<Answer>>,
    programs: BTreeMap<u64, Arc<Watched>>,
    gone: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks and waits for the answer; a program that is started is watched from before.
    fn ask(
        &self,
        order: Order,
        passed: &[OwnedFd],
        watched: Option<&Arc<Watched>>,
    ) -> Result<(u64, Outcome, Vec<OwnedFd>), Error> {
        let (answer, answered) = mpsc::sync_channel(1);
        let number = {
            let mut state = self.lock();
            if state.gone {
                return Err(gone());
            }
            state.last += 1;
            let number = state.last;
            state.waiting.insert(number, answer);
            if let Some(watched) = watched {
                state.programs.insert(number, Arc::clone(watched));
            }
            number
        };
        let fds: Vec<_> = passed.iter().map(AsFd::as_fd).collect();
        let sent = self.line.send(&Request { number, order }, &fds);
        let outcome = match sent {
            Ok(()) => answered.recv().map_err(|_| gone()),
            Err(error) => Err(Error::Io {
                what: "the life line".into(),
                source: error,
            }),
        };
        match outcome {
            Ok(Ok((outcome, passed))) => Ok((number, outcome, passed)),
            Ok(Err(why)) => {
                self.forget(number);
                Err(Error::Refused(why))
            }
            Err(error) => {
                self.forget(number);
                Err(error)
            }
        }
    }

    /// A socket of a pod.
    fn socket(&self, pod: &str, kind: Kind) -> Result<OwnedFd, Error> {
        let order = Order::Socket {
            pod: pod.to_owned(),
            kind,
        };
        let (_, _, mut passed) = self.ask(order, &[], None)?;
        passed
            .pop()
            .ok_or_else(|| Error::Refused("no socket came with the answer".into()))
    }

    /// Connects from a pod.
    fn dial(&self, pod: &str, to: SocketAddr, limit: Duration) -> Result<TcpStream, Error> {
        let socket = self.socket(pod, Kind::Stream)?;
        sockets::connect(socket, to, limit)
            .map_err(Error::io(format!("connecting from pod {pod} to {to}")))
    }

    fn forget(&self, number: u64) {
        let mut state = self.lock();
        state.waiting.remove(&number);
        state.programs.remove(&number);
    }

    /// Hears what the environment says, until the line ends.
    fn listen(&self) {
        while let Ok(Some((word, passed))) = self.line.receive::<Word>() {
            match word {
                Word::Answer { to, outcome } => {
                    let waiting = self.lock().waiting.remove(&to);
                    if let Some(answer) = waiting {
                        // Whoever asked may have given up.
                        let _ = answer.send(outcome.map(|outcome| (outcome, passed)));
                    }
                }
                Word::Ended {
                    process,
                    exit,
                    at_ns,
                } => {
                    let program = self.lock().programs.remove(&process);
                    if let Some(watched) = program {
                        watched.ended(exit, Nanos(at_ns));
                    }
                }
                // They come before it is up.
                Word::Up { .. }
                | Word::Note { .. }
                | Word::Failed { .. }
                | Word::Unsupported { .. } => {}
            }
        }
        let mut state = self.lock();
        state.gone = true;
        // Those who wait see the other end of their channel go.
        state.waiting.clear();
        for (_, watched) in std::mem::take(&mut state.programs) {
            watched.ended(Exit::Gone, Nanos::now());
        }
        drop(state);
        self.gone.notify_all();
    }

    /// Waits until it is gone, or for as long as `limit`; whether it is.
    fn ended(&self, limit: Duration) -> bool {
        let waited = self
            .gone
            .wait_timeout_while(self.lock(), limit, |state| !state.gone);
        waited.unwrap_or_else(PoisonError::into_inner).0.gone
    }
}

impl Control for Shared {
    fn signal(&self, process: u64, signal: Signal) -> Result<(), Error> {
        self.ask(Order::Signal { process, signal }, &[], None)
            .map(drop)
    }
}

fn gone() -> Error {
    Error::Gone("its supervisor ended".into())
}

impl Netns {
    /// Makes it, of our own executable; returns when every pod can reach every other.
    pub fn up(topology: &Topology) -> Result<Netns, Error> {
        Netns::up_with(topology, &Options::default())
    }

    /// Makes it; returns when every pod can reach every other. [`Error::Unsupported`] where the
    /// machine does not allow it, with what is missing.
    pub fn up_with(topology: &Topology, options: &Options) -> Result<Netns, Error> {
        Netns::up_from(topology, options, stages::OUTER)
    }

    /// Makes what begins with this stage, whatever it is made of.
    pub(crate) fn up_from(
        topology: &Topology,
        options: &Options,
        stage: &str,
    ) -> Result<Netns, Error> {
        topology.addressed()?;
        let (ours, theirs) = UnixStream::pair().map_err(Error::io("a socket pair"))?;
        let mut command = stages::first(&options.program, stage)
            .ok_or_else(|| Error::Refused("no program is named to make it".into()))?;
        // Ctrl-C on the terminal is the holder's business.
        let outer = command
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(Error::io("starting the environment"))?;
        // It holds the other end of the line.
        drop(command);
        let mut netns = Netns {
            pods: Vec::new(),
            notes: Vec::new(),
            outer,
            shared: Arc::new(Shared {
                line: Line::new(ours),
                state: Mutex::default(),
                gone: Condvar::new(),
            }),
            listening: None,
        };
        netns.rise(topology)?;
        let shared = Arc::clone(&netns.shared);
        let listening = std::thread::Builder::new()
            .name("life line".into())
            .spawn(move || shared.listen())
            .map_err(Error::io("a thread for the life line"))?;
        netns.listening = Some(listening);
        Ok(netns)
    }

    fn rise(&mut self, topology: &Topology) -> Result<(), Error> {
        let line = &self.shared.line;
        let request = Request {
            number: 0,
            order: Order::Up(topology.clone()),
        };
        // A stage that failed has said why, and reads no more: its word counts.
        let sent = line.send(&request, &[]);
        loop {
            match line.receive::<Word>().map_err(Error::io("the life line"))? {
                Some((Word::Up { pods }, _)) => {
                    self.pods = pods;
                    sent.map_err(Error::io("the life line"))?;
                    return Ok(());
                }
                Some((Word::Note { text }, _)) => self.notes.push(text),
                Some((Word::Unsupported { missing, advice }, _)) => {
                    return Err(Error::Unsupported { missing, advice });
                }
                Some((Word::Failed { why }, _)) => return Err(Error::Refused(why)),
                Some((other, _)) => {
                    return Err(Error::Refused(format!("an answer too early: {other:?}")));
                }
                None => {
                    let status = self.outer.wait().map_err(Error::io("waiting for it"))?;
                    return Err(Error::Gone(format!("it did not come up ({status})")));
                }
            }
        }
    }

    /// What it has to do without, if anything.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The process id of its outermost process: with it ends everything else.
    pub fn outer_pid(&self) -> u32 {
        self.outer.id()
    }

    fn socket(&self, pod: &str, kind: Kind) -> Result<OwnedFd, Error> {
        find(&self.pods, pod)?;
        self.shared.socket(pod, kind)
    }

    /// Has a program started, with three streams.
    fn begin(
        &self,
        pod: &str,
        command: Command,
        reach: Reach,
        streams: Vec<OwnedFd>,
        watched: Arc<Watched>,
    ) -> Result<Process, Error> {
        let order = Order::Start(Start {
            pod: pod.to_owned(),
            program: command.program,
            arguments: command.arguments,
            variables: command.variables,
            directory: command.directory,
            reach,
        });
        let (number, outcome, _) = self.shared.ask(order, &streams, Some(&watched))?;
        // Ours of their ends: else their streams would never end.
        drop(streams);
        let Outcome::Started { pid } = outcome else {
            return Err(Error::Refused(format!("not started: {outcome:?}")));
        };
        Ok(Process {
            number,
            name: command.name,
            pod: pod.to_owned(),
            pid,
            watched,
            control: Arc::clone(&self.shared) as Arc<dyn Control>,
            input: Mutex::new(None),
        })
    }

    /// Waits until a program is ready.
    fn settle(&self, process: &Process, ready: &Ready, limit: Duration) -> Result<(), Error> {
        let not_ready = |why: String| Error::NotReady {
            program: process.name.clone(),
            pod: process.pod.clone(),
            why,
            said: process.last_lines(),
        };
        let late = || not_ready(format!("{} ms were not enough", limit.as_millis()));
        let ended = |exit: Exit| not_ready(format!("it {exit}"));
        match ready {
            Ready::Started => Ok(()),
            Ready::Line(start) => {
                let found = process.line(0, limit, |line| line.text.starts_with(start));
                match (found, process.exit()) {
                    (Ok(_), _) => Ok(()),
                    (Err(_), Some((exit, _))) => Err(ended(exit)),
                    (Err(_), None) => Err(late()),
                }
            }
            Ready::Done => match process.wait(limit) {
                Ok(Exit::Code(0)) => Ok(()),
                Ok(other) => Err(ended(other)),
                Err(_) => Err(late()),
            },
            Ready::Port(address) => {
                /// Between two tries.
                const PAUSE: Duration = Duration::from_millis(1);
                let end = Nanos::now() + limit;
                loop {
                    let left = Duration::from_nanos(end.since(Nanos::now()));
                    if self.connect(&process.pod, *address, left).is_ok() {
                        return Ok(());
                    }
                    if let Some(exit) = process.pause(PAUSE) {
                        return Err(ended(exit));
                    }
                    if left.is_zero() {
                        return Err(late());
                    }
                }
            }
        }
    }
}

impl Environment for Netns {
    fn pods(&self) -> &[Pod] {
        &self.pods
    }

    fn start(&self, pod: &str, command: Command) -> Result<Process, Error> {
        find(&self.pods, pod)?;
        let log = command.log.as_ref().map(|path| {
            let opened = File::options().create(true).append(true).open(path);
            opened.map_err(Error::io(format!("the log {}", path.display())))
        });
        let log = log.transpose()?;
        let watched = Arc::new(Watched::default());
        let mut theirs = Vec::with_capacity(3);
        let input = match command.input {
            Input::Nothing => {
                theirs.push(pod::nothing().map_err(Error::io("/dev/null"))?);
                None
            }
            Input::Pipe => {
                let (reader, writer) = std::io::pipe().map_err(Error::io("a pipe"))?;
                theirs.push(reader.into());
                Some(writer)
            }
        };
        for stream in [Stream::Out, Stream::Error] {
            let (reader, writer) = std::io::pipe().map_err(Error::io("a pipe"))?;
            theirs.push(writer.into());
            let log = log.as_ref().map(File::try_clone).transpose();
            let log = log.map_err(Error::io("a log"))?;
            watched
                .follow(reader, stream, log)
                .map_err(Error::io("a thread for the lines of a program"))?;
        }
        let (ready, limit) = (command.ready.clone(), command.limit);
        let mut process = self.begin(pod, command, Reach::Program, theirs, watched)?;
        process.input = Mutex::new(input);
        self.settle(&process, &ready, limit)?;
        Ok(process)
    }

    fn can(&self, capability: Capability) -> bool {
        match capability {
            Capability::OwnPorts
            | Capability::Names
            | Capability::Escapes
            | Capability::Capture
            | Capability::Filter
            | Capability::OwnDisk
            | Capability::Reset => true,
        }
    }

    fn escapes(&self) -> Result<Escapes, Error> {
        match self.shared.ask(Order::Escapes, &[], None)? {
            (_, Outcome::Escapes(escapes), _) => Ok(escapes),
            (_, other, _) => Err(Error::Refused(format!("no count came: {other:?}"))),
        }
    }

    fn spawn(&self, pod: &str, command: Command, streams: Streams) -> Result<Process, Error> {
        find(&self.pods, pod)?;
        let Streams {
            input,
            output,
            error,
        } = streams;
        let theirs = vec![input, output, error];
        self.begin(pod, command, Reach::Group, theirs, Arc::default())
    }

    fn packets(&self, pod: &str) -> Result<Tap, Error> {
        self.socket(pod, Kind::Packets).map(Tap::new)
    }

    fn ended(&self, limit: Duration) -> bool {
        self.shared.ended(limit)
    }

    fn connect(&self, pod: &str, to: SocketAddr, limit: Duration) -> Result<TcpStream, Error> {
        find(&self.pods, pod)?;
        self.shared.dial(pod, to, limit)
    }

    fn dialer(&self, pod: &str) -> Result<Dialer, Error> {
        let pod = find(&self.pods, pod)?.name.clone();
        let shared = Arc::clone(&self.shared);
        Ok(Box::new(move |to, limit| shared.dial(&pod, to, limit)))
    }

    fn listen(&self, pod: &str, at: SocketAddr) -> Result<TcpListener, Error> {
        let socket = self.socket(pod, Kind::Stream)?;
        sockets::listen(socket, at).map_err(Error::io(format!("listening in pod {pod} on {at}")))
    }

    fn datagrams(&self, pod: &str, at: SocketAddr) -> Result<UdpSocket, Error> {
        let socket = self.socket(pod, Kind::Datagram)?;
        rustix::net::bind(&socket, &at)
            .map_err(|error| Error::io(format!("binding in pod {pod} to {at}"))(error.into()))?;
        Ok(UdpSocket::from(socket))
    }

    fn place(&self, name: &str, contents: &str) -> Result<PathBuf, Error> {
        let order = Order::Place {
            name: name.to_owned(),
            contents: contents.to_owned(),
        };
        match self.shared.ask(order, &[], None)? {
            (_, Outcome::Placed { path }, _) => Ok(path),
            (_, other, _) => Err(Error::Refused(format!("{name} was not placed: {other:?}"))),
        }
    }

    fn disk(&self) -> Option<&Path> {
        Some(Path::new(pod::DISK))
    }

    fn reset(&self) -> Result<(), Error> {
        self.shared.ask(Order::Reset, &[], None).map(drop)
    }

    fn down(self: Box<Self>) -> Result<(), Error> {
        // `drop` waits until nothing is left.
        drop(self);
        Ok(())
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        self.shared.line.hang_up();
        // Outer ends when pid 1 has ended, and the kernel ends pid 1 when all others have.
        let _ = self.outer.wait();
        if let Some(listening) = self.listening.take() {
            // It ends with the line, and has nothing to say.
            let _ = listening.join();
        }
    }
}

pub(crate) mod sockets {
    //! Sockets that were opened in a pod, used from outside it.

    use std::io;
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::ioctl_fionbio;

    /// Connections that wait to be accepted.
    const BACKLOG: i32 = 128;

    pub(crate) fn connect(
        socket: OwnedFd,
        to: SocketAddr,
        limit: Duration,
    ) -> io::Result<TcpStream> {
        ioctl_fionbio(&socket, true)?;
        match rustix::net::connect(&socket, &to) {
            Ok(()) => {}
            Err(rustix::io::Errno::INPROGRESS) => {
                let limit = Timespec::try_from(limit).ok();
                let mut watched = [PollFd::new(&socket, PollFlags::OUT)];
                let ready = loop {
                    match poll(&mut watched, limit.as_ref()) {
                        Err(rustix::io::Errno::INTR) => {}
                        other => break other?,
                    }
                };
                if ready == 0 {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
        let stream = TcpStream::from(socket);
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    pub(crate) fn listen(socket: OwnedFd, at: SocketAddr) -> io::Result<TcpListener> {
        rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
        rustix::net::bind(&socket, &at)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(TcpListener::from(socket))
    }
}
