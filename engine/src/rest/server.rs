//! The server: connections, and what is answered to each request.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    json, metrics,
    operations::Operations,
    route::{JobRoute, NoRoute, Route, route},
    stream::HttpStream,
};
use crate::{
    checkpoint::SavepointFormat,
    env::{Env, channel::mpsc},
    error::{Error, ErrorKind, Result},
    id::{CheckpointId, job_id_of},
    job::JobState,
    runtime::{JobClient, JobDetails, SavepointRequest, StopTime},
};

/// Most bytes of a request's body.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// How long a job that has ended stays to tell what became of operations.
const WIND_DOWN: Duration = Duration::from_secs(10);

/// Answers for one job.
pub struct RestServer {
    address: String,
    shared: Arc<Shared>,
    told: mpsc::Receiver<()>,
}

struct Shared {
    env: Env,
    client: JobClient,
    operations: Operations,
    /// Somebody was told what became of an operation.
    told: mpsc::Sender<()>,
    last: Mutex<Last>,
}

/// What is known of a job whose job manager does not answer any more.
#[derive(Default)]
struct Last {
    details: Option<JobDetails>,
    ended_as: Option<JobState>,
}

/// An answer.
struct Answer {
    status: StatusCode,
    content_type: &'static str,
    body: String,
}

impl RestServer {
    /// Listens at `host:port`, port 0 takes a free one, and answers what clients ask about the job of `client`.
    ///
    /// # Errors
    /// If it cannot listen there.
    pub async fn start(env: &Env, address: &str, client: JobClient) -> Result<Self> {
        let mut listener = env.listen(address).await.map_err(|error| {
            Error::new(ErrorKind::Configuration, format!("cannot listen for HTTP at {address}"))
                .with_source(error)
                .with_hint("set rest.address and rest.port to an address of this machine that no other process uses")
        })?;
        let address = listener.local_address();
        let (sender, told) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            env: env.clone(),
            client,
            operations: Operations::default(),
            told: sender,
            last: Mutex::default(),
        });
        let accepting = shared.clone();
        env.spawn(async move {
            while let Ok(stream) = listener.accept().await {
                let shared = accepting.clone();
                accepting.env.spawn(async move {
                    let service = service_fn(move |request| {
                        let shared = shared.clone();
                        async move { Ok::<_, Infallible>(shared.answer(request).await.into_response()) }
                    });
                    // The library reads a clock that a simulation does not know for the date.
                    let mut http = http1::Builder::new();
                    http.auto_date_header(false);
                    if let Err(error) = http.serve_connection(HttpStream(stream), service).await {
                        tracing::debug!(%error, "connection of a client ended");
                    }
                });
            }
        });
        Ok(Self { address, shared, told })
    }

    /// Where it listens, `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The job has ended so. Stays until everybody who began an operation has been told what became of it, for a while.
    pub async fn wind_down(mut self, state: JobState) {
        self.shared.last().ended_as = Some(state);
        let deadline = self.shared.env.now().saturating_add(WIND_DOWN);
        while self.shared.operations.any_untold()
            && self.shared.env.until(Some(deadline), self.told.recv()).await.is_some()
        {}
        // What was answered last has to get out of this process.
        self.shared.env.yield_now().await;
    }
}

/// Body of `POST /jobs/:id/savepoints` and `/stop` (Flink `SavepointTriggerRequestBody`, `StopWithSavepointRequestBody`).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SavepointBody {
    #[serde(rename = "target-directory", alias = "targetDirectory")]
    target_directory: Option<String>,
    #[serde(rename = "cancel-job")]
    cancel_job: bool,
    drain: bool,
    #[serde(rename = "formatType")]
    format: SavepointFormat,
    #[serde(rename = "triggerId")]
    trigger_id: Option<String>,
}

/// Body of `POST /jobs/:id/checkpoints` (Flink `CheckpointTriggerRequestBody`).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CheckpointBody {
    #[serde(rename = "checkpointType")]
    kind: Option<String>,
    #[serde(rename = "triggerId")]
    trigger_id: Option<String>,
}

/// Body of `POST /savepoint-disposal` (Flink `SavepointDisposalRequest`).
#[derive(Debug, Deserialize)]
struct DisposalBody {
    #[serde(rename = "savepoint-path")]
    path: String,
}

impl Shared {
    fn last(&self) -> std::sync::MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The job now, or as it was when it ended.
    async fn details(&self) -> Result<JobDetails, Answer> {
        match self.client.details().await {
            Ok(details) => {
                self.last().details = Some(details.clone());
                Ok(details)
            }
            Err(error) => {
                let last = self.last();
                match (&last.details, last.ended_as) {
                    (Some(details), Some(state)) => Ok(JobDetails { state, ..details.clone() }),
                    (Some(_) | None, _) => Err(Answer::error(StatusCode::SERVICE_UNAVAILABLE, error)),
                }
            }
        }
    }

    async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let route = match route(&head.method, head.uri.path()) {
            Ok(route) => route,
            Err(NoRoute::NotFound) => {
                return Answer::error(StatusCode::NOT_FOUND, format!("there is nothing at {}", head.uri.path()));
            }
            Err(NoRoute::MethodNotAllowed) => {
                let message = format!("{} does not take {}", head.uri.path(), head.method);
                return Answer::error(StatusCode::METHOD_NOT_ALLOWED, message);
            }
        };
        let body = match head.method {
            Method::POST => match Limited::new(body, BODY_BYTES_MAX).collect().await {
                Ok(body) => body.to_bytes(),
                Err(error) => return Answer::error(StatusCode::BAD_REQUEST, error),
            },
            _ => Bytes::new(),
        };
        self.on_route(route, head.uri.query().unwrap_or_default(), &body).await.unwrap_or_else(|refusal| refusal)
    }

    async fn on_route(self: &Arc<Self>, route: Route, query: &str, body: &[u8]) -> Result<Answer, Answer> {
        if let Route::SavepointDisposal(trigger) = &route {
            return self.tell(trigger);
        }
        if route == Route::Config {
            return Ok(Answer::json(json::config()));
        }
        let job = self.details().await?;
        match route {
            Route::Config | Route::SavepointDisposal(_) => Ok(Answer::json(json::config())),
            Route::Overview => Ok(Answer::json(json::overview(&job))),
            Route::Jobs => Ok(Answer::json(json::jobs(&job))),
            Route::JobsOverview => Ok(Answer::json(json::jobs_overview(&job))),
            Route::TaskManagers => Ok(Answer::json(json::task_managers(&job))),
            Route::JobManagerConfig => Ok(Answer::json(json::job_manager_config(&job))),
            Route::Metrics => Ok(Answer::metrics(metrics::text(&job))),
            Route::DisposeSavepoint => self.dispose(&parsed::<DisposalBody>(body)?),
            Route::Job(named, route) => {
                if named != job.name && named != job_id_of(&job.name) {
                    return Err(Answer::error(
                        StatusCode::NOT_FOUND,
                        format!("job {named} not found: this job manager runs {}", job.name),
                    ));
                }
                self.on_job_route(route, job, query, body)
            }
        }
    }

    fn on_job_route(
        self: &Arc<Self>,
        route: JobRoute,
        job: JobDetails,
        query: &str,
        body: &[u8],
    ) -> Result<Answer, Answer> {
        match route {
            JobRoute::Details => Ok(Answer::json(json::details(&job))),
            JobRoute::Status => Ok(Answer::json(json::status(&job))),
            JobRoute::Config => Ok(Answer::json(json::job_config(&job))),
            JobRoute::Exceptions => Ok(Answer::json(json::exceptions(&job))),
            JobRoute::Plan => Ok(Answer::json(json::plan(&job))),
            JobRoute::Checkpoints => Ok(Answer::json(json::checkpoints(&job))),
            JobRoute::CheckpointConfig => Ok(Answer::json(json::checkpoint_config(&job))),
            JobRoute::CheckpointDetails(number) => {
                let found = number.parse().ok().and_then(|number| job.checkpoints.of(CheckpointId(number)));
                let checkpoint = found.ok_or_else(|| {
                    let message = format!("nothing is known of a checkpoint {number}; see /checkpoints for the newest");
                    Answer::error(StatusCode::NOT_FOUND, message)
                })?;
                Ok(Answer::json(json::checkpoint(&job, checkpoint, json::Tasks::Told)))
            }
            JobRoute::Cancel => self.cancel(&job, query),
            JobRoute::TriggerCheckpoint => {
                let CheckpointBody { kind, trigger_id } = parsed_or_default(body)?;
                if let Some(kind @ ("FULL" | "INCREMENTAL")) = kind.as_deref() {
                    let message = format!("checkpoints are as configured: {kind} cannot be asked for");
                    return Err(Answer::error(StatusCode::BAD_REQUEST, message));
                }
                let client = self.client.clone();
                self.begin(trigger_id, async move {
                    client.trigger_checkpoint().await.map(|id| json!({ "checkpointId": id.0 }))
                })
            }
            JobRoute::TriggerSavepoint => {
                let body: SavepointBody = parsed_or_default(body)?;
                let request = savepoint_request(&job, &body)?;
                let client = self.client.clone();
                self.begin(body.trigger_id, async move {
                    let taken = if body.cancel_job {
                        client.cancel_with_savepoint(request).await
                    } else {
                        client.trigger_savepoint(request).await
                    };
                    taken.map(location)
                })
            }
            JobRoute::Stop => {
                let body: SavepointBody = parsed_or_default(body)?;
                let request = savepoint_request(&job, &body)?;
                let time = if body.drain { StopTime::Drain } else { StopTime::Suspend };
                let client = self.client.clone();
                self.begin(
                    body.trigger_id,
                    async move { client.stop_with_savepoint(request, time).await.map(location) },
                )
            }
            JobRoute::CheckpointStatus(trigger) | JobRoute::SavepointStatus(trigger) => self.tell(&trigger),
        }
    }

    fn cancel(self: &Arc<Self>, job: &JobDetails, query: &str) -> Result<Answer, Answer> {
        let mode = query.split('&').find_map(|pair| pair.strip_prefix("mode=")).unwrap_or("cancel");
        if mode != "cancel" {
            let message = format!("mode={mode} is not known; a job is cancelled with mode=cancel and stopped by /stop");
            return Err(Answer::error(StatusCode::BAD_REQUEST, message));
        }
        if job.state.is_terminal() && job.state != JobState::Cancelled {
            let message = format!("the job is {} and cannot be cancelled", job.state.name());
            return Err(Answer::error(StatusCode::CONFLICT, message));
        }
        let client = self.client.clone();
        self.env.spawn(async move {
            if let Err(error) = client.cancel().await {
                tracing::warn!(%error, "the job could not be cancelled");
            }
        });
        Ok(Answer { status: StatusCode::ACCEPTED, ..Answer::json(json!({})) })
    }

    fn dispose(self: &Arc<Self>, body: &DisposalBody) -> Result<Answer, Answer> {
        let path = body.path.strip_prefix("file://").unwrap_or(&body.path).to_owned();
        let client = self.client.clone();
        self.begin(None, async move { client.dispose_savepoint(path.into()).await.map(|()| json!({})) })
    }

    /// Begins an operation and says how to ask for it.
    fn begin(
        self: &Arc<Self>,
        trigger_id: Option<String>,
        operation: impl Future<Output = Result<Value>> + Send + 'static,
    ) -> Result<Answer, Answer> {
        let id = trigger_id.unwrap_or_else(|| format!("{:016x}{:016x}", self.env.entropy(), self.env.entropy()));
        // Who asks for the same once more is given the same.
        if self.operations.begin(&id) {
            let (shared, id) = (self.clone(), id.clone());
            self.env.spawn(async move {
                let outcome = operation.await;
                shared.operations.end(&id, outcome);
            });
        }
        Ok(Answer { status: StatusCode::ACCEPTED, ..Answer::json(json!({ "request-id": id })) })
    }

    fn tell(&self, trigger: &str) -> Result<Answer, Answer> {
        let told = self.operations.tell(trigger).map(Answer::json);
        // Who waits for it looks anew after each; one word is enough.
        let _ = self.told.try_send(());
        told.ok_or_else(|| Answer::error(StatusCode::NOT_FOUND, format!("there is no operation {trigger}")))
    }
}

fn location(path: std::path::PathBuf) -> Value {
    json!({ "location": path.display().to_string() })
}

/// What a client wants of a savepoint, if it can be had.
fn savepoint_request(job: &JobDetails, body: &SavepointBody) -> Result<SavepointRequest, Answer> {
    let directory = body.target_directory.as_deref();
    if directory.is_none() && job.config.checkpoints.savepoint_directory.is_none() {
        let message = "nobody has said where the savepoint should go: give target-directory, or set \
                       execution.checkpointing.savepoint-dir";
        return Err(Answer::error(StatusCode::BAD_REQUEST, message));
    }
    let directory = directory.map(|path| path.strip_prefix("file://").unwrap_or(path).into());
    Ok(SavepointRequest { directory, format: body.format })
}

fn parsed<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Answer> {
    let refused = |error| Answer::error(StatusCode::BAD_REQUEST, format!("the body of the request is wrong: {error}"));
    serde_json::from_slice(body).map_err(refused)
}

fn parsed_or_default<T: serde::de::DeserializeOwned + Default>(body: &[u8]) -> Result<T, Answer> {
    if body.is_empty() { Ok(T::default()) } else { parsed(body) }
}

impl Answer {
    fn json(value: Value) -> Self {
        Self { status: StatusCode::OK, content_type: "application/json; charset=UTF-8", body: value.to_string() }
    }

    fn metrics(body: String) -> Self {
        Self { status: StatusCode::OK, content_type: metrics::CONTENT_TYPE, body }
    }

    /// As Flink tells errors (`ErrorResponseBody`).
    fn error(status: StatusCode, message: impl ToString) -> Self {
        Self { status, ..Self::json(json!({ "errors": [message.to_string()] })) }
    }

    fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.body)));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        response
    }
}
