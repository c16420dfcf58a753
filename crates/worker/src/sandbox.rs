//! What a process gives up before it runs a script. Nothing here can be taken back, and every step fails closed.
//!
//! The zygote gives up what neither it nor its children need: capabilities, new privileges, the file system and the
//! network (landlock). A child also gives up everything but its one socket: descriptors, limits, and all system calls
//! that are not on [`ALLOWED`], whose use ends it on the spot. Invariant: [`enter_child`] returns only if all of it holds.

use std::collections::BTreeMap;
use std::io;

use landlock::{ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus, Scope};
use rustix::process::{DumpableBehavior, Pid, Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// Address space on top of the script's heap limit, for the engine's own buffers: one frame each way, copies of it, and
/// the native side of streams and crypto.
const HEADROOM: u64 = 48 << 20;
/// Stands for the child's own process id until there is a child; not a possible id.
const OWN_PID: u32 = 0x7fed_cba9;

/// Whether the kernel's landlock confines the processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Landlock {
    /// Every kind of access this build knows is denied.
    Full,
    /// An older kernel denies some kinds; seccomp still denies the calls themselves.
    Partial,
    /// The kernel has no landlock; seccomp still denies the calls themselves.
    #[default]
    Unavailable,
}

/// Why a process could not be locked down.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    #[error("{0} was refused by the kernel")]
    Step(&'static str, #[source] io::Error),
    #[error("the landlock ruleset is not accepted")]
    Landlock(#[from] landlock::RulesetError),
    #[error("the system call filter does not build: {0}")]
    Filter(String),
    #[error("the process that forked this one is gone")]
    Orphaned,
}

/// What the zygote works out once for all its children.
pub(crate) struct Plan {
    filter: BpfProgram,
    /// Address space of the zygote, in bytes.
    base: u64,
    zygote: Pid,
}

impl Plan {
    /// Prepares what children need, while this process may still read its own size.
    pub(crate) fn prepare() -> Result<Self, SandboxError> {
        let statm = std::fs::read_to_string("/proc/self/statm").map_err(step("reading the process size"))?;
        let pages: u64 = statm.split(' ').next().and_then(|pages| pages.parse().ok()).unwrap_or(0);
        let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
        Ok(Self { filter: filter()?, base: pages.saturating_mul(page), zygote: rustix::process::getpid() })
    }
}

/// Locks the zygote down. It keeps only the right to fork and to hold sockets.
pub(crate) fn enter_zygote() -> Result<Landlock, SandboxError> {
    // Signals meant for the whole terminal or service must not take the processes away while the host drains.
    let _ = rustix::process::setsid();
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGPIPE] {
        ignore_signal(signal)?;
    }
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(errno("not dumpable"))?;
    rustix::thread::set_no_new_privs(true).map_err(errno("no new privileges"))?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none).map_err(errno("dropping capabilities"))?;
    raise_descriptor_limit()?;
    deny_by_landlock()
}

/// Locks a child down around `socket`, which becomes its descriptor 0. Called right after the fork.
pub(crate) fn enter_child(
    plan: &mut Plan,
    socket: std::os::fd::OwnedFd,
    memory_bytes: u64,
) -> Result<(), SandboxError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(errno("parent death signal"))?;
    // The zygote may have died before the line above; then no signal will ever come.
    if rustix::process::getppid() != Some(plan.zygote) {
        return Err(SandboxError::Orphaned);
    }
    rustix::thread::set_name(c"portunus-worker").map_err(errno("naming"))?;
    rustix::stdio::dup2_stdin(&socket).map_err(errno("placing the socket"))?;
    close_all_but_stdin()?;
    // The number may be reused from here on: the descriptor itself is closed already.
    std::mem::forget(socket);
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(errno("not dumpable"))?;
    let address_space = plan.base.saturating_add(memory_bytes).saturating_add(HEADROOM);
    for (resource, limit) in [
        (Resource::As, address_space),
        (Resource::Nofile, 8),
        (Resource::Nproc, 0),
        (Resource::Fsize, 0),
        (Resource::Core, 0),
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
    ] {
        let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
        rustix::process::setrlimit(resource, limit).map_err(errno("a resource limit"))?;
    }
    let own = u32::try_from(rustix::process::getpid().as_raw_nonzero().get()).unwrap_or(0);
    for instruction in &mut plan.filter {
        if instruction.k == OWN_PID {
            instruction.k = own;
        }
    }
    seccompiler::apply_filter(&plan.filter).map_err(|error| SandboxError::Filter(error.to_string()))
}

/// System calls a child may make whatever their arguments. Memory, time, randomness and leaving; nothing that names a
/// file, a process or a network.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_sched_yield,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Builds the filter of all children: [`ALLOWED`], and a few calls with their arguments checked.
fn filter() -> Result<BpfProgram, SandboxError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    let exec = u64::from(libc::PROT_EXEC.unsigned_abs());
    let anonymous = u64::from(libc::MAP_ANONYMOUS.unsigned_abs());
    let abort = u64::from(libc::SIGABRT.unsigned_abs());
    let checked = [
        // One socket, nothing else.
        (libc::SYS_recvfrom, vec![is(0, 0)?]),
        (libc::SYS_write, vec![is(0, 0)?]),
        // Closed, and nothing can open it: lets the allocator's last words fail, so that `abort` is reached.
        (libc::SYS_write, vec![is(0, 2)?]),
        // Fresh memory only, and none that can be executed.
        (libc::SYS_mmap, vec![masked(2, exec, 0)?, masked(3, anonymous, anonymous)?]),
        (libc::SYS_mprotect, vec![masked(2, exec, 0)?]),
        // `abort`, so that the host can tell exhausted memory from a forbidden call.
        (libc::SYS_tgkill, vec![is(0, u64::from(OWN_PID))?, is(1, u64::from(OWN_PID))?, is(2, abort)?]),
    ];
    for (call, conditions) in checked {
        rules.entry(call).or_default().push(SeccompRule::new(conditions).map_err(filter_error)?);
    }
    let arch = std::env::consts::ARCH.try_into().map_err(filter_error)?;
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, arch)
        .and_then(TryInto::try_into)
        .map_err(filter_error)
}

fn is(argument: u8, value: u64) -> Result<SeccompCondition, SandboxError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value).map_err(filter_error)
}

fn masked(argument: u8, mask: u64, value: u64) -> Result<SeccompCondition, SandboxError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), value).map_err(filter_error)
}

fn filter_error(error: impl std::fmt::Display) -> SandboxError {
    SandboxError::Filter(error.to_string())
}

/// Denies every file, network and cross-process access the kernel can deny. Children inherit it.
fn deny_by_landlock() -> Result<Landlock, SandboxError> {
    let abi = ABI::V6;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Landlock::Full,
        RulesetStatus::PartiallyEnforced => Landlock::Partial,
        RulesetStatus::NotEnforced => Landlock::Unavailable,
    })
}

/// The zygote holds one descriptor per child, and shells commonly grant 1,024.
fn raise_descriptor_limit() -> Result<(), SandboxError> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(Resource::Nofile, raised).map_err(errno("the descriptor limit"))
}

#[expect(unsafe_code, reason = "the standard library has no way to ignore a signal")]
fn ignore_signal(signal: libc::c_int) -> Result<(), SandboxError> {
    // SAFETY: SIG_IGN runs no code, and no other thread exists that could race for the disposition.
    let previous = unsafe { libc::signal(signal, libc::SIG_IGN) };
    if previous == libc::SIG_ERR {
        return Err(SandboxError::Step("ignoring a signal", io::Error::last_os_error()));
    }
    Ok(())
}

#[expect(unsafe_code, reason = "closes descriptors by number, which no safe interface offers")]
fn close_all_but_stdin() -> Result<(), SandboxError> {
    // SAFETY: the caller owns every descriptor of this freshly forked process and uses none but 0 from here on; owners
    // inherited from the zygote are never dropped, because a child leaves only through `_exit`.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 1, libc::c_uint::MAX, 0) };
    if result != 0 {
        return Err(SandboxError::Step("closing descriptors", io::Error::last_os_error()));
    }
    Ok(())
}

fn step(what: &'static str) -> impl Fn(io::Error) -> SandboxError {
    move |error| SandboxError::Step(what, error)
}

fn errno(what: &'static str) -> impl Fn(rustix::io::Errno) -> SandboxError {
    move |error| SandboxError::Step(what, error.into())
}
