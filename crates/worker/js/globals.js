// console, performance, navigator, structuredClone and how values are shown in a log line.
(function (host, internals) {
  "use strict";

  // ---- showing values ----
  const MAX_DEPTH = 4;
  const MAX_ITEMS = 100;
  const errorText = (error) => {
    const stack = typeof error.stack === "string" ? error.stack.trimEnd() : "";
    const head = `${error}`;
    return stack === "" ? head : `${head}\n${stack}`;
  };
  function show(value, depth, seen) {
    switch (typeof value) {
      case "string": return depth === 0 ? value : JSON.stringify(value);
      case "bigint": return `${value}n`;
      case "symbol": return value.toString();
      case "function": return `[Function: ${value.name || "anonymous"}]`;
      case "object": break;
      default: return String(value);
    }
    if (value === null) return "null";
    if (seen.includes(value)) return "[Circular]";
    if (value instanceof Error || value instanceof DOMException) return errorText(value);
    if (value instanceof Date) return Number.isNaN(value.getTime()) ? "Invalid Date" : value.toISOString();
    if (value instanceof RegExp) return value.toString();
    const inner = [...seen, value];
    if (depth >= MAX_DEPTH) return Array.isArray(value) ? "[Array]" : "[Object]";
    const each = (items, format) => {
      const shown = items.slice(0, MAX_ITEMS).map(format);
      if (items.length > MAX_ITEMS) shown.push(`... ${items.length - MAX_ITEMS} more`);
      return shown.join(", ");
    };
    const nested = (item) => show(item, depth + 1, inner);
    if (Array.isArray(value)) return `[${each(value, nested)}]`;
    if (ArrayBuffer.isView(value) && !(value instanceof DataView)) return `${value.constructor.name}(${value.length}) [${each([...value.slice(0, MAX_ITEMS)], String)}]`;
    if (value instanceof Map) return `Map(${value.size}) {${each([...value], ([k, v]) => `${nested(k)} => ${nested(v)}`)}}`;
    if (value instanceof Set) return `Set(${value.size}) {${each([...value], nested)}}`;
    if (value instanceof Headers) return `Headers {${each([...value], ([k, v]) => `${k}: ${JSON.stringify(v)}`)}}`;
    if (value instanceof URL) return value.href;
    if (value instanceof Promise) return "Promise {}";
    const tag = value[Symbol.toStringTag];
    const prefix = typeof tag === "string" ? `${tag} ` : "";
    return `${prefix}{${each(Object.keys(value), (key) => `${key}: ${nested(value[key])}`)}}`;
  }
  const format = (values) => values.map((value) => {
    try { return show(value, 0, []); } catch { return "[unprintable]"; }
  });
  const line = (values) => {
    if (typeof values[0] !== "string" || !values[0].includes("%") || values.length === 1) return format(values).join(" ");
    let next = 1;
    const text = values[0].replace(/%[sdifoOjc%]/gu, (directive) => {
      if (directive === "%%") return "%";
      if (next >= values.length) return directive;
      const value = values[next];
      next += 1;
      if (directive === "%c") return "";
      if (directive === "%d" || directive === "%i") return String(Math.trunc(Number(value)));
      if (directive === "%f") return String(Number(value));
      return format([value])[0];
    });
    return [text, ...format(values.slice(next))].join(" ");
  };
  internals.describe = (error) => {
    try {
      return error instanceof Error || error instanceof DOMException ? `${error}` : `thrown value: ${show(error, 0, [])}`;
    } catch {
      return "thrown value";
    }
  };
  internals.report = (error) => host.log("error", `Uncaught ${line([error])}`);

  // ---- console: counters and timers belong to the invocation ----
  const scratch = (name) => {
    const owner = internals.current ?? {};
    return (owner[name] ??= new Map());
  };
  const label = (value) => (value === undefined ? "default" : `${value}`);
  const indent = () => "  ".repeat(internals.current?.groups ?? 0);
  const write = (level) => (...values) => { host.log(level, indent() + line(values)); };
  const console = {
    debug: write("debug"), log: write("log"), info: write("info"), warn: write("warn"), error: write("error"),
    dir: (value) => write("log")(value), dirxml: write("log"), table: write("log"),
    trace: (...values) => write("debug")(...values, `\n${new Error().stack}`),
    assert: (condition, ...values) => { if (!condition) write("error")("Assertion failed:", ...values); },
    count: (name) => {
      const counts = scratch("counts");
      counts.set(label(name), (counts.get(label(name)) ?? 0) + 1);
      write("log")(`${label(name)}: ${counts.get(label(name))}`);
    },
    countReset: (name) => { scratch("counts").delete(label(name)); },
    time: (name) => { scratch("clocks").set(label(name), host.now()); },
    timeLog: (name, ...values) => {
      const from = scratch("clocks").get(label(name));
      if (from !== undefined) write("log")(`${label(name)}: ${host.now() - from}ms`, ...values);
    },
    timeEnd: (name) => { console.timeLog(name); scratch("clocks").delete(label(name)); },
    group: (...values) => {
      if (values.length > 0) write("log")(...values);
      if (internals.current !== null) internals.current.groups = Math.min((internals.current.groups ?? 0) + 1, 20);
    },
    groupEnd: () => { if (internals.current !== null) internals.current.groups = Math.max((internals.current.groups ?? 0) - 1, 0); },
    clear: () => {},
  };
  console.groupCollapsed = console.group;

  const performance = {
    now: () => host.now() - host.origin(),
    get timeOrigin() { return host.origin(); },
    mark: () => undefined,
    measure: () => undefined,
    toJSON: () => ({ timeOrigin: host.origin() }),
  };
  const navigator = { userAgent: "Portunus-Workers", hardwareConcurrency: 1, language: "en", languages: Object.freeze(["en"]), onLine: true };

  // ---- structuredClone ----
  const uncloneable = (value) => new DOMException(`${show(value, 1, [])} could not be cloned`, "DataCloneError");
  const viewClass = Object.getPrototypeOf(Uint8Array);
  const errorClasses = { EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError };
  function cloneInto(value, memory) {
    if (typeof value === "function" || typeof value === "symbol") throw uncloneable(value);
    if (typeof value !== "object" || value === null) return value;
    if (memory.has(value)) return memory.get(value);
    const remember = (copy) => { memory.set(value, copy); return copy; };
    if (value instanceof Date) return remember(new Date(value.getTime()));
    if (value instanceof RegExp) return remember(new RegExp(value.source, value.flags));
    if (value instanceof ArrayBuffer) return remember(value.slice(0));
    if (value instanceof DataView) return remember(new DataView(cloneInto(value.buffer, memory), value.byteOffset, value.byteLength));
    if (value instanceof viewClass) {
      const constructor = globalThis[value[Symbol.toStringTag]];
      return remember(new constructor(cloneInto(value.buffer, memory), value.byteOffset, value.length));
    }
    if (value instanceof Number || value instanceof String || value instanceof Boolean || value instanceof BigInt) return remember(Object(value.valueOf()));
    if (value instanceof Map) {
      const copy = remember(new Map());
      for (const [key, item] of [...value]) copy.set(cloneInto(key, memory), cloneInto(item, memory));
      return copy;
    }
    if (value instanceof Set) {
      const copy = remember(new Set());
      for (const item of [...value]) copy.add(cloneInto(item, memory));
      return copy;
    }
    if (value instanceof DOMException) return remember(new DOMException(value.message, value.name));
    if (value instanceof Error) {
      const constructor = errorClasses[value.name] ?? Error;
      const options = Object.hasOwn(value, "cause") ? { cause: cloneInto(value.cause, memory) } : undefined;
      const copy = remember(new constructor(value.message, options));
      if (typeof value.stack === "string") Object.defineProperty(copy, "stack", { value: value.stack, writable: true, configurable: true });
      return copy;
    }
    if (value instanceof File) return remember(new File([value], value.name, { type: value.type, lastModified: value.lastModified }));
    if (value instanceof Blob) return remember(value.slice(0, value.size, value.type));
    if (Array.isArray(value)) {
      const copy = remember(new Array(value.length));
      for (const key of Object.keys(value)) copy[key] = cloneInto(value[key], memory);
      return copy;
    }
    const prototype = Object.getPrototypeOf(value);
    const platform = prototype !== null && prototype !== Object.prototype && typeof value[Symbol.toStringTag] === "string";
    if (platform || value instanceof Promise || value instanceof WeakMap || value instanceof WeakSet) throw uncloneable(value);
    const copy = remember({});
    for (const key of Object.keys(value)) {
      Object.defineProperty(copy, key, { value: cloneInto(value[key], memory), writable: true, enumerable: true, configurable: true });
    }
    return copy;
  }
  function structuredClone(value, options = undefined) {
    internals.requireArguments(arguments, 1, "structuredClone");
    const memory = new Map();
    for (const item of internals.dictionary(options, "options").transfer ?? []) {
      if (!(item instanceof ArrayBuffer) || item.detached) throw uncloneable(item);
      memory.set(item, item.transfer());
    }
    return cloneInto(value, memory);
  }
  const reportError = (error) => internals.report(error);
  for (const [object, tag] of [[console, "console"], [performance, "Performance"], [navigator, "Navigator"]]) {
    Object.defineProperty(object, Symbol.toStringTag, { value: tag, configurable: true });
  }
  internals.expose({ console, performance, navigator, structuredClone, reportError, self: globalThis });
})
