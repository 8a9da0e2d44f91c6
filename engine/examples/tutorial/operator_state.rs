//! 1.4: emits every two records together, whatever their keys, out of a list in operator state.

use tidegate::{
    Result,
    operator::{
        CheckpointedFunction, FunctionContext, FunctionInitializationContext, OperatorListState, ProcessFunction,
    },
};

use crate::harness::{self, Printed};

/// A word and its number.
pub type Counted = (String, i64);

/// Collects records and emits them two by two.
///
/// The tutorial's list is a field that no checkpoint holds: after a failure the record that waits in it is gone.
#[derive(Clone)]
pub struct Pairs {
    waiting: OperatorListState<Counted>,
}

impl Pairs {
    pub fn new() -> Self {
        Self { waiting: OperatorListState::new("waiting") }
    }
}

impl CheckpointedFunction for Pairs {
    fn initialize_state(&mut self, context: &mut FunctionInitializationContext<'_>) -> Result<()> {
        context.list_state(&mut self.waiting)
    }
}

impl ProcessFunction for Pairs {
    type In = Counted;
    type Out = Vec<Counted>;

    fn process_element(&mut self, value: Counted, context: &mut FunctionContext<'_, Self::Out>) -> Result<()> {
        self.waiting.add(context, value)?;
        if self.waiting.get(context)?.len() == 2 {
            let pair = self.waiting.take(context)?;
            context.collect(pair);
        }
        Ok(())
    }
}

/// As Scala prints a `ListBuffer`.
pub fn shown(pair: &[Counted]) -> String {
    let records: Vec<String> = pair.iter().map(|(word, number)| format!("({word},{number})")).collect();
    format!("ListBuffer({})", records.join(", "))
}

/// The pairs of some records.
pub fn pairs(records: Vec<Counted>) -> Result<Vec<Vec<Counted>>> {
    let results = harness::run(records, harness::timeless, |records| records.process(Pairs::new()))?;
    Ok(harness::values(results))
}

pub fn printed() -> Result<Vec<Printed>> {
    let records = [("spark", 3), ("hadoop", 5), ("hive", 7), ("flume", 9)];
    let pairs = pairs(records.map(|(word, number)| (word.to_owned(), number)).to_vec())?;
    Ok(harness::printed(pairs.into_iter().map(|pair| (0, pair)).collect(), |pair| shown(pair)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_two_records_come_together_in_their_order() {
        let lines: Vec<String> = printed().unwrap().into_iter().map(|line| line.text).collect();
        assert_eq!(lines, ["ListBuffer((spark,3), (hadoop,5))", "ListBuffer((hive,7), (flume,9))"]);
    }
}
