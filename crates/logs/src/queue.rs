//! The bounded queue between those who append and the one thread that writes.
//!
//! It is bounded by bytes: what is queued, being written, or promised by an open slot. When it is full, appending waits
//! and `try_` fails; nothing is dropped here. It does not touch files. Invariant: the bytes in use return to zero when
//! everything is written and every slot is gone.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::error::AppendError;
use crate::records::Dataset;

/// What is known of one record on its way to the journal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Queued {
    pub dataset: Dataset,
    pub id: Uuid,
    pub milliseconds: i64,
}

/// Records with their frames, in the order they came.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Each with the end of its frame.
    records: Vec<(Queued, usize)>,
    frames: Vec<u8>,
}

impl Batch {
    /// Room of this many bytes is kept for the next batch; what a flood took is given back once it is over.
    const KEPT: usize = 1 << 20;

    fn push(&mut self, record: Queued, frame: &[u8]) {
        self.frames.extend_from_slice(frame);
        self.records.push((record, self.frames.len()));
    }

    fn clear(&mut self) {
        let next = self.frames.len().saturating_mul(2);
        self.records.clear();
        self.frames.clear();
        self.frames.shrink_to(next.max(Self::KEPT));
    }

    pub(crate) const fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Returns each record with its frame.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Queued, &[u8])> {
        let mut from = 0;
        self.records.iter().map(move |(record, end)| {
            let frame = &self.frames[from..*end];
            from = *end;
            (record, frame)
        })
    }
}

/// What a record counts for: its frame and the bookkeeping around it.
pub(crate) const fn weight(frame: usize) -> usize {
    frame + 96
}

#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Wakes the writer.
    work: Condvar,
    /// Wakes those who wait for room.
    room: Notify,
    capacity: usize,
}

#[derive(Debug, Default)]
struct State {
    batch: Batch,
    /// An empty one, for its room.
    spare: Batch,
    queued_bytes: usize,
    used: usize,
    /// So many queued bytes end the writer's gathering.
    enough: usize,
    accepted: u64,
    first_at: Option<Instant>,
    hurry: bool,
    seal: bool,
    closed: bool,
}

/// What the writer takes at once.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub batch: Batch,
    /// The number of the last record in it, or accepted before it.
    pub through: u64,
    pub bytes: usize,
    /// Somebody waits for the disk.
    pub hurry: bool,
    /// Somebody wants the segments ended.
    pub seal: bool,
    pub closed: bool,
}

impl Queue {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { state: Mutex::default(), work: Condvar::new(), room: Notify::new(), capacity }
    }

    /// Waits until `bytes` are free and takes them.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<(), AppendError> {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // Registered before looking, so that room made in between wakes us.
            room.as_mut().enable();
            match self.try_reserve(bytes) {
                Err(AppendError::Full) => room.await,
                other => return other,
            }
        }
    }

    pub(crate) fn try_reserve(&self, bytes: usize) -> Result<(), AppendError> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(AppendError::Closed);
        }
        // One record larger than the whole queue still passes when it is alone.
        if state.used > 0 && state.used.saturating_add(bytes) > self.capacity {
            return Err(AppendError::Full);
        }
        state.used += bytes;
        Ok(())
    }

    /// Queues a record for which `reserved` bytes were taken; the difference to its weight is settled here, at once.
    pub(crate) fn push(&self, record: Queued, frame: &[u8], reserved: usize) -> Result<u64, AppendError> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(AppendError::Closed);
        }
        let weight = weight(frame.len());
        state.used = state.used.saturating_sub(reserved) + weight;
        let before = state.queued_bytes;
        state.queued_bytes += weight;
        // Between these two moments the writer sleeps to its deadline; waking it would cost more than the record.
        let wakes = state.batch.is_empty() || (before < state.enough && state.queued_bytes >= state.enough);
        state.first_at.get_or_insert_with(Instant::now);
        state.batch.push(record, frame);
        state.accepted += 1;
        let accepted = state.accepted;
        drop(state);
        if wakes {
            self.work.notify_one();
        }
        if reserved > weight {
            self.room.notify_waiters();
        }
        Ok(accepted)
    }

    pub(crate) fn release(&self, bytes: usize) {
        let mut state = self.state.lock();
        state.used = state.used.saturating_sub(bytes);
        drop(state);
        self.room.notify_waiters();
    }

    /// Asks the writer not to wait for more, and returns the number of the last record accepted.
    pub(crate) fn hurry(&self) -> u64 {
        let mut state = self.state.lock();
        state.hurry = true;
        let accepted = state.accepted;
        drop(state);
        self.work.notify_one();
        accepted
    }

    /// Asks the writer to end its segments after what was accepted so far.
    pub(crate) fn seal(&self) -> u64 {
        self.state.lock().seal = true;
        self.hurry()
    }

    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.work.notify_all();
        self.room.notify_waiters();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    pub(crate) fn used(&self) -> usize {
        self.state.lock().used
    }

    /// Waits for records, gathers more for `interval` from the first on or until `enough` bytes came, and takes them.
    /// Returns empty-handed when `idle` passes without any, when somebody is in a hurry, or when the queue is closed.
    pub(crate) fn take(&self, interval: Duration, enough: usize, idle: Duration) -> Taken {
        let mut state = self.state.lock();
        state.enough = enough;
        let idle_until = Instant::now() + idle;
        while !state.closed && !state.hurry && state.queued_bytes < enough {
            let until = state.first_at.map_or(idle_until, |first| first + interval);
            if self.work.wait_until(&mut state, until).timed_out() {
                // The deadline may have been the idle one, and the first record come right after it.
                if state.first_at.is_none_or(|first| first + interval <= Instant::now()) {
                    break;
                }
            }
        }
        state.first_at = None;
        let spare = std::mem::take(&mut state.spare);
        Taken {
            batch: std::mem::replace(&mut state.batch, spare),
            through: state.accepted,
            bytes: std::mem::take(&mut state.queued_bytes),
            hurry: std::mem::take(&mut state.hurry),
            seal: std::mem::take(&mut state.seal),
            closed: state.closed,
        }
    }

    /// Takes a batch back that was written: the next but one has its room.
    pub(crate) fn give_back(&self, mut batch: Batch) {
        batch.clear();
        self.state.lock().spare = batch;
    }

    /// Pauses the writer before it tries again; a close ends the pause.
    pub(crate) fn pause(&self, duration: Duration) {
        let mut state = self.state.lock();
        let until = Instant::now() + duration;
        while !state.closed && !self.work.wait_until(&mut state, until).timed_out() {}
    }
}
