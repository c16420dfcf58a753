//! `portunus user add | list`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;
use store::{Group, ReadUsers, User as Person, WriteUsers};
use types::UserId;

use super::state::Opened;
use crate::arguments::User;

pub(crate) async fn run(user: User) -> Result<ExitCode> {
    match user {
        User::Add { state, email, name, groups, json } => {
            let opened = Opened::open(&state).await?;
            let grant = opened.grant::<WriteUsers>()?;
            let groups = groups.into_iter().map(|name| Group { id: name.clone(), name, email: None }).collect();
            let person = Person { email, name, groups, disabled: false };
            let person = opened.store.users().create(&grant, UserId(uuid::Uuid::new_v4()), person).await?;
            let (_, text) = opened.store.proxy_tokens().issue(&grant, person.id, "command line".into(), None).await?;
            if json {
                println!(
                    "{}",
                    json!({ "id": person.id, "email": person.document.email, "proxy_token": text.expose() })
                );
            } else {
                println!("{}", text.expose());
                eprintln!("proxy token of {}: user name is the address, keep the text", person.document.email);
            }
        }
        User::List { state, json } => {
            let opened = Opened::open(&state).await?;
            for person in opened.store.users().list(&opened.grant::<ReadUsers>()?).await? {
                let groups: Vec<_> = person.document.groups.iter().map(|group| group.name.as_str()).collect();
                if json {
                    println!(
                        "{}",
                        json!({ "id": person.id, "email": person.document.email, "name": person.document.name, "groups": groups, "disabled": person.document.disabled })
                    );
                } else {
                    println!(
                        "{}  {}  {}  {}",
                        person.id,
                        person.document.email,
                        person.document.name,
                        groups.join(",")
                    );
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
