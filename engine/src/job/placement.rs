//! Which task manager runs which subtask.

use std::collections::BTreeMap;

use crate::{
    graph::JobGraph,
    id::{SubtaskId, TaskManagerId},
};

/// Where each subtask runs.
pub type Placement = BTreeMap<SubtaskId, TaskManagerId>;

/// Places a job on task managers with so many slots each, or `None` if there are too few.
///
/// Slot i holds subtask i of every vertex (Flink's slot sharing); slots go to the task manager that has most
/// left, the first by name among equals, so that the job spreads.
pub fn place(graph: &JobGraph, slots: &BTreeMap<TaskManagerId, u32>) -> Option<Placement> {
    let mut free = slots.clone();
    let mut owners: Vec<TaskManagerId> = Vec::new();
    for _ in 0..graph.slots() {
        let (owner, left) = free.iter_mut().rev().max_by_key(|(_, left)| **left)?;
        *left = left.checked_sub(1)?;
        owners.push(owner.clone());
    }
    Some(graph.subtasks().map(|subtask| (subtask, owners[subtask.index as usize].clone())).collect())
}
