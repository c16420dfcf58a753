//! Runs push jobs: one task for each, that reads the journal, sends, and moves the job's place when the destination said yes.
//!
//! What a record looks like is the push engine's, the place in the journal that of `logs`; here stand who runs when, and how
//! many at once. Invariants: a job's place moves only after its destination took the batch; a destination that fails or hangs
//! holds up no other job that works, and no traffic.

mod batch;
mod bucket;
mod send;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use administration::app::{BoxFuture, PushProbe};
use administration::operations::push_jobs::{Prepared, prepare};
use logs::{Logs, PushError, PushPastError};
use push::{Destination, retry};
use store::{Change, ChangeFeed, Kind, Operate, Principal, PushJob, Revision, Store, StoreError, Stored};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use types::{AccountId, PushJobId};
use uuid::Uuid;

use crate::upstream::Upstream;
use batch::Batch;
use send::{SendError, Sender};

/// The pause before a store that did not answer is asked again.
const RETRY: Duration = Duration::from_secs(5);
/// How many batches are read and sent at once; each holds some megabytes.
const AT_ONCE: usize = 6;
/// How many of jobs whose last attempt failed: what hangs must not take the room of what works.
const FAILING_AT_ONCE: usize = 2;
/// What is under way when the platform stops may take so long.
const GRACE: Duration = Duration::from_secs(5);

/// Why jobs cannot be read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Denied(#[from] store::Denied),
}

/// Owned by the one task that runs it.
pub(crate) struct Pusher {
    pub store: Store,
    pub account: AccountId,
    pub logs: Logs,
    pub upstream: Arc<Upstream>,
    pub feed: ChangeFeed,
}

/// What all jobs share.
struct Shared {
    logs: Logs,
    sender: Sender,
    working: Semaphore,
    failing: Semaphore,
}

/// A job that runs, or cannot.
struct Running {
    revision: Revision,
    stop: CancellationToken,
}

impl Pusher {
    /// Runs the jobs until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let shared = Arc::new(Shared {
            logs: self.logs.clone(),
            sender: Sender::new(Arc::clone(&self.upstream)),
            working: Semaphore::new(AT_ONCE),
            failing: Semaphore::new(FAILING_AT_ONCE),
        });
        let (mut running, mut tasks) = (BTreeMap::new(), JoinSet::new());
        let mut stale = true;
        loop {
            if stale {
                match self.jobs().await {
                    Ok(jobs) => {
                        self.reconcile(&shared, jobs, &mut running, &mut tasks);
                        stale = false;
                    }
                    // Those that run go on as they are.
                    Err(error) => tracing::warn!(%error, "push jobs cannot be read just now"),
                }
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
                changes = self.feed.next() => stale |= changes.iter().any(concerns),
                () = tokio::time::sleep(RETRY), if stale => {}
            }
        }
        for job in running.into_values() {
            job.stop.cancel();
        }
        let ending = async { while tasks.join_next().await.is_some() {} };
        // What is cut off is sent again after the next start.
        let _ = tokio::time::timeout(GRACE, ending).await;
    }

    async fn jobs(&self) -> Result<Vec<(Stored<PushJob>, String)>, ReadError> {
        let grant = Principal::system("push jobs").authorize::<Operate>(self.account)?;
        let jobs = self.store.push_jobs().list(&grant).await?;
        let opened = jobs.into_iter().map(|mut job| {
            let conf = self.store.push_jobs().open_members(&grant, &mut job)?.remove("destination_conf");
            Ok((job, conf.map(|conf| conf.expose().clone()).unwrap_or_default()))
        });
        opened.collect()
    }

    /// Starts what is new, stops what is gone, and starts again what has changed.
    fn reconcile(
        &self,
        shared: &Arc<Shared>,
        jobs: Vec<(Stored<PushJob>, String)>,
        running: &mut BTreeMap<PushJobId, Running>,
        tasks: &mut JoinSet<()>,
    ) {
        let places: Vec<Uuid> = jobs.iter().map(|(job, _)| job.document.place).collect();
        running.retain(|id, task| {
            let stays = jobs.iter().any(|(job, _)| job.id == *id && job.revision == task.revision);
            if !stays {
                task.stop.cancel();
            }
            stays
        });
        for (job, conf) in jobs {
            if running.contains_key(&job.id) {
                continue;
            }
            let stop = CancellationToken::new();
            running.insert(job.id, Running { revision: job.revision, stop: stop.clone() });
            // One that is paused keeps its place, and one that never ran has none.
            if job.document.enabled
                && let Some(task) = self.start(shared, &job, &conf)
            {
                tasks.spawn(task.run(stop));
            }
        }
        self.logs.push_only(self.account, &places);
    }

    fn start(&self, shared: &Arc<Shared>, job: &Stored<PushJob>, conf: &str) -> Option<Task> {
        let place = job.document.place;
        let prepared = prepare(&job.document).map_err(|problems| {
            let problem = problems.into_iter().next();
            problem.map_or_else(String::new, |problem| {
                format!("{}: {}", problem.pointer.unwrap_or_default(), problem.message)
            })
        });
        let destination = Destination::parse(conf).map_err(|error| format!("destination_conf {error}"));
        let dataset = administration::operations::push_jobs::dataset(&job.document.dataset)?;
        if let Err(error) = self.logs.push_begin(place, self.account, dataset) {
            tracing::error!(error = &error as &dyn std::error::Error, job = %job.id, "a push job cannot begin");
            return None;
        }
        match prepared.and_then(|prepared| Ok((prepared, destination?))) {
            Ok((prepared, destination)) => {
                Some(Task { id: job.id, place, prepared, destination, shared: Arc::clone(shared) })
            }
            // Of another version of this program, or of an older rule.
            Err(error) => {
                note(&self.logs, place, &error);
                None
            }
        }
    }
}

fn note(logs: &Logs, place: Uuid, error: &str) {
    if let Err(error) = logs.push_failed(place, error) {
        tracing::error!(error = &error as &dyn std::error::Error, "how a push job is cannot be written down");
    }
}

fn concerns(change: &Change) -> bool {
    match change {
        Change::Put(document) | Change::Deleted(document) | Change::ChildrenDeleted(document) => {
            document.kind == Kind::PushJob
        }
        Change::Resync { .. } => true,
    }
}

/// One job.
struct Task {
    id: PushJobId,
    place: Uuid,
    prepared: Prepared,
    destination: Destination,
    shared: Arc<Shared>,
}

/// Why a round ended without a delivery.
enum RoundError {
    Send(SendError),
    /// The journal cannot be read.
    Journal(PushError),
    /// The lake cannot be read.
    Past(PushPastError),
}

impl Task {
    async fn run(self, stop: CancellationToken) {
        // What a receiver finds too large is cut in half, and grows again once it takes what there is.
        let (mut failures, mut max_records) = (0_u32, self.prepared.max_records);
        loop {
            let Some(round) = stop.run_until_cancelled(self.round(failures > 0, max_records)).await else { return };
            let pause = match round {
                Ok(more) => {
                    if failures > 0 {
                        tracing::info!(job = %self.id, "a push job delivers again");
                    }
                    failures = 0;
                    max_records = max_records.saturating_mul(2).min(self.prepared.max_records);
                    if more { Duration::ZERO } else { self.prepared.interval }
                }
                // The lake is busy: what comes goes on.
                Err(RoundError::Past(error)) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, job = %self.id, "a push job cannot read what it is to make up for");
                    self.prepared.interval
                }
                Err(RoundError::Send(SendError { too_large: Some(records), message, .. })) => {
                    tracing::debug!(job = %self.id, records, message, "a push job sends smaller batches");
                    max_records = (records / 2).max(1);
                    // Written down or not: the next attempt says so again.
                    let _ = self.shared.logs.push_split(self.place);
                    Duration::ZERO
                }
                Err(RoundError::Send(error)) => {
                    failures = failures.saturating_add(1);
                    if failures == 1 {
                        tracing::warn!(job = %self.id, error = error.message, "a push job is not delivered, and tries again");
                    }
                    note(&self.shared.logs, self.place, &error.message);
                    retry::pause(failures, error.kind, error.retry_after, fastrand::f64())
                }
                // The job was deleted in this moment.
                Err(RoundError::Journal(PushError::Unknown)) => return,
                Err(RoundError::Journal(error)) => {
                    failures = failures.saturating_add(1);
                    tracing::error!(error = &error as &dyn std::error::Error, job = %self.id, "a push job cannot read the journal");
                    retry::pause(failures, retry::Failure::Passing, None, fastrand::f64())
                }
            };
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    /// Reads a batch and sends it; says whether there is more.
    async fn round(&self, failing: bool, max_records: u64) -> Result<bool, RoundError> {
        let room = if failing { &self.shared.failing } else { &self.shared.working };
        // Never closed.
        let _room = room.acquire().await;
        let logs = &self.shared.logs;
        let batch = Batch::new(&self.prepared, &self.destination, max_records);
        let (batch, read) = logs.push_read(self.place, batch).await.map_err(RoundError::Journal)?;
        let records = batch.count();
        if records > 0 {
            let name = format!("{}-{}", self.id, read.id);
            let packed = batch.pack(name, self.id, read.times).await;
            self.shared.sender.send(&self.destination, packed).await.map_err(RoundError::Send)?;
        }
        logs.push_done(self.place, &read, records).map_err(RoundError::Journal)?;
        Ok(self.make_up(max_records).await? || read.more)
    }

    /// Sends a batch of a period that the job was asked to make up for; says whether there was one.
    async fn make_up(&self, max_records: u64) -> Result<bool, RoundError> {
        let logs = &self.shared.logs;
        let batch = Batch::new(&self.prepared, &self.destination, max_records);
        let read = logs.push_read_past(self.place, batch).await;
        let Some((batch, read)) = read.map_err(RoundError::Past)? else { return Ok(false) };
        let records = batch.count();
        if records > 0 {
            let packed = batch.pack(format!("{}-past-{}", self.id, read.id), self.id, read.times).await;
            let sent = self.shared.sender.send(&self.destination, packed).await;
            // A page of the lake is not cut: asked again at once, it would be too large again.
            sent.map_err(|error| RoundError::Send(SendError { too_large: None, ..error }))?;
        }
        logs.push_past_done(self.place, &read, records).map_err(RoundError::Journal)?;
        Ok(true)
    }
}

/// Tries destinations for administrators.
pub(crate) struct Probe {
    pub upstream: Arc<Upstream>,
}

impl PushProbe for Probe {
    fn probe<'a>(&'a self, destination: &'a Destination) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let sender = Sender::new(Arc::clone(&self.upstream));
            let packed = batch::test(destination).await;
            sender.send(destination, packed).await.map_err(|error| error.message)
        })
    }
}
