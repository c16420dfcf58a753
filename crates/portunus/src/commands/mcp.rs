//! `portunus mcp new`.
//!
//! It writes files and asks nothing of a platform. Invariant: no file that is there is changed.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::arguments::Mcp;

const SCRIPT: &str = include_str!("mcp/server.ts");
const README: &str = include_str!("mcp/README.md");
/// What stands for the name in both.
const NAME: &str = "my-notes";

pub(crate) fn run(mcp: Mcp) -> Result<ExitCode> {
    let Mcp::New { name, directory } = mcp;
    // The server's id ends where the first `_` of a tool's name is, and `portal` is the portal's own.
    let fits = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !fits || name.is_empty() || name.len() > 32 || name.starts_with('-') || name == "portal" {
        bail!("{name:?} is no name for a server: use up to 32 small letters, digits and hyphens, and not `portal`");
    }
    let directory = directory.unwrap_or_else(|| PathBuf::from("."));
    for (ending, text) in [("ts", SCRIPT), ("md", README)] {
        let path = directory.join(format!("{name}.{ending}"));
        write_new(&path, &text.replace(NAME, &name))?;
        println!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn write_new(path: &Path, text: &str) -> Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = file.with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}
