//! The kinds of stages that keep state: what generated pipelines are drawn from, and the rows of the matrix.
//!
//! A kind says which state is kept and by which operator, not with which numbers. Its name is stable: scenarios pin kinds
//! by it, or by the first parts of it (`session`, `session/count`).

use tidegate::pipeline::{BufferMode, TimerPattern, WindowTime};

/// A kind of stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageKind {
    /// A function with one kind of keyed state.
    Keyed(KeyedKind),
    /// The same, where state has a time to live.
    Ttl(KeyedKind),
    /// A function with timers.
    Timers(TimerPattern, WindowTime),
    /// A buffer in operator state.
    Operator(BufferMode),
    /// A join with rules in broadcast state.
    Broadcast,
    /// A running aggregate.
    Running,
    /// A reduction of each key to one record.
    Rolling,
    /// Two streams that become one, folded at the end.
    Union,
    /// A join by an interval of event time, both sides in one input.
    IntervalJoin,
    /// A join by an interval of event time with two inputs.
    CoIntervalJoin,
    /// A join by a shared window.
    WindowJoin,
    /// A window.
    Window(WindowKind),
}

/// A function with keyed state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the function of the pipeline with this name")]
pub enum KeyedKind {
    ValueAvg,
    ValueCount,
    Dedup,
    ListAvg,
    MapAvg,
    MapCount,
    ReducingSum,
    AggregatingAvg,
    AggregatingContains,
    RawCount,
}

/// A window: assigner, trigger, function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowKind {
    /// The assigner.
    pub assigner: AssignerKind,
    /// The trigger.
    pub trigger: TriggerKind,
    /// The function.
    pub function: FunctionKind,
}

/// The assigner of a window, with its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the assigner of the pipeline with this name")]
pub enum AssignerKind {
    Tumbling,
    Sliding,
    Session,
    DynamicSession,
    Global,
    Count,
    CountSliding,
    /// Tumbling windows of all records, without a key.
    All,
    ProcessingTumbling,
    ProcessingSliding,
    ProcessingSession,
}

/// The trigger of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TriggerKind {
    /// The assigner's.
    Own,
    /// At every n-th record.
    Count,
    /// At regular times of the window's clock.
    Continuous,
    /// At a change of a value.
    Delta,
    /// At the end of the input.
    EndOfStream,
    /// At every n-th record, emptying the window.
    Purging,
    /// At every n-th record, or when nothing came for a while.
    Timeout,
}

/// What is made of the records of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunctionKind {
    /// Aggregates, folded as records arrive.
    Aggregate,
    /// Two records become one.
    Reduce,
    /// All records are kept.
    Process,
    /// All records are kept, and some are dropped at each firing.
    Evicting,
}

const KEYED: [KeyedKind; 10] = [
    KeyedKind::ValueAvg,
    KeyedKind::ValueCount,
    KeyedKind::Dedup,
    KeyedKind::ListAvg,
    KeyedKind::MapAvg,
    KeyedKind::MapCount,
    KeyedKind::ReducingSum,
    KeyedKind::AggregatingAvg,
    KeyedKind::AggregatingContains,
    KeyedKind::RawCount,
];

const ASSIGNERS: [AssignerKind; 11] = [
    AssignerKind::Tumbling,
    AssignerKind::Sliding,
    AssignerKind::Session,
    AssignerKind::DynamicSession,
    AssignerKind::Global,
    AssignerKind::Count,
    AssignerKind::CountSliding,
    AssignerKind::All,
    AssignerKind::ProcessingTumbling,
    AssignerKind::ProcessingSliding,
    AssignerKind::ProcessingSession,
];

const FUNCTIONS: [FunctionKind; 4] =
    [FunctionKind::Aggregate, FunctionKind::Reduce, FunctionKind::Process, FunctionKind::Evicting];

impl StageKind {
    /// All kinds: first those of states, then windows.
    pub fn all() -> Vec<Self> {
        let patterns = [TimerPattern::Every, TimerPattern::Timeout, TimerPattern::Replace];
        let timers = |time| patterns.map(|pattern| Self::Timers(pattern, time));
        let mut all: Vec<Self> = KEYED.map(Self::Keyed).to_vec();
        all.extend([Self::Running, Self::Rolling, Self::Union]);
        all.extend([BufferMode::Split, BufferMode::Union, BufferMode::Raw].map(Self::Operator));
        all.push(Self::Broadcast);
        all.extend(timers(WindowTime::Event));
        all.extend(timers(WindowTime::Processing));
        all.extend(KEYED.into_iter().filter(|kind| kind.is_typed()).map(Self::Ttl));
        all.extend([Self::IntervalJoin, Self::CoIntervalJoin, Self::WindowJoin]);
        for assigner in ASSIGNERS {
            for trigger in assigner.triggers() {
                let functions = FUNCTIONS.into_iter().filter(|function| assigner.takes(*function));
                all.extend(
                    functions.map(|function| Self::Window(WindowKind { assigner, trigger: *trigger, function })),
                );
            }
        }
        all
    }

    /// The kinds whose name is this, or starts with it and goes on with another part.
    pub fn named(pattern: &str) -> Vec<Self> {
        let matches =
            |name: &str| name.strip_prefix(pattern).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        Self::all().into_iter().filter(|kind| matches(&kind.name())).collect()
    }

    /// The stable name.
    pub fn name(self) -> String {
        match self {
            Self::Keyed(kind) => kind.name().to_owned(),
            Self::Ttl(kind) => format!("ttl/{}", kind.name()),
            Self::Timers(pattern, time) => format!("timers/{}/{}", time_name(time), pattern_name(pattern)),
            Self::Operator(mode) => format!("operator/{}", mode_name(mode)),
            Self::Broadcast => "broadcast".to_owned(),
            Self::Running => "running".to_owned(),
            Self::Rolling => "rolling".to_owned(),
            Self::Union => "union".to_owned(),
            Self::IntervalJoin => "interval_join".to_owned(),
            Self::CoIntervalJoin => "co_interval_join".to_owned(),
            Self::WindowJoin => "window_join".to_owned(),
            Self::Window(WindowKind { assigner, trigger, function }) => {
                format!("{}/{}/{}", assigner.name(), trigger.name(), function.name())
            }
        }
    }

    /// The state or window that it is about: the part of the name that a table shows for all kinds of one sort.
    pub fn sort(self) -> String {
        let name = self.name();
        match self {
            Self::Timers(..) => name.rsplit_once('/').map_or(name.clone(), |(sort, _)| sort.to_owned()),
            Self::Window(window) => window.assigner.name().to_owned(),
            Self::Keyed(_)
            | Self::Ttl(_)
            | Self::Operator(_)
            | Self::Broadcast
            | Self::Running
            | Self::Rolling
            | Self::Union
            | Self::IntervalJoin
            | Self::CoIntervalJoin
            | Self::WindowJoin => name,
        }
    }

    /// Whether it is a window.
    pub fn is_window(self) -> bool {
        matches!(self, Self::Window(_))
    }

    /// Whether it has windows that merge.
    pub(super) fn merges(self) -> bool {
        matches!(self, Self::Window(window) if window.assigner.merges())
    }

    /// Whether a machine's clock decides its results.
    pub fn has_clock(self) -> bool {
        match self {
            Self::Ttl(_) => true,
            Self::Timers(_, time) => time == WindowTime::Processing,
            Self::Window(window) => window.assigner.is_processing() || window.trigger == TriggerKind::Timeout,
            Self::Keyed(_)
            | Self::Operator(_)
            | Self::Broadcast
            | Self::Running
            | Self::Rolling
            | Self::Union
            | Self::IntervalJoin
            | Self::CoIntervalJoin
            | Self::WindowJoin => false,
        }
    }

    /// Whether its results for a key follow from the order of that key's records alone, whenever watermarks come.
    pub(super) fn follows_order(self) -> bool {
        match self {
            Self::Keyed(_) | Self::Running | Self::Rolling => true,
            Self::Window(window) => match window.assigner {
                AssignerKind::Count | AssignerKind::CountSliding => true,
                AssignerKind::Global => {
                    matches!(window.trigger, TriggerKind::Count | TriggerKind::Delta | TriggerKind::Purging)
                }
                AssignerKind::Tumbling
                | AssignerKind::Sliding
                | AssignerKind::Session
                | AssignerKind::DynamicSession
                | AssignerKind::All
                | AssignerKind::ProcessingTumbling
                | AssignerKind::ProcessingSliding
                | AssignerKind::ProcessingSession => false,
            },
            Self::Ttl(_)
            | Self::Timers(..)
            | Self::Operator(_)
            | Self::Broadcast
            | Self::Union
            | Self::IntervalJoin
            | Self::CoIntervalJoin
            | Self::WindowJoin => false,
        }
    }

    /// Whether it has two inputs that come by channels of their own, so that only what does not depend on the order
    /// between them is determined.
    pub(super) fn has_two_inputs(self) -> bool {
        matches!(self, Self::Broadcast | Self::CoIntervalJoin | Self::WindowJoin | Self::Union)
    }

    /// Whether it can be followed by another stage with state: its results have an order for each key, and event times
    /// that mean something.
    pub(super) fn can_be_followed(self) -> bool {
        match self {
            Self::Keyed(_) | Self::Rolling | Self::Running | Self::Timers(_, WindowTime::Event) => true,
            Self::Window(window) => {
                !self.has_clock()
                    && !matches!(
                        window.assigner,
                        AssignerKind::All | AssignerKind::Global | AssignerKind::Count | AssignerKind::CountSliding
                    )
            }
            Self::Ttl(_)
            | Self::Timers(_, WindowTime::Processing)
            | Self::Operator(_)
            | Self::Broadcast
            | Self::Union
            | Self::IntervalJoin
            | Self::CoIntervalJoin
            | Self::WindowJoin => false,
        }
    }
}

fn time_name(time: WindowTime) -> &'static str {
    match time {
        WindowTime::Event => "event",
        WindowTime::Processing => "processing",
    }
}

fn pattern_name(pattern: TimerPattern) -> &'static str {
    match pattern {
        TimerPattern::Every => "every",
        TimerPattern::Timeout => "timeout",
        TimerPattern::Replace => "replace",
    }
}

fn mode_name(mode: BufferMode) -> &'static str {
    match mode {
        BufferMode::Split => "list",
        BufferMode::Union => "union_list",
        BufferMode::Raw => "raw",
    }
}

impl KeyedKind {
    fn name(self) -> &'static str {
        match self {
            Self::ValueAvg => "value_avg",
            Self::ValueCount => "value_count",
            Self::Dedup => "dedup",
            Self::ListAvg => "list_avg",
            Self::MapAvg => "map_avg",
            Self::MapCount => "map_count",
            Self::ReducingSum => "reducing_sum",
            Self::AggregatingAvg => "aggregating_avg",
            Self::AggregatingContains => "aggregating_contains",
            Self::RawCount => "raw_count",
        }
    }

    /// Whether the engine knows its state's type, so that it can have a time to live.
    fn is_typed(self) -> bool {
        self != Self::RawCount
    }
}

impl AssignerKind {
    fn name(self) -> &'static str {
        match self {
            Self::Tumbling => "tumbling",
            Self::Sliding => "sliding",
            Self::Session => "session",
            Self::DynamicSession => "dynamic_session",
            Self::Global => "global",
            Self::Count => "count",
            Self::CountSliding => "count_sliding",
            Self::All => "all",
            Self::ProcessingTumbling => "processing_tumbling",
            Self::ProcessingSliding => "processing_sliding",
            Self::ProcessingSession => "processing_session",
        }
    }

    /// Whether its windows are in processing time.
    pub(super) fn is_processing(self) -> bool {
        matches!(self, Self::ProcessingTumbling | Self::ProcessingSliding | Self::ProcessingSession)
    }

    /// Whether its windows merge.
    pub(super) fn merges(self) -> bool {
        matches!(self, Self::Session | Self::DynamicSession | Self::ProcessingSession)
    }

    /// The triggers that make sense with it.
    fn triggers(self) -> &'static [TriggerKind] {
        use TriggerKind::{Continuous, Count, Delta, EndOfStream, Own, Purging, Timeout};
        match self {
            Self::Tumbling | Self::Sliding | Self::All => &[Own, Count, Continuous, Delta, EndOfStream, Purging],
            Self::Session | Self::DynamicSession => &[Own, Count, Continuous, Purging],
            // A continuous trigger would fire without end when the input of the global window ends.
            Self::Global => &[Count, Delta, EndOfStream, Purging, Timeout],
            Self::Count | Self::CountSliding => &[Own],
            Self::ProcessingTumbling | Self::ProcessingSliding => &[Own, Count, Continuous, Purging, Timeout],
            Self::ProcessingSession => &[Own, Count, Purging],
        }
    }

    /// Windows of a number of records have their own evictor.
    fn takes(self, function: FunctionKind) -> bool {
        !(function == FunctionKind::Evicting && matches!(self, Self::Count | Self::CountSliding))
    }
}

impl TriggerKind {
    /// The part of a kind's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Count => "count",
            Self::Continuous => "continuous",
            Self::Delta => "delta",
            Self::EndOfStream => "end_of_stream",
            Self::Purging => "purging",
            Self::Timeout => "timeout",
        }
    }
}

impl FunctionKind {
    /// The part of a kind's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aggregate => "aggregate",
            Self::Reduce => "reduce",
            Self::Process => "process",
            Self::Evicting => "evicting",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        let all = StageKind::all();
        let names: BTreeSet<String> = all.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), all.len());
    }

    #[test]
    fn a_kind_is_found_by_its_name_and_by_the_first_parts_of_it() {
        for kind in StageKind::all() {
            assert_eq!(StageKind::named(&kind.name()), [kind]);
        }
        let sessions = StageKind::named("session");
        assert_eq!(sessions.len(), 16);
        assert!(sessions.iter().all(|kind| kind.sort() == "session"));
        assert_eq!(StageKind::named("sess"), []);
    }
}
