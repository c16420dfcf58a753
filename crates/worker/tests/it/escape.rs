//! The list of escape attempts, made from inside a process that an attacker has taken over completely.
//!
//! Each must end the process or be refused, and each must leave the host side answering. What a script alone can do is a
//! part of this: the attacker here needs no engine.

use std::sync::Arc;
use std::time::Duration;

use portunus_worker::{CallErrorKind, Runtime, RuntimeConfig};

use crate::support::{hostile, script, text};

/// System calls that end the process on the spot.
const FORBIDDEN: &[&str] = &[
    // Files.
    "openat",
    "openat2",
    "openat-proc",
    "readlinkat",
    "getdents",
    "statx",
    "unlinkat",
    "mount",
    "chroot",
    // Network.
    "socket",
    "socket-unix",
    "socketpair",
    "connect",
    "sendmsg",
    "recvmsg",
    // Processes.
    "clone",
    "clone3",
    "execve",
    "execveat",
    "kill",
    "kill-all",
    "tgkill-other",
    "tgkill-own-stop",
    "pidfd-open",
    "ptrace",
    "process-vm-readv",
    // Privileges and the sandbox itself.
    "setuid",
    "capset",
    "prctl-dumpable",
    "prctl-death-signal",
    "seccomp",
    "prlimit",
    "unshare",
    "setns",
    "personality",
    // Kernel surface.
    "bpf",
    "io-uring-setup",
    "userfaultfd",
    "perf-event-open",
    "keyctl",
    "reboot",
    "shmget",
    // Descriptors.
    "memfd-create",
    "memfd-secret",
    "dup",
    "fcntl",
    "ioctl",
    "eventfd",
    "epoll",
    "pipe",
    "read-other",
    // Executable or foreign memory.
    "mmap-exec",
    "mmap-file",
    "mprotect-exec",
    "pkey-mprotect",
    // Time and signals.
    "nanosleep",
    "settimer",
    "sigaction",
    // The other entries into the kernel.
    "compat-int80",
    "x32-open",
];

#[tokio::test]
async fn every_forbidden_system_call_ends_the_process_and_nothing_else() {
    let runtime = Runtime::start(hostile()).await.unwrap();
    let bystander = Arc::new(script("bystander", ""));
    assert_eq!(text(&runtime, &bystander, "ok").await.unwrap(), "ok");
    let pid = text(&runtime, &bystander, "pid").await.unwrap();
    for name in FORBIDDEN {
        if cfg!(not(target_arch = "x86_64")) && matches!(*name, "compat-int80" | "x32-open") {
            continue;
        }
        let script = Arc::new(script(name, ""));
        let error = text(&runtime, &script, &format!("syscall/{name}")).await.expect_err(name);
        assert_eq!(error.kind, CallErrorKind::Killed, "{name}: {error}");
        assert!(error.message.contains("forbidden system call"), "{name}: {error}");
    }
    assert_eq!(text(&runtime, &bystander, "pid").await.unwrap(), pid, "the bystander's process is untouched");
    assert_eq!(runtime.stats().crashed, u64::try_from(FORBIDDEN.len()).unwrap());
    runtime.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn exhausting_a_resource_costs_only_the_process() {
    let runtime = Runtime::start(hostile()).await.unwrap();
    for (name, kind) in [
        ("spin", CallErrorKind::Cpu),
        ("memory", CallErrorKind::Memory),
        ("recursion", CallErrorKind::Memory),
        ("panic", CallErrorKind::Killed),
    ] {
        let mut script = script(name, "");
        script.limits.cpu_ms = if name == "spin" { 50 } else { 20_000 };
        let script = Arc::new(script);
        let error = text(&runtime, &script, &format!("resource/{name}")).await.expect_err(name);
        assert_eq!(error.kind, kind, "{name}: {error}");
        assert_eq!(text(&runtime, &script, "ok").await.unwrap(), "ok", "{name}: the next call gets a new process");
    }
    assert_eq!(runtime.stats().killed_cpu, 1);
}

#[tokio::test]
async fn a_process_that_sleeps_on_a_message_is_killed() {
    let runtime = Runtime::start(RuntimeConfig { stall: Duration::from_millis(500), ..hostile() }).await.unwrap();
    let script = Arc::new(script("sleep", ""));
    let error = text(&runtime, &script, "resource/sleep").await.unwrap_err();
    assert_eq!(error.kind, CallErrorKind::Killed, "{error}");
    assert!(error.message.contains("stopped answering"), "{error}");
    assert_eq!(runtime.stats().killed_stalled, 1);
}

#[tokio::test]
async fn a_process_that_breaks_the_protocol_is_killed() {
    let runtime = Runtime::start(hostile()).await.unwrap();
    for (name, kind) in [
        ("garbage", CallErrorKind::Protocol),
        ("huge-frame", CallErrorKind::Protocol),
        ("short-frame", CallErrorKind::Protocol),
        ("false-progress", CallErrorKind::Protocol),
        ("lying-clock", CallErrorKind::Protocol),
        ("backward-clock", CallErrorKind::Protocol),
        ("unknown-call", CallErrorKind::Protocol),
        ("second-load", CallErrorKind::Protocol),
        ("settle-only", CallErrorKind::Protocol),
        ("half-frame", CallErrorKind::Cpu),
        ("fake-progress-spin", CallErrorKind::Cpu),
        ("empty-frames", CallErrorKind::Cpu),
        ("wrong-outcome", CallErrorKind::Protocol),
        ("bad-header", CallErrorKind::Exception),
        ("bad-status", CallErrorKind::Exception),
        ("bad-url", CallErrorKind::Exception),
        ("foreign-body", CallErrorKind::Exception),
        ("even-stream", CallErrorKind::Exception),
        ("too-large", CallErrorKind::Output),
    ] {
        let script = Arc::new(script(name, ""));
        let error = text(&runtime, &script, &format!("wire/{name}")).await.expect_err(name);
        assert_eq!(error.kind, kind, "{name}: {error}");
        assert_eq!(text(&runtime, &script, "ok").await.unwrap(), "ok", "{name}: the next call is served");
    }
}

#[tokio::test]
async fn floods_are_bounded() {
    let runtime = Runtime::start(hostile()).await.unwrap();
    let mut script = script("floods", "");
    script.limits.cpu_ms = 20_000;
    let script = Arc::new(script);
    assert_eq!(
        text(&runtime, &script, "syscall/write-stderr").await.unwrap(),
        "refused: Bad file descriptor (os error 9)"
    );
    let reply = crate::support::fetch(&runtime, &script, "wire/log-flood").await.unwrap();
    let bytes: usize = reply.report.logs.iter().map(|line| line.message.len()).sum();
    assert!(bytes < 1 << 20, "{bytes} bytes of log were kept");
    let body = text(&runtime, &script, "wire/endless-stream").await.unwrap();
    assert!(body.starts_with("broken body"), "{body}");
    let refused = text(&runtime, &script, "flood-operations").await.unwrap();
    assert!(refused.contains("Ok(") || refused.contains("too many operations"), "{refused}");
    assert_eq!(text(&runtime, &script, "wire/answer-often").await.unwrap(), "", "the first answer stands");
    assert_eq!(
        text(&runtime, &script, "wire/broken-stream").await.unwrap(),
        "broken body: the worker ended before its body did"
    );
    assert_eq!(text(&runtime, &script, "ok").await.unwrap(), "ok");
}

#[tokio::test]
async fn operations_that_the_configuration_does_not_name_are_refused() {
    let runtime = Runtime::start(hostile()).await.unwrap();
    let script = Arc::new(script("operations", ""));
    for (name, reason) in [
        ("fetch-elsewhere", "egress list"),
        ("fetch-incoming-elsewhere", "egress list"),
        ("fetch-redirected", "egress list"),
        ("fetch-file", "only http and https"),
        ("kv-unbound", "no such binding"),
        ("kv-wrong-kind", "no such binding"),
        ("service-unbound", "no such binding"),
        ("limiter-unbound", "no such binding"),
        ("body-unknown", "used already"),
        ("body-write-unknown", "nobody reads"),
    ] {
        let result = text(&runtime, &script, &format!("operation/{name}")).await.unwrap();
        assert!(result.starts_with("Err(") && result.contains(reason), "{name}: {result}");
    }
}
