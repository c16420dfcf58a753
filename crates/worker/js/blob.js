// Blob, File and FormData, and what bodies need from them: the multipart form and its parser's result.
(function (host, internals) {
  "use strict";

  const encode = (text) => new Uint8Array(host.encode(text));
  const cleanType = (type) => (/^[\x20-\x7e]*$/u.test(type) ? type.toLowerCase() : "");

  let bytesOfBlob;
  class Blob {
    #bytes; #type;
    static {
      bytesOfBlob = (blob) => blob.#bytes;
      // A blob whose type comes from a header, which may hold what the constructor would refuse.
      internals.typedBlob = (bytes, type) => {
        const blob = new Blob([bytes]);
        blob.#type = type;
        return blob;
      };
    }
    constructor(parts = undefined, options = undefined) {
      const { type = "", endings = "transparent" } = internals.dictionary(options, "options");
      if (endings !== "transparent" && endings !== "native") throw new TypeError("invalid endings");
      if (parts !== undefined && (parts === null || typeof parts !== "object" || typeof parts[Symbol.iterator] !== "function")) {
        throw new TypeError("the parts must be a sequence");
      }
      const chunks = [];
      let total = 0;
      for (const part of parts ?? []) {
        let bytes = internals.bytesOf(part);
        if (bytes !== undefined) bytes = bytes.slice();
        else if (part instanceof Blob) bytes = part.#bytes;
        else bytes = encode(endings === "native" ? `${part}`.replace(/\r\n?/gu, "\n") : `${part}`);
        chunks.push(bytes);
        total += bytes.byteLength;
      }
      this.#bytes = chunks.length === 0 ? new Uint8Array(0) : internals.concatenate(chunks, total);
      this.#type = cleanType(`${type}`);
    }
    get size() { return this.#bytes.byteLength; }
    get type() { return this.#type; }
    async text() { return host.utf8(this.#bytes); }
    async arrayBuffer() { return this.#bytes.slice().buffer; }
    async bytes() { return this.#bytes.slice(); }
    stream() {
      const bytes = this.#bytes;
      let at = 0;
      return new ReadableStream({
        type: "bytes",
        pull(controller) {
          if (at >= bytes.byteLength) { internals.closeBytes(controller); return; }
          controller.enqueue(bytes.slice(at, at + 65536));
          at += 65536;
        },
      });
    }
    slice(start = 0, end = this.size, type = "") {
      return new Blob([this.#bytes.subarray(...range(start, end, this.size))], { type });
    }
  }
  const range = (start, end, size) => {
    const place = (value) => (value < 0 ? Math.max(size + value, 0) : Math.min(value, size));
    const from = place(Math.trunc(Number(start)) || 0);
    return [from, Math.max(place(Math.trunc(Number(end)) || 0), from)];
  };
  class File extends Blob {
    #name; #modified;
    constructor(parts, name, options = undefined) {
      internals.requireArguments(arguments, 2, "File");
      super(parts, options);
      this.#name = internals.wellFormed(name);
      this.#modified = options?.lastModified === undefined ? Math.floor(host.now()) : Math.trunc(Number(options.lastModified));
    }
    get name() { return this.#name; }
    get lastModified() { return this.#modified; }
    get webkitRelativePath() { return ""; }
  }

  class FormData {
    #entries = [];
    constructor(form = undefined) {
      if (form !== undefined) throw new TypeError("FormData takes no form here");
    }
    #entry(args) {
      const [name, value, filename] = args;
      if (value instanceof Blob) {
        const named = value instanceof File && filename === undefined ? value
          : new File([value], filename ?? "blob", { type: value.type, lastModified: value.lastModified });
        return [internals.wellFormed(name), named];
      }
      if (args.length > 2) throw new TypeError("only a Blob can have a file name");
      return [internals.wellFormed(name), internals.wellFormed(value)];
    }
    append(...args) {
      internals.requireArguments(args, 2, "append");
      this.#entries.push(this.#entry(args));
    }
    set(...args) {
      internals.requireArguments(args, 2, "set");
      const entry = this.#entry(args);
      const at = this.#entries.findIndex(([name]) => name === entry[0]);
      if (at < 0) { this.#entries.push(entry); return; }
      this.#entries = this.#entries.filter(([name], index) => index <= at || name !== entry[0]);
      this.#entries[at] = entry;
    }
    delete(name) { this.#entries = this.#entries.filter(([known]) => known !== `${name}`); }
    get(name) { return this.#entries.find(([known]) => known === `${name}`)?.[1] ?? null; }
    getAll(name) { return this.#entries.filter(([known]) => known === `${name}`).map(([, value]) => value); }
    has(name) { return this.#entries.some(([known]) => known === `${name}`); }
    entries() { return this.#entries.map(([name, value]) => [name, value])[Symbol.iterator](); }
    keys() { return this.#entries.map(([name]) => name)[Symbol.iterator](); }
    values() { return this.#entries.map(([, value]) => value)[Symbol.iterator](); }
    forEach(callback, receiver = undefined) {
      for (const [name, value] of this.#entries.slice()) callback.call(receiver, value, name, this);
    }
  }
  Object.defineProperty(FormData.prototype, Symbol.iterator, { value: FormData.prototype.entries, writable: true, configurable: true });

  // The multipart form of a FormData: its bytes and boundary.
  internals.multipart = (form) => {
    let boundary = "----portunus";
    for (let index = 0; index < 4; index += 1) boundary += Math.floor(host.random() * 0x100000000).toString(36);
    const escape = (text) => text.replace(/\n/gu, "%0A").replace(/\r/gu, "%0D").replace(/"/gu, "%22");
    const lines = (text) => text.replace(/\r\n?|\n/gu, "\r\n");
    const chunks = [];
    for (const [name, value] of form.entries()) {
      const head = `--${boundary}\r\nContent-Disposition: form-data; name="${escape(lines(name))}"`;
      if (typeof value === "string") chunks.push(encode(`${head}\r\n\r\n${lines(value)}\r\n`));
      else {
        chunks.push(encode(`${head}; filename="${escape(value.name)}"\r\nContent-Type: ${value.type || "application/octet-stream"}\r\n\r\n`));
        chunks.push(bytesOfBlob(value), encode("\r\n"));
      }
    }
    chunks.push(encode(`--${boundary}--\r\n`));
    return { boundary, bytes: internals.concatenate(chunks, chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0)) };
  };
  // A FormData from body bytes of the given type; throws a TypeError when they are not one.
  internals.parseForm = (bytes, type) => {
    const form = new FormData();
    const essence = type === null ? "" : host.essence(type);
    if (essence === "application/x-www-form-urlencoded") {
      for (const [name, value] of new URLSearchParams(host.utf8(bytes))) form.append(name, value);
      return form;
    }
    if (essence !== "multipart/form-data") throw new TypeError("the body is not a form");
    const parts = host.multipart(bytes, type);
    if (parts === null) throw new TypeError("the body is not a well-formed multipart form");
    for (const [name, filename, kind, data] of parts) {
      if (filename === null) form.append(name, host.utf8(new Uint8Array(data)));
      else form.append(name, new File([data], filename, { type: kind }));
    }
    return form;
  };
  internals.bytesOfBlob = (blob) => bytesOfBlob(blob);
  for (const [constructor, tag] of [[Blob, "Blob"], [File, "File"], [FormData, "FormData"]]) internals.brand(constructor, tag);
  internals.expose({ Blob, File, FormData });
})
