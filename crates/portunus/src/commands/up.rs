//! `portunus up`: starts the platform, says what to do next, and waits for the signal to stop.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use server::config::{Config, Overrides};
use server::{Notice, Platform, StartError};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::arguments::Up;

pub(crate) async fn run(up: Up) -> Result<ExitCode> {
    let filter = EnvFilter::builder().with_default_directive(tracing::Level::WARN.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    raise_descriptor_limit();
    // Taken before anything listens, so that a signal during the start ends it in order too.
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let beside = Beside::new(&up);
    let overrides = Overrides { data: up.state.data, console: up.console, proxy: up.proxy, access: up.access };
    let config = Config::load(up.state.config.as_deref(), overrides)?;
    let platform = Platform::start(config, up.demo).await.map_err(advise)?;
    if let Some(path) = &up.ready_file
        && let Err(error) = platform.notice.ready.write(path)
    {
        platform.stop().await;
        return Err(error).with_context(|| format!("cannot write {}", path.display()));
    }
    announce(&platform.notice, &beside);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    eprintln!("portunus: stopping; requests in flight may finish");
    platform.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// Adds what to do where the reason alone does not say it.
fn advise(error: StartError) -> anyhow::Error {
    let taken = matches!(&error, StartError::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse);
    let error = anyhow::Error::from(error);
    if taken {
        error.context("another program has the address; choose one with --console, --proxy or --access")
    } else {
        error
    }
}

/// How to call this program again for commands on the same platform, ready to paste.
struct Beside {
    program: String,
    flags: String,
}

impl Beside {
    fn new(up: &Up) -> Self {
        let program = std::env::args_os().next().unwrap_or_else(|| "portunus".into());
        let mut flags = String::new();
        for (flag, path) in [("--data", &up.state.data), ("--config", &up.state.config)] {
            if let Some(path) = path {
                flags.push_str(&format!(" {flag} {}", quoted(path)));
            }
        }
        Self { program: quoted(Path::new(&program)), flags }
    }

    fn command(&self, words: &str) -> String {
        format!("{} {words}{}", self.program, self.flags)
    }
}

/// The path as one word of a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-+:@%,".contains(character);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// Raises the soft limit on open files to the hard one: every connection and every Worker process holds some.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
}

fn announce(notice: &Notice, beside: &Beside) {
    let ready = &notice.ready;
    println!("Portunus");
    println!("  console      {}", ready.console_url);
    println!("  API          {}", ready.api_url);
    println!("  proxy        {}", ready.proxy);
    println!("  access       {}", ready.access_url);
    println!("  authority    {}", ready.ca_certificate.display());
    println!();
    if notice.needs_setup {
        println!("First run: create the administrator at");
        println!("  {}", ready.setup_url);
        println!();
    }
    for (rule, reason) in &notice.rule_errors {
        println!("Rule {rule} does not compile and blocks in its place: {reason}");
    }
    if notice.commands.is_empty() {
        println!("Next:");
        println!(
            "  trust the authority on one device, or pass it to one program: curl --cacert {}",
            ready.ca_certificate.display()
        );
        println!("  give a person a proxy token: {}", beside.command("user add ana@example.com"));
        println!("  point their browser at the proxy, then watch: {}", beside.command("logs tail"));
    } else {
        println!("Paste these:");
        for (expectation, command) in &notice.commands {
            println!();
            println!("  # {expectation}");
            println!("  {command}");
        }
        println!();
        println!("  # Why each was decided so:");
        println!("  {}", beside.command("logs tail"));
    }
    println!();
    println!("Ready. Stop with Ctrl-C.");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::quoted;

    #[test]
    fn a_printed_path_is_one_word_of_a_shell() {
        for (path, word) in [
            ("/var/lib/portunus", "/var/lib/portunus"),
            ("my data", "'my data'"),
            ("it's", r"'it'\''s'"),
            ("$(reboot)", "'$(reboot)'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(Path::new(path)), word);
        }
    }
}
