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

use super::{
    channel_digest::ChannelDigest, input::InputGate, output::Outputs, partitioner::PartitionerContext,
    program::Program, restore::LoadedInFlight,
};
use crate::{
    checkpoint::CheckpointBarrier,
    codec::DecodeError,
    env::channel::oneshot,
    error::{Error, ErrorKind, Result},
    graph::{Edge, JobGraph, Overtaking},
    id::{ChannelId, CheckpointId, SubtaskId},
    net::{ChannelState, InFlightState, WireElement},
    planted,
    record::StreamElement,
    state::KeyGroups,
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
pub(super) fn read(
    loaded: LoadedInFlight,
    program: &Program,
    subtask: SubtaskId,
    key_groups: KeyGroups,
) -> Result<InFlight> {
    let names = ChannelNames::of(program, subtask);
    let state = match loaded {
        LoadedInFlight::Own(state) => state,
        LoadedInFlight::OfOthers(old) => {
            let inputs = share_of(old, program, subtask, key_groups, &names)?;
            return Ok(InFlight { inputs, outputs: ByChannel::new() });
        }
    };
    let channels = |states: Vec<ChannelState>, names: &[ChannelName]| -> Result<ByChannel> {
        states.into_iter().map(|channel| decode(channel, names, program)).collect()
    };
    Ok(InFlight { inputs: channels(state.inputs, &names.inputs)?, outputs: channels(state.outputs, &names.outputs)? })
}

/// What a subtask takes over of what was under way to the subtasks of its vertex, when there were more or fewer of them or of
/// their senders: the records that the edge brings to it now. Channel by channel as they were, what had arrived and then
/// what had not been sent, so records of one channel keep their order; all of it comes before anything newer.
///
/// All subtasks deal out the same records in the same order and begin alike, so each record goes to one of them. Watermarks and
/// statuses are left out: the new senders say their own (Flink keeps a channel apart for each old sender and receiver, and
/// filters records by their key group; `RescalingStreamTaskNetworkInput`, `RecordFilter`).
fn share_of(
    mut old: BTreeMap<SubtaskId, InFlightState>,
    program: &Program,
    subtask: SubtaskId,
    key_groups: KeyGroups,
    names: &ChannelNames,
) -> Result<ByChannel> {
    let graph = &program.graph;
    let receivers = graph.vertex(subtask.vertex).parallelism;
    let mut share = ByChannel::new();
    for (place, edge) in graph.inputs(subtask.vertex).enumerate() {
        let place_of_output = graph.outputs(edge.from).position(|out| out.id == edge.id).expect("an edge has two ends");
        let mut channels: BTreeMap<(u32, u32), Vec<WireElement>> = BTreeMap::new();
        // First what had arrived.
        let mut ends = [End::Input, End::Output];
        if planted!("in_flight_outputs_before_inputs_when_rescaled") {
            ends.reverse();
        }
        for end in ends {
            let (vertex, place) = match end {
                End::Input => (edge.to, place),
                End::Output => (edge.from, place_of_output),
            };
            for (at, state) in old.iter_mut().filter(|(at, _)| at.vertex == vertex) {
                let states = match end {
                    End::Input if planted!("in_flight_inputs_lost_when_rescaled") => continue,
                    End::Input => &mut state.inputs,
                    End::Output => &mut state.outputs,
                };
                for channel in states.iter_mut().filter(|channel| channel.edge as usize == place) {
                    let name = match end {
                        End::Input => (channel.peer, at.index),
                        End::Output => (at.index, channel.peer),
                    };
                    channels.entry(name).or_default().append(&mut channel.elements);
                }
            }
        }
        if !channels.is_empty() && edge.overtaking == Overtaking::Forbidden {
            return Err(undealable(graph, edge));
        }
        let code = &program.edges[edge.id.0 as usize];
        let context = PartitionerContext { channels: receivers as usize, key_groups, entropy: &|| 0 };
        let (mut partitioner, mut dealt) = ((code.partitioner)(context), Vec::new());
        let senders = graph.vertex(edge.from).parallelism;
        for ((from, _), elements) in channels {
            let new_sender =
                names.inputs.iter().position(|name| name.id.edge == edge.id && name.peer == from % senders);
            let channel = new_sender.ok_or_else(|| undealable(graph, edge))?;
            for element in elements {
                let StreamElement::Batch(batch) = element.decode(code.decoder).map_err(undecodable)? else { continue };
                partitioner.partition(batch, &mut dealt);
                let own = dealt.drain(..).filter(|(receiver, _)| *receiver == subtask.index as usize);
                share.entry(channel).or_default().extend(own.map(|(_, batch)| StreamElement::Batch(batch)));
            }
        }
    }
    share.retain(|_, elements| !elements.is_empty());
    Ok(share)
}

/// An end of a channel.
#[derive(Clone, Copy)]
enum End {
    Input,
    Output,
}

fn undealable(graph: &JobGraph, edge: &Edge) -> Error {
    let [from, to] = [edge.from, edge.to].map(|vertex| &graph.vertex(vertex).name);
    let message = format!(
        "the checkpoint holds data under way from {from} to {to}, which cannot be dealt to other subtasks than it was sent to"
    );
    Error::new(ErrorKind::Configuration, message).with_hint(
        "run the pipeline with the parallelism that it had, or start from an aligned checkpoint or a savepoint",
    )
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
    Ok((number, decoded.map_err(undecodable)?))
}

fn undecodable(error: DecodeError) -> Error {
    Error::new(ErrorKind::CorruptState, "the in-flight data of a checkpoint cannot be decoded").with_source(error)
}

#[cfg(test)]
mod tests;
