//! Connections between clients and the metadata server, and which nodes can reach each other.
//!
//! Frames of a connection arrive in order and are lost only with it. Against the better knowledge of TCP a frame is now
//! and then repeated, or changes its place with the one before: the numbers of a session's messages must find that out.

use crate::metadata::{ClientFrame, ServerFrame};
use crate::plan::{MS, Node};
use crate::world::{Event, World};
use std::collections::VecDeque;

/// A connection of one life of a client to one start of the metadata server.
#[derive(Debug)]
pub struct Connection {
    /// The client.
    pub client: usize,
    life: u64,
    epoch: u64,
    up: VecDeque<ClientFrame>,
    down: VecDeque<ServerFrame>,
    /// The client has not closed it.
    client_open: bool,
    /// The metadata server has not closed it.
    meta_open: bool,
    made: bool,
}

/// All connections and all partitions.
#[derive(Debug, Default)]
pub struct Network {
    connections: Vec<Connection>,
    blocked: Vec<(Node, Option<Node>, u64)>,
}

impl Network {
    /// Until when nothing gets through between two nodes, if that is so now.
    pub fn blocked_until(&self, a: Node, b: Node, now: u64) -> Option<u64> {
        let concerns = |(x, y, until): &&(Node, Option<Node>, u64)| {
            *until > now
                && match y {
                    Some(y) => (*x, *y) == (a, b) || (*x, *y) == (b, a),
                    None => *x == a || *x == b,
                }
        };
        self.blocked.iter().filter(concerns).map(|(_, _, until)| *until).max()
    }

    /// Nothing gets through any more.
    pub fn block(&mut self, a: Node, b: Option<Node>, until: u64) {
        self.blocked.push((a, b, until));
    }

    /// Everything gets through again.
    pub fn heal(&mut self, now: u64) {
        self.blocked.iter_mut().for_each(|(_, _, until)| *until = now.min(*until));
    }
}

impl World {
    /// A client tries to connect.
    pub fn connect(&mut self, client: usize) -> usize {
        let life = self.clients[client].life;
        let connection = self.net.connections.len();
        self.net.connections.push(Connection {
            client,
            life,
            epoch: 0,
            up: VecDeque::new(),
            down: VecDeque::new(),
            client_open: true,
            meta_open: false,
            made: false,
        });
        let delay = self.delay();
        self.after(delay, Event::Accept { connection });
        connection
    }

    /// The first packet of a connection is at the metadata server.
    pub fn handle_accept(&mut self, connection: usize) {
        let client = self.net.connections[connection].client;
        let blocked = self.net.blocked_until(Node::Client(client), Node::Meta, self.now).is_some();
        let up = self.meta.is_up() && self.paused_until(Node::Meta).is_none();
        let made = up && !blocked;
        let made_known = match made {
            true => self.delay(),
            // Refused at once, or given up by the client after a while.
            false if blocked || self.meta.is_up() => 200 * MS,
            false => self.delay(),
        };
        let state = &mut self.net.connections[connection];
        state.meta_open = made;
        state.epoch = self.meta.epoch;
        self.after(made_known, Event::Connected { connection, made });
    }

    /// The client knows whether it is connected.
    pub fn handle_connected(&mut self, connection: usize, made: bool) {
        let Connection { client, life, .. } = self.net.connections[connection];
        if let Some(until) = self.paused_until(Node::Client(client)) {
            return self.at(until, Event::Connected { connection, made });
        }
        self.net.connections[connection].made = made;
        if self.clients[client].life == life && self.clients[client].connection() == Some(connection) {
            self.client_connected(client, made);
        }
    }

    /// The client knows that its connection is gone.
    pub fn handle_broken(&mut self, connection: usize) {
        let Connection { client, life, .. } = self.net.connections[connection];
        if let Some(until) = self.paused_until(Node::Client(client)) {
            return self.at(until, Event::Broken { connection });
        }
        if self.clients[client].life == life && self.clients[client].connection() == Some(connection) {
            self.net.connections[connection].client_open = false;
            self.client_disconnected(client);
        }
    }

    /// The client sends a frame.
    pub fn send_up(&mut self, connection: usize, frame: ClientFrame) {
        if !self.net.connections[connection].client_open {
            return;
        }
        let first = matches!(frame, ClientFrame::Hello(_) | ClientFrame::Fin);
        let twice = !first && self.mischief();
        let swap = !first && self.mischief();
        let queue = &mut self.net.connections[connection].up;
        if twice {
            queue.push_back(frame.clone());
        }
        queue.push_back(frame);
        let last = queue.len() - 1;
        if swap && last > 0 && !matches!(queue[last - 1], ClientFrame::Hello(_)) {
            queue.swap(last, last - 1);
        }
        for _ in 0..1 + usize::from(twice) {
            let delay = self.delay();
            self.after(delay, Event::Frame { connection, up: true });
        }
    }

    /// The metadata server sends a frame.
    pub fn send_down(&mut self, connection: usize, frame: ServerFrame) {
        if !self.net.connections[connection].meta_open {
            return;
        }
        let first = matches!(frame, ServerFrame::Welcome(_) | ServerFrame::Refused | ServerFrame::Fin);
        let twice = !first && self.mischief();
        let swap = !first && self.mischief();
        let queue = &mut self.net.connections[connection].down;
        if twice {
            queue.push_back(frame.clone());
        }
        queue.push_back(frame);
        let last = queue.len() - 1;
        if swap && last > 0 && !matches!(queue[last - 1], ServerFrame::Welcome(_)) {
            queue.swap(last, last - 1);
        }
        for _ in 0..1 + usize::from(twice) {
            let delay = self.delay();
            self.after(delay, Event::Frame { connection, up: false });
        }
    }

    /// The client closes its end.
    pub fn close_at_client(&mut self, connection: usize) {
        self.send_up(connection, ClientFrame::Fin);
        self.net.connections[connection].client_open = false;
    }

    /// The metadata server closes its end.
    pub fn close_at_meta(&mut self, connection: usize) {
        self.send_down(connection, ServerFrame::Fin);
        self.net.connections[connection].meta_open = false;
    }

    /// A connection breaks: what is on its way is lost.
    pub fn break_connection(&mut self, connection: usize) {
        let state = &mut self.net.connections[connection];
        state.up.clear();
        state.down.clear();
        state.meta_open = false;
        let delay = self.delay();
        self.after(delay, Event::Broken { connection });
        if self.net.connections[connection].epoch == self.meta.epoch {
            self.meta_disconnected(connection);
        }
    }

    /// All connections to a metadata server that is gone. Some clients are told at once, others find out.
    pub fn break_all_connections(&mut self) {
        for connection in 0..self.net.connections.len() {
            if self.net.connections[connection].meta_open {
                let state = &mut self.net.connections[connection];
                state.meta_open = false;
                state.up.clear();
                if self.rng.chance(700) {
                    let delay = self.delay();
                    self.after(delay, Event::Broken { connection });
                }
            }
        }
    }

    /// A client is gone: the metadata server is told, unless the machine is gone with it.
    pub fn client_vanished(&mut self, connection: usize) {
        if self.rng.chance(700) {
            self.close_at_client(connection);
        }
        self.net.connections[connection].client_open = false;
    }

    /// A frame is due.
    pub fn handle_frame(&mut self, connection: usize, up: bool) {
        let Connection { client, life, epoch, client_open, meta_open, .. } = self.net.connections[connection];
        if let Some(until) = self.net.blocked_until(Node::Client(client), Node::Meta, self.now) {
            let late = self.delay();
            return self.at(until + late, Event::Frame { connection, up });
        }
        let node = if up { Node::Meta } else { Node::Client(client) };
        if let Some(until) = self.paused_until(node) {
            return self.at(until, Event::Frame { connection, up });
        }
        if up {
            let Some(frame) = self.net.connections[connection].up.pop_front() else { return };
            if epoch != self.meta.epoch || !self.meta.is_up() {
                // Nobody is there.
                return self.handle_broken(connection);
            }
            if meta_open {
                self.stats.delivered += 1;
                self.meta_frame(connection, frame);
            }
        } else {
            let Some(frame) = self.net.connections[connection].down.pop_front() else { return };
            if client_open && self.clients[client].life == life && self.clients[client].connection() == Some(connection)
            {
                self.stats.delivered += 1;
                self.client_frame(client, connection, frame);
            }
        }
    }

    /// A client's connection is cut by somebody between the two.
    pub fn cut_client(&mut self, client: usize) {
        if let Some(connection) = self.clients[client].connection()
            && self.net.connections[connection].made
        {
            self.break_connection(connection);
        }
    }
}
