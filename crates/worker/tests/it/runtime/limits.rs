//! Scripts that break each limit, and scripts that try to get at more than they were given.

use portunus_worker::protocol::{
    BodySource, Event, Isolation, OperationResult, Outcome, QueueMessage, ScriptErrorKind,
};

use super::harness::{Host, Setup, request};

/// A script of many handlers chosen by path, under tight limits.
fn host(handlers: &[&str]) -> Host {
    let mut source = String::from("const cases = [\n");
    for body in handlers {
        source.push_str(&format!("async (request, env, ctx) => {{ {body} }},\n"));
    }
    source.push_str("];\nexport default { fetch(request, env, ctx) { return cases[new URL(request.url).pathname.slice(1)](request, env, ctx); } };");
    let mut setup = Setup::new(&source);
    setup.modules[0].0 = "worker.js";
    setup.limits.cpu_ms = 50;
    setup.limits.memory_bytes = 16 << 20;
    setup.limits.output_bytes = 512 << 10;
    setup.limits.subrequests = 3;
    setup.limits.log_bytes = 100;
    setup.load().unwrap()
}

#[test]
fn every_limit_ends_the_invocation_that_breaks_it() {
    let cases = [
        ("for (;;) {}", ScriptErrorKind::Cpu),
        ("try { for (;;) {} } catch { return new Response('caught'); }", ScriptErrorKind::Cpu),
        ("try { for (;;) {} } finally { return new Response('finally'); }", ScriptErrorKind::Cpu),
        ("const f = async () => { for (;;) await null; }; await f();", ScriptErrorKind::Cpu),
        ("await null; for (;;) {}", ScriptErrorKind::Cpu),
        (
            "const spin = () => { for (let i = 0; i < 2000; i++); return Promise.resolve().then(spin); }; await spin();",
            ScriptErrorKind::Cpu,
        ),
        ("queueMicrotask(function f() { queueMicrotask(f); }); await new Promise(() => {});", ScriptErrorKind::Cpu),
        ("/^(a+)+$/.test('a'.repeat(40) + 'b'); return undefined", ScriptErrorKind::Cpu),
        ("const a = []; for (;;) a.push(new Array(1000).fill(1));", ScriptErrorKind::Memory),
        (
            "const a = []; try { for (;;) a.push('x'.repeat(1e6) + a.length); } catch { a.length = 0; return new Response('caught'); }",
            ScriptErrorKind::Memory,
        ),
        ("new Uint8Array(1 << 30); return undefined", ScriptErrorKind::Memory),
        ("'x'.repeat(2 ** 29).split(''); return undefined", ScriptErrorKind::Memory),
        ("JSON.stringify(new Array(1e7).fill({a: 1})); return undefined", ScriptErrorKind::Memory),
        ("const f = () => f() + 1; f();", ScriptErrorKind::Stack),
        ("JSON.parse('['.repeat(1e6)); return undefined", ScriptErrorKind::Stack),
        ("const o = {get a() { return this.a; }}; o.a;", ScriptErrorKind::Stack),
        ("return new Response('x'.repeat(800000))", ScriptErrorKind::Output),
        ("for (let i = 0; i < 5; i++) await fetch('https://b.test/');", ScriptErrorKind::Subrequests),
        (
            "for (let i = 0; i < 5; i++) try { await fetch('https://b.test/'); } catch {} return new Response('hidden');",
            ScriptErrorKind::Subrequests,
        ),
        ("throw new RangeError('mine')", ScriptErrorKind::Exception),
        ("return 5", ScriptErrorKind::Exception),
        ("return Response.error()", ScriptErrorKind::Exception),
    ];
    let bodies: Vec<&str> = cases.iter().map(|(body, _)| *body).collect();
    let mut engine = host(&bodies);
    for (at, (body, kind)) in cases.iter().enumerate() {
        if engine.engine.spent() {
            engine = host(&bodies);
        }
        let ended = engine.fetch(request(&format!("https://a.test/{at}")), |_| {
            Ok(OperationResult::Response(portunus_worker::protocol::ResponseHead {
                status: 200,
                status_text: String::new(),
                headers: Vec::new(),
                body: BodySource::None,
                url: String::new(),
                redirected: false,
            }))
        });
        assert_eq!(ended.failure(), *kind, "{body}: {:?}", ended.result);
        assert!(ended.settled, "{body}");
    }
}

#[test]
fn an_invocation_that_broke_a_limit_does_not_harm_the_next() {
    let mut host = host(&["for (;;) {}", "return new Response('fine')"]);
    for _ in 0..3 {
        assert_eq!(host.get("https://a.test/0").failure(), ScriptErrorKind::Cpu);
        assert!(!host.engine.spent());
        assert_eq!(host.get("https://a.test/1").text(), "fine");
        assert!(host.engine.idle());
    }
}

#[test]
fn work_that_cannot_be_removed_spends_the_engine() {
    let mut host = host(&["const f = async () => { for (;;) await null; }; f(); f(); return undefined"]);
    assert_eq!(host.get("https://a.test/0").failure(), ScriptErrorKind::Cpu);
    assert!(host.engine.spent());
}

#[test]
fn logs_stop_at_their_limit() {
    let mut host = host(&["for (let i = 0; i < 100; i++) console.log('line', i); return undefined"]);
    let ended = host.get("https://a.test/0");
    assert!(matches!(ended.result, Ok(Outcome::NoOpinion)));
    assert!(ended.logs.len() < 20, "{:?}", ended.logs);
    assert!(ended.logs.last().unwrap().contains("dropped"));
}

#[test]
fn a_streamed_body_counts_as_output() {
    let body = "const s = new ReadableStream({pull(c) { c.enqueue(new Uint8Array(60000)); }}); return new Response(s)";
    let mut host = host(&[body]);
    let ended = host.get("https://a.test/0");
    let (bytes, error) = ended.bodies.values().next().unwrap();
    assert!(bytes.len() <= 512 << 10);
    assert!(error.is_some(), "the body ends abnormally");
    assert!(ended.settled);
}

/// Each attempt returns what it got; the expected text says that it got nothing.
#[test]
fn escape_attempts_reach_nothing() {
    super::harness::check_table(&[
        ("return await raises(() => (() => {}).constructor('return 1')())", "EvalError"),
        ("return await raises(() => (async () => {}).constructor('return 1')())", "EvalError"),
        ("return await raises(() => (function* () {}).constructor('yield 1'))", "EvalError"),
        ("return await raises(() => (async function* () {}).constructor('yield 1'))", "EvalError"),
        ("return await raises(() => new Function('return 1'))", "EvalError"),
        ("return await raises(() => Reflect.construct(Function, ['return 1']))", "EvalError"),
        ("return await raises(() => fetch.constructor('return 1')())", "EvalError"),
        (
            "return await raises(() => Object.getPrototypeOf(Object.getPrototypeOf(async () => {})).constructor('1'))",
            "EvalError",
        ),
        ("return typeof globalThis.eval + typeof globalThis['ev' + 'al']", "undefinedundefined"),
        ("return await raises(() => setTimeout('x = 1', 0))", "TypeError"),
        ("return await raises(() => import('file:///etc/passwd'))", "TypeError"),
        ("return await raises(() => import('node:fs'))", "TypeError"),
        (
            "return typeof process + typeof require + typeof std + typeof os + typeof Deno + typeof module",
            "undefinedundefinedundefinedundefinedundefinedundefined",
        ),
        ("return await raises(() => { globalThis.leak = 1; })", "TypeError"),
        ("return await raises(() => { Array.prototype.leak = 1; })", "TypeError"),
        ("return await raises(() => { Object.prototype.leak = 1; })", "TypeError"),
        ("return await raises(() => { Object.prototype.toString = 1; })", "TypeError"),
        ("return await raises(() => { Response.prototype.text = 1; })", "TypeError"),
        ("return await raises(() => { Headers.prototype.get = () => 'x'; })", "TypeError"),
        ("return await raises(() => { Promise.prototype.then = () => 1; })", "TypeError"),
        ("return await raises(() => { JSON.parse = 1; })", "TypeError"),
        ("return await raises(() => { crypto.subtle.extra = 1; })", "TypeError"),
        ("return await raises(() => { caches.default.extra = 1; })", "TypeError"),
        ("return await raises(() => { (function* () {}).__proto__.leak = 1; })", "TypeError"),
        ("return await raises(() => { new Map()[Symbol.iterator]().__proto__.leak = 1; })", "TypeError"),
        ("return await raises(() => { Object.getPrototypeOf(Uint8Array).prototype.leak = 1; })", "TypeError"),
        ("return await raises(() => Object.setPrototypeOf(Array.prototype, {}))", "TypeError"),
        ("return await raises(() => Object.defineProperty(globalThis, 'x', {value: 1}))", "TypeError"),
        ("return await raises(() => { globalThis.__proto__ = {}; })", "TypeError"),
        ("return await raises(() => { Object.getPrototypeOf(ctx).leak = 1; })", "TypeError"),
        ("return await raises(() => { Error.prepareStackTrace = () => 'x'; })", "TypeError"),
        ("return await raises(() => { Error.stackTraceLimit = 0; })", "TypeError"),
        (
            "let leak = 'none'; await new HTMLRewriter().on('p', {element(e) { for (let p = e; p !== Object.prototype; p = Object.getPrototypeOf(p)) if (p !== e && !Object.isFrozen(p)) leak = 'open'; }}).transform(new Response('<p>')).text(); return leak",
            "none",
        ),
        (
            "const open = []; const seen = new Set(); const walk = (o, path) => { if ((typeof o !== 'object' && typeof o !== 'function') || o === null || seen.has(o)) return; seen.add(o); if (!Object.isFrozen(o)) open.push(path); walk(Object.getPrototypeOf(o), path + '^'); for (const k of Reflect.ownKeys(o)) { const d = Reflect.getOwnPropertyDescriptor(o, k); walk(d.value, path + '.' + String(k)); walk(d.get, path + '.get ' + String(k)); walk(d.set, path + '.set ' + String(k)); } }; walk(globalThis, 'global'); walk(Object.getPrototypeOf(ctx), 'ctx'); walk(Object.getPrototypeOf(request), 'request'); return open.slice(0, 5).join()",
            "",
        ),
        (
            "const found = []; const seen = new Set(); const walk = (o, path) => { if ((typeof o !== 'object' && typeof o !== 'function') || o === null || seen.has(o)) return; seen.add(o); walk(Object.getPrototypeOf(o), path + '^'); for (const k of Reflect.ownKeys(o)) { const d = Reflect.getOwnPropertyDescriptor(o, k); if (d.set && !/prototype|\\^/.test(path)) found.push(path + '.' + String(k)); walk(d.value, path + '.' + String(k)); } }; walk(globalThis, 'global'); return found.join()",
            "",
        ),
        ("const o = {}; o.toString = () => 'mine'; o.constructor = 1; return `${o}`", "mine"),
        (
            "class E extends Error { constructor(m) { super(m); this.name = 'E'; } } return new E('x').toString()",
            "E: x",
        ),
        ("const e = new Error('a'); e.message = 'b'; return e.message", "b"),
        (
            "const r = new Proxy(new Response('x'), {}); return await raises(() => Response.prototype.clone.call(r))",
            "TypeError",
        ),
        (
            "return await raises(() => Object.getOwnPropertyDescriptor(Response.prototype, 'status').get.call({}))",
            "TypeError",
        ),
        ("return await raises(() => URL.prototype.toString.call(new Headers()))", "TypeError"),
        ("return Object.keys(env).length + typeof env.internals", "0undefined"),
        ("return await raises(() => new ctx.constructor())", "TypeError"),
        ("return await raises(() => new caches.default.constructor())", "TypeError"),
        ("return await raises(() => new ReadableStreamDefaultController())", "TypeError"),
        ("return Reflect.ownKeys(request).length", "0"),
        (
            "const keys = []; for (let p = request; p; p = Object.getPrototypeOf(p)) keys.push(...Reflect.ownKeys(p)); return keys.includes('state')",
            "false",
        ),
        (
            "const {get, set} = Object.getOwnPropertyDescriptor(Object.prototype, '__proto__'); return await raises(() => set.call(Array.prototype, null))",
            "TypeError",
        ),
    ]);
}

#[test]
fn nothing_is_carried_from_one_invocation_to_the_next() {
    // A queue's messages have a prototype that no global names.
    let queued = "export default { queue(batch) { const p = Object.getPrototypeOf(batch.messages[0]); console.log(Object.isFrozen(p) && Object.isFrozen(p.constructor)); } };";
    let message = QueueMessage { id: "a".into(), timestamp_ms: 0.0, attempts: 1, body: "{}".into() };
    let event = Event::Queue { queue: "q".into(), messages: vec![message] };
    assert_eq!(Setup::new(queued).load().unwrap().run(event, super::harness::nothing).logs, ["true"]);
    let source = "let seen = 0; const cache = new Map();\n\
        export default { fetch(request, env) { seen += 1; cache.set(request.url, 1); env.mark = (env.mark ?? 0) + 1;\n\
        return new Response([seen, cache.size, env.mark].join()); } };";
    let mut isolated = Setup::new(source).load().unwrap();
    let mut setup = Setup::new(source);
    setup.isolation = Isolation::Shared;
    let mut shared = setup.load().unwrap();
    for turn in 1..4 {
        assert_eq!(isolated.get(&format!("https://a.test/{turn}")).text(), "1,1,1");
        assert_eq!(shared.get(&format!("https://a.test/{turn}")).text(), format!("{turn},{turn},{turn}"));
    }
}

#[test]
fn proxies_and_getters_in_answers_are_refused_or_harmless() {
    let mut host = host(&[
        "return new Proxy(new Response('x'), {})",
        "return Object.create(Response.prototype)",
        "return {status: 200, headers: new Headers(), body: 'x'}",
        "return {then(resolve) { resolve(new Response('late')); }}",
        "class Mine extends Response { get status() { return 99999; } } return new Mine('x')",
    ]);
    for at in 0..3 {
        assert_eq!(host.get(&format!("https://a.test/{at}")).failure(), ScriptErrorKind::Exception);
    }
    assert_eq!(host.get("https://a.test/3").text(), "late");
    assert_eq!(host.get("https://a.test/4").response().status, 200);
}

#[test]
fn loading_reports_what_is_wrong() {
    for (source, kind, message) in [
        ("export default {", ScriptErrorKind::Syntax, "SyntaxError"),
        ("import x from './missing'; export default {}", ScriptErrorKind::Syntax, "missing"),
        ("throw new Error('at load')", ScriptErrorKind::Exception, "at load"),
        ("await new Promise(() => {})", ScriptErrorKind::Exception, "never"),
        ("for (;;) {}", ScriptErrorKind::Cpu, "CPU"),
        ("fetch('https://a.test'); await fetch('https://a.test')", ScriptErrorKind::Exception, "global scope"),
    ] {
        let mut setup = Setup::new("");
        setup.modules[0] = ("worker.js", String::new());
        setup.limits.cpu_ms = 50;
        let error = load_raw(setup, source);
        assert_eq!(error.kind, kind, "{source}: {error:?}");
        assert!(error.message.contains(message), "{source}: {error:?}");
    }
}

fn load_raw(setup: Setup, source: &str) -> portunus_worker::protocol::ScriptError {
    use portunus_worker::protocol::{FromWorker, Load, Module, ToWorker};
    let mut engine = portunus_worker::runtime::Engine::prepare().unwrap();
    let mut out = Vec::new();
    let load = Load {
        modules: vec![Module { name: "worker.js".into(), code: source.into() }],
        bindings: setup.bindings,
        limits: setup.limits,
        isolation: setup.isolation,
        random_seed: 1,
        now_ms: 0.0,
    };
    engine.handle(ToWorker::Load(load), &mut out);
    let errors: Vec<_> = out
        .into_iter()
        .filter_map(|message| match message {
            FromWorker::LoadFailed(error) => Some(error),
            FromWorker::Loaded { .. } => panic!("{source} loaded"),
            _ => None,
        })
        .collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.into_iter().next().unwrap()
}

#[test]
fn a_cancelled_invocation_answers_nothing_more() {
    use portunus_worker::protocol::{FromWorker, ToWorker};
    let source = "export default { async fetch(request) { request.signal.addEventListener('abort', () => console.log('aborted'));\n\
        await scheduler.wait(1000); return new Response('late'); } };";
    let mut host = Setup::new(source).load().unwrap();
    let mut out = Vec::new();
    let event = Event::Fetch(request("https://a.test/"));
    host.engine.handle(ToWorker::Invoke { call: 1, now_ms: 0.0, event }, &mut out);
    let op = out
        .iter()
        .find_map(|message| if let FromWorker::HostCall { op, .. } = message { Some(*op) } else { None })
        .unwrap();
    out.clear();
    host.engine.handle(ToWorker::Cancel { call: 1 }, &mut out);
    host.engine.handle(ToWorker::Resolve { op, now_ms: 1.0, result: Ok(OperationResult::Unit) }, &mut out);
    assert!(out.iter().all(|message| matches!(message, FromWorker::Log { .. })), "{out:?}");
    assert!(host.engine.idle());
}

/// Where globals are open a script can break what it runs on. That may cost its own answers, never the engine.
#[test]
fn a_script_that_poisons_open_globals_harms_only_itself() {
    for poison in [
        "Promise.prototype.then = function () { throw new Error('no'); }",
        "Promise.prototype.then = () => {}",
        "Map.prototype.get = () => ({})",
        "Map.prototype.set = () => { for (;;) {} }",
        "Map.prototype.delete = undefined",
        "Array.prototype[Symbol.iterator] = function* () { yield this; }",
        "Object.defineProperty = () => { throw 1; }",
        "Object.prototype.get = () => 1; Object.prototype.status = 7",
        "Object.defineProperty(Object.prototype, 'call', {get() { throw new Error('trap'); }})",
        "Headers = undefined; Response = class {}; URL = null",
        "String.prototype.toWellFormed = () => 5; Error.prototype.toString = () => { throw 2; }",
        "Symbol.prototype.toString = null; JSON.parse = () => { throw 3; }",
        "Error.prepareStackTrace = () => { for (;;) {} }",
    ] {
        let source = format!(
            "const Kept = Response;\nlet first = true;\nexport default {{ async fetch(request) {{ if (first) {{ first = false; {poison}; }} await null; return new Kept(request.url + [...new Headers({{a: '\\ud800'}})]); }} }};"
        );
        let mut setup = Setup::new(&source);
        setup.modules[0].0 = "worker.js";
        setup.isolation = Isolation::Shared;
        setup.limits.cpu_ms = 100;
        let mut host = setup.load().unwrap();
        for _ in 0..3 {
            if host.engine.spent() {
                break;
            }
            let _ = host.get("https://a.test/");
        }
    }
}
