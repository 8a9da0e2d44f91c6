//! Windows that merge: the windows of one key that are in flight, and where the contents of each are kept.
//!
//! Guarantees: after [`MergingWindowSet::add`] no two windows in flight belong together; each has one state window, the
//! namespace of its contents, that stays what it was however often the window grows; of several that merge, the state
//! window of the smallest survives. A window that equals one in flight changes nothing.
//! Flink: `MergingWindowSet`, which picks the surviving state window by hash order and forgets the contents of a merged
//! window if an equal one is added.

use super::Window;
use crate::planted;

/// Windows that are to become one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergedWindow<W> {
    /// What they become.
    pub result: W,
    /// Which they are: at least two different ones.
    pub sources: Vec<W>,
}

/// What has to happen to trigger, timers and contents because windows merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merge<W> {
    /// The window that they become.
    pub result: W,
    /// The windows that were in flight and now are not, smallest first. The new window is not among them.
    pub sources: Vec<W>,
    /// Where the contents of the result are kept.
    pub state_window: W,
    /// Where contents were kept that belong there now.
    pub merged_state_windows: Vec<W>,
}

/// What the window of an element has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added<W> {
    /// The window that the element is in.
    pub window: W,
    /// Whether the set is not what it was.
    pub changed: bool,
}

/// The windows of a key that are in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergingWindowSet<W> {
    /// Window and state window, sorted by window.
    in_flight: Vec<(W, W)>,
}

impl<W: Window> MergingWindowSet<W> {
    /// The set that was kept as pairs of window and state window.
    pub fn restore(mut pairs: Vec<(W, W)>) -> Self {
        if pairs.len() > 1 {
            pairs.sort_unstable();
        }
        Self { in_flight: pairs }
    }

    /// Pairs of window and state window: what is to be kept.
    pub fn pairs(&self) -> &[(W, W)] {
        &self.in_flight
    }

    /// The same, when the set is not needed any more.
    pub fn into_pairs(self) -> Vec<(W, W)> {
        self.in_flight
    }

    /// Where the contents of a window in flight are kept.
    pub fn state_window(&self, window: &W) -> Option<&W> {
        let index = self.position(window).ok()?;
        Some(&self.in_flight[index].1)
    }

    /// The window is over.
    pub fn retire(&mut self, window: &W) {
        self.remove(window);
    }

    /// Adds the window of an element. `merge_windows` says which of the given windows belong together; what really
    /// changes because of that is appended to `merges`.
    pub fn add(
        &mut self,
        new: W,
        merge_windows: impl FnOnce(&[W]) -> Vec<MergedWindow<W>>,
        merges: &mut Vec<Merge<W>>,
    ) -> Added<W> {
        if self.position(&new).is_ok() {
            let orphans = planted!("equal_window_orphans_session_state");
            if orphans {
                self.remove(&new);
                self.insert(new.clone(), new.clone());
            }
            return Added { window: new, changed: orphans };
        }
        let mut changed = false;
        let mut windows: Vec<W> = self.in_flight.iter().map(|(window, _)| window.clone()).collect();
        windows.push(new.clone());
        let mut of_new = None;
        for MergedWindow { result, mut sources } in merge_windows(&windows) {
            if sources.contains(&new) {
                of_new = Some(result.clone());
            }
            sources.retain(|source| *source != new && self.position(source).is_ok());
            sources.sort_unstable();
            sources.dedup();
            if let Some(merge) = self.merge(result, sources) {
                merges.push(merge);
                changed = true;
            }
        }
        let window = of_new.unwrap_or(new);
        if self.position(&window).is_err() {
            self.insert(window.clone(), window.clone());
            changed = true;
        }
        Added { window, changed }
    }

    /// Lets `result` stand for `sources`, which are in flight.
    fn merge(&mut self, result: W, sources: Vec<W>) -> Option<Merge<W>> {
        // A window that lies within one in flight changes nothing.
        if sources.is_empty() || sources == [result.clone()] {
            return None;
        }
        let mut state_windows: Vec<W> = sources.iter().filter_map(|source| self.remove(source)).collect();
        let state_window = state_windows.remove(0);
        self.insert(result.clone(), state_window.clone());
        Some(Merge { result, sources, state_window, merged_state_windows: state_windows })
    }

    fn position(&self, window: &W) -> Result<usize, usize> {
        self.in_flight.binary_search_by(|(in_flight, _)| in_flight.cmp(window))
    }

    fn insert(&mut self, window: W, state_window: W) {
        match self.position(&window) {
            Ok(index) => self.in_flight[index].1 = state_window,
            Err(index) => self.in_flight.insert(index, (window, state_window)),
        }
    }

    fn remove(&mut self, window: &W) -> Option<W> {
        let index = self.position(window).ok()?;
        Some(self.in_flight.remove(index).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{time::Timestamp, window::TimeWindow};

    fn window(start: i64, end: i64) -> TimeWindow {
        TimeWindow::new(Timestamp(start), Timestamp(end))
    }

    fn add(set: &mut MergingWindowSet<TimeWindow>, new: TimeWindow) -> (TimeWindow, Vec<Merge<TimeWindow>>) {
        let mut merges = Vec::new();
        (set.add(new, TimeWindow::merge, &mut merges).window, merges)
    }

    #[test]
    fn the_state_window_of_the_smallest_survives_a_merge_of_three() {
        let mut set = MergingWindowSet::restore(vec![(window(20, 25), window(22, 25)), (window(0, 8), window(3, 6))]);
        let (result, merges) = add(&mut set, window(8, 20));
        assert_eq!(result, window(0, 25));
        let merge = Merge {
            result,
            sources: vec![window(0, 8), window(20, 25)],
            state_window: window(3, 6),
            merged_state_windows: vec![window(22, 25)],
        };
        assert_eq!(merges, [merge]);
        assert_eq!(set.pairs(), [(window(0, 25), window(3, 6))]);
    }

    #[test]
    fn a_window_within_or_equal_to_one_in_flight_changes_nothing() {
        let before = vec![(window(0, 8), window(3, 6))];
        for new in [window(0, 8), window(2, 4), window(0, 1)] {
            let mut set = MergingWindowSet::restore(before.clone());
            assert_eq!(add(&mut set, new), (window(0, 8), vec![]), "{new}");
            assert_eq!(set.pairs(), before);
        }
    }

    #[test]
    fn a_retired_window_is_forgotten() {
        let mut set = MergingWindowSet::restore(Vec::new());
        add(&mut set, window(0, 8));
        set.retire(&window(0, 7));
        assert_eq!(set.state_window(&window(0, 8)), Some(&window(0, 8)));
        set.retire(&window(0, 8));
        assert_eq!(set.pairs(), []);
    }
}
