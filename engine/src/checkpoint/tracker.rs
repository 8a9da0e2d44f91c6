//! Tracked barriers: at-least-once checkpoints, for which nothing waits.
//!
//! Each pending checkpoint counts the channels that delivered its barrier; the last one triggers the snapshot, and
//! what is older is dropped. Records behind a barrier that came early are part of the snapshot *and* are replayed:
//! that is what at-least-once means.
//!
//! ```text
//!   first barrier ──▶ COUNTING ── last channel ──▶ snapshot, forget it and all older ones
//!                        │ cancel marker
//!                        ▼
//!   cancel marker ──▶ ABORTED ─── last channel ──▶ forget it
//! ```
//!
//! Flink `CheckpointBarrierTracker`. One difference: a checkpoint that is dropped because too many are pending is
//! aborted, not forgotten in silence.

use std::collections::{BTreeMap, BTreeSet};

use super::{AlignerAction, AlignerInput, CheckpointBarrier, CheckpointFailureReason, EndOfChannelRule};
use crate::id::CheckpointId;

/// Most checkpoints of which a part of the barriers is here.
const PENDING_MAX: usize = 50;

/// The barrier counts of one task. See the module's documentation.
#[derive(Debug, Clone)]
pub struct BarrierTracker {
    channels: usize,
    rule: EndOfChannelRule,
    ended: BTreeSet<usize>,
    pending: BTreeMap<CheckpointId, Count>,
    /// The newest checkpoint that was seen; no older one is begun.
    newest: Option<CheckpointId>,
}

#[derive(Debug, Clone)]
struct Count {
    /// `None` once the checkpoint was aborted; it is still counted, so that late barriers do not begin it again.
    barrier: Option<CheckpointBarrier>,
    marked: BTreeSet<usize>,
    target: usize,
}

impl Count {
    fn mark(&mut self, channel: usize) -> bool {
        self.marked.insert(channel);
        self.marked.len() >= self.target
    }
}

impl BarrierTracker {
    /// A tracker over channels `0..channels`.
    pub fn new(channels: usize, rule: EndOfChannelRule) -> Self {
        Self { channels, rule, ended: BTreeSet::new(), pending: BTreeMap::new(), newest: None }
    }

    /// The checkpoints that wait for further barriers, oldest first.
    pub fn pending(&self) -> impl Iterator<Item = CheckpointId> + '_ {
        self.pending.keys().copied()
    }

    /// How many channels have not ended.
    pub fn open_channels(&self) -> usize {
        self.channels - self.ended.len()
    }

    /// Takes in what arrived and appends what has to be done.
    pub fn handle(&mut self, input: AlignerInput, actions: &mut Vec<AlignerAction>) {
        match input {
            AlignerInput::Barrier { channel, barrier } => self.barrier(channel, barrier, actions),
            AlignerInput::CancelMarker { channel, checkpoint_id } => {
                self.cancel_marker(channel, checkpoint_id, actions)
            }
            AlignerInput::EndOfChannel { channel } => self.end_of_channel(channel, actions),
            // Nothing waits, so nothing times out.
            AlignerInput::Announced { .. } | AlignerInput::Tick => {}
        }
    }

    fn barrier(&mut self, channel: usize, barrier: CheckpointBarrier, actions: &mut Vec<AlignerAction>) {
        self.check_open(channel);
        let checkpoint_id = barrier.checkpoint_id;
        if self.newest < Some(checkpoint_id) {
            self.newest = Some(checkpoint_id);
            let target = self.open_channels();
            if target > 1 {
                actions.push(AlignerAction::AlignmentStarted(checkpoint_id));
            }
            self.pending.insert(checkpoint_id, Count { barrier: Some(barrier), marked: BTreeSet::new(), target });
        }
        self.mark(channel, checkpoint_id, actions);
        if self.pending.len() > PENDING_MAX
            && let Some((oldest, count)) = self.pending.pop_first()
        {
            abort_unless_done(oldest, count, CheckpointFailureReason::DeclinedSubsumed, actions);
        }
    }

    fn cancel_marker(&mut self, channel: usize, checkpoint_id: CheckpointId, actions: &mut Vec<AlignerAction>) {
        self.check_open(channel);
        let reason = CheckpointFailureReason::DeclinedOnCancellationBarrier;
        let not_older = self.pending.split_off(&checkpoint_id);
        for (older, count) in std::mem::replace(&mut self.pending, not_older) {
            abort_unless_done(older, count, reason, actions);
        }
        if self.newest < Some(checkpoint_id) {
            self.newest = Some(checkpoint_id);
            actions.push(AlignerAction::Abort { checkpoint_id, reason });
            let count = Count { barrier: None, marked: BTreeSet::new(), target: self.open_channels() };
            self.pending.insert(checkpoint_id, count);
        } else if let Some(count) = self.pending.get_mut(&checkpoint_id)
            && count.barrier.take().is_some()
        {
            actions.push(AlignerAction::Abort { checkpoint_id, reason });
        }
        self.mark(channel, checkpoint_id, actions);
    }

    fn end_of_channel(&mut self, channel: usize, actions: &mut Vec<AlignerAction>) {
        self.check_open(channel);
        self.ended.insert(channel);
        match self.rule {
            EndOfChannelRule::CountsAsBarrier => {
                let pending: Vec<_> = self.pending().collect();
                for checkpoint_id in pending {
                    self.mark(channel, checkpoint_id, actions);
                }
            }
            EndOfChannelRule::AbortsCheckpoint => {
                for (checkpoint_id, count) in std::mem::take(&mut self.pending) {
                    let reason = CheckpointFailureReason::DeclinedInputEndOfStream;
                    abort_unless_done(checkpoint_id, count, reason, actions);
                }
            }
        }
    }

    /// Counts a channel for a checkpoint, if that is pending, and ends the checkpoint if it was the last.
    fn mark(&mut self, channel: usize, checkpoint_id: CheckpointId, actions: &mut Vec<AlignerAction>) {
        let Some(count) = self.pending.get_mut(&checkpoint_id) else { return };
        if !count.mark(channel) {
            return;
        }
        let barrier = count.barrier.take();
        self.pending = self.pending.split_off(&checkpoint_id.next());
        if let Some(barrier) = barrier {
            actions.push(AlignerAction::Snapshot(barrier));
        }
    }

    fn check_open(&self, channel: usize) {
        assert!(channel < self.channels, "channel {channel} is not one of the {} of this task", self.channels);
        assert!(!self.ended.contains(&channel), "a channel ends once and delivers nothing after: {channel}");
    }
}

fn abort_unless_done(
    checkpoint_id: CheckpointId,
    count: Count,
    reason: CheckpointFailureReason,
    actions: &mut Vec<AlignerAction>,
) {
    if count.barrier.is_some() {
        actions.push(AlignerAction::Abort { checkpoint_id, reason });
    }
}
