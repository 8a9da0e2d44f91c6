//! Ports, backlogs, and what a request to connect is answered with.

use std::{collections::VecDeque, io, task::Waker, time::Instant};

use madsim::time::TimeHandle;

use super::{Answer, Backlog, FIRST_FREE_PORT, Switch};
use crate::world::network::connection::Side;

impl Switch {
    /// Takes a port of a node; 0 takes a free one. Returns the port and the listener's identity.
    pub(in crate::world::network) fn listen(&mut self, node: usize, port: u16) -> io::Result<(u16, u64)> {
        let port = match port {
            0 => self.free_port(node)?,
            taken if self.listeners.contains_key(&(node, taken)) => return Err(io::ErrorKind::AddrInUse.into()),
            free => free,
        };
        self.listeners_opened += 1;
        let listener = self.listeners_opened;
        self.listeners.insert((node, port), Backlog { listener, waiting: VecDeque::new(), waker: None });
        Ok((port, listener))
    }

    fn free_port(&mut self, node: usize) -> io::Result<u16> {
        for _ in FIRST_FREE_PORT..u16::MAX {
            let port = self.nodes[node].next_port;
            self.nodes[node].next_port = if port == u16::MAX { FIRST_FREE_PORT } else { port + 1 };
            if !self.listeners.contains_key(&(node, port)) {
                return Ok(port);
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, "no port is free"))
    }

    /// The next connection that nobody accepted, or the waker is kept. `None` for ever if the node crashed.
    pub(in crate::world::network) fn accept(
        &mut self,
        (node, port): (usize, u16),
        listener: u64,
        waker: &Waker,
        wakes: &mut Vec<Waker>,
    ) -> Option<usize> {
        let backlog = self.listeners.get_mut(&(node, port)).filter(|backlog| backlog.listener == listener)?;
        let connection = backlog.waiting.pop_front();
        if connection.is_none() {
            wakes.extend(backlog.waker.replace(waker.clone()).filter(|parked| !parked.will_wake(waker)));
        }
        connection
    }

    pub(in crate::world::network) fn stop_listening(
        &mut self,
        node: usize,
        port: u16,
        listener: u64,
        now: Instant,
        wakes: &mut Vec<Waker>,
    ) {
        if self.listeners.get(&(node, port)).is_none_or(|backlog| backlog.listener != listener) {
            return;
        }
        let backlog = self.listeners.remove(&(node, port)).expect("it is there");
        wakes.extend(backlog.waker);
        for connection in backlog.waiting {
            self.with(connection, now, wakes, |connection, at| connection.finish(Side::Server, at));
            self.drop_half(connection, Side::Server, now, wakes);
            self.drop_half(connection, Side::Server, now, wakes);
        }
    }

    /// What a request to connect that arrives now is answered with.
    pub(in crate::world::network) fn connect(
        &mut self,
        from: usize,
        to: usize,
        port: u16,
        time: &TimeHandle,
        wakes: &mut Vec<Waker>,
    ) -> Answer {
        if self.link(from, to).partitioned || self.link(to, from).partitioned || !self.nodes[to].machine_runs {
            self.counts.add("connect_unanswered", 1);
            return Answer::Silence;
        }
        let backlog_limit = self.config.backlog;
        match self.listeners.get(&(to, port)) {
            None => return Answer::Refused,
            Some(backlog) if backlog.waiting.len() >= backlog_limit => return Answer::Silence,
            Some(_) => {}
        }
        let connection = self.open_connection(from, to, time);
        let backlog = self.listeners.get_mut(&(to, port)).expect("it was there");
        backlog.waiting.push_back(connection);
        wakes.extend(backlog.waker.take());
        Answer::Established(connection)
    }
}
