// The ground the other prelude files stand on: how globals are published, argument checks, and the table through which
// a host operation finds its waiting promise. Keeps no state of any invocation beyond `internals.current`.
(function (host, internals) {
  "use strict";

  // The invocation whose message is being handled, or null while modules are instantiated.
  internals.current = null;

  internals.expose = (values) => {
    for (const name of Object.keys(values)) {
      Object.defineProperty(globalThis, name, {
        value: values[name], writable: true, enumerable: false, configurable: true,
      });
    }
  };

  // Gives a class the look of a platform interface, and has it frozen with the rest although no global may name it.
  internals.branded = [];
  internals.brand = (constructor, tag) => {
    internals.branded.push(constructor);
    Object.defineProperty(constructor.prototype, Symbol.toStringTag, { value: tag, configurable: true });
  };

  internals.requireArguments = (args, count, what) => {
    if (args.length < count) {
      throw new TypeError(`${what}: ${count} argument${count === 1 ? "" : "s"} required, but only ${args.length} present`);
    }
  };

  internals.dictionary = (value, what) => {
    if (value === undefined || value === null) return {};
    if (typeof value !== "object" && typeof value !== "function") throw new TypeError(`${what} must be an object`);
    return value;
  };

  // A flat list of names and values from what constructors of headers and parameters accept.
  internals.flatPairs = (init) => {
    const flat = [];
    const iterate = init[Symbol.iterator];
    if (iterate !== undefined && iterate !== null) {
      if (typeof iterate !== "function") throw new TypeError("value is not iterable");
      for (const pair of init) {
        if (pair === null || typeof pair !== "object") throw new TypeError("each entry must be a pair");
        const items = [...pair];
        if (items.length !== 2) throw new TypeError("each entry must be a pair of exactly two items");
        flat.push(`${items[0]}`, `${items[1]}`);
      }
      return flat;
    }
    for (const key of Reflect.ownKeys(init)) {
      const descriptor = Reflect.getOwnPropertyDescriptor(init, key);
      if (descriptor === undefined || !descriptor.enumerable) continue;
      if (typeof key === "symbol") throw new TypeError("a name cannot be a symbol");
      flat.push(key, `${init[key]}`);
    }
    return flat;
  };
  internals.wellFormed = (text) => `${text}`.toWellFormed();

  // The bytes behind an ArrayBuffer or a view of one, without copying; undefined for anything else.
  internals.bytesOf = (value) => {
    if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    if (value instanceof ArrayBuffer) return new Uint8Array(value);
    return undefined;
  };

  internals.concatenate = (chunks, total) => {
    if (chunks.length === 1) return chunks[0];
    const joined = new Uint8Array(total);
    let at = 0;
    for (const chunk of chunks) {
      joined.set(chunk, at);
      at += chunk.byteLength;
    }
    return joined;
  };

  // Operations under way: id -> settle functions. The host answers each exactly once.
  const waiting = new Map();

  internals.operation = (id) => new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject, call: internals.current });
  });
  internals.hooks = {
    resolve(id, value) {
      const entry = waiting.get(id);
      if (entry === undefined) return;
      waiting.delete(id);
      internals.current = entry.call;
      entry.resolve(value);
    },
    reject(id, name, message) {
      const entry = waiting.get(id);
      if (entry === undefined) return;
      waiting.delete(id);
      internals.current = entry.call;
      const plain = { TypeError, RangeError, Error }[name];
      entry.reject(plain === undefined ? new DOMException(message, name) : new plain(message));
    },
    // Forgets what a finished or abandoned invocation still waited for.
    forget(call) {
      for (const [id, entry] of waiting) {
        if (entry.call !== null && entry.call.id === call) waiting.delete(id);
      }
    },
  };

  // No code from strings, no shared memory, no collector callbacks between invocations.
  const refuse = (name) => {
    const stub = function () {
      throw new EvalError("code generation from strings is not allowed");
    };
    Object.defineProperty(stub, "name", { value: name });
    return stub;
  };
  for (const [sample, name] of [
    [function () {}, "Function"], [async function () {}, "AsyncFunction"],
    [function* () {}, "GeneratorFunction"], [async function* () {}, "AsyncGeneratorFunction"],
  ]) {
    const prototype = Object.getPrototypeOf(sample);
    const stub = refuse(name);
    stub.prototype = prototype;
    Object.defineProperty(stub, "prototype", { writable: false });
    Object.defineProperty(prototype, "constructor", { value: stub, writable: false, enumerable: false, configurable: false });
    if (name === "Function") internals.expose({ Function: stub });
  }
  for (const name of ["eval", "Atomics", "SharedArrayBuffer", "FinalizationRegistry", "WebAssembly", "Intl", "Temporal",
    "print", "gc", "navigator", "performance", "queueMicrotask"]) {
    delete globalThis[name];
  }

  // Hooks and settings that outlive an invocation without being a property of anything.
  for (const name of ["prepareStackTrace", "stackTraceLimit"]) delete Error[name];

  // Time stands still between awaits: it is the time of the last message from the host.
  const RealDate = Date;
  const StillDate = function Date(...args) {
    if (new.target === undefined) return new RealDate(host.now()).toString();
    return Reflect.construct(RealDate, args.length === 0 ? [host.now()] : args, new.target === StillDate ? RealDate : new.target);
  };
  StillDate.prototype = RealDate.prototype;
  Object.defineProperty(StillDate, "prototype", { writable: false });
  Object.defineProperty(StillDate, "length", { value: 7 });
  for (const [name, value] of [["now", () => Math.floor(host.now())], ["parse", RealDate.parse], ["UTC", RealDate.UTC]]) {
    Object.defineProperty(StillDate, name, { value, writable: true, configurable: true });
  }
  Object.defineProperty(RealDate.prototype, "constructor", { value: StillDate, writable: true, configurable: true });
  internals.expose({ Date: StillDate });
  Object.defineProperty(Math, "random", { value: () => host.random(), writable: true, configurable: true });
})
