//! The interval join as Flink answers it, and against a join that looks at all pairs.

use proptest::prelude::*;

use super::*;
use crate::operator::test_harness::{TwoInputHarness, record};

type Event = (char, i64);

fn key(event: &Event) -> String {
    event.0.to_string()
}

fn sum(left: &Event, right: &Event, context: &JoinContext, out: &mut TimestampedCollector<'_, String>) -> Result<()> {
    out.collect(format!("{}@{}x{}@{}", left.1, context.left_timestamp, right.1, context.right_timestamp));
    Ok(())
}

fn late() -> OutputTag<Event> {
    OutputTag::new("late")
}

fn join(range: impl RangeBounds<i64>) -> impl TwoInputOperator<First = Event, Second = Event, Out = String> {
    IntervalJoinOperator::new(key, key, JoinInterval::from_range_ms(range).unwrap(), sum)
        .with_late_outputs(Some(late()), Some(late()))
}

/// What comes out for one record, with timestamps, then what is late.
fn texts(out: Batch<String>, late: Batch<Event>) -> Vec<String> {
    let out = out.into_iter().map(|record| format!("{} at {}", record.value, record.timestamp));
    out.chain(late.into_iter().map(|record| format!("late {} at {}", record.value.1, record.timestamp))).collect()
}

fn run(range: impl RangeBounds<i64>, steps: &[(char, i64, i64)]) -> Vec<String> {
    let mut harness = TwoInputHarness::open(join(range), None);
    let mut all = Vec::new();
    for (side, value, timestamp) in steps {
        let records = vec![record(('a', *value), *timestamp)];
        let out = match side {
            'l' => harness.first(records),
            'r' => harness.second(records),
            _ => harness.advance(*timestamp),
        };
        all.extend(texts(out, harness.side_output(&late())));
    }
    all
}

/// The case `interval-join` of real Flink.
#[test]
fn pairs_within_the_interval_are_joined_and_records_behind_the_watermark_are_late() {
    let steps = [
        ('l', 1, 1000),
        ('r', 10, 900),
        ('r', 20, 899),
        ('r', 30, 1200),
        ('r', 40, 1201),
        ('w', 0, 1150),
        ('l', 2, 1100),
        ('l', 3, 1160),
        ('r', 50, 1149),
        ('r', 60, 1300),
        ('w', 0, 2000),
    ];
    let expected = [
        "1@1000x10@900 at 1000",
        "1@1000x30@1200 at 1200",
        "late 2 at 1100",
        "3@1160x30@1200 at 1200",
        "3@1160x40@1201 at 1201",
        "late 50 at 1149",
        "3@1160x60@1300 at 1300",
    ];
    assert_eq!(run(-100..=200, &steps), expected);
}

/// The case `interval-join-exclusive` of real Flink.
#[test]
fn bounds_can_be_exclusive() {
    let steps = [('l', 1, 1000), ('r', 10, 900), ('r', 20, 901), ('r', 30, 1200), ('r', 40, 1199), ('w', 0, 3000)];
    let range = (Bound::Excluded(-100), Bound::Excluded(200));
    assert_eq!(run(range, &steps), ["1@1000x20@901 at 1000", "1@1000x40@1199 at 1199"]);
}

#[test]
fn an_interval_needs_two_ends_and_something_in_between() {
    assert!(JoinInterval::from_range_ms(5..=5).is_ok());
    assert!(JoinInterval::from_range_ms(5..5).is_err());
    assert!(JoinInterval::from_range_ms(..5).is_err());
    assert!(JoinInterval::from_range_ms(5..).is_err());
}

#[test]
fn records_that_nobody_can_join_any_more_are_forgotten() {
    for (range, left_until, right_until) in [(-100..=200, 1200, 1100), (50..=60, 1060, 1000), (-60..=-50, 1000, 1060)] {
        let mut harness = TwoInputHarness::open(join(range), None);
        harness.first(vec![record(('a', 1), 1000)]);
        harness.second(vec![record(('b', 1), 1000)]);
        let kept = |harness: &mut TwoInputHarness<_>| {
            let keyed = harness.snapshot().keyed;
            JOIN_BUFFERS.map(|buffer| keyed.contains_key(buffer))
        };
        let (earlier, later) = (left_until.min(right_until), left_until.max(right_until));
        harness.advance(earlier - 1);
        assert_eq!(kept(&mut harness), [true, true]);
        harness.advance(later - 1);
        assert_eq!(kept(&mut harness), [left_until > right_until, right_until > left_until]);
        harness.advance(later);
        assert!(harness.snapshot().keyed.is_empty(), "neither records nor timers are left");
    }
}

#[test]
fn a_record_at_the_watermark_is_not_late_but_partners_that_waited_up_to_it_are_gone() {
    let steps = [('r', 1, 50), ('r', 2, 51), ('w', 0, 54), ('l', 3, 54), ('r', 4, 54), ('l', 5, 54)];
    assert_eq!(run(-4..=0, &steps), ["3@54x2@51 at 54", "3@54x4@54 at 54", "5@54x2@51 at 54", "5@54x4@54 at 54"]);
}

#[cfg(feature = "sim")]
#[test]
fn the_planted_bug_forgets_records_that_are_still_wanted() {
    crate::planted::activate(Some("interval_join_cleans_up_too_early"));
    let joined = run(-100..=200, &[('l', 1, 1000), ('w', 0, 1100), ('r', 2, 1200)]);
    crate::planted::activate(None);
    assert_eq!(joined, [""; 0]);
}

#[derive(Debug, Clone)]
enum Step {
    Record(bool, char, i64),
    Watermark(i64),
    Restore,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (any::<bool>(), prop_oneof![Just('a'), Just('b')], 0..60_i64).prop_map(|(left, key, at)| Step::Record(left, key, at)),
        2 => (0..60_i64).prop_map(Step::Watermark),
        1 => Just(Step::Restore),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #[test]
    fn every_pair_of_records_that_meet_is_joined_once(steps in steps(), lower in -20..20_i64, length in 0..20_i64) {
        let upper = lower + length;
        let range = lower..=upper;
        let mut harness = TwoInputHarness::open(join(range.clone()), None);
        let (mut joined, mut expected) = (Vec::new(), Vec::new());
        let mut seen: Vec<(bool, char, i64, i64)> = Vec::new();
        let mut watermark = i64::MIN;
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Record(left, key, at) => {
                    let (number, records) = (number as i64, vec![record((key, number as i64), at)]);
                    let out = if left { harness.first(records) } else { harness.second(records) };
                    joined.extend(out.into_iter().map(|record| record.value));
                    let is_late = !harness.side_output(&late()).is_empty();
                    prop_assert_eq!(is_late, at < watermark);
                    if is_late {
                        continue;
                    }
                    for (other_left, other_key, other, other_at) in &seen {
                        let (l, l_at, r, r_at) =
                            if left { (number, at, *other, *other_at) } else { (*other, *other_at, number, at) };
                        if *other_left != left && *other_key == key && range.contains(&(r_at - l_at)) {
                            expected.push(format!("{l}@{l_at}x{r}@{r_at}"));
                        }
                    }
                    seen.push((left, key, number, at));
                }
                Step::Watermark(next) => {
                    if next > watermark {
                        watermark = next;
                        // It says that nothing at it comes any more: who has waited so long is gone. Who comes when it
                        // is at his end already waits for the next one.
                        seen.retain(|(left, _, _, at)| at + if *left { upper } else { -lower }.max(0) > watermark);
                    }
                    harness.advance(watermark);
                }
                Step::Restore => {
                    let kept = harness.snapshot();
                    harness = TwoInputHarness::open(join(range.clone()), Some(kept));
                    harness.advance(watermark);
                }
            }
        }
        joined.sort();
        expected.sort();
        prop_assert_eq!(joined, expected);
        harness.advance(1_000);
        prop_assert!(harness.snapshot().keyed.is_empty());
    }
}
