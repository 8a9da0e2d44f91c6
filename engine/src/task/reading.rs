//! How a source subtask reads: batches, watermarks by the clock, and the end of its data.

use std::time::Duration;

use super::{mailbox::TaskReport, subtask::Subtask};
use crate::{
    connector::ReadStatus,
    error::Result,
    record::{StopMode, WatermarkStatus},
    time::Timestamp,
};

/// Asking more often for watermarks has no effect: time is counted in milliseconds.
const LEAST_WATERMARK_INTERVAL: Duration = Duration::from_millis(1);

impl Subtask {
    /// Reads the source once; false if it has nothing now.
    pub(super) async fn read_source(&mut self, now: Timestamp) -> Result<bool> {
        if self.next_watermark_at == Timestamp::MIN {
            // What was restored counts from the first record on.
            self.emit_source_watermark(now).await?;
        }
        let readable = !matches!(self.source_status, ReadStatus::NotBefore(time) if time > now);
        if readable {
            self.align_source(now).await?;
            self.emit_from_source(now).await?;
        }
        let interval = self.config.auto_watermark_interval;
        let expected = self.source.as_ref().is_some_and(|(_, source)| source.expects_periodic_emit());
        let due = now >= self.next_watermark_at;
        let emits = (due && (readable || expected)) || (readable && interval.is_zero());
        if emits {
            self.next_watermark_at = now.saturating_add(interval.max(LEAST_WATERMARK_INTERVAL));
            self.emit_source_watermark(now).await?;
            self.align_source(now).await?;
        }
        if self.source_status == ReadStatus::Ended {
            self.align_source(now).await?;
            let mode = self.source.as_ref().map_or(StopMode::Drain, |(_, source)| source.stop_mode());
            self.end_source(mode).await?;
        }
        if readable {
            // The mailbox and the other tasks come first again after each batch.
            self.env.yield_now().await;
        }
        Ok(readable || emits)
    }

    /// The source puts out nothing more; if it drains, event time comes to its end.
    pub(super) async fn end_source(&mut self, mode: StopMode) -> Result<()> {
        if self.end_of_data {
            return Ok(());
        }
        if mode == StopMode::Drain {
            self.on_status(WatermarkStatus::Active)?;
            self.advance_watermark(Timestamp::MAX).await?;
        }
        self.end_data(mode).await
    }

    pub(super) async fn emit_from_source(&mut self, now: Timestamp) -> Result<()> {
        let Some((_, source)) = &mut self.source else { return Ok(()) };
        let mut outputs = Vec::new();
        self.source_status = source.poll(now, self.config.batch_records, &mut outputs).await?;
        self.process_source_outputs(outputs).await
    }

    async fn emit_source_watermark(&mut self, now: Timestamp) -> Result<()> {
        let Some((_, source)) = &mut self.source else { return Ok(()) };
        let mut outputs = Vec::new();
        source.on_periodic_emit(now.saturating_sub(self.back_pressured), &mut outputs);
        self.process_source_outputs(outputs).await
    }

    /// Lets the source compare its splits with each other, and tells the other sources of its group.
    async fn align_source(&mut self, now: Timestamp) -> Result<()> {
        let execution = self.execution;
        match self.source.as_mut().and_then(|(_, source)| source.align(now)) {
            Some(report) => self.report(TaskReport::Watermark { execution, report }).await,
            None => Ok(()),
        }
    }
}
