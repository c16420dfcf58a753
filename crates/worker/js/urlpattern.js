// URLPattern: each component of a pattern becomes one regular expression. Follows the pattern syntax of the URL Pattern
// standard: `:name`, `(regexp)`, `*`, `{group}` with the modifiers `?`, `+` and `*`, and `\` before a character.
(function (host, internals) {
  "use strict";

  const COMPONENTS = ["protocol", "username", "password", "hostname", "port", "pathname", "search", "hash"];
  const escapeRegExp = (text) => text.replace(/[.*+?^${}()|[\]\\/]/gu, "\\$&");
  const isNameStart = (c) => c !== undefined && /[\p{ID_Start}$_]/u.test(c);
  const isNamePart = (c) => c !== undefined && /[\p{ID_Continue}$\u200c\u200d]/u.test(c);

  // ---- tokens: [type, value], type one of char, name, regexp, wildcard, open, close, modifier ----
  function tokenize(pattern) {
    const characters = [...pattern];
    const tokens = [];
    for (let at = 0; at < characters.length; at += 1) {
      const c = characters[at];
      if (c === "\\") {
        at += 1;
        if (at >= characters.length) throw new TypeError("the pattern ends with a backslash");
        tokens.push(["char", characters[at]]);
      } else if (c === "{") tokens.push(["open", c]);
      else if (c === "}") tokens.push(["close", c]);
      else if (c === "*") tokens.push(["wildcard", c]);
      else if (c === "?" || c === "+") tokens.push(["modifier", c]);
      else if (c === ":" && isNameStart(characters[at + 1])) {
        let name = "";
        while (isNamePart(characters[at + 1])) { at += 1; name += characters[at]; }
        tokens.push(["name", name]);
      } else if (c === "(") {
        let depth = 1;
        let source = "";
        for (at += 1; at < characters.length; at += 1) {
          if (characters[at] === "\\") { source += characters[at] + (characters[at + 1] ?? ""); at += 1; continue; }
          if (characters[at] === ")") { depth -= 1; if (depth === 0) break; }
          if (characters[at] === "(") { depth += 1; if (characters[at + 1] !== "?") throw new TypeError("a group must not capture"); }
          source += characters[at];
        }
        if (depth !== 0 || source === "" || source.startsWith("?")) throw new TypeError("the regular expression group is not valid");
        tokens.push(["regexp", source]);
      } else tokens.push(["char", c]);
    }
    return tokens;
  }

  // ---- one component ----
  function compile(pattern, component, ignoreCase) {
    const delimiter = component === "hostname" ? "." : component === "pathname" ? "/" : "";
    const prefixes = component === "pathname" ? "/" : "";
    const segment = delimiter === "" ? ".+?" : `[^${escapeRegExp(delimiter)}]+?`;
    const tokens = tokenize(pattern);
    const names = [];
    let at = 0;
    let source = "";
    let fixed = "";
    let custom = false;
    const canonical = (text) => {
      if (component === "hostname" || component === "protocol") return text.toLowerCase();
      return component === "port" ? text : text.replace(/[^\x21-\x7e]/gu, (c) => encodeURIComponent(c));
    };
    const flush = () => { source += escapeRegExp(canonical(fixed)); fixed = ""; };
    const modifier = () => {
      const [type, value] = tokens[at] ?? [];
      if (type !== "modifier" && type !== "wildcard") return "";
      at += 1;
      return value;
    };
    const remember = (name) => {
      const key = name ?? String(names.filter((known) => /^\d+$/u.test(known)).length);
      if (names.includes(key)) throw new TypeError(`the name ${key} is used twice`);
      names.push(key);
    };
    const group = (prefix, inner, suffix, change) => {
      flush();
      const [before, after] = [escapeRegExp(canonical(prefix)), escapeRegExp(canonical(suffix))];
      if (inner === null) { source += change === "" ? before + after : `(?:${before}${after})${change}`; return; }
      if (change === "+" || change === "*") {
        const repeated = before === "" && after === "" ? `((?:${inner})+)` : `(?:${before}((?:${inner})(?:${after}${before}(?:${inner}))*)${after})`;
        source += change === "*" ? `${repeated}?` : repeated;
      } else source += before === "" && after === "" ? `(${inner})${change}` : `(?:${before}(${inner})${after})${change}`;
    };
    // A name, an expression, a name with its expression, or a wildcard.
    const matcher = () => {
      const [type, value] = tokens[at] ?? [];
      if (type === "name") {
        at += 1;
        remember(value);
        if (tokens[at]?.[0] !== "regexp") return segment;
        custom = true;
        at += 1;
        return tokens[at - 1][1];
      }
      if (type === "regexp") { at += 1; custom = true; remember(undefined); return value; }
      if (type === "wildcard") { at += 1; remember(undefined); return ".*"; }
      return null;
    };
    const literal = () => {
      let text = "";
      while (tokens[at]?.[0] === "char") { text += tokens[at][1]; at += 1; }
      return text;
    };
    while (at < tokens.length) {
      const [type, value] = tokens[at];
      if (type === "char") { fixed += value; at += 1; }
      else if (type === "open") {
        at += 1;
        const prefix = literal();
        const inner = matcher();
        const suffix = literal();
        if (tokens[at]?.[0] !== "close") throw new TypeError("a group is not closed");
        at += 1;
        group(prefix, inner, suffix, modifier());
      } else if (type === "close" || type === "modifier") throw new TypeError(`unexpected ${value} in the pattern`);
      else {
        const prefix = prefixes !== "" && fixed.endsWith(prefixes) ? prefixes : "";
        if (prefix !== "") fixed = fixed.slice(0, -1);
        const inner = matcher();
        const change = modifier();
        if (change === "" && prefix !== "") { fixed += prefix; group("", inner, "", ""); } else group(prefix, inner, "", change);
      }
    }
    flush();
    let expression;
    try { expression = new RegExp(`^(?:${source})$`, ignoreCase ? "ui" : "u"); } catch { throw new TypeError(`invalid pattern: ${pattern}`); }
    return { pattern, expression, names, custom };
  }

  // ---- a pattern written as one string ----
  // The place of the first of `marks` outside of groups; a `?` after something it can modify is no mark.
  function findMark(text, marks, from = 0) {
    let depth = 0;
    for (let at = from; at < text.length; at += 1) {
      const c = text[at];
      if (c === "\\") { at += 1; continue; }
      if (c === "{" || c === "(") depth += 1;
      else if (c === "}" || c === ")") depth -= 1;
      else if (depth === 0 && marks.includes(c)) {
        if (c === "?" && (/[})*]/u.test(text[at - 1] ?? "") || /:[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(text.slice(from, at)))) continue;
        return at;
      }
    }
    return -1;
  }
  function split(text) {
    const init = {};
    let rest = text;
    const hash = findMark(rest, "#");
    if (hash >= 0) { init.hash = rest.slice(hash + 1); rest = rest.slice(0, hash); }
    const scheme = /^((?:[A-Za-z0-9+.*\-|]|\{[^}]*\}[?+*]?|\([^)]*\)[?+*]?|:[A-Za-z_]\w*)+?)(:\/\/|:(?![A-Za-z_]))/u.exec(rest);
    const relative = scheme === null;
    if (!relative) { init.protocol = scheme[1]; rest = rest.slice(scheme[0].length); }
    if (!relative && scheme[2] === "://") {
      const end = findMark(rest, "/?");
      let authority = end < 0 ? rest : rest.slice(0, end);
      rest = end < 0 ? "" : rest.slice(end);
      const at = findMark(authority, "@");
      if (at >= 0) {
        const [username, ...password] = authority.slice(0, at).split(/:(?![A-Za-z_])/u);
        init.username = username;
        if (password.length > 0) init.password = password.join(":");
        authority = authority.slice(at + 1);
      }
      const port = /:(\d*|\*|\([^)]*\)|\{[^}]*\}\??)$/u.exec(authority);
      init.port = port === null ? "" : port[1];
      init.hostname = port === null ? authority : authority.slice(0, port.index);
    }
    const search = findMark(rest, "?");
    if (search >= 0) { init.search = rest.slice(search + 1); rest = rest.slice(0, search); }
    if (rest !== "") init.pathname = rest;
    if (init.hash !== undefined && init.search === undefined) init.search = "";
    if ((init.search !== undefined) && init.pathname === undefined && !relative) init.pathname = scheme[2] === "://" ? "/" : "";
    return init;
  }
  const literalPattern = (text) => text.replace(/[+*?:{}()\\]/gu, "\\$&");
  const urlParts = (url) => ({
    protocol: url.protocol.slice(0, -1), username: url.username, password: url.password, hostname: url.hostname, port: url.port,
    pathname: url.pathname, search: url.search.slice(1), hash: url.hash.slice(1),
  });
  // Takes from a base URL what comes before the first component the pattern has.
  function inherit(init, base) {
    const made = { ...init };
    delete made.baseURL;
    if (base === undefined) return made;
    const parts = urlParts(new URL(base));
    const first = ["protocol", "hostname", "port", "pathname", "search", "hash"].find((name) => made[name] !== undefined);
    for (const name of ["protocol", "hostname", "port", "pathname", "search"]) {
      if (name === first) break;
      made[name] = literalPattern(parts[name]);
    }
    if (made.pathname !== undefined && first === "pathname" && !/^[/*{(:]/u.test(made.pathname)) {
      made.pathname = literalPattern(parts.pathname.slice(0, parts.pathname.lastIndexOf("/") + 1)) + made.pathname;
    }
    return made;
  }
  const strip = (name, value) => {
    const text = `${value}`;
    if (name === "protocol") return text.replace(/:$/u, "");
    if (name === "search") return text.replace(/^\?/u, "");
    return name === "hash" ? text.replace(/^#/u, "") : text;
  };
  const DEFAULT_PORTS = { http: "80", ws: "80", https: "443", wss: "443", ftp: "21" };

  class URLPattern {
    #components = {};
    constructor(input = {}, base = undefined, options = undefined) {
      const settings = typeof base === "object" && base !== null ? base : options;
      const baseText = typeof base === "string" || base instanceof URL ? `${base}` : undefined;
      let init;
      if (typeof input === "string") {
        const parts = split(input);
        if (parts.protocol === undefined && baseText === undefined) throw new TypeError("a relative pattern needs a base URL");
        init = inherit(parts, parts.protocol === undefined ? baseText : undefined);
      } else {
        if (baseText !== undefined) throw new TypeError("a base URL goes with a string only");
        init = inherit(internals.dictionary(input, "input"), input.baseURL);
      }
      for (const name of COMPONENTS) {
        let pattern = init[name] === undefined ? "*" : strip(name, init[name]);
        if (name === "port" && DEFAULT_PORTS[init.protocol] === pattern) pattern = "";
        this.#components[name] = compile(pattern, name, Boolean(internals.dictionary(settings, "options").ignoreCase));
      }
    }
    static {
      for (const name of COMPONENTS) {
        Object.defineProperty(this.prototype, name, {
          get() { return this.#components[name].pattern; }, enumerable: true, configurable: true,
        });
      }
    }
    get hasRegExpGroups() { return COMPONENTS.some((name) => this.#components[name].custom); }
    test(input = {}, base = undefined) { return this.exec(input, base) !== null; }
    exec(input = {}, base = undefined) {
      let parts;
      try {
        if (typeof input === "string" || input instanceof URL) parts = urlParts(new URL(`${input}`, base));
        else {
          const from = input.baseURL === undefined ? {} : urlParts(new URL(input.baseURL));
          parts = {};
          for (const name of COMPONENTS) parts[name] = input[name] === undefined ? from[name] ?? "" : strip(name, input[name]);
        }
      } catch {
        return null;
      }
      const result = { inputs: base === undefined ? [input] : [input, base] };
      for (const name of COMPONENTS) {
        const { expression, names } = this.#components[name];
        const found = expression.exec(parts[name]);
        if (found === null) return null;
        const groups = {};
        names.forEach((key, index) => { groups[key] = found[index + 1]; });
        result[name] = { input: parts[name], groups };
      }
      return result;
    }
  }
  internals.brand(URLPattern, "URLPattern");
  internals.expose({ URLPattern });
})
