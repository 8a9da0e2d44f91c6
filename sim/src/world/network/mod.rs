//! The simulated network: TCP between named nodes, as a process sees it.
//!
//! What it keeps of TCP: bytes arrive in order or not at all; a flow holds a bounded number of unread bytes, then the
//! writer waits; dropping the writer ends the stream; a process that dies resets its connections; a path that is
//! down delays and a connection survives it; a machine that loses power leaves its peers half open; a connect is
//! refused if nobody listens and hangs if nobody answers. What it leaves out: segments, congestion, keep-alive.
//!
//! Modules: `endpoint` (what a process holds) → `switch` (all that exists, and the faults) → `connection` (two ends)
//! → `pipe` (one direction) → `alarm` (who waits, and for when); `message` (what the bytes mean).
//!
//! A process must be reported dead with [`SimNetwork::crash`] *before* its tasks are killed: killing drops its streams,
//! and a dropped writer of a living process ends its stream in good order.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, PoisonError, Weak},
    task::Waker,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use madsim::{task::NodeId, time::TimeHandle};
use tidegate::env::{ByteStream, Listener, sim::Network};

mod alarm;
mod config;
mod connection;
mod endpoint;
mod link;
mod message;
mod pipe;
mod switch;
mod tamper;

pub(crate) use alarm::wait_until;
pub use config::NetworkConfig;
pub use link::LinkSpeed;
pub use tamper::{Tamper, Tampering};

use crate::world::witness::{Witness, WitnessStand};
use connection::Side;
use endpoint::SimListener;
use switch::{Answer, Switch};
use tamper::Tampered;

/// How a node goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// The process dies; the kernel of its machine resets its connections.
    Process,
    /// The machine loses power; nobody is told.
    Machine,
}

/// Which directions of a path a fault concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the first node to the second only.
    OneWay,
    /// Both.
    BothWays,
}

/// The network of one run, shared by all its nodes. Its methods are to be called inside the simulation.
pub struct SimNetwork {
    switch: Mutex<Switch>,
    names: Mutex<BTreeMap<NodeId, String>>,
    witnesses: WitnessStand,
    /// What is to be done to the next message of a node.
    tampers: Mutex<BTreeMap<NodeId, Tamper>>,
    this: Weak<Self>,
}

impl SimNetwork {
    /// A network without nodes; all its latencies follow from `seed`.
    pub fn new(seed: u64, config: NetworkConfig) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            switch: Mutex::new(Switch::new(seed, config)),
            names: Mutex::new(BTreeMap::new()),
            witnesses: WitnessStand::default(),
            tampers: Mutex::new(BTreeMap::new()),
            this: this.clone(),
        })
    }

    /// Gives a node of the executor its host name. Needed once per node, before it listens or connects.
    pub fn add_node(&self, id: NodeId, name: &str) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(id, name.to_owned());
        self.change(|switch, _, _| switch.node(name));
    }

    /// Shows every message to a witness: when it is handed over, and when it has come.
    pub fn show_to(&self, witness: Weak<dyn Witness>) {
        self.witnesses.take(witness);
    }

    /// The node dies. To be called before its tasks are killed; from now on they can do nothing on the network.
    pub fn crash(&self, node: &str, crash: Crash) {
        self.change(|switch, now, wakes| {
            let node = switch.node(node);
            switch.crash(node, crash == Crash::Machine, now, wakes);
        });
    }

    /// A new process runs on the node, on a machine that has power. To be called before it is started.
    pub fn start(&self, node: &str) {
        self.change(|switch, now, wakes| {
            let node = switch.node(node);
            switch.start(node, now, wakes);
        });
    }

    /// Nothing gets through: bytes are held until the partition heals, connects hang, resets are lost.
    pub fn partition(&self, from: &str, to: &str, direction: Direction) {
        self.change_links(from, to, direction, |link| link.partitioned = true);
    }

    /// Data of established connections stands still; connects and resets get through.
    pub fn clog(&self, from: &str, to: &str, direction: Direction) {
        self.change_links(from, to, direction, |link| link.clogged = true);
    }

    /// Slows what is sent from now on; [`LinkSpeed::FULL`] ends it.
    pub fn slow(&self, from: &str, to: &str, direction: Direction, speed: LinkSpeed) {
        self.change_links(from, to, direction, |link| link.speed = speed);
    }

    /// Ends a partition: what it held is sent again. Clog and slowness stay.
    pub fn heal(&self, from: &str, to: &str, direction: Direction) {
        self.change_links(from, to, direction, |link| link.partitioned = false);
    }

    /// Ends a clog. Partition and slowness stay.
    pub fn unclog(&self, from: &str, to: &str, direction: Direction) {
        self.change_links(from, to, direction, |link| link.clogged = false);
    }

    /// Ends every partition, every clog and all slowness.
    pub fn heal_all(&self) {
        self.end_tampering();
        self.change(|switch, now, wakes| {
            let all: Vec<(usize, usize)> = switch.links().iter().map(|link| (link.from, link.to)).collect();
            for (from, to) in all {
                switch.change_link(from, to, now, wakes, |link| {
                    (link.partitioned, link.clogged, link.speed) = (false, false, LinkSpeed::FULL);
                });
            }
        });
    }

    /// Cuts every connection between two nodes and says how many: both ends get a reset now.
    pub fn reset_connections(&self, a: &str, b: &str) -> usize {
        self.change(|switch, now, wakes| {
            let (a, b) = (switch.node(a), switch.node(b));
            switch.reset_connections(now, wakes, |client, server| {
                (client, server) == (a, b) || (server, client) == (a, b)
            })
        })
    }

    /// Cuts every connection there is (a reconnect storm follows) and says how many.
    pub fn reset_all_connections(&self) -> usize {
        self.change(|switch, now, wakes| switch.reset_connections(now, wakes, |_, _| true))
    }

    /// Tampers with one message that a node sends, the next that is meant. A node has one such fault at a time.
    pub fn tamper(&self, node: NodeId, tamper: Tamper) {
        self.tampers.lock().unwrap_or_else(PoisonError::into_inner).insert(node, tamper);
    }

    /// Leaves the messages of all nodes alone.
    pub fn end_tampering(&self) {
        self.tampers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// What goes out instead of a write of the calling node.
    fn tampered(&self, sender: Side, bytes: &[u8]) -> Option<Tampered> {
        let mut tampers = self.tampers.lock().unwrap_or_else(PoisonError::into_inner);
        if tampers.is_empty() {
            return None;
        }
        let node = madsim::plugin::node();
        let tampered = tampers.get(&node)?.apply(sender, bytes)?;
        tampers.remove(&node);
        Some(tampered)
    }

    /// How often, or on how many bytes, each kind of fault had an effect. Kinds without effect are missing.
    ///
    /// `connection_reset` (ends that noticed), `partition_bytes_held`, `clog_bytes_held`, `crash_bytes_lost`,
    /// `slow_link` (segments), `message_lost`, `message_duplicated`, `message_delayed`, `connect_unanswered` (attempts), `half_open` (ends, each time that a reset was due);
    /// and, no fault, `window_full` (writes that had to wait).
    pub fn fault_counts(&self) -> BTreeMap<&'static str, u64> {
        self.switch().counts.snapshot()
    }

    /// Connections of which some half is still open, to find leaks.
    pub fn open_connections(&self) -> usize {
        self.switch().open_connections()
    }

    fn change_links(&self, from: &str, to: &str, direction: Direction, change: impl Fn(&mut link::Link)) {
        self.change(|switch, now, wakes| {
            let (from, to) = (switch.node(from), switch.node(to));
            switch.change_link(from, to, now, wakes, &change);
            if direction == Direction::BothWays {
                switch.change_link(to, from, now, wakes, &change);
            }
        });
    }

    fn switch(&self) -> std::sync::MutexGuard<'_, Switch> {
        self.switch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Switch, Instant, &mut Vec<Waker>) -> T) -> T {
        self.change_at(&TimeHandle::current(), change)
    }

    /// Changes the switch under its lock, then wakes whom that concerns.
    fn change_at<T>(&self, time: &TimeHandle, change: impl FnOnce(&mut Switch, Instant, &mut Vec<Waker>) -> T) -> T {
        let mut wakes = Vec::new();
        let result = change(&mut self.switch(), time.now_instant(), &mut wakes);
        wakes.into_iter().for_each(Waker::wake);
        result
    }

    /// The calling node; waits for ever if its process is dead, as a dead process does nothing.
    async fn caller(&self) -> usize {
        let id = madsim::plugin::node();
        let name = self.names.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        let name = name.unwrap_or_else(|| panic!("node {id} has no name on the network: call SimNetwork::add_node"));
        let (node, runs) = self.change(|switch, _, _| {
            let node = switch.node(&name);
            (node, switch.process_runs(node))
        });
        if !runs {
            std::future::pending::<()>().await;
        }
        node
    }
}

fn host_and_port(address: &str) -> io::Result<(&str, u16)> {
    let parsed = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    parsed.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("{address:?} is not host:port")))
}

fn is_own_host(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "0.0.0.0")
}

#[async_trait]
impl Network for SimNetwork {
    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        let (host, port) = host_and_port(address)?;
        let node = self.caller().await;
        let network = self.this.upgrade().expect("the network is borrowed");
        let time = TimeHandle::current();
        let own_name = self.switch().name(node).to_owned();
        if host != own_name && !is_own_host(host) {
            let message = format!("{host} is not this node, which is {own_name}");
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, message));
        }
        let (port, listener) = self.switch().listen(node, port)?;
        Ok(Box::new(SimListener { network, time, host: own_name, node, port, listener }))
    }

    async fn connect(&self, address: &str) -> io::Result<ByteStream> {
        /// When the kernel repeats an unanswered request for the first time; then it doubles, as on Linux.
        const FIRST_RETRY: Duration = Duration::from_secs(1);
        let (host, port) = host_and_port(address)?;
        let from = self.caller().await;
        let network = self.this.upgrade().expect("the network is borrowed");
        let time = TimeHandle::current();
        let to = if is_own_host(host) { from } else { self.switch().node(host) };
        let deadline = time.now_instant() + self.switch().config.connect_timeout;
        let mut retry = FIRST_RETRY;
        loop {
            let asked_at = time.now_instant();
            let round_trip = self.switch().sample_round_trip(from, to);
            wait_until(&time, (asked_at + round_trip).min(deadline)).await;
            if !self.switch().process_runs(from) {
                std::future::pending::<()>().await;
            }
            if asked_at + round_trip <= deadline {
                match self.change_at(&time, |switch, _, wakes| switch.connect(from, to, port, &time, wakes)) {
                    Answer::Established(connection) => {
                        return Ok(endpoint::byte_stream(&network, &time, connection, Side::Client));
                    }
                    Answer::Refused => return Err(io::ErrorKind::ConnectionRefused.into()),
                    Answer::Silence => {}
                }
            }
            wait_until(&time, (asked_at + retry).min(deadline)).await;
            if time.now_instant() >= deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, format!("{address} did not answer")));
            }
            retry *= 2;
        }
    }
}
