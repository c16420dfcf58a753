//! The JSON data of web-platform-tests, evaluated by scripts inside the engine. Each test states how many cases pass and
//! fails when fewer do.

use portunus_worker::protocol::{Binding, Outcome};

use super::harness::{Setup, nothing, request};

fn data(name: &str) -> String {
    let path = format!("{}/tests/data/wpt/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

/// Runs `judge`, a function of one case that returns whether it passed, over every case `select` yields; the number of
/// passes and of cases.
fn judge(file: &str, select: &str, judge: &str) -> (usize, usize) {
    let source = format!(
        "const select = {select};\nconst judge = {judge};\n\
         export default {{ async fetch(request, env) {{\n\
         let passed = 0; const wrong = [];\n\
         const cases = select(env.cases);\n\
         for (const each of cases) {{\n\
           let ok = false; let note = '';\n\
           try {{ const result = await judge(each); ok = result === true; note = String(result); }} catch (e) {{ note = String(e); }}\n\
           if (ok) passed += 1; else wrong.push(JSON.stringify(each) + ' ' + note);\n\
         }}\n\
         return Response.json([passed, cases.length, wrong.slice(0, 30)]); }} }};"
    );
    let mut setup = Setup::new(&source).bind("cases", Binding::Json(data(file)));
    setup.modules[0].0 = "worker.js";
    setup.limits.cpu_ms = 600_000;
    let mut host = setup.load().unwrap();
    let ended = host.fetch(request("https://wpt.test/"), nothing);
    assert!(matches!(ended.result, Ok(Outcome::Response(_))), "{:?}", ended.result);
    let (passed, total, wrong): (usize, usize, Vec<String>) = serde_json::from_str(&ended.text()).unwrap();
    eprintln!("{file}: {passed} of {total}\n{}", wrong.join("\n"));
    (passed, total)
}

#[test]
fn urls_parse_as_published() {
    let (passed, total) = judge(
        "urltestdata.json",
        "(all) => all.filter((each) => typeof each === 'object')",
        r"(each) => {
            let url;
            try { url = each.base === null || each.base === undefined ? new URL(each.input) : new URL(each.input, each.base); }
            catch (error) { return each.failure === true; }
            if (each.failure) return 'parsed to ' + url.href;
            for (const name of ['href', 'origin', 'protocol', 'username', 'password', 'host', 'hostname', 'port', 'pathname', 'search', 'hash']) {
              if (name in each && url[name] !== each[name]) return `${name}: ${url[name]}`;
            }
            if ('searchParams' in each && url.searchParams.toString() !== each.searchParams) return 'searchParams';
            return true;
        }",
    );
    assert_eq!((passed, total), (869, 869));
}

#[test]
fn url_setters_set_as_published() {
    let (passed, total) = judge(
        "setters_tests.json",
        "(all) => Object.entries(all).filter(([name]) => name !== 'comment').flatMap(([name, list]) => list.map((each) => ({name, ...each})))",
        r"(each) => {
            const url = new URL(each.href);
            url[each.name] = each.new_value;
            for (const [name, value] of Object.entries(each.expected)) if (url[name] !== value) return `${name}: ${url[name]}`;
            return true;
        }",
    );
    assert_eq!((passed, total), (274, 274));
}

#[test]
fn hosts_become_ascii_as_published() {
    let (passed, total) = judge(
        "toascii.json",
        "(all) => all.filter((each) => typeof each === 'object')",
        r"(each) => {
            let url;
            try { url = new URL(`https://${each.input}/x`); } catch (error) { return each.output === null; }
            return url.hostname === each.output || url.hostname;
        }",
    );
    assert_eq!((passed, total), (33, 33));
}

#[test]
fn types_parse_as_published() {
    let (passed, total) = judge(
        "mime-types.json",
        "(all) => all.filter((each) => typeof each === 'object')",
        r"async (each) => {
            let response;
            try { response = new Response('', {headers: {'content-type': each.input}}); } catch (error) { return each.output === null || /[\u0100-\uffff\x00\n\r]/.test(each.input); }
            const {type} = await response.blob();
            const expected = each.output ?? '';
            return type === expected.toLowerCase() || type === expected || type;
        }",
    );
    assert_eq!((passed, total), (74, 74));
}

#[test]
fn repeated_types_combine_as_published() {
    let (passed, total) = judge(
        "content-types.json",
        "(all) => all",
        r"async (each) => {
            const headers = new Headers();
            for (const value of [each.contentType].flat()) headers.append('content-type', value);
            const {type} = await new Response('', {headers}).blob();
            const expected = each.mimeType ?? '';
            return type === expected || type;
        }",
    );
    assert_eq!((passed, total), (20, 20));
}

#[test]
fn data_urls_are_fetched_as_published() {
    let (passed, total) = judge(
        "data-urls.json",
        "(all) => all",
        r"async ([input, type, body = null]) => {
            let response;
            try { response = await fetch(input); } catch (error) { return type === null; }
            if (type === null) return 'no failure';
            if (response.headers.get('content-type') !== type) return response.headers.get('content-type');
            const bytes = [...new Uint8Array(await response.arrayBuffer())];
            return JSON.stringify(bytes) === JSON.stringify(body) || JSON.stringify(bytes);
        }",
    );
    assert_eq!((passed, total), (72, 72));
}

#[test]
fn base64_decodes_as_published() {
    let (passed, total) = judge(
        "base64.json",
        "(all) => all",
        r"([input, output]) => {
            let text;
            try { text = atob(input); } catch (error) { return output === null; }
            const bytes = [...text].map((c) => c.charCodeAt(0));
            return output !== null && JSON.stringify(bytes) === JSON.stringify(output);
        }",
    );
    assert_eq!((passed, total), (80, 80));
}
