//! The thread that takes in what other nodes write into a bucket they share with this one.
//!
//! Queries do not ask the store what is new; they see what this thread saw last. It runs apart from the keeper, which may be
//! busy for minutes. Invariant: what another node committed is seen within [`EVERY`] of a table that is known, and within
//! [`DISCOVER`] of one that is not, as long as looking takes a tenth of that.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::JournalState;
use crate::keeper::{Loaded, chain};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(5);
/// How often it looks for tables that are new.
const DISCOVER: Duration = Duration::from_secs(30);

pub(crate) struct Follower {
    pub loaded: Arc<Loaded>,
    pub state: Arc<Mutex<JournalState>>,
    /// Nothing comes of it; it ends when nobody can send any more.
    pub until: Receiver<()>,
}

impl Follower {
    pub(crate) fn run(self) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "the lake's follower cannot start; other nodes' records are seen late");
                return;
            }
        };
        let mut discovered = Instant::now();
        let mut pause = EVERY;
        while let Err(RecvTimeoutError::Timeout) = self.until.recv_timeout(pause) {
            let lake = self.loaded.borrow().clone();
            let Some(lake) = lake else { continue };
            let started = Instant::now();
            let discover = discovered.elapsed() >= DISCOVER;
            let followed = runtime.block_on(lake.follow(discover));
            if discover && followed.is_ok() {
                discovered = Instant::now();
            }
            self.state.lock().not_following = followed.err().map(|error| chain(&error));
            pause = EVERY.max(started.elapsed() * 10).min(DISCOVER);
        }
    }
}
