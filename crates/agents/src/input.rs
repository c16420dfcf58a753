//! Calls of clients without sessions that wait for what a server asked: a person's answer, a sample, roots.
//!
//! A server with sessions asks in the middle of a call and keeps it open; a client without sessions is told what is asked
//! and tries again with the answers. Between the two the call waits here, under a `requestState` that is nothing but an
//! unguessable number. Invariants: a state leads to a call of the caller and the request it was made for, once; a call that
//! nobody comes back for is cancelled; and how many wait is bounded, per session and for the node.

use std::collections::VecDeque;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use mcp::message::Id;
use mcp::raw::splice;
use mcp::version::input::{self, InputRequest};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use crate::passage::Passage;

/// Calls of one session that wait.
const MOST: usize = 16;
/// Calls of everybody at a node that wait: each holds a connection to its server.
pub(crate) const MOST_OF_ALL: usize = 4_096;
/// How long a person may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// What a server asked, under its id for it.
pub(crate) struct Question {
    pub(crate) key: String,
    pub(crate) id: Id,
    pub(crate) request: InputRequest,
}

/// A call that waits.
pub(crate) struct Parked {
    pub(crate) passage: Passage,
    /// Never empty.
    pub(crate) questions: Vec<Question>,
    pub(crate) place: OwnedSemaphorePermit,
}

/// Which request a state was made for: its method, and its params but for what a try adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark([u8; 32]);

impl Mark {
    pub(crate) fn of(method: &str, params: &RawValue) -> Option<Self> {
        // Each try has a progress token and client facts of its own.
        let params = splice(input::without(params).ok()?.get(), &[("_meta", None)]).ok()?;
        let hash = digest(&SHA256, format!("{method}\0{}", params.get()).as_bytes());
        hash.as_ref().try_into().ok().map(Self)
    }
}

struct Entry {
    parked: Box<Parked>,
    mark: Mark,
    /// Seconds since the epoch.
    until: i64,
}

/// The calls of a session that wait, the longest first.
#[derive(Default)]
pub(crate) struct Parking(Mutex<VecDeque<(String, Entry)>>);

impl Parking {
    /// Lets a call wait and returns the state that leads to it. Of too many the one that waits longest is cancelled.
    pub(crate) fn park(&self, parked: Parked, mark: Mark, now: i64) -> String {
        let state = Uuid::new_v4().simple().to_string();
        let until = now.saturating_add(i64::try_from(PATIENCE.as_secs()).unwrap_or(i64::MAX));
        let mut waiting = self.0.lock();
        let displaced = if waiting.len() >= MOST { waiting.pop_front() } else { None };
        waiting.push_back((state.clone(), Entry { parked: Box::new(parked), mark, until }));
        drop(waiting);
        // Cancelling tells its server, which takes other locks.
        drop(displaced);
        state
    }

    /// Takes the call that a state leads to; `None` where it leads to none, or to one that another request began.
    pub(crate) fn take(&self, state: &str, mark: Mark, now: i64) -> Option<Parked> {
        let mut waiting = self.0.lock();
        let is_it = |(found, entry): &(String, Entry)| found == state && entry.mark == mark && entry.until > now;
        let at = waiting.iter().position(is_it)?;
        waiting.remove(at).map(|(_, entry)| *entry.parked)
    }

    /// Cancels every call: its session has ended.
    pub(crate) fn clear(&self) {
        let all = std::mem::take(&mut *self.0.lock());
        drop(all);
    }

    /// Cancels the calls that nobody came back for in time.
    pub(crate) fn sweep(&self, now: i64) {
        let mut waiting = self.0.lock();
        // They all wait for as long.
        let over = waiting.iter().take_while(|(_, entry)| entry.until <= now).count();
        let over: Vec<(String, Entry)> = waiting.drain(..over).collect();
        drop(waiting);
        drop(over);
    }
}

#[cfg(test)]
mod tests {
    use mcp::raw::raw;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_mark_is_that_of_the_request_whatever_its_try() {
        let mark = |method: &str, params: serde_json::Value| Mark::of(method, &raw(&params)).unwrap();
        let first = mark("tools/call", json!({"name": "t", "arguments": {"a": 1}, "_meta": {"progressToken": 1}}));
        let again = json!({"name": "t", "arguments": {"a": 1}, "inputResponses": {"1": {}}, "requestState": "s"});
        assert_eq!(first, mark("tools/call", again));
        assert_ne!(first, mark("prompts/get", json!({"name": "t", "arguments": {"a": 1}})));
        assert_ne!(first, mark("tools/call", json!({"name": "t", "arguments": {"a": 2}})));
        assert_ne!(first, mark("tools/call", json!({"name": "u", "arguments": {"a": 1}})));
    }
}
