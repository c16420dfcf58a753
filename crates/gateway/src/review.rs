//! Connections that nobody reads, looked at again while they last: who opened them, and the rules of today.
//!
//! A request is decided once and is soon over; a tunnel or a WebSocket may last for days. The first decision is `connect`'s
//! and `ruling`'s. Invariant: what would not be granted now ends within one interval, and a connection costs one timer and
//! one look-up per interval, nothing per byte.

use std::sync::Arc;

use net::{BoxStream, Host, Stream};
use policy::action::ActionPlan;
use policy::facts::HttpFacts;
use policy::ruleset::Cursor;
use policy::trace::Scratch;

use crate::connect::{Opened, Stopped, bare};
use crate::exchange::Exchange;
use crate::identity;
use crate::record::{BLOCK, TunnelRecord};
use crate::stages;
use net::proxy::tunnel;

/// After so many intervals rules are asked again although they are the same ones, because some have a schedule.
const SCHEDULES: u32 = 30;

/// What a connection carries.
pub(crate) enum Carried<'a> {
    /// TLS that is passed through, with the name its client asks for.
    Tls {
        sni: Option<&'a Host>,
    },
    Opaque,
    /// What a request changed its connection to; rules allowed the request.
    Bridged {
        tls: bool,
    },
}

impl Opened {
    /// Returns why the connection must end, as soon as it must.
    pub(crate) async fn withdrawn(&mut self, carried: &Carried<'_>) -> Stopped {
        let mut looks = 0;
        loop {
            tokio::time::sleep(self.client.gateway.config.review_interval).await;
            let current = self.client.gateway.snapshot.load_full();
            let needs = stages::requirements(&self.client, &current);
            let source = self.client.source.ip();
            let again = identity::again(&current.people, &current.proxy_endpoints, source, &self.caller, needs);
            let Ok(caller) = again else {
                return (None, "the credential or the address it was opened with is not good any more".to_owned());
            };
            looks += 1;
            if Arc::ptr_eq(&current, &self.snapshot) && looks < SCHEDULES {
                continue;
            }
            looks = 0;
            // The old snapshot is let go: a connection must not keep a whole configuration in memory.
            (self.snapshot, self.caller) = (current, caller);
            if let Some(stopped) = self.stops(carried).await {
                return stopped;
            }
        }
    }

    /// Whether any rule looks at the address of the destination.
    pub(crate) fn reads_addresses(&self) -> bool {
        self.snapshot.l4.fields().contains(policy::hook::l4::id::DST_IP)
            || self.snapshot.http.fields().contains(policy::hook::http::id::DST_IP)
    }

    pub(crate) async fn stops(&self, carried: &Carried<'_>) -> Option<Stopped> {
        match carried {
            Carried::Tls { sni } => match self.exempt_by_names(*sni).await {
                Some((rule, _)) => self.stops_passing(*sni, rule.is_some()).await,
                None => Some((None, "it is not exempt from inspection any more".to_owned())),
            },
            Carried::Opaque => self.stops_opaque().await,
            Carried::Bridged { tls } => {
                let protocol = if *tls { "tls" } else { "http" };
                match self.stopped_by_network_rules(protocol, &self.host).await {
                    None => self.blocked_by_web_rules().await,
                    stopped => stopped,
                }
            }
        }
    }

    /// Decides whether TLS that is exempt from inspection may pass.
    ///
    /// An `off` rule comes first in the order of enforcement; without one, web rules about the host still hold.
    pub(crate) async fn stops_passing(&self, sni: Option<&Host>, by_rule: bool) -> Option<Stopped> {
        let judged = self.judged(sni);
        match self.stopped_by_network_rules("tls", judged).await {
            None if !by_rule => self.stopped_by_web_rules(judged).await,
            stopped => stopped,
        }
    }

    /// Decides whether a protocol that is not read may pass.
    pub(crate) async fn stops_opaque(&self) -> Option<Stopped> {
        match self.stopped_by_network_rules("", &self.host).await {
            None => self.stopped_by_web_rules(&self.host).await,
            stopped => stopped,
        }
    }

    /// Web rules that block the host whatever is asked of it. A Worker or a redirect was settled with the request.
    async fn blocked_by_web_rules(&self) -> Option<Stopped> {
        let host = bare(&self.host);
        let addresses = self.resolve(&host).await;
        let now = (self.client.gateway.clock)();
        let verdict = self.with_facts(&host, addresses.as_deref(), |facts| {
            let facts = HttpFacts::of_connection(facts);
            self.snapshot.http.finish(&facts, now, Cursor::start(), &mut Scratch::new())
        });
        let name = verdict.rule.as_ref().map_or("", |rule| rule.name.as_str());
        let why = format!("rule \"{name}\" blocks it");
        matches!(verdict.action, ActionPlan::Block(_) | ActionPlan::Unevaluable(_)).then_some((verdict.rule, why))
    }

    /// What a request opened by changing protocols.
    pub(crate) fn of(exchange: &Exchange) -> Self {
        let origin = &exchange.target.origin;
        Self {
            client: Arc::clone(&exchange.client),
            snapshot: Arc::clone(&exchange.snapshot),
            caller: exchange.caller.clone(),
            host: origin.host.clone(),
            port: origin.port,
            reached: exchange.connection.as_ref().map(|connection| connection.peer.ip()),
        }
    }

    /// Joins both sides of a connection that changed protocols, for as long as it may last.
    pub(crate) async fn bridge(mut self, near: BoxStream, far: impl Stream, tls: bool) {
        let (idle, carried) = (self.client.gateway.config.tunnel_idle_timeout, Carried::Bridged { tls });
        let stopped = tokio::select! {
            _ = tunnel::copy(near, far, idle) => return,
            stopped = self.withdrawn(&carried) => stopped,
        };
        // The request has its record already; what ended it later is a record of the connection.
        let mut record_of_end = self.record(None).await;
        "http".clone_into(&mut record_of_end.fields.detected_protocol);
        record(&mut record_of_end, stopped);
    }
}

/// Notes why a connection was ended.
pub(crate) fn record(record: &mut TunnelRecord, (rule, why): Stopped) {
    "PROXY_CONN_REFUSED".clone_into(&mut record.fields.connection_close_reason);
    record.decided(BLOCK, format!("ended while it was open: {why}"));
    if let Some(rule) = rule {
        record.rule(&rule);
    }
}
