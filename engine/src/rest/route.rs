//! Which paths there are, and what each is asked for: those of Flink's REST API that make sense for one job.

use hyper::Method;

/// Something that a client asks for or wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Config,
    Overview,
    Jobs,
    JobsOverview,
    TaskManagers,
    JobManagerConfig,
    Metrics,
    /// Of a job, by its id or name.
    Job(String, JobRoute),
    DisposeSavepoint,
    SavepointDisposal(String),
}

/// The same, of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum JobRoute {
    Details,
    Status,
    Cancel,
    Config,
    Exceptions,
    Plan,
    Checkpoints,
    CheckpointConfig,
    CheckpointDetails(String),
    TriggerCheckpoint,
    CheckpointStatus(String),
    TriggerSavepoint,
    SavepointStatus(String),
    Stop,
}

/// Why a request leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoRoute {
    NotFound,
    MethodNotAllowed,
}

/// Finds what a request asks for. A leading version, `/v1`, changes nothing.
pub(super) fn route(method: &Method, path: &str) -> Result<Route, NoRoute> {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let segments = match segments.as_slice() {
        [version, rest @ ..] if *version == "v1" => rest,
        all => all,
    };
    let by_method = |allowed: &Method, route: Route| {
        if method == allowed { Ok(route) } else { Err(NoRoute::MethodNotAllowed) }
    };
    let get = |route: Route| by_method(&Method::GET, route);
    match segments {
        ["config"] => get(Route::Config),
        [] | ["overview"] => get(Route::Overview),
        ["jobs"] => get(Route::Jobs),
        ["jobs", "overview"] => get(Route::JobsOverview),
        ["taskmanagers"] => get(Route::TaskManagers),
        ["jobmanager", "config"] => get(Route::JobManagerConfig),
        ["metrics"] => get(Route::Metrics),
        ["savepoint-disposal"] => by_method(&Method::POST, Route::DisposeSavepoint),
        ["savepoint-disposal", trigger] => get(Route::SavepointDisposal((*trigger).to_owned())),
        ["jobs", job, rest @ ..] => job_route(method, rest).map(|route| Route::Job((*job).to_owned(), route)),
        _ => Err(NoRoute::NotFound),
    }
}

fn job_route(method: &Method, segments: &[&str]) -> Result<JobRoute, NoRoute> {
    let route = match (segments, method) {
        ([], &Method::GET) => JobRoute::Details,
        ([], &Method::PATCH) => JobRoute::Cancel,
        // Old clients, and proxies that let no PATCH through (Flink `YarnCancelJobTerminationHeaders`).
        (["yarn-cancel"], &Method::GET) => JobRoute::Cancel,
        (["status"], &Method::GET) => JobRoute::Status,
        (["config"], &Method::GET) => JobRoute::Config,
        (["exceptions"], &Method::GET) => JobRoute::Exceptions,
        (["plan"], &Method::GET) => JobRoute::Plan,
        (["checkpoints"], &Method::GET) => JobRoute::Checkpoints,
        (["checkpoints"], &Method::POST) => JobRoute::TriggerCheckpoint,
        (["checkpoints", "config"], &Method::GET) => JobRoute::CheckpointConfig,
        (["checkpoints", "details", checkpoint], &Method::GET) => JobRoute::CheckpointDetails((*checkpoint).to_owned()),
        (["checkpoints", trigger], &Method::GET) => JobRoute::CheckpointStatus((*trigger).to_owned()),
        (["savepoints"], &Method::POST) => JobRoute::TriggerSavepoint,
        (["savepoints", trigger], &Method::GET) => JobRoute::SavepointStatus((*trigger).to_owned()),
        (["stop"], &Method::POST) => JobRoute::Stop,
        (
            []
            | ["yarn-cancel" | "status" | "config" | "exceptions" | "plan" | "checkpoints" | "savepoints" | "stop"]
            | ["checkpoints", ..]
            | ["savepoints", _],
            _,
        ) => return Err(NoRoute::MethodNotAllowed),
        _ => return Err(NoRoute::NotFound),
    };
    Ok(route)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_flink() {
        let job = |route| Ok(Route::Job("j".into(), route));
        for (method, path, expected) in [
            (Method::GET, "/overview", Ok(Route::Overview)),
            (Method::GET, "/v1/jobs/overview", Ok(Route::JobsOverview)),
            (Method::GET, "/jobs/j", job(JobRoute::Details)),
            (Method::PATCH, "/v1/jobs/j", job(JobRoute::Cancel)),
            (Method::POST, "/jobs/j/savepoints", job(JobRoute::TriggerSavepoint)),
            (Method::GET, "/jobs/j/savepoints/t", job(JobRoute::SavepointStatus("t".into()))),
            (Method::GET, "/jobs/j/checkpoints/details/7", job(JobRoute::CheckpointDetails("7".into()))),
            (Method::GET, "/jobs/j/checkpoints/t", job(JobRoute::CheckpointStatus("t".into()))),
            (Method::GET, "/jobs/j/stop", Err(NoRoute::MethodNotAllowed)),
            (Method::POST, "/overview", Err(NoRoute::MethodNotAllowed)),
            (Method::GET, "/jobs/j/vertices", Err(NoRoute::NotFound)),
            (Method::GET, "/jars", Err(NoRoute::NotFound)),
        ] {
            assert_eq!(route(&method, path), expected, "{method} {path}");
        }
    }
}
