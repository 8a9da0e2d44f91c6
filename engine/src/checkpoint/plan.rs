//! Who takes part in a checkpoint when some subtasks have finished (FLIP-147; Flink `DefaultCheckpointPlanCalculator`).
//!
//! Those that run acknowledge, and are told of the outcome. The coordinator tells those of them to begin that have nobody
//! left upstream who would send them a barrier: at first the sources. What has finished keeps nothing and does not run again
//! after a restore, as long as nothing upstream does (Flink `VertexFinishedStateChecker`).

use std::collections::BTreeSet;

use super::{CheckpointFailureReason, coordinator::CheckpointPlan};
use crate::{
    graph::JobGraph,
    id::{OperatorUid, SubtaskId},
};

/// What a subtask is doing, as far as a checkpoint is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskState {
    /// It can take part.
    Running,
    /// Its data ended, and everything of it is committed.
    Finished,
    /// It is being deployed, fails or is being cancelled.
    Other,
}

impl CheckpointPlan {
    /// The plan for a graph whose subtasks are in these states.
    ///
    /// # Errors
    /// [`CheckpointFailureReason::NotAllRequiredTasksRunning`] if one neither runs nor has finished.
    pub fn calculate(
        graph: &JobGraph,
        state: impl Fn(SubtaskId) -> TaskState,
    ) -> Result<Self, CheckpointFailureReason> {
        let mut finished = BTreeSet::new();
        for subtask in graph.subtasks() {
            match state(subtask) {
                TaskState::Running => {}
                TaskState::Finished => {
                    finished.insert(subtask);
                }
                TaskState::Other => return Err(CheckpointFailureReason::NotAllRequiredTasksRunning),
            }
        }
        Ok(Self::without(graph, &finished))
    }

    /// The plan for a graph of which these subtasks have finished and all others run.
    pub fn without(graph: &JobGraph, finished: &BTreeSet<SubtaskId>) -> Self {
        let tasks: BTreeSet<SubtaskId> = graph.subtasks().filter(|subtask| !finished.contains(subtask)).collect();
        let has_nobody_upstream =
            |subtask: &SubtaskId| graph.predecessors(*subtask).all(|from| finished.contains(&from));
        let to_trigger = tasks.iter().copied().filter(has_nobody_upstream).collect();
        Self { tasks, to_trigger }
    }
}

/// Those of some subtasks all of whose input comes from others of them: the ones that a restore can leave finished. With
/// another parallelism what has finished may get input from what has not; then it runs again, with nothing kept.
pub fn finished_with_their_inputs(graph: &JobGraph, finished: &BTreeSet<SubtaskId>) -> BTreeSet<SubtaskId> {
    let mut with_inputs = BTreeSet::new();
    // Each vertex comes after those that feed it.
    for subtask in graph.subtasks().filter(|subtask| finished.contains(subtask)) {
        if graph.predecessors(subtask).all(|from| with_inputs.contains(&from)) {
            with_inputs.insert(subtask);
        }
    }
    with_inputs
}

/// The operators with union state some of whose subtasks have finished: what these put into the union would be missing
/// (Flink `PartialFinishingNotSupportedByStateException`).
pub fn partially_finished_unions(
    graph: &JobGraph,
    tasks: &BTreeSet<SubtaskId>,
    union: &BTreeSet<OperatorUid>,
) -> Vec<OperatorUid> {
    let is_partial = |index: &usize| {
        let (id, parallelism) = (graph.vertices[*index].id, graph.vertices[*index].parallelism);
        let running = tasks.iter().filter(|task| task.vertex == id).count();
        running > 0 && running < parallelism as usize
    };
    let partial = (0..graph.vertices.len()).filter(is_partial);
    partial
        .flat_map(|index| graph.vertices[index].operators.iter())
        .filter(|uid| union.contains(*uid))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        graph::{Distribution, Edge, Overtaking, Vertex},
        id::{EdgeId, VertexId},
    };

    /// Two pairs of a source and a sink, side by side.
    fn pairs() -> JobGraph {
        let vertex = |id, name: &str| Vertex {
            id: VertexId(id),
            name: name.into(),
            parallelism: 2,
            operators: vec![OperatorUid(name.into())],
        };
        let edge = Edge {
            id: EdgeId(0),
            from: VertexId(0),
            to: VertexId(1),
            distribution: Distribution::Pointwise,
            overtaking: Overtaking::Forbidden,
        };
        JobGraph { vertices: vec![vertex(0, "source"), vertex(1, "sink")], edges: vec![edge], max_parallelism: 8 }
    }

    fn subtask(vertex: u32, index: u32) -> SubtaskId {
        SubtaskId { vertex: VertexId(vertex), index }
    }

    #[test]
    fn whose_input_has_finished_is_told_to_begin() {
        let plan = CheckpointPlan::without(&pairs(), &BTreeSet::from([subtask(0, 0)]));
        assert_eq!(plan.tasks, BTreeSet::from([subtask(0, 1), subtask(1, 0), subtask(1, 1)]));
        assert_eq!(plan.to_trigger, [subtask(0, 1), subtask(1, 0)]);
    }

    #[test]
    fn who_has_finished_runs_again_if_something_upstream_does() {
        let graph = pairs();
        let finished = BTreeSet::from([subtask(0, 0), subtask(1, 0), subtask(1, 1)]);
        let left = BTreeSet::from([subtask(0, 0), subtask(1, 0)]);
        assert_eq!(finished_with_their_inputs(&graph, &finished), left);
    }

    #[test]
    fn a_union_needs_all_subtasks_or_none() {
        let (graph, union) = (pairs(), BTreeSet::from([OperatorUid("source".into())]));
        let of = |finished: &[SubtaskId]| {
            let plan = CheckpointPlan::without(&graph, &finished.iter().copied().collect());
            partially_finished_unions(&graph, &plan.tasks, &union)
        };
        assert_eq!(of(&[]), []);
        assert_eq!(of(&[subtask(0, 0)]), [OperatorUid("source".into())]);
        assert_eq!(of(&[subtask(0, 0), subtask(0, 1)]), []);
    }
}
