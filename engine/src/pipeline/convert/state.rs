//! Functions with state, and how long it lives.

use super::Table;
use crate::pipeline::{
    file::{StageFile, TtlFile},
    model::{ProcessFunction, ProcessOperation, StateTtl, TimerPattern, TtlCleanup},
    nearest,
    problem::{Place, Problem},
};

const FUNCTIONS: [&str; 13] = [
    "value_avg",
    "list_avg",
    "map_avg",
    "map_count",
    "reducing_sum",
    "aggregating_contains",
    "aggregating_avg",
    "value_count",
    "dedup",
    "raw_count",
    "every",
    "timeout",
    "replace",
];

pub(super) fn convert_process(table: &Table<'_>, file: StageFile, place: &Place) -> Result<ProcessOperation, Problem> {
    let name = table.need(file.function, "function")?;
    let (n, delay, time) = (file.n, file.delay, file.time);
    let need_n = || table.need(n, "n");
    let timers = |pattern| {
        let delay = table.need(delay, "delay")?;
        Ok(ProcessFunction::Timers { pattern, delay, time: time.unwrap_or_default() })
    };
    let function = match name.as_str() {
        "value_avg" => ProcessFunction::ValueAvg { n: need_n()? },
        "list_avg" => ProcessFunction::ListAvg { n: need_n()? },
        "map_avg" => ProcessFunction::MapAvg { n: need_n()? },
        "map_count" => ProcessFunction::MapCount { n: need_n()? },
        "reducing_sum" => ProcessFunction::ReducingSum,
        "aggregating_contains" => ProcessFunction::AggregatingContains,
        "aggregating_avg" => ProcessFunction::AggregatingAvg,
        "value_count" => ProcessFunction::ValueCount,
        "dedup" => ProcessFunction::Dedup,
        "raw_count" => ProcessFunction::RawCount,
        "every" => timers(TimerPattern::Every)?,
        "timeout" => timers(TimerPattern::Timeout)?,
        "replace" => timers(TimerPattern::Replace)?,
        other => {
            let problem = Problem::new(place.key("function"), format!("unknown function `{other}`"));
            return Err(problem.with_hint(nearest::hint(other, "functions", FUNCTIONS)));
        }
    };
    let foreign = [
        ("n", n.is_some() && number_of(function).is_none()),
        ("delay", delay.is_some() && !matches!(function, ProcessFunction::Timers { .. })),
        ("time", time.is_some() && !matches!(function, ProcessFunction::Timers { .. })),
        ("value", file.value.is_some() && !function.reads_value()),
    ];
    if let Some((option, _)) = foreign.into_iter().find(|(_, present)| *present) {
        return Err(Problem::new(place.key(option), format!("the function {name} has no `{option}`")));
    }
    Ok(ProcessOperation {
        key: table.need(file.key, "key")?,
        function,
        value: file.value,
        ttl: file.ttl.map(|ttl| convert_ttl(ttl, &place.key("ttl"))).transpose()?,
        processed_at: file.processed_at,
        every_record: file.every_record.unwrap_or(false),
    })
}

fn number_of(function: ProcessFunction) -> Option<u64> {
    match function {
        ProcessFunction::ValueAvg { n }
        | ProcessFunction::ListAvg { n }
        | ProcessFunction::MapAvg { n }
        | ProcessFunction::MapCount { n } => Some(n),
        ProcessFunction::ReducingSum
        | ProcessFunction::AggregatingContains
        | ProcessFunction::AggregatingAvg
        | ProcessFunction::ValueCount
        | ProcessFunction::Dedup
        | ProcessFunction::RawCount
        | ProcessFunction::Timers { .. } => None,
    }
}

pub(super) fn convert_ttl(file: TtlFile, place: &Place) -> Result<StateTtl, Problem> {
    let others = file.present().join(", ");
    let ttl = file.time.ok_or_else(|| {
        Problem::new(place.clone(), "this ttl lacks `time`").with_hint(format!("it has only: {others}"))
    })?;
    Ok(StateTtl {
        ttl,
        update: file.update.unwrap_or_default(),
        visibility: file.visibility.unwrap_or_default(),
        cleanup: TtlCleanup {
            in_background: file.in_background.unwrap_or(true),
            full_snapshot: file.full_snapshot.unwrap_or(false),
            incremental: file.incremental,
            run_for_every_record: file.run_for_every_record.unwrap_or(false),
            query_time_after_entries: file.query_time_after_entries,
        },
    })
}

impl From<StateTtl> for TtlFile {
    fn from(ttl: StateTtl) -> Self {
        Self {
            time: Some(ttl.ttl),
            update: Some(ttl.update),
            visibility: Some(ttl.visibility),
            in_background: Some(ttl.cleanup.in_background),
            full_snapshot: Some(ttl.cleanup.full_snapshot),
            incremental: ttl.cleanup.incremental,
            run_for_every_record: Some(ttl.cleanup.run_for_every_record),
            query_time_after_entries: ttl.cleanup.query_time_after_entries,
        }
    }
}

impl From<ProcessOperation> for StageFile {
    fn from(process: ProcessOperation) -> Self {
        let (delay, time) = match process.function {
            ProcessFunction::Timers { delay, time, .. } => (Some(delay), Some(time)),
            _ => (None, None),
        };
        Self {
            key: Some(process.key),
            function: Some(process.function.name().to_owned()),
            n: number_of(process.function),
            delay,
            time,
            value: process.value,
            ttl: process.ttl.map(TtlFile::from),
            processed_at: process.processed_at,
            every_record: process.every_record.then_some(true),
            ..Self::default()
        }
    }
}
