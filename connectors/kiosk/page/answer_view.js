// What became of an appeal, by its number and code: the daemon's citizen API answers.

import { button, make } from "./elements.js";
import { language, say, stageName } from "./texts.js";

const STATUS = new URL("../api/v1/citizen/status", import.meta.url);
const PATIENCE_MS = 15_000;

const day = (moment) => new Date(moment).toLocaleDateString(language());

// A form for number and code; `back` leads home.
export function answerForm({ back }) {
  const result = make("div", { role: "status" });
  const field = (id, label) =>
    make(
      "div",
      { class: "question" },
      make("label", { htmlFor: id }, label),
      make("input", { id, class: "code", autocomplete: "off", autocapitalize: "characters", spellcheck: false, maxLength: 24 }),
    );
  const form = make(
    "form",
    { class: "form", onsubmit: (event) => void look(event, form, result) },
    field("number", say("number")),
    field("secret", say("code")),
    result,
    make(
      "div",
      { class: "buttons actions" },
      button(say("back"), back, { class: "quiet" }),
      make("button", { type: "submit", class: "main" }, say("show")),
    ),
  );
  return form;
}

async function look(event, form, result) {
  event.preventDefault();
  const [number, code] = ["number", "secret"].map((id) => form.querySelector(`#${id}`).value.trim());
  result.replaceChildren();
  try {
    const response = await fetch(STATUS, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Okno-Request": "1" },
      body: JSON.stringify({ number, code }),
      cache: "no-store",
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    const words = { 404: "noAnswer", 429: "waitTries" }[response.status] ?? "askLater";
    result.replaceChildren(...(response.ok ? show(await response.json()) : [make("p", { class: "error" }, say(words))]));
  } catch {
    result.replaceChildren(make("p", { class: "error" }, say("askLater")));
  }
}

function show(status) {
  const answers = status.answers.map((answer) =>
    make("article", { class: "answer" }, make("h2", {}, say("answered", { day: day(answer.at) })), make("p", {}, answer.text)),
  );
  const until = answers.length || status.stage === "closed" ? null : make("p", { class: "lead" }, say("until", { day: day(status.deadline_at) }));
  const head = make("div", { class: "big" }, make("span", {}, status.number), make("strong", {}, stageName(status.stage)));
  return [head, until, ...answers].filter(Boolean);
}
