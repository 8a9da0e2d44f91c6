//! The ledger against what it promises, and against a model over random lives.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn ledger_with_pending(checkpoint_ids: &[u64]) -> TransactionLedger<u64> {
    let mut ledger = TransactionLedger::default();
    for id in checkpoint_ids {
        ledger.begin(*id);
        ledger.pre_committed(CheckpointId(*id));
    }
    ledger
}

fn pending(checkpoint_ids: &[u64]) -> Vec<(CheckpointId, u64)> {
    checkpoint_ids.iter().map(|id| (CheckpointId(*id), *id)).collect()
}

#[test]
fn a_completed_checkpoint_takes_along_what_was_pre_committed_before_it() {
    let mut ledger = ledger_with_pending(&[1, 2, 5]);
    assert_eq!(ledger.completed(CheckpointId(2)), pending(&[1, 2]));
    assert_eq!(ledger.completed(CheckpointId(2)), [], "a notice that comes twice commits nothing twice");
    assert_eq!(ledger.completed(CheckpointId(4)), [], "what belongs to a later checkpoint waits for it");
    assert_eq!(ledger.state().pending, pending(&[5]));
}

#[test]
fn closing_gives_up_the_open_transaction_only() {
    let mut ledger = ledger_with_pending(&[1]);
    ledger.begin(9);
    assert_eq!(ledger.close(), Some(9));
    assert_eq!(ledger.close(), None);
    assert_eq!(ledger.state(), LedgerState { current: None, pending: pending(&[1]) });
}

#[test]
fn a_snapshot_without_an_open_transaction_adds_nothing() {
    let mut ledger = ledger_with_pending(&[1]);
    ledger.pre_committed(CheckpointId(2));
    assert_eq!(ledger.state().pending, pending(&[1]));
}

#[test]
#[should_panic(expected = "one open transaction at a time")]
fn a_second_open_transaction_is_a_defect() {
    let mut ledger = TransactionLedger::default();
    ledger.begin(1);
    ledger.begin(2);
}

#[test]
#[should_panic(expected = "in the order of their ids")]
fn a_checkpoint_that_comes_twice_is_a_defect() {
    let mut ledger = ledger_with_pending(&[3]);
    ledger.begin(4);
    ledger.pre_committed(CheckpointId(3));
}

#[test]
fn recovery_commits_oldest_first_over_all_states_and_aborts_what_was_open() {
    let states = vec![
        LedgerState { current: Some("a-open"), pending: vec![(CheckpointId(2), "a2"), (CheckpointId(3), "a3")] },
        LedgerState { current: None, pending: vec![(CheckpointId(1), "b1"), (CheckpointId(3), "b3")] },
    ];
    let recovery = TransactionLedger::recover(states);
    let commit = [(1, "b1"), (2, "a2"), (3, "a3"), (3, "b3")].map(|(id, name)| (CheckpointId(id), name)).to_vec();
    assert_eq!(recovery, Recovery { commit, abort: vec!["a-open"] });
}

/// What can happen to a sink.
#[derive(Debug, Clone, Copy)]
enum Event {
    Snapshot,
    /// The checkpoint that is so many behind the newest one completes; the notice may get lost.
    Complete {
        behind: u64,
        notice_arrives: bool,
    },
    /// The process dies, and the newest completed checkpoint is restored.
    Crash,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Event::Snapshot),
        2 => (0u64..3, any::<bool>()).prop_map(|(behind, notice_arrives)| Event::Complete { behind, notice_arrives }),
        1 => Just(Event::Crash),
    ]
}

/// A sink, its external system and its checkpoints, with transactions that are numbers.
#[derive(Default)]
struct World {
    ledger: TransactionLedger<u64>,
    opened: u64,
    taken: u64,
    newest_completed: u64,
    states: BTreeMap<u64, LedgerState<u64>>,
    /// What must be visible in the end: the transactions of the checkpoints that were not rolled back.
    history: BTreeMap<u64, u64>,
    committed: BTreeSet<u64>,
    aborted: BTreeSet<u64>,
}

impl World {
    fn begin(&mut self) {
        self.ledger.begin(self.opened);
        self.opened += 1;
    }

    fn play(&mut self, event: Event) {
        match event {
            Event::Snapshot => {
                self.taken += 1;
                self.history.insert(self.taken, self.opened - 1);
                self.ledger.pre_committed(CheckpointId(self.taken));
                self.begin();
                self.states.insert(self.taken, self.ledger.state());
            }
            Event::Complete { behind, notice_arrives } => {
                let checkpoint_id = self.taken.saturating_sub(behind);
                if !self.states.contains_key(&checkpoint_id) {
                    return;
                }
                self.newest_completed = self.newest_completed.max(checkpoint_id);
                if notice_arrives {
                    let completed = self.ledger.completed(CheckpointId(checkpoint_id));
                    self.committed.extend(completed.into_iter().map(|(_, transaction)| transaction));
                }
            }
            Event::Crash => {
                self.states.retain(|checkpoint_id, _| *checkpoint_id <= self.newest_completed);
                self.history.retain(|checkpoint_id, _| *checkpoint_id <= self.newest_completed);
                let restored = self.states.get(&self.newest_completed).cloned();
                let recovery = TransactionLedger::recover(restored.into_iter().collect());
                self.committed.extend(recovery.commit.into_iter().map(|(_, transaction)| transaction));
                self.aborted.extend(recovery.abort);
                self.ledger = TransactionLedger::default();
                self.begin();
            }
        }
    }
}

proptest! {
    /// Whatever completes, gets lost or dies: after recovery exactly the transactions up to the restored checkpoint are
    /// committed, and none of them was ever aborted.
    #[test]
    fn exactly_what_belongs_to_completed_checkpoints_gets_committed(
        events in proptest::collection::vec(event(), 0..40),
    ) {
        let mut world = World::default();
        world.begin();
        for event in events {
            world.play(event);
        }
        world.play(Event::Crash);
        prop_assert_eq!(&world.committed, &world.history.values().copied().collect::<BTreeSet<_>>());
        prop_assert!(world.committed.is_disjoint(&world.aborted), "a committed transaction was aborted");
    }
}
