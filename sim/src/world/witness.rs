//! Someone who stands between the processes and the world, sees what they ask of it, and may let them die there.

use std::sync::{Arc, OnceLock, Weak};

use madsim::task::NodeId;
use tidegate::event::Moment;

/// What a process asks of the world, or gets from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// It hands a message of this name to the network.
    Send(&'static str),
    /// A message of this name has come, and the process has done nothing with it yet.
    Receive(&'static str),
    /// It asks a disk for this operation.
    Disk(&'static str),
}

/// What becomes of the process that is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It lives on.
    Lives,
    /// It is dead: it must not do anything more.
    Dead,
}

/// A witness. It must be quick.
pub trait Witness: Send + Sync {
    /// Called before each act of a process, and after it has taken effect.
    fn sees(&self, node: NodeId, act: Act, moment: Moment) -> Fate;
}

/// The place for the witness of a part of the world; it is empty in most runs, and costs nothing then.
#[derive(Clone, Default)]
pub(crate) struct WitnessStand(Arc<OnceLock<Weak<dyn Witness>>>);

impl WitnessStand {
    /// The first witness stays.
    pub(crate) fn take(&self, witness: Weak<dyn Witness>) {
        // Whoever comes second finds the stand taken, and is not needed.
        let _ = self.0.set(witness);
    }

    pub(crate) fn is_taken(&self) -> bool {
        self.0.get().is_some()
    }

    /// Shows an act of the process that runs now.
    pub(crate) fn show(&self, act: Act, moment: Moment) -> Fate {
        let witness = self.0.get().and_then(Weak::upgrade);
        witness.map_or(Fate::Lives, |witness| witness.sees(madsim::plugin::node(), act, moment))
    }
}
