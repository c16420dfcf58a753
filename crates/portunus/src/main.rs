//! The `portunus` command: reads arguments, runs one command, turns its end into an exit code.
//!
//! It decides nothing itself. Invariant: exit code 0 means done, 1 failed, 2 wrong usage, and an error prints its whole
//! chain once, on standard error.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool talks on its standard streams")]

mod allocator;
mod arguments;
mod commands;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

#[global_allocator]
static ALLOCATOR: allocator::ByRole = allocator::ByRole::new();

fn main() -> ExitCode {
    // Before anything else: the same program is also the process that Workers are forked from.
    worker::run_if_zygote();
    // And the one that starts programs which are MCP servers.
    programs::run_if_launcher();
    let arguments = Arguments::parse();
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("portunus: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(arguments.command)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("portunus: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// As many threads as cores. On a single core, a scheduler for several would only cost.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let single = std::thread::available_parallelism().is_ok_and(|cores| cores.get() == 1);
    let mut builder = if single {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    builder.enable_all().build()
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up(up) => commands::up::run(up).await,
        Command::Check(check) => commands::check::run(&check),
        Command::Explain(explain) => commands::explain::run(&explain),
        Command::Replay(replay) => commands::replay::run(replay).await,
        Command::Token(token) => commands::token::run(token).await,
        Command::User(user) => commands::user::run(user).await,
        Command::Logs(logs) => commands::logs::run(logs).await,
        Command::Worker(worker) => commands::worker::run(worker).await,
        Command::Mcp(mcp) => commands::mcp::run(mcp),
        Command::Ca(ca) => commands::ca::run(ca).await,
        Command::Catalog(catalog) => commands::catalog::run(catalog).await,
        Command::Key(key) => commands::key::run(key).await,
    }
}
