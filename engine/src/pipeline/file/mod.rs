//! The shape of a pipeline in a file: flat tables in which much may be left out.
//!
//! A table of a kind (`type`, `op`, `kind`) has the options of all kinds here, so that serde knows where each
//! value stands; the conversion to the model refuses those that do not belong to the table's kind.

mod value;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(super) use value::{Assignments, ColumnFile, ConfigFile, Inputs, Seed};

use super::{
    duration,
    model::{
        BufferMode, Delivery, Emit, Format, JoinKind, KeyDistribution, LateRecords, OnBadRecord, OnMissingEventTime,
        TtlUpdate, TtlVisibility, Unmatched, WindowTime,
    },
    row::Row,
};
use crate::config::CheckpointingMode;

/// A whole file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PipelineFile {
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parallelism: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_parallelism: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) checkpoint: Option<CheckpointFile>,
    #[serde(default, skip_serializing_if = "ConfigFile::is_empty")]
    pub(crate) config: ConfigFile,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) source: Vec<SourceFile>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) stage: Vec<StageFile>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) sink: Vec<SinkFile>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckpointFile {
    #[serde(with = "duration")]
    pub(crate) interval: Duration,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dir: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mode: Option<CheckpointingMode>,
}

/// Declares a struct of options that may all be left out, with the names of those that are there.
macro_rules! options {
    ($(#[$doc:meta])* $name:ident { $($(#[$attribute:meta])* $field:ident $(as $rename:literal)?: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Default, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name {
            $(
                $(#[$attribute])*
                $(#[serde(rename = $rename)])?
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub(crate) $field: Option<$type>,
            )*
        }

        impl $name {
            /// The names of the options that are there.
            pub(crate) fn present(&self) -> Vec<&'static str> {
                let mut present = Vec::new();
                $(
                    if self.$field.is_some() {
                        present.push(options!(@name $field $($rename)?));
                    }
                )*
                present
            }
        }
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $rename:literal) => { $rename };
}

options! {
    /// A `[[source]]`.
    SourceFile {
        name: String,
        kind as "type": String,
        parallelism: u32,
        path: String,
        header: bool,
        delimiter: char,
        split_bytes: u64,
        on_bad_record: OnBadRecord,
        count: u64,
        rate: u64,
        keys: u64,
        key_distribution: KeyDistribution,
        start_ms: i64,
        #[serde(with = "duration::optional")]
        step: Duration,
        #[serde(with = "duration::optional")]
        disorder: Duration,
        splits: u32,
        seed: Seed,
        event_time: String,
        on_missing_event_time: OnMissingEventTime,
        #[serde(with = "duration::optional")]
        max_out_of_orderness: Duration,
        #[serde(with = "duration::optional")]
        idle_timeout: Duration,
        columns: Vec<ColumnFile>,
        rows: Vec<Row>,
        inputs: u32,
        drain: bool,
        restore_watermark: bool,
        #[serde(with = "duration::optional")]
        interval: Duration,
        steps: Vec<StepFile>,
    }
}

options! {
    /// A step of a script: `{ row = ["a", 1], time_ms = 100 }`, `{ watermark_ms = 99 }`, `{ status = "idle" }`,
    /// `{ control = "checkpoint" }`.
    StepFile {
        input: u32,
        row: Row,
        time_ms: i64,
        watermark_ms: i64,
        status: StepStatus,
        control: StepControl,
    }
}

/// `status = "idle"`.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StepStatus {
    Idle,
    Active,
}

/// `control = "checkpoint"`.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StepControl {
    Checkpoint,
    Fail,
    Stop,
}

options! {
    /// A `[[stage]]`.
    StageFile {
        name: String,
        op: String,
        input: Inputs,
        parallelism: u32,
        condition: String,
        count: u64,
        index: String,
        key: Vec<String>,
        right_key: Vec<String>,
        rule_key: Vec<String>,
        left: String,
        join: JoinKind,
        unmatched: Unmatched,
        emit: Emit,
        #[serde(with = "duration::optional")]
        allowed_lateness: Duration,
        late_records: LateRecords,
        time: WindowTime,
        bounds: bool,
        function: String,
        n: u64,
        #[serde(with = "duration::optional")]
        delay: Duration,
        value: String,
        threshold: u64,
        mode: BufferMode,
        lower_ms: i64,
        upper_ms: i64,
        lower_exclusive: bool,
        upper_exclusive: bool,
        assigner: AssignerFile,
        trigger: TriggerFile,
        evictor: EvictorFile,
        ttl: TtlFile,
        processed_at: String,
        every_record: bool,
        fields: Assignments,
        aggregate: Assignments,
        reduce: Assignments,
        process: Assignments,
    }
}

options! {
    /// `ttl = { time = "10 min", update = "on_read_and_write" }`.
    TtlFile {
        #[serde(with = "duration::optional")]
        time: Duration,
        update: TtlUpdate,
        visibility: TtlVisibility,
        in_background: bool,
        full_snapshot: bool,
        incremental: u32,
        run_for_every_record: bool,
        query_time_after_entries: u64,
    }
}

options! {
    /// A `[[sink]]`.
    SinkFile {
        name: String,
        kind as "type": String,
        input: Inputs,
        parallelism: u32,
        path: String,
        format: Format,
        delivery: Delivery,
        label: String,
    }
}

options! {
    /// `assigner = { kind = "tumbling", size = "1 h" }`.
    AssignerFile {
        kind: String,
        #[serde(with = "duration::optional")]
        size: Duration,
        #[serde(with = "duration::optional")]
        slide: Duration,
        #[serde(with = "duration::optional")]
        offset: Duration,
        #[serde(with = "duration::optional")]
        gap: Duration,
        gap_ms: String,
        n: u64,
        every: u64,
    }
}

options! {
    /// `trigger = { kind = "purging", inner = { kind = "count", n = 3 } }`.
    TriggerFile {
        kind: String,
        n: u64,
        #[serde(with = "duration::optional")]
        interval: Duration,
        threshold: f64,
        value: String,
        #[serde(with = "duration::optional")]
        timeout: Duration,
        reset_timer_on_new_record: bool,
        clear_on_timeout: bool,
        inner: Box<TriggerFile>,
    }
}

options! {
    /// `evictor = { kind = "count", n = 10 }`.
    EvictorFile {
        kind: String,
        n: u64,
        #[serde(with = "duration::optional")]
        size: Duration,
        threshold: f64,
        value: String,
        after: bool,
    }
}
