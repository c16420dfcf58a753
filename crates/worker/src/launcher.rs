//! The host's handle on the zygote: starts it, asks it for processes, hears how they end, starts it again if it dies.
//!
//! A process of each of the sizes that were asked for last is kept ready, so that the first call to a Worker waits for its
//! script to load and not for a fork. Invariant: a spare has never seen a script, and ends with the launcher.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, socketpair};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::control::{self, End, Fork, Report};
use crate::pool::StartError;
use crate::protocol::Limits;
use crate::sandbox::Landlock;
use crate::zygote::ARGUMENT;

/// A zygote that is not ready by then never will be.
const READY: Duration = Duration::from_secs(20);
/// How long a zygote may take to leave once its socket is closed.
const LEAVE: Duration = Duration::from_secs(5);
/// How long a fork may take.
const FORK: Duration = Duration::from_secs(10);
/// Sizes of which a process is kept ready: that of most Workers, and that of Code Mode.
const SIZES: usize = 2;

/// A process that has just been forked.
pub(crate) struct Forked {
    pub(crate) serial: u64,
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) stream: UnixStream,
    /// Resolves when the process has ended; closed if the zygote ended first.
    pub(crate) end: oneshot::Receiver<End>,
}

impl Forked {
    fn is_alive(&mut self) -> bool {
        matches!(self.end.try_recv(), Err(oneshot::error::TryRecvError::Empty))
    }
}

/// Processes that wait for their scripts, by the memory their limit was set to.
#[derive(Default)]
struct Spares {
    /// At most one of a size; that of the size which was asked for last comes last.
    ready: VecDeque<(u64, Forked)>,
    /// Sizes of which one is being forked.
    under_way: Vec<u64>,
}

impl Spares {
    fn take(&mut self, memory_bytes: u64) -> Option<Forked> {
        let at = self.ready.iter().position(|(size, _)| *size == memory_bytes)?;
        let (_, mut forked) = self.ready.remove(at)?;
        forked.is_alive().then_some(forked)
    }

    /// Tells whether another one is to be forked; whoever asks does.
    fn lacks(&mut self, memory_bytes: u64) -> bool {
        let lacks = !self.under_way.contains(&memory_bytes) && self.ready.iter().all(|(size, _)| *size != memory_bytes);
        if lacks {
            self.under_way.push(memory_bytes);
        }
        lacks
    }

    /// Keeps what was forked, or notes that it could not be.
    fn put(&mut self, memory_bytes: u64, forked: Option<Forked>) {
        self.under_way.retain(|size| *size != memory_bytes);
        self.ready.extend(forked.map(|forked| (memory_bytes, forked)));
        while self.ready.len() > SIZES {
            self.ready.pop_front();
        }
    }
}

/// Starts processes through a zygote.
pub(crate) struct Launcher {
    executable: PathBuf,
    spares: Mutex<Spares>,
    zygote: tokio::sync::Mutex<Option<Arc<Zygote>>>,
    landlock: Mutex<Landlock>,
    starts: AtomicU64,
    serial: AtomicU64,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Launcher {
    pub(crate) async fn start(
        executable: PathBuf,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) -> Result<Arc<Self>, StartError> {
        let launcher = Arc::new(Self {
            executable,
            spares: Mutex::default(),
            zygote: tokio::sync::Mutex::default(),
            landlock: Mutex::default(),
            starts: AtomicU64::new(0),
            serial: AtomicU64::new(1),
            tracker,
            stop,
        });
        launcher.zygote().await?;
        launcher.refill(Limits::default().memory_bytes);
        Ok(launcher)
    }

    pub(crate) fn landlock(&self) -> Landlock {
        *self.landlock.lock()
    }

    pub(crate) fn starts(&self) -> u64 {
        self.starts.load(Ordering::Relaxed)
    }

    /// Returns a process without a script. Dropping the future, or the stream it returns, ends the process.
    pub(crate) async fn fork(self: &Arc<Self>, memory_bytes: u64) -> Result<Forked, StartError> {
        let spare = self.spares.lock().take(memory_bytes);
        let forked = match spare {
            Some(spare) => Ok(spare),
            None => self.fork_now(memory_bytes).await,
        };
        self.refill(memory_bytes);
        forked
    }

    /// Forks a spare in the background unless there is one.
    fn refill(self: &Arc<Self>, memory_bytes: u64) {
        if self.stop.is_cancelled() || !self.spares.lock().lacks(memory_bytes) {
            return;
        }
        let launcher = Arc::clone(self);
        self.tracker.spawn(async move {
            let forked = launcher.stop.run_until_cancelled(launcher.fork_now(memory_bytes)).await;
            // Without a spare the next call forks, and hears why that fails.
            let forked = forked.and_then(Result::ok).filter(|_| !launcher.stop.is_cancelled());
            launcher.spares.lock().put(memory_bytes, forked);
        });
    }

    async fn fork_now(&self, memory_bytes: u64) -> Result<Forked, StartError> {
        let zygote = self.zygote().await?;
        let (ours, theirs) = pair(SocketType::STREAM).map_err(StartError::Spawn)?;
        let stream = watched(ours).map_err(StartError::Spawn)?;
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        zygote.waiting.lock().insert(serial, sender);
        let order = Fork { serial, memory_bytes };
        let sent = zygote
            .control
            .async_io(Interest::WRITABLE, || control::send(&zygote.control, &order, Some(theirs.as_fd())))
            .await;
        if let Err(error) = sent {
            zygote.waiting.lock().remove(&serial);
            return Err(StartError::Spawn(error));
        }
        drop(theirs);
        match tokio::time::timeout(FORK, receiver).await {
            Ok(Ok(Ok((pid, pidfd, end)))) => Ok(Forked { serial, pid, pidfd, stream, end }),
            Ok(Ok(Err(message))) => Err(StartError::NotReady(message)),
            Ok(Err(_)) => Err(StartError::NotReady("the zygote ended".into())),
            Err(_) => {
                zygote.waiting.lock().remove(&serial);
                Err(StartError::NotReady("the zygote does not answer".into()))
            }
        }
    }

    /// Closes the zygote, which ends it and, with it, every process.
    pub(crate) async fn close(&self) {
        self.spares.lock().ready.clear();
        if let Some(zygote) = self.zygote.lock().await.take() {
            let _ = rustix::net::shutdown(&zygote.control, Shutdown::Both);
        }
    }

    /// Returns the living zygote, starting one if there is none.
    async fn zygote(&self) -> Result<Arc<Zygote>, StartError> {
        let mut current = self.zygote.lock().await;
        if let Some(zygote) = current.as_ref()
            && !zygote.dead.is_cancelled()
        {
            return Ok(Arc::clone(zygote));
        }
        if self.stop.is_cancelled() {
            return Err(StartError::NotReady("the runtime is shutting down".into()));
        }
        let (zygote, child, landlock) = Zygote::start(&self.executable).await?;
        self.starts.fetch_add(1, Ordering::Relaxed);
        *self.landlock.lock() = landlock;
        if landlock != Landlock::Full {
            tracing::warn!(?landlock, "the kernel's landlock does not fully confine worker processes; seccomp does");
        }
        let zygote = Arc::new(zygote);
        self.tracker.spawn(Arc::clone(&zygote).attend(child, self.stop.clone()));
        *current = Some(Arc::clone(&zygote));
        Ok(zygote)
    }
}

type ForkResult = Result<(i32, OwnedFd, oneshot::Receiver<End>), String>;

struct Zygote {
    /// A seqpacket socket; the stream type is only what makes the runtime watch it.
    control: UnixStream,
    waiting: Mutex<HashMap<u64, oneshot::Sender<ForkResult>>>,
    running: Mutex<HashMap<u64, oneshot::Sender<End>>>,
    dead: CancellationToken,
}

impl Zygote {
    async fn start(executable: &PathBuf) -> Result<(Self, Child, Landlock), StartError> {
        let (ours, theirs) = pair(SocketType::SEQPACKET).map_err(StartError::Spawn)?;
        let control = watched(ours).map_err(StartError::Spawn)?;
        let child = Command::new(executable)
            .arg(ARGUMENT)
            .env_clear()
            // Scripts live in UTC, wherever the machine stands.
            .env("TZ", "UTC0")
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(StartError::Spawn)?;
        let zygote =
            Self { control, waiting: Mutex::default(), running: Mutex::default(), dead: CancellationToken::new() };
        let ready = tokio::time::timeout(READY, zygote.receive()).await;
        match ready {
            Ok(Ok(Some((Report::Ready { landlock }, _)))) => Ok((zygote, child, landlock)),
            Ok(Ok(Some((Report::Failed { message }, _)))) => Err(StartError::NotReady(message)),
            Ok(Ok(Some(_))) => Err(StartError::NotReady("its first message is not `ready`".into())),
            Ok(Ok(None)) => {
                Err(StartError::NotReady("it ended at once; does its main begin with worker::run_if_zygote()?".into()))
            }
            Ok(Err(error)) => Err(StartError::Spawn(error)),
            Err(_) => Err(StartError::NotReady("it does not answer".into())),
        }
    }

    async fn receive(&self) -> io::Result<Option<(Report, Option<OwnedFd>)>> {
        self.control.async_io(Interest::READABLE, || control::receive(&self.control)).await
    }

    /// Passes the zygote's reports on until its socket closes, then sees it off.
    async fn attend(self: Arc<Self>, mut child: Child, stop: CancellationToken) {
        loop {
            let report = tokio::select! {
                report = self.receive() => report,
                () = stop.cancelled() => break,
            };
            let Ok(Some((report, fd))) = report else {
                break;
            };
            self.take(report, fd);
        }
        self.dead.cancel();
        let _ = rustix::net::shutdown(&self.control, Shutdown::Both);
        self.waiting.lock().clear();
        self.running.lock().clear();
        if !stop.is_cancelled() {
            tracing::warn!("the zygote of the worker processes ended; the next call starts another");
        }
        if tokio::time::timeout(LEAVE, child.wait()).await.is_err() {
            let _ = child.kill().await;
        }
    }

    fn take(&self, report: Report, fd: Option<OwnedFd>) {
        match (report, fd) {
            (Report::Forked { serial, pid }, Some(pidfd)) => {
                let (sender, receiver) = oneshot::channel();
                if let Some(waiting) = self.waiting.lock().remove(&serial)
                    && waiting.send(Ok((pid, pidfd, receiver))).is_ok()
                {
                    self.running.lock().insert(serial, sender);
                }
            }
            (Report::ForkFailed { serial, message }, _) => {
                if let Some(waiting) = self.waiting.lock().remove(&serial) {
                    let _ = waiting.send(Err(message));
                }
            }
            (Report::Ended { serial, end }, _) => {
                if let Some(running) = self.running.lock().remove(&serial) {
                    let _ = running.send(end);
                }
            }
            (Report::Ready { .. } | Report::Failed { .. } | Report::Forked { .. }, _) => {}
        }
    }
}

fn pair(kind: SocketType) -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?)
}

fn watched(socket: OwnedFd) -> io::Result<UnixStream> {
    let socket = std::os::unix::net::UnixStream::from(socket);
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}
