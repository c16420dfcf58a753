//! The contract of a Worker, end to end: a script in a real process, a host in this one.

use std::sync::Arc;

use http_body_util::BodyExt;
use portunus_worker::protocol::LogLevel;
use portunus_worker::typescript::to_javascript;
use portunus_worker::{Answer, Reply, Runtime, Script, full_body};

use crate::support::{Recorder, call, fetch, patient, request, script, text};

fn worker_script(name: &str, source: &str) -> Arc<Script> {
    Arc::new(script(name, &to_javascript("main.ts", source).unwrap()))
}

fn handler(name: &str, body: &str) -> Arc<Script> {
    worker_script(name, &format!("export default {{ async fetch(request, env, ctx) {{ {body} }} }}"))
}

#[tokio::test]
async fn a_handler_answers_changes_or_has_no_opinion() {
    let runtime = Runtime::start(patient()).await.unwrap();
    let script = handler(
        "three ways",
        "switch (new URL(request.url).pathname) {
            case '/answer': return new Response('no', { status: 403, headers: { 'x-why': 'policy' } });
            case '/change': {
                const changed = new Request(request, { headers: { ...Object.fromEntries(request.headers), 'x-user': request.cf.identity.email } });
                return changed;
            }
        }",
    );
    let host = Arc::new(Recorder::default());
    let ask = async |path: &str| -> Reply {
        let mut call = call(&host);
        call.cf = r#"{"identity":{"email":"ada@example.com"}}"#.into();
        let mut request = request(&format!("https://x.test{path}"));
        request.headers_mut().insert("accept", "text/html".parse().unwrap());
        runtime.fetch(&script, request, call).await.unwrap()
    };
    let Answer::Response(response) = ask("/answer").await.answer else { panic!("not a response") };
    assert_eq!(response.status(), 403);
    assert_eq!(response.headers()["x-why"], "policy");
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "no");
    let Answer::Request(changed) = ask("/change").await.answer else { panic!("not a request") };
    assert_eq!(changed.uri(), "https://x.test/change");
    assert_eq!(changed.headers()["x-user"], "ada@example.com");
    assert_eq!(changed.headers()["accept"], "text/html");
    assert!(matches!(ask("/other").await.answer, Answer::NoOpinion));
    assert!(host.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_script_reaches_its_own_origin_and_its_egress_list_and_nothing_else() {
    let runtime = Runtime::start(patient()).await.unwrap();
    let script = handler(
        "egress",
        "const say = async (what) => { try { return await (await what()).text(); } catch (error) { return error.name; } };
         return Response.json([
            await say(() => fetch(request)),
            await say(() => fetch('http://x.test/again')),
            await say(() => fetch('https://allowed.test/a')),
            await say(() => fetch('https://allowed.test/redirect')),
            await say(() => fetch('https://elsewhere.test/')),
            await say(() => env.SERVICE.fetch('https://service/b')),
         ]);",
    );
    let host = Arc::new(Recorder::default());
    let reply = runtime.fetch(&script, request("http://x.test/first"), call(&host)).await.unwrap();
    assert_eq!(reply.report.subrequests, 6);
    let Answer::Response(response) = reply.answer else { panic!("not a response") };
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, r#"["host /first","host /again","host /a","TypeError","TypeError","service"]"#);
    assert_eq!(
        *host.asked.lock().unwrap(),
        [
            "Origin GET http://x.test/first",
            "Egress GET http://x.test/again",
            "Egress GET https://allowed.test/a",
            "Egress GET https://allowed.test/redirect",
            "service other https://service/b",
        ]
    );
}

#[tokio::test]
async fn a_script_that_another_called_reaches_its_egress_list_only() {
    let runtime = Runtime::start(patient()).await.unwrap();
    let script = handler(
        "called",
        "const say = async (what) => { try { return await (await what()).text(); } catch (error) { return error.message; } };
         return Response.json([
            await say(() => fetch(request)),
            await say(() => fetch(request.url)),
            await say(() => fetch(new Request(request, { method: 'POST', body: 'x' }))),
            await say(() => fetch('https://allowed.test/a')),
         ]);",
    );
    let host = Arc::new(Recorder { called_in_turn: true, ..Recorder::default() });
    let answer = async |url: &str| {
        let reply = runtime.fetch(&script, request(url), call(&host)).await.unwrap();
        let Answer::Response(response) = reply.answer else { panic!("not a response") };
        response.into_body().collect().await.unwrap().to_bytes()
    };
    let refused = "http://victim.test is not on this Worker's egress list";
    assert_eq!(answer("http://victim.test/").await, format!(r#"["{refused}","{refused}","{refused}","host /a"]"#));
    // A URL that its own list permits stays permitted, whoever wrote it.
    assert_eq!(answer("https://allowed.test/b").await, r#"["host /b","host /b","host /b","host /a"]"#);
    assert!(host.asked.lock().unwrap().iter().all(|line| line.starts_with("Egress ")));
}

#[tokio::test]
async fn bodies_pass_through_stream_and_are_read() {
    let runtime = Runtime::start(patient()).await.unwrap();
    let mut script = (*handler(
        "bodies",
        "switch (new URL(request.url).pathname) {
            case '/pass': return fetch('https://allowed.test/echo', { method: 'POST', body: request.body });
            case '/read': return new Response(String((await request.text()).length));
            case '/upper': return new Response(request.body.pipeThrough(new TextDecoderStream()).pipeThrough(
                new TransformStream({ transform(chunk, c) { c.enqueue(chunk.toUpperCase()); } })).pipeThrough(new TextEncoderStream()));
        }",
    ))
    .clone();
    script.limits.cpu_ms = 10_000;
    let script = Arc::new(script);
    let large = "x".repeat(1_000_000);
    for (path, expected) in
        [("/pass", large.clone()), ("/read", large.len().to_string()), ("/upper", large.to_uppercase())]
    {
        let host = Arc::new(Recorder::default());
        let mut request = request(&format!("http://x.test{path}")).map(|_| full_body(large.clone()));
        *request.method_mut() = http::Method::POST;
        let reply = runtime.fetch(&script, request, call(&host)).await.unwrap();
        let Answer::Response(response) = reply.answer else { panic!("not a response") };
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), expected.len(), "{path}");
        assert!(body == expected, "{path}");
    }
}

#[tokio::test]
async fn console_output_reaches_the_host_and_the_report() {
    let runtime = Runtime::start(patient()).await.unwrap();
    let script = handler("console", "console.warn('careful', { a: 1 }); return new Response('said');");
    let host = Arc::new(Recorder::default());
    let reply = runtime.fetch(&script, request("http://x.test/"), call(&host)).await.unwrap();
    assert_eq!(reply.report.logs.len(), 1);
    assert_eq!(reply.report.logs[0].level, LogLevel::Warn);
    assert!(reply.report.logs[0].message.contains("careful"), "{:?}", reply.report.logs);
    assert_eq!(host.logs.lock().unwrap().len(), 1);
    assert!(!reply.report.cpu.is_zero());
}

#[tokio::test]
async fn work_after_the_answer_goes_on() {
    let runtime = Runtime::start(patient()).await.unwrap();
    let script = handler(
        "after",
        "ctx.waitUntil((async () => { await new Promise((done) => setTimeout(done, 20)); await env.KV.get('later'); })()); return new Response('now');",
    );
    let host = Arc::new(Recorder::default());
    runtime.fetch(&script, request("http://x.test/"), call(&host)).await.unwrap();
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    while host.asked.lock().unwrap().is_empty() {
        assert!(std::time::Instant::now() < deadline, "it never went on");
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    assert_eq!(*host.asked.lock().unwrap(), ["kv get namespace later"]);
}

#[tokio::test]
async fn a_failure_carries_its_stack_and_whether_to_pass_through() {
    let runtime = Runtime::start(patient()).await.unwrap();
    let script =
        handler("failure", "ctx.passThroughOnException(); console.log('before'); throw new TypeError('not today');");
    let error = fetch(&runtime, &script, "").await.unwrap_err();
    assert!(error.pass_through);
    assert!(error.message.contains("not today"), "{error}");
    assert!(error.stack.contains("main"), "{}", error.stack);
    assert_eq!(error.report.logs.len(), 1);
}

#[tokio::test]
async fn one_request_cannot_leave_anything_for_the_next() {
    let runtime = Runtime::start(patient()).await.unwrap();
    let script = worker_script(
        "isolation",
        "let seen = 0;
         export default { async fetch(request, env) {
            try { (globalThis as any).leak = (globalThis as any).leak ?? request.url; } catch {}
            seen += 1;
            return new Response(seen + ' ' + ((globalThis as any).leak ?? 'nothing'));
         } };",
    );
    let first = text(&runtime, &script, "one").await.unwrap();
    let second = text(&runtime, &script, "two").await.unwrap();
    assert!(first.starts_with("1 ") && second.starts_with("1 "), "{first}, {second}");
    assert!(!second.contains("/one"), "{second}");
    assert_eq!(runtime.stats().started, 1, "both ran in one process");
}

#[tokio::test]
async fn many_calls_interleave_in_one_process() {
    let runtime =
        Runtime::start(portunus_worker::RuntimeConfig { processes_per_worker: 1, ..patient() }).await.unwrap();
    let script =
        handler("interleaved", "await new Promise((done) => setTimeout(done, 5)); return new Response(request.url);");
    let calls: Vec<_> = (0..50)
        .map(|index| {
            let (runtime, script) = (&runtime, &script);
            async move { text(runtime, script, &index.to_string()).await.unwrap() }
        })
        .collect();
    let answers = futures_util::future::join_all(calls).await;
    for (index, answer) in answers.iter().enumerate() {
        assert_eq!(*answer, format!("http://x.test/{index}"));
    }
    assert_eq!(runtime.stats().started, 1);
}

#[tokio::test]
async fn everything_a_script_has_works_without_the_system_calls_it_has_not() {
    let runtime = Runtime::start(patient()).await.unwrap();
    for (name, body, expected) in [
        ("local time", "const d = new Date(0); return new Response(d.getTimezoneOffset() + ' ' + d.toString());", "0 Thu Jan 01 1970 00:00:00 GMT+0000"),
        ("locale", "return new Response(new Date(0).toLocaleDateString().length > 4 ? 'date' : 'none');", "date"),
        ("random", "return new Response(String(crypto.randomUUID().length + crypto.getRandomValues(new Uint8Array(9)).length + Math.ceil(Math.random())));", "46"),
        ("digest", "return new Response(String((await crypto.subtle.digest('SHA-512', new Uint8Array(9))).byteLength));", "64"),
        ("sign", "const pair = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
            const data = new Uint8Array(9), how = { name: 'ECDSA', hash: 'SHA-256' };
            const signature = await crypto.subtle.sign(how, pair.privateKey, data);
            return new Response(String(await crypto.subtle.verify(how, pair.publicKey, signature, data)));", "true"),
        ("encrypt", "const key = await crypto.subtle.generateKey({ name: 'AES-GCM', length: 256 }, true, ['encrypt', 'decrypt']);
            const how = { name: 'AES-GCM', iv: new Uint8Array(12) };
            const sealed = await crypto.subtle.encrypt(how, key, new Uint8Array(9));
            return new Response(String((await crypto.subtle.decrypt(how, key, sealed)).byteLength));", "9"),
        ("compress", "const body = new Response('abc').body.pipeThrough(new CompressionStream('gzip')).pipeThrough(new DecompressionStream('gzip'));
            return new Response(await new Response(body).text());", "abc"),
        ("many regexes", "return new Response(String(/^(a|b)*c$/u.test('ababc')));", "true"),
    ] {
        let mut script = (*handler(name, body)).clone();
        script.limits.cpu_ms = 5_000;
        let answer = text(&runtime, &Arc::new(script), "").await.unwrap_or_else(|error| format!("{name}: {error}"));
        assert!(answer.starts_with(expected), "{name}: {answer}");
    }
    assert_eq!(runtime.stats().crashed, 0);
}
