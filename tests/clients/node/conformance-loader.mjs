// Loaded before the conformance suite: what it expects of Node and of the network and this machine may lack. Node 20 has no
// fs.globSync, which the suite imports and its authorization scenarios never call; and no resolver need know names under
// localhost, which browsers take for this machine.
import dns from "node:dns";
import { register } from "node:module";

const lookup = dns.lookup;
dns.lookup = (host, options, done) =>
  lookup(host.endsWith(".localhost") ? "127.0.0.1" : host, options, done);

const files = `export * from "node:fs"; export { default } from "node:fs"; export const globSync = () => { throw new Error("not here"); };`;
const hooks = `export const resolve = (specifier, context, next) => specifier === "fs"
  ? { url: ${JSON.stringify(`data:text/javascript,${encodeURIComponent(files)}`)}, shortCircuit: true }
  : next(specifier, context);`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);
