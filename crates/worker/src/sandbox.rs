//! What a process gives up before it runs a script.

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
