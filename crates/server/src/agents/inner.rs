//! The owner's Workers as MCP servers of portals, and as rules about calls ask them.
//!
//! Invariant: a Worker answers with what its own version in force says and its own bindings reach; nothing of a portal, its
//! servers or their credentials is given to it.

use std::sync::Arc;
use std::time::Duration;

use ::agents::Workers;
use futures_util::future::BoxFuture;
use http::Request;
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
    ) -> BoxFuture<'a, Result<Answer, String>> {
        Box::pin(async move {
            let script = self.services.script(name).ok_or_else(|| format!("there is no Worker {name} that runs"))?;
            let call = Call { host: Arc::new(EventHost::new(Arc::clone(&self.services))), cf: facts, timeout };
            let reply = self.services.run(&script, request, call).await;
            reply.map(|reply| reply.answer).map_err(|error| format!("the Worker {name} failed: {error}"))
        })
    }
}
