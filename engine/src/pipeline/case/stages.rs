//! The stages of a case as stages of a pipeline.
//!
//! Each stage takes and gives records with the fields of a case. What an operation calls otherwise, a `map` behind it
//! calls by these names.

use std::time::Duration;

use super::{
    SCRIPT,
    format::{AssignerFile, CaseFile, EvictorFile, FunctionFile, StageFile, TriggerFile},
};
use crate::pipeline::{
    model::{
        Assigner, Assignment, BoundKind, BufferMode, BufferOperation, EvictionPhase, Evictor, IntervalJoinOperation,
        JoinKind, JoinSides, LateRecords, Operation, ProcessFunction, ProcessOperation, RollingOperation, Stage,
        TimerPattern, Trigger, WindowBounds, WindowFunction, WindowJoinOperation, WindowOperation, WindowTime,
    },
    row::Float,
};

/// A case's stages, and what is traced: name, input, parallelism and label.
pub(super) struct Compiled {
    pub(super) stages: Vec<Stage>,
    pub(super) traces: Vec<(String, String, u32, Option<String>)>,
}

type Result<T> = std::result::Result<T, String>;

/// No text, no number.
const NO_TEXT: &str = "nullif('', '')";
const NO_NUMBER: &str = "nullif(0, 0)";

pub(super) fn compile(case: &CaseFile) -> Result<Compiled> {
    let mut compiler = Compiler {
        compiled: Compiled { stages: Vec::new(), traces: Vec::new() },
        input: SCRIPT.to_owned(),
        parallelism: 1,
    };
    for (index, stage) in case.stages.iter().enumerate() {
        let stateless = matches!(stage, StageFile::Map { .. } | StageFile::Filter { .. } | StageFile::Repeat { .. });
        if !stateless {
            compiler.parallelism = case.parallelism;
        }
        compiler.stage(index, stage)?;
    }
    compiler.trace("trace", None);
    Ok(compiler.compiled)
}

struct Compiler {
    compiled: Compiled,
    /// The stage whose records the next one takes.
    input: String,
    parallelism: u32,
}

/// The fields of a case by their expressions.
fn fields(k: &str, v: &str, x: &str, bounds: [&str; 2], side: &str) -> Vec<Assignment> {
    let [ws, we] = bounds;
    let pairs = [("k", k), ("v", v), ("x", x), ("ws", ws), ("we", we), ("side", side)];
    pairs.into_iter().map(|(name, expression)| Assignment::new(name, expression)).collect()
}

/// The same record with another key and value.
fn changed(k: &str, v: &str) -> Operation {
    Operation::Map { fields: fields(k, v, "x", ["ws", "we"], "side") }
}

/// A record that no window made.
fn made(k: &str, v: &str, x: &str) -> Operation {
    Operation::Map { fields: fields(k, v, x, [NO_NUMBER; 2], "0") }
}

impl Compiler {
    fn push(&mut self, name: String, operation: Operation) {
        let inputs = vec![std::mem::replace(&mut self.input, name.clone())];
        self.compiled.stages.push(Stage { name, inputs, parallelism: Some(self.parallelism), operation });
    }

    /// Traces the input without the field that says the side of a join.
    fn trace(&mut self, name: &str, label: Option<String>) {
        let mut fields = fields("k", "v", "x", ["ws", "we"], "side");
        fields.truncate(5);
        self.push(format!("{name}-fields"), Operation::Map { fields });
        self.compiled.traces.push((name.to_owned(), self.input.clone(), self.parallelism, label));
    }

    fn trace_late(&mut self, index: usize, stage: &str) {
        let main = std::mem::replace(&mut self.input, format!("{stage}.late"));
        let label = if index == 0 { "late".to_owned() } else { format!("late@{index}") };
        self.trace(&format!("late-{index}"), Some(label));
        self.input = main;
    }

    fn stage(&mut self, index: usize, stage: &StageFile) -> Result<()> {
        let name = format!("stage-{index}");
        let result = format!("stage-{index}-result");
        match stage {
            StageFile::Map { function, by } => self.push(name, map(function, *by)?),
            StageFile::Filter { function, a, b } => {
                let condition = match function.as_str() {
                    "gt" => format!("v > {a}"),
                    "lt" => format!("v < {a}"),
                    "mod" => format!("floor_mod(v, {a}) = {b}"),
                    "side" => format!("side = {a}"),
                    other => return Err(format!("the unknown filter `{other}`")),
                };
                self.push(name, Operation::Filter { condition });
            }
            StageFile::Repeat { n } => {
                self.push(name, Operation::Repeat { count: *n, index: "copy".into() });
                self.push(result, changed("k", "v + copy"));
            }
            StageFile::Window { .. } | StageFile::CountWindow { .. } => self.window(index, stage)?,
            StageFile::State { kind, n } => self.state(name, result, state_function(kind, *n)?),
            StageFile::Timers { kind, delay } => {
                let pattern = match kind.as_str() {
                    "every" => TimerPattern::Every,
                    "timeout" => TimerPattern::Timeout,
                    "replace" => TimerPattern::Replace,
                    other => return Err(format!("the unknown timers `{other}`")),
                };
                let (delay, time) = (Duration::from_millis(*delay), WindowTime::Event);
                self.state(name, result, ProcessFunction::Timers { pattern, delay, time });
            }
            StageFile::Rolling { agg } => {
                let rolling = RollingOperation { key: vec!["k".into()], fields: reduction(agg)? };
                self.push(name, Operation::Rolling(rolling));
            }
            StageFile::Buffer { threshold, union } => {
                let buffer = BufferOperation {
                    threshold: *threshold,
                    mode: if *union { BufferMode::Union } else { BufferMode::Split },
                    aggregates: vec![
                        Assignment::new("total", "sum(v)"),
                        Assignment::new("records", "string_agg(concat(k, '=', text(v)), ',')"),
                    ],
                };
                self.push(name, Operation::Buffer(buffer));
                self.push(result, made("'batch'", "total", "records"));
            }
            StageFile::IntervalJoin { .. } => self.interval_join(index, stage),
            StageFile::WindowJoin { assigner: windows } => self.window_join(&name, assigner(windows)?),
        }
        Ok(())
    }

    fn state(&mut self, name: String, result: String, function: ProcessFunction) {
        let value = function.reads_value().then(|| "v".to_owned());
        self.push(name, Operation::Process(ProcessOperation { value, ..ProcessOperation::new(&["k"], function) }));
        if function != ProcessFunction::Dedup {
            self.push(result, made("k", "value", if function.has_text() { "text" } else { NO_TEXT }));
        }
    }

    fn window(&mut self, index: usize, stage: &StageFile) -> Result<()> {
        let (mut operation, function, side_output) = match stage {
            StageFile::Window { keyed, assigner: windows, trigger, evictor, lateness, side_output_late, function } => {
                let key: &[&str] = if *keyed { &["k"] } else { &[] };
                let mut operation = WindowOperation::new(key, assigner(windows)?, Vec::new());
                operation.trigger = trigger.as_ref().map(self::trigger);
                operation.evictor = evictor.as_ref().map(self::evictor);
                operation.allowed_lateness = Duration::from_millis(*lateness);
                (operation, function, *side_output_late)
            }
            StageFile::CountWindow { size, slide, function } => {
                let assigner = Assigner::Count { size: *size, slide: *slide };
                (WindowOperation::new(&["k"], assigner, Vec::new()), function, false)
            }
            _ => unreachable!("only windows are compiled here"),
        };
        if side_output {
            operation.late_records = LateRecords::SideOutput;
        }
        let results = window_function(&mut operation, function)?;
        if operation.key.is_empty() {
            // Windows of all records are one subtask.
            self.parallelism = 1;
        }
        let name = format!("stage-{index}");
        self.push(name.clone(), Operation::Window(operation));
        self.push(format!("stage-{index}-result"), Operation::Map { fields: results });
        if side_output {
            self.trace_late(index, &name);
        }
        Ok(())
    }

    fn interval_join(&mut self, index: usize, stage: &StageFile) {
        let StageFile::IntervalJoin { lower, upper, lower_exclusive, upper_exclusive, side_output_late } = stage else {
            unreachable!("only interval joins are compiled here")
        };
        let bound = |exclusive: bool| if exclusive { BoundKind::Exclusive } else { BoundKind::Inclusive };
        let x = "concat(text(a.v), '@', text(a.rowtime), 'x', text(b.v), '@', text(b.rowtime))";
        let join = IntervalJoinOperation {
            sides: JoinSides::Condition("side = 0".into()),
            key: vec!["k".into()],
            right_key: Vec::new(),
            lower_ms: *lower,
            lower: bound(*lower_exclusive),
            upper_ms: *upper,
            upper: bound(*upper_exclusive),
            late_records: if *side_output_late { LateRecords::SideOutput } else { LateRecords::Drop },
            ttl: None,
            fields: fields("a.k", "a.v + b.v", x, [NO_NUMBER; 2], "0"),
        };
        let name = format!("stage-{index}");
        self.push(name.clone(), Operation::IntervalJoin(join));
        if *side_output_late {
            self.trace_late(index, &name);
        }
    }

    fn window_join(&mut self, name: &str, assigner: Assigner) {
        let input = self.input.clone();
        let mut sides = Vec::new();
        for (side, parallelism) in [("left", 1), ("right", 1)] {
            let condition = format!("side = {}", sides.len());
            let stage = Stage {
                parallelism: Some(parallelism),
                ..Stage::new(format!("{name}-{side}"), input.clone(), Operation::Filter { condition })
            };
            sides.push(stage.name.clone());
            self.compiled.stages.push(stage);
        }
        let join = WindowJoinOperation {
            kind: JoinKind::Inner,
            key: vec!["k".into()],
            right_key: Vec::new(),
            assigner,
            time: WindowTime::Event,
            trigger: None,
            fields: fields("a.k", "a.v + b.v", "concat(text(a.v), 'x', text(b.v))", [NO_NUMBER; 2], "0"),
        };
        self.push(name.to_owned(), Operation::WindowJoin(join));
        if let Some(stage) = self.compiled.stages.last_mut() {
            stage.inputs = sides;
        }
    }
}

fn map(function: &str, by: i64) -> Result<Operation> {
    Ok(match function {
        "add" => changed("k", &format!("v + {by}")),
        "mul" => changed("k", &format!("v * {by}")),
        "mod" => changed("k", &format!("floor_mod(v, {by})")),
        "one" => changed("k", "1"),
        "key_mod" => changed(&format!("concat('g', text(floor_mod(v, {by})))"), "v"),
        "key_const" => changed("'all'", "v"),
        other => return Err(format!("the unknown map `{other}`")),
    })
}

fn state_function(kind: &str, n: u64) -> Result<ProcessFunction> {
    Ok(match kind {
        "value_avg" => ProcessFunction::ValueAvg { n },
        "list_avg" => ProcessFunction::ListAvg { n },
        "map_avg" => ProcessFunction::MapAvg { n },
        "map_count" => ProcessFunction::MapCount { n },
        "reducing_sum" => ProcessFunction::ReducingSum,
        "aggregating_contains" => ProcessFunction::AggregatingContains,
        "aggregating_avg" => ProcessFunction::AggregatingAvg,
        "value_count" => ProcessFunction::ValueCount,
        "dedup" => ProcessFunction::Dedup,
        other => return Err(format!("the unknown state `{other}`")),
    })
}

/// How two records become one.
fn reduction(agg: &str) -> Result<Vec<Assignment>> {
    let value = |expression: &str| vec![Assignment::new("v", expression)];
    Ok(match agg {
        "sum" => value("a.v + b.v"),
        "min" => value("min(a.v, b.v)"),
        "max" => value("max(a.v, b.v)"),
        "first" => value("a.v"),
        "last" => fields("b.k", "b.v", "b.x", ["b.ws", "b.we"], "b.side"),
        "concat" => vec![
            Assignment::new("v", "a.v + b.v"),
            Assignment::new("x", "concat(coalesce(a.x, text(a.v)), ',', coalesce(b.x, text(b.v)))"),
        ],
        other => return Err(format!("the unknown reduction `{other}`")),
    })
}

/// Gives a window its function, and says how its results become records.
fn window_function(window: &mut WindowOperation, function: &FunctionFile) -> Result<Vec<Assignment>> {
    let has_end = !matches!(window.assigner, Assigner::Global | Assigner::Count { .. });
    let reduces = function.kind == "reduce";
    // A process function says its window in any case, a reduction or aggregate only if asked.
    let shown = has_end && (function.bounds || function.kind == "process");
    let (k, bounds) = match (window.key.is_empty(), reduces && !function.bounds) {
        (_, true) => ("k", ["ws", "we"]),
        (true, false) if function.kind == "aggregate" && !function.bounds => ("key", [NO_NUMBER; 2]),
        (true, false) => ("'*'", [NO_NUMBER; 2]),
        (false, false) => ("k", [NO_NUMBER; 2]),
    };
    let bounds = if shown { ["window_start", "window_end"] } else { bounds };
    window.bounds = if shown { WindowBounds::Shown } else { WindowBounds::Hidden };
    if reduces {
        window.function = WindowFunction::Reduce(reduction(&function.agg)?);
        return Ok(fields(k, "v", "x", bounds, "side"));
    }
    let (aggregates, v, x): (&[(&str, &str)], &str, &str) = match (function.kind.as_str(), function.agg.as_str()) {
        (_, "sum") => (&[("v", "sum(v)")], "coalesce(v, 0)", NO_TEXT),
        (_, "count") => (&[("v", "count()")], "v", NO_TEXT),
        ("aggregate", "min") => (&[("v", "min(v)")], "v", NO_TEXT),
        ("aggregate", "max") => (&[("v", "max(v)")], "v", NO_TEXT),
        ("aggregate", "range") => (&[("low", "min(v)"), ("high", "max(v)")], "high - low", NO_TEXT),
        ("aggregate", "avg") => {
            let x = "concat(text(total), '/', text(n))";
            (&[("total", "sum(v)"), ("n", "count()")], "total / n", x)
        }
        ("aggregate", "concat") => (&[("v", "count()"), ("x", "string_agg(v, ',', '|')")], "v", "coalesce(x, '')"),
        ("process", "list") => (&[("v", "count()"), ("x", "list(v)")], "v", "coalesce(x, '')"),
        ("process", "median") => (&[("v", "median(v)")], "v", NO_TEXT),
        ("process", "stateful") => {
            let x = "concat('fire=', text(fire), ',key=', text(of_key), ',wm=', text(wm))";
            let about = &[("v", "sum(v)"), ("fire", "firings()"), ("of_key", "key_firings()"), ("wm", "watermark()")];
            (about, "coalesce(v, 0)", x)
        }
        (kind, agg) => return Err(format!("the unknown {kind} `{agg}`")),
    };
    let mut assignments: Vec<_> =
        aggregates.iter().map(|(name, expression)| Assignment::new(*name, *expression)).collect();
    if k == "key" {
        assignments.push(Assignment::new("key", "first(k)"));
    }
    window.function = match function.kind.as_str() {
        "process" => WindowFunction::Process(assignments),
        _ => WindowFunction::Aggregate(assignments),
    };
    Ok(fields(k, v, x, bounds, "0"))
}

fn assigner(file: &AssignerFile) -> Result<Assigner> {
    let millis = Duration::from_millis;
    let offset = |offset_ms: i64, period_ms: u64| {
        let period = i64::try_from(period_ms).map_err(|_| "a window that is too long".to_owned())?;
        // Windows that start later and earlier by whole periods are the same windows.
        u64::try_from(offset_ms.rem_euclid(period.max(1))).map(millis).map_err(|_| "a wrong offset".to_owned())
    };
    Ok(match file {
        AssignerFile::Tumbling { size, offset: ms } => {
            Assigner::Tumbling { size: millis(*size), offset: offset(*ms, *size)? }
        }
        AssignerFile::Sliding { size, slide, offset: ms } => {
            Assigner::Sliding { size: millis(*size), slide: millis(*slide), offset: offset(*ms, *slide)? }
        }
        AssignerFile::Session { gap } => Assigner::Session { gap: millis(*gap) },
        AssignerFile::SessionDynamic { base, per_value } => {
            Assigner::DynamicSession { gap: format!("{base} + {per_value} * abs(v)") }
        }
        AssignerFile::Global {} => Assigner::Global,
    })
}

fn trigger(file: &TriggerFile) -> Trigger {
    match file {
        TriggerFile::EventTime {} => Trigger::EventTime,
        TriggerFile::Count { n } => Trigger::Count { n: *n },
        TriggerFile::ContinuousEventTime { interval } => {
            Trigger::ContinuousEventTime { interval: Duration::from_millis(*interval) }
        }
        TriggerFile::Delta { threshold } => Trigger::Delta { threshold: Float::new(*threshold), value: "v".into() },
        TriggerFile::Purging { inner } => Trigger::Purging { inner: Box::new(trigger(inner)) },
    }
}

fn evictor(file: &EvictorFile) -> Evictor {
    let phase = |after: bool| if after { EvictionPhase::After } else { EvictionPhase::Before };
    match file {
        EvictorFile::Count { n, after } => Evictor::Count { n: *n, phase: phase(*after) },
        EvictorFile::Time { size, after } => Evictor::Time { size: Duration::from_millis(*size), phase: phase(*after) },
        EvictorFile::Delta { threshold, after } => {
            Evictor::Delta { threshold: Float::new(*threshold), value: "v".into(), phase: phase(*after) }
        }
    }
}
