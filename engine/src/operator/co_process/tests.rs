//! One key, two inputs: state and timers are shared.

use super::*;
use crate::{
    backend::ValueState,
    operator::{
        OutputTag,
        test_harness::{TwoInputHarness, record},
    },
    state::ValueStateDescriptor,
};

/// Names a number as soon as both have come; after ten milliseconds alone a number is given up.
struct NameNumbers {
    name: Option<ValueState<String>>,
    waiting: Option<ValueState<i64>>,
}

impl KeyedCoProcessFunction for NameNumbers {
    type Key = u8;
    type First = (u8, i64);
    type Second = (u8, String);
    type Out = String;

    fn open(&mut self, states: &mut StateRegistry<'_, u8>) -> Result<()> {
        self.name = Some(states.value(&ValueStateDescriptor::new("name"))?);
        self.waiting = Some(states.value(&ValueStateDescriptor::new("waiting"))?);
        Ok(())
    }

    fn process_first(&mut self, (_, number): (u8, i64), context: &mut ProcessContext<'_, u8, String>) -> Result<()> {
        match self.name.as_ref().unwrap().value(context)? {
            Some(name) => context.collect(format!("{name} is {number}")),
            None => {
                self.waiting.as_ref().unwrap().update(context, number)?;
                let given_up = context.timestamp().0 + 10;
                context.register_timer(TimeDomain::EventTime, Timestamp(given_up));
                let soon = context.processing_time().0 + 5;
                context.register_timer(TimeDomain::ProcessingTime, Timestamp(soon));
            }
        }
        Ok(())
    }

    fn process_second(&mut self, (_, name): (u8, String), context: &mut ProcessContext<'_, u8, String>) -> Result<()> {
        let waiting = self.waiting.as_ref().unwrap();
        if let Some(number) = waiting.value(context)? {
            context.collect(format!("{name} was {number}"));
            waiting.clear(context)?;
        }
        self.name.as_ref().unwrap().update(context, name)
    }

    fn on_timer(&mut self, domain: TimeDomain, context: &mut ProcessContext<'_, u8, String>) -> Result<()> {
        let waiting = self.waiting.as_ref().unwrap();
        let Some(number) = waiting.value(context)? else { return Ok(()) };
        match domain {
            TimeDomain::ProcessingTime => context.collect(format!("{number} waits for a name")),
            TimeDomain::EventTime => {
                context.side_output(&nameless(), number);
                waiting.clear(context)?;
            }
        }
        Ok(())
    }
}

fn nameless() -> OutputTag<i64> {
    OutputTag::new("nameless")
}

type Named = TwoInputHarness<KeyedCoProcessOperator<fn(&(u8, i64)) -> u8, fn(&(u8, String)) -> u8, NameNumbers>>;

fn named(restored: Option<OperatorSnapshot>) -> Named {
    let function = NameNumbers { name: None, waiting: None };
    TwoInputHarness::open(KeyedCoProcessOperator::new(|value| value.0, |value| value.0, function), restored)
}

fn texts(out: Batch<String>) -> Vec<String> {
    out.into_iter().map(|record| format!("{} at {}", record.value, record.timestamp)).collect()
}

#[test]
fn both_inputs_see_the_state_of_their_key_also_after_a_restore() {
    let mut harness = named(None);
    assert_eq!(texts(harness.first(vec![record((1, 10), 3), record((2, 20), 4)])), [""; 0]);
    assert_eq!(texts(harness.second(vec![record((1, "one".to_owned()), 6)])), ["one was 10 at 6"]);
    let mut harness = named(Some(harness.snapshot()));
    assert_eq!(texts(harness.first(vec![record((1, 11), 7)])), ["one is 11 at 7"]);
    assert_eq!(texts(harness.second(vec![record((2, "two".to_owned()), 8)])), ["two was 20 at 8"]);
}

#[test]
fn timers_of_both_inputs_survive_a_restore_and_side_outputs_carry_the_time_of_their_timer() {
    let mut harness = named(None);
    harness.first(vec![record((1, 10), 3), record((2, 20), 9)]);
    let mut harness = named(Some(harness.snapshot()));
    harness.advance(13);
    assert_eq!(harness.side_output(&nameless()), [record(10, 13)]);
    let waits = harness.advance_processing_time(5);
    assert_eq!(texts(waits), [format!("20 waits for a name at {}", i64::MIN)]);
}
