//! Who takes part in a checkpoint when some subtasks have finished is what Flink's `DefaultCheckpointPlanCalculator` says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tidegate::{
    checkpoint::{
        CheckpointFailureReason,
        coordinator::CheckpointPlan,
        plan::{TaskState, finished_with_their_inputs},
    },
    graph::{Distribution, Edge, JobGraph, Overtaking, Vertex},
    id::{EdgeId, OperatorUid, SubtaskId, VertexId},
};
use tidegate_tests::vectors::{expect, known, list, number, numbers, run, text};

#[test]
fn every_vector_of_checkpoint_plans_holds() {
    run(include_str!("../data/vectors/11_checkpoint_plan.json"), &[], |vector| match text(vector, "id") {
        "plan-task-not-running" => every_task_must_run_or_have_finished(vector),
        _ => plan(vector),
    });
}

fn graph(vector: &Value) -> JobGraph {
    let vertices = list(vector, "vertices").iter().zip(0..).map(|(vertex, id)| Vertex {
        id: VertexId(id),
        name: format!("v{id}"),
        parallelism: number(vertex, "parallelism") as u32,
        operators: vec![OperatorUid(format!("v{id}"))],
    });
    let edges = list(vector, "edges").iter().zip(0..).map(|(edge, id)| Edge {
        id: EdgeId(id),
        from: VertexId(number(edge, "source") as u32),
        to: VertexId(number(edge, "target") as u32),
        distribution: match text(edge, "pattern") {
            "ALL_TO_ALL" => Distribution::AllToAll,
            "POINTWISE" => Distribution::Pointwise,
            other => panic!("unknown pattern {other}"),
        },
        overtaking: Overtaking::Allowed,
    });
    JobGraph { vertices: vertices.collect(), edges: edges.collect(), max_parallelism: 128 }
}

fn plan(vector: &Value) -> Result<(), String> {
    known(vector, &["vertices", "edges", "tasks_to_trigger", "tasks_to_ack_and_commit", "finished_counted_as_acked"])?;
    expect(vector, &text(vector, "tasks_to_ack_and_commit"), &"all running tasks")?;
    expect(vector, &text(vector, "finished_counted_as_acked"), &"all finished tasks")?;
    let graph = graph(vector);
    let finished: BTreeSet<SubtaskId> = list(vector, "vertices")
        .iter()
        .zip(0..)
        .flat_map(|(vertex, id)| {
            numbers(vertex, "finished")
                .into_iter()
                .map(move |index| SubtaskId { vertex: VertexId(id), index: index as u32 })
        })
        .collect();
    let state = |subtask| if finished.contains(&subtask) { TaskState::Finished } else { TaskState::Running };
    let plan = CheckpointPlan::calculate(&graph, state).map_err(|reason| reason.name().to_owned())?;

    let mut triggered: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for subtask in &plan.to_trigger {
        triggered.entry(subtask.vertex.0.to_string()).or_default().push(i64::from(subtask.index));
    }
    let expected: BTreeMap<String, Vec<i64>> = vector["tasks_to_trigger"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(vertex, _)| (vertex.clone(), numbers(&vector["tasks_to_trigger"], vertex)))
        .collect();
    expect(vector, &triggered, &expected)?;
    let running: BTreeSet<SubtaskId> = graph.subtasks().filter(|subtask| !finished.contains(subtask)).collect();
    expect(vector, &plan.tasks, &running)?;
    expect(vector, &CheckpointPlan::without(&graph, &finished), &plan)
}

/// Of each subtask of a source, an operator and a sink in turn, everything else running.
fn every_task_must_run_or_have_finished(vector: &Value) -> Result<(), String> {
    known(vector, &["rule"])?;
    let vertex = |id| Vertex { id: VertexId(id), name: format!("v{id}"), parallelism: 2, operators: Vec::new() };
    let edge = |id| Edge {
        id: EdgeId(id),
        from: VertexId(id),
        to: VertexId(id + 1),
        distribution: Distribution::AllToAll,
        overtaking: Overtaking::Allowed,
    };
    let graph =
        JobGraph { vertices: (0..3).map(vertex).collect(), edges: (0..2).map(edge).collect(), max_parallelism: 128 };
    for strange in graph.subtasks() {
        let state = |subtask| if subtask == strange { TaskState::Other } else { TaskState::Running };
        let refused = CheckpointPlan::calculate(&graph, state).expect_err("one task does not run");
        expect(vector, &refused, &CheckpointFailureReason::NotAllRequiredTasksRunning)?;
        expect(vector, &refused.name(), &"NOT_ALL_REQUIRED_TASKS_RUNNING")?;
    }
    expect(vector, &finished_with_their_inputs(&graph, &BTreeSet::new()), &BTreeSet::new())
}
