//! Schedules of priorities: probabilistic concurrency testing, at the engine's own seams.
//!
//! The executor takes whichever task is ready at random, so an order that needs one side to be slow many times in a row
//! is hardly ever met. Here each process and each subtask gets a priority at random, and whoever has a lower one is held
//! longer at each of its facts, so that all others overtake it. At a few random facts whoever stands there falls behind
//! everybody else. A bug that needs `d` ordered events is met with `d - 1` such changes (Burckhardt et al. 2010: PCT).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rand::Rng as _;
use serde::{Deserialize, Serialize};

use crate::seed::Seed;

/// A schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// What priorities and changes are drawn from.
    pub seed: u64,
    /// How many ordered events it aims at: one more than there are changes.
    pub depth: u32,
}

/// The greatest depth.
const DEPTH_MAX: u32 = 3;
/// Changes come at one of the first so many facts: about as many as a run of a small workload has.
const FACTS: u64 = 600;
/// Priorities that are drawn; whoever falls behind gets a lower one than all of these.
const PRIORITIES: u32 = 8;
/// How much longer the next lower priority is held: longer than a message or a disk takes.
const HELD: Duration = Duration::from_millis(6);

impl Schedule {
    pub(crate) fn drawn(seed: Seed) -> Self {
        // TOML's integers are signed.
        Self { seed: seed.0 >> 1, depth: seed.child("depth").random().gen_range(1..=DEPTH_MAX) }
    }
}

/// The turns of one run.
#[derive(Debug)]
pub(crate) struct Turns {
    seed: Seed,
    /// The facts at which whoever states them falls behind.
    changes: Vec<u64>,
    facts: u64,
    /// The priority of each actor; the lowest number goes first.
    priorities: BTreeMap<Arc<str>, u32>,
    fallen: u32,
}

impl Turns {
    pub(crate) fn new(schedule: Schedule) -> Self {
        let seed = Seed(schedule.seed);
        let mut random = seed.child("changes").random();
        let changes = (1..schedule.depth).map(|_| random.gen_range(0..FACTS)).collect();
        Self { seed, changes, facts: 0, priorities: BTreeMap::new(), fallen: 0 }
    }

    /// How long this actor is held at the fact that it states now.
    pub(crate) fn hold(&mut self, actor: &Arc<str>) -> Duration {
        let seed = self.seed;
        let drawn = || seed.child("priority").child(actor).random().gen_range(0..PRIORITIES);
        let mut priority = *self.priorities.entry(actor.clone()).or_insert_with(drawn);
        if self.changes.contains(&self.facts) {
            priority = PRIORITIES + self.fallen;
            self.fallen += 1;
            self.priorities.insert(actor.clone(), priority);
        }
        self.facts += 1;
        HELD * priority
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_keeps_its_priority_until_it_falls_behind_all_others() {
        let mut turns = Turns::new(Schedule { seed: 5, depth: 3 });
        let (first, second) = (turns.changes[0].min(turns.changes[1]), turns.changes[0].max(turns.changes[1]));
        assert!(first < second);
        let actor: Arc<str> = "sum#0".into();
        let held: Vec<Duration> = (0..=second).map(|_| turns.hold(&actor)).collect();
        assert!(held[..first as usize].iter().all(|hold| *hold == held[0] && *hold < HELD * PRIORITIES));
        assert!(held[first as usize..second as usize].iter().all(|hold| *hold == HELD * PRIORITIES));
        assert_eq!(held[second as usize], HELD * (PRIORITIES + 1));
    }
}
