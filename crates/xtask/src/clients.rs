//! Real clients against the real binary: the published SDKs, a browser, the TypeScript compiler.
//!
//! Their packages come from their registries into `target/clients`, by the lock files in `tests/clients`. Each suite is a
//! program of its own that exits with 0 or says what is wrong; this module gives it a platform to talk to.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::machine;
use crate::run::{check, command, root, target};

/// A suite that takes longer stands still. Seconds.
const LONGEST_SUITE: &str = "600";
/// Who consents to agents in the demo.
const PERSON: &str = "ana@acme.test";

/// Runs every suite.
pub(crate) fn all() -> Result<()> {
    machine::prepare(&machine::FOR_CLIENTS)?;
    // The same selection as the tests, so that cargo finds everything built and builds nothing with other features.
    check(command("cargo").args(["build", "--workspace", "--tests", "--bins", "--locked"]))?;
    let work = target().join("clients");
    let node = node_packages(&work)?;
    check(suite("node").arg(node.join("node_modules/typescript/bin/tsc")).arg("--project").arg(ours("types")))?;
    let python = python_packages(&work)?;
    examples(&work)?;

    let platform = Platform::start(&work, &[])?;
    platform.run(suite("node").arg(node.join("sdk.mjs")))?;
    platform.run(suite(&python).arg(ours("python/sdk.py")))?;
    platform.run(suite("node").arg(node.join("oidc.mjs")))?;
    platform.run(suite("node").arg(node.join("listener.mjs")))?;
    platform.run(suite(&python).arg(ours("python/mail.py")))?;
    platform.run(suite(&python).arg(ours("python/push.py")))?;
    platform.run(suite(&python).arg(ours("python/signals.py")))?;
    let generate = target().join("debug/portunus-generate");
    platform.run(suite(&python).arg(ours("python/lake.py")).env("GENERATE", generate))?;
    let runner = work.join("python/verify_run.py");
    platform.run(suite("node").arg(node.join("assertion.mjs")).env("PYTHON", &python).env("PYTHON_RUNNER", runner))?;
    drop(platform);

    servers(&work, &node, &python)?;
    Platform::start(&work, &[])?.run(suite("node").arg(node.join("client-conformance.mjs")))?;

    let demo = Platform::start(&work, &["--demo"])?;
    demo.run(suite("node").arg(node.join("intercept.mjs")))?;
    demo.run(suite(&python).arg(ours("python/intercept.py")))?;
    let mut shadow = suite("node");
    shadow.arg(node.join("shadow.mjs")).env("PYTHON", &python).env("PYTHON_SUITES", ours("python"));
    demo.run(shadow.env("NEGATIVE", root().join("crates/inspect/tests/data/other.jsonl")))?;
    let password = demo.password().context("the demo prints no password for Access")?;
    let node_program = Path::new("node");
    for (program, path) in [
        (node_program, node.join("oauth.mjs")),
        (node_program, node.join("conformance.mjs")),
        (&python, ours("python/oauth.py")),
    ] {
        demo.run(suite(program).arg(path).env("PERSON", PERSON).env("PASSWORD", password))?;
    }
    demo.run(suite("node").arg(node.join("portal-conformance.mjs")))?;
    let mut portal = suite("node");
    portal.arg(node.join("portal.mjs")).env("PERSON", PERSON).env("PASSWORD", password);
    demo.run(portal.env("PYTHON", &python).env("PYTHON_SUITES", ours("python")))?;
    demo.run(suite("node").arg(node.join("browser.mjs")))?;
    demo.run(suite("node").arg(node.join("console.mjs")))?;
    demo.run(suite("node").arg(node.join("launcher.mjs")))?;
    demo.run(suite("node").arg(node.join("access.mjs")))?;
    demo.run(suite("node").arg(node.join("mail.mjs")))?;
    demo.run(suite("node").arg(node.join("gallery.mjs")))?;
    println!(
        "\nclients: type definitions, SDKs, Node, Python, MCP's conformance suite and Inspector, a portal, MCP servers of npm and PyPI, an identity provider, the listener, a mail server, the browser, the console and Access in it pass"
    );
    Ok(())
}

/// Runs the MCP servers of npm and PyPI behind a portal, on a platform whose operator lets them run.
fn servers(work: &Path, node: &Path, python: &Path) -> Result<()> {
    let files = Scratch(work.join(format!("files-{}", std::process::id())));
    std::fs::create_dir_all(&files.0)?;
    let prints = |program: &Path, arguments: &[&str]| -> Result<String> {
        let output = Command::new(program).args(arguments).output().context("cannot run an interpreter")?;
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    };
    // Interpreters may be anywhere; what they load beside them has to be readable.
    let of_node = prints(Path::new("node"), &["-p", "require('path').resolve(process.execPath, '../..')"])?;
    let of_python = prints(python, &["-c", "import sys; print(sys.base_prefix)"])?;
    let environment = python.ancestors().nth(2).unwrap_or(work);
    // And Debian's start of Chromium reads its flags from there.
    let flags = PathBuf::from("/etc/chromium.d");
    let mut read = vec![node.to_path_buf(), environment.to_path_buf(), of_python.into(), flags];
    // The system's own is readable as it is, and the root of everything must not be named.
    read.extend(Some(PathBuf::from(of_node)).filter(|path| !path.starts_with("/usr") && path.parent().is_some()));
    let mut config = toml::Table::new();
    let paths = |paths: &[PathBuf]| -> toml::Value {
        paths.iter().map(|path| toml::Value::from(path.display().to_string())).collect::<Vec<_>>().into()
    };
    let mut programs = toml::Table::new();
    programs.insert("allow".to_owned(), true.into());
    programs.insert("read".to_owned(), paths(&read));
    programs.insert("write".to_owned(), paths(std::slice::from_ref(&files.0)));
    config.insert("programs".to_owned(), programs.into());
    let file = files.0.with_extension("toml");
    std::fs::write(&file, config.to_string())?;
    let platform = Platform::start(work, &["--config", file.to_str().context("the path is no text")?])?;
    std::fs::remove_file(&file)?;
    let chromium = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
    let chromium = chromium.into_iter().find(|path| Path::new(path).exists()).context("no Chromium")?;
    platform.run(
        suite("node")
            .arg(node.join("servers.mjs"))
            .env("FILES", &files.0)
            .env("PYTHON", python)
            .env("CHROMIUM", chromium),
    )
}

/// A part of `tests/clients`.
fn ours(path: &str) -> PathBuf {
    root().join("tests/clients").join(path)
}

/// A command that is ended when it stands still.
fn suite(program: impl AsRef<OsStr>) -> Command {
    let mut suite = command("timeout");
    suite.arg(LONGEST_SUITE).arg(program);
    suite
}

/// Copies the Node suites beside their packages, which Node finds there, and installs those.
fn node_packages(work: &Path) -> Result<PathBuf> {
    let directory = work.join("node");
    std::fs::create_dir_all(&directory)?;
    for entry in std::fs::read_dir(ours("node"))? {
        let path = entry?.path();
        if path.is_file()
            && let Some(name) = path.file_name()
        {
            std::fs::copy(&path, directory.join(name))?;
        }
    }
    once(&directory, &ours("node/package-lock.json"), || {
        check(Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&directory))
    })?;
    Ok(directory)
}

/// Installs the Python packages into an environment of their own and returns its interpreter.
fn python_packages(work: &Path) -> Result<PathBuf> {
    let directory = work.join("python");
    std::fs::create_dir_all(&directory)?;
    let python = directory.join("bin/python");
    let requirements = ours("python/requirements.txt");
    once(&directory, &requirements, || {
        check(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&directory))?;
        check(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&requirements))
    })?;
    Ok(python)
}

/// Writes the examples of `docs/access-verify.md` beside what runs them.
fn examples(work: &Path) -> Result<()> {
    let page = std::fs::read_to_string(root().join("docs/access-verify.md"))?;
    for (file, place) in [("verify.mjs", "node"), ("verify.py", "python")] {
        let fence = format!(" file={file}\n");
        let example = page.split_once(&fence).and_then(|(_, rest)| rest.split_once("\n```"));
        let (example, _) = example.with_context(|| format!("docs/access-verify.md has no {file}"))?;
        std::fs::write(work.join(place).join(file), format!("{example}\n"))?;
    }
    std::fs::copy(ours("python/verify_run.py"), work.join("python/verify_run.py"))?;
    Ok(())
}

/// Installs into `directory` unless what `lock` names is there already.
fn once(directory: &Path, lock: &Path, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let stamp = directory.join("installed");
    let wanted = std::fs::read(lock)?;
    if std::fs::read(&stamp).is_ok_and(|present| present == wanted) {
        return Ok(());
    }
    install()?;
    Ok(std::fs::write(stamp, wanted)?)
}

/// A running platform that ends with this value.
struct Platform {
    child: Child,
    ready: Value,
    /// What was printed before the platform was ready, the passwords of the demo's people among it.
    printed: String,
    /// Kept open, so that the process can go on printing.
    _output: Lines<BufReader<ChildStdout>>,
    data: Scratch,
}

/// A directory that is gone with this value.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Platform {
    fn start(work: &Path, arguments: &[&str]) -> Result<Self> {
        let data = Scratch(work.join(format!("data-{}-{}", std::process::id(), arguments.len())));
        let ready_file = data.0.join("ready.json");
        let mut child = Command::new(target().join("debug/portunus"))
            .args(["up", "--console", "127.0.0.1:0", "--proxy", "127.0.0.1:0", "--access", "127.0.0.1:0", "--data"])
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
        let mut printed = String::new();
        loop {
            match lines.next() {
                Some(Ok(line)) if line.starts_with("Ready") => break,
                Some(Ok(line)) => printed.extend([&line, "\n"]),
                _ => {
                    let _ = child.wait();
                    bail!("the platform ended before it was ready");
                }
            }
        }
        let ready = serde_json::from_str(&std::fs::read_to_string(ready_file)?)?;
        Ok(Self { child, ready, printed, _output: lines, data })
    }

    /// The password of the demo's person at Access, as it was printed.
    fn password(&self) -> Option<&str> {
        let (_, rest) = self.printed.split_once(&format!("be {PERSON} with the password "))?;
        rest.split_whitespace().next()
    }

    /// Runs a suite to its end, telling it where the platform is.
    fn run(&self, suite: &mut Command) -> Result<()> {
        for (variable, field) in [
            ("API_URL", "api_url"),
            ("API_TOKEN", "api_token"),
            ("ACCOUNT_ID", "account_id"),
            ("CONSOLE_URL", "console_url"),
            ("SETUP_URL", "setup_url"),
            ("ACCESS_URL", "access_url"),
            ("PROXY", "proxy"),
            ("CA_CERTIFICATE", "ca_certificate"),
        ] {
            let value = self.ready[field].as_str().with_context(|| format!("the ready file has no {field}"))?;
            suite.env(variable, value);
        }
        suite.env("PRINTED", &self.printed);
        suite.env("PORTUNUS", target().join("debug/portunus")).env("DATA", &self.data.0);
        // The platform is on this machine; a proxy the packages came through must not stand before it.
        check(suite.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1"))
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
