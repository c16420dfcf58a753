//! What the script can ask of the host: every function of the prelude's `host` object that produces a message.
//!
//! Invariant: each message names the invocation whose message is being handled, and no invocation produces more
//! subrequests, output or log than its limits allow.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use rquickjs::prelude::Opt;
use rquickjs::{Class, Ctx, Exception, Function, IntoJs, Object, Promise, Result, Value};

use super::headers::Headers;
use super::meter::Meter;
use super::value::{Bytes, Usv};
use crate::protocol::{
    BodyId, BodySource, CallId, FromWorker, Limits, LogLevel, MAX_CHUNK, MAX_REASON, OpId, Operation, Outcome,
    OutgoingRequest, Redirect, ResponseHead, ScriptError, ScriptErrorKind,
};
use crate::typescript::SourceMap;

/// Most operations one invocation may have under way.
const MAX_PENDING: u32 = 1_000;
/// Most unheard rejections remembered in one run.
const MAX_REJECTIONS: usize = 20;
/// Longest message or stack of an error, in bytes.
const MAX_ERROR: usize = 8 << 10;

/// One invocation, as the engine accounts for it.
#[derive(Debug, Default)]
pub(super) struct Call {
    pub(super) cpu_ns: u64,
    /// `Done` or `Fail` was sent.
    pub(super) answered: bool,
    subrequests: u32,
    output: u64,
    logged: u32,
    pending: u32,
    /// Script-side bodies whose end was not sent.
    open: Vec<BodyId>,
}

/// Everything the host functions share with the engine.
pub(super) struct State {
    pub(super) meter: Rc<Meter>,
    pub(super) out: RefCell<Vec<FromWorker>>,
    pub(super) now_ms: Cell<f64>,
    pub(super) origin_ms: Cell<f64>,
    pub(super) current: Cell<Option<CallId>>,
    pub(super) limits: Cell<Limits>,
    pub(super) calls: RefCell<BTreeMap<CallId, Call>>,
    pub(super) owners: RefCell<HashMap<OpId, CallId>>,
    pub(super) maps: RefCell<HashMap<String, SourceMap>>,
    /// Promises rejected in this run that nobody has listened to yet, by identity.
    rejections: RefCell<Vec<(u64, String)>>,
    random: Cell<u64>,
    next_op: Cell<OpId>,
    next_body: Cell<BodyId>,
    load_logged: Cell<u32>,
}

impl State {
    pub(super) fn new(meter: Rc<Meter>) -> Rc<Self> {
        let limits = Limits {
            cpu_ms: 1_000,
            memory_bytes: u64::MAX,
            stack_bytes: 256 << 10,
            subrequests: 0,
            output_bytes: 0,
            log_bytes: 8 << 10,
        };
        Rc::new(Self {
            meter,
            out: RefCell::default(),
            now_ms: Cell::new(0.0),
            origin_ms: Cell::new(0.0),
            current: Cell::new(None),
            limits: Cell::new(limits),
            calls: RefCell::default(),
            owners: RefCell::default(),
            maps: RefCell::default(),
            rejections: RefCell::default(),
            random: Cell::new(0x9e37_79b9_7f4a_7c15),
            next_op: Cell::new(1),
            next_body: Cell::new(1),
            load_logged: Cell::new(0),
        })
    }

    pub(super) fn seed(&self, seed: u64) {
        self.random.set(seed | 1);
    }

    /// Takes note of a promise that was rejected (`text`), or that found a listener after all.
    pub(super) fn rejected(&self, promise: u64, text: Option<String>) {
        let mut rejections = self.rejections.borrow_mut();
        match text {
            Some(text) if rejections.len() < MAX_REJECTIONS => rejections.push((promise, text)),
            Some(_) => {}
            // The place of a promise that is gone may be taken by another, so the latest is meant.
            None => {
                if let Some(at) = rejections.iter().rposition(|(known, _)| *known == promise) {
                    rejections.remove(at);
                }
            }
        }
    }

    /// Logs the rejections that are still unheard at the end of a run.
    pub(super) fn report_rejections(&self) {
        for (_, text) in self.rejections.take() {
            self.log(LogLevel::Error, &text);
        }
    }

    pub(super) fn push(&self, message: FromWorker) {
        self.out.borrow_mut().push(message);
    }

    /// xorshift64*, as the engine's own generator.
    fn random(&self) -> f64 {
        let mut x = self.random.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random.set(x);
        let bits = x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11;
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let unit = bits as f64 / (1_u64 << 53) as f64;
        unit
    }

    fn with_call<T>(&self, ctx: &Ctx<'_>, work: impl FnOnce(CallId, &mut Call) -> T) -> Result<T> {
        let mut calls = self.calls.borrow_mut();
        let current = self.current.get().and_then(|id| calls.get_mut(&id).map(|call| (id, call)));
        match current {
            Some((id, call)) => Ok(work(id, call)),
            None => Err(Exception::throw_message(
                ctx,
                "this is not available at global scope, nor after the invocation has ended",
            )),
        }
    }

    /// Starts an operation for the current invocation.
    fn operation(&self, ctx: &Ctx<'_>, operation: Operation) -> Result<OpId> {
        let limits = self.limits.get();
        let counted = matches!(operation, Operation::Fetch { .. } | Operation::Service { .. });
        let admitted = self.with_call(ctx, |call, entry| {
            if entry.pending >= MAX_PENDING {
                return None;
            }
            if counted {
                entry.subrequests += 1;
                if entry.subrequests > limits.subrequests {
                    self.meter.breach(ScriptErrorKind::Subrequests);
                    return None;
                }
            }
            entry.pending += 1;
            Some(call)
        })?;
        let Some(call) = admitted else {
            let message = if counted { "too many subrequests" } else { "too many operations under way" };
            return Err(Exception::throw_message(ctx, message));
        };
        let op = self.next_op.get();
        self.next_op.set(op + 1);
        self.owners.borrow_mut().insert(op, call);
        self.push(FromWorker::HostCall { call, op, operation });
        Ok(op)
    }

    /// Takes note of an answer; the invocation it belongs to, unless that is over.
    pub(super) fn answered(&self, op: OpId) -> Option<CallId> {
        let call = self.owners.borrow_mut().remove(&op)?;
        let mut calls = self.calls.borrow_mut();
        let entry = calls.get_mut(&call)?;
        entry.pending = entry.pending.saturating_sub(1);
        Some(call)
    }

    fn count_output(&self, ctx: &Ctx<'_>, bytes: usize) -> Result<()> {
        let limit = self.limits.get().output_bytes;
        let within = self.with_call(ctx, |_, call| {
            call.output = call.output.saturating_add(bytes as u64);
            call.output <= limit
        })?;
        if within {
            return Ok(());
        }
        self.meter.breach(ScriptErrorKind::Output);
        Err(Exception::throw_range(ctx, "the invocation produced too much output"))
    }

    fn body<'js>(&self, ctx: &Ctx<'js>, kind: u8, value: Value<'js>) -> Result<BodySource> {
        match kind {
            1 => {
                let Bytes(bytes) = rquickjs::FromJs::from_js(ctx, value)?;
                self.count_output(ctx, bytes.len())?;
                Ok(BodySource::Inline(bytes))
            }
            2 => Ok(BodySource::Host(id_from(ctx, value)?)),
            3 => Ok(BodySource::Script(id_from(ctx, value)?)),
            _ => Ok(BodySource::None),
        }
    }

    /// Forgets an invocation and ends what it left open.
    pub(super) fn close(&self, call: CallId, reason: &str) {
        let Some(entry) = self.calls.borrow_mut().remove(&call) else { return };
        self.owners.borrow_mut().retain(|_, owner| *owner != call);
        for body in entry.open {
            let op = self.next_op.get();
            self.next_op.set(op + 1);
            let operation = Operation::BodyWrite { body, chunk: Vec::new(), end: true, error: Some(reason.to_owned()) };
            self.push(FromWorker::HostCall { call, op, operation });
        }
    }

    pub(super) fn error(&self, kind: ScriptErrorKind, message: &str, stack: &str) -> ScriptError {
        ScriptError { kind, message: cut(message, MAX_ERROR), stack: cut(&self.remap(stack), MAX_ERROR) }
    }

    /// Rewrites positions of compiled modules into those of the author's text.
    fn remap(&self, stack: &str) -> String {
        let maps = self.maps.borrow();
        if maps.is_empty() {
            return stack.to_owned();
        }
        let lines: Vec<String> =
            stack.lines().map(|line| remap_line(&maps, line).unwrap_or_else(|| line.to_owned())).collect();
        lines.join("\n")
    }

    fn log(&self, level: LogLevel, message: &str) {
        let limit = self.limits.get().log_bytes;
        // After the last message of an invocation nothing more is said in its name.
        let call = self.current.get().filter(|call| self.calls.borrow().contains_key(call));
        let size = u32::try_from(message.len()).unwrap_or(u32::MAX);
        let mut calls = self.calls.borrow_mut();
        let entry = call.and_then(|id| calls.get_mut(&id));
        let before = entry.as_ref().map_or(self.load_logged.get(), |entry| entry.logged);
        if before >= limit {
            return;
        }
        let after = before.saturating_add(size).saturating_add(1);
        match entry {
            Some(entry) => entry.logged = after,
            None => self.load_logged.set(after),
        }
        drop(calls);
        let message = if message.contains("    at ") { self.remap(message) } else { message.to_owned() };
        let room = (limit - before) as usize;
        self.push(FromWorker::Log { call, level, message: cut(&message, room) });
        if after >= limit {
            let message = "further output of this invocation is dropped: its log limit is reached".to_owned();
            self.push(FromWorker::Log { call, level: LogLevel::Warn, message });
        }
    }
}

fn remap_line(maps: &HashMap<String, SourceMap>, line: &str) -> Option<String> {
    let open = line.rfind('(').map_or_else(|| line.find("at ").map(|at| at + 3), |at| Some(at + 1))?;
    let place = line[open..].trim_end_matches(')');
    let (rest, column) = place.rsplit_once(':')?;
    let (file, number) = rest.rsplit_once(':')?;
    let (number, column) = maps.get(file)?.original(number.parse().ok()?, column.parse().ok()?)?;
    let close = if line.ends_with(')') { ")" } else { "" };
    Some(format!("{}{file}:{number}:{column}{close}", &line[..open]))
}

fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let mut end = limit;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// Ids cross as numbers; they stay far below 2^53.
fn id_from<'js>(ctx: &Ctx<'js>, value: Value<'js>) -> Result<u64> {
    let number: f64 = value.as_number().unwrap_or(-1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a small whole number")]
    let id = number as u64;
    if (0.0..9e15).contains(&number) {
        return Ok(id);
    }
    Err(Exception::throw_type(ctx, "invalid id"))
}

#[expect(clippy::cast_precision_loss, reason = "ids stay far below 2^53")]
pub(super) fn id_number(id: u64) -> f64 {
    id as f64
}

type Host<'a, 'js> = (&'a Ctx<'js>, &'a Object<'js>, &'a Rc<State>);

/// Adds the functions to the prelude's `host` object.
pub(super) fn install<'js>(ctx: &Ctx<'js>, host: &Object<'js>, state: &Rc<State>) -> Result<()> {
    let host = (ctx, host, state);
    install_plain(host)?;
    install_requests(host)?;
    install_storage(host)?;
    install_outcomes(host)
}

macro_rules! define {
    ($host:expr, $name:literal, |$state:ident $(, $argument:ident : $kind:ty)*| $body:expr) => {{
        let (ctx, host, state) = $host;
        let $state = Rc::clone(state);
        host.set($name, Function::new(ctx.clone(), move |$($argument: $kind),*| $body)?)?;
    }};
}

fn install_plain<'js>(host: Host<'_, 'js>) -> Result<()> {
    define!(host, "now", |state| state.now_ms.get());
    define!(host, "origin", |state| state.origin_ms.get());
    define!(host, "random", |state| state.random());
    define!(host, "log", |state, level: Usv, message: Usv| state.log(log_level(&level.0), &message.0));
    define!(host, "sleep", |state, ctx: Ctx<'js>, ms: u32| {
        state.operation(&ctx, Operation::Sleep { ms }).map(id_number)
    });
    define!(host, "newBody", |state, ctx: Ctx<'js>| {
        let body = state.next_body.get();
        state.next_body.set(body + 2);
        state.with_call(&ctx, |_, call| call.open.push(body))?;
        Ok::<f64, rquickjs::Error>(id_number(body))
    });
    define!(host, "isFulfilled", |_state, promise: Promise<'js>| {
        matches!(promise.state(), rquickjs::promise::PromiseState::Resolved)
    });
    define!(host, "fulfilledValue", |_state, ctx: Ctx<'js>, promise: Promise<'js>| {
        promise.result::<Value<'js>>().unwrap_or_else(|| Ok(Value::new_undefined(ctx)))
    });
    Ok(())
}

fn log_level(level: &str) -> LogLevel {
    match level {
        "debug" => LogLevel::Debug,
        "info" => LogLevel::Info,
        "warn" => LogLevel::Warn,
        "error" => LogLevel::Error,
        _ => LogLevel::Log,
    }
}

fn redirect(mode: &str) -> Redirect {
    match mode {
        "manual" => Redirect::Manual,
        "error" => Redirect::Error,
        _ => Redirect::Follow,
    }
}

/// What `fetch` and service bindings pass: method, URL, headers, body kind, body, redirect mode, incoming.
type Parts<'js> = rquickjs::prelude::Rest<Value<'js>>;

fn outgoing<'js>(state: &State, ctx: &Ctx<'js>, parts: &[Value<'js>]) -> Result<(OutgoingRequest, bool)> {
    let [method, url, headers, kind, body, mode, incoming] = parts else {
        return Err(Exception::throw_internal(ctx, "a request has seven parts"));
    };
    let text = |value: &Value<'js>| <Usv as rquickjs::FromJs>::from_js(ctx, value.clone()).map(|text| text.0);
    let headers = Class::<Headers>::from_value(headers)?.borrow().list.clone();
    let body = state.body(ctx, kind.get()?, body.clone())?;
    let request =
        OutgoingRequest { method: text(method)?, url: text(url)?, headers, body, redirect: redirect(&text(mode)?) };
    Ok((request, incoming.as_bool().unwrap_or(false)))
}

fn install_requests<'js>(host: Host<'_, 'js>) -> Result<()> {
    define!(host, "fetch", |state, ctx: Ctx<'js>, parts: Parts<'js>| {
        let (request, incoming) = outgoing(&state, &ctx, &parts.0)?;
        state.operation(&ctx, Operation::Fetch { request, incoming }).map(id_number)
    });
    define!(host, "service", |state, ctx: Ctx<'js>, binding: Usv, parts: Parts<'js>| {
        let (request, _) = outgoing(&state, &ctx, &parts.0)?;
        state.operation(&ctx, Operation::Service { binding: binding.0, request }).map(id_number)
    });
    define!(host, "bodyRead", |state, ctx: Ctx<'js>, body: Value<'js>| {
        let body = id_from(&ctx, body)?;
        state.operation(&ctx, Operation::BodyRead { body }).map(id_number)
    });
    define!(host, "bodyCancel", |state, ctx: Ctx<'js>, body: Value<'js>| {
        let body = id_from(&ctx, body)?;
        state.operation(&ctx, Operation::BodyCancel { body }).map(id_number)
    });
    define!(host, "bodyWrite", |state,
                                ctx: Ctx<'js>,
                                body: Value<'js>,
                                chunk: Bytes,
                                end: bool,
                                error: Opt<Value<'js>>| {
        let body = id_from(&ctx, body)?;
        let mut chunk = chunk.0;
        chunk.truncate(MAX_CHUNK);
        state.count_output(&ctx, chunk.len())?;
        let error = match error.0.filter(|error| !error.is_undefined()) {
            Some(error) => Some(<Usv as rquickjs::FromJs>::from_js(&ctx, error)?.0),
            None => None,
        };
        if end {
            state.with_call(&ctx, |_, call| call.open.retain(|open| *open != body))?;
        }
        state.operation(&ctx, Operation::BodyWrite { body, chunk, end, error }).map(id_number)
    });
    Ok(())
}

fn install_storage<'js>(host: Host<'_, 'js>) -> Result<()> {
    define!(host, "kvGet", |state, ctx: Ctx<'js>, binding: Usv, key: Usv| {
        state.operation(&ctx, Operation::KvGet { binding: binding.0, key: key.0 }).map(id_number)
    });
    define!(host, "kvPut", |state,
                            ctx: Ctx<'js>,
                            binding: Usv,
                            key: Usv,
                            value: Bytes,
                            metadata: Option<Usv>,
                            ttl: Option<f64>,
                            until: Option<f64>| {
        state.count_output(&ctx, value.0.len())?;
        let operation = Operation::KvPut {
            binding: binding.0,
            key: key.0,
            value: value.0,
            metadata: metadata.map(|text| text.0),
            expiration_ttl_s: ttl.map(seconds),
            expiration_s: until.map(seconds),
        };
        state.operation(&ctx, operation).map(id_number)
    });
    define!(host, "kvDelete", |state, ctx: Ctx<'js>, binding: Usv, key: Usv| {
        state.operation(&ctx, Operation::KvDelete { binding: binding.0, key: key.0 }).map(id_number)
    });
    define!(host, "kvList", |state, ctx: Ctx<'js>, binding: Usv, prefix: Usv, limit: u32, cursor: Option<Usv>| {
        let cursor = cursor.map(|text| text.0);
        state.operation(&ctx, Operation::KvList { binding: binding.0, prefix: prefix.0, limit, cursor }).map(id_number)
    });
    define!(host, "rateLimit", |state, ctx: Ctx<'js>, binding: Usv, key: Usv| {
        state.operation(&ctx, Operation::RateLimit { binding: binding.0, key: key.0 }).map(id_number)
    });
    define!(host, "cacheMatch", |state, ctx: Ctx<'js>, key: Usv| {
        state.operation(&ctx, Operation::CacheMatch { key: key.0 }).map(id_number)
    });
    define!(host, "cacheDelete", |state, ctx: Ctx<'js>, key: Usv| {
        state.operation(&ctx, Operation::CacheDelete { key: key.0 }).map(id_number)
    });
    define!(host, "cachePut", |state,
                               ctx: Ctx<'js>,
                               key: Usv,
                               status: u16,
                               text: Usv,
                               headers: Class<'js, Headers>,
                               kind: u8,
                               body: Value<'js>| {
        let response = ResponseHead {
            status,
            status_text: text.0,
            headers: headers.borrow().list.clone(),
            body: state.body(&ctx, kind, body)?,
            url: String::new(),
            redirected: false,
        };
        state.operation(&ctx, Operation::CachePut { key: key.0, response }).map(id_number)
    });
    Ok(())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and the prelude checked the range"
)]
fn seconds(number: f64) -> u64 {
    number as u64
}

impl State {
    fn done(&self, call: CallId, outcome: Outcome) {
        if let Some(entry) = self.calls.borrow_mut().get_mut(&call) {
            entry.answered = true;
        } else {
            return;
        }
        self.push(FromWorker::Done { call, outcome, cpu_us: 0 });
    }
}

fn install_outcomes<'js>(host: Host<'_, 'js>) -> Result<()> {
    define!(host, "loaded", |state, handlers: Vec<String>| state.push(FromWorker::Loaded { handlers }));
    define!(host, "loadFailed", |state, message: Usv, stack: Usv, syntax: bool| {
        let kind = if syntax { ScriptErrorKind::Syntax } else { ScriptErrorKind::Exception };
        state.push(FromWorker::LoadFailed(state.error(kind, &message.0, &stack.0)));
    });
    define!(host, "doneNothing", |state, ctx: Ctx<'js>, call: Value<'js>| {
        state.done(id_from(&ctx, call)?, Outcome::NoOpinion);
        Ok::<(), rquickjs::Error>(())
    });
    define!(host, "doneAccess", |state, ctx: Ctx<'js>, call: Value<'js>, allow: bool, reason: Usv| {
        // What is longer than anybody reads costs no frame; the host cuts again.
        let reason = reason.0.chars().take(MAX_REASON).collect();
        state.done(id_from(&ctx, call)?, Outcome::Access { allow, reason });
        Ok::<(), rquickjs::Error>(())
    });
    define!(host, "doneFinished", |state, ctx: Ctx<'js>, call: Value<'js>, retry: Vec<String>| {
        state.done(id_from(&ctx, call)?, Outcome::Finished { retry });
        Ok::<(), rquickjs::Error>(())
    });
    define!(host, "doneResponse", |state, ctx: Ctx<'js>, parts: Parts<'js>| {
        let [call, status, text, headers, kind, body, url, redirected] = parts.0.as_slice() else {
            return Err(Exception::throw_internal(&ctx, "a response has eight parts"));
        };
        let response = ResponseHead {
            status: status.get()?,
            status_text: text.get::<Usv>()?.0,
            headers: Class::<Headers>::from_value(headers)?.borrow().list.clone(),
            body: state.body(&ctx, kind.get()?, body.clone())?,
            url: url.get::<Usv>()?.0,
            redirected: redirected.get()?,
        };
        state.done(id_from(&ctx, call.clone())?, Outcome::Response(response));
        Ok(())
    });
    define!(host, "doneRequest", |state, ctx: Ctx<'js>, call: Value<'js>, parts: Parts<'js>| {
        let mut parts = parts.0;
        parts.push(Value::new_bool(ctx.clone(), false));
        let (request, _) = outgoing(&state, &ctx, &parts)?;
        state.done(id_from(&ctx, call)?, Outcome::Request(request));
        Ok::<(), rquickjs::Error>(())
    });
    define!(host, "fail", |state, ctx: Ctx<'js>, call: Value<'js>, kind: Usv, message: Usv, stack: Usv, pass: bool| {
        let call = id_from(&ctx, call)?;
        let kind = match kind.0.as_str() {
            "memory" => ScriptErrorKind::Memory,
            "stack" => ScriptErrorKind::Stack,
            "noHandler" => ScriptErrorKind::NoHandler,
            _ => ScriptErrorKind::Exception,
        };
        let error = state.error(kind, &message.0, &stack.0);
        state.fail(call, error, pass);
        Ok::<(), rquickjs::Error>(())
    });
    define!(host, "settled", |state, ctx: Ctx<'js>, call: Value<'js>| {
        state.settle(id_from(&ctx, call)?);
        Ok::<(), rquickjs::Error>(())
    });
    Ok(())
}

impl State {
    /// Reports a failure, unless an answer went out already: then it is only logged.
    pub(super) fn fail(&self, call: CallId, error: ScriptError, pass_through: bool) {
        let answered = match self.calls.borrow_mut().get_mut(&call) {
            Some(entry) => std::mem::replace(&mut entry.answered, true),
            None => return,
        };
        if answered {
            self.push(FromWorker::Log { call: Some(call), level: LogLevel::Error, message: error.message });
        } else {
            self.push(FromWorker::Fail { call, error, cpu_us: 0, pass_through });
        }
    }

    /// The last message of an invocation.
    pub(super) fn settle(&self, call: CallId) {
        if !self.calls.borrow().contains_key(&call) {
            return;
        }
        self.close(call, "the invocation ended");
        self.push(FromWorker::Settled { call, cpu_us: 0 });
    }
}

/// A value for a promise's resolution.
pub(super) fn text_or_null<'js>(ctx: &Ctx<'js>, text: Option<String>) -> Result<Value<'js>> {
    match text {
        Some(text) => text.into_js(ctx),
        None => Ok(Value::new_null(ctx.clone())),
    }
}
