//! Windows: which ones a record belongs to, when their results are due, and which records are dropped from them. Rules
//! and values only; the window operator ([`crate::operator::WindowOperator`]) keeps their contents.

pub mod assigner;
pub mod evictor;
mod global_window;
mod merging;
mod time_window;
pub mod trigger;

pub use assigner::{
    AssignerContext, DynamicSessionWindows, GlobalWindows, InvalidWindows, SessionWindows, SlidingWindows, Stagger,
    TumblingWindows, WindowAssigner,
};
pub use evictor::{CountEvictor, DeltaEvictor, Evictor, EvictorContext, Phase, TimeEvictor};
pub use global_window::GlobalWindow;
pub use merging::{Added, Merge, MergedWindow, MergingWindowSet};
pub use time_window::{TimeWindow, Window, WindowPeriod, cleanup_time, window_start};
pub use trigger::{
    AnyTrigger, ContinuousEventTimeTrigger, ContinuousProcessingTimeTrigger, CountTrigger, DefaultTrigger,
    DeltaTrigger, EndOfStreamTrigger, EventTimeTrigger, NeverTrigger, Now, ProcessingTimeTrigger,
    ProcessingTimeoutTrigger, PurgingTrigger, Trigger, TriggerContext, TriggerResult,
};
