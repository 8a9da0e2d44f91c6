//! The stages of a plan with the channels between them, each subtask on its own.
//!
//! A step of a script goes through everything that it leads to before the next step comes. Which channel comes first when
//! several wait does not matter where every subtask has one; elsewhere it is for [`Order`] to say, and a pipeline has one
//! right result only if it makes no difference.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use tidegate::pipeline::{Plan, PlannedOperation, PlannedStage, ScriptAction, ScriptSource, Stream};

use super::{
    element::{Element, Emitted, Event, Output},
    join::Side,
    keys::KeyGroups,
    stage::{self, Operator},
    valve::Valve,
};
use crate::model::ModelError;

/// Which channel comes first when several wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// The first.
    First,
    /// The last.
    Last,
    /// Any but this one, which waits until it is alone.
    Starve(usize),
}

/// Who takes a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Consumer {
    Stage(usize),
    Sink(usize),
}

/// How records are dealt out to the subtasks of a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dealing {
    /// To the subtask with the same number.
    Forward,
    /// By key.
    Hash,
    /// In turn.
    Rebalance,
    /// To all.
    Broadcast,
}

/// A stream, one consumer of it, and how it gets there.
#[derive(Debug, Clone)]
struct Edge {
    from: Stream,
    to: Consumer,
    side: Side,
    dealing: Dealing,
    /// The channels, by subtask of the producer and of the consumer.
    channels: BTreeMap<(usize, usize), usize>,
}

#[derive(Debug, Clone)]
struct Channel {
    to: Consumer,
    subtask: usize,
    side: Side,
    /// Its number among the channels of that side.
    index: usize,
    queue: VecDeque<Event>,
}

#[derive(Debug, Clone)]
struct Subtask {
    operator: Operator,
    valves: Vec<Valve>,
    watermark_ms: i64,
    is_idle: bool,
}

/// What never changes.
#[derive(Debug)]
struct Wiring {
    plan: Arc<Plan>,
    key_groups: KeyGroups,
    edges: Vec<Edge>,
}

/// The state of everything after some steps, with all that was emitted until then.
#[derive(Debug, Clone)]
pub(in crate::model) struct Network {
    wiring: Arc<Wiring>,
    sources: Vec<Valve>,
    stages: Vec<Vec<Subtask>>,
    channels: Vec<Channel>,
    /// The next consumer of records that are dealt out in turn, by edge and subtask of the producer.
    turns: BTreeMap<(usize, usize), usize>,
    /// The watermarks that the first source has emitted.
    source_watermarks: Vec<i64>,
    /// What each subtask of each stage has emitted.
    emitted: Vec<Vec<Vec<Emitted>>>,
    /// What has come to each subtask of each sink.
    sunk: Vec<Vec<Vec<Event>>>,
}

impl Network {
    pub(super) fn new(plan: &Arc<Plan>, key_groups: KeyGroups) -> Self {
        let mut channels = Vec::new();
        let edges = edges(plan, &mut channels);
        let count = |to: Consumer, subtask: usize, side: Side| {
            channels.iter().filter(|c| c.to == to && c.subtask == subtask && c.side == side).count()
        };
        let subtask = |index: usize, number: usize, planned: &PlannedStage| {
            let sides = [Side::Left, Side::Right].into_iter().take(stage::sides(planned));
            let valves = sides.map(|side| Valve::new(count(Consumer::Stage(index), number, side)));
            let operator = Operator::new(plan, planned, key_groups);
            Subtask { operator, valves: valves.collect(), watermark_ms: i64::MIN, is_idle: false }
        };
        let stages: Vec<Vec<Subtask>> = (plan.stages.iter().enumerate())
            .map(|(index, planned)| {
                (0..stage::parallelism(planned)).map(|number| subtask(index, number, planned)).collect()
            })
            .collect();
        let inputs = |source: &tidegate::pipeline::PlannedSource| script(source).map_or(1, |script| script.inputs);
        Self {
            sources: plan.sources.iter().map(|source| Valve::new(inputs(source) as usize)).collect(),
            emitted: stages.iter().map(|subtasks| vec![Vec::new(); subtasks.len()]).collect(),
            sunk: plan.sinks.iter().map(|sink| vec![Vec::new(); sink.parallelism as usize]).collect(),
            stages,
            channels,
            turns: BTreeMap::new(),
            source_watermarks: Vec::new(),
            wiring: Arc::new(Wiring { plan: Arc::clone(plan), key_groups, edges }),
        }
    }

    /// Whether each subtask of each stage and sink takes its records from one channel, so that there is one order.
    pub(super) fn is_sequential(&self) -> bool {
        let place = |channel: &Channel| (channel.to, channel.subtask);
        let mut places: Vec<_> = self.channels.iter().map(place).collect();
        places.sort_unstable();
        self.sources.len() == 1 && places.windows(2).all(|pair| pair[0] != pair[1])
    }

    /// The channels of subtasks that have several.
    pub(super) fn contended(&self) -> Vec<usize> {
        let place = |channel: &Channel| (channel.to, channel.subtask);
        let of = |index: &usize| {
            let here = place(&self.channels[*index]);
            self.channels.iter().filter(|channel| place(channel) == here).count() > 1
        };
        (0..self.channels.len()).filter(of).collect()
    }

    /// What each subtask of a stage has emitted.
    pub(super) fn emitted(&self, stage: usize) -> &[Vec<Emitted>] {
        &self.emitted[stage]
    }

    /// The watermarks that the first source has emitted.
    pub(super) fn watermarks_of_source(&self) -> Vec<i64> {
        self.source_watermarks.clone()
    }

    /// What has come to each subtask of a sink.
    pub(super) fn sunk(&self, sink: usize) -> &[Vec<Event>] {
        &self.sunk[sink]
    }

    /// The subtasks of a stage.
    pub(super) fn operators(&self, stage: usize) -> impl Iterator<Item = &Operator> {
        self.stages[stage].iter().map(|subtask| &subtask.operator)
    }

    /// Records that a stage has dropped because they came too late.
    pub(in crate::model) fn dropped(&self, stage: usize) -> u64 {
        self.operators(stage).map(Operator::dropped).sum()
    }

    /// Plays one step of a script.
    pub(super) fn step(&mut self, source: usize, number: usize, order: Order) -> Result<(), ModelError> {
        let plan = Arc::clone(&self.wiring.plan);
        let Some(script) = script(&plan.sources[source]) else { return Ok(()) };
        let step = &script.steps[number];
        let event = match &step.action {
            ScriptAction::Element { row, time_ms } => Event::Record(Element { row: row.clone(), time_ms: *time_ms }),
            ScriptAction::Watermark(time_ms) => Event::Watermark(*time_ms),
            ScriptAction::Idle => Event::Idle,
            ScriptAction::Active => Event::Active,
            ScriptAction::Checkpoint | ScriptAction::Fail | ScriptAction::Stop => return Ok(()),
        };
        let emitted = match &event {
            Event::Record(element) => vec![Emitted::Record(element.clone())],
            Event::Watermark(_) | Event::Idle | Event::Active => {
                self.sources[source].input(step.input as usize, &event)
            }
        };
        self.emit(Stream::Source(source), 0, emitted)?;
        self.run(order)
    }

    /// The script of a source has ended: all that is still to come has come.
    pub(super) fn end(&mut self, source: usize, order: Order) -> Result<(), ModelError> {
        let mut emitted = Vec::new();
        if self.sources[source].is_idle() {
            emitted.push(Emitted::Active);
        }
        if self.sources[source].watermark_ms() < i64::MAX {
            emitted.push(Emitted::Watermark(i64::MAX));
        }
        self.emit(Stream::Source(source), 0, emitted)?;
        self.run(order)
    }

    /// Processes what waits, except for a channel that is starved.
    fn run(&mut self, order: Order) -> Result<(), ModelError> {
        while let Some(channel) = self.next(order) {
            self.take(channel)?;
        }
        Ok(())
    }

    /// Processes everything that waits: where a barrier goes through, nothing of what came before it is left.
    pub(super) fn flush(&mut self, order: Order) -> Result<(), ModelError> {
        self.run(order)?;
        while let Some(channel) = self.next(Order::First) {
            self.take(channel)?;
            self.run(order)?;
        }
        Ok(())
    }

    fn next(&self, order: Order) -> Option<usize> {
        let waits = |index: &usize| !self.channels[*index].queue.is_empty();
        let mut waiting = (0..self.channels.len()).filter(waits);
        match order {
            Order::First => waiting.next(),
            Order::Last => waiting.next_back(),
            Order::Starve(starved) => waiting.find(|index| *index != starved),
        }
    }

    fn take(&mut self, index: usize) -> Result<(), ModelError> {
        let channel = &mut self.channels[index];
        let event = channel.queue.pop_front().expect("a channel that was chosen has something");
        let (to, subtask, side, channel) = (channel.to, channel.subtask, channel.side, channel.index);
        match to {
            Consumer::Sink(sink) => self.sunk[sink][subtask].push(event),
            Consumer::Stage(stage) => {
                let name = self.wiring.plan.stages[stage].name.clone();
                let mut out = Output::default();
                let result = self.stages[stage][subtask].input(side, channel, event, &mut out);
                result.map_err(|error| ModelError::fails(&name, error))?;
                self.emitted[stage][subtask].extend(out.emitted.iter().cloned());
                self.emit(Stream::Stage(stage), subtask, out.emitted)?;
            }
        }
        Ok(())
    }

    /// Sends what a subtask has emitted to whoever takes it. Late records go to who takes late ones; all the rest but
    /// records goes to both.
    fn emit(&mut self, from: Stream, producer: usize, emitted: Vec<Emitted>) -> Result<(), ModelError> {
        let wiring = Arc::clone(&self.wiring);
        if from == Stream::Source(0) {
            self.source_watermarks.extend(emitted.iter().filter_map(|emitted| match emitted {
                Emitted::Watermark(time_ms) => Some(*time_ms),
                Emitted::Record(_) | Emitted::Late(_) | Emitted::Idle | Emitted::Active => None,
            }));
        }
        let late = match from {
            Stream::Stage(stage) => Some(Stream::Late(stage)),
            Stream::Source(_) | Stream::Late(_) => None,
        };
        for emitted in emitted {
            for (number, edge) in wiring.edges.iter().enumerate() {
                let is_late = Some(edge.from) == late;
                if edge.from != from && !is_late {
                    continue;
                }
                let event = match &emitted {
                    Emitted::Record(element) if !is_late => Event::Record(element.clone()),
                    Emitted::Late(element) if is_late => Event::Record(element.clone()),
                    Emitted::Record(_) | Emitted::Late(_) => continue,
                    Emitted::Watermark(time_ms) => Event::Watermark(*time_ms),
                    Emitted::Idle => Event::Idle,
                    Emitted::Active => Event::Active,
                };
                for consumer in self.consumers(&wiring, number, producer, &event)? {
                    if let Some(channel) = edge.channels.get(&(producer, consumer)) {
                        self.channels[*channel].queue.push_back(event.clone());
                    }
                }
            }
        }
        Ok(())
    }

    /// The subtasks that an event goes to.
    fn consumers(
        &mut self,
        wiring: &Wiring,
        edge: usize,
        producer: usize,
        event: &Event,
    ) -> Result<Vec<usize>, ModelError> {
        let Edge { to, side, dealing, .. } = wiring.edges[edge];
        let parallelism = consumer_parallelism(&wiring.plan, to);
        let Event::Record(element) = event else { return Ok((0..parallelism).collect()) };
        Ok(match dealing {
            Dealing::Forward => vec![producer],
            Dealing::Broadcast => (0..parallelism).collect(),
            Dealing::Rebalance => {
                let turn = self.turns.entry((edge, producer)).or_default();
                let consumer = *turn % parallelism;
                *turn += 1;
                vec![consumer]
            }
            Dealing::Hash => {
                let Consumer::Stage(stage) = to else { unreachable!("sinks have no key") };
                let stage = &wiring.plan.stages[stage];
                let key = stage::key_of(stage, side, &element.row);
                let key = key.map_err(|error| ModelError::fails(&stage.name, error))?.unwrap_or_default();
                vec![wiring.key_groups.subtask(wiring.key_groups.of(&key), parallelism as u32)]
            }
        })
    }
}

impl Subtask {
    fn input(
        &mut self,
        side: Side,
        channel: usize,
        event: Event,
        out: &mut Output,
    ) -> Result<(), super::contents::FoldError> {
        let event = match event {
            Event::Record(element) => return self.operator.element(side, element, out),
            Event::Watermark(_) | Event::Idle | Event::Active => event,
        };
        self.valves[usize::from(side == Side::Right)].input(channel, &event);
        let active = self.valves.iter().filter(|valve| !valve.is_idle());
        // An input that has gone idle may have moved on in the same moment.
        let all_idle = active.clone().next().is_none();
        let greatest = self.valves.iter().map(Valve::watermark_ms).min();
        let least = if all_idle { greatest } else { active.map(Valve::watermark_ms).min() };
        if let Some(watermark_ms) = least.filter(|least| *least > self.watermark_ms) {
            self.watermark_ms = watermark_ms;
            self.operator.watermark(watermark_ms, out)?;
            out.emitted.push(Emitted::Watermark(watermark_ms));
        }
        if all_idle != self.is_idle {
            self.is_idle = all_idle;
            out.emitted.push(if all_idle { Emitted::Idle } else { Emitted::Active });
        }
        Ok(())
    }
}

pub(super) fn script(source: &tidegate::pipeline::PlannedSource) -> Option<&ScriptSource> {
    use tidegate::pipeline::SourceKind;
    match &source.kind {
        SourceKind::Script(script) => Some(script),
        SourceKind::Csv(_) | SourceKind::Generator(_) | SourceKind::Collection(_) => None,
    }
}

fn edges(plan: &Plan, channels: &mut Vec<Channel>) -> Vec<Edge> {
    let mut edges = Vec::new();
    let of_stages = plan.stages.iter().enumerate().flat_map(|(index, stage)| {
        let two = stage::sides(stage) == 2;
        stage.inputs.iter().enumerate().map(move |(input, from)| {
            let side = if two && input == 1 { Side::Right } else { Side::Left };
            (*from, Consumer::Stage(index), side)
        })
    });
    let of_sinks = plan
        .sinks
        .iter()
        .enumerate()
        .flat_map(|(index, sink)| sink.inputs.iter().map(move |from| (*from, Consumer::Sink(index), Side::Left)));
    for (from, to, side) in of_stages.chain(of_sinks) {
        let (producers, consumers) = (producer_parallelism(plan, from), consumer_parallelism(plan, to));
        let dealing = dealing(plan, to, side, producers == consumers);
        let mut edge = Edge { from, to, side, dealing, channels: BTreeMap::new() };
        for producer in 0..producers {
            for subtask in 0..consumers {
                if dealing == Dealing::Forward && producer != subtask {
                    continue;
                }
                let here = channels.iter().filter(|c: &&Channel| c.to == to && c.subtask == subtask && c.side == side);
                let index = here.count();
                edge.channels.insert((producer, subtask), channels.len());
                channels.push(Channel { to, subtask, side, index, queue: VecDeque::new() });
            }
        }
        edges.push(edge);
    }
    edges
}

fn dealing(plan: &Plan, to: Consumer, side: Side, same_parallelism: bool) -> Dealing {
    let or_forward = |other| if same_parallelism { Dealing::Forward } else { other };
    let Consumer::Stage(stage) = to else { return or_forward(Dealing::Rebalance) };
    match &plan.stages[stage].operation {
        PlannedOperation::Enrich(_) if side == Side::Right => Dealing::Broadcast,
        PlannedOperation::Filter { .. }
        | PlannedOperation::Map { .. }
        | PlannedOperation::Repeat { .. }
        | PlannedOperation::Buffer { .. } => or_forward(Dealing::Rebalance),
        PlannedOperation::Enrich(_)
        | PlannedOperation::Window(_)
        | PlannedOperation::Aggregate { .. }
        | PlannedOperation::Rolling { .. }
        | PlannedOperation::Process(_)
        | PlannedOperation::IntervalJoin(_)
        | PlannedOperation::WindowJoin(_) => Dealing::Hash,
    }
}

fn producer_parallelism(plan: &Plan, stream: Stream) -> usize {
    match stream {
        Stream::Source(index) => plan.sources[index].parallelism as usize,
        Stream::Stage(index) | Stream::Late(index) => stage::parallelism(&plan.stages[index]),
    }
}

fn consumer_parallelism(plan: &Plan, to: Consumer) -> usize {
    match to {
        Consumer::Stage(index) => stage::parallelism(&plan.stages[index]),
        Consumer::Sink(index) => plan.sinks[index].parallelism as usize,
    }
}
