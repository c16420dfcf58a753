//! The reference page of fields, generated from the tables so that it cannot drift from them.
//!
//! A test compares the page in `docs/fields.md` with what this writes.

use std::fmt::Write as _;

use super::{FieldInfo, Hook, HookFields, Source};

/// Writes the page.
#[must_use]
pub fn fields_page() -> String {
    let mut page = String::from(
        "# Fields\n\n\
         What an expression may ask about, for each kind of rule. This page is generated from the schemes; a test keeps it true.\n\n\
         - **Known from** says when the value arrives. A rule is decided as soon as nothing it still waits for could change it.\n\
         - *ours* marks a field that Gateway does not have.\n\
         - Fields under \"Not known yet\" exist and type-check, but nothing supplies their value in this version: a rule whose\n  \
         outcome hangs on one does not match. Its `warning_status` and every trace say so. An access policy whose outcome hangs\n  \
         on one cannot be evaluated: it admits nobody, and a `deny` denies.\n",
    );
    section(&mut page, Hook::Http.fields(), "Web requests (`filters: [\"http\"]`)");
    section(&mut page, Hook::L4.fields(), "Connections (`filters: [\"l4\"]`)");
    section(&mut page, super::access::fields(), "Access policies (`portunus.expression`)");
    section(
        &mut page,
        super::mcp::fields(),
        "Calls through an MCP portal (`portunus.rules` of portals and MCP servers)",
    );
    page
}

fn section(page: &mut String, fields: &HookFields, title: &str) {
    let table = fields.table();
    let available = |row: &&FieldInfo| row.source == Source::Available;
    // Writing to a string cannot fail, here and below.
    let _ =
        write!(page, "\n## {title}\n\n| Field | Type | Known from | What it is | Example |\n|---|---|---|---|---|\n");
    for row in table.iter().filter(available) {
        let ours = if row.ours { " *ours*" } else { "" };
        let selector = if row.title.is_empty() { String::new() } else { format!("**{}**. ", row.title) };
        let _ = writeln!(
            page,
            "| `{}`{ours} | {} | {} | {selector}{} | `{}` |",
            row.name,
            row.kind,
            row.phase.describe(),
            row.documentation,
            cell(row.example)
        );
    }
    let later: Vec<&FieldInfo> = table.iter().filter(|row| !available(row)).collect();
    if !later.is_empty() {
        let _ = write!(
            page,
            "\n### Not known yet\n\n| Field | Type | What it is | Waits for | Example |\n|---|---|---|---|---|\n"
        );
    }
    for row in later {
        let Source::Later(what) = row.source else { continue };
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {what} | `{}` |",
            row.name,
            row.kind,
            row.documentation,
            cell(row.example)
        );
    }
    let old: Vec<(&str, &str)> = table.iter().flat_map(|row| row.aliases.iter().map(|old| (*old, row.name))).collect();
    if !old.is_empty() {
        let _ = write!(page, "\n### Older names\n\n| Written | Read as |\n|---|---|\n");
        for (old, name) in old {
            let _ = writeln!(page, "| `{old}` | `{name}` |");
        }
    }
}

/// Escapes what would end a table cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
