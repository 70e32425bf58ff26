// IndexedDB: settings and keys, forms that wait for their delivery, receipts. What citizens wrote is sealed.

const NAME = "okno-kiosk";
const STORES = { settings: {}, forms: { keyPath: "id" }, receipts: { keyPath: "reference" } };
const AES_IV_BYTES = 12; // NIST SP 800-38D §8.2: 96 bits

let opened = null;

function database() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => {
      for (const [store, options] of Object.entries(STORES)) request.result.createObjectStore(store, options);
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opened;
}

// Resolves when the transaction is on the disk ("strict"), not when it is merely under way.
async function run(store, mode, work) {
  const transaction = (await database()).transaction(store, mode, { durability: "strict" });
  const request = work(transaction.objectStore(store));
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(request?.result);
    transaction.onabort = () => reject(transaction.error);
  });
}

export const get = (store, key) => run(store, "readonly", (objects) => objects.get(key));
export const all = (store) => run(store, "readonly", (objects) => objects.getAll());
export const remove = (store, key) => run(store, "readwrite", (objects) => objects.delete(key));
export const put = (store, value, key) =>
  run(store, "readwrite", (objects) => (key === undefined ? objects.put(value) : objects.put(value, key)));

// The key that seals: made on this device, and no script can read it out again.
async function vaultKey() {
  const known = await get("settings", "vault");
  if (known) return known;
  const made = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
  return navigator.locks.request("okno-kiosk-vault", async () => {
    const other = await get("settings", "vault"); // another tab was first
    if (other) return other;
    await put("settings", made, "vault");
    return made;
  });
}

export async function seal(text) {
  const iv = crypto.getRandomValues(new Uint8Array(AES_IV_BYTES));
  const sealed = await crypto.subtle.encrypt({ name: "AES-GCM", iv }, await vaultKey(), new TextEncoder().encode(text));
  return { iv, sealed };
}

export async function unseal({ iv, sealed }) {
  const opened = await crypto.subtle.decrypt({ name: "AES-GCM", iv }, await vaultKey(), sealed);
  return new TextDecoder().decode(opened);
}
