//! What an attempt starts from: a checkpoint that fits the job, and who reads what of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use super::JobManagerSetup;
use crate::{
    checkpoint::{
        Ownership,
        assignment::{Assignment, ListsOf, OperatorState, RestoredJob, Snapshot, UnclaimedState},
        plan::finished_with_their_inputs,
    },
    codec,
    error::{Error, ErrorKind, Result},
    graph::JobGraph,
    id::{OperatorUid, SubtaskId, VertexId},
    net::{StateHandle, SubtaskRestore},
    planted,
    state::OperatorSnapshot,
    storage::CheckpointMetadata,
};

/// A completed checkpoint, read, that the job can start from.
#[derive(Clone)]
pub(super) struct Restore {
    pub metadata: Arc<CheckpointMetadata>,
    pub directory: PathBuf,
    pub ownership: Ownership,
    assignment: Arc<Assignment<StateHandle>>,
    /// The subtasks that had finished.
    finished: Arc<BTreeSet<SubtaskId>>,
    in_flight: InFlight,
}

impl Restore {
    /// Finds out who reads what of a checkpoint.
    ///
    /// # Errors
    /// If the job cannot start from it.
    pub fn new(
        setup: &JobManagerSetup,
        metadata: CheckpointMetadata,
        directory: PathBuf,
        ownership: Ownership,
    ) -> Result<Self> {
        let graph = &setup.program.graph;
        let unclaimed =
            if setup.config.ignore_unclaimed_state { UnclaimedState::LeaveBehind } else { UnclaimedState::Refuse };
        let job = RestoredJob { graph, max_parallelism: setup.config.max_parallelism, unclaimed };
        let snapshot = snapshot_of(&metadata);
        snapshot.check(&job, holds_state).map_err(|misfit| {
            let hint = misfit.hint();
            let message = format!("the job cannot start from checkpoint {}: {misfit}", metadata.checkpoint_id);
            Error::new(ErrorKind::Configuration, message).with_hint(hint)
        })?;
        let in_flight = InFlight::of(&metadata, graph)?;
        let finished = Arc::new(finished(graph, &snapshot));
        let assignment = Arc::new(snapshot.assign(graph));
        Ok(Self { metadata: Arc::new(metadata), directory, ownership, assignment, finished, in_flight })
    }

    /// What a subtask starts from.
    pub fn of_subtask(&self, graph: &JobGraph, subtask: SubtaskId) -> SubtaskRestore {
        let (mut in_flight, mut in_flight_of_others) = (None, BTreeMap::new());
        match self.in_flight {
            InFlight::AtItsPlaces => in_flight = self.metadata.in_flight.get(&subtask).cloned(),
            InFlight::Shared => {
                let around: BTreeSet<VertexId> =
                    graph.inputs(subtask.vertex).flat_map(|edge| [edge.from, edge.to]).collect();
                let all = self.metadata.in_flight.iter().filter(|(old, _)| around.contains(&old.vertex));
                in_flight_of_others.extend(all.map(|(old, handle)| (*old, handle.clone())));
            }
        }
        SubtaskRestore {
            checkpoint_id: Some(self.metadata.checkpoint_id),
            directory: self.directory.to_string_lossy().into_owned(),
            ownership: self.ownership,
            operators: self.assignment.get(&subtask).cloned().unwrap_or_default(),
            in_flight,
            in_flight_of_others,
            finished: self.finished.contains(&subtask),
        }
    }
}

/// Who puts back what was under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InFlight {
    /// The subtasks at which it was.
    AtItsPlaces,
    /// Their receivers, each its share: the parallelism is another one.
    Shared,
}

impl InFlight {
    /// It goes through the same edges, so all stages must be there as they were.
    fn of(metadata: &CheckpointMetadata, graph: &JobGraph) -> Result<Self> {
        if metadata.in_flight.is_empty() {
            return Ok(Self::AtItsPlaces);
        }
        let vertices: BTreeSet<VertexId> = metadata.subtasks.keys().map(|subtask| subtask.vertex).collect();
        let is_there = |(subtask, operators): (&SubtaskId, &BTreeMap<OperatorUid, StateHandle>)| {
            let vertex = graph.vertices.iter().find(|vertex| vertex.id == subtask.vertex);
            vertex.is_some_and(|vertex| operators.keys().all(|uid| vertex.operators.contains(uid)))
        };
        if vertices.len() != graph.vertices.len() || !metadata.subtasks.iter().all(is_there) {
            let message = format!(
                "checkpoint {} is unaligned: it holds data that was under way between its stages, and the job has other ones",
                metadata.checkpoint_id
            );
            return Err(Error::new(ErrorKind::Configuration, message).with_hint(
                "run the pipeline with the stages that it had, or start from an aligned checkpoint or a savepoint",
            ));
        }
        let is_the_same = metadata.subtasks.keys().copied().eq(graph.subtasks().collect::<BTreeSet<_>>());
        Ok(if is_the_same { Self::AtItsPlaces } else { Self::Shared })
    }
}

/// A checkpoint by operator, wherever they were chained.
fn snapshot_of(metadata: &CheckpointMetadata) -> Snapshot<StateHandle> {
    let mut operators = BTreeMap::new();
    for (subtask, handles) in &metadata.subtasks {
        for (uid, handle) in handles {
            let lists = if metadata.union.contains(uid) { ListsOf::All } else { ListsOf::Itself };
            let empty = || OperatorState { parallelism: 0, parts: BTreeMap::new(), lists };
            let state = operators.entry(uid.clone()).or_insert_with(empty);
            state.parallelism = state.parallelism.max(subtask.index + 1);
            state.parts.insert(subtask.index, handle.clone());
        }
    }
    Snapshot { max_parallelism: metadata.max_parallelism, operators }
}

/// The subtasks of which nothing runs any more: with the parallelism of the checkpoint those that had finished, with another
/// one those of operators that all had.
fn finished(graph: &JobGraph, snapshot: &Snapshot<StateHandle>) -> BTreeSet<SubtaskId> {
    let has_finished = |subtask: &SubtaskId| {
        let vertex = graph.vertex(subtask.vertex);
        vertex.operators.iter().all(|uid| {
            let Some(state) = snapshot.operators.get(uid) else { return false };
            if state.parallelism == vertex.parallelism {
                return state.parts.get(&subtask.index) == Some(&StateHandle::Finished);
            }
            let has_finished = |handle: &StateHandle| *handle == StateHandle::Finished;
            if state.parts.values().any(has_finished) && planted!("partly_finished_taken_for_finished_on_rescale") {
                return true;
            }
            state.parts.values().all(has_finished)
        })
    };
    let finished = graph.subtasks().filter(|subtask| !graph.vertex(subtask.vertex).operators.is_empty());
    finished_with_their_inputs(graph, &finished.filter(has_finished).collect())
}

/// Whether anything would be lost with it. What cannot be told without reading a file counts as state.
fn holds_state(handle: &StateHandle) -> bool {
    match handle {
        StateHandle::Inline(bytes) => codec::decode(bytes).map_or(true, |kept: OperatorSnapshot| kept.holds_state()),
        StateHandle::File { .. } | StateHandle::Incremental { .. } => true,
        StateHandle::Finished => false,
    }
}
