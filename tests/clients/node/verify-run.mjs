// Runs the example of docs/access-verify.md on a list of tokens from standard input; prints claims, or null for a refusal.
import { readFileSync } from "node:fs";
import { verify } from "./verify.mjs";

const results = [];
for (const token of JSON.parse(readFileSync(0, "utf8"))) {
  results.push(await verify({ "cf-access-jwt-assertion": token }).catch(() => null));
}
console.log(JSON.stringify(results));
