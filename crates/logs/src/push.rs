//! Places of push jobs in the journal, and the segments that are kept back for them.
//!
//! A job reads the records of its account and dataset in the order they came, from the journal of this node. Its place, a
//! segment and an offset in it, is a small file beside the journal and moves when the caller says that a batch arrived. A
//! segment that the lake took over and a job still needs goes to a shelf of its own, where no query sees it, until every job
//! has read it or the shelf is full; then the oldest go, and each job that loses records by it notes which. What is sent
//! where is not known here. Invariants: a place moves only after [`Logs::push_done`], and a batch that was begun and not
//! done has the same end when it is read again; nothing here holds up who appends.

mod past;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use types::AccountId;
use uuid::Uuid;

pub use past::{PushPast, PushPastBatch, PushPastError};

use crate::durable;
use crate::frame::{self, HEADER_BYTES};
use crate::lake::erase::Theirs;
use crate::lake::roll::Places;
use crate::query;
use crate::records::Dataset;
use crate::segment::{self, Segment};
use crate::writer::Shelf;
use crate::{Logs, MAX_RECORD_BYTES};

/// The folder of places, below that of the journal.
const PLACES: &str = "push";
/// The folder of segments that are kept back, below that of the journal.
const HELD: &str = "held";
const VERSION: u32 = 1;
/// How much of the journal is read at once.
const CHUNK: usize = 1 << 20;
/// How much of the journal one batch looks at: a filter that lets nothing through must not read for ever.
const LOOKED_AT: u64 = 32 << 20;
/// How much of the disk what is kept back leaves free.
const RESERVE: u64 = 256 << 20;
/// How many gaps of a job are remembered.
const GAPS: usize = 50;
/// How often a segment is looked for again that leaves the journal while it is read.
const TRIES: usize = 16;
/// The longest text of an error that is kept, in bytes.
const ERROR: usize = 500;

/// A place in the journal of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PushPlace {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

impl PushPlace {
    const fn start_of(segment: u64) -> Self {
        Self { segment, offset: HEADER_BYTES as u64 }
    }
}

/// Records that a job could not be given, since the room for segments that wait was used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushGap {
    /// The time of the first.
    pub from: Timestamp,
    /// The time of the last.
    pub until: Timestamp,
    /// How many records of the account there were, whatever the job's filter says of them.
    pub records: u64,
    /// When they were let go.
    pub noticed_at: Timestamp,
    /// The last segment of it.
    segment: u64,
}

/// How a job is on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushStanding {
    /// When a batch last arrived, or there was nothing to send.
    pub last_complete: Option<Timestamp>,
    /// When a batch last failed.
    pub last_error: Option<Timestamp>,
    /// Why, while the newest attempt is one that failed; empty when it is not.
    pub error: String,
    /// Since when every attempt fails.
    pub failing_since: Option<Timestamp>,
    /// Records of the dataset after the job's place: at most so many wait.
    pub behind_records: u64,
    /// The time of the oldest of them.
    pub behind_since: Option<Timestamp>,
    /// Records that arrived since the job was made.
    pub sent_records: u64,
    /// Records that were let go before they could be sent, the newest last.
    pub gaps: Vec<PushGap>,
    /// A period whose records are delivered beside what comes.
    pub past: Option<PushPast>,
}

/// What takes the records of a batch, in their order.
pub trait PushSink: Send + 'static {
    /// Takes a record, or leaves it out.
    fn take(&mut self, id: Uuid, fields: &Map<String, Value>);

    /// Says whether the batch is large enough.
    fn is_full(&self) -> bool;

    /// Says how many records it took.
    fn records(&self) -> u64;
}

/// Some records of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushBatch {
    /// The same for a batch whenever it is read, and no other's.
    pub id: String,
    /// Where the job is once it arrived.
    pub end: PushPlace,
    /// The time of the first and the last record that was looked at.
    pub times: Option<(Timestamp, Timestamp)>,
    /// Whether there are more records after it.
    pub more: bool,
}

/// Why records cannot be read for a job.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The job has no place here.
    #[error("the job is not known here")]
    Unknown,
    /// The journal, or the file of a place, cannot be read or written.
    #[error("the journal or the place in it cannot be read or written")]
    File(#[from] io::Error),
    /// The runtime ends.
    #[error("the platform stops")]
    Stopped,
}

/// What stands in the file of a job.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stored {
    version: u32,
    id: Uuid,
    account: AccountId,
    dataset: String,
    place: PushPlace,
    /// The end of a batch that was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sending: Option<PushPlace>,
    #[serde(default)]
    sent_records: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_complete: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_error: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failing_since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    error: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gaps: Vec<PushGap>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    past: Option<PushPast>,
}

impl Stored {
    fn dataset(&self) -> Option<Dataset> {
        self.dataset.parse().ok()
    }
}

/// Every job of this node, and the segments kept back for them.
pub(crate) struct Pushes {
    directory: PathBuf,
    node: String,
    max_bytes: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    jobs: BTreeMap<Uuid, Stored>,
    /// By dataset, the oldest first.
    held: [Vec<Segment>; Dataset::ALL.len()],
}

impl Pushes {
    /// Reads the places and what is kept back. `shelves` is what the journal has, `taken` how far the lake took it over.
    pub(crate) fn open(
        journal: &Path,
        node: String,
        max_bytes: u64,
        shelves: &[Shelf; Dataset::ALL.len()],
        taken: &[u64; Dataset::ALL.len()],
    ) -> io::Result<Self> {
        let directory = journal.join(PLACES);
        crate::create_private(&directory)?;
        let mut state = State { jobs: read_places(&directory)?, ..State::default() };
        for dataset in Dataset::ALL {
            let index = dataset.index();
            let folder = journal.join(HELD).join(dataset.as_str());
            crate::create_private(&folder)?;
            for segment in segment::recover(&folder, 0)?.segments {
                // It was about to be taken over: the journal has it still.
                if segment.number > taken[index] {
                    segment.remove()?;
                } else {
                    state.held[index].push(segment);
                }
            }
            let shelf = shelves[index].lock();
            let last = shelf.last().map_or(taken[index], |last| last.number);
            for job in state.jobs.values_mut().filter(|job| job.dataset() == Some(dataset)) {
                // A power cut may have taken records away that were sent already: numbers and offsets are used again.
                job.sending = job.sending.filter(|end| end.segment <= last + 1);
                if job.place.segment > last {
                    job.place = PushPlace::start_of(last + 1);
                } else if let Some(segment) = shelf.iter().find(|segment| segment.number == job.place.segment) {
                    job.place.offset = job.place.offset.min(segment.length);
                }
            }
        }
        let pushes = Self { directory: journal.to_owned(), node, max_bytes, state: Mutex::new(state) };
        pushes.release(&mut pushes.state.lock());
        Ok(pushes)
    }

    /// Keeps a segment back if a job needs it, before it leaves the journal.
    pub(crate) fn keep(&self, dataset: Dataset, segments: &[Segment], now: Timestamp) -> io::Result<()> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(first) = needed(&state.jobs, dataset) else { return Ok(()) };
        let folder = self.directory.join(HELD).join(dataset.as_str());
        let mut some = false;
        for segment in segments.iter().filter(|segment| segment.number >= first) {
            let held = &mut state.held[dataset.index()];
            if held.iter().any(|one| one.number == segment.number) {
                continue;
            }
            let Some(name) = segment.path.file_name() else { continue };
            let path = folder.join(name);
            // What cannot be kept back is noted as lost: the journal must get on all the same.
            if let Err(error) = link(&segment.path, &path) {
                tracing::error!(%error, path = %segment.path.display(), "a segment cannot be kept back for push jobs");
                self.lose(&mut state.jobs, dataset, segment, now)?;
                continue;
            }
            // Without it the segment is scanned at the next start, and that is all.
            let _ = link(&segment.path.with_extension("idx"), &path.with_extension("idx"));
            held.push(Segment { path, ..segment.clone() });
            some = true;
        }
        if some { File::open(&folder)?.sync_all() } else { Ok(()) }
    }

    /// Lets the oldest segments go while there are too many, or the disk is nearly full.
    pub(crate) fn trim(&self, now: Timestamp) -> io::Result<()> {
        let mut state = self.state.lock();
        let state = &mut *state;
        loop {
            let bytes: u64 = state.held.iter().flatten().map(|segment| segment.length).sum();
            if bytes == 0 || (bytes <= self.max_bytes && !self.is_disk_short()) {
                return Ok(());
            }
            let age = |segment: &Segment| segment.blocks.iter().map(|block| block.last_time).max().unwrap_or_default();
            let oldest =
                Dataset::ALL.into_iter().filter_map(|dataset| Some((dataset, state.held[dataset.index()].first()?)));
            let oldest = oldest.min_by_key(|(_, segment)| age(segment));
            let Some((dataset, segment)) = oldest.map(|(dataset, segment)| (dataset, segment.clone())) else {
                return Ok(());
            };
            self.lose(&mut state.jobs, dataset, &segment, now)?;
            segment.remove()?;
            state.held[dataset.index()].retain(|one| one.number != segment.number);
        }
    }

    /// Says whether the journal may soon have no room: what is kept back goes before anybody's traffic stops.
    fn is_disk_short(&self) -> bool {
        rustix::fs::statvfs(&self.directory).is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < RESERVE)
    }

    /// Notes what jobs lose by a segment, and lets them go on after it.
    fn lose(
        &self,
        jobs: &mut BTreeMap<Uuid, Stored>,
        dataset: Dataset,
        segment: &Segment,
        now: Timestamp,
    ) -> io::Result<()> {
        let lose = |job: &&mut Stored| job.dataset() == Some(dataset) && job.place.segment <= segment.number;
        for job in jobs.values_mut().filter(lose) {
            let from = if job.place.segment == segment.number { job.place.offset } else { HEADER_BYTES as u64 };
            let missed = count(dataset, segment, from, job.account)?;
            let mut changed = job.clone();
            if let Some((first, last, records)) = missed {
                note_gap(
                    &mut changed.gaps,
                    PushGap { from: first, until: last, records, noticed_at: now, segment: segment.number },
                );
                tracing::error!(job = %job.id, %dataset, %first, %last, records, "a push job missed records, since the room for those that wait is used up");
            }
            changed.place = PushPlace::start_of(segment.number + 1);
            changed.sending = changed.sending.filter(|end| *end > changed.place);
            // The note first: a kill in between leaves a segment that nobody needs.
            write_place(&self.directory.join(PLACES), &changed)?;
            *job = changed;
        }
        Ok(())
    }

    /// Deletes what no job needs any more.
    fn release(&self, state: &mut State) {
        for dataset in Dataset::ALL {
            let first = needed(&state.jobs, dataset).unwrap_or(u64::MAX);
            state.held[dataset.index()].retain(|segment| {
                if segment.number >= first {
                    return true;
                }
                // What stays is removed at the next start.
                if let Err(error) = segment.remove() {
                    tracing::warn!(%error, path = %segment.path.display(), "a segment could not be deleted");
                }
                false
            });
        }
    }

    /// Returns how many bytes are kept back.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.state.lock().held.iter().flatten().map(|segment| segment.length).sum()
    }

    /// Blanks the records of somebody who is erased in the segments that are kept back. Offsets stay as they are.
    pub(crate) fn blank(&self, account: AccountId, theirs: &Theirs) -> io::Result<()> {
        // Under the lock, so that nothing is linked or deleted meanwhile; readers have the old file open at most.
        let state = self.state.lock();
        // What Workers were asked about goes with the web request.
        let mut requests = BTreeSet::new();
        for dataset in [Dataset::GatewayHttp, Dataset::GatewayNetwork, Dataset::AccessRequests, Dataset::McpPortalLogs]
        {
            for segment in &state.held[dataset.index()] {
                blank_segment(dataset, segment, account, &mut |fields, id| {
                    let theirs = theirs.holds(dataset, fields);
                    if theirs && dataset == Dataset::GatewayHttp {
                        requests.insert(id.to_string());
                    }
                    theirs
                })?;
            }
        }
        for segment in &state.held[Dataset::Worker.index()] {
            blank_segment(Dataset::Worker, segment, account, &mut |fields, _| {
                fields.get("RequestID").and_then(Value::as_str).is_some_and(|id| requests.contains(id))
            })?;
        }
        Ok(())
    }

    /// Returns a job with its dataset.
    fn job(&self, id: Uuid) -> Result<(Stored, Dataset), PushError> {
        let job = self.state.lock().jobs.get(&id).cloned().ok_or(PushError::Unknown)?;
        let dataset = job.dataset().ok_or(PushError::Unknown)?;
        Ok((job, dataset))
    }

    fn change(&self, id: Uuid, change: impl FnOnce(&mut Stored)) -> Result<(), PushError> {
        let mut state = self.state.lock();
        let job = state.jobs.get_mut(&id).ok_or(PushError::Unknown)?;
        let mut changed = job.clone();
        change(&mut changed);
        write_place(&self.directory.join(PLACES), &changed)?;
        *job = changed;
        Ok(())
    }
}

/// Returns the first segment of a dataset that a job needs; `None` when there is no job.
fn needed(jobs: &BTreeMap<Uuid, Stored>, dataset: Dataset) -> Option<u64> {
    let mine = jobs.values().filter(|job| job.dataset() == Some(dataset));
    mine.map(|job| job.place.segment).min()
}

fn note_gap(gaps: &mut Vec<PushGap>, gap: PushGap) {
    if let Some(last) = gaps.last_mut().filter(|last| last.segment + 1 == gap.segment) {
        *last = PushGap {
            from: last.from.min(gap.from),
            until: last.until.max(gap.until),
            records: last.records + gap.records,
            ..gap
        };
        return;
    }
    if gaps.len() >= GAPS {
        gaps.remove(0);
    }
    gaps.push(gap);
}

/// Counts the records of an account in a segment from an offset on, with the times of the first and the last.
fn count(
    dataset: Dataset,
    segment: &Segment,
    from: u64,
    account: AccountId,
) -> io::Result<Option<(Timestamp, Timestamp, u64)>> {
    let places = Places::of(dataset);
    let file = File::open(&segment.path)?;
    let (mut found, mut reader) = (None, Reader { file, segment, at: from });
    while let Some(bytes) = reader.next(segment.length)? {
        for (_, frame) in frame::frames(&bytes) {
            if places.find(dataset, segment.codec, &frame).is_some_and(|(owner, _)| owner == account) {
                let time = Timestamp::from_millisecond(frame.milliseconds).unwrap_or_default();
                found = Some(found.map_or((time, time, 1), |(first, last, records): (Timestamp, Timestamp, u64)| {
                    (first.min(time), last.max(time), records + 1)
                }));
            }
        }
    }
    Ok(found)
}

/// Reads whole frames of a segment, some at a time.
struct Reader<'a> {
    file: File,
    segment: &'a Segment,
    at: u64,
}

impl Reader<'_> {
    /// Returns the next frames before `end`, which is where a frame ends; `None` when there are none.
    fn next(&mut self, end: u64) -> io::Result<Option<Vec<u8>>> {
        use std::os::unix::fs::FileExt as _;
        while self.at < end {
            let size = usize::try_from(end - self.at).unwrap_or(CHUNK).min(CHUNK);
            let mut bytes = vec![0; size];
            self.file.read_exact_at(&mut bytes, self.at)?;
            let whole =
                frame::frames(&bytes).last().map_or(0, |(offset, frame)| offset + frame.body.len() + frame::OVERHEAD);
            if whole > 0 {
                self.at += whole as u64;
                bytes.truncate(whole);
                return Ok(Some(bytes));
            }
            // A chunk is larger than any frame: this one is damaged, and with it the rest of its block cannot be told apart.
            let block = self.segment.blocks.iter().map(|block| block.offset).find(|offset| *offset > self.at);
            let next = block.unwrap_or(end).min(end);
            tracing::warn!(path = %self.segment.path.display(), from = self.at, to = next, "records of the journal are damaged and cannot be pushed");
            self.at = next;
        }
        Ok(None)
    }
}

/// Blanks the records of an account in a segment that `theirs` says yes to.
fn blank_segment(
    dataset: Dataset,
    segment: &Segment,
    account: AccountId,
    theirs: &mut dyn FnMut(&Map<String, Value>, Uuid) -> bool,
) -> io::Result<()> {
    let places = Places::of(dataset);
    let mut bytes = fs::read(&segment.path)?;
    let mut blanks = Vec::new();
    for block in segment.blocks.iter() {
        let range = block.offset as usize..block.offset as usize + block.length as usize;
        let Some(part) = bytes.get(range.clone()) else { break };
        for (offset, frame) in frame::frames(part) {
            let own = places.find(dataset, segment.codec, &frame).is_some_and(|(owner, _)| owner == account);
            if own && query::fields(dataset, segment.codec, &frame).is_some_and(|fields| theirs(&fields, frame.id)) {
                blanks.push((range.start + offset, frame.body.len(), frame.milliseconds));
            }
        }
    }
    if blanks.is_empty() {
        return Ok(());
    }
    for (at, length, milliseconds) in &blanks {
        let mut blank = Vec::with_capacity(length + frame::OVERHEAD);
        // A body of zeros is no record to any reader, and a frame to all of them.
        frame::encode(&mut blank, Uuid::nil(), *milliseconds, |out| out.resize(out.len() + length, 0));
        bytes[*at..*at + blank.len()].copy_from_slice(&blank);
    }
    durable::replace(&segment.path, &bytes)
}

/// Gives a file a second name, by which it stays when the first is deleted.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        // Of an attempt that was cut off. It may be an older one with the same name, of before a power cut.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(to)?;
            fs::hard_link(from, to)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
        // Not every file system has links.
        Err(_) => durable::replace(to, &fs::read(from)?),
    }
}

fn write_place(directory: &Path, job: &Stored) -> io::Result<()> {
    durable::replace(&directory.join(format!("{}.json", job.id)), &serde_json::to_vec(job)?)
}

fn read_places(directory: &Path) -> io::Result<BTreeMap<Uuid, Stored>> {
    let mut jobs = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            // Never became one.
            Some("tmp") => fs::remove_file(&path)?,
            Some("json") => {
                let job: Stored = serde_json::from_slice(&fs::read(&path)?)
                    .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
                if job.version > VERSION {
                    return Err(io::Error::other(format!("{} is of a newer version of this program", path.display())));
                }
                jobs.insert(job.id, job);
            }
            Some(_) | None => {}
        }
    }
    Ok(jobs)
}

impl Logs {
    /// Gives a job a place: at the end of the journal as it is now, unless it has one. From then on nothing is lost to it.
    ///
    /// # Errors
    ///
    /// [`PushError::File`] when the place cannot be written down.
    pub fn push_begin(&self, id: Uuid, account: AccountId, dataset: Dataset) -> Result<(), PushError> {
        let pushes = &self.inner.pushes;
        let mut state = pushes.state.lock();
        let known = state.jobs.get(&id);
        if known.is_some_and(|job| job.account == account && job.dataset() == Some(dataset)) {
            return Ok(());
        }
        // Under the lock, so that no segment leaves between the look at the journal and the note that it is needed.
        let shelf = self.inner.shelves[dataset.index()].lock();
        let place =
            shelf.last().map(|last| PushPlace { segment: last.number, offset: last.length.max(HEADER_BYTES as u64) });
        let place = place.unwrap_or_else(|| {
            let held = state.held[dataset.index()].last().map_or(0, |last| last.number);
            PushPlace::start_of(held.max(crate::keeper::taken(&pushes.directory, dataset).unwrap_or_default()) + 1)
        });
        drop(shelf);
        let job = Stored {
            version: VERSION,
            id,
            account,
            dataset: dataset.as_str().to_owned(),
            place,
            sending: None,
            sent_records: 0,
            last_complete: None,
            last_error: None,
            failing_since: None,
            error: String::new(),
            gaps: Vec::new(),
            past: None,
        };
        write_place(&pushes.directory.join(PLACES), &job)?;
        state.jobs.insert(id, job);
        Ok(())
    }

    /// Forgets the jobs of an account but those that are named, and what was kept back for them.
    pub fn push_only(&self, account: AccountId, named: &[Uuid]) {
        let pushes = &self.inner.pushes;
        let mut state = pushes.state.lock();
        state.jobs.retain(|id, job| {
            if job.account != account || named.contains(id) {
                return true;
            }
            // What stays is forgotten after the next start.
            if let Err(error) = fs::remove_file(pushes.directory.join(PLACES).join(format!("{id}.json"))) {
                tracing::warn!(%error, job = %id, "the place of a push job could not be deleted");
            }
            false
        });
        pushes.release(&mut state);
    }

    /// Reads the next records of a job into `sink`. A batch that was begun before and is not done is the same again,
    /// whatever the sink says; otherwise it ends where the sink is full.
    ///
    /// # Errors
    ///
    /// [`PushError`].
    pub async fn push_read<S: PushSink>(&self, id: Uuid, sink: S) -> Result<(S, PushBatch), PushError> {
        let logs = self.clone();
        let reading = tokio::task::spawn_blocking(move || logs.push_read_blocking(id, sink));
        reading.await.unwrap_or(Err(PushError::Stopped))
    }

    fn push_read_blocking<S: PushSink>(&self, id: Uuid, mut sink: S) -> Result<(S, PushBatch), PushError> {
        let pushes = &self.inner.pushes;
        let (job, dataset) = pushes.job(id)?;
        let places = Places::of(dataset);
        let (mut at, mut times, mut looked_at, mut full, mut gone) = (job.place, None, 0, false, 0);
        while !full {
            let Some(segment) = self.push_segment(dataset, at) else { break };
            if segment.number > at.segment {
                at = PushPlace::start_of(segment.number);
            }
            let limit = match job.sending {
                Some(end) if end.segment == segment.number => end.offset.min(segment.length),
                Some(end) if end.segment < segment.number => break,
                Some(_) | None => segment.length,
            };
            let file = match File::open(&segment.path) {
                // It left the journal in this very moment, and is kept back.
                Err(error) if error.kind() == io::ErrorKind::NotFound && gone < TRIES => {
                    gone += 1;
                    continue;
                }
                opened => opened?,
            };
            let mut reader = Reader { file, segment: &segment, at: at.offset };
            while !full && let Some(bytes) = reader.next(limit)? {
                let start = reader.at - bytes.len() as u64;
                for (offset, frame) in frame::frames(&bytes) {
                    let own =
                        places.find(dataset, segment.codec, &frame).is_some_and(|(owner, _)| owner == job.account);
                    if own && let Some(fields) = query::fields(dataset, segment.codec, &frame) {
                        let time = Timestamp::from_millisecond(frame.milliseconds).unwrap_or_default();
                        times = Some(times.map_or((time, time), |(first, last): (Timestamp, Timestamp)| {
                            (first.min(time), last.max(time))
                        }));
                        sink.take(frame.id, &fields);
                    }
                    at.offset = start + (offset + frame.body.len() + frame::OVERHEAD) as u64;
                    if job.sending.is_none() && sink.is_full() {
                        full = true;
                        break;
                    }
                }
                looked_at += bytes.len() as u64;
                full |= job.sending.is_none() && looked_at >= LOOKED_AT;
            }
            if !full {
                at.offset = at.offset.max(reader.at);
                if !segment.sealed || job.sending.is_some_and(|end| end.segment == segment.number) {
                    break;
                }
                at = PushPlace::start_of(segment.number + 1);
            }
        }
        let more =
            self.push_segment(dataset, at).is_some_and(|next| next.number > at.segment || next.length > at.offset);
        let batch = PushBatch {
            id: format!("{}-{:08}-{:08}", pushes.node, job.place.segment, job.place.offset),
            end: at,
            times,
            more,
        };
        if job.sending.is_none() && sink.records() > 0 {
            pushes.change(id, |job| job.sending = Some(at))?;
        }
        Ok((sink, batch))
    }

    /// Finds the segment a place is in, or the next one that has records.
    fn push_segment(&self, dataset: Dataset, at: PushPlace) -> Option<Segment> {
        // First the journal: what leaves it in this moment is kept back already.
        let journal = self.inner.shelves[dataset.index()].lock().clone();
        let held = self.inner.pushes.state.lock().held[dataset.index()].clone();
        let after = |segment: &Segment| {
            segment.number > at.segment
                || (segment.number == at.segment && (!segment.sealed || segment.length > at.offset))
        };
        held.into_iter().chain(journal).filter(after).min_by_key(|segment| segment.number)
    }

    /// Says that a batch arrived, or held nothing to be sent: the job goes on after it.
    ///
    /// # Errors
    ///
    /// [`PushError`]; the batch is read again then.
    pub fn push_done(&self, id: Uuid, batch: &PushBatch, records: u64) -> Result<(), PushError> {
        let pushes = &self.inner.pushes;
        let now = (self.inner.config.clock)();
        let moved =
            |job: &Stored| batch.end > job.place || !job.error.is_empty() || job.sending.is_some() || records > 0;
        let idle = pushes.state.lock().jobs.get(&id).is_some_and(|job| !moved(job));
        if idle {
            // Nothing that must survive a kill.
            if let Some(job) = pushes.state.lock().jobs.get_mut(&id) {
                job.last_complete = Some(now);
            }
            return Ok(());
        }
        pushes.change(id, |job| {
            // What was let go meanwhile stays behind.
            job.place = job.place.max(batch.end);
            job.sending = None;
            job.sent_records += records;
            (job.last_complete, job.failing_since) = (Some(now), None);
            job.error.clear();
        })?;
        pushes.release(&mut pushes.state.lock());
        Ok(())
    }

    /// Says that a batch did not arrive, and why.
    ///
    /// # Errors
    ///
    /// [`PushError`] when that cannot be written down.
    pub fn push_failed(&self, id: Uuid, error: &str) -> Result<(), PushError> {
        let now = (self.inner.config.clock)();
        self.inner.pushes.change(id, |job| {
            job.last_error = Some(now);
            job.failing_since.get_or_insert(now);
            job.error = error.chars().take(ERROR).collect();
        })
    }

    /// Lets a batch that was begun be another one: the receiver said that it is too large and took none of it.
    ///
    /// # Errors
    ///
    /// [`PushError`].
    pub fn push_split(&self, id: Uuid) -> Result<(), PushError> {
        self.inner.pushes.change(id, |job| job.sending = None)
    }

    /// Says how a job is on this node; `None` when it has no place here.
    #[must_use]
    pub fn push_standing(&self, id: Uuid) -> Option<PushStanding> {
        let pushes = &self.inner.pushes;
        let (job, dataset, held) = {
            let state = pushes.state.lock();
            let job = state.jobs.get(&id)?.clone();
            let dataset = job.dataset()?;
            (job, dataset, state.held[dataset.index()].clone())
        };
        let journal = self.inner.shelves[dataset.index()].lock().clone();
        let mut seen = 0;
        let (mut behind_records, mut behind_since) = (0, None);
        for segment in held.into_iter().chain(journal) {
            if segment.number < job.place.segment || segment.number <= seen {
                continue;
            }
            seen = segment.number;
            let after = |block: &&segment::Block| {
                segment.number > job.place.segment || block.offset + u64::from(block.length) > job.place.offset
            };
            for block in segment.blocks.iter().filter(after) {
                behind_records += u64::from(block.records);
                behind_since = Some(behind_since.map_or(block.first_time, |time: i64| time.min(block.first_time)));
            }
        }
        Some(PushStanding {
            last_complete: job.last_complete,
            last_error: job.last_error,
            error: job.error,
            failing_since: job.failing_since,
            behind_records,
            behind_since: behind_since.and_then(|time| Timestamp::from_millisecond(time).ok()),
            sent_records: job.sent_records,
            gaps: job.gaps,
            past: job.past,
        })
    }

    /// Returns how many bytes of the journal are kept back for push jobs, and how many may be.
    #[must_use]
    pub fn push_held(&self) -> (u64, u64) {
        (self.inner.pushes.held_bytes(), self.inner.pushes.max_bytes)
    }
}

/// A chunk holds any frame.
const _: () = assert!(CHUNK > MAX_RECORD_BYTES + frame::OVERHEAD);
