//! One window for everything.

use super::{AssignerContext, WindowAssigner};
use crate::{
    time::TimeDomain,
    window::{DefaultTrigger, GlobalWindow},
};

/// Puts all elements of a key into one window, which never fires unless a trigger is given (Flink `GlobalWindows`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GlobalWindows;

impl<T> WindowAssigner<T> for GlobalWindows {
    type Window = GlobalWindow;
    type Windows = std::iter::Once<GlobalWindow>;

    #[inline]
    fn assign(&mut self, _element: &T, _context: AssignerContext) -> Self::Windows {
        std::iter::once(GlobalWindow)
    }

    /// No event time makes an element late for it, and none is needed.
    #[inline]
    fn time_domain(&self) -> TimeDomain {
        TimeDomain::ProcessingTime
    }

    fn default_trigger(&self) -> DefaultTrigger {
        DefaultTrigger::Never
    }
}
