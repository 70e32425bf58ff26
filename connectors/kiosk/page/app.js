// The kiosk page: its screens, and who goes where.

import { answerForm } from "./answer_view.js";
import * as delivery from "./delivery.js";
import { button, make } from "./elements.js";
import { FormView } from "./form_view.js";
import { IdleWatch } from "./idle.js";
import * as kiosk from "./kiosk.js";
import { toBase64 } from "./pictures.js";
import * as store from "./store.js";
import { language, languageName, pick, say, speak } from "./texts.js";

const DEFAULT_IDLE_S = 60;
const REFRESH_MS = 10 * 60_000;
const SERVICE_PRESS_MS = 4_000; // so long a technician presses the office's name for the set-up screen

const bar = document.getElementById("bar");
const screen = document.getElementById("screen");
const foot = document.getElementById("foot");
const announcer = document.getElementById("announcer");

let catalogue = null; // forms.json
let current = null; // the form in hand
let redraw = () => {}; // the screen anew, in another language
let updated = false; // a newer page is ready: taken when nobody is there
let atHome = true;

async function begin() {
  speak("ru");
  if (!globalThis.isSecureContext || !crypto.subtle) return message(say("insecure"));
  await registerWorker();
  await kiosk.load();
  await loadCatalogue();
  speak(catalogue?.languages[0] ?? "ru");
  kiosk.onServiceState(() => atHome && home()); // never from under a citizen
  delivery.onChange(() => void drawFoot());
  delivery.begin();
  addEventListener("online", () => void refresh());
  setInterval(() => void refresh(), REFRESH_MS);
  addEventListener("online", () => void drawFoot());
  addEventListener("offline", () => void drawFoot());
  new IdleWatch({ idleS: catalogue?.idle_s ?? DEFAULT_IDLE_S, isBusy: () => !atHome, forget });
  home();
  if (location.hash === "#setup") setUp();
}

async function registerWorker() {
  if (!("serviceWorker" in navigator)) return;
  let controlled = Boolean(navigator.serviceWorker.controller);
  navigator.serviceWorker.addEventListener("controllerchange", () => {
    updated = controlled; // the first worker brings nothing new
    controlled = true;
    if (updated && atHome) location.reload();
  });
  await navigator.serviceWorker.register("sw.js").catch(() => null); // no network and not kept yet: it says so below
}

// A kiosk's page is never left, so it has to ask for what is new.
async function refresh() {
  if (!atHome) return;
  const registration = await navigator.serviceWorker?.getRegistration();
  await registration?.update().catch(() => null);
  await loadCatalogue();
  if (atHome) home();
}

async function loadCatalogue() {
  try {
    const response = await fetch("forms.json", { cache: "no-cache" });
    if (response.ok) catalogue = await response.json();
  } catch {
    // what was kept stays; without any the home screen says so
  }
}

// ---- the frame
function draw(content, { again, heading = null }) {
  redraw = again;
  drawBar();
  void drawFoot();
  screen.replaceChildren(...[content].flat());
  scrollTo(0, 0);
  (heading ?? screen.querySelector("h1") ?? screen).focus();
}

function title(text) {
  return make("h1", { tabIndex: -1 }, text);
}

function drawBar() {
  const names = catalogue?.languages ?? ["ru", "en"];
  const tongues = names.map((code) =>
    button(languageName(code), () => change(code), { lang: code, "aria-pressed": String(code === language()), class: "tongue" }),
  );
  const office = make("p", { class: "office" }, catalogue?.office ?? "Окно");
  let press = null;
  office.addEventListener("pointerdown", () => (press = setTimeout(() => setUp(), SERVICE_PRESS_MS)));
  for (const kind of ["pointerup", "pointercancel", "pointerleave"]) office.addEventListener(kind, () => clearTimeout(press));
  bar.replaceChildren(
    office,
    make("div", { class: "tools", role: "group" }, tongues, toggle("contrast", say("contrast")), toggle("larger", say("larger"))),
  );
}

function toggle(name, text) {
  const on = () => document.documentElement.classList.contains(name);
  const turn = (event) => {
    document.documentElement.classList.toggle(name);
    event.currentTarget.setAttribute("aria-pressed", String(on()));
  };
  return button(text, turn, { "aria-pressed": String(on()), class: "tool" });
}

function change(code) {
  speak(code);
  redraw();
}

async function drawFoot() {
  const count = (await store.waiting()).length;
  const lines = [];
  if (!navigator.onLine || count) lines.push(make("p", {}, navigator.onLine ? "" : say("offline"), " ", count ? say("stored", { count }) : ""));
  foot.replaceChildren(...lines);
  foot.classList.toggle("offline", !navigator.onLine || count > 0);
  foot.dataset.stored = String(count);
}

function message(text) {
  screen.replaceChildren(make("p", { class: "lead" }, text));
}

// ---- screens
function home() {
  current?.wipe();
  current = null;
  atHome = true;
  if (updated) return location.reload();
  if (kiosk.serviceState() === kiosk.NOT_ENROLLED) return setUp();
  if (kiosk.serviceState() === kiosk.REVOKED) return closed();
  const forms = (catalogue?.forms ?? []).map((form) =>
    button(pick(form.title), () => fillIn(form), { class: "card" }),
  );
  const lead = forms.length ? make("div", { class: "cards" }, forms) : make("p", { class: "lead" }, say("noForms"));
  const others = make(
    "div",
    { class: "buttons others" },
    button(say("answer"), lookForAnswer, { class: "quiet" }),
    button(say("find"), lookUp, { class: "quiet" }),
  );
  draw([title(say("choose")), lead, forms.length ? others : null].filter(Boolean), { again: home });
}

function closed() {
  draw([title(say("closed")), make("p", { class: "lead" }, say("closedHelp"))], { again: closed });
}

function setUp() {
  atHome = kiosk.serviceState() === kiosk.NOT_ENROLLED;
  const error = make("p", { class: "error", role: "alert", hidden: true });
  const code = make("input", { id: "code", class: "code", autocomplete: "off", autocapitalize: "characters", spellcheck: false, maxLength: 24 });
  const connect = async (event) => {
    event.preventDefault();
    error.hidden = true;
    try {
      await kiosk.enrol(code.value);
      await loadCatalogue();
      speak(catalogue?.languages[0] ?? language());
      delivery.plan({ soon: true });
      void delivery.beat();
      home();
    } catch (problem) {
      error.textContent = say(problem.status === 404 ? "wrongCode" : "noNetwork");
      error.hidden = false;
    }
  };
  const form = make(
    "form",
    { class: "form", onsubmit: connect },
    make("p", { class: "lead" }, say("setUpHelp")),
    make("div", { class: "question" }, make("label", { htmlFor: "code" }, say("setUpCode")), code, error),
    make("div", { class: "buttons" }, make("button", { type: "submit", class: "main" }, say("connect"))),
  );
  draw([title(say("setUp")), form], { again: setUp });
}

function fillIn(form) {
  atHome = false;
  const view = new FormView(form);
  if (current?.form === form) view.adopt(current); // in another language now
  else current?.wipe();
  current = view;
  const send = button(say("send"), () => void submit(view, send), { class: "main" });
  const actions = make("div", { class: "buttons actions" }, button(say("back"), home, { class: "quiet" }), send);
  const intro = pick(form.intro) ? make("p", { class: "lead" }, pick(form.intro)) : null;
  draw([title(pick(form.title)), intro, view.element, actions].filter(Boolean), { again: () => fillIn(form) });
}

async function submit(view, send) {
  if (!view.check()) return;
  send.disabled = true;
  send.textContent = say("sending");
  announcer.textContent = say("sending");
  try {
    const form = await prepared(view);
    const outcome = await delivery.deliver(form);
    if (current !== view) return; // the citizen has gone: it is delivered or kept all the same
    if (outcome.errors) view.show(outcome.errors);
    else showOutcome(outcome, form.id);
  } catch {
    announcer.textContent = say("broken");
    view.show([{ field: "", message: say("broken") }]);
  } finally {
    send.disabled = false;
    send.textContent = say("send");
  }
}

// The same words sent again after a fault are the same form: the daemon may have it already.
async function prepared(view) {
  const form = await filledIn(view);
  const content = JSON.stringify({ ...form, id: "", created_at: "" });
  if (view.attempt?.content !== content) view.attempt = { content, form };
  return view.attempt.form;
}

async function filledIn(view) {
  const attachments = [];
  for (const [field, files] of view.files) {
    for (const { name, blob } of files) {
      attachments.push({ name, media_type: blob.type || "application/octet-stream", field, content_base64: await toBase64(blob) });
    }
  }
  return {
    schema: "okno.kiosk-submission/1",
    id: delivery.newReference(),
    form: view.form.id,
    form_version: view.form.version,
    language: language(),
    created_at: delivery.pressedAt(),
    fields: view.values(),
    attachments,
  };
}

function showOutcome(outcome, reference) {
  current?.wipe();
  current = null;
  atHome = false;
  const status = new URL("../status", import.meta.url).href;
  const big = (label, value) => make("div", { class: "big" }, make("span", {}, label), make("strong", {}, value));
  let head = say("done");
  let parts = [big(say("number"), outcome.number), big(say("code"), outcome.code), make("p", { class: "lead" }, say("keep", { address: status }))];
  if (!outcome.number || !outcome.code) {
    head = outcome.number ? say("done") : say(outcome.taken ? "taken" : "kept");
    const help = outcome.number ? "" : say(outcome.taken ? "takenHelp" : "keptHelp");
    parts = [outcome.number ? big(say("number"), outcome.number) : big(say("reference"), reference), make("p", { class: "lead" }, help)];
  }
  const office = make("p", { class: "slip-office" }, `${catalogue?.office ?? ""} · ${kiosk.now().toLocaleString(language())}`);
  const actions = make(
    "div",
    { class: "buttons actions" },
    button(say("print"), () => print(), { class: "quiet" }),
    button(say("finish"), forget, { class: "main" }),
  );
  draw([make("section", { class: "slip" }, title(head), parts, office), actions], { again: () => showOutcome(outcome, reference) });
}

function lookForAnswer() {
  atHome = false;
  draw([title(say("answer")), answerForm({ back: home })], { again: lookForAnswer });
}

function lookUp() {
  atHome = false;
  const answer = make("p", { class: "lead", role: "status" });
  const input = make("input", { id: "reference", class: "code", autocomplete: "off", autocapitalize: "characters", spellcheck: false, maxLength: 20 });
  const find = async (event) => {
    event.preventDefault();
    const reference = delivery.normaliseReference(input.value);
    const found = await delivery.findNumber(reference);
    if (found?.number || found?.taken) return showOutcome(found, reference);
    answer.textContent = say(found?.stored ? "notYet" : found?.offline ? "askLater" : "notFound");
  };
  const form = make(
    "form",
    { class: "form", onsubmit: find },
    make("div", { class: "question" }, make("label", { htmlFor: "reference" }, say("reference")), input),
    answer,
    make("div", { class: "buttons actions" }, button(say("back"), home, { class: "quiet" }), make("button", { type: "submit", class: "main" }, say("lookUp"))),
  );
  draw([title(say("find")), form], { again: lookUp });
}

// The next citizen finds nothing of this one: no words, no pictures, no language, no settings.
function forget() {
  document.documentElement.classList.remove("contrast", "larger");
  announcer.textContent = "";
  speak(catalogue?.languages[0] ?? "ru");
  home();
}

void begin();
