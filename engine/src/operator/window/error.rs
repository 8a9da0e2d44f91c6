//! What can be wrong with windows while they run.

use crate::{
    error::{Error, ErrorKind},
    time::Timestamp,
};

/// Why a window operator cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// The windows merge and the trigger does not know how to.
    #[error("the trigger cannot be used with windows that merge")]
    TriggerCannotMerge,
    /// An assigner merged windows into one that would be forgotten before it began.
    #[error("windows were merged into {window}, which is over already at {time}")]
    MergedIntoThePast {
        /// The result.
        window: String,
        /// The watermark, or the processing time.
        time: Timestamp,
    },
    /// A window in flight has no contents' place.
    #[error("window {window} is not in flight")]
    NotInFlight {
        /// The window.
        window: String,
    },
    /// State of a window was asked for that may become another window.
    #[error("per-window state is not allowed where windows merge")]
    PerWindowState,
    /// An element has no event time.
    #[error("a record without a timestamp has come to windows in event time")]
    NoTimestamp,
}

impl From<WindowError> for Error {
    fn from(error: WindowError) -> Self {
        let (kind, hint) = match &error {
            WindowError::TriggerCannotMerge => {
                (ErrorKind::Configuration, "use a trigger that can merge, or windows that do not")
            }
            WindowError::MergedIntoThePast { .. } => {
                (ErrorKind::UserFunction, "a window assigner must not make windows smaller by merging them")
            }
            WindowError::NotInFlight { .. } => {
                (ErrorKind::UserFunction, "a window assigner must merge windows that it was given")
            }
            WindowError::PerWindowState => (ErrorKind::UserFunction, "keep it in global state, or use a trigger"),
            WindowError::NoTimestamp => {
                (ErrorKind::Configuration, "give the stream a WatermarkStrategy with a timestamp assigner")
            }
        };
        Self::new(kind, "a window operator cannot go on").with_source(error).with_hint(hint)
    }
}
