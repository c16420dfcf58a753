//! Tasks of both generations: the experimental ones of 2025-11-25 and the extension of 2026-07-28.
//!
//! Both name a task by an id that the server made up; a portal gives out ids of its own, which lead back to the server and
//! to the tool. Finds the ids in results, params and notifications, and changes nothing else. Invariant: an id of a server
//! never reaches a client as it is, nor the other way round.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::raw::{self, Object, RawError, splice};

/// The extension's name among `extensions` of capabilities (2026-07-28).
pub const EXTENSION: &str = "io.modelcontextprotocol/tasks";
/// The member of `_meta` that says to which task a message belongs (2025-11-25).
const RELATED: &str = "io.modelcontextprotocol/related-task";
/// Longest id of a server that is passed on, in bytes.
pub const MAX_ID: usize = 512;

/// What a tool's `execution.taskSupport` says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Support {
    #[default]
    Forbidden,
    Optional,
    Required,
}

impl Support {
    /// Reads it from a tool's definition.
    #[must_use]
    pub fn of(definition: &RawValue) -> Self {
        let execution = Object::parse(definition.get()).ok().and_then(|tool| tool.object("execution"));
        match execution.and_then(|execution| execution.text("taskSupport")).as_deref() {
            Some("required") => Self::Required,
            Some("optional") => Self::Optional,
            _ => Self::Forbidden,
        }
    }
}

/// A task, as far as whoever waits for it needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    pub id: String,
    pub status: Status,
    /// Milliseconds after which to ask again, as the server suggests.
    pub poll: Option<u64>,
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Working,
    InputRequired,
    Completed,
    Failed,
    Cancelled,
}

/// Reads the handle in the answer to a call: `task` (2025-11-25), or the result itself (2026-07-28).
#[must_use]
pub fn created(result: &RawValue) -> Option<Task> {
    if !raw::may_hold(result, "taskId") {
        return None;
    }
    let object = Object::parse(result.get()).ok()?;
    if object.text("resultType").as_deref() == Some("task") {
        return read(&object);
    }
    read(&object.object("task")?)
}

/// Reads the answer to `tasks/get`, in either generation.
#[must_use]
pub fn state(result: &RawValue) -> Option<Task> {
    read(&Object::parse(result.get()).ok()?)
}

fn read(task: &Object<'_>) -> Option<Task> {
    let status = match &*task.text("status")? {
        "working" => Status::Working,
        "input_required" => Status::InputRequired,
        "completed" => Status::Completed,
        "failed" => Status::Failed,
        "cancelled" => Status::Cancelled,
        _ => return None,
    };
    let poll = task.value("pollIntervalMs").or_else(|| task.value("pollInterval"));
    let poll = poll.and_then(|poll| poll.get().parse::<f64>().ok()).filter(|poll| poll.is_finite() && *poll >= 0.0);
    // Longer than anybody waits; the caller bounds it anyway.
    let poll = poll.map(|poll| poll.min(3_600_000.0) as u64);
    Some(Task { id: task.text("taskId")?.into_owned(), status, poll })
}

/// Changes the ids of a message's `result` or `params` with `change`: `taskId`, that of `task`, those of `tasks`, and that
/// of the related task. A member of `tasks` whose id changes to nothing is left out.
///
/// # Errors
/// An object on the way is not sound, or another id changes to nothing.
pub fn rename(value: &RawValue, change: &dyn Fn(&str) -> Option<String>) -> Result<Box<RawValue>, RenameError> {
    if !raw::may_hold(value, "task") {
        return Ok(value.to_owned());
    }
    let object = Object::parse(value.get())?;
    let mut changes: Vec<(&str, Box<RawValue>)> = Vec::new();
    if let Some(id) = object.text("taskId") {
        changes.push(("taskId", raw::raw(&change(&id).ok_or(RenameError::Unknown)?)));
    }
    if let Some(task) = object.value("task").filter(|task| task.get().starts_with('{'))
        && let Some(changed) = renamed_member(task, change)?
    {
        changes.push(("task", changed));
    }
    if let Some(list) = object.value("tasks").filter(|list| list.get().starts_with('[')) {
        #[derive(Deserialize)]
        struct Items<'a>(#[serde(borrow)] Vec<&'a RawValue>);
        let Items(items) = serde_json::from_str(list.get()).map_err(|_| RawError::NotAnObject)?;
        let kept: Vec<Box<RawValue>> =
            items.into_iter().filter_map(|item| renamed_member(item, change).ok().flatten()).collect();
        changes.push(("tasks", raw::raw(&kept)));
    }
    if let Some(meta) = object.value("_meta").filter(|meta| meta.get().starts_with('{'))
        && let Some(related) = Object::parse(meta.get())?.value(RELATED)
        && let Some(changed) = renamed_member(related, change)?
    {
        changes.push(("_meta", splice(meta.get(), &[(RELATED, Some(&*changed))])?));
    }
    let changes: Vec<_> = changes.iter().map(|(name, value)| (*name, Some(&**value))).collect();
    Ok(splice(value.get(), &changes)?)
}

fn renamed_member(
    task: &RawValue,
    change: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Box<RawValue>>, RenameError> {
    let Some(id) = Object::parse(task.get())?.text("taskId") else { return Ok(None) };
    let id = raw::raw(&change(&id).ok_or(RenameError::Unknown)?);
    Ok(Some(splice(task.get(), &[("taskId", Some(&*id))])?))
}

/// Why the ids of a message cannot be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RenameError {
    #[error(transparent)]
    Raw(#[from] RawError),
    #[error("it names a task that is not the client's")]
    Unknown,
}

/// Changes the result that a finished task of 2026-07-28 carries (`result` of `tasks/get` and `notifications/tasks`).
///
/// # Errors
/// It is no sound object.
pub fn with_result(
    value: &RawValue,
    change: impl FnOnce(Box<RawValue>) -> Box<RawValue>,
) -> Result<Box<RawValue>, RawError> {
    let object = Object::parse(value.get())?;
    match object.value("result").filter(|result| result.get().starts_with('{')) {
        Some(result) => splice(value.get(), &[("result", Some(&*change(result.to_owned())))]),
        None => Ok(value.to_owned()),
    }
}

/// Takes out to which task a result belongs, for a client that has no part in it.
///
/// # Errors
/// It is no sound object.
pub fn unrelated(value: &RawValue) -> Result<Box<RawValue>, RawError> {
    let object = Object::parse(value.get())?;
    let Some(meta) = object.value("_meta").filter(|meta| meta.get().starts_with('{')) else {
        return Ok(value.to_owned());
    };
    if Object::parse(meta.get())?.value(RELATED).is_none() {
        return Ok(value.to_owned());
    }
    let meta = splice(meta.get(), &[(RELATED, None)])?;
    let is_empty = Object::parse(meta.get())?.members().next().is_none();
    splice(value.get(), &[("_meta", (!is_empty).then_some(&*meta))])
}

/// Takes the extension out of capabilities, for versions that have none.
#[must_use]
pub fn undeclared(capabilities: &RawValue) -> Box<RawValue> {
    let without = || {
        let extensions = Object::parse(capabilities.get()).ok()?.value("extensions")?;
        Object::parse(extensions.get()).ok()?.value(EXTENSION)?;
        let extensions = splice(extensions.get(), &[(EXTENSION, None)]).ok()?;
        let is_empty = Object::parse(extensions.get()).ok()?.members().next().is_none();
        splice(capabilities.get(), &[("extensions", (!is_empty).then_some(&*extensions))]).ok()
    };
    without().unwrap_or_else(|| capabilities.to_owned())
}

/// Adds the extension to capabilities of either side.
#[must_use]
pub fn declared(capabilities: &RawValue) -> Box<RawValue> {
    let mut value: Value = serde_json::from_str(capabilities.get()).unwrap_or_else(|_| json!({}));
    if !value.is_object() {
        value = json!({});
    }
    if !value["extensions"].is_object() {
        value["extensions"] = json!({});
    }
    if value["extensions"].get(EXTENSION).is_none() {
        value["extensions"][EXTENSION] = json!({});
    }
    raw::raw(&value)
}

/// Tells whether capabilities name the extension.
#[must_use]
pub fn declares(capabilities: &RawValue) -> bool {
    let extensions = Object::parse(capabilities.get()).ok().and_then(|all| all.object("extensions"));
    extensions.is_some_and(|extensions| extensions.object(EXTENSION).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(value: Value) -> Result<Value, RenameError> {
        let raw = raw::raw(&value);
        let change = |id: &str| (id != "secret").then(|| format!("p-{id}"));
        rename(&raw, &change).map(|found| serde_json::from_str(found.get()).unwrap())
    }

    #[test]
    fn ids_are_changed_wherever_a_message_names_a_task() {
        for (before, after) in [
            (json!({"taskId": "1", "status": "working"}), json!({"taskId": "p-1", "status": "working"})),
            (json!({"task": {"taskId": "1", "ttl": null}}), json!({"task": {"taskId": "p-1", "ttl": null}})),
            (json!({"task": {"ttl": 5}}), json!({"task": {"ttl": 5}})),
            (json!({"tasks": [{"taskId": "1"}, {"taskId": "secret"}, 7]}), json!({"tasks": [{"taskId": "p-1"}]})),
            (
                json!({"content": [], "_meta": {"a": 1, RELATED: {"taskId": "1"}}}),
                json!({"content": [], "_meta": {"a": 1, RELATED: {"taskId": "p-1"}}}),
            ),
            (json!({"content": [{"text": "task taskId"}]}), json!({"content": [{"text": "task taskId"}]})),
        ] {
            assert_eq!(renamed(before.clone()), Ok(after), "{before}");
        }
        for foreign in [json!({"taskId": "secret"}), json!({"_meta": {RELATED: {"taskId": "secret"}}})] {
            assert_eq!(renamed(foreign.clone()), Err(RenameError::Unknown), "{foreign}");
        }
    }

    #[test]
    fn handles_of_both_generations_are_read() {
        let old = raw::raw(&json!({"task": {"taskId": "1", "status": "working", "ttl": 5, "pollInterval": 250}}));
        let new = raw::raw(&json!({"resultType": "task", "taskId": "1", "status": "working", "pollIntervalMs": 250}));
        let expected = Some(Task { id: "1".into(), status: Status::Working, poll: Some(250) });
        assert_eq!((created(&old), created(&new)), (expected.clone(), expected));
        for none in [json!({"content": []}), json!({"taskId": "1"}), json!({"task": {"taskId": "1", "status": "odd"}})]
        {
            assert_eq!(created(&raw::raw(&none)), None, "{none}");
        }
        let done = raw::raw(&json!({"taskId": "1", "status": "completed", "pollIntervalMs": 1e99}));
        assert_eq!(state(&done).unwrap().poll, Some(3_600_000));
    }

    #[test]
    fn a_tool_says_how_it_may_be_called() {
        for (says, support) in [
            (json!({"execution": {"taskSupport": "required"}}), Support::Required),
            (json!({"execution": {"taskSupport": "optional"}}), Support::Optional),
            (json!({"execution": {"taskSupport": "forbidden"}}), Support::Forbidden),
            (json!({}), Support::Forbidden),
        ] {
            assert_eq!(Support::of(&raw::raw(&says)), support, "{says}");
        }
    }

    #[test]
    fn the_extension_is_declared_once_beside_others() {
        let before = raw::raw(&json!({"roots": {}, "extensions": {"x/y": {"a": 1}}}));
        assert!(!declares(&before));
        let after = declared(&before);
        assert!(declares(&after));
        let value: Value = serde_json::from_str(declared(&after).get()).unwrap();
        assert_eq!(value, json!({"roots": {}, "extensions": {"x/y": {"a": 1}, EXTENSION: {}}}));
        let plain = raw::raw(&json!({"roots": {}}));
        for capabilities in [&before, &plain] {
            let back: Value = serde_json::from_str(undeclared(&declared(capabilities)).get()).unwrap();
            assert_eq!(back, serde_json::from_str::<Value>(capabilities.get()).unwrap());
        }
    }

    #[test]
    fn a_result_is_freed_of_the_task_it_belongs_to() {
        for (before, after) in [
            (json!({"content": [], "_meta": {RELATED: {"taskId": "1"}}}), json!({"content": []})),
            (json!({"_meta": {RELATED: {}, "a": 1}}), json!({"_meta": {"a": 1}})),
            (json!({"content": []}), json!({"content": []})),
        ] {
            let found: Value = serde_json::from_str(unrelated(&raw::raw(&before)).unwrap().get()).unwrap();
            assert_eq!(found, after, "{before}");
        }
    }
}
