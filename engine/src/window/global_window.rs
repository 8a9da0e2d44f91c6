//! The one window that holds everything (Flink `GlobalWindow`).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Window;
use crate::time::Timestamp;

/// A window without an end: it is never cleaned up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct GlobalWindow;

impl Window for GlobalWindow {
    #[inline]
    fn max_timestamp(&self) -> Timestamp {
        Timestamp::MAX
    }
}

impl fmt::Display for GlobalWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("global")
    }
}
