//! 1.3: the average of the values of a key, in each kind of keyed state.

use tidegate::{
    Result,
    api::{
        AggregateFunction, AggregatingState, AggregatingStateDescriptor, KeyedProcessFunction, ListState,
        ListStateDescriptor, MapState, MapStateDescriptor, ProcessContext, ReducingState, ReducingStateDescriptor,
        StateRegistry, ValueState, ValueStateDescriptor,
    },
};

use crate::harness::{self, Printed};

/// Key and value.
pub type Reading = (i64, f64);

type Context<'a, Out> = ProcessContext<'a, i64, Out>;

const ONE_KEY: &[Reading] = &[(1, 3.0), (1, 5.0), (1, 7.0), (1, 4.0), (1, 2.0)];
const TWO_KEYS: &[Reading] = &[(1, 3.0), (1, 5.0), (1, 7.0), (2, 4.0), (2, 2.0), (2, 6.0)];

/// Runs a function over readings, keyed by their first field.
pub fn run<F>(readings: &[Reading], function: F) -> Result<Vec<F::Out>>
where
    F: KeyedProcessFunction<Key = i64, In = Reading> + Clone + Sync,
{
    let results = harness::run(readings.to_vec(), harness::timeless, |readings| {
        readings.key_by(|(key, _): &Reading| *key).process(function.clone())
    })?;
    Ok(harness::values(results))
}

fn show<T: std::fmt::Debug>(results: Vec<(i64, T)>) -> Vec<Printed> {
    harness::printed(results.into_iter().map(|result| (0, result)).collect(), |(key, value)| {
        format!("({key},{value:?})")
    })
}

/// What becomes of the state when its average has been emitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterEmission {
    /// It stays, as the tutorial's code has it.
    Keep,
    /// It is cleared, as the tutorial's comment has it.
    Clear,
}

/// 1.3.1: count and sum in one value; from two readings on each gives the average.
#[derive(Clone)]
pub struct ValueStateAverage {
    count_and_sum: ValueState<(u64, f64)>,
    after: AfterEmission,
}

impl ValueStateAverage {
    pub fn new(after: AfterEmission) -> Self {
        Self { count_and_sum: ValueState::new(ValueStateDescriptor::new("average")), after }
    }
}

impl KeyedProcessFunction for ValueStateAverage {
    type Key = i64;
    type In = Reading;
    type Out = (i64, f64);

    fn open(&mut self, states: &mut StateRegistry<'_, i64>) -> Result<()> {
        states.register(&mut self.count_and_sum)
    }

    fn process_element(&mut self, (key, value): Reading, context: &mut Context<'_, Self::Out>) -> Result<()> {
        let (count, sum) = self.count_and_sum.value(context)?.unwrap_or_default();
        let (count, sum) = (count + 1, sum + value);
        self.count_and_sum.update(context, (count, sum))?;
        if count >= 2 {
            context.collect((key, sum / count as f64));
            if self.after == AfterEmission::Clear {
                self.count_and_sum.clear(context)?;
            }
        }
        Ok(())
    }
}

/// 1.3.2: all readings in a list; from three on each gives the average.
#[derive(Clone)]
pub struct ListStateAverage {
    readings: ListState<f64>,
}

impl ListStateAverage {
    pub fn new() -> Self {
        Self { readings: ListState::new(ListStateDescriptor::new("readings")) }
    }
}

impl KeyedProcessFunction for ListStateAverage {
    type Key = i64;
    type In = Reading;
    type Out = (i64, f64);

    fn open(&mut self, states: &mut StateRegistry<'_, i64>) -> Result<()> {
        states.register(&mut self.readings)
    }

    fn process_element(&mut self, (key, value): Reading, context: &mut Context<'_, Self::Out>) -> Result<()> {
        self.readings.add(context, value)?;
        let readings = self.readings.get(context)?;
        if readings.len() >= 3 {
            context.collect((key, mean(&readings)));
        }
        Ok(())
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// 1.3.3: all readings in a map; from three on each gives the average.
///
/// The tutorial draws a random key for each entry. Here it is the number of entries, so that a replay does the same.
#[derive(Clone)]
pub struct MapStateAverage {
    readings: MapState<u64, f64>,
}

impl MapStateAverage {
    pub fn new() -> Self {
        Self { readings: MapState::new(MapStateDescriptor::new("readings")) }
    }
}

impl KeyedProcessFunction for MapStateAverage {
    type Key = i64;
    type In = Reading;
    type Out = (i64, f64);

    fn open(&mut self, states: &mut StateRegistry<'_, i64>) -> Result<()> {
        states.register(&mut self.readings)
    }

    fn process_element(&mut self, (key, value): Reading, context: &mut Context<'_, Self::Out>) -> Result<()> {
        let entries = self.readings.keys(context)?.len() as u64;
        self.readings.put(context, entries, value)?;
        let readings = self.readings.values(context)?;
        if readings.len() >= 3 {
            context.collect((key, mean(&readings)));
        }
        Ok(())
    }
}

type CountAndSum = (u64, f64);

/// Count and sum of two groups of readings.
fn add_up(sum: &mut CountAndSum, next: CountAndSum) {
    sum.0 += next.0;
    sum.1 += next.1;
}

/// 1.3.4: count and sum, reduced; each reading gives the average so far.
///
/// The tutorial counts in a field of the function, which all keys share and no checkpoint holds.
#[derive(Clone)]
pub struct ReducingStateAverage {
    count_and_sum: ReducingState<CountAndSum, fn(&mut CountAndSum, CountAndSum)>,
}

impl ReducingStateAverage {
    pub fn new() -> Self {
        Self { count_and_sum: ReducingState::new(ReducingStateDescriptor::new("count-and-sum", add_up)) }
    }
}

impl KeyedProcessFunction for ReducingStateAverage {
    type Key = i64;
    type In = Reading;
    type Out = (i64, f64);

    fn open(&mut self, states: &mut StateRegistry<'_, i64>) -> Result<()> {
        states.register(&mut self.count_and_sum)
    }

    fn process_element(&mut self, (key, value): Reading, context: &mut Context<'_, Self::Out>) -> Result<()> {
        self.count_and_sum.add(context, (1, value))?;
        if let Some((count, sum)) = self.count_and_sum.get(context)? {
            context.collect((key, sum / count as f64));
        }
        Ok(())
    }
}

/// All values in a text.
#[derive(Debug, Clone)]
pub struct Contains;

impl AggregateFunction<f64> for Contains {
    type Accumulator = Vec<f64>;
    type Out = String;

    fn create_accumulator(&self) -> Vec<f64> {
        Vec::new()
    }

    fn add(&self, accumulator: &mut Vec<f64>, value: f64) {
        accumulator.push(value);
    }

    fn get_result(&self, accumulator: &Vec<f64>) -> String {
        accumulator.iter().fold("Contains".to_owned(), |text, value| format!("{text}-{value:?}"))
    }

    // The tutorial keeps the text itself, so that its merge repeats the prefix.
    fn merge(&self, mut one: Vec<f64>, other: Vec<f64>) -> Vec<f64> {
        one.extend(other);
        one
    }
}

/// 1.3.5: each reading gives all so far.
#[derive(Clone)]
pub struct AggregatingStateContains {
    contains: AggregatingState<f64, Contains>,
}

impl AggregatingStateContains {
    pub fn new() -> Self {
        Self { contains: AggregatingState::new(AggregatingStateDescriptor::new("contains", Contains)) }
    }
}

impl KeyedProcessFunction for AggregatingStateContains {
    type Key = i64;
    type In = Reading;
    type Out = (i64, String);

    fn open(&mut self, states: &mut StateRegistry<'_, i64>) -> Result<()> {
        states.register(&mut self.contains)
    }

    fn process_element(&mut self, (key, value): Reading, context: &mut Context<'_, Self::Out>) -> Result<()> {
        self.contains.add(context, value)?;
        if let Some(text) = self.contains.get(context)? {
            context.collect((key, text));
        }
        Ok(())
    }
}

pub fn value_state_printed() -> Result<Vec<Printed>> {
    Ok(show(run(ONE_KEY, ValueStateAverage::new(AfterEmission::Keep))?))
}

pub fn list_state_printed() -> Result<Vec<Printed>> {
    Ok(show(run(TWO_KEYS, ListStateAverage::new())?))
}

pub fn map_state_printed() -> Result<Vec<Printed>> {
    Ok(show(run(TWO_KEYS, MapStateAverage::new())?))
}

pub fn reducing_state_printed() -> Result<Vec<Printed>> {
    Ok(show(run(TWO_KEYS, ReducingStateAverage::new())?))
}

pub fn aggregating_state_printed() -> Result<Vec<Printed>> {
    let contains = run(TWO_KEYS, AggregatingStateContains::new())?;
    Ok(harness::printed(contains.into_iter().map(|result| (0, result)).collect(), |(key, text)| {
        format!("({key},{text})")
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_state_gives_the_average_of_all_so_far() {
        let kept = run(ONE_KEY, ValueStateAverage::new(AfterEmission::Keep)).unwrap();
        assert_eq!(kept, [(1, 4.0), (1, 5.0), (1, 4.75), (1, 4.2)]);
        let cleared = run(ONE_KEY, ValueStateAverage::new(AfterEmission::Clear)).unwrap();
        assert_eq!(cleared, [(1, 4.0), (1, 5.5)], "the last reading waits for another");
    }

    #[test]
    fn list_and_map_state_give_the_average_from_the_third_reading_on() {
        let mut readings = TWO_KEYS.to_vec();
        readings.push((1, 9.0));
        let expected = [(1, 5.0), (2, 4.0), (1, 6.0)];
        assert_eq!(run(&readings, ListStateAverage::new()).unwrap(), expected);
        assert_eq!(run(&readings, MapStateAverage::new()).unwrap(), expected);
    }

    #[test]
    fn reducing_state_gives_the_average_of_the_key_whoever_shares_the_subtask() {
        let expected = [(1, 3.0), (1, 4.0), (1, 5.0), (2, 4.0), (2, 3.0), (2, 4.0)];
        assert_eq!(run(TWO_KEYS, ReducingStateAverage::new()).unwrap(), expected);
    }

    #[test]
    fn aggregating_state_gives_all_values_of_the_key() {
        let texts = ["Contains-3.0", "Contains-3.0-5.0", "Contains-3.0-5.0-7.0"];
        let mut expected: Vec<(i64, String)> = texts.iter().map(|text| (1, (*text).to_owned())).collect();
        let texts = ["Contains-4.0", "Contains-4.0-2.0", "Contains-4.0-2.0-6.0"];
        expected.extend(texts.iter().map(|text| (2, (*text).to_owned())));
        assert_eq!(run(TWO_KEYS, AggregatingStateContains::new()).unwrap(), expected);
    }
}
