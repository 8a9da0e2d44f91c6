//! What passes between stages: records with their event time, watermarks, and whether a channel is idle.

use tidegate::pipeline::Row;

/// A record with its event time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    /// The values.
    pub row: Row,
    /// Milliseconds since the epoch.
    pub time_ms: i64,
}

/// What a channel carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A record.
    Record(Element),
    /// A watermark, in milliseconds since the epoch.
    Watermark(i64),
    /// The channel does not hold the watermark back any more.
    Idle,
    /// It does again.
    Active,
}

/// What a stage has emitted, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Emitted {
    /// A result.
    Record(Element),
    /// A record that came too late, for the side output.
    Late(Element),
    /// The watermark, after everything that it caused.
    Watermark(i64),
    /// All inputs are idle.
    Idle,
    /// One is not any more.
    Active,
}

/// The results of one call of a stage.
#[derive(Debug, Clone, Default)]
pub(super) struct Output {
    /// Everything, in order.
    pub emitted: Vec<Emitted>,
}

impl Output {
    pub(super) fn record(&mut self, row: Row, time_ms: i64) {
        self.emitted.push(Emitted::Record(Element { row, time_ms }));
    }

    pub(super) fn late(&mut self, element: Element) {
        self.emitted.push(Emitted::Late(element));
    }
}
