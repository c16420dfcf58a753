//! The endpoint that replays recorded traffic under a draft of the rules.
//!
//! The answer is the result; whoever accepts `text/event-stream` is told of the progress first. Invariant: a caller who
//! goes away ends the replay, for it lives in the answer and nowhere else.

use std::convert::Infallible;
use std::pin::Pin;

use axum::http::{Method, header};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream;
use serde_json::json;
use store::Permission::GatewayRead;
use tokio::sync::mpsc;

use super::gate::{Cx, Input};
use super::reply::{Reply, ok};
use super::table::Access::Permission;
use super::table::{Endpoint, endpoint};
use crate::failure::Failure;
use crate::operations::replay::{self, Prepared, ReplayBody, ReplayProgress, ReplayView};

const REPLAY: &str = "/accounts/{account_id}/gateway/rules/replay";
/// Most bytes of a whole set of rules.
const SET_BYTES: usize = 16 << 20;
/// Progress that waits for a slow reader; what finds no room is left out, for the next says more.
const WAITING: usize = 4;

pub(super) fn endpoint_of_rules() -> Endpoint {
    const SUMMARY: &str = "Say what a draft of the rules would have changed for recorded traffic; needs logs:read too";
    endpoint(Method::POST, REPLAY, Permission(GatewayRead), SUMMARY, run)
        .takes_json::<ReplayBody>()
        .returns::<ReplayView>()
        .body_limit(SET_BYTES)
}

async fn run(cx: Cx, input: Input) -> Reply {
    let body: ReplayBody = input.json()?;
    let follows = input.headers().get(header::ACCEPT).is_some_and(|accept| accept == "text/event-stream");
    let prepared = replay::prepare(&cx.op, body).await?;
    if follows {
        return Ok(follow(cx, prepared));
    }
    ok(replay::run(&cx.op, prepared, |_| {}).await?)
}

type Work = Pin<Box<dyn Future<Output = Result<ReplayView, Failure>> + Send>>;

/// Server-sent events: `progress` as it goes, then `result` or `error`.
fn follow(cx: Cx, prepared: Prepared) -> axum::response::Response {
    let (told, progress) = mpsc::channel::<ReplayProgress>(WAITING);
    let work: Work = Box::pin(async move {
        let tell = move |progress| drop(told.try_send(progress));
        replay::run(&cx.op, prepared, tell).await
    });
    let events = stream::unfold((Some(work), None, progress), |(mut work, mut outcome, mut progress)| async move {
        if let Some(under_way) = &mut work {
            tokio::select! {
                biased;
                Some(step) = progress.recv() => return Some((told_of(&step), (work, outcome, progress))),
                ended = under_way => (work, outcome) = (None, Some(ended)),
            }
        }
        // What was told in the moment it ended comes before what came of it.
        if let Ok(step) = progress.try_recv() {
            return Some((told_of(&step), (work, outcome, progress)));
        }
        let event = match outcome.take()? {
            Ok(view) => Event::default().event("result").json_data(view),
            Err(failure) => Event::default().event("error").json_data(json!({
                "code": failure.number(),
                "message": failure.problems.first().map(|problem| problem.message.as_str()),
            })),
        };
        Some((Ok(event.unwrap_or_default()), (work, outcome, progress)))
    });
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

/// Our own shapes always serialize.
fn told_of(step: &ReplayProgress) -> Result<Event, Infallible> {
    Ok(Event::default().event("progress").json_data(step).unwrap_or_default())
}
