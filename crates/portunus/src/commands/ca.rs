//! `portunus ca export`.

use std::process::ExitCode;

use anyhow::Result;

use super::state::Opened;
use crate::arguments::Ca;

pub(crate) async fn run(ca: Ca) -> Result<ExitCode> {
    let Ca::Export { state } = ca;
    let opened = Opened::open(&state).await?;
    print!("{}", server::authority_in_use(&opened.store, opened.account).await?);
    Ok(ExitCode::SUCCESS)
}
