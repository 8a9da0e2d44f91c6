//! 7.2 and 7.3: windows by time and by count, folded as records come or at the end.

use std::time::Duration;

use tidegate::{
    Result,
    api::{AggregateFunction, TimestampedCollector, WindowContext},
    window::{GlobalWindow, TimeWindow},
};

use crate::harness::{self, Printed};

/// A word and the event time at which it was said, in milliseconds.
pub type Said = (String, i64);

/// 7.2.1: how often each word was said in the last 10 s, every 5 s: start and end of the window, the word, the count.
pub fn sliding_word_count(said: &[(&str, i64)]) -> Result<Vec<(i64, i64, String, u64)>> {
    let said = said.iter().map(|(word, at)| ((*word).to_owned(), *at)).collect();
    let count = |word: &String,
                 context: &mut WindowContext<'_, String, TimeWindow>,
                 said: Vec<Said>,
                 out: &mut TimestampedCollector<'_, (i64, i64, String, u64)>| {
        let TimeWindow { start, end } = *context.window;
        out.collect((start.0, end.0, word.clone(), said.len() as u64));
        Ok(())
    };
    let results = harness::run(
        said,
        |(_, at): &Said| *at,
        |said| {
            said.key_by(|(word, _): &Said| word.clone())
                .time_window_sliding(Duration::from_secs(10), Duration::from_secs(5))
                .expect("10 s and 5 s make windows")
                .process(count)
        },
    )?;
    Ok(harness::values(results))
}

/// The greatest of some numbers. The tutorial starts at 0, and finds 0 among negative numbers.
#[derive(Debug, Clone)]
pub struct Greatest;

impl AggregateFunction<f64> for Greatest {
    type Accumulator = Option<f64>;
    type Out = f64;

    fn create_accumulator(&self) -> Option<f64> {
        None
    }

    fn add(&self, greatest: &mut Option<f64>, value: f64) {
        *greatest = Some(greatest.map_or(value, |greatest| greatest.max(value)));
    }

    fn get_result(&self, greatest: &Option<f64>) -> f64 {
        greatest.expect("a window that fires has a record")
    }

    fn merge(&self, one: Option<f64>, other: Option<f64>) -> Option<f64> {
        match (one, other) {
            (Some(one), Some(other)) => Some(one.max(other)),
            (one, other) => one.or(other),
        }
    }
}

/// 7.2.2: the greatest of every five numbers of a key.
pub fn count_window_max(readings: &[(&str, f64)]) -> Result<Vec<f64>> {
    type Reading = (String, f64);

    #[derive(Debug, Clone)]
    struct OfReadings;
    impl AggregateFunction<Reading> for OfReadings {
        type Accumulator = Option<f64>;
        type Out = f64;
        fn create_accumulator(&self) -> Option<f64> {
            Greatest.create_accumulator()
        }
        fn add(&self, greatest: &mut Option<f64>, (_, value): Reading) {
            Greatest.add(greatest, value);
        }
        fn get_result(&self, greatest: &Option<f64>) -> f64 {
            Greatest.get_result(greatest)
        }
        fn merge(&self, one: Option<f64>, other: Option<f64>) -> Option<f64> {
            Greatest.merge(one, other)
        }
    }

    let readings = readings.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
    let results = harness::run(readings, harness::timeless, |readings| {
        readings.key_by(|(key, _): &Reading| key.clone()).count_window(5).aggregate(OfReadings)
    })?;
    Ok(harness::values(results))
}

/// 7.3.1: the sum of every five seconds. The tutorial's windows are in processing time; the numbers here come with an
/// event time instead, so that the result does not depend on when the program is run.
pub fn sum_every_five_seconds(numbers: &[(i64, i64)]) -> Result<Vec<(i64, i64)>> {
    type Timed = (i64, i64, i64);
    let numbers = numbers.iter().map(|(at, number)| (1, *number, *at)).collect();
    let results = harness::run(
        numbers,
        |(_, _, at): &Timed| *at,
        |numbers| {
            numbers
                .key_by(|(key, _, _): &Timed| *key)
                .time_window(Duration::from_secs(5))
                .expect("5 s make windows")
                .reduce(|sum: &mut Timed, next: Timed| sum.1 += next.1)
                .map(|(key, sum, _)| (key, sum))
        },
    )?;
    Ok(harness::values(results))
}

/// 7.3.2: the average of every three numbers. The tutorial divides whole numbers, and loses the fraction.
pub fn average_of_three(numbers: &[i64]) -> Result<Vec<f64>> {
    let average = |_key: &(),
                   _context: &mut WindowContext<'_, (), GlobalWindow>,
                   numbers: Vec<i64>,
                   out: &mut TimestampedCollector<'_, f64>| {
        out.collect(numbers.iter().sum::<i64>() as f64 / numbers.len() as f64);
        Ok(())
    };
    let results =
        harness::run(numbers.to_vec(), harness::timeless, |numbers| numbers.count_window_all(3).process(average))?;
    Ok(harness::values(results))
}

fn alone<T>(results: Vec<T>, show: impl Fn(&T) -> String) -> Vec<Printed> {
    harness::printed(results.into_iter().map(|result| (0, result)).collect(), show)
}

const SAID: &[(&str, i64)] = &[("a", 0), ("a", 4_999), ("b", 5_000), ("a", 12_000)];

pub fn sliding_printed() -> Result<Vec<Printed>> {
    let counts = sliding_word_count(SAID)?;
    Ok(alone(counts, |(start, end, word, count)| format!("[{start}, {end}) ({word},{count})")))
}

pub fn count_max_printed() -> Result<Vec<Printed>> {
    let mut readings: Vec<(&str, f64)> = (1..=5).map(|value| ("spark", f64::from(value))).collect();
    readings.extend([100.0, 90.0, 80.0, 70.0, 60.0, 10.0].map(|value| ("hello", value)));
    Ok(alone(count_window_max(&readings)?, |greatest| format!("{greatest:?}")))
}

pub fn reduce_printed() -> Result<Vec<Printed>> {
    let numbers = [(0, 1), (1_200, 2), (4_999, 3), (5_000, 10), (9_999, 20)];
    Ok(alone(sum_every_five_seconds(&numbers)?, |(key, sum)| format!("({key},{sum})")))
}

pub fn process_average_printed() -> Result<Vec<Printed>> {
    Ok(alone(average_of_three(&[1, 2, 3, 4, 5, 6])?, |average| format!("{average:?}")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_word_counts_in_both_windows_that_it_was_said_in() {
        let mut windows: BTreeMap<(i64, i64), BTreeMap<String, u64>> = BTreeMap::new();
        for (start, end, word, count) in sliding_word_count(SAID).unwrap() {
            assert_eq!(windows.entry((start, end)).or_default().insert(word, count), None, "each once");
        }
        let counts = |counts: &[(&str, u64)]| counts.iter().map(|(word, n)| ((*word).to_owned(), *n)).collect();
        let expected = BTreeMap::from([
            ((-5_000, 5_000), counts(&[("a", 2)])),
            ((0, 10_000), counts(&[("a", 2), ("b", 1)])),
            ((5_000, 15_000), counts(&[("a", 1), ("b", 1)])),
            ((10_000, 20_000), counts(&[("a", 1)])),
        ]);
        assert_eq!(windows, expected);
    }

    #[test]
    fn every_five_numbers_of_a_key_give_their_greatest_and_the_rest_waits() {
        let shown: Vec<String> = count_max_printed().unwrap().into_iter().map(|line| line.text).collect();
        assert_eq!(shown, ["5.0", "100.0"]);
        let negative = [-5.0, -3.0, -9.0, -1.0, -7.0].map(|value| ("x", value));
        assert_eq!(count_window_max(&negative).unwrap(), [-1.0]);
    }

    #[test]
    fn a_number_at_the_end_of_a_window_belongs_to_the_next() {
        let shown: Vec<String> = reduce_printed().unwrap().into_iter().map(|line| line.text).collect();
        assert_eq!(shown, ["(1,6)", "(1,30)"]);
    }

    #[test]
    fn every_three_numbers_give_their_average_with_its_fraction() {
        assert_eq!(average_of_three(&[1, 2, 3, 4, 5, 6, 7]).unwrap(), [2.0, 5.0]);
        assert_eq!(average_of_three(&[1, 2, 2]).unwrap(), [5.0 / 3.0]);
        assert_eq!(average_of_three(&[-1, -2, -2]).unwrap(), [-5.0 / 3.0]);
    }
}
