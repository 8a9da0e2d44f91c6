//! I22 on a run in which a channel holds four elements when checkpoint 3 is taken, and on the nearest wrong ones.

use tidegate::{
    Timestamp,
    event::{Moment, Step},
    record::StreamElement,
    task::ChannelDigest,
};

use super::{InvariantId, judge, model, right_run};

/// The digest of elements with these numbers, as a fact says it.
fn digest(numbers: &[i64]) -> ChannelDigest {
    let elements: Vec<_> = numbers.iter().map(|number| StreamElement::Watermark(Timestamp(*number))).collect();
    ChannelDigest::of(&elements)
}

/// What the two ends of the channel say at checkpoint 3 of attempt 2, which was restored from checkpoint 1.
struct Said<'a> {
    /// What the receiver put back.
    put_back: &'a [i64],
    sent: &'a [i64],
    taken: &'a [i64],
    kept_at_input: &'a [i64],
    kept_at_output: &'a [i64],
}

/// Six elements: one was kept at the input in checkpoint 1, five were sent, two taken.
const RIGHT: Said<'_> =
    Said { put_back: &[1], sent: &[2, 3, 4, 5, 6], taken: &[1, 2], kept_at_input: &[3, 4], kept_at_output: &[5, 6] };

fn broken(said: &Said<'_>) -> Vec<String> {
    let mut run = right_run();
    let input = |numbers| format!("v1#0 in e0:0->0={}", digest(numbers));
    let output = |numbers| format!("v0#0 out e0:0->0={}", digest(numbers));
    run.fact(Moment::After, Step::InFlight, Some(1), 1, input(&[1]));
    run.fact(Moment::After, Step::Restore, Some(1), 2, input(said.put_back));
    run.fact(Moment::After, Step::ChannelCut, Some(3), 2, output(said.sent));
    run.fact(Moment::After, Step::ChannelCut, Some(3), 2, input(said.taken));
    run.fact(Moment::After, Step::InFlight, Some(3), 2, input(said.kept_at_input));
    run.fact(Moment::After, Step::InFlight, Some(3), 2, output(said.kept_at_output));
    let violations = judge(&run.history, &model()).into_iter();
    violations
        .filter(|violation| violation.invariant == InvariantId::I22)
        .map(|violation| violation.signature)
        .collect()
}

const CUT: &str = "I22 a cut that is not where the barriers are";

#[test]
fn what_was_taken_and_what_is_kept_is_what_was_put_back_and_sent() {
    assert_eq!(broken(&RIGHT), [""; 0]);
}

#[test]
fn an_element_that_is_lost_or_there_twice_or_changed_or_out_of_order_is_seen() {
    assert_eq!(broken(&Said { kept_at_input: &[3], ..RIGHT }), [CUT]);
    assert_eq!(broken(&Said { kept_at_output: &[4, 5, 6], ..RIGHT }), [CUT]);
    assert_eq!(broken(&Said { kept_at_output: &[5, 7], ..RIGHT }), [CUT]);
    assert_eq!(broken(&Said { kept_at_input: &[4, 3], ..RIGHT }), [CUT]);
    assert_eq!(broken(&Said { taken: &[2, 1], ..RIGHT }), [CUT], "what was put back comes before what is newer");
}

#[test]
fn what_is_put_back_is_what_was_kept() {
    let other = "I22 other data put back than was kept";
    assert_eq!(broken(&Said { put_back: &[9], taken: &[9, 2], ..RIGHT }), [other]);
    assert_eq!(broken(&Said { put_back: &[], taken: &[2], ..RIGHT }), [other]);
}
