//! `portunus logs`: the records of the platform that runs over a data directory, live or asked for in SQL.

mod erase;
mod push;
mod relocate;
mod sql;
mod tail;

use std::process::ExitCode;

use anyhow::Result;

use crate::arguments::Logs;

pub(crate) async fn run(logs: Logs) -> Result<ExitCode> {
    match logs {
        Logs::Tail { state, dataset, json } => tail::run(&state, dataset, json).await,
        Logs::Move { state } => relocate::run(&state).await,
        Logs::Erase { state, email, confirm, no_wait } => erase::run(&state, email, confirm, no_wait).await,
        Logs::Push { state, action, job, json } => push::run(&state, action.zip(job), json).await,
        Logs::Sql { state, query, saved, json, output } => {
            let asked = match saved {
                Some(name) => sql::Asked::Saved(name),
                None => sql::Asked::Text(query),
            };
            sql::run(&state, asked, json, output).await
        }
    }
}
