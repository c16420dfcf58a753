//! `portunus check`: an expression against a hook's fields.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use expr::{Expression, Limits, List, Lists};
use policy::Hook as PolicyHook;
use serde_json::json;

use crate::arguments::{Check, Hook};

/// Takes every list as present and as one of the right type: without a platform nobody knows which there are.
struct AnyList;

impl Lists for AnyList {
    fn list(&self, _name: &str) -> Option<Arc<List>> {
        Some(Arc::new(List::unknown()))
    }
}

pub(crate) fn run(check: &Check) -> Result<ExitCode> {
    let hook = match check.hook {
        Hook::Http => PolicyHook::Http,
        Hook::L4 => PolicyHook::L4,
    };
    let scheme = hook.scheme();
    match Expression::compile(scheme, &check.expression, &AnyList, &Limits::default()) {
        Ok(expression) => {
            let fields: Vec<&str> = expression.fields().iter().map(|id| scheme.field(id).name).collect();
            let lists: Vec<&str> = expression.lists().collect();
            if check.json {
                println!(
                    "{}",
                    json!({ "valid": true, "canonical": expression.canonical(), "fields": fields, "lists": lists })
                );
            } else {
                println!("{}", expression.canonical());
                println!("fields: {}", fields.join(", "));
                if !lists.is_empty() {
                    println!("lists:  {}", lists.join(", "));
                }
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            if check.json {
                println!(
                    "{}",
                    json!({ "valid": false, "message": error.message, "line": error.line, "column": error.column, "suggestion": error.suggestion, "text": error.to_string() })
                );
            } else {
                eprintln!("{error}");
            }
            Ok(ExitCode::FAILURE)
        }
    }
}
