//! A subtask's barriers: what the barrier handling decides is carried out here, and what was under way is put back.
//!
//! Barriers that overtake are taken as soon as they arrive, whether the outputs take anything or not: a task that is held up
//! takes part in an unaligned checkpoint at once.

use super::{
    channel_digest::ChannelDigest,
    in_flight::{self, ChannelNames},
    restore::LoadedInFlight,
    subtask::{Subtask, receiver_gone},
};
use crate::{
    checkpoint::{AlignerAction, AlignerInput},
    error::Result,
    event::{Moment, Step},
    id::CheckpointId,
    state::KeyGroups,
    time::Timestamp,
};

impl Subtask {
    /// Tells the barrier handling, does what it says, and takes what overtakes then.
    pub(super) async fn on_barrier(&mut self, input: AlignerInput) -> Result<()> {
        self.tell_barriers(input).await?;
        self.take_overtaking_barriers().await
    }

    pub(super) async fn take_overtaking_barriers(&mut self) -> Result<()> {
        while let Some((channel, barrier)) = self.gate.pop_overtaking() {
            self.tell_barriers(AlignerInput::Barrier { channel, barrier }).await?;
        }
        Ok(())
    }

    async fn tell_barriers(&mut self, input: AlignerInput) -> Result<()> {
        let mut actions = Vec::new();
        self.barriers.handle(self.env.now(), input, &mut actions);
        for action in actions {
            match action {
                AlignerAction::AlignmentStarted(checkpoint_id) => {
                    self.fact(Moment::Before, Step::Alignment, Some(checkpoint_id)).await?;
                }
                AlignerAction::Block(channel) => self.gate.block(channel),
                AlignerAction::UnblockAll => self.gate.unblock_all(),
                AlignerAction::Prioritize { channel, checkpoint_id } => self.gate.prioritize(channel, checkpoint_id),
                AlignerAction::Record { checkpoint_id, channels } => self.gate.record(checkpoint_id, channels),
                AlignerAction::StopRecording(channel) => self.gate.stop_recording(channel),
                AlignerAction::AllBarriersReceived(checkpoint_id) => {
                    if let Some(collection) = &mut self.in_flight
                        && collection.checkpoint_id() == checkpoint_id
                    {
                        collection.inputs_known(&mut self.gate);
                    }
                }
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

    /// Barriers that have waited too long overtake what they wait for, and what was overtaken is handed over once it is
    /// known.
    pub(super) async fn give_barriers_their_time(&mut self) -> Result<()> {
        let is_due = |deadline: Option<Timestamp>| deadline.is_some_and(|deadline| deadline <= self.env.now());
        let (alignment_is_over, outputs_are_due) = (is_due(self.barriers.deadline()), is_due(self.outputs.deadline()));
        if alignment_is_over {
            self.on_barrier(AlignerInput::Tick).await?;
        }
        if outputs_are_due {
            self.outputs.overtake_if_due(self.env.now()).map_err(receiver_gone)?;
        }
        if let Some(collection) = self.in_flight.take() {
            self.in_flight = collection.settle(&mut self.outputs);
        }
        Ok(())
    }

    /// Puts back what was under way, before anything newer is read or sent. Returns what an audit says of it.
    pub(super) async fn restore_in_flight(
        &mut self,
        loaded: LoadedInFlight,
        key_groups: KeyGroups,
        checkpoint_id: Option<CheckpointId>,
    ) -> Result<String> {
        let is_share = matches!(loaded, LoadedInFlight::OfOthers(_));
        let in_flight = in_flight::read(loaded, &self.program, self.execution.subtask, key_groups)?;
        let mut audit = String::new();
        if self.reporter.audits_channels() {
            self.received = Some(vec![ChannelDigest::default(); self.gate.len()]);
            self.outputs.audit();
            audit = in_flight.describe(&self.channel_names(), self.execution.subtask);
            if is_share {
                audit.push_str(" share");
            }
        }
        if !in_flight.is_empty() {
            self.fact(Moment::Before, Step::RestoreInFlight, checkpoint_id).await?;
            in_flight.restore(&mut self.gate, &mut self.outputs);
            self.fact(Moment::After, Step::RestoreInFlight, checkpoint_id).await?;
        }
        Ok(audit)
    }

    /// How this subtask's channels are named in a checkpoint.
    pub(super) fn channel_names(&self) -> ChannelNames {
        ChannelNames::of(&self.program, self.execution.subtask)
    }
}
