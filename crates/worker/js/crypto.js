// crypto: names, usages and formats of the Web Cryptography API. The primitives are native and keys are native handles.
(function (host, internals) {
  "use strict";

  const native = host.crypto;
  const error = (name, message) => new DOMException(message, name);
  const bytesOf = (value, what) => {
    const bytes = internals.bytesOf(value);
    if (bytes === undefined) throw new TypeError(`${what} must be bytes`);
    return bytes;
  };
  const NAMES = ["SHA-1", "SHA-256", "SHA-384", "SHA-512", "HMAC", "AES-GCM", "AES-CBC", "AES-CTR", "ECDSA", "Ed25519",
    "RSASSA-PKCS1-v1_5", "RSA-PSS", "HKDF", "PBKDF2"];
  const nameOf = (given) => {
    const name = `${typeof given === "string" ? given : internals.dictionary(given, "an algorithm").name}`;
    const known = NAMES.find((each) => each.toLowerCase() === name.toLowerCase());
    if (known === undefined) throw error("NotSupportedError", `unknown algorithm: ${name}`);
    return known;
  };
  const normalize = (given) => ({ ...(typeof given === "string" ? {} : given), name: nameOf(given) });
  const hashOf = (algorithm) => {
    if (algorithm.hash === undefined) throw new TypeError("the algorithm needs a hash");
    return nameOf(algorithm.hash);
  };
  const AES = ["AES-GCM", "AES-CBC", "AES-CTR"];
  const RSA = ["RSASSA-PKCS1-v1_5", "RSA-PSS"];
  const USAGES = ["encrypt", "decrypt", "sign", "verify", "deriveKey", "deriveBits", "wrapKey", "unwrapKey"];
  const family = (name) => (RSA.includes(name) ? "RSA" : name === "ECDSA" ? "EC" : name === "Ed25519" ? "Ed25519" : "secret");
  const allowed = (name, type) => {
    if (AES.includes(name)) return name === "AES-CTR" ? ["encrypt", "decrypt"] : ["encrypt", "decrypt", "wrapKey", "unwrapKey"];
    if (name === "HMAC") return ["sign", "verify"];
    if (name === "HKDF" || name === "PBKDF2") return ["deriveKey", "deriveBits"];
    return type === "private" ? ["sign"] : ["verify"];
  };

  const token = Symbol("key");
  let partsOf;
  class CryptoKey {
    #parts;
    static { partsOf = (key) => key.#parts; }
    constructor(given, parts) {
      if (given !== token) throw new TypeError("Illegal constructor");
      this.#parts = parts;
      Object.freeze(parts.algorithm);
      Object.freeze(parts.usages);
    }
    get type() { return this.#parts.type; }
    get extractable() { return this.#parts.extractable; }
    get algorithm() { return this.#parts.algorithm; }
    get usages() { return this.#parts.usages; }
  }
  const makeKey = (handle, type, extractable, algorithm, usages) => {
    const wanted = [...usages].map(String);
    for (const usage of wanted) {
      if (!USAGES.includes(usage)) throw new TypeError(`unknown usage: ${usage}`);
      if (!allowed(algorithm.name, type).includes(usage)) throw error("SyntaxError", `a ${algorithm.name} key cannot ${usage}`);
    }
    if (wanted.length === 0 && type !== "public") throw error("SyntaxError", "the key has no usages");
    return new CryptoKey(token, {
      handle, type, extractable: type === "public" || Boolean(extractable), algorithm, usages: USAGES.filter((usage) => wanted.includes(usage)),
    });
  };
  // The key's native handle, when it is for this algorithm and use.
  const use = (key, algorithm, usage) => {
    if (!(key instanceof CryptoKey)) throw new TypeError("value is not a CryptoKey");
    const parts = partsOf(key);
    if (algorithm !== undefined && parts.algorithm.name !== algorithm.name) throw error("InvalidAccessError", "the key is for another algorithm");
    if (!parts.usages.includes(usage)) throw error("InvalidAccessError", `the key is not for ${usage}`);
    return parts;
  };

  // ---- base64url ----
  const fromText = (text) => {
    if (typeof text !== "string" || !/^[\w-]*$/u.test(text)) throw error("DataError", "the JWK is not valid");
    const latin = atob(text.replace(/-/gu, "+").replace(/_/gu, "/"));
    return Uint8Array.from(latin, (character) => character.charCodeAt(0));
  };
  const toText = (buffer) => {
    let latin = "";
    for (const byte of new Uint8Array(buffer)) latin += String.fromCharCode(byte);
    return btoa(latin).replace(/\+/gu, "-").replace(/\//gu, "_").replace(/=/gu, "");
  };
  const JWK_HASH = { "SHA-1": "1", "SHA-256": "256", "SHA-384": "384", "SHA-512": "512" };
  const jwkAlgorithm = (algorithm) => {
    const hash = JWK_HASH[algorithm.hash?.name];
    switch (algorithm.name) {
      case "HMAC": return `HS${hash}`;
      case "RSASSA-PKCS1-v1_5": return `RS${hash}`;
      case "RSA-PSS": return `PS${hash}`;
      case "AES-GCM": return `A${algorithm.length}GCM`;
      case "AES-CBC": return `A${algorithm.length}CBC`;
      case "AES-CTR": return `A${algorithm.length}CTR`;
      default: return undefined;
    }
  };
  const RSA_NUMBERS = ["n", "e", "d", "p", "q", "dp", "dq", "qi"];

  // ---- importing ----
  const importJwk = (jwk, algorithm, extractable) => {
    if (jwk === null || typeof jwk !== "object") throw new TypeError("the JWK must be an object");
    if (jwk.ext === false && extractable) throw error("DataError", "the JWK is not extractable");
    const kind = family(algorithm.name);
    const isPrivate = jwk.d !== undefined;
    const types = { secret: "oct", RSA: "RSA", EC: "EC", Ed25519: "OKP" };
    if (jwk.kty !== types[kind]) throw error("DataError", `kty must be ${types[kind]}`);
    if (kind === "secret") return [native.importKey("secret", "raw", "", fromText(jwk.k)), "secret"];
    if (kind === "RSA") {
      const numbers = (isPrivate ? RSA_NUMBERS : ["n", "e"]).map((name) => fromText(jwk[name]));
      return [native.importRsa(numbers), isPrivate ? "private" : "public"];
    }
    if (kind === "EC") {
      if (jwk.crv !== algorithm.namedCurve) throw error("DataError", "the curve is another");
      const point = internals.concatenate([new Uint8Array([4]), fromText(jwk.x), fromText(jwk.y)], 1 + fromText(jwk.x).length + fromText(jwk.y).length);
      if (!isPrivate) return [native.importKey("EC", "raw", jwk.crv, point), "public"];
      const number = fromText(jwk.d);
      return [native.importKey("EC", "private", jwk.crv, internals.concatenate([number, point], number.length + point.length)), "private"];
    }
    if (jwk.crv !== "Ed25519") throw error("DataError", "the curve is another");
    return isPrivate ? [native.importKey(kind, "private", "", fromText(jwk.d)), "private"] : [native.importKey(kind, "raw", "", fromText(jwk.x)), "public"];
  };
  const describe = (algorithm, handle) => {
    const { name } = algorithm;
    const bits = native.bits(handle);
    if (AES.includes(name)) {
      if (![128, 192, 256].includes(bits)) throw error("DataError", "an AES key has 128, 192 or 256 bits");
      return { name, length: bits };
    }
    if (name === "HMAC") {
      if (bits === 0) throw error("DataError", "the key is empty");
      return { name, hash: { name: hashOf(algorithm) }, length: bits };
    }
    if (RSA.includes(name)) {
      const hash = { name: hashOf(algorithm) };
      return { name, hash, modulusLength: bits, publicExponent: algorithm.publicExponent ?? new Uint8Array([1, 0, 1]) };
    }
    return name === "ECDSA" ? { name, namedCurve: algorithm.namedCurve } : { name };
  };

  const subtle = {
    async digest(algorithm, data) { return native.digest(nameOf(algorithm), bytesOf(data, "data")); },
    async importKey(format, data, given, extractable, usages) {
      const algorithm = normalize(given);
      const kind = family(algorithm.name);
      let handle, type;
      if (format === "jwk") [handle, type] = importJwk(data, algorithm, extractable);
      else {
        const bytes = bytesOf(data, "key data");
        if (!["raw", "spki", "pkcs8"].includes(format)) throw error("NotSupportedError", `unknown format: ${String(format)}`);
        handle = native.importKey(kind, format, algorithm.namedCurve ?? "", bytes);
        type = kind === "secret" ? "secret" : format === "pkcs8" ? "private" : "public";
      }
      if ((algorithm.name === "HKDF" || algorithm.name === "PBKDF2") && extractable) throw error("SyntaxError", "this key cannot be extractable");
      return makeKey(handle, type, extractable, describe(algorithm, handle), usages);
    },
    async exportKey(format, key) {
      if (!(key instanceof CryptoKey)) throw new TypeError("value is not a CryptoKey");
      const { handle, extractable, algorithm, type, usages } = partsOf(key);
      if (!extractable) throw error("InvalidAccessError", "the key is not extractable");
      if (format !== "jwk") return native.exportKey(handle, `${format}`)[0];
      const parts = native.exportKey(handle, "parts").map(toText);
      const common = { key_ops: [...usages], ext: true };
      const alg = jwkAlgorithm(algorithm);
      if (alg !== undefined) common.alg = alg;
      switch (family(algorithm.name)) {
        case "secret": return { kty: "oct", k: parts[0], ...common };
        case "RSA": return { kty: "RSA", ...Object.fromEntries(parts.map((part, at) => [RSA_NUMBERS[at], part])), ...common };
        case "EC": return { kty: "EC", crv: algorithm.namedCurve, x: parts[0], y: parts[1], ...(type === "private" ? { d: parts[2] } : {}), ...common };
        default: return { kty: "OKP", crv: "Ed25519", x: parts[0], ...(type === "private" ? { d: parts[1] } : {}), ...common };
      }
    },
    async generateKey(given, extractable, usages) {
      const algorithm = normalize(given);
      const { name } = algorithm;
      const kind = family(name);
      if (kind === "secret") {
        if (name === "HKDF" || name === "PBKDF2") throw error("NotSupportedError", "this kind of key is not generated");
        const block = ["SHA-384", "SHA-512"].includes(name === "HMAC" ? hashOf(algorithm) : "") ? 1024 : 512;
        const bits = algorithm.length ?? (name === "HMAC" ? block : 0);
        const handle = native.importKey("secret", "raw", "", new Uint8Array(native.random(Math.ceil(Number(bits) / 8))));
        return makeKey(handle, "secret", extractable, describe(algorithm, handle), usages);
      }
      const [secret, open] = native.generate(kind, `${kind === "RSA" ? algorithm.modulusLength : algorithm.namedCurve ?? ""}`);
      const wanted = [...usages];
      return {
        privateKey: makeKey(secret, "private", extractable, describe(algorithm, open), wanted.filter((usage) => usage !== "verify")),
        publicKey: makeKey(open, "public", true, describe(algorithm, open), wanted.filter((usage) => usage !== "sign")),
      };
    },
    async sign(given, key, data) {
      const algorithm = normalize(given);
      const { handle, algorithm: own } = use(key, algorithm, "sign");
      return native.sign(handle, algorithm.name, own.hash?.name ?? (algorithm.name === "ECDSA" ? hashOf(algorithm) : ""), bytesOf(data, "data"));
    },
    async verify(given, key, signature, data) {
      const algorithm = normalize(given);
      const { handle, algorithm: own } = use(key, algorithm, "verify");
      const hash = own.hash?.name ?? (algorithm.name === "ECDSA" ? hashOf(algorithm) : "");
      return native.verify(handle, algorithm.name, hash, bytesOf(signature, "signature"), bytesOf(data, "data"));
    },
    async encrypt(given, key, data) { return crypt(given, key, data, "encrypt"); },
    async decrypt(given, key, data) { return crypt(given, key, data, "decrypt"); },
    async deriveBits(given, key, length) { return derive(given, key, length, "deriveBits"); },
    async deriveKey(given, key, target, extractable, usages) {
      const wanted = normalize(target);
      const bits = wanted.length ?? (wanted.name === "HMAC" ? (["SHA-384", "SHA-512"].includes(hashOf(wanted)) ? 1024 : 512) : 256);
      const handle = native.importKey("secret", "raw", "", new Uint8Array(derive(given, key, bits, "deriveKey")));
      return makeKey(handle, "secret", extractable, describe(wanted, handle), usages);
    },
    async wrapKey(format, key, wrapping, given) {
      const exported = await subtle.exportKey(format, key);
      const bytes = format === "jwk" ? new Uint8Array(host.encode(JSON.stringify(exported))) : exported;
      return crypt(given, wrapping, bytes, "wrapKey");
    },
    async unwrapKey(format, wrapped, wrapping, given, algorithm, extractable, usages) {
      const bytes = crypt(given, wrapping, wrapped, "unwrapKey");
      const data = format === "jwk" ? JSON.parse(host.utf8(bytes)) : bytes;
      return subtle.importKey(format, data, algorithm, extractable, usages);
    },
    timingSafeEqual(left, right) {
      const [a, b] = [bytesOf(left, "a value"), bytesOf(right, "a value")];
      if (a.byteLength !== b.byteLength) throw new TypeError("both values must have the same length");
      return native.equal(a, b);
    },
  };
  const crypt = (given, key, data, usage) => {
    const algorithm = normalize(given);
    const { handle } = use(key, algorithm, usage);
    const seal = usage === "encrypt" || usage === "wrapKey";
    if (algorithm.tagLength !== undefined && algorithm.tagLength !== 128) throw error("NotSupportedError", "the tag length must be 128");
    const iv = bytesOf(algorithm.name === "AES-CTR" ? algorithm.counter : algorithm.iv, "iv");
    const extra = algorithm.additionalData === undefined ? new Uint8Array(0) : bytesOf(algorithm.additionalData, "additionalData");
    return native.crypt(handle, algorithm.name, seal, iv, extra, bytesOf(data, "data"));
  };
  const derive = (given, key, length, usage) => {
    const algorithm = normalize(given);
    const { handle } = use(key, algorithm, usage);
    if (length === null || Number(length) % 8 !== 0) throw error("OperationError", "the length must be a multiple of 8 bits");
    const salt = bytesOf(algorithm.salt, "salt");
    if (algorithm.name === "HKDF") return native.derive(handle, hashOf(algorithm), salt, bytesOf(algorithm.info, "info"), 0, Number(length) / 8);
    const rounds = Math.trunc(Number(algorithm.iterations));
    if (!(rounds >= 1 && rounds <= 0xffffffff)) throw error("OperationError", "iterations must be positive");
    return native.derive(handle, hashOf(algorithm), salt, new Uint8Array(0), rounds, Number(length) / 8);
  };

  const INTEGERS = ["Int8Array", "Uint8Array", "Uint8ClampedArray", "Int16Array", "Uint16Array", "Int32Array", "Uint32Array", "BigInt64Array", "BigUint64Array"];
  const hexByte = (byte) => byte.toString(16).padStart(2, "0");
  const crypto = {
    subtle,
    getRandomValues(target) {
      if (!ArrayBuffer.isView(target) || !INTEGERS.includes(target[Symbol.toStringTag])) throw error("TypeMismatchError", "the target must be an integer array");
      internals.bytesOf(target).set(new Uint8Array(native.random(target.byteLength)));
      return target;
    },
    randomUUID() {
      const bytes = new Uint8Array(native.random(16));
      bytes[6] = (bytes[6] & 0x0f) | 0x40;
      bytes[8] = (bytes[8] & 0x3f) | 0x80;
      const text = Array.from(bytes, hexByte).join("");
      return `${text.slice(0, 8)}-${text.slice(8, 12)}-${text.slice(12, 16)}-${text.slice(16, 20)}-${text.slice(20)}`;
    },
  };
  Object.defineProperty(crypto, Symbol.toStringTag, { value: "Crypto", configurable: true });
  Object.defineProperty(subtle, Symbol.toStringTag, { value: "SubtleCrypto", configurable: true });
  internals.brand(CryptoKey, "CryptoKey");
  internals.expose({ crypto, CryptoKey });
})
