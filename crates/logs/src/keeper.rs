//! The one thread that keeps the lake: takes the journal over, merges, lets go of what is old.
//!
//! It runs on its own, with a runtime of its own, so that neither a slow object store nor a large merge is felt by those
//! who append. What it cannot do it tries again, later each time; meanwhile the journal keeps everything. Invariant: it
//! ends soon after it is told to, between two steps, each of which may also be cut off by a kill.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};

use crate::durable;
use crate::erasure::{self, Erasure, ErasureState, Erasures};
use crate::lake::Lake;
use crate::lake::delta::DataFile;
use crate::lake::erase::{self, Theirs};
use crate::lake::place::Place;
use crate::lake::roll::RollError;
use crate::lake::rollup::Moments;
use crate::lake::table::{Table, TableError};
use crate::pace::{self, Pace};
use crate::push::Pushes;
use crate::records::Dataset;
use crate::retention::Choices;
use crate::segment::Segment;
use crate::writer::{Shelf, backlog};
use crate::{JournalState, LogsConfig};

/// How often it looks without being told.
const TICK: Duration = Duration::from_secs(1);
/// For how long it reads ahead what reports need, before anything else.
const AHEAD: Duration = Duration::from_secs(1);
/// How often it tidies.
const TIDY: Duration = Duration::from_secs(30);
/// How often it looks for leftovers of crashes.
const ORPHANS: Duration = Duration::from_secs(24 * 3600);
/// How many bytes of the journal are taken over in one commit, when there is more to do; where so much waits, it is urgent.
const BYTES_AT_ONCE: u64 = 192 * 1024 * 1024;
/// How much lower than everything else it stands in the queue for the processor.
const NICE: i32 = 5;
/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What wakes it.
pub(crate) enum Wake {
    /// A segment grows no more.
    Sealed,
    /// What is kept for how long has changed.
    Tidy,
    /// Take everything sealed over and tidy, then answer.
    Settle(oneshot::Sender<Result<(), String>>),
    Stop,
}

/// Somebody who waits until the lake is settled; its work waits for nobody meanwhile.
#[derive(Debug)]
pub(crate) struct Hurry(Arc<AtomicUsize>);

impl Hurry {
    /// Counts one in `waiting`, until it is dropped.
    pub(crate) fn new(waiting: &Arc<AtomicUsize>) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(waiting))
    }
}

impl Drop for Hurry {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where the lake is found once it is loaded.
pub(crate) type Loaded = watch::Sender<Option<Arc<Lake>>>;

/// A file that lacks counts.
type Uncounted = (Arc<Table>, Arc<DataFile>);

pub(crate) struct Keeper {
    /// Of the journal.
    pub directory: PathBuf,
    pub place: Place,
    pub node: String,
    pub config: LogsConfig,
    pub shelves: Arc<[Shelf; Dataset::ALL.len()]>,
    pub state: Arc<Mutex<JournalState>>,
    pub choices: Arc<Choices>,
    pub moments: Arc<Moments>,
    pub erasures: Arc<Erasures>,
    pub pushes: Arc<Pushes>,
    pub stopping: Arc<AtomicBool>,
    /// How many are in a [`Hurry`].
    pub settling: Arc<AtomicUsize>,
    pub loaded: Arc<Loaded>,
    pub wake: Receiver<Wake>,
}

impl Keeper {
    pub(crate) fn run(self) {
        crate::stand_back(NICE);
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "the lake's keeper cannot start; records stay in the journal");
                return;
            }
        };
        let Some(lake) = self.load(&runtime) else { return };
        // Those that take longer, as in a distant bucket, are read when a report asks for them.
        let _ = runtime.block_on(async { tokio::time::timeout(AHEAD, lake.describe_counts()).await });
        let mut pause = TICK;
        let mut tidied: Option<Instant> = None;
        let mut swept: Option<Instant> = None;
        let mut uncounted = Vec::new();
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        loop {
            let settling = match self.wake.recv_timeout(pause) {
                Ok(Wake::Sealed) | Err(RecvTimeoutError::Timeout) => None,
                Ok(Wake::Tidy) => {
                    tidied = None;
                    None
                }
                Ok(Wake::Settle(answer)) => Some(answer),
                Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            };
            let tidy = settling.is_some() || tidied.is_none_or(|at| at.elapsed() >= TIDY);
            let orphans = swept.is_none_or(|at| at.elapsed() >= ORPHANS);
            let urgent = || self.is_urgent();
            let pace = Pace::start(&pace::used, &urgent, processors);
            let done = self.take_over(&runtime, &lake, &pace).and_then(|taken| {
                // An erasure that does not get on keeps back nothing else.
                let erased = self.erase(&runtime, &lake, &pace);
                let step = async {
                    match (tidy, taken) {
                        (true, _) => {
                            self.tidy(&lake, orphans, &pace).await?;
                            self.end_erasures(&lake)
                        }
                        // What comes in small pieces is merged as it comes.
                        (false, true) => self.merge(&lake, &pace).await,
                        (false, false) => Ok(()),
                    }
                };
                runtime.block_on(step)?;
                if tidy && orphans {
                    uncounted = runtime.block_on(self.uncounted(&lake))?;
                }
                erased
            });
            self.count_some(&runtime, &lake, &mut uncounted);
            match &done {
                Ok(()) => {
                    pause = TICK;
                    if tidy {
                        tidied = Some(Instant::now());
                    }
                    if tidy && orphans {
                        swept = Some(Instant::now());
                    }
                    self.state.lock().lake_failing = None;
                }
                Err(error) => {
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    self.failing(error);
                }
            }
            if let Some(answer) = settling {
                let _ = answer.send(done.map_err(|error| chain(&error)));
            }
        }
    }

    /// Reads the tables, however long that takes to succeed.
    fn load(&self, runtime: &Runtime) -> Option<Arc<Lake>> {
        let mut pause = TICK;
        loop {
            match runtime.block_on(Lake::load(self.place.clone(), self.node.clone())) {
                Ok(lake) => {
                    let lake = Arc::new(lake);
                    self.loaded.send_replace(Some(Arc::clone(&lake)));
                    return Some(lake);
                }
                Err(error) => self.failing(&error),
            }
            match self.wake.recv_timeout(pause) {
                Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return None,
                Ok(Wake::Settle(answer)) => {
                    let why = self.state.lock().lake_failing.clone();
                    drop(answer.send(Err(why.unwrap_or_else(|| "it cannot be read".to_owned()))));
                }
                Ok(Wake::Sealed | Wake::Tidy) | Err(RecvTimeoutError::Timeout) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn failing(&self, error: &(dyn std::error::Error + 'static)) {
        let error = chain(error);
        let mut state = self.state.lock();
        if state.lake_failing.as_ref() != Some(&error) {
            tracing::error!(error, "the lake cannot be written; records stay in the journal");
        }
        state.lake_failing = Some(error);
    }

    /// Says whether its work must not wait for others.
    fn is_urgent(&self) -> bool {
        let many = BYTES_AT_ONCE.min(self.config.max_journal_bytes / 2);
        self.stopping.load(Ordering::Relaxed)
            || self.settling.load(Ordering::Relaxed) > 0
            || backlog(&*self.shelves) >= many
    }

    /// Takes over what is sealed; says whether there was anything.
    fn take_over(&self, runtime: &Runtime, lake: &Lake, pace: &Pace<'_>) -> Result<bool, RollError> {
        let mut some = false;
        for dataset in Dataset::ALL {
            loop {
                let segments = self.sealed(dataset);
                let Some(last) = segments.last() else { break };
                some = true;
                runtime.block_on(lake.roll(dataset, &segments, (self.config.clock)(), pace))?;
                let now = (self.config.clock)();
                // What push jobs still need has a second name before it may lose the first.
                let kept = self.pushes.keep(dataset, &segments, now);
                let settled = kept.and_then(|()| mark_taken(&self.directory, dataset, last.number));
                settled.map_err(|error| RollError::Table(TableError::Settle(error)))?;
                self.shelves[dataset.index()].lock().retain(|segment| segment.number > last.number);
                for segment in segments {
                    // What stays is removed at the next start.
                    if let Err(error) = segment.remove() {
                        tracing::warn!(%error, path = %segment.path.display(), "a segment could not be deleted");
                    }
                }
            }
        }
        let trimmed = self.pushes.trim((self.config.clock)());
        trimmed.map_err(|error| RollError::Table(TableError::Settle(error)))?;
        Ok(some)
    }

    /// Returns the oldest segments that grow no more, as many as are taken over at once.
    fn sealed(&self, dataset: Dataset) -> Vec<Segment> {
        let shelf = self.shelves[dataset.index()].lock();
        let mut bytes = 0;
        let sealed = shelf.iter().take_while(|segment| segment.sealed);
        let some = sealed.take_while(|segment| {
            let room = bytes < BYTES_AT_ONCE;
            bytes += segment.length;
            room
        });
        some.cloned().collect()
    }

    /// Returns the files that lack counts, the newest last.
    async fn uncounted(&self, lake: &Lake) -> Result<Vec<Uncounted>, TableError> {
        let mut all = Vec::new();
        for table in lake.tables() {
            let files = lake.uncounted(&table, (self.config.clock)()).await?;
            all.extend(files.into_iter().map(|file| (Arc::clone(&table), file)));
        }
        all.sort_by_key(|(_, file)| file.date);
        Ok(all)
    }

    /// Counts some files that lack it, for about a second. One that cannot be read waits for the next start.
    fn count_some(&self, runtime: &Runtime, lake: &Lake, uncounted: &mut Vec<Uncounted>) {
        let started = Instant::now();
        while started.elapsed() < TICK
            && !self.stopping.load(Ordering::Relaxed)
            && let Some((table, file)) = uncounted.pop()
        {
            if let Err(error) = runtime.block_on(lake.count_again(&table, &file)) {
                tracing::warn!(error = chain(&error), file = file.path, "a file could not be counted again");
            }
        }
    }

    /// Does the first of the erasures that wait that can be done. Between two files the journal is taken over, so that it does not fill up meanwhile.
    fn erase(&self, runtime: &Runtime, lake: &Lake, pace: &Pace<'_>) -> Result<(), RollError> {
        let mut failed = Ok(());
        for (erasure, person) in self.erasures.waiting() {
            let theirs = Theirs { person, until: erasure.asked_at.as_microsecond() };
            match self.erase_one(runtime, lake, &erasure, &theirs, pace) {
                Ok(()) => break,
                Err(error) => {
                    let why = chain(&error);
                    self.erasures.progress(erasure.id, |erasure| erasure.failing = Some(why));
                    failed = failed.and(Err(error));
                }
            }
        }
        failed
    }

    /// Does an erasure, unless it is told to stop.
    fn erase_one(
        &self,
        runtime: &Runtime,
        lake: &Lake,
        erasure: &Erasure,
        theirs: &Theirs,
        pace: &Pace<'_>,
    ) -> Result<(), RollError> {
        // What was recorded before it was asked for is sealed by then, and may be on a dataset that was looked at already.
        self.take_over(runtime, lake, pace)?;
        let settle = |error| RollError::Table(TableError::Settle(error));
        self.pushes.blank(erasure.account, theirs).map_err(settle)?;
        let mut tables = Vec::new();
        for dataset in erase::DATASETS {
            let table = runtime.block_on(lake.table_to_write(erasure.account, dataset))?;
            runtime.block_on(table.refresh())?;
            tables.push(table);
        }
        let total = tables.iter().map(|table| table.state().files.len() as u64).sum();
        self.erasures.progress(erasure.id, |erasure| {
            *erasure = Erasure { state: ErasureState::Running, files_total: total, files_done: 0, ..erasure.clone() };
        });
        for table in &tables {
            let mut seen = BTreeSet::new();
            // Anew after each file: what is taken over or merged meanwhile is looked at as well.
            while let Some(file) = table.state().files.values().find(|file| !seen.contains(&file.path)).cloned() {
                if self.stopping.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let done = runtime.block_on(lake.erase_from(table, &file, theirs, (self.config.clock)()))?;
                seen.insert(file.path.clone());
                seen.extend(done.path);
                let count = |erasure: &mut Erasure| {
                    erasure.files_done += 1;
                    erasure.files_total = erasure.files_total.max(erasure.files_done);
                    erasure.failing = None;
                    erasure::count(erasure, table.dataset, done.erased);
                };
                if done.erased > 0 {
                    self.erasures.change(erasure.id, count).map_err(settle)?;
                } else {
                    self.erasures.progress(erasure.id, count);
                }
                self.take_over(runtime, lake, pace)?;
            }
            if table.state().next > 0 {
                runtime.block_on(lake.forget_person(table, &theirs.person, (self.config.clock)()))?;
            }
        }
        let ended = (self.config.clock)();
        let end = |erasure: &mut Erasure| {
            (erasure.state, erasure.erased_at) = (ErasureState::Erased, Some(ended));
        };
        // What reports are made of names them for a while otherwise.
        self.moments.lock().remove(&erasure.account);
        self.erasures.change(erasure.id, end).map_err(settle)
    }

    /// Notices when the files that held what was erased are deleted.
    fn end_erasures(&self, lake: &Lake) -> Result<(), TableError> {
        for erasure in self.erasures.erased() {
            let ended = erasure.erased_at.map_or(i64::MAX, Timestamp::as_millisecond);
            let gone = |dataset| {
                let table = lake.table(erasure.account, dataset);
                table.is_none_or(|table| table.state().removed.values().all(|at| *at > ended))
            };
            if erase::DATASETS.into_iter().all(gone) {
                let done = |erasure: &mut Erasure| erasure.state = ErasureState::Done;
                self.erasures.change(erasure.id, done).map_err(TableError::Settle)?;
            }
        }
        Ok(())
    }

    async fn merge(&self, lake: &Lake, pace: &Pace<'_>) -> Result<(), TableError> {
        for table in lake.tables() {
            while lake.merge(&table, (self.config.clock)(), pace).await? {}
        }
        Ok(())
    }

    async fn tidy(&self, lake: &Lake, orphans: bool, pace: &Pace<'_>) -> Result<(), TableError> {
        let now = (self.config.clock)();
        for table in lake.tables() {
            table.refresh().await?;
            self.expire(lake, &table).await?;
            while lake.merge(&table, now, pace).await? {}
            lake.sweep(&table, orphans, now).await?;
        }
        let (mut traffic, mut audit, mut sign_ins) = (Vec::new(), Vec::new(), Vec::new());
        for table in lake.tables() {
            if let Some(max_bytes) = self.choices.of(table.account, table.dataset).and_then(|keep| keep.max_bytes) {
                lake.shrink(&[table], max_bytes, now).await?;
                continue;
            }
            match table.dataset {
                Dataset::Audit => audit.push(table),
                Dataset::AccessRequests => sign_ins.push(table),
                Dataset::GatewayHttp | Dataset::GatewayNetwork | Dataset::Worker | Dataset::McpPortalLogs => {
                    traffic.push(table);
                }
            }
        }
        // Traffic, however much, must not push the audit trail or the sign-ins out.
        lake.shrink(&traffic, self.config.max_bytes, now).await?;
        lake.shrink(&audit, self.config.max_audit_bytes, now).await?;
        lake.shrink(&sign_ins, self.config.max_audit_bytes, now).await
    }

    async fn expire(&self, lake: &Lake, table: &Table) -> Result<(), TableError> {
        let now = (self.config.clock)();
        let chosen = self.choices.of(table.account, table.dataset).map(|keep| keep.days);
        let default = || *self.config.keep_days.get(table.dataset.index()).unwrap_or(&u32::MAX);
        let days = i64::from(chosen.unwrap_or_else(default));
        let today = now.to_zoned(TimeZone::UTC).date();
        let Ok(first) = today.checked_sub(days.min(3_650_000).days()) else { return Ok(()) };
        lake.expire(table, first, now).await
    }
}

/// Returns an error with everything below it that it does not say itself.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        below = error.source();
    }
    text
}

/// Writes down that the journal of a dataset is in the lake up to a segment.
fn mark_taken(directory: &Path, dataset: Dataset, segment: u64) -> std::io::Result<()> {
    durable::replace(&directory.join(dataset.as_str()).join("taken"), segment.to_string().as_bytes())
}

/// Reads what [`mark_taken`] wrote; zero when nothing was taken over yet.
pub(crate) fn taken(directory: &Path, dataset: Dataset) -> std::io::Result<u64> {
    match std::fs::read_to_string(directory.join(dataset.as_str()).join("taken")) {
        Ok(text) => text.trim().parse().map_err(std::io::Error::other),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Returns the name that tells this journal from others that share a lake, made when it is first asked for.
pub(crate) fn node(directory: &Path) -> std::io::Result<String> {
    let path = directory.join("node");
    match std::fs::read_to_string(&path) {
        Ok(name) if !name.trim().is_empty() => Ok(name.trim().to_owned()),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(_) | Err(_) => {
            let name = uuid::Uuid::now_v7().to_string();
            durable::replace(&path, name.as_bytes())?;
            Ok(name)
        }
    }
}
