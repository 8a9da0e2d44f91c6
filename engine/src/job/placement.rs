//! Which task manager runs which subtask.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    graph::JobGraph,
    id::{SubtaskId, TaskManagerId},
};

/// Where each subtask runs.
pub type Placement = BTreeMap<SubtaskId, TaskManagerId>;

/// Places a job on task managers with so many slots each, or `None` if there are too few. See [`place_beside`].
pub fn place(graph: &JobGraph, slots: &BTreeMap<TaskManagerId, u32>, prior: &Placement) -> Option<Placement> {
    place_beside(&graph.subtasks().collect(), slots, &Placement::new(), prior)
}

/// Places tasks beside others that hold slots already, or `None` if there are too few.
///
/// Slot i holds subtask i of every vertex (Flink's slot sharing): a task goes to where others of its number are. Other slots
/// go to the task manager that has most left, the first by name among equals, so that the job spreads. But a slot stays
/// where it was in `prior`, if that task manager is still there: its disk may hold the state (Flink's allocation by prior
/// locations).
pub fn place_beside(
    tasks: &BTreeSet<SubtaskId>,
    slots: &BTreeMap<TaskManagerId, u32>,
    others: &Placement,
    prior: &Placement,
) -> Option<Placement> {
    let mut free = slots.clone();
    let mut owners: BTreeMap<u32, TaskManagerId> = BTreeMap::new();
    let held: BTreeSet<(u32, &TaskManagerId)> = others.iter().map(|(task, host)| (task.index, host)).collect();
    for (index, host) in held {
        // Of a task manager that is lost nothing is used again.
        let Some(left) = free.get_mut(host) else { continue };
        *left = left.saturating_sub(1);
        owners.entry(index).or_insert_with(|| host.clone());
    }
    let needed: BTreeSet<u32> = tasks.iter().map(|task| task.index).collect();
    for (task, owner) in prior.iter().filter(|(task, _)| needed.contains(&task.index)) {
        if let Some(left) = free.get_mut(owner).filter(|left| **left > 0 && !owners.contains_key(&task.index)) {
            *left -= 1;
            owners.insert(task.index, owner.clone());
        }
    }
    for index in needed {
        if owners.contains_key(&index) {
            continue;
        }
        let (owner, left) = free.iter_mut().rev().max_by_key(|(_, left)| **left)?;
        *left = left.checked_sub(1)?;
        owners.insert(index, owner.clone());
    }
    Some(tasks.iter().map(|task| (*task, owners[&task.index].clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{graph::Vertex, id::VertexId};

    fn graph(parallelism: u32) -> JobGraph {
        let vertex = |id: u32| Vertex { id: VertexId(id), name: "v".into(), parallelism, operators: Vec::new() };
        JobGraph { max_parallelism: 128, vertices: vec![vertex(0), vertex(1)], edges: Vec::new() }
    }

    fn slots(given: &[(&str, u32)]) -> BTreeMap<TaskManagerId, u32> {
        given.iter().map(|(id, slots)| (TaskManagerId((*id).into()), *slots)).collect()
    }

    /// Who has which slot.
    fn owners(placement: &Placement) -> Vec<&str> {
        let of_first = placement.iter().filter(|(subtask, _)| subtask.vertex == VertexId(0));
        of_first.map(|(_, owner)| owner.0.as_str()).collect()
    }

    #[test]
    fn a_job_spreads_over_the_task_managers() {
        let placed = place(&graph(3), &slots(&[("a", 2), ("b", 2)]), &Placement::new()).unwrap();
        assert_eq!(owners(&placed), ["a", "b", "a"]);
        assert_eq!(place(&graph(3), &slots(&[("a", 2)]), &Placement::new()), None);
    }

    #[test]
    fn slots_stay_where_they_were_and_only_those_of_the_lost_move() {
        let prior = place(&graph(2), &slots(&[("a", 1), ("b", 1)]), &Placement::new()).unwrap();
        assert_eq!(owners(&prior), ["a", "b"]);
        let left = slots(&[("b", 1), ("c", 1)]);
        assert_eq!(owners(&place(&graph(2), &left, &prior).unwrap()), ["c", "b"]);
        assert_eq!(
            owners(&place(&graph(2), &left, &Placement::new()).unwrap()),
            ["b", "c"],
            "without that they change"
        );
    }

    #[test]
    fn a_task_manager_with_fewer_slots_than_before_keeps_what_it_has_room_for() {
        let prior = place(&graph(2), &slots(&[("a", 2)]), &Placement::new()).unwrap();
        let placed = place(&graph(2), &slots(&[("a", 1), ("b", 2)]), &prior).unwrap();
        assert_eq!(owners(&placed), ["a", "b"]);
        assert_eq!(owners(&place(&graph(1), &slots(&[("a", 1)]), &prior).unwrap()), ["a"], "of a smaller job");
    }

    #[test]
    fn tasks_go_to_where_others_of_their_number_are_and_do_not_take_their_slots() {
        let tasks: BTreeSet<SubtaskId> = graph(2).subtasks().filter(|task| task.vertex == VertexId(0)).collect();
        let other = SubtaskId { vertex: VertexId(1), index: 1 };
        let others = Placement::from([(other, TaskManagerId("a".into()))]);
        let placed = |given: &[(&str, u32)]| place_beside(&tasks, &slots(given), &others, &Placement::new());
        assert_eq!(owners(&placed(&[("a", 1), ("b", 1)]).unwrap()), ["b", "a"]);
        assert_eq!(placed(&[("a", 1)]), None);
        assert_eq!(owners(&placed(&[("b", 2)]).unwrap()), ["b", "b"], "who held a slot is lost");
    }
}
