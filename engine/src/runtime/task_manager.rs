//! A task manager: runs the subtasks that the job manager gives it.
//!
//! ```text
//!   connect ──► register ──► serve ──────────────── job manager lost or silent ──► cancel all tasks ──► connect …
//!                             │ Deploy → tasks exist → Deployed;  Start → connections open, tasks run
//!                             │ Cancel → tasks end → Cancelled
//!                             └ Shutdown → end
//! ```
//! One actor with one mailbox; the tasks have theirs. It obeys only the newest epoch that it has seen (Flink `TaskExecutor`).

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use super::{
    connection::{MessageReader, write_messages},
    exchange::{self, AttemptChannels, Receiver, Sender},
    program_source::ProgramSource,
};
use crate::{
    env::{ByteStream, Env, TaskHandle, channel::mpsc},
    error::{Error, ErrorKind, Result},
    event::{Moment, Observer, Reporter, Step, Subject},
    id::{Attempt, ChannelId, Epoch, ExecutionAttempt, SubtaskId, TaskManagerId},
    net::{Deployment, FrameKind, FromTaskManager, ToTaskManager},
    state::KeyGroups,
    storage::SharedFileSystem,
    task::{
        CreditReturn, ElementWriter, Mailbox, Program, SubtaskSetup, TaskEnd, TaskEvent, TaskReport, mailbox,
        output::Outputs, partitioner::PartitionerContext, run_subtask,
    },
    time::{AlignmentReport, Timestamp},
};

/// What a task manager is made from.
pub struct TaskManagerSetup {
    /// Its name.
    pub id: TaskManagerId,
    /// How many slots it has.
    pub slots: u32,
    /// Where the job manager listens, `host:port`.
    pub job_manager_address: String,
    /// Where to receive data, `host:port`; port 0 takes a free one.
    pub data_address: String,
    /// The world.
    pub env: Env,
    /// Files.
    pub file_system: SharedFileSystem,
    /// Code of the jobs.
    pub programs: Arc<dyn ProgramSource>,
    /// Who watches.
    pub observer: Arc<dyn Observer>,
    /// Pause before connecting again.
    pub reconnect_pause: Duration,
}

/// A task manager.
pub struct TaskManager {
    setup: TaskManagerSetup,
    reporter: Reporter,
    data_address: String,
    highest_epoch: Epoch,
    job: Option<RunningJob>,
    reports: mpsc::Sender<TaskReport>,
    incoming: mpsc::Sender<TaskManagerEvent>,
}

enum TaskManagerEvent {
    FromJobManager { session: u64, message: Box<ToTaskManager> },
    JobManagerLost { session: u64, reason: String },
    DataConnection(ByteStream),
}

/// The tasks of one attempt.
struct RunningJob {
    attempt: Attempt,
    program: Arc<Program>,
    deployment: Deployment,
    tasks: BTreeMap<SubtaskId, Mailbox>,
    waiting: Vec<SubtaskSetup>,
    channels: Arc<AttemptChannels>,
    connections: Vec<TaskHandle>,
    cancel_requested: bool,
}

/// How a session with a job manager ended.
enum SessionEnd {
    Shutdown,
    Lost,
}

/// A connection to a job manager.
struct Session {
    number: u64,
    outgoing: mpsc::Sender<FromTaskManager>,
    last_sign_of_life: Timestamp,
    timeout: Duration,
}

const MAILBOX: usize = 1024;

impl TaskManager {
    /// Runs a task manager until the job manager dismisses it.
    ///
    /// # Errors
    /// If it cannot listen at its data address.
    pub async fn run(setup: TaskManagerSetup) -> Result<()> {
        let env = setup.env.clone();
        let mut listener = env.listen(&setup.data_address).await.map_err(|error| {
            Error::new(ErrorKind::Configuration, format!("cannot listen at {}", setup.data_address)).with_source(error)
        })?;
        let data_address = listener.local_address();
        let (incoming, mut events) = mpsc::channel(MAILBOX);
        let (reports, mut task_reports) = mpsc::channel(MAILBOX);
        let accepting = incoming.clone();
        env.spawn(async move {
            while let Ok(stream) = listener.accept().await {
                if accepting.send(TaskManagerEvent::DataConnection(stream)).await.is_err() {
                    return;
                }
            }
        });
        let subject = Subject::node(setup.id.0.as_str());
        let reporter = Reporter::new(subject, Attempt::default(), setup.observer.clone());
        let mut this =
            Self { setup, reporter, data_address, highest_epoch: Epoch::default(), job: None, reports, incoming };
        let mut session_number = 0;
        loop {
            session_number += 1;
            if let Some(session) = this.connect(session_number).await
                && let SessionEnd::Shutdown = this.serve(session, &mut events, &mut task_reports).await
            {
                this.cancel_all(&mut task_reports).await;
                return Ok(());
            }
            this.cancel_all(&mut task_reports).await;
            this.setup.env.sleep(this.setup.reconnect_pause).await;
        }
    }

    async fn connect(&mut self, number: u64) -> Option<Session> {
        let env = &self.setup.env;
        let deadline = env.now().saturating_add(CONNECT_TIMEOUT);
        let stream = match env.until(Some(deadline), env.connect(&self.setup.job_manager_address)).await {
            Some(Ok(stream)) => stream,
            Some(Err(error)) => {
                tracing::debug!(%error, "job manager not reachable");
                return None;
            }
            None => return None,
        };
        let (outgoing, queue) = mpsc::channel(MAILBOX);
        env.spawn(async move {
            // The reading side notices when the connection is gone.
            let _ = write_messages(stream.writer, FrameKind::Control, queue).await;
        });
        let incoming = self.incoming.clone();
        let mut reader = MessageReader::new(stream.reader, FrameKind::Control);
        env.spawn(async move {
            loop {
                let event = match reader.next::<ToTaskManager>().await {
                    Ok(message) => TaskManagerEvent::FromJobManager { session: number, message: Box::new(message) },
                    Err(reason) => TaskManagerEvent::JobManagerLost { session: number, reason },
                };
                let lost = matches!(event, TaskManagerEvent::JobManagerLost { .. });
                if incoming.send(event).await.is_err() || lost {
                    return;
                }
            }
        });
        self.reporter.state(Moment::Before, Step::Register, None, "").await.ok()?;
        let register = FromTaskManager::Register {
            task_manager: self.setup.id.clone(),
            slots: self.setup.slots,
            data_address: self.data_address.clone(),
            highest_epoch: self.highest_epoch,
        };
        outgoing.try_send(register).ok()?;
        Some(Session { number, outgoing, last_sign_of_life: env.now(), timeout: CONNECT_TIMEOUT })
    }

    async fn serve(
        &mut self,
        mut session: Session,
        events: &mut mpsc::Receiver<TaskManagerEvent>,
        task_reports: &mut mpsc::Receiver<TaskReport>,
    ) -> SessionEnd {
        loop {
            let deadline = session.last_sign_of_life.saturating_add(session.timeout);
            let env = self.setup.env.clone();
            let next = env.until(Some(deadline), next_of(task_reports, events)).await;
            let ended = match next {
                Some(Either::Report(report)) => {
                    self.on_report(report, &session);
                    None
                }
                Some(Either::Event(event)) => self.on_event(event, &mut session).await,
                None => {
                    tracing::warn!("job manager is silent");
                    Some(SessionEnd::Lost)
                }
            };
            if let Some(ended) = ended {
                return ended;
            }
        }
    }

    async fn on_event(&mut self, event: TaskManagerEvent, session: &mut Session) -> Option<SessionEnd> {
        match event {
            TaskManagerEvent::FromJobManager { session: from, message } if from == session.number => {
                session.last_sign_of_life = self.setup.env.now();
                self.on_message(*message, session).await
            }
            TaskManagerEvent::JobManagerLost { session: from, reason } if from == session.number => {
                tracing::info!(reason, "job manager lost");
                Some(SessionEnd::Lost)
            }
            TaskManagerEvent::FromJobManager { .. } | TaskManagerEvent::JobManagerLost { .. } => None,
            TaskManagerEvent::DataConnection(stream) => {
                let channels = self.job.as_ref().map(|job| job.channels.clone());
                self.setup.env.spawn(exchange::serve(self.setup.env.clone(), stream, channels));
                None
            }
        }
    }

    async fn on_message(&mut self, message: ToTaskManager, session: &mut Session) -> Option<SessionEnd> {
        match message {
            ToTaskManager::Registered { epoch, heartbeat_timeout_ms } => {
                if epoch < self.highest_epoch {
                    tracing::warn!(%epoch, highest = %self.highest_epoch, "refused a job manager of an older epoch");
                    return Some(SessionEnd::Lost);
                }
                self.highest_epoch = epoch;
                session.timeout = Duration::from_millis(heartbeat_timeout_ms);
                if self.reporter.state(Moment::After, Step::Register, None, "").await.is_err() {
                    return Some(SessionEnd::Lost);
                }
            }
            ToTaskManager::Heartbeat => send(session, FromTaskManager::Heartbeat),
            ToTaskManager::Deploy(deployment) => {
                let attempt = deployment.attempt;
                let answer = match self.deploy(*deployment) {
                    Ok(()) => FromTaskManager::Deployed { attempt },
                    Err(error) => FromTaskManager::DeploymentFailed { attempt, reason: error.to_string() },
                };
                send(session, answer);
            }
            ToTaskManager::Start { attempt } => self.start(attempt),
            ToTaskManager::TriggerCheckpoint { attempt, barrier, tasks } => {
                for task in tasks {
                    self.post(attempt, task, TaskEvent::TriggerCheckpoint(barrier.clone()));
                }
            }
            ToTaskManager::NotifyComplete { attempt, checkpoint_id } => {
                self.post_to_all(attempt, || TaskEvent::NotifyComplete(checkpoint_id));
            }
            ToTaskManager::NotifyAborted { attempt, checkpoint_id } => {
                self.post_to_all(attempt, || TaskEvent::NotifyAborted(checkpoint_id));
            }
            ToTaskManager::Finish { attempt } => self.post_to_all(attempt, || TaskEvent::Finish),
            ToTaskManager::Cancel { attempt } => {
                self.cancel(attempt);
                if self.job.is_none() {
                    send(session, FromTaskManager::Cancelled { attempt });
                }
            }
            ToTaskManager::AlignWatermark { attempt, task, others } => {
                self.post(attempt, task, TaskEvent::AlignWatermark(others));
            }
            ToTaskManager::Shutdown => return Some(SessionEnd::Shutdown),
        }
        None
    }

    fn post(&self, attempt: Attempt, subtask: SubtaskId, event: TaskEvent) {
        // A subtask that takes no events is ending; its end is reported.
        if let Some(job) = self.job.as_ref().filter(|job| job.attempt == attempt)
            && let Some(mailbox) = job.tasks.get(&subtask)
        {
            let _ = mailbox.post(event);
        }
    }

    fn post_to_all(&self, attempt: Attempt, event: impl Fn() -> TaskEvent) {
        if let Some(job) = self.job.as_ref().filter(|job| job.attempt == attempt) {
            for mailbox in job.tasks.values() {
                let _ = mailbox.post(event());
            }
        }
    }

    fn on_report(&mut self, report: TaskReport, session: &Session) {
        let message = match report {
            TaskReport::Running(execution) => FromTaskManager::Running { execution },
            TaskReport::Acknowledge(acknowledgement) => FromTaskManager::Acknowledge(acknowledgement),
            TaskReport::Decline { execution, checkpoint_id, reason } => {
                FromTaskManager::Decline { execution, checkpoint_id, reason }
            }
            TaskReport::Watermark { execution, report: AlignmentReport { group, watermark } } => {
                FromTaskManager::ReportWatermark { execution, group, watermark }
            }
            TaskReport::EndOfData(execution) => FromTaskManager::EndOfData { execution },
            TaskReport::Ended { execution, end } => {
                let cancelled = self.task_ended(execution);
                match end {
                    TaskEnd::Finished => send(session, FromTaskManager::Finished { execution }),
                    TaskEnd::Failed(reason) => {
                        tracing::info!(%execution, %reason, "subtask failed");
                        send(session, FromTaskManager::Failed { execution, reason: reason.to_string() });
                    }
                    TaskEnd::Cancelled => {}
                }
                match cancelled {
                    Some(attempt) => FromTaskManager::Cancelled { attempt },
                    None => return,
                }
            }
        };
        send(session, message);
    }

    /// Forgets a subtask that ended; the attempt, if it was the last one of a cancelled attempt.
    fn task_ended(&mut self, execution: ExecutionAttempt) -> Option<Attempt> {
        let job = self.job.as_mut().filter(|job| job.attempt == execution.attempt)?;
        job.tasks.remove(&execution.subtask);
        if !job.tasks.is_empty() || !job.cancel_requested {
            return None;
        }
        self.drop_job();
        Some(execution.attempt)
    }

    fn drop_job(&mut self) {
        if let Some(job) = self.job.take() {
            job.connections.iter().for_each(TaskHandle::abort);
        }
    }

    fn cancel(&mut self, attempt: Attempt) {
        let Some(job) = self.job.as_mut().filter(|job| job.attempt <= attempt) else { return };
        job.cancel_requested = true;
        for setup in job.waiting.drain(..) {
            job.tasks.remove(&setup.execution.subtask);
        }
        for mailbox in job.tasks.values() {
            let _ = mailbox.post(TaskEvent::Cancel);
        }
        if job.tasks.is_empty() {
            self.drop_job();
        }
    }

    /// Cancels everything and waits until nothing runs: the next job manager finds a clean task manager.
    async fn cancel_all(&mut self, task_reports: &mut mpsc::Receiver<TaskReport>) {
        self.cancel(Attempt(u64::MAX));
        while self.job.is_some() {
            match task_reports.recv().await {
                Some(TaskReport::Ended { execution, .. }) => {
                    self.task_ended(execution);
                }
                Some(_) => {}
                None => return,
            }
        }
    }

    fn deploy(&mut self, deployment: Deployment) -> Result<()> {
        if self.job.is_some() {
            return Err(Error::new(ErrorKind::Unavailable, "tasks of an earlier attempt still run here"));
        }
        let program = self.setup.programs.program(&deployment.program)?;
        let wiring = Wiring { program: &program, deployment: &deployment, own: &self.setup.id, env: &self.setup.env };
        let mut tasks = BTreeMap::new();
        let mut waiting = Vec::new();
        for task in &deployment.tasks {
            let (mailbox, outputs, events) = wiring.mailbox_and_outputs(task.subtask);
            tasks.insert(task.subtask, mailbox);
            let name = program.graph.subtask_name(task.subtask);
            waiting.push(SubtaskSetup {
                execution: ExecutionAttempt { subtask: task.subtask, attempt: deployment.attempt },
                program: program.clone(),
                config: deployment.config.clone(),
                restore: task.restore.clone(),
                checkpoint_directory: (!deployment.checkpoint_directory.is_empty())
                    .then(|| PathBuf::from(&deployment.checkpoint_directory)),
                env: self.setup.env.clone(),
                file_system: self.setup.file_system.clone(),
                reporter: self.reporter.subtask(name, deployment.attempt),
                mailbox: events,
                outputs,
                reports: self.reports.clone(),
            });
        }
        let receivers = wiring.receivers(&tasks);
        wiring.connect_local(&tasks);
        let queue = wiring.connection_queue();
        self.job = Some(RunningJob {
            attempt: deployment.attempt,
            channels: Arc::new(AttemptChannels { attempt: deployment.attempt, receivers, queue }),
            program,
            deployment,
            tasks,
            waiting,
            connections: Vec::new(),
            cancel_requested: false,
        });
        Ok(())
    }

    fn start(&mut self, attempt: Attempt) {
        let Some(job) = self.job.as_mut().filter(|job| job.attempt == attempt) else { return };
        let wiring =
            Wiring { program: &job.program, deployment: &job.deployment, own: &self.setup.id, env: &self.setup.env };
        let queue = wiring.connection_queue();
        for (peer, senders) in wiring.senders(&job.tasks) {
            let address = job.deployment.data_addresses[&peer].clone();
            job.connections.push(exchange::open(&self.setup.env, address, attempt, senders, queue));
        }
        for setup in job.waiting.drain(..) {
            self.setup.env.spawn(run_subtask(setup));
        }
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

enum Either {
    Report(TaskReport),
    Event(TaskManagerEvent),
}

/// What comes first; reports of tasks go before events, so that no order is overtaken by an answer to it.
async fn next_of(
    task_reports: &mut mpsc::Receiver<TaskReport>,
    events: &mut mpsc::Receiver<TaskManagerEvent>,
) -> Either {
    std::future::poll_fn(|context| {
        if let std::task::Poll::Ready(Some(report)) = task_reports.poll_recv(context) {
            return std::task::Poll::Ready(Either::Report(report));
        }
        match events.poll_recv(context) {
            std::task::Poll::Ready(Some(event)) => std::task::Poll::Ready(Either::Event(event)),
            // The task manager itself holds a sender of each queue, so neither ends.
            std::task::Poll::Ready(None) | std::task::Poll::Pending => std::task::Poll::Pending,
        }
    })
    .await
}

fn send(session: &Session, message: FromTaskManager) {
    // A queue that is full or closed means that the connection is gone; the reading side says so.
    let _ = session.outgoing.try_send(message);
}

/// How the channels of a deployment are connected at this task manager.
struct Wiring<'a> {
    program: &'a Program,
    deployment: &'a Deployment,
    own: &'a TaskManagerId,
    env: &'a Env,
}

impl Wiring<'_> {
    fn credit(&self) -> usize {
        self.deployment.config.channel_credit.max(1)
    }

    fn key_groups(&self) -> KeyGroups {
        KeyGroups::new(self.program.graph.max_parallelism)
            .expect("the graph was built with a valid number of key groups")
    }

    fn is_local(&self, subtask: SubtaskId) -> bool {
        self.deployment.placement.get(&subtask) == Some(self.own)
    }

    /// The output channels of a subtask, in the order of its edges.
    fn outputs_of(&self, subtask: SubtaskId) -> Vec<ChannelId> {
        let graph = &self.program.graph;
        graph.outputs(subtask.vertex).flat_map(|edge| graph.output_channels(edge, subtask.index)).collect()
    }

    fn mailbox_and_outputs(&self, subtask: SubtaskId) -> (Mailbox, Outputs, mpsc::Receiver<TaskEvent>) {
        let graph = &self.program.graph;
        let mut outputs = Outputs::new();
        let mut output_count = 0;
        for edge in graph.outputs(subtask.vertex) {
            let channels = graph.output_channels(edge, subtask.index).len();
            let code = &self.program.edges[edge.id.0 as usize];
            let context =
                PartitionerContext { channels, key_groups: self.key_groups(), entropy: &|| self.env.entropy() };
            let partitioner = (code.partitioner)(context);
            outputs.add_edge(code.output.clone(), partitioner, channels, self.credit() as u32);
            output_count += channels;
        }
        let (mailbox, events) = mailbox(graph.input_channels(subtask).len() + output_count, self.credit());
        (mailbox, outputs, events)
    }

    fn local_tasks(&self) -> impl Iterator<Item = SubtaskId> {
        self.deployment.tasks.iter().map(|task| task.subtask)
    }

    /// The input channels here whose senders are elsewhere.
    fn receivers(&self, tasks: &BTreeMap<SubtaskId, Mailbox>) -> BTreeMap<ChannelId, Receiver> {
        let graph = &self.program.graph;
        let mut receivers = BTreeMap::new();
        for subtask in self.local_tasks() {
            for (index, channel) in graph.input_channels(subtask).into_iter().enumerate() {
                if !self.is_local(graph.sender(channel)) {
                    let decoder = self.program.edges[channel.edge.0 as usize].decoder;
                    receivers.insert(channel, Receiver { mailbox: tasks[&subtask].clone(), channel: index, decoder });
                }
            }
        }
        receivers
    }

    /// The output channels here whose receivers are elsewhere, by task manager.
    fn senders(&self, tasks: &BTreeMap<SubtaskId, Mailbox>) -> BTreeMap<TaskManagerId, BTreeMap<ChannelId, Sender>> {
        let mut senders: BTreeMap<TaskManagerId, BTreeMap<ChannelId, Sender>> = BTreeMap::new();
        for subtask in self.local_tasks() {
            for (output, channel) in self.outputs_of(subtask).into_iter().enumerate() {
                let receiver = self.program.graph.receiver(channel);
                if !self.is_local(receiver) {
                    let peer = self.deployment.placement[&receiver].clone();
                    let sender = Sender { mailbox: tasks[&subtask].clone(), output };
                    senders.entry(peer).or_default().insert(channel, sender);
                }
            }
        }
        senders
    }

    /// Connects channels with both ends here: their events are the first in the mailboxes.
    fn connect_local(&self, tasks: &BTreeMap<SubtaskId, Mailbox>) {
        let graph = &self.program.graph;
        for subtask in self.local_tasks() {
            for (output, channel) in self.outputs_of(subtask).into_iter().enumerate() {
                let receiver = graph.receiver(channel);
                let Some(receiver_mailbox) = tasks.get(&receiver) else { continue };
                let position = graph.input_channels(receiver).iter().position(|input| *input == channel);
                let index = position.expect("a channel is among the inputs of its receiver");
                let writer = ElementWriter::Local { mailbox: receiver_mailbox.clone(), channel: index };
                let credit_return = CreditReturn::Local { mailbox: tasks[&subtask].clone(), output };
                // A new mailbox has room for the connection of each of its channels.
                let _ = receiver_mailbox.post(TaskEvent::InputConnected { channel: index, credit_return });
                let _ = tasks[&subtask].post(TaskEvent::OutputConnected { output, writer });
            }
        }
    }

    /// Room for everything that credit allows on one connection, the end of each channel, and the greeting.
    fn connection_queue(&self) -> usize {
        let channels: usize = self.local_tasks().map(|task| self.outputs_of(task).len()).sum::<usize>()
            + self.local_tasks().map(|task| self.program.graph.input_channels(task).len()).sum::<usize>();
        channels * (self.credit() + 2) + 16
    }
}
