//! The faults of a disk, and which operation the next one strikes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use madsim::task::NodeId;
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DiskFaultKind {
    /// Opening, looking up, listing or reading fails; nothing changes.
    ReadError,
    /// Creating, writing or removing fails; nothing changes.
    WriteError,
    /// A sync fails. What a file had un-synced is dropped, and a later sync succeeds without it.
    SyncError,
    /// A sync returns `Ok` and makes nothing durable.
    LyingSync,
    /// Creating or writing finds no space.
    FullDisk,
    /// A bit of a file flips before it is read, for good.
    BitRot,
    /// A write is acknowledged and lands elsewhere: over a part of this or another file; zeros stand in its place.
    MisdirectedWrite,
    /// A write is acknowledged and never happens: zeros stand in its place.
    PhantomWrite,
    /// Rename or publish fails without an answer, but took effect.
    AmbiguousApplied,
    /// Rename or publish fails without an answer, and took no effect.
    AmbiguousNotApplied,
    /// A listing shows the names as of the last directory sync.
    StaleList,
}

impl DiskFaultKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::ReadError,
        Self::WriteError,
        Self::SyncError,
        Self::LyingSync,
        Self::FullDisk,
        Self::BitRot,
        Self::MisdirectedWrite,
        Self::PhantomWrite,
        Self::AmbiguousApplied,
        Self::AmbiguousNotApplied,
        Self::StaleList,
    ];

    /// The name under which it is counted.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadError => "read_error",
            Self::WriteError => "write_error",
            Self::SyncError => "sync_error",
            Self::LyingSync => "lying_sync",
            Self::FullDisk => "full_disk",
            Self::BitRot => "bit_rot",
            Self::MisdirectedWrite => "misdirected_write",
            Self::PhantomWrite => "phantom_write",
            Self::AmbiguousApplied => "ambiguous_applied",
            Self::AmbiguousNotApplied => "ambiguous_not_applied",
            Self::StaleList => "stale_list",
        }
    }

    /// Whether it makes a difference to such an operation; `idle` says that the operation has nothing to do.
    fn can_strike(self, operation: Operation, idle: bool) -> bool {
        use Operation::{Create, List, Look, Read, Remove, Rename, Sync, Write};
        match self {
            Self::ReadError => matches!(operation, Look | List | Read),
            Self::WriteError => matches!(operation, Create | Write | Remove),
            Self::FullDisk => matches!(operation, Create | Write),
            Self::SyncError => matches!(operation, Sync),
            Self::LyingSync => matches!(operation, Sync) && !idle,
            Self::BitRot => matches!(operation, Read) && !idle,
            Self::MisdirectedWrite | Self::PhantomWrite => matches!(operation, Write) && !idle,
            Self::AmbiguousApplied | Self::AmbiguousNotApplied => matches!(operation, Rename),
            Self::StaleList => matches!(operation, List) && !idle,
        }
    }
}

/// The operations, as far as faults tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// Create a file or a directory.
    Create,
    /// Write to a file.
    Write,
    /// Sync a file or a directory.
    Sync,
    /// Open a file, or ask for existence or length.
    Look,
    /// Read from a file.
    Read,
    /// List a directory.
    List,
    /// Rename or publish.
    Rename,
    /// Remove a file or a directory.
    Remove,
}

impl Operation {
    /// The name under which a witness sees it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Look => "look",
            Self::Read => "read",
            Self::List => "list",
            Self::Rename => "rename",
            Self::Remove => "remove",
        }
    }
}

/// A fault that waits for operations to strike.
#[derive(Debug, Clone)]
pub struct DiskFault {
    /// What goes wrong.
    pub kind: DiskFaultKind,
    /// Only operations on this path, or below it; for a rename, either name counts.
    pub path_prefix: PathBuf,
    /// But none on this path, or below it.
    pub except: Option<PathBuf>,
    /// Only operations that this node asks for.
    pub node: Option<NodeId>,
    /// How many operations that it could strike it lets pass first.
    pub skip: u64,
    /// How many it strikes.
    pub remaining: u64,
    /// How many of 1,000 it strikes, drawn from the disk's own random stream.
    pub per_mille: u32,
}

impl DiskFault {
    /// A fault that strikes the next operation below `path_prefix` that it can.
    pub fn once(kind: DiskFaultKind, path_prefix: impl Into<PathBuf>) -> Self {
        Self { kind, path_prefix: path_prefix.into(), except: None, node: None, skip: 0, remaining: 1, per_mille: 1000 }
    }

    /// A fault that strikes each operation below `path_prefix` that it can, until the faults are cleared.
    pub fn always(kind: DiskFaultKind, path_prefix: impl Into<PathBuf>) -> Self {
        Self { remaining: u64::MAX, ..Self::once(kind, path_prefix) }
    }
}

/// Names an injected fault, to withdraw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FaultId(u64);

/// The faults that wait, in the order of injection. An operation is struck by at most one.
#[derive(Debug, Default)]
pub(super) struct Faults {
    waiting: BTreeMap<u64, DiskFault>,
    injected: u64,
    /// Where the fault that struck last was at home.
    region: Option<(PathBuf, Option<PathBuf>)>,
}

impl Faults {
    pub(super) fn inject(&mut self, fault: DiskFault) -> FaultId {
        self.injected += 1;
        if fault.remaining > 0 {
            self.waiting.insert(self.injected, fault);
        }
        FaultId(self.injected)
    }

    /// Whether the fault that struck last was at home on this path.
    pub(super) fn is_in_region(&self, path: &Path) -> bool {
        self.region.as_ref().is_some_and(|(prefix, except)| {
            path.starts_with(prefix) && !except.as_ref().is_some_and(|except| path.starts_with(except))
        })
    }

    pub(super) fn withdraw(&mut self, fault: FaultId) {
        self.waiting.remove(&fault.0);
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// The fault that strikes this operation, if any; it is used up by that.
    pub(super) fn strike(
        &mut self,
        operation: Operation,
        idle: bool,
        paths: &[&Path],
        random: &mut ChaCha8Rng,
    ) -> Option<DiskFaultKind> {
        if self.waiting.is_empty() {
            return None;
        }
        let node = madsim::plugin::node();
        for (&id, fault) in &mut self.waiting {
            let concerned = fault.kind.can_strike(operation, idle)
                && fault.node.is_none_or(|chosen| chosen == node)
                && paths.iter().any(|path| path.starts_with(&fault.path_prefix))
                && !paths.iter().any(|path| fault.except.as_ref().is_some_and(|except| path.starts_with(except)));
            if !concerned {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            if fault.per_mille < 1000 && random.gen_range(0..1000) >= fault.per_mille {
                continue;
            }
            let kind = fault.kind;
            self.region = Some((fault.path_prefix.clone(), fault.except.clone()));
            fault.remaining -= 1;
            if fault.remaining == 0 {
                self.waiting.remove(&id);
            }
            return Some(kind);
        }
        None
    }
}
