//! The data thread: epoll around [`crate::core::Core`].
//!
//! One round: everything that is ready is read and handed to the core, orders of the control side
//! are taken, what the core wants done is done, and then every connection that has got something
//! to write is written once. Writing once per connection and round is what makes pipelined
//! traffic cheap: 64 answers leave in one segment train, not in 64.
//!
//! Orders come by a channel and an eventfd, what happened is told by a tokio channel, so that the
//! two threads share nothing but counters.

mod sockets;
mod thread;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use meshproof_sys::wake::Wake;
use tokio::sync::{mpsc::UnboundedSender, oneshot};

use crate::core::{Command, Core, Side};

/// What the control side orders.
#[derive(Debug)]
pub enum Order {
    /// For the core. [`Command::HandOver`] belongs into [`Order::HandOver`].
    Core(Command),
    /// Accept here, in place of the listener that this side had. [`Told::Listening`] follows.
    Listen(Side, TcpListener),
    /// Close this side's listener, so that the kernel refuses new connections; answered when that
    /// is so. Connections that stand are the core's business.
    CloseListener(Side, oneshot::Sender<()>),
    /// The same, after those were accepted who waited for it.
    FinishListener(Side, oneshot::Sender<()>),
    /// A copy of this side's listener, for a successor; `None` where the side does not listen.
    ShareListener(Side, oneshot::Sender<Option<TcpListener>>),
    /// Serve a connection that came from elsewhere.
    Adopt(Handed),
    /// Give every client connection away, each as soon as nothing of it is in flight.
    HandOver(Heir),
    /// Close everything and end.
    Stop,
}

/// A client connection that passes from one process to the next.
#[derive(Debug)]
pub struct Handed {
    /// Where it was accepted.
    pub side: Side,
    /// Its socket.
    pub stream: TcpStream,
    /// Read from it and not used: the front of a frame.
    pub unread: Vec<u8>,
}

/// Who gets the connections that are given away. The other end hears of each, and of the end: the
/// data thread lets go of this when nothing is in flight and no client is left.
#[derive(Debug)]
pub struct Heir {
    // In this order, so that the channel is closed when the eventfd says that something happened.
    handed: mpsc::Sender<Handed>,
    _raised: Raise,
    wake: Arc<Wake>,
}

#[derive(Debug)]
struct Raise(Arc<Wake>);

impl Drop for Raise {
    fn drop(&mut self) {
        self.0.raise();
    }
}

impl Heir {
    /// `wake` is raised whenever the receiver has something to hear.
    pub fn new(wake: Arc<Wake>) -> (Heir, mpsc::Receiver<Handed>) {
        let (handed, received) = mpsc::channel();
        let heir = Heir {
            handed,
            _raised: Raise(Arc::clone(&wake)),
            wake,
        };
        (heir, received)
    }

    fn give(&self, handed: Handed) {
        // Nobody takes it: whoever asked for the hand-over is gone, and so is the client.
        let _ = self.handed.send(handed);
        self.wake.raise();
    }
}

/// What the data thread tells.
#[derive(Debug)]
pub enum Told {
    /// A listener accepts.
    Listening(Side, SocketAddr),
    /// A listener is closed.
    ListenerClosed(Side),
    /// After [`Command::Drain`] or [`Order::HandOver`]: nothing is in flight, no client is left.
    Drained,
    /// The thread has ended: by [`Order::Stop`], or because epoll itself failed.
    Ended(io::Result<()>),
}

/// The data thread has ended, so that nobody takes orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the data thread has ended")]
pub struct Ended;

/// Gives orders; as many copies as wanted.
#[derive(Clone, Debug)]
pub struct Handle {
    orders: mpsc::Sender<Order>,
    wake: Arc<Wake>,
}

impl Handle {
    /// Gives an order; they are carried out in the order in which they are given.
    pub fn order(&self, order: Order) -> Result<(), Ended> {
        self.orders.send(order).map_err(|_| Ended)?;
        self.wake.raise();
        Ok(())
    }

    /// Gives the core a command.
    pub fn core(&self, command: Command) -> Result<(), Ended> {
        self.order(Order::Core(command))
    }

    /// Closes a side's listener and waits until the kernel refuses new connections there.
    pub async fn close_listener(&self, side: Side) -> Result<(), Ended> {
        let (done, closed) = oneshot::channel();
        self.order(Order::CloseListener(side, done))?;
        closed.await.map_err(|_| Ended)
    }

    /// The same, after those were accepted whom the kernel had let in already: they would be reset.
    pub async fn finish_listener(&self, side: Side) -> Result<(), Ended> {
        let (done, closed) = oneshot::channel();
        self.order(Order::FinishListener(side, done))?;
        closed.await.map_err(|_| Ended)
    }

    /// A copy of a side's listener; `None` where the side does not listen.
    pub async fn share_listener(&self, side: Side) -> Result<Option<TcpListener>, Ended> {
        let (answer, shared) = oneshot::channel();
        self.order(Order::ShareListener(side, answer))?;
        shared.await.map_err(|_| Ended)
    }
}

/// The data thread. It ends when this is dropped.
#[derive(Debug)]
pub struct Data {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Data {
    /// Starts the thread; it listens nowhere yet. Fails when the process has no descriptor or
    /// thread left.
    pub fn start(core: Core, told: UnboundedSender<Told>) -> io::Result<Data> {
        let (orders, taken) = mpsc::channel();
        let wake = Arc::new(Wake::new()?);
        let handle = Handle {
            orders,
            wake: Arc::clone(&wake),
        };
        let mut thread = thread::Thread::new(core, taken, wake, told.clone())?;
        let thread = std::thread::Builder::new()
            .name("data".to_owned())
            .spawn(move || {
                let result = thread.run();
                // Every socket is closed before anybody hears of the end.
                drop(thread);
                let _ = told.send(Told::Ended(result));
            })?;
        Ok(Data {
            handle,
            thread: Some(thread),
        })
    }

    /// Gives orders.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        let _ = self.handle.order(Order::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic there was told of by its hook; there is nothing left to do about it.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
