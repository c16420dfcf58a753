// Events, targets, abort signals, message channels, microtasks and timers. Timers are host operations: the engine has
// no clock of its own.
(function (host, internals) {
  "use strict";

  class Event {
    #type; #bubbles; #cancelable; #composed; #trusted = false;
    #target = null; #current = null; #phase = 0; #prevented = false; #stopped = false; #immediate = false; #passive = false;
    #stamp = host.now() - host.origin();
    static {
      internals.dispatch = (event, target, listeners) => {
        event.#target = target;
        event.#current = target;
        event.#phase = 2;
        for (const listener of [...(listeners.get(event.#type) ?? [])]) {
          if (listener.removed) continue;
          if (listener.once) target.removeEventListener(event.#type, listener.callback, listener.capture);
          event.#passive = listener.passive;
          const { callback } = listener;
          try {
            if (typeof callback === "function") callback.call(target, event); else callback.handleEvent(event);
          } catch (error) {
            internals.report(error);
          }
          event.#passive = false;
          if (event.#immediate) break;
        }
        event.#phase = 0;
        event.#current = null;
        event.#stopped = event.#immediate = false;
        return !event.#prevented;
      };
    }
    constructor(type, init = undefined) {
      internals.requireArguments(arguments, 1, "Event");
      const { bubbles, cancelable, composed } = internals.dictionary(init, "init");
      this.#type = `${type}`;
      this.#bubbles = Boolean(bubbles);
      this.#cancelable = Boolean(cancelable);
      this.#composed = Boolean(composed);
    }
    get type() { return this.#type; }
    get target() { return this.#target; }
    get srcElement() { return this.#target; }
    get currentTarget() { return this.#current; }
    get eventPhase() { return this.#phase; }
    get bubbles() { return this.#bubbles; }
    get cancelable() { return this.#cancelable; }
    get composed() { return this.#composed; }
    get defaultPrevented() { return this.#prevented; }
    get returnValue() { return !this.#prevented; }
    get isTrusted() { return this.#trusted; }
    get timeStamp() { return this.#stamp; }
    get cancelBubble() { return this.#stopped; }
    set cancelBubble(value) { if (value) this.#stopped = true; }
    composedPath() { return this.#current === null ? [] : [this.#current]; }
    stopPropagation() { this.#stopped = true; }
    stopImmediatePropagation() { this.#stopped = this.#immediate = true; }
    preventDefault() { if (this.#cancelable && !this.#passive) this.#prevented = true; }
  }
  for (const [name, value] of [["NONE", 0], ["CAPTURING_PHASE", 1], ["AT_TARGET", 2], ["BUBBLING_PHASE", 3]]) {
    Object.defineProperty(Event, name, { value, enumerable: true });
    Object.defineProperty(Event.prototype, name, { value, enumerable: true });
  }

  class EventTarget {
    #listeners = new Map();
    addEventListener(type, callback, options = undefined) {
      internals.requireArguments(arguments, 2, "addEventListener");
      if (callback === null || callback === undefined) return;
      if (typeof callback !== "function" && typeof callback !== "object") throw new TypeError("the listener must be a function or object");
      const settings = typeof options === "boolean" ? { capture: options } : internals.dictionary(options, "options");
      const { capture, once, passive, signal } = settings;
      if (signal !== undefined && !(signal instanceof AbortSignal)) throw new TypeError("signal is not an AbortSignal");
      if (signal?.aborted) return;
      const name = `${type}`;
      const list = this.#listeners.get(name) ?? [];
      this.#listeners.set(name, list);
      const listener = { callback, capture: Boolean(capture), once: Boolean(once), passive: Boolean(passive), removed: false };
      if (list.some((known) => known.callback === callback && known.capture === listener.capture)) return;
      list.push(listener);
      if (signal !== undefined) signal.addEventListener("abort", () => this.removeEventListener(name, callback, settings), { once: true });
    }
    removeEventListener(type, callback, options = undefined) {
      internals.requireArguments(arguments, 2, "removeEventListener");
      const capture = Boolean(typeof options === "boolean" ? options : options?.capture);
      const list = this.#listeners.get(`${type}`);
      const at = list === undefined ? -1 : list.findIndex((known) => known.callback === callback && known.capture === capture);
      if (at < 0) return;
      list[at].removed = true;
      list.splice(at, 1);
    }
    dispatchEvent(event) {
      if (!(event instanceof Event)) throw new TypeError("value is not an Event");
      if (event.eventPhase !== 0) throw new DOMException("the event is being dispatched", "InvalidStateError");
      return internals.dispatch(event, this, this.#listeners);
    }
  }
  // Adds an `onname` attribute, which is a listener that keeps its place.
  const handlerAttribute = (prototype, name) => {
    const handlers = new WeakMap();
    Object.defineProperty(prototype, `on${name}`, {
      configurable: true,
      enumerable: true,
      get() { return handlers.get(this)?.value ?? null; },
      set(value) {
        let entry = handlers.get(this);
        if (entry === undefined) {
          entry = { value: null };
          handlers.set(this, entry);
          this.addEventListener(name, function (event) { if (entry.value !== null) entry.value.call(this, event); });
        }
        entry.value = typeof value === "function" ? value : null;
      },
    });
  };

  class CustomEvent extends Event {
    #detail;
    constructor(type, init = undefined) { super(type, init); this.#detail = init?.detail ?? null; }
    get detail() { return this.#detail; }
  }
  class MessageEvent extends Event {
    #data; #origin; #lastEventId; #source; #ports;
    constructor(type, init = undefined) {
      super(type, init);
      const { data = null, origin = "", lastEventId = "", source = null, ports = [] } = internals.dictionary(init, "init");
      this.#data = data; this.#origin = `${origin}`; this.#lastEventId = `${lastEventId}`; this.#source = source; this.#ports = Object.freeze([...ports]);
    }
    get data() { return this.#data; }
    get origin() { return this.#origin; }
    get lastEventId() { return this.#lastEventId; }
    get source() { return this.#source; }
    get ports() { return this.#ports; }
  }
  class ErrorEvent extends Event {
    #init;
    constructor(type, init = undefined) { super(type, init); this.#init = { ...internals.dictionary(init, "init") }; }
    get message() { return this.#init.message ?? ""; }
    get filename() { return this.#init.filename ?? ""; }
    get lineno() { return this.#init.lineno ?? 0; }
    get colno() { return this.#init.colno ?? 0; }
    get error() { return this.#init.error; }
  }
  class PromiseRejectionEvent extends Event {
    #promise; #reason;
    constructor(type, init) { super(type, init); this.#promise = init.promise; this.#reason = init.reason; }
    get promise() { return this.#promise; }
    get reason() { return this.#reason; }
  }

  // ---- abort ----
  const token = Symbol("abort signal");
  let signalAbort;
  class AbortSignal extends EventTarget {
    #aborted = false; #reason; #dependents = [];
    static {
      signalAbort = (signal, reason) => {
        if (signal.#aborted) return;
        const affected = [signal, ...signal.#dependents.filter((dependent) => !dependent.#aborted)];
        for (const each of affected) {
          each.#aborted = true;
          each.#reason = reason === undefined ? new DOMException("This operation was aborted", "AbortError") : reason;
          reason = each.#reason;
        }
        for (const each of affected) each.dispatchEvent(new Event("abort"));
      };
    }
    constructor(given) {
      if (given !== token) throw new TypeError("Illegal constructor");
      super();
    }
    get aborted() { return this.#aborted; }
    get reason() { return this.#reason; }
    throwIfAborted() { if (this.#aborted) throw this.#reason; }
    static abort(reason = undefined) {
      const signal = new AbortSignal(token);
      signalAbort(signal, reason);
      return signal;
    }
    static timeout(milliseconds) {
      const signal = new AbortSignal(token);
      sleep(milliseconds).then(() => signalAbort(signal, new DOMException("The operation timed out", "TimeoutError")));
      return signal;
    }
    static any(signals) {
      const made = new AbortSignal(token);
      const sources = [...signals];
      if (!sources.every((source) => source instanceof AbortSignal)) throw new TypeError("value is not an AbortSignal");
      const first = sources.find((source) => source.aborted);
      if (first !== undefined) signalAbort(made, first.reason);
      else for (const source of sources) source.#dependents.push(made);
      return made;
    }
  }
  handlerAttribute(AbortSignal.prototype, "abort");
  class AbortController {
    #signal = new AbortSignal(token);
    get signal() { return this.#signal; }
    abort(reason = undefined) { signalAbort(this.#signal, reason); }
  }
  internals.newSignal = () => new AbortSignal(token);
  internals.signalAbort = signalAbort;

  // ---- channels ----
  let entangle;
  class MessagePort extends EventTarget {
    #other; #started = false; #queue = []; #closed = false;
    static { entangle = (a, b) => { a.#other = b; b.#other = a; }; }
    constructor(given) {
      if (given !== token) throw new TypeError("Illegal constructor");
      super();
    }
    postMessage(message) {
      const other = this.#other;
      const data = structuredClone(message);
      if (this.#closed || other === undefined || other.#closed) return;
      other.#queue.push(data);
      other.#flush();
    }
    start() { this.#started = true; this.#flush(); }
    close() { this.#closed = true; }
    #flush() {
      if (!this.#started) return;
      for (const data of this.#queue.splice(0)) {
        queueMicrotask(() => { if (!this.#closed) this.dispatchEvent(new MessageEvent("message", { data })); });
      }
    }
    set onmessage(callback) {
      this.#handler = callback;
      if (!this.#listening) {
        this.#listening = true;
        this.addEventListener("message", (event) => { if (typeof this.#handler === "function") this.#handler.call(this, event); });
      }
      this.start();
    }
    get onmessage() { return this.#handler; }
    #handler = null;
    #listening = false;
  }
  class MessageChannel {
    #ports = [new MessagePort(token), new MessagePort(token)];
    constructor() { entangle(...this.#ports); }
    get port1() { return this.#ports[0]; }
    get port2() { return this.#ports[1]; }
  }

  // ---- microtasks and timers ----
  const queueMicrotask = (callback) => {
    if (typeof callback !== "function") throw new TypeError("the callback must be a function");
    Promise.resolve().then(() => { try { callback(); } catch (error) { internals.report(error); } });
  };
  const sleep = (milliseconds) => {
    const wait = Math.trunc(Number(milliseconds));
    return internals.operation(host.sleep(wait > 0 ? Math.min(wait, 0x7fffffff) : 0));
  };
  internals.sleep = sleep;
  // Identifiers belong to the invocation, so they tell nothing about others.
  const timers = () => {
    if (internals.current === null) throw new Error("timers are not available at global scope");
    return (internals.current.timers ??= { next: 1, live: new Map() });
  };
  const setTimer = (repeat) => (callback, delay = 0, ...args) => {
    if (typeof callback !== "function") throw new TypeError("the callback must be a function");
    const table = timers();
    const id = table.next;
    table.next += 1;
    const entry = { cleared: false };
    table.live.set(id, entry);
    const tick = () => sleep(delay).then(() => {
      if (entry.cleared) return undefined;
      if (!repeat) table.live.delete(id);
      try { callback(...args); } catch (error) { internals.report(error); }
      return repeat && !entry.cleared ? tick() : undefined;
    });
    tick();
    return id;
  };
  const clearTimer = (id) => {
    const live = internals.current?.timers?.live;
    const entry = live?.get(Number(id));
    if (entry === undefined) return;
    entry.cleared = true;
    live.delete(Number(id));
  };
  const scheduler = Object.freeze({ wait: (milliseconds) => sleep(milliseconds) });

  for (const [constructor, tag] of [
    [Event, "Event"], [EventTarget, "EventTarget"], [CustomEvent, "CustomEvent"], [MessageEvent, "MessageEvent"],
    [ErrorEvent, "ErrorEvent"], [PromiseRejectionEvent, "PromiseRejectionEvent"], [AbortSignal, "AbortSignal"],
    [AbortController, "AbortController"], [MessagePort, "MessagePort"], [MessageChannel, "MessageChannel"],
  ]) internals.brand(constructor, tag);
  internals.expose({
    Event, EventTarget, CustomEvent, MessageEvent, ErrorEvent, PromiseRejectionEvent, AbortSignal, AbortController,
    MessagePort, MessageChannel, queueMicrotask, scheduler,
    setTimeout: setTimer(false), setInterval: setTimer(true),
    clearTimeout: clearTimer, clearInterval: (id) => clearTimer(id),
  });
})
