// The service worker: the page opens without a network. The daemon fills in version and files when it serves this.
const VERSION = "__VERSION__";
const FILES = /* the daemon's list */ ["__FILES__"];
const CACHE = `okno-kiosk-${VERSION}`;
const FORMS = "forms.json";
const FORMS_CACHE = "okno-kiosk-forms";
const PATIENCE_MS = 3000; // a network that is there and answers nothing: then the kept forms will do

self.addEventListener("install", (event) => {
  event.waitUntil(install());
});

self.addEventListener("activate", (event) => {
  event.waitUntil(activate());
});

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  const scope = new URL(self.registration.scope);
  if (event.request.method !== "GET" || url.origin !== scope.origin || !url.pathname.startsWith(scope.pathname)) return;
  const name = url.pathname.slice(scope.pathname.length);
  event.respondWith(name === FORMS ? forms(event.request) : shell(event.request, name));
});

async function install() {
  const cache = await caches.open(CACHE);
  await cache.addAll(["./", ...FILES].map((file) => new Request(file, { cache: "reload" })));
  await self.skipWaiting();
}

async function activate() {
  const names = await caches.keys();
  const old = names.filter((name) => name.startsWith("okno-kiosk-") && name !== CACHE && name !== FORMS_CACHE);
  await Promise.all(old.map((name) => caches.delete(name)));
  await self.clients.claim();
}

// All files of one version come from one cache: an update never mixes with what was there.
async function shell(request, name) {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(name === "" || name === "index.html" ? "./" : name);
  return kept ?? fetch(request);
}

async function forms(request) {
  const cache = await caches.open(FORMS_CACHE);
  try {
    const fresh = await fetch(request, { signal: AbortSignal.timeout(PATIENCE_MS) });
    if (fresh.ok) await cache.put(FORMS, fresh.clone());
    return fresh.ok ? fresh : ((await cache.match(FORMS)) ?? fresh);
  } catch (error) {
    const kept = await cache.match(FORMS);
    if (kept) return kept;
    throw error;
  }
}
