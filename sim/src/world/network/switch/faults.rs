//! What the faults do to nodes, links and connections.

use std::{task::Waker, time::Instant};

use super::Switch;
use crate::world::network::{
    connection::{Connection, Side, Surroundings},
    link::Link,
    pipe::Pipe,
};

impl Switch {
    /// The process of a node dies, and its machine too if it is a power loss.
    pub(in crate::world::network) fn crash(
        &mut self,
        node: usize,
        power_loss: bool,
        now: Instant,
        wakes: &mut Vec<Waker>,
    ) {
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
    pub(in crate::world::network) fn start(&mut self, node: usize, now: Instant, wakes: &mut Vec<Waker>) {
        self.nodes[node].process_runs = true;
        self.nodes[node].machine_runs = true;
        self.answer_all_with_reset(now, wakes);
    }

    /// Changes what holds data on the link; bytes in flight are caught, or sent again.
    pub(in crate::world::network) fn change_link(
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
    pub(in crate::world::network) fn reset_connections(
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
}
