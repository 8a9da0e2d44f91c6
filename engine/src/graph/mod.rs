//! The shape of a job: vertices (chains of operators) and edges, as plain data. The code of the
//! operators is elsewhere; the job manager needs only this (Flink `JobGraph`).

use serde::{Deserialize, Serialize};

use crate::id::{ChannelId, EdgeId, OperatorUid, SubtaskId, VertexId};

/// How the subtasks at the two ends of an edge are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Distribution {
    /// Subtask i to subtask i where both ends have the same parallelism; otherwise each subtask of the smaller end to an
    /// equal share of the larger one's, neighbours to neighbours.
    Pointwise,
    /// Every subtask to every subtask.
    AllToAll,
}

/// Whether a barrier may overtake what lies in the channels of an edge.
///
/// What it overtakes is restored into channels of the same meaning. A channel to one certain subtask, or a copy for each,
/// means nothing with another parallelism: there barriers stay in their turn (Flink
/// `StreamEdge.supportsUnalignedCheckpoints`). If one edge into a vertex forbids it, all do: its subtasks see one kind of
/// barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overtaking {
    /// It may.
    Allowed,
    /// It waits for its turn.
    Forbidden,
}

/// A chain of operators that runs as one task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vertex {
    /// Its identity.
    pub id: VertexId,
    /// Its name, unique in the graph: `source`, `sum -> sink`.
    pub name: String,
    /// How many subtasks it has.
    pub parallelism: u32,
    /// The operators with state identity, head to tail.
    pub operators: Vec<OperatorUid>,
}

/// A data path between two vertices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// Its identity.
    pub id: EdgeId,
    /// The sending vertex.
    pub from: VertexId,
    /// The receiving vertex.
    pub to: VertexId,
    /// Which subtasks it connects.
    pub distribution: Distribution,
    /// Whether barriers may overtake what lies in its channels.
    pub overtaking: Overtaking,
}

/// A directed acyclic graph of vertices. Vertex `i` has id `i`; so have edges.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JobGraph {
    /// All vertices, each after those that feed it.
    pub vertices: Vec<Vertex>,
    /// All edges.
    pub edges: Vec<Edge>,
    /// Number of key groups.
    pub max_parallelism: u32,
}

impl JobGraph {
    /// The vertex with this id.
    pub fn vertex(&self, id: VertexId) -> &Vertex {
        &self.vertices[id.0 as usize]
    }

    /// All subtasks, by vertex and index.
    pub fn subtasks(&self) -> impl Iterator<Item = SubtaskId> + '_ {
        self.vertices
            .iter()
            .flat_map(|vertex| (0..vertex.parallelism).map(|index| SubtaskId { vertex: vertex.id, index }))
    }

    /// The subtasks that have no input: where barriers start.
    pub fn source_subtasks(&self) -> Vec<SubtaskId> {
        self.subtasks().filter(|subtask| self.inputs(subtask.vertex).next().is_none()).collect()
    }

    /// The edges into a vertex, in order of their ids.
    pub fn inputs(&self, vertex: VertexId) -> impl Iterator<Item = &Edge> {
        self.edges.iter().filter(move |edge| edge.to == vertex)
    }

    /// The edges out of a vertex, in order of their ids.
    pub fn outputs(&self, vertex: VertexId) -> impl Iterator<Item = &Edge> {
        self.edges.iter().filter(move |edge| edge.from == vertex)
    }

    /// The channels into a subtask; their position is the channel index at its input gate.
    pub fn input_channels(&self, subtask: SubtaskId) -> Vec<ChannelId> {
        self.inputs(subtask.vertex)
            .flat_map(|edge| {
                let senders = 0..self.vertex(edge.from).parallelism;
                let connected = senders.filter(|from| self.connects(edge, *from, subtask.index));
                connected.map(|from| ChannelId { edge: edge.id, from, to: subtask.index })
            })
            .collect()
    }

    /// The subtasks that send to a subtask.
    pub fn predecessors(&self, subtask: SubtaskId) -> impl Iterator<Item = SubtaskId> {
        self.inputs(subtask.vertex).flat_map(move |edge| {
            let senders = 0..self.vertex(edge.from).parallelism;
            let connected = senders.filter(move |from| self.connects(edge, *from, subtask.index));
            connected.map(|index| SubtaskId { vertex: edge.from, index })
        })
    }

    /// The channels out of a subtask over one edge, by receiving subtask.
    pub fn output_channels(&self, edge: &Edge, from: u32) -> Vec<ChannelId> {
        let receivers = (0..self.vertex(edge.to).parallelism).filter(|to| self.connects(edge, from, *to));
        receivers.map(|to| ChannelId { edge: edge.id, from, to }).collect()
    }

    /// Whether an edge has a channel between two subtasks (Flink `EdgeManagerBuildUtil`).
    fn connects(&self, edge: &Edge, from: u32, to: u32) -> bool {
        let (senders, receivers) = (self.vertex(edge.from).parallelism, self.vertex(edge.to).parallelism);
        /// The first of `all` that belongs to share `index` of `shares`, if each begins as early as it can.
        fn early(index: u32, all: u32, shares: u32) -> u32 {
            (u64::from(index) * u64::from(all) / u64::from(shares)) as u32
        }
        /// The same, if each begins as late as it can.
        fn late(index: u32, all: u32, shares: u32) -> u32 {
            (u64::from(index) * u64::from(all)).div_ceil(u64::from(shares)) as u32
        }
        match edge.distribution {
            Distribution::AllToAll => true,
            Distribution::Pointwise if senders >= receivers => {
                (early(to, senders, receivers)..early(to + 1, senders, receivers)).contains(&from)
            }
            Distribution::Pointwise => {
                (late(from, receivers, senders)..late(from + 1, receivers, senders)).contains(&to)
            }
        }
    }

    /// The slots that the job needs: a slot holds one subtask of each vertex (Flink's slot sharing).
    pub fn slots(&self) -> u32 {
        self.vertices.iter().map(|vertex| vertex.parallelism).max().unwrap_or(0)
    }

    /// The name of a subtask in facts, traces and file names: `vertex-name#index`.
    pub fn subtask_name(&self, subtask: SubtaskId) -> String {
        format!("{}#{}", self.vertex(subtask.vertex).name, subtask.index)
    }

    /// The receiving subtask of a channel.
    pub fn receiver(&self, channel: ChannelId) -> SubtaskId {
        SubtaskId { vertex: self.edges[channel.edge.0 as usize].to, index: channel.to }
    }

    /// The sending subtask of a channel.
    pub fn sender(&self, channel: ChannelId) -> SubtaskId {
        SubtaskId { vertex: self.edges[channel.edge.0 as usize].from, index: channel.from }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(senders: u32, receivers: u32, distribution: Distribution) -> JobGraph {
        let vertex =
            |id, parallelism| Vertex { id: VertexId(id), name: id.to_string(), parallelism, operators: Vec::new() };
        let edge =
            Edge { id: EdgeId(0), from: VertexId(0), to: VertexId(1), distribution, overtaking: Overtaking::Allowed };
        JobGraph { vertices: vec![vertex(0, senders), vertex(1, receivers)], edges: vec![edge], max_parallelism: 128 }
    }

    /// The receivers of each sender.
    fn receivers(graph: &JobGraph) -> Vec<Vec<u32>> {
        let of = |from| graph.output_channels(&graph.edges[0], from).iter().map(|channel| channel.to).collect();
        (0..graph.vertices[0].parallelism).map(of).collect()
    }

    #[test]
    fn pointwise_neighbours_share_what_there_is_more_of() {
        let of = |senders, to| receivers(&graph(senders, to, Distribution::Pointwise));
        assert_eq!(of(3, 3), [[0], [1], [2]]);
        assert_eq!(of(2, 4), [[0, 1], [2, 3]]);
        assert_eq!(of(4, 2), [[0], [0], [1], [1]]);
        assert_eq!(of(2, 3), [vec![0, 1], vec![2]]);
        assert_eq!(of(3, 2), [[0], [1], [1]]);
        assert_eq!(receivers(&graph(2, 3, Distribution::AllToAll)), [[0, 1, 2], [0, 1, 2]]);
    }

    #[test]
    fn both_ends_see_the_same_channels_and_nobody_is_left_out() {
        for (senders, to) in (1..9).flat_map(|senders| (1..9).map(move |to| (senders, to))) {
            let graph = graph(senders, to, Distribution::Pointwise);
            let mut sent: Vec<ChannelId> =
                (0..senders).flat_map(|from| graph.output_channels(&graph.edges[0], from)).collect();
            let received = (0..to).flat_map(|index| graph.input_channels(SubtaskId { vertex: VertexId(1), index }));
            let mut received: Vec<ChannelId> = received.collect();
            sent.sort();
            received.sort();
            assert_eq!(sent, received, "{senders} to {to}");
            assert_eq!(sent.len() as u32, senders.max(to), "{senders} to {to}");
            assert!((0..senders).all(|from| sent.iter().any(|channel| channel.from == from)), "{senders} to {to}");
            assert!((0..to).all(|index| sent.iter().any(|channel| channel.to == index)), "{senders} to {to}");
        }
    }
}
