//! From the author's operations to a program: which of them are chained into one task.
//!
//! An operation is chained to the one before it if records go from subtask to subtask of the same number, both
//! have the same parallelism, and nobody else reads the main output of that one (Flink `StreamingJobGraphGenerator`). Who
//! reads a side output, has two inputs or makes new watermarks, begins a task of its own.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    config::JobConfig,
    error::{Error, ErrorKind, Result},
    graph::{Distribution, Edge, JobGraph, Overtaking, Vertex},
    id::{EdgeId, OperatorUid, VertexId},
    operator::Input,
    planted,
    record::BatchDecoder,
    state::KeyGroups,
    task::{
        EdgeCode, EdgeOutput, HeadCode, Program, SinkFactory, SourceFactory, TimestampsAndWatermarksFactory,
        VertexCode, partitioner::PartitionerFactory, program::OperatorFactory,
    },
};

/// What an operation does.
pub(super) enum Code {
    Source(SourceFactory),
    Operator(OperatorFactory),
    TimestampsAndWatermarks(TimestampsAndWatermarksFactory),
    Sink(SinkFactory),
}

/// How records get from one operation to another.
#[derive(Clone)]
pub(super) struct Connection {
    pub from: usize,
    /// The name of the side output that is read; `None` is the main output.
    pub side_output: Option<Arc<str>>,
    /// Which input of the reading operation this is.
    pub input: Input,
    pub shipping: Shipping,
    pub decoder: BatchDecoder,
}

/// Who gets a record.
#[derive(Clone)]
pub(super) enum Shipping {
    /// As the author left it: to the subtask of the same number if both ends have the same parallelism, else in turn.
    Default { forward: PartitionerFactory, rebalance: PartitionerFactory },
    /// The subtask of the same number; both ends have the same parallelism.
    Forward(PartitionerFactory),
    /// Neighbours among the subtasks, as the partitioner says.
    Rescale(PartitionerFactory),
    /// Any, as the partitioner says.
    AllToAll(PartitionerFactory),
    /// Any, as the partitioner says, which knows something of the receivers that is not in the record: copies for each, or
    /// the author's own choice.
    Addressed(PartitionerFactory),
}

/// An operation of the author.
pub(super) struct Operation {
    pub name: String,
    pub uid: Option<String>,
    pub parallelism: u32,
    pub code: Code,
    pub inputs: Vec<Connection>,
}

/// The operations of a job; each comes after those that feed it.
#[derive(Default)]
pub(super) struct Builder {
    /// The job's, which an operation has unless the author says otherwise.
    pub parallelism: u32,
    pub operations: Vec<Operation>,
    /// The first thing that the author asked for and that cannot be; `build` says so.
    pub refused: Option<Error>,
}

impl Builder {
    pub(super) fn add(&mut self, operation: Operation) -> usize {
        self.operations.push(operation);
        self.operations.len() - 1
    }

    /// Whether `index` runs in the task of its only input.
    fn chained_to(&self, index: usize) -> Option<usize> {
        if matches!(self.operations[index].code, Code::TimestampsAndWatermarks(_)) {
            return None;
        }
        let [
            Connection {
                from,
                side_output: None,
                input: Input::First,
                shipping: Shipping::Default { .. } | Shipping::Forward(_),
                ..
            },
        ] = self.operations[index].inputs.as_slice()
        else {
            return None;
        };
        let readers = self.operations.iter().flat_map(|operation| &operation.inputs);
        let of_main_output = readers.filter(|input| input.from == *from && input.side_output.is_none());
        let only_reader = of_main_output.count() == 1;
        let same = self.operations[*from].parallelism == self.operations[index].parallelism;
        (only_reader && same).then_some(*from)
    }

    pub(super) fn build(mut self, config: &JobConfig) -> Result<Program> {
        if let Some(refused) = self.refused.take() {
            return Err(refused);
        }
        let widest = self.operations.iter().map(|operation| operation.parallelism).max().unwrap_or(1);
        let key_groups = match config.max_parallelism {
            Some(max_parallelism) => KeyGroups::new(max_parallelism).map_err(|error| {
                Error::new(ErrorKind::Configuration, "cannot use this maximum parallelism").with_source(error)
            })?,
            None => KeyGroups::default_for(widest),
        };
        if widest > key_groups.max_parallelism() {
            return Err(Error::new(
                ErrorKind::Configuration,
                format!("parallelism {widest} exceeds the maximum parallelism {}", key_groups.max_parallelism()),
            )
            .with_hint("raise pipeline.max-parallelism; a job that has state keeps the one that it began with"));
        }
        let uids = self.uids()?;
        let chained: Vec<Option<usize>> = (0..self.operations.len()).map(|index| self.chained_to(index)).collect();
        let mut translation = Translation {
            vertex_of: vec![0; self.operations.len()],
            place_of: vec![None; self.operations.len()],
            graph: JobGraph { max_parallelism: key_groups.max_parallelism(), ..JobGraph::default() },
            vertices: Vec::new(),
            edges: Vec::new(),
        };
        for (index, (operation, uid)) in self.operations.into_iter().zip(uids).enumerate() {
            translation.add(index, operation, uid, chained[index])?;
        }
        Ok(Program { graph: translation.graph, vertices: translation.vertices, edges: translation.edges })
    }

    /// The uid that the author gave, or one from name and place.
    fn uids(&self) -> Result<Vec<OperatorUid>> {
        let mut seen = BTreeSet::new();
        let mut uids = Vec::new();
        for (index, operation) in self.operations.iter().enumerate() {
            let uid = operation.uid.clone().unwrap_or_else(|| format!("{index}-{}", operation.name));
            if !seen.insert(uid.clone()) {
                return Err(Error::new(ErrorKind::Configuration, format!("two operators have the uid {uid:?}"))
                    .with_hint("state is found again by the uid: give each operator its own"));
            }
            uids.push(OperatorUid(uid));
        }
        Ok(uids)
    }
}

struct Translation {
    vertex_of: Vec<usize>,
    /// Where in the chain of its vertex an operator stands; sources and sinks do not stand in it.
    place_of: Vec<Option<usize>>,
    graph: JobGraph,
    vertices: Vec<VertexCode>,
    edges: Vec<EdgeCode>,
}

impl Translation {
    fn add(&mut self, index: usize, operation: Operation, uid: OperatorUid, chained: Option<usize>) -> Result<()> {
        let vertex = match chained {
            Some(head) => self.vertex_of[head],
            None => self.new_vertex(&operation)?,
        };
        self.vertex_of[index] = vertex;
        let code = &mut self.vertices[vertex];
        let described = &mut self.graph.vertices[vertex];
        if chained.is_some() {
            described.name = format!("{} -> {}", described.name, operation.name);
        }
        described.operators.push(uid.clone());
        match operation.code {
            Code::Source(factory) => code.head = HeadCode::Source(uid, factory),
            Code::TimestampsAndWatermarks(factory) => code.head = HeadCode::TimestampsAndWatermarks(uid, factory),
            Code::Operator(factory) => {
                self.place_of[index] = Some(code.operators.len());
                code.operators.push((uid, factory));
            }
            Code::Sink(factory) => code.sink = Some((uid, factory)),
        }
        Ok(())
    }

    fn new_vertex(&mut self, operation: &Operation) -> Result<usize> {
        let vertex = self.vertices.len();
        let id = VertexId(vertex as u32);
        self.graph.vertices.push(Vertex {
            id,
            name: operation.name.clone(),
            parallelism: operation.parallelism,
            operators: Vec::new(),
        });
        self.vertices.push(VertexCode { head: HeadCode::Inputs, operators: Vec::new(), sink: None });
        let first_edge = self.graph.edges.len();
        for input in &operation.inputs {
            self.connect(input, id, operation.parallelism)?;
        }
        // Flink `StreamGraphGenerator`: one edge that cannot be overtaken into a vertex, and none can; others can.
        let edges = &mut self.graph.edges;
        let into =
            if planted!("one_forced_edge_aligns_every_edge") { &mut edges[..] } else { &mut edges[first_edge..] };
        if into.iter().any(|edge| edge.overtaking == Overtaking::Forbidden) {
            into.iter_mut().for_each(|edge| edge.overtaking = Overtaking::Forbidden);
        }
        Ok(vertex)
    }

    fn connect(&mut self, input: &Connection, to: VertexId, parallelism: u32) -> Result<()> {
        let from = self.graph.vertices[self.vertex_of[input.from]].clone();
        let (distribution, partitioner) = match &input.shipping {
            Shipping::Default { forward, .. } | Shipping::Forward(forward) if from.parallelism == parallelism => {
                (Distribution::Pointwise, forward)
            }
            // Between different parallelisms "the same subtask" means nothing.
            Shipping::Default { rebalance, .. } => (Distribution::AllToAll, rebalance),
            Shipping::Forward(_) => {
                return Err(Error::new(
                    ErrorKind::Configuration,
                    format!("{} and the operator behind it have different parallelism", from.name),
                )
                .with_hint(
                    "forward() is between equal ones; leave it out, or put rebalance() or rescale() in its place",
                ));
            }
            Shipping::Rescale(partitioner) => (Distribution::Pointwise, partitioner),
            Shipping::AllToAll(partitioner) | Shipping::Addressed(partitioner) => (Distribution::AllToAll, partitioner),
        };
        let overtaking = match (&input.shipping, distribution) {
            (Shipping::Addressed(_), _) | (_, Distribution::Pointwise) => Overtaking::Forbidden,
            (_, Distribution::AllToAll) => Overtaking::Allowed,
        };
        let output = match &input.side_output {
            None => EdgeOutput::Main,
            Some(tag) => {
                let operator = self.place_of[input.from].ok_or_else(|| {
                    Error::new(ErrorKind::Configuration, format!("{} has no side output {tag:?}", from.name))
                        .with_hint("a source has none: put an operator between them that emits it")
                })?;
                EdgeOutput::Side { operator, tag: tag.clone() }
            }
        };
        let id = EdgeId(self.edges.len() as u32);
        self.graph.edges.push(Edge { id, from: from.id, to, distribution, overtaking });
        self.edges.push(EdgeCode {
            output,
            input: input.input,
            partitioner: partitioner.clone(),
            decoder: input.decoder,
        });
        Ok(())
    }
}
