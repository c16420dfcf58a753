//! A server's answer, as its client may see it: in the words of the client's version, by the names the client knows, without
//! what rules take out.
//!
//! Invariant: whatever becomes of a request, its record ends with it.

use mcp::message::{ErrorCode, ErrorResponse, Id, Message, Response, RpcError};
use mcp::raw::{self, Object};
use mcp::version::stateless::missing_capability;
use mcp::version::{input, tasks};
use serde_json::json;
use serde_json::value::RawValue;

use crate::call;
use crate::passage::Passage;
use crate::record::{Outcome, Recording};
use crate::redact;
use crate::rules::Redaction;
use crate::signin::calls::NoAnswer;
use crate::snapshot::{Portal, Served};

impl Passage {
    /// Makes the server's answer the client's.
    pub(crate) fn finish(&mut self, message: Message) -> Message {
        self.close();
        let id = self.client_id.clone();
        let mut recording = self.recording.take();
        if let Some(recording) = &mut recording {
            recording.server_done();
        }
        let (message, outcome) = match message {
            Message::Response(Response { result, .. }) => self.answered(id, result, recording.as_mut()),
            Message::Error(error) => {
                let error = ErrorResponse { error: self.unhidden(error.error), ..error };
                let outcome = Outcome::Failed(error.error.message.to_string());
                let asks = input::of_error(&error.error).filter(|_| self.visits_pages());
                match asks {
                    Some(requests) => {
                        let result = self.of_era(input::required(&requests, None));
                        (Message::Response(Response { id, result }), Outcome::Success)
                    }
                    None => (Message::error(id, self.error(error.error)), outcome),
                }
            }
            Message::Request(_) | Message::Notification(_) => {
                let error = RpcError::new(ErrorCode::Internal, "the server gave no answer");
                (Message::error(id, error), Outcome::Failed("no answer".to_owned()))
            }
        };
        if let Some(recording) = recording {
            recording.end(outcome);
        }
        message
    }

    /// A client of the era without the error that sends a person to a page is asked to go there.
    fn visits_pages(&self) -> bool {
        let required = json!({"elicitation": {"url": {}}});
        self.turn.is_stateless()
            && !self.declined
            && input::may_ask(self.method)
            && missing_capability(&self.turn.session.client.capabilities, &required).is_none()
    }

    fn answered(&self, id: Id, result: Box<RawValue>, recording: Option<&mut Recording>) -> (Message, Outcome) {
        let failed = call::is_failure(self.method, &result);
        let result = match self.shown(result) {
            Ok(result) => result,
            Err(error) => {
                let outcome = Outcome::Failed(error.message.to_string());
                return (Message::error(id, error), outcome);
            }
        };
        if let Some(recording) = recording {
            let log = self.turn.portal.settings.log_results;
            recording.note(|record| {
                record.bytes.1 = result.get().len();
                record.result = log.then(|| call::shortened(result.get()));
            });
        }
        let outcome = if failed { Outcome::Failed("the tool failed".to_owned()) } else { Outcome::Success };
        (Message::Response(Response { id, result }), outcome)
    }

    fn shown(&self, result: Box<RawValue>) -> Result<Box<RawValue>, RpcError> {
        let result = match self.method {
            // The result of the call stands within.
            "tasks/get" if self.turn.is_stateless() => {
                let shown =
                    |inner: Box<RawValue>| self.content("tools/call", tasks::unrelated(&inner).unwrap_or(inner));
                tasks::with_result(&result, shown).unwrap_or(result)
            }
            method => self.content(method, result),
        };
        if self.has_waited() {
            return Ok(self.of_era(tasks::unrelated(&result).unwrap_or(result)));
        }
        let result = self.with_our_tasks(result)?;
        Ok(self.of_era(result))
    }

    pub(crate) fn content(&self, method: &str, result: Box<RawValue>) -> Box<RawValue> {
        content(&self.turn.portal, &self.served, &self.redactions, method, result)
    }

    /// Names tasks by our ids, and keeps one that this call has made.
    fn with_our_tasks(&self, result: Box<RawValue>) -> Result<Box<RawValue>, RpcError> {
        let is_about_tasks = self.method.starts_with("tasks/");
        let made = if self.method == "tools/call" { tasks::created(&result) } else { None };
        let is_related = raw::may_hold(&result, "related-task");
        if !is_about_tasks && made.is_none() && !is_related {
            return Ok(result);
        }
        let own = crate::tasks::owner(&self.turn);
        if let Some(task) = made {
            let made = crate::tasks::Made {
                server: &self.served.id,
                at_server: &task.id,
                tool: &self.subject,
                redactions: &self.redactions,
            };
            if self.turn.plane.handles.keep(&own, &made, self.turn.plane.now()).is_none() {
                return Err(RpcError::new(ErrorCode::Internal, "there is no room for another task at the moment"));
            }
        }
        let exposed = |id: &str| self.turn.plane.handles.exposed(&own, &self.served.id, id);
        tasks::rename(&result, &exposed).map_err(|_| {
            RpcError::new(ErrorCode::Internal, "the server's answer belongs to a task that is not the caller's")
        })
    }

    fn of_era(&self, result: Box<RawValue>) -> Box<RawValue> {
        if self.turn.is_stateless() {
            return crate::turn::completed(&self.turn, self.method, result);
        }
        mcp::version::stateless::plain(&result).unwrap_or(result)
    }

    /// Makes a server's error one of the version that the client speaks.
    fn error(&self, error: RpcError) -> RpcError {
        let RpcError { code, message, data } = error;
        let (stateless, reads) = (self.turn.is_stateless(), self.method == "resources/read");
        let (missing, invalid) = (ErrorCode::ResourceNotFound.number(), ErrorCode::InvalidParams.number());
        let object = data.as_deref().and_then(|data| Object::parse(data.get()).ok());
        let uri = object.as_ref().and_then(|data| data.text("uri").map(std::borrow::Cow::into_owned));
        let code = match ErrorCode::from_number(code) {
            Some(ErrorCode::ResourceNotFound) if stateless => invalid,
            Some(ErrorCode::InvalidParams) if !stateless && reads && uri.is_some() => missing,
            // What the portal and its server made of each other is nothing that the client can mend.
            Some(ErrorCode::HeaderMismatch | ErrorCode::UnsupportedVersion) => ErrorCode::Internal.number(),
            _ => code,
        };
        let data = match (data, uri) {
            (Some(data), Some(uri)) if reads && self.served.view.prefixed => {
                let uri = raw::raw(&mcp::uris::to_client(&self.served.id, &uri));
                Some(raw::splice(data.get(), &[("uri", Some(&*uri))]).unwrap_or(data))
            }
            (data, _) => data,
        };
        RpcError { code, message, data }
    }

    /// Takes out of an error what is taken out of results.
    fn unhidden(&self, error: RpcError) -> RpcError {
        let RpcError { code, message, data } = error;
        let whole = raw::raw(&json!({"message": message, "data": data}));
        let whole = self.content("", whole);
        let object = Object::parse(whole.get()).ok();
        let text = object.as_ref().and_then(|whole| whole.text("message").map(std::borrow::Cow::into_owned));
        let data = data.and_then(|_| object.as_ref()?.value("data").map(ToOwned::to_owned));
        RpcError { code, message: text.unwrap_or_default().into(), data }
    }

    pub(crate) fn fail(&mut self, reason: &NoAnswer) -> Message {
        self.give_up();
        let about = (self.method, self.client_id.clone());
        call::unanswered(&self.turn, &self.served, reason, about, self.recording.take())
    }

    pub(crate) fn refuse(&mut self, error: RpcError) -> Message {
        self.give_up();
        if let Some(recording) = self.recording.take() {
            recording.end(Outcome::Failed(error.message.to_string()));
        }
        Message::error(self.client_id.clone(), error)
    }
}

/// Makes what a server answered what a client may see: URIs it knows, nothing invisible, nothing that rules take out.
pub(crate) fn content(
    portal: &Portal,
    served: &Served,
    redactions: &[Redaction],
    method: &str,
    result: Box<RawValue>,
) -> Box<RawValue> {
    let result = match served.view.prefixed {
        true => mcp::uris::rewrite_result(&served.id, method, &result).unwrap_or(result),
        false => result,
    };
    let result = match portal.settings.neutralize_results {
        true => mcp::neutralise::result(&result).unwrap_or(result),
        false => result,
    };
    // After what is invisible is gone: it could have parted what a pattern looks for.
    if redactions.is_empty() { result } else { redact::result(redactions, &result) }
}
