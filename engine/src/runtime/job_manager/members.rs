//! Task managers: their connections, their signs of life, their messages.

use super::{JobManager, JobManagerEvent, MAILBOX, Member, Session, StepDown};
use crate::{
    checkpoint::{CheckpointFailureReason, coordinator::CoordinatorInput},
    env::{ByteStream, channel::mpsc},
    error::{Error, ErrorKind},
    heartbeat::HeartbeatAction,
    id::{ExecutionAttempt, TaskManagerId},
    job::{Culprit, ExecutionInput},
    net::{FrameKind, FromTaskManager, ToTaskManager},
    runtime::connection::{Frames, MessageReader, write_messages},
    time::Timestamp,
};

impl JobManager {
    pub(super) fn accept(&mut self, number: u64, stream: ByteStream, incoming: &mpsc::Sender<JobManagerEvent>) {
        let env = &self.setup.env;
        let (outgoing, queue) = mpsc::channel(MAILBOX);
        env.spawn(async move {
            // The reading side notices when the connection is gone.
            let _ = write_messages(stream.writer, Frames::CONTROL, queue).await;
        });
        let incoming = incoming.clone();
        let mut reader = MessageReader::new(stream.reader, FrameKind::Control);
        env.spawn(async move {
            loop {
                let event = match reader.next::<FromTaskManager>().await {
                    Ok(message) => JobManagerEvent::Message { session: number, message: Box::new(message) },
                    Err(reason) => JobManagerEvent::Disconnected { session: number, reason },
                };
                let over = matches!(event, JobManagerEvent::Disconnected { .. });
                if incoming.send(event).await.is_err() || over {
                    return;
                }
            }
        });
        self.sessions.insert(number, Session { outgoing, task_manager: None });
    }

    pub(super) async fn disconnected(&mut self, session: u64, reason: String) {
        let Some(Session { task_manager: Some(task_manager), .. }) = self.sessions.remove(&session) else { return };
        self.lose(&task_manager, session, reason).await;
    }

    /// Takes a task manager for gone: its connection is dropped, whatever it still says is not heard.
    async fn lose(&mut self, task_manager: &TaskManagerId, session: u64, reason: String) {
        self.sessions.remove(&session);
        if self.members.get(task_manager).is_some_and(|member| member.session == session) {
            self.members.remove(task_manager);
            self.detector.forget(task_manager);
            let task_manager = task_manager.clone();
            self.tell_execution(ExecutionInput::TaskManagerLost { task_manager, reason }).await;
        }
    }

    pub(super) async fn check_members(&mut self, now: Timestamp) {
        let mut actions = Vec::new();
        self.detector.tick(now, &mut actions);
        for action in actions {
            match action {
                HeartbeatAction::SendPing(task_manager) => self.send(&task_manager, ToTaskManager::Heartbeat),
                HeartbeatAction::Dead(task_manager) => {
                    if let Some(member) = self.members.get(&task_manager) {
                        let session = member.session;
                        self.lose(&task_manager, session, "no sign of life".into()).await;
                    }
                }
            }
        }
    }

    pub(super) fn send(&self, task_manager: &TaskManagerId, message: ToTaskManager) {
        // A queue that is full or closed means that the connection is gone; the reading side says so.
        if let Some(session) = self.members.get(task_manager).and_then(|member| self.sessions.get(&member.session)) {
            let _ = session.outgoing.try_send(message);
        }
    }

    pub(super) async fn on_message(&mut self, session: u64, message: FromTaskManager) {
        if let FromTaskManager::Register { task_manager, slots, data_address, highest_epoch } = message {
            if highest_epoch > self.epoch {
                let error = Error::new(ErrorKind::Fenced, "a task manager knows a newer job manager");
                return self.step_down(StepDown::Stop(error));
            }
            return self.register(session, task_manager, slots, data_address).await;
        }
        let Some(Session { task_manager: Some(task_manager), .. }) = self.sessions.get(&session) else { return };
        let task_manager = task_manager.clone();
        let now = self.setup.env.now();
        self.detector.sign_of_life(&task_manager, now);
        match message {
            FromTaskManager::Register { .. } | FromTaskManager::Heartbeat => {}
            FromTaskManager::Deployed { attempt } => {
                self.tell_execution(ExecutionInput::Deployed { task_manager, attempt }).await;
            }
            FromTaskManager::DeploymentFailed { attempt, reason, recoverability } => {
                let culprit = Culprit::Attempts(vec![attempt]);
                self.tell_execution(ExecutionInput::Failed { culprit, reason, recoverability }).await;
            }
            FromTaskManager::Running { execution } => {
                self.tell_execution(ExecutionInput::Running(execution)).await;
            }
            FromTaskManager::Acknowledge(acknowledgement) => self.acknowledge(acknowledgement).await,
            FromTaskManager::Decline { execution, checkpoint_id, reason } => {
                tracing::warn!(%checkpoint_id, %execution, reason, "checkpoint declined");
                if self.is_current(execution) {
                    let said = format!("{}: {reason}", self.setup.program.graph.subtask_name(execution.subtask));
                    let (task, reason) = (execution.subtask, CheckpointFailureReason::CheckpointDeclined);
                    let input = CoordinatorInput::Decline { checkpoint_id, task, reason };
                    self.tell_failure(checkpoint_id, said, input).await;
                }
            }
            FromTaskManager::ReportWatermark { execution, group, watermark } => {
                if self.is_current(execution) {
                    let others = self.watermarks.report(execution, &group, watermark);
                    let (attempt, task) = (execution.attempt, execution.subtask);
                    self.send(&task_manager, ToTaskManager::AlignWatermark { attempt, task, others });
                }
            }
            FromTaskManager::EndOfData { execution } => {
                self.tell_execution(ExecutionInput::EndOfData(execution)).await;
            }
            FromTaskManager::Finished { execution } => {
                self.tell_execution(ExecutionInput::Finished(execution)).await;
            }
            FromTaskManager::Failed { execution, reason, recoverability } => {
                let reason = format!("{}: {reason}", self.setup.program.graph.subtask_name(execution.subtask));
                let culprit = Culprit::Task(execution);
                self.tell_execution(ExecutionInput::Failed { culprit, reason, recoverability }).await;
            }
            FromTaskManager::Cancelled { attempt } => {
                self.tell_execution(ExecutionInput::Cancelled { task_manager, attempt }).await;
            }
        }
    }

    pub(super) fn is_current(&self, execution: ExecutionAttempt) -> bool {
        self.execution.is_current(execution)
    }

    async fn register(&mut self, session: u64, task_manager: TaskManagerId, slots: u32, data_address: String) {
        if let Some(earlier) = self.members.get(&task_manager).map(|member| member.session) {
            self.lose(&task_manager, earlier, "it registered again".into()).await;
        }
        let Some(connection) = self.sessions.get_mut(&session) else { return };
        connection.task_manager = Some(task_manager.clone());
        self.members.insert(task_manager.clone(), Member { session, slots, data_address });
        self.detector.watch(task_manager.clone(), self.setup.env.now());
        let heartbeat_timeout_ms = self.setup.config.heartbeat_timeout.as_millis() as u64;
        self.send(&task_manager, ToTaskManager::Registered { epoch: self.epoch, heartbeat_timeout_ms });
        self.tell_execution(ExecutionInput::TaskManagerRegistered { task_manager, slots }).await;
    }
}
