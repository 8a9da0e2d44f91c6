//! What a pipeline must do, found in the simplest way: all records at once, folded from lists.
//!
//! It shares with the engine the pipeline's plan, the generator's records and the evaluation of expressions. It has no
//! accumulators, windows, watermarks, state or parallelism of its own. It does not depend on how pipelines are compiled:
//! what it assumes of checkpoints stands in [`layout`].
//!
//! Pipelines whose sources are scripts have a model of their own ([`script`]): it knows late records, every kind of state,
//! and what is kept at each position of the script.
//!
//! Both refuse what they cannot know the one right result of ([`ModelError`]): results that depend on how sources are
//! interleaved or on a clock, sinks that are not exactly once.

mod certain;
mod check;
mod cuts;
mod drained;
mod evaluate;
mod fold;
pub mod kept;
pub mod layout;
mod lines;
mod multiset;
mod processed;
mod records;
pub mod script;
mod sink;
mod updates;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tidegate::{
    config::JobConfig,
    id::OperatorUid,
    pipeline::{Aggregate, Emit, Pipeline, Plan, PlannedOperation, Row, Stream},
};

pub use certain::Certain;
pub use cuts::KeptGroups;
use cuts::KnownCuts;
use evaluate::{Evaluation, Kept};
pub use evaluate::{Folds, Group, Results, UnderWay};
use kept::KeptByStage;
pub use multiset::Multiset;
pub use processed::{Clocks, Processed};
pub use records::Place;
use records::{Record, SourceRecords};
use script::{KeyGroups, ScriptModel};
pub use sink::SinkModel;
pub use updates::{Updates, UpdatesDifference};

/// Why there is no model of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The pipeline is not valid.
    #[error("the pipeline is not valid: {0}")]
    Invalid(String),
    /// It has something that the model does not know.
    #[error("`{name}` has {what}, which the model does not know")]
    NotModelled {
        /// The source, stage or sink.
        name: String,
        /// What it has.
        what: String,
    },
    /// Records may come behind the watermark; which ones, depends on the run.
    #[error("`{name}` can drop late records: {why}")]
    MayDropLateRecords {
        /// The source or stage.
        name: String,
        /// How.
        why: String,
    },
    /// Several results are right.
    #[error("the results of `{name}` depend on the order in which sources are read: {why}")]
    DependsOnOrder {
        /// The stage.
        name: String,
        /// How.
        why: String,
    },
    /// Its job fails on its own data.
    #[error("the pipeline fails in `{name}`: {why}")]
    Fails {
        /// The source or stage.
        name: String,
        /// How.
        why: String,
    },
    /// When it emits depends on a clock, or on which subtask a record goes to.
    #[error("`{name}` depends on a clock, or on which subtask a record goes to, which the model does not know")]
    Clock {
        /// The stage.
        name: String,
    },
    /// A position in a cut that no source has.
    #[error("the cut does not fit the sources: {0}")]
    NoSuchCut(String),
}

impl ModelError {
    fn not_modelled(name: &str, what: impl Into<String>) -> Self {
        Self::NotModelled { name: name.to_owned(), what: what.into() }
    }

    fn fails(name: &str, why: impl ToString) -> Self {
        Self::Fails { name: name.to_owned(), why: why.to_string() }
    }
}

/// How far each split of each source has been read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Cut {
    /// Source → split → number of its records that were read.
    pub sources: BTreeMap<OperatorUid, BTreeMap<u32, u64>>,
}

/// What must be true at a cut, given which groups windows and final aggregates still keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtCut {
    /// Every group that each stage has folded, with its results: what is kept must be among them and equal.
    pub folds: BTreeMap<OperatorUid, Folds>,
    /// What has gone into each sink that is downstream of a window or final aggregate, if it has one right content.
    pub output: BTreeMap<String, Multiset>,
}

/// What must be true at a cut of scripts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptCut {
    /// What has gone into each sink.
    pub output: BTreeMap<String, Multiset>,
    /// What each stage keeps, all subtasks together.
    pub kept: BTreeMap<OperatorUid, KeptByStage>,
    /// How many records each stage has dropped because they came too late.
    pub dropped: BTreeMap<OperatorUid, u64>,
}

/// What a pipeline must do.
#[derive(Debug, Clone)]
pub struct Model {
    plan: Plan,
    config: JobConfig,
    sources: Vec<SourceRecords>,
    sinks: Vec<SinkModel>,
    expected_output: BTreeMap<String, Multiset>,
    updates: BTreeMap<String, Updates>,
    certain: BTreeMap<String, Certain>,
    processed: BTreeMap<String, Processed>,
    /// The stage with a clock.
    clocked: Option<usize>,
    script: Option<ScriptModel>,
    key_groups: KeyGroups,
    known_cuts: KnownCuts,
}

impl Model {
    /// The model of a pipeline.
    ///
    /// # Errors
    /// If the pipeline is not valid, fails on its own data, or allows for more than one right result.
    pub fn new(pipeline: &Pipeline) -> Result<Self, ModelError> {
        let plan = pipeline.plan().map_err(|problems| ModelError::Invalid(problems.to_string()))?;
        let config = pipeline.job_config().map_err(|problems| ModelError::Invalid(problems.to_string()))?;
        check::config(&config)?;
        let key_groups = KeyGroups::of_job(&plan, &config);
        if ScriptModel::is_for(&plan) {
            return Self::of_scripts(plan, config, key_groups);
        }
        check::stages(&plan)?;
        let sources = plan.sources.iter().map(records::of_source).collect::<Result<Vec<_>, _>>()?;
        Self::of_records(plan, config, key_groups, sources)
    }

    fn of_records(
        plan: Plan,
        config: JobConfig,
        key_groups: KeyGroups,
        sources: Vec<SourceRecords>,
    ) -> Result<Self, ModelError> {
        let all: Vec<Vec<Arc<Record>>> =
            sources.iter().map(|splits| splits.iter().flatten().flatten().cloned().collect()).collect();
        let evaluation = Evaluation::of(&plan, &all, Kept::Nothing, &UnderWay::new())?;
        let mut model = Self {
            sinks: sink::of(&plan, &evaluation, &all)?,
            expected_output: BTreeMap::new(),
            updates: BTreeMap::new(),
            plan,
            config,
            sources,
            certain: BTreeMap::new(),
            processed: BTreeMap::new(),
            clocked: None,
            script: None,
            key_groups,
            known_cuts: KnownCuts::default(),
        };
        for sink in &model.sinks {
            match sink.updated_by(&model.plan) {
                None => {
                    let lines = sink.lines(&evaluation.records(&sink.inputs, &all));
                    model.expected_output.insert(sink.name.clone(), lines);
                }
                Some(stage) => {
                    let updates = Updates::new(sink, &model.plan, stage, &evaluation)?;
                    model.updates.insert(sink.name.clone(), updates);
                }
            }
        }
        Ok(model)
    }

    fn of_scripts(plan: Plan, config: JobConfig, key_groups: KeyGroups) -> Result<Self, ModelError> {
        let script = match certain::dealt(&plan) {
            Some(name) => Err(ModelError::Clock { name: name.to_owned() }),
            None => ScriptModel::new(&plan, key_groups),
        };
        let (script, without) = match script {
            Err(ModelError::Clock { name }) => {
                let without = certain::without_clock(&plan, &name)?;
                (ScriptModel::new(&without.plan, key_groups)?, Some(without))
            }
            script => (script?, None),
        };
        script.check_restores()?;
        let mut sinks = sink::of_scripts(without.as_ref().map_or(&plan, |without| &without.plan), &script)?;
        let clocked = without.as_ref().map(|without| without.index);
        let (mut certain, mut processed) = (BTreeMap::new(), BTreeMap::new());
        match without {
            Some(without) if without.is_exact => {
                processed = Processed::of(&plan, without.index, &script, &mut sinks)?;
            }
            Some(without) => certain = Certain::of(&plan, &without, &script, &mut sinks),
            None => {}
        }
        let has_clock = |sink: &str| certain.contains_key(sink) || processed.contains_key(sink);
        let exact = sinks.iter().filter(|sink| !has_clock(&sink.name));
        let expected_output = exact.map(|sink| (sink.name.clone(), script.lines(script.at_end(), sink)));
        Ok(Self {
            expected_output: expected_output.collect(),
            sinks,
            updates: BTreeMap::new(),
            certain,
            processed,
            clocked,
            script: Some(script),
            sources: Vec::new(),
            key_groups,
            known_cuts: KnownCuts::default(),
            plan,
            config,
        })
    }

    /// The lines that each file sink must have written in the end. Sinks of [`Model::updates`] are not here.
    pub fn expected_output(&self) -> &BTreeMap<String, Multiset> {
        &self.expected_output
    }

    /// Sinks whose lines depend on how sources are interleaved, with what decides whether lines are right.
    pub fn updates(&self) -> &BTreeMap<String, Updates> {
        &self.updates
    }

    /// Sinks of stages with a clock, with what decides whether lines can be right.
    pub fn certain(&self) -> &BTreeMap<String, Certain> {
        &self.certain
    }

    /// Sinks of functions with a clock whose results say when each record was processed, with what decides whether lines are
    /// right.
    pub fn processed(&self) -> &BTreeMap<String, Processed> {
        &self.processed
    }

    /// The file sinks.
    pub fn sinks(&self) -> &[SinkModel] {
        &self.sinks
    }

    /// The options of the job.
    pub fn config(&self) -> &JobConfig {
        &self.config
    }

    /// The number of records in each split of each source.
    pub fn splits(&self) -> BTreeMap<OperatorUid, BTreeMap<u32, u64>> {
        if let Some(script) = &self.script {
            let lengths = script.last().steps.into_iter().map(|steps| BTreeMap::from([(0, steps as u64)]));
            return self.plan.sources.iter().map(|source| layout::uid(&source.name)).zip(lengths).collect();
        }
        let named = self.plan.sources.iter().zip(&self.sources);
        let lengths = |splits: &SourceRecords| (0..).zip(splits.iter().map(|records| records.len() as u64)).collect();
        named.map(|(source, splits)| (layout::uid(&source.name), lengths(splits))).collect()
    }

    /// The stages that keep folds, with their aggregates. Those of scripts are the matter of [`Model::script_at`].
    pub fn folding_stages(&self) -> BTreeMap<OperatorUid, &[Aggregate]> {
        if self.script.is_some() {
            return BTreeMap::new();
        }
        let folding = self.plan.stages.iter().filter_map(|stage| match &stage.operation {
            PlannedOperation::Window(window) => Some((layout::uid(&stage.name), window.aggregates())),
            PlannedOperation::Aggregate { aggregates, .. } => Some((layout::uid(&stage.name), aggregates.as_slice())),
            _ => None,
        });
        folding.collect()
    }

    /// The stages that keep every key for ever.
    pub fn running_aggregates(&self) -> BTreeSet<OperatorUid> {
        if self.script.is_some() {
            return BTreeSet::new();
        }
        let running = self.plan.stages.iter().filter(|stage| match &stage.operation {
            PlannedOperation::Aggregate { emit, .. } => *emit == Emit::Updates,
            _ => false,
        });
        running.map(|stage| layout::uid(&stage.name)).collect()
    }

    /// What each stage has folded of exactly the records before the cut, if windows and final aggregates have emitted
    /// nothing.
    ///
    /// # Errors
    /// If the cut does not name every split once, or reaches further than a split does.
    pub fn state_at(&self, cut: &Cut) -> Result<BTreeMap<OperatorUid, Folds>, ModelError> {
        if self.script.is_some() {
            return Ok(BTreeMap::new());
        }
        Ok(Evaluation::of(&self.plan, &self.prefix(cut)?, Kept::All, &UnderWay::new())?.folds)
    }

    /// Whether all sources are scripts, so that everything at a cut is known.
    pub fn is_of_scripts(&self) -> bool {
        self.script.is_some()
    }

    /// What must be true at a cut of scripts: one of these. There are several only if a script stands at its end, where
    /// nobody can see from its position whether it has ended.
    ///
    /// # Errors
    /// If the sources are no scripts, or the cut does not name a position of each.
    pub fn script_at(&self, cut: &Cut) -> Result<Vec<ScriptCut>, ModelError> {
        let script = self.script.as_ref().ok_or_else(|| ModelError::NoSuchCut("there is no script".to_owned()))?;
        let mut steps = Vec::new();
        for (source, length) in self.plan.sources.iter().zip(script.last().steps) {
            let position = cut.sources.get(&layout::uid(&source.name)).and_then(|positions| positions.get(&0));
            let position = position.and_then(|position| usize::try_from(*position).ok());
            steps.push(position.filter(|position| *position <= length).ok_or_else(|| {
                ModelError::NoSuchCut(format!("the script of {} is at {position:?} of {length}", source.name))
            })?);
        }
        let at = |position: &script::Position| {
            let network = script.at(position)?;
            let has_clock = |sink: &str| self.certain.contains_key(sink) || self.processed.contains_key(sink);
            let exact = self.sinks.iter().filter(|sink| !has_clock(&sink.name));
            let output = exact.map(|sink| (sink.name.clone(), script.lines(&network, sink)));
            let kept = self.plan.stages.iter().enumerate().filter(|(index, _)| Some(*index) != self.clocked);
            let kept = kept.map(|(index, stage)| Ok((layout::uid(&stage.name), script.kept(&network, index)?)));
            let dropped = self.plan.stages.iter().enumerate();
            let dropped = dropped.map(|(index, stage)| (layout::uid(&stage.name), network.dropped(index)));
            let kept = kept.collect::<Result<_, ModelError>>()?;
            Ok(ScriptCut { output: output.collect(), kept, dropped: dropped.collect() })
        };
        script.positions(&steps).iter().map(at).collect()
    }

    /// The first position of the one script after a cut at which a stage keeps exactly this.
    pub fn later_cut(&self, cut: &Cut, stage: &OperatorUid, found: &KeptByStage) -> Option<usize> {
        let script = self.script.as_ref()?;
        let stage = self.plan.stages.iter().position(|planned| layout::uid(&planned.name) == *stage)?;
        let [source] = &self.plan.sources[..] else { return None };
        let position = *cut.sources.get(&layout::uid(&source.name))?.get(&0)?;
        script.later(usize::try_from(position).ok()?, stage, found)
    }

    /// The stages of the plan whose state is known, by its identity: all but one with a clock.
    pub fn stages(&self) -> impl Iterator<Item = (OperatorUid, &PlannedOperation)> {
        let known = self.plan.stages.iter().enumerate().filter(|(index, _)| Some(*index) != self.clocked);
        known.map(|(_, stage)| (layout::uid(&stage.name), &stage.operation))
    }

    /// The operation that keeps state next before a sink.
    pub fn stateful_before(&self, sink: &str) -> Option<&PlannedOperation> {
        let mut streams = self.sinks.iter().find(|model| model.name == sink)?.inputs.clone();
        while let Some(stream) = streams.pop() {
            let (Stream::Stage(index) | Stream::Late(index)) = stream else { continue };
            let stage = &self.plan.stages[index];
            match &stage.operation {
                PlannedOperation::Filter { .. } | PlannedOperation::Map { .. } | PlannedOperation::Repeat { .. } => {
                    streams.extend(&stage.inputs);
                }
                operation => return Some(operation),
            }
        }
        None
    }

    /// The watermarks that every subtask sees, in order, if there is one order of everything; `None` if there is not.
    pub fn watermarks(&self) -> Option<Vec<i64>> {
        self.script.as_ref().filter(|script| script.is_sequential()).map(ScriptModel::watermarks)
    }

    /// The key group of a key.
    pub fn key_group(&self, key: &Row) -> u16 {
        self.key_groups.of(key)
    }

    /// The subtask that owns a key group.
    pub fn owner(&self, key_group: u16, parallelism: u32) -> usize {
        self.key_groups.subtask(key_group, parallelism)
    }

    /// What must be true at a cut if exactly these groups are still kept, and these records are under way to stages: they
    /// have not reached them.
    ///
    /// # Errors
    /// As for [`Model::state_at`]; and if a record is under way that nobody has sent.
    pub fn at_cut(&self, cut: &Cut, kept: &KeptGroups, under_way: &UnderWay) -> Result<Arc<AtCut>, ModelError> {
        if under_way.is_empty() {
            return self.known_cuts.or_find(cut, kept, || self.find_at_cut(cut, kept, under_way));
        }
        self.find_at_cut(cut, kept, under_way).map(Arc::new)
    }

    fn find_at_cut(&self, cut: &Cut, kept: &KeptGroups, under_way: &UnderWay) -> Result<AtCut, ModelError> {
        if self.script.is_some() {
            let output = self.script_at(cut)?.swap_remove(0).output;
            return Ok(AtCut { folds: BTreeMap::new(), output });
        }
        let prefix = self.prefix(cut)?;
        let evaluation = Evaluation::of(&self.plan, &prefix, Kept::Exactly(kept), under_way)?;
        let held_back =
            self.sinks.iter().filter(|sink| self.expected_output.contains_key(&sink.name) && sink.holds_back);
        let output = held_back.map(|sink| (sink.name.clone(), sink.lines(&evaluation.records(&sink.inputs, &prefix))));
        Ok(AtCut { output: output.collect(), folds: evaluation.folds })
    }

    /// The records before a cut.
    fn prefix(&self, cut: &Cut) -> Result<Vec<Vec<Arc<Record>>>, ModelError> {
        let mut prefix = Vec::new();
        for (source, splits) in self.plan.sources.iter().zip(&self.sources) {
            let positions = cut.sources.get(&layout::uid(&source.name));
            let mut records = Vec::new();
            for (split, all) in splits.iter().enumerate() {
                let position = positions.and_then(|positions| positions.get(&(split as u32)));
                let read = position.and_then(|position| all.get(..*position as usize)).ok_or_else(|| {
                    ModelError::NoSuchCut(format!(
                        "split {split} of {} is at {position:?} of {}",
                        source.name,
                        all.len()
                    ))
                })?;
                records.extend(read.iter().flatten().cloned());
            }
            prefix.push(records);
        }
        Ok(prefix)
    }
}

#[cfg(test)]
mod tests;
