//! What the author of a job writes (Flink's DataStream API).
//!
//! ```
//! use tidegate::{api::{StreamEnvironment, TumblingWindows, WatermarkStrategy}, config::JobConfig, connector::{CollectionSource, CollectSink}, runtime::run_locally};
//! use std::{sync::{Arc, Mutex}, time::Duration};
//!
//! let collected = Arc::new(Mutex::new(Vec::new()));
//! let sink = collected.clone();
//! let job = StreamEnvironment::new(JobConfig::default());
//! let words = vec![("hadoop".to_string(), 1_000), ("hive".to_string(), 2_000), ("hadoop".to_string(), 3_000)];
//! job.from_source("words", CollectionSource::new(words), WatermarkStrategy::for_monotonous_timestamps()
//!         .with_timestamp_assigner(|(_, at): &(String, i64)| tidegate::Timestamp(*at)))
//!     .map(|(word, _)| (word, 1_u64))
//!     .key_by(|(word, _)| word.clone())
//!     .window(TumblingWindows::of(Duration::from_secs(10)).unwrap())
//!     .reduce(|sum, next| sum.1 += next.1)
//!     .sink("collect", move || CollectSink::new(sink.clone()));
//! run_locally(1, job.config().clone(), job.build().unwrap()).unwrap();
//! let mut counts: Vec<_> = collected.lock().unwrap().iter().map(|(_, record)| record.value.clone()).collect();
//! counts.sort();
//! assert_eq!(counts, [("hadoop".to_string(), 2), ("hive".to_string(), 1)]);
//! ```
//!
//! Closures are cloned for each subtask and must depend on nothing but their input; what shall survive a failure
//! belongs into state.

mod all_windowed_stream;
mod builder;
mod co_grouped_streams;
mod connected_streams;
mod environment;
mod evicting_windowed_stream;
mod joined_streams;
mod keyed_stream;
mod process;
mod stream;
mod windowed_stream;

pub use all_windowed_stream::{EachCount, NoKey};
pub use co_grouped_streams::{CoGroup, CoGroupedStreams, WindowedCoGroup};
pub use connected_streams::{BroadcastConnectedStream, ConnectedStreams, KeyedConnectedStreams};
pub use environment::StreamEnvironment;
pub use evicting_windowed_stream::EvictingWindowedStream;
pub use joined_streams::{IntervalJoin, IntervalJoined};
pub use keyed_stream::KeyedStream;
pub use stream::{DataStream, StreamSink};
pub use windowed_stream::WindowedStream;

pub use crate::{
    backend::{
        AggregatingState, KeyedContext, KeyedState, ListState, MapState, ReducingState, StateRegistry, ValueState,
    },
    operator::{
        BroadcastContext, BroadcastState, BroadcastStates, CheckpointedFunction, FunctionContext,
        FunctionInitializationContext, FunctionSnapshotContext, JoinContext, KeyedBroadcastProcessFunction,
        KeyedCoProcessFunction, KeyedProcessFunction, OperatorListState, OutputTag, ProcessContext, ProcessFunction,
        ProcessWindowFunction, ReadOnlyContext, TimestampedCollector, WindowContext,
    },
    state::{
        AggregateFunction, AggregatingStateDescriptor, CleanupRun, Key, KeyRef, ListStateDescriptor,
        MapStateDescriptor, ReduceFunction, ReducingStateDescriptor, StateTtlConfig, TtlUpdate, TtlVisibility,
        ValueStateDescriptor,
    },
    time::{TimeDomain, WatermarkStrategy},
    window::{GlobalWindows, SessionWindows, SlidingWindows, TimeWindow, TumblingWindows, WindowAssigner},
};

#[cfg(test)]
mod tests;
