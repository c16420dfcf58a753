//! Makes sure the programs the tests drive are on the machine, by the names of their packages.

use anyhow::{Result, bail};

use crate::run::{check, command, exists};

/// A program the tests use, and the Debian package that carries it.
pub(crate) struct Program {
    name: &'static str,
    /// Argument with which it succeeds at once.
    probe: &'static str,
    package: &'static str,
}

pub(crate) const FOR_TESTS: [Program; 6] = [
    Program { name: "curl", probe: "--version", package: "curl" },
    Program { name: "git", probe: "--version", package: "git" },
    Program { name: "openssl", probe: "version", package: "openssl" },
    Program { name: "/usr/lib/postgresql/15/bin/postgres", probe: "--version", package: "postgresql" },
    Program { name: "chromium", probe: "--version", package: "chromium" },
    Program { name: "pebble", probe: "-h", package: "pebble" },
];

pub(crate) const FOR_CLIENTS: [Program; 5] = [
    Program { name: "chromium", probe: "--version", package: "chromium" },
    Program { name: "certutil", probe: "--build-flags", package: "libnss3-tools" },
    Program { name: "openssl", probe: "version", package: "openssl" },
    Program { name: "python3", probe: "-cimport ensurepip", package: "python3-venv" },
    Program { name: "sslscan", probe: "--version", package: "sslscan" },
];

/// Reads what an instrumented program has seen.
pub(crate) const FOR_DIST: [Program; 1] =
    [Program { name: "llvm-profdata-19", probe: "--version", package: "llvm-19" }];

pub(crate) const FOR_GATEWAY_BENCHMARK: [Program; 1] =
    [Program { name: "squid", probe: "-v", package: "squid-openssl" }];

pub(crate) const FOR_ACCESS_BENCHMARK: [Program; 1] = [Program { name: "nginx", probe: "-v", package: "nginx-light" }];

/// Installs what is missing with apt, or names it.
pub(crate) fn prepare(programs: &[Program]) -> Result<()> {
    let missing: Vec<&str> =
        programs.iter().filter(|program| !exists(program.name, program.probe)).map(|program| program.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let root =
        std::fs::metadata("/proc/self").is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0);
    if !root || !exists("apt-get", "--version") {
        bail!("missing on this machine: {}; install them and run again", missing.join(", "));
    }
    // Another installation may be going on, on a machine that has just started for example.
    let patience = ["-o", "DPkg::Lock::Timeout=300"];
    check(command("apt-get").args(patience).args(["update", "-qq"]))?;
    check(
        command("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(patience)
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(&missing),
    )
}
