// Text and bytes: encoders, decoders, their streams, base64, compression streams. The codecs themselves are native.
(function (host, internals) {
  "use strict";

  const asBytes = (value) => {
    if (value === undefined) return new Uint8Array(0);
    const bytes = internals.bytesOf(value);
    if (bytes === undefined) throw new TypeError("the input must be an ArrayBuffer or a view of one");
    return bytes;
  };

  class TextEncoder {
    get encoding() { return "utf-8"; }
    encode(text = "") { return new Uint8Array(host.encode(`${text}`)); }
    encodeInto(text, target) {
      if (!(target instanceof Uint8Array)) throw new TypeError("the destination must be a Uint8Array");
      const source = internals.wellFormed(text);
      let read = 0;
      let written = 0;
      for (const character of source) {
        const code = character.codePointAt(0);
        const size = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
        if (written + size > target.length) break;
        if (size === 1) target[written] = code;
        else target.set(new Uint8Array(host.encode(character)), written);
        written += size;
        read += character.length;
      }
      return { read, written };
    }
  }
  class TextDecoder {
    #native; #encoding; #fatal; #ignoreBOM;
    constructor(label = "utf-8", options = undefined) {
      const { fatal, ignoreBOM } = internals.dictionary(options, "options");
      this.#encoding = host.encodingName(`${label}`);
      this.#fatal = Boolean(fatal);
      this.#ignoreBOM = Boolean(ignoreBOM);
    }
    get encoding() { return this.#encoding; }
    get fatal() { return this.#fatal; }
    get ignoreBOM() { return this.#ignoreBOM; }
    decode(input = undefined, options = undefined) {
      const stream = Boolean(internals.dictionary(options, "options").stream);
      const bytes = asBytes(input);
      this.#native ??= host.decoder(this.#encoding, this.#fatal, this.#ignoreBOM);
      const native = this.#native;
      if (!stream) this.#native = undefined;
      return host.decode(native, bytes, !stream);
    }
  }
  class TextEncoderStream {
    #stream;
    constructor() {
      let lead = "";
      this.#stream = new TransformStream({
        transform(chunk, controller) {
          let text = lead + `${chunk}`;
          lead = "";
          const last = text.charCodeAt(text.length - 1);
          if (last >= 0xd800 && last <= 0xdbff) { lead = text.slice(-1); text = text.slice(0, -1); }
          if (text !== "") controller.enqueue(new Uint8Array(host.encode(text)));
        },
        flush(controller) { if (lead !== "") controller.enqueue(new Uint8Array([0xef, 0xbf, 0xbd])); },
      });
    }
    get encoding() { return "utf-8"; }
    get readable() { return this.#stream.readable; }
    get writable() { return this.#stream.writable; }
  }
  class TextDecoderStream {
    #stream; #decoder;
    constructor(label = "utf-8", options = undefined) {
      const decoder = new TextDecoder(label, options);
      this.#decoder = decoder;
      this.#stream = new TransformStream({
        transform(chunk, controller) {
          const text = decoder.decode(chunk, { stream: true });
          if (text !== "") controller.enqueue(text);
        },
        flush(controller) {
          const text = decoder.decode();
          if (text !== "") controller.enqueue(text);
        },
      });
    }
    get encoding() { return this.#decoder.encoding; }
    get fatal() { return this.#decoder.fatal; }
    get ignoreBOM() { return this.#decoder.ignoreBOM; }
    get readable() { return this.#stream.readable; }
    get writable() { return this.#stream.writable; }
  }

  const coder = (compressing) => class {
    #stream;
    constructor(format) {
      internals.requireArguments(arguments, 1, "a compression stream");
      const native = host.coder(`${format}`, compressing);
      const push = (controller, buffer) => { if (buffer.byteLength > 0) controller.enqueue(new Uint8Array(buffer)); };
      this.#stream = new TransformStream({
        transform(chunk, controller) {
          if (internals.bytesOf(chunk) === undefined) throw new TypeError("the chunk must be bytes");
          const bytes = internals.bytesOf(chunk);
          // Small steps keep what one step can blow up to within the heap limit.
          for (let at = 0; at < bytes.byteLength; at += 16384) push(controller, host.code(native, bytes.subarray(at, at + 16384), false));
        },
        flush(controller) { push(controller, host.code(native, new Uint8Array(0), true)); },
      });
    }
    get readable() { return this.#stream.readable; }
    get writable() { return this.#stream.writable; }
  };
  const CompressionStream = coder(true);
  const DecompressionStream = coder(false);
  Object.defineProperty(CompressionStream, "name", { value: "CompressionStream" });
  Object.defineProperty(DecompressionStream, "name", { value: "DecompressionStream" });

  const atob = (data) => {
    internals.requireArguments([data], 1, "atob");
    const text = host.atob(`${data}`);
    if (text === undefined) throw new DOMException("the string is not correctly encoded", "InvalidCharacterError");
    return text;
  };
  const btoa = (data) => {
    const text = host.btoa(`${data}`);
    if (text === undefined) throw new DOMException("the string has characters outside of Latin1", "InvalidCharacterError");
    return text;
  };

  for (const [constructor, tag] of [
    [TextEncoder, "TextEncoder"], [TextDecoder, "TextDecoder"], [TextEncoderStream, "TextEncoderStream"],
    [TextDecoderStream, "TextDecoderStream"], [CompressionStream, "CompressionStream"], [DecompressionStream, "DecompressionStream"],
  ]) internals.brand(constructor, tag);
  internals.expose({
    TextEncoder, TextDecoder, TextEncoderStream, TextDecoderStream, CompressionStream, DecompressionStream,
    atob: function atob$(data) { internals.requireArguments(arguments, 1, "atob"); return atob(data); },
    btoa: function btoa$(data) { internals.requireArguments(arguments, 1, "btoa"); return btoa(data); },
  });
})
