//! `portunus ca export`.

use std::process::ExitCode;

use anyhow::Result;

use super::state::Opened;
use crate::arguments::Ca;

pub(crate) async fn run(ca: Ca) -> Result<ExitCode> {
    let Ca::Export { state } = ca;
    let opened = Opened::open(&state).await?;
    let authority = server::account::load_authority(&opened.store, opened.principal(), opened.account).await?;
    print!("{}", authority.certificate_pem());
    Ok(ExitCode::SUCCESS)
}
