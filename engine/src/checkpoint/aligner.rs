//! Aligned barriers: the cut of an exactly-once checkpoint at one task.
//!
//! A channel that delivered the barrier of the current checkpoint is blocked until every open channel delivered it, so
//! that the snapshot holds the effects of exactly the records before the barriers.
//!
//! ```text
//!            barrier b > current, more channels open        last barrier b / end of the last missing channel
//!   IDLE ───────────────────────────────────────▶ ALIGNING ─────────────────────────────▶ IDLE   snapshot b, unblock all
//!    │  ▲                                          │  │  ▲
//!    │  │ cancel marker c > current: abort c       │  │  └─ barrier b' > b: abort b, unblock all, align b'
//!    └──┘                                          │  └──── cancel marker c ≥ b: abort c, unblock all ──▶ IDLE
//!                                                  └─────── end of a channel: counts as its barrier
//! ```
//!
//! Barriers and cancel markers of checkpoints that are over are ignored. Flink `SingleCheckpointBarrierHandler`;
//! Carbone et al. 2015.

use std::collections::BTreeSet;

use super::{AlignerAction, AlignerInput, CheckpointBarrier, CheckpointFailureReason, EndOfChannelRule};
use crate::{id::CheckpointId, planted};

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

/// A checkpoint of which some barriers are here.
#[derive(Debug, Clone)]
struct PendingAlignment {
    barrier: CheckpointBarrier,
    /// Channels that delivered the barrier, or ended before it.
    marked: BTreeSet<usize>,
    /// How many channels were open when the first barrier came.
    target: usize,
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

    /// Takes in what arrived and appends what has to be done.
    pub fn handle(&mut self, input: AlignerInput, actions: &mut Vec<AlignerAction>) {
        match input {
            AlignerInput::Barrier { channel, barrier } => self.barrier(channel, barrier, actions),
            AlignerInput::CancelMarker { channel, checkpoint_id } => {
                self.check_open(channel);
                self.cancel_marker(checkpoint_id, actions);
            }
            AlignerInput::EndOfChannel { channel } => self.end_of_channel(channel, actions),
        }
    }

    fn barrier(&mut self, channel: usize, barrier: CheckpointBarrier, actions: &mut Vec<AlignerAction>) {
        self.check_open(channel);
        let checkpoint_id = barrier.checkpoint_id;
        if self.is_over(checkpoint_id) {
            return;
        }
        if self.current < Some(checkpoint_id) {
            if let Some(subsumed) = self.pending.take() {
                self.abort(subsumed.barrier.checkpoint_id, CheckpointFailureReason::DeclinedSubsumed, actions);
            }
            let target = self.channels - self.ended.len();
            if target > 1 {
                actions.push(AlignerAction::AlignmentStarted(checkpoint_id));
            }
            self.current = Some(checkpoint_id);
            self.pending = Some(PendingAlignment { barrier, marked: BTreeSet::new(), target });
        }
        self.mark(channel, actions);
        if self.pending.is_some() && !planted!("blocked_channel_processed_during_alignment") {
            self.blocked.insert(channel);
            actions.push(AlignerAction::Block(channel));
        }
    }

    fn cancel_marker(&mut self, checkpoint_id: CheckpointId, actions: &mut Vec<AlignerAction>) {
        if self.is_over(checkpoint_id) {
            return;
        }
        self.current = Some(checkpoint_id);
        self.pending = None;
        self.abort(checkpoint_id, CheckpointFailureReason::DeclinedOnCancellationBarrier, actions);
    }

    fn end_of_channel(&mut self, channel: usize, actions: &mut Vec<AlignerAction>) {
        self.check_open(channel);
        self.ended.insert(channel);
        self.blocked.remove(&channel);
        match self.rule {
            EndOfChannelRule::CountsAsBarrier => self.mark(channel, actions),
            EndOfChannelRule::AbortsCheckpoint => {
                if let Some(pending) = self.pending.take() {
                    let reason = CheckpointFailureReason::DeclinedInputEndOfStream;
                    self.abort(pending.barrier.checkpoint_id, reason, actions);
                }
            }
        }
    }

    /// Counts a channel for the pending checkpoint, if there is one, and snapshots if it was the last.
    fn mark(&mut self, channel: usize, actions: &mut Vec<AlignerAction>) {
        let Some(pending) = &mut self.pending else { return };
        pending.marked.insert(channel);
        if pending.marked.len() < pending.target {
            return;
        }
        // The snapshot comes first: unblocking is of no use to a task that is about to take a snapshot.
        if let Some(complete) = self.pending.take() {
            actions.push(AlignerAction::Snapshot(complete.barrier));
            self.unblock_all(actions);
        }
    }

    fn abort(
        &mut self,
        checkpoint_id: CheckpointId,
        reason: CheckpointFailureReason,
        actions: &mut Vec<AlignerAction>,
    ) {
        actions.push(AlignerAction::Abort { checkpoint_id, reason });
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
