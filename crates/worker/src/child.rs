//! The life of one Worker process: lock down, then read a message, handle it, write what it gave.
//!
//! One thread, one socket, blocking. It decides nothing; it makes sure that every message that was read is reported as
//! handled, and that nothing is written that the host would take for a broken protocol.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rustix::net::RecvFlags;

use crate::codec::{self, FrameError, Progress};
use crate::protocol::{CallId, FromWorker, LogLevel, OpId, OperationError, ScriptError, ScriptErrorKind, ToWorker};
use crate::sandbox::{self, Plan};
use crate::zygote::Isolate;

/// The host closed the socket, or the engine asked to be replaced.
pub(crate) const EXIT_DONE: i32 = 0;
/// The process could not be locked down.
pub(crate) const EXIT_SANDBOX: i32 = 71;
/// The host sent something that is not a message.
const EXIT_INPUT: i32 = 76;
/// The engine panicked.
pub(crate) const EXIT_PANIC: i32 = 101;

const READ_SIZE: usize = 64 << 10;
/// The first reads take less at a time: most processes never see more, and memory that is not touched costs nothing.
const FIRST_READ: usize = 4 << 10;
/// How long a process looks for its next message before it sleeps. Waking it up costs the host more than the look, and
/// under load, or while a script waits for a value from KV, the next message is only moments away.
const ALERT: Duration = Duration::from_micros(50);
/// Rounds in which operations that do not fit into a frame are answered on the spot.
const MAX_ROUNDS: usize = 64;

thread_local! {
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs a child and never returns.
pub(crate) fn run<I: Isolate>(isolate: &mut I, plan: &mut Plan, socket: OwnedFd, memory_bytes: u64) -> ! {
    std::panic::set_hook(Box::new(|info| {
        PANIC.with(|panic| *panic.borrow_mut() = info.to_string());
    }));
    if sandbox::enter_child(plan, socket, memory_bytes).is_err() {
        leave(EXIT_SANDBOX);
    }
    let mut output = Output::default();
    let code = std::panic::catch_unwind(AssertUnwindSafe(|| serve(isolate, &mut output))).unwrap_or_else(|_| {
        let message = PANIC.with(|panic| panic.borrow().clone());
        let mut buffer = Vec::new();
        let frame = codec::start_frame(&mut buffer);
        let log = FromWorker::Log { call: None, level: LogLevel::Error, message };
        if codec::push_from_worker(&mut buffer, frame, &log).is_ok() {
            codec::finish_frame(&mut buffer, frame, Progress { handled: output.handled, cpu_us: own_cpu_us() });
            let _ = write_all(&buffer);
        }
        EXIT_PANIC
    });
    leave(code)
}

#[expect(unsafe_code, reason = "exit handlers inherited from the zygote must not run in a child")]
fn leave(code: i32) -> ! {
    // SAFETY: ends the process at once; nothing is left to be observed.
    unsafe { libc::_exit(code) }
}

fn serve<I: Isolate>(isolate: &mut I, output: &mut Output) -> i32 {
    let mut input = BytesMut::new();
    let mut scratch = vec![0; FIRST_READ];
    let mut trimmed = false;
    loop {
        match codec::next_to_worker(&mut input) {
            Ok(Some(message)) => {
                output.step(isolate, message);
                if write_all(&output.buffer).is_err() {
                    return EXIT_DONE;
                }
                output.reset();
                if isolate.spent() {
                    return EXIT_DONE;
                }
            }
            Ok(None) => {
                // Not before every message: the next one would wait for it.
                let before_sleep = || {
                    if isolate.idle() {
                        isolate.collect();
                        if !std::mem::replace(&mut trimmed, true) {
                            trim();
                        }
                    }
                };
                match read_some(&mut input, &mut scratch, before_sleep) {
                    Ok(0) | Err(_) => return EXIT_DONE,
                    Ok(read) if read == scratch.len() && read < READ_SIZE => scratch.resize(read * 4, 0),
                    Ok(_) => {}
                }
            }
            Err(_) => return EXIT_INPUT,
        }
    }
}

/// Gives back what loading the script took and freed: the parser's trees are larger than most scripts.
#[expect(unsafe_code, reason = "only the C library can give its free memory back")]
fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it only returns free memory to the system.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[derive(Default)]
struct Output {
    buffer: Vec<u8>,
    messages: Vec<FromWorker>,
    handled: u32,
}

impl Output {
    /// Handles one message and encodes everything it gave. The last frame reports the message as handled, the ones
    /// before it do not yet.
    fn step<I: Isolate>(&mut self, isolate: &mut I, message: ToWorker) {
        isolate.handle(message, &mut self.messages);
        let mut frame = codec::start_frame(&mut self.buffer);
        for _ in 0..MAX_ROUNDS {
            let mut refused = Vec::new();
            for message in std::mem::take(&mut self.messages) {
                if !self.push(&mut frame, &message) {
                    refused.extend(substitute(message, &mut |message| {
                        self.push(&mut frame, &message);
                    }));
                }
            }
            if refused.is_empty() {
                break;
            }
            for op in refused {
                let error = OperationError { name: "RangeError".into(), message: "the value is too large".into() };
                isolate.handle(ToWorker::Resolve { op, now_ms: 0.0, result: Err(error) }, &mut self.messages);
            }
        }
        self.handled = self.handled.wrapping_add(1);
        codec::finish_frame(&mut self.buffer, frame, Progress { handled: self.handled, cpu_us: own_cpu_us() });
    }

    /// Appends a message, in a new frame if the current one is full. False if no frame can hold it.
    fn push(&mut self, frame: &mut usize, message: &FromWorker) -> bool {
        match codec::push_from_worker(&mut self.buffer, *frame, message) {
            Ok(()) => return true,
            Err(FrameError::TooLarge) if !codec::frame_is_empty(&self.buffer, *frame) => {}
            Err(FrameError::TooLarge | FrameError::Malformed) => return false,
        }
        codec::finish_frame(&mut self.buffer, *frame, Progress { handled: self.handled, cpu_us: own_cpu_us() });
        // Written at once, so that a process never holds more than one frame; a failure shows at the next write.
        let _ = write_all(&self.buffer);
        self.buffer.clear();
        *frame = codec::start_frame(&mut self.buffer);
        codec::push_from_worker(&mut self.buffer, *frame, message).is_ok()
    }

    fn reset(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(READ_SIZE);
    }
}

/// Says what is sent for a message that fits into no frame: a failure of its call, or of its operation, whose id is
/// returned.
fn substitute(message: FromWorker, push: &mut dyn FnMut(FromWorker)) -> Option<OpId> {
    let fail = |call: CallId, cpu_us: u64| FromWorker::Fail {
        call,
        error: ScriptError {
            kind: ScriptErrorKind::Output,
            message: "the answer is too large to send in one piece".into(),
            stack: String::new(),
        },
        cpu_us,
        pass_through: false,
    };
    match message {
        FromWorker::HostCall { op, .. } => return Some(op),
        FromWorker::Done { call, cpu_us, .. } | FromWorker::Fail { call, cpu_us, .. } => push(fail(call, cpu_us)),
        FromWorker::LoadFailed(error) => push(FromWorker::LoadFailed(ScriptError {
            kind: error.kind,
            message: "the error message is too large".into(),
            stack: String::new(),
        })),
        FromWorker::Loaded { .. } | FromWorker::Settled { .. } | FromWorker::Log { .. } => {}
    }
    None
}

fn own_cpu_us() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000
}

fn read_some(input: &mut BytesMut, scratch: &mut [u8], before_sleep: impl FnOnce()) -> rustix::io::Result<usize> {
    let asleep_from = Instant::now() + ALERT;
    let mut before_sleep = Some(before_sleep);
    let mut flags = RecvFlags::DONTWAIT;
    loop {
        match rustix::net::recv(rustix::stdio::stdin(), &mut *scratch, flags) {
            Ok((_, read)) => {
                input.extend_from_slice(scratch.get(..read).unwrap_or_default());
                return Ok(read);
            }
            Err(rustix::io::Errno::AGAIN) if Instant::now() < asleep_from => rustix::thread::sched_yield(),
            Err(rustix::io::Errno::AGAIN) => {
                if let Some(before_sleep) = before_sleep.take() {
                    before_sleep();
                }
                flags = RecvFlags::empty();
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

fn write_all(mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(rustix::stdio::stdin(), bytes) {
            Ok(0) => return Err(rustix::io::Errno::PIPE),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
