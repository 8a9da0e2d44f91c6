//! The functions with state that a pipeline can name: ordinary functions over the typed API, and examples of it.
//!
//! Each takes rows and gives rows: the key's fields, a value, and for most of them a text. Sums wrap around and averages
//! truncate, as Java's do.

mod average;
mod buffer;
mod count;
mod enrich;
mod fold;
mod processed;
mod raw_count;
mod timers;

pub(super) use average::{ListAverage, MapAverage, ValueAverage};
pub(super) use buffer::Buffer;
pub(super) use count::{Dedup, MapCount, ValueCount};
pub(super) use enrich::Enrich;
pub(super) use fold::{Aggregating, Average, Contains, ReducingSum};
pub(super) use processed::Processed;
pub(super) use raw_count::RawCount;
pub(super) use timers::Timers;

use super::{
    expression::Expression,
    model::{StateTtl, TtlUpdate, TtlVisibility},
    row::{Datum, Row},
};
use crate::{
    error::{Error, ErrorKind, Result},
    operator::ProcessContext,
    state::{self, CleanupRun, StateTtlConfig},
};

/// What a function is about: the value that it works on, and how long its state lives.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub(super) stage: String,
    /// An int that is never null.
    pub(super) value: Option<Expression>,
    pub(super) ttl: Option<StateTtlConfig>,
}

impl About {
    /// The value of a row.
    fn value(&self, row: &Row) -> Result<i64> {
        let value = self.value.as_ref().expect("a planned function that reads a value has one");
        let value = value.evaluate(row).map_err(|error| {
            Error::new(ErrorKind::UserFunction, format!("stage `{}` failed", self.stage)).with_source(error)
        })?;
        Ok(value.as_int().expect("a planned value is an int"))
    }
}

/// Gives a descriptor the time to live, if there is one.
macro_rules! living {
    ($descriptor:expr, $about:expr) => {
        match $about.ttl {
            Some(ttl) => $descriptor.with_time_to_live(ttl),
            None => $descriptor,
        }
    };
}
use living;

/// Emits key and value.
fn emit(context: &mut ProcessContext<'_, Row, Row>, value: i64) {
    let row = context.key().values().iter().cloned().chain([Datum::Int(value)]).collect();
    context.collect(row);
}

/// Emits key, value and text.
fn emit_with_text(context: &mut ProcessContext<'_, Row, Row>, value: i64, text: &str) {
    let row = context.key().values().iter().cloned().chain([Datum::Int(value), Datum::text(text)]).collect();
    context.collect(row);
}

/// How long state lives, in the terms of the typed API.
pub(super) fn time_to_live(ttl: &StateTtl) -> StateTtlConfig {
    let cleanup = &ttl.cleanup;
    let mut config = StateTtlConfig::new(ttl.ttl)
        .with_update(match ttl.update {
            TtlUpdate::Disabled => state::TtlUpdate::Disabled,
            TtlUpdate::OnCreateAndWrite => state::TtlUpdate::OnCreateAndWrite,
            TtlUpdate::OnReadAndWrite => state::TtlUpdate::OnReadAndWrite,
        })
        .with_visibility(match ttl.visibility {
            TtlVisibility::NeverReturnExpired => state::TtlVisibility::NeverReturnExpired,
            TtlVisibility::ReturnExpiredIfNotCleanedUp => state::TtlVisibility::ReturnExpiredIfNotCleanedUp,
        });
    if cleanup.full_snapshot {
        config = config.with_cleanup_in_full_snapshot();
    }
    if !cleanup.in_background {
        config = config.without_cleanup_in_background();
    }
    let own = config.cleanup.incremental.map(|default| default.entries);
    if let Some(entries) = cleanup.incremental.map(|entries| entries as usize).or(own) {
        let run = if cleanup.run_for_every_record { CleanupRun::PerRecord } else { CleanupRun::PerAccess };
        config = config.with_incremental_cleanup(entries, run);
    }
    if let Some(entries) = cleanup.query_time_after_entries {
        config = config.with_cleanup_in_compaction(entries);
    }
    config
}
