//! All nodes, links, listeners and connections of a run, and what the faults do to them.
//!
//! One lock guards a switch; no method waits, and tasks to wake are handed back in `wakes`, to be woken when the
//! lock is released (a woken task may drop its streams, which need the lock).

use std::{
    collections::{BTreeMap, VecDeque},
    io,
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
pub(super) enum Answer {
    /// A connection, by its index.
    Established(usize),
    /// Nobody listens there.
    Refused,
    /// Nothing came back.
    Silence,
}

pub(super) struct Switch {
    pub(super) config: NetworkConfig,
    pub(super) counts: Counts,
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
    pub(super) fn new(seed: u64, config: NetworkConfig) -> Self {
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
    pub(super) fn node(&mut self, name: &str) -> usize {
        if let Some(&node) = self.node_by_name.get(name) {
            return node;
        }
        let node = self.nodes.len();
        let name = name.to_owned();
        self.node_by_name.insert(name.clone(), node);
        self.nodes.push(Node { name, process_runs: true, machine_runs: true, next_port: FIRST_FREE_PORT });
        node
    }

    pub(super) fn name(&self, node: usize) -> &str {
        &self.nodes[node].name
    }

    pub(super) fn process_runs(&self, node: usize) -> bool {
        self.nodes[node].process_runs
    }

    fn link_id(&mut self, from: usize, to: usize) -> usize {
        *self.link_by_nodes.entry((from, to)).or_insert_with(|| {
            self.links.push(Link::new(from, to));
            self.links.len() - 1
        })
    }

    pub(super) fn link(&mut self, from: usize, to: usize) -> &mut Link {
        let id = self.link_id(from, to);
        &mut self.links[id]
    }

    pub(super) fn links(&self) -> &[Link] {
        &self.links
    }

    /// Calls `operation` with a connection and what it needs of the rest.
    pub(super) fn with<T>(
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

    // ---- listening and connecting ----

    /// Takes a port of a node; 0 takes a free one. Returns the port and the listener's identity.
    pub(super) fn listen(&mut self, node: usize, port: u16) -> io::Result<(u16, u64)> {
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
    pub(super) fn accept(
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

    pub(super) fn stop_listening(
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

    /// How long a segment takes there and its answer back.
    pub(super) fn sample_round_trip(&mut self, from: usize, to: usize) -> Duration {
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

    /// What a request to connect that arrives now is answered with.
    pub(super) fn connect(
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

    // ---- ends that go away ----

    /// A reader or writer object is dropped. A closed end's kernel answers what it cannot deliver with a reset.
    pub(super) fn drop_half(&mut self, connection: usize, side: Side, now: Instant, wakes: &mut Vec<Waker>) {
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
    pub(super) fn answer_with_reset(&mut self, connection: usize, side: Side, now: Instant, wakes: &mut Vec<Waker>) {
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

    // ---- faults ----

    /// The process of a node dies, and its machine too if it is a power loss.
    pub(super) fn crash(&mut self, node: usize, power_loss: bool, now: Instant, wakes: &mut Vec<Waker>) {
        self.nodes[node].process_runs = false;
        self.nodes[node].machine_runs &= !power_loss;
        let ports: Vec<u16> = self.listeners.range((node, 0)..=(node, u16::MAX)).map(|((_, port), _)| *port).collect();
        let mut unaccepted = Vec::new();
        for port in ports {
            let backlog = self.listeners.remove(&(node, port)).expect("it is there");
            wakes.extend(backlog.waker);
            unaccepted.extend(backlog.waiting);
        }
        for connection in 0..self.connections.len() {
            for side in Side::BOTH {
                if self.connections[connection].as_ref().is_some_and(|open| open.end(side).node == node) {
                    self.kill_end(connection, side, power_loss, now, wakes);
                }
            }
        }
        for connection in unaccepted {
            self.drop_half(connection, Side::Server, now, wakes);
            self.drop_half(connection, Side::Server, now, wakes);
        }
    }

    fn kill_end(&mut self, connection: usize, side: Side, power_loss: bool, now: Instant, wakes: &mut Vec<Waker>) {
        let Some(open) = self.connections[connection].as_mut() else { return };
        let end = &mut open.ends[side as usize];
        // What a process had closed in good order is in the hands of the kernel, which only power stops.
        if end.dead || (end.halves == 0 && !power_loss) {
            return;
        }
        end.dead = true;
        wakes.extend(end.alarm.ring());
        wakes.extend(open.pipes[side.other() as usize].alarm.ring());
        let outbound = &mut open.pipes[side as usize];
        let link = &self.links[outbound.link];
        if !link.holds_data() {
            outbound.settle(now);
        }
        let closing = outbound.has_ended();
        let lost = match (power_loss || !closing, link.holds_data()) {
            (false, _) => 0,
            (true, true) => outbound.lose_in_flight(),
            (true, false) => outbound.lose_tail(),
        };
        if power_loss {
            outbound.lose_end();
        }
        let arrival = now + outbound.sample_latency(link.speed);
        let reset_at = outbound.last_arrival().map_or(arrival, |last| last.max(arrival));
        self.counts.add("crash_bytes_lost", lost as u64);
        if open.end(side.other()).is_gone() {
            return;
        }
        if power_loss || link.partitioned {
            self.counts.add("half_open", 1);
        } else if !closing {
            self.with(connection, now, wakes, |open, at| open.reset(side.other(), reset_at, at));
        }
    }

    /// A process runs on the node again, on a machine that runs.
    pub(super) fn start(&mut self, node: usize, now: Instant, wakes: &mut Vec<Waker>) {
        self.nodes[node].process_runs = true;
        self.nodes[node].machine_runs = true;
        self.answer_all_with_reset(now, wakes);
    }

    /// Changes what holds data on the link; bytes in flight are caught, or sent again.
    pub(super) fn change_link(
        &mut self,
        from: usize,
        to: usize,
        now: Instant,
        wakes: &mut Vec<Waker>,
        change: impl FnOnce(&mut Link),
    ) {
        if from == to {
            return;
        }
        let link = self.link_id(from, to);
        let (held_before, partitioned_before) = (self.links[link].holds_data(), self.links[link].partitioned);
        if !held_before {
            self.settle_pipes_of(link, now);
        }
        change(&mut self.links[link]);
        match (held_before, self.links[link].holds_data()) {
            (false, true) => self.count_held_bytes(link),
            (true, false) => self.release(link, now, wakes),
            (false, false) | (true, true) => {}
        }
        match (partitioned_before, self.links[link].partitioned) {
            (false, true) => self.lose_resets_on(link, now),
            (true, false) => self.answer_all_with_reset(now, wakes),
            (false, false) | (true, true) => {}
        }
    }

    fn pipes_of(&mut self, link: usize) -> impl Iterator<Item = &mut Pipe> {
        self.connections.iter_mut().flatten().flat_map(|open| &mut open.pipes).filter(move |pipe| pipe.link == link)
    }

    fn settle_pipes_of(&mut self, link: usize, now: Instant) {
        self.pipes_of(link).for_each(|pipe| pipe.settle(now));
    }

    fn count_held_bytes(&mut self, link: usize) {
        let held: usize = self.pipes_of(link).map(|pipe| pipe.in_flight_bytes()).sum();
        let name = self.links[link].name_of_hold();
        self.counts.add(name, held as u64);
    }

    fn release(&mut self, link: usize, now: Instant, wakes: &mut Vec<Waker>) {
        let speed = self.links[link].speed;
        for Connection { ends, pipes } in self.connections.iter_mut().flatten() {
            for side in Side::BOTH {
                let pipe = &mut pipes[side as usize];
                if pipe.link == link {
                    pipe.resend(speed, now);
                    if let Some(arrival) = pipe.next_arrival() {
                        wakes.extend(pipe.alarm.ring_at(arrival, now));
                    }
                }
                if pipe.back_link == link && !ends[side.other() as usize].is_gone() {
                    pipe.acknowledge_all();
                    wakes.extend(ends[side as usize].alarm.ring());
                }
            }
        }
    }

    fn lose_resets_on(&mut self, link: usize, now: Instant) {
        for open in self.connections.iter_mut().flatten() {
            for side in Side::BOTH {
                if open.pipes[side.other() as usize].link == link {
                    open.lose_reset(side, now);
                }
            }
        }
    }

    /// Cuts the connections that `chosen` picks by the nodes of their ends: both ends get a reset now.
    pub(super) fn reset_connections(
        &mut self,
        now: Instant,
        wakes: &mut Vec<Waker>,
        chosen: impl Fn(usize, usize) -> bool,
    ) -> usize {
        let Self { config, links, counts, connections, .. } = self;
        let mut cut = 0;
        for open in connections.iter_mut().flatten() {
            let [client, server] = &open.ends;
            if client.is_gone() || server.is_gone() || !chosen(client.node, server.node) {
                continue;
            }
            for pipe in &mut open.pipes {
                if !links[pipe.link].holds_data() {
                    pipe.settle(now);
                }
                pipe.lose_in_flight();
            }
            for side in Side::BOTH {
                open.reset(side, now, &mut Surroundings { config, links, counts, now, wakes });
            }
            cut += 1;
        }
        cut
    }

    /// Connections of which some half is still open.
    pub(super) fn open_connections(&self) -> usize {
        self.connections.iter().flatten().count()
    }
}
