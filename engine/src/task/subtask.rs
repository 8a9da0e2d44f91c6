//! One subtask: a loop over one mailbox.
//!
//! ```text
//!   open ──► run ──────────────────────────────► ended (finished | cancelled | failed)
//!             │ 1. take every event that is there
//!             │ 2. outputs free? process one input element, or read the source
//!             └ 3. nothing to do: wait for the mailbox, or the next timer
//! ```
//! A checkpoint happens between two elements, never inside one (Flink `StreamTask`, mailbox model).

mod open;

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use futures_util::FutureExt as _;

use super::{
    channel_digest::ChannelDigest,
    end::End,
    in_flight::Collection,
    input::{Arrival, InputGate},
    local_state::{LocalStateStore, LocalStateStores},
    mailbox::{TaskEnd, TaskEvent, TaskReport},
    output::Outputs,
    program::{HeadCode, Program},
    restore::{self, Loaded, Restoring},
    sink::ErasedSink,
    source::{ErasedSource, SourceOutput},
    uploads::UploadLedger,
    watermarks::ErasedTimestampsAndWatermarks,
};
use crate::{
    checkpoint::{AlignerInput, BarrierHandler, CheckpointBarrier, EndOfChannelRule},
    config::{AfterTasksFinish, JobConfig},
    connector::ReadStatus,
    env::{Env, channel::mpsc},
    error::{Error, ErrorKind, Recoverability, Result},
    event::{InjectedFailure, Moment, Reporter, Step},
    id::{CheckpointId, ExecutionAttempt, OperatorUid},
    net::SubtaskRestore,
    operator::{ChainOutput, Input, OperatorChain},
    planted,
    record::{AnyBatch, StopMode, StreamElement, WatermarkStatus},
    state::EndOfInput,
    storage::SharedFileSystem,
    time::{CombinedWatermark, Timestamp, WatermarkOutput},
};

/// Everything a subtask is made from.
pub struct SubtaskSetup {
    /// Who it is.
    pub execution: ExecutionAttempt,
    /// The job.
    pub program: Arc<Program>,
    /// The job's options.
    pub config: JobConfig,
    /// What it starts from.
    pub restore: SubtaskRestore,
    /// Number of key groups of the job.
    pub max_parallelism: u32,
    /// Where checkpoints are kept; `None` sends snapshots to the job manager.
    pub checkpoint_directory: Option<PathBuf>,
    /// The world.
    pub env: Env,
    /// Files.
    pub file_system: SharedFileSystem,
    /// Copies of its job's state on its task manager's disk, if they are wanted.
    pub local_state: Option<LocalStateStores>,
    /// States facts about it.
    pub reporter: Reporter,
    /// Its events.
    pub mailbox: mpsc::Receiver<TaskEvent>,
    /// Its outputs, not connected yet.
    pub outputs: Outputs,
    /// Its task manager.
    pub reports: mpsc::Sender<TaskReport>,
}

/// Runs a subtask to its end and reports how it ended. Panics of user code are failures of the subtask.
pub async fn run_subtask(setup: SubtaskSetup) {
    let (execution, reports) = (setup.execution, setup.reports.clone());
    let ended = std::panic::AssertUnwindSafe(async { Subtask::new(setup).run().await }).catch_unwind().await;
    let end = match ended {
        Ok(Ok(end)) => end,
        Ok(Err(error)) => failed(&error),
        Err(panic) => match panic.downcast_ref::<Error>() {
            Some(error) => failed(error),
            None => TaskEnd::Failed {
                reason: format!("panic: {}", panic_message(panic.as_ref())).into(),
                recoverability: Recoverability::Recoverable,
            },
        },
    };
    // A task manager that is gone needs no report.
    let _ = reports.send(TaskReport::Ended { execution, end }).await;
}

fn failed(error: &Error) -> TaskEnd {
    TaskEnd::Failed { reason: error.to_string().into(), recoverability: error.kind().recoverability() }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}

pub(super) struct Subtask {
    pub(super) execution: ExecutionAttempt,
    pub(super) program: Arc<Program>,
    pub(super) config: JobConfig,
    restore: Option<SubtaskRestore>,
    max_parallelism: u32,
    pub(super) checkpoint_directory: Option<PathBuf>,
    pub(super) env: Env,
    pub(super) file_system: SharedFileSystem,
    pub(super) local_state: Option<LocalStateStore>,
    pub(super) reporter: Reporter,
    mailbox: mpsc::Receiver<TaskEvent>,
    pub(super) reports: mpsc::Sender<TaskReport>,

    pub(super) gate: InputGate,
    pub(super) barriers: BarrierHandler,
    /// What is under way for the newest checkpoint, as long as not all of it is known.
    pub(super) in_flight: Option<Collection>,
    /// What was taken from each channel, if somebody wants to know.
    pub(super) received: Option<Vec<ChannelDigest>>,
    /// Which logical input a channel belongs to.
    inputs: Vec<Input>,
    watermarks: CombinedWatermark,
    /// Inputs whose data has not ended.
    open_inputs: usize,
    /// Channels that may still deliver something.
    open_channels: usize,
    /// A checkpoint that begins here when the last channel has ended: nobody upstream is left to send its barrier.
    begins_without_inputs: Option<CheckpointBarrier>,
    pub(super) source: Option<(OperatorUid, Box<dyn ErasedSource>)>,
    /// Makes the watermarks of a task that does not go by those of its inputs.
    pub(super) own_watermarks: Option<(OperatorUid, Box<dyn ErasedTimestampsAndWatermarks>)>,
    pub(super) chain: OperatorChain,
    pub(super) sink: Option<(OperatorUid, Box<dyn ErasedSink>)>,
    pub(super) outputs: Outputs,

    pub(super) last_checkpoint: CheckpointId,
    /// Checkpoints after it that were given up.
    pub(super) aborted_early: BTreeSet<CheckpointId>,
    /// Which files of databases checkpoints have kept.
    pub(super) uploads: UploadLedger,
    pub(super) source_status: ReadStatus,
    pub(super) next_watermark_at: Timestamp,
    /// How long the outputs took nothing, as far as it was waited for.
    pub(super) back_pressured: Duration,
    status: WatermarkStatus,
    pub(super) end_of_data: bool,
    /// Whether its source was told to end before its data did: a drain that has begun is brought to its end, also after a
    /// failure.
    pub(super) drained: EndOfInput,
    pub(super) end: End,
    /// The operators of a subtask that had finished when the restored checkpoint was taken: none of them runs.
    pub(super) finished_operators: Vec<OperatorUid>,
    /// The savepoint that it stands still with, until it is complete.
    pub(super) stops_with: Option<CheckpointId>,
    results: Vec<ChainOutput>,
}

/// What made the last results of a subtask visible.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Committed {
    /// The savepoint with which it stops.
    BySavepoint,
    /// The final checkpoint; without checkpoints, its end itself.
    AtTheEnd,
}

/// What the loop does next.
enum Next {
    GoOn,
    End(TaskEnd),
}

impl Subtask {
    fn new(setup: SubtaskSetup) -> Self {
        let code = setup.program.vertex(setup.execution.subtask.vertex);
        let is_finished = setup.restore.finished && !planted!("finished_subtask_runs_again_after_restore");
        let vertex = setup.program.graph.vertex(setup.execution.subtask.vertex);
        let finished_operators = if is_finished { vertex.operators.clone() } else { Vec::new() };
        let inputs = setup.program.inputs_of_channels(setup.execution.subtask);
        let channels = inputs.len();
        let numbers: Vec<usize> = inputs.iter().map(|input| *input as usize).collect();
        let source = match &code.head {
            HeadCode::Source(uid, factory) if !is_finished => Some((uid.clone(), factory())),
            HeadCode::Source(..) | HeadCode::Inputs | HeadCode::TimestampsAndWatermarks(..) => None,
        };
        let own_watermarks = match &code.head {
            HeadCode::TimestampsAndWatermarks(uid, factory) if !is_finished => Some((uid.clone(), factory())),
            HeadCode::TimestampsAndWatermarks(..) | HeadCode::Inputs | HeadCode::Source(..) => None,
        };
        let operators = code.operators.iter().filter(|_| !is_finished);
        let operators = operators.map(|(uid, factory)| (uid.clone(), factory())).collect();
        let sink = code.sink.as_ref().filter(|_| !is_finished).map(|(uid, factory)| (uid.clone(), factory()));
        let rule = match setup.config.checkpoints.after_tasks_finish {
            AfterTasksFinish::Continue => EndOfChannelRule::CountsAsBarrier,
            AfterTasksFinish::Refuse => EndOfChannelRule::AbortsCheckpoint,
        };
        Self {
            gate: InputGate::new(channels),
            in_flight: None,
            received: None,
            // A source has no input: its handlers stand for one channel that never delivers.
            barriers: BarrierHandler::with_rule(setup.config.checkpoints.mode, channels.max(1), rule),
            watermarks: CombinedWatermark::new(&numbers),
            inputs,
            open_inputs: channels,
            open_channels: channels,
            begins_without_inputs: None,
            source,
            own_watermarks,
            chain: OperatorChain::new(operators),
            sink,
            outputs: setup.outputs,
            end: End::new(&setup.config.checkpoints),
            finished_operators,
            execution: setup.execution,
            program: setup.program,
            config: setup.config,
            restore: Some(setup.restore),
            max_parallelism: setup.max_parallelism,
            checkpoint_directory: setup.checkpoint_directory,
            env: setup.env,
            file_system: setup.file_system,
            local_state: setup.local_state.map(|job| job.of_subtask(setup.execution.subtask)),
            reporter: setup.reporter,
            mailbox: setup.mailbox,
            reports: setup.reports,
            last_checkpoint: CheckpointId::default(),
            aborted_early: BTreeSet::new(),
            uploads: UploadLedger::default(),
            source_status: ReadStatus::More,
            next_watermark_at: Timestamp::MIN,
            back_pressured: Duration::ZERO,
            status: WatermarkStatus::Active,
            end_of_data: false,
            drained: EndOfInput::Pending,
            stops_with: None,
            results: Vec::new(),
        }
    }

    async fn run(mut self) -> Result<TaskEnd> {
        self.open().await?;
        let end = self.run_loop().await;
        let leaves = matches!(end, Ok(TaskEnd::Cancelled)) && planted!("cancelled_sink_leaves_its_open_transaction");
        if !matches!(end, Ok(TaskEnd::Finished)) && !leaves {
            // The attempt is over whatever this says; what stays behind is settled by recovery.
            let _ = self.close_sink().await;
        }
        end
    }

    async fn run_loop(&mut self) -> Result<TaskEnd> {
        if !self.finished_operators.is_empty() && self.inputs.is_empty() {
            self.advance_watermark(Timestamp::MAX).await?;
            self.end_data(StopMode::Drain).await?;
        }
        if self.drained == EndOfInput::Handled {
            self.end_source(StopMode::Drain).await?;
        }
        loop {
            while let Ok(event) = self.mailbox.try_recv() {
                if let Next::End(end) = self.on_event(event).await? {
                    return Ok(end);
                }
            }
            // What was emitted leaves first: downstream takes part in checkpoints until it has the end of this channel.
            if self.end.is_settled() && self.open_channels == 0 && self.outputs.is_available() {
                self.finish(Committed::AtTheEnd).await?;
                return Ok(TaskEnd::Finished);
            }
            self.give_barriers_their_time().await?;
            if !(self.outputs.is_available() && self.work().await?) {
                let barriers = self.barriers.deadline().into_iter().chain(self.outputs.deadline());
                let deadline = barriers.chain(self.deadline()).min();
                let waits_for_outputs = (!self.outputs.is_available()).then(|| self.env.now());
                let event = self.env.until(deadline, self.mailbox.recv()).await;
                if let Some(since) = waits_for_outputs {
                    self.back_pressured += self.env.now().since(since);
                }
                let next = match event {
                    Some(Some(event)) => self.on_event(event).await?,
                    Some(None) => Next::End(TaskEnd::Cancelled),
                    None => Next::GoOn,
                };
                if let Next::End(end) = next {
                    return Ok(end);
                }
            }
        }
    }

    /// Does one piece of work; false if there is none.
    async fn work(&mut self) -> Result<bool> {
        if self.stops_with.is_some() {
            return Ok(false);
        }
        let now = self.env.now();
        if self.chain.processing_time_deadline().is_some_and(|deadline| deadline <= now) {
            self.chain.advance_processing_time(now, &mut self.results)?;
            self.deliver().await?;
            return Ok(true);
        }
        self.chain.set_processing_time(now);
        if self.own_watermarks.is_some() && self.wants_periodic_emit() && now >= self.next_watermark_at {
            let mut outputs = Vec::new();
            self.next_watermark_at = now.saturating_add(self.config.auto_watermark_interval);
            self.make_watermarks(|own, readable, out| own.on_periodic_emit(readable, out), &mut outputs);
            self.process_source_outputs(outputs).await?;
            return Ok(true);
        }
        if let Some((channel, element)) = self.gate.pop() {
            self.process(channel, element).await?;
            return Ok(true);
        }
        if self.source.is_some() && !self.end_of_data {
            return self.read_source(now).await;
        }
        Ok(false)
    }

    fn deadline(&self) -> Option<Timestamp> {
        if !self.outputs.is_available() || self.stops_with.is_some() {
            return None;
        }
        let source_wants = match (&self.source, self.source_status) {
            (Some((_, source)), ReadStatus::NotBefore(time)) if !self.end_of_data => {
                let periodic_emit = source.expects_periodic_emit().then_some(self.next_watermark_at);
                Some(periodic_emit.map_or(time, |emit| emit.min(time)))
            }
            (_, ReadStatus::NotBefore(_) | ReadStatus::More | ReadStatus::Ended) => None,
        };
        let own_watermarks = self.own_watermarks.as_ref().filter(|_| self.wants_periodic_emit());
        let periodic_emit = own_watermarks.map(|_| self.next_watermark_at);
        source_wants.into_iter().chain(periodic_emit).chain(self.chain.processing_time_deadline()).min()
    }

    /// Whether watermarks are asked for by the clock (Flink: an interval of zero asks for none).
    fn wants_periodic_emit(&self) -> bool {
        !self.end_of_data && !self.config.auto_watermark_interval.is_zero()
    }

    /// Lets the operator that makes the watermarks of this task put something out, if there is one.
    fn make_watermarks(
        &mut self,
        make: impl FnOnce(&mut dyn ErasedTimestampsAndWatermarks, Timestamp, &mut Vec<SourceOutput>),
        outputs: &mut Vec<SourceOutput>,
    ) {
        let readable = self.env.now().saturating_sub(self.back_pressured);
        if let Some((_, own)) = &mut self.own_watermarks {
            make(own.as_mut(), readable, outputs);
        }
    }

    async fn on_event(&mut self, event: TaskEvent) -> Result<Next> {
        match event {
            TaskEvent::Element { channel, element } => match self.gate.push(channel, element) {
                Arrival::Queued => {}
                Arrival::Announced(barrier) => self.on_barrier(AlignerInput::Announced { channel, barrier }).await?,
                Arrival::Overtakes => self.take_overtaking_barriers().await?,
            },
            TaskEvent::InputConnected { channel, credit_return } => self.gate.connect(channel, credit_return),
            TaskEvent::OutputConnected { output, writer } => {
                self.outputs.connect(output, writer).map_err(receiver_gone)?;
            }
            TaskEvent::Credit { output, credit } => {
                self.outputs.add_credit(output, credit).map_err(receiver_gone)?;
            }
            TaskEvent::OverdraftRepaid { output } => {
                self.outputs.repay_overdraft(output).map_err(receiver_gone)?;
            }
            TaskEvent::ConnectionLost { reason } => {
                return Err(Error::new(ErrorKind::Unavailable, format!("connection lost: {reason}")));
            }
            TaskEvent::TriggerCheckpoint(barrier) => {
                self.begins_without_inputs = Some(barrier);
                self.begin_checkpoint().await?;
            }
            TaskEvent::NotifyComplete(checkpoint_id) => {
                let stops = self.stops_with == Some(checkpoint_id);
                if !(stops && planted!("stop_with_savepoint_commits_nothing")) {
                    self.notify_complete(checkpoint_id).await?;
                }
                if self.stops_with == Some(checkpoint_id) {
                    self.finish(Committed::BySavepoint).await?;
                    return Ok(Next::End(TaskEnd::Finished));
                }
            }
            TaskEvent::NotifyAborted(checkpoint_id) => self.aborted(checkpoint_id),
            TaskEvent::AlignWatermark(others) => {
                if let Some((_, source)) = self.source.as_mut().filter(|_| !self.end_of_data)
                    && let Some(status) = source.on_alignment(others)
                {
                    self.source_status = status;
                }
            }
            TaskEvent::Finish => {
                self.finish(Committed::AtTheEnd).await?;
                return Ok(Next::End(TaskEnd::Finished));
            }
            TaskEvent::Cancel => return Ok(Next::End(TaskEnd::Cancelled)),
        }
        Ok(Next::GoOn)
    }

    pub(super) async fn process_source_outputs(&mut self, outputs: Vec<SourceOutput>) -> Result<()> {
        for output in outputs {
            match output {
                SourceOutput::Batch(batch) => self.process_batch(Input::First, batch).await?,
                SourceOutput::Watermark(watermark) => self.on_combined_watermark([watermark]).await?,
            }
        }
        Ok(())
    }

    async fn process(&mut self, channel: usize, element: StreamElement) -> Result<()> {
        if let Some(received) = &mut self.received {
            received[channel].push(&element);
        }
        match element {
            StreamElement::Batch(batch) if self.own_watermarks.is_some() => {
                let mut outputs = Vec::new();
                self.make_watermarks(|own, _, out| own.process(batch, out), &mut outputs);
                self.process_source_outputs(outputs).await
            }
            StreamElement::Batch(batch) => self.process_batch(self.inputs[channel], batch).await,
            StreamElement::Watermark(watermark) => {
                let mut combined = Vec::new();
                self.watermarks.on_watermark(channel, watermark, &mut combined);
                self.on_watermark_of_inputs(combined).await
            }
            StreamElement::Status(status) => {
                let mut combined = Vec::new();
                self.watermarks.on_status(channel, status, &mut combined);
                self.on_watermark_of_inputs(combined).await
            }
            StreamElement::Barrier(barrier) => self.on_barrier(AlignerInput::Barrier { channel, barrier }).await,
            StreamElement::CancelMarker(checkpoint_id) => {
                self.on_barrier(AlignerInput::CancelMarker { channel, checkpoint_id }).await
            }
            StreamElement::EndOfData(mode) => {
                self.open_inputs -= 1;
                if self.open_inputs == 0 { self.end_data(mode).await } else { Ok(()) }
            }
            StreamElement::EndOfPartition => {
                self.open_channels -= 1;
                self.on_barrier(AlignerInput::EndOfChannel { channel }).await?;
                self.begin_checkpoint().await
            }
        }
    }

    /// Begins the checkpoint that the coordinator asked for, if no channel can bring its barrier any more.
    async fn begin_checkpoint(&mut self) -> Result<()> {
        if self.open_channels == 0
            && let Some(barrier) = self.begins_without_inputs.take()
            // A settled subtask is as good as finished.
            && !self.end.is_settled()
        {
            self.take_checkpoint(barrier).await?;
        }
        Ok(())
    }

    async fn on_watermark_of_inputs(&mut self, combined: Vec<WatermarkOutput>) -> Result<()> {
        if self.own_watermarks.is_none() {
            return self.on_combined_watermark(combined).await;
        }
        let mut outputs = Vec::new();
        if combined.contains(&WatermarkOutput::Watermark(Timestamp::MAX)) {
            self.make_watermarks(|own, _, out| own.on_last_watermark(out), &mut outputs);
        }
        self.process_source_outputs(outputs).await
    }

    async fn on_combined_watermark(&mut self, combined: impl IntoIterator<Item = WatermarkOutput>) -> Result<()> {
        for output in combined {
            match output {
                WatermarkOutput::Watermark(watermark) => self.advance_watermark(watermark).await?,
                WatermarkOutput::Status(status) => self.on_status(status)?,
            }
        }
        Ok(())
    }

    pub(super) fn on_status(&mut self, status: WatermarkStatus) -> Result<()> {
        if self.status == status {
            return Ok(());
        }
        self.status = status;
        self.outputs.broadcast(&StreamElement::Status(status)).map_err(receiver_gone)
    }

    async fn process_batch(&mut self, input: Input, batch: AnyBatch) -> Result<()> {
        self.chain.process(input, batch, &mut self.results)?;
        self.deliver().await
    }

    pub(super) async fn advance_watermark(&mut self, watermark: Timestamp) -> Result<()> {
        self.chain.advance_watermark(watermark, &mut self.results)?;
        self.deliver().await?;
        // Several vertices may have one name.
        let detail = format!("{} at {watermark}", self.execution.subtask);
        self.reporter.state(Moment::After, Step::Watermark, None, &detail).await.map_err(injected)
    }

    /// Hands the chain's results to the sink or the outputs.
    async fn deliver(&mut self) -> Result<()> {
        let mut results = std::mem::take(&mut self.results);
        for result in results.drain(..) {
            match (result, &mut self.sink) {
                (ChainOutput::Batch(batch), Some((_, sink))) => sink.write(batch).await?,
                (ChainOutput::Batch(batch), None) => self.outputs.emit(batch).map_err(receiver_gone)?,
                (ChainOutput::Side { operator, tag, batch }, _) => {
                    self.outputs.emit_side(operator, &tag, &batch).map_err(receiver_gone)?;
                }
                (ChainOutput::Watermark(watermark), Some((_, sink))) => sink.write_watermark(watermark).await?,
                (ChainOutput::Watermark(watermark), None) => {
                    self.outputs.broadcast(&StreamElement::Watermark(watermark)).map_err(receiver_gone)?;
                }
            }
        }
        self.results = results;
        Ok(())
    }

    pub(super) async fn end_data(&mut self, mode: StopMode) -> Result<()> {
        self.end_of_data = true;
        if mode == StopMode::Drain {
            self.chain.finish(&mut self.results)?;
            self.deliver().await?;
        }
        if let Some((_, sink)) = &mut self.sink {
            sink.end_of_input();
        }
        self.end.data_ended();
        self.outputs.broadcast(&StreamElement::EndOfData(mode)).map_err(receiver_gone)?;
        self.fact(Moment::After, Step::EndOfData, None).await?;
        self.report(TaskReport::EndOfData(self.execution)).await
    }

    async fn notify_complete(&mut self, checkpoint_id: CheckpointId) -> Result<()> {
        // From tail to head: what is visible first is what depends on nothing further.
        if let Some((_, sink)) = &mut self.sink {
            sink.notify_complete(checkpoint_id).await?;
        }
        self.chain.notify_complete(checkpoint_id)?;
        self.uploads.confirmed(checkpoint_id);
        if let Some(local_state) = self.local_state.clone() {
            local_state.completed(checkpoint_id);
            self.env.spawn(local_state.tidy_up());
        }
        if let Some((_, source)) = &mut self.source {
            source.notify_complete();
        }
        self.end.completed(checkpoint_id);
        Ok(())
    }

    async fn finish(&mut self, committed: Committed) -> Result<()> {
        if committed == Committed::AtTheEnd
            && self.config.checkpoints.interval.is_none()
            && let Some((_, sink)) = &mut self.sink
        {
            sink.commit_without_checkpoint().await?;
        }
        if let Some((_, sink)) = &mut self.sink {
            sink.finish().await?;
        }
        self.close_sink().await?;
        self.fact(Moment::After, Step::Finish, None).await?;
        // Last of all: from here on the loss of this subtask's connections is no failure.
        self.outputs.end_partitions().map_err(receiver_gone)
    }

    async fn close_sink(&mut self) -> Result<()> {
        match &mut self.sink {
            Some((_, sink)) => sink.close().await,
            None => Ok(()),
        }
    }

    pub(super) async fn fact(&mut self, moment: Moment, step: Step, checkpoint_id: Option<CheckpointId>) -> Result<()> {
        self.reporter.state(moment, step, checkpoint_id, "").await.map_err(injected)
    }

    pub(super) async fn report(&mut self, report: TaskReport) -> Result<()> {
        self.reports
            .send(report)
            .await
            .map_err(|_| Error::new(ErrorKind::Unavailable, "the task manager of this subtask is gone"))
    }
}

pub(super) fn injected(failure: InjectedFailure) -> Error {
    Error::new(ErrorKind::UserFunction, failure.to_string())
}

pub(super) fn receiver_gone(error: super::output::ReceiverGone) -> Error {
    Error::new(ErrorKind::Unavailable, error.to_string())
}
