//! One RocksDB: opened, read, written, scanned and snapshotted. Everything that names the crate is here.
//!
//! There is one column family per state. Nothing is written ahead to a log, for what is lost with the process is lost
//! anyway: a job starts again from its checkpoint. Whatever fails says where and what to do.
//!
//! A snapshot is RocksDB's own checkpoint: the memory table is flushed and the files are linked to another directory,
//! where they are read later, while the database goes on. So the part that holds up records takes as long as the flush
//! of one memory table, however much state there is. Flink: `RocksDBKeyedStateBackend`, `RocksDBIncrementalCheckpointUtils`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rocksdb::{
    BlockBasedOptions, BoundColumnFamily, Cache, ColumnFamilyDescriptor, DBCompressionType,
    DBRawIteratorWithThreadMode, DBWithThreadMode, MergeOperands, MultiThreaded, Options, PrefixRange, ReadOptions,
    WriteBatch, WriteOptions, checkpoint::Checkpoint,
};

use super::{
    compaction::{self, Expirations},
    layout::{self, Parts},
    working_directory::WorkingDirectory,
};
use crate::{
    config::{BackgroundWork, RocksDbOptions},
    env,
    error::{Error, ErrorKind, Result},
    planted,
    state::{DatabaseFiles, KeyGroupRange, StateKind, TimeToLive},
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

/// A key and a value, as they lie in the database.
pub(super) type RawPair = (Vec<u8>, Vec<u8>);

type Iterator<'a> = DBRawIteratorWithThreadMode<'a, Db>;

/// See the module.
pub(super) struct Database {
    // Closed before its directory is removed: fields are dropped in this order.
    db: Db,
    options: Options,
    write: WriteOptions,
    background_work: BackgroundWork,
    snapshots: AtomicU64,
    expirations: Arc<Expirations>,
    directory: Arc<WorkingDirectory>,
}

/// Memory for blocks of files, per operator instance.
const BLOCK_CACHE_BYTES: usize = 64 << 20;
/// Bits per key of the filters that say which files cannot hold a key.
const FILTER_BITS: f64 = 10.0;
/// With background work at snapshots only, the files are merged at each of this many.
const SNAPSHOTS_PER_COMPACTION: u64 = 4;

impl Database {
    /// A new database in a directory of its own: empty, or with the files that a checkpoint holds.
    pub(super) fn create(
        configured: &RocksDbOptions,
        name: &str,
        instance: u16,
        restored: Option<&DatabaseFiles>,
    ) -> Result<Self> {
        let directory = working_directory(configured, name, instance)?;
        let options = options(configured.background_work);
        let path = directory.path().join("db");
        if let Some(files) = restored {
            link_files(files.directory.path(), &path)
                .map_err(|error| failed(&path, "take over the files of a checkpoint", error))?;
        }
        let expirations = Arc::new(Expirations::new());
        let mut families = vec![(DEFAULT_FAMILY.to_owned(), options.clone())];
        families.extend(
            restored
                .iter()
                .flat_map(|files| &files.states)
                .map(|(state, meta)| (family_name(state), of_family(&options, state, meta.time_to_live, &expirations))),
        );
        // All databases of a process share a timer on a thread of RocksDB. It refuses a task that lies before the one
        // that it is at, and simulated time is years before the timer's.
        let db = env::on_host_clock({
            let (options, path) = (options.clone(), path.clone());
            move || {
                let families = families.into_iter().map(|(name, options)| ColumnFamilyDescriptor::new(name, options));
                Db::open_cf_descriptors(&options, path, families)
            }
        });
        let db = db.map_err(|error| failed(&path, "open", error))?;
        let mut write = WriteOptions::default();
        write.disable_wal(true);
        Ok(Self {
            db,
            options,
            write,
            background_work: configured.background_work,
            snapshots: AtomicU64::new(0),
            expirations,
            directory: Arc::new(directory),
        })
    }

    /// What has expired, for the threads that merge files.
    pub(super) fn expirations(&self) -> &Expirations {
        &self.expirations
    }

    /// Adds the column family of a state.
    pub(super) fn create_family(&self, state: &str, time_to_live: TimeToLive) -> Result<()> {
        let options = of_family(&self.options, state, time_to_live, &self.expirations);
        self.db.create_cf(family_name(state), &options).map_err(|error| self.failed("add a state", error))
    }

    /// Removes the column family of a state, and all that it holds.
    pub(super) fn drop_family(&self, state: &str) -> Result<()> {
        self.db.drop_cf(&family_name(state)).map_err(|error| self.failed("remove a state", error))
    }

    /// Removes all entries of a state whose key groups are not in the range: they lie before and behind it.
    pub(super) fn cut_to(&self, state: &str, range: KeyGroupRange) -> Result<()> {
        let (first, behind) = (range.start.to_be_bytes(), (range.end + 1).to_be_bytes());
        for (from, to) in [(&[0; 2], &first), (&behind, &[0xff; 2])] {
            if from < to {
                let removed = self.db.delete_range_cf_opt(&self.family(state), from, to, &self.write);
                removed.map_err(|error| self.failed("write", error))?;
            }
        }
        Ok(())
    }

    /// The first and the last entry of a state, as they lie there, by their keys.
    pub(super) fn ends(&self, state: &str) -> Result<Option<[RawPair; 2]>> {
        let mut iterator = self.db.raw_iterator_cf(&self.family(state));
        let mut ends = Vec::new();
        for seek in [Iterator::seek_to_first, Iterator::seek_to_last] {
            seek(&mut iterator);
            ends.extend(iterator.item().map(|(key, value)| (key.to_vec(), value.to_vec())));
            iterator.status().map_err(|error| self.failed("scan", error))?;
        }
        Ok(ends.try_into().ok())
    }

    fn family(&self, state: &str) -> Arc<BoundColumnFamily<'_>> {
        self.db.cf_handle(&family_name(state)).expect("a state has had its column family since it was registered")
    }

    /// The value under a key, handed to `read`.
    pub(super) fn get<R>(&self, state: &str, key: &[u8], read: impl FnOnce(&[u8]) -> Result<R>) -> Result<Option<R>> {
        let value = self.db.get_pinned_cf(&self.family(state), key).map_err(|error| self.failed("read", error))?;
        value.map(|value| read(&value)).transpose()
    }

    /// Sets the value under a key.
    pub(super) fn put(&self, state: &str, key: &[u8], value: &[u8]) -> Result<()> {
        let written = self.db.put_cf_opt(&self.family(state), key, value, &self.write);
        written.map_err(|error| self.failed("write", error))
    }

    /// Sets the values under many keys at once.
    pub(super) fn put_all(
        &self,
        state: &str,
        entries: impl std::iter::Iterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Result<()> {
        let (family, mut batch) = (self.family(state), WriteBatch::default());
        entries.for_each(|(key, value)| batch.put_cf(&family, key, value));
        self.db.write_opt(batch, &self.write).map_err(|error| self.failed("write", error))
    }

    /// Appends bytes to the value under a key, without reading it.
    pub(super) fn append(&self, state: &str, key: &[u8], bytes: &[u8]) -> Result<()> {
        let written = self.db.merge_cf_opt(&self.family(state), key, bytes, &self.write);
        written.map_err(|error| self.failed("write", error))
    }

    /// Removes a key.
    pub(super) fn delete(&self, state: &str, key: &[u8]) -> Result<()> {
        let deleted = self.db.delete_cf_opt(&self.family(state), key, &self.write);
        deleted.map_err(|error| self.failed("write", error))
    }

    /// Calls `visit` with each key that starts with `prefix` and its value until it says that it has seen enough.
    pub(super) fn with_prefix(
        &self,
        state: &str,
        prefix: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<GoOn>,
    ) -> Result<()> {
        let mut read = ReadOptions::default();
        read.set_iterate_range(PrefixRange(prefix));
        if planted!("rocksdb_prefix_scan_misses_flushed_entries") {
            read.set_read_tier(rocksdb::ReadTier::Memtable);
        }
        let mut iterator = self.db.raw_iterator_cf_opt(&self.family(state), read);
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
        state: &str,
        format: Format,
        visit: impl FnMut(RawEntry<'_>) -> Result<()>,
    ) -> Result<()> {
        scan(&self.db, state, format, visit)
    }

    /// The files at this moment, in a directory of their own. `states` are all that there are.
    pub(super) fn checkpoint<'a>(
        &self,
        states: impl std::iter::Iterator<Item = &'a str>,
    ) -> Result<CheckpointDirectory> {
        let number = self.snapshots.fetch_add(1, Ordering::Relaxed);
        if self.background_work == BackgroundWork::AtSnapshots && (number + 1).is_multiple_of(SNAPSHOTS_PER_COMPACTION)
        {
            states.for_each(|state| self.compact(state));
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
    pub(super) fn compact(&self, state: &str) {
        self.db.compact_range_cf(&self.family(state), None::<&[u8]>, None::<&[u8]>);
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
    pub(super) fn open<'a>(&self, states: impl std::iter::Iterator<Item = &'a str>) -> Result<CheckpointReader> {
        CheckpointReader::open(&self.path, states)
    }

    /// Where the files are.
    pub(super) fn path(&self) -> &Path {
        &self.path
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
    /// Opens the files of a snapshot for reading these states.
    pub(super) fn open<'a>(path: &Path, states: impl std::iter::Iterator<Item = &'a str>) -> Result<Self> {
        let options = options(BackgroundWork::AtSnapshots);
        let families = states.map(|state| ColumnFamilyDescriptor::new(family_name(state), options.clone()));
        let db = Db::open_cf_descriptors_read_only(&options, path, families, false);
        Ok(Self { db: db.map_err(|error| failed(path, "open a snapshot", error))? })
    }

    /// As [`Database::scan`].
    pub(super) fn scan(
        &self,
        state: &str,
        format: Format,
        visit: impl FnMut(RawEntry<'_>) -> Result<()>,
    ) -> Result<()> {
        scan(&self.db, state, format, visit)
    }
}

fn scan(db: &Db, state: &str, format: Format, mut visit: impl FnMut(RawEntry<'_>) -> Result<()>) -> Result<()> {
    let family = db.cf_handle(&family_name(state)).expect("a state has had its column family since it was registered");
    let mut iterator = db.raw_iterator_cf(&family);
    let mut map = OpenMap::default();
    iterator.seek_to_first();
    while let Some((key, value)) = iterator.item() {
        let parts = layout::parts(key).ok_or_else(|| damaged(db.path(), state))?;
        let value = match format {
            Format::Value => value.to_vec(),
            Format::List => layout::joined(value).ok_or_else(|| damaged(db.path(), state))?,
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

/// A directory for an instance to work in; instances are spread over the directories that there are.
pub(super) fn working_directory(configured: &RocksDbOptions, name: &str, instance: u16) -> Result<WorkingDirectory> {
    let parents = &configured.local_directories;
    let parent = (!parents.is_empty()).then(|| parents[usize::from(instance) % parents.len()].as_path());
    WorkingDirectory::create(parent, name).map_err(|(path, error)| failed(&path, "create its working directory", error))
}

/// Gives the files of a directory a second name in a new one, or copies them if they lie on another disk.
fn link_files(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        // What RocksDB writes to or renames is never a file of a checkpoint, except these small ones.
        if !DatabaseFiles::is_immutable(&entry.file_name().to_string_lossy())
            || fs::hard_link(entry.path(), &target).is_err()
        {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// RocksDB's own.
const DEFAULT_FAMILY: &str = "default";

/// The name says that it is a state's: RocksDB has a column family `default` of its own.
fn family_name(state: &str) -> String {
    format!("state:{state}")
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

/// The options of a state's column family.
fn of_family(options: &Options, state: &str, time_to_live: TimeToLive, expirations: &Arc<Expirations>) -> Options {
    let mut options = options.clone();
    match time_to_live {
        TimeToLive::Enabled => compaction::drop_expired(&mut options, state, expirations.clone()),
        TimeToLive::Disabled => {}
    }
    options
}

/// Appends: chunks of a list follow each other.
fn append(_key: &[u8], existing: Option<&[u8]>, operands: &MergeOperands) -> Option<Vec<u8>> {
    Some(existing.into_iter().chain(operands).collect::<Vec<_>>().concat())
}

pub(super) fn failed(path: &Path, what: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
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
