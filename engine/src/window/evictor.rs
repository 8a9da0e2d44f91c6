//! Evictors: which elements are dropped from a window when it fires (Flink `Evictor`).
//!
//! With an evictor a window keeps all its elements with their timestamps. What is evicted, before or after the
//! function saw it, is gone for the next firing too.

use std::time::Duration;

use super::Window;
use crate::{record::StreamRecord, time::Timestamp};

/// What an evictor is told beside the elements.
#[derive(Debug)]
pub struct EvictorContext<'a, W> {
    /// The window that fires.
    pub window: &'a W,
    /// The watermark that the operator has come to.
    pub watermark: Timestamp,
    /// The processing time, as last told to the operator.
    pub processing_time: Timestamp,
}

impl<W> Clone for EvictorContext<'_, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W> Copy for EvictorContext<'_, W> {}

/// Drops elements from a window that fires. Elements come in the order in which they arrived; those without a
/// timestamp have [`Timestamp::MIN`].
pub trait Evictor<T, W: Window>: Send + 'static {
    /// Drops what the function shall not see.
    fn evict_before(&mut self, elements: &mut Vec<StreamRecord<T>>, context: EvictorContext<'_, W>) {
        let _ = (elements, context);
    }

    /// Drops what the function has seen and the next firing shall not.
    fn evict_after(&mut self, elements: &mut Vec<StreamRecord<T>>, context: EvictorContext<'_, W>) {
        let _ = (elements, context);
    }
}

impl<T: 'static, W: Window> Evictor<T, W> for Box<dyn Evictor<T, W>> {
    fn evict_before(&mut self, elements: &mut Vec<StreamRecord<T>>, context: EvictorContext<'_, W>) {
        (**self).evict_before(elements, context);
    }
    fn evict_after(&mut self, elements: &mut Vec<StreamRecord<T>>, context: EvictorContext<'_, W>) {
        (**self).evict_after(elements, context);
    }
}

/// When an evictor acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Before the function sees the elements.
    #[default]
    Before,
    /// After it.
    After,
}

macro_rules! evicts_in_phase {
    ($evictor:ident $(<$parameter:ident>)? $(where $bound:ty: $($of:tt)*)?) => {
        impl<T, W: Window $(, $parameter)?> Evictor<T, W> for $evictor $(<$parameter>)? $(where $bound: $($of)*)? {
            fn evict_before(&mut self, elements: &mut Vec<StreamRecord<T>>, _context: EvictorContext<'_, W>) {
                if self.phase == Phase::Before {
                    self.evict(elements);
                }
            }
            fn evict_after(&mut self, elements: &mut Vec<StreamRecord<T>>, _context: EvictorContext<'_, W>) {
                if self.phase == Phase::After {
                    self.evict(elements);
                }
            }
        }
    };
}

/// Keeps the elements that came last (Flink `CountEvictor`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountEvictor {
    elements_max: u64,
    phase: Phase,
}

impl CountEvictor {
    /// Keeps at most `elements_max` elements.
    pub fn of(elements_max: u64, phase: Phase) -> Self {
        Self { elements_max, phase }
    }

    fn evict<T>(&mut self, elements: &mut Vec<StreamRecord<T>>) {
        let keep = usize::try_from(self.elements_max).unwrap_or(usize::MAX);
        elements.drain(..elements.len().saturating_sub(keep));
    }
}

evicts_in_phase!(CountEvictor);

/// Keeps the elements that are younger than the youngest one's age plus a size (Flink `TimeEvictor`).
///
/// Drops nothing if the elements have no timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeEvictor {
    size: Duration,
    phase: Phase,
}

impl TimeEvictor {
    /// Drops elements that are `size` or more before the latest.
    pub fn of(size: Duration, phase: Phase) -> Self {
        Self { size, phase }
    }

    fn evict<T>(&mut self, elements: &mut Vec<StreamRecord<T>>) {
        let Some(first) = elements.first() else { return };
        if first.timestamp == Timestamp::MIN {
            return;
        }
        let latest = elements.iter().map(|element| element.timestamp).max().unwrap_or(Timestamp::MIN);
        let cutoff = latest.saturating_sub(self.size);
        elements.retain(|element| element.timestamp > cutoff);
    }
}

evicts_in_phase!(TimeEvictor);

/// Keeps the elements that differ little from the last one (Flink `DeltaEvictor`).
#[derive(Debug, Clone, Copy)]
pub struct DeltaEvictor<F> {
    threshold: f64,
    delta: F,
    phase: Phase,
}

impl<F> DeltaEvictor<F> {
    /// Drops elements for which `delta(element, last)` is `threshold` or more.
    pub fn of(threshold: f64, delta: F, phase: Phase) -> Self {
        Self { threshold, delta, phase }
    }

    fn evict<T>(&mut self, elements: &mut Vec<StreamRecord<T>>)
    where
        F: FnMut(&T, &T) -> f64,
    {
        let Some(last) = elements.pop() else { return };
        let (threshold, delta) = (self.threshold, &mut self.delta);
        elements.retain(|element| delta(&element.value, &last.value) < threshold);
        if delta(&last.value, &last.value) < threshold {
            elements.push(last);
        }
    }
}

evicts_in_phase!(DeltaEvictor<F> where F: FnMut(&T, &T) -> f64 + Send + 'static);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::GlobalWindow;

    fn evicted(mut evictor: impl Evictor<i64, GlobalWindow>, elements: &[(i64, i64)]) -> Vec<i64> {
        let context =
            EvictorContext { window: &GlobalWindow, watermark: Timestamp::MIN, processing_time: Timestamp::MIN };
        let mut elements =
            elements.iter().map(|(value, timestamp)| StreamRecord::new(*value, Timestamp(*timestamp))).collect();
        evictor.evict_before(&mut elements, context);
        elements.into_iter().map(|element| element.value).collect()
    }

    #[test]
    fn the_last_elements_stay() {
        let elements = [(1, 5), (2, 4), (3, 3)];
        assert_eq!(evicted(CountEvictor::of(2, Phase::Before), &elements), [2, 3]);
        assert_eq!(evicted(CountEvictor::of(5, Phase::Before), &elements), [1, 2, 3]);
        assert_eq!(evicted(CountEvictor::of(1, Phase::After), &elements), [1, 2, 3], "not yet");
    }

    #[test]
    fn the_youngest_elements_stay_wherever_they_stand() {
        let evictor = TimeEvictor::of(Duration::from_millis(10), Phase::Before);
        assert_eq!(evicted(evictor, &[(1, 11), (2, 20), (3, 10), (4, 15)]), [1, 2, 4]);
        let without = i64::MIN;
        assert_eq!(evicted(evictor, &[(1, without), (2, without)]), [1, 2]);
    }

    #[test]
    fn elements_far_from_the_last_are_dropped() {
        let distance = |one: &i64, other: &i64| (one - other).abs() as f64;
        let elements = [(1, 0), (9, 0), (5, 0), (7, 0)];
        assert_eq!(evicted(DeltaEvictor::of(3.0, distance, Phase::Before), &elements), [9, 5, 7]);
        assert_eq!(evicted(DeltaEvictor::of(2.0, distance, Phase::Before), &elements), [7]);
    }
}
