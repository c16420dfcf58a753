//! The watchdog: a thread that kills processes which use more CPU than they may, or sit on a message for too long.
//!
//! A thread of its own, so that a busy async runtime cannot delay a kill. It reads the kernel's CPU clock of each process
//! and compares it with what the process last reported; CPU time cannot outrun wall time, so the thread sleeps exactly
//! until a process could have crossed its limit, and costs nothing in between. A process that lies about its clock is
//! killed for that.

use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::process::Process;

/// Nothing is checked more often than this.
const FINEST: Duration = Duration::from_micros(200);
/// Nothing is checked less often than this while there are processes.
const COARSEST: Duration = Duration::from_millis(500);

/// How far two readings of one clock may disagree, in microseconds.
const SLACK_US: u64 = 2_000;

/// What is to be done about a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// Look again after this long.
    Later(Duration),
    KillCpu,
    KillStalled,
    KillLying,
}

/// One look at a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    /// The kernel's clock of the process, in microseconds.
    pub(crate) cpu_us: u64,
    /// The clock the process reported with its last finished message.
    pub(crate) reported_us: u64,
    /// CPU time it may use on its current message before it is killed.
    pub(crate) allowed_us: u64,
    /// CPU time it may use on the message after that, which may begin right after this look.
    pub(crate) next_us: u64,
    /// How long its oldest unfinished message has been with it, if it has one.
    pub(crate) busy: Option<Duration>,
    pub(crate) stall: Duration,
}

/// Decides about one reading.
pub(crate) fn judge(reading: Reading) -> Ruling {
    // The report and the reading come from the same clock, and the report is older.
    if reading.reported_us > reading.cpu_us.saturating_add(SLACK_US) {
        return Ruling::KillLying;
    }
    let used = reading.cpu_us.saturating_sub(reading.reported_us);
    if used >= reading.allowed_us {
        return Ruling::KillCpu;
    }
    let mut later = Duration::from_micros((reading.allowed_us - used).min(reading.next_us));
    if let Some(busy) = reading.busy {
        if busy >= reading.stall {
            return Ruling::KillStalled;
        }
        later = later.min(reading.stall - busy);
    }
    Ruling::Later(later.clamp(FINEST, COARSEST))
}

/// The thread and what it watches.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    handle: Thread,
}

#[derive(Default)]
struct Shared {
    processes: Mutex<Vec<Weak<Process>>>,
    stop: AtomicBool,
}

impl Watch {
    pub(crate) fn start() -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("worker-watch".into()).spawn(move || theirs.run())?;
        Ok(Self { shared, handle: thread.thread().clone(), thread: Mutex::new(Some(thread)) })
    }

    /// Watches a process until it ends.
    pub(crate) fn add(&self, process: &Arc<Process>) {
        self.shared.processes.lock().push(Arc::downgrade(process));
        self.handle.unpark();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.handle.unpark();
        if let Some(thread) = self.thread.lock().take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        while !self.stop.load(Ordering::Acquire) {
            match self.look() {
                Some(pause) => std::thread::park_timeout(pause),
                None => std::thread::park(),
            }
        }
    }

    /// Looks at every process once and returns when to look again.
    fn look(&self) -> Option<Duration> {
        let mut processes: Vec<Arc<Process>> = Vec::new();
        self.processes.lock().retain(|process| {
            process
                .upgrade()
                .filter(|process| !process.has_ended())
                .inspect(|process| processes.push(Arc::clone(process)))
                .is_some()
        });
        let now = Instant::now();
        processes.iter().filter_map(|process| process.inspect(now)).min()
    }
}

/// Reads the kernel's CPU clock of a process, in microseconds.
#[expect(unsafe_code, reason = "the standard library cannot read another process's clock")]
pub(crate) fn cpu_clock_us(pid: i32) -> Option<u64> {
    // The clock id of a process, as clock_getcpuclockid(3) computes it: the inverted id and the scheduler's clock.
    const SCHEDULED: i32 = 2;
    let clock = (!pid).wrapping_shl(3) | SCHEDULED;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the result, and an unknown clock is an error, not undefined.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    (result == 0)
        .then(|| u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{COARSEST, FINEST, Reading, Ruling, cpu_clock_us, judge};

    #[test]
    fn a_process_is_killed_at_its_limit_and_looked_at_no_earlier_than_it_could_reach_it() {
        let stall = Duration::from_secs(5);
        let second = Duration::from_secs(1);
        for (cpu_us, reported_us, busy, ruling) in [
            (1_000, 1_000, None, Ruling::Later(Duration::from_millis(100))),
            (61_000, 1_000, Some(second), Ruling::Later(Duration::from_millis(40))),
            (100_990, 1_000, Some(second), Ruling::Later(FINEST)),
            (101_000, 1_000, Some(second), Ruling::KillCpu),
            (101_000, 1_000, None, Ruling::KillCpu),
            (1_000, 1_001, None, Ruling::Later(Duration::from_millis(100))),
            (1_000, 4_000, None, Ruling::KillLying),
            (1_000, 1_000, Some(stall), Ruling::KillStalled),
            (1_000, 1_000, Some(stall - Duration::from_millis(1)), Ruling::Later(Duration::from_millis(1))),
        ] {
            let reading = Reading { cpu_us, reported_us, allowed_us: 100_000, next_us: 100_000, busy, stall };
            assert_eq!(judge(reading), ruling, "{reading:?}");
        }
        let loading = Reading { cpu_us: 0, reported_us: 0, allowed_us: 1_000_000, next_us: 20_000, busy: None, stall };
        assert_eq!(judge(loading), Ruling::Later(Duration::from_millis(20)), "a call may follow at once");
        let long = Reading { allowed_us: u64::MAX, next_us: u64::MAX, ..loading };
        assert_eq!(judge(long), Ruling::Later(COARSEST));
    }

    #[test]
    fn the_cpu_clock_of_a_process_can_be_read() {
        let own = i32::try_from(std::process::id()).unwrap();
        let first = cpu_clock_us(own).unwrap();
        assert!(cpu_clock_us(own).unwrap() >= first);
        assert_eq!(cpu_clock_us(i32::MAX - 1), None);
    }
}
