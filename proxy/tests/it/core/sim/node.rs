//! A sidecar in the world: the core, and what an edge keeps of its connections.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use meshproof_proxy::Bugs;
use meshproof_proxy::core::{Action, Conn, Core, Settings, Side};
use meshproof_proxy::metrics::Metrics;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) core: Core,
    pub(super) metrics: Arc<Metrics>,
    /// Links of connections that stand.
    pub(super) links: BTreeMap<Conn, usize>,
    pub(super) connecting: Vec<(Conn, SocketAddr)>,
    pub(super) paused: BTreeSet<Conn>,
    /// Closed when what waits is written.
    pub(super) closing: BTreeSet<Conn>,
    /// Have something to write.
    pub(super) dirty: BTreeSet<Conn>,
    /// Never to be heard of again.
    gone: BTreeSet<Conn>,
    pub(super) drained: bool,
    /// Who takes over.
    pub(super) heir: Option<usize>,
    pub(super) limits: meshproof_proxy::config::Limits,
}

/// What the world has to do for a node.
#[derive(Debug)]
pub(super) enum Todo {
    /// This end of the link is closed.
    Close(usize, Conn),
    /// This connection goes to the heir.
    Release(usize, Conn, Side, Vec<u8>),
}

impl Node {
    pub(super) fn new(settings: Settings, bugs: Bugs) -> Node {
        let metrics = Arc::new(Metrics::default());
        let limits = settings.limits;
        Node {
            core: Core::new(settings, Arc::clone(&metrics), bugs),
            metrics,
            links: BTreeMap::new(),
            connecting: Vec::new(),
            paused: BTreeSet::new(),
            closing: BTreeSet::new(),
            dirty: BTreeSet::new(),
            gone: BTreeSet::new(),
            drained: false,
            heir: None,
            limits,
        }
    }

    /// Takes what the core wants done; what is the world's comes back.
    pub(super) fn settle(&mut self) -> Vec<Todo> {
        let (mut actions, mut dirty, mut todo) = (Vec::new(), Vec::new(), Vec::new());
        self.core.actions(&mut actions);
        for action in actions.drain(..) {
            todo.extend(self.act(action));
        }
        self.core.dirty(&mut dirty);
        for conn in dirty {
            assert!(!self.gone.contains(&conn), "output after the end");
            self.dirty.insert(conn);
        }
        for conn in &self.gone {
            assert!(self.core.output(*conn).is_empty(), "output after the end");
        }
        let census = self.core.census();
        assert!(
            census.in_flight <= census.flights + 1 && census.in_flight <= self.limits.in_flight
        );
        assert!(
            census
                .clients
                .iter()
                .all(|n| *n <= self.limits.connections + 64)
        );
        todo
    }

    fn act(&mut self, action: Action) -> Option<Todo> {
        let (Action::Connect { conn, .. }
        | Action::Close(conn)
        | Action::CloseWhenWritten(conn)
        | Action::Pause(conn)
        | Action::Resume(conn)
        | Action::Release { conn, .. }) = action
        else {
            assert!(!self.drained, "drained twice");
            self.drained = true;
            return None;
        };
        assert!(!self.gone.contains(&conn), "{action:?} after the end");
        match action {
            Action::Connect { conn, to } => self.connecting.push((conn, to)),
            Action::Close(conn) => return self.forget(conn).map(|link| Todo::Close(link, conn)),
            Action::CloseWhenWritten(conn) => {
                assert!(self.closing.insert(conn));
            }
            Action::Pause(conn) => assert!(self.paused.insert(conn)),
            Action::Resume(conn) => assert!(self.paused.remove(&conn)),
            Action::Release { conn, side, unread } => {
                let link = self.forget(conn);
                return link.map(|link| Todo::Release(link, conn, side, unread));
            }
            Action::Drained => {}
        }
        None
    }

    /// A connection has ended; gives its link, where it had one.
    pub(super) fn forget(&mut self, conn: Conn) -> Option<usize> {
        self.gone.insert(conn);
        self.connecting.retain(|(other, _)| *other != conn);
        self.paused.remove(&conn);
        self.closing.remove(&conn);
        self.dirty.remove(&conn);
        self.links.remove(&conn)
    }
}
