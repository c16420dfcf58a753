//! Development tasks: `cargo xtask test | lint | layers | licences | clients | catalog | bench | dist | generate | world`.
//!
//! It decides what "green" means. It deliberately ships nothing: no product crate depends on it.

#![expect(clippy::print_stdout, reason = "a command line tool talks on standard output")]

mod bench;
mod bounds;
mod catalog;
mod clients;
mod dist;
mod generate;
mod layers;
mod licences;
mod machine;
mod run;
mod test;
mod world;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Development tasks of Portunus")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Everything the project promises: lint, layers, licences, all tests, real clients against the real binary.
    Test {
        /// Leave out the real clients (SDKs, Node, Python, a browser), which need packages from registries.
        #[arg(long)]
        without_clients: bool,
    },
    /// Formatting, clippy with warnings as errors, layers and budgets.
    Lint,
    /// Which crate may use which, and the size budgets.
    Layers,
    /// Licences of every dependency; advisories and yanked versions too where `cargo-deny` and its database are to be had.
    Licences,
    /// Real clients only, against a debug build.
    Clients,
    /// Makes the data file of the application catalogue from published rows, what we add, and the numbers given before.
    Catalog {
        /// The published rows, merged (`app-catalog.jsonl`); without it the additions are put on the file as it is.
        #[arg(long, value_name = "FILE")]
        raw: Option<std::path::PathBuf>,
        /// The edition, as a date.
        #[arg(long, value_name = "YYYY-MM-DD")]
        edition: String,
    },
    /// Builds the release as it is shipped: optimised for what it does under load.
    Dist,
    /// Puts generated traffic into the journal of a data directory; `--help` lists what can be chosen.
    #[command(disable_help_flag = true)]
    Generate {
        /// What the generator is told, such as `--days 30 --rows 1000000 --data DIR`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Makes the shapes of the world map again from public data.
    World,
    /// Measures speed and size as ratios within one run, of the release as it is shipped.
    Bench {
        #[arg(value_enum)]
        what: bench::Subject,
        /// Seconds each measured load lasts.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Test { without_clients } => test::everything(without_clients),
        Task::Lint => test::lint(),
        Task::Layers => layers::check(),
        Task::Licences => licences::check().map(|advisories| advisories.report()),
        Task::Clients => clients::all(),
        Task::Catalog { raw, edition } => catalog::make(raw.as_deref(), &edition),
        Task::Generate { arguments } => generate::run(&arguments),
        Task::World => world::make(),
        Task::Dist => dist::build().map(drop),
        Task::Bench { what, seconds } => bench::run(what, seconds),
    }
}
