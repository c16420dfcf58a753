//! The warm process that every Worker process is forked from.
//!
//! Re-executed from the program itself before any thread exists, it loads the engine once, locks itself down, and then
//! only forks and reaps. It never sees a script. It ends when the host's end of its socket closes, and the kernel ends
//! its children with it.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions};

use crate::child;
use crate::control::{self, End, Fork, Report};
use crate::protocol::{FromWorker, ToWorker};
use crate::runtime::Engine;
use crate::sandbox::{self, Plan};

/// More holes of one size than any heap has before the first fork.
const MAX_HOLES: usize = 100_000;

/// The argument that makes a program a zygote.
pub const ARGUMENT: &str = "--portunus-worker-zygote";

/// The engine of a process, as the process loop drives it.
pub trait Isolate: Sized {
    /// Builds everything that can be built before a script is known.
    ///
    /// # Errors
    /// A text that says what is missing; the zygote reports it and gives up.
    fn prepare() -> Result<Self, String>;

    /// Takes one message, works until there is nothing left to do, and pushes what the host must know. Never blocks.
    fn handle(&mut self, message: ToWorker, out: &mut Vec<FromWorker>);

    /// Whether no call is in flight.
    fn idle(&self) -> bool;

    /// Whether the process must be replaced before it serves another call.
    fn spent(&self) -> bool;

    /// Frees memory; called when the process is idle.
    fn collect(&mut self);
}

impl Isolate for Engine {
    fn prepare() -> Result<Self, String> {
        Self::prepare().map_err(|error| error.to_string())
    }

    fn handle(&mut self, message: ToWorker, out: &mut Vec<FromWorker>) {
        self.handle(message, out);
    }

    fn idle(&self) -> bool {
        self.idle()
    }

    fn spent(&self) -> bool {
        self.spent()
    }

    fn collect(&mut self) {
        self.collect();
    }
}

/// Enters the zygote if this process was started as one; returns otherwise.
///
/// Must be the first thing `main` does: the zygote forks, so it must never have had a second thread.
pub fn run_if_zygote() {
    run_if_zygote_with::<Engine>();
}

/// Does what [`run_if_zygote`] does, with another engine.
pub fn run_if_zygote_with<I: Isolate>() {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == ARGUMENT) {
        let code = serve::<I>();
        std::process::exit(code);
    }
}

/// Runs the zygote until the host closes its socket and returns the exit code.
fn serve<I: Isolate>() -> i32 {
    let control = rustix::stdio::stdin();
    let (mut isolate, mut plan) = match prepare::<I>() {
        Ok((isolate, plan, ready)) => {
            if control::send(control, &ready, None).is_err() {
                return 1;
            }
            (isolate, plan)
        }
        Err(message) => {
            let _ = control::send(control, &Report::Failed { message }, None);
            return 1;
        }
    };
    let Ok(mut family) = Family::new(control) else {
        return 1;
    };
    loop {
        match family.next() {
            Ok(Happening::Ended) => {}
            Ok(Happening::Control) => match control::receive::<Fork>(control) {
                Ok(Some((order, Some(socket)))) => family.fork(&mut isolate, &mut plan, &order, socket),
                Ok(Some((_, None))) | Err(_) => return 1,
                Ok(None) => return 0,
            },
            Err(_) => return 1,
        }
    }
}

fn prepare<I: Isolate>() -> Result<(I, Plan, Report), String> {
    // A fork copies only the calling thread: a lock that another one holds would stay locked in every child.
    let threads = std::fs::read_dir("/proc/self/task").map_err(|error| error.to_string())?.count();
    if threads != 1 {
        return Err(format!("the zygote was entered with {threads} threads; it must come first in main"));
    }
    rustix::thread::set_name(c"portunus-zygote").map_err(|error| error.to_string())?;
    let isolate = I::prepare()?;
    // What opens files on first use is used once here; children cannot.
    read_time_zone();
    aws_lc_rs::rand::fill(&mut [0; 16]).map_err(|error| error.to_string())?;
    let plan = Plan::prepare().map_err(|error| chain(&error))?;
    let landlock = sandbox::enter_zygote().map_err(|error| chain(&error))?;
    fill_holes();
    Ok((isolate, plan, Report::Ready { landlock }))
}

/// Makes the C library load its time zone.
#[expect(unsafe_code, reason = "the standard library knows no time zones, the engine asks the C library")]
fn read_time_zone() {
    let start: libc::time_t = 0;
    let mut broken_down = std::mem::MaybeUninit::<libc::tm>::uninit();
    // SAFETY: both pointers are valid for the call, the result is not read, and there is no other thread that could
    // change the environment meanwhile.
    unsafe {
        libc::localtime_r(&raw const start, broken_down.as_mut_ptr());
    }
}

/// Fills the holes of the C library's heap, so that what a child allocates lies together in pages of its own. Children
/// share every page that they do not write to. The blocks are never freed.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "only the C library knows where its heap ends")]
fn fill_holes() {
    // SAFETY: both only report on the heap, which no other thread changes.
    let (end, last) = unsafe { (libc::sbrk(0).addr(), libc::mallinfo2().keepcost) };
    let top = end.saturating_sub(last);
    let large = (10..=16).rev().map(|power| 1 << power);
    for size in large.chain((8..1024).rev().step_by(8)) {
        for _ in 0..MAX_HOLES {
            // SAFETY: the size is not zero, and the block is not used.
            let block = unsafe { libc::malloc(size) };
            if block.is_null() || block.addr() >= top {
                // SAFETY: null or just made.
                unsafe { libc::free(block) };
                break;
            }
        }
    }
}

#[cfg(not(target_env = "gnu"))]
fn fill_holes() {}

fn chain(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

enum Happening {
    Control,
    Ended,
}

/// The children, and the means to hear of their end.
struct Family<'a> {
    control: std::os::fd::BorrowedFd<'a>,
    epoll: OwnedFd,
    children: std::collections::HashMap<u64, OwnedFd>,
}

/// Marks the control socket among the events; serials start at 1.
const CONTROL: u64 = 0;

impl<'a> Family<'a> {
    fn new(control: std::os::fd::BorrowedFd<'a>) -> rustix::io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, control, EventData::new_u64(CONTROL), EventFlags::IN)?;
        Ok(Self { control, epoll, children: std::collections::HashMap::new() })
    }

    /// Waits for one event. The end of a child is reaped and reported here.
    fn next(&mut self) -> rustix::io::Result<Happening> {
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); 1];
        let serial = loop {
            match epoll::wait(&self.epoll, &mut events, None) {
                Ok((seen, _)) => {
                    if let Some(event) = seen.first() {
                        break event.data.u64();
                    }
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        };
        if serial == CONTROL {
            return Ok(Happening::Control);
        }
        self.reap(serial);
        Ok(Happening::Ended)
    }

    fn reap(&mut self, serial: u64) {
        let Some(pidfd) = self.children.remove(&serial) else {
            return;
        };
        let _ = epoll::delete(&self.epoll, &pidfd);
        let status = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).ok().flatten();
        let end = status.map_or(End::Exited(-1), |status| {
            status.terminating_signal().map_or_else(|| End::Exited(status.exit_status().unwrap_or(-1)), End::Signalled)
        });
        let _ = control::send(self.control, &Report::Ended { serial, end }, None);
    }

    fn fork<I: Isolate>(&mut self, isolate: &mut I, plan: &mut Plan, order: &Fork, socket: OwnedFd) {
        match fork() {
            Ok(None) => child::run(isolate, plan, socket, order.memory_bytes),
            Ok(Some(pid)) => {
                drop(socket);
                if let Err(error) = self.adopt(order.serial, pid) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                    let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
                    self.children.remove(&order.serial);
                    self.refuse(order.serial, &error);
                }
            }
            Err(error) => self.refuse(order.serial, &error),
        }
    }

    /// Takes note of a child and hands its pidfd to the host. Until it is reaped, its id cannot be another's.
    fn adopt(&mut self, serial: u64, pid: Pid) -> std::io::Result<()> {
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        epoll::add(&self.epoll, &pidfd, EventData::new_u64(serial), EventFlags::IN)?;
        let forked = Report::Forked { serial, pid: pid.as_raw_nonzero().get() };
        control::send(self.control, &forked, Some(pidfd.as_fd()))?;
        self.children.insert(serial, pidfd);
        Ok(())
    }

    fn refuse(&self, serial: u64, error: &std::io::Error) {
        let failed = Report::ForkFailed { serial, message: error.to_string() };
        let _ = control::send(self.control, &failed, None);
    }
}

/// Forks; `None` is the child.
#[expect(unsafe_code, reason = "there is no safe fork; this process has one thread, which makes it sound")]
fn fork() -> std::io::Result<Option<Pid>> {
    // SAFETY: `prepare` has made sure that this is the only thread, so no lock can be held by a thread that the child
    // does not have.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(Pid::from_raw(pid))
}
