//! Endpoints of push jobs, with the paths and shapes of the Logpush API.

use axum::http::Method;
use serde_json::json;
use store::Permission::{LogsRead, LogsWrite};

use super::gate::{Cx, Input};
use super::reply::{Reply, ok};
use super::table::Access::Permission;
use super::table::{Endpoint, Paging, endpoint};
use crate::failure::Failure;
use crate::operations::push_jobs::{
    self, DestinationBody, DestinationView, ExistsView, OwnershipView, PeriodBody, PushJobBody, PushJobView,
};
use crate::paging::single;

const JOBS: &str = "/accounts/{account_id}/logpush/jobs";
const JOB: &str = "/accounts/{account_id}/logpush/jobs/{job_id}";
const OF_DATASET: &str = "/accounts/{account_id}/logpush/datasets/{dataset}/jobs";
const FIELDS: &str = "/accounts/{account_id}/logpush/datasets/{dataset}/fields";
const OWNERSHIP: &str = "/accounts/{account_id}/logpush/ownership";
const OWNERSHIP_VALIDATE: &str = "/accounts/{account_id}/logpush/ownership/validate";
const VALIDATE: &str = "/accounts/{account_id}/logpush/validate/destination";
const EXISTS: &str = "/accounts/{account_id}/logpush/validate/destination/exists";
const TEST: &str = "/accounts/{account_id}/portunus/logpush/jobs/{job_id}/test";

const DELIVER: &str = "/accounts/{account_id}/portunus/logpush/jobs/{job_id}/deliver";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let (read, write) = (Permission(LogsRead), Permission(LogsWrite));
    vec![
        endpoint(Method::GET, JOBS, read, "List push jobs", list).lists::<PushJobView>(Paging::Single),
        endpoint(Method::POST, JOBS, write, "Make a push job", create)
            .takes_json::<PushJobBody>()
            .returns::<PushJobView>(),
        endpoint(Method::GET, JOB, read, "Get a push job", get).returns::<PushJobView>(),
        endpoint(Method::PUT, JOB, write, "Change a push job; what is absent stays", replace)
            .takes_json::<PushJobBody>()
            .returns::<PushJobView>(),
        endpoint(Method::DELETE, JOB, write, "Delete a push job", delete),
        endpoint(Method::GET, OF_DATASET, read, "List the push jobs of a dataset", of_dataset)
            .lists::<PushJobView>(Paging::Single),
        endpoint(Method::GET, FIELDS, read, "List the fields of a dataset", fields),
        endpoint(Method::POST, OWNERSHIP, write, "Ask what proves a destination to be one's own: nothing", ownership)
            .takes_json::<DestinationBody>()
            .returns::<OwnershipView>(),
        endpoint(Method::POST, OWNERSHIP_VALIDATE, write, "Say that a destination is one's own", ownership_validate)
            .takes_json::<DestinationBody>()
            .returns::<DestinationView>(),
        endpoint(Method::POST, VALIDATE, write, "Send a test record to a destination", validate)
            .takes_json::<DestinationBody>()
            .returns::<DestinationView>(),
        endpoint(Method::POST, EXISTS, write, "Ask whether a job sends to a destination", exists)
            .takes_json::<DestinationBody>()
            .returns::<ExistsView>(),
        endpoint(Method::POST, TEST, write, "Send a test record to the destination of a push job", test)
            .returns::<DestinationView>(),
        endpoint(Method::POST, DELIVER, write, "Have what was recorded in a period delivered to a push job", deliver)
            .takes_json::<PeriodBody>()
            .returns::<PushJobView>(),
    ]
}

async fn list(cx: Cx) -> Reply {
    ok(single(push_jobs::list(&cx.op).await?, cx.query("page"))?)
}

async fn create(cx: Cx, input: Input) -> Reply {
    ok(push_jobs::create(&cx.op, input.json()?).await?)
}

async fn get(cx: Cx) -> Reply {
    ok(push_jobs::get(&cx.op, cx.id("job_id", "push job")?).await?)
}

async fn replace(cx: Cx, input: Input) -> Reply {
    ok(push_jobs::replace(&cx.op, cx.id("job_id", "push job")?, input.json()?).await?)
}

async fn delete(cx: Cx) -> Reply {
    push_jobs::delete(&cx.op, cx.id("job_id", "push job")?).await?;
    ok(json!({}))
}

async fn of_dataset(cx: Cx) -> Reply {
    let name = cx.text("dataset").to_owned();
    let dataset = push_jobs::dataset(&name).ok_or_else(|| Failure::not_found("dataset"))?;
    let mut jobs = push_jobs::list(&cx.op).await?;
    jobs.retain(|job| push_jobs::dataset(&job.dataset) == Some(dataset));
    ok(single(jobs, cx.query("page"))?)
}

async fn fields(cx: Cx) -> Reply {
    ok(push_jobs::dataset_fields(&cx.op, cx.text("dataset"))?)
}

async fn ownership(cx: Cx, input: Input) -> Reply {
    ok(push_jobs::ownership(&cx.op, &input.json()?)?)
}

async fn ownership_validate(cx: Cx, input: Input) -> Reply {
    let answer = push_jobs::ownership(&cx.op, &input.json()?)?;
    ok(DestinationView { valid: answer.valid, message: answer.message })
}

async fn validate(cx: Cx, input: Input) -> Reply {
    ok(push_jobs::validate(&cx.op, &input.json()?).await?)
}

async fn exists(cx: Cx, input: Input) -> Reply {
    ok(push_jobs::exists(&cx.op, &input.json()?).await?)
}

async fn test(cx: Cx) -> Reply {
    ok(push_jobs::test(&cx.op, cx.id("job_id", "push job")?).await?)
}

async fn deliver(cx: Cx, input: Input) -> Reply {
    ok(push_jobs::deliver(&cx.op, cx.id("job_id", "push job")?, &input.json()?).await?)
}
