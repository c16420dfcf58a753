//! `portunus logs`: the records of the platform that runs over a data directory, live or asked for in SQL.

mod sql;
mod tail;

use std::process::ExitCode;

use anyhow::Result;

use crate::arguments::Logs;

pub(crate) async fn run(logs: Logs) -> Result<ExitCode> {
    match logs {
        Logs::Tail { state, dataset, json } => tail::run(&state, dataset, json).await,
        Logs::Sql { state, query, json, output } => sql::run(&state, query, json, output).await,
    }
}
