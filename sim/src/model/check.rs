//! Which pipelines have one right result.

use tidegate::{
    config::{CheckpointingMode, JobConfig},
    pipeline::{
        Aggregate, Assigner, Emit, LateRecords, Plan, PlannedOperation, PlannedStage, PlannedWindowFunction,
        SourceKind, Stream, Trigger, WindowTime,
    },
};

use super::{ModelError, fold};

pub(super) fn config(config: &JobConfig) -> Result<(), ModelError> {
    if config.checkpoints.interval.is_none() {
        return Err(ModelError::not_modelled(&config.name, "no checkpoints"));
    }
    if config.checkpoints.mode != CheckpointingMode::ExactlyOnce {
        return Err(ModelError::not_modelled(&config.name, "checkpoints that are not exactly once"));
    }
    Ok(())
}

pub(super) fn stages(plan: &Plan) -> Result<(), ModelError> {
    idleness(plan)?;
    for stage in &plan.stages {
        if stage.inputs.iter().any(|input| matches!(input, Stream::Late(_))) {
            return Err(ModelError::not_modelled(&stage.name, "late records as an input"));
        }
        match &stage.operation {
            PlannedOperation::Filter { .. } | PlannedOperation::Map { .. } => {}
            PlannedOperation::Window(planned) => {
                let unknown = |what| Err(ModelError::not_modelled(&stage.name, what));
                let window = &planned.declared;
                if !matches!(window.assigner, Assigner::Tumbling { .. }) || window.time != WindowTime::Event {
                    return unknown("windows that are not tumbling in event time");
                }
                let PlannedWindowFunction::Aggregate(aggregates) = &planned.function else {
                    return unknown("a function that is not aggregates");
                };
                if !planned.has_bounds {
                    return unknown("results that do not show their bounds");
                }
                if !matches!(window.trigger, None | Some(Trigger::EventTime)) || window.evictor.is_some() {
                    return unknown("a trigger or evictor");
                }
                if !window.allowed_lateness.is_zero() || window.late_records == LateRecords::SideOutput {
                    return unknown("lateness");
                }
                if stage.inputs.iter().any(|input| ends_of_time(plan, *input)) {
                    return unknown("windows of results that come at the end of time");
                }
                order(plan, stage, aggregates)?;
            }
            PlannedOperation::Aggregate { aggregates, .. } => order(plan, stage, aggregates)?,
            _ => return Err(ModelError::not_modelled(&stage.name, "an operation")),
        }
        if stage.inputs.iter().any(|input| interleaved_updates(plan, *input).is_some()) {
            let why = "its input is the updates of several sources or splits".to_owned();
            return Err(ModelError::DependsOnOrder { name: stage.name.clone(), why });
        }
    }
    Ok(())
}

/// Records of a split that was taken to be idle may be late.
fn idleness(plan: &Plan) -> Result<(), ModelError> {
    let splits: u32 = plan.sources.iter().map(|source| splits(&source.kind)).sum();
    for source in &plan.sources {
        if splits > 1 && source.event_time.as_ref().is_some_and(|event_time| event_time.idle_timeout.is_some()) {
            let why = "the watermark does not wait for an idle split".to_owned();
            return Err(ModelError::MayDropLateRecords { name: source.name.clone(), why });
        }
    }
    Ok(())
}

fn splits(kind: &SourceKind) -> u32 {
    match kind {
        SourceKind::Csv(_) => 1,
        SourceKind::Generator(generator) => generator.splits,
        SourceKind::Collection(collection) => collection.splits,
        SourceKind::Script(_) => 1,
    }
}

fn order(plan: &Plan, stage: &PlannedStage, aggregates: &[Aggregate]) -> Result<(), ModelError> {
    if is_sequential(plan, stage) || !aggregates.iter().any(fold::depends_on_order) {
        return Ok(());
    }
    let why = "first, last, list and sums of floats need records in one order".to_owned();
    Err(ModelError::DependsOnOrder { name: stage.name.clone(), why })
}

/// Whether a stage's records come in the one order of a single split.
pub(super) fn is_sequential(plan: &Plan, stage: &PlannedStage) -> bool {
    let [input] = stage.inputs[..] else { return false };
    match input {
        Stream::Source(index) => splits(&plan.sources[index].kind) == 1,
        Stream::Late(_) => false,
        Stream::Stage(index) => {
            let input = &plan.stages[index];
            match input.operation {
                PlannedOperation::Filter { .. } | PlannedOperation::Map { .. } => {
                    exchanges_of_stage(plan, input) == 0 && is_sequential(plan, input)
                }
                _ => false,
            }
        }
    }
}

/// The running aggregate whose updates a stream holds, if which updates there are depends on the run.
pub(super) fn interleaved_updates(plan: &Plan, stream: Stream) -> Option<usize> {
    let Stream::Stage(index) = stream else { return None };
    match &plan.stages[index].operation {
        PlannedOperation::Aggregate { emit: Emit::Updates, .. } if !is_sequential(plan, &plan.stages[index]) => {
            Some(index)
        }
        _ => None,
    }
}

fn ends_of_time(plan: &Plan, stream: Stream) -> bool {
    let Stream::Stage(index) = stream else { return false };
    match &plan.stages[index].operation {
        PlannedOperation::Aggregate { emit: Emit::Final, .. } => true,
        PlannedOperation::Aggregate { emit: Emit::Updates, .. }
        | PlannedOperation::Filter { .. }
        | PlannedOperation::Map { .. } => plan.stages[index].inputs.iter().any(|input| ends_of_time(plan, *input)),
        _ => false,
    }
}

/// Whether a stream is downstream of a window or final aggregate.
pub(super) fn holds_back(plan: &Plan, stream: Stream) -> bool {
    let Stream::Stage(index) = stream else { return false };
    match &plan.stages[index].operation {
        PlannedOperation::Window(_) | PlannedOperation::Aggregate { emit: Emit::Final, .. } => true,
        _ => plan.stages[index].inputs.iter().any(|input| holds_back(plan, *input)),
    }
}

/// Number of times that the records of a stream were dealt out to subtasks since they were read, or folded by key. Only
/// one such step keeps the order.
fn exchanges(plan: &Plan, stream: Stream) -> u32 {
    match stream {
        Stream::Source(_) | Stream::Late(_) => 0,
        Stream::Stage(index) => match &plan.stages[index].operation {
            PlannedOperation::Window(_) | PlannedOperation::Aggregate { .. } => 0,
            _ => exchanges_of_stage(plan, &plan.stages[index]),
        },
    }
}

fn exchanges_of_stage(plan: &Plan, stage: &PlannedStage) -> u32 {
    exchanges_into(plan, &stage.inputs, stage.parallelism)
}

/// The same for what takes several streams with a parallelism of its own.
pub(super) fn exchanges_into(plan: &Plan, inputs: &[Stream], parallelism: u32) -> u32 {
    let of = |input: &Stream| exchanges(plan, *input) + u32::from(parallelism_of(plan, *input) != parallelism);
    inputs.iter().map(of).max().unwrap_or(0)
}

fn parallelism_of(plan: &Plan, stream: Stream) -> u32 {
    match stream {
        Stream::Source(index) => plan.sources[index].parallelism,
        Stream::Stage(index) | Stream::Late(index) => match &plan.stages[index].operation {
            // Windows without a key are one subtask.
            PlannedOperation::Window(window) if window.key.is_empty() => 1,
            _ => plan.stages[index].parallelism,
        },
    }
}
