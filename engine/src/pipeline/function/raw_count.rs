//! Counting in raw keyed state: the function keeps its own table, and writes it as bytes of each key group.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    codec,
    error::{Error, ErrorKind, Result},
    operator::{
        CheckpointedFunction, FunctionContext, FunctionInitializationContext, FunctionSnapshotContext, ProcessFunction,
    },
    pipeline::row::{Datum, Row},
    state::KeyGroups,
};

/// The number of records of a key, for a stream that is partitioned by key.
#[derive(Clone)]
pub(crate) struct RawCount {
    key: Arc<[usize]>,
    counts: BTreeMap<Row, i64>,
    key_groups: Option<KeyGroups>,
}

impl RawCount {
    pub(crate) fn new(key: &[usize]) -> Self {
        Self { key: key.into(), counts: BTreeMap::new(), key_groups: None }
    }
}

impl CheckpointedFunction for RawCount {
    fn initialize_state(&mut self, context: &mut FunctionInitializationContext<'_>) -> Result<()> {
        self.key_groups = Some(context.key_groups());
        for bytes in context.raw_keyed().values() {
            let counts: Vec<(Row, i64)> = codec::decode(bytes).map_err(|error| {
                Error::new(ErrorKind::CorruptState, "the raw counts cannot be read").with_source(error)
            })?;
            self.counts.extend(counts);
        }
        Ok(())
    }

    fn snapshot_state(&mut self, context: &mut FunctionSnapshotContext<'_>) -> Result<()> {
        let key_groups = self.key_groups.expect("a function is initialized before anything else");
        let mut by_group: BTreeMap<u16, Vec<(&Row, i64)>> = BTreeMap::new();
        for (key, count) in &self.counts {
            by_group.entry(key_groups.of_key(key)).or_default().push((key, *count));
        }
        by_group.iter().try_for_each(|(group, counts)| context.write_raw_keyed(*group, &codec::encode(counts)))
    }
}

impl ProcessFunction for RawCount {
    type In = Row;
    type Out = Row;

    fn process_element(&mut self, row: Row, context: &mut FunctionContext<'_, Row>) -> Result<()> {
        let key = row.project(&self.key);
        let count = self.counts.entry(key.clone()).or_default();
        *count += 1;
        context.collect(key.values().iter().cloned().chain([Datum::Int(*count)]).collect());
        Ok(())
    }
}
