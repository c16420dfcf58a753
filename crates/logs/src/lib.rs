//! The log lake: typed records, appended durably, kept for long, read newest first, followed live, counted by the minute.
//!
//! A record goes into a journal first and from there, by the hour or the megabyte, into the lake: Parquet files by
//! account, dataset and day that other engines read, too. It owns how records are kept and found. It does not decide what
//! is logged or what is redacted; callers do. The promises: a record that was accepted is never dropped while the process
//! lives; it is in the file within [`LogsConfig::write_interval`] (so a killed process loses at most that much) and on the
//! disk within [`LogsConfig::sync_interval`] (so a power cut loses at most that much); whoever asks finds it once, wherever
//! it is. Invariant: memory is bounded; when the disk does not keep up, appending waits, and after a deadline says so.

pub mod bucket;
mod durable;
mod erasure;
mod error;
mod follower;
mod frame;
mod id;
mod keeper;
mod lake;
mod pace;
mod push;
mod query;
mod queue;
mod records;
mod retention;
mod rollup;
mod segment;
pub mod sql;
mod tail;
pub mod usage;
mod wire;
mod writer;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, broadcast, oneshot, watch};
use types::AccountId;
use uuid::Uuid;

pub use erasure::{EraseError, Erasure, ErasureState, Person};
pub use error::{AppendError, MoveError, OpenError, QueryError, SettleError};
pub use id::record_id;
pub use lake::moving::Moved;
pub use push::{
    PushBatch, PushError, PushGap, PushPast, PushPastBatch, PushPastError, PushPlace, PushSink, PushStanding,
};
pub use query::{BadCursor, Cursor, Entry, Filter, MAX_LIMIT, Operator, Page, Query};
pub use records::{
    AccessRequest, AsRecord, Audit, Dataset, Field, GatewayHttp, GatewayNetwork, McpCall, Record, RecordMut,
    UnknownDataset, WorkerInvocation,
};
pub use retention::{BYTES, DAYS, FEWEST_AUDIT_DAYS, Keep, Occupied, Retention};
pub use rollup::{Histogram, MINUTES, Minute};
pub use tail::{Tail, TailEvent, Tailed};
pub use wire::Kind;

use bucket::Bucket;
use erasure::Erasures;
use follower::Follower;
use frame::{Codec, OVERHEAD};
use keeper::{Hurry, Keeper, Loaded, Wake};
use lake::rollup::{self as rollup_files, Moment, Moments};
use lake::snapshot::Snapshot;
use lake::{Lake, home, list, moving};
use push::Pushes;
use queue::{Queue, Queued, weight};
use retention::Choices;
use rollup::Rollup;
use segment::Segment;
use usage::fold::Fold;
use usage::{Ask, Report};
use writer::{Progress, Shelf, Writer, milliseconds};

/// The largest one record gets in the journal, in bytes.
pub const MAX_RECORD_BYTES: usize = 256 * 1024;
/// What an open slot holds of the queue.
const SLOT_BYTES: usize = 8 * 1024;
/// How many records a live follower may fall behind before it misses some.
const TAIL_CAPACITY: usize = 1_024;
/// How long a query waits for the lake's tables to be read after a start.
const LOADING: Duration = Duration::from_secs(10);
/// How old what reports are made of may be at least; at most ten times as long as it took to make it.
const FRESH: SignedDuration = SignedDuration::from_secs(10);
/// How old it may be at most: its files are there for longer.
const STALE: SignedDuration = SignedDuration::from_secs(300);
/// How many queries read at once.
const QUERIES: usize = 4;
/// How many accounts are counted by the minute.
const COUNTED_ACCOUNTS: usize = 64;

/// What the journal asks the time, to name segments and to age them.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How to keep the journal.
#[derive(Clone)]
pub struct LogsConfig {
    /// How long a record may wait in memory before it is written: what a killed process can lose.
    pub write_interval: Duration,
    /// How long written records may wait to be synced: what a power cut can lose.
    pub sync_interval: Duration,
    /// How long an append waits for room.
    pub append_deadline: Duration,
    /// How many bytes may wait in memory.
    pub queue_bytes: usize,
    /// How large a segment gets.
    pub segment_bytes: u64,
    /// How much the journal holds before appending waits for the lake.
    pub max_journal_bytes: u64,
    /// How much that push jobs still need is kept back beside it, once the lake has it.
    pub max_held_bytes: u64,
    /// How large the traffic datasets together get in the lake before the oldest days go.
    pub max_bytes: u64,
    /// How large the audit dataset and that of sign-ins get in the lake, each.
    pub max_audit_bytes: u64,
    /// How many days each dataset is kept where an account did not choose, in the order of [`Dataset::ALL`].
    pub keep_days: [u32; Dataset::ALL.len()],
    /// The bucket that the lake is in; without one it is in the journal's directory.
    pub bucket: Option<Bucket>,
    /// What accounts chose, from the very start: a default that is shorter must not take what is kept for longer.
    pub retention: BTreeMap<AccountId, Retention>,
    /// The time.
    pub clock: Clock,
}

impl Default for LogsConfig {
    fn default() -> Self {
        Self {
            write_interval: Duration::from_millis(50),
            sync_interval: Duration::from_secs(1),
            append_deadline: Duration::from_secs(5),
            queue_bytes: 16 * 1024 * 1024,
            segment_bytes: 32 * 1024 * 1024,
            max_journal_bytes: 2 * 1024 * 1024 * 1024,
            max_held_bytes: 2 * 1024 * 1024 * 1024,
            max_bytes: 20 * 1024 * 1024 * 1024,
            max_audit_bytes: 1024 * 1024 * 1024,
            keep_days: [90, 90, 90, 400, 400, 90],
            bucket: None,
            retention: BTreeMap::new(),
            clock: Arc::new(Timestamp::now),
        }
    }
}

/// The number of an accepted record; later records have larger ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Receipt(u64);

/// How the journal is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Why it cannot be written, while it cannot.
    pub failing: Option<Failing>,
    /// Why records stay in the journal, while the lake does not take them over; or why another node's are not seen.
    pub lake_failing: Option<String>,
    /// Bytes that wait in memory or are promised to open slots.
    pub waiting_bytes: usize,
    /// Records given up at shutdown because the disk refused to the end.
    pub lost: u64,
    /// Bytes of torn records that were cut off when it was opened.
    pub torn_bytes: u64,
}

/// Why the journal cannot be written at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// Since when.
    pub since: Timestamp,
    /// Whether making room on the disk would help.
    pub disk_full: bool,
    /// What the system said.
    pub error: String,
}

#[derive(Debug, Default)]
pub(crate) struct JournalState {
    failing: Option<Failing>,
    lake_failing: Option<String>,
    /// Why what other nodes write is not seen, while it is not.
    not_following: Option<String>,
    lost: u64,
}

/// A handle on the journal; clones share it.
#[derive(Clone)]
pub struct Logs {
    inner: Arc<Inner>,
}

struct Inner {
    config: LogsConfig,
    queue: Arc<Queue>,
    shelves: Arc<[Shelf; Dataset::ALL.len()]>,
    lake: Arc<Loaded>,
    /// What runs SQL, once somebody asked for it.
    #[cfg(feature = "sql")]
    engine: Mutex<Option<Arc<sql::engine::Engine>>>,
    keeper: Sender<Wake>,
    /// What keeps the follower going.
    follow: Mutex<Option<Sender<()>>>,
    choices: Arc<Choices>,
    erasures: Arc<Erasures>,
    pushes: Arc<Pushes>,
    progress: Arc<watch::Sender<Progress>>,
    state: Arc<Mutex<JournalState>>,
    tails: [broadcast::Sender<Arc<Tailed>>; Dataset::ALL.len()],
    counts: Arc<Mutex<BTreeMap<String, Rollup>>>,
    moments: Arc<Moments>,
    queries: Arc<Semaphore>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    stopping: Arc<AtomicBool>,
    settling: Arc<AtomicUsize>,
    torn_bytes: u64,
}

impl std::fmt::Debug for Logs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logs").field("health", &self.health()).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    /// Lets the threads finish; [`Logs::shutdown`] also waits for them.
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.queue.close();
        let _ = self.keeper.send(Wake::Stop);
    }
}

/// What there is of the journal at the start.
struct Recovered {
    shelves: Arc<[Shelf; Dataset::ALL.len()]>,
    /// The number of the next segment of each dataset.
    next_number: [u64; Dataset::ALL.len()],
    /// The last segment of each that is in the lake.
    taken_over: [u64; Dataset::ALL.len()],
    torn_bytes: u64,
}

/// Looks at every segment, and cuts off what a crash left half written.
fn recover(directory: &Path) -> Result<Recovered, OpenError> {
    let mut found = Recovered {
        shelves: Arc::default(),
        next_number: Default::default(),
        taken_over: Default::default(),
        torn_bytes: 0,
    };
    for dataset in Dataset::ALL {
        let folder = directory.join(dataset.as_str());
        let fail = |source| OpenError::File { path: folder.clone(), source };
        let taken = keeper::taken(directory, dataset).map_err(fail)?;
        let recovered = segment::recover(&folder, taken).map_err(fail)?;
        found.torn_bytes += recovered.dropped_bytes;
        found.taken_over[dataset.index()] = taken;
        found.next_number[dataset.index()] = recovered.segments.last().map_or(taken, |last| last.number) + 1;
        *found.shelves[dataset.index()].lock() = recovered.segments;
    }
    Ok(found)
}

impl Logs {
    /// Opens the journal in `directory`, creating it when it is not there, and cuts off what a crash left half written.
    ///
    /// # Errors
    ///
    /// [`OpenError::InUse`] when another process has it open, [`OpenError::File`] when a file cannot be used.
    pub async fn open(directory: &Path, config: LogsConfig) -> Result<Self, OpenError> {
        let (owned, path) = (directory.to_owned(), directory.to_owned());
        // Scanning what a crash left takes a moment: not on a thread of the runtime.
        let opened = tokio::task::spawn_blocking(move || Self::open_blocking(owned, config)).await;
        opened.unwrap_or_else(|error| Err(OpenError::File { path, source: std::io::Error::other(error) }))
    }

    fn open_blocking(directory: PathBuf, config: LogsConfig) -> Result<Self, OpenError> {
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::File { path, source }
        };
        create_private(&directory).map_err(fail(&directory))?;
        let lock = lock(&directory)?;
        let Recovered { shelves, next_number, taken_over, torn_bytes } = recover(&directory)?;
        let queue = Arc::new(Queue::new(config.queue_bytes));
        let progress = Arc::new(watch::Sender::new(Progress::default()));
        let state = Arc::new(Mutex::default());
        let counts = Arc::new(Mutex::default());
        let stopping = Arc::new(AtomicBool::new(false));
        let settling: Arc<AtomicUsize> = Arc::default();
        let loaded = Arc::new(watch::Sender::new(None));
        let (wake, woken) = std::sync::mpsc::channel();
        let place = home::open(&directory, config.bucket.as_ref())?;
        let shared = place.shared();
        let choices = Arc::new(Choices::new(config.retention.clone()));
        let erasures = Arc::new(Erasures::open(&directory).map_err(fail(&directory))?);
        let node = keeper::node(&directory).map_err(fail(&directory))?;
        let pushes = Pushes::open(&directory, node.clone(), config.max_held_bytes, &shelves, &taken_over);
        let pushes = Arc::new(pushes.map_err(fail(&directory))?);
        let moments: Arc<Moments> = Arc::default();
        let keeper = Keeper {
            pushes: Arc::clone(&pushes),
            moments: Arc::clone(&moments),
            directory: directory.clone(),
            place,
            node,
            config: config.clone(),
            shelves: Arc::clone(&shelves),
            state: Arc::clone(&state),
            choices: Arc::clone(&choices),
            erasures: Arc::clone(&erasures),
            stopping: Arc::clone(&stopping),
            settling: Arc::clone(&settling),
            loaded: Arc::clone(&loaded),
            wake: woken,
        };
        let recount = Recount {
            segments: Dataset::ALL.map(|dataset| shelves[dataset.index()].lock().clone()),
            since: milliseconds((config.clock)()) - MINUTES as i64 * 60_000,
            counts: Arc::clone(&counts),
            stopping: Arc::clone(&stopping),
        };
        let writer = Writer {
            directory: directory.clone(),
            config: config.clone(),
            queue: Arc::clone(&queue),
            shelves: Arc::clone(&shelves),
            progress: Arc::clone(&progress),
            state: Arc::clone(&state),
            current: Default::default(),
            next_number,
            scratch: Vec::new(),
            keeper: wake.clone(),
            _lock: lock,
        };
        let (follow, until) = std::sync::mpsc::channel();
        let follower = Follower { loaded: Arc::clone(&loaded), state: Arc::clone(&state), until };
        let mut threads = vec![
            start("logs-write", move || writer.run()).map_err(fail(&directory))?,
            start("logs-recount", move || recount.run()).map_err(fail(&directory))?,
            start("logs-lake", move || keeper.run()).map_err(fail(&directory))?,
        ];
        if shared {
            threads.push(start("logs-follow", move || follower.run()).map_err(fail(&directory))?);
        }
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                queue,
                shelves,
                lake: loaded,
                #[cfg(feature = "sql")]
                engine: Mutex::default(),
                keeper: wake,
                follow: Mutex::new(Some(follow)),
                choices,
                erasures,
                pushes,
                progress,
                state,
                tails: Dataset::ALL.map(|_| broadcast::Sender::new(TAIL_CAPACITY)),
                counts,
                moments,
                queries: Arc::new(Semaphore::new(QUERIES)),
                threads: Mutex::new(threads),
                stopping,
                settling,
                torn_bytes,
            }),
        })
    }

    /// Moves the lake of a journal that nobody has open from its directory into a bucket, and tells how far it is after each
    /// table. What was cut off goes on when it is done again.
    ///
    /// # Errors
    ///
    /// [`MoveError`]; nothing is lost then.
    pub async fn move_lake(
        directory: &Path,
        bucket: &Bucket,
        now: Timestamp,
        tell: impl FnMut(Moved),
    ) -> Result<Moved, MoveError> {
        let failed = |source| OpenError::File { path: directory.to_owned(), source };
        if !directory.is_dir() {
            return Err(failed(std::io::ErrorKind::NotFound.into()).into());
        }
        let _lock = lock(directory)?;
        let node = keeper::node(directory).map_err(failed)?;
        moving::run(directory, bucket, node, now, tell).await
    }

    /// Accepts a record, waiting for room when there is none. A record without an id gets one.
    ///
    /// # Errors
    ///
    /// [`AppendError`]; the record is then not in the journal.
    pub async fn append(&self, mut record: impl AsRecord) -> Result<Receipt, AppendError> {
        let mut record = record.as_record();
        let (id, frame) = framed(&mut record, |_, id, frame| (id, frame.to_vec()))?;
        let bytes = weight(frame.len());
        self.reserve_bytes(bytes).await?;
        self.accept(&record, id, &frame, bytes)
    }

    /// Accepts a record if there is room at once.
    ///
    /// # Errors
    ///
    /// [`AppendError::Full`] when there is none, and the others.
    pub fn try_append(&self, mut record: impl AsRecord) -> Result<Receipt, AppendError> {
        framed(&mut record.as_record(), |record, id, frame| {
            let bytes = weight(frame.len());
            self.inner.queue.try_reserve(bytes)?;
            self.accept(record, id, frame, bytes)
        })?
    }

    /// Takes room for a record that comes later, so that recording it then cannot wait: reserve when a request arrives,
    /// append in its drop guard.
    ///
    /// # Errors
    ///
    /// [`AppendError::TimedOut`] when there is no room within the deadline; what to do with the request is the caller's.
    pub async fn reserve(&self) -> Result<Slot, AppendError> {
        self.reserve_bytes(SLOT_BYTES).await?;
        Ok(Slot { logs: self.clone(), bytes: SLOT_BYTES })
    }

    /// As [`Logs::reserve`], without waiting.
    ///
    /// # Errors
    ///
    /// [`AppendError::Full`] when there is no room.
    pub fn try_reserve(&self) -> Result<Slot, AppendError> {
        self.inner.queue.try_reserve(SLOT_BYTES)?;
        Ok(Slot { logs: self.clone(), bytes: SLOT_BYTES })
    }

    async fn reserve_bytes(&self, bytes: usize) -> Result<(), AppendError> {
        // Without a timer in the usual case.
        match self.inner.queue.try_reserve(bytes) {
            Err(AppendError::Full) => {}
            other => return other,
        }
        let waiting = tokio::time::timeout(self.inner.config.append_deadline, self.inner.queue.reserve(bytes));
        waiting.await.unwrap_or(Err(AppendError::TimedOut))
    }

    fn accept(&self, record: &RecordMut<'_>, id: Uuid, frame: &[u8], reserved: usize) -> Result<Receipt, AppendError> {
        let dataset = record.dataset();
        let queued = Queued { dataset, id, milliseconds: milliseconds(record.datetime()) };
        let accepted = match self.inner.queue.push(queued, frame, reserved) {
            Ok(accepted) => accepted,
            Err(error) => {
                self.inner.queue.release(reserved);
                return Err(error);
            }
        };
        count(&self.inner.counts, record);
        let tail = &self.inner.tails[dataset.index()];
        if tail.receiver_count() > 0 {
            let mut json = Vec::new();
            // Our own types always have their JSON.
            if record.write_json(&mut json).is_ok()
                && let Ok(json) = String::from_utf8(json)
            {
                let tailed = Tailed { id, dataset, account: record.account().to_owned(), json: json.into() };
                // Only fails when the last follower just left.
                let _ = tail.send(Arc::new(tailed));
            }
        }
        Ok(Receipt(accepted))
    }

    /// Waits until a record is in the file, where a kill of this process cannot reach it.
    ///
    /// # Errors
    ///
    /// [`AppendError::Closed`] when the journal ended before it was.
    pub async fn written(&self, receipt: Receipt) -> Result<(), AppendError> {
        self.reached(|progress| progress.written >= receipt.0).await
    }

    /// Writes and syncs everything accepted so far.
    ///
    /// # Errors
    ///
    /// [`AppendError::Closed`] when the journal ended before that was done.
    pub async fn flush(&self) -> Result<(), AppendError> {
        let through = self.inner.queue.hurry();
        self.reached(|progress| progress.synced >= through).await
    }

    async fn reached(&self, done: impl Fn(&Progress) -> bool) -> Result<(), AppendError> {
        let mut progress = self.inner.progress.subscribe();
        loop {
            if done(&progress.borrow_and_update()) {
                return Ok(());
            }
            // The sender lives in `inner`; the writer's end shows as a closed queue with nothing moving.
            let moved = tokio::time::timeout(Duration::from_secs(1), progress.changed()).await;
            if moved.is_err() && self.inner.threads_ended() && !done(&progress.borrow()) {
                return Err(AppendError::Closed);
            }
        }
    }

    /// Returns records that match, newest first.
    ///
    /// # Errors
    ///
    /// [`QueryError`].
    pub async fn query(&self, query: Query) -> Result<Page, QueryError> {
        query::check(&query)?;
        let lake = self.lake().await?;
        let (inner, runtime) = (Arc::clone(&self.inner), Handle::current());
        self.read(move || {
            let shelf = &inner.shelves[query.dataset.index()];
            let snapshot = Snapshot::take(&lake, shelf, query.account, query.dataset)?;
            runtime.block_on(list::page(&lake.place, &snapshot, &query))
        })
        .await
    }

    /// Returns one record.
    ///
    /// # Errors
    ///
    /// [`QueryError`].
    pub async fn get(&self, account: AccountId, dataset: Dataset, id: Uuid) -> Result<Option<Entry>, QueryError> {
        let lake = self.lake().await?;
        let (inner, runtime) = (Arc::clone(&self.inner), Handle::current());
        self.read(move || {
            let snapshot = Snapshot::take(&lake, &inner.shelves[dataset.index()], account, dataset)?;
            runtime.block_on(list::get(&lake.place, &snapshot, id))
        })
        .await
    }

    /// Returns tables of counts of an account's web requests. Answers are at most some seconds old, and say so.
    ///
    /// # Errors
    ///
    /// [`QueryError`].
    pub async fn usage<const N: usize>(&self, account: AccountId, asks: [Ask; N]) -> Result<Report<N>, QueryError> {
        let lake = self.lake().await?;
        let (inner, runtime) = (Arc::clone(&self.inner), Handle::current());
        self.read(move || {
            let moment = inner.moment(&lake, account)?;
            let mut folds = asks.map(Fold::new);
            let root = object_store::path::Path::from(format!("{account}/{}", rollup_files::COUNTED));
            rollup_files::report(&lake, &root, &moment.state, &moment.recent, &mut folds, &runtime)?;
            Ok(Report { tables: folds.map(Fold::finish), as_of: moment.as_of, since: moment.since() })
        })
        .await
    }

    /// Answers a query in SQL about an account's records in the given datasets; see [`sql`]. Dropping the future cancels it.
    ///
    /// # Errors
    ///
    /// [`sql::SqlError`].
    pub async fn sql(
        &self,
        account: AccountId,
        datasets: &[Dataset],
        text: &str,
        bounds: sql::Bounds,
        progress: Arc<sql::Progress>,
    ) -> Result<sql::Answer, sql::SqlError> {
        self.sql_with(account, datasets, text, Vec::new(), bounds, progress).await
    }

    /// As [`Logs::sql`], with values for what the query names as `$name`.
    ///
    /// # Errors
    ///
    /// [`sql::SqlError`].
    #[cfg(feature = "sql")]
    pub async fn sql_with(
        &self,
        account: AccountId,
        datasets: &[Dataset],
        text: &str,
        parameters: sql::Parameters,
        bounds: sql::Bounds,
        progress: Arc<sql::Progress>,
    ) -> Result<sql::Answer, sql::SqlError> {
        let lake = self.lake().await?;
        let engine = self.engine()?;
        let (text, datasets) = (text.to_owned(), datasets.to_vec());
        let shelves = Arc::clone(&self.inner.shelves);
        engine.run(sql::engine::Job { text, parameters, bounds, account, datasets, lake, shelves, progress }).await
    }

    /// Says that this program was built without the feature `sql`.
    ///
    /// # Errors
    ///
    /// Always.
    #[cfg(not(feature = "sql"))]
    pub async fn sql_with(
        &self,
        _: AccountId,
        _: &[Dataset],
        _: &str,
        _: sql::Parameters,
        _: sql::Bounds,
        _: Arc<sql::Progress>,
    ) -> Result<sql::Answer, sql::SqlError> {
        Err(sql::SqlError::Missing)
    }

    #[cfg(feature = "sql")]
    fn engine(&self) -> Result<Arc<sql::engine::Engine>, QueryError> {
        let mut engine = self.inner.engine.lock();
        if let Some(engine) = &*engine {
            return Ok(Arc::clone(engine));
        }
        Ok(Arc::clone(engine.insert(Arc::new(sql::engine::Engine::start().map_err(QueryError::Read)?))))
    }

    /// Ends the journal's segments and returns when everything accepted so far is in the lake, and the lake is tidy.
    ///
    /// # Errors
    ///
    /// [`SettleError`]; the records are in the journal then.
    pub async fn settle(&self) -> Result<(), SettleError> {
        let _hurry = Hurry::new(&self.inner.settling);
        let through = self.inner.queue.seal();
        self.reached(|progress| progress.synced >= through).await?;
        let (answer, answered) = oneshot::channel();
        self.inner.keeper.send(Wake::Settle(answer)).map_err(|_| AppendError::Closed)?;
        answered.await.map_err(|_| AppendError::Closed)?.map_err(SettleError::Lake)
    }

    /// Keeps the records of an account for as long as it says from here on. What is older or more goes soon after.
    pub fn retain(&self, account: AccountId, retention: Retention) {
        if self.inner.choices.set(account, retention) {
            // Fails only when the keeper is gone, as it is at the end.
            let _ = self.inner.keeper.send(Wake::Tidy);
        }
    }

    /// Returns how a dataset is kept where an account did not choose.
    #[must_use]
    pub fn default_keep(&self, dataset: Dataset) -> Keep {
        let days = self.inner.config.keep_days.get(dataset.index()).copied().unwrap_or(u32::MAX);
        Keep { days, max_bytes: None }
    }

    /// Returns what the lake has of an account's dataset; what is still in the journal is not counted.
    ///
    /// # Errors
    ///
    /// [`QueryError::Busy`] while the lake cannot be read.
    pub async fn occupied(&self, account: AccountId, dataset: Dataset) -> Result<Occupied, QueryError> {
        let Some(table) = self.lake().await?.table(account, dataset) else { return Ok(Occupied::default()) };
        let mut usage = Occupied::default();
        for file in table.state().files.values() {
            usage.rows += file.rows;
            usage.bytes += file.bytes;
            usage.oldest = Some(usage.oldest.map_or(file.date, |oldest| oldest.min(file.date)));
        }
        Ok(usage)
    }

    /// Erases what is recorded of a person in an account up to now, from journal and lake, and returns when that is
    /// accepted: from then on it is done, also after a kill. The audit trail is kept. Doing it again does what is left.
    ///
    /// # Errors
    ///
    /// [`EraseError`]; nothing is erased then.
    pub async fn erase(&self, account: AccountId, person: Person) -> Result<Erasure, EraseError> {
        let now = (self.inner.config.clock)();
        // What is in the journal goes to the lake before anything is erased there.
        let through = self.inner.queue.seal();
        self.reached(|progress| progress.synced >= through).await?;
        let erasure = self.inner.erasures.add(account, person, now)?;
        self.inner.keeper.send(Wake::Tidy).map_err(|_| AppendError::Closed)?;
        Ok(erasure)
    }

    /// Returns the erasures of an account, newest first.
    #[must_use]
    pub fn erasures(&self, account: AccountId) -> Vec<Erasure> {
        self.inner.erasures.of(account)
    }

    /// Returns the lake, once its tables are read.
    async fn lake(&self) -> Result<Arc<Lake>, QueryError> {
        let mut loaded = self.inner.lake.subscribe();
        let waiting = tokio::time::timeout(LOADING, loaded.wait_for(Option::is_some));
        let found = waiting.await.map_err(|_| QueryError::Busy)?.map_err(|_| QueryError::Busy)?;
        found.clone().ok_or(QueryError::Busy)
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let permit = Arc::clone(&self.inner.queries).acquire_owned().await.map_err(|_| QueryError::Busy)?;
        let reading = tokio::task::spawn_blocking(move || {
            // Held by the reading thread: a caller that gives up does not make room for another reader.
            let _permit = permit;
            read()
        });
        reading.await.unwrap_or(Err(QueryError::Busy))
    }

    /// Follows a dataset live, from here on.
    #[must_use]
    pub fn tail(&self, account: AccountId, dataset: Dataset) -> Tail {
        Tail::new(self.inner.tails[dataset.index()].subscribe(), account)
    }

    /// Returns the counts of the last hour, one entry for each minute that held something, oldest first.
    #[must_use]
    pub fn rollup(&self, account: AccountId, dataset: Dataset) -> Vec<Minute> {
        let first = (self.inner.config.clock)().as_second().div_euclid(60) - MINUTES as i64 + 1;
        let counts = self.inner.counts.lock();
        counts.get(&account.to_string()).map(|rollup| rollup.since(dataset, first)).unwrap_or_default()
    }

    /// Says how the journal is.
    #[must_use]
    pub fn health(&self) -> Health {
        let state = self.inner.state.lock();
        Health {
            failing: state.failing.clone(),
            lake_failing: state.lake_failing.clone().or_else(|| state.not_following.clone()),
            waiting_bytes: self.inner.queue.used(),
            lost: state.lost,
            torn_bytes: self.inner.torn_bytes,
        }
    }

    /// Writes and syncs what is queued and stops. Later appends fail; queries still work.
    pub async fn shutdown(&self) {
        self.inner.stopping.store(true, Ordering::Relaxed);
        self.inner.queue.close();
        let _ = self.inner.keeper.send(Wake::Stop);
        drop(self.inner.follow.lock().take());
        let threads = std::mem::take(&mut *self.inner.threads.lock());
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().all(|thread| thread.join().is_ok()));
        if !joined.await.unwrap_or(false) {
            tracing::error!("a journal thread ended by a panic");
        }
    }
}

impl Inner {
    /// Returns what reports are made of, looked at anew every [`FRESH`].
    fn moment(&self, lake: &Lake, account: AccountId) -> Result<Arc<Moment>, QueryError> {
        let now = (self.config.clock)();
        let mine = Arc::clone(self.moments.lock().entry(account).or_default());
        let mut mine = mine.lock();
        // A long journal, while the lake cannot be written, is not counted all the time.
        let keep = |moment: &Moment| FRESH.max(SignedDuration::try_from(moment.took * 10).unwrap_or(FRESH)).min(STALE);
        let fresh = |moment: &&Arc<Moment>| now.duration_since(moment.as_of).abs() < keep(moment);
        if let Some(moment) = mine.as_ref().filter(fresh) {
            return Ok(Arc::clone(moment));
        }
        let started = Instant::now();
        let shelf = &self.shelves[rollup_files::COUNTED.index()];
        let snapshot = Snapshot::take(lake, shelf, account, rollup_files::COUNTED)?;
        let recent = rollup_files::recent(&snapshot)?;
        let moment = Arc::new(Moment { as_of: now, took: started.elapsed(), state: snapshot.state, recent });
        *mine = Some(Arc::clone(&moment));
        Ok(moment)
    }

    fn threads_ended(&self) -> bool {
        self.threads.lock().iter().all(JoinHandle::is_finished)
    }
}

/// Room for one record, taken in advance. Dropping it gives the room back.
#[derive(Debug)]
pub struct Slot {
    logs: Logs,
    bytes: usize,
}

impl Slot {
    /// Accepts the record without waiting. One larger than the slot borrows the rest; later appends wait for it.
    ///
    /// # Errors
    ///
    /// [`AppendError::TooLarge`] and [`AppendError::Closed`]; never [`AppendError::Full`].
    pub fn append(mut self, mut record: impl AsRecord) -> Result<Receipt, AppendError> {
        framed(&mut record.as_record(), |record, id, frame| {
            let reserved = std::mem::take(&mut self.bytes);
            self.logs.accept(record, id, frame, reserved)
        })?
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.logs.inner.queue.release(self.bytes);
        }
    }
}

/// Writes the frame of a record, within bounds, and hands it to `then` with the record's id.
fn framed<T>(
    record: &mut RecordMut<'_>,
    then: impl FnOnce(&RecordMut<'_>, Uuid, &[u8]) -> T,
) -> Result<T, AppendError> {
    thread_local! {
        /// Where frames are written before they are copied to where they wait, which needs no lock.
        static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    let id = record.ensure_id();
    SCRATCH.with_borrow_mut(|scratch| {
        if write(record, id, scratch).is_err() {
            record.shorten();
            write(record, id, scratch)?;
        }
        let done = then(record, id, scratch);
        // One huge record must not keep its memory on every thread.
        scratch.shrink_to(SLOT_BYTES);
        Ok(done)
    })
}

/// Writes a frame into `scratch`, alone.
fn write(record: &RecordMut<'_>, id: Uuid, scratch: &mut Vec<u8>) -> Result<(), AppendError> {
    scratch.clear();
    frame::encode(scratch, id, milliseconds(record.datetime()), |out| record.encode(out));
    if scratch.len() - OVERHEAD > MAX_RECORD_BYTES { Err(AppendError::TooLarge) } else { Ok(()) }
}

fn count(counts: &Mutex<BTreeMap<String, Rollup>>, record: &RecordMut<'_>) {
    let account = record.account();
    let mut counts = counts.lock();
    if let Some(rollup) = counts.get_mut(account) {
        rollup.count(record);
    } else if counts.len() < COUNTED_ACCOUNTS {
        counts.entry(account.to_owned()).or_default().count(record);
    }
}

/// Counts the last hour again from what was on disk at the start.
struct Recount {
    segments: [Vec<Segment>; Dataset::ALL.len()],
    since: i64,
    counts: Arc<Mutex<BTreeMap<String, Rollup>>>,
    stopping: Arc<AtomicBool>,
}

impl Recount {
    fn run(self) {
        for dataset in Dataset::ALL {
            for segment in &self.segments[dataset.index()] {
                let mut file = None;
                for block in segment.blocks.iter().filter(|block| block.last_time >= self.since) {
                    if self.stopping.load(Ordering::Relaxed) {
                        return;
                    }
                    // Counts are a convenience: what cannot be read is not counted.
                    let Ok(Some(bytes)) = query::read(segment, block, &mut file) else { break };
                    for (_, frame) in frame::frames(&bytes).filter(|(_, frame)| frame.milliseconds >= self.since) {
                        let record = match segment.codec {
                            Codec::Json => {
                                str::from_utf8(frame.body).ok().and_then(|json| Record::from_json(dataset, json).ok())
                            }
                            Codec::Fields => Record::decode(dataset, frame.id, frame.body),
                        };
                        if let Some(mut record) = record {
                            count(&self.counts, &record.as_record());
                        }
                    }
                }
            }
        }
    }
}

fn start(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

/// Lets everything else go before this thread when there is not enough processor for all.
fn stand_back(nice: i32) {
    // Only a wish: a system that does not grant it runs the thread as any other.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), nice);
}

fn create_private(directory: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| OpenError::File { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse(directory.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(OpenError::File { path, source }),
    }
}
