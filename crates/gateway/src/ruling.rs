//! What a verdict leads to: reading ahead what a rule waits for, asking Workers, answering.
//!
//! Policy decides; this carries it out and asks again with more facts. Invariant: whatever cannot be carried out is
//! refused: there is no way from a failure here to the origin except a rule's own `on_error`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Response;
use net::upstream::CertificatePolicy;
use net::{Host, Offer};
use policy::action::{ActionPlan, AllowPlan, BlockPlan, CachePlan, OnError, QuarantinePlan, UntrustedCertificate};
use policy::facts::{ConnectionFacts, L4Facts};
use policy::hook::Phase;
use policy::hook::http::id as field;
use policy::ruleset::{Cursor, Needs, RuleRef, Step, Verdict};
use policy::trace::Scratch;
use tokio::time::Instant;
use worker::{CallError, Script};

use crate::answer;
use crate::body::{self, Body, Patience};
use crate::events::SecurityEventKind;
use crate::exchange::Seen;
use crate::fault::Fault;
use crate::mcp;
use crate::record::{self, BLOCK, WorkerCall};
use crate::sniff;
use crate::stages::Flow;
use crate::upstream::Leg;
use crate::worker_action::{self, Opinion, Question};

/// How long a managed Worker has; its rule has no setting for it.
const MANAGED_TIMEOUT: Duration = Duration::from_secs(5);

/// Below this many bytes no signature can be told.
const SIGNATURE: usize = 64;

/// The state of a decision.
#[derive(Default)]
pub(crate) struct Ruling {
    cursor: Cursor,
    scratch: Scratch,
    /// A quarantine rule covers the response.
    pub(crate) quarantine: Option<(Arc<RuleRef>, Arc<QuarantinePlan>)>,
    /// Rules whose Worker had no objection. A verdict may come back to them; they are not asked twice.
    asked: Vec<types::RuleId>,
    /// A rule waits for the signature of the response body.
    pub(crate) reads_download: bool,
}

/// What a round of deciding came to.
pub(crate) enum Ruled {
    Answer(Response<Body>),
    Forward(Arc<AllowPlan>),
    /// The request may go under this plan; a rule waits for what comes back.
    AwaitResponse(Arc<AllowPlan>),
}

/// The terms under which a Worker is asked.
struct Terms<'a> {
    timeout: Duration,
    on_error: OnError,
    cache: Option<&'a CachePlan>,
}

/// What to do after one verdict.
enum Turn {
    Done(Ruled),
    /// Evaluation resumes after the rule.
    Again,
}

impl Flow {
    /// Decides as far as the facts allow, supplying those that can be had.
    ///
    /// What most requests do without (Workers, bodies, responses) is boxed, so that the future of a request stays small.
    pub(crate) async fn rule(&mut self) -> Result<Ruled, Fault> {
        loop {
            match self.step() {
                Step::Needs(needs) => {
                    self.ruling.cursor = needs.cursor;
                    if needs.phase.is_response() && self.exchange.arrived.is_none() {
                        return Box::pin(self.look_ahead(&needs)).await;
                    }
                    Box::pin(self.supply(&needs)).await?;
                }
                Step::Verdict(verdict) => {
                    self.ruling.cursor = verdict.cursor;
                    match self.carry_out(verdict).await? {
                        Turn::Done(ruled) => return Ok(ruled),
                        Turn::Again => {}
                    }
                }
            }
        }
    }

    /// Holds network rules against a request. In TLS they were held against the connection, so there only rules that came
    /// later are.
    pub(crate) async fn network_rules(&mut self) -> Option<Response<Body>> {
        let (rules, revision) = (&self.exchange.snapshot.l4, self.exchange.snapshot.revision);
        let secure = self.exchange.tunnel.clone().filter(|tunnel| tunnel.hello.is_some() && !self.exchange.moved);
        let judged = secure.as_ref().is_some_and(|tunnel| tunnel.judged.load(Ordering::Relaxed) == revision);
        if rules.is_empty() || judged {
            return None;
        }
        if self.exchange.addresses.is_none() && rules.fields().contains(policy::hook::l4::id::DST_IP) {
            self.resolve().await;
        }
        let exchange = &self.exchange;
        let verdict = exchange.with_facts(|facts| {
            let tls = secure.is_some() || (exchange.moved && exchange.target.origin.scheme == net::Scheme::Https);
            let protocol = if tls { "tls" } else { "http" };
            let connection = ConnectionFacts { detected_protocol: Some(Some(protocol)), ..facts.connection };
            exchange.snapshot.l4.finish(&L4Facts(connection), exchange.at, Cursor::start(), &mut Scratch::new())
        });
        let rule = verdict.rule.as_deref();
        if let ActionPlan::Allow(plan) = &verdict.action
            && let Some(fault) = exchange.caller.session_fault(plan.check_session, exchange.at)
        {
            return Some(self.refuse_session(rule, &fault));
        }
        let plan = match &verdict.action {
            ActionPlan::Block(plan) => Arc::clone(plan),
            ActionPlan::Unevaluable(_) => Arc::default(),
            // The network hook has no other actions.
            ActionPlan::Allow(_)
            | ActionPlan::Redirect(_)
            | ActionPlan::Isolate(_)
            | ActionPlan::Quarantine(_)
            | ActionPlan::Worker(_)
            | ActionPlan::Managed(_)
            | ActionPlan::Off
            | ActionPlan::NoScan
            | ActionPlan::NoIsolate => {
                if let Some(tunnel) = secure {
                    tunnel.judged.store(revision, Ordering::Relaxed);
                }
                return None;
            }
        };
        let why = rule.map_or_else(String::new, |rule| {
            self.record.rule(rule);
            format!("network rule \"{}\" blocks it", rule.name)
        });
        Some(self.block(rule, &plan, why))
    }

    fn step(&mut self) -> Step {
        let started = Instant::now();
        let (exchange, ruling) = (&self.exchange, &mut self.ruling);
        let step = exchange
            .with_facts(|facts| exchange.snapshot.http.decide(facts, exchange.at, ruling.cursor, &mut ruling.scratch));
        self.record.decision += started.elapsed();
        step
    }

    /// Decides whether the request may go out while a rule waits for its response.
    ///
    /// # Security
    /// Rules after the one that waits would be decided too late if the request were simply sent. So they are held against
    /// it as if the waiting rule did not match: if that stops the request, it is stopped, because either way it would
    /// not be allowed; a Worker among them is asked now, and only once. Only a rule that may yet allow the request lets it
    /// go out under the default plan.
    async fn look_ahead(&mut self, needs: &Needs) -> Result<Ruled, Fault> {
        self.ruling.reads_download |= needs.fields.contains(field::DOWNLOAD_TYPES);
        if matches!(needs.rule.action, ActionPlan::Allow(_) | ActionPlan::Quarantine(_)) {
            // A later rule may ask what the request was when its body is gone.
            self.supply_mcp().await?;
            return Ok(Ruled::AwaitResponse(Arc::default()));
        }
        self.supply_request_facts().await?;
        let mut ahead = needs.cursor;
        loop {
            let (exchange, mut scratch) = (&self.exchange, Scratch::new());
            let verdict =
                exchange.with_facts(|facts| exchange.snapshot.http.finish(facts, exchange.at, ahead, &mut scratch));
            ahead = verdict.cursor;
            match self.carry_out(verdict).await? {
                Turn::Done(Ruled::Forward(plan) | Ruled::AwaitResponse(plan)) => return Ok(Ruled::AwaitResponse(plan)),
                Turn::Done(answer @ Ruled::Answer(_)) => return Ok(answer),
                Turn::Again => {}
            }
        }
    }

    /// Gets every fact about the request that some rule reads, so that looking ahead misses none.
    async fn supply_request_facts(&mut self) -> Result<(), Fault> {
        let read = self.exchange.snapshot.http.fields();
        if self.exchange.addresses.is_none() && read.contains(field::DST_IP) {
            self.resolve().await;
        }
        let whole = read.contains(field::UPLOAD_SIZE) && self.exchange.upload.size.is_none();
        let head = read.contains(field::UPLOAD_TYPES) && self.exchange.upload.types.is_none();
        if self.exchange.has_body && (whole || head) {
            self.read_upload(whole).await?;
        }
        self.supply_mcp().await
    }

    /// Reads what rules ask about MCP messages in the request, as far as it can be.
    async fn supply_mcp(&mut self) -> Result<(), Fault> {
        let read = self.exchange.snapshot.http.fields();
        let messages = !read.intersection(mcp::message_fields()).is_empty();
        if self.exchange.mcp.waits() && (messages || read.contains(field::IS_MCP)) {
            self.read_upload(false).await?;
        }
        if messages && self.exchange.mcp.is_open() {
            self.read_upload(true).await?;
        }
        Ok(())
    }

    /// Gets the facts that a rule waits for.
    async fn supply(&mut self, needs: &Needs) -> Result<(), Fault> {
        match needs.phase {
            Phase::Connection => self.resolve().await,
            Phase::RequestBodyHead => self.read_upload(false).await?,
            Phase::RequestBodyComplete => {
                let messages = !needs.fields.intersection(mcp::message_fields()).is_empty();
                // Nearly every message ends in the head of its body; a longer one is read as far as sizes are counted.
                let whole = !messages || !self.exchange.mcp.waits();
                self.read_upload(whole).await?;
                if messages && whole && self.exchange.mcp.is_open() {
                    return Err(Fault::Unread(self.exchange.mcp.why_open()));
                }
            }
            Phase::ResponseBodyHead => self.read_download(false).await?,
            Phase::ResponseBodyComplete => self.read_download(true).await?,
            // Known from the start, or once the response is there: waiting for them again would never end.
            Phase::RequestHead | Phase::ResponseHead => {
                return Err(Fault::Configuration(format!(
                    "rule \"{}\" waits for a fact that is not supplied",
                    needs.rule.name
                )));
            }
        }
        Ok(())
    }

    async fn resolve(&mut self) {
        let exchange = &mut self.exchange;
        let addresses = match &exchange.target.origin.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => {
                let port = exchange.target.origin.port;
                let found = exchange.snapshot.resolver.resolve(name, port).await;
                // No address: rules see an empty list, and connecting says what is wrong.
                found.map(|found| found.addresses.iter().map(std::net::SocketAddr::ip).collect()).unwrap_or_default()
            }
        };
        exchange.addresses = Some(addresses);
    }

    async fn read_upload(&mut self, whole: bool) -> Result<(), Fault> {
        let config = &self.exchange.client.gateway.config;
        let bound = if whole { config.body_count_bytes } else { config.body_head_bytes };
        let patience = patience(config);
        let encoding = sniff::content_coding(&self.exchange.headers);
        if self.exchange.arrived.is_some() {
            // It was sent on; what is left here says nothing of it.
            self.exchange.mcp.lose();
        }
        let body = self.exchange.take_body();
        let (head, body) = body::read_ahead(body, bound, patience).await.map_err(|_| Fault::RequestBody)?;
        self.exchange.body = body;
        note(&mut self.exchange.upload, &head, encoding.as_deref(), whole);
        if self.exchange.arrived.is_none() {
            self.exchange.mcp.see(&head.bytes, head.complete, encoding.as_deref());
            self.note_mcp();
        }
        Ok(())
    }

    async fn read_download(&mut self, whole: bool) -> Result<(), Fault> {
        let config = &self.exchange.client.gateway.config;
        let bound = if whole { config.body_count_bytes } else { config.body_head_bytes };
        let patience = patience(config);
        let host = self.exchange.target.host.clone();
        let Some(arrived) = self.exchange.arrived.as_mut() else {
            return Err(Fault::Configuration("a rule reads a response that has not come".to_owned()));
        };
        let encoding = sniff::content_coding(&arrived.headers);
        // An event stream speaks when it has something to say; it is judged by what it has said.
        let streams = arrived.mime.as_deref() == Some("text/event-stream");
        let patience = if streams { Patience { minimum: 0, ..patience } } else { patience };
        let body = std::mem::replace(&mut arrived.body, body::empty_body());
        let (head, body) = body::read_ahead(body, bound, patience)
            .await
            .map_err(|error| Fault::Broken { host, why: error.to_string() })?;
        arrived.body = body;
        note(&mut self.exchange.download, &head, encoding.as_deref(), whole);
        Ok(())
    }

    async fn carry_out(&mut self, verdict: Verdict) -> Result<Turn, Fault> {
        let rule = verdict.rule.as_deref();
        match rule {
            Some(rule) => self.record.rule(rule),
            None => self.record.no_rule(),
        }
        let named = || rule.map_or_else(String::new, |rule| format!("rule \"{}\"", rule.name));
        self.exchange.mcp.mask(verdict.action.logs_payload());
        let turn = match &verdict.action {
            ActionPlan::Allow(plan) => {
                if let Some(fault) = self.exchange.caller.session_fault(plan.check_session, self.exchange.at) {
                    return Ok(Turn::Done(Ruled::Answer(self.refuse_session(rule, &fault))));
                }
                let why = if rule.is_some() { format!("{} allows it", named()) } else { "no rule matched".to_owned() };
                self.record.decided("allow", why);
                self.warn_if_late(plan);
                Turn::Done(Ruled::Forward(Arc::clone(plan)))
            }
            ActionPlan::Block(plan) => {
                Turn::Done(Ruled::Answer(self.block(rule, plan, format!("{} blocks it", named()))))
            }
            ActionPlan::Redirect(plan) => {
                let (response, location) = answer::redirect(&self.exchange, rule, plan);
                self.record.fields.redirect_target_uri = location;
                self.record.decided("redirect", format!("{} redirects it", named()));
                Turn::Done(Ruled::Answer(response))
            }
            ActionPlan::Isolate(_) => {
                let what = "This site is to be opened in an isolated browser, and this installation has none.";
                self.refuse(rule, "isolate", "isolation_unavailable", "Isolation is not available", what.to_owned())
            }
            ActionPlan::Quarantine(plan) => {
                if let Some(rule) = verdict.rule.clone().filter(|_| !verdict.marks.no_scan) {
                    self.ruling.quarantine = Some((rule, Arc::clone(plan)));
                    self.ruling.reads_download = true;
                }
                self.record.decided("allow", format!("{} holds back files of some types", named()));
                Turn::Done(Ruled::Forward(Arc::default()))
            }
            ActionPlan::Worker(plan) => {
                let terms = Terms { timeout: plan.timeout, on_error: plan.on_error, cache: plan.cache.as_ref() };
                Box::pin(self.ask(verdict.rule.as_ref(), terms)).await?
            }
            ActionPlan::Managed(_) => {
                let terms = Terms { timeout: MANAGED_TIMEOUT, on_error: OnError::Block, cache: None };
                Box::pin(self.ask(verdict.rule.as_ref(), terms)).await?
            }
            // These leave marks or belong to connections; policy goes on by itself.
            ActionPlan::Off | ActionPlan::NoScan | ActionPlan::NoIsolate => Turn::Again,
            ActionPlan::Unevaluable(why) => {
                let what = "A rule could not be evaluated, so the request was stopped.".to_owned();
                self.record.fields.error = why.to_string();
                self.refuse(rule, BLOCK, "unevaluable", "This request could not be checked", what)
            }
        };
        Ok(turn)
    }

    /// Header changes and certificate settings of a rule that waited for the response come too late for the request.
    fn warn_if_late(&mut self, plan: &AllowPlan) {
        if self.exchange.arrived.is_some() && !plan.headers.is_empty() {
            self.record.warn("request headers were not changed: the rule was decided after the request had been sent");
        }
    }

    /// Answers with the block page.
    pub(crate) fn block(&mut self, rule: Option<&RuleRef>, plan: &BlockPlan, why: String) -> Response<Body> {
        let (response, location) = answer::block(&self.exchange, rule, plan);
        if let Some(location) = location {
            self.record.fields.redirect_target_uri = location;
        }
        self.record.decided(BLOCK, why.clone());
        self.report(SecurityEventKind::Blocked, why);
        response
    }

    fn refuse(&mut self, rule: Option<&RuleRef>, action: &str, code: &'static str, title: &str, what: String) -> Turn {
        Turn::Done(Ruled::Answer(self.refusal(rule, action, code, title, what)))
    }

    fn refusal(
        &mut self,
        rule: Option<&RuleRef>,
        action: &str,
        code: &'static str,
        title: &str,
        what: String,
    ) -> Response<Body> {
        self.record.decided(action, what.clone());
        self.report(SecurityEventKind::Blocked, what.clone());
        answer::refuse(&self.exchange, rule, code, title, what)
    }

    /// A rule that would allow the request asks for a fresher sign-in.
    fn refuse_session(&mut self, rule: Option<&RuleRef>, fault: &str) -> Response<Body> {
        let name = rule.map_or("", |rule| rule.name.as_str());
        let what = format!(
            "The rule \"{name}\" allows this to people who signed in lately. {fault} Get a new proxy token to go on."
        );
        self.refusal(rule, BLOCK, "session_too_old", "Please sign in again", what)
    }

    /// Asks the Worker of `rule` and carries out its answer.
    async fn ask(&mut self, rule: Option<&Arc<RuleRef>>, terms: Terms<'_>) -> Result<Turn, Fault> {
        let Some(rule) = rule else {
            return Err(Fault::Configuration("a verdict asks a Worker and names no rule".to_owned()));
        };
        if self.ruling.asked.contains(&rule.id) {
            return Ok(Turn::Again);
        }
        self.ruling.asked.push(rule.id);
        if self.exchange.arrived.is_some() {
            // Only behind a rule that could have allowed the request by its response, and did not.
            let what = "A check that your organisation requires could not be made in time.".to_owned();
            self.record.fields.error = format!("rule \"{}\" comes after one that waits for the response", rule.name);
            return Ok(self.refuse(Some(rule), BLOCK, "check_too_late", "This request could not be checked", what));
        }
        let Some(script) = self.exchange.snapshot.workers.get(&rule.id).map(Arc::clone) else {
            self.record.fields.error = format!("the Worker of rule \"{}\" is not deployed", rule.name);
            return Ok(self.worker_failed(rule, terms.on_error));
        };
        self.record.fields.worker_script.clone_from(&script.key.name);
        let leg = self.leg(UntrustedCertificate::Error);
        let question = Question { rule, script: &script, timeout: terms.timeout, cache: terms.cache, leg };
        let consulted = worker_action::consult(&mut self.exchange, question).await;
        let consulted = match consulted {
            Ok(consulted) => consulted,
            Err(fault) => {
                self.report(SecurityEventKind::WorkerFailed, fault.what());
                return Err(fault);
            }
        };
        self.record.waited += consulted.wall;
        if let Some(connection) = &self.exchange.connection {
            self.record.fields.destination_ip = connection.peer.ip().to_string();
        }
        let on_error = if consulted.spent { OnError::Block } else { terms.on_error };
        let (decision, error) = match &consulted.opinion {
            Opinion::Respond(_) => ("response", None),
            Opinion::Changed => ("request", None),
            Opinion::None => ("none", None),
            Opinion::Failed(error) => (on_error_word(on_error), Some(error)),
        };
        if let Some(report) = &consulted.report {
            let call = WorkerCall {
                script: &script.key,
                report,
                error,
                decision,
                request_id: self.exchange.id.0,
                url: &self.exchange.target.url,
                method: self.exchange.method.as_str(),
            };
            let id = record::worker_call(&self.exchange.client.gateway, &self.exchange.snapshot, call).await;
            self.record.fields.worker_invocation_id = id.to_string();
        }
        if consulted.spent
            && let Opinion::Failed(error) = &consulted.opinion
        {
            return Ok(self.failed_after_sending(rule, &script, error));
        }
        if self.exchange.moved
            && matches!(consulted.opinion, Opinion::Changed)
            && let Some(response) = self.network_rules().await
        {
            // Network rules come before web rules, and what they were asked about was another destination.
            return Ok(Turn::Done(Ruled::Answer(response)));
        }
        let remembered = consulted.report.is_none();
        Ok(self.opinion(rule, &script, on_error, consulted.opinion, remembered))
    }

    fn opinion(
        &mut self,
        rule: &RuleRef,
        script: &Script,
        on_error: OnError,
        opinion: Opinion,
        remembered: bool,
    ) -> Turn {
        let note = if remembered { " (remembered)" } else { "" };
        let name = &script.key.name;
        match opinion {
            Opinion::Respond(response) => {
                "response".clone_into(&mut self.record.fields.worker_outcome);
                self.record.decided("worker", format!("Worker {name} answered for rule \"{}\"{note}", rule.name));
                Turn::Done(Ruled::Answer(response))
            }
            Opinion::Changed => {
                "request".clone_into(&mut self.record.fields.worker_outcome);
                Turn::Again
            }
            Opinion::None => {
                "none".clone_into(&mut self.record.fields.worker_outcome);
                Turn::Again
            }
            Opinion::Failed(error) => {
                self.record.fields.worker_outcome = error.kind.to_string();
                self.record.fields.error = format!("Worker {name}: {error}");
                // A script that called `passThroughOnException` continues where it would be blocked.
                let continues = error.pass_through && on_error == OnError::Block;
                self.worker_failed(rule, if continues { OnError::Continue } else { on_error })
            }
        }
    }

    /// Ends a request whose Worker failed when the origin may already have it.
    ///
    /// # Security
    /// `continue` and `allow` would send it again: an order placed twice, a sum paid twice. So neither they nor
    /// `passThroughOnException` apply; only a request that is safe to repeat goes on.
    fn failed_after_sending(&mut self, rule: &RuleRef, script: &Script, error: &CallError) -> Turn {
        let name = &script.key.name;
        self.record.fields.worker_outcome = error.kind.to_string();
        self.record.fields.error = format!(
            "Worker {name}: {error}. It had sent the request to its origin before, and a {} is not sent twice",
            self.exchange.method
        );
        self.report(SecurityEventKind::WorkerFailed, self.record.fields.error.clone());
        let what = "A check that your organisation requires could not be completed. The site may have received your \
                    request all the same: look there before you send it again.";
        let title = "This request may have been carried out";
        self.refuse(Some(rule), BLOCK, "check_failed_after_sending", title, what.to_owned())
    }

    /// Does what the rule says about failures.
    fn worker_failed(&mut self, rule: &RuleRef, on_error: OnError) -> Turn {
        let detail = self.record.fields.error.clone();
        self.report(SecurityEventKind::WorkerFailed, detail);
        match on_error {
            OnError::Continue => Turn::Again,
            OnError::Allow => {
                self.record
                    .decided("allow", format!("the Worker of rule \"{}\" failed, and its rule allows then", rule.name));
                Turn::Done(Ruled::Forward(Arc::default()))
            }
            OnError::Block => {
                let what = "A check that your organisation requires could not be completed.".to_owned();
                self.refuse(Some(rule), BLOCK, "check_failed", "This request could not be checked", what)
            }
        }
    }

    /// How the origin is connected to for this request.
    pub(crate) fn leg(&self, untrusted: UntrustedCertificate) -> Leg {
        let exchange = &self.exchange;
        let offer = match &exchange.tunnel {
            // What the client offered when its tunnel was opened, so that both legs speak the same where they can.
            Some(tunnel) => match &tunnel.hello {
                Some(hello) => Offer::mirror(&hello.alpn),
                None if exchange.version == http::Version::HTTP_2 => Offer::Http2,
                None => Offer::Http1,
            },
            None if exchange.target.origin.scheme == net::Scheme::Https => Offer::Both,
            None => Offer::Http1,
        };
        let certificates = match untrusted {
            UntrustedCertificate::PassThrough => CertificatePolicy::AcceptUntrusted,
            UntrustedCertificate::Block | UntrustedCertificate::Error => CertificatePolicy::RequireValid,
        };
        Leg {
            offer,
            certificates,
            client: exchange.client.number,
            within: exchange.client.gateway.config.response_timeout,
        }
    }

    /// Holds back a file of a type that a quarantine rule covers: there is no sandbox to examine it in.
    pub(crate) async fn quarantine(&mut self) -> Result<Option<Response<Body>>, Fault> {
        let Some((rule, plan)) = self.ruling.quarantine.take() else { return Ok(None) };
        if !self.exchange.arrived.as_ref().is_some_and(|arrived| arrived.has_body) {
            return Ok(None);
        }
        if self.exchange.download.types.is_none() {
            self.read_download(false).await?;
        }
        let types = self.exchange.download.types.unwrap_or_default();
        let Some(held) = types.iter().find(|kind| plan.file_types.iter().any(|listed| listed == *kind)) else {
            return Ok(None);
        };
        self.exchange.arrived = None;
        self.record.rule(&rule);
        self.record.fields.quarantined = true;
        (*held).clone_into(&mut self.record.fields.blocked_file_type);
        let what = format!("Files of type {held} are to be examined first, and this installation has no sandbox.");
        self.record.decided("quarantine", what.clone());
        self.report(SecurityEventKind::Blocked, what.clone());
        Ok(Some(answer::refuse(&self.exchange, Some(&rule), "quarantine_unavailable", "This file is held back", what)))
    }

    /// Writes the history of the decision to the record.
    pub(crate) fn trace(&mut self) {
        if self.ruling.scratch.considered() == 0 {
            return;
        }
        let (exchange, ruling) = (&self.exchange, &self.ruling);
        let mut trace = exchange.with_facts(|facts| exchange.snapshot.http.trace(&ruling.scratch, facts));
        trace.microseconds = Some(record::micros(self.record.decision));
        self.record.fields.rule_trace = serde_json::to_value(trace).ok();
    }
}

fn patience(config: &crate::GatewayConfig) -> Patience {
    Patience { pause: config.body_head_timeout, minimum: SIGNATURE, limit: config.response_timeout }
}

/// Notes what the head of a body shows.
fn note(seen: &mut Seen, head: &body::Head, encoding: Option<&[u8]>, whole: bool) {
    seen.types = Some(sniff::file_types(&head.bytes, encoding));
    if seen.size.is_none() {
        if head.complete {
            seen.size = Some(head.bytes.len() as u64);
        } else if whole {
            // It does not declare its length and is longer than is counted: larger than any limit a rule can set, so
            // that leaving the length out is no way around one.
            seen.size = Some(u64::MAX);
        }
    }
}

const fn on_error_word(on_error: OnError) -> &'static str {
    match on_error {
        OnError::Block => "block",
        OnError::Continue => "continue",
        OnError::Allow => "allow",
    }
}
