//! The shape of a job: vertices (chains of operators) and edges, as plain data. The code of the
//! operators is elsewhere; the job manager needs only this (Flink `JobGraph`).

use serde::{Deserialize, Serialize};

use crate::id::{ChannelId, EdgeId, OperatorUid, SubtaskId, VertexId};

/// How the subtasks at the two ends of an edge are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Distribution {
    /// Subtask i to subtask i; both ends have the same parallelism.
    Pointwise,
    /// Every subtask to every subtask.
    AllToAll,
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
                let senders = match edge.distribution {
                    Distribution::Pointwise => subtask.index..subtask.index + 1,
                    Distribution::AllToAll => 0..self.vertex(edge.from).parallelism,
                };
                senders.map(|from| ChannelId { edge: edge.id, from, to: subtask.index })
            })
            .collect()
    }

    /// The channels out of a subtask over one edge, by receiving subtask.
    pub fn output_channels(&self, edge: &Edge, from: u32) -> Vec<ChannelId> {
        let receivers = match edge.distribution {
            Distribution::Pointwise => from..from + 1,
            Distribution::AllToAll => 0..self.vertex(edge.to).parallelism,
        };
        receivers.map(|to| ChannelId { edge: edge.id, from, to }).collect()
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
