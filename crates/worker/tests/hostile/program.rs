//! A Worker process taken over by an attacker: instead of running scripts it does what the request's path names.
//!
//! It enters the same sandbox by the same code as the real one, so what it cannot do, nobody can. Each attempt that
//! returns is reported as the body of a response; most do not return.
#![expect(unsafe_code, reason = "attempts system calls that no safe interface offers")]

use std::io::Error;

use portunus_worker::protocol::{
    BodySource, Event, FromWorker, LogLevel, MAX_FRAME, Operation, Outcome, OutgoingRequest, Redirect, RequestHead,
    ResponseHead, ToWorker,
};
use portunus_worker::zygote::Isolate;

fn main() {
    portunus_worker::zygote::run_if_zygote_with::<Hostile>();
    std::process::exit(2);
}

#[derive(Default)]
struct Hostile {
    spent: bool,
    /// Calls answered by the engine's stand-in when their operation resolves.
    waiting: Vec<u64>,
}

impl Isolate for Hostile {
    fn prepare() -> Result<Self, String> {
        Ok(Self::default())
    }

    fn handle(&mut self, message: ToWorker, out: &mut Vec<FromWorker>) {
        match message {
            ToWorker::Load(load) => match load.modules.first().map(|module| module.code.as_str()) {
                Some("load:crash") => std::process::abort(),
                Some("load:spin") => spin(),
                Some(_) | None => out.push(FromWorker::Loaded { handlers: vec!["fetch".into()] }),
            },
            ToWorker::Invoke { call, event: Event::Fetch(head), .. } => self.act(call, &head, out),
            ToWorker::Invoke { call, .. } => {
                out.push(FromWorker::Done {
                    call,
                    outcome: Outcome::Finished { retry: vec!["again".into()] },
                    cpu_us: 1,
                });
                out.push(FromWorker::Settled { call, cpu_us: 1 });
            }
            ToWorker::Resolve { result, .. } => {
                if let Some(call) = self.waiting.pop() {
                    answer(call, &format!("{result:?}").chars().take(200).collect::<String>(), out);
                }
            }
            ToWorker::Cancel { .. } => {}
        }
    }

    fn idle(&self) -> bool {
        true
    }

    fn spent(&self) -> bool {
        self.spent
    }

    fn collect(&mut self) {}
}

impl Hostile {
    fn act(&mut self, call: u64, head: &RequestHead, out: &mut Vec<FromWorker>) {
        let path = head.url.splitn(4, '/').nth(3).unwrap_or_default();
        let (group, rest) = path.split_once('/').unwrap_or((path, ""));
        match group {
            "ok" => answer(call, "ok", out),
            "pid" => answer(call, &std::process::id().to_string(), out),
            "syscall" => answer(call, &returned(syscall(rest)), out),
            "resource" => {
                resource(rest);
                answer(call, "returned", out);
            }
            "wire" => wire(rest, call, out),
            "spent" => {
                self.spent = true;
                answer(call, "last", out);
            }
            "operation" => {
                self.waiting.push(call);
                out.push(FromWorker::HostCall { call, op: call, operation: operation(rest) });
            }
            "flood-operations" => {
                for op in 0..20_000 {
                    let operation = Operation::KvGet { binding: "KV".into(), key: "k".into() };
                    out.push(FromWorker::HostCall { call, op, operation });
                }
                self.waiting.push(call);
            }
            "hang" => {}
            _ => answer(call, "unknown", out),
        }
    }
}

fn answer(call: u64, text: &str, out: &mut Vec<FromWorker>) {
    out.push(respond(call, 200, vec![], BodySource::Inline(text.as_bytes().to_vec())));
    out.push(FromWorker::Settled { call, cpu_us: 1 });
}

fn respond(call: u64, status: u16, headers: Vec<(String, Vec<u8>)>, body: BodySource) -> FromWorker {
    let head =
        ResponseHead { status, status_text: String::new(), headers, body, url: String::new(), redirected: false };
    FromWorker::Done { call, outcome: Outcome::Response(head), cpu_us: 1 }
}

fn returned(result: libc::c_long) -> String {
    if result < 0 { format!("refused: {}", Error::last_os_error()) } else { format!("SUCCEEDED: {result}") }
}

/// Makes one raw system call.
fn syscall(name: &str) -> libc::c_long {
    let path = c"/etc/passwd".as_ptr();
    let null = std::ptr::null::<libc::c_void>();
    let mut buffer = [0_u8; 64];
    let place = buffer.as_mut_ptr();
    let parent = unsafe { libc::syscall(libc::SYS_gettid) } - 1;
    // SAFETY: every pointer is valid for its call or null; what succeeds is reported and the process is thrown away.
    unsafe {
        match name {
            "openat" => libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, libc::O_RDONLY),
            "openat2" => libc::syscall(libc::SYS_openat2, libc::AT_FDCWD, path, place, 24),
            "openat-proc" => {
                libc::syscall(libc::SYS_openat, libc::AT_FDCWD, c"/proc/self/maps".as_ptr(), libc::O_RDONLY)
            }
            "readlinkat" => libc::syscall(libc::SYS_readlinkat, libc::AT_FDCWD, c"/proc/self/exe".as_ptr(), place, 64),
            "getdents" => libc::syscall(libc::SYS_getdents64, 0, place, 64),
            "statx" => libc::syscall(libc::SYS_statx, libc::AT_FDCWD, path, 0, 0, place),
            "unlinkat" => libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, c"/tmp/none".as_ptr(), 0),
            "mount" => libc::syscall(libc::SYS_mount, null, c"/".as_ptr(), null, libc::MS_BIND, null),
            "chroot" => libc::syscall(libc::SYS_chroot, c"/".as_ptr()),
            "socket" => libc::syscall(libc::SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0),
            "socket-unix" => libc::syscall(libc::SYS_socket, libc::AF_UNIX, libc::SOCK_STREAM, 0),
            "socketpair" => libc::syscall(libc::SYS_socketpair, libc::AF_UNIX, libc::SOCK_STREAM, 0, place),
            "connect" => libc::syscall(libc::SYS_connect, 0, place, 16),
            "sendmsg" => libc::syscall(libc::SYS_sendmsg, 0, place, 0),
            "recvmsg" => libc::syscall(libc::SYS_recvmsg, 0, place, 0),
            "clone" => libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0),
            "clone3" => libc::syscall(libc::SYS_clone3, place, 64),
            "execve" => libc::syscall(libc::SYS_execve, c"/bin/sh".as_ptr(), null, null),
            "execveat" => libc::syscall(libc::SYS_execveat, libc::AT_FDCWD, c"/bin/sh".as_ptr(), null, null, 0),
            "kill" => libc::syscall(libc::SYS_kill, parent, 0),
            "kill-all" => libc::syscall(libc::SYS_kill, -1, 0),
            "tgkill-other" => libc::syscall(libc::SYS_tgkill, parent, parent, libc::SIGABRT),
            "tgkill-own-stop" => libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::getpid(), libc::SIGSTOP),
            "pidfd-open" => libc::syscall(libc::SYS_pidfd_open, parent, 0),
            "ptrace" => libc::syscall(libc::SYS_ptrace, libc::PTRACE_ATTACH, parent, 0, 0),
            "process-vm-readv" => libc::syscall(libc::SYS_process_vm_readv, parent, place, 1, place, 1, 0),
            "setuid" => libc::syscall(libc::SYS_setuid, 0),
            "capset" => libc::syscall(libc::SYS_capset, place, place),
            "prctl-dumpable" => libc::syscall(libc::SYS_prctl, libc::PR_SET_DUMPABLE, 1, 0, 0, 0),
            "prctl-death-signal" => libc::syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, 0, 0, 0, 0),
            "seccomp" => libc::syscall(libc::SYS_seccomp, 0, 0, null),
            "prlimit" => libc::syscall(libc::SYS_prlimit64, 0, libc::RLIMIT_AS, null, place),
            "unshare" => libc::syscall(libc::SYS_unshare, libc::CLONE_NEWUSER),
            "setns" => libc::syscall(libc::SYS_setns, 0, 0),
            "bpf" => libc::syscall(libc::SYS_bpf, 0, place, 64),
            "io-uring-setup" => libc::syscall(libc::SYS_io_uring_setup, 1, place),
            "userfaultfd" => libc::syscall(libc::SYS_userfaultfd, 0),
            "perf-event-open" => libc::syscall(libc::SYS_perf_event_open, place, 0, -1, -1, 0),
            "keyctl" => libc::syscall(libc::SYS_keyctl, 0, 0, 0, 0, 0),
            "memfd-create" => libc::syscall(libc::SYS_memfd_create, c"x".as_ptr(), 0),
            "memfd-secret" => libc::syscall(libc::SYS_memfd_secret, 0),
            "dup" => libc::syscall(libc::SYS_dup, 0),
            "fcntl" => libc::syscall(libc::SYS_fcntl, 0, libc::F_DUPFD, 0),
            "ioctl" => libc::syscall(libc::SYS_ioctl, 0, libc::TIOCSTI, place),
            "eventfd" => libc::syscall(libc::SYS_eventfd2, 0, 0),
            "epoll" => libc::syscall(libc::SYS_epoll_create1, 0),
            "pipe" => libc::syscall(libc::SYS_pipe2, place, 0),
            "shmget" => libc::syscall(libc::SYS_shmget, 0, 4096, libc::IPC_CREAT | 0o600),
            "mmap-exec" => map(libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1),
            "mmap-file" => map(libc::PROT_READ, libc::MAP_PRIVATE, 0),
            "mprotect-exec" => {
                let page = map(libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1);
                libc::syscall(libc::SYS_mprotect, page, 4096, libc::PROT_READ | libc::PROT_EXEC)
            }
            "pkey-mprotect" => libc::syscall(libc::SYS_pkey_mprotect, null, 4096, libc::PROT_EXEC, -1),
            "personality" => libc::syscall(libc::SYS_personality, 0x0040_0000),
            "write-stderr" => libc::syscall(libc::SYS_write, 2, place, 1),
            "read-other" => libc::syscall(libc::SYS_read, 3, place, 1),
            "nanosleep" => libc::syscall(libc::SYS_nanosleep, place, null),
            "settimer" => libc::syscall(libc::SYS_setitimer, 0, place, null),
            "sigaction" => libc::syscall(libc::SYS_rt_sigaction, libc::SIGTERM, null, place, 8),
            "reboot" => libc::syscall(libc::SYS_reboot, 0, 0, 0, null),
            "compat-int80" => compat_open(),
            "x32-open" => libc::syscall(0x4000_0002, path, 0),
            _ => {
                libc::syscall(libc::SYS_exit_group, 3);
                0
            }
        }
    }
}

/// SAFETY for callers: the mapping is never used.
unsafe fn map(protection: libc::c_int, flags: libc::c_int, fd: libc::c_int) -> libc::c_long {
    // SAFETY: a fresh mapping at an address of the kernel's choice.
    unsafe { libc::syscall(libc::SYS_mmap, 0, 4096, protection, flags, fd, 0) }
}

/// Opens a file through the 32-bit entry, whose numbers mean other calls.
#[cfg(target_arch = "x86_64")]
fn compat_open() -> libc::c_long {
    let result: i64;
    // SAFETY: number 5 is open(path, flags) there; a null path makes it fail if it is let through at all.
    unsafe {
        std::arch::asm!(
            "push rbx", "xor ebx, ebx", "int 0x80", "pop rbx",
            inlateout("rax") 5_i64 => result, in("rcx") 0_i64, in("rdx") 0_i64,
        );
    }
    result
}

#[cfg(not(target_arch = "x86_64"))]
fn compat_open() -> libc::c_long {
    std::process::abort()
}

fn resource(name: &str) {
    match name {
        "spin" => spin(),
        "panic" => {
            let nothing: Vec<u8> = Vec::new();
            std::hint::black_box(nothing[std::hint::black_box(0)]);
        }
        "recursion" => {
            recurse(0);
        }
        "memory" => {
            let mut hog = Vec::new();
            loop {
                hog.push(vec![1_u8; 1 << 20]);
            }
        }
        "sleep" => {
            let word = 0_u32;
            // SAFETY: waits for a wake-up that never comes.
            unsafe { libc::syscall(libc::SYS_futex, &raw const word, libc::FUTEX_WAIT, 0, std::ptr::null::<u8>()) };
        }
        _ => {}
    }
}

fn spin() -> ! {
    let mut number = 0_u64;
    loop {
        number = std::hint::black_box(number.wrapping_add(1));
    }
}

#[expect(unconditional_recursion, reason = "this is the attack")]
fn recurse(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 1024]);
    recurse(depth + 1) + frame.iter().sum::<u64>()
}

/// Writes to the socket past the protocol, or breaks its rules within it.
fn wire(name: &str, call: u64, out: &mut Vec<FromWorker>) {
    let raw = |bytes: &[u8]| {
        let _ = rustix::io::write(rustix::stdio::stdin(), bytes);
    };
    let frame = |handled: u32, cpu_us: u64| {
        let mut bytes = 12_u32.to_le_bytes().to_vec();
        bytes.extend(handled.to_le_bytes());
        bytes.extend(cpu_us.to_le_bytes());
        bytes
    };
    match name {
        "garbage" => raw(&[0x55; 4096]),
        "huge-frame" => raw(&u32::MAX.to_le_bytes()),
        "short-frame" => raw(&[1, 0, 0, 0, 0]),
        "half-frame" => {
            raw(&1000_u32.to_le_bytes());
            spin();
        }
        "false-progress" => raw(&frame(1_000, 1)),
        "lying-clock" => {
            raw(&frame(2, 3_600_000_000));
            spin();
        }
        "fake-progress-spin" => loop {
            raw(&frame(1, 0));
        },
        "backward-clock" => raw(&frame(2, 0)),
        "empty-frames" => loop {
            raw(&frame(1, u64::MAX));
        },
        "unknown-call" => out.push(respond(call + 1_000, 200, vec![], BodySource::None)),
        "second-load" => out.push(FromWorker::Loaded { handlers: vec![] }),
        "answer-often" => {
            for _ in 0..5_000 {
                out.push(respond(call, 200, vec![], BodySource::None));
            }
        }
        "settle-only" => out.push(FromWorker::Settled { call, cpu_us: 0 }),
        "wrong-outcome" => {
            out.push(FromWorker::Done { call, outcome: Outcome::Finished { retry: vec![] }, cpu_us: 1 });
        }
        "bad-header" => {
            out.push(respond(call, 200, vec![("a".into(), b"b\r\nc: d".to_vec())], BodySource::None));
            out.push(FromWorker::Settled { call, cpu_us: 0 });
        }
        "bad-status" => out.push(respond(call, 101, vec![], BodySource::None)),
        "foreign-body" => out.push(respond(call, 200, vec![], BodySource::Host(2))),
        "even-stream" => out.push(respond(call, 200, vec![], BodySource::Script(4))),
        "bad-url" => {
            let request = OutgoingRequest {
                method: "GET".into(),
                url: "file:///etc/passwd".into(),
                headers: vec![],
                body: BodySource::None,
                redirect: Redirect::Follow,
            };
            out.push(FromWorker::Done { call, outcome: Outcome::Request(request), cpu_us: 1 });
        }
        "log-flood" => {
            for _ in 0..50_000 {
                out.push(FromWorker::Log { call: Some(call), level: LogLevel::Log, message: "x".repeat(100) });
            }
            answer(call, "logged", out);
        }
        "too-large" => {
            out.push(respond(call, 200, vec![], BodySource::Inline(vec![0; MAX_FRAME + 1])));
            out.push(FromWorker::Settled { call, cpu_us: 0 });
        }
        "endless-stream" => {
            out.push(respond(call, 200, vec![], BodySource::Script(1)));
            for op in 0..400 {
                let operation = Operation::BodyWrite { body: 1, chunk: vec![0; 60_000], end: false, error: None };
                out.push(FromWorker::HostCall { call, op, operation });
            }
        }
        "broken-stream" => {
            out.push(respond(call, 200, vec![], BodySource::Script(1)));
            let operation = Operation::BodyWrite { body: 1, chunk: b"begun".to_vec(), end: false, error: None };
            out.push(FromWorker::HostCall { call, op: 1, operation });
            out.push(FromWorker::Settled { call, cpu_us: 0 });
        }
        _ => answer(call, "unknown", out),
    }
}

/// Operations that the script's configuration does not name.
fn operation(name: &str) -> Operation {
    let request = |url: &str| OutgoingRequest {
        method: "GET".into(),
        url: url.into(),
        headers: vec![],
        body: BodySource::None,
        redirect: Redirect::Follow,
    };
    match name {
        "fetch-elsewhere" => Operation::Fetch { request: request("https://elsewhere.test/"), incoming: false },
        "fetch-incoming-elsewhere" => Operation::Fetch { request: request("https://elsewhere.test/"), incoming: true },
        "fetch-redirected" => Operation::Fetch { request: request("https://allowed.test/redirect"), incoming: false },
        "fetch-file" => Operation::Fetch { request: request("file:///etc/passwd"), incoming: false },
        "kv-unbound" => Operation::KvGet { binding: "NONE".into(), key: "k".into() },
        "kv-wrong-kind" => Operation::KvGet { binding: "TEXT".into(), key: "k".into() },
        "service-unbound" => Operation::Service { binding: "NONE".into(), request: request("https://x.test/") },
        "limiter-unbound" => Operation::RateLimit { binding: "KV".into(), key: "k".into() },
        "body-unknown" => Operation::BodyRead { body: 2 },
        "body-write-unknown" => Operation::BodyWrite { body: 1, chunk: vec![1], end: false, error: None },
        _ => Operation::Sleep { ms: 0 },
    }
}
