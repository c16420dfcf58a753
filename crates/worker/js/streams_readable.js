// ReadableStream with its default and byte controllers and readers. Follows the algorithms of the Streams standard;
// writable and transform streams are in streams_writable.js. Keeps the standard's invariant that a chunk is delivered
// once, to the reader that asked first.
(function (host, internals) {
  "use strict";

  const deferred = () => {
    const made = {};
    made.promise = new Promise((resolve, reject) => { made.resolve = resolve; made.reject = reject; });
    return made;
  };
  const handled = (promise) => { promise.catch(() => {}); return promise; };
  internals.deferred = deferred;
  internals.handled = handled;

  // ---- streams ----
  let stateOf, isStream, makeStream;
  class ReadableStream {
    #state = { status: "readable", error: undefined, reader: undefined, controller: undefined, disturbed: false, hostBody: undefined };
    static {
      stateOf = (stream) => stream.#state;
      isStream = (value) => typeof value === "object" && value !== null && #state in value;
      makeStream = (underlying, strategy) => new ReadableStream(underlying, strategy);
    }
    constructor(underlying = undefined, strategy = undefined) {
      const source = internals.dictionary(underlying, "an underlying source");
      const options = internals.dictionary(strategy, "a queuing strategy");
      const { type, start, pull, cancel, autoAllocateChunkSize } = source;
      for (const [name, value] of [["start", start], ["pull", pull], ["cancel", cancel]]) {
        if (value !== undefined && typeof value !== "function") throw new TypeError(`${name} must be a function`);
      }
      if (type === "bytes") {
        if (options.size !== undefined) throw new RangeError("a byte stream cannot have a size function");
        new ReadableByteStreamController(setup, this, source, highWaterMark(options, 0), autoAllocateChunkSize);
      } else if (type === undefined) {
        new ReadableStreamDefaultController(setup, this, source, highWaterMark(options, 1), sizeFunction(options));
      } else {
        throw new TypeError(`invalid stream type: ${String(type)}`);
      }
    }
    get locked() { return this.#state.reader !== undefined; }
    cancel(reason = undefined) {
      if (this.#state.reader !== undefined) return Promise.reject(new TypeError("cannot cancel a locked stream"));
      return cancelStream(this, reason);
    }
    getReader(options = undefined) {
      const { mode } = internals.dictionary(options, "options");
      if (mode === undefined) return new ReadableStreamDefaultReader(this);
      if (`${mode}` !== "byob") throw new TypeError("mode must be \"byob\"");
      return new ReadableStreamBYOBReader(this);
    }
    tee() { return tee(this); }
    pipeTo(destination, options = undefined) {
      if (!internals.isWritable(destination)) return Promise.reject(new TypeError("destination is not a WritableStream"));
      if (this.locked || destination.locked) return Promise.reject(new TypeError("cannot pipe a locked stream"));
      let settings;
      try { settings = pipeOptions(options); } catch (error) { return Promise.reject(error); }
      return internals.pipe(this, destination, settings);
    }
    pipeThrough(pair, options = undefined) {
      if (pair === null || typeof pair !== "object") throw new TypeError("pipeThrough needs a readable and writable pair");
      const { readable, writable } = pair;
      if (!isStream(readable)) throw new TypeError("readable is not a ReadableStream");
      if (!internals.isWritable(writable)) throw new TypeError("writable is not a WritableStream");
      if (this.locked || writable.locked) throw new TypeError("cannot pipe a locked stream");
      handled(internals.pipe(this, writable, pipeOptions(options)));
      return readable;
    }
    values(options = undefined) {
      const { preventCancel } = internals.dictionary(options, "options");
      return iterate(this, Boolean(preventCancel));
    }
    static from(iterable) {
      const method = iterable[Symbol.asyncIterator] ?? iterable[Symbol.iterator];
      if (typeof method !== "function") throw new TypeError("value is not iterable");
      const iterator = method.call(iterable);
      return new ReadableStream({
        async pull(controller) {
          const result = await iterator.next();
          if (result === null || typeof result !== "object") throw new TypeError("iterator result is not an object");
          if (result.done) controller.close(); else controller.enqueue(await result.value);
        },
        async cancel(reason) {
          if (iterator.return !== undefined) await iterator.return(reason);
        },
      }, { highWaterMark: 0 });
    }
  }
  Object.defineProperty(ReadableStream.prototype, Symbol.asyncIterator, {
    value: ReadableStream.prototype.values, writable: true, configurable: true,
  });

  const setup = Symbol("setup");
  function pipeOptions(options) {
    const { preventClose, preventAbort, preventCancel, signal } = internals.dictionary(options, "options");
    if (signal !== undefined && !(signal instanceof AbortSignal)) throw new TypeError("signal is not an AbortSignal");
    return { preventClose: Boolean(preventClose), preventAbort: Boolean(preventAbort), preventCancel: Boolean(preventCancel), signal };
  }
  function highWaterMark(strategy, otherwise) {
    if (strategy.highWaterMark === undefined) return otherwise;
    const mark = Number(strategy.highWaterMark);
    if (Number.isNaN(mark) || mark < 0) throw new RangeError("invalid highWaterMark");
    return mark;
  }
  function sizeFunction(strategy) {
    if (strategy.size === undefined) return () => 1;
    if (typeof strategy.size !== "function") throw new TypeError("size must be a function");
    return (chunk) => strategy.size.call(undefined, chunk);
  }
  internals.highWaterMark = highWaterMark;
  internals.sizeFunction = sizeFunction;

  function cancelStream(stream, reason) {
    const state = stateOf(stream);
    state.disturbed = true;
    if (state.status === "closed") return Promise.resolve(undefined);
    if (state.status === "errored") return Promise.reject(state.error);
    closeStream(stream);
    const reader = state.reader;
    if (reader !== undefined && readerState(reader).byob) {
      for (const request of readerState(reader).requests.splice(0)) request.close(undefined);
    }
    return controllerCancel(state.controller, reason).then(() => undefined);
  }
  function closeStream(stream) {
    const state = stateOf(stream);
    if (state.status !== "readable") return;
    state.status = "closed";
    if (state.reader === undefined) return;
    const reader = readerState(state.reader);
    reader.closed.resolve(undefined);
    if (!reader.byob) for (const request of reader.requests.splice(0)) request.close();
  }
  function errorStream(stream, error) {
    const state = stateOf(stream);
    if (state.status !== "readable") return;
    state.status = "errored";
    state.error = error;
    if (state.reader === undefined) return;
    const reader = readerState(state.reader);
    handled(reader.closed.promise);
    reader.closed.reject(error);
    for (const request of reader.requests.splice(0)) request.error(error);
  }
  // ---- readers ----
  let readerState;
  class Reader {
    #state = { stream: undefined, closed: deferred(), requests: [], byob: false };
    static { readerState = (reader) => reader.#state; }
    constructor(stream, byob) {
      if (!isStream(stream)) throw new TypeError("value is not a ReadableStream");
      const source = stateOf(stream);
      if (source.reader !== undefined) throw new TypeError("the stream is locked to a reader");
      if (byob && !(source.controller instanceof ReadableByteStreamController)) {
        throw new TypeError("a BYOB reader needs a byte stream");
      }
      this.#state.byob = byob;
      this.#state.stream = stream;
      source.reader = this;
      if (source.status === "closed") this.#state.closed.resolve(undefined);
      if (source.status === "errored") {
        handled(this.#state.closed.promise);
        this.#state.closed.reject(source.error);
      }
    }
    get closed() { return this.#state.closed.promise; }
    cancel(reason = undefined) {
      const { stream } = this.#state;
      if (stream === undefined) return Promise.reject(new TypeError("the reader was released"));
      return cancelStream(stream, reason);
    }
    releaseLock() {
      const { stream } = this.#state;
      if (stream === undefined) return;
      const error = new TypeError("the reader was released");
      if (stateOf(stream).status !== "readable") this.#state.closed = deferred();
      handled(this.#state.closed.promise);
      this.#state.closed.reject(error);
      controllerRelease(stateOf(stream).controller);
      stateOf(stream).reader = undefined;
      this.#state.stream = undefined;
      for (const request of this.#state.requests.splice(0)) request.error(error);
    }
  }
  class ReadableStreamDefaultReader extends Reader {
    constructor(stream) { super(stream, false); }
    read() {
      const made = deferred();
      if (readerState(this).stream === undefined) return Promise.reject(new TypeError("the reader was released"));
      readInto(this, {
        chunk: (value) => made.resolve({ value, done: false }),
        close: () => made.resolve({ value: undefined, done: true }),
        error: (error) => made.reject(error),
      });
      return made.promise;
    }
  }
  class ReadableStreamBYOBReader extends Reader {
    constructor(stream) { super(stream, true); }
    read(view, options = undefined) {
      if (!ArrayBuffer.isView(view)) return Promise.reject(new TypeError("read needs a view"));
      if (view.byteLength === 0) return Promise.reject(new TypeError("the view is empty"));
      const { min = 1 } = internals.dictionary(options, "options");
      const count = view instanceof DataView ? view.byteLength : view.length;
      if (!(min >= 1) || min > count) return Promise.reject(new RangeError("min is out of range"));
      const { stream } = readerState(this);
      if (stream === undefined) return Promise.reject(new TypeError("the reader was released"));
      const made = deferred();
      stateOf(stream).disturbed = true;
      if (stateOf(stream).status === "errored") return Promise.reject(stateOf(stream).error);
      bytePullInto(stateOf(stream).controller, view, min, {
        chunk: (value) => made.resolve({ value, done: false }),
        close: (value) => made.resolve({ value, done: true }),
        error: (error) => made.reject(error),
      });
      return made.promise;
    }
  }
  function readInto(reader, request) {
    const { stream } = readerState(reader);
    const state = stateOf(stream);
    state.disturbed = true;
    if (state.status === "closed") request.close();
    else if (state.status === "errored") request.error(state.error);
    else controllerPull(state.controller, request);
  }

  // ---- controllers: one private state each, functions over both kinds ----
  let controlOf;
  class Controller {
    #state;
    static { controlOf = (controller) => controller.#state; }
    constructor(token, stream, source, mark, extra) {
      if (token !== setup) throw new TypeError("Illegal constructor");
      this.#state = {
        stream, source, mark, size: undefined, queue: [], total: 0, started: false, closing: false, pulling: false,
        again: false, pull: source.pull, cancel: source.cancel, pending: [], allocate: undefined, request: null, ...extra,
      };
      stateOf(stream).controller = this;
      const begin = source.start === undefined ? undefined : source.start.call(source, this);
      Promise.resolve(begin).then(() => {
        this.#state.started = true;
        pullIfNeeded(this);
      }, (error) => controllerError(this, error));
    }
    get desiredSize() { return desiredSize(this); }
    error(reason = undefined) { controllerError(this, reason); }
  }
  class ReadableStreamDefaultController extends Controller {
    constructor(token, stream, source, mark, size) { super(token, stream, source, mark, { size }); }
    close() {
      if (!canEnqueue(this)) throw new TypeError("the stream is closing or closed");
      defaultClose(this);
    }
    enqueue(chunk = undefined) {
      if (!canEnqueue(this)) throw new TypeError("the stream is closing or closed");
      defaultEnqueue(this, chunk);
    }
  }
  class ReadableByteStreamController extends Controller {
    constructor(token, stream, source, mark, allocate) {
      if (allocate !== undefined && !(Number(allocate) > 0)) throw new TypeError("autoAllocateChunkSize must be positive");
      super(token, stream, source, mark, { allocate: allocate === undefined ? undefined : Number(allocate) });
    }
    get byobRequest() {
      const state = controlOf(this);
      if (state.request === null && state.pending.length > 0) {
        const first = state.pending[0];
        const view = new Uint8Array(first.buffer, first.offset + first.filled, first.length - first.filled);
        state.request = new ReadableStreamBYOBRequest(setup, this, view);
      }
      return state.request;
    }
    close() {
      if (controlOf(this).closing || !canEnqueue(this)) throw new TypeError("the stream is closing or closed");
      byteClose(this);
    }
    enqueue(chunk) {
      const bytes = ArrayBuffer.isView(chunk) ? internals.bytesOf(chunk) : undefined;
      if (bytes === undefined) throw new TypeError("a byte stream takes views");
      if (bytes.byteLength === 0) throw new TypeError("the chunk is empty");
      if (!canEnqueue(this)) throw new TypeError("the stream is closing or closed");
      byteEnqueue(this, bytes);
    }
  }
  class ReadableStreamBYOBRequest {
    #controller; #view;
    constructor(token, controller, view) {
      if (token !== setup) throw new TypeError("Illegal constructor");
      this.#controller = controller;
      this.#view = view;
    }
    get view() { return this.#view; }
    respond(written) {
      const count = Number(written);
      if (this.#view === null) throw new TypeError("this request was already answered");
      if (!(count >= 0) || count > this.#view.byteLength) throw new RangeError("bytesWritten is out of range");
      this.#view = null;
      byteRespond(this.#controller, count);
    }
    respondWithNewView(view) {
      if (this.#view === null) throw new TypeError("this request was already answered");
      const bytes = internals.bytesOf(view);
      if (bytes === undefined || bytes.byteLength > this.#view.byteLength) throw new RangeError("the view does not fit");
      if (bytes.buffer !== this.#view.buffer) this.#view.set(bytes);
      this.#view = null;
      byteRespond(this.#controller, bytes.byteLength);
    }
  }

  function canEnqueue(controller) {
    const state = controlOf(controller);
    return !state.closing && stateOf(state.stream).status === "readable";
  }
  function desiredSize(controller) {
    const state = controlOf(controller);
    const { status } = stateOf(state.stream);
    if (status === "errored") return null;
    return status === "closed" ? 0 : state.mark - state.total;
  }
  function pullIfNeeded(controller) {
    const state = controlOf(controller);
    if (!state.started || !canEnqueue(controller)) return;
    const { reader } = stateOf(state.stream);
    const wanted = reader !== undefined && (readerState(reader).requests.length > 0 || state.pending.length > 0);
    if (!wanted && !(desiredSize(controller) > 0)) return;
    if (state.pulling) { state.again = true; return; }
    if (state.pull === undefined) return;
    state.pulling = true;
    let result;
    try {
      result = Promise.resolve(state.pull.call(state.source, controller));
    } catch (error) {
      result = Promise.reject(error);
    }
    result.then(() => {
      state.pulling = false;
      if (state.again) { state.again = false; pullIfNeeded(controller); }
    }, (error) => controllerError(controller, error));
  }
  function controllerError(controller, error) {
    const state = controlOf(controller);
    if (stateOf(state.stream).status !== "readable") return;
    clear(state);
    const pending = state.pending.splice(0);
    errorStream(state.stream, error);
    for (const into of pending) if (into.request !== undefined) into.request.error(error);
  }
  function clear(state) {
    state.queue = [];
    state.total = 0;
    state.pull = undefined;
    state.request = null;
  }
  function controllerCancel(controller, reason) {
    const state = controlOf(controller);
    const { cancel, source } = state;
    for (const into of state.pending.splice(0)) if (into.request !== undefined) into.request.close(undefined);
    clear(state);
    state.cancel = undefined;
    if (cancel === undefined) return Promise.resolve(undefined);
    try {
      return Promise.resolve(cancel.call(source, reason));
    } catch (error) {
      return Promise.reject(error);
    }
  }
  function controllerRelease(controller) {
    const state = controlOf(controller);
    const error = new TypeError("the reader was released");
    for (const into of state.pending.splice(0)) if (into.request !== undefined) into.request.error(error);
    state.request = null;
  }
  function controllerPull(controller, request) {
    const state = controlOf(controller);
    if (state.queue.length > 0) {
      const entry = state.queue.shift();
      state.total = state.queue.length === 0 ? 0 : state.total - entry.size;
      if (state.closing && state.queue.length === 0) finish(state);
      else pullIfNeeded(controller);
      request.chunk(entry.value);
      return;
    }
    if (state.allocate !== undefined) {
      state.pending.push({
        buffer: new ArrayBuffer(state.allocate), offset: 0, length: state.allocate, filled: 0, element: 1, minimum: 1,
        view: Uint8Array, request: undefined,
      });
    }
    readerState(stateOf(state.stream).reader).requests.push(request);
    pullIfNeeded(controller);
  }
  function finish(state) {
    clear(state);
    closeStream(state.stream);
  }
  function defaultClose(controller) {
    const state = controlOf(controller);
    state.closing = true;
    if (state.queue.length === 0) finish(state);
  }
  function defaultEnqueue(controller, chunk) {
    const state = controlOf(controller);
    const { reader } = stateOf(state.stream);
    if (reader !== undefined && readerState(reader).requests.length > 0) {
      readerState(reader).requests.shift().chunk(chunk);
    } else {
      let size;
      try {
        size = Number(state.size(chunk));
        if (Number.isNaN(size) || size < 0 || size === Infinity) throw new RangeError("invalid chunk size");
      } catch (error) {
        controllerError(controller, error);
        throw error;
      }
      state.queue.push({ value: chunk, size });
      state.total += size;
    }
    pullIfNeeded(controller);
  }

  // ---- byte streams ----
  function byteClose(controller) {
    const state = controlOf(controller);
    if (state.queue.length > 0) { state.closing = true; return; }
    const first = state.pending[0];
    if (first !== undefined && first.filled % first.element !== 0) {
      const error = new TypeError("the stream closed in the middle of an element");
      controllerError(controller, error);
      throw error;
    }
    state.closing = true;
    const pending = state.pending;
    finish(state);
    if (pending.length > 0 && pending.some((into) => into.request === undefined)) state.pending = [];
  }
  function byteEnqueue(controller, bytes) {
    const state = controlOf(controller);
    const chunk = new Uint8Array(bytes.buffer.byteLength === bytes.byteLength ? bytes.buffer : bytes.slice().buffer);
    const { reader } = stateOf(state.stream);
    state.request = null;
    if (reader !== undefined && !readerState(reader).byob && readerState(reader).requests.length > 0) {
      if (state.pending.length > 0) state.pending.shift();
      readerState(reader).requests.shift().chunk(chunk);
    } else {
      state.queue.push({ value: chunk, size: chunk.byteLength });
      state.total += chunk.byteLength;
      fillPending(controller);
    }
    pullIfNeeded(controller);
  }
  // Moves queued bytes into the view; true when at least the wanted minimum is there, in whole elements.
  function fill(state, into) {
    while (state.queue.length > 0 && into.filled < into.length) {
      const head = state.queue[0];
      const count = Math.min(head.value.byteLength, into.length - into.filled);
      new Uint8Array(into.buffer, into.offset + into.filled, count).set(head.value.subarray(0, count));
      into.filled += count;
      state.total -= count;
      if (count === head.value.byteLength) state.queue.shift();
      else state.queue[0] = { value: head.value.subarray(count), size: head.value.byteLength - count };
    }
    return into.filled >= into.minimum;
  }
  function fillPending(controller) {
    const state = controlOf(controller);
    while (state.pending.length > 0 && state.queue.length > 0) {
      if (!fill(state, state.pending[0])) return;
      deliver(state, state.pending.shift());
    }
  }
  function deliver(state, into) {
    const spare = into.filled % into.element;
    if (spare > 0) {
      const rest = new Uint8Array(into.buffer, into.offset + into.filled - spare, spare).slice();
      state.queue.unshift({ value: rest, size: spare });
      state.total += spare;
    }
    const view = new into.view(into.buffer, into.offset, (into.filled - spare) / into.element);
    if (into.request !== undefined) into.request.chunk(view);
    else readerState(stateOf(state.stream).reader).requests.shift().chunk(view);
  }
  function bytePullInto(controller, view, minimum, request) {
    const state = controlOf(controller);
    const element = view instanceof DataView ? 1 : view.BYTES_PER_ELEMENT;
    const { byteOffset, byteLength } = view;
    let buffer;
    try { buffer = view.buffer.transfer(); } catch (error) { request.error(error); return; }
    const into = {
      buffer, offset: byteOffset, length: byteLength, filled: 0, element, minimum: minimum * element, view: view.constructor, request,
    };
    if (state.pending.length === 0) {
      if (stateOf(state.stream).status === "closed") {
        request.close(new into.view(into.buffer, into.offset, 0));
        return;
      }
      if (state.queue.length > 0 && fill(state, into)) {
        deliver(state, into);
        if (state.closing && state.queue.length === 0) finish(state); else pullIfNeeded(controller);
        return;
      }
      if (state.closing) {
        const error = new TypeError("the stream closed in the middle of an element");
        controllerError(controller, error);
        request.error(error);
        return;
      }
    }
    state.pending.push(into);
    pullIfNeeded(controller);
  }
  function byteRespond(controller, count) {
    const state = controlOf(controller);
    state.request = null;
    const first = state.pending[0];
    if (first === undefined) throw new TypeError("no read is pending");
    if (stateOf(state.stream).status === "closed") {
      if (count !== 0) throw new TypeError("the stream is closed");
      for (const into of state.pending.splice(0)) {
        if (into.request !== undefined) into.request.close(new into.view(into.buffer, into.offset, 0));
      }
      return;
    }
    if (count === 0) throw new TypeError("no bytes were written");
    first.filled += count;
    if (first.filled < first.minimum) { pullIfNeeded(controller); return; }
    state.pending.shift();
    deliver(state, first);
    fillPending(controller);
    pullIfNeeded(controller);
  }

  // ---- tee and iteration ----
  // Each branch pulls; the source is read once for both, only when one of them wants a chunk.
  function tee(stream) {
    const reader = new ReadableStreamDefaultReader(stream);
    const bytes = stateOf(stream).controller instanceof ReadableByteStreamController;
    let reading = false, again = false;
    const canceled = [false, false];
    const reasons = [undefined, undefined];
    const done = deferred();
    const branches = [];
    const pull = () => {
      if (reading) { again = true; return undefined; }
      reading = true;
      readInto(reader, {
        chunk(value) {
          queueMicrotask(() => {
            again = false;
            for (const index of [0, 1]) {
              if (canceled[index]) continue;
              const copy = bytes && index === 1 ? value.slice() : value;
              if (bytes) byteEnqueue(branches[index], copy); else defaultEnqueue(branches[index], copy);
            }
            reading = false;
            if (again) pull();
          });
        },
        close() {
          reading = false;
          for (const index of [0, 1]) {
            if (canceled[index] || !canEnqueue(branches[index])) continue;
            (bytes ? internals.closeBytes : defaultClose)(branches[index]);
          }
          if (!canceled[0] || !canceled[1]) done.resolve(undefined);
        },
        error() { reading = false; },
      });
      return undefined;
    };
    const branch = (index) => makeStream({
      type: bytes ? "bytes" : undefined,
      start(controller) { branches[index] = controller; },
      pull,
      cancel(reason) {
        canceled[index] = true;
        reasons[index] = reason;
        if (canceled[1 - index]) done.resolve(cancelStream(stream, reasons));
        return done.promise;
      },
    }, { highWaterMark: 0 });
    const pair = [branch(0), branch(1)];
    reader.closed.catch((error) => {
      controllerError(branches[0], error);
      controllerError(branches[1], error);
      if (!canceled[0] || !canceled[1]) done.resolve(undefined);
    });
    return pair;
  }
  function iterate(stream, preventCancel) {
    const reader = new ReadableStreamDefaultReader(stream);
    let finished = false;
    let last = Promise.resolve(undefined);
    const step = async () => {
      if (finished) return { value: undefined, done: true };
      try {
        const result = await reader.read();
        if (result.done) { finished = true; reader.releaseLock(); }
        return result;
      } catch (error) {
        finished = true;
        reader.releaseLock();
        throw error;
      }
    };
    const end = async (value) => {
      if (!finished) {
        finished = true;
        const canceling = preventCancel ? undefined : reader.cancel(value);
        reader.releaseLock();
        await canceling;
      }
      return { value, done: true };
    };
    return Object.assign(Object.create(iteratorPrototype), {
      next() { last = last.then(step, step); return last; },
      return(value = undefined) { last = last.then(() => end(value), () => end(value)); return last; },
    });
  }
  const iteratorPrototype = Object.getPrototypeOf(Object.getPrototypeOf(async function* () {}.prototype));

  // Ends a byte stream of our own: reads that wait get an empty view, without a respond(0) from anyone.
  internals.closeBytes = (controller) => {
    if (!canEnqueue(controller)) return;
    byteClose(controller);
    const state = controlOf(controller);
    for (const into of state.pending.splice(0)) {
      if (into.request !== undefined) into.request.close(new into.view(into.buffer, into.offset, 0));
    }
  };
  internals.isReadable = (value) => isStream(value);
  internals.streamState = (stream) => stateOf(stream);
  internals.cancelStream = cancelStream;
  internals.readInto = readInto;
  internals.disturbed = (stream) => stateOf(stream).disturbed;
  for (const [constructor, tag] of [
    [ReadableStream, "ReadableStream"], [ReadableStreamDefaultReader, "ReadableStreamDefaultReader"],
    [ReadableStreamBYOBReader, "ReadableStreamBYOBReader"], [ReadableStreamBYOBRequest, "ReadableStreamBYOBRequest"],
    [ReadableStreamDefaultController, "ReadableStreamDefaultController"],
    [ReadableByteStreamController, "ReadableByteStreamController"],
  ]) internals.brand(constructor, tag);
  internals.expose({
    ReadableStream, ReadableStreamDefaultReader, ReadableStreamBYOBReader, ReadableStreamBYOBRequest,
    ReadableStreamDefaultController, ReadableByteStreamController,
  });
})
