//! The HTTP API: what a client of Flink would ask for, and what it is told.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate::{
    ErrorKind,
    env::Env,
    id::job_id_of,
    job::JobState,
    rest::{RestClient, RestServer},
    runtime::{SavepointRequest, StopTime},
};

use crate::live::{Running, in_world, pipeline, submit};

/// A job that has run for a while, and a client of its server.
async fn served(env: &Env, place: &std::path::Path) -> (Running, RestServer, RestClient) {
    let running = submit(env, &pipeline(place), None);
    let server = RestServer::start(env, "127.0.0.1:0", running.client.clone()).await.unwrap();
    let client = RestClient::new(env, server.address());
    env.sleep(Duration::from_secs(8)).await;
    (running, server, client)
}

#[test]
fn the_job_its_tasks_and_its_checkpoints_are_told_in_flink_s_fields() {
    in_world(|env, place| async move {
        let (running, _server, client) = served(&env, &place).await;
        let id = job_id_of("job");
        let jobs = client.get("/v1/jobs").await.unwrap();
        assert_eq!(jobs, json!({ "jobs": [{ "id": id, "status": "RUNNING" }] }));
        let overview = client.get("/overview").await.unwrap();
        assert_eq!((&overview["taskmanagers"], &overview["jobs-running"]), (&json!(2), &json!(1)));
        let listed = &client.get("/jobs/overview").await.unwrap()["jobs"][0];
        assert_eq!((&listed["jid"], &listed["name"], &listed["end-time"]), (&json!(id), &json!("job"), &json!(-1)));
        let details = client.get(&format!("/jobs/{id}")).await.unwrap();
        assert_eq!((&details["state"], &details["vertices"][0]["parallelism"]), (&json!("RUNNING"), &json!(2)));
        assert_eq!(details["plan"]["nodes"].as_array().unwrap().len(), details["vertices"].as_array().unwrap().len());

        let checkpoints = client.get("/jobs/job/checkpoints").await.unwrap();
        let completed = checkpoints["counts"]["completed"].as_u64().unwrap();
        assert!(completed >= 2, "{checkpoints}");
        let latest = &checkpoints["latest"]["completed"];
        assert_eq!((&latest["status"], &latest["checkpoint_type"]), (&json!("COMPLETED"), &json!("CHECKPOINT")));
        assert!(latest["state_size"].as_u64().unwrap() > 0, "{latest}");
        assert_eq!(latest["num_subtasks"], latest["num_acknowledged_subtasks"]);
        let number = latest["id"].as_u64().unwrap();
        let one = client.get(&format!("/jobs/job/checkpoints/details/{number}")).await.unwrap();
        let by_task: u64 =
            one["tasks"].as_object().unwrap().values().map(|task| task["state_size"].as_u64().unwrap()).sum();
        assert_eq!(Some(by_task), latest["state_size"].as_u64());
        assert_eq!(client.get("/jobs/job/exceptions").await.unwrap()["root-exception"], Value::Null);
        assert_eq!(client.get("/taskmanagers").await.unwrap()["taskmanagers"].as_array().unwrap().len(), 2);
        running.client.cancel().await.unwrap();
    });
}

#[test]
fn savepoints_checkpoints_and_the_end_of_a_job_can_be_asked_for() {
    in_world(|env, place| async move {
        let (running, server, client) = served(&env, &place).await;
        let number = client.checkpoint("job").await.unwrap();
        let latest = client.get("/jobs/job/checkpoints").await.unwrap()["latest"]["completed"]["id"].clone();
        assert_eq!(latest, json!(number));

        let request = SavepointRequest::into(&place);
        let savepoint = client.savepoint("job", &request, false).await.unwrap();
        assert!(savepoint.join("_metadata").is_file());
        let told = client.get("/jobs/job/checkpoints").await.unwrap()["latest"]["savepoint"].clone();
        assert_eq!(told["external_path"], json!(savepoint.display().to_string()));
        client.dispose(&savepoint).await.unwrap();
        assert!(!savepoint.exists());
        assert!(client.dispose(&savepoint).await.unwrap_err().to_string().contains("there is no checkpoint at"));

        // Who asks has to be told before the process ends.
        let stopping = client.clone();
        let stopped =
            madsim::task::spawn(async move { stopping.stop(&job_id_of("job"), &request, StopTime::Suspend).await });
        let summary = running.ended.await.unwrap().unwrap();
        server.wind_down(JobState::Finished).await;
        let savepoint = stopped.await.unwrap().unwrap();
        assert_eq!(summary.stopped_with, Some(savepoint));
        assert_eq!(client.get("/jobs/job/status").await.unwrap(), json!({ "status": "FINISHED" }));
    });
}

#[test]
fn what_cannot_be_done_is_refused_with_the_reason() {
    in_world(|env, place| async move {
        let (running, _server, client) = served(&env, &place).await;
        let unknown = client.cancel("other").await.unwrap_err();
        assert_eq!(
            (unknown.kind(), unknown.message()),
            (ErrorKind::Configuration, "job other not found: this job manager runs job")
        );
        let nowhere = client.savepoint("job", &SavepointRequest::default(), false).await.unwrap_err();
        assert!(nowhere.to_string().contains("execution.checkpointing.savepoint-dir"), "{nowhere}");
        let missing = client.get("/jobs/job/vertices").await.unwrap_err();
        assert_eq!(missing.message(), "there is nothing at /jobs/job/vertices");
        client.cancel("job").await.unwrap();
        assert!(running.ended.await.unwrap().unwrap().cancelled);

        let nobody = RestClient::new(&env, "127.0.0.1:9");
        let error = nobody.get("/jobs").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("no job manager answers at 127.0.0.1:9"), "{error}");
    });
}
