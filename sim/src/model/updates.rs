//! Updates of a running aggregate over several sources or splits: many outputs are right.
//!
//! What is checked, per key with `n` records: there is one line for each count from 1 to `n` (so the pipeline must have
//! a `count()`); the last one is the fold of all records; and the steps from line to line are those of the key's records,
//! each record once, in some order. A step of `count`, `sum`, `min` or `max` must be what the record makes of the result
//! before; of the other aggregates only the last line is looked at.

use std::collections::{BTreeMap, btree_map::Entry};

use tidegate::pipeline::{Aggregate, AggregateFunction, Datum, Plan, PlannedOperation, Row};

use super::{ModelError, Multiset, Place, SinkModel, evaluate::Evaluation, fold, layout, lines};

/// Decides whether lines are the updates of a running aggregate.
#[derive(Debug, Clone)]
pub struct Updates {
    sink: SinkModel,
    stage: String,
    key_length: usize,
    aggregates: Vec<Aggregate>,
    /// Which aggregate counts the records.
    count: usize,
    expected: BTreeMap<Row, Vec<Vec<Datum>>>,
}

/// How lines differ from right ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpdatesDifference {
    /// What is not there: a line, or the number of an update of a key.
    pub lost: Vec<String>,
    /// Lines that are there too often, or cannot be.
    pub extra: Vec<String>,
}

impl Updates {
    pub(super) fn new(
        sink: &SinkModel,
        plan: &Plan,
        stage: usize,
        evaluation: &Evaluation,
    ) -> Result<Self, ModelError> {
        let stage = &plan.stages[stage];
        let PlannedOperation::Aggregate { key, aggregates, .. } = &stage.operation else {
            unreachable!("only a running aggregate has updates");
        };
        let counts =
            |aggregate: &Aggregate| aggregate.function == AggregateFunction::Count && aggregate.argument.is_none();
        let Some(count) = aggregates.iter().position(counts) else {
            let why = "its updates have no count() to tell them apart".to_owned();
            return Err(ModelError::DependsOnOrder { name: stage.name.clone(), why });
        };
        Ok(Self {
            sink: sink.clone(),
            stage: stage.name.clone(),
            key_length: key.len(),
            aggregates: aggregates.clone(),
            count,
            expected: evaluation.arguments.get(&layout::uid(&stage.name)).cloned().unwrap_or_default(),
        })
    }

    /// Whether lines of one key come in the order of their counts within one subtask.
    pub fn is_ordered(&self) -> bool {
        self.sink.is_ordered
    }

    /// Which update of which key a line is.
    pub fn place(&self, line: &str) -> Option<Place> {
        let (key, results) = self.read(line)?;
        let sequence = format!("key {key} of {}", self.stage);
        Some(Place { sequence, position: results[self.count].as_int()? })
    }

    fn read(&self, line: &str) -> Option<(Row, Vec<Datum>)> {
        let row = self.sink.read(line)?;
        let (key, results) = row.values().split_at(self.key_length);
        Some((Row::new(key.to_vec()), results.to_vec()))
    }

    /// Compares all lines with what they must be.
    pub fn difference(&self, actual: &Multiset) -> UpdatesDifference {
        let mut difference = UpdatesDifference::default();
        let mut updates: BTreeMap<&Row, BTreeMap<usize, (&str, Vec<Datum>)>> = BTreeMap::new();
        for (line, times) in actual.iter() {
            let known = self.read(line).and_then(|(key, results)| {
                let (key, records) = self.expected.get_key_value(&key)?;
                let number = usize::try_from(results[self.count].as_int()?).ok()?;
                (1..=records.len()).contains(&number).then_some((key, number, results))
            });
            let mut fresh = false;
            if let Some((key, number, results)) = known
                && let Entry::Vacant(entry) = updates.entry(key).or_default().entry(number)
            {
                entry.insert((line, results));
                fresh = true;
            }
            let extra = times - u64::from(fresh);
            difference.extra.extend((0..extra).map(|_| line.to_owned()));
        }
        for (key, records) in &self.expected {
            self.key_difference(key, records, &updates.remove(key).unwrap_or_default(), &mut difference);
        }
        difference
    }

    fn key_difference(
        &self,
        key: &Row,
        records: &[Vec<Datum>],
        updates: &BTreeMap<usize, (&str, Vec<Datum>)>,
        difference: &mut UpdatesDifference,
    ) {
        let total = fold::results(&self.aggregates, records);
        for number in 1..=records.len() {
            match updates.get(&number) {
                Some((line, results))
                    if number == records.len() && !results.iter().cloned().map(Some).eq(total.clone()) =>
                {
                    difference.extra.push((*line).to_owned());
                    difference.lost.push(self.line(key, &total));
                }
                Some(_) => {}
                None if number == records.len() => difference.lost.push(self.line(key, &total)),
                None => difference.lost.push(format!("update {number} of key {key}")),
            }
        }
        if updates.len() == records.len() {
            difference.extra.extend(self.unexplained_steps(records, updates));
        }
    }

    fn line(&self, key: &Row, results: &[Option<Datum>]) -> String {
        let results = results.iter().map(|result| result.clone().unwrap_or_default());
        let row: Row = key.values().iter().cloned().chain(results).collect();
        lines::write(self.sink.format, &self.sink.schema, &row)
    }

    /// The lines to which no record leads, if each record is to lead to one line: a bipartite matching.
    fn unexplained_steps(&self, records: &[Vec<Datum>], updates: &BTreeMap<usize, (&str, Vec<Datum>)>) -> Vec<String> {
        let mut kinds: BTreeMap<&[Datum], usize> = BTreeMap::new();
        for record in records {
            *kinds.entry(record).or_default() += 1;
        }
        let kinds: Vec<(&[Datum], usize)> = kinds.into_iter().collect();
        let mut before = self.results_of_none();
        let mut candidates = Vec::new();
        for (_, after) in updates.values() {
            let leads = |kind: &usize| self.leads(&before, kinds[*kind].0, after);
            candidates.push(match self.arguments_between(&before, after) {
                Some(arguments) => {
                    let found = kinds.binary_search_by(|(kind, _)| (*kind).cmp(arguments.as_slice())).ok();
                    found.into_iter().filter(leads).collect()
                }
                None => (0..kinds.len()).filter(leads).collect::<Vec<_>>(),
            });
            before.clone_from(after);
        }
        let mut matching =
            Matching { candidates, room: kinds.iter().map(|(_, room)| *room).collect(), taken: Vec::new() };
        matching.taken.resize(kinds.len(), Vec::new());
        let unexplained = |step: &usize| !matching.place(*step, &mut vec![false; kinds.len()]);
        let steps: Vec<usize> = (0..updates.len()).filter(unexplained).collect();
        let lines: Vec<&str> = updates.values().map(|(line, _)| *line).collect();
        steps.into_iter().map(|step| lines[step].to_owned()).collect()
    }

    fn results_of_none(&self) -> Vec<Datum> {
        fold::results(&self.aggregates, &[]).into_iter().map(Option::unwrap_or_default).collect()
    }

    /// The only arguments that can make one result of the other, if counts and sums of integers leave no choice.
    fn arguments_between(&self, before: &[Datum], after: &[Datum]) -> Option<Vec<Datum>> {
        let columns = self.aggregates.iter().zip(before.iter().zip(after));
        let argument = |(aggregate, (before, after)): (&Aggregate, (&Datum, &Datum))| {
            match (aggregate.function, &aggregate.argument, before, after) {
                (AggregateFunction::Count, None, ..) => Some(Datum::Bool(true)),
                // A sum that stays as it is may have been given a zero or nothing.
                (AggregateFunction::Sum, _, Datum::Int(before), Datum::Int(after)) if before != after => {
                    after.checked_sub(*before).map(Datum::Int)
                }
                _ => None,
            }
        };
        columns.map(argument).collect()
    }

    /// Whether a record with these arguments makes one result of the other.
    fn leads(&self, before: &[Datum], arguments: &[Datum], after: &[Datum]) -> bool {
        let columns = before.iter().zip(arguments).zip(after);
        self.aggregates.iter().zip(columns).all(|(aggregate, ((before, argument), after))| {
            if argument.is_null() && aggregate.function != AggregateFunction::Average {
                return before == after;
            }
            match aggregate.function {
                AggregateFunction::Count => before.as_int().map(|count| count + 1) == after.as_int(),
                AggregateFunction::Sum => match (before, argument) {
                    (Datum::Int(sum), Datum::Int(value)) => {
                        sum.checked_add(*value).map(Datum::Int).as_ref() == Some(after)
                    }
                    _ => !before.is_null() || argument == after,
                },
                AggregateFunction::Min => {
                    *after == if before.is_null() { argument } else { before.min(argument) }.clone()
                }
                AggregateFunction::Max => after == before.max(argument),
                AggregateFunction::Average
                | AggregateFunction::First
                | AggregateFunction::Last
                | AggregateFunction::Median
                | AggregateFunction::List
                | AggregateFunction::StringAgg => true,
                AggregateFunction::Firings | AggregateFunction::KeyFirings | AggregateFunction::Watermark => {
                    unreachable!("a running aggregate sees no window")
                }
            }
        })
    }
}

/// Steps matched to kinds of records, by augmenting paths.
struct Matching {
    /// The kinds that explain each step.
    candidates: Vec<Vec<usize>>,
    /// How many steps each kind explains.
    room: Vec<usize>,
    /// The steps that each kind has been given.
    taken: Vec<Vec<usize>>,
}

impl Matching {
    fn place(&mut self, step: usize, tried: &mut [bool]) -> bool {
        for kind in self.candidates[step].clone() {
            if std::mem::replace(&mut tried[kind], true) {
                continue;
            }
            if self.taken[kind].len() < self.room[kind] {
                self.taken[kind].push(step);
                return true;
            }
            for place in 0..self.taken[kind].len() {
                let other = self.taken[kind][place];
                if self.place(other, tried) {
                    // It went to another kind, since this one counts as tried: its place here is as it was.
                    self.taken[kind][place] = step;
                    return true;
                }
            }
        }
        false
    }
}
