//! A client of the HTTP API, for the command line.

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST},
};
use serde::Deserialize as _;
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use super::stream::HttpStream;
use crate::{
    checkpoint::SavepointFormat,
    env::Env,
    error::{Error, ErrorKind, Result},
    runtime::{SavepointRequest, StopTime},
};

/// Pause before it is asked again how far an operation is.
const POLL: Duration = Duration::from_millis(100);
/// How long a server may take for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Asks the job manager at an address.
#[derive(Clone)]
pub struct RestClient {
    env: Env,
    address: String,
}

impl RestClient {
    /// A client of the server at `host:port`.
    pub fn new(env: &Env, address: impl Into<String>) -> Self {
        Self { env: env.clone(), address: address.into() }
    }

    /// Asks for a path.
    ///
    /// # Errors
    /// If nobody answers, or the answer is a refusal.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.call(Method::GET, path, None).await
    }

    /// Takes a checkpoint of a job: its number.
    ///
    /// # Errors
    /// If nobody answers, there is no such job, or it came to nothing.
    pub async fn checkpoint(&self, job: &str) -> Result<u64> {
        let path = format!("/jobs/{}/checkpoints", encoded(job));
        let operation = self.operate(&path, &path, json!({ "checkpointType": "CONFIGURED" })).await?;
        operation["checkpointId"].as_u64().ok_or_else(|| self.strange(&operation))
    }

    /// Takes a savepoint of a job, and cancels the job then if asked: the savepoint's directory.
    ///
    /// # Errors
    /// If nobody answers, there is no such job, or it came to nothing.
    pub async fn savepoint(&self, job: &str, request: &SavepointRequest, cancel: bool) -> Result<PathBuf> {
        let path = format!("/jobs/{}/savepoints", encoded(job));
        let mut body = body_of(request, "target-directory");
        body["cancel-job"] = json!(cancel);
        self.located(&self.operate(&path, &path, body).await?)
    }

    /// Stops a job with a savepoint: its directory.
    ///
    /// # Errors
    /// If nobody answers, there is no such job, or it did not stop.
    pub async fn stop(&self, job: &str, request: &SavepointRequest, time: StopTime) -> Result<PathBuf> {
        let job = encoded(job);
        let mut body = body_of(request, "targetDirectory");
        body["drain"] = json!(time == StopTime::Drain);
        let operation = self.operate(&format!("/jobs/{job}/stop"), &format!("/jobs/{job}/savepoints"), body).await?;
        self.located(&operation)
    }

    /// Cancels a job.
    ///
    /// # Errors
    /// If nobody answers, or there is no such job.
    pub async fn cancel(&self, job: &str) -> Result<()> {
        self.call(Method::PATCH, &format!("/jobs/{}?mode=cancel", encoded(job)), None).await.map(drop)
    }

    /// Deletes a savepoint.
    ///
    /// # Errors
    /// If nobody answers, or it is none.
    pub async fn dispose(&self, savepoint: &Path) -> Result<()> {
        let body = json!({ "savepoint-path": savepoint.display().to_string() });
        self.operate("/savepoint-disposal", "/savepoint-disposal", body).await.map(drop)
    }

    /// Begins an operation and waits for its end.
    async fn operate(&self, begin: &str, ask: &str, body: Value) -> Result<Value> {
        let begun = self.call(Method::POST, begin, Some(body)).await?;
        let request = begun["request-id"].as_str().ok_or_else(|| self.strange(&begun))?;
        let ask = format!("{ask}/{request}");
        loop {
            let mut told = self.get(&ask).await.map_err(|error| {
                let message = format!("nobody knows how it ended: {}", error.message());
                Error::new(ErrorKind::Unknown, message).with_hint("see whether the job still runs, and what it left")
            })?;
            if told["status"]["id"] == "COMPLETED" {
                let operation = told["operation"].take();
                let cause = &operation["failure-cause"];
                if !cause.is_null() {
                    return Err(failure(cause));
                }
                return Ok(operation);
            }
            self.env.sleep(POLL).await;
        }
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let deadline = self.env.now().saturating_add(ANSWER_TIMEOUT);
        let called = self.env.until(Some(deadline), self.call_once(method, path, body)).await;
        called.unwrap_or_else(|| {
            Err(self.no_connection().with_source(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())))
        })
    }

    async fn call_once(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let stream = self.env.connect(&self.address).await.map_err(|error| self.no_connection().with_source(error))?;
        let failed = |error: hyper::Error| self.no_connection().with_source(error);
        let (mut sender, connection) = http1::handshake(HttpStream(stream)).await.map_err(failed)?;
        self.env.spawn(async move {
            // Whoever waits for the answer is told by the sender.
            let _ = connection.await;
        });
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.address)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| {
                Error::new(ErrorKind::Configuration, format!("{path} cannot be asked for")).with_source(error)
            })?;
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        let bytes = response.into_body().collect().await.map_err(failed)?.to_bytes();
        let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if status.is_success() {
            return Ok(value);
        }
        let said = value["errors"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let said = said.collect::<Vec<_>>().join("; ");
        let kind = match status {
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => ErrorKind::Configuration,
            _ => ErrorKind::Unavailable,
        };
        Err(Error::new(kind, if said.is_empty() { format!("the job manager answered {status}") } else { said }))
    }

    fn no_connection(&self) -> Error {
        Error::new(ErrorKind::Unavailable, format!("no job manager answers at {}", self.address))
            .with_hint("name its HTTP address with -m HOST:PORT; a job has one if rest.port is set, or --rest is given")
    }

    fn located(&self, operation: &Value) -> Result<PathBuf> {
        operation["location"].as_str().map(PathBuf::from).ok_or_else(|| self.strange(operation))
    }

    fn strange(&self, answer: &Value) -> Error {
        Error::new(ErrorKind::Unavailable, format!("what answers at {} is no job manager: {answer}", self.address))
    }
}

fn body_of(request: &SavepointRequest, directory: &str) -> Value {
    let format: SavepointFormat = request.format;
    let mut body = json!({ "formatType": format.name() });
    if let Some(target) = &request.directory {
        body[directory] = json!(target.display().to_string());
    }
    body
}

/// What a server says of an operation that failed, without what is said of every error of its kind.
fn failure(cause: &Value) -> Error {
    let text = cause["stack-trace"].as_str().unwrap_or_default();
    // Flink's servers name no kind.
    let kind = ErrorKind::deserialize(&cause["kind"]).unwrap_or(ErrorKind::Unavailable);
    let headline = format!("{}: ", kind.headline());
    Error::new(kind, text.strip_prefix(&headline).unwrap_or(text).to_owned())
}

/// A name as a segment of a path.
fn encoded(segment: &str) -> String {
    let mut text = String::new();
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}
