//! Security events, as they happen: what the server batches to the `queue` handlers of Workers.
//!
//! The gateway only reports; it never waits for a consumer. Invariant: the channel is bounded, a full one drops the event
//! and counts it, so a slow Worker cannot hold up traffic.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use tokio::sync::mpsc;

/// Something a security team wants to hear about while it happens.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SecurityEvent {
    #[serde(rename = "type")]
    pub kind: SecurityEventKind,
    /// RFC 3339, UTC.
    pub at: String,
    pub account_id: String,
    pub request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_email: Option<String>,
    pub source_ip: String,
    pub host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// One sentence for a person.
    pub detail: String,
}

/// The closed set of event types; the text form is part of the contract with Workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SecurityEventKind {
    Blocked,
    WorkerFailed,
    AuthenticationFailed,
    UntrustedCertificate,
    GuardRefused,
    MalformedRequest,
}

/// The sending half kept by the gateway.
#[derive(Debug, Clone)]
pub(crate) struct EventSender {
    channel: mpsc::Sender<SecurityEvent>,
    dropped: Arc<AtomicU64>,
}

impl EventSender {
    pub(crate) fn new(capacity: usize) -> (Self, mpsc::Receiver<SecurityEvent>) {
        let (channel, receiver) = mpsc::channel(capacity.max(1));
        (Self { channel, dropped: Arc::new(AtomicU64::new(0)) }, receiver)
    }

    /// Hands `event` over, or counts it as dropped when nobody keeps up.
    pub(crate) fn send(&self, event: SecurityEvent) {
        if self.channel.try_send(event).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
