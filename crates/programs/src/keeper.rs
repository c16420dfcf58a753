//! The host's watch over one process: until it ends, is no longer wanted, or has had nothing to do for too long.
//!
//! Invariant: when [`Keeper::keep`] returns, the launcher has ended and the process's directory is gone.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::order::{End, Report};
use crate::tail::Tail;

/// How long a launcher may take to end a family.
pub(crate) const LEAVE: Duration = Duration::from_secs(8);

/// What is known of a process.
pub(crate) struct State {
    pub(crate) stop: CancellationToken,
    work: Mutex<Work>,
    end: Mutex<Option<End>>,
    over: CancellationToken,
    served: AtomicBool,
    tail: Tail,
}

struct Work {
    in_flight: usize,
    since: Instant,
}

impl State {
    pub(crate) fn new(secrets: impl Iterator<Item = String>) -> Self {
        Self {
            stop: CancellationToken::new(),
            work: Mutex::new(Work { in_flight: 0, since: Instant::now() }),
            end: Mutex::new(None),
            over: CancellationToken::new(),
            served: AtomicBool::new(false),
            tail: Tail::new(secrets),
        }
    }

    /// Returns since when there is nothing to do; `None` while there is. One that has not served yet is being begun.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let work = self.work.lock();
        (work.in_flight == 0 && self.has_served()).then_some(work.since)
    }

    pub(crate) fn has_served(&self) -> bool {
        self.served.load(Ordering::Relaxed)
    }

    pub(crate) fn said(&self) -> String {
        self.tail.text()
    }

    /// Reads what the process says on standard error until it has ended.
    pub(crate) fn listen(self: &Arc<Self>, mut error: pipe::Receiver) -> impl Future<Output = ()> + use<> {
        let state = Arc::clone(self);
        async move {
            let mut bytes = vec![0; 4 << 10];
            while let Ok(read @ 1..) = error.read(&mut bytes).await {
                state.tail.push(bytes.get(..read).unwrap_or_default());
            }
        }
    }

    fn idle_for(&self) -> Option<Duration> {
        let work = self.work.lock();
        (work.in_flight == 0).then(|| work.since.elapsed())
    }
}

/// A process in somebody's hands; it ends when they let go.
pub struct Handle {
    state: Arc<State>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("end", &self.end()).finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.state.stop.cancel();
    }
}

impl Handle {
    pub(crate) fn new(state: Arc<State>) -> Self {
        Self { state }
    }

    /// Keeps the process from being idle for as long as the guard lives.
    #[must_use]
    pub fn work(&self) -> Working {
        self.state.work.lock().in_flight += 1;
        Working { state: Arc::clone(&self.state) }
    }

    /// Returns how the process ended, if it has.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        *self.state.end.lock()
    }

    /// Waits until the process has ended, or is being ended.
    pub async fn ended(&self) -> End {
        self.state.over.cancelled().await;
        self.end().unwrap_or(End::Lost)
    }

    /// Ends the process.
    pub fn stop(&self) {
        self.state.stop.cancel();
    }

    /// Returns the last words of the process on standard error: at most 4 KiB, without the values of its variables.
    #[must_use]
    pub fn said(&self) -> String {
        self.state.said()
    }

    pub(crate) fn serves(&self) -> bool {
        !self.state.served.swap(true, Ordering::Relaxed)
    }
}

/// Something that a process works on.
pub struct Working {
    state: Arc<State>,
}

impl Drop for Working {
    fn drop(&mut self) {
        let mut work = self.state.work.lock();
        work.in_flight -= 1;
        work.since = Instant::now();
    }
}

/// Watches one process.
pub(crate) struct Keeper {
    pub(crate) launcher: Child,
    pub(crate) control: Lines<BufReader<UnixStream>>,
    pub(crate) state: Arc<State>,
    pub(crate) home: PathBuf,
    pub(crate) idle: Duration,
}

impl Keeper {
    /// Returns how it ended.
    pub(crate) async fn keep(mut self, closing: &CancellationToken) -> End {
        let end = tokio::select! {
            end = ended(&mut self.control) => end,
            () = self.state.stop.cancelled() => End::Stopped,
            () = closing.cancelled() => End::Stopped,
            () = idle(&self.state, self.idle) => End::Stopped,
        };
        *self.state.end.lock() = Some(end);
        self.state.over.cancel();
        // A launcher whose host has nothing more to say ends its family.
        let _ = self.control.get_mut().get_mut().shutdown().await;
        let left = tokio::time::timeout(LEAVE, async {
            if end == End::Stopped {
                ended(&mut self.control).await;
            }
            self.launcher.wait().await
        });
        if left.await.is_err() {
            let _ = self.launcher.kill().await;
        }
        let _ = tokio::fs::remove_dir_all(&self.home).await;
        end
    }
}

async fn ended(control: &mut Lines<BufReader<UnixStream>>) -> End {
    match control.next_line().await.ok().flatten().as_deref().map(serde_json::from_str) {
        Some(Ok(Report::Ended(end))) => end,
        Some(Ok(Report::Started | Report::Failed(_)) | Err(_)) | None => End::Lost,
    }
}

async fn idle(state: &State, most: Duration) {
    loop {
        match state.idle_for() {
            Some(idle) if idle >= most => return,
            Some(idle) => tokio::time::sleep(most - idle).await,
            None => tokio::time::sleep(most).await,
        }
    }
}
