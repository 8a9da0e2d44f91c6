//! Which state of a checkpoint each subtask of a job starts from, when the job need not be the one that took it: operators
//! are found again by their uids, and may have other parallelisms.
//!
//! ```text
//!   operator in checkpoint and job   same parallelism: each subtask reads what it kept, and of union lists everything
//!                                    another one:      each subtask reads what all kept, and takes its share
//!   operator in the job alone        starts empty
//!   operator in the checkpoint alone an error if it has state, unless the user says that it may be left behind
//! ```
//! The number of key groups lives as long as the state: a job that names none takes that of the checkpoint, a job that names
//! another one is refused, and so is one with more subtasks than there are key groups. Flink: `StateAssignmentOperation`,
//! `Checkpoints.loadAndValidateCheckpoint`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    graph::JobGraph,
    id::{OperatorUid, SubtaskId},
};

/// What a checkpoint holds of an operator; a handle says where a part is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorState<H> {
    /// How many subtasks the operator had.
    pub parallelism: u32,
    /// What they kept, by their numbers.
    pub parts: BTreeMap<u32, H>,
    /// Whether some of its lists go to every subtask as a whole.
    pub lists: ListsOf,
}

/// Whose lists a subtask restores that has the parallelism of the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListsOf {
    /// Its own.
    Itself,
    /// Those of all subtasks (union state).
    All,
}

/// What becomes of state whose operator is not in the job (`execution.state-recovery.ignore-unclaimed-state`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnclaimedState {
    /// The job does not start.
    Refuse,
    /// It is left behind (`--allow-non-restored-state`).
    LeaveBehind,
}

/// A checkpoint, as a job is to be restored from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot<H> {
    /// Number of key groups that its state is divided into.
    pub max_parallelism: u32,
    /// Its operators.
    pub operators: BTreeMap<OperatorUid, OperatorState<H>>,
}

/// What the job says about itself.
#[derive(Debug, Clone, Copy)]
pub struct RestoredJob<'a> {
    /// Its shape.
    pub graph: &'a JobGraph,
    /// The number of key groups that its author has asked for, if any.
    pub max_parallelism: Option<u32>,
    /// What becomes of state that no operator asks for.
    pub unclaimed: UnclaimedState,
}

/// What a subtask reads of an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts<H> {
    /// How many subtasks kept it.
    pub parallelism: u32,
    /// What they kept, by their numbers.
    pub parts: BTreeMap<u32, H>,
}

/// What each subtask of the job reads, by operator.
pub type Assignment<H> = BTreeMap<SubtaskId, BTreeMap<OperatorUid, Parts<H>>>;

/// Why a job cannot start from a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// The number of key groups would change.
    #[error(
        "its state is divided into {stored} key groups, but the job asks for a maximum parallelism of {asked}, and that cannot be changed"
    )]
    OtherMaxParallelism {
        /// That of the checkpoint.
        stored: u32,
        /// That of the job.
        asked: u32,
    },
    /// A subtask would have no key group.
    #[error(
        "its state is divided into {stored} key groups, which are too few for the parallelism {parallelism} of {vertex}"
    )]
    TooFewKeyGroups {
        /// How many there are.
        stored: u32,
        /// How many subtasks want one.
        parallelism: u32,
        /// The name of the vertex.
        vertex: String,
    },
    /// State would be lost.
    #[error("it holds state of the operator {0}, which the job does not have")]
    Unclaimed(OperatorUid),
}

impl Misfit {
    /// What the user can do.
    pub fn hint(&self) -> String {
        match self {
            Self::OtherMaxParallelism { stored, .. } => {
                format!("set max_parallelism to {stored}, or leave it out: the job then takes that of its state")
            }
            Self::TooFewKeyGroups { stored, .. } => {
                format!(
                    "run it with a parallelism of at most {stored}; state keeps the maximum parallelism that it began with"
                )
            }
            Self::Unclaimed(_) => {
                "give an operator this uid (a stage's or sink's name is part of it), or leave the state \
                 behind with --allow-non-restored-state"
                    .into()
            }
        }
    }
}

impl<H: Clone> Snapshot<H> {
    /// Whether the job can start from it; an operator without state (`holds_state` says so of its parts) can be missing.
    ///
    /// # Errors
    /// If it cannot: state would be lost, or divided otherwise than it is.
    pub fn check(&self, job: &RestoredJob<'_>, holds_state: impl Fn(&H) -> bool) -> Result<(), Misfit> {
        let stored = self.max_parallelism;
        if let Some(asked) = job.max_parallelism.filter(|asked| *asked != stored) {
            return Err(Misfit::OtherMaxParallelism { stored, asked });
        }
        if let Some(wide) = job.graph.vertices.iter().find(|vertex| vertex.parallelism > stored) {
            let (parallelism, vertex) = (wide.parallelism, wide.name.clone());
            return Err(Misfit::TooFewKeyGroups { stored, parallelism, vertex });
        }
        if job.unclaimed == UnclaimedState::LeaveBehind {
            return Ok(());
        }
        let claimed = |uid: &OperatorUid| job.graph.vertices.iter().any(|vertex| vertex.operators.contains(uid));
        let lost = self.operators.iter().find(|(uid, state)| !claimed(uid) && state.parts.values().any(&holds_state));
        lost.map_or(Ok(()), |(uid, _)| Err(Misfit::Unclaimed(uid.clone())))
    }

    /// What each subtask reads. Call [`check`](Self::check) first.
    pub fn assign(&self, graph: &JobGraph) -> Assignment<H> {
        let operators = |subtask: SubtaskId| -> BTreeMap<OperatorUid, Parts<H>> {
            let vertex = graph.vertex(subtask.vertex);
            let known = vertex.operators.iter().filter_map(|uid| Some((uid.clone(), self.operators.get(uid)?)));
            known.map(|(uid, state)| (uid, state.read_by(subtask.index, vertex.parallelism))).collect()
        };
        graph.subtasks().map(|subtask| (subtask, operators(subtask))).collect()
    }
}

impl<H: Clone> OperatorState<H> {
    /// What one of so many subtasks reads.
    fn read_by(&self, index: u32, parallelism: u32) -> Parts<H> {
        let own_only = self.parallelism == parallelism && self.lists == ListsOf::Itself;
        let read = |(old, handle): (&u32, &H)| (!own_only || *old == index).then(|| (*old, handle.clone()));
        Parts { parallelism: self.parallelism, parts: self.parts.iter().filter_map(read).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{graph::Vertex, id::VertexId};

    fn uid(name: &str) -> OperatorUid {
        OperatorUid(name.into())
    }

    /// A source with one subtask, and a chain of `sum` and `sink`.
    fn graph(parallelism: u32) -> JobGraph {
        let vertex = |id, name: &str, parallelism, operators: &[&str]| Vertex {
            id: VertexId(id),
            name: name.into(),
            parallelism,
            operators: operators.iter().map(|operator| uid(operator)).collect(),
        };
        let vertices =
            vec![vertex(0, "source", 1, &["source"]), vertex(1, "sum -> sink", parallelism, &["sum", "sink"])];
        JobGraph { vertices, edges: Vec::new(), max_parallelism: 128 }
    }

    fn state(name: &str, parallelism: u32, lists: ListsOf) -> (OperatorUid, OperatorState<String>) {
        let parts = (0..parallelism).map(|index| (index, format!("{name}#{index}"))).collect();
        (uid(name), OperatorState { parallelism, parts, lists })
    }

    /// What the job of that parallelism kept.
    fn snapshot(parallelism: u32) -> Snapshot<String> {
        let operators = [
            state("source", 1, ListsOf::Itself),
            state("sum", parallelism, ListsOf::Itself),
            state("sink", parallelism, ListsOf::All),
        ];
        Snapshot { max_parallelism: 8, operators: operators.into() }
    }

    fn job(graph: &JobGraph) -> RestoredJob<'_> {
        RestoredJob { graph, max_parallelism: None, unclaimed: UnclaimedState::Refuse }
    }

    /// What a subtask reads of an operator, in one line.
    fn read(assignment: &Assignment<String>, vertex: u32, index: u32, operator: &str) -> String {
        let parts = &assignment[&SubtaskId { vertex: VertexId(vertex), index }][&uid(operator)];
        parts.parts.values().cloned().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn with_the_same_parallelism_a_subtask_reads_its_own_and_all_union_lists() {
        let assignment = snapshot(2).assign(&graph(2));
        assert_eq!(read(&assignment, 0, 0, "source"), "source#0");
        assert_eq!(read(&assignment, 1, 1, "sum"), "sum#1");
        assert_eq!(read(&assignment, 1, 1, "sink"), "sink#0 sink#1");
    }

    #[test]
    fn with_another_parallelism_each_subtask_sees_what_all_kept() {
        for parallelism in [1, 3] {
            let assignment = snapshot(2).assign(&graph(parallelism));
            for index in 0..parallelism {
                assert_eq!(read(&assignment, 1, index, "sum"), "sum#0 sum#1");
                assert_eq!(assignment[&SubtaskId { vertex: VertexId(1), index }][&uid("sum")].parallelism, 2);
            }
        }
    }

    #[test]
    fn operators_are_found_by_their_uid_wherever_they_are_and_new_ones_have_nothing() {
        let mut graph = graph(2);
        graph.vertices[1].operators = vec![uid("new"), uid("sink")];
        graph.vertices[0].operators.push(uid("sum"));
        let assignment = snapshot(2).assign(&graph);
        assert_eq!(read(&assignment, 0, 0, "sum"), "sum#0 sum#1");
        assert_eq!(assignment[&SubtaskId { vertex: VertexId(1), index: 0 }].keys().collect::<Vec<_>>(), [&uid("sink")]);
    }

    #[test]
    fn state_that_no_operator_asks_for_is_refused_unless_it_is_empty_or_may_be_left_behind() {
        let mut graph = graph(2);
        graph.vertices[1].operators = vec![uid("sink")];
        let check = |job: RestoredJob<'_>, holds_state: bool| snapshot(2).check(&job, |_| holds_state);
        assert_eq!(check(job(&graph), true), Err(Misfit::Unclaimed(uid("sum"))));
        assert_eq!(check(job(&graph), false), Ok(()));
        assert_eq!(check(RestoredJob { unclaimed: UnclaimedState::LeaveBehind, ..job(&graph) }, true), Ok(()));
    }

    #[test]
    fn the_number_of_key_groups_is_that_of_the_state() {
        let check = |parallelism: u32, max_parallelism: Option<u32>| {
            snapshot(2).check(&RestoredJob { max_parallelism, ..job(&graph(parallelism)) }, |_| true)
        };
        assert_eq!(check(8, None), Ok(()), "the graph says 128, but its author did not");
        assert_eq!(check(8, Some(8)), Ok(()));
        assert_eq!(check(2, Some(16)), Err(Misfit::OtherMaxParallelism { stored: 8, asked: 16 }));
        let refused = check(9, None).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "its state is divided into 8 key groups, which are too few for the parallelism 9 of sum -> sink"
        );
    }
}
