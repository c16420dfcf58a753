// Request, Response and fetch. A body that came from the host stays a handle until something reads it; a message passed
// on with its body untouched hands back the handle. Everything about Headers is native.
(function (host, internals) {
  "use strict";

  const INLINE_LIMIT = 1 << 20;
  const CHUNK = 1 << 16;
  const empty = new Uint8Array(0);

  // ---- iteration of the native lists ----
  const iterable = (constructor, tag, list) => {
    const methods = {
      entries() { return list(this)[Symbol.iterator](); },
      keys() { return list(this).map(([key]) => key)[Symbol.iterator](); },
      values() { return list(this).map(([, value]) => value)[Symbol.iterator](); },
      forEach(callback, receiver = undefined) {
        if (typeof callback !== "function") throw new TypeError("the callback must be a function");
        for (const [key, value] of list(this)) callback.call(receiver, value, key, this);
      },
    };
    for (const name of Object.keys(methods)) {
      Object.defineProperty(constructor.prototype, name, { value: methods[name], writable: true, configurable: true, enumerable: true });
    }
    Object.defineProperty(constructor.prototype, Symbol.iterator, { value: methods.entries, writable: true, configurable: true });
    internals.brand(constructor, tag);
  };
  iterable(Headers, "Headers", (headers) => host.headerList(headers));
  iterable(URLSearchParams, "URLSearchParams", (params) => host.paramList(params));
  internals.brand(URL, "URL");

  // ---- bodies ----
  // { bytes } or { host: id } or { stream }, whether it was used, and its length where known.
  const bodyOfBytes = (bytes) => ({ bytes, host: undefined, stream: undefined, used: false });
  const bodyOfHost = (id) => ({ bytes: undefined, host: id, stream: undefined, used: false });
  const bodyOfStream = (stream) => ({ bytes: undefined, host: undefined, stream, used: false });

  const received = (kind, value) => (kind === 0 ? null : kind === 1 ? bodyOfBytes(new Uint8Array(value)) : bodyOfHost(value));
  internals.received = received;

  function extract(init) {
    if (typeof init === "string") return [bodyOfBytes(new Uint8Array(host.encode(init))), "text/plain;charset=UTF-8"];
    if (internals.isReadable(init)) {
      if (init.locked || internals.disturbed(init)) throw new TypeError("the stream is locked or was read from");
      return [bodyOfStream(init), null];
    }
    const bytes = internals.bytesOf(init);
    if (bytes !== undefined) return [bodyOfBytes(bytes.slice()), null];
    if (init instanceof Blob) return [bodyOfBytes(internals.bytesOfBlob(init)), init.type === "" ? null : init.type];
    if (init instanceof FormData) {
      const { boundary, bytes: form } = internals.multipart(init);
      return [bodyOfBytes(form), `multipart/form-data; boundary=${boundary}`];
    }
    if (init instanceof URLSearchParams) {
      return [bodyOfBytes(new Uint8Array(host.encode(init.toString()))), "application/x-www-form-urlencoded;charset=UTF-8"];
    }
    return [bodyOfBytes(new Uint8Array(host.encode(`${init}`))), "text/plain;charset=UTF-8"];
  }

  function materialize(body) {
    if (body.stream !== undefined) return body.stream;
    const { bytes, host: id } = body;
    let source;
    if (id !== undefined) {
      source = {
        type: "bytes",
        async pull(controller) {
          const chunk = await internals.operation(host.bodyRead(id));
          if (chunk === null) internals.closeBytes(controller);
          else if (chunk.byteLength > 0) controller.enqueue(new Uint8Array(chunk));
          else return source.pull(controller);
          return undefined;
        },
        cancel() { return internals.operation(host.bodyCancel(id)); },
      };
    } else {
      source = {
        type: "bytes",
        pull(controller) {
          if (bytes.byteLength > 0) controller.enqueue(bytes.slice());
          internals.closeBytes(controller);
        },
      };
    }
    body.stream = new ReadableStream(source);
    internals.streamState(body.stream).hostBody = id;
    if (body.used) { body.stream.getReader(); internals.streamState(body.stream).disturbed = true; }
    return body.stream;
  }
  const isUsed = (body) => body !== null && (body.used || (body.stream !== undefined && internals.disturbed(body.stream)));

  async function readAll(body) {
    if (body === null) return empty;
    if (isUsed(body) || (body.stream !== undefined && body.stream.locked)) throw new TypeError("the body was already used");
    body.used = true;
    if (body.stream === undefined && body.bytes !== undefined) return body.bytes;
    const chunks = [];
    let total = 0;
    const take = (chunk) => {
      const bytes = internals.bytesOf(chunk);
      if (bytes === undefined) throw new TypeError("the stream produced something other than bytes");
      chunks.push(bytes);
      total += bytes.byteLength;
    };
    if (body.stream === undefined) {
      for (;;) {
        const chunk = await internals.operation(host.bodyRead(body.host));
        if (chunk === null) break;
        take(chunk);
      }
    } else {
      const reader = body.stream.getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        take(value);
      }
    }
    return chunks.length === 0 ? empty : internals.concatenate(chunks, total);
  }
  function cloneBody(body) {
    if (body === null) return null;
    if (isUsed(body) || (body.stream !== undefined && body.stream.locked)) throw new TypeError("the body was already used");
    if (body.stream === undefined && body.bytes !== undefined) return bodyOfBytes(body.bytes);
    const [one, two] = materialize(body).tee();
    body.host = body.bytes = undefined;
    body.stream = one;
    return bodyOfStream(two);
  }

  // What the host is told of a body: [kind, value]. Marks it used.
  internals.sendBody = (body) => {
    if (body === null) return [0, undefined];
    if (isUsed(body) || (body.stream !== undefined && body.stream.locked)) throw new TypeError("the body was already used");
    body.used = true;
    if (body.stream === undefined && body.host !== undefined) return [2, body.host];
    if (body.stream === undefined && body.bytes.byteLength <= INLINE_LIMIT) return [1, body.bytes];
    if (body.stream !== undefined) {
      const { hostBody, disturbed } = internals.streamState(body.stream);
      if (hostBody !== undefined && !disturbed) { body.stream.getReader(); return [2, hostBody]; }
    }
    const id = host.newBody();
    pump(id, body);
    return [3, id];
  };
  async function pump(id, body) {
    const release = internals.hold();
    const write = (chunk, end, error) => internals.operation(host.bodyWrite(id, chunk, end, error));
    const send = async (bytes) => {
      for (let at = 0; at < bytes.byteLength; at += CHUNK) await write(bytes.subarray(at, at + CHUNK), false, undefined);
    };
    let reader;
    try {
      if (body.stream === undefined) await send(body.bytes);
      else {
        reader = body.stream.getReader();
        for (;;) {
          const { value, done } = await reader.read();
          if (done) break;
          const bytes = internals.bytesOf(value);
          if (bytes === undefined) throw new TypeError("the stream produced something other than bytes");
          await send(bytes);
        }
      }
      await write(empty, true, undefined);
    } catch (error) {
      if (reader !== undefined) reader.cancel(error).catch(() => {});
      write(empty, true, internals.describe(error)).catch(() => {});
    } finally {
      release();
    }
  }

  const bodyMethods = (constructor, bodyOf, headersOf) => {
    const methods = {
      async text() { return host.utf8(await readAll(bodyOf(this))); },
      async json() { return JSON.parse(host.utf8(await readAll(bodyOf(this)))); },
      async arrayBuffer() { return (await readAll(bodyOf(this))).slice().buffer; },
      async bytes() { return (await readAll(bodyOf(this))).slice(); },
      async blob() {
        const headers = headersOf(this);
        return internals.typedBlob(await readAll(bodyOf(this)), host.mimeType(headers) ?? "");
      },
      async formData() {
        const headers = headersOf(this);
        return internals.parseForm(await readAll(bodyOf(this)), headers.get("content-type"));
      },
    };
    for (const name of Object.keys(methods)) {
      Object.defineProperty(constructor.prototype, name, { value: methods[name], writable: true, configurable: true, enumerable: true });
    }
    Object.defineProperty(constructor.prototype, "body", {
      get() { const body = bodyOf(this); return body === null ? null : materialize(body); }, configurable: true, enumerable: true,
    });
    Object.defineProperty(constructor.prototype, "bodyUsed", {
      get() { return isUsed(bodyOf(this)); }, configurable: true, enumerable: true,
    });
  };

  // ---- Request ----
  const internal = Symbol("internal");
  const NORMAL = ["DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT"];
  function checkMethod(given) {
    const method = `${given}`;
    if (!/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/u.test(method)) throw new TypeError(`invalid method: ${method}`);
    const upper = method.toUpperCase();
    if (upper === "CONNECT" || upper === "TRACE" || upper === "TRACK") throw new TypeError(`forbidden method: ${method}`);
    return NORMAL.includes(upper) ? upper : method;
  }

  let requestOf, isRequest, incomingRequest;
  class Request {
    #state;
    static {
      requestOf = (request) => request.#state;
      isRequest = (value) => typeof value === "object" && value !== null && #state in value;
      incomingRequest = (method, url, headers, cf, body) => new Request(internal, {
        method, url, headers, cfText: cf, cf: undefined, body: body === undefined ? null : bodyOfHost(body),
        signal: undefined, redirect: "manual", incoming: true,
      });
    }
    constructor(input, init = undefined) {
      if (input === internal) { this.#state = init; return; }
      internals.requireArguments(arguments, 1, "Request");
      const options = internals.dictionary(init, "init");
      const base = isRequest(input) ? input.#state : undefined;
      const url = base === undefined ? host.requestUrl(`${input}`) : base.url;
      if (url === null) throw new TypeError(`invalid URL: ${String(input)}`);
      const method = options.method === undefined ? base?.method ?? "GET" : checkMethod(options.method);
      const redirect = options.redirect === undefined ? base?.redirect ?? "follow" : `${options.redirect}`;
      if (!["follow", "manual", "error"].includes(redirect)) throw new TypeError(`invalid redirect mode: ${redirect}`);
      if (options.signal !== undefined && options.signal !== null && !(options.signal instanceof AbortSignal)) {
        throw new TypeError("signal is not an AbortSignal");
      }
      const headers = new Headers(options.headers ?? base?.headers);
      const parent = options.signal === undefined ? base?.signal : options.signal ?? undefined;
      let body = null;
      if (options.body !== undefined && options.body !== null) {
        if (method === "GET" || method === "HEAD") throw new TypeError("a GET or HEAD request cannot have a body");
        let type;
        [body, type] = extract(options.body);
        if (type !== null && !headers.has("content-type")) headers.append("content-type", type);
      } else if (base !== undefined && base.body !== null && options.body === undefined) {
        if (isUsed(base.body) || base.body.stream?.locked) throw new TypeError("the body was already used");
        body = { ...base.body, used: false };
        base.body.used = true;
        if ((method === "GET" || method === "HEAD") && options.method !== undefined) throw new TypeError("a GET or HEAD request cannot have a body");
      }
      // A changed copy still goes to the URL of its original, so it still counts as the incoming request.
      this.#state = {
        method, url, headers, body, redirect, cfText: base?.cfText,
        cf: options.cf === undefined ? base?.cf : options.cf, signal: parent, incoming: base?.incoming === true,
      };
    }
    get method() { return this.#state.method; }
    get url() { return this.#state.url; }
    get headers() { return this.#state.headers; }
    get redirect() { return this.#state.redirect; }
    get signal() { return (this.#state.signal ??= internals.newSignal()); }
    get cf() {
      const state = this.#state;
      if (state.cf === undefined && state.cfText !== undefined) state.cf = state.cfText === "" ? {} : JSON.parse(state.cfText);
      return state.cf;
    }
    get cache() { return "default"; }
    get credentials() { return "same-origin"; }
    get destination() { return ""; }
    get integrity() { return ""; }
    get keepalive() { return false; }
    get mode() { return "cors"; }
    get referrer() { return "about:client"; }
    get referrerPolicy() { return ""; }
    get duplex() { return "half"; }
    clone() {
      const state = this.#state;
      return new Request(internal, { ...state, headers: new Headers(state.headers), body: cloneBody(state.body) });
    }
  }
  bodyMethods(Request, (request) => requestOf(request).body, (request) => requestOf(request).headers);

  // ---- Response ----
  let responseOf, isResponse, makeResponse;
  class Response {
    #state;
    static {
      responseOf = (response) => response.#state;
      isResponse = (value) => typeof value === "object" && value !== null && #state in value;
      makeResponse = (state) => new Response(internal, state);
    }
    constructor(body = null, init = undefined) {
      if (body === internal) { this.#state = init; return; }
      const options = internals.dictionary(init, "init");
      const status = options.status === undefined ? 200 : Math.trunc(Number(options.status));
      if (!(status >= 200 && status <= 599)) throw new RangeError(`invalid status: ${String(options.status)}`);
      const statusText = options.statusText === undefined ? "" : `${options.statusText}`;
      if (statusText !== "" && !/^[\t\x20-\x7e\x80-\xff]*$/u.test(statusText)) throw new TypeError("invalid status text");
      const headers = new Headers(options.headers);
      let content = null;
      if (body !== null && body !== undefined) {
        if (status === 204 || status === 205 || status === 304) throw new TypeError(`a response with status ${status} cannot have a body`);
        let type;
        [content, type] = extract(body);
        if (type !== null && !headers.has("content-type")) headers.append("content-type", type);
      }
      this.#state = { status, statusText, headers, body: content, url: "", redirected: false, type: "default" };
    }
    get status() { return this.#state.status; }
    get statusText() { return this.#state.statusText; }
    get ok() { return this.#state.status >= 200 && this.#state.status <= 299; }
    get headers() { return this.#state.headers; }
    get url() { return this.#state.url; }
    get redirected() { return this.#state.redirected; }
    get type() { return this.#state.type; }
    get cf() { return this.#state.cf; }
    clone() {
      const state = this.#state;
      return new Response(internal, { ...state, headers: new Headers(state.headers), body: cloneBody(state.body) });
    }
    static error() {
      const headers = new Headers();
      host.freezeHeaders(headers);
      return new Response(internal, { status: 0, statusText: "", headers, body: null, url: "", redirected: false, type: "error" });
    }
    static redirect(url, status = 302) {
      const target = host.parseUrl(`${url}`);
      if (target === undefined) throw new TypeError(`invalid URL: ${String(url)}`);
      if (![301, 302, 303, 307, 308].includes(Number(status))) throw new RangeError(`invalid redirect status: ${String(status)}`);
      return new Response(null, { status, headers: [["location", target]] });
    }
    static json(data, init = undefined) {
      const text = JSON.stringify(data);
      if (text === undefined) throw new TypeError("the value has no JSON form");
      const options = internals.dictionary(init, "init");
      const headers = new Headers(options.headers);
      if (!headers.has("content-type")) headers.append("content-type", "application/json");
      return new Response(new Uint8Array(host.encode(text)), { status: options.status, statusText: options.statusText, headers });
    }
  }
  bodyMethods(Response, (response) => responseOf(response).body, (response) => responseOf(response).headers);
  internals.brand(Request, "Request");
  internals.brand(Response, "Response");

  // A response as the host describes it: [status, text, headers, body kind, body value, url, redirected].
  internals.responseFrom = ([status, statusText, headers, kind, value, url, redirected]) => makeResponse({
    status, statusText, headers, body: received(kind, value), url, redirected, type: "basic",
  });

  // ---- fetch ----
  const raceAbort = (signal, promise) => {
    if (signal === undefined) return promise;
    return new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      promise.then(resolve, reject);
    });
  };
  // Sends a request through `start(method, url, headers, bodyKind, bodyValue, redirect, incoming)`.
  internals.send = (input, init, start) => {
    let request, id;
    try {
      request = init === undefined && isRequest(input) ? input : new Request(input, init);
      const state = requestOf(request);
      if (state.signal?.aborted) throw state.signal.reason;
      if (state.url.startsWith("data:")) return Promise.resolve(fetchData(state.url));
      const [kind, value] = internals.sendBody(state.body);
      id = start(state.method, state.url, state.headers, kind, value, state.redirect, state.incoming);
    } catch (error) {
      return Promise.reject(error);
    }
    return raceAbort(requestOf(request).signal, internals.operation(id).then(internals.responseFrom));
  };
  function fetchData(url) {
    const parsed = host.dataUrl(url);
    if (parsed === null) throw new TypeError("the data: URL is invalid");
    const headers = new Headers([["content-type", parsed[0]]]);
    return makeResponse({
      status: 200, statusText: "OK", headers, body: bodyOfBytes(new Uint8Array(parsed[1])), url, redirected: false, type: "basic",
    });
  }
  const fetch = (input, init = undefined) => {
    try {
      return internals.send(input, init, host.fetch);
    } catch (error) {
      return Promise.reject(error);
    }
  };

  internals.isRequest = (value) => isRequest(value);
  internals.isResponse = (value) => isResponse(value);
  internals.requestState = (request) => requestOf(request);
  internals.responseState = (response) => responseOf(response);
  internals.incomingRequest = (...parts) => incomingRequest(...parts);
  internals.expose({ Request, Response, fetch });
})
