//! Speed and size, as ratios within one run: prepares the peers, builds once in release, runs the crate's benchmark.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::machine;
use crate::run::{check, command, root, target};

#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Subject {
    Gateway,
    Policy,
    Worker,
}

pub(crate) fn run(what: Subject, seconds: u64) -> Result<()> {
    match what {
        Subject::Policy => bench("portunus-policy", "policy", &mut command("cargo")),
        Subject::Worker => {
            let mut cargo = command("cargo");
            cargo.env("WORKERD", workerd()?);
            bench("portunus-worker", "worker", &mut cargo)
        }
        Subject::Gateway => {
            machine::prepare(&machine::FOR_BENCHMARKS)?;
            check(command("cargo").args(["build", "--release", "--locked", "--package", "portunus"]))?;
            let mut cargo = command("cargo");
            cargo.env("BENCH_SECONDS", seconds.to_string());
            cargo.env("PORTUNUS_BINARY", target().join("release/portunus"));
            cargo.env("MITMDUMP", mitmdump()?);
            bench("portunus", "gateway", &mut cargo)
        }
    }
}

fn bench(package: &str, name: &str, cargo: &mut Command) -> Result<()> {
    check(cargo.args(["bench", "--locked", "--package", package, "--bench", name]))
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

fn mitmdump() -> Result<PathBuf> {
    let directory = root().join("target/peers/mitmproxy");
    let program = directory.join("bin/mitmdump");
    if !program.exists() {
        check(Command::new("python3").args(["-m", "venv"]).arg(&directory))?;
        check(Command::new(directory.join("bin/pip")).args(["install", "--quiet", "mitmproxy"]))?;
    }
    Ok(program)
}
