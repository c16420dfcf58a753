// HTMLRewriter. Handlers are synchronous and the document is rewritten whole, once its body has been read; the engine
// hands each handler plain facts and takes back a list of changes.
(function (host, internals) {
  "use strict";

  // The changes a handler asked for, by the object it was given.
  const lists = new WeakMap();
  const item = (names) => {
    class Item {
      #removed = false;
      constructor() { lists.set(this, []); }
      get removed() { return this.#removed; }
      remove() { this.#removed = true; lists.get(this).push(["remove", "", "", false]); return this; }
    }
    for (const name of names) {
      Object.defineProperty(Item.prototype, name, {
        value(content, options = undefined) {
          lists.get(this).push([name, `${content}`, "", Boolean(options?.html)]);
          return this;
        },
        writable: true,
        configurable: true,
      });
    }
    return Item;
  };

  class Element extends item(["before", "after", "prepend", "append", "replace", "setInnerContent"]) {
    #facts; #attributes;
    constructor(facts) {
      super();
      this.#facts = facts;
      this.#attributes = new Map(facts.attributes);
    }
    get tagName() { return this.#facts.tagName; }
    set tagName(name) { this.#facts.tagName = `${name}`; lists.get(this).push(["tagName", `${name}`, "", false]); }
    get namespaceURI() { return this.#facts.namespaceURI; }
    get attributes() { return [...this.#attributes][Symbol.iterator](); }
    getAttribute(name) { return this.#attributes.get(`${name}`.toLowerCase()) ?? null; }
    hasAttribute(name) { return this.#attributes.has(`${name}`.toLowerCase()); }
    setAttribute(name, value) {
      this.#attributes.set(`${name}`.toLowerCase(), `${value}`);
      lists.get(this).push(["setAttribute", `${name}`, `${value}`, false]);
      return this;
    }
    removeAttribute(name) {
      this.#attributes.delete(`${name}`.toLowerCase());
      lists.get(this).push(["removeAttribute", `${name}`, "", false]);
      return this;
    }
    removeAndKeepContent() { lists.get(this).push(["removeAndKeepContent", "", "", false]); return this; }
  }
  class Comment extends item(["before", "after", "replace"]) {
    #text;
    constructor(facts) { super(); this.#text = facts.text; }
    get text() { return this.#text; }
    set text(text) { this.#text = `${text}`; lists.get(this).push(["text", `${text}`, "", false]); }
  }
  class Text extends item(["before", "after", "replace"]) {
    #facts;
    constructor(facts) { super(); this.#facts = facts; }
    get text() { return this.#facts.text; }
    get lastInTextNode() { return this.#facts.lastInTextNode; }
  }
  class End extends item(["append"]) {}

  const wrap = (handlers, name, Class) => {
    const handler = handlers[name];
    if (handler === undefined) return undefined;
    if (typeof handler !== "function") throw new TypeError(`${name} must be a function`);
    return (facts) => {
      const subject = new Class(facts);
      const result = handler.call(handlers, subject);
      if (result instanceof Promise) throw new TypeError("handlers of HTMLRewriter must be synchronous");
      return lists.get(subject);
    };
  };
  class HTMLRewriter {
    #handlers = [];
    on(selector, handlers) {
      this.#handlers.push([`${selector}`, wrap(handlers, "element", Element), wrap(handlers, "comments", Comment), wrap(handlers, "text", Text), undefined]);
      return this;
    }
    onDocument(handlers) {
      this.#handlers.push([null, undefined, wrap(handlers, "comments", Comment), wrap(handlers, "text", Text), wrap(handlers, "end", End)]);
      return this;
    }
    transform(response) {
      if (!internals.isResponse(response)) throw new TypeError("value is not a Response");
      if (response.body === null) return response;
      const handlers = this.#handlers.slice();
      const source = new Response(response.body);
      const body = new ReadableStream({
        type: "bytes",
        async pull(controller) {
          const rewritten = new Uint8Array(host.rewrite(handlers, new Uint8Array(await source.arrayBuffer())));
          if (rewritten.byteLength > 0) controller.enqueue(rewritten);
          internals.closeBytes(controller);
        },
      });
      const headers = new Headers(response.headers);
      headers.delete("content-length");
      return new Response(body, { status: response.status, statusText: response.statusText, headers });
    }
  }
  for (const [constructor, tag] of [[Element, "Element"], [Comment, "Comment"], [Text, "Text"], [End, "DocumentEnd"]]) {
    internals.brand(constructor, tag);
  }
  internals.brand(HTMLRewriter, "HTMLRewriter");
  internals.expose({ HTMLRewriter });
})
