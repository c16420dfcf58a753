//! Makes sure the programs the tests drive are on the machine, by the names of their packages.

use std::path::Path;

use anyhow::{Result, bail};

use crate::run::{check, command, exists};

/// A program the tests use, and the Debian package that carries it.
pub(crate) struct Program {
    name: &'static str,
    /// Argument with which it succeeds at once.
    probe: &'static str,
    package: &'static str,
}

/// The server's program, which Debian keeps off the path, in a directory of its version.
const POSTGRES: &str = "postgres";
const POSTGRES_VERSIONS: &str = "/usr/lib/postgresql";
/// Its TLS is a library, and no program.
const GNUTLS_OF_RSYSLOG: &str = "-cimport glob, sys; sys.exit(not glob.glob('/usr/lib/*/rsyslog/lmnsd_gtls.so'))";
/// Another installation may be going on; it is waited for, in seconds.
const WAIT_FOR_APT: &str = "DPkg::Lock::Timeout=300";

pub(crate) const FOR_TESTS: [Program; 8] = [
    Program { name: "node", probe: "--version", package: "nodejs" },
    Program { name: "python3", probe: "--version", package: "python3" },
    Program { name: "curl", probe: "--version", package: "curl" },
    Program { name: "git", probe: "--version", package: "git" },
    Program { name: "openssl", probe: "version", package: "openssl" },
    Program { name: POSTGRES, probe: "--version", package: "postgresql" },
    Program { name: "chromium", probe: "--version", package: "chromium" },
    Program { name: "pebble", probe: "-h", package: "pebble" },
];

pub(crate) const FOR_CLIENTS: [Program; 10] = [
    Program { name: "node", probe: "--version", package: "nodejs" },
    Program { name: "npm", probe: "--version", package: "npm" },
    Program { name: "python3", probe: "--version", package: "python3" },
    Program { name: "chromium", probe: "--version", package: "chromium" },
    Program { name: "certutil", probe: "--build-flags", package: "libnss3-tools" },
    Program { name: "openssl", probe: "version", package: "openssl" },
    Program { name: "python3", probe: "-cimport ensurepip", package: "python3-venv" },
    Program { name: "sslscan", probe: "--version", package: "sslscan" },
    Program { name: "rsyslogd", probe: "-v", package: "rsyslog" },
    Program { name: "python3", probe: GNUTLS_OF_RSYSLOG, package: "rsyslog-gnutls" },
];

/// Reads what an instrumented program has seen.
pub(crate) const FOR_DIST: [Program; 1] =
    [Program { name: "llvm-profdata-19", probe: "--version", package: "llvm-19" }];

pub(crate) const FOR_GATEWAY_BENCHMARK: [Program; 1] =
    [Program { name: "squid", probe: "-v", package: "squid-openssl" }];

pub(crate) const FOR_ACCESS_BENCHMARK: [Program; 1] = [Program { name: "nginx", probe: "-v", package: "nginx-light" }];

/// Installs what is missing with apt, or names it.
pub(crate) fn prepare(programs: &[Program]) -> Result<()> {
    let missing: Vec<&str> = programs
        .iter()
        .filter(|program| !is_present(program, Path::new(POSTGRES_VERSIONS)))
        .map(|program| program.package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let root =
        std::fs::metadata("/proc/self").is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0);
    if !root || !exists("apt-get", "--version") {
        bail!("missing on this machine: {}; install them and run again", missing.join(", "));
    }
    check(command("apt-get").args(["-o", WAIT_FOR_APT, "update", "-qq"]))?;
    check(
        command("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["-o", WAIT_FOR_APT, "install", "-y", "-qq", "--no-install-recommends"])
            .args(&missing),
    )
}

/// Tells whether a program can be started; of Postgres any version will do.
fn is_present(program: &Program, versions: &Path) -> bool {
    if exists(program.name, program.probe) {
        return true;
    }
    let installed = if program.name == POSTGRES { std::fs::read_dir(versions).ok() } else { None };
    installed.into_iter().flatten().flatten().any(|version| {
        let program_of_it = version.path().join("bin").join(program.name);
        program_of_it.to_str().is_some_and(|path| exists(path, program.probe))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;

    struct Directory(PathBuf);

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn any_version_of_postgres_will_do() {
        let versions = Directory(std::env::temp_dir().join(format!("portunus-versions-{}", std::process::id())));
        let postgres = Program { name: POSTGRES, probe: "--version", package: "postgresql" };
        if exists(POSTGRES, "--version") {
            return; // It is on the path of this machine, and found there.
        }
        assert!(!is_present(&postgres, &versions.0));
        let bin = versions.0.join("99/bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::write(bin.join(POSTGRES), "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(bin.join(POSTGRES), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(is_present(&postgres, &versions.0));
    }

    #[test]
    fn whatever_a_suite_starts_is_installed_for_it() {
        let packages: Vec<&str> = FOR_CLIENTS.iter().map(|program| program.package).collect();
        for package in ["nodejs", "npm", "python3", "python3-venv", "chromium"] {
            assert!(packages.contains(&package), "{package}");
        }
    }
}
