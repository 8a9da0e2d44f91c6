//! Functions that keep operator state: lists of the subtask, and bytes that are their own affair (Flink
//! `CheckpointedFunction`, `FunctionInitializationContext`, `FunctionSnapshotContext`).
//!
//! ```text
//!   initialize_state ──► process … ──► snapshot_state ──► process … ──► snapshot_state ──► …
//! ```
//! Guarantees: `initialize_state` comes first, once per attempt, with what was restored; between `snapshot_state` and the
//! moment that the snapshot is of nothing is processed, so what it writes is what was true at the barrier.

use std::collections::BTreeMap;

use super::{
    AsyncSnapshot, OperatorContext, OperatorListState, OperatorSnapshot, OperatorStateAccess, OperatorStateStore,
};
use crate::{
    codec::Data,
    error::{Error, ErrorKind, Result},
    id::{CheckpointId, OperatorUid},
    planted,
    state::{KeyGroupRange, KeyGroups, ListMode, ParallelInstance},
};

/// A function with operator state. Both methods do nothing by themselves.
pub trait CheckpointedFunction: Send + 'static {
    /// Registers the function's lists and takes back what was restored.
    ///
    /// # Errors
    /// Whatever shall fail the job.
    fn initialize_state(&mut self, context: &mut FunctionInitializationContext<'_>) -> Result<()> {
        let _ = context;
        Ok(())
    }

    /// A checkpoint is taken: puts into state what is not there yet.
    ///
    /// # Errors
    /// Whatever shall fail the checkpoint.
    fn snapshot_state(&mut self, context: &mut FunctionSnapshotContext<'_>) -> Result<()> {
        let _ = context;
        Ok(())
    }
}

/// What a function is told of its past.
pub struct FunctionInitializationContext<'a> {
    state: &'a mut FunctionState,
}

impl FunctionInitializationContext<'_> {
    /// Whether the job was restored, even if it kept nothing for this operator.
    pub fn is_restored(&self) -> bool {
        self.state.restored_checkpoint_id.is_some()
    }

    /// The checkpoint that the job was restored from.
    pub fn restored_checkpoint_id(&self) -> Option<CheckpointId> {
        self.state.restored_checkpoint_id
    }

    /// Which parallel instance this is, from 0.
    pub fn subtask_index(&self) -> u32 {
        self.state.instance.index
    }

    /// How many there are.
    pub fn parallelism(&self) -> u32 {
        self.state.instance.parallelism
    }

    /// The key groups of the job.
    pub fn key_groups(&self) -> KeyGroups {
        self.state.key_groups
    }

    /// Registers a list whose elements are spread over the subtasks when their number changes (Flink `getListState`).
    ///
    /// # Errors
    /// If the name is taken, or what was restored under it is something else or cannot be read.
    pub fn list_state<T: Data>(&mut self, state: &mut OperatorListState<T>) -> Result<()> {
        self.state.lists.register(state, ListMode::Split)
    }

    /// Registers a list of which each subtask gets the elements of all of them at each restore (Flink
    /// `getUnionListState`).
    ///
    /// # Errors
    /// As for [`list_state`](Self::list_state).
    pub fn union_list_state<T: Data>(&mut self, state: &mut OperatorListState<T>) -> Result<()> {
        self.state.lists.register(state, ListMode::Union)
    }

    /// What the function wrote with [`FunctionSnapshotContext::write_raw`].
    pub fn raw(&self) -> &[Vec<u8>] {
        &self.state.raw
    }

    /// What the function wrote with [`FunctionSnapshotContext::write_raw_keyed`], for the key groups of this subtask.
    pub fn raw_keyed(&self) -> &BTreeMap<u16, Vec<u8>> {
        &self.state.raw_keyed
    }
}

impl OperatorStateAccess for FunctionInitializationContext<'_> {
    fn operator_state(&mut self) -> &mut OperatorStateStore {
        &mut self.state.lists
    }
}

/// Where a function puts what a checkpoint shall keep.
pub struct FunctionSnapshotContext<'a> {
    state: &'a mut FunctionState,
    checkpoint_id: CheckpointId,
}

impl FunctionSnapshotContext<'_> {
    /// The checkpoint.
    pub fn checkpoint_id(&self) -> CheckpointId {
        self.checkpoint_id
    }

    /// Keeps bytes as they are. When the number of subtasks changes, what was written in one call stays together
    /// (Flink `getRawOperatorStateOutput`).
    pub fn write_raw(&mut self, bytes: Vec<u8>) {
        self.state.raw.push(bytes);
    }

    /// Keeps bytes of a key group; a later call for the same one appends (Flink `getRawKeyedOperatorStateOutput`).
    ///
    /// # Errors
    /// If the key group is not one of this subtask's.
    pub fn write_raw_keyed(&mut self, key_group: u16, bytes: &[u8]) -> Result<()> {
        let range = self.state.range;
        if !range.contains(key_group) {
            let message = format!("key group {key_group} is written by a subtask that has the key groups {range}");
            return Err(Error::new(ErrorKind::UserFunction, message));
        }
        self.state.raw_keyed.entry(key_group).or_default().extend_from_slice(bytes);
        Ok(())
    }
}

impl OperatorStateAccess for FunctionSnapshotContext<'_> {
    fn operator_state(&mut self) -> &mut OperatorStateStore {
        &mut self.state.lists
    }
}

/// The operator state of one function of one subtask, as the operator that runs it holds it.
pub struct FunctionState {
    lists: OperatorStateStore,
    raw: Vec<Vec<u8>>,
    raw_keyed: BTreeMap<u16, Vec<u8>>,
    restored_checkpoint_id: Option<CheckpointId>,
    instance: ParallelInstance,
    key_groups: KeyGroups,
    range: KeyGroupRange,
}

/// Who keeps state, and since when.
#[derive(Debug, Clone)]
pub struct FunctionStateSetup {
    /// The operator.
    pub operator: OperatorUid,
    /// Which of its subtasks.
    pub instance: ParallelInstance,
    /// Number of key groups of the job.
    pub max_parallelism: u32,
    /// What the job was restored from.
    pub restored_checkpoint_id: Option<CheckpointId>,
}

impl From<&OperatorContext> for FunctionStateSetup {
    fn from(context: &OperatorContext) -> Self {
        Self {
            operator: context.uid.clone(),
            instance: ParallelInstance { index: context.subtask_index, parallelism: context.parallelism },
            max_parallelism: context.max_parallelism,
            restored_checkpoint_id: context.restored_checkpoint_id,
        }
    }
}

impl FunctionState {
    /// Hands what was restored to a function that starts.
    ///
    /// # Errors
    /// Those of the function, and if the number of key groups cannot be used.
    pub fn initialize(
        setup: FunctionStateSetup,
        restored: Option<OperatorSnapshot>,
        function: &mut impl CheckpointedFunction,
    ) -> Result<Self> {
        let key_groups = KeyGroups::new(setup.max_parallelism).map_err(crate::backend::BackendError::from)?;
        let range = key_groups.range(setup.instance);
        let OperatorSnapshot { lists, raw, mut raw_keyed, .. } = restored.unwrap_or_default();
        raw_keyed.retain(|key_group, _| range.contains(*key_group));
        if raw_keyed.contains_key(&range.end) && planted!("raw_keyed_state_of_the_last_key_group_lost") {
            raw_keyed.remove(&range.end);
        }
        let mut state = Self {
            lists: OperatorStateStore::new(setup.operator, setup.instance.index, lists),
            raw,
            raw_keyed,
            restored_checkpoint_id: setup.restored_checkpoint_id,
            instance: setup.instance,
            key_groups,
            range,
        };
        function.initialize_state(&mut FunctionInitializationContext { state: &mut state })?;
        state.raw.clear();
        state.raw_keyed.clear();
        Ok(state)
    }

    /// Lets the function write what it keeps, and takes the snapshot.
    ///
    /// # Errors
    /// Those of the function.
    pub fn snapshot(
        &mut self,
        checkpoint_id: CheckpointId,
        function: &mut impl CheckpointedFunction,
    ) -> Result<AsyncSnapshot> {
        function.snapshot_state(&mut FunctionSnapshotContext { state: self, checkpoint_id })?;
        let (mut raw, raw_keyed) = (std::mem::take(&mut self.raw), std::mem::take(&mut self.raw_keyed));
        if planted!("raw_state_not_in_snapshot") {
            raw.clear();
        }
        let encode = self.lists.snapshot();
        Ok(Box::new(move || Ok(OperatorSnapshot { lists: encode(), raw, raw_keyed, ..OperatorSnapshot::default() })))
    }
}

impl OperatorStateAccess for FunctionState {
    fn operator_state(&mut self) -> &mut OperatorStateStore {
        &mut self.lists
    }
}
