// Forms that wait for their delivery, and the receipts of those delivered. Sealed, see database.js.

import { all, get, put, remove, seal, unseal } from "./database.js";

const RECEIPT_DAYS = 7;
const DAY_MS = 24 * 3600 * 1000;

// Keep a form. Until `notBefore` (ms) nobody but its own delivery at once takes it up.
export async function keep(id, json, { notBefore }) {
  const at = Date.now();
  await put("forms", { id, at, notBefore, chars: json.length, stuck: false, ...(await seal(json)) });
}

export const waiting = async () =>
  (await all("forms")).filter((form) => !form.stuck).sort((one, other) => one.at - other.at);
export const stuck = async () => (await all("forms")).filter((form) => form.stuck);
export const readForm = (form) => unseal(form);
export const drop = (id) => remove("forms", id);

export async function release(id) {
  const form = await get("forms", id);
  if (form) await put("forms", { ...form, notBefore: 0 });
}

// The daemon will never take it as it is: kept for a technician, and told in the heartbeat.
export async function setAside(id) {
  const form = await get("forms", id);
  if (form) await put("forms", { ...form, stuck: true });
}

export async function keepReceipt(reference, receipt) {
  await put("receipts", { reference, at: Date.now(), ...(await seal(JSON.stringify(receipt))) });
}

export async function findReceipt(reference) {
  const found = await get("receipts", reference);
  return found ? JSON.parse(await unseal(found)) : null;
}

export const isWaiting = async (reference) => Boolean(await get("forms", reference));

export async function forgetOldReceipts() {
  const limit = Date.now() - RECEIPT_DAYS * DAY_MS;
  const old = (await all("receipts")).filter((receipt) => receipt.at < limit);
  await Promise.all(old.map((receipt) => remove("receipts", receipt.reference)));
}
