//! A task manager: runs the subtasks that the job manager gives it.
//!
//! ```text
//!   connect ──► register ──► serve ──────────────── job manager lost or silent ──► cancel all tasks ──► connect …
//!                             │ Deploy → tasks exist → Deployed;  Start → connections open, tasks run
//!                             │ Cancel → tasks end → Cancelled
//!                             └ Shutdown → end
//! ```
//! One actor with one mailbox; the tasks have theirs. It obeys only the newest epoch that it has seen (Flink `TaskExecutor`).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    connection::{Frames, MessageReader, write_messages},
    exchange::{self, AttemptChannels, ConnectionLimits, Receiver, Sender},
    program_source::ProgramSource,
};
use crate::{
    env::{ByteStream, Env, TaskHandle, channel::mpsc},
    error::{Error, ErrorKind, Result},
    event::{Moment, Observer, Reporter, Step, Subject},
    id::{Attempt, ChannelId, CheckpointId, Epoch, ExecutionAttempt, SubtaskId, TaskManagerId},
    net::{Deployment, FrameKind, FromTaskManager, TaskDeployment, ToTaskManager},
    planted,
    state::KeyGroups,
    storage::SharedFileSystem,
    task::{
        CreditReturn, ElementWriter, LocalStateStores, Mailbox, Program, SubtaskSetup, TaskEnd, TaskEvent, TaskReport,
        mailbox,
        output::{EdgeChannels, OVERDRAFT, Outputs},
        partitioner::PartitionerContext,
        run_subtask,
    },
    time::{AlignmentReport, Timestamp},
};

/// What a task manager is made from.
pub struct TaskManagerSetup {
    /// Its name.
    pub id: TaskManagerId,
    /// How many slots it has.
    pub slots: u32,
    /// Where the job manager listens, `host:port`; several that stand by for each other are divided by commas.
    pub job_manager_address: String,
    /// Where to receive data, `host:port`; port 0 takes a free one.
    pub data_address: String,
    /// The world.
    pub env: Env,
    /// Files that all processes reach.
    pub file_system: SharedFileSystem,
    /// Files on this machine's own disk: copies of state.
    pub local_disk: SharedFileSystem,
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
    /// What runs here, by attempt: each is a region's.
    attempts: BTreeMap<Attempt, RunningAttempt>,
    /// The copies of the job's state here, of whatever attempt.
    local_state: Option<LocalStateStores>,
    reports: mpsc::Sender<TaskReport>,
    incoming: mpsc::Sender<TaskManagerEvent>,
}

enum TaskManagerEvent {
    FromJobManager { session: u64, message: Box<ToTaskManager> },
    JobManagerLost { session: u64, reason: String },
    DataConnection(ByteStream),
}

/// The tasks of one attempt.
struct RunningAttempt {
    /// Whose order it is.
    epoch: Epoch,
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
    /// The job manager dismisses this task manager.
    Shutdown,
    /// The connection has ended.
    Closed,
    /// Nothing is heard any more, or nothing that counts.
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
        let (highest_epoch, attempts) = (Epoch::default(), BTreeMap::new());
        let mut this =
            Self { setup, reporter, data_address, highest_epoch, attempts, local_state: None, reports, incoming };
        let mut session_number = 0;
        loop {
            session_number += 1;
            if let Some(session) = this.connect(session_number).await {
                match this.serve(session, &mut events, &mut task_reports).await {
                    SessionEnd::Shutdown => {
                        this.cancel_all(&mut task_reports).await;
                        return Ok(());
                    }
                    SessionEnd::Closed if planted!("closed_session_taken_for_the_end_of_the_job") => {
                        let attempts: Vec<Attempt> = this.attempts.keys().copied().collect();
                        let all_is_complete = || TaskEvent::NotifyComplete(CheckpointId(u64::MAX));
                        attempts.into_iter().for_each(|attempt| this.post_to_all(attempt, all_is_complete));
                    }
                    SessionEnd::Closed | SessionEnd::Lost => {}
                }
            }
            if !planted!("tasks_survive_their_job_manager") {
                this.cancel_all(&mut task_reports).await;
            }
            this.setup.env.sleep(this.setup.reconnect_pause).await;
        }
    }

    async fn connect(&mut self, number: u64) -> Option<Session> {
        let env = &self.setup.env;
        let deadline = env.now().saturating_add(CONNECT_TIMEOUT);
        // After each session the next one in turn: which of them leads is known to none but themselves.
        let addresses: Vec<&str> = self.setup.job_manager_address.split(',').map(str::trim).collect();
        let address = addresses[number as usize % addresses.len()];
        let stream = match env.until(Some(deadline), env.connect(address)).await {
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
            let _ = write_messages(stream.writer, Frames::CONTROL, queue).await;
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
                Some(SessionEnd::Closed)
            }
            TaskManagerEvent::FromJobManager { .. } | TaskManagerEvent::JobManagerLost { .. } => None,
            TaskManagerEvent::DataConnection(stream) => {
                let channels = self.attempts.iter().map(|(attempt, running)| (*attempt, running.channels.clone()));
                self.setup.env.spawn(exchange::serve(self.setup.env.clone(), stream, channels.collect()));
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
                    Err(error) => FromTaskManager::DeploymentFailed {
                        attempt,
                        reason: error.to_string(),
                        recoverability: error.kind().recoverability(),
                    },
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
                let leftover = self.attempts.iter().filter(|(_, running)| running.epoch < self.highest_epoch);
                let leftover: Vec<Attempt> = leftover.map(|(attempt, _)| *attempt).collect();
                leftover.iter().chain([&attempt]).for_each(|attempt| self.cancel(*attempt));
                if planted!("tasks_of_other_regions_are_stopped_as_well") {
                    let others: Vec<Attempt> = self.attempts.keys().copied().collect();
                    others.into_iter().for_each(|other| self.cancel(other));
                }
                if self.attempts.keys().all(|running| *running != attempt && !leftover.contains(running)) {
                    send(session, FromTaskManager::Cancelled { attempt });
                }
            }
            ToTaskManager::AlignWatermark { attempt, task, others } => {
                self.post(attempt, task, TaskEvent::AlignWatermark(others));
            }
            ToTaskManager::Shutdown => {
                // Before the job manager sees this task manager go: the process may end then.
                if let Some(local_state) = self.local_state.take() {
                    local_state.remove().await;
                }
                return Some(SessionEnd::Shutdown);
            }
        }
        None
    }

    fn post(&self, attempt: Attempt, subtask: SubtaskId, event: TaskEvent) {
        // A subtask that takes no events is ending; its end is reported.
        if let Some(mailbox) = self.attempts.get(&attempt).and_then(|running| running.tasks.get(&subtask)) {
            let _ = mailbox.post(event);
        }
    }

    fn post_to_all(&self, attempt: Attempt, event: impl Fn() -> TaskEvent) {
        for mailbox in self.attempts.get(&attempt).into_iter().flat_map(|running| running.tasks.values()) {
            let _ = mailbox.post(event());
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
                    TaskEnd::Failed { reason, recoverability } => {
                        tracing::info!(%execution, %reason, "subtask failed");
                        let reason = reason.to_string();
                        send(session, FromTaskManager::Failed { execution, reason, recoverability });
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
        let running = self.attempts.get_mut(&execution.attempt)?;
        running.tasks.remove(&execution.subtask);
        if !running.tasks.is_empty() || !running.cancel_requested {
            return None;
        }
        self.drop_attempt(execution.attempt);
        Some(execution.attempt)
    }

    fn drop_attempt(&mut self, attempt: Attempt) {
        if let Some(running) = self.attempts.remove(&attempt) {
            running.connections.iter().for_each(TaskHandle::abort);
        }
    }

    fn cancel(&mut self, attempt: Attempt) {
        let Some(running) = self.attempts.get_mut(&attempt) else { return };
        running.cancel_requested = true;
        for setup in running.waiting.drain(..) {
            running.tasks.remove(&setup.execution.subtask);
        }
        for mailbox in running.tasks.values() {
            let _ = mailbox.post(TaskEvent::Cancel);
        }
        if running.tasks.is_empty() {
            self.drop_attempt(attempt);
        }
    }

    /// Cancels everything and waits until nothing runs: the next job manager finds a clean task manager.
    async fn cancel_all(&mut self, task_reports: &mut mpsc::Receiver<TaskReport>) {
        let attempts: Vec<Attempt> = self.attempts.keys().copied().collect();
        attempts.into_iter().for_each(|attempt| self.cancel(attempt));
        while !self.attempts.is_empty() {
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
        // Tasks of a region that did not fail run on beside those of one that starts again.
        let is_in_the_way = |running: &RunningAttempt| {
            let mut tasks = running.deployment.tasks.iter();
            running.epoch < self.highest_epoch
                || tasks.any(|task| deployment.tasks.iter().any(|new| new.subtask == task.subtask))
        };
        if self.attempts.values().any(is_in_the_way) {
            return Err(Error::new(ErrorKind::Unavailable, "tasks of an earlier attempt still run here"));
        }
        let program = self.setup.programs.program(&deployment.program)?;
        let wiring = Wiring { program: &program, deployment: &deployment, own: &self.setup.id, env: &self.setup.env };
        let local_state = LocalStateStores::of_job(
            &deployment.config.local_recovery,
            self.setup.local_disk.clone(),
            &self.setup.id,
            Path::new(&deployment.checkpoint_directory),
        );
        // What attempts before this one still write is told of the end of the job as well.
        match (&self.local_state, &local_state) {
            (Some(before), Some(now)) if before.is_of_the_job_of(now) => {}
            _ => self.local_state = local_state,
        }
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
                max_parallelism: deployment.max_parallelism,
                checkpoint_directory: (!deployment.checkpoint_directory.is_empty())
                    .then(|| PathBuf::from(&deployment.checkpoint_directory)),
                env: self.setup.env.clone(),
                file_system: self.setup.file_system.clone(),
                local_state: self.local_state.clone(),
                reporter: self.reporter.subtask(name, deployment.attempt),
                mailbox: events,
                outputs,
                reports: self.reports.clone(),
            });
        }
        let receivers = wiring.receivers(&tasks);
        wiring.connect_local(&tasks);
        let limits = wiring.connection_limits();
        let attempt = deployment.attempt;
        let running = RunningAttempt {
            epoch: self.highest_epoch,
            channels: Arc::new(AttemptChannels { receivers, limits }),
            program,
            deployment,
            tasks,
            waiting,
            connections: Vec::new(),
            cancel_requested: false,
        };
        self.attempts.insert(attempt, running);
        Ok(())
    }

    fn start(&mut self, attempt: Attempt) {
        let Some(running) = self.attempts.get_mut(&attempt) else { return };
        let (program, deployment) = (&running.program, &running.deployment);
        let wiring = Wiring { program, deployment, own: &self.setup.id, env: &self.setup.env };
        let limits = wiring.connection_limits();
        for (peer, senders) in wiring.senders(&running.tasks) {
            let address = running.deployment.data_addresses[&peer].clone();
            running.connections.push(exchange::open(&self.setup.env, address, attempt, senders, limits));
        }
        for setup in running.waiting.drain(..) {
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
        if planted!("records_go_by_other_key_groups_after_rescale") && self.is_rescaled() {
            return KeyGroups::default_for(self.program.graph.slots());
        }
        KeyGroups::new(self.deployment.max_parallelism).expect("the job manager has checked the number of key groups")
    }

    /// Whether it was restored with another parallelism.
    fn is_rescaled(&self) -> bool {
        let parallelism = |task: &TaskDeployment| self.program.graph.vertex(task.subtask.vertex).parallelism;
        let rescaled =
            |task: &TaskDeployment| task.restore.operators.values().any(|it| it.parallelism != parallelism(task));
        self.deployment.tasks.iter().any(rescaled)
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
            let (credit, overtaking) = (self.credit() as u32, edge.overtaking);
            outputs.add_edge(code.output.clone(), partitioner, EdgeChannels { count: channels, credit, overtaking });
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
    fn connection_limits(&self) -> ConnectionLimits {
        let channels: usize = self.local_tasks().map(|task| self.outputs_of(task).len()).sum::<usize>()
            + self.local_tasks().map(|task| self.program.graph.input_channels(task).len()).sum::<usize>();
        let queue = channels * (self.credit() + OVERDRAFT + 2) + 16;
        ConnectionLimits { queue, buffer_bytes: self.deployment.config.buffer_bytes }
    }
}
