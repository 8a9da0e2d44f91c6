//! The list that is not checkpointed: every two records are written together, and the one that waits is kept in a field.
//!
//! *Why it looks right.* Each record is in the list until its partner comes.
//!
//! *When it goes wrong.* A checkpoint is taken while one record waits. After a crash the source goes on behind it, and the
//! list is empty: the record is lost, and all pairs after it are others.
//!
//! *The rule.* What has been taken in and not given out is state.

use tidegate::{
    Result,
    api::{KeyedProcessFunction, ListState, ListStateDescriptor, ProcessContext, StateRegistry},
};

/// A word with a number.
pub type Entry = (String, i64);

/// Gathers two entries in a field of the function.
#[derive(Clone, Default)]
pub struct PairsInField {
    waiting: Vec<Entry>, // Here is the mistake.
}

impl KeyedProcessFunction for PairsInField {
    type Key = u8;
    type In = Entry;
    type Out = String;

    fn process_element(&mut self, entry: Entry, context: &mut ProcessContext<'_, u8, String>) -> Result<()> {
        self.waiting.push(entry);
        if self.waiting.len() == 2 {
            context.collect(text(&std::mem::take(&mut self.waiting)));
        }
        Ok(())
    }
}

/// Gathers two entries in a list that is state.
#[derive(Clone)]
pub struct PairsInState {
    waiting: ListState<Entry>,
}

impl PairsInState {
    /// A function that has seen nothing.
    pub fn new() -> Self {
        Self { waiting: ListState::new(ListStateDescriptor::new("waiting")) }
    }
}

impl KeyedProcessFunction for PairsInState {
    type Key = u8;
    type In = Entry;
    type Out = String;

    fn open(&mut self, states: &mut StateRegistry<'_, u8>) -> Result<()> {
        states.register(&mut self.waiting)
    }

    fn process_element(&mut self, entry: Entry, context: &mut ProcessContext<'_, u8, String>) -> Result<()> {
        self.waiting.add(context, entry)?;
        let waiting = self.waiting.get(context)?;
        if waiting.len() == 2 {
            self.waiting.clear(context)?;
            context.collect(text(&waiting));
        }
        Ok(())
    }
}

fn text(entries: &[Entry]) -> String {
    let entries: Vec<String> = entries.iter().map(|(word, number)| format!("({word},{number})")).collect();
    format!("ListBuffer({})", entries.join(", "))
}
