//! Barriers that overtake what waits in the output queues, and what they overtook.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Outputs, ReceiverGone};
use crate::{
    checkpoint::{Alignment, CheckpointBarrier},
    graph::Overtaking,
    id::CheckpointId,
    planted,
    record::StreamElement,
    time::Timestamp,
};

/// What the barrier of one checkpoint overtook.
#[derive(Debug)]
pub(super) struct Overtaken {
    barrier: CheckpointBarrier,
    /// Channels in which it waits, and would overtake.
    waiting: BTreeSet<usize>,
    elements: BTreeMap<usize, Vec<StreamElement>>,
}

impl Overtaken {
    /// The barrier of this checkpoint left a channel in its turn.
    pub(super) fn left(&mut self, channel: usize, checkpoint_id: CheckpointId) {
        if self.barrier.checkpoint_id == checkpoint_id {
            self.waiting.remove(&channel);
        }
    }
}

/// Whether an element leaves before others, without credit.
pub(super) fn overtakes(element: &StreamElement) -> bool {
    matches!(element, StreamElement::Barrier(barrier) if barrier.alignment == Alignment::Unaligned)
}

impl Outputs {
    /// Sends a barrier over every channel: in its turn, or before what waits there.
    ///
    /// # Errors
    /// If a receiver is gone that must not be.
    pub fn broadcast_barrier(&mut self, barrier: &CheckpointBarrier) -> Result<(), ReceiverGone> {
        let alignment = barrier.alignment;
        self.overtaken = alignment.may_overtake().then(|| Overtaken {
            barrier: barrier.clone(),
            waiting: BTreeSet::new(),
            elements: BTreeMap::new(),
        });
        if planted!("mixed_edges_hold_nothing_in_flight")
            && self.channels.iter().any(|channel| channel.overtaking == Overtaking::Forbidden)
        {
            self.overtaken = None;
        }
        for channel in 0..self.channels.len() {
            match (self.channels[channel].overtaking, alignment) {
                (Overtaking::Forbidden, _) => {
                    self.push(channel, StreamElement::Barrier(barrier.with(alignment.forced())))?;
                }
                (Overtaking::Allowed, Alignment::Unaligned) => {
                    let behind = self.channels[channel].queue.len();
                    self.put_first(channel, barrier.clone(), behind)?;
                }
                (Overtaking::Allowed, Alignment::AlignedWithTimeout(_)) => {
                    if let Some(overtaken) = &mut self.overtaken {
                        overtaken.waiting.insert(channel);
                    }
                    self.push(channel, StreamElement::Barrier(barrier.clone()))?;
                }
                (
                    Overtaking::Allowed,
                    Alignment::Aligned | Alignment::AtLeastOnce | Alignment::ForcedAligned { .. },
                ) => self.push(channel, StreamElement::Barrier(barrier.clone()))?,
            }
        }
        Ok(())
    }

    /// When a barrier that waits for credit begins to overtake.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.overtaken.as_ref().filter(|overtaken| !overtaken.waiting.is_empty())?.barrier.overtakes_at()
    }

    /// Lets a barrier overtake that has waited for credit too long.
    ///
    /// # Errors
    /// If a receiver is gone that must not be.
    pub fn overtake_if_due(&mut self, now: Timestamp) -> Result<(), ReceiverGone> {
        if self.deadline().is_none_or(|deadline| deadline > now) || planted!("output_timeout_does_nothing") {
            return Ok(());
        }
        let Some(overtaken) = &mut self.overtaken else { return Ok(()) };
        let barrier = overtaken.barrier.with(Alignment::Unaligned);
        for channel in std::mem::take(&mut overtaken.waiting) {
            let queue = &mut self.channels[channel].queue;
            let position = position_of(queue, barrier.checkpoint_id).expect("a barrier that waits is in the queue");
            queue.remove(position);
            self.queued -= 1;
            self.put_first(channel, barrier.clone(), position)?;
        }
        Ok(())
    }

    /// What the barrier of a checkpoint overtook, by channel, once that is known of all channels.
    pub fn take_overtaken(&mut self, checkpoint_id: CheckpointId) -> Option<BTreeMap<usize, Vec<StreamElement>>> {
        let known = self
            .overtaken
            .take_if(|overtaken| overtaken.barrier.checkpoint_id == checkpoint_id && overtaken.waiting.is_empty())?;
        Some(known.elements)
    }

    /// The checkpoint is given up: its barrier overtakes nothing any more.
    pub fn forget_overtaken(&mut self, checkpoint_id: CheckpointId) {
        self.overtaken.take_if(|overtaken| overtaken.barrier.checkpoint_id == checkpoint_id);
    }

    /// Puts a barrier in front of the first `behind` elements of a queue, and keeps those for the checkpoint.
    fn put_first(&mut self, channel: usize, barrier: CheckpointBarrier, behind: usize) -> Result<(), ReceiverGone> {
        let queue = &mut self.channels[channel].queue;
        let in_flight = queue.iter().take(behind).filter(|element| element.is_in_flight_state());
        let elements: Vec<StreamElement> = in_flight.cloned().collect();
        if let Some(overtaken) =
            self.overtaken.as_mut().filter(|_| !elements.is_empty() && !planted!("overtaken_output_not_kept"))
        {
            overtaken.elements.insert(channel, elements);
        }
        // A barrier before it that has not left belongs to a checkpoint that is over: there is one at a time.
        if queue.front().is_some_and(overtakes) {
            queue.pop_front();
            self.queued -= 1;
        }
        queue.push_front(StreamElement::Barrier(barrier));
        self.queued += 1;
        self.drain(channel)
    }
}

fn position_of(queue: &VecDeque<StreamElement>, checkpoint_id: CheckpointId) -> Option<usize> {
    queue.iter().position(
        |element| matches!(element, StreamElement::Barrier(barrier) if barrier.checkpoint_id == checkpoint_id),
    )
}
