// Bindings, module instances and the life of an invocation: how it starts, what its handler's value means, when it has
// settled. Invariant: under "request" isolation nothing made for one invocation is reachable from another.
(function (host, internals) {
  "use strict";

  // ---- bindings ----
  const checkKey = (key) => {
    const name = `${key}`;
    if (name === "" || name === "." || name === "..") throw new TypeError("a key cannot be empty, \".\" or \"..\"");
    if (host.encode(name).byteLength > 512) throw new TypeError("a key may have at most 512 bytes");
    return name;
  };
  const convert = (bytes, type) => {
    const view = new Uint8Array(bytes);
    switch (type) {
      case "text": return host.utf8(view);
      case "json": return JSON.parse(host.utf8(view));
      case "arrayBuffer": return bytes;
      case "stream": return new Blob([view]).stream();
      default: throw new TypeError(`unknown type: ${type}`);
    }
  };
  const typeOf = (options) => (typeof options === "string" ? options : `${options?.type ?? "text"}`);
  async function bytesFrom(value) {
    const bytes = internals.bytesOf(value);
    if (bytes !== undefined) return bytes;
    if (internals.isReadable(value)) return new Uint8Array(await new Response(value).arrayBuffer());
    if (typeof value !== "string") throw new TypeError("a value must be a string, bytes or a stream");
    return new Uint8Array(host.encode(value));
  }
  class KVNamespace {
    #name;
    constructor(token, name) {
      if (token !== internals) throw new TypeError("Illegal constructor");
      this.#name = name;
    }
    async get(key, options = undefined) { return (await this.getWithMetadata(key, options)).value; }
    async getWithMetadata(key, options = undefined) {
      const found = await internals.operation(host.kvGet(this.#name, checkKey(key)));
      if (found === null) return { value: null, metadata: null, cacheStatus: null };
      const [bytes, metadata] = found;
      return { value: convert(bytes, typeOf(options)), metadata: metadata === null ? null : JSON.parse(metadata), cacheStatus: null };
    }
    async put(key, value, options = undefined) {
      const { expiration, expirationTtl, metadata } = internals.dictionary(options, "options");
      const name = checkKey(key);
      const note = metadata === undefined ? null : JSON.stringify(metadata) ?? null;
      const whole = (given, what) => {
        if (given === undefined) return null;
        const seconds = Math.trunc(Number(given));
        if (!(seconds > 0)) throw new TypeError(`${what} must be a positive number of seconds`);
        return seconds;
      };
      const until = whole(expiration, "expiration");
      const ttl = whole(expirationTtl, "expirationTtl");
      await internals.operation(host.kvPut(this.#name, name, await bytesFrom(value), note, ttl, until));
    }
    async delete(key) { await internals.operation(host.kvDelete(this.#name, checkKey(key))); }
    async list(options = undefined) {
      const { prefix = "", limit = 1000, cursor } = internals.dictionary(options, "options");
      const count = Math.trunc(Number(limit));
      if (!(count >= 1 && count <= 1000)) throw new RangeError("limit must be between 1 and 1000");
      const after = cursor === undefined || cursor === null ? null : `${cursor}`;
      const [found, next] = await internals.operation(host.kvList(this.#name, `${prefix ?? ""}`, count, after));
      const keys = found.map(([name, expires, metadata]) => {
        const key = { name };
        if (expires !== null) key.expiration = expires;
        if (metadata !== null) key.metadata = JSON.parse(metadata);
        return key;
      });
      return next === null ? { keys, list_complete: true, cacheStatus: null } : { keys, list_complete: false, cursor: next, cacheStatus: null };
    }
  }
  class RateLimit {
    #name;
    constructor(token, name) {
      if (token !== internals) throw new TypeError("Illegal constructor");
      this.#name = name;
    }
    async limit(options) {
      const { key } = internals.dictionary(options, "options");
      if (key === undefined) throw new TypeError("a key is required");
      return { success: await internals.operation(host.rateLimit(this.#name, `${key}`)) };
    }
  }
  class Fetcher {
    #name;
    constructor(token, name) {
      if (token !== internals) throw new TypeError("Illegal constructor");
      this.#name = name;
    }
    fetch(input, init = undefined) {
      const name = this.#name;
      return internals.send(input, init, (...parts) => host.service(name, ...parts));
    }
  }
  class Cache {
    #prefix;
    constructor(token, prefix) {
      if (token !== internals) throw new TypeError("Illegal constructor");
      this.#prefix = prefix;
    }
    #key(input) {
      const request = new Request(input instanceof Request ? input.url : input);
      return input instanceof Request && input.method !== "GET" ? null : this.#prefix + request.url;
    }
    async match(input) {
      const key = this.#key(input);
      const found = key === null ? null : await internals.operation(host.cacheMatch(key));
      return found === null ? undefined : internals.responseFrom(found);
    }
    async put(input, response) {
      const key = this.#key(input);
      if (key === null) throw new TypeError("only GET requests can be cached");
      if (!internals.isResponse(response)) throw new TypeError("value is not a Response");
      if (response.status === 206 || response.headers.get("vary") === "*") throw new TypeError("this response cannot be cached");
      const [kind, value] = internals.sendBody(internals.responseState(response).body);
      await internals.operation(host.cachePut(key, response.status, response.statusText, response.headers, kind, value));
    }
    async delete(input) {
      const key = this.#key(input);
      return key === null ? false : internals.operation(host.cacheDelete(key));
    }
  }
  class CacheStorage {
    #default = Object.freeze(new Cache(internals, ""));
    constructor(token) { if (token !== internals) throw new TypeError("Illegal constructor"); }
    get default() { return this.#default; }
    async open(name) { return new Cache(internals, `${encodeURIComponent(`${name}`)}|`); }
  }

  // ---- the script ----
  let script = null;
  const none = Object.freeze([]);
  const instances = () => {
    if (script.modules.length === 1 && !script.waits) return onlyInstance(script.modules[0]);
    const made = [];
    const visit = (index) => {
      if (made[index] !== undefined) return made[index].exports;
      const module = script.modules[index];
      const instance = { exports: undefined, imports: [] };
      made[index] = instance;
      for (const at of module.imports) instance.imports.push(visit(at));
      return start(index, instance).exports;
    };
    const start = (index, instance) => {
      const module = script.modules[index];
      module.imports.forEach((at, place) => { instance.imports[place] = made[at].exports; });
      instance.result = module.factory.call(undefined, (exports) => {
        for (const at of module.stars) {
          const from = instance.imports[at];
          for (const name of Object.keys(from ?? {})) {
            if (name === "default" || name in exports) continue;
            Object.defineProperty(exports, name, { get: () => from[name], enumerable: true });
          }
        }
        instance.exports = exports;
        // Cycles: a module that ran before this one reads these exports later.
        if (script.modules.length > 1) {
          made.forEach((other, at) => script.modules[at].imports.forEach((wanted, place) => {
            if (wanted === index) other.imports[place] = exports;
          }));
        }
      }, instance.imports, dynamic, module.meta);
      return instance;
    };
    const dynamic = async (specifier) => {
      const index = script.resolve.get(`${specifier}`);
      if (index === undefined) throw new TypeError(`module "${specifier}" is not part of this script`);
      return made[index]?.exports ?? visit(index);
    };
    if (!script.waits) return visit(0);
    const later = async (index, path) => {
      if (made[index] !== undefined) return made[index].ready ?? made[index];
      const module = script.modules[index];
      const instance = { exports: undefined, imports: [], ready: undefined };
      made[index] = instance;
      instance.ready = (async () => {
        for (const at of module.imports) if (!path.includes(at)) await later(at, [...path, at]);
        start(index, instance);
        await instance.result;
        return instance;
      })();
      await instance.ready;
      return instance;
    };
    return later(0, [0]).then((instance) => instance.exports);
  };
  // The usual case, on the path of every invocation.
  const onlyInstance = (module) => {
    let made;
    module.factory.call(undefined, (exports) => { made = exports; }, none, async (specifier) => {
      if (script.resolve.get(`${specifier}`) === undefined) throw new TypeError(`module "${specifier}" is not part of this script`);
      return made;
    }, module.meta);
    return made;
  };
  const instantiate = () => {
    const call = internals.current;
    internals.current = null;
    try { return instances(); } finally { internals.current = call; }
  };
  // JSON variables are parsed on first use, into the env of that invocation. The accessors are shared, so they are frozen.
  const jsonAccessor = (name, text) => {
    const settle = (env, value) => Object.defineProperty(env, name, { value, writable: true, configurable: true, enumerable: true });
    const { get, set } = Object.getOwnPropertyDescriptor({
      get accessor() {
        const value = JSON.parse(text);
        settle(this, value);
        return value;
      },
      set accessor(value) { settle(this, value); },
    }, "accessor");
    return { get: Object.freeze(get), set: Object.freeze(set), configurable: true, enumerable: true };
  };
  const makeEnv = () => Object.defineProperties({ ...script.env }, script.json);

  // ---- invocations ----
  const calls = new Map();
  class ExecutionContext {
    #call;
    constructor(token, call) {
      if (token !== internals) throw new TypeError("Illegal constructor");
      this.#call = call;
    }
    waitUntil(promise) {
      const release = hold(this.#call);
      Promise.resolve(promise).then(release, (error) => { internals.report(error); release(); });
    }
    passThroughOnException() { this.#call.passThrough = true; }
    get props() { return {}; }
  }
  const hold = (call) => {
    call.pending += 1;
    let released = false;
    return () => {
      if (released) return;
      released = true;
      call.pending -= 1;
      settle(call);
    };
  };
  internals.hold = () => hold(internals.current);
  const settle = (call) => {
    if (!call.done || call.pending > 0 || calls.get(call.id) !== call) return;
    calls.delete(call.id);
    internals.hooks.forget(call.id);
    host.settled(call.id);
  };
  const fail = (call, error) => {
    if (call.done) return;
    call.done = true;
    const isError = error instanceof Error || error instanceof DOMException;
    const message = internals.describe(error);
    let kind = "exception";
    if (error instanceof InternalError && error.message === "out of memory") kind = "memory";
    if (error instanceof RangeError && error.message.startsWith("Maximum call stack size")) kind = "stack";
    host.fail(call.id, kind, message, isError && typeof error.stack === "string" ? error.stack : "", call.passThrough);
    settle(call);
  };
  const finish = (call, conclude, value) => {
    if (call.done) return;
    try {
      conclude(value);
      call.done = true;
      settle(call);
    } catch (error) {
      fail(call, error);
    }
  };
  const whenReady = (value, then, otherwise) => {
    if (!(value instanceof Promise)) {
      if (value !== null && (typeof value === "object" || typeof value === "function") && typeof value.then === "function") {
        Promise.resolve(value).then(then, otherwise);
      } else then(value);
    } else if (host.isFulfilled(value)) then(host.fulfilledValue(value));
    else value.then(then, otherwise);
  };
  // Starts a handler. `prepare` makes its first argument, `conclude` tells the host what its value means.
  const begin = (id, kind, prepare, conclude) => {
    const call = { id, pending: 0, done: false, passThrough: false, request: undefined, timers: undefined };
    calls.set(id, call);
    internals.current = call;
    const otherwise = (error) => fail(call, error);
    try {
      whenReady(script.shared ? script.instance : instantiate(), (exports) => {
        const entry = exports?.default;
        const handler = entry?.[kind];
        if (typeof handler !== "function") {
          call.done = true;
          host.fail(id, "noHandler", `the default export has no ${kind} handler`, "", false);
          settle(call);
          return;
        }
        const env = script.shared ? (script.sharedEnv ??= makeEnv()) : makeEnv();
        let value;
        try {
          value = handler.call(entry, prepare(call), env, new ExecutionContext(internals, call));
        } catch (error) {
          fail(call, error);
          return;
        }
        whenReady(value, (result) => finish(call, conclude, result), otherwise);
      }, otherwise);
    } catch (error) {
      fail(call, error);
    }
  };
  const concludeFetch = (id) => (value) => {
    if (value === undefined) { host.doneNothing(id); return; }
    if (internals.isResponse(value)) {
      const state = internals.responseState(value);
      if (state.type === "error") throw new TypeError("the handler returned an error response");
      const [kind, body] = internals.sendBody(state.body);
      host.doneResponse(id, state.status, state.statusText, state.headers, kind, body, state.url, state.redirected);
      return;
    }
    if (internals.isRequest(value)) {
      const state = internals.requestState(value);
      const [kind, body] = internals.sendBody(state.body);
      host.doneRequest(id, state.method, state.url, state.headers, kind, body, state.redirect);
      return;
    }
    throw new TypeError("the handler returned neither a Response nor a Request nor undefined");
  };

  class QueueMessage {
    #retry;
    constructor(id, time, attempts, body, retry) {
      this.id = id;
      this.timestamp = new Date(time);
      this.attempts = attempts;
      this.body = body;
      this.#retry = retry;
    }
    ack() { this.#retry.delete(this.id); }
    retry() { this.#retry.add(this.id); }
  }
  Object.assign(internals.hooks, {
    // modules: [name, factory, [import index], [star place], waits, [[specifier, index]]]
    load(modules, shared, bindings) {
      internals.current = null;
      script = { modules: [], resolve: new Map(), waits: false, shared, env: {}, json: {}, instance: undefined, sharedEnv: undefined };
      for (const [name, factory, imports, stars, waits] of modules) {
        script.resolve.set(`./${name}`, script.modules.length);
        script.resolve.set(name, script.modules.length);
        const meta = Object.freeze({ __proto__: null, url: `worker:///${name}`, main: script.modules.length === 0 });
        script.modules.push({ name, factory, imports, stars, waits, meta });
        script.waits ||= waits;
      }
      for (const [name, kind, value] of bindings) {
        if (kind === "json") script.json[name] = jsonAccessor(name, value);
        else if (kind === "text") script.env[name] = value;
        else script.env[name] = Object.freeze(new { kv: KVNamespace, rate: RateLimit, service: Fetcher }[kind](internals, name));
      }
      const handlers = (exports) => {
        const entry = exports?.default;
        host.loaded(["fetch", "access", "scheduled", "queue"].filter((name) => typeof entry?.[name] === "function"));
      };
      const failed = (error) => host.loadFailed(internals.describe(error), typeof error?.stack === "string" ? error.stack : "", error instanceof SyntaxError);
      try {
        const exports = instantiate();
        if (shared) script.instance = exports;
        if (exports instanceof Promise) exports.then((ready) => { if (shared) script.instance = ready; handlers(ready); }, failed);
        else handlers(exports);
      } catch (error) {
        failed(error);
      }
    },
    fetch(id, method, url, headers, cf, body) {
      begin(id, "fetch", (call) => {
        call.request = internals.incomingRequest(method, url, headers, cf, body);
        return call.request;
      }, concludeFetch(id));
    },
    access(id, question) {
      begin(id, "access", () => JSON.parse(question), (value) => {
        // Each member is read once: a getter may say something else the second time.
        const allow = value === null || typeof value !== "object" ? undefined : value.allow;
        if (typeof allow !== "boolean") throw new TypeError("an access handler returns { allow: true } or { allow: false }");
        const reason = value.reason;
        if (reason !== undefined && typeof reason !== "string") throw new TypeError("the reason of an access handler is a string");
        host.doneAccess(id, allow, reason ?? "");
      });
    },
    scheduled(id, cron, time) {
      const controller = { cron, scheduledTime: time, type: "scheduled", noRetry() {} };
      begin(id, "scheduled", () => controller, () => host.doneFinished(id, []));
    },
    queue(id, queue, messages) {
      const retry = new Set();
      begin(id, "queue", () => {
        const list = messages.map(([name, time, attempts, body]) => new QueueMessage(name, time, attempts, JSON.parse(body), retry));
        return {
          queue,
          messages: list,
          ackAll() { retry.clear(); },
          retryAll() { for (const message of list) retry.add(message.id); },
        };
      }, () => host.doneFinished(id, [...retry]));
    },
    cancel(id) {
      const call = calls.get(id);
      if (call === undefined) return;
      internals.current = call;
      call.done = true;
      const signal = call.request === undefined ? undefined : internals.requestState(call.request).signal;
      calls.delete(id);
      if (signal !== undefined) internals.signalAbort(signal, undefined);
    },
    abandon(id) {
      const call = calls.get(id);
      if (call !== undefined) call.done = true;
      calls.delete(id);
      internals.hooks.forget(id);
    },
  });

  for (const [constructor, tag] of [
    [KVNamespace, "KVNamespace"], [RateLimit, "RateLimit"], [Fetcher, "Fetcher"], [Cache, "Cache"],
    [CacheStorage, "CacheStorage"], [ExecutionContext, "ExecutionContext"], [QueueMessage, "Message"],
  ]) internals.brand(constructor, tag);
  internals.expose({ caches: new CacheStorage(internals), Cache, CacheStorage });
})
