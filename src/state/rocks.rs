//! The block store on disk: two RocksDB column families, one write batch an epoch, large values in blob files.

mod holder;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use headwater_types::{Error, Result};
use parking_lot::Mutex;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode, Direction, IteratorMode,
    LogLevel, Options, ReadOptions, WriteBatch, WriteOptions, checkpoint::Checkpoint,
};

use self::holder::{HolderNote, holder};
use crate::synced::SyncedNote;
use crate::{BlockStore, Family, Writes};

/// The version of everything this program writes into a data directory. It reads this one and older ones.
pub const FORMAT_VERSION: u32 = 2;

/// Where the version stands; family `Meta`. Decimal digits.
const FORMAT_KEY: &[u8] = b"format_version";

/// Values from this size on go to blob files, so that compaction moves a pointer and not the value.
const BLOB_BYTES_MIN: u64 = 4 << 10;

/// Half of it is the most that an overwritten blob file may be dead before it is rewritten.
const BLOB_DEAD_MAX: f64 = 0.5;

/// The log on disk is cut when it holds this much: bounds the time to reopen.
const WAL_BYTES_MAX: u64 = 256 << 20;

/// What a data directory's store may use.
#[derive(Debug, Clone)]
pub struct RocksOptions {
    /// RocksDB's own cache of index and meta blocks, in bytes. Ours holds decoded blocks.
    pub cache_bytes: usize,
    /// One write buffer of blocks, in bytes; there are at most three.
    pub write_buffer_bytes: usize,
}

impl Default for RocksOptions {
    fn default() -> Self {
        Self { cache_bytes: 8 << 20, write_buffer_bytes: 32 << 20 }
    }
}

/// A data directory. One process at a time holds it.
pub struct RocksStore {
    /// Dropped before the lock, which `db` has.
    _holder: HolderNote,
    db: DB,
    directory: PathBuf,
    synced: SyncedNote,
    /// The first failed write or sync: what every later call answers.
    failed: Mutex<Option<Error>>,
    /// The last write found no room. RocksDB then refuses everything until it has seen free space, written its memory to tables and begun a new
    /// log, by itself; until then a sync would meet the log that was cut off in the middle of a record.
    full: AtomicBool,
}

impl RocksStore {
    /// Opens the store in `directory`, creating both if they are not there.
    ///
    /// # Errors
    /// `Fenced` if another process holds it, `Corrupt` for damaged or missing files and for a newer format, `Storage`.
    pub fn open(directory: &Path, options: RocksOptions) -> Result<RocksStore> {
        std::fs::create_dir_all(directory)
            .map_err(|e| Error::storage(format!("cannot create the data directory {}: {e}", directory.display())))?;
        let is_new = check_files(directory)?;
        let db = open_database(directory, &options)?;
        let synced = SyncedNote::open(directory)?;
        let (failed, full) = (Mutex::new(None), AtomicBool::new(false));
        let store = RocksStore { _holder: HolderNote::write(directory), db, directory: directory.to_path_buf(), synced, failed, full };
        store.check_format(is_new)?;
        Ok(store)
    }

    fn check_format(&self, is_new: bool) -> Result<()> {
        let place = self.directory.display();
        match self.get(Family::Meta, FORMAT_KEY)? {
            Some(digits) => {
                let version: Option<u32> = std::str::from_utf8(&digits).ok().and_then(|d| d.parse().ok());
                match version {
                    Some(FORMAT_VERSION) => Ok(()),
                    // What is written from now on, an older program cannot read.
                    Some(version) if version < FORMAT_VERSION => self.write_format(),
                    Some(version) => Err(Error::corrupt(format!(
                        "the data directory {place} has format {version}, this program reads up to {FORMAT_VERSION}"
                    ))
                    .with_hint("use the newer version of headwater that wrote it")),
                    None => Err(Error::corrupt(format!("the format version of the data directory {place} is unreadable"))),
                }
            }
            None if is_new || self.is_empty()? => self.write_format(),
            None => Err(Error::corrupt(format!("the data directory {place} holds data but no format version"))),
        }
    }

    fn write_format(&self) -> Result<()> {
        let mut writes = Writes::new();
        writes.put(Family::Meta, FORMAT_KEY.to_vec(), FORMAT_VERSION.to_string().into_bytes());
        self.write(&writes)?;
        self.sync()
    }

    /// True if nothing was ever written: the process that created it died before the version.
    fn is_empty(&self) -> Result<bool> {
        for family in [Family::Meta, Family::Blocks] {
            let mut entries = self.db.iterator_cf(self.family(family), IteratorMode::Start);
            if let Some(entry) = entries.next() {
                entry.map_err(|e| self.error("reading", &e))?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn family(&self, family: Family) -> &ColumnFamily {
        self.db.cf_handle(name(family)).expect("both column families are opened with the database")
    }

    fn check(&self) -> Result<()> {
        self.failed.lock().clone().map_or(Ok(()), Err)
    }

    fn error(&self, doing: &str, error: &rocksdb::Error) -> Error {
        store_error(&self.directory, doing, error)
    }

    /// Keeps the first failure: RocksDB refuses writes after one, and what the log on disk then holds is unknown. A full disk is no failure.
    fn close_with(&self, error: Error) -> Error {
        if error.is_disk_full() {
            return error;
        }
        self.failed.lock().get_or_insert(error).clone()
    }
}

impl BlockStore for RocksStore {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.check()?;
        self.db.get_cf(self.family(family), key).map_err(|e| self.error("reading", &e))
    }

    fn scan(&self, family: Family, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        self.check()?;
        let mut options = ReadOptions::default();
        options.set_iterate_range(rocksdb::PrefixRange(prefix));
        // A scan reads everything once (restart): it should not push out what lookups use.
        options.fill_cache(false);
        for entry in self.db.iterator_cf_opt(self.family(family), options, IteratorMode::From(prefix, Direction::Forward)) {
            let (key, value) = entry.map_err(|e| self.error("reading", &e))?;
            visit(&key, &value)?;
        }
        Ok(())
    }

    fn write(&self, writes: &Writes) -> Result<()> {
        self.check()?;
        let mut batch = WriteBatch::with_capacity_bytes(writes.bytes() + writes.entries().len() * 8);
        for (family, key, value) in writes.entries() {
            match value {
                Some(value) => batch.put_cf(self.family(*family), key, value),
                None => batch.delete_cf(self.family(*family), key),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(false);
        let written = self.db.write_opt(batch, &options).map_err(|e| self.close_with(self.error("writing", &e)));
        self.full.store(written.as_ref().is_err_and(Error::is_disk_full), Ordering::SeqCst);
        written
    }

    fn sync(&self) -> Result<()> {
        self.check()?;
        if self.full.load(Ordering::SeqCst) {
            return Err(no_space(&self.directory));
        }
        let written = self.db.latest_sequence_number();
        self.db.flush_wal(true).map_err(|e| self.close_with(self.error("syncing", &e)))?;
        self.synced.write(written).map_err(|e| self.close_with(e))
    }

    fn checkpoint(&self, directory: &Path) -> Result<()> {
        self.check()?;
        let checkpoint = Checkpoint::new(&self.db).map_err(|e| self.error("checkpointing", &e))?;
        checkpoint.create_checkpoint(directory).map_err(|e| self.error("checkpointing", &e))
    }
}

fn name(family: Family) -> &'static str {
    match family {
        Family::Meta => "meta",
        Family::Blocks => "blocks",
    }
}

/// Opens the database and makes sure that it holds everything that was ever synced. After a power loss the log ends anywhere behind that.
fn open_database(directory: &Path, options: &RocksOptions) -> Result<DB> {
    let synced = SyncedNote::read(directory);
    let open = |mode| DB::open_cf_descriptors(&database_options(mode), directory, families(options));
    let db = match open(DBRecoveryMode::TolerateCorruptedTailRecords) {
        // Not merely cut short. Nothing has been changed yet, so look first at what would be left.
        Err(error) if error.kind() == rocksdb::ErrorKind::Corruption && is_whole_up_to(synced, directory, options) => {
            open(DBRecoveryMode::PointInTime)
        }
        other => other,
    };
    let db = db.map_err(|e| open_error(directory, &e))?;
    if db.latest_sequence_number() < synced {
        let message = format!("the data directory {} is damaged: a part of its log that was synced is missing", directory.display());
        return Err(Error::corrupt(message).with_hint("restore from a checkpoint into an empty directory"));
    }
    Ok(db)
}

/// True if what can be read before the first damage of the log holds everything up to the sequence number `synced`.
fn is_whole_up_to(synced: u64, directory: &Path, options: &RocksOptions) -> bool {
    let database = database_options(DBRecoveryMode::PointInTime);
    let readable = DB::open_cf_descriptors_read_only(&database, directory, families(options), false);
    readable.is_ok_and(|db| db.latest_sequence_number() >= synced)
}

fn families(options: &RocksOptions) -> [ColumnFamilyDescriptor; 2] {
    let cache = Cache::new_lru_cache(options.cache_bytes);
    [
        ColumnFamilyDescriptor::new(name(Family::Meta), meta_options(&cache)),
        ColumnFamilyDescriptor::new(name(Family::Blocks), blocks_options(&cache, options)),
    ]
}

fn database_options(recovery: DBRecoveryMode) -> Options {
    let mut options = Options::default();
    options.set_wal_recovery_mode(recovery);
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // One flush and one compaction thread: the cores belong to the epochs.
    options.set_max_background_jobs(1);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(4 << 20);
    options.set_log_level(LogLevel::Warn);
    // No timer threads: an idle database does nothing at all.
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    // Written pages go to the disk steadily, so that a sync finds little left to do.
    options.set_bytes_per_sync(1 << 20);
    options.set_wal_bytes_per_sync(1 << 20);
    options
}

fn table_options(cache: &Cache) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_format_version(5);
    table
}

fn meta_options(cache: &Cache) -> Options {
    let mut options = Options::default();
    options.set_block_based_table_factory(&table_options(cache));
    options.set_write_buffer_size(4 << 20);
    options.set_max_write_buffer_number(2);
    options.set_compression_type(DBCompressionType::Lz4);
    options
}

fn blocks_options(cache: &Cache, limits: &RocksOptions) -> Options {
    let mut options = Options::default();
    options.set_block_based_table_factory(&table_options(cache));
    options.set_write_buffer_size(limits.write_buffer_bytes);
    options.set_max_write_buffer_number(3);
    // Our blocks are compressed already.
    options.set_compression_type(DBCompressionType::None);
    options.set_enable_blob_files(true);
    options.set_min_blob_size(BLOB_BYTES_MIN);
    options.set_blob_compression_type(DBCompressionType::None);
    options.set_enable_blob_gc(true);
    options.set_blob_gc_age_cutoff(BLOB_DEAD_MAX);
    options.set_blob_gc_force_threshold(BLOB_DEAD_MAX);
    options
}

/// True if the directory holds no database. RocksDB would create a new one over the remains of one whose `CURRENT` is lost.
fn check_files(directory: &Path) -> Result<bool> {
    if directory.join("CURRENT").exists() {
        return Ok(false);
    }
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("MANIFEST-") || name.ends_with(".sst") || name.ends_with(".blob") {
            return Err(Error::corrupt(format!(
                "the data directory {} is damaged: {name} is there, but the file CURRENT is missing",
                directory.display()
            )));
        }
    }
    Ok(true)
}

fn open_error(directory: &Path, error: &rocksdb::Error) -> Error {
    let text = error.as_ref();
    if text.contains("lock file") || text.contains("lock hold by current process") {
        return Error::fenced(format!("the data directory {} is in use by {}", directory.display(), holder(directory)))
            .with_detail(text)
            .with_hint("stop that process, or give this one another directory with --data");
    }
    store_error(directory, "opening", error)
}

fn no_space(directory: &Path) -> Error {
    let error = Error::storage(format!("no space left on the disk of {}", directory.display())).with_sqlstate(Error::DISK_FULL);
    error.with_hint("free some space; the database goes on by itself")
}

fn store_error(directory: &Path, doing: &str, error: &rocksdb::Error) -> Error {
    let (text, place) = (error.as_ref(), directory.display());
    // A log file that once failed refuses its next caller in other words; why it failed was told to whoever met it first, a moment ago.
    let is_full = ["No space left", "NoSpace", "Space limit", "previous error"].iter().any(|words| text.contains(words));
    if is_full {
        return no_space(directory).with_detail(text);
    }
    let is_file_missing = text.contains("No such file") || text.contains("Column families not opened");
    match error.kind() {
        _ if is_file_missing => Error::corrupt(format!("the data directory {place} is damaged: {text}")),
        rocksdb::ErrorKind::Corruption => Error::corrupt(format!("the data directory {place} is damaged: {text}")),
        _ => Error::storage(format!("{doing} {place}: {text}")),
    }
}
