// Types of the Portunus Worker contract and of the web APIs that Workers have here.
// Use with the standard library of ES2022 alone: tsc --noEmit --strict --lib es2022 --target es2022 --module esnext
//
// Not offered: eval and new Function, WebAssembly, Intl, Temporal, SharedArrayBuffer, Atomics, FinalizationRegistry.
// Clocks stand still between awaits. Unless the script's isolation is "shared", globals are frozen, and every invocation
// gets its own instance of the script's modules and its own env: nothing stored in one is seen by another.

// ---- the contract ----

/** What a script exports by default. A handler that is absent means that the event is not for this script. */
interface ExportedHandler<Env = unknown, Message = unknown> {
  /**
   * A policy action. A Response ends the exchange, a Request goes on to the next rule with those changes, undefined is
   * no opinion. What is thrown is decided by the rule's on_error.
   */
  fetch?(request: IncomingRequest, env: Env, ctx: ExecutionContext): HandlerResult | Promise<HandlerResult>;
  /**
   * A policy of Access asks, by the rule `{"portunus_worker": {"script": NAME}}` in its include, require or exclude. What is
   * thrown, or anything but an AccessAnswer, is no answer: it helps no include or require and lets nobody past an exclude.
   */
  access?(question: AccessQuestion, env: Env, ctx: ExecutionContext): AccessAnswer | Promise<AccessAnswer>;
  /** A cron trigger. */
  scheduled?(controller: ScheduledController, env: Env, ctx: ExecutionContext): void | Promise<void>;
  /** Security events, in batches. */
  queue?(batch: MessageBatch<Message>, env: Env, ctx: ExecutionContext): void | Promise<void>;
}
type HandlerResult = Response | Request | undefined | void;

/** The Model Context Protocol: a Worker that is a server of tools behind a portal. */
declare module "portunus:mcp" {
  /**
   * Makes the default export of such a Worker. Tools without `readOnlyHint: true` are switched off until the server's
   * `updated_tools` names them with `enabled: true`.
   */
  export function server<Env = unknown>(definition: ToolServer<Env>): Required<Pick<ExportedHandler<Env>, "fetch">>;
  export interface ToolServer<Env> {
    readonly name: string;
    readonly version?: string;
    readonly title?: string;
    /** For the model: what the tools are for. */
    readonly instructions?: string;
    /** By name: letters, digits, `_`, `-` and `.`. */
    readonly tools: { readonly [name: string]: Tool<Env> };
  }
  export interface Tool<Env> {
    readonly title?: string;
    readonly description: string;
    /** JSON Schema of the arguments, an object. `type`, `enum`, `required`, `items` and `additionalProperties` are held against a call. */
    readonly inputSchema?: { readonly properties?: Record<string, unknown>; readonly required?: readonly string[]; readonly [keyword: string]: unknown };
    readonly outputSchema?: { readonly [keyword: string]: unknown };
    readonly annotations?: {
      readonly title?: string;
      readonly readOnlyHint?: boolean;
      readonly destructiveHint?: boolean;
      readonly idempotentHint?: boolean;
      readonly openWorldHint?: boolean;
    };
    /** A text, anything that is JSON, or a whole result with `content`. What is thrown becomes a result with `isError`. */
    call(args: any, context: ToolContext<Env>): unknown;
  }
  export interface ToolContext<Env> {
    readonly env: Env;
    readonly ctx: ExecutionContext;
    readonly request: IncomingRequest;
    /** Who calls, as Access found out; null for a program with a service token, and when the server is looked at. */
    readonly caller: NonNullable<RequestFacts["identity"]> | null;
    /** With `mcp: {portal, server}` and `serviceToken`. */
    readonly facts: RequestFacts;
  }
}

interface ExecutionContext {
  /** Keeps the invocation going until the promise settles, after the answer was given. */
  waitUntil(promise: Promise<unknown>): void;
  /** On an exception the request goes on as if this script had no opinion, whatever on_error says. */
  passThroughOnException(): void;
  readonly props: Record<string, unknown>;
}
interface ScheduledController {
  readonly cron: string;
  readonly scheduledTime: number;
  readonly type: "scheduled";
  noRetry(): void;
}
interface MessageBatch<Body = unknown> {
  readonly queue: string;
  readonly messages: readonly QueueMessage<Body>[];
  ackAll(): void;
  retryAll(): void;
}
interface QueueMessage<Body = unknown> {
  readonly id: string;
  readonly timestamp: Date;
  readonly attempts: number;
  readonly body: Body;
  ack(): void;
  retry(): void;
}

/** The request a handler is given. fetch(request) sends it to its own origin; its headers are immutable. */
interface IncomingRequest extends Request {
  readonly cf: RequestFacts;
}
/** What is known of a request, and of who makes it. What nothing supplies yet is null; what does not concern a request is absent. */
interface RequestFacts {
  readonly requestId?: string;
  readonly accountId?: string;
  /** null for strangers and programs. */
  readonly identity?: {
    readonly id: string;
    readonly email: string;
    readonly name: string;
    readonly groups: readonly { readonly id: string | null; readonly name: string; readonly email: string | null }[];
  } | null;
  /** The program that asks an MCP server. */
  readonly serviceToken?: { readonly id: string; readonly clientId: string } | null;
  readonly device?: unknown;
  readonly risk?: unknown;
  /** The application of the catalogue that the host is. */
  readonly application?: {
    readonly id: number;
    readonly slug: string;
    readonly name: string;
    /** The application type; 25 is artificial intelligence. */
    readonly type: number;
    readonly status: "approved" | "unapproved" | "in review" | "unreviewed";
    /** What it does with artificial intelligence: chat, code, image, voice, agents, api. */
    readonly ai: readonly string[];
  } | null;
  readonly contentCategories?: readonly number[];
  readonly securityCategories?: readonly number[];
  readonly country?: string | null;
  /** uploadTypes: the kinds of file in the request's body, where the rules had to look. */
  readonly detections?: { readonly uploadTypes: readonly string[] | null };
  readonly rule?: { readonly id?: string; readonly name: string; readonly precedence?: number };
  readonly source?: { readonly ip: string; readonly port?: number };
  /** The proxy endpoint that the client used. */
  readonly proxyEndpoint?: string | null;
  /** "HTTP/1.1", "HTTP/2". */
  readonly httpProtocol?: string;
  readonly tlsVersion?: string | null;
  readonly tlsCipher?: string | null;
  /** The fingerprint of the client's TLS. */
  readonly ja4?: string | null;
  /** A call at an MCP portal, where a rule asks about one; a Worker that is a server is told portal and server. */
  readonly mcp?: {
    readonly portal: string;
    readonly server: string;
    readonly method?: string;
    readonly name?: string;
    readonly title?: string | null;
    readonly description?: string | null;
    readonly annotations?: {
      readonly readOnlyHint: boolean;
      readonly destructiveHint: boolean;
      readonly idempotentHint: boolean;
      readonly openWorldHint: boolean;
    };
    /** As the client names itself. */
    readonly client?: { readonly name: string; readonly version: string };
    readonly protocolVersion?: string;
    readonly codeMode?: boolean;
  };
  readonly [fact: string]: unknown;
}

/** Who wants to reach which application, and how. What nothing supplies yet is null. */
interface AccessQuestion {
  /**
   * "sign_in": request is the one that the sign-in began with. "request": one to the application. "grant": a client of
   * managed OAuth gets tokens, and request is that of the first page. "launcher": request is the one that a tile would make.
   */
  readonly phase: "sign_in" | "request" | "grant" | "launcher";
  /** true if an administrator tries policies: the person, as they last signed in, is not about to enter. phase is "sign_in". */
  readonly test: boolean;
  /** The reference that is in the record and on the page of somebody who is refused. A test has no record. */
  readonly requestId: string;
  readonly accountId: string;
  /** null only in a test of policies that are tried without an application. */
  readonly application: { readonly id: string; readonly name: string } | null;
  /** null while nobody has signed in, and for programs. */
  readonly identity: AccessIdentity | null;
  readonly serviceToken: { readonly id: string; readonly clientId: string } | null;
  /** null where application is. */
  readonly request: {
    readonly method: string;
    readonly url: string;
    /** By name in lower case, without cookies, credentials and names that claim an identity; only of a request to the application. */
    readonly headers: Readonly<Record<string, string>>;
  } | null;
  readonly source: { readonly ip: string };
  readonly country: string | null;
  readonly tlsClientAuth: TlsClientAuth;
  readonly device: unknown;
  readonly risk: unknown;
}
interface AccessIdentity {
  readonly id: string;
  readonly email: string;
  readonly name: string;
  /** The provider that named the person. */
  readonly provider: { readonly id: string; readonly type: string };
  /** What each provider of the sign-in said, in its order. */
  readonly steps: readonly {
    readonly provider: string;
    readonly groups: readonly { readonly id: string; readonly name: string; readonly email: string }[];
    readonly claims: Readonly<Record<string, readonly string[]>>;
  }[];
  /** How the person signed in, as RFC 8176 writes it. */
  readonly amr: readonly string[];
  /** Seconds since the epoch. */
  readonly signedIn: number;
}
/**
 * The client certificate of the connection, judged by the authorities of the application's host. Names are empty where none
 * counts. Of a sign-in it is the one that the application's host was shown when the sign-in began.
 */
interface TlsClientAuth {
  readonly certPresented: "0" | "1";
  /** "SUCCESS", "NONE", or "FAILED:" and why it does not count. */
  readonly certVerified: string;
  /** "CN=laptop-7, O=Acme": RFC 4514, commas within a value escaped; empty if longer than 512 bytes. */
  readonly certSubjectDN: string;
  readonly certIssuerDN: string;
  /** Subject key identifier of the issuer, upper-case hexadecimal. */
  readonly certIssuerSKI: string;
  /** Upper-case hexadecimal. */
  readonly certSerial: string;
  /** Lower-case hexadecimal. */
  readonly certFingerprintSHA256: string;
  /** "Dec 22 19:39:00 2025 GMT" */
  readonly certNotBefore: string;
  readonly certNotAfter: string;
}
interface AccessAnswer {
  allow: boolean;
  /** For the record and the help desk, at most 500 characters; the person does not see it. */
  reason?: string;
}

// ---- bindings ----

interface KVNamespace {
  get(key: string, type?: "text" | { type?: "text" }): Promise<string | null>;
  get<T = unknown>(key: string, type: "json" | { type: "json" }): Promise<T | null>;
  get(key: string, type: "arrayBuffer" | { type: "arrayBuffer" }): Promise<ArrayBuffer | null>;
  get(key: string, type: "stream" | { type: "stream" }): Promise<ReadableStream<Uint8Array> | null>;
  getWithMetadata<M = unknown>(key: string, type?: "text" | { type?: "text" }): Promise<KVValue<string, M>>;
  getWithMetadata<T = unknown, M = unknown>(key: string, type: "json" | { type: "json" }): Promise<KVValue<T, M>>;
  getWithMetadata<M = unknown>(key: string, type: "arrayBuffer" | { type: "arrayBuffer" }): Promise<KVValue<ArrayBuffer, M>>;
  getWithMetadata<M = unknown>(key: string, type: "stream" | { type: "stream" }): Promise<KVValue<ReadableStream<Uint8Array>, M>>;
  put(key: string, value: string | BufferSource | ReadableStream, options?: KVPutOptions): Promise<void>;
  delete(key: string): Promise<void>;
  list<M = unknown>(options?: { prefix?: string | null; limit?: number; cursor?: string | null }): Promise<KVList<M>>;
}
interface KVPutOptions {
  /** Seconds since the epoch. */
  expiration?: number;
  /** Seconds from now. */
  expirationTtl?: number;
  metadata?: unknown;
}
interface KVValue<T, M> {
  value: T | null;
  metadata: M | null;
  cacheStatus: string | null;
}
interface KVList<M> {
  keys: { name: string; expiration?: number; metadata?: M }[];
  list_complete: boolean;
  cursor?: string;
  cacheStatus: string | null;
}
interface RateLimit {
  limit(options: { key: string }): Promise<{ success: boolean }>;
}
/** Another Worker, or the admin API under the binding's scoped token. */
interface Fetcher {
  fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response>;
}

// ---- fetch ----

type BufferSource = ArrayBuffer | ArrayBufferView;
type BodyInit = string | BufferSource | Blob | FormData | URLSearchParams | ReadableStream;
type HeadersInit = Headers | Iterable<readonly [string, string]> | Record<string, string>;
type RequestInfo = Request | string;

declare class Headers {
  constructor(init?: HeadersInit);
  append(name: string, value: string): void;
  delete(name: string): void;
  get(name: string): string | null;
  getSetCookie(): string[];
  has(name: string): boolean;
  set(name: string, value: string): void;
  forEach(callback: (value: string, name: string, headers: Headers) => void, receiver?: unknown): void;
  entries(): IterableIterator<[string, string]>;
  keys(): IterableIterator<string>;
  values(): IterableIterator<string>;
  [Symbol.iterator](): IterableIterator<[string, string]>;
}
interface Body {
  readonly body: ReadableStream<Uint8Array> | null;
  readonly bodyUsed: boolean;
  arrayBuffer(): Promise<ArrayBuffer>;
  blob(): Promise<Blob>;
  bytes(): Promise<Uint8Array>;
  formData(): Promise<FormData>;
  json<T = unknown>(): Promise<T>;
  text(): Promise<string>;
}
interface RequestInit {
  method?: string;
  headers?: HeadersInit;
  body?: BodyInit | null;
  redirect?: "follow" | "manual" | "error";
  signal?: AbortSignal | null;
  cf?: RequestFacts;
  duplex?: "half";
}
declare class Request {
  constructor(input: RequestInfo | URL, init?: RequestInit);
  readonly method: string;
  readonly url: string;
  readonly headers: Headers;
  readonly redirect: "follow" | "manual" | "error";
  readonly signal: AbortSignal;
  readonly cf?: RequestFacts;
  clone(): Request;
}
interface Request extends Body {}
interface ResponseInit {
  status?: number;
  statusText?: string;
  headers?: HeadersInit;
}
declare class Response {
  constructor(body?: BodyInit | null, init?: ResponseInit);
  static error(): Response;
  static json(data: unknown, init?: ResponseInit): Response;
  static redirect(url: string | URL, status?: number): Response;
  readonly headers: Headers;
  readonly ok: boolean;
  readonly redirected: boolean;
  readonly status: number;
  readonly statusText: string;
  readonly type: "basic" | "default" | "error";
  readonly url: string;
  clone(): Response;
}
interface Response extends Body {}
declare function fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response>;

declare class Blob {
  constructor(parts?: Iterable<BufferSource | Blob | string>, options?: { type?: string; endings?: "transparent" | "native" });
  readonly size: number;
  readonly type: string;
  arrayBuffer(): Promise<ArrayBuffer>;
  bytes(): Promise<Uint8Array>;
  slice(start?: number, end?: number, type?: string): Blob;
  stream(): ReadableStream<Uint8Array>;
  text(): Promise<string>;
}
declare class File extends Blob {
  constructor(parts: Iterable<BufferSource | Blob | string>, name: string, options?: { type?: string; lastModified?: number });
  readonly name: string;
  readonly lastModified: number;
}
declare class FormData {
  constructor();
  append(name: string, value: string | Blob, filename?: string): void;
  delete(name: string): void;
  get(name: string): string | File | null;
  getAll(name: string): (string | File)[];
  has(name: string): boolean;
  set(name: string, value: string | Blob, filename?: string): void;
  forEach(callback: (value: string | File, name: string, form: FormData) => void, receiver?: unknown): void;
  entries(): IterableIterator<[string, string | File]>;
  keys(): IterableIterator<string>;
  values(): IterableIterator<string | File>;
  [Symbol.iterator](): IterableIterator<[string, string | File]>;
}

interface CacheStorage {
  readonly default: Cache;
  open(name: string): Promise<Cache>;
}
interface Cache {
  match(request: RequestInfo | URL): Promise<Response | undefined>;
  put(request: RequestInfo | URL, response: Response): Promise<void>;
  delete(request: RequestInfo | URL): Promise<boolean>;
}
declare const caches: CacheStorage;

// ---- URLs ----

declare class URL {
  constructor(url: string | URL, base?: string | URL);
  static canParse(url: string | URL, base?: string | URL): boolean;
  static parse(url: string | URL, base?: string | URL): URL | null;
  hash: string;
  host: string;
  hostname: string;
  href: string;
  readonly origin: string;
  password: string;
  pathname: string;
  port: string;
  protocol: string;
  search: string;
  readonly searchParams: URLSearchParams;
  username: string;
  toString(): string;
  toJSON(): string;
}
declare class URLSearchParams {
  constructor(init?: string | Iterable<readonly [string, string]> | Record<string, string> | URLSearchParams);
  readonly size: number;
  append(name: string, value: string): void;
  delete(name: string, value?: string): void;
  get(name: string): string | null;
  getAll(name: string): string[];
  has(name: string, value?: string): boolean;
  set(name: string, value: string): void;
  sort(): void;
  toString(): string;
  forEach(callback: (value: string, name: string, params: URLSearchParams) => void, receiver?: unknown): void;
  entries(): IterableIterator<[string, string]>;
  keys(): IterableIterator<string>;
  values(): IterableIterator<string>;
  [Symbol.iterator](): IterableIterator<[string, string]>;
}
interface URLPatternInit {
  protocol?: string;
  username?: string;
  password?: string;
  hostname?: string;
  port?: string;
  pathname?: string;
  search?: string;
  hash?: string;
  baseURL?: string;
}
interface URLPatternComponentResult {
  input: string;
  groups: Record<string, string | undefined>;
}
type URLPatternResult = { inputs: (string | URLPatternInit)[] } & Record<
  "protocol" | "username" | "password" | "hostname" | "port" | "pathname" | "search" | "hash",
  URLPatternComponentResult
>;
declare class URLPattern {
  constructor(input?: string | URLPatternInit, base?: string, options?: { ignoreCase?: boolean });
  readonly protocol: string;
  readonly username: string;
  readonly password: string;
  readonly hostname: string;
  readonly port: string;
  readonly pathname: string;
  readonly search: string;
  readonly hash: string;
  readonly hasRegExpGroups: boolean;
  test(input?: string | URL | URLPatternInit, base?: string): boolean;
  exec(input?: string | URL | URLPatternInit, base?: string): URLPatternResult | null;
}

// ---- text and compression ----

declare class TextEncoder {
  readonly encoding: "utf-8";
  encode(text?: string): Uint8Array;
  encodeInto(text: string, target: Uint8Array): { read: number; written: number };
}
declare class TextDecoder {
  constructor(label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean });
  readonly encoding: string;
  readonly fatal: boolean;
  readonly ignoreBOM: boolean;
  decode(input?: BufferSource, options?: { stream?: boolean }): string;
}
declare class TextEncoderStream {
  readonly encoding: "utf-8";
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<string>;
}
declare class TextDecoderStream {
  constructor(label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean });
  readonly encoding: string;
  readonly readable: ReadableStream<string>;
  readonly writable: WritableStream<BufferSource>;
}
type CompressionFormat = "gzip" | "deflate" | "deflate-raw" | "brotli";
declare class CompressionStream {
  constructor(format: CompressionFormat);
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<BufferSource>;
}
declare class DecompressionStream {
  constructor(format: CompressionFormat);
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<BufferSource>;
}
declare function atob(data: string): string;
declare function btoa(data: string): string;

// ---- streams ----

interface QueuingStrategy<T = unknown> {
  highWaterMark?: number;
  size?(chunk: T): number;
}
interface UnderlyingSource<T = unknown> {
  type?: undefined;
  start?(controller: ReadableStreamDefaultController<T>): unknown;
  pull?(controller: ReadableStreamDefaultController<T>): unknown;
  cancel?(reason?: unknown): unknown;
}
interface UnderlyingByteSource {
  type: "bytes";
  autoAllocateChunkSize?: number;
  start?(controller: ReadableByteStreamController): unknown;
  pull?(controller: ReadableByteStreamController): unknown;
  cancel?(reason?: unknown): unknown;
}
interface StreamPipeOptions {
  preventAbort?: boolean;
  preventCancel?: boolean;
  preventClose?: boolean;
  signal?: AbortSignal;
}
type ReadableStreamReadResult<T> = { done: false; value: T } | { done: true; value: T | undefined };
declare class ReadableStream<T = any> {
  constructor(source: UnderlyingByteSource, strategy?: { highWaterMark?: number });
  constructor(source?: UnderlyingSource<T>, strategy?: QueuingStrategy<T>);
  static from<T>(values: Iterable<T> | AsyncIterable<T>): ReadableStream<T>;
  readonly locked: boolean;
  cancel(reason?: unknown): Promise<void>;
  getReader(): ReadableStreamDefaultReader<T>;
  getReader(options: { mode: "byob" }): ReadableStreamBYOBReader;
  pipeThrough<U>(pair: { readable: ReadableStream<U>; writable: WritableStream<T> }, options?: StreamPipeOptions): ReadableStream<U>;
  pipeTo(destination: WritableStream<T>, options?: StreamPipeOptions): Promise<void>;
  tee(): [ReadableStream<T>, ReadableStream<T>];
  values(options?: { preventCancel?: boolean }): AsyncIterableIterator<T>;
  [Symbol.asyncIterator](options?: { preventCancel?: boolean }): AsyncIterableIterator<T>;
}
declare class ReadableStreamDefaultReader<T = any> {
  constructor(stream: ReadableStream<T>);
  readonly closed: Promise<void>;
  cancel(reason?: unknown): Promise<void>;
  read(): Promise<ReadableStreamReadResult<T>>;
  releaseLock(): void;
}
declare class ReadableStreamBYOBReader {
  constructor(stream: ReadableStream);
  readonly closed: Promise<void>;
  cancel(reason?: unknown): Promise<void>;
  read<V extends ArrayBufferView>(view: V, options?: { min?: number }): Promise<ReadableStreamReadResult<V>>;
  releaseLock(): void;
}
interface ReadableStreamDefaultController<T = any> {
  readonly desiredSize: number | null;
  close(): void;
  enqueue(chunk?: T): void;
  error(reason?: unknown): void;
}
interface ReadableByteStreamController {
  readonly byobRequest: { readonly view: Uint8Array | null; respond(written: number): void; respondWithNewView(view: ArrayBufferView): void } | null;
  readonly desiredSize: number | null;
  close(): void;
  enqueue(chunk: ArrayBufferView): void;
  error(reason?: unknown): void;
}
interface UnderlyingSink<T = unknown> {
  start?(controller: WritableStreamDefaultController): unknown;
  write?(chunk: T, controller: WritableStreamDefaultController): unknown;
  close?(): unknown;
  abort?(reason?: unknown): unknown;
}
interface WritableStreamDefaultController {
  readonly signal: AbortSignal;
  error(reason?: unknown): void;
}
declare class WritableStream<T = any> {
  constructor(sink?: UnderlyingSink<T>, strategy?: QueuingStrategy<T>);
  readonly locked: boolean;
  abort(reason?: unknown): Promise<void>;
  close(): Promise<void>;
  getWriter(): WritableStreamDefaultWriter<T>;
}
declare class WritableStreamDefaultWriter<T = any> {
  constructor(stream: WritableStream<T>);
  readonly closed: Promise<void>;
  readonly desiredSize: number | null;
  readonly ready: Promise<void>;
  abort(reason?: unknown): Promise<void>;
  close(): Promise<void>;
  releaseLock(): void;
  write(chunk?: T): Promise<void>;
}
interface TransformStreamDefaultController<O = any> {
  readonly desiredSize: number | null;
  enqueue(chunk?: O): void;
  error(reason?: unknown): void;
  terminate(): void;
}
interface Transformer<I = any, O = any> {
  start?(controller: TransformStreamDefaultController<O>): unknown;
  transform?(chunk: I, controller: TransformStreamDefaultController<O>): unknown;
  flush?(controller: TransformStreamDefaultController<O>): unknown;
  cancel?(reason?: unknown): unknown;
}
declare class TransformStream<I = any, O = any> {
  constructor(transformer?: Transformer<I, O>, writable?: QueuingStrategy<I>, readable?: QueuingStrategy<O>);
  readonly readable: ReadableStream<O>;
  readonly writable: WritableStream<I>;
}
declare class IdentityTransformStream extends TransformStream<Uint8Array, Uint8Array> {}
declare class FixedLengthStream extends TransformStream<Uint8Array, Uint8Array> {
  constructor(length: number | bigint);
}
declare class CountQueuingStrategy {
  constructor(init: { highWaterMark: number });
  readonly highWaterMark: number;
  readonly size: (chunk: unknown) => number;
}
declare class ByteLengthQueuingStrategy {
  constructor(init: { highWaterMark: number });
  readonly highWaterMark: number;
  readonly size: (chunk: ArrayBufferView) => number;
}

// ---- cryptography ----

type KeyUsage = "encrypt" | "decrypt" | "sign" | "verify" | "deriveKey" | "deriveBits" | "wrapKey" | "unwrapKey";
type AlgorithmIdentifier = string | { name: string; [parameter: string]: any };
interface JsonWebKey {
  kty?: string;
  alg?: string;
  crv?: string;
  d?: string;
  dp?: string;
  dq?: string;
  e?: string;
  ext?: boolean;
  k?: string;
  key_ops?: string[];
  n?: string;
  p?: string;
  q?: string;
  qi?: string;
  use?: string;
  x?: string;
  y?: string;
}
declare class CryptoKey {
  private constructor();
  readonly algorithm: { readonly name: string; readonly [parameter: string]: any };
  readonly extractable: boolean;
  readonly type: "secret" | "public" | "private";
  readonly usages: readonly KeyUsage[];
}
interface CryptoKeyPair {
  readonly privateKey: CryptoKey;
  readonly publicKey: CryptoKey;
}
/**
 * SHA-1, -256, -384, -512; HMAC; AES-GCM (96-bit iv, 128-bit tag), -CBC, -CTR; ECDSA P-256 with SHA-256, P-384 with
 * SHA-384; Ed25519; RSASSA-PKCS1-v1_5 and RSA-PSS from 2048 bits; HKDF; PBKDF2 up to 100,000 iterations.
 */
interface SubtleCrypto {
  digest(algorithm: AlgorithmIdentifier, data: BufferSource): Promise<ArrayBuffer>;
  importKey(format: "jwk", data: JsonWebKey, algorithm: AlgorithmIdentifier, extractable: boolean, usages: KeyUsage[]): Promise<CryptoKey>;
  importKey(format: "raw" | "spki" | "pkcs8", data: BufferSource, algorithm: AlgorithmIdentifier, extractable: boolean, usages: KeyUsage[]): Promise<CryptoKey>;
  exportKey(format: "jwk", key: CryptoKey): Promise<JsonWebKey>;
  exportKey(format: "raw" | "spki" | "pkcs8", key: CryptoKey): Promise<ArrayBuffer>;
  generateKey(algorithm: "Ed25519" | { name: "ECDSA" | "Ed25519" | "RSA-PSS" | "RSASSA-PKCS1-v1_5"; [parameter: string]: any }, extractable: boolean, usages: KeyUsage[]): Promise<CryptoKeyPair>;
  generateKey(algorithm: { name: "HMAC" | "AES-GCM" | "AES-CBC" | "AES-CTR"; [parameter: string]: any }, extractable: boolean, usages: KeyUsage[]): Promise<CryptoKey>;
  sign(algorithm: AlgorithmIdentifier, key: CryptoKey, data: BufferSource): Promise<ArrayBuffer>;
  verify(algorithm: AlgorithmIdentifier, key: CryptoKey, signature: BufferSource, data: BufferSource): Promise<boolean>;
  encrypt(algorithm: AlgorithmIdentifier, key: CryptoKey, data: BufferSource): Promise<ArrayBuffer>;
  decrypt(algorithm: AlgorithmIdentifier, key: CryptoKey, data: BufferSource): Promise<ArrayBuffer>;
  deriveBits(algorithm: AlgorithmIdentifier, key: CryptoKey, length: number): Promise<ArrayBuffer>;
  deriveKey(algorithm: AlgorithmIdentifier, key: CryptoKey, target: AlgorithmIdentifier, extractable: boolean, usages: KeyUsage[]): Promise<CryptoKey>;
  wrapKey(format: "jwk" | "raw" | "spki" | "pkcs8", key: CryptoKey, wrapping: CryptoKey, algorithm: AlgorithmIdentifier): Promise<ArrayBuffer>;
  unwrapKey(format: "jwk" | "raw" | "spki" | "pkcs8", wrapped: BufferSource, wrapping: CryptoKey, algorithm: AlgorithmIdentifier, target: AlgorithmIdentifier, extractable: boolean, usages: KeyUsage[]): Promise<CryptoKey>;
  timingSafeEqual(left: BufferSource, right: BufferSource): boolean;
}
declare const crypto: {
  readonly subtle: SubtleCrypto;
  getRandomValues<T extends ArrayBufferView>(target: T): T;
  randomUUID(): string;
};

// ---- events, abort, timers ----

declare class Event {
  constructor(type: string, init?: { bubbles?: boolean; cancelable?: boolean; composed?: boolean });
  readonly type: string;
  readonly target: EventTarget | null;
  readonly currentTarget: EventTarget | null;
  readonly eventPhase: number;
  readonly bubbles: boolean;
  readonly cancelable: boolean;
  readonly composed: boolean;
  readonly defaultPrevented: boolean;
  readonly isTrusted: boolean;
  readonly timeStamp: number;
  composedPath(): EventTarget[];
  preventDefault(): void;
  stopImmediatePropagation(): void;
  stopPropagation(): void;
}
type EventListener = ((event: any) => void) | { handleEvent(event: any): void };
interface AddEventListenerOptions {
  capture?: boolean;
  once?: boolean;
  passive?: boolean;
  signal?: AbortSignal;
}
declare class EventTarget {
  constructor();
  addEventListener(type: string, listener: EventListener | null, options?: boolean | AddEventListenerOptions): void;
  removeEventListener(type: string, listener: EventListener | null, options?: boolean | { capture?: boolean }): void;
  dispatchEvent(event: Event): boolean;
}
declare class CustomEvent<T = unknown> extends Event {
  constructor(type: string, init?: { bubbles?: boolean; cancelable?: boolean; composed?: boolean; detail?: T });
  readonly detail: T;
}
declare class MessageEvent<T = any> extends Event {
  constructor(type: string, init?: { data?: T });
  readonly data: T;
}
declare class ErrorEvent extends Event {
  constructor(type: string, init?: { message?: string; error?: unknown });
  readonly message: string;
  readonly error: unknown;
}
declare class AbortController {
  readonly signal: AbortSignal;
  abort(reason?: unknown): void;
}
declare class AbortSignal extends EventTarget {
  private constructor();
  static abort(reason?: unknown): AbortSignal;
  static any(signals: Iterable<AbortSignal>): AbortSignal;
  static timeout(milliseconds: number): AbortSignal;
  readonly aborted: boolean;
  readonly reason: any;
  onabort: ((event: Event) => void) | null;
  throwIfAborted(): void;
}
declare class MessagePort extends EventTarget {
  private constructor();
  onmessage: ((event: MessageEvent) => void) | null;
  postMessage(message: unknown): void;
  start(): void;
  close(): void;
}
declare class MessageChannel {
  readonly port1: MessagePort;
  readonly port2: MessagePort;
}
declare class DOMException extends Error {
  constructor(message?: string, name?: string);
  readonly code: number;
}
declare function setTimeout<A extends unknown[]>(callback: (...args: A) => void, milliseconds?: number, ...args: A): number;
declare function setInterval<A extends unknown[]>(callback: (...args: A) => void, milliseconds?: number, ...args: A): number;
declare function clearTimeout(id: number | undefined | null): void;
declare function clearInterval(id: number | undefined | null): void;
declare function queueMicrotask(callback: () => void): void;
declare function structuredClone<T>(value: T, options?: { transfer?: ArrayBuffer[] }): T;
declare function reportError(error: unknown): void;
declare const scheduler: { wait(milliseconds: number): Promise<void> };
declare const performance: { now(): number; readonly timeOrigin: number };
declare const navigator: { readonly userAgent: string; readonly language: string; readonly hardwareConcurrency: number };
declare const console: Record<
  "assert" | "clear" | "count" | "countReset" | "debug" | "dir" | "error" | "group" | "groupCollapsed" | "groupEnd" | "info" | "log" | "table" | "time" | "timeEnd" | "timeLog" | "trace" | "warn",
  (...values: any[]) => void
>;
declare const self: typeof globalThis;

// ---- HTMLRewriter ----

interface ContentOptions {
  html?: boolean;
}
interface HTMLRewriterElement {
  tagName: string;
  readonly namespaceURI: string;
  readonly removed: boolean;
  readonly attributes: IterableIterator<[string, string]>;
  getAttribute(name: string): string | null;
  hasAttribute(name: string): boolean;
  setAttribute(name: string, value: string): HTMLRewriterElement;
  removeAttribute(name: string): HTMLRewriterElement;
  before(content: string, options?: ContentOptions): HTMLRewriterElement;
  after(content: string, options?: ContentOptions): HTMLRewriterElement;
  prepend(content: string, options?: ContentOptions): HTMLRewriterElement;
  append(content: string, options?: ContentOptions): HTMLRewriterElement;
  replace(content: string, options?: ContentOptions): HTMLRewriterElement;
  setInnerContent(content: string, options?: ContentOptions): HTMLRewriterElement;
  remove(): HTMLRewriterElement;
  removeAndKeepContent(): HTMLRewriterElement;
}
interface HTMLRewriterComment {
  text: string;
  readonly removed: boolean;
  before(content: string, options?: ContentOptions): HTMLRewriterComment;
  after(content: string, options?: ContentOptions): HTMLRewriterComment;
  replace(content: string, options?: ContentOptions): HTMLRewriterComment;
  remove(): HTMLRewriterComment;
}
interface HTMLRewriterText {
  readonly text: string;
  readonly lastInTextNode: boolean;
  readonly removed: boolean;
  before(content: string, options?: ContentOptions): HTMLRewriterText;
  after(content: string, options?: ContentOptions): HTMLRewriterText;
  replace(content: string, options?: ContentOptions): HTMLRewriterText;
  remove(): HTMLRewriterText;
}
/** Handlers are synchronous. The body is read whole before it is rewritten. */
declare class HTMLRewriter {
  on(selector: string, handlers: {
    element?(element: HTMLRewriterElement): void;
    comments?(comment: HTMLRewriterComment): void;
    text?(text: HTMLRewriterText): void;
  }): HTMLRewriter;
  onDocument(handlers: {
    comments?(comment: HTMLRewriterComment): void;
    text?(text: HTMLRewriterText): void;
    end?(end: { append(content: string, options?: ContentOptions): void }): void;
  }): HTMLRewriter;
  transform(response: Response): Response;
}
