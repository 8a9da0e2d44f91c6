//! Barriers of exactly-once checkpoints: the cut at one task, aligned or not.
//!
//! Aligned, a channel that delivered the barrier of the current checkpoint is blocked until every open channel delivered
//! it, so that the snapshot holds the effects of exactly the records before the barriers. Unaligned, the snapshot is taken
//! at the first barrier, and what comes on the other channels before theirs becomes part of the checkpoint. With a
//! time-out a checkpoint begins as the one and becomes the other.
//!
//! ```text
//!             first barrier / announcement             last barrier / end of the last missing channel
//!    IDLE ────────────────────────────────▶ ALIGNING ──────────────────────────────▶ IDLE   snapshot, unblock all
//!     ▲                                       │    │ time-out, before any barrier was taken
//!     │            time-out, or a barrier     │    ▼
//!     │            that overtook: unblock     │  TIMED OUT
//!     │            all, record, snapshot      ▼    │ first barrier: record, snapshot
//!     └──────────────────────────────────── COLLECTING ◀──┘
//!        last barrier: everything is recorded
//! ```
//!
//! In each of the three: a barrier of a newer checkpoint, or a cancel marker, aborts the current one and unblocks all; the
//! end of a channel counts as its barrier. Barriers and cancel markers of checkpoints that are over are ignored. Each
//! checkpoint begins anew: that one timed out says nothing of the next.
//!
//! Flink `SingleCheckpointBarrierHandler` with its `BarrierHandlerState`s; Carbone et al. 2015. One difference: a cancel
//! marker ends a checkpoint that was only announced, too. Flink ignores it then, and waits for barriers that do not come.

use std::collections::BTreeSet;

use super::{AlignerAction, AlignerInput, Alignment, CheckpointBarrier, CheckpointFailureReason, EndOfChannelRule};
use crate::{id::CheckpointId, planted, time::Timestamp};

/// The alignment of one task. See the module's documentation.
#[derive(Debug, Clone)]
pub struct Aligner {
    channels: usize,
    rule: EndOfChannelRule,
    ended: BTreeSet<usize>,
    blocked: BTreeSet<usize>,
    /// The newest checkpoint that was begun or cancelled here; what is older is over.
    current: Option<CheckpointId>,
    pending: Option<PendingAlignment>,
}

/// A checkpoint that waits for barriers.
#[derive(Debug, Clone)]
struct PendingAlignment {
    barrier: CheckpointBarrier,
    /// Channels that delivered the barrier, or ended before it.
    marked: BTreeSet<usize>,
    /// Channels in which the barrier is known to lie.
    announced: BTreeSet<usize>,
    /// Channels of which data is recorded.
    recorded: BTreeSet<usize>,
    /// How many channels were open when it began.
    target: usize,
    /// Whether a barrier was taken.
    begun: bool,
    stage: Stage,
}

/// See the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Aligning,
    TimedOut,
    Collecting,
}

impl Aligner {
    /// An aligner over channels `0..channels`.
    pub fn new(channels: usize, rule: EndOfChannelRule) -> Self {
        Self { channels, rule, ended: BTreeSet::new(), blocked: BTreeSet::new(), current: None, pending: None }
    }

    /// Whether nothing may be taken from this channel for now.
    pub fn is_blocked(&self, channel: usize) -> bool {
        self.blocked.contains(&channel)
    }

    /// When alignment is given up, unless it is over by then.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.pending.as_ref().filter(|pending| pending.stage == Stage::Aligning)?.barrier.overtakes_at()
    }

    /// Takes in what arrived and appends what has to be done.
    pub fn handle(&mut self, now: Timestamp, input: AlignerInput, actions: &mut Vec<AlignerAction>) {
        match input {
            AlignerInput::Barrier { channel, barrier } => self.barrier(now, channel, &barrier, actions),
            AlignerInput::Announced { channel, barrier } => self.announced(now, channel, &barrier, actions),
            AlignerInput::CancelMarker { channel, checkpoint_id } => {
                self.check_open(channel);
                self.cancel_marker(checkpoint_id, actions);
            }
            AlignerInput::EndOfChannel { channel } => self.end_of_channel(now, channel, actions),
            AlignerInput::Tick => self.overtake_if_due(now, actions),
        }
    }

    fn barrier(
        &mut self,
        now: Timestamp,
        channel: usize,
        barrier: &CheckpointBarrier,
        actions: &mut Vec<AlignerAction>,
    ) {
        let Some(pending) = self.pending_of(channel, barrier, actions) else { return };
        pending.announced.remove(&channel);
        if !pending.begun {
            pending.begun = true;
            if pending.target > 1 {
                actions.push(AlignerAction::AlignmentStarted(barrier.checkpoint_id));
            }
        }
        // What the barrier overtook belongs to the checkpoint; what lies behind one that came in order does not.
        let overtook = barrier.alignment == Alignment::Unaligned;
        if overtook && pending.stage == Stage::Aligning {
            self.overtake(actions);
        }
        if let Some(PendingAlignment { stage: Stage::TimedOut, .. }) = self.pending {
            if !overtook {
                self.mark(channel);
            }
            self.snapshot_and_record(actions);
        }
        self.mark(channel);
        self.stop_recording(channel, actions);
        self.complete_if_all_are_marked(actions);
        let aligning = self.pending.as_ref().is_some_and(|pending| pending.stage == Stage::Aligning);
        if aligning && !planted!("blocked_channel_processed_during_alignment") {
            self.blocked.insert(channel);
            actions.push(AlignerAction::Block(channel));
        }
        self.overtake_if_due(now, actions);
    }

    /// The alignment that a barrier of this channel belongs to; `None` if that is over.
    fn pending_of(
        &mut self,
        channel: usize,
        barrier: &CheckpointBarrier,
        actions: &mut Vec<AlignerAction>,
    ) -> Option<&mut PendingAlignment> {
        self.check_open(channel);
        if self.is_over(barrier.checkpoint_id) {
            return None;
        }
        self.begin_unless_known(barrier, actions);
        self.pending.as_mut()
    }

    fn announced(
        &mut self,
        now: Timestamp,
        channel: usize,
        barrier: &CheckpointBarrier,
        actions: &mut Vec<AlignerAction>,
    ) {
        let Some(pending) = self.pending_of(channel, barrier, actions) else { return };
        if pending.marked.contains(&channel) {
            return;
        }
        match pending.stage {
            Stage::Aligning => {
                pending.announced.insert(channel);
                self.overtake_if_due(now, actions);
            }
            Stage::TimedOut | Stage::Collecting => {
                actions.push(AlignerAction::Prioritize { channel, checkpoint_id: barrier.checkpoint_id });
            }
        }
    }

    fn begin_unless_known(&mut self, barrier: &CheckpointBarrier, actions: &mut Vec<AlignerAction>) {
        if self.current >= Some(barrier.checkpoint_id) {
            return;
        }
        if let Some(subsumed) = self.pending.take() {
            self.abort(subsumed.barrier.checkpoint_id, CheckpointFailureReason::DeclinedSubsumed, actions);
        }
        self.current = Some(barrier.checkpoint_id);
        self.pending = Some(PendingAlignment {
            barrier: barrier.clone(),
            marked: BTreeSet::new(),
            announced: BTreeSet::new(),
            recorded: BTreeSet::new(),
            target: self.channels - self.ended.len(),
            begun: false,
            stage: Stage::Aligning,
        });
    }

    fn cancel_marker(&mut self, checkpoint_id: CheckpointId, actions: &mut Vec<AlignerAction>) {
        if self.is_over(checkpoint_id) {
            return;
        }
        self.current = Some(checkpoint_id);
        self.pending = None;
        self.abort(checkpoint_id, CheckpointFailureReason::DeclinedOnCancellationBarrier, actions);
    }

    fn end_of_channel(&mut self, now: Timestamp, channel: usize, actions: &mut Vec<AlignerAction>) {
        self.check_open(channel);
        self.ended.insert(channel);
        self.blocked.remove(&channel);
        if let Some(pending) = &mut self.pending {
            pending.announced.remove(&channel);
        }
        match self.rule {
            EndOfChannelRule::CountsAsBarrier => {
                self.mark(channel);
                self.stop_recording(channel, actions);
                self.complete_if_all_are_marked(actions);
                self.overtake_if_due(now, actions);
            }
            EndOfChannelRule::AbortsCheckpoint => {
                if let Some(pending) = self.pending.take() {
                    let reason = CheckpointFailureReason::DeclinedInputEndOfStream;
                    self.abort(pending.barrier.checkpoint_id, reason, actions);
                }
            }
        }
    }

    /// Gives alignment up if it has lasted too long.
    fn overtake_if_due(&mut self, now: Timestamp, actions: &mut Vec<AlignerAction>) {
        if self.deadline().is_some_and(|deadline| deadline <= now) && !planted!("alignment_timeout_does_nothing") {
            self.overtake(actions);
            if self.pending.as_ref().is_some_and(|pending| pending.begun) {
                self.snapshot_and_record(actions);
            }
        }
    }

    /// From now on barriers of this checkpoint come first.
    fn overtake(&mut self, actions: &mut Vec<AlignerAction>) {
        let Some(pending) = &mut self.pending else { return };
        pending.stage = Stage::TimedOut;
        let checkpoint_id = pending.barrier.checkpoint_id;
        let announced = std::mem::take(&mut pending.announced).into_iter();
        actions.extend(announced.map(|channel| AlignerAction::Prioritize { channel, checkpoint_id }));
    }

    fn snapshot_and_record(&mut self, actions: &mut Vec<AlignerAction>) {
        self.unblock_all(actions);
        let Some(pending) = &mut self.pending else { return };
        pending.stage = Stage::Collecting;
        let beyond = planted!("recorded_beyond_the_barrier");
        let is_expected =
            |channel: &usize| !self.ended.contains(channel) && (beyond || !pending.marked.contains(channel));
        pending.recorded = (0..self.channels).filter(is_expected).collect();
        let checkpoint_id = pending.barrier.checkpoint_id;
        actions.push(AlignerAction::Record { checkpoint_id, channels: pending.recorded.clone() });
        actions.push(AlignerAction::Snapshot(pending.barrier.with(Alignment::Unaligned)));
    }

    fn mark(&mut self, channel: usize) {
        if let Some(pending) = &mut self.pending {
            pending.marked.insert(channel);
        }
    }

    fn stop_recording(&mut self, channel: usize, actions: &mut Vec<AlignerAction>) {
        if self.pending.as_mut().is_some_and(|pending| pending.recorded.remove(&channel)) {
            actions.push(AlignerAction::StopRecording(channel));
        }
    }

    fn complete_if_all_are_marked(&mut self, actions: &mut Vec<AlignerAction>) {
        let Some(pending) = &self.pending else { return };
        let unawaited = usize::from(planted!("alignment_ends_before_the_last_barrier"));
        if pending.marked.len() + unawaited < pending.target {
            return;
        }
        if pending.stage == Stage::TimedOut {
            self.snapshot_and_record(actions);
        }
        let Some(complete) = self.pending.take() else { return };
        match complete.stage {
            Stage::Aligning => {
                // The snapshot comes first: unblocking is of no use to a task that is about to take a snapshot.
                let alignment = complete.barrier.alignment.no_longer_forced();
                actions.push(AlignerAction::Snapshot(complete.barrier.with(alignment)));
                self.unblock_all(actions);
            }
            Stage::TimedOut | Stage::Collecting => {
                actions.push(AlignerAction::AllBarriersReceived(complete.barrier.checkpoint_id));
            }
        }
    }

    fn abort(
        &mut self,
        checkpoint_id: CheckpointId,
        reason: CheckpointFailureReason,
        actions: &mut Vec<AlignerAction>,
    ) {
        actions.push(AlignerAction::Abort { checkpoint_id, reason });
        if reason == CheckpointFailureReason::DeclinedOnCancellationBarrier
            && planted!("channels_stay_blocked_after_a_cancellation")
        {
            return;
        }
        self.unblock_all(actions);
    }

    fn unblock_all(&mut self, actions: &mut Vec<AlignerAction>) {
        if !self.blocked.is_empty() {
            self.blocked.clear();
            actions.push(AlignerAction::UnblockAll);
        }
    }

    /// Whether the checkpoint was snapshotted, aborted or overtaken here.
    fn is_over(&self, checkpoint_id: CheckpointId) -> bool {
        match self.current {
            Some(current) => checkpoint_id < current || (checkpoint_id == current && self.pending.is_none()),
            None => false,
        }
    }

    fn check_open(&self, channel: usize) {
        assert!(channel < self.channels, "channel {channel} is not one of the {} of this task", self.channels);
        assert!(!self.ended.contains(&channel), "a channel ends once and delivers nothing after: {channel}");
    }
}
