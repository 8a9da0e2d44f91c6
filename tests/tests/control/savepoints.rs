//! Savepoints of a running job: what is committed, what goes on, and what comes out in the end.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tidegate::{
    ErrorKind,
    checkpoint::SavepointFormat,
    env::Env,
    job::JobState,
    pipeline::{Checkpoint, Pipeline},
    runtime::{SavepointRequest, StopTime},
};

use crate::live::{committed, in_world, pipeline, submit, undisturbed};

#[test]
fn a_job_that_stops_with_a_savepoint_has_committed_what_is_before_it_and_goes_on_from_it() {
    in_world(|env, place| async move {
        let expected = undisturbed(&env, &place).await;
        let running = submit(&env, &pipeline(&place), None);
        env.sleep(Duration::from_secs(14)).await;
        let savepoint = running.client.stop_with_savepoint(SavepointRequest::into(&place), StopTime::Suspend).await;
        let savepoint = savepoint.unwrap();
        let summary = running.ended.await.unwrap().unwrap();
        assert_eq!(summary.stopped_with.as_ref(), Some(&savepoint));
        let name = savepoint.file_name().unwrap().to_string_lossy();
        assert!(name.starts_with("savepoint-") && name.len() == "savepoint-123456-123456789abc".len(), "{name}");

        let before = committed(&place);
        assert!(!before.is_empty() && before.len() < expected.len(), "windows that are open stay open: {before:?}");
        assert!(before.iter().all(|line| expected.contains(line)), "{before:?}");

        // Where it lies does not matter: everything that it needs is in its directory.
        let moved = place.join("moved");
        fs::rename(&savepoint, &moved).unwrap();
        let summary = submit(&env, &pipeline(&place), Some(moved)).ended.await.unwrap().unwrap();
        assert!(summary.restored_from.is_some());
        assert_eq!(committed(&place), expected);
    });
}

#[test]
fn a_job_goes_on_from_savepoints_with_any_other_parallelism() {
    in_world(|env, place| async move {
        let expected = undisturbed(&env, &place).await;
        let mut from = None;
        for (parallelism, format) in [(2, SavepointFormat::Canonical), (3, SavepointFormat::Native)] {
            let pipeline = Pipeline { parallelism, ..pipeline(&place) };
            let running = submit(&env, &pipeline, from);
            env.sleep(Duration::from_secs(7)).await;
            let request = SavepointRequest { directory: Some(place.clone()), format };
            from = Some(running.client.stop_with_savepoint(request, StopTime::Suspend).await.unwrap());
            running.ended.await.unwrap().unwrap();
            assert!(committed(&place).iter().all(|line| expected.contains(line)));
        }
        let pipeline = Pipeline { parallelism: 1, ..pipeline(&place) };
        submit(&env, &pipeline, from).ended.await.unwrap().unwrap();
        assert_eq!(committed(&place), expected);
    });
}

/// A savepoint of a job that has stopped with it.
async fn stopped(env: &Env, place: &Path) -> PathBuf {
    let running = submit(env, &pipeline(place), None);
    env.sleep(Duration::from_secs(7)).await;
    let savepoint = running.client.stop_with_savepoint(SavepointRequest::into(place), StopTime::Suspend).await.unwrap();
    running.ended.await.unwrap().unwrap();
    savepoint
}

#[test]
fn state_without_an_operator_is_refused_unless_it_may_be_left_behind() {
    in_world(|env, place| async move {
        let savepoint = stopped(&env, &place).await;
        let mut renamed = pipeline(&place);
        renamed.stages[0].name = "others".into();
        renamed.sinks[0].inputs = vec!["others".into()];
        let error = submit(&env, &renamed, Some(savepoint.clone())).ended.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        let said = error.to_string();
        assert!(said.contains("holds state of the operator windows, which the job does not have"), "{said}");
        assert!(said.contains("--allow-non-restored-state"), "{said}");

        let allowed = renamed.with_option("execution.savepoint.ignore-unclaimed-state", "true");
        submit(&env, &allowed, Some(savepoint)).ended.await.unwrap().unwrap();
    });
}

#[test]
fn the_maximum_parallelism_is_that_of_the_state_and_cannot_be_changed() {
    in_world(|env, place| async move {
        let savepoint = stopped(&env, &place).await;
        let refused = async |pipeline: &Pipeline| {
            let ended = submit(&env, pipeline, Some(savepoint.clone())).ended.await.unwrap();
            ended.unwrap_err().to_string()
        };
        let other = Pipeline { max_parallelism: Some(64), ..pipeline(&place) };
        let said = refused(&other).await;
        assert!(
            said.contains("divided into 128 key groups, but the job asks for a maximum parallelism of 64"),
            "{said}"
        );
        let wide = Pipeline { parallelism: 129, ..pipeline(&place) };
        let said = refused(&wide).await;
        assert!(said.contains("128 key groups, which are too few for the parallelism 129 of numbers"), "{said}");
        let named = Pipeline { max_parallelism: Some(128), ..pipeline(&place) };
        submit(&env, &named, Some(savepoint.clone())).ended.await.unwrap().unwrap();
    });
}

#[test]
fn a_job_that_drains_fires_its_windows_before_the_savepoint() {
    in_world(|env, place| async move {
        let expected = undisturbed(&env, &place).await;
        let running = submit(&env, &pipeline(&place), None);
        env.sleep(Duration::from_secs(14)).await;
        running.client.stop_with_savepoint(SavepointRequest::into(&place), StopTime::Drain).await.unwrap();
        running.ended.await.unwrap().unwrap();
        let drained = committed(&place);
        let unfinished: Vec<&String> = drained.iter().filter(|line| !expected.contains(line)).collect();
        assert!(
            !unfinished.is_empty() && unfinished.len() <= 3,
            "the window that was open, of each key: {unfinished:?}"
        );
        assert!(drained.len() > unfinished.len(), "{drained:?}");
    });
}

#[test]
fn a_savepoint_commits_nothing_and_the_job_goes_on() {
    in_world(|env, place| async move {
        let expected = undisturbed(&env, &place).await;
        let mut pipeline = pipeline(&place);
        pipeline.checkpoint = Some(Checkpoint::every(Duration::from_secs(3600)));
        let running = submit(&env, &pipeline, None);
        env.sleep(Duration::from_secs(14)).await;
        let request = SavepointRequest { directory: Some(place.clone()), format: SavepointFormat::Native };
        let savepoint = running.client.trigger_savepoint(request).await.unwrap();
        env.sleep(Duration::from_secs(1)).await;
        assert_eq!(committed(&place), Vec::<String>::new());
        assert_eq!(running.client.status().await.unwrap().latest_checkpoint, None, "it is not the job's");
        running.ended.await.unwrap().unwrap();
        assert_eq!(committed(&place), expected);
        assert!(savepoint.join("_metadata").is_file(), "it stays when the job has ended");
    });
}

#[test]
fn a_cancelled_job_commits_nothing_more() {
    in_world(|env, place| async move {
        let running = submit(&env, &pipeline(&place), None);
        env.sleep(Duration::from_secs(14)).await;
        assert_eq!(running.client.status().await.unwrap().state, JobState::Running);
        let before = committed(&place);
        running.client.cancel().await.unwrap();
        let summary = running.ended.await.unwrap().unwrap();
        assert!(summary.cancelled && summary.stopped_with.is_none());
        assert_eq!(committed(&place), before);
        assert_eq!(running.client.status().await.unwrap_err().message(), "the job has ended");
    });
}

#[test]
fn a_job_cancelled_with_a_savepoint_goes_on_from_it() {
    in_world(|env, place| async move {
        let expected = undisturbed(&env, &place).await;
        let running = submit(&env, &pipeline(&place), None);
        env.sleep(Duration::from_secs(14)).await;
        let savepoint = running.client.cancel_with_savepoint(SavepointRequest::into(&place)).await.unwrap();
        assert!(running.ended.await.unwrap().unwrap().cancelled);
        submit(&env, &pipeline(&place), Some(savepoint)).ended.await.unwrap().unwrap();
        assert_eq!(committed(&place), expected);
    });
}

#[test]
fn a_savepoint_without_a_place_is_refused_with_the_option_that_names_one() {
    in_world(|env, place| async move {
        let running = submit(&env, &pipeline(&place), None);
        let error = running.client.trigger_savepoint(SavepointRequest::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("execution.checkpointing.savepoint-dir"), "{error}");
        running.client.cancel().await.unwrap();
        running.ended.await.unwrap().unwrap();

        let option = place.join("savepoints").display().to_string();
        let configured = pipeline(&place).with_option("state.savepoints.dir", option);
        let running = submit(&env, &configured, None);
        env.sleep(Duration::from_secs(5)).await;
        let savepoint = running.client.trigger_savepoint(SavepointRequest::default()).await.unwrap();
        assert_eq!(savepoint.parent().unwrap(), place.join("savepoints"));
        running.client.cancel().await.unwrap();
    });
}

#[test]
fn a_checkpoint_can_be_asked_for() {
    in_world(|env, place| async move {
        let mut pipeline = pipeline(&place);
        pipeline.checkpoint = Some(Checkpoint::every(Duration::from_secs(3600)));
        let running = submit(&env, &pipeline, None);
        env.sleep(Duration::from_secs(14)).await;
        let checkpoint_id = running.client.trigger_checkpoint().await.unwrap();
        assert_eq!(running.client.status().await.unwrap().latest_checkpoint, Some(checkpoint_id));
        env.sleep(Duration::from_secs(1)).await;
        assert!(!committed(&place).is_empty(), "a checkpoint commits");
        running.client.cancel().await.unwrap();
    });
}

#[test]
fn a_job_without_checkpoints_stops_with_a_savepoint_too() {
    in_world(|env, place| async move {
        let expected = undisturbed(&env, &place).await;
        let mut pipeline = pipeline(&place);
        pipeline.checkpoint = None;
        let running = submit(&env, &pipeline, None);
        env.sleep(Duration::from_secs(14)).await;
        let request = SavepointRequest::into(&place);
        let savepoint = running.client.stop_with_savepoint(request, StopTime::Suspend).await.unwrap();
        running.ended.await.unwrap().unwrap();
        assert!(!committed(&place).is_empty());
        submit(&env, &pipeline, Some(savepoint)).ended.await.unwrap().unwrap();
        assert_eq!(committed(&place), expected);
    });
}
