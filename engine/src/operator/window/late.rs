//! Records that no window takes.

use crate::{
    codec::Data,
    error::{Error, ErrorKind, Result},
    event::{Directive, InjectedFailure, Moment, Reporter, Step},
    operator::{Collector, OutputTag},
    planted,
    record::StreamRecord,
    time::Timestamp,
};

/// Counts them, and sends late ones where the author wants them.
pub(super) struct Unassigned {
    /// Records that came too late for all their windows and went nowhere.
    pub(super) late_dropped: u64,
    /// Records in time that belong to no window.
    pub(super) without_window: u64,
    reporter: Reporter,
}

impl Unassigned {
    pub(super) fn new(reporter: Reporter) -> Self {
        Self { late_dropped: 0, without_window: 0, reporter }
    }

    /// A late record goes to the side output if there is one; else it is counted and reported.
    #[cold]
    pub(super) fn late<In: Data, Out>(
        &mut self,
        record: StreamRecord<In>,
        watermark: Timestamp,
        tag: Option<&OutputTag<In>>,
        out: &mut Collector<Out>,
    ) -> Result<()> {
        if let Some(tag) = tag {
            if !planted!("late_side_output_lost") {
                out.side_output(tag, record);
            }
            return Ok(());
        }
        self.late_dropped += 1;
        let detail = format!("timestamp {} watermark {watermark}", record.timestamp);
        match self.reporter.note(Moment::After, Step::LateRecord, None, &detail) {
            // A record is in the middle of a batch: there is nothing here that could wait.
            Directive::Continue | Directive::Hold(_) => Ok(()),
            Directive::Fail(reason) => Err(Error::new(ErrorKind::Unavailable, "the observer failed a window operator")
                .with_source(InjectedFailure { step: Step::LateRecord, reason })),
        }
    }
}
