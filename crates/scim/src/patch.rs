//! PATCH (RFC 7644 section 3.5.2) in both dialects: Okta's values without a path, Entra's capital verbs, truth values as
//! text and paths as member names.
//!
//! Decides the order and shape of operations; what each does is the record's. Invariant: a PATCH holds at least one
//! operation, each of a known verb, and at most [`MAX_OPERATIONS`].

use serde_json::Value;

use super::filter::Path;
use super::{ErrorType, ScimError, body, fold};

/// Most operations of one PATCH.
pub const MAX_OPERATIONS: usize = 1_000;
const SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

/// How a value joins what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Add,
    Replace,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Operation {
    Put(Mode, Path, Value),
    Remove(Path, Option<Value>),
}

/// Operations to apply in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch(Vec<Operation>);

impl Patch {
    /// Reads the body of a PATCH.
    ///
    /// # Errors
    /// If it is none or too long.
    pub fn read(bytes: &[u8]) -> Result<Self, ScimError> {
        let members = body(bytes)?;
        let syntax = |detail: &str| ScimError::bad(ErrorType::InvalidSyntax, detail);
        let schemas = members.get("schemas").and_then(Value::as_array);
        if !schemas.is_some_and(|all| all.iter().any(|one| one.as_str() == Some(SCHEMA))) {
            return Err(syntax("`schemas` must name the PatchOp schema"));
        }
        let list = members.get("operations").and_then(Value::as_array).filter(|list| !list.is_empty());
        let list = list.ok_or_else(|| syntax("`Operations` must hold at least one operation"))?;
        let mut operations = Vec::new();
        for entry in list {
            read(entry, &mut operations)?;
            if operations.len() > MAX_OPERATIONS {
                let detail = format!("a PATCH must hold at most {MAX_OPERATIONS} operations");
                return Err(ScimError::bad(ErrorType::TooMany, detail));
            }
        }
        Ok(Self(operations))
    }

    pub(crate) fn apply<T>(
        &self,
        record: &mut T,
        put: impl Fn(&mut T, Mode, &Path, &Value) -> Result<(), ScimError>,
        remove: impl Fn(&mut T, &Path, Option<&Value>) -> Result<(), ScimError>,
    ) -> Result<(), ScimError> {
        self.0.iter().try_for_each(|operation| match operation {
            Operation::Put(mode, path, value) => put(record, *mode, path, value),
            Operation::Remove(path, value) => remove(record, path, value.as_ref()),
        })
    }
}

fn read(entry: &Value, operations: &mut Vec<Operation>) -> Result<(), ScimError> {
    let syntax = |detail: &str| ScimError::bad(ErrorType::InvalidSyntax, detail);
    let members = fold(entry.as_object().ok_or_else(|| syntax("an operation is an object"))?)?;
    let path = match members.get("path").filter(|path| !path.is_null()) {
        None => None,
        Some(Value::String(path)) if path.trim().is_empty() => None,
        Some(Value::String(path)) => Some(Path::parse(path)?),
        Some(_) => return Err(ScimError::bad(ErrorType::InvalidPath, "`path` must be a text")),
    };
    let value = members.get("value");
    let verb = members.get("op").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    let mode = match verb.as_str() {
        "add" => Mode::Add,
        "replace" => Mode::Replace,
        "remove" => {
            let path = path.ok_or_else(|| ScimError::bad(ErrorType::NoTarget, "`remove` needs a `path`"))?;
            operations.push(Operation::Remove(path, value.cloned()));
            return Ok(());
        }
        _ => return Err(syntax("`op` must be add, replace or remove")),
    };
    let value = value.ok_or_else(|| ScimError::bad(ErrorType::InvalidValue, "the operation needs a `value`"))?;
    match (path, value) {
        (Some(path), value) => operations.push(Operation::Put(mode, path, value.clone())),
        (None, Value::Object(members)) => {
            for (name, value) in &fold(members)? {
                operations.push(Operation::Put(mode, Path::of_member(name)?, value.clone()));
            }
        }
        (None, _) => return Err(ScimError::bad(ErrorType::InvalidValue, "without a `path` the value is an object")),
    }
    Ok(())
}
