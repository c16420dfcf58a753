// Freezes everything that a script can reach before it runs, so that no global can carry state from one invocation to
// the next. Assigning a property that a frozen prototype also has would then throw on ordinary objects, so the few names
// that programs do assign become accessors which define the property on the object itself.
(function (host, internals) {
  "use strict";

  const overridable = (prototype, names) => {
    for (const name of names) {
      const descriptor = Reflect.getOwnPropertyDescriptor(prototype, name);
      if (descriptor === undefined || !("value" in descriptor) || !descriptor.configurable) continue;
      const { value, enumerable } = descriptor;
      Object.defineProperty(prototype, name, {
        enumerable,
        configurable: false,
        get() { return value; },
        set(given) {
          if (this === prototype) throw new TypeError(`cannot assign to frozen property "${name}"`);
          Object.defineProperty(this, name, { value: given, writable: true, enumerable: true, configurable: true });
        },
      });
    }
  };
  overridable(Object.prototype, ["constructor", "toString", "toLocaleString", "valueOf", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable"]);
  for (const error of [Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError, AggregateError]) {
    overridable(error.prototype, ["constructor", "name", "message", "toString"]);
  }
  overridable(Function.prototype, ["toString", "call", "apply", "bind"]);
  for (const name of ["Event", "EventTarget", "URL", "Headers", "Response", "Request", "Map", "Set", "Promise"]) {
    overridable(globalThis[name].prototype, ["toString"]);
  }

  const seen = new Set();
  const queue = [globalThis];
  const add = (value) => {
    if ((typeof value === "object" && value !== null) || typeof value === "function") {
      if (!seen.has(value)) { seen.add(value); queue.push(value); }
    }
  };
  seen.add(globalThis);
  for (const constructor of internals.branded) add(constructor);
  // Intrinsics no global names: reached through a value of each.
  for (const value of [
    [][Symbol.iterator](), ""[Symbol.iterator](), new Map()[Symbol.iterator](), new Set()[Symbol.iterator](),
    "".matchAll(/x/gu), function* () {}, async function () {}, async function* () {}, Object.getPrototypeOf(Uint8Array),
    (function* () {})(), (async function* () {})(), Iterator.from({ next() { return { done: true }; } }), [].values().map((x) => x),
  ]) add(Object.getPrototypeOf(value));
  while (queue.length > 0) {
    const object = queue.pop();
    add(Reflect.getPrototypeOf(object));
    for (const key of Reflect.ownKeys(object)) {
      const descriptor = Reflect.getOwnPropertyDescriptor(object, key);
      add(descriptor.value);
      add(descriptor.get);
      add(descriptor.set);
    }
    if (!ArrayBuffer.isView(object)) Object.freeze(object);
  }
})
