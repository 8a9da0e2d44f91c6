//! One subtask: a loop over one mailbox.
//!
//! ```text
//!   open ──► run ──────────────────────────────► ended (finished | cancelled | failed)
//!             │ 1. take every event that is there
//!             │ 2. outputs free? process one input element, or read the source
//!             └ 3. nothing to do: wait for the mailbox, or the next timer
//! ```
//! A checkpoint happens between two elements, never inside one (Flink `StreamTask`, mailbox model).

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures_util::FutureExt as _;

use super::{
    input::InputGate,
    mailbox::{TaskEnd, TaskEvent, TaskReport},
    output::Outputs,
    program::{HeadCode, Program},
    restore,
    sink::ErasedSink,
    source::{ErasedSource, SourceOutput},
    uploads::UploadLedger,
    watermarks::ErasedTimestampsAndWatermarks,
};
use crate::{
    checkpoint::{AlignerAction, AlignerInput, BarrierHandler},
    config::{BackgroundWork, JobConfig, RocksDbOptions, StateBackend},
    connector::{ReadStatus, SinkContext, SourceContext},
    env::{Env, channel::mpsc},
    error::{Error, ErrorKind, Result},
    event::{InjectedFailure, Moment, Reporter, Step},
    id::{CheckpointId, ExecutionAttempt, OperatorUid},
    net::SubtaskRestore,
    operator::{ChainOutput, Input, OperatorChain, OperatorContext},
    record::{AnyBatch, StopMode, StreamElement, WatermarkStatus},
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
    /// Where checkpoints are kept; `None` sends snapshots to the job manager.
    pub checkpoint_directory: Option<PathBuf>,
    /// The world.
    pub env: Env,
    /// Files.
    pub file_system: SharedFileSystem,
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
        Ok(Err(error)) => TaskEnd::Failed(error.to_string().into()),
        Err(panic) => TaskEnd::Failed(match panic.downcast_ref::<Error>() {
            Some(error) => error.to_string().into(),
            None => format!("panic: {}", panic_message(panic.as_ref())).into(),
        }),
    };
    // A task manager that is gone needs no report.
    let _ = reports.send(TaskReport::Ended { execution, end }).await;
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}

/// Asking more often for watermarks has no effect: time is counted in milliseconds.
const LEAST_WATERMARK_INTERVAL: Duration = Duration::from_millis(1);

pub(super) struct Subtask {
    pub(super) execution: ExecutionAttempt,
    program: Arc<Program>,
    pub(super) config: JobConfig,
    restore: Option<SubtaskRestore>,
    pub(super) checkpoint_directory: Option<PathBuf>,
    pub(super) env: Env,
    pub(super) file_system: SharedFileSystem,
    pub(super) reporter: Reporter,
    mailbox: mpsc::Receiver<TaskEvent>,
    pub(super) reports: mpsc::Sender<TaskReport>,

    gate: InputGate,
    barriers: BarrierHandler,
    /// Which logical input a channel belongs to.
    inputs: Vec<Input>,
    watermarks: CombinedWatermark,
    open_inputs: usize,
    pub(super) source: Option<(OperatorUid, Box<dyn ErasedSource>)>,
    /// Makes the watermarks of a task that does not go by those of its inputs.
    pub(super) own_watermarks: Option<(OperatorUid, Box<dyn ErasedTimestampsAndWatermarks>)>,
    pub(super) chain: OperatorChain,
    pub(super) sink: Option<(OperatorUid, Box<dyn ErasedSink>)>,
    pub(super) outputs: Outputs,

    pub(super) last_checkpoint: CheckpointId,
    /// Which files of databases checkpoints have kept.
    pub(super) uploads: UploadLedger,
    source_status: ReadStatus,
    next_watermark_at: Timestamp,
    /// How long the outputs took nothing, as far as it was waited for.
    back_pressured: Duration,
    status: WatermarkStatus,
    end_of_data: bool,
    results: Vec<ChainOutput>,
}

/// What the loop does next.
enum Next {
    GoOn,
    End(TaskEnd),
}

impl Subtask {
    fn new(setup: SubtaskSetup) -> Self {
        let code = setup.program.vertex(setup.execution.subtask.vertex);
        let inputs = setup.program.inputs_of_channels(setup.execution.subtask);
        let channels = inputs.len();
        let numbers: Vec<usize> = inputs.iter().map(|input| *input as usize).collect();
        let source = match &code.head {
            HeadCode::Source(uid, factory) => Some((uid.clone(), factory())),
            HeadCode::Inputs | HeadCode::TimestampsAndWatermarks(..) => None,
        };
        let own_watermarks = match &code.head {
            HeadCode::TimestampsAndWatermarks(uid, factory) => Some((uid.clone(), factory())),
            HeadCode::Inputs | HeadCode::Source(..) => None,
        };
        let operators = code.operators.iter().map(|(uid, factory)| (uid.clone(), factory())).collect();
        let sink = code.sink.as_ref().map(|(uid, factory)| (uid.clone(), factory()));
        Self {
            gate: InputGate::new(channels),
            // A source has no input: its handlers stand for one channel that never delivers.
            barriers: BarrierHandler::new(setup.config.checkpoints.mode, channels.max(1)),
            watermarks: CombinedWatermark::new(&numbers),
            inputs,
            open_inputs: channels,
            source,
            own_watermarks,
            chain: OperatorChain::new(operators),
            sink,
            outputs: setup.outputs,
            execution: setup.execution,
            program: setup.program,
            config: setup.config,
            restore: Some(setup.restore),
            checkpoint_directory: setup.checkpoint_directory,
            env: setup.env,
            file_system: setup.file_system,
            reporter: setup.reporter,
            mailbox: setup.mailbox,
            reports: setup.reports,
            last_checkpoint: CheckpointId::default(),
            uploads: UploadLedger::default(),
            source_status: ReadStatus::More,
            next_watermark_at: Timestamp::MIN,
            back_pressured: Duration::ZERO,
            status: WatermarkStatus::Active,
            end_of_data: false,
            results: Vec::new(),
        }
    }

    async fn run(mut self) -> Result<TaskEnd> {
        self.open().await?;
        let end = self.run_loop().await;
        if !matches!(end, Ok(TaskEnd::Finished)) {
            // The attempt is over whatever this says; what stays behind is settled by recovery.
            let _ = self.close_sink().await;
        }
        end
    }

    async fn open(&mut self) -> Result<()> {
        let restore = self.restore.take().unwrap_or_default();
        let checkpoint_id = restore.checkpoint_id;
        self.last_checkpoint = checkpoint_id.unwrap_or_default();
        self.fact(Moment::Before, Step::Restore, checkpoint_id).await?;
        let backend = self.state_backend();
        let loaded = restore::load(&self.env, self.file_system.as_ref(), &backend, restore).await?;
        let (mut snapshots, kept_files) = loaded;
        if !self.config.restore_watermark {
            snapshots.values_mut().for_each(|snapshot| snapshot.watermark = None);
        }
        if let Some(checkpoint_id) = checkpoint_id {
            self.uploads = UploadLedger::restored(checkpoint_id, kept_files);
        }
        let subtask = self.execution.subtask;
        let parallelism = self.program.graph.vertex(subtask.vertex).parallelism;
        let max_parallelism = self.program.graph.max_parallelism;
        let sink_restored = self.sink.as_ref().and_then(|(uid, _)| snapshots.remove(uid));
        let source_restored = self.source.as_ref().and_then(|(uid, _)| snapshots.remove(uid));
        let context = OperatorContext {
            uid: OperatorUid(String::new()),
            subtask_index: subtask.index,
            parallelism,
            max_parallelism,
            state_backend: backend,
            restored_checkpoint_id: checkpoint_id,
            processing_time: self.env.now(),
            reporter: self.reporter.clone(),
        };
        if let Some((uid, own)) = &mut self.own_watermarks {
            let kept = snapshots.remove(uid).filter(|_| self.config.restore_watermark);
            own.open(kept)?;
        }
        self.chain.open(&context, snapshots)?;
        if let Some((uid, sink)) = &mut self.sink {
            let context = SinkContext {
                env: self.env.clone(),
                file_system: self.file_system.clone(),
                uid: uid.clone(),
                restored_checkpoint_id: checkpoint_id,
                max_parallelism,
                subtask_index: subtask.index,
                parallelism,
                attempt: self.execution.attempt,
                reporter: self.reporter.clone(),
            };
            sink.open(&context, sink_restored).await?;
        }
        if let Some((_, source)) = &mut self.source {
            let context = SourceContext {
                env: self.env.clone(),
                file_system: self.file_system.clone(),
                subtask_index: subtask.index,
                parallelism,
                reporter: self.reporter.clone(),
            };
            source.open(&context, source_restored).await?;
        }
        self.fact(Moment::After, Step::Restore, checkpoint_id).await?;
        self.report(TaskReport::Running(self.execution)).await
    }

    /// As configured, except that in a simulation nothing may depend on when threads of RocksDB get to run.
    fn state_backend(&self) -> StateBackend {
        match &self.config.state_backend {
            StateBackend::RocksDb(options) => {
                let simulated = self.env.is_simulated().then_some(BackgroundWork::AtSnapshots);
                let background_work = simulated.unwrap_or(options.background_work);
                // Without files a checkpoint has nothing to refer to: the job manager's memory takes it whole.
                let incremental = options.incremental && self.checkpoint_directory.is_some();
                StateBackend::RocksDb(RocksDbOptions { background_work, incremental, ..options.clone() })
            }
            StateBackend::HashMap => StateBackend::HashMap,
        }
    }

    async fn run_loop(&mut self) -> Result<TaskEnd> {
        loop {
            while let Ok(event) = self.mailbox.try_recv() {
                if let Next::End(end) = self.on_event(event).await? {
                    return Ok(end);
                }
            }
            if !(self.outputs.is_available() && self.work().await?) {
                let deadline = self.deadline();
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
        if !self.outputs.is_available() {
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
            TaskEvent::Element { channel, element } => self.gate.push(channel, element),
            TaskEvent::InputConnected { channel, credit_return } => self.gate.connect(channel, credit_return),
            TaskEvent::OutputConnected { output, writer } => {
                self.outputs.connect(output, writer).map_err(receiver_gone)?;
            }
            TaskEvent::Credit { output, credit } => {
                self.outputs.add_credit(output, credit).map_err(receiver_gone)?;
            }
            TaskEvent::ConnectionLost { reason } => {
                return Err(Error::new(ErrorKind::Unavailable, format!("connection lost: {reason}")));
            }
            TaskEvent::TriggerCheckpoint(barrier) => {
                if self.source.is_some() {
                    self.take_checkpoint(barrier).await?;
                }
            }
            TaskEvent::NotifyComplete(checkpoint_id) => self.notify_complete(checkpoint_id).await?,
            TaskEvent::NotifyAborted(checkpoint_id) => self.uploads.aborted(checkpoint_id),
            TaskEvent::AlignWatermark(others) => {
                if let Some((_, source)) = self.source.as_mut().filter(|_| !self.end_of_data)
                    && let Some(status) = source.on_alignment(others)
                {
                    self.source_status = status;
                }
            }
            TaskEvent::Finish => {
                self.finish().await?;
                return Ok(Next::End(TaskEnd::Finished));
            }
            TaskEvent::Cancel => return Ok(Next::End(TaskEnd::Cancelled)),
        }
        Ok(Next::GoOn)
    }

    /// Reads the source once; false if it has nothing now.
    async fn read_source(&mut self, now: Timestamp) -> Result<bool> {
        if self.next_watermark_at == Timestamp::MIN {
            // What was restored counts from the first record on.
            self.emit_source_watermark(now).await?;
        }
        let readable = !matches!(self.source_status, ReadStatus::NotBefore(time) if time > now);
        if readable {
            self.align_source(now).await?;
            self.emit_from_source(now).await?;
        }
        let interval = self.config.auto_watermark_interval;
        let expected = self.source.as_ref().is_some_and(|(_, source)| source.expects_periodic_emit());
        let due = now >= self.next_watermark_at;
        let emits = (due && (readable || expected)) || (readable && interval.is_zero());
        if emits {
            self.next_watermark_at = now.saturating_add(interval.max(LEAST_WATERMARK_INTERVAL));
            self.emit_source_watermark(now).await?;
            self.align_source(now).await?;
        }
        if self.source_status == ReadStatus::Ended {
            self.align_source(now).await?;
            let mode = self.source.as_ref().map_or(StopMode::Drain, |(_, source)| source.stop_mode());
            if mode == StopMode::Drain {
                self.on_status(WatermarkStatus::Active)?;
                self.advance_watermark(Timestamp::MAX).await?;
            }
            self.end_data(mode).await?;
        }
        if readable {
            // The mailbox and the other tasks come first again after each batch.
            self.env.yield_now().await;
        }
        Ok(readable || emits)
    }

    pub(super) async fn emit_from_source(&mut self, now: Timestamp) -> Result<()> {
        let Some((_, source)) = &mut self.source else { return Ok(()) };
        let mut outputs = Vec::new();
        self.source_status = source.poll(now, self.config.batch_records, &mut outputs).await?;
        self.process_source_outputs(outputs).await
    }

    async fn emit_source_watermark(&mut self, now: Timestamp) -> Result<()> {
        let Some((_, source)) = &mut self.source else { return Ok(()) };
        let mut outputs = Vec::new();
        source.on_periodic_emit(now.saturating_sub(self.back_pressured), &mut outputs);
        self.process_source_outputs(outputs).await
    }

    /// Lets the source compare its splits with each other, and tells the other sources of its group.
    async fn align_source(&mut self, now: Timestamp) -> Result<()> {
        let execution = self.execution;
        match self.source.as_mut().and_then(|(_, source)| source.align(now)) {
            Some(report) => self.report(TaskReport::Watermark { execution, report }).await,
            None => Ok(()),
        }
    }

    async fn process_source_outputs(&mut self, outputs: Vec<SourceOutput>) -> Result<()> {
        for output in outputs {
            match output {
                SourceOutput::Batch(batch) => self.process_batch(Input::First, batch).await?,
                SourceOutput::Watermark(watermark) => self.on_combined_watermark([watermark]).await?,
            }
        }
        Ok(())
    }

    async fn process(&mut self, channel: usize, element: StreamElement) -> Result<()> {
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
            StreamElement::EndOfPartition => self.on_barrier(AlignerInput::EndOfChannel { channel }).await,
        }
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

    fn on_status(&mut self, status: WatermarkStatus) -> Result<()> {
        if self.status == status {
            return Ok(());
        }
        self.status = status;
        self.outputs.broadcast(&StreamElement::Status(status)).map_err(receiver_gone)
    }

    async fn on_barrier(&mut self, input: AlignerInput) -> Result<()> {
        let mut actions = Vec::new();
        self.barriers.handle(input, &mut actions);
        for action in actions {
            match action {
                AlignerAction::AlignmentStarted(checkpoint_id) => {
                    self.fact(Moment::Before, Step::Alignment, Some(checkpoint_id)).await?;
                }
                AlignerAction::Block(channel) => self.gate.block(channel),
                AlignerAction::UnblockAll => self.gate.unblock_all(),
                AlignerAction::Snapshot(barrier) => {
                    self.fact(Moment::After, Step::Alignment, Some(barrier.checkpoint_id)).await?;
                    self.take_checkpoint(barrier).await?;
                }
                AlignerAction::Abort { checkpoint_id, reason } => {
                    self.give_up_checkpoint(checkpoint_id, reason.to_string()).await?;
                }
            }
        }
        Ok(())
    }

    async fn process_batch(&mut self, input: Input, batch: AnyBatch) -> Result<()> {
        self.chain.process(input, batch, &mut self.results)?;
        self.deliver().await
    }

    async fn advance_watermark(&mut self, watermark: Timestamp) -> Result<()> {
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

    async fn end_data(&mut self, mode: StopMode) -> Result<()> {
        self.end_of_data = true;
        if mode == StopMode::Drain {
            self.chain.finish(&mut self.results)?;
            self.deliver().await?;
        }
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
        if let Some((_, source)) = &mut self.source {
            source.notify_complete();
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<()> {
        if self.config.checkpoints.interval.is_none()
            && let Some((_, sink)) = &mut self.sink
        {
            sink.commit_without_checkpoint().await?;
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
