//! `portunus up`: starts the platform, says what to do next, and waits for the signal to stop.

use std::process::ExitCode;

use anyhow::{Context, Result};
use server::config::{Config, Overrides};
use server::{Notice, Platform};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::arguments::Up;

pub(crate) async fn run(up: Up) -> Result<ExitCode> {
    let filter = EnvFilter::builder().with_default_directive(tracing::Level::WARN.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    // Taken before anything listens, so that a signal during the start ends it in order too.
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let overrides = Overrides { data: up.state.data, console: up.console, proxy: up.proxy };
    let config = Config::load(up.state.config.as_deref(), overrides)?;
    let platform = Platform::start(config, up.demo).await?;
    if let Some(path) = &up.ready_file {
        platform.notice.ready.write(path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    announce(&platform.notice);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    eprintln!("portunus: stopping; requests in flight may finish");
    platform.stop().await;
    Ok(ExitCode::SUCCESS)
}

fn announce(notice: &Notice) {
    let ready = &notice.ready;
    println!("Portunus");
    println!("  console      {}", ready.console_url);
    println!("  API          {}", ready.api_url);
    println!("  proxy        {}", ready.proxy);
    println!("  authority    {}", ready.ca_certificate.display());
    println!();
    if notice.needs_setup {
        println!("First run: create the administrator at");
        println!("  {}", ready.setup_url);
    }
    for (rule, reason) in &notice.rule_errors {
        println!("Rule {rule} does not compile and blocks in its place: {reason}");
    }
    if notice.commands.is_empty() {
        println!("Next:");
        println!("  trust the authority on one device, or pass it to one program: curl --cacert {}", ready.ca_certificate.display());
        println!("  give a person a proxy token: portunus user add ana@example.com");
        println!("  point their browser at the proxy, then watch: portunus logs tail");
    } else {
        println!("Paste these:");
        for (expectation, command) in &notice.commands {
            println!();
            println!("  # {expectation}");
            println!("  {command}");
        }
        println!();
        println!("  # Why each was decided so:");
        println!("  portunus logs tail");
    }
    println!();
    println!("Ready. Stop with Ctrl-C.");
}
