// Who this kiosk is, its key, its clock, and signed requests (Standard Webhooks) to the daemon.

import { get, put } from "./database.js";

const HOOKS = new URL("../hooks/kiosk/", import.meta.url);
const REQUEST_PATIENCE_MS = 20_000;
const CLOCK_NOISE_MS = 5_000; // of the Date header, which counts seconds, and of the way here

export const IN_SERVICE = "in_service";
export const REVOKED = "revoked"; // 403: the office has shut this kiosk out
export const NOT_ENROLLED = "not_enrolled"; // no key, or one that opens nothing any more

// Thrown for any answer but 2xx; `status` 0: no network.
export class DeliveryError extends Error {
  constructor(status, problem = {}, retryAfterS = null) {
    super(problem.title ?? `status ${status}`);
    this.status = status;
    this.problem = problem;
    this.retryAfterS = retryAfterS;
  }
}

let identity = null; // {kioskId, name, key}
let skewMs = 0; // the daemon's clock minus ours
let state = NOT_ENROLLED;
const listeners = new Set();

export const kioskId = () => identity?.kioskId ?? "";
export const serviceState = () => state;
export const onServiceState = (listener) => listeners.add(listener);
export const now = () => new Date(Date.now() + skewMs);

function setState(next) {
  if (next === state) return;
  state = next;
  for (const listener of listeners) listener(next);
}

export async function load() {
  identity = (await get("settings", "identity")) ?? null;
  skewMs = (await get("settings", "skew_ms")) ?? 0;
  setState(identity ? IN_SERVICE : NOT_ENROLLED);
}

// Exchange a one-time code for the key. The key is kept where no script can read it out again.
export async function enrol(code) {
  const response = await ask(new URL("enrol", import.meta.url), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ code }),
  });
  if (!response.ok) throw await refusal(response);
  const { kiosk_id: id, name, secret } = await response.json();
  const bytes = Uint8Array.from(atob(secret.slice("whsec_".length)), (character) => character.charCodeAt(0));
  const key = await crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  bytes.fill(0);
  identity = { kioskId: id, name, key };
  await put("settings", identity, "identity");
  await navigator.storage?.persist?.();
  setState(IN_SERVICE);
}

// Post a signed body to a hook of ours; "" is the hook for one form. Throws DeliveryError.
export async function post(hook, body, { messageId, contentType = "application/json" }) {
  if (!identity) throw new DeliveryError(401);
  let response = await send(hook, body, { messageId, contentType });
  if (response.status === 401 && (await problemOf(response.clone())).title === "Clock refused") {
    response = await send(hook, body, { messageId, contentType }); // by the daemon's time, which we know now
  }
  if (response.ok) {
    const type = response.headers.get("Content-Type") ?? "";
    if (!/^application\/(json|x-ndjson)/.test(type)) throw new DeliveryError(0); // a hotspot's page, not the daemon
    setState(IN_SERVICE);
    return response;
  }
  const error = await refusal(response);
  const { title } = error.problem; // by our own words alone: a proxy's 403 shuts no kiosk out
  if (title === "Revoked kiosk") setState(REVOKED);
  if (title === "Unknown kiosk" || title === "Signature refused") setState(NOT_ENROLLED);
  throw error;
}

async function send(hook, body, { messageId, contentType }) {
  const stamp = String(Math.floor(now().getTime() / 1000));
  const signed = new TextEncoder().encode(`${messageId}.${stamp}.${body}`);
  const signature = new Uint8Array(await crypto.subtle.sign("HMAC", identity.key, signed));
  const address = new URL(hook ? `${identity.kioskId}/${hook}` : identity.kioskId, HOOKS);
  const response = await ask(address, {
    method: "POST",
    headers: {
      "Content-Type": contentType,
      "webhook-id": messageId,
      "webhook-timestamp": stamp,
      "webhook-signature": `v1,${btoa(String.fromCharCode(...signature))}`,
    },
    body,
  });
  await noteClock(response.headers.get("Date"));
  return response;
}

async function ask(address, options) {
  try {
    return await fetch(address, { ...options, cache: "no-store", signal: AbortSignal.timeout(REQUEST_PATIENCE_MS) });
  } catch {
    throw new DeliveryError(0);
  }
}

async function refusal(response) {
  const retryAfter = Number(response.headers.get("Retry-After"));
  return new DeliveryError(response.status, await problemOf(response), retryAfter > 0 ? retryAfter : null);
}

const problemOf = (response) => response.json().catch(() => ({})); // a proxy's refusal is no problem document

async function noteClock(header) {
  const theirs = Date.parse(header ?? "");
  if (Number.isNaN(theirs)) return;
  const found = theirs - Date.now();
  if (Math.abs(found - skewMs) < CLOCK_NOISE_MS) return;
  skewMs = Math.abs(found) < CLOCK_NOISE_MS ? 0 : found;
  await put("settings", skewMs, "skew_ms").catch(console.error); // it is asked anew after the next start
}
