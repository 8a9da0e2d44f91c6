//! What a pipeline must do with scripts: a sequential interpreter of its plan.
//!
//! A script fixes which record comes before which watermark, so that not only results but everything that is kept at a
//! position of the script is known: windows, triggers, sessions, timers, buffers. Each step goes through all stages before
//! the next one comes. Everything is kept as plain lists, results are found anew from them, and nothing is shared with the
//! engine's operators: the plan, rows and the evaluation of expressions are.
//!
//! Where a subtask takes its records from several channels, or there are several scripts, several orders are possible. Then
//! the pipeline is played in each of a handful of extreme orders (one channel starved until nothing else is left, one
//! script after the other), and refused unless all lead to the same.
//!
//! What depends on a clock is refused: [`ModelError::Clock`].

mod contents;
mod element;
#[cfg(test)]
mod flink;
mod fold;
mod join;
mod keys;
mod network;
mod pane;
mod process;
mod stage;
mod state;
#[cfg(test)]
mod tests;
mod timers;
mod trace;
mod trigger;
mod valve;
mod window;

use std::{collections::BTreeMap, sync::Arc};

use tidegate::pipeline::{AtScriptEnd, BufferMode, Pipeline, Plan, PlannedOperation, RestoredWatermark, ScriptAction};

pub use element::{Element, Emitted, Event};
pub use join::Side;
pub(super) use keys::KeyGroups;
use network::{Network, Order};
pub use pane::Pane;
pub(super) use process::{join, nothing, sum};
pub use trace::trace_entries;

use super::{ModelError, Multiset, Place, SinkModel, kept::KeptByStage, records::Record};

/// How far each source's script has been played, and whether it has ended, by the source's place in the plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    /// The number of steps.
    pub steps: Vec<usize>,
    /// Whether what follows the last step has come too.
    pub ended: Vec<bool>,
}

/// What comes to each sink of a pipeline of scripts: for each subtask its records and watermarks, in order.
pub type Played = BTreeMap<String, Vec<Vec<Event>>>;

/// Plays a pipeline of scripts to its end.
///
/// # Errors
/// If the pipeline is not valid or reads something else, a stage fails, or several results are possible.
pub fn play(pipeline: &Pipeline) -> Result<Played, ModelError> {
    let plan = pipeline.plan().map_err(|problems| ModelError::Invalid(problems.to_string()))?;
    let config = pipeline.job_config().map_err(|problems| ModelError::Invalid(problems.to_string()))?;
    if let Some(source) = plan.sources.iter().find(|source| network::script(source).is_none()) {
        return Err(ModelError::not_modelled(&source.name, "something else than a script"));
    }
    let model = ScriptModel::new(&plan, KeyGroups::of_job(&plan, &config))?;
    let sinks = plan.sinks.iter().enumerate();
    Ok(sinks.map(|(index, sink)| (sink.name.clone(), model.end.sunk(index).to_vec())).collect())
}

/// A pipeline of scripts.
#[derive(Debug, Clone)]
pub(super) struct ScriptModel {
    plan: Arc<Plan>,
    /// The state before every so many steps of the one script; only the first if there are several.
    kept: Vec<Network>,
    end: Network,
}

/// How many steps lie between two states that are kept.
const STRIDE: usize = 64;

impl ScriptModel {
    /// Whether this is the model of a plan: all of its sources are scripts.
    pub(super) fn is_for(plan: &Plan) -> bool {
        plan.sources.iter().all(|source| network::script(source).is_some())
    }

    /// Plays all scripts to their end.
    ///
    /// # Errors
    /// If a stage fails, depends on a clock, or several results are possible.
    pub(super) fn new(plan: &Plan, key_groups: KeyGroups) -> Result<Self, ModelError> {
        plan.stages.iter().try_for_each(stage::check)?;
        let plan = Arc::new(plan.clone());
        let start = Network::new(&plan, key_groups);
        let mut model = Self { kept: vec![start.clone()], end: start, plan };
        let last = model.last();
        if let [steps] = last.steps[..] {
            let mut network = model.kept[0].clone();
            for number in 0..steps {
                if number > 0 && number.is_multiple_of(STRIDE) {
                    model.kept.push(network.clone());
                }
                network.step(0, number, Order::First)?;
            }
            if last.ended[0] {
                network.end(0, Order::First)?;
            }
            model.end = network;
        } else {
            model.end = model.play(&last, Order::First, Scripts::InTurn)?;
        }
        if !model.end.is_sequential() {
            model.check_orders()?;
        }
        Ok(model)
    }

    fn script_lengths(&self) -> Vec<usize> {
        self.plan.sources.iter().map(|source| network::script(source).map_or(0, |script| script.steps.len())).collect()
    }

    /// Where all scripts have ended.
    pub(super) fn last(&self) -> Position {
        Position { ended: self.drains(), steps: self.script_lengths() }
    }

    fn drains(&self) -> Vec<bool> {
        let drains = |source| network::script(source).is_some_and(|script| script.at_end == AtScriptEnd::Drain);
        self.plan.sources.iter().map(drains).collect()
    }

    /// Where scripts may be that have been played this far: one that stands at its end may have ended or not.
    pub(super) fn positions(&self, steps: &[usize]) -> Vec<Position> {
        let at_end = self.script_lengths().iter().zip(steps).map(|(length, steps)| length == steps).collect::<Vec<_>>();
        let mut positions = vec![Position { steps: steps.to_vec(), ended: vec![false; steps.len()] }];
        for (source, (at_end, drains)) in at_end.into_iter().zip(self.drains()).enumerate() {
            if at_end && drains {
                let ended = |position: &Position| {
                    let mut position = position.clone();
                    position.ended[source] = true;
                    position
                };
                positions.extend(positions.iter().map(ended).collect::<Vec<_>>());
            }
        }
        positions
    }

    /// The state of everything at the end.
    pub(super) fn at_end(&self) -> &Network {
        &self.end
    }

    /// The state of everything at a position.
    ///
    /// # Errors
    /// If a stage fails.
    pub(super) fn at(&self, position: &Position) -> Result<Network, ModelError> {
        if *position == self.last() {
            return Ok(self.end.clone());
        }
        let [steps] = position.steps[..] else { return self.play(position, Order::First, Scripts::InTurn) };
        let nearest = (steps / STRIDE).min(self.kept.len() - 1);
        let mut network = self.kept[nearest].clone();
        for number in nearest * STRIDE..steps {
            network.step(0, number, Order::First)?;
        }
        if position.ended[0] {
            network.end(0, Order::First)?;
        }
        Ok(network)
    }

    /// Plays from the start.
    fn play(&self, position: &Position, order: Order, scripts: Scripts) -> Result<Network, ModelError> {
        let mut network = self.kept[0].clone();
        let sources: Vec<usize> = match scripts {
            Scripts::InTurn | Scripts::OneByOne => (0..position.steps.len()).collect(),
            Scripts::OneByOneBackwards => (0..position.steps.len()).rev().collect(),
        };
        let mut moments: Vec<(usize, usize)> =
            sources.iter().flat_map(|source| (0..=position.steps[*source]).map(|number| (*source, number))).collect();
        if scripts == Scripts::InTurn {
            moments.sort_by_key(|(source, number)| (*number, *source));
        }
        for (source, number) in moments {
            if number < position.steps[source] {
                network.step(source, number, order)?;
            } else if position.ended[source] {
                network.end(source, order)?;
            }
        }
        network.flush(order)?;
        Ok(network)
    }

    /// Refuses what is not the same after a restore.
    ///
    /// # Errors
    /// If what was late before may not be late again, or each subtask gets what all subtasks have kept.
    pub(super) fn check_restores(&self) -> Result<(), ModelError> {
        for source in &self.plan.sources {
            let Some(script) = network::script(source) else { continue };
            let has_watermarks = script.steps.iter().any(|step| matches!(step.action, ScriptAction::Watermark(_)));
            if script.restored_watermark == RestoredWatermark::Lost
                && has_watermarks
                && self.plan.stages.iter().any(stage::has_event_time)
            {
                let why = "its watermark is lost at a restore".to_owned();
                return Err(ModelError::MayDropLateRecords { name: source.name.clone(), why });
            }
        }
        for stage in &self.plan.stages {
            let is_union = matches!(stage.operation, PlannedOperation::Buffer { mode: BufferMode::Union, .. });
            if is_union && stage.parallelism > 1 {
                let what = "a union list, of which each subtask gets everything at a restore";
                return Err(ModelError::not_modelled(&stage.name, what));
            }
        }
        Ok(())
    }

    /// Plays some prefixes in extreme orders.
    fn check_orders(&self) -> Result<(), ModelError> {
        let last = self.last();
        let mut orders = vec![Order::First, Order::Last];
        orders.extend(self.end.contended().into_iter().map(Order::Starve));
        let mut scripts = vec![Scripts::InTurn];
        if last.steps.len() > 1 {
            scripts.extend([Scripts::OneByOne, Scripts::OneByOneBackwards]);
        }
        let part = |parts: usize| Position {
            steps: last.steps.iter().map(|steps| steps * parts / 3).collect(),
            ended: vec![false; last.steps.len()],
        };
        for position in [part(1), part(2), last.clone()] {
            let right = self.seen(&self.at(&position)?)?;
            for order in &orders {
                for scripts in &scripts {
                    let other = self.seen(&self.play(&position, *order, *scripts)?)?;
                    if let Some(stage) = (0..right.len()).find(|stage| right[*stage] != other[*stage]) {
                        let name = self.plan.stages[stage].name.clone();
                        let what = right[stage].difference(&other[stage]);
                        let why = format!("{order:?} and {scripts:?} lead to other {what}");
                        return Err(ModelError::DependsOnOrder { name, why });
                    }
                }
            }
        }
        Ok(())
    }

    fn seen(&self, network: &Network) -> Result<Vec<Seen>, ModelError> {
        let seen = |stage: usize| {
            let (mut records, mut late) = (Vec::new(), Vec::new());
            for emitted in network.emitted(stage).iter().flatten() {
                match emitted {
                    Emitted::Record(element) => records.push(element.clone()),
                    Emitted::Late(element) => late.push(element.clone()),
                    Emitted::Watermark(_) | Emitted::Idle | Emitted::Active => {}
                }
            }
            records.sort_unstable();
            late.sort_unstable();
            Ok(Seen { records, late, kept: self.kept(network, stage)? })
        };
        (0..self.plan.stages.len()).map(seen).collect()
    }

    /// What a stage keeps.
    ///
    /// # Errors
    /// If it cannot be computed.
    pub(super) fn kept(&self, network: &Network, stage: usize) -> Result<KeptByStage, ModelError> {
        let kept = state::of(network.operators(stage));
        kept.map_err(|error| ModelError::fails(&self.plan.stages[stage].name, error))
    }

    /// The first position of the one script after this one at which a stage keeps exactly this.
    pub(super) fn later(&self, position: usize, stage: usize, found: &KeptByStage) -> Option<usize> {
        let length = *self.script_lengths().first()?;
        let mut network = self.at(&Position { steps: vec![position], ended: vec![false] }).ok()?;
        for number in position..length {
            network.step(0, number, Order::First).ok()?;
            if self.kept(&network, stage).is_ok_and(|kept| kept == *found) {
                return Some(number + 1);
            }
        }
        None
    }

    /// Whether each subtask takes its records from one channel, so that there is one order.
    pub(super) fn is_sequential(&self) -> bool {
        self.end.is_sequential()
    }

    /// The watermarks that the script emits.
    pub(super) fn watermarks(&self) -> Vec<i64> {
        self.end.watermarks_of_source()
    }

    /// The lines that have gone into a sink.
    pub(super) fn lines(&self, network: &Network, sink: &SinkModel) -> Multiset {
        let records = network.sunk(sink.index).iter().flatten().filter_map(record);
        records.flat_map(|element| sink.lines_of(&element.row)).collect()
    }

    /// The records that have gone into a sink, each with its place in the sequence of its subtask.
    pub(super) fn records(&self, sink: usize) -> Vec<Arc<Record>> {
        let name = &self.plan.sinks[sink].name;
        let of_subtask = |(subtask, events): (usize, &Vec<Event>)| {
            let records = events.iter().filter_map(record).cloned().zip(0..);
            let records = records.map(|(element, position)| Record {
                row: element.row,
                time_ms: Some(element.time_ms),
                place: Some(Place { sequence: format!("subtask {subtask} of {name}"), position }),
            });
            records.map(Arc::new).collect::<Vec<_>>()
        };
        self.end.sunk(sink).iter().enumerate().flat_map(of_subtask).collect()
    }
}

/// Which script comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scripts {
    InTurn,
    OneByOne,
    OneByOneBackwards,
}

fn record(event: &Event) -> Option<&Element> {
    match event {
        Event::Record(element) => Some(element),
        Event::Watermark(_) | Event::Idle | Event::Active => None,
    }
}

/// What must be the same in each order: what each stage keeps, and all that it has emitted, but for its order.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    records: Vec<Element>,
    late: Vec<Element>,
    kept: KeptByStage,
}

impl Seen {
    /// What differs.
    fn difference(&self, other: &Self) -> String {
        let elements = |name: &str, one: &[Element], other: &[Element]| {
            let place = (0..one.len().max(other.len())).find(|place| one.get(*place) != other.get(*place))?;
            Some(format!("{name}: {:?} and {:?}", one.get(place), other.get(place)))
        };
        let kept = || self.kept.differences(&other.kept).first().map(|difference| difference.lines.join(", "));
        elements("results", &self.records, &other.records)
            .or_else(|| elements("late records", &self.late, &other.late))
            .or_else(|| kept().map(|kept| format!("state: {kept}")))
            .unwrap_or_default()
    }
}
