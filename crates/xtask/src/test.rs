//! What green means.

use anyhow::Result;

use crate::run::{check, command, exists};
use crate::{clients, layers, licences, machine};

/// Runs every check the project promises, cheapest first.
pub(crate) fn everything(without_clients: bool) -> Result<()> {
    machine::prepare(&machine::FOR_TESTS)?;
    lint()?;
    let advisories = licences::check()?;
    tests()?;
    if !without_clients {
        clients::all()?;
    }
    println!("\nevery check that was made holds");
    if without_clients {
        println!("\nNOT CHECKED: the real clients (--without-clients)");
    }
    advisories.report();
    Ok(())
}

pub(crate) fn lint() -> Result<()> {
    check(command("cargo").args(["fmt", "--all", "--check"]))?;
    layers::check()?;
    check(command("cargo").args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
}

fn tests() -> Result<()> {
    if !exists("cargo-nextest", "--version") {
        check(command("cargo").args(["install", "cargo-nextest", "--locked"]))?;
    }
    check(command("cargo").args(["nextest", "run", "--workspace", "--locked", "--no-fail-fast"]))
}
