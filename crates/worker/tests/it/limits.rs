//! Every limit, broken by a script in a real process; the host side and the next call are unharmed each time.

use std::sync::Arc;
use std::time::Duration;

use portunus_worker::typescript::to_javascript;
use portunus_worker::{Answer, CallErrorKind, Runtime, Script};

use crate::support::{Recorder, call, fetch, patient, request, script, text};

/// A script whose `fetch` is the given body; `/ok` always answers.
fn handler(name: &str, body: &str) -> Script {
    let source = format!(
        "export default {{ async fetch(request: Request, env: any, ctx: any) {{
            if (new URL(request.url).pathname === '/ok') return new Response('ok');
            {body}
        }} }}"
    );
    script(name, &to_javascript("main.ts", &source).unwrap())
}

struct Breach {
    name: &'static str,
    body: &'static str,
    kind: CallErrorKind,
    adjust: fn(&mut Script),
}

const fn breach(name: &'static str, kind: CallErrorKind, body: &'static str) -> Breach {
    Breach { name, body, kind, adjust: |_| {} }
}

#[tokio::test]
async fn each_limit_ends_the_call_that_breaks_it() {
    let runtime = Runtime::start(patient()).await.unwrap();
    let generous: fn(&mut Script) = |script| script.limits.cpu_ms = 20_000;
    for Breach { name, body, kind, adjust } in [
        breach("cpu, soft", CallErrorKind::Cpu, "while (true) {}"),
        breach("cpu, caught", CallErrorKind::Cpu, "while (true) { try { while (true) {} } catch {} }"),
        breach(
            "cpu, in one uninterruptible operation",
            CallErrorKind::Cpu,
            "const a = 'a'.repeat(1 << 20); for (;;) a.replaceAll('a', a.slice(0, 8)).indexOf('b');",
        ),
        breach("cpu, by large integers", CallErrorKind::Cpu, "const n = 7n ** 350000n; for (;;) n.toString();"),
        breach("cpu, by jobs", CallErrorKind::Cpu, "const again = () => Promise.resolve().then(again); await again();"),
        Breach {
            adjust: generous,
            ..breach(
                "memory",
                CallErrorKind::Memory,
                "const hog = []; for (;;) hog.push(new Uint8Array(1 << 20).fill(1));",
            )
        },
        Breach {
            adjust: generous,
            ..breach(
                "memory, by strings",
                CallErrorKind::Memory,
                "const hog = []; for (;;) hog.push('x'.repeat(1 << 16) + Math.random());",
            )
        },
        Breach {
            adjust: generous,
            ..breach(
                "stack",
                CallErrorKind::Stack,
                "const down = () => down() + 1; return new Response(String(down()));",
            )
        },
        Breach {
            adjust: |script| script.limits.output_bytes = 1000,
            ..breach("output", CallErrorKind::Output, "return new Response('x'.repeat(2000));")
        },
        Breach {
            adjust: |script| script.limits.subrequests = 3,
            ..breach(
                "subrequests",
                CallErrorKind::Subrequests,
                "for (let i = 0; i < 10; i++) await fetch('https://allowed.test/' + i); return new Response('all of them');",
            )
        },
        breach("exception", CallErrorKind::Exception, "throw new Error('no');"),
        breach("wrong value", CallErrorKind::Exception, "return 42 as any;"),
    ] {
        let mut script = handler(name, body);
        adjust(&mut script);
        let script = Arc::new(script);
        let error = text(&runtime, &script, "break").await.expect_err(name);
        assert_eq!(error.kind, kind, "{name}: {error}");
        assert_eq!(text(&runtime, &script, "ok").await.unwrap(), "ok", "{name}: the next call is served");
    }
}

#[tokio::test]
async fn the_wall_clock_ends_a_call_that_waits() {
    let runtime = Runtime::start(patient()).await.unwrap();
    let script = Arc::new(handler("wall", "await fetch('https://allowed.test/never'); return new Response('never');"));
    assert_eq!(text(&runtime, &script, "ok").await.unwrap(), "ok");
    let host = Arc::new(Recorder::default());
    let mut short = call(&host);
    short.timeout = Duration::from_millis(100);
    let error = runtime.fetch(&script, request("http://x.test/"), short).await.unwrap_err();
    assert_eq!(error.kind, CallErrorKind::Wall);
    assert_eq!(text(&runtime, &script, "ok").await.unwrap(), "ok");
    assert_eq!(runtime.stats().started, 1, "the process lives on");
}

#[tokio::test]
async fn log_output_is_cut_at_its_limit() {
    let runtime = Runtime::start(patient()).await.unwrap();
    let mut script =
        handler("log", "for (let i = 0; i < 1000; i++) console.log('x'.repeat(100)); return new Response('logged');");
    script.limits.log_bytes = 1000;
    script.limits.cpu_ms = 5_000;
    let reply = fetch(&runtime, &Arc::new(script), "").await.unwrap();
    let bytes: usize = reply.report.logs.iter().map(|line| line.message.len()).sum();
    assert!((500..2000).contains(&bytes), "{bytes}");
}

#[tokio::test]
async fn a_streamed_body_is_cut_at_the_output_limit() {
    let runtime = Runtime::start(patient()).await.unwrap();
    let body = "return new Response(new ReadableStream({ pull(c) { c.enqueue(new Uint8Array(10_000)); } }));";
    let mut script = handler("streamed output", body);
    script.limits.output_bytes = 100_000;
    script.limits.cpu_ms = 5_000;
    let reply = fetch(&runtime, &Arc::new(script), "").await.unwrap();
    let Answer::Response(response) = reply.answer else {
        panic!("{:?}", reply.answer);
    };
    let mut body = response.into_body();
    let mut read = 0;
    let ended = loop {
        match http_body_util::BodyExt::frame(&mut body).await {
            Some(Ok(frame)) => read += frame.into_data().map_or(0, |data| data.len()),
            Some(Err(_)) => break "broken",
            None => break "whole",
        }
    };
    assert_eq!(ended, "broken");
    assert!(read <= 100_000, "{read}");
}

#[tokio::test]
async fn a_module_that_does_not_parse_or_throws_fails_its_call_with_a_reason() {
    let runtime = Runtime::start(patient()).await.unwrap();
    for (code, kind) in [
        ("export default {", CallErrorKind::Syntax),
        ("import './missing.js'; export default {};", CallErrorKind::Syntax),
        ("throw new Error('at load');", CallErrorKind::Exception),
        ("export default {};", CallErrorKind::NoHandler),
    ] {
        let error = text(&runtime, &Arc::new(script(code, code)), "").await.expect_err(code);
        assert_eq!(error.kind, kind, "{code}: {error}");
    }
}
