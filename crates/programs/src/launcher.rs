//! The life of a launcher: take the order, start the program in its walls, watch its family, end all of it.
//!
//! One thread, no loop but its own. It ends the family when the program ends, when it uses more than it may, and when the
//! host closes its end, be it on purpose or because the host was killed. Invariant: when a launcher has reported the end,
//! nothing that its program started is left.

use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, waitid};

use crate::order::{End, Limits, Order, Report};
use crate::{confine, family, order};

/// The argument that makes a program a launcher.
pub const ARGUMENT: &str = "--portunus-program-launcher";

/// How often a family is looked at.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };
/// How long a program may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(2);

/// Enters the launcher if this process was started as one; returns otherwise.
///
/// Must be among the first things `main` does: it forks, so it must never have had a second thread.
pub fn run_if_launcher() {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == ARGUMENT) {
        std::process::exit(i32::from(serve().is_err()));
    }
}

fn serve() -> io::Result<()> {
    // Signals meant for the whole terminal or service must not end programs while the host drains.
    let _ = rustix::process::setsid();
    let _ = rustix::thread::set_name(c"portunus-run");
    let control = UnixStream::from(rustix::io::dup(rustix::stdio::stdin())?);
    let (order, streams) = order::receive(&control)?;
    let limits = order.limits;
    let program = match start(order, streams) {
        Ok(program) => program,
        Err(reason) => return report(&control, &Report::Failed(reason)),
    };
    report(&control, &Report::Started)?;
    let end = watch(&control, program, limits).unwrap_or(End::Lost);
    family::end(program);
    report(&control, &Report::Ended(end))
}

fn report(mut control: &UnixStream, report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_vec(report).map_err(io::Error::other)?;
    line.push(b'\n');
    control.write_all(&line)
}

fn start(order: Order, [input, output, error]: [OwnedFd; 3]) -> Result<Pid, String> {
    if !family::is_known() {
        return Err("the kernel does not say which process started which (/proc/…/children)".to_owned());
    }
    let own = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(own)).map_err(|error| error.to_string())?;
    let walls = confine::walls(&order).map_err(|error| format!("it cannot be confined: {error}"))?;
    let Order { command, args, env, home, limits, .. } = order;
    let mut program = Command::new(&command);
    program.args(args).current_dir(&home).process_group(0);
    program.env("HOME", &home).env("TMPDIR", home.join("tmp")).envs(env);
    program.stdin(Stdio::from(input)).stdout(Stdio::from(output)).stderr(Stdio::from(error));
    let mut walls = Some(walls);
    let confined = move || {
        let walls = walls.take().ok_or(io::ErrorKind::Other)?;
        confine::enter(walls, limits, own)
    };
    #[expect(unsafe_code, reason = "the only way to confine a program and not its launcher")]
    // SAFETY: this process has one thread, so no lock can be held by a thread that the child does not have.
    unsafe {
        program.pre_exec(confined);
    }
    match program.spawn() {
        Ok(child) => {
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            pid.ok_or_else(|| "it has no process id".to_owned())
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(format!(
            "{command} cannot be run: {error}; programs are run from the system's directories and from those that the \
             configuration names"
        )),
        Err(error) => Err(format!("{command} cannot be run: {error}")),
    }
}

fn watch(control: &UnixStream, program: Pid, limits: Limits) -> io::Result<End> {
    let pidfd = pidfd_open(program, PidfdFlags::empty())?;
    loop {
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN), PollFd::new(control, PollFlags::IN)];
        match poll(&mut fds, Some(&LOOK)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [ended, told] = fds.map(|fd| !fd.revents().is_empty());
        if ended {
            // Not reaped yet: its group has its id.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            let status = waitid(WaitId::PidFd(pidfd.as_fd()), options)?;
            let signal = status.as_ref().and_then(rustix::process::WaitIdStatus::terminating_signal);
            let code = status.as_ref().and_then(rustix::process::WaitIdStatus::exit_status);
            return Ok(signal.map_or(End::Exited(code.unwrap_or(-1)), End::Signalled));
        }
        if told {
            let _ = rustix::process::kill_process_group(program, Signal::TERM);
            wait_for(&pidfd, PATIENCE)?;
            return Ok(End::Stopped);
        }
        family::tidy(program);
        let usage = family::usage();
        if usage.processes > limits.processes {
            return Ok(End::Processes(limits.processes));
        }
        if usage.memory > limits.memory {
            return Ok(End::Memory(limits.memory));
        }
    }
}

fn wait_for(pidfd: &OwnedFd, patience: Duration) -> io::Result<()> {
    let last = Instant::now() + patience;
    let tenth = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    while Instant::now() < last {
        let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
        match poll(&mut fds, Some(&tenth)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
