//! The release as it is shipped: built, watched under load, and built again for what was seen (profile-guided optimisation).
//!
//! The load is that of the benchmarks, against the platform alone. Invariant: nothing of the first build is shipped.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::machine;
use crate::run::{check, command, output, target};

/// Reads the profiles of this compiler and of those from LLVM 19 on.
const PROFDATA: &str = "llvm-profdata-19";
/// Keeps what the loads ran together, apart from what they did not: a Worker's process maps fewer pages of it, and the
/// others are not in the way.
const BY_USE: &str = "-Clink-arg=-Wl,-z,keep-text-section-prefix";
/// Seconds each load lasts while it is watched.
const WATCHED: u64 = 2;

/// Builds the release and returns its path. What has not changed since the last time is not done again.
pub(crate) fn build() -> Result<PathBuf> {
    machine::prepare(&machine::FOR_DIST)?;
    let host = host()?;
    let raw = target().join("dist/profiles");
    let watched = compile("instrumented", &host, &format!("-Cprofile-generate={}", raw.display()))?;
    let profile = profile(&watched, &raw)?;
    let shipped = compile("optimised", &host, &format!("-Cprofile-use={} {BY_USE}", profile.display()))?;
    println!("\nthe release is {}", shipped.display());
    Ok(shipped)
}

/// Builds the platform with `flags` in a directory of its own. Naming the target keeps them from build scripts.
fn compile(directory: &str, host: &str, flags: &str) -> Result<PathBuf> {
    let directory = target().join("dist").join(directory);
    check(command("cargo").env("CARGO_TARGET_DIR", &directory).env("RUSTFLAGS", flags).args([
        "build",
        "--release",
        "--locked",
        "--target",
        host,
        "--package",
        "portunus",
    ]))?;
    Ok(directory.join(host).join("release/portunus"))
}

fn host() -> Result<String> {
    let version = output(command("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

/// Puts load on the instrumented program and returns what was seen. It is named after the program: cargo builds anew for
/// another name, and not for other contents.
fn profile(watched: &Path, raw: &Path) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    std::fs::read(watched)?.hash(&mut hasher);
    let profile = target().join(format!("dist/{:016x}.profdata", hasher.finish()));
    if profile.exists() {
        return Ok(profile);
    }
    // Of an older program.
    if raw.exists() {
        std::fs::remove_dir_all(raw)?;
    }
    for load in ["gateway", "access", "agents"] {
        check(
            command("cargo")
                .env("PORTUNUS_BINARY", watched)
                .env("BENCH_SECONDS", WATCHED.to_string())
                .env("BENCH_ALONE", "1")
                .args(["bench", "--locked", "--package", "portunus", "--bench", load]),
        )?;
    }
    check(Command::new(PROFDATA).args(["merge", "--output"]).arg(&profile).arg(raw))?;
    Ok(profile)
}
