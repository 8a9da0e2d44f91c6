//! The names of the invariants.

use serde::{Deserialize, Serialize};

macro_rules! invariants {
    ($($id:ident $name:literal $says:literal)*) => {
        /// An invariant. Its number and name are part of reports: never change one.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum InvariantId {
            $(#[doc = $says] $id,)*
        }

        impl InvariantId {
            /// All, in order.
            pub const ALL: [Self; 23] = [$(Self::$id),*];

            /// Its number, such as `I1`.
            pub fn number(self) -> &'static str {
                match self {
                    $(Self::$id => stringify!($id),)*
                }
            }

            /// Its name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$id => $name,)*
                }
            }

            /// What it says.
            pub fn says(self) -> &'static str {
                match self {
                    $(Self::$id => $says,)*
                }
            }
        }
    };
}

invariants! {
    I1 "NoLoss" "every record's effect is in the committed output when the job has drained"
    I2 "NoDup" "no effect is there twice"
    I3 "NoDirty" "nothing of an uncompleted or aborted checkpoint is visible to a read-committed reader, at any moment"
    I4 "Order" "order per key and partition is kept"
    I5 "Cut" "each restored state, of each type, equals the model folded over exactly the recorded source prefix"
    I6 "CommitAtomic" "all subtasks and partitions of one checkpoint commit, or none"
    I7 "CommitAfterComplete" "no commit before the checkpoint's metadata is durable"
    I8 "EventuallyCommitted" "whatever belongs to a completed checkpoint gets committed"
    I9 "Progress" "after faults stop, checkpoints complete, pending transactions are resolved and the job ends within a bound"
    I10 "Timers" "each registered timer fires once in effect, never early, never lost"
    I11 "Windows" "window results and late routing are exactly the model's"
    I12 "Watermark" "watermarks are monotone; nothing is emitted behind one that the model does not emit"
    I13 "KeyGroups" "each key group has exactly one owner; state lies only inside the owner's range"
    I14 "Splits" "each source split has one owner; offsets are continuous"
    I15 "RefIntegrity" "every file that a retained checkpoint or savepoint names exists with its checksum"
    I16 "NoLeak" "opened = committed + aborted + live, for transactions and for files"
    I17 "Fencing" "an older attempt can commit nothing"
    I18 "SnapshotPurity" "a snapshot does not see later mutations"
    I19 "NewestCheckpoint" "recovery uses the newest completed checkpoint"
    I20 "FailLoud" "what cannot be kept is reported, never silently dropped"
    I21 "Determinism" "same seed, same trace hash: debug or release, one or many workers, any hash seed"
    I22 "InFlightExact" "each in-flight record is there once, before newer ones, uncorrupted"
    I23 "FailoverScope" "a failure restarts the regions of what failed, and nothing else"
}
