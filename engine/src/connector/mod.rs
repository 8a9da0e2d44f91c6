//! Seams to the outside: where records come from and where they go.
//!
//! A [`Source`] divides its data into splits; a split carries its own position, so the splits *are* the source's
//! state. A [`TwoPhaseCommitSink`] makes output visible exactly once; a [`PlainSink`] does not promise that.

mod collection;
pub mod delimited;
mod file_sink;
mod generator;
mod plain;
mod source;
mod two_phase;

pub use collection::{CollectionSource, CollectionSplit};
pub use file_sink::{FileSink, FileTransaction, RecordEncoder, visible_file_name};
pub(crate) use generator::Pace;
pub use generator::{GeneratorSource, GeneratorSplit};
pub use plain::{CollectSink, Collected, DiscardSink, PlainSink, PrintSink};
pub use source::{ReadStatus, Source, SourceContext, SplitReader};
pub use two_phase::{SinkContext, TwoPhaseCommitSink};
