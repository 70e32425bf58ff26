// Nobody there any more: ask, then forget the citizen.

import { button, make } from "./elements.js";
import { say } from "./texts.js";

const WARNING_S = 15;

export class IdleWatch {
  #timer = null;
  #dialog = null;

  // `forget` is called when nobody has touched the screen for `idleS` and nobody answered the question.
  constructor({ idleS, isBusy, forget }) {
    this.idleS = idleS;
    this.isBusy = isBusy;
    this.forget = forget;
    for (const kind of ["pointerdown", "keydown", "input", "wheel", "touchmove"]) {
      addEventListener(kind, () => this.touch(), { passive: true, capture: true });
    }
    this.touch();
  }

  touch() {
    if (this.#dialog) return; // only its button keeps the citizen's words
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => (this.isBusy() ? this.#ask() : this.#end()), this.idleS * 1000);
  }

  #ask() {
    let left = WARNING_S;
    const words = make("p", {}, say("idle", { seconds: left }));
    const stay = () => {
      clearInterval(this.#timer);
      this.#close();
      this.touch();
    };
    this.#dialog = make(
      "dialog",
      { class: "idle", "aria-labelledby": "idle-title", oncancel: stay },
      make("h2", { id: "idle-title" }, say("idleTitle")),
      words,
      make("div", { class: "buttons" }, button(say("stay"), stay, { class: "main" })),
    );
    document.body.append(this.#dialog);
    this.#dialog.showModal();
    this.#timer = setInterval(() => {
      left -= 1;
      words.textContent = say("idle", { seconds: left });
      if (left <= 0) {
        clearInterval(this.#timer);
        this.#close();
        this.#end();
      }
    }, 1000);
  }

  #end() {
    this.forget();
    this.touch();
  }

  #close() {
    this.#dialog?.close();
    this.#dialog?.remove();
    this.#dialog = null;
  }
}
