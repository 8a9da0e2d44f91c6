//! A subtask's in-flight data: what barriers overtake at its inputs and outputs, until a checkpoint holds it, and back.
//!
//! ```text
//!   barrier sent on ──► WAITING for inputs and outputs ──► both known: to the asynchronous part, which keeps it
//!                          │ aborted, or a newer checkpoint
//!                          ▼
//!                        dropped: the asynchronous part gives up
//! ```
//! Flink `ChannelStateWriter`, `SequentialChannelStateReader`.

use std::collections::BTreeMap;

use super::{channel_digest::ChannelDigest, input::InputGate, output::Outputs, program::Program};
use crate::{
    checkpoint::CheckpointBarrier,
    env::channel::oneshot,
    error::{Error, ErrorKind, Result},
    id::{ChannelId, CheckpointId, SubtaskId},
    net::{ChannelState, InFlightState},
    planted,
    record::StreamElement,
};

/// Elements by the number of their channel, at the inputs or the outputs of a subtask.
type ByChannel = BTreeMap<usize, Vec<StreamElement>>;

/// What was under way when a checkpoint was taken.
pub(super) struct InFlight {
    inputs: ByChannel,
    outputs: ByChannel,
}

/// The in-flight data of the newest checkpoint, as long as not all of it is known.
pub(super) struct Collection {
    checkpoint_id: CheckpointId,
    /// `None` until all barriers are here.
    inputs: Option<ByChannel>,
    known: oneshot::Sender<InFlight>,
}

impl Collection {
    /// Begins with what the gate records and the outputs hold. Returns where it will be known; that ends without an
    /// answer if the checkpoint is given up.
    pub(super) fn begin(barrier: &CheckpointBarrier, gate: &InputGate) -> (Self, oneshot::Receiver<InFlight>) {
        let (known, awaited) = oneshot::channel();
        let checkpoint_id = barrier.checkpoint_id;
        let inputs = (gate.recording() != Some(checkpoint_id)).then(ByChannel::new);
        (Self { checkpoint_id, inputs, known }, awaited)
    }

    /// Of which checkpoint.
    pub(super) fn checkpoint_id(&self) -> CheckpointId {
        self.checkpoint_id
    }

    /// All barriers are here.
    pub(super) fn inputs_known(&mut self, gate: &mut InputGate) {
        self.inputs = Some(gate.take_recorded(self.checkpoint_id));
    }

    /// Hands everything over, if it is known.
    pub(super) fn settle(self, outputs: &mut Outputs) -> Option<Self> {
        if self.inputs.is_none() {
            return Some(self);
        }
        let Some(overtaken) = outputs.take_overtaken(self.checkpoint_id) else { return Some(self) };
        let in_flight = InFlight { inputs: self.inputs.unwrap_or_default(), outputs: overtaken };
        // Whoever waits for it may have failed.
        let _ = self.known.send(in_flight);
        None
    }
}

/// How the channels of a subtask are named in a checkpoint.
#[derive(Clone)]
pub(super) struct ChannelNames {
    inputs: Vec<ChannelName>,
    outputs: Vec<ChannelName>,
}

/// The name of a channel at one end.
#[derive(Clone, Copy)]
struct ChannelName {
    id: ChannelId,
    /// The place of its edge among those into the vertex, or out of it.
    edge: u32,
    /// The subtask at the other end.
    peer: u32,
}

impl ChannelNames {
    /// Those of a subtask, in the order of its channels.
    pub(super) fn of(program: &Program, subtask: SubtaskId) -> Self {
        let graph = &program.graph;
        let into: Vec<_> = graph.inputs(subtask.vertex).map(|edge| edge.id).collect();
        let input = |id: ChannelId| {
            let edge =
                into.iter().position(|edge| *edge == id.edge).expect("an input channel is of an edge into the vertex");
            ChannelName { id, edge: edge as u32, peer: id.from }
        };
        let outputs = graph.outputs(subtask.vertex).enumerate().flat_map(|(edge, out)| {
            let channels = graph.output_channels(out, subtask.index).into_iter();
            channels.map(move |id| ChannelName { id, edge: edge as u32, peer: id.to })
        });
        Self { inputs: graph.input_channels(subtask).into_iter().map(input).collect(), outputs: outputs.collect() }
    }

    /// The detail of a fact about the channels of a subtask, for observers who audit them: what is empty is left out.
    pub(super) fn describe(&self, subtask: SubtaskId, inputs: &[ChannelDigest], outputs: &[ChannelDigest]) -> String {
        let mut text = subtask.to_string();
        let ends = [("in", &self.inputs, inputs), ("out", &self.outputs, outputs)];
        for (end, names, digests) in ends {
            for (name, digest) in names.iter().zip(digests).filter(|(_, digest)| **digest != ChannelDigest::default()) {
                text.push_str(&format!(" {end} {}={digest}", name.id));
            }
        }
        text
    }
}

impl InFlight {
    /// The detail of a fact about it.
    pub(super) fn describe(&self, names: &ChannelNames, subtask: SubtaskId) -> String {
        let digests = |elements: &ByChannel, channels: usize| {
            let digest = |channel| elements.get(&channel).map(ChannelDigest::of).unwrap_or_default();
            (0..channels).map(digest).collect::<Vec<_>>()
        };
        let inputs = digests(&self.inputs, names.inputs.len());
        names.describe(subtask, &inputs, &digests(&self.outputs, names.outputs.len()))
    }

    /// As a checkpoint keeps it.
    pub(super) fn into_state(self, names: &ChannelNames) -> InFlightState {
        let states = |elements: ByChannel, names: &[ChannelName]| {
            let states = elements.into_iter().map(|(channel, elements)| {
                let ChannelName { edge, peer, .. } = names[channel];
                ChannelState { edge, peer, elements: elements.into_iter().map(Into::into).collect() }
            });
            states.collect::<Vec<_>>()
        };
        InFlightState { inputs: states(self.inputs, &names.inputs), outputs: states(self.outputs, &names.outputs) }
    }
}

/// What a subtask starts with in its channels, decoded.
pub(super) fn read(state: InFlightState, program: &Program, subtask: SubtaskId) -> Result<InFlight> {
    let names = ChannelNames::of(program, subtask);
    let channels = |states: Vec<ChannelState>, names: &[ChannelName]| -> Result<ByChannel> {
        states.into_iter().map(|channel| decode(channel, names, program)).collect()
    };
    Ok(InFlight { inputs: channels(state.inputs, &names.inputs)?, outputs: channels(state.outputs, &names.outputs)? })
}

impl InFlight {
    /// Whether nothing was under way.
    pub(super) fn is_empty(&self) -> bool {
        self.inputs.is_empty() && self.outputs.is_empty()
    }

    /// Puts it back, before anything newer is read or sent.
    pub(super) fn restore(self, gate: &mut InputGate, outputs: &mut Outputs) {
        for (channel, elements) in self.inputs {
            if !planted!("in_flight_inputs_not_restored") {
                gate.restore(channel, elements);
            }
        }
        for (channel, elements) in self.outputs {
            outputs.restore(channel, elements);
        }
    }
}

/// The number of a channel and its elements.
fn decode(state: ChannelState, names: &[ChannelName], program: &Program) -> Result<(usize, Vec<StreamElement>)> {
    let ChannelState { edge, peer, elements } = state;
    let Some(number) = names.iter().position(|name| (name.edge, name.peer) == (edge, peer)) else {
        let message = format!("the checkpoint holds data of a channel that the job does not have: {edge} to {peer}");
        return Err(Error::new(ErrorKind::Configuration, message).with_hint(
            "an unaligned checkpoint holds data between the stages: run the pipeline with the stages that it had, or start \
             from an aligned checkpoint",
        ));
    };
    let decoder = program.edges[names[number].id.edge.0 as usize].decoder;
    let decoded = elements.into_iter().map(|element| element.decode(decoder)).collect::<Result<_, _>>();
    let elements = decoded.map_err(|error| {
        Error::new(ErrorKind::CorruptState, "the in-flight data of a checkpoint cannot be decoded").with_source(error)
    })?;
    Ok((number, elements))
}
