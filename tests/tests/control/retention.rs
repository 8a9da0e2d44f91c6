//! What a job leaves when it has ended, and whose that is which it starts from.

use std::{fs, path::Path, time::Duration};

use tidegate::{
    checkpoint::retention::JobEnd,
    env::Env,
    pipeline::Pipeline,
    runtime::{SavepointRequest, StopTime},
};

use crate::live::{Running, committed, in_world, pipeline, submit, undisturbed};

/// The job with its checkpoints in files.
fn kept_in(place: &Path, retention: &str) -> Pipeline {
    let mut pipeline =
        pipeline(place).with_option("execution.checkpointing.externalized-checkpoint-retention", retention);
    if let Some(checkpoint) = &mut pipeline.checkpoint {
        checkpoint.dir = Some(place.join("checkpoints").display().to_string());
    }
    pipeline
}

/// What lies among the job's checkpoints, beside its log.
fn left(place: &Path) -> Vec<String> {
    let entries = fs::read_dir(place.join("checkpoints/job")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name != "ha").collect();
    names.sort();
    names
}

async fn running_for(env: &Env, pipeline: &Pipeline, seconds: u64) -> Running {
    let running = submit(env, pipeline, None);
    env.sleep(Duration::from_secs(seconds)).await;
    running
}

async fn cancelled_after(env: &Env, pipeline: &Pipeline, seconds: u64) {
    let running = running_for(env, pipeline, seconds).await;
    running.client.cancel().await.unwrap();
    running.ended.await.unwrap().unwrap();
}

#[test]
fn a_finished_job_leaves_nothing_whatever_the_policy() {
    in_world(|env, place| async move {
        for policy in ["NO_EXTERNALIZED_CHECKPOINTS", "DELETE_ON_CANCELLATION", "RETAIN_ON_CANCELLATION"] {
            let place = place.join(policy);
            submit(&env, &kept_in(&place, policy), None).ended.await.unwrap().unwrap();
            assert_eq!(left(&place), Vec::<String>::new(), "{policy}");
        }
    });
}

#[test]
fn a_cancelled_job_leaves_its_newest_checkpoint_only_if_it_is_to() {
    in_world(|env, place| async move {
        for (policy, kept) in
            [("NO_EXTERNALIZED_CHECKPOINTS", 0), ("DELETE_ON_CANCELLATION", 0), ("RETAIN_ON_CANCELLATION", 1)]
        {
            let place = place.join(policy);
            cancelled_after(&env, &kept_in(&place, policy), 14).await;
            assert_eq!(left(&place).len(), kept, "{policy}: {:?}", left(&place));
        }
    });
}

#[test]
fn a_cancelled_job_does_not_begin_again_by_itself_and_goes_on_from_what_it_kept() {
    in_world(|env, place| async move {
        let expected = undisturbed(&env, &place).await;
        let pipeline = kept_in(&place, "RETAIN_ON_CANCELLATION");
        cancelled_after(&env, &pipeline, 14).await;
        let before = committed(&place);
        let again = submit(&env, &pipeline, None).ended.await.unwrap().unwrap();
        assert_eq!((again.had_ended, committed(&place)), (Some(JobEnd::Cancelled), before));

        let kept = left(&place);
        let from = place.join("checkpoints/job").join(&kept[0]);
        let resumed = submit(&env, &pipeline, Some(from)).ended.await.unwrap().unwrap();
        assert_eq!(resumed.had_ended, None);
        assert_eq!(committed(&place), expected);
        assert_eq!(left(&place), kept, "it was not claimed");
    });
}

#[test]
fn a_claimed_checkpoint_is_the_job_s_and_goes_with_it() {
    in_world(|env, place| async move {
        let expected = undisturbed(&env, &place).await;
        let pipeline = kept_in(&place, "RETAIN_ON_CANCELLATION");
        cancelled_after(&env, &pipeline, 14).await;
        let from = place.join("checkpoints/job").join(&left(&place)[0]);
        let claiming = pipeline.with_option("execution.state-recovery.claim-mode", "CLAIM");
        submit(&env, &claiming, Some(from)).ended.await.unwrap().unwrap();
        assert_eq!(committed(&place), expected);
        assert_eq!(left(&place), Vec::<String>::new());
    });
}

#[test]
fn a_savepoint_stays_when_the_job_has_ended_unless_it_is_claimed() {
    in_world(|env, place| async move {
        let expected = undisturbed(&env, &place).await;
        let pipeline = kept_in(&place, "NO_EXTERNALIZED_CHECKPOINTS");
        let running = running_for(&env, &pipeline, 14).await;
        let stopped = running.client.stop_with_savepoint(SavepointRequest::into(&place), StopTime::Suspend).await;
        let savepoint = stopped.unwrap();
        running.ended.await.unwrap().unwrap();
        assert_eq!(left(&place), Vec::<String>::new(), "the savepoint stands for all");

        let running = submit(&env, &pipeline, Some(savepoint.clone()));
        env.sleep(Duration::from_secs(3)).await;
        running.client.cancel().await.unwrap();
        running.ended.await.unwrap().unwrap();
        assert!(savepoint.join("_metadata").is_file(), "nobody has claimed it");

        let claiming = pipeline.with_option("execution.savepoint-restore-mode", "claim");
        submit(&env, &claiming, Some(savepoint.clone())).ended.await.unwrap().unwrap();
        assert!(!savepoint.exists());
        assert_eq!(left(&place), Vec::<String>::new());
        assert!(expected.iter().all(|line| committed(&place).contains(line)));
    });
}
