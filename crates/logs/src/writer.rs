//! The one thread that writes the journal: gathers, writes, syncs, starts and ends segments.
//!
//! It reads the time for deadlines only; record times come with the records. It never drops what it took: while the disk
//! refuses, it keeps the batch and tries again, and the queue in front of it fills up. Invariant: progress is announced
//! only for records that are wholly in the file, and synced progress only after `fdatasync` of the files they went to; a
//! sync that fails is reported.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::frame::{self, Codec, HEADER_BYTES};
use crate::keeper::Wake;
use crate::queue::{Batch, Queue, Queued, Taken};
use crate::records::Dataset;
use crate::segment::{Segment, note};
use crate::{Clock, JournalState, LogsConfig};

/// A batch this large is written without waiting for the interval.
const ENOUGH_BYTES: usize = 256 * 1024;
/// The pause before a refused write is tried again.
const RETRY: Duration = Duration::from_millis(200);
/// How often a refused write is tried again after the journal was told to close.
const LAST_TRIES: u32 = 10;

/// The segments of one dataset, oldest first.
pub(crate) type Shelf = Mutex<Vec<Segment>>;

/// Returns how many bytes wait to be taken over.
pub(crate) fn backlog(shelves: &[Shelf]) -> u64 {
    let waiting = |shelf: &Shelf| shelf.lock().iter().map(|segment| segment.length).sum::<u64>();
    shelves.iter().map(waiting).sum()
}

/// How far the journal got, in accepted records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub written: u64,
    pub synced: u64,
}

pub(crate) struct Writer {
    pub directory: PathBuf,
    pub config: LogsConfig,
    pub queue: Arc<Queue>,
    pub shelves: Arc<[Shelf; Dataset::ALL.len()]>,
    pub progress: Arc<watch::Sender<Progress>>,
    pub state: Arc<Mutex<JournalState>>,
    pub current: [Option<Current>; Dataset::ALL.len()],
    pub next_number: [u64; Dataset::ALL.len()],
    /// The bytes of one write, for their room.
    pub scratch: Vec<u8>,
    /// Who takes sealed segments over.
    pub keeper: Sender<Wake>,
    /// Keeps other processes out for as long as this thread may write.
    pub _lock: File,
}

/// The segment a dataset is being appended to.
pub(crate) struct Current {
    file: File,
    number: u64,
    hour: i64,
    length: u64,
    dirty: bool,
}

impl Writer {
    /// Runs until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        let mut synced_at = Instant::now();
        loop {
            let idle = self.config.sync_interval;
            let Taken { batch, through, bytes, hurry, seal, closed } =
                self.queue.take(self.config.write_interval, ENOUGH_BYTES, idle);
            if !batch.is_empty() {
                let written = self.write_until_done(&batch);
                self.queue.give_back(batch);
                self.queue.release(bytes);
                if !written {
                    return;
                }
                self.progress.send_modify(|progress| progress.written = through);
            }
            self.finish_old(seal);
            if hurry || closed || synced_at.elapsed() >= self.config.sync_interval {
                self.sync(through);
                synced_at = Instant::now();
            }
            // What was queued before the close has been taken: pushes fail from then on.
            if closed {
                self.seal_all();
                return;
            }
        }
    }

    /// Tries until the batch is written; gives up only after a close.
    fn write_until_done(&mut self, batch: &Batch) -> bool {
        let mut last_tries = 0;
        let mut done = [0; Dataset::ALL.len()];
        loop {
            match self.write(batch, &mut done) {
                Ok(()) => {
                    self.recovered();
                    return true;
                }
                Err(error) => self.failing(&error),
            }
            if self.queue.is_closed() {
                last_tries += 1;
                if last_tries > LAST_TRIES {
                    tracing::error!(records = batch.len(), "the disk refuses; log records are lost at shutdown");
                    self.state.lock().lost += batch.len() as u64;
                    return false;
                }
                std::thread::sleep(RETRY);
            } else {
                self.queue.pause(RETRY);
            }
        }
    }

    /// Writes the records of each dataset that `done` does not count yet, one segment write at a time.
    fn write(&mut self, batch: &Batch, done: &mut [usize; Dataset::ALL.len()]) -> io::Result<()> {
        for dataset in Dataset::ALL {
            let of_dataset: Vec<_> = batch.iter().filter(|(record, _)| record.dataset == dataset).collect();
            while let Some(rest) = of_dataset.get(done[dataset.index()]..).filter(|rest| !rest.is_empty()) {
                done[dataset.index()] += self.append(dataset, rest)?;
            }
        }
        Ok(())
    }

    /// Appends as many records as the segment has room for, at least one; returns how many.
    fn append(&mut self, dataset: Dataset, records: &[(&Queued, &[u8])]) -> io::Result<usize> {
        self.ensure_segment(dataset)?;
        let Some(current) = self.current[dataset.index()].as_mut() else { return Ok(0) };
        let room = self.config.segment_bytes.saturating_sub(current.length);
        let (bytes, mut ends) = (&mut self.scratch, Vec::with_capacity(records.len()));
        bytes.clear();
        for (_, frame) in records {
            if !ends.is_empty() && bytes.len() as u64 >= room {
                break;
            }
            bytes.extend_from_slice(frame);
            ends.push(bytes.len());
        }
        if let Err(error) = current.file.write_all(bytes) {
            // Part of it may be there. Cut it off; if even that fails, never append to this file again.
            if current.file.set_len(current.length).is_err() {
                self.finish(dataset);
            }
            return Err(error);
        }
        current.dirty = true;
        let (start, number) = (current.length, current.number);
        current.length += bytes.len() as u64;
        let length = current.length;
        self.note(dataset, number, start, length, records, &ends);
        Ok(ends.len())
    }

    fn note(
        &self,
        dataset: Dataset,
        number: u64,
        start: u64,
        length: u64,
        records: &[(&Queued, &[u8])],
        ends: &[usize],
    ) {
        let mut shelf = self.shelves[dataset.index()].lock();
        let Some(segment) = shelf.iter_mut().rev().find(|segment| segment.number == number) else { return };
        let blocks = Arc::make_mut(&mut segment.blocks);
        let mut from = 0;
        for ((record, _), end) in records.iter().zip(ends) {
            let size = u32::try_from(end - from).unwrap_or(u32::MAX);
            note(blocks, start + from as u64, size, record.id, record.milliseconds);
            from = *end;
        }
        segment.length = length;
    }

    /// Starts a segment when there is none, the hour is over, or the segment is full.
    fn ensure_segment(&mut self, dataset: Dataset) -> io::Result<()> {
        let hour = (self.config.clock)().as_second().div_euclid(3600);
        let index = dataset.index();
        let fits = self.current[index]
            .as_ref()
            .is_some_and(|current| current.hour == hour && current.length < self.config.segment_bytes);
        if fits {
            return Ok(());
        }
        self.finish(dataset);
        self.check_backlog()?;
        let number = self.next_number[index];
        let directory = self.directory.join(dataset.as_str());
        let path = Segment::path(&directory, hour, number);
        let mut file = File::options().append(true).create_new(true).open(&path)?;
        // From here on the number is used, whatever happens to the file.
        self.next_number[index] += 1;
        if let Err(error) = file.write_all(&frame::header()) {
            // An empty or half header is removed at the next start; now is better.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        // The name must survive a power cut as well as the records do.
        File::open(&directory)?.sync_all()?;
        let length = HEADER_BYTES as u64;
        self.shelves[index].lock().push(Segment {
            number,
            path,
            length,
            codec: Codec::Fields,
            sealed: false,
            blocks: Arc::default(),
        });
        self.current[index] = Some(Current { file, number, hour, length, dirty: true });
        Ok(())
    }

    /// Syncs and seals a dataset's segment; the next append starts another.
    fn finish(&mut self, dataset: Dataset) {
        let Some(current) = self.current[dataset.index()].take() else { return };
        if let Err(error) = current.file.sync_data() {
            self.failing(&error);
        }
        let mut shelf = self.shelves[dataset.index()].lock();
        let finished = shelf.iter_mut().rev().find(|segment| segment.number == current.number);
        let finished = finished.map(|segment| {
            segment.sealed = true;
            segment.clone()
        });
        drop(shelf);
        // Without an index the segment is scanned at the next start, and that is all.
        if let Some(Err(error)) = finished.map(|segment| segment.seal()) {
            tracing::warn!(%error, %dataset, "a journal index could not be written");
        }
        // Fails only when the keeper is gone, as it is at the end.
        let _ = self.keeper.send(Wake::Sealed);
    }

    /// Ends the segments whose hour is over, or all of them.
    fn finish_old(&mut self, all: bool) {
        let hour = (self.config.clock)().as_second().div_euclid(3600);
        for dataset in Dataset::ALL {
            if self.current[dataset.index()].as_ref().is_some_and(|current| all || current.hour != hour) {
                self.finish(dataset);
            }
        }
    }

    fn seal_all(&mut self) {
        for dataset in Dataset::ALL {
            self.finish(dataset);
        }
    }

    fn sync(&mut self, through: u64) {
        for current in self.current.iter_mut().flatten().filter(|current| current.dirty) {
            match current.file.sync_data() {
                Ok(()) => current.dirty = false,
                Err(error) => {
                    failing(&self.state, &self.config.clock, &error);
                    return;
                }
            }
        }
        self.progress.send_modify(|progress| progress.synced = through);
        self.recovered();
    }

    /// Refuses to go on while too much waits to be taken over: rather no room than a full disk or a lost record.
    fn check_backlog(&self) -> io::Result<()> {
        if backlog(&*self.shelves) < self.config.max_journal_bytes {
            return Ok(());
        }
        let why = "the journal is full, since the lake does not take it over";
        Err(io::Error::new(io::ErrorKind::StorageFull, why))
    }

    fn failing(&self, error: &io::Error) {
        failing(&self.state, &self.config.clock, error);
    }

    fn recovered(&self) {
        let mut state = self.state.lock();
        if state.failing.take().is_some() {
            tracing::info!("the journal is being written again");
        }
    }
}

fn failing(state: &Mutex<JournalState>, clock: &Clock, error: &io::Error) {
    let mut state = state.lock();
    let since = state.failing.as_ref().map_or_else(|| clock(), |failing| failing.since);
    if state.failing.is_none() {
        tracing::error!(%error, "the journal cannot be written; records wait in memory");
    }
    state.failing =
        Some(crate::Failing { since, disk_full: error.kind() == io::ErrorKind::StorageFull, error: error.to_string() });
}

/// Returns a time in Unix milliseconds.
pub(crate) fn milliseconds(time: Timestamp) -> i64 {
    time.as_millisecond()
}
