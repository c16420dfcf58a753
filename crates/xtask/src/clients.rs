//! Real clients against the real binary: the published SDKs, a browser, the TypeScript compiler.
//!
//! Their packages come from their registries into `target/clients`, by lock files in `tests/clients`. Each suite is a
//! program of its own that exits with 0 or says what is wrong; this module gives it a platform to talk to.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run::{check, command, root};

/// Runs every suite.
pub(crate) fn all() -> Result<()> {
    check(command("cargo").args(["build", "--package", "portunus", "--locked"]))?;
    let work = root().join("target/clients");
    std::fs::create_dir_all(&work)?;
    let node = node_packages(&work)?;
    types(&node)?;
    let python = python_packages(&work)?;
    let platform = Platform::start(&[])?;
    check(platform.told(Command::new("node").arg(node.join("sdk.mjs"))))?;
    check(platform.told(Command::new(&python).arg(root().join("tests/clients/python/sdk.py"))))?;
    drop(platform);
    let demo = Platform::start(&["--demo"])?;
    check(demo.told(Command::new("node").arg(node.join("browser.mjs"))))?;
    println!("clients: SDKs (Node, Python), browser and type definitions pass");
    Ok(())
}

/// Copies the Node suites beside their packages and installs those.
fn node_packages(work: &Path) -> Result<PathBuf> {
    let directory = work.join("node");
    std::fs::create_dir_all(&directory)?;
    for entry in std::fs::read_dir(root().join("tests/clients/node"))? {
        let path = entry?.path();
        if let Some(name) = path.file_name() {
            std::fs::copy(&path, directory.join(name))?;
        }
    }
    check(Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&directory))?;
    Ok(directory)
}

/// The published type definitions must accept every template and demo Worker, alone.
fn types(node: &Path) -> Result<()> {
    let mut compiler = Command::new("node");
    compiler.arg(node.join("node_modules/typescript/bin/tsc"));
    compiler
        .args(["--noEmit", "--strict", "--target", "es2023", "--module", "esnext", "--lib", "es2023", "--types", ""]);
    compiler.args(["--moduleDetection", "force"]);
    compiler.arg(root().join("crates/worker/types/portunus.d.ts"));
    for directory in ["crates/worker/templates", "crates/server/demo"] {
        for entry in std::fs::read_dir(root().join(directory))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "ts") {
                compiler.arg(path);
            }
        }
    }
    check(&mut compiler)
}

fn python_packages(work: &Path) -> Result<PathBuf> {
    let directory = work.join("python");
    let python = directory.join("bin/python");
    if !python.exists() {
        check(Command::new("python3").args(["-m", "venv"]).arg(&directory))?;
    }
    let requirements = root().join("tests/clients/python/requirements.txt");
    check(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(requirements))?;
    Ok(python)
}

/// A running platform that ends with this value.
struct Platform {
    child: Child,
    ready: Value,
    _data: Scratch,
}

/// A directory that is gone with this value.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Platform {
    fn start(arguments: &[&str]) -> Result<Self> {
        let data = Scratch(root().join(format!("target/clients/data-{}-{}", std::process::id(), arguments.len())));
        let ready_file = data.0.join("ready.json");
        let mut child = command("target/debug/portunus")
            .args(["up", "--console", "127.0.0.1:0", "--proxy", "127.0.0.1:0", "--data"])
            .arg(&data.0)
            .arg("--ready-file")
            .arg(&ready_file)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the platform")?;
        let output = child.stdout.take().context("no standard output")?;
        let mut lines = BufReader::new(output).lines();
        loop {
            match lines.next() {
                Some(Ok(line)) if line.starts_with("Ready") => break,
                Some(Ok(_)) => {}
                _ => {
                    let _ = child.wait();
                    bail!("the platform ended before it was ready");
                }
            }
        }
        let ready = serde_json::from_str(&std::fs::read_to_string(ready_file)?)?;
        Ok(Self { child, ready, _data: data })
    }

    /// Tells a suite where the platform is.
    fn told<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        for (variable, field) in [
            ("API_URL", "api_url"),
            ("API_TOKEN", "api_token"),
            ("ACCOUNT_ID", "account_id"),
            ("CONSOLE_URL", "console_url"),
            ("SETUP_URL", "setup_url"),
            ("PROXY", "proxy"),
            ("CA_CERTIFICATE", "ca_certificate"),
        ] {
            command.env(variable, self.ready[field].as_str().unwrap_or_default());
        }
        command
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
