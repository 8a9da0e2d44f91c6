//! The operator of a job: asks the job manager for savepoints, stops and cancellations, and starts the job again.
//!
//! ```text
//!   fault ──► order ──► job manager ──answer──► a savepoint: done
//!               ▲  └─ refused, unreachable, died: asked again, a few times
//!               │
//!   the job has ended ──► drained, or nothing is left to start from: over
//!                     └─► a pause ──► the job is started again, from what the order says
//! ```
//! Orders are carried out one after the other, whatever else goes on. One that never takes effect does not count as having
//! struck. What is disposed of is the newest savepoint that the operator was told of, or one that it takes for that: the
//! job may just have been started from it, and refuses until it needs it no more.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tidegate::{
    ErrorKind,
    checkpoint::retention::JobEnd,
    env::{Env, channel::mpsc},
    runtime::{JobClient, JobSummary, SavepointRequest, StopTime},
    storage::decode_metadata,
};

use crate::{
    fault::{Fault, FaultKind},
    history::{Disposal, RunEnd},
    recorder::{Recorder, directory_of, is_there},
    workload::SAVEPOINTS,
    world::disk::SimDisk,
};

/// What became of an order.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The savepoint that was taken, if one was asked for.
    pub savepoint: Option<PathBuf>,
    /// The savepoint that was disposed of.
    pub disposed: Option<PathBuf>,
    /// Whether the job manager said that it is done.
    pub done: bool,
}

/// How a process of the job manager ended.
#[derive(Debug)]
pub(crate) struct JobEnded {
    /// The submission that it was started with.
    pub submission: u64,
    /// What it said.
    pub result: Result<JobSummary, String>,
}

/// What follows from the end of a job.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing: somebody else has said the same already.
    Nothing,
    /// It is over.
    Over(RunEnd),
    /// It is started again from here, because of this order.
    StartAgain(Fault, PathBuf),
}

/// Whom the operator can ask: the job managers that run, and which of them led last.
#[derive(Debug, Default)]
pub(crate) struct Desk(Mutex<Asked>);

#[derive(Debug, Default)]
struct Asked {
    clients: BTreeMap<String, JobClient>,
    leader: Option<Arc<str>>,
}

impl Desk {
    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job manager has started.
    pub(crate) fn open(&self, job_manager: &str, client: JobClient) {
        self.asked().clients.insert(job_manager.to_owned(), client);
    }

    /// A job manager leads.
    pub(crate) fn leads(&self, job_manager: &Arc<str>) {
        self.asked().leader = Some(job_manager.clone());
    }

    fn client(&self) -> Option<JobClient> {
        let asked = self.asked();
        let leader = asked.leader.as_ref()?;
        asked.clients.get(&**leader).cloned()
    }
}

/// What the operator does.
pub(crate) struct Operator {
    desk: Arc<Desk>,
    recorder: Arc<Recorder>,
    disk: SimDisk,
    /// Orders that wait, oldest first.
    waiting: VecDeque<Fault>,
    /// The one that is being carried out.
    current: Option<FaultKind>,
    /// The last one that stops the job, if it does: whatever was answered, it may yet take effect.
    stopping: Option<Fault>,
    /// The savepoint that it was answered with.
    savepoint: Option<PathBuf>,
    /// How often the job was started.
    submission: u64,
    /// What it was started from.
    started_from: Option<PathBuf>,
    /// It has ended or is about to, and is not started yet.
    is_down: bool,
    /// The end was acted upon.
    end_is_known: bool,
    /// Kinds of the orders that took effect.
    effective: Vec<FaultKind>,
    ordered: usize,
    /// The savepoints that it was told of and has not disposed of, the newest one last.
    told: Vec<PathBuf>,
}

/// How often an order is tried.
const TRIES: u32 = 12;
/// Until it is tried again.
const PAUSE: Duration = Duration::from_millis(700);

impl Operator {
    pub(crate) fn new(desk: Arc<Desk>, recorder: Arc<Recorder>, disk: SimDisk) -> Self {
        Self {
            desk,
            recorder,
            disk,
            waiting: VecDeque::new(),
            current: None,
            stopping: None,
            savepoint: None,
            submission: 0,
            started_from: None,
            is_down: false,
            end_is_known: false,
            effective: Vec::new(),
            ordered: 0,
            told: Vec::new(),
        }
    }

    /// The orders that took effect, by kind.
    pub(crate) fn effective(&self) -> &[FaultKind] {
        &self.effective
    }

    /// The savepoints that the job manager has told of, without those that it has disposed of.
    pub(crate) fn savepoints_told(&self) -> BTreeSet<PathBuf> {
        self.told.iter().cloned().collect()
    }

    /// How many orders took no effect.
    pub(crate) fn ineffective(&self) -> usize {
        self.ordered - self.effective.len()
    }

    /// Takes an order in.
    pub(crate) fn order(&mut self, fault: Fault) {
        self.ordered += 1;
        self.waiting.push_back(fault);
    }

    /// Begins the next order, if it is its turn; the answer goes to `answers`.
    pub(crate) fn go_on(&mut self, env: &Env, answers: &mpsc::Sender<Answer>) {
        if self.current.is_some() || self.is_down {
            return;
        }
        let Some(fault) = self.waiting.pop_front() else { return };
        self.current = Some(fault.kind);
        self.recorder.ordered(fault.kind);
        if fault.kind.stops_job() {
            (self.stopping, self.savepoint) = (Some(fault.clone()), None);
        }
        let (desk, recorder, own, answers) = (self.desk.clone(), self.recorder.clone(), env.clone(), answers.clone());
        let newest = self.told.last().cloned();
        env.spawn(async move {
            let answer = match fault.kind {
                FaultKind::DisposeSavepoint => dispose(&fault, newest, &desk, &own, &recorder).await,
                _ => carry_out(&fault, &desk, &own, &recorder).await,
            };
            // Nobody waits when the run is over.
            let _ = answers.send(answer).await;
        });
    }

    /// An order was answered.
    pub(crate) fn answered(&mut self, answer: Answer) {
        if let Some(savepoint) = &answer.savepoint {
            self.told.retain(|told| told != savepoint);
            self.told.push(savepoint.clone());
        }
        self.told.retain(|told| Some(told) != answer.disposed.as_ref());
        match self.current.take() {
            Some(kind) if !kind.stops_job() => self.effective.extend(answer.done.then_some(kind)),
            None => {}
            Some(_) => {
                self.savepoint = answer.savepoint;
                self.is_down = answer.done;
            }
        }
    }

    /// A process of the job manager has ended.
    pub(crate) fn job_ended(&mut self, ended: JobEnded) -> Next {
        if self.end_is_known || ended.submission != self.submission {
            return Next::Nothing;
        }
        let summary = match ended.result {
            Ok(summary) => summary,
            Err(reason) => return Next::Over(RunEnd::Failed { reason }),
        };
        let cancelled = summary.cancelled || summary.had_ended == Some(JobEnd::Cancelled);
        let Some(fault) = self.stopping.clone().filter(|_| cancelled || summary.stopped_with.is_some()) else {
            return Next::Over(if cancelled { RunEnd::Cancelled } else { RunEnd::Finished });
        };
        let from = match (summary.stopped_with, fault.kind) {
            (Some(_), FaultKind::Drain) => {
                self.effective.push(fault.kind);
                return Next::Over(RunEnd::Finished);
            }
            (Some(savepoint), _) => Some(savepoint),
            (None, FaultKind::CancelWithSavepoint) => self.savepoint.take().or_else(|| self.newest_savepoint()),
            (None, FaultKind::RestoreOlder) => self.older_checkpoint(),
            (None, _) => self.newest_checkpoint(),
        };
        let is_older = from.is_some() && from != self.newest_checkpoint();
        if fault.kind != FaultKind::RestoreOlder || is_older {
            self.effective.push(fault.kind);
        }
        match from {
            None => Next::Over(RunEnd::Cancelled),
            Some(from) => {
                (self.is_down, self.end_is_known) = (true, true);
                self.started_from = Some(from.clone());
                self.submission += 1;
                self.recorder.submitted(self.submission, &from);
                Next::StartAgain(fault, from)
            }
        }
    }

    /// The job is started again, as this submission.
    pub(crate) fn starts(&mut self) -> u64 {
        (self.is_down, self.end_is_known) = (false, false);
        self.stopping = None;
        self.submission
    }

    /// What the job kept of its own; else what it was started from, if that is still there.
    fn newest_checkpoint(&self) -> Option<PathBuf> {
        let own = self.recorder.completed_in_run().into_iter().rev().map(directory_of);
        own.chain(self.started_from.clone()).find(|directory| is_there(&self.disk, directory))
    }

    /// The one before the newest, if there are two.
    fn older_checkpoint(&self) -> Option<PathBuf> {
        let own = self.recorder.completed_in_run().into_iter().rev().map(directory_of);
        let mut there = own.filter(|directory| is_there(&self.disk, directory));
        let newest = there.next();
        there.next().or(newest).or_else(|| self.newest_checkpoint())
    }

    /// The savepoint with the highest number: the job manager died before it could say which one it was.
    fn newest_savepoint(&self) -> Option<PathBuf> {
        let files = self.disk.visible_view();
        let savepoints = files.iter().filter(|(path, _)| path.starts_with(SAVEPOINTS) && path.ends_with("_metadata"));
        let numbered = savepoints.filter_map(|(path, bytes)| {
            let metadata = decode_metadata(path, bytes).ok()?;
            Some((metadata.checkpoint_id, path.parent()?.to_owned()))
        });
        numbered.max().map(|(_, directory)| directory)
    }
}

/// Asks for what an order says until it is done, or there is no use in asking again.
async fn carry_out(fault: &Fault, desk: &Desk, env: &Env, recorder: &Recorder) -> Answer {
    let request = || SavepointRequest { directory: Some(SAVEPOINTS.into()), format: fault.format };
    for _ in 0..TRIES {
        let Some(client) = desk.client() else {
            env.sleep(PAUSE).await;
            continue;
        };
        let asked = match fault.kind {
            FaultKind::Savepoint => client.trigger_savepoint(request()).await.map(Some),
            FaultKind::Drain => client.stop_with_savepoint(request(), StopTime::Drain).await.map(Some),
            FaultKind::StopWithSavepoint | FaultKind::Rescale => {
                client.stop_with_savepoint(request(), StopTime::Suspend).await.map(Some)
            }
            FaultKind::CancelWithSavepoint => client.cancel_with_savepoint(request()).await.map(Some),
            _ => client.cancel().await.map(|()| None),
        };
        match asked {
            Ok(savepoint) => {
                recorder.note(&format!("operator: {} is done", fault.kind.name()));
                return Answer { savepoint, disposed: None, done: true };
            }
            Err(error) => {
                recorder.note(&format!("operator: {}: {error}", fault.kind.name()));
                recorder.refused(&error.to_string());
                // What failed with a reason of its own is reported, and not asked for again.
                if error.kind() == ErrorKind::JobFailed {
                    break;
                }
                env.sleep(PAUSE).await;
            }
        }
    }
    Answer { savepoint: None, disposed: None, done: false }
}

/// Disposes of a savepoint, which is taken for it if there is none.
async fn dispose(fault: &Fault, newest: Option<PathBuf>, desk: &Desk, env: &Env, recorder: &Recorder) -> Answer {
    let savepoint = match newest {
        Some(savepoint) => savepoint,
        None => {
            let taken = carry_out(&Fault { kind: FaultKind::Savepoint, ..fault.clone() }, desk, env, recorder).await;
            match taken.savepoint {
                Some(savepoint) => savepoint,
                None => return taken,
            }
        }
    };
    let mut is_refused = true;
    for _ in 0..TRIES {
        if let Some(client) = desk.client() {
            recorder.disposal(&savepoint, Some(Disposal::Asked));
            match client.dispose_savepoint(savepoint.clone()).await {
                Ok(()) => {
                    recorder.note(&format!("operator: {} is done", fault.kind.name()));
                    recorder.disposal(&savepoint, Some(Disposal::Done));
                    return Answer { savepoint: None, disposed: Some(savepoint), done: true };
                }
                Err(error) => {
                    recorder.note(&format!("operator: {}: {error}", fault.kind.name()));
                    is_refused &= error.kind() == ErrorKind::Configuration;
                }
            }
            if is_refused {
                recorder.disposal(&savepoint, None);
            }
        }
        env.sleep(PAUSE).await;
    }
    // What was refused stays as it is; of anything else nobody knows what became of it.
    Answer { savepoint: Some(savepoint.clone()), disposed: (!is_refused).then_some(savepoint), done: false }
}
