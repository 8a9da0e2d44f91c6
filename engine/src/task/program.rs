//! A job that can run: its graph, and the code of its vertices and edges.

use std::sync::Arc;

use super::{partitioner::PartitionerFactory, sink::SinkFactory, source::SourceFactory};
use crate::{
    graph::JobGraph,
    id::{OperatorUid, VertexId},
    operator::ErasedOperator,
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

/// The code of an edge.
pub struct EdgeCode {
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
}
