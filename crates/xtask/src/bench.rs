//! Speed and size, as ratios within one run: prepares the peers, builds the release, runs the crate's benchmark.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::bounds::Bounds;
use crate::dist;
use crate::machine;
use crate::run::{check, check_lines, command, root};

#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Subject {
    Access,
    Agents,
    Gateway,
    Logs,
    Policy,
    Worker,
}

/// Measures, and says which bounds were held and which were missed; a missed one is no failure.
pub(crate) fn run(what: Subject, seconds: u64) -> Result<()> {
    let mut bounds = Bounds::default();
    let measured = measure(what, seconds, &mut bounds);
    println!("\n{}", bounds.summary());
    measured
}

fn measure(what: Subject, seconds: u64, bounds: &mut Bounds) -> Result<()> {
    match what {
        Subject::Policy => bench("portunus-policy", "policy", &mut command("cargo"), bounds),
        Subject::Worker => {
            let mut cargo = command("cargo");
            cargo.env("WORKERD", workerd()?);
            bench("portunus-worker", "worker", &mut cargo, bounds)
        }
        Subject::Logs => {
            let mut cargo = command("cargo");
            cargo.env("DUCKDB_PYTHON", duckdb()?);
            bench("portunus-generate", "lake", &mut cargo, bounds)
        }
        Subject::Access => {
            machine::prepare(&machine::FOR_ACCESS_BENCHMARK)?;
            bench("portunus-access", "sessions", &mut command("cargo"), bounds)?;
            let mut cargo = platform(seconds)?;
            cargo.env("OIDC_PROVIDER", oidc_provider()?);
            bench("portunus", "access", &mut cargo, bounds)
        }
        Subject::Agents => {
            let mut cargo = platform(seconds)?;
            cargo.env("CONTEXTFORGE", contextforge()?).env("TOKENIZER", tokenizer()?);
            bench("portunus", "agents", &mut cargo, bounds)
        }
        Subject::Gateway => {
            machine::prepare(&machine::FOR_GATEWAY_BENCHMARK)?;
            let mut cargo = platform(seconds)?;
            cargo.env("MITMDUMP", mitmdump()?);
            bench("portunus", "gateway", &mut cargo, bounds)
        }
    }
}

/// Builds the platform as it is shipped; the command names it to a benchmark.
fn platform(seconds: u64) -> Result<Command> {
    let binary = dist::build()?;
    let mut cargo = command("cargo");
    cargo.env("BENCH_SECONDS", seconds.to_string());
    cargo.env("PORTUNUS_BINARY", binary);
    Ok(cargo)
}

fn bench(package: &str, name: &str, cargo: &mut Command, bounds: &mut Bounds) -> Result<()> {
    check_lines(cargo.args(["bench", "--locked", "--package", package, "--bench", name]), |line| bounds.read(line))
}

fn workerd() -> Result<PathBuf> {
    let directory = root().join("target/peers/workerd");
    let program = directory.join("node_modules/@cloudflare/workerd-linux-64/bin/workerd");
    if !program.exists() {
        std::fs::create_dir_all(&directory)?;
        check(
            Command::new("npm")
                .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"])
                .arg(&directory)
                .arg("workerd"),
        )?;
    }
    Ok(program)
}

/// The directory of the peer's script, beside the packages it imports.
fn oidc_provider() -> Result<PathBuf> {
    let directory = root().join("target/peers/oidc-provider");
    std::fs::create_dir_all(&directory)?;
    std::fs::copy(
        root().join("crates/portunus/benches/access/oidc-provider.mjs"),
        directory.join("oidc-provider.mjs"),
    )?;
    if !directory.join("node_modules/oidc-provider").exists()
        || !directory.join("node_modules/@node-rs/argon2").exists()
    {
        check(
            Command::new("npm")
                .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"])
                .arg(&directory)
                .args(["oidc-provider", "@node-rs/argon2"]),
        )?;
    }
    Ok(directory)
}

/// The directory of a Python environment that has it.
fn contextforge() -> Result<PathBuf> {
    let directory = root().join("target/peers/contextforge");
    if !directory.join("bin/mcpgateway").exists() {
        check(Command::new("python3").args(["-m", "venv"]).arg(&directory))?;
        check(Command::new(directory.join("bin/pip")).args(["install", "--quiet", "mcp-contextforge-gateway"]))?;
    }
    Ok(directory)
}

/// The directory of the tokenizer.
fn tokenizer() -> Result<PathBuf> {
    let directory = root().join("target/peers/tokenizer");
    if !directory.join("node_modules/gpt-tokenizer").exists() {
        std::fs::create_dir_all(&directory)?;
        check(
            Command::new("npm")
                .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"])
                .arg(&directory)
                .arg("gpt-tokenizer"),
        )?;
    }
    Ok(directory)
}

/// A Python interpreter that has it.
fn duckdb() -> Result<PathBuf> {
    let directory = root().join("target/peers/duckdb");
    let python = directory.join("bin/python");
    let known = python.exists()
        && Command::new(&python).args(["-c", "import duckdb"]).output().is_ok_and(|output| output.status.success());
    if !known {
        check(Command::new("python3").args(["-m", "venv"]).arg(&directory))?;
        check(Command::new(directory.join("bin/pip")).args(["install", "--quiet", "duckdb"]))?;
    }
    Ok(python)
}

fn mitmdump() -> Result<PathBuf> {
    let directory = root().join("target/peers/mitmproxy");
    let program = directory.join("bin/mitmdump");
    if !program.exists() {
        check(Command::new("python3").args(["-m", "venv"]).arg(&directory))?;
        check(Command::new(directory.join("bin/pip")).args(["install", "--quiet", "mitmproxy"]))?;
    }
    Ok(program)
}
