// WritableStream, TransformStream, the queuing strategies and piping. Follows the algorithms of the Streams standard.
// Invariant: the sink sees one call at a time, in the order of the writes.
(function (host, internals) {
  "use strict";

  const { deferred, handled } = internals;
  const setup = Symbol("setup");
  const closing = Symbol("close");

  let stateOf, isWritable;
  class WritableStream {
    #state = {
      status: "writable", error: undefined, writer: undefined, controller: undefined, requests: [], inFlight: undefined,
      closeRequest: undefined, closeInFlight: undefined, pendingAbort: undefined, backpressure: false,
    };
    static {
      stateOf = (stream) => stream.#state;
      isWritable = (value) => typeof value === "object" && value !== null && #state in value;
    }
    constructor(underlying = undefined, strategy = undefined) {
      const sink = internals.dictionary(underlying, "an underlying sink");
      const options = internals.dictionary(strategy, "a queuing strategy");
      if (sink.type !== undefined) throw new RangeError("invalid sink type");
      new WritableStreamDefaultController(setup, this, sink, internals.highWaterMark(options, 1), internals.sizeFunction(options));
    }
    get locked() { return this.#state.writer !== undefined; }
    abort(reason = undefined) {
      if (this.locked) return Promise.reject(new TypeError("cannot abort a locked stream"));
      return abort(this, reason);
    }
    close() {
      if (this.locked) return Promise.reject(new TypeError("cannot close a locked stream"));
      if (closeQueued(this)) return Promise.reject(new TypeError("the stream is already closing"));
      return close(this);
    }
    getWriter() { return new WritableStreamDefaultWriter(this); }
  }

  const closeQueued = (stream) => stateOf(stream).closeRequest !== undefined || stateOf(stream).closeInFlight !== undefined;

  function abort(stream, reason) {
    const state = stateOf(stream);
    if (state.status === "closed" || state.status === "errored") return Promise.resolve(undefined);
    controlOf(state.controller).aborter.abort(reason);
    if (state.status === "closed" || state.status === "errored") return Promise.resolve(undefined);
    if (state.pendingAbort !== undefined) return state.pendingAbort.promise;
    const already = state.status === "erroring";
    const pending = { ...deferred(), reason: already ? undefined : reason, already };
    state.pendingAbort = pending;
    if (!already) startErroring(stream, reason);
    return pending.promise;
  }
  function close(stream) {
    const state = stateOf(stream);
    if (state.status === "closed" || state.status === "errored") {
      return Promise.reject(new TypeError("the stream is closed or errored"));
    }
    const made = deferred();
    state.closeRequest = made;
    if (state.writer !== undefined && state.backpressure && state.status === "writable") writerOf(state.writer).ready.resolve(undefined);
    const control = controlOf(state.controller);
    control.queue.push({ value: closing, size: 0 });
    advance(state.controller);
    return made.promise;
  }
  function startErroring(stream, reason) {
    const state = stateOf(stream);
    state.status = "erroring";
    state.error = reason;
    if (state.writer !== undefined) rejectReady(state.writer, reason);
    if (state.inFlight === undefined && state.closeInFlight === undefined && controlOf(state.controller).started) finishErroring(stream);
  }
  function finishErroring(stream) {
    const state = stateOf(stream);
    state.status = "errored";
    const control = controlOf(state.controller);
    control.queue = [];
    control.total = 0;
    for (const request of state.requests.splice(0)) request.reject(state.error);
    const pending = state.pendingAbort;
    if (pending === undefined) { rejectClosed(stream); return; }
    state.pendingAbort = undefined;
    if (pending.already) { pending.reject(state.error); rejectClosed(stream); return; }
    const { abort: callback, sink } = control;
    forget(control);
    attempt(() => (callback === undefined ? undefined : callback.call(sink, pending.reason))).then(
      () => { pending.resolve(undefined); rejectClosed(stream); },
      (error) => { pending.reject(error); rejectClosed(stream); },
    );
  }
  function rejectClosed(stream) {
    const state = stateOf(stream);
    if (state.closeRequest !== undefined) { state.closeRequest.reject(state.error); state.closeRequest = undefined; }
    if (state.writer !== undefined) {
      handled(writerOf(state.writer).closed.promise);
      writerOf(state.writer).closed.reject(state.error);
    }
  }
  function dealWithRejection(stream, error) {
    const { status } = stateOf(stream);
    if (status === "writable") startErroring(stream, error); else if (status === "erroring") finishErroring(stream);
  }
  const attempt = (work) => { try { return Promise.resolve(work()); } catch (error) { return Promise.reject(error); } };
  function forget(control) { control.write = control.close = control.abort = undefined; }

  // ---- the writer ----
  let writerOf;
  class WritableStreamDefaultWriter {
    #state = { stream: undefined, ready: deferred(), closed: deferred() };
    static { writerOf = (writer) => writer.#state; }
    constructor(stream) {
      if (!isWritable(stream)) throw new TypeError("value is not a WritableStream");
      const target = stateOf(stream);
      if (target.writer !== undefined) throw new TypeError("the stream is locked to a writer");
      this.#state.stream = stream;
      target.writer = this;
      if (target.status === "writable") {
        if (closeQueued(stream) || !target.backpressure) this.#state.ready.resolve(undefined);
      } else if (target.status === "closed") {
        this.#state.ready.resolve(undefined);
        this.#state.closed.resolve(undefined);
      } else {
        handled(this.#state.ready.promise);
        this.#state.ready.reject(target.error);
        if (target.status === "errored") { handled(this.#state.closed.promise); this.#state.closed.reject(target.error); }
      }
    }
    get closed() { return this.#state.closed.promise; }
    get ready() { return this.#state.ready.promise; }
    get desiredSize() {
      if (this.#state.stream === undefined) throw new TypeError("the writer was released");
      const { status, controller } = stateOf(this.#state.stream);
      if (status === "errored" || status === "erroring") return null;
      return status === "closed" ? 0 : controlOf(controller).mark - controlOf(controller).total;
    }
    abort(reason = undefined) {
      if (this.#state.stream === undefined) return Promise.reject(new TypeError("the writer was released"));
      return abort(this.#state.stream, reason);
    }
    close() {
      if (this.#state.stream === undefined) return Promise.reject(new TypeError("the writer was released"));
      if (closeQueued(this.#state.stream)) return Promise.reject(new TypeError("the stream is already closing"));
      return close(this.#state.stream);
    }
    releaseLock() {
      const { stream } = this.#state;
      if (stream === undefined) return;
      const error = new TypeError("the writer was released");
      rejectReady(this, error);
      if (stateOf(stream).status === "closed" || stateOf(stream).status === "errored") this.#state.closed = deferred();
      handled(this.#state.closed.promise);
      this.#state.closed.reject(error);
      stateOf(stream).writer = undefined;
      this.#state.stream = undefined;
    }
    write(chunk = undefined) {
      if (this.#state.stream === undefined) return Promise.reject(new TypeError("the writer was released"));
      return write(this.#state.stream, chunk);
    }
  }
  function rejectReady(writer, error) {
    const state = writerOf(writer);
    state.ready.reject(error);
    const failed = Promise.reject(error);
    handled(failed);
    handled(state.ready.promise);
    state.ready = { promise: failed, resolve() {}, reject() {} };
  }
  function write(stream, chunk) {
    const state = stateOf(stream);
    const control = controlOf(state.controller);
    let size = 1;
    try {
      size = Number(control.size(chunk));
      if (Number.isNaN(size) || size < 0 || size === Infinity) throw new RangeError("invalid chunk size");
    } catch (error) {
      if (state.status === "writable") startErroring(stream, error);
    }
    if (state.status === "errored" || state.status === "erroring") return Promise.reject(state.error);
    if (closeQueued(stream) || state.status === "closed") return Promise.reject(new TypeError("the stream is closing or closed"));
    const made = deferred();
    state.requests.push(made);
    control.queue.push({ value: chunk, size });
    control.total += size;
    if (state.status === "writable") updateBackpressure(stream);
    advance(state.controller);
    return made.promise;
  }
  function updateBackpressure(stream) {
    const state = stateOf(stream);
    if (closeQueued(stream) || state.status !== "writable") return;
    const control = controlOf(state.controller);
    const backpressure = control.mark - control.total <= 0;
    if (state.writer !== undefined && backpressure !== state.backpressure) {
      if (backpressure) writerOf(state.writer).ready = deferred();
      else writerOf(state.writer).ready.resolve(undefined);
    }
    state.backpressure = backpressure;
  }

  // ---- the controller ----
  let controlOf;
  class WritableStreamDefaultController {
    #state;
    static { controlOf = (controller) => controller.#state; }
    constructor(token, stream, sink, mark, size) {
      if (token !== setup) throw new TypeError("Illegal constructor");
      this.#state = {
        stream, sink, mark, size, queue: [], total: 0, started: false, aborter: new AbortController(),
        write: sink.write, close: sink.close, abort: sink.abort,
      };
      stateOf(stream).controller = this;
      stateOf(stream).backpressure = mark <= 0;
      const begin = sink.start === undefined ? undefined : sink.start.call(sink, this);
      Promise.resolve(begin).then(() => {
        this.#state.started = true;
        advance(this);
      }, (error) => {
        this.#state.started = true;
        dealWithRejection(stream, error);
      });
    }
    get signal() { return this.#state.aborter.signal; }
    error(reason = undefined) {
      if (stateOf(this.#state.stream).status === "writable") errorController(this, reason);
    }
  }
  function errorController(controller, reason) {
    forget(controlOf(controller));
    startErroring(controlOf(controller).stream, reason);
  }
  function advance(controller) {
    const control = controlOf(controller);
    const state = stateOf(control.stream);
    if (!control.started || state.inFlight !== undefined || state.closeInFlight !== undefined) return;
    if (state.status === "erroring") { finishErroring(control.stream); return; }
    if (state.status !== "writable" || control.queue.length === 0) return;
    if (control.queue[0].value === closing) processClose(control, state); else processWrite(controller, control, state);
  }
  function processClose(control, state) {
    state.closeInFlight = state.closeRequest;
    state.closeRequest = undefined;
    control.queue.shift();
    const { close: callback, sink } = control;
    forget(control);
    attempt(() => (callback === undefined ? undefined : callback.call(sink))).then(() => {
      state.closeInFlight.resolve(undefined);
      state.closeInFlight = undefined;
      if (state.status === "erroring" && state.pendingAbort !== undefined) state.pendingAbort.resolve(undefined);
      state.pendingAbort = undefined;
      state.status = "closed";
      if (state.writer !== undefined) writerOf(state.writer).closed.resolve(undefined);
    }, (error) => {
      state.closeInFlight.reject(error);
      state.closeInFlight = undefined;
      if (state.pendingAbort !== undefined) { state.pendingAbort.reject(error); state.pendingAbort = undefined; }
      dealWithRejection(control.stream, error);
    });
  }
  function processWrite(controller, control, state) {
    state.inFlight = state.requests.shift();
    const { value, size } = control.queue[0];
    attempt(() => (control.write === undefined ? undefined : control.write.call(control.sink, value, controller))).then(() => {
      state.inFlight.resolve(undefined);
      state.inFlight = undefined;
      if (control.queue.length > 0) control.queue.shift();
      control.total = control.queue.length === 0 ? 0 : control.total - size;
      updateBackpressure(control.stream);
      advance(controller);
    }, (error) => {
      if (state.status === "writable") forget(control);
      state.inFlight.reject(error);
      state.inFlight = undefined;
      dealWithRejection(control.stream, error);
    });
  }

  // ---- transforms ----
  class TransformStream {
    #readable; #writable;
    constructor(transformer = undefined, writableStrategy = undefined, readableStrategy = undefined) {
      const source = internals.dictionary(transformer, "a transformer");
      if (source.readableType !== undefined || source.writableType !== undefined) throw new RangeError("invalid type");
      const { start, transform, flush, cancel } = source;
      let readableControl;
      let change = deferred();
      let backpressure = true;
      let finishing;
      const setBackpressure = (value) => {
        if (backpressure === value) return;
        change.resolve(undefined);
        change = deferred();
        backpressure = value;
      };
      const fail = (error) => {
        readableControl.error(error);
        unblock(error);
      };
      const unblock = (error) => {
        if (stateOf(this.#writable).status === "writable") errorController(stateOf(this.#writable).controller, error);
        if (backpressure) setBackpressure(false);
      };
      const controller = new TransformStreamDefaultController(setup, {
        get desiredSize() { return readableControl.desiredSize; },
        enqueue: (chunk) => {
          try {
            readableControl.enqueue(chunk);
          } catch (error) {
            unblock(error);
            const inner = internals.streamState(this.#readable);
            throw inner.status === "errored" ? inner.error : error;
          }
          setBackpressure(readableControl.desiredSize <= 0);
        },
        error: fail,
        terminate: () => {
          if (internals.streamState(this.#readable).status === "readable") readableControl.close();
          unblock(new TypeError("the stream was terminated"));
        },
      });
      const perform = async (chunk) => {
        try {
          if (transform === undefined) controller.enqueue(chunk);
          else await transform.call(source, chunk, controller);
        } catch (error) {
          fail(error);
          throw error;
        }
      };
      const started = deferred();
      this.#readable = new ReadableStream({
        start(control) { readableControl = control; return started.promise; },
        pull() { setBackpressure(false); return change.promise; },
        cancel: (reason) => {
          if (finishing !== undefined) return finishing;
          finishing = attempt(() => (cancel === undefined ? undefined : cancel.call(source, reason))).then(
            () => { unblock(reason); },
            (error) => { unblock(error); throw error; },
          );
          return finishing;
        },
      }, { highWaterMark: internals.highWaterMark(internals.dictionary(readableStrategy, "a strategy"), 0), size: readableStrategy?.size });
      this.#writable = new WritableStream({
        start() { return started.promise; },
        write: async (chunk) => {
          if (backpressure) {
            await change.promise;
            const state = stateOf(this.#writable);
            if (state.status === "erroring") throw state.error;
          }
          await perform(chunk);
        },
        abort: (reason) => {
          if (finishing !== undefined) return finishing;
          finishing = attempt(() => (cancel === undefined ? undefined : cancel.call(source, reason))).then(
            () => readableControl.error(reason),
            (error) => { readableControl.error(error); throw error; },
          );
          return finishing;
        },
        close: () => {
          if (finishing !== undefined) return finishing;
          finishing = attempt(() => (flush === undefined ? undefined : flush.call(source, controller))).then(() => {
            const inner = internals.streamState(this.#readable);
            if (inner.status === "errored") throw inner.error;
            try { readableControl.close(); } catch { /* Closed already by terminate(). */ }
          }, (error) => { readableControl.error(error); throw error; });
          return finishing;
        },
      }, writableStrategy);
      started.resolve(start === undefined ? undefined : start.call(source, controller));
    }
    get readable() { return this.#readable; }
    get writable() { return this.#writable; }
  }
  class TransformStreamDefaultController {
    #inner;
    constructor(token, inner) {
      if (token !== setup) throw new TypeError("Illegal constructor");
      this.#inner = inner;
    }
    get desiredSize() { return this.#inner.desiredSize; }
    enqueue(chunk = undefined) { this.#inner.enqueue(chunk); }
    error(reason = undefined) { this.#inner.error(reason); }
    terminate() { this.#inner.terminate(); }
  }
  class IdentityTransformStream extends TransformStream {}
  class FixedLengthStream extends TransformStream {
    constructor(length) {
      const expected = Number(length);
      let seen = 0;
      super({
        transform(chunk, controller) {
          const bytes = internals.bytesOf(chunk);
          if (bytes === undefined) throw new TypeError("a fixed length stream takes bytes");
          seen += bytes.byteLength;
          if (seen > expected) throw new TypeError("more bytes than the fixed length");
          controller.enqueue(chunk);
        },
        flush() { if (seen !== expected) throw new TypeError("fewer bytes than the fixed length"); },
      });
    }
  }

  class CountQueuingStrategy {
    #mark;
    constructor(init) { this.#mark = Number(internals.dictionary(init, "init").highWaterMark); }
    get highWaterMark() { return this.#mark; }
    get size() { return countSize; }
  }
  class ByteLengthQueuingStrategy {
    #mark;
    constructor(init) { this.#mark = Number(internals.dictionary(init, "init").highWaterMark); }
    get highWaterMark() { return this.#mark; }
    get size() { return byteSize; }
  }
  const countSize = function size() { return 1; };
  const byteSize = function size(chunk) { return chunk.byteLength; };

  // ---- piping ----
  internals.pipe = (source, destination, { preventClose, preventAbort, preventCancel, signal }) => {
    const reader = new ReadableStreamDefaultReader(source);
    const writer = new WritableStreamDefaultWriter(destination);
    internals.streamState(source).disturbed = true;
    const result = deferred();
    let shutting = false;
    let lastWrite = Promise.resolve(undefined);
    const finish = (failed, error) => {
      writer.releaseLock();
      reader.releaseLock();
      if (signal !== undefined) signal.removeEventListener("abort", onAbort);
      if (failed) result.reject(error); else result.resolve(undefined);
    };
    const shutdown = (action, failed, error) => {
      if (shutting) return;
      shutting = true;
      lastWrite.catch(() => {}).then(() => {
        if (action === undefined) { finish(failed, error); return; }
        action().then(() => finish(failed, error), (problem) => finish(true, problem));
      });
    };
    const onAbort = () => {
      const { reason } = signal;
      const actions = [];
      if (!preventAbort) actions.push(() => (stateOf(destination).status === "writable" ? abort(destination, reason) : Promise.resolve()));
      if (!preventCancel) {
        actions.push(() => (internals.streamState(source).status === "readable" ? internals.cancelStream(source, reason) : Promise.resolve()));
      }
      shutdown(() => Promise.all(actions.map((action) => action())), true, reason);
    };
    if (signal !== undefined) {
      if (signal.aborted) { onAbort(); return result.promise; }
      signal.addEventListener("abort", onAbort);
    }
    const sourceFailed = (error) => shutdown(preventAbort ? undefined : () => abort(destination, error), true, error);
    const sourceClosed = () => shutdown(preventClose ? undefined : () => {
      const { status, error } = stateOf(destination);
      if (closeQueued(destination) || status === "closed") return Promise.resolve(undefined);
      return status === "errored" ? Promise.reject(error) : close(destination);
    }, false);
    writer.closed.then(() => {
      const error = new TypeError("the destination closed");
      shutdown(preventCancel ? undefined : () => internals.cancelStream(source, error), true, error);
    }, (error) => {
      if (shutting) return;
      const { error: stored } = stateOf(destination);
      shutdown(preventCancel ? undefined : () => internals.cancelStream(source, stored ?? error), true, stored ?? error);
    });
    const step = () => {
      if (shutting) return;
      writer.ready.then(() => {
        if (shutting) return;
        internals.readInto(reader, {
          chunk(value) {
            lastWrite = writer.write(value);
            handled(lastWrite);
            queueMicrotask(step);
          },
          close: sourceClosed,
          error: sourceFailed,
        });
      }, () => {});
    };
    if (internals.streamState(source).status === "errored") sourceFailed(internals.streamState(source).error);
    else step();
    return result.promise;
  };

  internals.isWritable = (value) => isWritable(value);
  for (const [constructor, tag] of [
    [WritableStream, "WritableStream"], [WritableStreamDefaultWriter, "WritableStreamDefaultWriter"],
    [WritableStreamDefaultController, "WritableStreamDefaultController"], [TransformStream, "TransformStream"],
    [TransformStreamDefaultController, "TransformStreamDefaultController"],
    [CountQueuingStrategy, "CountQueuingStrategy"], [ByteLengthQueuingStrategy, "ByteLengthQueuingStrategy"],
  ]) internals.brand(constructor, tag);
  internals.expose({
    WritableStream, WritableStreamDefaultWriter, WritableStreamDefaultController, TransformStream,
    TransformStreamDefaultController, CountQueuingStrategy, ByteLengthQueuingStrategy, IdentityTransformStream,
    FixedLengthStream,
  });
})
