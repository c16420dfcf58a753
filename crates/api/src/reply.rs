//! How results become HTTP: the v4 envelope and its numbers; [`crate::refusal`] does it for failures. Nothing else
//! writes an envelope. Invariant: every API answer, the refusals of the router included, is a JSON envelope.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use types::{ApiMessage, Envelope, ResultInfo};

use crate::failure::Failure;
use crate::refusal::failure_response;

/// What a handler returns.
pub(crate) type Reply = Result<Response, Failure>;

/// A success with `result`.
pub(crate) fn ok<T: Serialize>(result: T) -> Reply {
    render(StatusCode::OK, &Envelope::success(result))
}

/// A success with nothing to say: `result` is `null`.
pub(crate) fn done() -> Reply {
    ok(Value::Null)
}

/// A page of a listing.
pub(crate) fn page<T: Serialize>(result: T, info: ResultInfo) -> Reply {
    render(StatusCode::OK, &Envelope::success(result).with_info(info))
}

fn render<T: Serialize>(status: StatusCode, envelope: &Envelope<T>) -> Reply {
    let body = serde_json::to_vec(envelope).map_err(|error| Failure::internal("envelope", &error))?;
    Ok((status, [(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// A failure that only the transport knows, with a status no [`Code`] has.
pub fn refuse(status: StatusCode, number: u32, message: impl Into<String>) -> Response {
    let message = ApiMessage { code: number, message: message.into(), documentation_url: None, source: None };
    failure_response(status, vec![message])
}
