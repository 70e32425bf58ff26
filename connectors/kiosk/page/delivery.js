// Delivering forms: at once while the citizen waits, in batches with back-off afterwards; and the heartbeat.

import { DeliveryError, now, post } from "./kiosk.js";
import * as store from "./store.js";
import { VERSION } from "./version.js";

const LIVE_MS = 30_000; // so long a form belongs to its own delivery
const BATCH_FORMS = 100;
const BATCH_CHARS = 16 * 1024 * 1024;
const FIRST_RETRY_MS = 2_000;
const LONGEST_RETRY_MS = 5 * 60_000;
const JITTER = 0.2;
const HEARTBEAT_MS = 60_000;
const LOCK = "okno-kiosk-delivery"; // one tab at a time

let retryMs = FIRST_RETRY_MS;
let timer = null;
let listener = () => {};

export const onChange = (changed) => {
  listener = changed;
};

// Returns {number, code, slip}, {taken: true} (kept for a person to look at), {stored: true} (no network), or
// {errors: [...]} (the fields to put right; nothing is kept then). Safe against a crash at any point: the form is on the
// disk first, and the daemon knows it again by its id.
export async function deliver(form) {
  const json = JSON.stringify(form);
  const kept = await store.keep(form.id, json, { notBefore: Date.now() + LIVE_MS }).then(
    () => true,
    () => false, // the device's disk is full: then by the network alone
  );
  try {
    return await deliverNow(form.id, json);
  } catch (error) {
    if (!kept) throw error;
    if (!(error instanceof DeliveryError)) console.error(error); // it is kept all the same
    await store.release(form.id);
    return { stored: true };
  } finally {
    listener();
    plan();
  }
}

async function deliverNow(id, json) {
  try {
    const response = await post("", json, { messageId: `msg_${id}` });
    const answer = await response.json();
    await settle(id, response.status, answer);
    return answer.number ? answer : { taken: true };
  } catch (error) {
    if (error.status !== 422 || !error.problem.errors) throw error;
    await store.drop(id);
    return { errors: error.problem.errors };
  }
}

// Deliver what waits, now or as soon as the back-off allows.
export function plan({ soon = false } = {}) {
  if (soon) retryMs = FIRST_RETRY_MS;
  clearTimeout(timer);
  const wait = soon ? 0 : retryMs * (1 + JITTER * (Math.random() * 2 - 1));
  timer = setTimeout(() => void work(), wait);
}

async function work() {
  let more = false;
  await navigator.locks.request(LOCK, { ifAvailable: true }, async (lock) => {
    if (!lock) return;
    try {
      while (await deliverBatch()) listener();
      retryMs = FIRST_RETRY_MS;
    } catch (error) {
      if (!(error instanceof DeliveryError)) throw error;
      retryMs = Math.min(Math.max(retryMs * 2, (error.retryAfterS ?? 0) * 1000), LONGEST_RETRY_MS);
    }
  });
  more = (await store.waiting()).length > 0;
  listener();
  if (more) plan();
}

// Returns true if something was delivered and there may be more.
async function deliverBatch() {
  const due = (await store.waiting()).filter((form) => form.notBefore <= Date.now());
  const batch = [];
  let chars = 0;
  for (const form of due) {
    if (batch.length === BATCH_FORMS || (batch.length && chars + form.chars > BATCH_CHARS)) break;
    batch.push(form);
    chars += form.chars;
  }
  if (!batch.length) return false;
  const lines = await Promise.all(batch.map(store.readForm));
  const messageId = `batch_${crypto.randomUUID()}`;
  const response = await post("batch", lines.join("\n"), { messageId, contentType: "application/x-ndjson" });
  let settled = 0;
  let retryAfterS = null;
  for await (const result of results(response)) {
    if (result.index === undefined) continue; // the summary
    if (result.status === 503) retryAfterS = result.retry_after_s ?? 0;
    else {
      await settle(batch[result.index].id, result.status, result);
      settled += 1;
    }
    listener();
  }
  if (retryAfterS !== null || settled < batch.length) throw new DeliveryError(503, {}, retryAfterS);
  return true;
}

async function settle(id, status, answer) {
  if (status !== 200 && status !== 202) return store.setAside(id);
  const receipt = status === 200 ? { number: answer.number, code: answer.code } : { taken: true };
  await store.keepReceipt(id, receipt).catch(console.error); // the disk is full: the citizen has the number all the same
  return store.drop(id);
}

async function* results(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      rest += value ?? "";
      const lines = rest.split("\n");
      rest = lines.pop();
      for (const line of lines) if (line) yield JSON.parse(line);
      if (done) return;
    }
  } catch (error) {
    if (error instanceof SyntaxError) throw error;
    throw new DeliveryError(0); // it broke off: what was answered is settled, the rest goes again
  }
}

export async function beat() {
  const forms = await store.waiting();
  const aside = (await store.stuck()).length;
  const battery = await navigator.getBattery?.().catch(() => null);
  const report = {
    schema: "okno.kiosk-health/1",
    version: VERSION,
    stored_forms: forms.length,
    oldest_stored_at: forms.length ? new Date(forms[0].at).toISOString() : null,
    trouble: aside ? `${aside} forms refused for good` : "",
    ...(battery ? { battery_percent: Math.round(battery.level * 100), charging: battery.charging } : {}),
  };
  try {
    await post("health", JSON.stringify(report), { messageId: `beat_${crypto.randomUUID()}` });
    if (forms.length) plan({ soon: true });
  } catch (error) {
    if (!(error instanceof DeliveryError)) throw error;
  }
}

// The number of a form that got a reference alone: from our own receipts, else from the office.
export async function findNumber(reference) {
  const known = await store.findReceipt(reference);
  if (known?.number) return known;
  if (await store.isWaiting(reference)) return { stored: true };
  try {
    const body = JSON.stringify({ reference });
    const response = await post("receipt", body, { messageId: `receipt_${crypto.randomUUID()}` });
    return await response.json();
  } catch (error) {
    if (error instanceof DeliveryError) return known ?? (error.status === 404 ? null : { offline: true });
    throw error;
  }
}

export function begin() {
  addEventListener("online", () => plan({ soon: true }));
  setInterval(() => void beat(), HEARTBEAT_MS);
  setInterval(() => void store.forgetOldReceipts(), 60 * HEARTBEAT_MS);
  void beat();
  void store.forgetOldReceipts();
  plan({ soon: true });
}

// When the citizen pressed "send", in local time with its offset (RFC 3339).
export function pressedAt() {
  const moment = now();
  const offset = -moment.getTimezoneOffset();
  const local = new Date(moment.getTime() + offset * 60_000).toISOString().slice(0, -1);
  const [hours, minutes] = [Math.floor(Math.abs(offset) / 60), Math.abs(offset) % 60];
  const two = (value) => String(value).padStart(2, "0");
  return `${local}${offset < 0 ? "-" : "+"}${two(hours)}:${two(minutes)}`;
}

// The form's id is the reference that the citizen gets when there is no network: 60 random bits, easy to type.
export function newReference() {
  const letters = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"; // Crockford's base 32
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  const text = Array.from(bytes, (byte) => letters[byte & 31]).join("");
  return `${text.slice(0, 4)}-${text.slice(4, 8)}-${text.slice(8)}`;
}

export function normaliseReference(text) {
  const bare = text.toUpperCase().replace(/[\s-]/g, "").replace(/[OО]/g, "0").replace(/[IL]/g, "1");
  return `${bare.slice(0, 4)}-${bare.slice(4, 8)}-${bare.slice(8)}`;
}
