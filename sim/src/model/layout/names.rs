//! The names of states.

/// The state of a running aggregate, and of functions with aggregating state.
pub const AGGREGATE: &str = "aggregate";
/// The state of a rolling reduction.
pub const REDUCED: &str = "reduced";
/// The contents of windows.
pub const WINDOW_CONTENTS: &str = "window-contents";
/// The open sessions of a key.
pub const MERGING_WINDOW_SET: &str = "merging-window-set";
/// The records that a count trigger has counted.
pub const TRIGGER_COUNT: &str = "trigger-count";
/// When a continuous trigger fires next.
pub const TRIGGER_NEXT: &str = "trigger-next-event-time";
/// The record at which a delta trigger fired last.
pub const TRIGGER_LAST: &str = "trigger-delta-last";
/// How often a window has emitted.
pub const FIRINGS: &str = "firings";
/// How often the windows of a key have emitted.
pub const KEY_FIRINGS: &str = "key-firings";
/// `value_avg`: count and sum.
pub const COUNT_AND_SUM: &str = "count-and-sum";
/// `list_avg`, `map_avg`: the values.
pub const VALUES: &str = "values";
/// `map_count`: how often each value came.
pub const TIMES: &str = "times";
/// `reducing_sum`: the sum.
pub const SUM: &str = "sum";
/// `value_count`: the number of records.
pub const COUNT: &str = "count";
/// `dedup`: whether there was a record.
pub const SEEN: &str = "seen";
/// Functions with timers: the number of records, and the timer.
pub const COUNT_AND_DUE: &str = "count-and-due";
/// What an interval join keeps of its left input.
pub const LEFT_BUFFER: &str = "left-buffer";
/// What an interval join keeps of its right input.
pub const RIGHT_BUFFER: &str = "right-buffer";
/// What a buffer holds.
pub const BUFFERED: &str = "buffered";
/// The rules of a join with rules.
pub const RULES: &str = "rules";
/// Timers in event time.
pub const EVENT_TIMERS: &str = "_timer_event";
/// Timers in processing time.
pub const PROCESSING_TIMERS: &str = "_timer_processing";
