// Chromium with a home of its own that trusts the platform's authority and nothing else that is not public.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { authority_file } from "./platform.mjs";

/** Waiting on a loaded machine takes this long before it is a failure. */
export const PATIENCE = 60_000;

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Runs `use` with a browser whose certificate store is empty or holds the platform's authority. */
export async function withBrowser({ trusting }, use) {
  const home = mkdtempSync(join(tmpdir(), "portunus-browser-"));
  let browser;
  try {
    if (trusting) trust(home);
    browser = await chromium.launch({
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      args: FLAGS,
      env: { ...process.env, HOME: home, XDG_CONFIG_HOME: undefined, XDG_DATA_HOME: undefined },
      timeout: PATIENCE,
    });
    return await use(browser);
  } finally {
    await browser?.close();
    rmSync(home, { recursive: true, force: true, maxRetries: 10 });
  }
}

/** Adds the authority to the certificate database that Chromium reads on Linux. */
function trust(home) {
  const directory = join(home, ".pki/nssdb");
  mkdirSync(directory, { recursive: true });
  const certutil = (...words) => execFileSync("certutil", [...words, "-d", `sql:${directory}`], { stdio: ["ignore", "ignore", "inherit"] });
  certutil("-N", "--empty-password");
  certutil("-A", "-n", "portunus", "-t", "C,,", "-i", authority_file);
}

/** Runs `use` with a page of a fresh context. */
export async function withPage(browser, options, use) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(PATIENCE);
  try {
    return await use(await context.newPage(), context);
  } finally {
    await context.close();
  }
}
