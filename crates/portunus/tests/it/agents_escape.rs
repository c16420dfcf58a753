//! What programs of Code Mode try with a person's view bound to them, through the front door of the real binary. What a
//! process tries that an attacker has taken over is in the tests of the Worker runtime; the sandbox is the same.

use serde_json::{Value, json};
use testkit::{Origin, Platform};

use crate::agents::{Agent, publish, server};
use crate::support::binary;

/// Each is the body of an async function; whatever it returns, it was not refused.
const ATTEMPTS: &[(&str, &str)] = &[
    ("network", "return await fetch('http://127.0.0.1:9/')"),
    ("network by another name", "return await globalThis['fet' + 'ch']('https://example.com/')"),
    ("sockets", "return new WebSocket('ws://127.0.0.1:9/')"),
    ("files", "return await import('node:fs')"),
    ("files by url", "return await import('file:///etc/passwd')"),
    ("a module from elsewhere", "return await import('https://example.com/x.js')"),
    ("a module made up", "return await import('data:text/javascript,export default 1')"),
    ("require", "return require('fs')"),
    ("the process", "return process.env"),
    ("the host's runtime", "return Deno.env.toObject()"),
    ("its bindings", "return env.PORTAL"),
    ("bindings on the global object", "return globalThis.PORTAL.fetch('http://portal.internal/tools')"),
    ("a function from text", "return Function('return process')()"),
    ("the global of a constructor", "return codemode.constructor.constructor('return process')()"),
    ("a tool that a rule hides in part", "return await codemode.sums_delete({ a: 1 })"),
    ("a tool of nobody", "return await codemode.other_tool({})"),
    ("a tool by its server's name", "return await codemode.add({ a: 1 })"),
    ("a tool of the portal", "return await codemode.portal_codemode_execute({ code: '1' })"),
    ("arguments that are none", "return await codemode.sums_add([1])"),
    ("time without end", "while (true) {}"),
    ("memory without end", "const all = []; while (true) all.push(new Uint8Array(1 << 20).fill(1))"),
    ("depth without end", "const down = () => down() + 1; return down()"),
    ("calls without end", "for (;;) await codemode.sums_add({ a: 1, b: 1 })"),
    ("calls without end at once", "return await Promise.all(Array.from({ length: 500 }, () => codemode.sums_add({})))"),
    ("words without end", "return 'x'.repeat(64 << 20)"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_with_tools_reaches_nothing_but_its_tools() {
    let origin = Origin::start(server(), None).await.unwrap();
    let platform = Platform::start(binary(), &[]).unwrap();
    let token = publish(&platform, origin.address).await;
    let header = |name: &str, member: &str| format!("{name}: {}", token[member].as_str().unwrap());
    let headers = vec![header("cf-access-client-id", "client_id"), header("cf-access-client-secret", "client_secret")];
    let mut agent = Agent { platform: &platform, headers };
    agent.begin();
    let run = |body: &str| -> Value {
        let code = format!(
            "async () => {{ try {{ const got = await (async () => {{ {body} }})(); return \"got: \" + String(got); }} \
             catch (error) {{ return \"refused: \" + error.message; }} }}"
        );
        agent.call("?codemode=search_and_execute", "portal_codemode_execute", json!({"code": code}))
    };
    for (what, body) in ATTEMPTS {
        let answer = run(body);
        let said = answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{what}: {answer}"));
        let ended = answer["result"]["isError"] == true;
        assert!(ended || said.starts_with("\"refused: ") || said.starts_with("refused: "), "{what}: {answer}");
        assert!(!answer.to_string().contains("upstream-secret"), "{what}: {answer}");
    }
    // Nothing of one is there for the next, and the portal goes on.
    run("globalThis.left = 'behind'; Object.prototype.left = 'behind'; return 1");
    let after = run("return typeof globalThis.left + (await codemode.sums_add({ a: 2, b: 2 }))");
    assert!(after.to_string().contains("got: undefined4"), "{after}");
}
