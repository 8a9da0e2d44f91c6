//! Operator state: lists that belong to a subtask rather than to a key (Flink `OperatorStateStore`, `ListState` of
//! `getListState` and `getUnionListState`).
//!
//! Guarantees: a snapshot holds the lists at the moment of the call; a list that was restored and that nobody asked for
//! stays in every snapshot; a list is asked for with the mode that it was kept with, or refused.

use std::{any::Any, collections::BTreeMap, marker::PhantomData, sync::Arc};

use crate::{
    codec::{self, Data},
    error::{Error, ErrorKind, Result},
    id::OperatorUid,
    planted,
    state::{DescriptorError, ListMode, ListSnapshot, StateDescriptor},
};

/// The lists of one operator of one subtask.
pub struct OperatorStateStore {
    operator: OperatorUid,
    subtask_index: u32,
    registered: Vec<Registered>,
    /// Restored lists that nobody has asked for.
    unclaimed: BTreeMap<String, ListSnapshot>,
}

struct Registered {
    name: String,
    mode: ListMode,
    elements: Box<dyn ErasedElements>,
}

/// The elements of a list; a snapshot shares them until the list changes.
struct Elements<T>(Arc<Vec<T>>);

/// Encodes the elements of a list at some moment.
type Encode = Box<dyn FnOnce() -> Vec<Vec<u8>> + Send>;

trait ErasedElements: Send {
    fn snapshot(&self) -> Encode;
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

impl<T: Data> ErasedElements for Elements<T> {
    fn snapshot(&self) -> Encode {
        let elements = self.0.clone();
        Box::new(move || elements.iter().map(codec::encode).collect())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// Encodes lists at some moment, by name. Lists without elements do not appear.
pub(super) type EncodeLists = Box<dyn FnOnce() -> BTreeMap<String, ListSnapshot> + Send>;

impl OperatorStateStore {
    /// The store of an operator, with what was restored.
    pub(super) fn new(operator: OperatorUid, subtask_index: u32, restored: BTreeMap<String, ListSnapshot>) -> Self {
        Self { operator, subtask_index, registered: Vec::new(), unclaimed: restored }
    }

    /// Registers a list, with what was restored of it.
    ///
    /// # Errors
    /// If the name is taken or reserved, or what was restored under it was kept with another mode, or cannot be read.
    pub fn register<T: Data>(&mut self, state: &mut OperatorListState<T>, mode: ListMode) -> Result<()> {
        let name = &state.name;
        StateDescriptor::new(name.clone()).check().map_err(|error| self.misnamed(&error))?;
        if self.registered.iter().any(|registered| registered.name == *name) {
            return Err(self.wrong(ErrorKind::Configuration, format!("list state `{name}` is registered twice")));
        }
        let mut elements = Vec::new();
        if let Some(restored) = self.unclaimed.get(name) {
            if restored.mode != mode {
                let (kept, asked) = (restored.mode, mode);
                let message = format!("list state `{name}` was kept as {kept:?}, but is asked for as {asked:?}");
                return Err(self.wrong(ErrorKind::CorruptState, message));
            }
            for entry in &restored.entries {
                elements.push(codec::decode::<T>(entry).map_err(|error| {
                    let message = format!("cannot restore list state `{name}`");
                    self.wrong(ErrorKind::CorruptState, message).with_source(error)
                })?);
            }
            if planted!("operator_list_reversed_on_restore") {
                elements.reverse();
            }
            self.unclaimed.remove(name);
        }
        state.index = Some(self.registered.len());
        let elements = Box::new(Elements(Arc::new(elements)));
        self.registered.push(Registered { name: name.clone(), mode, elements });
        Ok(())
    }

    /// All lists at this moment.
    pub(super) fn snapshot(&self) -> EncodeLists {
        let mut unclaimed = self.unclaimed.clone();
        // All subtasks hold the same union list: if each kept it again, it would grow at each restore.
        unclaimed.retain(|_, list| list.mode == ListMode::Split || self.subtask_index == 0);
        let registered: Vec<_> =
            self.registered.iter().map(|list| (list.name.clone(), list.mode, list.elements.snapshot())).collect();
        Box::new(move || {
            let mut lists = unclaimed;
            for (name, mode, encode) in registered {
                let entries = encode();
                if !entries.is_empty() {
                    lists.insert(name, ListSnapshot { mode, entries });
                }
            }
            lists
        })
    }

    fn elements<T: Data>(&self, state: &OperatorListState<T>) -> Result<&Arc<Vec<T>>> {
        let index = state.index.ok_or_else(|| state.not_registered())?;
        let elements = self.registered[index].elements.as_any().downcast_ref::<Elements<T>>();
        Ok(&elements.expect("a handle is used with the store that it was registered with").0)
    }

    fn elements_mut<T: Data>(&mut self, state: &OperatorListState<T>) -> Result<&mut Vec<T>> {
        let index = state.index.ok_or_else(|| state.not_registered())?;
        let elements = self.registered[index].elements.as_any_mut().downcast_mut::<Elements<T>>();
        Ok(Arc::make_mut(&mut elements.expect("a handle is used with the store that it was registered with").0))
    }

    fn misnamed(&self, error: &DescriptorError) -> Error {
        self.wrong(ErrorKind::Configuration, error.to_string())
    }

    fn wrong(&self, kind: ErrorKind, what: String) -> Error {
        Error::new(kind, format!("cannot set up operator state: operator `{}`: {what}", self.operator))
    }
}

/// Whatever gives access to operator state: the contexts of functions.
pub trait OperatorStateAccess {
    /// The lists of the operator.
    fn operator_state(&mut self) -> &mut OperatorStateStore;
}

impl OperatorStateAccess for OperatorStateStore {
    fn operator_state(&mut self) -> &mut OperatorStateStore {
        self
    }
}

/// A list of operator state. It is made with a name, registered in `initialize_state`, and kept as a field.
#[derive(Debug, Clone)]
pub struct OperatorListState<T> {
    name: String,
    index: Option<usize>,
    element: PhantomData<fn() -> T>,
}

impl<T: Data> OperatorListState<T> {
    /// A handle, to be registered.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), index: None, element: PhantomData }
    }

    /// The elements, in order.
    ///
    /// # Errors
    /// If the handle is not registered.
    pub fn get<'a>(&self, context: &'a mut impl OperatorStateAccess) -> Result<&'a [T]> {
        Ok(context.operator_state().elements(self)?.as_slice())
    }

    /// Appends an element.
    ///
    /// # Errors
    /// If the handle is not registered.
    pub fn add(&self, context: &mut impl OperatorStateAccess, element: T) -> Result<()> {
        context.operator_state().elements_mut(self)?.push(element);
        Ok(())
    }

    /// Appends elements.
    ///
    /// # Errors
    /// If the handle is not registered.
    pub fn add_all(&self, context: &mut impl OperatorStateAccess, elements: impl IntoIterator<Item = T>) -> Result<()> {
        context.operator_state().elements_mut(self)?.extend(elements);
        Ok(())
    }

    /// Replaces all elements.
    ///
    /// # Errors
    /// If the handle is not registered.
    pub fn update(&self, context: &mut impl OperatorStateAccess, elements: Vec<T>) -> Result<()> {
        *context.operator_state().elements_mut(self)? = elements;
        Ok(())
    }

    /// Removes all elements and returns them.
    ///
    /// # Errors
    /// If the handle is not registered.
    pub fn take(&self, context: &mut impl OperatorStateAccess) -> Result<Vec<T>> {
        Ok(std::mem::take(context.operator_state().elements_mut(self)?))
    }

    /// Removes all elements.
    ///
    /// # Errors
    /// If the handle is not registered.
    pub fn clear(&self, context: &mut impl OperatorStateAccess) -> Result<()> {
        self.update(context, Vec::new())
    }

    #[cold]
    fn not_registered(&self) -> Error {
        Error::new(ErrorKind::UserFunction, format!("list state `{}` is used before it is registered", self.name))
            .with_hint("register it in `initialize_state`: `context.list_state(&mut self.state)`")
    }
}
