//! Operations of a run: which, how many, at what.

use rand::{Rng as _, seq::SliceRandom as _};
use serde::Deserialize;
use tidegate::{
    checkpoint::SavepointFormat,
    event::{Moment, Step},
};

use super::SWARM_STEPS;
use crate::{
    fault::{At, Fault, FaultKind, Site},
    seed::Seed,
};

/// Operations that are put among the faults.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operations {
    /// Most of them in a run; at least one.
    pub max: u32,
    /// Which there may be.
    pub kinds: Vec<FaultKind>,
}

impl Operations {
    /// Whether one of them changes the parallelism.
    pub(super) fn change_parallelism(&self) -> bool {
        self.kinds.iter().any(|kind| kind.changes_parallelism())
    }

    /// Puts them among the faults.
    pub(super) fn draw_into(&self, faults: &mut Vec<Fault>, seed: Seed) {
        let mut random = seed.random();
        for _ in 0..random.gen_range(1..=self.max.max(1)) {
            let kind = *self.kinds.choose(&mut random).unwrap_or(&FaultKind::Savepoint);
            let moment = if random.gen_bool(0.5) { Moment::Before } else { Moment::After };
            // Those behind it wait until its moment has come.
            let at = At { site: site(&mut random), moment, subject: None, occurrence: random.gen_range(1..=5) };
            let format = format(&mut random);
            let fault = Fault { format, ..Fault::new(kind, at, random.gen_range(10..4_000)) };
            faults.insert(random.gen_range(0..=faults.len()), fault);
        }
    }
}

/// How the state of a savepoint is written.
pub(super) fn format(random: &mut impl rand::Rng) -> SavepointFormat {
    if random.gen_bool(0.5) { SavepointFormat::Canonical } else { SavepointFormat::Native }
}

fn site(random: &mut impl rand::Rng) -> Site {
    let named = |name: Option<&&'static str>| name.map_or("heartbeat", |name| *name).into();
    match random.gen_range(0..10) {
        0 => Site::Message(named(MESSAGES.choose(random))),
        1 => Site::Receipt(named(MESSAGES.choose(random))),
        2 => Site::Disk(named(DISK.choose(random))),
        _ => Site::Step(*SWARM_STEPS.choose(random).unwrap_or(&Step::Trigger)),
    }
}

/// Messages that every run sends often enough.
const MESSAGES: [&str; 4] = ["acknowledge", "trigger_checkpoint", "notify_complete", "heartbeat"];
/// What every run asks of the storage often enough.
const DISK: [&str; 5] = ["create", "write", "sync", "rename", "remove"];
