//! Windows over a whole stream: one subtask sees all records (Flink `AllWindowedStream`).

use std::{borrow::Cow, time::Duration};

use super::{
    evicting_windowed_stream::EvictingWindowedStream, keyed_stream::KeyedStream, stream::DataStream,
    windowed_stream::WindowedStream,
};
use crate::{
    codec::Data,
    state::KeySelector,
    window::{
        CountEvictor, CountTrigger, GlobalWindow, GlobalWindows, InvalidWindows, Phase, PurgingTrigger, SlidingWindows,
        TumblingWindows, WindowAssigner, WindowPeriod,
    },
};

/// The one key of a stream without keys.
#[derive(Debug, Clone, Copy)]
pub struct NoKey;

impl<T> KeySelector<T> for NoKey {
    type Key = ();

    #[inline]
    fn key<'a>(&self, _value: &'a T) -> Cow<'a, ()> {
        Cow::Owned(())
    }
}

/// Fires after a number of records and empties the window.
pub type EachCount = PurgingTrigger<CountTrigger<GlobalWindow>>;

impl<T: Data> DataStream<T> {
    /// Groups all records into windows, in one subtask.
    pub fn window_all<A: WindowAssigner<T> + Clone + Sync>(&self, assigner: A) -> WindowedStream<T, NoKey, A> {
        self.key_by_selector(NoKey).window(assigner).with_parallelism(1)
    }

    /// Windows of so many records, in the order of arrival. An incomplete window gives nothing.
    pub fn count_window_all(&self, records: u64) -> WindowedStream<T, NoKey, GlobalWindows, EachCount> {
        self.window_all(GlobalWindows).trigger(PurgingTrigger::of(CountTrigger::of(records)))
    }

    /// Windows of a size in event time.
    ///
    /// # Errors
    /// If the size is below a millisecond.
    pub fn time_window_all(&self, size: Duration) -> Result<WindowedStream<T, NoKey, TumblingWindows>, InvalidWindows> {
        Ok(self.window_all(TumblingWindows::of(size)?))
    }
}

impl<T: Data, S: KeySelector<T> + Clone + Sync> KeyedStream<T, S> {
    /// Windows of so many records of a key, in the order of arrival. An incomplete window gives nothing, and is kept.
    ///
    /// ```
    /// use tidegate::{api::{StreamEnvironment, WatermarkStrategy}, config::JobConfig, connector::{CollectionSource, CollectSink}, runtime::run_locally};
    /// use std::sync::{Arc, Mutex};
    ///
    /// let collected = Arc::new(Mutex::new(Vec::new()));
    /// let sink = collected.clone();
    /// let job = StreamEnvironment::new(JobConfig::default());
    /// job.from_source("numbers", CollectionSource::new(vec![1_i64, 2, 3, 4, 5, 6, 7]), WatermarkStrategy::no_watermarks())
    ///     .key_by(|_| 1_u8)
    ///     .count_window(3)
    ///     .apply(|_key, _window, numbers: Vec<i64>, out| {
    ///         out.collect(numbers.iter().sum::<i64>() as f64 / numbers.len() as f64);
    ///         Ok(())
    ///     })
    ///     .sink("collect", move || CollectSink::new(sink.clone()));
    /// run_locally(1, job.config().clone(), job.build().unwrap()).unwrap();
    /// let averages: Vec<_> = collected.lock().unwrap().iter().map(|(_, record)| record.value).collect();
    /// assert_eq!(averages, [2.0, 5.0]);
    /// ```
    pub fn count_window(&self, records: u64) -> WindowedStream<T, S, GlobalWindows, EachCount> {
        self.window(GlobalWindows).trigger(PurgingTrigger::of(CountTrigger::of(records)))
    }

    /// After each `slide` records of a key, the last `size` of them; fewer as long as there are no more.
    pub fn count_window_sliding(
        &self,
        size: u64,
        slide: u64,
    ) -> EvictingWindowedStream<T, S, GlobalWindows, CountTrigger<GlobalWindow>, CountEvictor> {
        self.window(GlobalWindows).trigger(CountTrigger::of(slide)).evictor(CountEvictor::of(size, Phase::Before))
    }

    /// Windows of a size in event time.
    ///
    /// # Errors
    /// If the size is below a millisecond.
    pub fn time_window(&self, size: Duration) -> Result<WindowedStream<T, S, TumblingWindows>, InvalidWindows> {
        Ok(self.window(TumblingWindows::of(size)?))
    }

    /// Windows of a size in event time, one of which starts every `slide`.
    ///
    /// # Errors
    /// If size or slide is below a millisecond.
    pub fn time_window_sliding(
        &self,
        size: Duration,
        slide: Duration,
    ) -> Result<WindowedStream<T, S, SlidingWindows>, InvalidWindows> {
        let size_ms = i64::try_from(slide.as_millis()).unwrap_or(i64::MAX);
        Ok(self.window(SlidingWindows::of(size, WindowPeriod { size_ms, offset_ms: 0 })?))
    }
}
