//! Speed and size, as ratios within one run.

use anyhow::Result;

#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Subject {
    Gateway,
    Policy,
    Worker,
}

pub(crate) fn run(_what: Subject, _seconds: u64) -> Result<()> {
    Ok(())
}
