//! The programs of a node: started on demand, bounded in number, held back when they keep failing.
//!
//! Each caller has a process of its own; when a server has as many as it may, the one that was idle for longest makes
//! room. Invariants: a program that ends right after its start is not started again before a pause that doubles with each
//! time; and after [`Programs::close`] no process is left.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::AsyncBufReadExt as _;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use types::Secret;
use uuid::Uuid;

use crate::keeper::{Handle, Keeper, LEAVE, State};
use crate::launcher::ARGUMENT;
use crate::order::{self, End, Limits, Order, Report};

/// Processes of one server.
const MOST_OF_ONE: usize = 32;
/// Of them, those of one owner: nobody keeps all others out.
const MOST_OF_OWNER: usize = 8;
/// Processes of a node.
const MOST: usize = 128;
/// Servers whose failures are remembered.
const MOST_TROUBLES: usize = 1_024;
/// How long a launcher may take to start its program.
const START: Duration = Duration::from_secs(20);
/// A program that ends before that time has not done what it was started for.
const TOO_SOON: Duration = Duration::from_secs(10);
/// The pause after the first failure, and the longest.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long the end of everything is waited for.
const CLOSE: Duration = Duration::from_secs(12);
/// What a program is told of the host's environment.
const KEPT: &[&str] = &["PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ"];

/// How programs are run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The program whose `main` calls [`crate::run_if_launcher`].
    pub launcher: PathBuf,
    /// Where each process has a directory of its own, for as long as it lives. Everything in it is removed at the start.
    pub homes: PathBuf,
    /// Directories that programs may read and run from, besides the system's.
    pub read: Vec<PathBuf>,
    /// Directories in which programs may write as well.
    pub write: Vec<PathBuf>,
    pub limits: Limits,
    /// How long a process without work is kept.
    pub idle: Duration,
}

/// A program as an administrator names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// A name that is looked up in `PATH`, or a path.
    pub command: String,
    pub args: Vec<String>,
    pub env: Vec<(String, Secret<String>)>,
}

/// Why a program does not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    #[error("no more programs can run here at the same time")]
    Busy,
    #[error("it failed {times} times in a row, and is started again in {seconds} seconds at the earliest: {why}")]
    Pause { times: u32, seconds: u64, why: String },
    #[error("{0}")]
    Failed(String),
    #[error("the service is stopping")]
    Closed,
}

/// A running program, and the host's ends of its streams.
#[derive(Debug)]
pub struct Process {
    pub input: pipe::Sender,
    pub output: pipe::Receiver,
    /// Ends the program when it is dropped.
    pub handle: Handle,
}

/// The programs of a node.
#[derive(Clone)]
pub struct Programs {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    settings: Settings,
    table: Mutex<Table>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

#[derive(Default)]
struct Table {
    running: Vec<Entry>,
    troubles: HashMap<String, Trouble>,
}

struct Entry {
    server: String,
    owner: String,
    serial: Uuid,
    state: Arc<State>,
}

struct Trouble {
    program: Program,
    times: u32,
    until: Instant,
    why: String,
}

impl Programs {
    /// Prepares the directory that processes have theirs in.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn new(settings: Settings) -> io::Result<Self> {
        // What a host that was killed left behind.
        match std::fs::remove_dir_all(&settings.homes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        private(&settings.homes)?;
        let homes = settings.homes.canonicalize()?;
        let settings = Settings { homes, ..settings };
        let (table, tracker, stop) = (Mutex::default(), TaskTracker::new(), CancellationToken::new());
        Ok(Self { inner: Arc::new(Inner { settings, table, tracker, stop }) })
    }

    /// Starts a program for one caller of a server.
    ///
    /// # Errors
    /// It cannot be started, or must not be now.
    pub async fn start(&self, server: &str, owner: &str, program: &Program) -> Result<Process, StartError> {
        let (programs, server, owner, program) = (self.clone(), server.to_owned(), owner.to_owned(), program.clone());
        let (sender, receiver) = oneshot::channel();
        // Whoever asks may leave at any moment; a start is seen through, so that its end is too.
        self.inner.tracker.spawn(async move {
            let _ = sender.send(programs.begin((&server, &owner), &program).await);
        });
        receiver.await.unwrap_or(Err(StartError::Closed))
    }

    async fn begin(&self, (server, owner): (&str, &str), program: &Program) -> Result<Process, StartError> {
        let inner = &self.inner;
        let serial = Uuid::new_v4();
        let state = inner.enter((server, owner), program, serial)?;
        // From here on the entry is taken out by whoever drops this.
        let place = Place { inner: Arc::clone(inner), serial };
        // Short, for programs put sockets there, whose paths have at most 108 bytes.
        let name: String = serial.simple().to_string().chars().take(8).collect();
        let home = inner.settings.homes.join(name);
        let started = inner.launch(&home, program, &state).await;
        let (launcher, control, streams) = match started {
            Ok(started) => started,
            Err(error) => {
                let _ = std::fs::remove_dir_all(&home);
                inner.failed(server, program, &error.to_string());
                return Err(error);
            }
        };
        let keeper = Keeper { launcher, control, state: Arc::clone(&state), home, idle: inner.settings.idle };
        let (owner, server, program) = (Arc::clone(inner), server.to_owned(), program.clone());
        let (words, begun) = (state.listen(streams.error), Instant::now());
        inner.tracker.spawn(words);
        inner.tracker.spawn(async move {
            let end = keeper.keep(&owner.stop).await;
            drop(place);
            owner.ended(&server, &program, &state, end, begun.elapsed());
        });
        Ok(Process { input: streams.input, output: streams.output, handle: Handle::new(streams.state) })
    }

    /// Ends every program.
    pub async fn close(&self) {
        self.inner.stop.cancel();
        self.inner.tracker.close();
        if tokio::time::timeout(CLOSE, self.inner.tracker.wait()).await.is_err() {
            tracing::error!("programs are left that do not end");
        }
    }

    /// Returns how many processes there are.
    #[must_use]
    pub fn running(&self) -> usize {
        self.inner.table.lock().running.len()
    }
}

/// A place among the processes that may run.
struct Place {
    inner: Arc<Inner>,
    serial: Uuid,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.inner.table.lock().running.retain(|entry| entry.serial != self.serial);
    }
}

struct Streams {
    input: pipe::Sender,
    output: pipe::Receiver,
    error: pipe::Receiver,
    state: Arc<State>,
}

type Control = tokio::io::Lines<tokio::io::BufReader<tokio::net::UnixStream>>;
type Pipes = (pipe::Sender, pipe::Receiver, pipe::Receiver);
type Launched = (tokio::process::Child, Control, Streams);

impl Inner {
    /// Takes a place, from the one that is idle for longest if there is none.
    fn enter(&self, (server, owner): (&str, &str), program: &Program, serial: Uuid) -> Result<Arc<State>, StartError> {
        if self.stop.is_cancelled() {
            return Err(StartError::Closed);
        }
        let mut table = self.table.lock();
        let now = Instant::now();
        if let Some(trouble) = table.troubles.get(server)
            && trouble.program == *program
            && trouble.until > now
        {
            let seconds = trouble.until.duration_since(now).as_secs() + 1;
            return Err(StartError::Pause { times: trouble.times, seconds, why: trouble.why.clone() });
        }
        let of_server = |entry: &Entry| entry.server == server;
        let of_owner = |entry: &Entry| of_server(entry) && entry.owner == owner;
        let count = |which: &dyn Fn(&Entry) -> bool| table.running.iter().filter(|entry| which(entry)).count();
        let (server_full, owner_full) = (count(&of_server) >= MOST_OF_ONE, count(&of_owner) >= MOST_OF_OWNER);
        if owner_full || server_full || table.running.len() >= MOST {
            let fits = |entry: &Entry| match (owner_full, server_full) {
                (true, _) => of_owner(entry),
                (false, true) => of_server(entry),
                (false, false) => true,
            };
            let idle = table.running.iter().enumerate().filter(|(_, entry)| fits(entry));
            let idle = idle.filter_map(|(at, entry)| Some((entry.state.idle_since()?, at))).min();
            let (_, at) = idle.ok_or(StartError::Busy)?;
            table.running.swap_remove(at).state.stop.cancel();
        }
        let secrets = program.env.iter().map(|(_, value)| value.expose().clone());
        let state = Arc::new(State::new(secrets));
        table.running.push(Entry {
            server: server.to_owned(),
            owner: owner.to_owned(),
            serial,
            state: Arc::clone(&state),
        });
        Ok(state)
    }

    async fn launch(&self, home: &Path, program: &Program, state: &Arc<State>) -> Result<Launched, StartError> {
        let failed = |error: io::Error| StartError::Failed(format!("it cannot be started: {error}"));
        private(&home.join("tmp")).map_err(failed)?;
        let order = Order {
            command: program.command.clone(),
            args: program.args.clone(),
            env: program.env.iter().map(|(name, value)| (name.clone(), value.expose().clone())).collect(),
            home: home.to_owned(),
            read: self.settings.read.clone(),
            write: self.settings.write.clone(),
            limits: self.settings.limits,
        };
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let mut launcher = tokio::process::Command::new(&self.settings.launcher);
        launcher.arg(ARGUMENT).env_clear().envs(kept()).current_dir("/").kill_on_drop(true);
        launcher.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = launcher.spawn().map_err(failed)?;
        // The builder holds the launcher's end; with it open, the launcher's death would not be heard.
        drop(launcher);
        match hand_over(ours, &order).await {
            Ok((control, (input, output, error))) => {
                let streams = Streams { input, output, error, state: Arc::clone(state) };
                Ok((child, control, streams))
            }
            Err(error) => {
                // Nothing is left that speaks to it, so it ends, with what it may have started.
                let _ = tokio::time::timeout(LEAVE, child.wait()).await;
                Err(error)
            }
        }
    }

    fn ended(&self, server: &str, program: &Program, state: &State, end: End, lived: Duration) {
        if end == End::Stopped || (state.has_served() && lived > TOO_SOON) {
            return;
        }
        tracing::warn!(server, %end, "a program that is an MCP server ended");
        if !state.has_served() {
            let words = state.said();
            let why = if words.is_empty() { end.to_string() } else { format!("{end}; it last said: {words}") };
            self.failed(server, program, &why);
        }
    }

    fn failed(&self, server: &str, program: &Program, why: &str) {
        let mut table = self.table.lock();
        let known = table.troubles.get(server).filter(|trouble| trouble.program == *program);
        let times = known.map_or(1, |trouble| trouble.times.saturating_add(1));
        let pause = PAUSE.saturating_mul(1 << (times - 1).min(6)).min(LONGEST_PAUSE);
        if table.troubles.len() >= MOST_TROUBLES {
            let now = Instant::now();
            table.troubles.retain(|_, trouble| trouble.until > now);
        }
        if table.troubles.len() < MOST_TROUBLES {
            let trouble =
                Trouble { program: program.clone(), times, until: Instant::now() + pause, why: why.to_owned() };
            table.troubles.insert(server.to_owned(), trouble);
        }
    }

    pub(crate) fn forgive(&self, server: &str) {
        self.table.lock().troubles.remove(server);
    }
}

impl Programs {
    /// Notes that a server's program has done what it was started for: earlier failures no longer count.
    pub fn served(&self, server: &str, handle: &Handle) {
        if handle.serves() {
            self.inner.forgive(server);
        }
    }
}

/// Tells a launcher what to run, and waits until it does.
async fn hand_over(ours: UnixStream, order: &Order) -> Result<(Control, Pipes), StartError> {
    let failed = |error: io::Error| StartError::Failed(format!("it cannot be started: {error}"));
    let (input, theirs_input) = pipe::pipe().map_err(failed)?;
    let (theirs_output, output) = pipe::pipe().map_err(failed)?;
    let (theirs_error, error) = pipe::pipe().map_err(failed)?;
    let given = [
        theirs_input.into_blocking_fd().map_err(failed)?,
        theirs_output.into_blocking_fd().map_err(failed)?,
        theirs_error.into_blocking_fd().map_err(failed)?,
    ];
    // An order fits into the socket's buffer but for arguments of megabytes, which the launcher reads at once.
    ours.set_write_timeout(Some(Duration::from_secs(2))).map_err(failed)?;
    order::send(&ours, order, given.each_ref().map(|fd| fd.as_fd())).map_err(failed)?;
    drop(given);
    ours.set_nonblocking(true).map_err(failed)?;
    let control = tokio::net::UnixStream::from_std(ours).map_err(failed)?;
    let mut control = tokio::io::BufReader::new(control).lines();
    let told = tokio::time::timeout(START, control.next_line()).await;
    let told = told.map_err(|_| StartError::Failed("its launcher does not answer".to_owned()))?.map_err(failed)?;
    match told.as_deref().map(serde_json::from_str::<Report>) {
        Some(Ok(Report::Started)) => Ok((control, (input, output, error))),
        Some(Ok(Report::Failed(reason))) => Err(StartError::Failed(reason)),
        Some(Ok(Report::Ended(_)) | Err(_)) | None => Err(StartError::Failed("its launcher ended at once".to_owned())),
    }
}

fn kept() -> impl Iterator<Item = (&'static str, OsString)> {
    // No setting of ours: where programs are and which language they speak is this machine's.
    KEPT.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)))
}

fn private(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
