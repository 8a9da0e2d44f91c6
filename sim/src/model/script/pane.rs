//! Windows: which ones a record belongs to, and which sessions become one.

use std::{collections::BTreeSet, time::Duration};

use tidegate::pipeline::Assigner;

/// A window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pane {
    /// Everything.
    Global,
    /// From `start_ms` up to, not including, `end_ms`.
    Time {
        /// Its first millisecond.
        start_ms: i64,
        /// The first millisecond after it.
        end_ms: i64,
    },
}

impl Pane {
    pub(super) fn time(start_ms: i64, end_ms: i64) -> Self {
        Self::Time { start_ms, end_ms }
    }

    /// Its last millisecond.
    pub fn max_ms(self) -> i64 {
        match self {
            Self::Global => i64::MAX,
            Self::Time { end_ms, .. } => end_ms - 1,
        }
    }

    /// Whether the two overlap or touch.
    fn meets(self, other: Self) -> bool {
        match (self, other) {
            (Self::Time { start_ms, end_ms }, Self::Time { start_ms: other_start, end_ms: other_end }) => {
                start_ms <= other_end && other_start <= end_ms
            }
            (Self::Global, _) | (_, Self::Global) => true,
        }
    }
}

impl std::fmt::Display for Pane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Global => f.write_str("[all]"),
            Self::Time { start_ms, end_ms } => write!(f, "[{start_ms}, {end_ms})"),
        }
    }
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The windows of a record at a time, in the order in which it goes into them: the latest first.
pub(super) fn assign(assigner: &Assigner, dynamic_gap_ms: Option<i64>, time_ms: i64) -> Vec<Pane> {
    match assigner {
        Assigner::Tumbling { size, offset } => {
            let size_ms = millis(*size);
            let start_ms = last_start(time_ms, millis(*offset), size_ms);
            vec![Pane::time(start_ms, start_ms.saturating_add(size_ms))]
        }
        Assigner::Sliding { size, slide, offset } => {
            let (size_ms, slide_ms) = (millis(*size), millis(*slide));
            let mut panes = Vec::new();
            let mut start_ms = last_start(time_ms, millis(*offset), slide_ms);
            while start_ms > time_ms.saturating_sub(size_ms) {
                panes.push(Pane::time(start_ms, start_ms.saturating_add(size_ms)));
                start_ms -= slide_ms;
            }
            panes
        }
        Assigner::Session { gap } => vec![Pane::time(time_ms, time_ms.saturating_add(millis(*gap)))],
        Assigner::DynamicSession { .. } => {
            let gap_ms = dynamic_gap_ms.expect("a dynamic session has the gap of the record");
            vec![Pane::time(time_ms, time_ms.saturating_add(gap_ms))]
        }
        Assigner::Global | Assigner::Count { .. } => vec![Pane::Global],
    }
}

/// The latest time up to this one that is an offset and a multiple of the period.
fn last_start(time_ms: i64, offset_ms: i64, period_ms: i64) -> i64 {
    time_ms - (time_ms - offset_ms).rem_euclid(period_ms)
}

/// A session that has grown by a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grown {
    /// What it is now.
    pub pane: Pane,
    /// The sessions that there were and that are part of it, earliest first.
    pub of: Vec<Pane>,
}

/// What the open sessions and a new window make.
pub(super) fn grow(open: &BTreeSet<Pane>, new: Pane) -> Grown {
    let of: Vec<Pane> = open.iter().copied().filter(|session| session.meets(new)).collect();
    let pane = of.iter().fold(new, |cover, session| match (cover, *session) {
        (Pane::Time { start_ms, end_ms }, Pane::Time { start_ms: other_start, end_ms: other_end }) => {
            Pane::time(start_ms.min(other_start), end_ms.max(other_end))
        }
        (Pane::Global, _) | (_, Pane::Global) => Pane::Global,
    });
    Grown { pane, of }
}
