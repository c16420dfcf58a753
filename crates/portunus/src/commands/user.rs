//! `portunus user add | password | list`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::json;
use store::{AccessProfile, Group, ReadUsers, User as Person, WriteUsers};
use types::{Email, UserId};

use super::state::Opened;
use crate::arguments::{State, User};

pub(crate) async fn run(user: User) -> Result<ExitCode> {
    match user {
        User::Add { state, email, name, groups, json } => {
            let opened = Opened::open(&state).await?;
            let grant = opened.grant::<WriteUsers>()?;
            let groups = groups.into_iter().map(|name| Group { id: name.clone(), name, email: None }).collect();
            let person = Person { email, name, groups, disabled: false };
            let person = opened.store.users().create(&grant, UserId(uuid::Uuid::new_v4()), person).await?;
            let groups: Vec<_> = person.document.groups.iter().map(|group| group.name.as_str()).collect();
            let after = json!({ "email": person.document.email, "name": person.document.name, "groups": groups, "proxy_tokens": 1 });
            let (_, text) = opened.store.proxy_tokens().issue(&grant, person.id, "command line".into(), None).await?;
            opened.record("create", "user", person.id, after)?;
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
        User::Password { state, email, json } => password(&state, &email, json).await?,
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

/// Sets a password nobody chose. Sessions of the person stay; who took the old password over loses them in the console.
async fn password(state: &State, email: &Email, json: bool) -> Result<()> {
    let opened = Opened::open(state).await?;
    let grant = opened.grant::<WriteUsers>()?;
    let found = opened.store.users().find(&grant, email.as_str()).await?;
    let user = found.with_context(|| format!("there is no person {email}; add them with `portunus user add`"))?;
    let password = server::account::new_password()?;
    let hash = access::PasswordHash::of(&password).context("the password cannot be hashed")?;
    let known = opened.store.access_profiles().get(&grant, &user.id).await?.map(|known| known.document);
    let profile = AccessProfile { password_hash: Some(hash.as_str().to_owned()), ..known.unwrap_or_default() };
    opened.store.access_profiles().put(&grant, user.id, profile).await?;
    opened.record("update", "user", user.id, json!({ "email": email, "password": "set" }))?;
    if json {
        println!("{}", json!({ "id": user.id, "email": email, "password": password.expose() }));
    } else {
        println!("{}", password.expose());
        eprintln!("password of {email} at a sign-in with a provider of type portunus");
    }
    Ok(())
}
