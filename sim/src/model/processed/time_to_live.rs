//! State that lives for a while: a list of entries, each with the time of its last use.
//!
//! There is one entry for a value, one for each element of a list or each key of a map. One has expired when its last use plus
//! the time to live is not after the reading (Flink `TtlUtils.expired`); to write is use, to read is if the configuration says
//! so. What is not one thing is followed in all of its ways, until a result says which: an expired entry that may be seen until
//! it has been removed, which is at the latest when it is read; and, after a clock has gone wrong, an entry that an earlier
//! reading may have removed although a later one does not find it expired.

use std::collections::BTreeSet;

use tidegate::pipeline::{ProcessFunction, Row, StateTtl, TtlUpdate, TtlVisibility};

use super::{Arrival, Clocks, Line, Processed, Said};
use crate::model::{
    UpdatesDifference,
    records::millis,
    script::{join, sum},
};

/// A value, an element of a list, or an entry of a map.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    user_key: i64,
    /// All values that went into it.
    values: Vec<i64>,
    used_ms: i64,
}

/// Entries in the order in which they are read.
type Kept = Vec<Entry>;

/// What comes of looking at an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// It is seen, and stays.
    Alive,
    /// It is seen, and removed: it had expired.
    Last,
    /// It is not seen, and not there any more.
    Gone,
}

impl Processed {
    pub(super) fn check_lifetimes(
        &self,
        key: &Row,
        records: &[Arrival],
        lines: &[Line<'_>],
        clocks: Clocks,
        difference: &mut UpdatesDifference,
    ) {
        let mut states: BTreeSet<Kept> = BTreeSet::from([Kept::new()]);
        for (arrival, Line { text, row, at_ms }) in records.iter().zip(lines) {
            let life = Life { ttl: self.planned.declared.ttl.as_ref(), clocks, now_ms: *at_ms };
            let outcomes = states.iter().flat_map(|kept| self.outcomes(kept.clone(), arrival, row, &life));
            let outcomes: Vec<(Row, Kept)> =
                outcomes.map(|(said, kept)| (self.result(key, &arrival.row, said, *at_ms), kept)).collect();
            let is_right = outcomes.iter().any(|(result, _)| result == row);
            if !is_right {
                difference.extra.push((*text).to_owned());
                difference.lost.extend(outcomes.iter().take(1).flat_map(|(result, _)| self.sink.lines_of(result)));
            }
            // If no way leads to this result, each may be the one from which it goes on.
            let fits = |(result, kept): (Row, Kept)| (!is_right || result == *row).then_some(kept);
            states = outcomes.into_iter().filter_map(fits).collect();
        }
        difference.extra.extend(lines.iter().skip(records.len()).map(|line| line.text.to_owned()));
        difference.lost.extend((lines.len()..records.len()).map(|_| format!("a result of key {key}")));
    }

    /// Each way in which a record can be processed: what is said of it, and what is kept then. `row` is what was said, which
    /// tells what the state has shown.
    fn outcomes(&self, kept: Kept, arrival: &Arrival, row: &Row, life: &Life<'_>) -> Vec<(Said, Kept)> {
        let value = arrival.value;
        match self.planned.declared.function {
            ProcessFunction::ValueCount => {
                let counted = |(mut values, _): (Vec<i64>, Kept)| {
                    values.push(value);
                    (Said::Value(values.len() as i64), life.written(values))
                };
                life.values(kept).into_iter().map(counted).collect()
            }
            ProcessFunction::ValueAvg { n } => {
                let averaged = |(mut values, _): (Vec<i64>, Kept)| {
                    values.push(value);
                    match (values.len() as u64) < n {
                        true => (Said::Nothing, life.written(values)),
                        false => (Said::Text(average(&values), sum_and_count(&values)), Kept::new()),
                    }
                };
                life.values(kept).into_iter().map(averaged).collect()
            }
            ProcessFunction::Dedup => {
                let passed = |(values, left): (Vec<i64>, Kept)| match values.is_empty() {
                    true => (Said::Record, life.written(vec![value])),
                    false => (Said::Nothing, left),
                };
                life.values(kept).into_iter().map(passed).collect()
            }
            ProcessFunction::ReducingSum => life.folded(kept, value, |values| Said::Value(sum(values))),
            ProcessFunction::AggregatingContains => {
                let said = |values: &[i64]| Said::Text(value, format!("Contains:{}", join(values, " and ")));
                life.folded(kept, value, said)
            }
            ProcessFunction::AggregatingAvg => {
                life.folded(kept, value, |values| Said::Text(value, sum_and_count(values)))
            }
            ProcessFunction::ListAvg { n } => {
                let mut kept = kept;
                kept.push(Entry { user_key: 0, values: vec![value], used_ms: life.now_ms });
                let averaged = |(seen, left): (Kept, Kept)| {
                    let values = all_values(&seen);
                    match (values.len() as u64) < n {
                        true => (Said::Nothing, left),
                        false => (Said::Text(average(&values), join(&values, ",")), Kept::new()),
                    }
                };
                life.reads(&kept, |_| None).into_iter().map(averaged).collect()
            }
            ProcessFunction::MapAvg { n } => {
                let counted = life.reads(&kept, |_| None).into_iter().flat_map(|(seen, left)| {
                    let put = life.put(left, seen.len() as i64, vec![value]);
                    life.reads(&put, |_| None)
                });
                let averaged = |(seen, left): (Kept, Kept)| {
                    let values = all_values(&seen);
                    match (values.len() as u64) < n {
                        true => (Said::Nothing, left),
                        false => (Said::Text(average(&values), sum_and_count(&values)), Kept::new()),
                    }
                };
                counted.map(averaged).collect()
            }
            ProcessFunction::MapCount { n } => self.map_count(kept, value, n, row, life),
            ProcessFunction::RawCount | ProcessFunction::Timers { .. } => Vec::new(),
        }
    }

    /// The text of a result names each entry of the map that was seen.
    fn map_count(&self, kept: Kept, value: i64, n: u64, row: &Row, life: &Life<'_>) -> Vec<(Said, Kept)> {
        let text = row.values().get(self.planned.key.len() + 1).and_then(|text| text.as_str()).unwrap_or_default();
        let named: BTreeSet<&str> = text.trim_matches(['{', '}']).split(',').collect();
        let name = |entry: &Entry| format!("{}={}", entry.user_key, entry.values.len());
        let (of_value, others): (Kept, Kept) = kept.into_iter().partition(|entry| entry.user_key == value);
        let mut outcomes = Vec::new();
        for (seen, left) in life.reads(&of_value, |_| None) {
            let mut times = all_values(&seen);
            times.push(value);
            let said = times.len() as i64;
            let left: Kept = others.iter().cloned().chain(left).collect();
            let written = match times.len() as u64 >= n {
                true => left.into_iter().filter(|entry| entry.user_key != value).collect(),
                false => life.put(left, value, times),
            };
            let told = life.reads(&written, |entry| Some(named.contains(name(entry).as_str())));
            outcomes.extend(told.into_iter().map(|(mut seen, left)| {
                seen.sort_by_key(|entry| entry.user_key);
                let entries: Vec<String> = seen.iter().map(name).collect();
                (Said::Text(said, format!("{{{}}}", entries.join(","))), left)
            }));
        }
        outcomes
    }
}

/// How long state lives, as one record finds it.
struct Life<'a> {
    ttl: Option<&'a StateTtl>,
    clocks: Clocks,
    now_ms: i64,
}

impl Life<'_> {
    fn has_expired(&self, entry: &Entry) -> bool {
        let ttl = self.ttl.filter(|ttl| ttl.update != TtlUpdate::Disabled);
        ttl.is_some_and(|ttl| entry.used_ms.saturating_add(millis(ttl.ttl)) <= self.now_ms)
    }

    /// What may come of looking at an entry.
    fn sights(&self, entry: &Entry) -> &'static [Sight] {
        let shows_expired = self.ttl.is_some_and(|ttl| ttl.visibility == TtlVisibility::ReturnExpiredIfNotCleanedUp);
        match (self.has_expired(entry), shows_expired) {
            (true, false) => &[Sight::Gone],
            (true, true) => &[Sight::Gone, Sight::Last],
            // Nobody has removed meanwhile what this record has written.
            (false, _) if self.clocks == Clocks::Wrong && entry.used_ms != self.now_ms => &[Sight::Alive, Sight::Gone],
            (false, _) => &[Sight::Alive],
        }
    }

    /// Each way in which entries can be read: those that are seen, and those that are left. `told` says whether one was
    /// seen, if that is known.
    fn reads(&self, kept: &[Entry], told: impl Fn(&Entry) -> Option<bool>) -> Vec<(Kept, Kept)> {
        let mut ways = vec![(Kept::new(), Kept::new())];
        for entry in kept {
            let mut sights = self.sights(entry).to_vec();
            if sights.len() > 1
                && let Some(seen) = told(entry)
            {
                sights.retain(|sight| (*sight != Sight::Gone) == seen);
            }
            let with = |(seen, left): &(Kept, Kept), sight: Sight| {
                let (mut seen, mut left) = (seen.clone(), left.clone());
                seen.extend((sight != Sight::Gone).then(|| entry.clone()));
                left.extend((sight == Sight::Alive).then(|| self.read(entry.clone())));
                (seen, left)
            };
            ways = ways.iter().flat_map(|way| sights.iter().map(move |sight| with(way, *sight))).collect();
        }
        ways
    }

    /// The entry after it was read.
    fn read(&self, entry: Entry) -> Entry {
        let is_use = self.ttl.is_some_and(|ttl| ttl.update == TtlUpdate::OnReadAndWrite);
        Entry { used_ms: if is_use { self.now_ms } else { entry.used_ms }, ..entry }
    }

    /// The ways in which the one value can be read: all that went into it, and what is left.
    fn values(&self, kept: Kept) -> Vec<(Vec<i64>, Kept)> {
        self.reads(&kept, |_| None).into_iter().map(|(seen, left)| (all_values(&seen), left)).collect()
    }

    /// The one value, written now.
    fn written(&self, values: Vec<i64>) -> Kept {
        vec![Entry { user_key: 0, values, used_ms: self.now_ms }]
    }

    /// An entry of a map, written now.
    fn put(&self, mut kept: Kept, user_key: i64, values: Vec<i64>) -> Kept {
        kept.retain(|entry| entry.user_key != user_key);
        kept.push(Entry { user_key, values, used_ms: self.now_ms });
        kept.sort_by_key(|entry| entry.user_key);
        kept
    }

    /// A value is folded into the one that is there, which is told then.
    fn folded(&self, kept: Kept, value: i64, said: impl Fn(&[i64]) -> Said) -> Vec<(Said, Kept)> {
        let mut outcomes = Vec::new();
        for (mut values, _) in self.values(kept) {
            values.push(value);
            outcomes.extend(self.values(self.written(values)).into_iter().map(|(values, left)| {
                // What expires at once is not there to be told.
                (if values.is_empty() { Said::Nothing } else { said(&values) }, left)
            }));
        }
        outcomes
    }
}

fn all_values(entries: &[Entry]) -> Vec<i64> {
    entries.iter().flat_map(|entry| entry.values.iter().copied()).collect()
}

fn average(values: &[i64]) -> i64 {
    sum(values) / values.len() as i64
}

fn sum_and_count(values: &[i64]) -> String {
    format!("{}/{}", sum(values), values.len())
}
