//! TCP sockets that do not block.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};

/// Begins a connection. The stream does not block and sends small frames at once
/// (`TCP_NODELAY`); it becomes writable when the connection stands or has failed, which
/// [`TcpStream::take_error`] tells. Fails at once where there is no route or no descriptor.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = socket_with(
        family,
        SocketType::STREAM,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        Some(ipproto::TCP),
    )?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Listens. An address that an earlier process left a moment ago can be had again at once
/// (`SO_REUSEADDR`); one where somebody listens cannot. Up to 4096 connections wait to be
/// accepted, where the kernel allows as many. What is accepted is asked by the kernel whether it is
/// still there after a minute of silence, and ends two minutes after its peer vanished.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = socket_with(
        family,
        SocketType::STREAM,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        Some(ipproto::TCP),
    )?;
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    // Linux: accepted connections have these from their listener.
    rustix::net::sockopt::set_socket_keepalive(&socket, true)?;
    rustix::net::sockopt::set_tcp_keepidle(&socket, KEEPALIVE_IDLE)?;
    rustix::net::sockopt::set_tcp_keepintvl(&socket, KEEPALIVE_INTERVAL)?;
    rustix::net::sockopt::set_tcp_keepcnt(&socket, KEEPALIVE_PROBES)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

const BACKLOG: i32 = 4096;
/// A connection without traffic is asked after this long,
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// again after each of these,
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// and is over when so many were not answered.
const KEEPALIVE_PROBES: u32 = 6;

/// Takes the next connection that waits; the stream does not block and sends small frames at
/// once. Fails with [`io::ErrorKind::WouldBlock`] where none waits, and where the process has no
/// descriptor left ([`is_exhausted`]).
pub fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (socket, peer) =
        rustix::net::acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    let peer = match peer.map(SocketAddr::try_from) {
        Some(Ok(peer)) => peer,
        _ => stream.peer_addr()?,
    };
    Ok((stream, peer))
}

/// Whether an accept or a connect failed because descriptors or memory are used up: it is of no
/// use to try again at once.
pub fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    Errno::from_io_error(error).is_some_and(|e| {
        matches!(
            e,
            Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM
        )
    })
}

/// Makes closing this connection a reset, and lets go of what was not sent.
pub fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_listener_refuses_and_its_address_can_be_had_again() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(
            accept(&listener).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        let peer = TcpStream::connect(address).unwrap();
        let (ours, from) = accept(&listener).unwrap();
        assert_eq!(from, peer.local_addr().unwrap());
        assert!(ours.nodelay().unwrap());
        assert!(rustix::net::sockopt::socket_keepalive(&ours).unwrap());
        let idle = rustix::net::sockopt::tcp_keepidle(&ours).unwrap();
        assert_eq!(idle, KEEPALIVE_IDLE);
        assert_eq!(
            listen(address).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        drop(listener);
        assert_eq!(
            TcpStream::connect(address).unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
        // Although a connection of the old listener stands.
        let again = listen(address).unwrap();
        assert_eq!(again.local_addr().unwrap(), address);
    }

    #[test]
    fn exhaustion_is_told_from_other_errors() {
        let error = |errno: rustix::io::Errno| io::Error::from(errno);
        assert!(is_exhausted(&error(rustix::io::Errno::MFILE)));
        assert!(is_exhausted(&error(rustix::io::Errno::NFILE)));
        assert!(!is_exhausted(&error(rustix::io::Errno::CONNABORTED)));
    }
}
