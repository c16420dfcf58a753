//! What is recorded of each thing a client asks for, whatever becomes of it.
//!
//! Invariant: a record is made when an answer is begun and given to the log when it ends, is cut off, or is dropped; there
//! is no way out without it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use uuid::Uuid;

use crate::session::Session;
use crate::visit::Visitor;

/// One request at a portal.
#[derive(Debug, Clone)]
pub struct Record {
    pub id: Uuid,
    /// The Code Mode execution that it is part of.
    pub parent: Option<Uuid>,
    pub at: Timestamp,
    pub portal: String,
    pub source: std::net::IpAddr,
    pub visitor: Visitor,
    pub session: String,
    pub client_name: String,
    pub client_version: String,
    pub method: String,
    /// Of the portal's application.
    pub portal_audience: String,
    /// The version of the protocol the client speaks.
    pub version: &'static str,
    /// The server that answered; `None`: the portal itself.
    pub server: Option<String>,
    /// Of the server's application.
    pub server_audience: Option<String>,
    pub server_address: Option<String>,
    /// By their server's names for them.
    pub tool: Option<String>,
    pub prompt: Option<String>,
    pub resource: Option<String>,
    /// JSON text, with what rules take out taken out, and bounded.
    pub arguments: Option<String>,
    pub result: Option<String>,
    /// Rules that decided.
    pub rules: Vec<String>,
    pub outcome: Outcome,
    /// Until the server's answer was complete; zero where none was asked.
    pub server_time: Duration,
    pub time: Duration,
    /// Bytes of the arguments and of the result.
    pub bytes: (usize, usize),
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Success,
    /// A tool said that it failed, or a server answered with an error.
    Failed(String),
    /// A rule did not let it through.
    Blocked(String),
    /// It ended before its answer did: the client left, or the server.
    CutOff,
}

/// Takes records. Must not wait: a record that cannot be taken is the log's to count.
pub trait Recorder: Send + Sync + 'static {
    fn record(&self, record: Record);
}

/// A record in the making.
pub(crate) struct Recording {
    record: Option<Record>,
    started: Instant,
    recorder: Arc<dyn Recorder>,
}

/// What a recording begins with.
pub(crate) struct Begin<'a> {
    pub(crate) id: Uuid,
    pub(crate) parent: Option<Uuid>,
    pub(crate) at: Timestamp,
    pub(crate) source: std::net::IpAddr,
    pub(crate) visitor: &'a Visitor,
    pub(crate) session: &'a Session,
    pub(crate) audience: &'a str,
    pub(crate) method: &'a str,
}

impl Recording {
    pub(crate) fn begin(recorder: &Arc<dyn Recorder>, begin: Begin<'_>) -> Self {
        let Begin { id, parent, at, source, visitor, session, audience, method } = begin;
        let record = Record {
            id,
            parent,
            at,
            portal: session.portal.clone(),
            source,
            visitor: visitor.clone(),
            session: session.id.clone(),
            client_name: session.client.name.clone(),
            client_version: session.client.version.clone(),
            method: method.to_owned(),
            portal_audience: audience.to_owned(),
            version: session.version.as_str(),
            server: None,
            server_audience: None,
            server_address: None,
            tool: None,
            prompt: None,
            resource: None,
            arguments: None,
            result: None,
            rules: Vec::new(),
            outcome: Outcome::CutOff,
            server_time: Duration::ZERO,
            time: Duration::ZERO,
            bytes: (0, 0),
        };
        Self { record: Some(record), started: Instant::now(), recorder: Arc::clone(recorder) }
    }

    /// Changes what will be recorded.
    pub(crate) fn note(&mut self, change: impl FnOnce(&mut Record)) {
        if let Some(record) = &mut self.record {
            change(record);
        }
    }

    /// Tells whether a program asked, and no client.
    pub(crate) fn is_part(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.parent.is_some())
    }

    /// Notes that the server's answer is complete.
    pub(crate) fn server_done(&mut self) {
        let elapsed = self.started.elapsed();
        self.note(|record| record.server_time = elapsed);
    }

    /// Ends it.
    pub(crate) fn end(mut self, outcome: Outcome) {
        self.note(|record| record.outcome = outcome);
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.time = self.started.elapsed();
            self.recorder.record(record);
        }
    }
}
