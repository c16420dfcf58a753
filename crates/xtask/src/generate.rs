//! Generated traffic for a data directory: runs the tool of the crate that makes it, built for speed.

use anyhow::Result;

use crate::run::{check, command};

/// Hands the arguments on.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut cargo = command("cargo");
    cargo.args([
        "run",
        "--release",
        "--locked",
        "--quiet",
        "--package",
        "portunus-generate",
        "--no-default-features",
        "--",
    ]);
    // It runs in the root of the checkout, and paths are meant from where the caller is.
    cargo.current_dir(std::env::current_dir()?);
    check(cargo.args(arguments))
}
