//! The shape of a case in JSON.

use serde::{Deserialize, de::IgnoredAny};

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

fn key_groups() -> u32 {
    128
}

fn fixed_delay() -> String {
    "fixed-delay".into()
}

/// A case beside whatever else is said of it, such as its answer.
#[derive(Debug, Deserialize)]
pub(super) struct EnvelopeFile {
    pub(super) case: CaseFile,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseFile {
    pub(super) name: String,
    #[serde(default = "one")]
    pub(super) parallelism: u32,
    #[serde(default = "key_groups")]
    pub(super) max_parallelism: u32,
    #[serde(default)]
    pub(super) backend: Option<String>,
    #[serde(default = "one")]
    pub(super) inputs: u32,
    #[serde(default = "yes")]
    pub(super) drain: bool,
    #[serde(default)]
    pub(super) checkpoint_interval_ms: Option<u64>,
    #[serde(default = "fixed_delay")]
    pub(super) restart: String,
    #[serde(default)]
    pub(super) restart_attempts: Option<u64>,
    #[serde(default)]
    pub(super) restart_delay_ms: u64,
    #[serde(default)]
    pub(super) restore_watermark: bool,
    pub(super) stages: Vec<StageFile>,
    pub(super) steps: Vec<StepFile>,
    /// How the answer was found: without meaning here, where nothing is shared between operators or waits so long.
    #[serde(default, rename = "object_reuse")]
    _object_reuse: IgnoredAny,
    #[serde(default, rename = "timeout_ms")]
    _timeout_ms: IgnoredAny,
    /// Whether the answer says what was committed, too.
    #[serde(default, rename = "commit_sink")]
    _commit_sink: IgnoredAny,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StepFile {
    #[serde(default)]
    pub(super) e: Option<ElementFile>,
    #[serde(default)]
    pub(super) w: Option<i64>,
    #[serde(default)]
    pub(super) idle: Option<bool>,
    #[serde(default)]
    pub(super) active: Option<bool>,
    #[serde(default)]
    pub(super) cp: Option<bool>,
    #[serde(default)]
    pub(super) fail: Option<bool>,
    #[serde(default)]
    pub(super) sp: Option<u32>,
    #[serde(default)]
    pub(super) i: u32,
}

/// Key, value, event time, and for joins the side.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum ElementFile {
    Plain(String, i64, i64),
    Sided(String, i64, i64, i64),
}

impl ElementFile {
    pub(super) fn parts(&self) -> (&str, i64, i64, i64) {
        match self {
            Self::Plain(key, value, time_ms) => (key, *value, *time_ms, 0),
            Self::Sided(key, value, time_ms, side) => (key, *value, *time_ms, *side),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum StageFile {
    Map {
        #[serde(rename = "fn")]
        function: String,
        #[serde(default)]
        by: i64,
    },
    Filter {
        #[serde(rename = "fn")]
        function: String,
        #[serde(default)]
        a: i64,
        #[serde(default)]
        b: i64,
    },
    Repeat {
        n: u64,
    },
    Window {
        #[serde(default = "yes")]
        keyed: bool,
        assigner: AssignerFile,
        #[serde(default)]
        trigger: Option<TriggerFile>,
        #[serde(default)]
        evictor: Option<EvictorFile>,
        #[serde(default)]
        lateness: u64,
        #[serde(default)]
        side_output_late: bool,
        #[serde(rename = "fn")]
        function: FunctionFile,
    },
    CountWindow {
        size: u64,
        #[serde(default)]
        slide: Option<u64>,
        #[serde(rename = "fn")]
        function: FunctionFile,
    },
    State {
        kind: String,
        #[serde(default)]
        n: u64,
    },
    Rolling {
        agg: String,
    },
    Timers {
        kind: String,
        delay: u64,
    },
    Buffer {
        threshold: u64,
        #[serde(default)]
        union: bool,
    },
    IntervalJoin {
        lower: i64,
        upper: i64,
        #[serde(default)]
        lower_exclusive: bool,
        #[serde(default)]
        upper_exclusive: bool,
        #[serde(default)]
        side_output_late: bool,
    },
    WindowJoin {
        assigner: AssignerFile,
    },
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum AssignerFile {
    Tumbling {
        size: u64,
        #[serde(default)]
        offset: i64,
    },
    Sliding {
        size: u64,
        slide: u64,
        #[serde(default)]
        offset: i64,
    },
    Session {
        gap: u64,
    },
    SessionDynamic {
        base: i64,
        per_value: i64,
    },
    Global {},
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum TriggerFile {
    EventTime {},
    Count { n: u64 },
    ContinuousEventTime { interval: u64 },
    Delta { threshold: f64 },
    Purging { inner: Box<TriggerFile> },
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum EvictorFile {
    Count {
        n: u64,
        #[serde(default)]
        after: bool,
    },
    Time {
        size: u64,
        #[serde(default)]
        after: bool,
    },
    Delta {
        threshold: f64,
        #[serde(default)]
        after: bool,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FunctionFile {
    pub(super) kind: String,
    pub(super) agg: String,
    #[serde(default = "yes")]
    pub(super) bounds: bool,
}
