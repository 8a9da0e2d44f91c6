//! Completed checkpoints and shared files are kept and dropped as Flink's stores and registry do.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tidegate::{
    checkpoint::{
        Layout, Ownership, RestoredSnapshot, SharedStateKey, SharedStateRegistry,
        coordinator::{
            CheckpointCoordinator, CheckpointPlan, CoordinatorAction, CoordinatorInput, CoordinatorStart, RequestId,
            StoreOutcome, TriggerKind, TriggerRequest,
        },
        retention::{
            CompletedCheckpoint, CompletedCheckpoints, CompletedKind, Dropped, Files, JobEnd, RetentionPolicy, Survival,
        },
    },
    config::CheckpointConfig,
    id::{CheckpointId, SubtaskId, VertexId},
    time::Timestamp,
};
use tidegate_tests::vectors::{expect, list, number, numbers, run, text, words};

#[test]
fn every_vector_of_retention_holds() {
    run(include_str!("../data/vectors/21_checkpoint_retention.json"), &[], |vector| match text(vector, "id") {
        "retention-properties" => properties(vector),
        "store-misc" => misc(vector),
        "store-shutdown" => shutdown(vector),
        "store-add-failure-keeps-old" => nothing_is_dropped_for_a_checkpoint_that_was_not_stored(vector),
        "sharedreg-incremental-chain" => incremental_chain(vector),
        id if id.starts_with("sharedreg-") => registry(vector),
        _ => store(vector),
    });
}

fn checkpoint(id: u64) -> CompletedCheckpoint {
    CompletedCheckpoint { checkpoint_id: CheckpointId(id), kind: CompletedKind::Checkpoint }
}

fn ids(store: &CompletedCheckpoints) -> Vec<u64> {
    store.entries().map(|entry| entry.checkpoint_id.0).collect()
}

/// Adds each entry under the id of its place in the script, since those of the vectors are names at times.
fn store(vector: &Value) -> Result<(), String> {
    let mut store = CompletedCheckpoints::new(number(vector, "retain") as usize, []);
    let mut names = BTreeMap::new();
    for (place, step) in list(vector, "steps").iter().enumerate() {
        let kind = match text(step, "kind") {
            "checkpoint" => CompletedKind::Checkpoint,
            "savepoint" => CompletedKind::Savepoint,
            other => panic!("unknown kind {other}"),
        };
        let checkpoint_id = CheckpointId(place as u64);
        names.insert(place as u64, step["add"].clone());
        let removed = store.add(CompletedCheckpoint { checkpoint_id, kind });
        let removed: Vec<_> = removed.iter().map(|dropped| names[&dropped.checkpoint_id.0].clone()).collect();
        expect(step, &removed, &list(step, "removed").to_vec())?;
        let retained: Vec<_> = ids(&store).iter().map(|id| names[id].clone()).collect();
        expect(step, &retained, &list(step, "retained").to_vec())?;
    }
    let retained: Vec<_> = ids(&store).iter().map(|id| names[id].clone()).collect();
    expect(vector, &retained, &list(vector, "retained").to_vec())
}

fn properties(vector: &Value) -> Result<(), String> {
    for row in list(vector, "rows") {
        let (kind, policy) = match text(row, "kind").split(' ').next() {
            Some("NEVER_RETAIN_AFTER_TERMINATION") => (CompletedKind::Checkpoint, RetentionPolicy::NeverRetain),
            Some("RETAIN_ON_FAILURE") => (CompletedKind::Checkpoint, RetentionPolicy::RetainOnFailure),
            Some("RETAIN_ON_CANCELLATION") => (CompletedKind::Checkpoint, RetentionPolicy::RetainOnCancellation),
            Some("savepoint") => (CompletedKind::Savepoint, RetentionPolicy::NeverRetain),
            Some("unclaimed") => (CompletedKind::Unclaimed, RetentionPolicy::NeverRetain),
            other => panic!("unknown kind {other:?}"),
        };
        let entry = CompletedCheckpoint { checkpoint_id: CheckpointId(1), kind };
        let deletes = |dropped: &[Dropped]| dropped.iter().any(|dropped| dropped.files == Files::Delete);
        let at_end =
            |end| deletes(&CompletedCheckpoints::new(1, [entry]).shut_down(policy, end, Survival::EndsWithLeader));
        let actual = serde_json::json!({
            "subsumed": deletes(&CompletedCheckpoints::new(1, [entry]).add(checkpoint(2))),
            "job_finished": at_end(JobEnd::Finished),
            "job_cancelled": at_end(JobEnd::Cancelled),
            "job_failed": at_end(JobEnd::Failed),
            "job_suspended": at_end(JobEnd::Suspended),
        });
        expect(row, &actual, &row["discard_when"])?;
    }
    Ok(())
}

fn misc(vector: &Value) -> Result<(), String> {
    for case in list(vector, "cases") {
        let retain = number(case, "retain") as usize;
        if case["result"] == "error" {
            let refused = std::panic::catch_unwind(|| CompletedCheckpoints::new(retain, []));
            expect(case, &refused.is_err(), &true)?;
            continue;
        }
        let mut store = CompletedCheckpoints::new(retain, []);
        if case["empty"] == true {
            expect(case, &(store.latest(), store.entries().count()), &(None, 0))?;
        }
        let mut latest = Vec::new();
        for id in numbers(case, "add") {
            store.add(checkpoint(id as u64));
            latest.extend(store.latest().map(|id| id.0 as i64));
        }
        if case["latest_id_after_each"].is_array() {
            expect(case, &latest, &numbers(case, "latest_id_after_each"))?;
        }
        if case["shutdown"] == "FINISHED" {
            let added: Vec<_> = numbers(case, "add").into_iter().map(|id| CheckpointId(id as u64)).collect();
            let dropped = store.shut_down(RetentionPolicy::NeverRetain, JobEnd::Finished, Survival::EndsWithLeader);
            let all = added.into_iter().map(|checkpoint_id| Dropped { checkpoint_id, files: Files::Delete });
            expect(case, &dropped, &all.collect())?;
            expect(case, &store.entries().count(), &0)?;
        }
    }
    Ok(())
}

fn shutdown(vector: &Value) -> Result<(), String> {
    for case in list(vector, "cases") {
        let survival = match text(case, "store") {
            "HA" => Survival::OutlivesLeader,
            _ => Survival::EndsWithLeader,
        };
        let ends = match text(case, "job_status").split(' ').next() {
            Some("FINISHED") => vec![JobEnd::Finished],
            Some("globally") => vec![JobEnd::Finished, JobEnd::Cancelled, JobEnd::Failed],
            Some("SUSPENDED" | "not") => vec![JobEnd::Suspended],
            other => panic!("unknown status {other:?}"),
        };
        for end in ends {
            for policy in
                [RetentionPolicy::NeverRetain, RetentionPolicy::RetainOnFailure, RetentionPolicy::RetainOnCancellation]
            {
                if case["policy"] == "NEVER_RETAIN" && policy != RetentionPolicy::NeverRetain {
                    continue;
                }
                let mut store = CompletedCheckpoints::new(1, [checkpoint(1)]);
                let dropped = store.shut_down(policy, end, survival);
                if let Some(removed) = case["handles_removed"].as_bool() {
                    expect(case, &(store.entries().count() == 0), &removed)?;
                }
                let discarded = dropped.iter().any(|dropped| dropped.files == Files::Delete);
                let expected = match case["discarded"].as_bool() {
                    Some(expected) => expected,
                    None => policy.files_at(end) == Files::Delete,
                };
                expect(case, &discarded, &expected)?;
            }
        }
    }
    Ok(())
}

fn nothing_is_dropped_for_a_checkpoint_that_was_not_stored(vector: &Value) -> Result<(), String> {
    for outcome in [StoreOutcome::NotStored, StoreOutcome::Unknown] {
        let task = SubtaskId { vertex: VertexId(0), index: 0 };
        let start = CoordinatorStart {
            next_id: CheckpointId(2),
            retained: vec![checkpoint(1)],
            ..CoordinatorStart::first(std::time::Duration::ZERO)
        };
        let mut coordinator = CheckpointCoordinator::new(&CheckpointConfig::default(), start);
        let checkpoint_id = CheckpointId(2);
        let mut actions = Vec::new();
        for input in [
            CoordinatorInput::TasksRunning(CheckpointPlan { tasks: [task].into(), to_trigger: vec![task] }),
            CoordinatorInput::TriggerRequested(TriggerRequest::new(RequestId(0), TriggerKind::Manual)),
            CoordinatorInput::LocationReady { checkpoint_id },
            CoordinatorInput::Acknowledge { checkpoint_id, task },
            CoordinatorInput::StoreFailed { checkpoint_id, outcome },
        ] {
            coordinator.handle(Timestamp(0), input, &mut actions);
        }
        let drops = actions.iter().filter(|action| matches!(action, CoordinatorAction::DropCompleted { .. }));
        expect(vector, &drops.count(), &0)?;
        expect(vector, &coordinator.completed().latest(), &Some(CheckpointId(1)))?;
    }
    Ok(())
}

fn key(name: &str) -> SharedStateKey {
    SharedStateKey(name.to_owned())
}

fn registry(vector: &Value) -> Result<(), String> {
    let mut registry = SharedStateRegistry::new();
    for step in list(vector, "steps") {
        if let Some(snapshot) = step["register_initial"].as_str() {
            let layout =
                if snapshot.starts_with("native savepoint") { Layout::NativeSavepoint } else { Layout::Checkpoint };
            let id = snapshot.rsplit(' ').next().and_then(|id| id.parse().ok()).ok_or("no id")?;
            let checkpoint_id = CheckpointId(id);
            let restored = RestoredSnapshot { checkpoint_id, ownership: Ownership::Job, layout };
            let file = text(step, "uses");
            registry.register_restored(restored, [(key(file), file)]);
        } else if let Some(file) = step["register"].as_str() {
            let checkpoint_id = CheckpointId(number(step, "checkpoint") as u64);
            if step["prevents_discard_of_created_checkpoint"] == true {
                registry.register_with_creator(key(file), file, checkpoint_id);
            } else {
                registry.register(key(file), file, checkpoint_id);
            }
        } else {
            let lowest = step["unregister_unused_below"].as_i64().map_or(u64::MAX, |lowest| lowest.max(0) as u64);
            let unregistered = registry.unregister_unused(CheckpointId(lowest));
            if step["deleted_files"].is_array() {
                let deleted: Vec<_> = unregistered.delete.iter().map(|file| Value::from(*file)).collect();
                expect(step, &deleted, &list(step, "deleted_files").to_vec())?;
            }
            if step["checkpoints_in_use"].is_array() {
                let in_use: Vec<_> = unregistered.in_use.iter().map(|id| id.0 as i64).collect();
                expect(step, &in_use, &numbers(step, "checkpoints_in_use"))?;
            }
        }
    }
    Ok(())
}

fn incremental_chain(vector: &Value) -> Result<(), String> {
    let mut registry = SharedStateRegistry::new();
    let mut store = CompletedCheckpoints::new(number(vector, "retain") as usize, []);
    let names = |step, key| words(step, key).into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
    for step in list(vector, "steps") {
        let checkpoint_id = CheckpointId(number(step, "complete_checkpoint") as u64);
        for file in names(step, "files") {
            let registered = registry.register(key(&file), file.clone(), checkpoint_id);
            expect(step, &registered.delete, &None)?;
        }
        registry.completed(checkpoint_id);
        store.add(CompletedCheckpoint { checkpoint_id, kind: CompletedKind::Checkpoint });
        let unregistered = registry.unregister_unused(store.oldest().ok_or("nothing is retained")?);
        expect(step, &unregistered.delete.into_iter().collect(), &names(step, "deleted"))?;
        expect(step, &registry.handles().cloned().collect(), &names(step, "shared_dir_after"))?;
    }
    Ok(())
}
