//! The inputs of one task, for vectors about barriers that overtake: the engine's input gate and its barrier handling, put
//! together as a task puts them together, but with the clock and the order of reading in the vector's hands.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tidegate::{
    checkpoint::{AlignerAction, AlignerInput, Alignment, BarrierHandler, CheckpointBarrier, EndOfChannelRule},
    config::CheckpointingMode,
    id::CheckpointId,
    record::StreamElement,
    task::input::InputGate,
    time::Timestamp,
};

/// What became known of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckpointEvent {
    /// It was snapshotted, with the alignment that its barrier carries on.
    Trigger(u64, Alignment),
    /// Everything that belongs to it is known.
    AllBarriersReceived(u64),
    /// It was given up, for this reason.
    Abort(u64, String),
}

/// What came out of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// A piece of data, by its number.
    Data(i64),
    /// A barrier.
    Barrier,
}

/// See the module's documentation.
pub struct TaskInputs {
    gate: InputGate,
    handler: BarrierHandler,
    /// How many pieces of data wait in each channel.
    waiting: Vec<usize>,
    /// Barriers that have arrived and were not taken: channel and checkpoint.
    barriers: BTreeSet<(usize, CheckpointId)>,
    pieces: i64,
    alignment_began: Option<Timestamp>,
    /// The clock.
    pub now: Timestamp,
    /// What happened, oldest first.
    pub events: VecDeque<CheckpointEvent>,
    /// From the first to the last barrier of the newest checkpoint that was aligned, in milliseconds.
    pub alignment_duration_ms: Option<i64>,
    /// What became part of each checkpoint that is complete here: the numbers of the pieces, by channel.
    pub in_flight: BTreeMap<u64, BTreeMap<usize, Vec<i64>>>,
}

impl TaskInputs {
    /// A task with so many channels.
    pub fn new(channels: usize, rule: EndOfChannelRule) -> Self {
        Self {
            gate: InputGate::new(channels),
            handler: BarrierHandler::with_rule(CheckpointingMode::ExactlyOnce, channels, rule),
            waiting: vec![0; channels],
            barriers: BTreeSet::new(),
            pieces: 0,
            alignment_began: None,
            now: Timestamp(0),
            events: VecDeque::new(),
            alignment_duration_ms: None,
            in_flight: BTreeMap::new(),
        }
    }

    /// A piece of data arrives and waits; returns its number.
    pub fn arrive_data(&mut self, channel: usize) -> i64 {
        self.pieces += 1;
        self.gate.push(channel, StreamElement::Watermark(Timestamp(self.pieces)));
        self.waiting[channel] += 1;
        self.pieces
    }

    /// A barrier arrives, unless it has. That it lies there is told only by [`TaskInputs::announce`].
    pub fn arrive_barrier(&mut self, channel: usize, barrier: CheckpointBarrier) {
        if self.barriers.insert((channel, barrier.checkpoint_id)) {
            self.gate.push(channel, StreamElement::Barrier(barrier));
        }
    }

    /// How many pieces of data wait in a channel.
    pub fn waiting(&self, channel: usize) -> usize {
        self.waiting[channel]
    }

    /// The task learns of a barrier that waits for its turn.
    pub fn announce(&mut self, channel: usize, barrier: CheckpointBarrier) {
        self.handle(AlignerInput::Announced { channel, barrier });
    }

    /// A cancel marker is taken.
    pub fn cancel(&mut self, channel: usize, checkpoint_id: CheckpointId) {
        self.handle(AlignerInput::CancelMarker { channel, checkpoint_id });
    }

    /// The end of a channel is taken.
    pub fn end(&mut self, channel: usize) {
        self.handle(AlignerInput::EndOfChannel { channel });
    }

    /// The timers that are due fire.
    pub fn run_timers(&mut self) {
        while self.handler.deadline().is_some_and(|deadline| deadline <= self.now) {
            self.handle(AlignerInput::Tick);
        }
    }

    /// Takes the next element: barriers that overtake first.
    pub fn poll(&mut self) -> Option<Delivered> {
        if let Some((channel, barrier)) = self.gate.pop_overtaking() {
            return Some(self.take(channel, barrier));
        }
        let (channel, element) = self.gate.pop()?;
        Some(match element {
            StreamElement::Watermark(piece) => {
                self.waiting[channel] -= 1;
                Delivered::Data(piece.0)
            }
            StreamElement::Barrier(barrier) => self.take(channel, barrier),
            other => panic!("nothing puts this into the gate: {other:?}"),
        })
    }

    fn take(&mut self, channel: usize, barrier: CheckpointBarrier) -> Delivered {
        self.barriers.remove(&(channel, barrier.checkpoint_id));
        self.handle(AlignerInput::Barrier { channel, barrier });
        Delivered::Barrier
    }

    /// How many pieces were recorded for a checkpoint that may still be under way.
    pub fn recorded(&mut self, checkpoint_id: u64) -> usize {
        let under_way = self.gate.take_recorded(CheckpointId(checkpoint_id));
        let complete = self.in_flight.get(&checkpoint_id).into_iter().flat_map(BTreeMap::values);
        under_way.values().map(Vec::len).sum::<usize>() + complete.map(Vec::len).sum::<usize>()
    }

    fn handle(&mut self, input: AlignerInput) {
        let mut actions = Vec::new();
        self.handler.handle(self.now, input, &mut actions);
        for action in actions {
            match action {
                AlignerAction::AlignmentStarted(_) => self.alignment_began = Some(self.now),
                AlignerAction::Block(channel) => self.gate.block(channel),
                AlignerAction::UnblockAll => self.gate.unblock_all(),
                AlignerAction::Prioritize { channel, checkpoint_id } => {
                    self.gate.prioritize(channel, checkpoint_id);
                }
                AlignerAction::Record { checkpoint_id, channels } => self.gate.record(checkpoint_id, channels),
                AlignerAction::StopRecording(channel) => self.gate.stop_recording(channel),
                AlignerAction::AllBarriersReceived(checkpoint_id) => {
                    let recorded = self.gate.take_recorded(checkpoint_id).into_iter();
                    let numbers = recorded.map(|(channel, elements)| (channel, elements.iter().map(number).collect()));
                    self.in_flight.insert(checkpoint_id.0, numbers.collect());
                    self.events.push_back(CheckpointEvent::AllBarriersReceived(checkpoint_id.0));
                }
                AlignerAction::Snapshot(barrier) => {
                    self.alignment_duration_ms = self.alignment_began.map(|began| self.now.0 - began.0);
                    self.events.push_back(CheckpointEvent::Trigger(barrier.checkpoint_id.0, barrier.alignment));
                }
                AlignerAction::Abort { checkpoint_id, reason } => {
                    self.gate.take_recorded(checkpoint_id);
                    self.events.push_back(CheckpointEvent::Abort(checkpoint_id.0, reason.name().into()));
                }
            }
        }
    }
}

fn number(element: &StreamElement) -> i64 {
    match element {
        StreamElement::Watermark(piece) => piece.0,
        other => panic!("nothing else is recorded: {other:?}"),
    }
}
