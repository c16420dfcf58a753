//! Tables over the web API: a piece of script in, its value as text out.

use super::harness::check_table;

#[test]
fn headers_behave() {
    check_table(&[
        ("return new Headers({a: 1}).get('A')", "1"),
        (
            "const h = new Headers([['b', '2'], ['a', '1'], ['b', '3']]); return JSON.stringify([...h])",
            r#"[["a","1"],["b","2, 3"]]"#,
        ),
        (
            "const h = new Headers(); h.append('set-cookie', 'x'); h.append('Set-Cookie', 'y'); return h.getSetCookie().join('|') + [...h.keys()]",
            "x|yset-cookie,set-cookie",
        ),
        (
            "const h = new Headers({a: ' x '}); h.set('A', 'y'); h.delete('b'); return h.has('a') + h.get('a') + h.get('z')",
            "trueynull",
        ),
        ("return await raises(() => new Headers({'a b': 'x'}))", "TypeError"),
        ("return await raises(() => new Headers({a: 'x\\ny'}))", "TypeError"),
        ("return await raises(() => new Headers({a: '\\u0100'}))", "TypeError"),
        ("return await raises(() => new Headers([['a']]))", "TypeError"),
        ("return await raises(() => new Headers(1))", "TypeError"),
        ("return await raises(() => request.headers.set('a', 'b'))", "TypeError"),
        (
            "return await raises(() => { const h = new Headers(); for (let i = 0; i < 2000; i++) h.append('a', 'b'); })",
            "RangeError",
        ),
        ("const h = new Headers(request.headers); h.set('a', 'b'); return h.get('a')", "b"),
        ("return Object.prototype.toString.call(new Headers())", "[object Headers]"),
        ("let s = ''; new Headers({x: 'é'}).forEach((v, k) => { s += k + v; }); return s", "xé"),
        ("return await raises(() => Headers.prototype.get.call({}, 'a'))", "TypeError"),
    ]);
}

#[test]
fn urls_behave() {
    check_table(&[
        (
            "const u = new URL('../x?a=1#h', 'https://u:p@a.test:8443/b/c'); return u.href",
            "https://u:p@a.test:8443/x?a=1#h",
        ),
        (
            "const u = new URL('https://a.test/'); u.searchParams.append('q', 'a b'); return u.href + u.search",
            "https://a.test/?q=a+b?q=a+b",
        ),
        (
            "const u = new URL('https://a.test/?x=1'); const p = u.searchParams; u.search = '?y=2'; return p.get('y') + p.has('x') + (p === u.searchParams)",
            "2falsetrue",
        ),
        (
            "const u = new URL('https://a.test/'); u.port = '99999'; u.protocol = 'http'; u.hash = 'x'; return `${u}`",
            "http://a.test/#x",
        ),
        ("return URL.canParse('x:') + '' + URL.canParse('x') + (URL.parse('x') === null)", "truefalsetrue"),
        ("return await raises(() => new URL('x'))", "TypeError"),
        ("return JSON.stringify({u: new URL('https://a.test')})", r#"{"u":"https://a.test/"}"#),
        ("return new URLSearchParams({b: 2, a: 1}).toString()", "b=2&a=1"),
        (
            "const p = new URLSearchParams('?b=2&a=1&b=3'); p.sort(); p.set('b', 9); return p + p.size + p.getAll('b')",
            "a=1&b=929",
        ),
        ("const p = new URLSearchParams('a=1&a=2'); p.delete('a', '1'); return p + '' + p.has('a', '2')", "a=2true"),
        ("return [...new URLSearchParams('a=%F0%9F%92%A9&b')].join('|')", "a,💩|b,"),
        ("return new URL('https://a.test/\\ud800').href", "https://a.test/%EF%BF%BD"),
    ]);
}

#[test]
fn text_and_bytes_behave() {
    check_table(&[
        ("return hex(new TextEncoder().encode('é\\ud800'))", "c3a9efbfbd"),
        ("return new TextDecoder().decode(bytes(0xef, 0xbb, 0xbf, 0x61))", "a"),
        ("return new TextDecoder('utf-8', {ignoreBOM: true}).decode(bytes(0xef, 0xbb, 0xbf, 0x61)).length", "2"),
        ("return await raises(() => new TextDecoder('utf-8', {fatal: true}).decode(bytes(0xff)))", "TypeError"),
        ("const d = new TextDecoder(); return d.decode(bytes(0xc3), {stream: true}) + d.decode(bytes(0xa9))", "é"),
        ("return new TextDecoder('latin1').encoding", "windows-1252"),
        ("return await raises(() => new TextDecoder('nope'))", "RangeError"),
        (
            "const b = new Uint8Array(4); const r = new TextEncoder().encodeInto('aé€', b); return JSON.stringify(r) + hex(b)",
            r#"{"read":2,"written":3}61c3a900"#,
        ),
        ("return btoa('hé') + atob('aOk=').length", "aOk=2"),
        ("return await raises(() => btoa('€'))", "InvalidCharacterError"),
        ("return await raises(() => atob('a'))", "InvalidCharacterError"),
        (
            "const s = new Blob(['hello '.repeat(1000)]).stream().pipeThrough(new CompressionStream('gzip')); const c = await new Response(s).arrayBuffer(); const t = await new Response(new Blob([c]).stream().pipeThrough(new DecompressionStream('gzip'))).text(); return `${c.byteLength < 200} ${t.length}`",
            "true 6000",
        ),
        (
            "const out = []; for (const f of ['deflate', 'deflate-raw', 'brotli']) { const c = new Blob(['abc']).stream().pipeThrough(new CompressionStream(f)).pipeThrough(new DecompressionStream(f)); out.push(await new Response(c).text()); } return out",
            "abc,abc,abc",
        ),
        (
            "return await raises(() => new Response(new Blob(['junk']).stream().pipeThrough(new DecompressionStream('gzip'))).text())",
            "TypeError",
        ),
        ("return await raises(() => new CompressionStream('x'))", "TypeError"),
        (
            "const r = new Blob(['é'.repeat(3)]).stream().pipeThrough(new TextDecoderStream()).pipeThrough(new TextEncoderStream()); return await new Response(r).text()",
            "ééé",
        ),
    ]);
}

#[test]
fn bodies_behave() {
    check_table(&[
        ("return await new Response('x').text()", "x"),
        ("const r = new Response('{\"a\":1}'); return (await r.json()).a + '' + r.bodyUsed", "1true"),
        ("const r = new Response('x'); await r.text(); return await raises(() => r.text())", "TypeError"),
        ("const r = new Response('x'); const c = r.clone(); return await r.text() + await c.text()", "xx"),
        (
            "const r = new Response(new Blob(['ab'], {type: 'A/B'})); return r.headers.get('content-type') + (await r.blob()).type",
            "a/ba/b",
        ),
        (
            "const f = new FormData(); f.append('a', '1'); f.append('f', new File(['xyz'], 'n.txt', {type: 'text/x'})); const g = await new Response(f).formData(); return g.get('a') + g.get('f').name + g.get('f').type + await g.get('f').text()",
            "1n.txttext/xxyz",
        ),
        (
            "const g = await new Response(new URLSearchParams('a=1&b=%20')).formData(); return g.get('b') + [...g.keys()]",
            " a,b",
        ),
        ("return await raises(() => new Response('x', {status: 204}))", "TypeError"),
        ("return await raises(() => new Response('x', {status: 99}))", "RangeError"),
        ("return await raises(() => new Request('https://a.test', {body: 'x'}))", "TypeError"),
        ("return await raises(() => new Request('relative'))", "TypeError"),
        (
            "const r = new Request('https://a.test', {method: 'post', body: 'x'}); const q = new Request(r, {headers: {a: 'b'}}); return q.method + q.headers.get('a') + await q.text() + r.bodyUsed",
            "POSTbxtrue",
        ),
        (
            "const r = Response.json({a: [1]}, {status: 201}); return r.status + r.headers.get('content-type') + await r.text()",
            r#"201application/json{"a":[1]}"#,
        ),
        (
            "const r = Response.redirect('https://a.test/x', 307); return r.status + r.headers.get('location')",
            "307https://a.test/x",
        ),
        (
            "const s = new ReadableStream({start(c) { c.enqueue(bytes(104)); c.enqueue(bytes(105)); c.close(); }}); return await new Response(s).text()",
            "hi",
        ),
        (
            "const r = new Response('abc').body.getReader({mode: 'byob'}); const {value} = await r.read(new Uint8Array(2)); const next = await r.read(new Uint8Array(2)); const end = await r.read(new Uint8Array(2)); return hex(value) + hex(next.value.slice()) + end.done",
            "616263true",
        ),
        (
            "const b = new Blob(['hello', bytes(33)], {type: 'T/X'}); return b.size + b.type + await b.slice(1, 3).text() + await b.slice(-2).text()",
            "6t/xelo!",
        ),
        ("return new File(['a'], 'n', {lastModified: 5}).lastModified", "5"),
        (
            "const r = await fetch('data:text/html;base64,aGk='); return r.headers.get('content-type') + await r.text()",
            "text/htmlhi",
        ),
        ("return (await new Response(null).text()).length", "0"),
        ("return new Response(null).body === null && new Response('').body instanceof ReadableStream", "true"),
        ("return await raises(() => new Proxy(new Response('x'), {}).text())", "TypeError"),
    ]);
}

#[test]
fn streams_behave() {
    check_table(&[
        (
            "const s = ReadableStream.from([1, 2, 3]); const out = []; for await (const v of s) out.push(v); return out",
            "1,2,3",
        ),
        (
            "const [a, b] = ReadableStream.from(['x', 'y']).tee(); const all = async (s) => { const o = []; for await (const v of s) o.push(v); return o.join(''); }; return await Promise.all([all(a), all(b)])",
            "xy,xy",
        ),
        (
            "const t = new TransformStream({transform(v, c) { c.enqueue(v * 2); }, flush(c) { c.enqueue('end'); }}); const out = []; for await (const v of ReadableStream.from([1, 2]).pipeThrough(t)) out.push(v); return out",
            "2,4,end",
        ),
        (
            "let log = ''; const w = new WritableStream({write(v) { log += v; }, close() { log += '.'; }}); await ReadableStream.from(['a', 'b']).pipeTo(w); return log",
            "ab.",
        ),
        (
            "const s = new ReadableStream({pull(c) { c.error(new RangeError('no')); }}); return await raises(() => s.getReader().read())",
            "RangeError",
        ),
        (
            "let reason; const s = new ReadableStream({cancel(r) { reason = r; }}); await s.cancel('why'); return reason",
            "why",
        ),
        (
            "const s = new ReadableStream(); s.getReader(); return s.locked + await raises(() => s.getReader())",
            "trueTypeError",
        ),
        (
            "const c = new AbortController(); const p = new ReadableStream({}).pipeTo(new WritableStream(), {signal: c.signal}); c.abort(); return await raises(() => p)",
            "AbortError",
        ),
        (
            "const w = new WritableStream({}, {highWaterMark: 2}).getWriter(); const a = w.desiredSize; w.write(1); w.write(2); return a + '' + w.desiredSize",
            "20",
        ),
        (
            "const w = new WritableStream({write() { throw new RangeError('w'); }}).getWriter(); w.write(1).catch(() => {}); return await raises(() => w.closed)",
            "RangeError",
        ),
        ("const w = new WritableStream({abort(r) { w2 = r; }}); let w2; await w.abort('x'); return w2", "x"),
        (
            "const s = new ReadableStream({type: 'bytes', autoAllocateChunkSize: 4, pull(c) { const v = c.byobRequest.view; v[0] = 7; c.byobRequest.respond(1); }}); const {value} = await s.getReader().read(); return value",
            "7",
        ),
        (
            "const s = new ReadableStream({type: 'bytes', start(c) { c.enqueue(bytes(1, 2, 3, 4)); c.close(); }}); const r = s.getReader({mode: 'byob'}); const {value} = await r.read(new Uint16Array(2)); return value.length + value.constructor.name",
            "2Uint16Array",
        ),
        (
            "const s = new ReadableStream({start(c) { c.enqueue(1); c.enqueue(2); c.close(); }}); for await (const v of s) { if (v === 1) break; } return s.locked",
            "false",
        ),
        (
            "return new CountQueuingStrategy({highWaterMark: 3}).size() + new ByteLengthQueuingStrategy({highWaterMark: 1}).size(bytes(1, 2))",
            "3",
        ),
        (
            "const {readable, writable} = new TransformStream(); const w = writable.getWriter(); w.write('a'); w.close(); const out = []; for await (const v of readable) out.push(v); return out",
            "a",
        ),
        (
            "const t = new TransformStream({start(c) { c.terminate(); }}); return await raises(() => t.writable.getWriter().write(1))",
            "TypeError",
        ),
        (
            "const {readable, writable} = new FixedLengthStream(2); const w = writable.getWriter(); w.write(bytes(1)).catch(() => {}); w.close().catch(() => {}); return await raises(() => new Response(readable).arrayBuffer())",
            "TypeError",
        ),
        (
            "const r = new ReadableStream({start(c) { c.enqueue('x'); }}).getReader(); const p = r.read(); r.releaseLock(); const q = r.closed.catch((e) => e.name); return (await p).value + await q",
            "xTypeError",
        ),
    ]);
}

#[test]
fn events_timers_and_globals_behave() {
    check_table(&[
        (
            "const t = new EventTarget(); let n = 0; t.addEventListener('a', () => n++, {once: true}); t.dispatchEvent(new Event('a')); t.dispatchEvent(new Event('a')); return n",
            "1",
        ),
        (
            "const t = new EventTarget(); t.addEventListener('a', {handleEvent(e) { e.preventDefault(); }}); return t.dispatchEvent(new Event('a', {cancelable: true}))",
            "false",
        ),
        ("return new CustomEvent('x', {detail: 5}).detail", "5"),
        (
            "const c = new AbortController(); let r; c.signal.onabort = () => { r = c.signal.reason.name; }; c.abort(); return r + c.signal.aborted",
            "AbortErrortrue",
        ),
        ("const s = AbortSignal.any([AbortSignal.abort('x')]); return s.reason", "x"),
        ("const s = AbortSignal.timeout(5); await scheduler.wait(10); return s.reason.name", "TimeoutError"),
        ("return await raises(() => AbortSignal.abort().throwIfAborted())", "AbortError"),
        ("return await raises(() => new AbortSignal())", "TypeError"),
        (
            "const {port1, port2} = new MessageChannel(); const p = new Promise((r) => { port2.onmessage = (e) => r(e.data.a); }); port1.postMessage({a: 1}); return await p",
            "1",
        ),
        ("return await new Promise((r) => setTimeout(r, 5, 'v'))", "v"),
        (
            "let n = 0; await new Promise((r) => { const id = setInterval(() => { n++; if (n === 3) { clearInterval(id); r(); } }, 1); }); return n",
            "3",
        ),
        ("const id = setTimeout(() => { throw 1; }, 1); clearTimeout(id); await scheduler.wait(5); return 'ok'", "ok"),
        (
            "const a = Date.now(); for (let i = 0; i < 1e4; i++); const b = Date.now(); await scheduler.wait(7); return (b - a) + ' ' + (Date.now() - b >= 7)",
            "0 true",
        ),
        (
            "const a = performance.now(); return typeof a + (new Date().getTime() === Date.now()) + (new Date(5) instanceof Date)",
            "numbertruetrue",
        ),
        (
            "const o = {d: new Date(1), m: new Map([[1, {}]]), s: new Set([2]), b: bytes(1, 2), e: new RangeError('x')}; o.self = o; const c = structuredClone(o); return (c.self === c) + '' + c.m.size + c.s.has(2) + c.b + c.e.name + (c.d.getTime())",
            "true1true1,2RangeError1",
        ),
        ("return await raises(() => structuredClone(() => 1))", "DataCloneError"),
        (
            "const b = new ArrayBuffer(4); const c = structuredClone(b, {transfer: [b]}); return b.byteLength + '' + c.byteLength",
            "04",
        ),
        ("return navigator.userAgent", "Portunus-Workers"),
        (
            "return typeof WebAssembly + typeof Intl + typeof eval + typeof SharedArrayBuffer + typeof Atomics",
            "undefinedundefinedundefinedundefinedundefined",
        ),
        ("return new DOMException('m', 'AbortError').code", "20"),
        ("let log = ''; queueMicrotask(() => { log += 'b'; }); log += 'a'; await null; await null; return log", "ab"),
        ("return Math.random() !== Math.random()", "true"),
    ]);
}

#[test]
fn cryptography_behaves() {
    check_table(&[
        (
            "return hex(await crypto.subtle.digest('sha-256', bytes()))",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        (
            "const k = await crypto.subtle.importKey('raw', new TextEncoder().encode('key'), {name: 'HMAC', hash: 'SHA-256'}, true, ['sign', 'verify']); const d = new TextEncoder().encode('The quick brown fox jumps over the lazy dog'); const s = await crypto.subtle.sign('HMAC', k, d); return hex(s) + await crypto.subtle.verify('HMAC', k, s, d) + await crypto.subtle.verify('HMAC', k, s, bytes(1))",
            "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8truefalse",
        ),
        (
            "const k = await crypto.subtle.generateKey({name: 'AES-GCM', length: 256}, true, ['encrypt', 'decrypt']); const iv = crypto.getRandomValues(new Uint8Array(12)); const c = await crypto.subtle.encrypt({name: 'AES-GCM', iv, additionalData: bytes(9)}, k, bytes(1, 2, 3)); const back = await crypto.subtle.decrypt({name: 'AES-GCM', iv, additionalData: bytes(9)}, k, c); return c.byteLength + hex(back) + await raises(() => crypto.subtle.decrypt({name: 'AES-GCM', iv}, k, c))",
            "19010203OperationError",
        ),
        (
            "const out = []; for (const [name, field] of [['AES-CBC', 'iv'], ['AES-CTR', 'counter']]) { const k = await crypto.subtle.importKey('raw', new Uint8Array(16), name, false, ['encrypt', 'decrypt']); const a = {name, [field]: new Uint8Array(16), length: 64}; out.push(hex(await crypto.subtle.decrypt(a, k, await crypto.subtle.encrypt(a, k, bytes(1, 2, 3))))); } return out",
            "010203,010203",
        ),
        (
            "const out = []; for (const [namedCurve, hash] of [['P-256', 'SHA-256'], ['P-384', 'SHA-384']]) { const {privateKey, publicKey} = await crypto.subtle.generateKey({name: 'ECDSA', namedCurve}, true, ['sign', 'verify']); const jwk = await crypto.subtle.exportKey('jwk', privateKey); const again = await crypto.subtle.importKey('jwk', jwk, {name: 'ECDSA', namedCurve}, false, ['sign']); const s = await crypto.subtle.sign({name: 'ECDSA', hash}, again, bytes(1)); const spki = await crypto.subtle.exportKey('spki', publicKey); const pub = await crypto.subtle.importKey('spki', spki, {name: 'ECDSA', namedCurve}, true, ['verify']); out.push(s.byteLength, await crypto.subtle.verify({name: 'ECDSA', hash}, pub, s, bytes(1)), await crypto.subtle.verify({name: 'ECDSA', hash}, pub, s, bytes(2))); } return out",
            "64,true,false,96,true,false",
        ),
        (
            "const {privateKey, publicKey} = await crypto.subtle.generateKey('Ed25519', true, ['sign', 'verify']); const p8 = await crypto.subtle.exportKey('pkcs8', privateKey); const k = await crypto.subtle.importKey('pkcs8', p8, 'Ed25519', false, ['sign']); const s = await crypto.subtle.sign('Ed25519', k, bytes(5)); const raw = await crypto.subtle.exportKey('raw', publicKey); const v = await crypto.subtle.importKey('raw', raw, 'Ed25519', true, ['verify']); return s.byteLength + '' + await crypto.subtle.verify('Ed25519', v, s, bytes(5))",
            "64true",
        ),
        (
            "const out = []; for (const name of ['RSASSA-PKCS1-v1_5', 'RSA-PSS']) { const {privateKey, publicKey} = await crypto.subtle.generateKey({name, modulusLength: 2048, publicExponent: bytes(1, 0, 1), hash: 'SHA-256'}, true, ['sign', 'verify']); const all = await crypto.subtle.exportKey('jwk', privateKey); const again = await crypto.subtle.importKey('jwk', all, {name, hash: 'SHA-256'}, false, ['sign']); const s = await crypto.subtle.sign({name, saltLength: 32}, again, bytes(1)); const jwk = await crypto.subtle.exportKey('jwk', publicKey); const pub = await crypto.subtle.importKey('jwk', jwk, {name, hash: 'SHA-256'}, true, ['verify']); out.push(jwk.kty, jwk.alg, await crypto.subtle.verify({name, saltLength: 32}, pub, s, bytes(1))); } return out",
            "RSA,RS256,true,RSA,PS256,true",
        ),
        (
            "const k = await crypto.subtle.importKey('raw', new TextEncoder().encode('password'), 'PBKDF2', false, ['deriveBits', 'deriveKey']); const b = await crypto.subtle.deriveBits({name: 'PBKDF2', hash: 'SHA-256', salt: new TextEncoder().encode('salt'), iterations: 1}, k, 256); return hex(b)",
            "120fb6cffcf8b32c43e7225256c4f837a86548c92ccc35480805987cb70be17b",
        ),
        (
            "const k = await crypto.subtle.importKey('raw', bytes(1, 2, 3), 'HKDF', false, ['deriveKey']); const a = await crypto.subtle.deriveKey({name: 'HKDF', hash: 'SHA-256', salt: bytes(), info: bytes()}, k, {name: 'AES-GCM', length: 128}, true, ['encrypt']); return (await crypto.subtle.exportKey('raw', a)).byteLength",
            "16",
        ),
        (
            "const k = await crypto.subtle.importKey('raw', bytes(1), 'PBKDF2', false, ['deriveBits']); return await raises(() => crypto.subtle.deriveBits({name: 'PBKDF2', hash: 'SHA-256', salt: bytes(), iterations: 1e9}, k, 256))",
            "NotSupportedError",
        ),
        (
            "const k = await crypto.subtle.importKey('raw', bytes(1), {name: 'HMAC', hash: 'SHA-256'}, false, ['sign']); return await raises(() => crypto.subtle.exportKey('raw', k)) + await raises(() => crypto.subtle.verify('HMAC', k, bytes(), bytes()))",
            "InvalidAccessErrorInvalidAccessError",
        ),
        (
            "return await raises(() => crypto.subtle.importKey('raw', bytes(4, 1, 2), {name: 'ECDSA', namedCurve: 'P-256'}, true, ['verify']))",
            "DataError",
        ),
        (
            "return crypto.subtle.timingSafeEqual(bytes(1, 2), bytes(1, 2)) + '' + crypto.subtle.timingSafeEqual(bytes(1), bytes(2))",
            "truefalse",
        ),
        (
            "return /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(crypto.randomUUID())",
            "true",
        ),
        (
            "return await raises(() => crypto.getRandomValues(new Uint8Array(65537))) + await raises(() => crypto.getRandomValues(new Float32Array(1)))",
            "QuotaExceededErrorTypeMismatchError",
        ),
    ]);
}

#[test]
fn url_patterns_match() {
    check_table(&[
        ("return new URLPattern({pathname: '/books/:id'}).exec('https://a.test/books/5').pathname.groups.id", "5"),
        ("return new URLPattern({pathname: '/books/:id'}).test('https://a.test/books/5/x')", "false"),
        (
            "return new URLPattern('https://*.example.com/files/*').exec('https://cdn.example.com/files/a/b').pathname.groups[0]",
            "a/b",
        ),
        (
            "return new URLPattern('http{s}?://:sub.example.com/').exec('https://x.example.com/').hostname.groups.sub",
            "x",
        ),
        (
            "return new URLPattern('/a/:b(\\\\d+)', 'https://a.test').test('https://a.test/a/12') + '' + new URLPattern('/a/:b(\\\\d+)', 'https://a.test').test('https://a.test/a/x')",
            "truefalse",
        ),
        (
            "return new URLPattern({pathname: '/q/:a?'}).test('https://a.test/q/') + '' + new URLPattern({pathname: '/x/:a*'}).exec('https://a.test/x/1/2').pathname.groups.a",
            "false1/2",
        ),
        (
            "return new URLPattern({pathname: '/x{/:a}?'}).test('https://a.test/x') + '' + new URLPattern({pathname: '/x/:a?'}).test('https://a.test/x')",
            "truetrue",
        ),
        (
            "return new URLPattern('https://a.test:8080/').test('https://a.test/') + '' + new URLPattern('https://a.test/?q=*').exec('https://a.test/?q=z').search.groups[0]",
            "falsez",
        ),
        (
            "return new URLPattern({hostname: 'A.test'}).hostname + new URLPattern({hostname: 'A.test'}).test('https://a.test/')",
            "A.testtrue",
        ),
        (
            "return await raises(() => new URLPattern('/x')) + await raises(() => new URLPattern({pathname: '/{x'}))",
            "TypeErrorTypeError",
        ),
        ("return new URLPattern({pathname: '/A'}, {ignoreCase: true}).test('https://a.test/a')", "true"),
        ("return new URLPattern({pathname: '/(\\\\d+)'}).hasRegExpGroups", "true"),
    ]);
}
