//! What can be wrong with a run of a user's job, and how it is told.

use std::fmt::{self, Debug};

use crate::invariant::InvariantId;

/// A kind of wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Breach {
    /// Something that the undisturbed run shows is missing.
    Lost,
    /// Something is there more often than in the undisturbed run.
    Duplicated,
    /// Something is there that the undisturbed run does not show at all.
    Unexpected,
    /// The job did not come to its end after the faults had stopped.
    Hung,
    /// The job failed for good.
    Failed,
    /// A process of the cluster panicked.
    Panicked,
    /// An assertion of the test's author failed, or the body returned an error.
    Assertion,
    /// The same seed gave two different runs.
    NotDeterministic,
    /// The undisturbed run shows nothing, so there is nothing that could get lost.
    Vacuous,
}

impl Breach {
    /// The invariant that is broken, where it is one of the laboratory's.
    pub fn invariant(self) -> Option<InvariantId> {
        match self {
            Self::Lost => Some(InvariantId::I1),
            Self::Duplicated => Some(InvariantId::I2),
            Self::Hung => Some(InvariantId::I9),
            Self::NotDeterministic => Some(InvariantId::I21),
            Self::Unexpected | Self::Failed | Self::Panicked | Self::Assertion | Self::Vacuous => None,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Lost => "lost output",
            Self::Duplicated => "duplicate output",
            Self::Unexpected => "unexpected output",
            Self::Hung => "no progress",
            Self::Failed => "job failed",
            Self::Panicked => "panic in the cluster",
            Self::Assertion => "assertion of the test",
            Self::NotDeterministic => "not repeatable",
            Self::Vacuous => "nothing to compare",
        }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.invariant() {
            Some(invariant) => write!(f, "{} {}", invariant.number(), invariant.name()),
            None => f.write_str(self.words()),
        }
    }
}

/// Something that is wrong with a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind.
    pub breach: Breach,
    /// What happened, in one sentence.
    pub sentence: String,
    /// Lines marked `-` lost, `+` too many.
    pub evidence: Vec<String>,
}

impl Finding {
    pub(super) fn new(breach: Breach, sentence: impl Into<String>) -> Self {
        Self { breach, sentence: sentence.into(), evidence: Vec::new() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.breach, self.sentence)?;
        self.evidence.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// Most lines of evidence of one finding.
const EVIDENCE_MAX: usize = 6;

/// Compares two multisets, each sorted: what the disturbed run shows must equal what the undisturbed one shows.
pub(super) fn compare<T: Ord + Debug>(what: &str, undisturbed: &[T], disturbed: &[T]) -> Vec<Finding> {
    let (mut lost, mut duplicated, mut unexpected) = (Vec::new(), Vec::new(), Vec::new());
    let (mut left, mut right) = (undisturbed, disturbed);
    while let Some(entry) = [left.first(), right.first()].into_iter().flatten().min() {
        let (expected, actual) = (run_length(left, entry), run_length(right, entry));
        (left, right) = (&left[expected..], &right[actual..]);
        let times = format!("{actual} times instead of {expected}");
        if actual < expected {
            lost.push(format!("- {entry:?} ({times})"));
        } else if expected == 0 {
            unexpected.push(format!("+ {entry:?} ({times})"));
        } else if actual > expected {
            duplicated.push(format!("+ {entry:?} ({times})"));
        }
    }
    let judged = [
        (Breach::Lost, lost, "missing or there less often than without faults"),
        (Breach::Duplicated, duplicated, "there more often than without faults"),
        (Breach::Unexpected, unexpected, "there that no undisturbed run shows"),
    ];
    let total = undisturbed.len();
    judged
        .into_iter()
        .filter(|(_, lines, _)| !lines.is_empty())
        .map(|(breach, lines, how)| Finding {
            breach,
            sentence: format!("of {what}, {} {how} ({total} in all)", counted(lines.len())),
            evidence: limited(lines),
        })
        .collect()
}

/// How often `entry` stands at the front.
fn run_length<T: Ord>(sorted: &[T], entry: &T) -> usize {
    sorted.iter().take_while(|other| *other == entry).count()
}

fn counted(count: usize) -> String {
    if count == 1 { "1 entry is".into() } else { format!("{count} entries are") }
}

fn limited(mut lines: Vec<String>) -> Vec<String> {
    let more = lines.len().saturating_sub(EVIDENCE_MAX);
    lines.truncate(EVIDENCE_MAX);
    if more > 0 {
        lines.push(format!("  and {more} more"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(undisturbed: &[u32], disturbed: &[u32]) -> Vec<String> {
        compare("payments", undisturbed, disturbed).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn equal_multisets_are_not_a_finding() {
        assert_eq!(told(&[1, 2, 2, 3], &[1, 2, 2, 3]), [""; 0]);
    }

    #[test]
    fn what_is_lost_duplicated_or_unexpected_is_told_apart() {
        assert_eq!(
            told(&[1, 2, 3, 3], &[2, 2, 3, 9]),
            [
                "I1 NoLoss: of payments, 2 entries are missing or there less often than without faults (4 in all)\n  \
                 - 1 (0 times instead of 1)\n  - 3 (1 times instead of 2)",
                "I2 NoDup: of payments, 1 entry is there more often than without faults (4 in all)\n  \
                 + 2 (2 times instead of 1)",
                "unexpected output: of payments, 1 entry is there that no undisturbed run shows (4 in all)\n  \
                 + 9 (1 times instead of 0)",
            ]
        );
    }

    #[test]
    fn long_evidence_is_cut_and_says_so() {
        let all: Vec<u32> = (0..20).collect();
        let found = compare("payments", &all, &[]);
        assert_eq!(found[0].evidence.len(), EVIDENCE_MAX + 1);
        assert_eq!(found[0].evidence[EVIDENCE_MAX], "  and 14 more");
    }
}
