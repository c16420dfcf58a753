//! The owner's Workers as MCP servers of portals.
//!
//! Invariant: a Worker answers with what its own version in force says and its own bindings reach; nothing of a portal, its
//! servers or their credentials is given to it.

use std::sync::Arc;
use std::time::Duration;

use ::agents::upstream::Workers;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use net::proxy::body::Body;
use types::ScriptName;
use worker::{Answer, Call};

use crate::services::{EventHost, Services};

/// Asks the Workers in force.
pub(super) struct PortalWorkers {
    pub services: Arc<Services>,
}

impl Workers for PortalWorkers {
    fn ask<'a>(
        &'a self,
        name: &'a ScriptName,
        request: Request<Body>,
        facts: Arc<str>,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Response<Body>, String>> {
        Box::pin(async move {
            let script = self.services.script(name).ok_or_else(|| format!("there is no Worker {name} that runs"))?;
            let call = Call { host: Arc::new(EventHost::new(Arc::clone(&self.services))), cf: facts, timeout };
            let reply = self.services.run(&script, request, call).await;
            match reply.map_err(|error| format!("the Worker {name} failed: {error}"))?.answer {
                Answer::Response(response) => Ok(response),
                Answer::Request(_) | Answer::NoOpinion => Err(format!("the Worker {name} answered with no response")),
            }
        })
    }
}
