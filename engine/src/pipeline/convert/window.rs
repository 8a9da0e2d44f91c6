//! Assigners, triggers and evictors of a file.

use super::Table;
use crate::pipeline::{
    file::{AssignerFile, Assignments, EvictorFile, StageFile, TriggerFile},
    model::{Assigner, EvictionPhase, Evictor, Trigger, WindowBounds, WindowFunction, WindowOperation},
    problem::{Place, Problem},
    row::Float,
};

/// The options of a `window` besides the common ones.
pub(super) const WINDOW: [&str; 11] = [
    "key",
    "assigner",
    "time",
    "trigger",
    "evictor",
    "allowed_lateness",
    "late_records",
    "bounds",
    "aggregate",
    "reduce",
    "process",
];

pub(super) fn convert_window(table: &Table<'_>, file: StageFile, place: &Place) -> Result<WindowOperation, Problem> {
    let bounds = if file.bounds.unwrap_or(true) { WindowBounds::Shown } else { WindowBounds::Hidden };
    let function = match (file.aggregate, file.reduce, file.process) {
        (Some(aggregates), None, None) => WindowFunction::Aggregate(aggregates.0),
        (None, Some(fields), None) => WindowFunction::Reduce(fields.0),
        (None, None, Some(aggregates)) => WindowFunction::Process(aggregates.0),
        (None, None, None) => {
            return Err(table
                .need::<()>(None, "aggregate")
                .expect_err("nothing is not there")
                .with_hint("or give it `reduce` or `process`"));
        }
        _ => {
            let problem = Problem::new(place.clone(), "a window has one function");
            return Err(problem.with_hint("give it one of `aggregate`, `reduce` and `process`"));
        }
    };
    Ok(WindowOperation {
        key: table.need(file.key, "key")?,
        assigner: convert_assigner(table.need(file.assigner, "assigner")?, &place.key("assigner"))?,
        time: file.time.unwrap_or_default(),
        trigger: file.trigger.map(|trigger| convert_trigger(trigger, &place.key("trigger"))).transpose()?,
        evictor: file.evictor.map(|evictor| convert_evictor(evictor, &place.key("evictor"))).transpose()?,
        allowed_lateness: file.allowed_lateness.unwrap_or_default(),
        late_records: file.late_records.unwrap_or_default(),
        function,
        bounds,
    })
}

pub(super) fn convert_assigner(file: AssignerFile, place: &Place) -> Result<Assigner, Problem> {
    let kinds = ["tumbling", "sliding", "session", "global", "count"];
    let table = Table::new(place, "assigner", "kind", file.kind.as_deref(), &kinds)?;
    let present = file.present();
    let offset = file.offset.unwrap_or_default();
    Ok(match table.kind {
        "tumbling" => {
            table.only(present, &[], &["size", "offset"])?;
            Assigner::Tumbling { size: table.need(file.size, "size")?, offset }
        }
        "sliding" => {
            table.only(present, &[], &["size", "slide", "offset"])?;
            Assigner::Sliding { size: table.need(file.size, "size")?, slide: table.need(file.slide, "slide")?, offset }
        }
        "session" => {
            table.only(present, &[], &["gap", "gap_ms"])?;
            match (file.gap, file.gap_ms) {
                (Some(gap), None) => Assigner::Session { gap },
                (None, Some(gap)) => Assigner::DynamicSession { gap },
                (None, None) => {
                    let problem = Problem::new(place.clone(), "this session assigner lacks `gap`");
                    return Err(problem.with_hint("gap_ms = \"EXPRESSION\" gives each record a gap of its own"));
                }
                (Some(_), Some(_)) => {
                    return Err(Problem::new(place.key("gap_ms"), "a session has one of `gap` and `gap_ms`"));
                }
            }
        }
        "count" => {
            table.only(present, &[], &["n", "every"])?;
            Assigner::Count { size: table.need(file.n, "n")?, slide: file.every }
        }
        _ => {
            table.only(present, &[], &[])?;
            Assigner::Global
        }
    })
}

pub(super) fn convert_trigger(file: TriggerFile, place: &Place) -> Result<Trigger, Problem> {
    let kinds = [
        "event_time",
        "processing_time",
        "count",
        "continuous_event_time",
        "continuous_processing_time",
        "delta",
        "processing_timeout",
        "never",
        "end_of_stream",
        "purging",
    ];
    let table = Table::new(place, "trigger", "kind", file.kind.as_deref(), &kinds)?;
    let own: &[&str] = match table.kind {
        "count" => &["n"],
        "continuous_event_time" | "continuous_processing_time" => &["interval"],
        "delta" => &["threshold", "value"],
        "processing_timeout" => &["inner", "timeout", "reset_timer_on_new_record", "clear_on_timeout"],
        "purging" => &["inner"],
        _ => &[],
    };
    table.only(file.present(), &[], own)?;
    let inner = |inner: Option<Box<TriggerFile>>| {
        convert_trigger(*table.need(inner, "inner")?, &place.key("inner")).map(Box::new)
    };
    Ok(match table.kind {
        "event_time" => Trigger::EventTime,
        "processing_time" => Trigger::ProcessingTime,
        "count" => Trigger::Count { n: table.need(file.n, "n")? },
        "continuous_event_time" => Trigger::ContinuousEventTime { interval: table.need(file.interval, "interval")? },
        "continuous_processing_time" => {
            Trigger::ContinuousProcessingTime { interval: table.need(file.interval, "interval")? }
        }
        "delta" => Trigger::Delta {
            threshold: Float::new(table.need(file.threshold, "threshold")?),
            value: table.need(file.value, "value")?,
        },
        "processing_timeout" => Trigger::ProcessingTimeout {
            inner: inner(file.inner)?,
            timeout: table.need(file.timeout, "timeout")?,
            reset_timer_on_new_record: file.reset_timer_on_new_record.unwrap_or(false),
            clear_on_timeout: file.clear_on_timeout.unwrap_or(false),
        },
        "never" => Trigger::Never,
        "end_of_stream" => Trigger::EndOfStream,
        _ => Trigger::Purging { inner: inner(file.inner)? },
    })
}

fn convert_evictor(file: EvictorFile, place: &Place) -> Result<Evictor, Problem> {
    let table = Table::new(place, "evictor", "kind", file.kind.as_deref(), &["count", "time", "delta"])?;
    let present = file.present();
    let phase = if file.after.unwrap_or(false) { EvictionPhase::After } else { EvictionPhase::Before };
    Ok(match table.kind {
        "count" => {
            table.only(present, &[], &["n", "after"])?;
            Evictor::Count { n: table.need(file.n, "n")?, phase }
        }
        "time" => {
            table.only(present, &[], &["size", "after"])?;
            Evictor::Time { size: table.need(file.size, "size")?, phase }
        }
        _ => {
            table.only(present, &[], &["threshold", "value", "after"])?;
            let threshold = Float::new(table.need(file.threshold, "threshold")?);
            Evictor::Delta { threshold, value: table.need(file.value, "value")?, phase }
        }
    })
}

impl From<WindowOperation> for StageFile {
    fn from(window: WindowOperation) -> Self {
        let function = match window.function {
            WindowFunction::Aggregate(fields) => Self { aggregate: Some(Assignments(fields)), ..Self::default() },
            WindowFunction::Reduce(fields) => Self { reduce: Some(Assignments(fields)), ..Self::default() },
            WindowFunction::Process(fields) => Self { process: Some(Assignments(fields)), ..Self::default() },
        };
        Self {
            key: Some(window.key),
            assigner: Some(window.assigner.into()),
            time: Some(window.time),
            trigger: window.trigger.map(TriggerFile::from),
            evictor: window.evictor.map(EvictorFile::from),
            allowed_lateness: (!window.allowed_lateness.is_zero()).then_some(window.allowed_lateness),
            late_records: Some(window.late_records),
            bounds: Some(window.bounds == WindowBounds::Shown),
            ..function
        }
    }
}

impl From<Assigner> for AssignerFile {
    fn from(assigner: Assigner) -> Self {
        let of = |kind: &str| Self { kind: Some(kind.to_owned()), ..Self::default() };
        match assigner {
            Assigner::Tumbling { size, offset } => Self { size: Some(size), offset: Some(offset), ..of("tumbling") },
            Assigner::Sliding { size, slide, offset } => {
                Self { size: Some(size), slide: Some(slide), offset: Some(offset), ..of("sliding") }
            }
            Assigner::Session { gap } => Self { gap: Some(gap), ..of("session") },
            Assigner::DynamicSession { gap } => Self { gap_ms: Some(gap), ..of("session") },
            Assigner::Global => of("global"),
            Assigner::Count { size, slide } => Self { n: Some(size), every: slide, ..of("count") },
        }
    }
}

impl From<Trigger> for TriggerFile {
    fn from(trigger: Trigger) -> Self {
        let of = |kind: &str| Self { kind: Some(kind.to_owned()), ..Self::default() };
        match trigger {
            Trigger::EventTime => of("event_time"),
            Trigger::ProcessingTime => of("processing_time"),
            Trigger::Count { n } => Self { n: Some(n), ..of("count") },
            Trigger::ContinuousEventTime { interval } => {
                Self { interval: Some(interval), ..of("continuous_event_time") }
            }
            Trigger::ContinuousProcessingTime { interval } => {
                Self { interval: Some(interval), ..of("continuous_processing_time") }
            }
            Trigger::Delta { threshold, value } => {
                Self { threshold: Some(threshold.get()), value: Some(value), ..of("delta") }
            }
            Trigger::ProcessingTimeout { inner, timeout, reset_timer_on_new_record, clear_on_timeout } => Self {
                inner: Some(Box::new(Self::from(*inner))),
                timeout: Some(timeout),
                reset_timer_on_new_record: Some(reset_timer_on_new_record),
                clear_on_timeout: Some(clear_on_timeout),
                ..of("processing_timeout")
            },
            Trigger::Never => of("never"),
            Trigger::EndOfStream => of("end_of_stream"),
            Trigger::Purging { inner } => Self { inner: Some(Box::new(Self::from(*inner))), ..of("purging") },
        }
    }
}

impl From<Evictor> for EvictorFile {
    fn from(evictor: Evictor) -> Self {
        let of = |kind: &str, phase| Self {
            kind: Some(kind.to_owned()),
            after: Some(phase == EvictionPhase::After),
            ..Self::default()
        };
        match evictor {
            Evictor::Count { n, phase } => Self { n: Some(n), ..of("count", phase) },
            Evictor::Time { size, phase } => Self { size: Some(size), ..of("time", phase) },
            Evictor::Delta { threshold, value, phase } => {
                Self { threshold: Some(threshold.get()), value: Some(value), ..of("delta", phase) }
            }
        }
    }
}
