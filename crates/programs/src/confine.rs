//! What a program gives up before it runs. None of it can be taken back, and every step that fails ends the start.
//!
//! It keeps the network and what the system's own programs need to run: reading and executing the system's directories,
//! and writing in a directory of its own. Invariant: the host's data is not among what it can read, because it is not on
//! any list; and it can neither trace nor signal what is not its own family.

use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _, RulesetCreated,
    RulesetCreatedAttr as _, RulesetError, Scope, path_beneath_rules,
};
use rustix::process::{Pid, Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::order::{Limits, Order};

/// What programs of this system need to run and to resolve names: no directory in which people or services keep data.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt",
    "/nix/store",
    "/proc",
    "/sys",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/var/cache/fontconfig",
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/fonts",
    "/etc/gai.conf",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/pki",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl",
    "/etc/timezone",
];
/// Devices without a memory. Not the others: a service that runs as root owns the disks. Nor `/dev/shm`, where programs of
/// several people would meet.
const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
/// Data of one process: a stop for growth between two looks at the family.
const DATA_PER_MEMORY: u64 = 2;
/// Tasks of the user the host runs as, over all programs.
const TASKS: u64 = 8_192;

/// Prepares the walls, while errors can still be told.
///
/// # Errors
/// The kernel has no landlock: a program would see all the host's data.
pub(crate) fn walls(order: &Order) -> Result<RulesetCreated, RulesetError> {
    let newest = ABI::V6;
    let all = AccessFs::from_all(newest);
    let read = AccessFs::from_read(newest);
    let own = [order.home.as_path()];
    let system = SYSTEM.iter().map(Path::new).chain(order.read.iter().map(PathBuf::as_path));
    let written = own.into_iter().chain(order.write.iter().map(PathBuf::as_path));
    let devices = AccessFs::from_file(newest) & !AccessFs::Execute;
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .scope(Scope::from_all(newest))?
        .create()?
        .add_rules(path_beneath_rules(system, read))?
        .add_rules(path_beneath_rules(written, all))?
        .add_rules(path_beneath_rules(DEVICES, devices))
}

/// Confines the calling process, right before it becomes the program.
pub(crate) fn enter(walls: RulesetCreated, limits: Limits, launcher: Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The launcher may have died before the line above; then no signal will ever come.
    if rustix::process::getppid() != Some(launcher) {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    for (resource, most) in [
        (Resource::Core, 0),
        (Resource::Nofile, limits.files),
        (Resource::Fsize, limits.file),
        (Resource::Data, limits.memory.saturating_mul(DATA_PER_MEMORY)),
        (Resource::Nproc, TASKS),
        (Resource::Memlock, 64 << 20),
    ] {
        let given = rustix::process::getrlimit(resource).maximum;
        let most = given.map_or(most, |given| given.min(most));
        rustix::process::setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    rustix::process::setpriority_process(None, limits.niceness)?;
    // Of all processes this is the one to lose. Where the kernel does not take it, the limits above remain.
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
    rustix::thread::set_no_new_privs(true)?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none)?;
    walls.restrict_self().map(drop).map_err(io::Error::other)
}
