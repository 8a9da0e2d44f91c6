//! The counter that is not state: averages of a key whose sum is state, and whose count is a field of the function.
//!
//! *Why it looks right.* The field is counted up with each value, next to the sum.
//!
//! *When it goes wrong.* The function object serves all keys of its subtask, so the count of one key goes on from that of
//! another: which keys share a subtask depends on the parallelism. And a restored function starts with the field at 0
//! although the sum is what it was: 3, 5, crash, 7 gives 15 and not 5.
//!
//! *The rule.* What a result depends on belongs into state, all of it, under the key that it is about.

use tidegate::{
    Result,
    api::{
        KeyedProcessFunction, ProcessContext, ReduceFunction, ReducingState, ReducingStateDescriptor, StateRegistry,
        ValueState, ValueStateDescriptor,
    },
};

/// A key with a value.
pub type Pair = (i64, f64);

/// Adds two numbers.
#[derive(Clone)]
pub struct Sum;

impl ReduceFunction<f64> for Sum {
    fn reduce(&mut self, sum: &mut f64, value: f64) {
        *sum += value;
    }
}

/// Averages with a counter that is not state.
#[derive(Clone)]
pub struct CountInField {
    sum: ReducingState<f64, Sum>,
    count: u32, // Here is the mistake.
}

impl CountInField {
    /// A function that has seen nothing.
    pub fn new() -> Self {
        Self { sum: ReducingState::new(ReducingStateDescriptor::new("sum", Sum)), count: 0 }
    }
}

impl KeyedProcessFunction for CountInField {
    type Key = i64;
    type In = Pair;
    type Out = Pair;

    fn open(&mut self, states: &mut StateRegistry<'_, i64>) -> Result<()> {
        states.register(&mut self.sum)
    }

    fn process_element(&mut self, (key, value): Pair, context: &mut ProcessContext<'_, i64, Pair>) -> Result<()> {
        self.sum.add(context, value)?;
        self.count += 1;
        let sum = self.sum.get(context)?.unwrap_or(0.0);
        context.collect((key, sum / f64::from(self.count)));
        Ok(())
    }
}

/// Averages with count and sum in one state.
#[derive(Clone)]
pub struct CountInState {
    seen: ValueState<(u32, f64)>,
}

impl CountInState {
    /// A function that has seen nothing.
    pub fn new() -> Self {
        Self { seen: ValueState::new(ValueStateDescriptor::new("seen")) }
    }
}

impl KeyedProcessFunction for CountInState {
    type Key = i64;
    type In = Pair;
    type Out = Pair;

    fn open(&mut self, states: &mut StateRegistry<'_, i64>) -> Result<()> {
        states.register(&mut self.seen)
    }

    fn process_element(&mut self, (key, value): Pair, context: &mut ProcessContext<'_, i64, Pair>) -> Result<()> {
        let (count, sum) = self.seen.value(context)?.unwrap_or((0, 0.0));
        let (count, sum) = (count + 1, sum + value);
        self.seen.update(context, (count, sum))?;
        context.collect((key, sum / f64::from(count)));
        Ok(())
    }
}
