//! Asks Workers what they make of a caller, where a policy's outcome hangs on it.
//!
//! What an answer means is the engine's; running a script is `server`'s. An answer is used again for the same caller at
//! the same application, from the same address, for as long as the policy says; a request asks each Worker at most once.
//! Invariants: no answer, a late one and a failure are one and the same, none that counts; and no credential that
//! Access takes reaches a script.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use http::header::{self, HeaderMap};
use identity::evaluation::{Answer, Lookups, Need, Verdict, WorkerWord};
use identity::selector::{ExternalEvaluation, WorkerQuestion};
use identity::session::{Moment, Session};
use moka::sync::Cache;
use serde_json::{Map, Value, json};
use tokio::sync::{OnceCell, Semaphore};
use types::{ApplicationId, Email, ListId, ScriptName};
use worker::{BoxFuture, CallError, Said, Script};

use crate::caller::{Program, TOKEN_HEADER, Who};
use crate::exchange::Exchange;
use crate::forward;
use crate::question::{Phase, Question};
use crate::snapshot::Published;

/// Answers that are kept at a node.
const MOST_KEPT: u64 = 100_000;
/// How long a failure is kept at most: long enough that a script that is broken is not asked by everybody at once.
const FAILURE_KEPT: Duration = Duration::from_secs(5);
/// Questions about callers who proved nothing that are under way at a time.
const STRANGERS_AT_ONCE: usize = 64;
/// How much longer than the script itself the call may take, to begin and to end.
const GRACE: Duration = Duration::from_millis(250);
/// Bytes of header fields that a script is told of; further fields are left out.
const MOST_HEADERS: usize = 16 << 10;
/// Fields that carry credentials, beside the names of Access's own and the one an application names.
const SECRET_FIELDS: [header::HeaderName; 3] = [header::COOKIE, header::AUTHORIZATION, header::PROXY_AUTHORIZATION];

const MISSING: &str = "there is no Worker of that name that can run";
const LATE: &str = "no answer within the time allowed";

/// Runs the owner's scripts for policies.
pub trait Workers: Send + Sync + 'static {
    /// Finds the version of a script that is in force.
    fn find(&self, name: &ScriptName) -> Option<Arc<Script>>;

    /// Invokes a script's `access` handler with a question, which is JSON text. Dropping the future cancels the call.
    fn ask<'a>(
        &'a self,
        script: &'a Arc<Script>,
        question: String,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Said, CallError>>;
}

/// What Workers said at this node.
pub(crate) struct Opinions {
    workers: Arc<dyn Workers>,
    kept: Cache<[u8; 32], Arc<OnceCell<Kept>>>,
    strangers: Semaphore,
}

/// An answer, and until when it is used again.
struct Kept {
    word: Arc<WorkerWord>,
    until: Moment,
}

/// What was said about one exchange, by application and question.
pub(crate) type Words = Vec<(ApplicationId, WorkerQuestion, Arc<WorkerWord>)>;

/// Who wants in.
#[derive(Clone, Copy)]
pub(crate) enum Asker<'a> {
    Person(&'a Session),
    Program(&'a Program),
    Nobody,
}

impl<'a> From<&'a Who> for Asker<'a> {
    fn from(who: &'a Who) -> Self {
        match who {
            Who::Nobody => Self::Nobody,
            Who::Person(signed) => Self::Person(signed.live.session()),
            Who::Program(program) => Self::Program(program),
        }
    }
}

/// What a caller is about to do.
#[derive(Clone, Copy)]
pub(crate) enum Occasion<'a> {
    /// The request at hand, to the application.
    Request,
    /// A sign-in, for the request that it began with.
    SignIn,
    /// A client of managed OAuth gets tokens.
    Grant,
    /// The launcher shows a tile that leads here.
    Tile(&'a url::Url),
}

/// What is known about a caller at one application: what `rest` knows, and what Workers said.
#[derive(Clone, Copy)]
pub(crate) struct Heard<'a> {
    pub(crate) exchange: &'a Exchange,
    pub(crate) application: ApplicationId,
    pub(crate) rest: &'a dyn Lookups,
}

impl Lookups for Heard<'_> {
    fn email_list(&self, list: ListId, email: &Email) -> Answer {
        self.rest.email_list(list, email)
    }

    fn ip_list(&self, list: ListId, address: std::net::IpAddr) -> Answer {
        self.rest.ip_list(list, address)
    }

    fn external(&self, evaluation: &ExternalEvaluation) -> Answer {
        self.rest.external(evaluation)
    }

    fn worker(&self, question: &WorkerQuestion) -> Option<Arc<WorkerWord>> {
        let words = self.exchange.words.lock();
        let mut found = words.iter().filter(|(at, asked, _)| *at == self.application && asked == question);
        found.next().map(|(_, _, word)| Arc::clone(word))
    }
}

impl Opinions {
    pub(crate) fn new(workers: Arc<dyn Workers>) -> Self {
        let life = Duration::from_secs(WorkerQuestion::MAX_TTL_S.into());
        Self {
            workers,
            kept: Cache::builder().max_capacity(MOST_KEPT).time_to_live(life).build(),
            strangers: Semaphore::new(STRANGERS_AT_ONCE),
        }
    }

    async fn word(&self, case: &Case<'_>, question: &WorkerQuestion) -> Arc<WorkerWord> {
        let Some(script) = self.workers.find(&question.script) else {
            return Arc::new(nothing(MISSING, Duration::ZERO));
        };
        if question.ttl().is_zero() {
            return self.call(case, &script, question).await;
        }
        let now = case.exchange.now;
        let key = case.key(&script, question);
        let mut cell = self.kept.get_with(key, Arc::default);
        if cell.get().is_some_and(|kept| now >= kept.until) {
            cell = Arc::default();
            self.kept.insert(key, Arc::clone(&cell));
        }
        // Requests that come while the first is being answered wait for its answer.
        let kept = cell.get_or_init(|| async {
            let word = self.call(case, &script, question).await;
            let ttl = if word.allows.is_some() { question.ttl() } else { question.ttl().min(FAILURE_KEPT) };
            Kept { word, until: now.after(ttl) }
        });
        Arc::clone(&kept.await.word)
    }

    async fn call(&self, case: &Case<'_>, script: &Arc<Script>, question: &WorkerQuestion) -> Arc<WorkerWord> {
        let _place = match case.asker {
            Asker::Nobody => self.strangers.acquire().await.ok(),
            Asker::Person(_) | Asker::Program(_) => None,
        };
        Arc::new(put(&*self.workers, script, question, case.question()).await)
    }
}

/// Asks a Worker once, whatever was said before: what a policy is tried with.
pub async fn ask_once(workers: &dyn Workers, question: &WorkerQuestion, facts: &Question<'_>) -> WorkerWord {
    let Some(script) = workers.find(&question.script) else { return nothing(MISSING, Duration::ZERO) };
    let within = question.timeout() + GRACE;
    let asked = tokio::time::timeout(within, put(workers, &script, question, facts.write())).await;
    asked.unwrap_or_else(|_| nothing(LATE, within))
}

async fn put(workers: &dyn Workers, script: &Arc<Script>, question: &WorkerQuestion, facts: Value) -> WorkerWord {
    let started = tokio::time::Instant::now();
    let answer = workers.ask(script, facts.to_string(), question.timeout()).await;
    let took = started.elapsed();
    match answer {
        Ok(said) => WorkerWord { allows: Some(said.allow), reason: said.reason, took },
        Err(error) => {
            tracing::warn!(%error, script = %script.key, "a Worker that a policy asks gave no answer");
            nothing(&error.to_string(), took)
        }
    }
}

/// A word that is none.
fn nothing(why: &str, took: Duration) -> WorkerWord {
    WorkerWord { allows: None, reason: why.chars().take(worker::protocol::MAX_REASON).collect(), took }
}

/// Asks the policies of an application, and the Workers that their outcome hangs on, until it hangs on none of them.
pub(crate) async fn settled<V: AsRef<Verdict>>(
    exchange: &Exchange,
    published: &Published,
    (asker, occasion): (Asker<'_>, Occasion<'_>),
    mut evaluate: impl FnMut() -> V,
) -> V {
    loop {
        let found = evaluate();
        let Verdict::Needs(needs) = found.as_ref() else { return found };
        if !ask(exchange, published, (asker, occasion), needs).await {
            return found;
        }
    }
}

/// Asks every Worker among `needs` at the same time. False if there is none.
pub(crate) fn ask<'a>(
    exchange: &'a Exchange,
    published: &'a Published,
    (asker, occasion): (Asker<'a>, Occasion<'a>),
    needs: &'a [Need],
) -> BoxFuture<'a, bool> {
    let case = Arc::new(Case { exchange, published, asker, occasion });
    let questions =
        needs.iter().filter_map(|need| if let Need::Worker(question) = need { Some(question) } else { None });
    let mut asked: Vec<BoxFuture<'a, Words>> = Vec::new();
    for question in questions {
        let case = Arc::clone(&case);
        asked.push(Box::pin(async move {
            let within = question.timeout() + GRACE;
            let word = tokio::time::timeout(within, exchange.plane().opinions.word(&case, question)).await;
            let word = word.unwrap_or_else(|_| Arc::new(nothing(LATE, within)));
            vec![(published.application.id, question.clone(), word)]
        }));
    }
    Box::pin(async move {
        let words = futures_util::future::join_all(asked).await;
        let any = !words.is_empty();
        exchange.words.lock().extend(words.into_iter().flatten());
        any
    })
}

/// Tells whether some Worker that was asked about this exchange gave no answer.
pub(crate) fn any_silent(exchange: &Exchange) -> bool {
    exchange.words.lock().iter().any(|(_, _, word)| word.allows.is_none())
}

/// Writes what Workers said of the caller at an application, for the record of a request that is let in.
pub(crate) fn notes(exchange: &Exchange, application: ApplicationId) -> String {
    let words = exchange.words.lock();
    let here = words.iter().filter(|(at, _, _)| *at == application);
    here.map(|(_, question, word)| format!("; {}", word.explain(question))).collect()
}

/// One caller at one application.
struct Case<'a> {
    exchange: &'a Exchange,
    published: &'a Published,
    asker: Asker<'a>,
    occasion: Occasion<'a>,
}

impl Case<'_> {
    /// Returns what an answer is kept under: whoever differs in any of it is asked about anew.
    fn key(&self, script: &Script, question: &WorkerQuestion) -> [u8; 32] {
        let caller = match self.asker {
            Asker::Person(session) => {
                let identity = &session.identity;
                json!([identity.user, identity.provider, identity.signed_in, session.issued])
            }
            Asker::Program(program) => json!(program.id),
            Asker::Nobody => Value::Null,
        };
        let (application, source) = (self.published.application.id, self.exchange.source());
        let certificate = self.exchange.client_certificate();
        let certificate = certificate.map(|outcome| outcome.map(|known| &known.fingerprint).map_err(Cow::into_owned));
        let parts = json!([application, source, caller, certificate, script.key.name, script.key.version, question]);
        let mut digest = Context::new(&SHA256);
        digest.update(parts.to_string().as_bytes());
        let mut key = [0; 32];
        key.copy_from_slice(digest.finish().as_ref());
        key
    }

    fn question(&self) -> Value {
        let Self { exchange, published, .. } = self;
        let (identity, service_token) = match self.asker {
            Asker::Person(session) => (Some(&*session.identity), None),
            Asker::Program(program) => (None, Some((program.id, program.client_id.to_string()))),
            Asker::Nobody => (None, None),
        };
        let (phase, request) = self.request();
        let certificate = exchange.client_certificate();
        let question = Question {
            phase,
            test: false,
            id: exchange.id,
            account: exchange.snapshot.account,
            application: Some((published.application.id, &published.application.name)),
            identity,
            service_token,
            request: Some(request),
            source: exchange.source(),
            country: None,
            certificate: certificate.as_ref().map(|outcome| outcome.as_ref().copied().map_err(AsRef::as_ref)),
        };
        question.write()
    }

    fn request(&self) -> (Phase, Value) {
        let exchange = self.exchange;
        let get = |url: String| json!({"method": "GET", "url": url, "headers": {}});
        let page = |host: &str, path: &str| {
            let site = exchange.site(host).map(|site| site.as_str().trim_end_matches('/').to_owned());
            format!("{}{path}", site.unwrap_or_default())
        };
        match self.occasion {
            Occasion::Request => {
                let url = page(&exchange.host, &exchange.path_and_query());
                let headers = self.headers(&exchange.headers);
                (Phase::Request, json!({"method": exchange.method.as_str(), "url": url, "headers": headers}))
            }
            Occasion::SignIn => match exchange.start.get() {
                Some(start) => (Phase::SignIn, get(page(&start.host, &start.back))),
                None => (Phase::SignIn, get(page(&exchange.host, "/"))),
            },
            Occasion::Grant => (Phase::Grant, get(page(&exchange.host, "/"))),
            Occasion::Tile(url) => (Phase::Launcher, get(url.to_string())),
        }
    }

    /// The fields of a request that are no secret and claim no identity, each name once.
    fn headers(&self, headers: &HeaderMap) -> Map<String, Value> {
        let own = self.published.self_hosted().and_then(|app| app.service_tokens.header.as_deref());
        let mut shown = Map::new();
        let mut bytes = 0;
        for name in headers.keys() {
            let text = name.as_str();
            let secret = SECRET_FIELDS.contains(name)
                || text == TOKEN_HEADER
                // Whoever asks could write anything there; what is true of it stands elsewhere in the question.
                || forward::speaks_of_identity(text)
                || own.is_some_and(|own| own.eq_ignore_ascii_case(text));
            if secret {
                continue;
            }
            let values: Vec<_> = headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes())).collect();
            let value = values.join(", ");
            bytes += text.len() + value.len();
            if bytes > MOST_HEADERS {
                break;
            }
            shown.insert(text.to_owned(), value.into());
        }
        shown
    }
}
