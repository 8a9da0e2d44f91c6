//! All nodes, links, listeners and connections of a run, and what the faults do to them.
//!
//! One lock guards a switch; no method waits, and tasks to wake are handed back in `wakes`, to be woken when the
//! lock is released (a woken task may drop its streams, which need the lock). `listening` holds ports and connects,
//! `faults` what the nemesis does.

use std::{
    collections::{BTreeMap, VecDeque},
    task::Waker,
    time::{Duration, Instant},
};

use madsim::time::TimeHandle;
use rand::Rng as _;

use super::{
    alarm::Alarm,
    config::NetworkConfig,
    connection::{Connection, End, Side, Surroundings},
    link::Link,
    pipe::{Latency, Pipe},
};
use crate::world::{counts::Counts, random};

mod faults;
mod listening;

/// Where a port is free for those who ask for any.
const FIRST_FREE_PORT: u16 = 40_000;

/// A machine with one process.
struct Node {
    name: String,
    process_runs: bool,
    machine_runs: bool,
    next_port: u16,
}

/// A listener's connections that nobody has accepted yet.
struct Backlog {
    listener: u64,
    waiting: VecDeque<usize>,
    waker: Option<Waker>,
}

/// What a connect attempt met.
pub(in crate::world::network) enum Answer {
    /// A connection, by its index.
    Established(usize),
    /// Nobody listens there.
    Refused,
    /// Nothing came back.
    Silence,
}

pub(in crate::world::network) struct Switch {
    pub(in crate::world::network) config: NetworkConfig,
    pub(in crate::world::network) counts: Counts,
    seed: u64,
    nodes: Vec<Node>,
    node_by_name: BTreeMap<String, usize>,
    links: Vec<Link>,
    link_by_nodes: BTreeMap<(usize, usize), usize>,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    listeners: BTreeMap<(usize, u16), Backlog>,
    listeners_opened: u64,
}

impl Switch {
    pub(in crate::world::network) fn new(seed: u64, config: NetworkConfig) -> Self {
        Self {
            config,
            counts: Counts::default(),
            seed,
            nodes: Vec::new(),
            node_by_name: BTreeMap::new(),
            links: Vec::new(),
            link_by_nodes: BTreeMap::new(),
            connections: Vec::new(),
            free: Vec::new(),
            listeners: BTreeMap::new(),
            listeners_opened: 0,
        }
    }

    /// The node of this name; a name that is new is a machine that runs.
    pub(in crate::world::network) fn node(&mut self, name: &str) -> usize {
        if let Some(&node) = self.node_by_name.get(name) {
            return node;
        }
        let node = self.nodes.len();
        let name = name.to_owned();
        self.node_by_name.insert(name.clone(), node);
        self.nodes.push(Node { name, process_runs: true, machine_runs: true, next_port: FIRST_FREE_PORT });
        node
    }

    pub(in crate::world::network) fn name(&self, node: usize) -> &str {
        &self.nodes[node].name
    }

    pub(in crate::world::network) fn process_runs(&self, node: usize) -> bool {
        self.nodes[node].process_runs
    }

    fn link_id(&mut self, from: usize, to: usize) -> usize {
        *self.link_by_nodes.entry((from, to)).or_insert_with(|| {
            self.links.push(Link::new(from, to));
            self.links.len() - 1
        })
    }

    pub(in crate::world::network) fn link(&mut self, from: usize, to: usize) -> &mut Link {
        let id = self.link_id(from, to);
        &mut self.links[id]
    }

    pub(in crate::world::network) fn links(&self) -> &[Link] {
        &self.links
    }

    /// Calls `operation` with a connection and what it needs of the rest.
    pub(in crate::world::network) fn with<T>(
        &mut self,
        connection: usize,
        now: Instant,
        wakes: &mut Vec<Waker>,
        operation: impl FnOnce(&mut Connection, &mut Surroundings<'_>) -> T,
    ) -> T {
        let Self { config, links, counts, connections, .. } = self;
        let connection = connections[connection].as_mut().expect("an open half keeps its connection");
        operation(connection, &mut Surroundings { config, links, counts, now, wakes })
    }

    /// How long a segment takes there and its answer back.
    pub(in crate::world::network) fn sample_round_trip(&mut self, from: usize, to: usize) -> Duration {
        let (there, back) = (self.link_id(from, to), self.link_id(to, from));
        let label = format!("connect {}>{}#{}", self.name(from), self.name(to), self.links[there].flows);
        self.links[there].flows += 1;
        let mut latency = self.draw_latency(from, to, &label);
        latency.sample(self.links[there].speed) + latency.sample(self.links[back].speed)
    }

    fn draw_latency(&self, from: usize, to: usize, label: &str) -> Latency {
        let mut random = random::stream(self.seed, label);
        let NetworkConfig { latency_min, latency_max, jitter_max, loopback_latency, .. } = self.config;
        if from == to {
            return Latency { base: loopback_latency, jitter_max_ns: 0, random };
        }
        let base = random.gen_range(latency_min..=latency_max.max(latency_min));
        Latency { base, jitter_max_ns: u32::try_from(jitter_max.as_nanos()).unwrap_or(u32::MAX), random }
    }

    fn open_connection(&mut self, from: usize, to: usize, time: &TimeHandle) -> usize {
        let now = time.now_instant();
        let (there, back) = (self.link_id(from, to), self.link_id(to, from));
        let flow = self.links[there].flows;
        self.links[there].flows += 1;
        let pipe = |switch: &Self, link: usize, back_link: usize, direction: &str| {
            let label = format!("{direction} {}>{}#{flow}", switch.name(from), switch.name(to));
            Pipe::new(link, back_link, switch.draw_latency(from, to, &label), Alarm::new(time), now)
        };
        let connection = Connection {
            ends: [End::new(from, Alarm::new(time)), End::new(to, Alarm::new(time))],
            pipes: [pipe(self, there, back, "there"), pipe(self, back, there, "back")],
        };
        match self.free.pop() {
            Some(slot) => {
                self.connections[slot] = Some(connection);
                slot
            }
            None => {
                self.connections.push(Some(connection));
                self.connections.len() - 1
            }
        }
    }

    /// A reader or writer object is dropped. A closed end's kernel answers what it cannot deliver with a reset.
    pub(in crate::world::network) fn drop_half(
        &mut self,
        connection: usize,
        side: Side,
        now: Instant,
        wakes: &mut Vec<Waker>,
    ) {
        let open = self.connections[connection].as_mut().expect("an open half keeps its connection");
        open.ends[side as usize].halves -= 1;
        if open.ends.iter().all(|end| end.halves == 0) {
            // A waker may be the last owner of a task, and must not be dropped under the lock.
            wakes.extend(open.ends.iter_mut().filter_map(|end| end.alarm.ring()));
            wakes.extend(open.pipes.iter_mut().filter_map(|pipe| pipe.alarm.ring()));
            self.connections[connection] = None;
            self.free.push(connection);
        } else {
            self.answer_with_reset(connection, side.other(), now, wakes);
        }
    }

    /// If `side` has something outstanding with a peer that is gone, it gets a reset, unless the path is down.
    pub(in crate::world::network) fn answer_with_reset(
        &mut self,
        connection: usize,
        side: Side,
        now: Instant,
        wakes: &mut Vec<Waker>,
    ) {
        let Some(open) = self.connections[connection].as_mut() else { return };
        if !open.awaits_a_reset(side) {
            return;
        }
        let peer = open.end(side.other()).node;
        let (there, back) = (open.pipes[side as usize].link, open.pipes[side.other() as usize].link);
        if !self.nodes[peer].machine_runs || self.links[there].partitioned || self.links[back].partitioned {
            self.counts.add("half_open", 1);
            return;
        }
        let round_trip = open.pipes[side as usize].sample_latency(self.links[there].speed)
            + open.pipes[side.other() as usize].sample_latency(self.links[back].speed);
        let last_arrival = open.pipes[side.other() as usize].last_arrival();
        let reset_at = last_arrival.map_or(now + round_trip, |last| last.max(now + round_trip));
        self.with(connection, now, wakes, |open, at| open.reset(side, reset_at, at));
    }

    fn answer_all_with_reset(&mut self, now: Instant, wakes: &mut Vec<Waker>) {
        for connection in 0..self.connections.len() {
            for side in Side::BOTH {
                self.answer_with_reset(connection, side, now, wakes);
            }
        }
    }

    /// Connections of which some half is still open.
    pub(in crate::world::network) fn open_connections(&self) -> usize {
        self.connections.iter().flatten().count()
    }
}
