//! Changes to request headers (reference section 1.9): deletions, then replacements, then additions, with variables.
//!
//! Reads and resolves; the gateway applies. Invariant: a name is a valid header name, and a resolved value holds no
//! byte that could end a header line.

use std::fmt::Write as _;

/// Most operations of one rule, additions and replacements counted by value together with deletions.
pub const MAX_OPERATIONS: usize = 20;
/// Longest header name, in bytes.
pub const MAX_NAME: usize = 256;
/// Longest header value, in bytes, before and after variables are resolved.
pub const MAX_VALUE: usize = 4_096;

/// Headers a rule may not touch: they frame the message or belong to one connection, so changing them would let a rule
/// smuggle requests.
const FORBIDDEN: [&str; 10] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The changes of one rule, ready to resolve.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderPlan {
    pub delete: Vec<String>,
    pub set: Vec<(String, Vec<Template>)>,
    pub add: Vec<(String, Vec<Template>)>,
}

/// One change to carry out. Names are lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Delete {
        name: String,
    },
    /// Removes every value of the name, then puts these.
    Set {
        name: String,
        values: Vec<String>,
    },
    /// Puts these beside the values that are there.
    Add {
        name: String,
        values: Vec<String>,
    },
}

/// Supplies the values of variables.
pub trait Variables {
    /// Returns the text of the variable `name`, or `None` if it has no value here.
    fn variable(&self, name: &str) -> Option<String>;
}

impl HeaderPlan {
    /// Tells whether there is nothing to change.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.delete.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Returns the changes in the order in which they apply, and a warning for each variable that had no value.
    #[must_use]
    pub fn resolve(&self, variables: &dyn Variables) -> (Vec<Change>, Vec<String>) {
        let mut warnings = Vec::new();
        let mut changes: Vec<Change> = self.delete.iter().map(|name| Change::Delete { name: name.clone() }).collect();
        let mut values = |name: &str, templates: &[Template]| -> Vec<String> {
            templates.iter().map(|template| template.resolve(name, variables, &mut warnings)).collect()
        };
        for (name, templates) in &self.set {
            changes.push(Change::Set { name: name.clone(), values: values(name, templates) });
        }
        for (name, templates) in &self.add {
            changes.push(Change::Add { name: name.clone(), values: values(name, templates) });
        }
        (changes, warnings)
    }

    /// Visits the names of the variables in use.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.set.iter().chain(&self.add).flat_map(|(_, templates)| templates).flat_map(Template::variables)
    }
}

/// A header value with variables: `@{identity.email}`; `@@{` is a literal `@{`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(String),
}

impl Template {
    /// Reads a header value.
    ///
    /// # Errors
    /// With a message for the author.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_VALUE {
            return Err(format!("a header value is at most {MAX_VALUE} bytes long, this one has {}", text.len()));
        }
        if text.bytes().any(breaks_line) {
            return Err("a header value must not contain control characters".to_owned());
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('@') {
            literal.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("@@{") {
                literal.push_str("@{");
                rest = after;
            } else if let Some(after) = rest.strip_prefix("@{") {
                let (name, after) = after
                    .split_once('}')
                    .ok_or("`@{` has no closing `}`; write `@@{` for the characters themselves")?;
                if name.trim().is_empty() {
                    return Err("`@{}` names no variable".to_owned());
                }
                if !literal.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                }
                parts.push(Part::Variable(name.trim().to_owned()));
                rest = after;
            } else {
                literal.push('@');
                rest = &rest[1..];
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self { parts })
    }

    fn variables(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    fn resolve(&self, header: &str, variables: &dyn Variables, warnings: &mut Vec<String>) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Variable(name) => match variables.variable(name) {
                    // A person's name comes from outside; a line break in it would add headers.
                    Some(value) if value.bytes().any(breaks_line) => {
                        warnings.push(format!(
                            "header {header}: the value of @{{{name}}} holds a control character and was left out"
                        ));
                    }
                    Some(value) => out.push_str(&value),
                    None => warnings.push(format!("header {header}: @{{{name}}} has no value here")),
                },
            }
        }
        if out.len() > MAX_VALUE {
            let mut end = MAX_VALUE;
            while !out.is_char_boundary(end) {
                end -= 1;
            }
            out.truncate(end);
            warnings.push(format!("header {header}: the value was cut to {MAX_VALUE} bytes"));
        }
        out
    }
}

/// Checks a header name and returns it in lower case.
///
/// # Errors
/// With a message for the author.
pub fn header_name(name: &str) -> Result<String, String> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(format!("a header name is 1 to {MAX_NAME} bytes long"));
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)) {
        return Err(format!("`{}` is not a header name", name.escape_debug()));
    }
    let lower = name.to_ascii_lowercase();
    if FORBIDDEN.contains(&lower.as_str()) {
        return Err(format!("`{lower}` frames the message and cannot be changed by a rule"));
    }
    Ok(lower)
}

const fn breaks_line(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\t') || byte == 0x7f
}

/// Joins texts as the elements of one header value.
pub(crate) fn comma_joined<'t>(texts: impl Iterator<Item = std::borrow::Cow<'t, str>>) -> String {
    let mut out = String::new();
    for text in texts {
        // Writing to a string cannot fail.
        let _ = write!(out, "{}{text}", if out.is_empty() { "" } else { "," });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Change, HeaderPlan, Template, Variables, header_name};

    struct Table;

    impl Variables for Table {
        fn variable(&self, name: &str) -> Option<String> {
            match name {
                "identity.email" => Some("a@b.example".to_owned()),
                "identity.name" => Some("Evil\r\nX-Admin: 1".to_owned()),
                "big" => Some("é".repeat(3_000)),
                _ => None,
            }
        }
    }

    fn resolve(text: &str) -> (String, Vec<String>) {
        let plan =
            HeaderPlan { set: vec![("x".into(), vec![Template::parse(text).unwrap()])], ..HeaderPlan::default() };
        let (changes, warnings) = plan.resolve(&Table);
        let [Change::Set { values, .. }] = changes.as_slice() else { panic!("{changes:?}") };
        (values.concat(), warnings)
    }

    #[test]
    fn variables_are_replaced_and_escapes_are_kept() {
        for (text, value) in [
            ("plain", "plain"),
            ("user=@{identity.email};", "user=a@b.example;"),
            ("@@{identity.email}", "@{identity.email}"),
            ("a@b @ @@ @{ identity.email }", "a@b @ @@ a@b.example"),
            ("@@@{x}", "@@{x}"),
        ] {
            assert_eq!(resolve(text).0, value, "{text}");
        }
    }

    #[test]
    fn a_variable_without_a_value_is_empty_and_warned_about() {
        let (value, warnings) = resolve("[@{identity.nothing}]");
        assert_eq!(value, "[]");
        assert_eq!(warnings, ["header x: @{identity.nothing} has no value here"]);
    }

    #[test]
    fn a_value_from_outside_cannot_add_a_header() {
        let (value, warnings) = resolve("[@{identity.name}]");
        assert_eq!(value, "[]");
        assert_eq!(warnings.len(), 1);
    }

    #[test]
    fn a_resolved_value_is_cut_at_a_character() {
        let (value, warnings) = resolve("x@{big}");
        assert_eq!(value.len(), 4_095);
        assert_eq!(warnings.len(), 1);
    }

    #[test]
    fn changes_come_in_the_order_delete_set_add() {
        let value = || vec![Template::parse("v").unwrap()];
        let plan =
            HeaderPlan { delete: vec!["d".into()], set: vec![("s".into(), value())], add: vec![("a".into(), value())] };
        let (changes, _) = plan.resolve(&Table);
        assert_eq!(
            changes,
            [
                Change::Delete { name: "d".into() },
                Change::Set { name: "s".into(), values: vec!["v".into()] },
                Change::Add { name: "a".into(), values: vec!["v".into()] },
            ]
        );
    }

    #[test]
    fn names_that_would_break_the_message_are_refused() {
        assert_eq!(header_name("X-Team").unwrap(), "x-team");
        for bad in ["", "a b", "a:b", "a\r\nb", "Host", "transfer-encoding", "Content-Length", "é"] {
            assert!(header_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn malformed_templates_are_refused() {
        for bad in ["@{open", "@{}", "@{ }", "a\nb"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }
}
