//! A process and everything it started: who they are, what they use, and their end.
//!
//! Orphans come back to the launcher, which adopts what its program leaves behind (`PR_SET_CHILD_SUBREAPER`). Invariant:
//! only children that were not reaped are signalled, so an id that was given to somebody else meanwhile is never hit.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions};

/// How long the end of a family is waited for. What is left then is in an uninterruptible sleep, and dies after it.
const LAST: Duration = Duration::from_secs(5);
/// Processes that are looked at; more are more than any limit.
const MOST: usize = 10_000;

/// What a family uses.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) processes: usize,
    /// Bytes that no file stands behind.
    pub(crate) memory: u64,
}

/// Returns what everything below this process uses.
pub(crate) fn usage() -> Usage {
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4_096);
    let mut open = children(rustix::process::getpid());
    let mut usage = Usage::default();
    while let Some(pid) = open.pop() {
        usage.processes += 1;
        if usage.processes > MOST {
            break;
        }
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", pid.as_raw_nonzero())).unwrap_or_default();
        let mut fields = statm.split(' ').skip(1).map(|field| field.parse::<u64>().unwrap_or(0));
        let (resident, shared) = (fields.next().unwrap_or(0), fields.next().unwrap_or(0));
        usage.memory += resident.saturating_sub(shared) * page;
        open.extend(children(pid));
    }
    usage
}

/// Tells whether the kernel says who is whose child.
pub(crate) fn is_known() -> bool {
    let own = rustix::process::getpid().as_raw_nonzero();
    std::fs::metadata(format!("/proc/self/task/{own}/children")).is_ok()
}

fn children(pid: Pid) -> Vec<Pid> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())) else { return Vec::new() };
    let mut found = Vec::new();
    for task in tasks.flatten() {
        let list = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(list.split_whitespace().filter_map(|id| Pid::from_raw(id.parse().ok()?)));
    }
    found
}

/// Reaps what ended among the adopted; the program itself is left to [`end`].
pub(crate) fn tidy(program: Pid) {
    for child in children(rustix::process::getpid()) {
        if child != program {
            let _ = rustix::process::waitpid(Some(child), WaitOptions::NOHANG);
        }
    }
}

/// Kills the program, its group and everything either started, and waits for their end.
pub(crate) fn end(program: Pid) {
    // Its group at once: a family that forks faster than it is counted is in it, or in groups that follow below. The
    // program is not reaped yet, so the group's id is still its own.
    let _ = rustix::process::kill_process_group(program, Signal::KILL);
    let last = Instant::now() + LAST;
    loop {
        for child in children(rustix::process::getpid()) {
            let _ = rustix::process::kill_process(child, Signal::KILL);
        }
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        if Instant::now() > last {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
