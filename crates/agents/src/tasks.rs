//! Tasks: handles of work that a server does on its own time, by the ids that the portal gives out for them.
//!
//! Which server and tool a task belongs to, and what is to be taken out of its result, is kept here from the call that made
//! it. Invariants: a task is found for whoever made it, at the portal where they made it; its result passes what the rules
//! said of the call; a tool that its caller may not see any more gives no results; and what is kept is bounded.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use mcp::catalog::Kind;
use mcp::message::{ErrorCode, Message, Request, RpcError};
use mcp::names::ServerId;
use mcp::raw::{self, Object};
use mcp::version::stateless::missing_capability;
use mcp::version::{Era, tasks};
use parking_lot::Mutex;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::call::{self, Found};
use crate::record::Outcome;
use crate::rules::Redaction;
use crate::session::Session;
use crate::turn::{self, Said, Turn};
use crate::visit::Holder;

/// Tasks of one holder at one portal.
const MOST_OF_ONE: usize = 256;
/// Tasks of everybody at a node.
const MOST: usize = 20_000;
/// Seconds without a word about it after which a task is forgotten.
const IDLE: i64 = 24 * 3_600;
/// What stands before the cursor of a server in one of ours.
const CURSOR: char = ':';

/// A task that a call made.
#[derive(Clone)]
pub(crate) struct Task {
    /// As the client knows it.
    pub(crate) id: String,
    pub(crate) server: ServerId,
    /// As the server knows it.
    pub(crate) at_server: String,
    /// As the server names it.
    pub(crate) tool: Box<str>,
    pub(crate) redactions: Vec<Redaction>,
    /// Seconds since the epoch.
    seen: i64,
}

/// Whose tasks.
type Owner = (Holder, String);

/// The tasks of a node.
#[derive(Default)]
pub(crate) struct Tasks(Mutex<Table>);

#[derive(Default)]
struct Table {
    by_owner: HashMap<Owner, VecDeque<Task>>,
    count: usize,
}

/// A task that a call has just made.
pub(crate) struct Made<'a> {
    pub(crate) server: &'a ServerId,
    pub(crate) at_server: &'a str,
    pub(crate) tool: &'a str,
    pub(crate) redactions: &'a [Redaction],
}

impl Tasks {
    /// Keeps a task and returns its id for clients; `None` when the node has no room, or the server's id is none.
    pub(crate) fn keep(&self, owner: &Owner, made: &Made<'_>, now: i64) -> Option<String> {
        if made.at_server.len() > tasks::MAX_ID {
            return None;
        }
        let mut table = self.0.lock();
        let known = table
            .by_owner
            .get(owner)
            .and_then(|own| own.iter().find(|task| task.server == *made.server && task.at_server == made.at_server));
        if let Some(task) = known {
            return Some(task.id.clone());
        }
        let displaced = table.by_owner.get_mut(owner).filter(|own| own.len() >= MOST_OF_ONE);
        if displaced.and_then(VecDeque::pop_front).is_some() {
            table.count -= 1;
        }
        if table.count >= MOST {
            return None;
        }
        // The server's id tells people who read along where the task is; the number makes it nobody else's.
        let id = format!("{}_{}", made.server, Uuid::new_v4().simple());
        table.count += 1;
        table.by_owner.entry(owner.clone()).or_default().push_back(Task {
            id: id.clone(),
            server: made.server.clone(),
            at_server: made.at_server.to_owned(),
            tool: made.tool.into(),
            redactions: made.redactions.to_vec(),
            seen: now,
        });
        Some(id)
    }

    /// Finds a task by its id for clients.
    pub(crate) fn find(&self, owner: &Owner, id: &str, now: i64) -> Option<Task> {
        let mut table = self.0.lock();
        let task = table.by_owner.get_mut(owner)?.iter_mut().find(|task| task.id == id)?;
        task.seen = now;
        Some(task.clone())
    }

    /// Returns the id for clients of a task of a server.
    pub(crate) fn exposed(&self, owner: &Owner, server: &ServerId, at_server: &str) -> Option<String> {
        let table = self.0.lock();
        let mut own = table.by_owner.get(owner)?.iter();
        own.find(|task| task.server == *server && task.at_server == at_server).map(|task| task.id.clone())
    }

    /// Forgets the tasks nobody has spoken of for long.
    pub(crate) fn sweep(&self, now: i64) {
        let mut table = self.0.lock();
        for own in table.by_owner.values_mut() {
            own.retain(|task| task.seen.saturating_add(IDLE) >= now);
        }
        table.by_owner.retain(|_, own| !own.is_empty());
        table.count = table.by_owner.values().map(VecDeque::len).sum();
    }
}

/// Tells whose tasks a turn may speak of.
pub(crate) fn owner(turn: &Turn) -> Owner {
    owner_of(&turn.session)
}

/// Tells whose tasks those of a session are. Strangers are not one caller: each session of theirs has its own.
pub(crate) fn owner_of(session: &Session) -> Owner {
    let place = match session.holder {
        Holder::Nobody => format!("{}\0{}", session.portal, session.id),
        Holder::Person(_) | Holder::Program(_) => session.portal.clone(),
    };
    (session.holder, place)
}

/// Answers `tasks/get`, `tasks/result`, `tasks/update` and `tasks/cancel`.
pub(crate) async fn answer(turn: Arc<Turn>, method: &'static str, request: Request) -> Said {
    let mut recording = turn.recording(method, None);
    let found = member(&turn, &request).and_then(|id| {
        let task = turn.plane.handles.find(&owner(&turn), &id, turn.plane.now()).ok_or_else(unknown)?;
        // Rights may have gone since.
        let target = turn.view.of_server(&task.server, Kind::Tool, &task.tool).ok_or_else(unknown)?;
        Ok((Found { server: target.server.id.clone(), definition: target.definition.clone() }, task))
    });
    let (found, task) = match found {
        Ok(found) => found,
        Err(error) => {
            recording.end(Outcome::Failed(error.message.to_string()));
            return Said::Now(Message::error(request.id, error));
        }
    };
    recording.note(|record| {
        record.tool = Some(task.tool.to_string());
        record.server = Some(task.server.to_string());
    });
    let params = request.params.clone().unwrap_or_else(|| raw::raw(&json!({})));
    let Ok(params) = raw::splice(params.get(), &[("taskId", Some(&*raw::raw(&task.at_server)))]) else {
        let error = RpcError::new(ErrorCode::InvalidParams, "params are not an object that can be sent on");
        recording.end(Outcome::Failed(error.message.to_string()));
        return Said::Now(Message::error(request.id, error));
    };
    let of_task = call::OfTask { found, method, client_id: request.id, params, redactions: task.redactions };
    call::about_task(turn, of_task, recording).await
}

fn member(turn: &Turn, request: &Request) -> Result<String, RpcError> {
    if turn.is_stateless() {
        let required = json!({"extensions": {tasks::EXTENSION: {}}});
        if let Some(error) = missing_capability(&turn.session.client.capabilities, &required) {
            return Err(error);
        }
    }
    turn::member(request, "taskId")
}

fn unknown() -> RpcError {
    RpcError::new(ErrorCode::InvalidParams, "Task not found")
}

/// Answers `tasks/list` (2025-11-25): a page of one server after the other, of what the caller has made alone.
pub(crate) async fn list(turn: &Turn, request: &Request) -> Result<Value, RpcError> {
    let invalid = || RpcError::new(ErrorCode::InvalidParams, "Invalid cursor");
    let cursor = request.params().and_then(|params| params.text("cursor").map(|cursor| cursor.into_owned()));
    let (from, cursor) = match &cursor {
        None => (None, None),
        Some(text) => {
            let (server, cursor) = text.split_once(CURSOR).ok_or_else(invalid)?;
            let server = ServerId::parse(server).ok_or_else(invalid)?;
            (Some(server), Some(cursor).filter(|cursor| !cursor.is_empty()))
        }
    };
    let mut links = turn.session.links();
    links.retain(|(server, link)| {
        let offers = link.opened().is_some_and(|opened| opened.version.era() == Era::Sessions && opened.lists_tasks());
        offers && ServerId::parse(server).is_some_and(|server| turn.view.server(&server).is_some())
    });
    links.sort_by(|(one, _), (other, _)| one.cmp(other));
    let at = match &from {
        None => 0,
        Some(server) => links.iter().position(|(other, _)| other == server.as_str()).ok_or_else(invalid)?,
    };
    let Some((server, link)) = links.get(at) else { return Ok(json!({"tasks": []})) };
    let params = cursor.map(|cursor| raw::raw(&json!({"cursor": cursor})));
    let answered = link.ask("tasks/list", params.as_deref()).await;
    let result = answered.map_err(|error| {
        tracing::warn!(error = &error as &dyn std::error::Error, server, "an MCP server does not list its tasks");
        RpcError::new(ErrorCode::Internal, format!("the server {server} gave no answer that can be used"))
    })??;
    let Some(id) = ServerId::parse(server) else { return Err(invalid()) };
    let own = owner(turn);
    let exposed = |at_server: &str| turn.plane.handles.exposed(&own, &id, at_server);
    let unusable = |_| RpcError::new(ErrorCode::Internal, "the server's list of tasks cannot be read");
    let renamed = tasks::rename(&result, &exposed).map_err(unusable)?;
    let page = Object::parse(renamed.get()).ok();
    let tasks = page.as_ref().and_then(|page| page.value("tasks").map(ToOwned::to_owned));
    let mut list = json!({"tasks": tasks.unwrap_or_else(|| raw::raw(&json!([])))});
    let next = page.and_then(|page| page.text("nextCursor").map(|next| next.into_owned()));
    match (next, links.get(at + 1)) {
        (Some(next), _) => list["nextCursor"] = format!("{server}{CURSOR}{next}").into(),
        (None, Some((server, _))) => list["nextCursor"] = format!("{server}{CURSOR}").into(),
        (None, None) => {}
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use types::UserId;

    use super::*;

    fn owner(number: u128) -> Owner {
        (Holder::Person(UserId(Uuid::from_u128(number))), "work".to_owned())
    }

    fn keep(table: &Tasks, of: &Owner, at_server: &str, now: i64) -> Option<String> {
        let server = ServerId::parse("jira").unwrap();
        table.keep(of, &Made { server: &server, at_server, tool: "t", redactions: &[] }, now)
    }

    #[test]
    fn a_task_is_its_makers_at_their_portal() {
        let (table, ana) = (Tasks::default(), owner(1));
        let id = keep(&table, &ana, "1", 0).unwrap();
        assert!(id.starts_with("jira_") && !id.ends_with("_1"));
        assert_eq!(keep(&table, &ana, "1", 0).as_ref(), Some(&id), "a task has one id");
        assert_eq!(table.find(&ana, &id, 0).unwrap().at_server, "1");
        assert!(table.find(&owner(2), &id, 0).is_none());
        assert!(table.find(&(ana.0, "play".to_owned()), &id, 0).is_none());
        assert_eq!(table.exposed(&ana, &ServerId::parse("jira").unwrap(), "1"), Some(id));
        assert!(table.exposed(&ana, &ServerId::parse("wiki").unwrap(), "1").is_none());
        assert!(keep(&table, &ana, &"x".repeat(tasks::MAX_ID + 1), 0).is_none());
    }

    #[test]
    fn tasks_are_bounded_and_forgotten() {
        let (table, ana) = (Tasks::default(), owner(1));
        let first = keep(&table, &ana, "0", 0).unwrap();
        for number in 1..=MOST_OF_ONE {
            keep(&table, &ana, &number.to_string(), 0).unwrap();
        }
        assert!(table.find(&ana, &first, 0).is_none());
        table.sweep(IDLE);
        assert_eq!(table.0.lock().count, MOST_OF_ONE);
        table.sweep(IDLE + 1);
        assert_eq!(table.0.lock().count, 0);
    }
}
