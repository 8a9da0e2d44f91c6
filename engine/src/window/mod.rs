//! Windows: which ones a record belongs to, and when their results are due. Rules and values only; the window
//! operator ([`crate::operator::WindowOperator`]) keeps their contents.

mod assigner;
mod time_window;
mod trigger;

pub use assigner::{InvalidWindows, SlidingWindows, SlidingWindowsOfRecord, TumblingWindows, WindowAssigner};
pub use time_window::{TimeWindow, Window, WindowPeriod, cleanup_time, window_start};
pub use trigger::{
    Arrival, DefaultTrigger, EventTimeTrigger, ProcessingTimeTrigger, Trigger, TriggerContext, TriggerResult,
};
