//! One RocksDB: opened, read, written, scanned and snapshotted. Everything that names the crate is here.
//!
//! There is one column family per state. Nothing is written ahead to a log, for what is lost with the process is lost
//! anyway: a job starts again from its checkpoint. Whatever fails says where and what to do.
//!
//! A snapshot is RocksDB's own checkpoint: the memory table is flushed and the files are linked to another directory,
//! where they are read later, while the database goes on. So the part that holds up records takes as long as the flush
//! of one memory table, however much state there is. Flink: `RocksDBKeyedStateBackend`, `RocksDBIncrementalCheckpointUtils`.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rocksdb::{
    BlockBasedOptions, BoundColumnFamily, Cache, ColumnFamilyDescriptor, DBCompressionType, DBWithThreadMode,
    MergeOperands, MultiThreaded, Options, PrefixRange, ReadOptions, WriteBatch, WriteOptions, checkpoint::Checkpoint,
};

use super::{
    layout::{self, Parts},
    working_directory::WorkingDirectory,
};
use crate::{
    config::{BackgroundWork, RocksDbOptions},
    env,
    error::{Error, ErrorKind, Result},
    planted,
    state::StateKind,
};

// Column families come and go through a shared reference in this mode.
type Db = DBWithThreadMode<MultiThreaded>;

/// What the entries of a column family stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// An entry is a value.
    Value,
    /// An entry is a list, in chunks.
    List,
    /// An entry is an entry of a map.
    Map,
}

impl Format {
    pub(super) fn of(kind: StateKind) -> Self {
        match kind {
            StateKind::Value | StateKind::Reducing | StateKind::Aggregating | StateKind::Timers => Self::Value,
            StateKind::List => Self::List,
            StateKind::Map => Self::Map,
        }
    }
}

/// An entry of a state: encoded key and namespace, and the encoding of the value, of the list, or of the map with its
/// entries in the order of their bytes.
pub(super) struct RawEntry<'a> {
    pub(super) key_group: u16,
    pub(super) key: &'a [u8],
    pub(super) namespace: &'a [u8],
    pub(super) value: Vec<u8>,
}

/// The column family of a state. Its name says that it is a state's: RocksDB has one of its own, `default`.
#[derive(Debug, Clone)]
pub(super) struct Family {
    /// Name of the state.
    pub(super) state: String,
    name: String,
}

impl Family {
    pub(super) fn of(state: &str) -> Self {
        Self { state: state.to_owned(), name: format!("state:{state}") }
    }
}

/// See the module.
pub(super) struct Database {
    // Closed before its directory is removed: fields are dropped in this order.
    db: Db,
    options: Options,
    read: ReadOptions,
    write: WriteOptions,
    background_work: BackgroundWork,
    snapshots: AtomicU64,
    directory: Arc<WorkingDirectory>,
}

/// Memory for blocks of files, per operator instance.
const BLOCK_CACHE_BYTES: usize = 64 << 20;
/// Bits per key of the filters that say which files cannot hold a key.
const FILTER_BITS: f64 = 10.0;
/// With background work at snapshots only, the files are merged at each of this many.
const SNAPSHOTS_PER_COMPACTION: u64 = 4;

impl Database {
    /// A new, empty database in a directory of its own; instances are spread over the directories that there are.
    pub(super) fn create(configured: &RocksDbOptions, name: &str, instance: u16) -> Result<Self> {
        let parents = &configured.local_directories;
        let parent = (!parents.is_empty()).then(|| parents[usize::from(instance) % parents.len()].as_path());
        let directory = WorkingDirectory::create(parent, name)
            .map_err(|(path, error)| failed(&path, "create its working directory", error))?;
        let options = options(configured.background_work);
        let path = directory.path().join("db");
        // All databases of a process share a timer on a thread of RocksDB. It refuses a task that lies before the one
        // that it is at, and simulated time is years before the timer's.
        let db = env::on_host_clock({
            let (options, path) = (options.clone(), path.clone());
            move || Db::open(&options, path)
        });
        let db = db.map_err(|error| failed(&path, "open", error))?;
        let mut write = WriteOptions::default();
        write.disable_wal(true);
        Ok(Self {
            db,
            options,
            read: ReadOptions::default(),
            write,
            background_work: configured.background_work,
            snapshots: AtomicU64::new(0),
            directory: Arc::new(directory),
        })
    }

    /// Adds the column family of a state.
    pub(super) fn create_family(&self, family: &Family) -> Result<()> {
        self.db.create_cf(&family.name, &self.options).map_err(|error| self.failed("add a state", error))
    }

    fn handle(&self, family: &Family) -> Arc<BoundColumnFamily<'_>> {
        handle(&self.db, family)
    }

    /// The value under a key, handed to `read`.
    pub(super) fn get<R>(
        &self,
        family: &Family,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> Result<R>,
    ) -> Result<Option<R>> {
        let value = self.db.get_pinned_cf_opt(&self.handle(family), key, &self.read);
        let value = value.map_err(|error| self.failed("read", error))?;
        value.map(|value| read(&value)).transpose()
    }

    /// Sets the value under a key.
    pub(super) fn put(&self, family: &Family, key: &[u8], value: &[u8]) -> Result<()> {
        let written = self.db.put_cf_opt(&self.handle(family), key, value, &self.write);
        written.map_err(|error| self.failed("write", error))
    }

    /// Sets the values under many keys at once.
    pub(super) fn put_all(&self, family: &Family, entries: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<()> {
        let (handle, mut batch) = (self.handle(family), WriteBatch::default());
        entries.for_each(|(key, value)| batch.put_cf(&handle, key, value));
        self.db.write_opt(batch, &self.write).map_err(|error| self.failed("write", error))
    }

    /// Appends bytes to the value under a key, without reading it.
    pub(super) fn append(&self, family: &Family, key: &[u8], bytes: &[u8]) -> Result<()> {
        let written = self.db.merge_cf_opt(&self.handle(family), key, bytes, &self.write);
        written.map_err(|error| self.failed("write", error))
    }

    /// Removes a key.
    pub(super) fn delete(&self, family: &Family, key: &[u8]) -> Result<()> {
        let deleted = self.db.delete_cf_opt(&self.handle(family), key, &self.write);
        deleted.map_err(|error| self.failed("write", error))
    }

    /// Calls `visit` with each key that starts with `prefix` and its value until it says that it has seen enough.
    pub(super) fn with_prefix(
        &self,
        family: &Family,
        prefix: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<GoOn>,
    ) -> Result<()> {
        let mut read = ReadOptions::default();
        read.set_iterate_range(PrefixRange(prefix));
        if planted!("rocksdb_prefix_scan_misses_flushed_entries") {
            read.set_read_tier(rocksdb::ReadTier::Memtable);
        }
        let mut iterator = self.db.raw_iterator_cf_opt(&self.handle(family), read);
        iterator.seek_to_first();
        while let Some((key, value)) = iterator.item() {
            if visit(key, value)? == GoOn::No {
                return Ok(());
            }
            iterator.next();
        }
        iterator.status().map_err(|error| self.failed("scan", error))
    }

    /// Calls `visit` for each entry of a state, in the order of the bytes of their keys.
    pub(super) fn scan(
        &self,
        family: &Family,
        format: Format,
        visit: impl FnMut(RawEntry<'_>) -> Result<()>,
    ) -> Result<()> {
        scan(&self.db, family, format, visit)
    }

    /// The files at this moment, in a directory of their own. `families` are all that there are.
    pub(super) fn checkpoint<'a>(&self, families: impl Iterator<Item = &'a Family>) -> Result<CheckpointDirectory> {
        let number = self.snapshots.fetch_add(1, Ordering::Relaxed);
        if self.background_work == BackgroundWork::AtSnapshots && (number + 1).is_multiple_of(SNAPSHOTS_PER_COMPACTION)
        {
            families.for_each(|family| self.compact(family));
        }
        let path = self.snapshot_path(number);
        let checkpoint = Checkpoint::new(&self.db).map_err(|error| self.failed("take a snapshot", error))?;
        let taken = if planted!("rocksdb_snapshot_without_flush") {
            checkpoint.create_checkpoint_with_log_size(&path, u64::MAX)
        } else {
            checkpoint.create_checkpoint(&path)
        };
        taken.map_err(|error| self.failed("take a snapshot", error))?;
        Ok(CheckpointDirectory { path, _working_directory: self.directory.clone() })
    }

    fn snapshot_path(&self, number: u64) -> PathBuf {
        let own = self.directory.path();
        let name = format!("snapshot-{number}");
        if planted!("rocksdb_operators_share_a_directory") {
            let shared = format!("shared-{}-{:?}", std::process::id(), std::thread::current().id());
            let path = own.with_file_name(shared).join(name);
            let _ = fs::create_dir_all(path.with_file_name(""));
            let _ = fs::remove_dir_all(&path);
            return path;
        }
        own.join(name)
    }

    /// Merges the files of a state into one run, here and now.
    pub(super) fn compact(&self, family: &Family) {
        self.db.compact_range_cf(&self.handle(family), None::<&[u8]>, None::<&[u8]>);
    }

    /// Where it works.
    pub(super) fn path(&self) -> &Path {
        self.db.path()
    }

    fn failed(&self, what: &str, error: rocksdb::Error) -> Error {
        failed(self.path(), what, error)
    }
}

/// Whether a visitor wants more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GoOn {
    Yes,
    No,
}

/// The files of a snapshot, which nobody changes. They are gone when this is dropped.
pub(super) struct CheckpointDirectory {
    path: PathBuf,
    _working_directory: Arc<WorkingDirectory>,
}

impl CheckpointDirectory {
    /// Opens the snapshot for reading these states.
    pub(super) fn open<'a>(&self, families: impl Iterator<Item = &'a Family>) -> Result<CheckpointReader> {
        let options = options(BackgroundWork::AtSnapshots);
        let families = families.map(|family| ColumnFamilyDescriptor::new(&family.name, options.clone()));
        let db = Db::open_cf_descriptors_read_only(&options, &self.path, families, false);
        Ok(CheckpointReader { db: db.map_err(|error| failed(&self.path, "open a snapshot", error))? })
    }
}

impl Drop for CheckpointDirectory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "snapshot of rocksdb not removed");
        }
        if planted!("rocksdb_operators_share_a_directory") {
            // Succeeds when it is empty.
            let _ = fs::remove_dir(self.path.with_file_name(""));
        }
    }
}

/// A snapshot that is open.
pub(super) struct CheckpointReader {
    db: Db,
}

impl CheckpointReader {
    /// As [`Database::scan`].
    pub(super) fn scan(
        &self,
        family: &Family,
        format: Format,
        visit: impl FnMut(RawEntry<'_>) -> Result<()>,
    ) -> Result<()> {
        scan(&self.db, family, format, visit)
    }
}

fn handle<'a>(db: &'a Db, family: &Family) -> Arc<BoundColumnFamily<'a>> {
    db.cf_handle(&family.name).expect("a state has had its column family since it was registered")
}

fn scan(db: &Db, family: &Family, format: Format, mut visit: impl FnMut(RawEntry<'_>) -> Result<()>) -> Result<()> {
    let mut iterator = db.raw_iterator_cf(&handle(db, family));
    let mut map = OpenMap::default();
    iterator.seek_to_first();
    while let Some((key, value)) = iterator.item() {
        let parts = layout::parts(key).ok_or_else(|| damaged(db.path(), &family.state))?;
        let value = match format {
            Format::Value => value.to_vec(),
            Format::List => layout::joined(value).ok_or_else(|| damaged(db.path(), &family.state))?,
            Format::Map => {
                if parts.prefix != map.prefix {
                    map.close(&mut visit)?;
                    map.prefix = parts.prefix.to_vec();
                }
                map.entries.push((parts.user_key.to_vec(), value.to_vec()));
                iterator.next();
                continue;
            }
        };
        visit(RawEntry { key_group: parts.key_group, key: parts.key, namespace: parts.namespace, value })?;
        iterator.next();
    }
    iterator.status().map_err(|error| failed(db.path(), "scan", error))?;
    map.close(&mut visit)
}

/// The entries so far of the map that a scan is in.
#[derive(Default)]
struct OpenMap {
    prefix: Vec<u8>,
    entries: Vec<(Vec<u8>, Vec<u8>)>,
}

impl OpenMap {
    fn close(&mut self, visit: &mut impl FnMut(RawEntry<'_>) -> Result<()>) -> Result<()> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let value = layout::map(self.entries.iter().map(|(key, value)| (key.as_slice(), value.as_slice())));
        self.entries.clear();
        let Parts { key_group, key, namespace, .. } =
            layout::parts(&self.prefix).expect("the prefix of a key comes apart as the key does");
        visit(RawEntry { key_group, key, namespace, value })
    }
}

fn options(background_work: BackgroundWork) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_merge_operator_associative("append", append);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE_BYTES));
    // Of whole keys: a filter of prefixes would hide entries from scans that ask for shorter ones.
    table.set_bloom_filter(FILTER_BITS, false);
    options.set_block_based_table_factory(&table);
    // Threads and clocks of its own would be out of a simulation's reach, and nobody reads the statistics.
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_max_file_opening_threads(1);
    options.set_keep_log_file_num(1);
    options.set_log_level(rocksdb::LogLevel::Warn);
    match background_work {
        BackgroundWork::Automatic => options.set_max_background_jobs(2),
        BackgroundWork::AtSnapshots => {
            options.set_disable_auto_compactions(true);
            options.set_max_background_jobs(1);
        }
    }
    options
}

/// Appends: chunks of a list follow each other.
fn append(_key: &[u8], existing: Option<&[u8]>, operands: &MergeOperands) -> Option<Vec<u8>> {
    Some(existing.into_iter().chain(operands).collect::<Vec<_>>().concat())
}

fn failed(path: &Path, what: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Unavailable, format!("RocksDB in {} cannot {what}", path.display()))
        .with_source(error)
        .with_hint("see whether the disk is full or broken; state.backend.rocksdb.localdir says where RocksDB works")
}

/// RocksDB gives back what nobody wrote.
pub(super) fn damaged(path: &Path, state: &str) -> Error {
    Error::new(
        ErrorKind::CorruptState,
        format!("RocksDB in {} holds a damaged entry of state `{state}`", path.display()),
    )
    .with_hint("the job goes on from its last checkpoint; see whether the disk is broken")
}
