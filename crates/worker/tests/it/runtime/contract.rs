//! The contract between host and script: handlers, bindings, bodies as handles, modules.

use std::collections::VecDeque;

use portunus_worker::protocol::{
    Binding, BodySource, Event, KvKey, KvValue, Operation, OperationError, OperationResult, Outcome, QueueMessage,
    Redirect, RequestHead, ResponseHead, ScriptErrorKind,
};

use super::harness::{Setup, nothing, request};

fn response(status: u16, body: BodySource) -> OperationResult {
    OperationResult::Response(ResponseHead {
        status,
        status_text: "OK".into(),
        headers: vec![("content-type".into(), b"text/plain".to_vec())],
        body,
        url: "https://b.test/final".into(),
        redirected: true,
    })
}

fn script(body: &str) -> Setup {
    Setup::new(&format!(
        "export default {{ async fetch(request: any, env: any, ctx: any): Promise<any> {{ {body} }} }};"
    ))
}

#[test]
fn the_three_answers_of_a_fetch_handler() {
    let mut host = script(
        "const u = new URL(request.url);\n\
         if (u.pathname === '/response') return new Response('no', {status: 403, headers: {'x-a': 'b'}});\n\
         if (u.pathname === '/request') return new Request(request, {headers: {...Object.fromEntries(request.headers), 'x-training': 'ok'}});\n\
         if (u.pathname === '/elsewhere') return new Request('https://other.test/', request);\n\
         return undefined;",
    )
    .load()
    .unwrap();
    assert_eq!(host.handlers, ["fetch"]);
    let ended = host.get("https://a.test/response");
    assert_eq!((ended.response().status, ended.text().as_str()), (403, "no"));
    assert!(ended.settled);
    let mut head = request("https://a.test/request");
    head.headers = vec![("accept".into(), b"*/*".to_vec())];
    let ended = host.fetch(head, nothing);
    let Ok(Outcome::Request(changed)) = &ended.result else { panic!("{:?}", ended.result) };
    assert_eq!(changed.headers, [("accept".to_owned(), b"*/*".to_vec()), ("x-training".to_owned(), b"ok".to_vec())]);
    assert!(matches!(host.get("https://a.test/x").result, Ok(Outcome::NoOpinion)));
    let Ok(Outcome::Request(other)) = host.get("https://a.test/elsewhere").result else { panic!() };
    assert_eq!(other.url, "https://other.test/");
}

#[test]
fn facts_are_read_from_cf() {
    let mut host = script("return new Response(request.cf.identity.email + request.cf.rule.id)").load().unwrap();
    let mut head = request("https://a.test/");
    head.cf = r#"{"identity":{"email":"ana@corp.test"},"rule":{"id":"r1"}}"#.into();
    assert_eq!(host.fetch(head, nothing).text(), "ana@corp.testr1");
}

#[test]
fn an_untouched_body_stays_with_the_host() {
    let mut host = script(
        "const r = await fetch(request);\n\
         const path = new URL(request.url).pathname;\n\
         if (path === '/same') return r;\n\
         if (path === '/headers') return new Response(r.body, {status: r.status, headers: {...Object.fromEntries(r.headers), 'x-new': '1'}});\n\
         if (path === '/clone') { const c = r.clone(); return new Response(await c.text() + await r.text()); }\n\
         return new Response(await r.text() + '!');",
    )
    .load()
    .unwrap();
    for (path, expected) in
        [("same", "host body 8"), ("headers", "host body 8"), ("read", "hello!"), ("clone", "hellohello")]
    {
        host.sources.insert(8, VecDeque::from([b"hel".to_vec(), b"lo".to_vec()]));
        let ended = host.fetch(request(&format!("https://a.test/{path}")), |operation| {
            assert!(matches!(operation, Operation::Fetch { incoming: true, .. }), "{operation:?}");
            Ok(response(200, BodySource::Host(8)))
        });
        assert_eq!(ended.text(), expected, "{path}");
    }
}

#[test]
fn an_incoming_body_passes_through_or_is_read() {
    let mut host = script(
        "const path = new URL(request.url).pathname;\n\
         if (path === '/on') return new Request(request, {headers: request.headers});\n\
         if (path === '/read') return Response.json(await request.json());\n\
         return new Request(request, {body: 'replaced'});",
    )
    .load()
    .unwrap();
    let head = |path: &str| RequestHead {
        method: "POST".into(),
        url: format!("https://a.test/{path}"),
        headers: vec![],
        cf: String::new(),
        body: Some(4),
    };
    let Ok(Outcome::Request(on)) = host.fetch(head("on"), nothing).result else { panic!() };
    assert!(matches!(on.body, BodySource::Host(4)));
    host.sources.insert(4, VecDeque::from([br#"{"a":"#.to_vec(), b"1}".to_vec()]));
    assert_eq!(host.fetch(head("read"), nothing).text(), r#"{"a":1}"#);
    let Ok(Outcome::Request(replaced)) = host.fetch(head("replace"), nothing).result else { panic!() };
    assert!(matches!(replaced.body, BodySource::Inline(bytes) if bytes == b"replaced"));
}

#[test]
fn fetch_describes_the_request_and_the_answer() {
    let mut host = script(
        "const r = await fetch('https://b.test/x', {method: 'POST', body: JSON.stringify({a: 1}), headers: {a: 'b'}, redirect: 'manual'});\n\
         return new Response([r.status, r.statusText, r.url, r.redirected, r.ok, await r.text()].join());",
    )
    .load()
    .unwrap();
    let ended = host.fetch(request("https://a.test/"), |operation| {
        let Operation::Fetch { request, incoming } = operation else { panic!("{operation:?}") };
        assert_eq!((request.method.as_str(), request.url.as_str(), *incoming), ("POST", "https://b.test/x", false));
        assert!(matches!(&request.body, BodySource::Inline(bytes) if bytes == br#"{"a":1}"#));
        assert_eq!(request.redirect, Redirect::Manual);
        assert_eq!(request.headers[0], ("a".to_owned(), b"b".to_vec()));
        Ok(response(201, BodySource::Inline(b"body".to_vec())))
    });
    assert_eq!(ended.text(), "201,OK,https://b.test/final,true,true,body");
}

#[test]
fn a_refused_operation_is_an_exception_the_script_can_catch() {
    let mut host = script(
        "try { await fetch('https://evil.test/'); } catch (e) { return new Response(`${e.name}: ${e.message}`); }",
    )
    .load()
    .unwrap();
    let ended = host.fetch(request("https://a.test/"), |_| {
        Err(OperationError { name: "TypeError".into(), message: "not in the egress list".into() })
    });
    assert_eq!(ended.text(), "TypeError: not in the egress list");
}

#[test]
fn bindings_reach_the_host_by_name() {
    let mut host = script(
        "await env.STORE.put('k', 'v', {expirationTtl: 60, metadata: {m: 1}});\n\
         const got = await env.STORE.getWithMetadata('k', 'json');\n\
         const missing = await env.STORE.get('none');\n\
         const {keys, list_complete, cursor} = await env.STORE.list({prefix: 'p', limit: 5});\n\
         await env.STORE.delete('k');\n\
         const {success} = await env.LIMIT.limit({key: 'ana'});\n\
         const s = await env.API.fetch('https://api.internal/rules');\n\
         return Response.json([env.NAME, env.LIST[1], got.value.a, got.metadata.m, missing, keys[0].name, keys[0].metadata, list_complete, cursor, success, await s.text()]);",
    )
    .bind("NAME", Binding::Text("text".into()))
    .bind("LIST", Binding::Json("[1,2]".into()))
    .bind("STORE", Binding::Kv)
    .bind("LIMIT", Binding::RateLimit)
    .bind("API", Binding::Service)
    .load()
    .unwrap();
    let ended = host.fetch(request("https://a.test/"), |operation| {
        Ok(match operation {
            Operation::KvGet { key, .. } if key == "none" => OperationResult::KvValue(None),
            Operation::KvGet { .. } => OperationResult::KvValue(Some(KvValue {
                value: br#"{"a":5}"#.to_vec(),
                metadata: Some(r#"{"m":1}"#.into()),
            })),
            Operation::KvPut { key, value, metadata, expiration_ttl_s, .. } => {
                assert_eq!((key.as_str(), value.as_slice(), *expiration_ttl_s), ("k", b"v".as_slice(), Some(60)));
                assert_eq!(metadata.as_deref(), Some(r#"{"m":1}"#));
                OperationResult::Unit
            }
            Operation::KvList { prefix, limit, .. } => {
                assert_eq!((prefix.as_str(), *limit), ("p", 5));
                let key = KvKey { name: "p1".into(), expiration_s: Some(9), metadata: Some("7".into()) };
                OperationResult::KvKeys { keys: vec![key], cursor: Some("next".into()) }
            }
            Operation::KvDelete { .. } => OperationResult::Unit,
            Operation::RateLimit { key, .. } => OperationResult::Allowed(key == "ana"),
            Operation::Service { binding, .. } => {
                assert_eq!(binding, "API");
                response(200, BodySource::Inline(b"rules".to_vec()))
            }
            other => panic!("{other:?}"),
        })
    });
    assert_eq!(ended.text(), r#"["text",2,5,1,null,"p1",7,false,"next",true,"rules"]"#);
}

#[test]
fn the_cache_is_kept_by_the_host() {
    let mut host = script(
        "const hit = await caches.default.match(request.url); if (hit) return hit;\n\
         await caches.default.put('https://a.test/k', new Response('kept'));\n\
         return new Response(String(await caches.default.delete('https://a.test/k')));",
    )
    .load()
    .unwrap();
    let ended = host.fetch(request("https://a.test/"), |operation| {
        Ok(match operation {
            Operation::CacheMatch { .. } => OperationResult::CacheHit(None),
            Operation::CachePut { key, response } => {
                assert_eq!(key, "https://a.test/k");
                assert!(matches!(&response.body, BodySource::Inline(bytes) if bytes == b"kept"));
                OperationResult::Unit
            }
            Operation::CacheDelete { .. } => OperationResult::Deleted(true),
            other => panic!("{other:?}"),
        })
    });
    assert_eq!(ended.text(), "true");
}

#[test]
fn work_after_the_answer_keeps_the_invocation_open() {
    let source = "export default { fetch(request, env, ctx) { ctx.waitUntil((async () => { await scheduler.wait(5); console.log('after'); })()); return new Response('now'); } };";
    let mut host = Setup::new(source).load().unwrap();
    let ended = host.get("https://a.test/");
    assert_eq!((ended.text().as_str(), ended.settled), ("now", true));
    assert_eq!(ended.logs, ["after"]);
    assert!(host.engine.idle());
}

#[test]
fn a_failure_carries_its_kind_stack_and_wish_to_pass_through() {
    let source = "interface A { x: string }\n\nfunction deep(): never {\n  throw new TypeError('bad thing');\n}\n\
        export default { fetch(request, env, ctx) { ctx.passThroughOnException(); deep(); } };";
    let ended = Setup::new(source).load().unwrap().get("https://a.test/");
    let error = ended.result.unwrap_err();
    assert_eq!(error.kind, ScriptErrorKind::Exception);
    assert_eq!(error.message, "TypeError: bad thing");
    assert!(error.stack.contains("worker.ts:4:"), "{}", error.stack);
    assert!(ended.pass_through && ended.settled);
}

#[test]
fn scheduled_and_queue_handlers_run() {
    let source = "export default {\n\
        async scheduled(controller, env, ctx) { console.log(controller.cron, controller.scheduledTime); },\n\
        async queue(batch, env, ctx) { for (const m of batch.messages) { if (m.body.bad) m.retry(); else m.ack(); } console.log(batch.queue, batch.messages[0].timestamp.getTime()); },\n\
        };";
    let mut host = Setup::new(source).load().unwrap();
    assert_eq!(host.handlers, ["scheduled", "queue"]);
    let event = Event::Scheduled { cron: "* * * * *".into(), scheduled_ms: 60_000.0 };
    let ended = host.run(event, nothing);
    assert!(matches!(ended.result, Ok(Outcome::Finished { .. })));
    assert_eq!(ended.logs, ["* * * * * 60000"]);
    let message =
        |id: &str, body: &str| QueueMessage { id: id.into(), timestamp_ms: 5.0, attempts: 1, body: body.into() };
    let event =
        Event::Queue { queue: "events".into(), messages: vec![message("a", "{}"), message("b", r#"{"bad":1}"#)] };
    let ended = host.run(event, nothing);
    assert!(matches!(&ended.result, Ok(Outcome::Finished { retry }) if retry == &["b"]), "{:?}", ended.result);
    assert_eq!(host.get("https://a.test/").failure(), ScriptErrorKind::NoHandler);
}

#[test]
fn an_access_handler_answers_yes_or_no_and_nothing_else() {
    let ask = |body: &str| {
        let source = format!("export default {{ async access(question, env, ctx) {{ {body} }} }};");
        let mut host = Setup::new(&source).load().unwrap();
        assert_eq!(host.handlers, ["access"]);
        host.run(Event::Access { question: r#"{"identity":{"email":"ada@example.test"}}"#.into() }, nothing)
    };
    for (body, allow, reason) in [
        ("return { allow: question.identity.email === 'ada@example.test' };", true, ""),
        ("return { allow: false, reason: 'no training' };", false, "no training"),
        // Read once: a getter cannot say one thing to the check and another to the host.
        ("let n = 0; return { get allow() { return n++ === 0 ? false : 'x'; } };", false, ""),
    ] {
        let ended = ask(body);
        match ended.result {
            Ok(Outcome::Access { allow: said, reason: why }) => assert_eq!((said, why.as_str()), (allow, reason)),
            other => panic!("{body}: {other:?}"),
        }
    }
    let long = ask("return { allow: true, reason: 'x'.repeat(100000) };");
    assert!(matches!(long.result, Ok(Outcome::Access { reason, .. }) if reason.len() == 500));
    for body in [
        "",
        "return true;",
        "return null;",
        "return { allow: 'yes' };",
        "return { allow: 1 };",
        "return { allow: true, reason: 7 };",
        "return new Response('ok');",
        "throw new Error('no');",
        "return question.nothing.there;",
    ] {
        assert_eq!(ask(body).result.unwrap_err().kind, ScriptErrorKind::Exception, "{body}");
    }
    let mut other = Setup::new("export default { fetch() {} };").load().unwrap();
    let ended = other.run(Event::Access { question: "{}".into() }, nothing);
    assert_eq!(ended.result.unwrap_err().kind, ScriptErrorKind::NoHandler);
}

#[test]
fn modules_import_each_other() {
    let mut setup = Setup::new(
        "import greet, { name as who } from './lib/greet';\nimport * as all from './lib/more.js';\nimport data from './data.json';\nimport text from './note.txt';\n\
         export default { async fetch() { const m = await import('./lib/more.js'); return new Response([greet(), who, all.two, data.n, text, m.two, typeof import.meta.url].join()); } };",
    );
    setup.modules.push(("lib/greet.ts", "import { two } from './more';\nexport const name: string = 'n';\nexport default function greet(): string { return `hi${two}`; }".into()));
    setup.modules.push(("lib/more.js", "import { name } from './greet'; export const two = 2; export const back = () => name; export * from './star.js';".into()));
    setup.modules.push(("lib/star.js", "export const star = 1;".into()));
    setup.data.push(("data.json", r#"{"n":7}"#.into()));
    setup.data.push(("note.txt", "a note".into()));
    let mut host = setup.load().unwrap();
    assert_eq!(host.get("https://a.test/").text(), "hi2,n,2,7,a note,2,string");
}

#[test]
fn top_level_await_is_waited_for() {
    let source =
        "const value = await Promise.resolve(3); export default { fetch() { return new Response(String(value)); } };";
    let mut host = Setup::new(source).load().unwrap();
    assert_eq!(host.get("https://a.test/").text(), "3");
}

#[test]
fn a_rewriter_changes_html() {
    let mut host = script(
        "const rewriter = new HTMLRewriter()\n\
         .on('a[href]', { element(e) { e.setAttribute('href', e.getAttribute('href').replace('http:', 'https:')); e.append('!'); } })\n\
         .on('script', { element(e) { e.remove(); } })\n\
         .on('p', { text(t) { if (t.text.includes('secret')) t.replace('***'); }, comments(c) { c.remove(); } })\n\
         .onDocument({ end(e) { e.append('<!--end-->', {html: true}); } });\n\
         return rewriter.transform(new Response('<a href=\"http://x\">t</a><script>1</script><p>secret<!--c--></p>', {headers: {'content-type': 'text/html'}}));",
    )
    .load()
    .unwrap();
    let ended = host.get("https://a.test/");
    assert_eq!(ended.text(), "<a href=\"https://x\">t!</a><p>***</p><!--end-->");
}

#[test]
fn a_rejection_nobody_hears_is_logged() {
    let mut host = script(
        "Promise.reject(new RangeError('unheard')); const later = Promise.reject(new Error('heard')); later.catch(() => {}); return undefined",
    )
    .load()
    .unwrap();
    let ended = host.get("https://a.test/");
    assert!(matches!(ended.result, Ok(Outcome::NoOpinion)));
    assert_eq!(ended.logs.len(), 1, "{:?}", ended.logs);
    assert!(ended.logs[0].starts_with("Uncaught (in promise) unheard"), "{:?}", ended.logs);
    let failed = Setup::new("export default { async fetch() { throw new Error('once'); } };")
        .load()
        .unwrap()
        .get("https://a.test/");
    assert!(failed.logs.is_empty(), "{:?}", failed.logs);
}

#[test]
fn invocations_interleave_at_their_awaits() {
    use portunus_worker::protocol::{FromWorker, ToWorker};
    let mut host = script(
        "const name = new URL(request.url).pathname; console.log(name, 'begins');\n\
         await env.STORE.get(name); console.log(name, 'goes on');\n\
         await env.STORE.get(name); return new Response(name);",
    )
    .bind("STORE", Binding::Kv)
    .load()
    .unwrap();
    let mut open: VecDeque<(u64, u64)> = VecDeque::new();
    let mut seen = Vec::new();
    let mut take = |out: Vec<FromWorker>, open: &mut VecDeque<(u64, u64)>| {
        for message in out {
            match message {
                FromWorker::HostCall { call, op, operation: Operation::KvGet { key, .. } } => {
                    assert_eq!(key, format!("/{call}"), "an operation is charged to the invocation that asked");
                    open.push_back((call, op));
                }
                FromWorker::Log { call, message, .. } => {
                    assert_eq!(call, message[1..2].parse().ok(), "{message}");
                }
                FromWorker::Done { call, outcome: Outcome::Response(head), .. } => {
                    assert!(matches!(head.body, BodySource::Inline(body) if body == format!("/{call}").into_bytes()));
                    seen.push(call);
                }
                FromWorker::Settled { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    };
    for call in 1..=4 {
        let mut out = Vec::new();
        let event = Event::Fetch(request(&format!("https://a.test/{call}")));
        host.engine.handle(ToWorker::Invoke { call, now_ms: 0.0, event }, &mut out);
        take(out, &mut open);
    }
    // The last to ask is answered first.
    while let Some((_, op)) = open.pop_back() {
        let mut out = Vec::new();
        let result = Ok(OperationResult::KvValue(None));
        host.engine.handle(ToWorker::Resolve { op, now_ms: 1.0, result }, &mut out);
        take(out, &mut open);
    }
    assert_eq!(seen, [4, 3, 2, 1]);
    assert!(host.engine.idle());
}
