//! `portunus token create | list | revoke`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};
use store::{NewToken, Permission, Permissions, ReadTokens, WriteTokens};

use super::state::Opened;
use crate::arguments::Token;

pub(crate) async fn run(token: Token) -> Result<ExitCode> {
    match token {
        Token::Create { state, name, permissions, json } => {
            let opened = Opened::open(&state).await?;
            let permissions: Permissions =
                if permissions.is_empty() { Permissions::ADMIN } else { permissions.into_iter().collect() };
            let new = NewToken { name, permissions, not_before: None, expires_at: None };
            let (token, text) = opened.store.tokens().issue(&opened.grant::<WriteTokens>()?, new).await?;
            let words: Vec<_> = token.document.permissions.iter().map(Permission::as_str).collect();
            let after = json!({ "name": token.document.name, "permissions": words });
            opened.record("create", "token", token.id, after)?;
            if json {
                println!("{}", json!({ "id": token.id, "name": token.document.name, "value": text.expose() }));
            } else {
                println!("{}", text.expose());
                eprintln!("token {} ({}): keep the text, it is not shown again", token.document.name, token.id);
            }
        }
        Token::List { state, json } => {
            let opened = Opened::open(&state).await?;
            for token in opened.store.tokens().list(&opened.grant::<ReadTokens>()?).await? {
                let permissions: Vec<_> = token.document.permissions.iter().map(Permission::as_str).collect();
                if json {
                    println!(
                        "{}",
                        json!({ "id": token.id, "name": token.document.name, "permissions": permissions, "disabled": token.document.disabled, "created_at": token.created_at })
                    );
                } else {
                    println!("{}  {}  {}", token.id, token.document.name, permissions.join(","));
                }
            }
        }
        Token::Revoke { state, id } => {
            let opened = Opened::open(&state).await?;
            opened.store.tokens().delete(&opened.grant::<WriteTokens>()?, &id, None).await?;
            opened.record("delete", "token", id, Value::Null)?;
            println!("revoked {id}");
        }
    }
    Ok(ExitCode::SUCCESS)
}
