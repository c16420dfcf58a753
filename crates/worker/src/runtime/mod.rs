//! The JavaScript engine of one Worker process.
//!
//! Decides: how a message from the host becomes a run of the script, what is charged to which invocation, and what a
//! broken limit means. Does no I/O and knows nothing of processes. Two realms are prepared, because a frozen one cannot
//! be opened again: [`Isolation::Request`] loads into the frozen one, [`Isolation::Shared`] into the open one.
//!
//! Invariant: after [`Engine::handle`] returns no script code is runnable, unless the engine is [`Engine::spent`].

mod address;
mod arena;
mod crypto;
mod headers;
mod host;
mod html;
mod meter;
mod mime;
mod modules;
mod state;
mod text;
mod url;
mod value;

use std::collections::HashMap;
use std::hash::{Hash as _, Hasher as _};
use std::rc::Rc;

use rquickjs::context::EvalOptions;
use rquickjs::{Array, Class, Context, Ctx, Function, IntoJs, Object, Persistent, Runtime, Value};

use self::headers::{Flatten, Headers};
use self::meter::{Meter, Metered};
use self::state::{Call, State, id_number, text_or_null};
use crate::protocol::{
    Binding, BodySource, CallId, Event, FromWorker, Isolation, Load, OperationError, OperationResult, RequestHead,
    ResponseHead, ScriptError, ScriptErrorKind, ToWorker,
};
use crate::typescript::SourceMap;

/// CPU time that loading a script may use, whatever its limit for one invocation is.
const MIN_LOAD_CPU_MS: u32 = 200;
/// Jobs run after a limit was broken, to let an invocation's remaining jobs hit the flag and end.
const DRAIN_JOBS: u32 = 100;
/// Jobs between two looks at the CPU clock.
const JOBS_PER_LOOK: u32 = 16;
/// Heap growth that makes a collection worth its walk, in bytes.
const COLLECT_AFTER: usize = 1 << 20;

/// Largest block that the engine keeps in slabs, in bytes; larger ones have no holes to fill.
const LARGEST_SLAB_BLOCK: rquickjs::qjs::size_t = 504;
/// More holes of one size than any prelude leaves.
const MAX_HOLES: usize = 100_000;

const PRELUDE: &[(&str, &str)] = &[
    ("base.js", include_str!("../../js/base.js")),
    ("streams_readable.js", include_str!("../../js/streams_readable.js")),
    ("events.js", include_str!("../../js/events.js")),
    ("streams_writable.js", include_str!("../../js/streams_writable.js")),
    ("text.js", include_str!("../../js/text.js")),
    ("blob.js", include_str!("../../js/blob.js")),
    ("fetch.js", include_str!("../../js/fetch.js")),
    ("globals.js", include_str!("../../js/globals.js")),
    ("crypto.js", include_str!("../../js/crypto.js")),
    ("urlpattern.js", include_str!("../../js/urlpattern.js")),
    ("html.js", include_str!("../../js/html.js")),
    ("invoke.js", include_str!("../../js/invoke.js")),
];
const HARDEN: (&str, &str) = ("harden.js", include_str!("../../js/harden.js"));

/// Why an engine could not be built.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine had no memory for its runtime or context.
    #[error("the script engine could not start: {0}")]
    Start(String),
    /// A part of the built-in prelude threw; always a defect of ours.
    #[error("prelude {name} failed: {message}")]
    Prelude { name: &'static str, message: String },
}

/// A single-threaded engine: messages in, messages out, no I/O of its own.
pub struct Engine {
    frozen: Realm,
    open: Realm,
    isolation: Isolation,
    spent: bool,
    /// Heap in use after the last collection.
    settled_heap: usize,
}

impl Engine {
    /// Builds runtimes, contexts and the web API prelude. Called once in the zygote, before the first fork.
    ///
    /// # Errors
    /// When the engine cannot allocate or its prelude is defective.
    pub fn prepare() -> Result<Self, EngineError> {
        let frozen = Realm::build(true)?;
        let settled_heap = frozen.state.meter.heap();
        Ok(Self { frozen, open: Realm::build(false)?, isolation: Isolation::Request, spent: false, settled_heap })
    }

    /// Takes one message, runs the job queue until it is idle and pushes what the host must know. Never blocks.
    pub fn handle(&mut self, message: ToWorker, out: &mut Vec<FromWorker>) {
        if self.spent {
            return;
        }
        if let ToWorker::Load(load) = &message {
            self.isolation = load.isolation;
        }
        let realm = match self.isolation {
            Isolation::Request => &self.frozen,
            Isolation::Shared => &self.open,
        };
        let loading = matches!(message, ToWorker::Load(_));
        self.spent = match message {
            ToWorker::Load(load) => realm.load(load),
            ToWorker::Invoke { call, now_ms, event } => realm.invoke(call, now_ms, event),
            ToWorker::Resolve { op, now_ms, result } => realm.resolve(op, now_ms, result),
            ToWorker::Cancel { call } => realm.cancel(call),
        };
        out.append(&mut realm.state.out.borrow_mut());
        if loading {
            self.settled_heap = realm.state.meter.heap();
        }
    }

    /// Whether no call is in flight: a good moment for [`Engine::collect`].
    pub fn idle(&self) -> bool {
        self.realm().state.calls.borrow().is_empty()
    }

    /// Whether a limit was broken in a way that leaves work in the engine that cannot be removed. The process must
    /// send what it has, exit, and be replaced.
    pub fn spent(&self) -> bool {
        self.spent
    }

    /// Frees cyclic garbage if enough has been allocated since the last time to be worth the walk.
    pub fn collect(&mut self) {
        if self.realm().state.meter.heap() < self.settled_heap.saturating_add(COLLECT_AFTER) {
            return;
        }
        self.realm().runtime.run_gc();
        self.settled_heap = self.realm().state.meter.heap();
    }

    /// Bytes of script heap in use.
    pub fn heap_bytes(&self) -> usize {
        self.realm().state.meter.heap()
    }

    fn realm(&self) -> &Realm {
        match self.isolation {
            Isolation::Request => &self.frozen,
            Isolation::Shared => &self.open,
        }
    }
}

/// One runtime with one context and its prelude.
struct Realm {
    hooks: Hooks,
    state: Rc<State>,
    context: Context,
    runtime: Runtime,
}

/// Functions of the prelude that the engine calls.
struct Hooks {
    load: Hook,
    fetch: Hook,
    access: Hook,
    scheduled: Hook,
    queue: Hook,
    resolve: Hook,
    reject: Hook,
    cancel: Hook,
    abandon: Hook,
}

type Hook = Persistent<Function<'static>>;

impl Drop for Realm {
    fn drop(&mut self) {
        // Persistent values must be gone before their runtime is.
        self.context.with(|ctx| drop(ctx.remove_userdata::<Flatten>()));
    }
}

impl Realm {
    fn build(frozen: bool) -> Result<Self, EngineError> {
        let start = |error: rquickjs::Error| EngineError::Start(error.to_string());
        let meter = Rc::new(Meter::default());
        let runtime = Runtime::new_with_alloc(Metered::new(Rc::clone(&meter))).map_err(start)?;
        let poll = Rc::clone(&meter);
        runtime.set_interrupt_handler(Some(Box::new(move || poll.poll())));
        // Collection happens between invocations; this threshold is for one that makes much garbage.
        runtime.set_gc_threshold(8 << 20);
        runtime.set_max_stack_size(512 << 10);
        let context = Context::full(&runtime).map_err(start)?;
        let state = State::new(meter);
        let watcher = Rc::clone(&state);
        runtime.set_host_promise_rejection_tracker(Some(Box::new(move |ctx, promise, reason, handled| {
            let mut hasher = std::hash::DefaultHasher::new();
            promise.hash(&mut hasher);
            watcher.rejected(hasher.finish(), (!handled).then(|| rejection_text(&ctx, &reason)));
        })));
        let hooks = context.with(|ctx| prelude(&ctx, &state, frozen))?;
        runtime.run_gc();
        context.with(|ctx| fill_holes(&ctx, &state.meter));
        Ok(Self { hooks, state, context, runtime })
    }

    /// Runs `work` and then every job it made runnable, on the account of `call`. True when the engine is spent.
    fn run<F>(&self, call: Option<CallId>, work: F) -> bool
    where
        F: for<'js> FnOnce(&Ctx<'js>) -> rquickjs::Result<()>,
    {
        let state = &self.state;
        let first = state.out.borrow().len();
        let (before_ns, answered) = call
            .and_then(|id| state.calls.borrow().get(&id).map(|entry| (entry.cpu_ns, entry.answered)))
            .unwrap_or_default();
        let mut allowed_ms = state.limits.get().cpu_ms;
        if call.is_none() {
            allowed_ms = allowed_ms.max(MIN_LOAD_CPU_MS);
        }
        state.current.set(call);
        let started = state.meter.arm((u64::from(allowed_ms) * 1_000_000).saturating_sub(before_ns));
        let (failure, stuck) = self.context.with(|ctx| {
            let failure = work(&ctx).err().map(|error| describe(&ctx, &error));
            (failure, drain(&ctx, &state.meter))
        });
        state.report_rejections();
        state.meter.disarm();
        let total_ns = before_ns + meter::thread_cpu().saturating_sub(started);
        self.charge(call, total_ns);
        let kind = state.meter.take_breach();
        match (call, kind) {
            (Some(call), Some(kind)) => self.break_off(call, kind, first, answered),
            (Some(call), None) => {
                if let Some(message) = failure {
                    state.fail(call, state.error(ScriptErrorKind::Exception, &message, ""), false);
                    state.settle(call);
                    self.abandon(call);
                }
            }
            (None, kind) => self.conclude_load(kind, failure, first),
        }
        state.current.set(None);
        stamp(&mut state.out.borrow_mut()[first..], call, total_ns / 1_000);
        stuck || kind == Some(ScriptErrorKind::Memory)
    }

    fn charge(&self, call: Option<CallId>, total_ns: u64) {
        let mut calls = self.state.calls.borrow_mut();
        if let Some(entry) = call.and_then(|id| calls.get_mut(&id)) {
            entry.cpu_ns = total_ns;
        }
    }

    /// Ends an invocation that broke a limit: what it answered in this very run does not count.
    fn break_off(&self, call: CallId, kind: ScriptErrorKind, first: usize, answered: bool) {
        let state = &self.state;
        let made = state.out.borrow_mut().split_off(first);
        state.out.borrow_mut().extend(made.into_iter().filter(|message| {
            !matches!(message,
                FromWorker::Done { call: id, .. } | FromWorker::Fail { call: id, .. } | FromWorker::Settled { call: id, .. }
                    if *id == call)
        }));
        state.calls.borrow_mut().entry(call).or_default().answered = answered;
        state.fail(call, state.error(kind, limit_message(kind), ""), false);
        state.settle(call);
        self.abandon(call);
    }

    /// Makes the prelude forget an invocation.
    fn abandon(&self, call: CallId) {
        self.context.with(|ctx| {
            let hook = self.hooks.abandon.clone().restore(&ctx);
            if hook.and_then(|hook| hook.call::<_, ()>((id_number(call),))).is_err() {
                drop(ctx.catch());
            }
        });
    }

    /// Sees to it that loading ends with exactly one answer.
    fn conclude_load(&self, kind: Option<ScriptErrorKind>, failure: Option<String>, first: usize) {
        let state = &self.state;
        let mut out = state.out.borrow_mut();
        let is_answer = |message: &FromWorker| matches!(message, FromWorker::Loaded { .. } | FromWorker::LoadFailed(_));
        if let Some(kind) = kind {
            out.retain(|message| !is_answer(message));
            out.push(FromWorker::LoadFailed(state.error(kind, limit_message(kind), "")));
        } else if !out.iter().skip(first.min(out.len())).any(is_answer) {
            let message = failure
                .unwrap_or_else(|| "the module waits at its top level for something that never happens".to_owned());
            out.push(FromWorker::LoadFailed(state.error(ScriptErrorKind::Exception, &message, "")));
        }
    }

    fn load(&self, load: Load) -> bool {
        let state = &self.state;
        state.now_ms.set(load.now_ms);
        state.origin_ms.set(load.now_ms);
        state.seed(load.random_seed);
        state.limits.set(load.limits);
        state.meter.limit_heap(usize::try_from(load.limits.memory_bytes).unwrap_or(usize::MAX));
        self.runtime.set_max_stack_size(usize::try_from(load.limits.stack_bytes).unwrap_or(256 << 10));
        let linked = match link(&load.modules) {
            Ok(linked) => linked,
            Err(error) => {
                state.push(FromWorker::LoadFailed(error));
                return true;
            }
        };
        for module in &load.modules {
            if let Some(map) = SourceMap::of(&module.code) {
                state.maps.borrow_mut().insert(module.name.clone(), map);
            }
        }
        let hook = self.hooks.load.clone();
        let spent = self.run(None, |ctx| {
            let modules = compile(ctx, &linked, state)?;
            let Some(modules) = modules else { return Ok(()) };
            let bindings = bindings(ctx, &load)?;
            hook.restore(ctx)?.call((modules, load.isolation == Isolation::Shared, bindings))
        });
        spent || state.out.borrow().iter().any(|message| matches!(message, FromWorker::LoadFailed(_)))
    }

    fn invoke(&self, call: CallId, now_ms: f64, event: Event) -> bool {
        self.state.now_ms.set(now_ms);
        self.state.calls.borrow_mut().insert(call, Call::default());
        let id = id_number(call);
        match event {
            Event::Fetch(head) => self.run(Some(call), |ctx| self.hooks.fetch(ctx, id, head)),
            Event::Access { question } => {
                self.run(Some(call), |ctx| self.hooks.access.clone().restore(ctx)?.call((id, question)))
            }
            Event::Scheduled { cron, scheduled_ms } => {
                self.run(Some(call), |ctx| self.hooks.scheduled.clone().restore(ctx)?.call((id, cron, scheduled_ms)))
            }
            Event::Queue { queue, messages } => self.run(Some(call), |ctx| {
                let list = Array::new(ctx.clone())?;
                for (at, message) in messages.into_iter().enumerate() {
                    let entry = Array::new(ctx.clone())?;
                    entry.set(0, message.id)?;
                    entry.set(1, message.timestamp_ms)?;
                    entry.set(2, message.attempts)?;
                    entry.set(3, message.body)?;
                    list.set(at, entry)?;
                }
                self.hooks.queue.clone().restore(ctx)?.call((id, queue, list))
            }),
        }
    }

    fn resolve(&self, op: u64, now_ms: f64, result: Result<OperationResult, OperationError>) -> bool {
        self.state.now_ms.set(now_ms);
        let Some(call) = self.state.answered(op) else { return false };
        let id = id_number(op);
        self.run(Some(call), |ctx| match result {
            Ok(value) => {
                let value = result_value(ctx, value)?;
                self.hooks.resolve.clone().restore(ctx)?.call((id, value))
            }
            Err(error) => self.hooks.reject.clone().restore(ctx)?.call((id, error.name, error.message)),
        })
    }

    fn cancel(&self, call: CallId) -> bool {
        if !self.state.calls.borrow().contains_key(&call) {
            return false;
        }
        let first = self.state.out.borrow().len();
        let id = id_number(call);
        let spent = self.run(Some(call), |ctx| self.hooks.cancel.clone().restore(ctx)?.call((id,)));
        // Nobody waits for anything of this invocation; what it logged is kept.
        let made = self.state.out.borrow_mut().split_off(first);
        let logs = made.into_iter().filter(|message| matches!(message, FromWorker::Log { .. }));
        self.state.out.borrow_mut().extend(logs);
        self.state.calls.borrow_mut().remove(&call);
        self.state.owners.borrow_mut().retain(|_, owner| *owner != call);
        self.abandon(call);
        spent
    }
}

impl Hooks {
    fn fetch<'js>(&self, ctx: &Ctx<'js>, id: f64, head: RequestHead) -> rquickjs::Result<()> {
        let headers = Class::instance(ctx.clone(), Headers::from_host(head.headers))?;
        let body = match head.body {
            Some(body) => id_number(body).into_js(ctx)?,
            None => Value::new_undefined(ctx.clone()),
        };
        self.fetch.clone().restore(ctx)?.call((id, head.method, head.url, headers, head.cf, body))
    }
}

/// Evaluates the prelude and returns the functions the engine calls.
fn prelude(ctx: &Ctx<'_>, state: &Rc<State>, frozen: bool) -> Result<Hooks, EngineError> {
    let start = |error: rquickjs::Error| EngineError::Start(describe(ctx, &error));
    let host = Object::new(ctx.clone()).map_err(start)?;
    let internals = Object::new(ctx.clone()).map_err(start)?;
    state::install(ctx, &host, state).map_err(start)?;
    headers::install(ctx, &host).map_err(start)?;
    self::url::install(ctx, &host).map_err(start)?;
    text::install(ctx, &host).map_err(start)?;
    crypto::install(ctx, &host).map_err(start)?;
    html::install(ctx, &host).map_err(start)?;
    let mut parts: Vec<(&'static str, &'static str)> = PRELUDE.to_vec();
    if frozen {
        parts.push(HARDEN);
    }
    for (name, source) in parts {
        let run = || -> rquickjs::Result<()> {
            let part: Function<'_> = evaluate(ctx, name, source)?;
            part.call((host.clone(), internals.clone()))
        };
        run().map_err(|error| EngineError::Prelude { name, message: describe(ctx, &error) })?;
        if name == "base.js" {
            let flatten: Function<'_> = internals.get("flatPairs").map_err(start)?;
            drop(ctx.store_userdata(Flatten(Persistent::save(ctx, flatten))));
        }
    }
    let hooks: Object<'_> = internals.get("hooks").map_err(start)?;
    let hook = |name: &str| -> Result<Hook, EngineError> {
        let function: Function<'_> = hooks.get(name).map_err(start)?;
        Ok(Persistent::save(ctx, function))
    };
    Ok(Hooks {
        load: hook("load")?,
        fetch: hook("fetch")?,
        access: hook("access")?,
        scheduled: hook("scheduled")?,
        queue: hook("queue")?,
        resolve: hook("resolve")?,
        reject: hook("reject")?,
        cancel: hook("cancel")?,
        abandon: hook("abandon")?,
    })
}

/// Fills the holes of every slab, so that what a forked process allocates lies in pages of its own and what the prelude
/// made stays shared. The blocks are never freed.
#[expect(unsafe_code, reason = "asks the engine's own allocator, which has no safe interface")]
fn fill_holes(ctx: &Ctx<'_>, meter: &Meter) {
    let context = ctx.as_raw().as_ptr();
    for size in (8..=LARGEST_SLAB_BLOCK).step_by(8) {
        let before = meter.pages();
        for _ in 0..MAX_HOLES {
            // SAFETY: the context is alive, and the size is not zero.
            let block = unsafe { rquickjs::qjs::js_malloc(context, size) };
            // The first block of a fresh slab stays too: an empty slab would be given back and made again by every call.
            if block.is_null() || meter.pages() != before {
                break;
            }
        }
    }
}

/// What a log says of a promise that was rejected with nobody listening.
fn rejection_text<'js>(ctx: &Ctx<'js>, reason: &Value<'js>) -> String {
    match reason.as_exception() {
        Some(error) => format!(
            "Uncaught (in promise) {}\n{}",
            error.message().unwrap_or_default(),
            error.stack().unwrap_or_default().trim_end()
        ),
        None => {
            let text = ctx.json_stringify(reason).ok().flatten().and_then(|text| text.to_string().ok());
            if text.is_none() {
                drop(ctx.catch());
            }
            format!("Uncaught (in promise) {}", text.unwrap_or_default())
        }
    }
}

fn evaluate<'js>(ctx: &Ctx<'js>, name: &str, source: &str) -> rquickjs::Result<Function<'js>> {
    let mut options = EvalOptions::default();
    options.strict = true;
    options.filename = Some(name.to_owned());
    ctx.eval_with_options(source, options)
}

/// Runs jobs until none is left. True when a limit broke and jobs remain that nothing can remove.
fn drain(ctx: &Ctx<'_>, meter: &Meter) -> bool {
    let mut jobs = 0_u32;
    loop {
        if meter.breached().is_some() || (jobs % JOBS_PER_LOOK == JOBS_PER_LOOK - 1 && meter.poll()) {
            return !(0..DRAIN_JOBS).any(|_| !ctx.execute_pending_job());
        }
        if !ctx.execute_pending_job() {
            return false;
        }
        jobs = jobs.wrapping_add(1);
    }
}

/// Writes what the run cost into its answers.
fn stamp(messages: &mut [FromWorker], call: Option<CallId>, total_us: u64) {
    for message in messages {
        match message {
            FromWorker::Done { call: id, cpu_us, .. }
            | FromWorker::Fail { call: id, cpu_us, .. }
            | FromWorker::Settled { call: id, cpu_us }
                if Some(*id) == call =>
            {
                *cpu_us = total_us;
            }
            FromWorker::Done { .. }
            | FromWorker::Fail { .. }
            | FromWorker::Settled { .. }
            | FromWorker::Loaded { .. }
            | FromWorker::LoadFailed(_)
            | FromWorker::HostCall { .. }
            | FromWorker::Log { .. } => {}
        }
    }
}

fn limit_message(kind: ScriptErrorKind) -> &'static str {
    match kind {
        ScriptErrorKind::Cpu => "the invocation used more CPU time than its limit",
        ScriptErrorKind::Memory => "the script used more memory than its limit",
        ScriptErrorKind::Stack => "the script recursed deeper than its limit",
        ScriptErrorKind::Output => "the invocation produced more output than its limit",
        ScriptErrorKind::Subrequests => "the invocation started more subrequests than its limit",
        ScriptErrorKind::Exception | ScriptErrorKind::Syntax | ScriptErrorKind::NoHandler => "the script failed",
    }
}

fn describe(ctx: &Ctx<'_>, error: &rquickjs::Error) -> String {
    if !error.is_exception() {
        return error.to_string();
    }
    let caught = ctx.catch();
    let Some(exception) = caught.as_exception() else {
        return "the script threw a value that is not an error".to_owned();
    };
    format!("{}\n{}", exception.message().unwrap_or_default(), exception.stack().unwrap_or_default())
}

/// One module ready to compile, with its requests resolved to places in the list.
struct Linked {
    name: String,
    code: String,
    imports: Vec<usize>,
    stars: Vec<usize>,
    waits: bool,
}

/// Rewrites every module and resolves what it imports among the others.
fn link(modules: &[crate::protocol::Module]) -> Result<Vec<Linked>, ScriptError> {
    let syntax = |message: String, stack: String| ScriptError { kind: ScriptErrorKind::Syntax, message, stack };
    if modules.is_empty() {
        return Err(syntax("the script has no modules".to_owned(), String::new()));
    }
    let places: HashMap<&str, usize> =
        modules.iter().enumerate().rev().map(|(at, module)| (module.name.as_str(), at)).collect();
    let mut linked = Vec::with_capacity(modules.len());
    for module in modules {
        let code = data_module(&module.name, &module.code).unwrap_or_else(|| module.code.clone());
        let made = modules::factory(&code).map_err(|error| {
            syntax(
                format!("SyntaxError: {}", error.message),
                format!("    at {}:{}:{}\n{}", module.name, error.line, error.column, error.snippet),
            )
        })?;
        let mut imports = Vec::with_capacity(made.requests.len());
        for request in &made.requests {
            let find = |name: &str| places.get(name).copied();
            let place = crate::imports::resolve(&module.name, request, find).ok_or_else(|| {
                syntax(format!("module \"{request}\" is not part of this script"), format!("    at {}", module.name))
            })?;
            imports.push(place);
        }
        linked.push(Linked {
            name: module.name.clone(),
            code: made.code,
            imports,
            stars: made.stars,
            waits: made.waits,
        });
    }
    Ok(linked)
}

/// Text and JSON files become modules with a default export.
fn data_module(name: &str, text: &str) -> Option<String> {
    let (_, extension) = name.rsplit_once('.')?;
    let literal = serde_json::Value::from(text).to_string();
    match extension {
        "json" => Some(format!("export default JSON.parse({literal});")),
        "txt" | "html" | "css" | "sql" => Some(format!("export default {literal};")),
        _ => None,
    }
}

/// Compiles every factory; `None` when one does not compile, which is then reported.
fn compile<'js>(ctx: &Ctx<'js>, linked: &[Linked], state: &Rc<State>) -> rquickjs::Result<Option<Array<'js>>> {
    let modules = Array::new(ctx.clone())?;
    for (at, module) in linked.iter().enumerate() {
        let factory = match evaluate(ctx, &module.name, &module.code) {
            Ok(factory) => factory,
            Err(error) => {
                let error = state.error(ScriptErrorKind::Syntax, &describe(ctx, &error), "");
                state.push(FromWorker::LoadFailed(error));
                return Ok(None);
            }
        };
        let entry = Array::new(ctx.clone())?;
        entry.set(0, module.name.as_str())?;
        entry.set(1, factory)?;
        entry.set(2, module.imports.clone())?;
        entry.set(3, module.stars.clone())?;
        entry.set(4, module.waits)?;
        modules.set(at, entry)?;
    }
    Ok(Some(modules))
}

fn bindings<'js>(ctx: &Ctx<'js>, load: &Load) -> rquickjs::Result<Array<'js>> {
    let list = Array::new(ctx.clone())?;
    for (at, (name, binding)) in load.bindings.iter().enumerate() {
        let (kind, value) = match binding {
            Binding::Text(text) => ("text", text.as_str()),
            Binding::Json(text) => ("json", text.as_str()),
            Binding::Kv => ("kv", ""),
            Binding::RateLimit => ("rate", ""),
            Binding::Service => ("service", ""),
        };
        let entry = Array::new(ctx.clone())?;
        entry.set(0, name.as_str())?;
        entry.set(1, kind)?;
        entry.set(2, value)?;
        list.set(at, entry)?;
    }
    Ok(list)
}

/// What a promise resolves with.
fn result_value<'js>(ctx: &Ctx<'js>, result: OperationResult) -> rquickjs::Result<Value<'js>> {
    match result {
        OperationResult::Unit => Ok(Value::new_undefined(ctx.clone())),
        OperationResult::Response(head) => response_value(ctx, head),
        OperationResult::CacheHit(Some(head)) => response_value(ctx, head),
        OperationResult::Chunk(Some(bytes)) => value::buffer(ctx, &bytes),
        OperationResult::Chunk(None) | OperationResult::CacheHit(None) | OperationResult::KvValue(None) => {
            Ok(Value::new_null(ctx.clone()))
        }
        OperationResult::KvValue(Some(found)) => {
            let pair = Array::new(ctx.clone())?;
            pair.set(0, value::buffer(ctx, &found.value)?)?;
            pair.set(1, text_or_null(ctx, found.metadata)?)?;
            Ok(pair.into_value())
        }
        OperationResult::KvKeys { keys, cursor } => {
            let list = Array::new(ctx.clone())?;
            for (at, key) in keys.into_iter().enumerate() {
                let entry = Array::new(ctx.clone())?;
                entry.set(0, key.name)?;
                match key.expiration_s {
                    Some(seconds) => entry.set(1, id_number(seconds))?,
                    None => entry.set(1, Value::new_null(ctx.clone()))?,
                }
                entry.set(2, text_or_null(ctx, key.metadata)?)?;
                list.set(at, entry)?;
            }
            let pair = Array::new(ctx.clone())?;
            pair.set(0, list)?;
            pair.set(1, text_or_null(ctx, cursor)?)?;
            Ok(pair.into_value())
        }
        OperationResult::Allowed(flag) | OperationResult::Deleted(flag) => Ok(Value::new_bool(ctx.clone(), flag)),
    }
}

fn response_value<'js>(ctx: &Ctx<'js>, head: ResponseHead) -> rquickjs::Result<Value<'js>> {
    let parts = Array::new(ctx.clone())?;
    parts.set(0, head.status)?;
    parts.set(1, head.status_text)?;
    parts.set(2, Class::instance(ctx.clone(), Headers::from_host(head.headers))?)?;
    let (kind, body) = match head.body {
        BodySource::None => (0, Value::new_undefined(ctx.clone())),
        BodySource::Inline(bytes) => (1, value::buffer(ctx, &bytes)?),
        BodySource::Host(id) | BodySource::Script(id) => (2, id_number(id).into_js(ctx)?),
    };
    parts.set(3, kind)?;
    parts.set(4, body)?;
    parts.set(5, head.url)?;
    parts.set(6, head.redirected)?;
    Ok(parts.into_value())
}
