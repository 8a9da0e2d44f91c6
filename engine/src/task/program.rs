//! A job that can run: its graph, and the code of its vertices and edges.

use std::sync::Arc;

use super::{
    partitioner::PartitionerFactory, sink::SinkFactory, source::SourceFactory,
    watermarks::TimestampsAndWatermarksFactory,
};
use crate::{
    graph::JobGraph,
    id::{OperatorUid, SubtaskId, VertexId},
    operator::{ErasedOperator, Input},
    record::BatchDecoder,
};

/// Makes an operator for one subtask.
pub type OperatorFactory = Arc<dyn Fn() -> Box<dyn ErasedOperator> + Send + Sync>;

/// What is at the head of a vertex.
pub enum HeadCode {
    /// A source.
    Source(OperatorUid, SourceFactory),
    /// Input channels.
    Inputs,
    /// Input channels, whose records get new event times and watermarks.
    TimestampsAndWatermarks(OperatorUid, TimestampsAndWatermarksFactory),
}

/// The code of a vertex: head, operators, and a sink or outputs.
pub struct VertexCode {
    /// Where its records come from.
    pub head: HeadCode,
    /// What is done with them.
    pub operators: Vec<(OperatorUid, OperatorFactory)>,
    /// Where they go, unless to the edges out of the vertex.
    pub sink: Option<(OperatorUid, SinkFactory)>,
}

/// Which output of its sending vertex an edge carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EdgeOutput {
    /// What leaves the tail of the chain.
    Main,
    /// A side output of one of its operators.
    Side {
        /// The operator, counted from the head of the chain.
        operator: usize,
        /// The name of the tag.
        tag: Arc<str>,
    },
}

/// The code of an edge.
pub struct EdgeCode {
    /// What it carries.
    pub output: EdgeOutput,
    /// Which input of the receiving vertex it leads to.
    pub input: Input,
    /// Who gets a record.
    pub partitioner: PartitionerFactory,
    /// Reads its batches from the network.
    pub decoder: BatchDecoder,
}

/// A job that can run. Vertex and edge `i` of the graph have code `i`.
pub struct Program {
    /// Its shape.
    pub graph: JobGraph,
    /// Code of the vertices.
    pub vertices: Vec<VertexCode>,
    /// Code of the edges.
    pub edges: Vec<EdgeCode>,
}

impl Program {
    /// The code of a vertex.
    pub fn vertex(&self, id: VertexId) -> &VertexCode {
        &self.vertices[id.0 as usize]
    }

    /// The logical input that each input channel of a subtask belongs to.
    pub fn inputs_of_channels(&self, subtask: SubtaskId) -> Vec<Input> {
        let channels = self.graph.input_channels(subtask).into_iter();
        channels.map(|channel| self.edges[channel.edge.0 as usize].input).collect()
    }
}
