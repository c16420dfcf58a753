//! The events of one stream to a client, kept so that the client can go on where its connection was lost.
//!
//! Whoever writes waits for whoever reads, so a client that reads slowly, or not for a while, holds up its own request and
//! nothing else. What was read is kept for a while: a connection may break between writing and arriving. Invariants: an
//! event is on one stream alone and its id in the session's only once; a reader gets every event after the one it names, or
//! is told that it cannot; a feed has one reader, the newest; and what is kept is bounded, per feed and for the node.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::sse;

/// Events that were read and are kept.
const KEPT: usize = 64;
/// Bytes of them.
const KEPT_BYTES: usize = 256 << 10;
/// Bytes that may wait to be read before the writer waits; one event always may.
const UNREAD_BYTES: usize = 1 << 20;
/// How long nothing is said before a comment keeps the connection open.
const KEEP_ALIVE: Duration = Duration::from_secs(25);
/// Bytes of a message that has a place even then.
const FEW_WORDS: usize = 4 << 10;
/// Bytes that the feeds of a node may hold before they keep nothing that was read, and nothing large that nobody reads.
const NODE_BYTES: usize = 256 << 20;

/// What the feeds of a node hold, in bytes.
#[derive(Debug, Default)]
pub(crate) struct Held(AtomicUsize);

impl Held {
    pub(crate) fn is_too_much(&self) -> bool {
        self.0.load(Ordering::Relaxed) > NODE_BYTES
    }
}

/// One stream.
pub(crate) struct Feed {
    number: u64,
    held: Arc<Held>,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    kept: VecDeque<Event>,
    /// The number of the next event; they begin with 1.
    next: u64,
    /// The number of the first event that was not read.
    unread: u64,
    bytes: usize,
    unread_bytes: usize,
    /// The newest reader, and whether it is still there.
    reader: u64,
    is_read: bool,
    /// Since when there is no reader, or no further event.
    since: Instant,
    ended: bool,
    /// Milliseconds after which the reader, which is to hang up, is to come back.
    pause: Option<u64>,
}

struct Event {
    number: u64,
    bytes: Bytes,
}

/// What a client named cannot be gone on after: it is no event of the stream, or too long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

impl Feed {
    pub(crate) fn new(number: u64, held: Arc<Held>) -> Self {
        let state = State {
            kept: VecDeque::new(),
            next: 1,
            unread: 1,
            bytes: 0,
            unread_bytes: 0,
            reader: 0,
            is_read: false,
            since: Instant::now(),
            ended: false,
            pause: None,
        };
        Self { number, held, state: Mutex::new(state), changed: Notify::new() }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Adds a message.
    pub(crate) fn push(&self, message: &[u8]) {
        let mut state = self.state.lock();
        let id = format!("{}-{}", self.number, state.next);
        self.add(&mut state, sse::write(Some(&id), message));
    }

    /// Whether a message of this size has a place: where the feeds of the node hold too much, one that nobody reads has none
    /// but for a few words.
    pub(crate) fn has_place(&self, size: usize) -> bool {
        size <= FEW_WORDS || !self.held.is_too_much() || self.state.lock().is_read
    }

    /// Adds an event without a message, so that a client knows early where to go on (2025-11-25).
    pub(crate) fn prime(&self) {
        let mut state = self.state.lock();
        let id = format!("{}-{}", self.number, state.next);
        self.add(&mut state, sse::empty(&id, None));
    }

    /// Adds a message; of more than `most` that wait to be read, or more bytes than may, the oldest are dropped.
    pub(crate) fn push_of(&self, message: &[u8], most: usize) {
        self.push(message);
        let mut state = self.state.lock();
        let is_more = |state: &State| {
            let waiting = state.next - state.unread;
            waiting > most as u64 || waiting > 1 && state.unread_bytes > UNREAD_BYTES
        };
        while is_more(&state) {
            let Some(at) = state.kept.iter().position(|event| event.number >= state.unread) else { break };
            if let Some(event) = state.kept.remove(at) {
                let size = event.bytes.len();
                state.bytes -= size;
                state.unread_bytes -= size;
                state.unread = event.number + 1;
                self.held.0.fetch_sub(size, Ordering::Relaxed);
            }
        }
    }

    fn add(&self, state: &mut State, bytes: Bytes) {
        let size = bytes.len();
        self.held.0.fetch_add(size, Ordering::Relaxed);
        state.bytes += size;
        state.unread_bytes += size;
        state.kept.push_back(Event { number: state.next, bytes });
        state.next += 1;
        self.trim(state);
        self.changed.notify_waiters();
    }

    /// Drops what was read, as far as it is more than is kept.
    fn trim(&self, state: &mut State) {
        let keep = if self.held.is_too_much() { 0 } else { KEPT_BYTES };
        while let Some(first) = state.kept.front() {
            let is_more = state.kept.len() > KEPT || state.bytes - state.unread_bytes > keep;
            if first.number >= state.unread || !is_more {
                return;
            }
            let size = first.bytes.len();
            state.kept.pop_front();
            state.bytes -= size;
            self.held.0.fetch_sub(size, Ordering::Relaxed);
        }
    }

    /// Waits until there is room for another event.
    pub(crate) async fn room(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.state.lock().unread_bytes <= UNREAD_BYTES {
                return;
            }
            changed.await;
        }
    }

    /// Says that nothing follows.
    pub(crate) fn end(&self) {
        let mut state = self.state.lock();
        state.ended = true;
        state.since = Instant::now();
        self.changed.notify_waiters();
    }

    /// Asks the reader to hang up when it has read everything, and to come back after so many milliseconds.
    pub(crate) fn pause(&self, retry: u64) {
        let mut state = self.state.lock();
        if state.is_read {
            state.pause = Some(retry);
            self.changed.notify_waiters();
        }
    }

    /// Begins to read: after the event of this number, or where the reader before stopped.
    ///
    /// # Errors
    /// What follows that event is not kept any more.
    pub(crate) fn read(self: &Arc<Self>, after: Option<u64>) -> Result<Reader, Gone> {
        let mut state = self.state.lock();
        if let Some(after) = after {
            let from = after.checked_add(1).ok_or(Gone)?;
            // What was dropped unread is not there either; a client that asks for it is told so.
            let first = state.kept.front().map_or(state.next, |event| event.number);
            if from < first || from > state.next {
                return Err(Gone);
            }
            state.unread = from;
            state.unread_bytes =
                state.kept.iter().filter(|event| event.number >= from).map(|event| event.bytes.len()).sum();
        }
        state.reader += 1;
        state.is_read = true;
        state.pause = None;
        self.changed.notify_waiters();
        Ok(Reader { feed: Arc::clone(self), number: state.reader, hung_up: false })
    }

    pub(crate) fn is_read(&self) -> bool {
        self.state.lock().is_read
    }

    /// Tells since when nobody needed it: `None` while somebody reads or writes.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let state = self.state.lock();
        (state.ended && !state.is_read).then_some(state.since)
    }

    /// Waits until nobody has read for as long as `patience`.
    pub(crate) async fn abandoned(&self, patience: Duration) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let since = {
                let state = self.state.lock();
                (!state.is_read).then_some(state.since)
            };
            match since {
                None => changed.await,
                Some(since) => {
                    if tokio::time::timeout_at(since + patience, changed).await.is_err() && !self.is_read() {
                        return;
                    }
                }
            }
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.held.0.fetch_sub(self.state.get_mut().bytes, Ordering::Relaxed);
    }
}

/// Reads a feed for one connection.
pub(crate) struct Reader {
    feed: Arc<Feed>,
    number: u64,
    hung_up: bool,
}

impl Reader {
    /// Returns the next event, or a comment where nothing was said for long; `None` when this connection is to be closed.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        if self.hung_up {
            return None;
        }
        let feed = Arc::clone(&self.feed);
        loop {
            let changed = feed.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.ready() {
                Ready::Event(bytes) => return Some(bytes),
                Ready::End => return None,
                Ready::Wait => {}
            }
            if tokio::time::timeout(KEEP_ALIVE, changed).await.is_err() {
                return Some(sse::comment());
            }
        }
    }

    fn ready(&mut self) -> Ready {
        let mut state = self.feed.state.lock();
        if state.reader != self.number {
            return Ready::End;
        }
        let at = state.kept.partition_point(|event| event.number < state.unread);
        if let Some(event) = state.kept.get(at) {
            let (number, bytes) = (event.number, event.bytes.clone());
            state.unread = number + 1;
            state.unread_bytes -= bytes.len();
            self.feed.changed.notify_waiters();
            return Ready::Event(bytes);
        }
        if state.ended {
            return Ready::End;
        }
        if let Some(retry) = state.pause.take() {
            self.hung_up = true;
            let id = format!("{}-{}", self.feed.number, state.next.saturating_sub(1));
            return Ready::Event(sse::empty(&id, Some(retry)));
        }
        Ready::Wait
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.feed.state.lock();
        if state.reader == self.number {
            state.is_read = false;
            state.since = Instant::now();
            self.feed.changed.notify_waiters();
        }
    }
}

enum Ready {
    Event(Bytes),
    End,
    Wait,
}

/// Reads what `Last-Event-ID` names: a stream and an event of it.
pub(crate) fn place(text: &str) -> Option<(u64, u64)> {
    let (feed, event) = text.split_once('-')?;
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    Some((number(feed)?, number(event)?))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use proptest::prelude::*;

    use super::*;

    fn feed() -> Arc<Feed> {
        Arc::new(Feed::new(7, Arc::default()))
    }

    fn now(reader: &mut Reader) -> Option<String> {
        reader.next().now_or_never().flatten().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    fn ids(reader: &mut Reader) -> Vec<u64> {
        let id = |event: String| place(event.strip_prefix("id: ").unwrap().lines().next().unwrap()).unwrap().1;
        std::iter::from_fn(|| now(reader).map(id)).collect()
    }

    #[tokio::test]
    async fn a_client_that_comes_back_gets_what_followed_the_event_it_names() {
        let feed = feed();
        for number in 1..=5 {
            feed.push(number.to_string().as_bytes());
        }
        let mut first = feed.read(None).unwrap();
        assert_eq!(now(&mut first).unwrap(), "id: 7-1\ndata: 1\n\n");
        assert_eq!(ids(&mut first), [2, 3, 4, 5]);
        let mut again = feed.read(Some(2)).unwrap();
        assert_eq!(ids(&mut again), [3, 4, 5]);
        // Each event is on one connection: the newest.
        feed.push(b"6");
        assert_eq!(now(&mut first), None);
        assert_eq!(ids(&mut again), [6]);
        assert_eq!(feed.read(Some(7)).err(), Some(Gone));
        feed.end();
        assert_eq!(ids(&mut feed.read(Some(6)).unwrap()), [0; 0]);
    }

    #[tokio::test]
    async fn a_writer_waits_for_a_reader_and_what_was_read_is_kept_within_bounds() {
        let feed = feed();
        feed.push(&vec![b'x'; UNREAD_BYTES + 1]);
        assert!(feed.room().now_or_never().is_none());
        let mut reader = feed.read(None).unwrap();
        assert_eq!(ids(&mut reader), [1]);
        assert!(feed.room().now_or_never().is_some());
        for _ in 0..10 * KEPT {
            feed.push(b"x");
            now(&mut reader);
        }
        assert!(feed.state.lock().kept.len() <= KEPT + 1);
        assert_eq!(feed.read(Some(3)).err(), Some(Gone));
    }

    #[tokio::test]
    async fn of_messages_that_nobody_reads_the_oldest_are_dropped() {
        let feed = feed();
        for _ in 0..9 {
            feed.push_of(b"x", 4);
        }
        assert_eq!(ids(&mut feed.read(None).unwrap()), [6, 7, 8, 9]);
        assert_eq!(feed.read(Some(2)).err(), Some(Gone));
    }

    #[tokio::test]
    async fn a_reader_that_is_to_pause_is_told_when_to_come_back() {
        let feed = feed();
        feed.push(b"x");
        let mut reader = feed.read(None).unwrap();
        feed.pause(250);
        assert_eq!(now(&mut reader).unwrap(), "id: 7-1\ndata: x\n\n");
        assert_eq!(now(&mut reader).unwrap(), "id: 7-1\nretry: 250\ndata: \n\n");
        assert_eq!(now(&mut reader), None);
        drop(reader);
        feed.push(b"y");
        assert_eq!(ids(&mut feed.read(Some(1)).unwrap()), [2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_nobody_comes_back_to_is_given_up() {
        let feed = feed();
        let reader = feed.read(None).unwrap();
        let patience = Duration::from_secs(60);
        assert!(tokio::time::timeout(10 * patience, feed.abandoned(patience)).await.is_err());
        drop(reader);
        assert!(tokio::time::timeout(patience * 9 / 10, feed.abandoned(patience)).await.is_err());
        assert!(tokio::time::timeout(patience, feed.abandoned(patience)).await.is_ok());
    }

    #[tokio::test]
    async fn nothing_is_held_for_a_feed_that_is_gone() {
        let held = Arc::new(Held::default());
        let feed = Arc::new(Feed::new(1, Arc::clone(&held)));
        for number in 0..200_usize {
            feed.push_of(&vec![b'x'; number], 20);
        }
        drop(feed.read(None).unwrap());
        drop(feed);
        assert_eq!(held.0.load(Ordering::Relaxed), 0);
    }

    proptest! {
        #[test]
        fn any_text_is_a_place_or_none(text in "\\PC{0,20}|[0-9]{1,25}-[0-9]{1,25}") {
            if let Some((feed, event)) = place(&text) {
                prop_assert_eq!(place(&format!("{feed}-{event}")), Some((feed, event)));
            }
        }
    }
}
