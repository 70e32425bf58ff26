// One form on the screen: its questions, its faults, what was answered.

import { button, make } from "./elements.js";
import { shrink, takePhoto } from "./pictures.js";
import { fault, pick, say } from "./texts.js";
import { findFault } from "./validation.js";

const INPUTS = { text: "text", email: "email", phone: "tel", date: "date", number: "text" };

export class FormView {
  constructor(form) {
    this.form = form;
    this.attempt = null; // the form as it was sent last, see app.js
    this.files = new Map(form.fields.filter((field) => field.type === "files").map((field) => [field.name, []]));
    this.summary = make("div", { class: "faults", role: "alert", tabIndex: -1, hidden: true });
    this.element = make(
      "form",
      { class: "form", noValidate: true, autocomplete: "off", onsubmit: (event) => event.preventDefault() },
      this.summary,
      form.fields.map((field) => this.#question(field)),
    );
  }

  // What was answered, by field name; questions left out are not in it.
  values() {
    const values = {};
    for (const field of this.form.fields) {
      const value = this.#value(field);
      if (value !== "" && value !== false && value !== null && !(Array.isArray(value) && !value.length)) values[field.name] = value;
    }
    return values;
  }

  // Shows every fault; returns whether there is none.
  check() {
    const found = this.form.fields.flatMap((field) => {
      const problem = findFault(field, this.#value(field), this.files.get(field.name));
      return problem ? [{ field: field.name, message: fault(problem.code, problem.limit) }] : [];
    });
    this.show(found);
    return !found.length;
  }

  // `faults`: [{field, message}], ours or the daemon's.
  show(faults) {
    for (const field of this.form.fields) this.#mark(field, faults.find((item) => item.field === field.name)?.message ?? "");
    this.summary.replaceChildren();
    this.summary.hidden = !faults.length;
    if (!faults.length) return;
    const links = faults.map(({ field, message }) => {
      const title = this.form.fields.find((item) => item.name === field)?.title;
      const text = title ? `${pick(title)}: ${message}` : message;
      const link = button(text, () => this.#control(field)?.focus(), { class: "link" });
      return make("li", {}, link);
    });
    this.summary.append(make("h2", {}, say("faults")), make("ul", {}, links));
    this.summary.focus();
    this.summary.scrollIntoView({ block: "start" });
  }

  // Take over what was answered in another language.
  adopt(other) {
    for (const theirs of other.element.querySelectorAll("input:not([type=file]), textarea")) {
      const choosing = ["radio", "checkbox"].includes(theirs.type);
      for (const ours of this.element.querySelectorAll(`[name="${theirs.name}"]:not([type=file])`)) {
        if (!choosing) ours.value = theirs.value;
        else if (ours.value === theirs.value) ours.checked = theirs.checked;
      }
    }
    for (const field of this.form.fields.filter((item) => item.type === "files")) {
      const list = this.element.querySelector(`[data-field="${field.name}"] .file-list`);
      for (const file of other.files.get(field.name) ?? []) this.#keep(field, { ...file, preview: URL.createObjectURL(file.blob) }, list);
    }
    other.wipe();
  }

  // Forget everything: what was typed, and the pictures.
  wipe() {
    this.attempt = null;
    this.element.reset();
    for (const files of this.files.values()) for (const file of files.splice(0)) URL.revokeObjectURL(file.preview);
    this.element.replaceChildren();
  }

  #question(field) {
    const grouped = ["choice", "choices", "files"].includes(field.type);
    const box = make(grouped ? "fieldset" : "div", { class: `question ${field.type}`, "data-field": field.name });
    const title = field.type === "checkbox" ? null : make(grouped ? "legend" : "label", { htmlFor: `f-${field.name}` }, pick(field.title), " ", this.#note(field));
    const help = pick(field.help) ? make("p", { class: "help", id: `h-${field.name}` }, pick(field.help)) : null;
    const error = make("p", { class: "error", id: `e-${field.name}`, hidden: true });
    box.append(...[title, help, this.#controlOf(field), error].filter(Boolean));
    if (grouped) box.setAttribute("aria-describedby", `h-${field.name} e-${field.name}`);
    return box;
  }

  #note(field) {
    return make("span", { class: "note" }, say(field.required ? "required" : "optional"));
  }

  #controlOf(field) {
    const common = {
      id: `f-${field.name}`,
      name: field.name,
      autocomplete: "off",
      "aria-required": field.required ? "true" : null,
      "aria-describedby": `h-${field.name} e-${field.name}`,
    };
    if (field.type === "multiline") return make("textarea", { ...common, rows: 6, maxLength: field.schema.maxLength });
    if (field.type === "choice") return this.#options(field, "radio");
    if (field.type === "choices") return this.#options(field, "checkbox");
    if (field.type === "checkbox") {
      return make("label", { class: "option" }, make("input", { ...common, type: "checkbox" }), make("span", {}, pick(field.title), " ", this.#note(field)));
    }
    if (field.type === "files") return this.#filePicker(field);
    const inputMode = field.type === "number" ? "decimal" : null;
    return make("input", { ...common, type: INPUTS[field.type], inputMode, maxLength: field.schema.maxLength });
  }

  #options(field, type) {
    const skip = type === "radio" && !field.required ? [{ value: "", title: null }] : [];
    return make(
      "div",
      { class: "options" },
      [...field.choices, ...skip].map((choice, index) =>
        make(
          "label",
          { class: "option" },
          make("input", { type, name: field.name, value: choice.value, id: index ? null : `f-${field.name}` }),
          make("span", {}, choice.title ? pick(choice.title) : say("skip")),
        ),
      ),
    );
  }

  #filePicker(field) {
    const list = make("ul", { class: "file-list" });
    const input = make("input", {
      type: "file",
      accept: field.files.media_types.join(","),
      multiple: field.files.max_files > 1,
      class: "unseen",
      tabIndex: -1,
      "aria-hidden": "true",
      onchange: async () => {
        for (const file of [...input.files]) await this.#add(field, file, list);
        input.value = "";
      },
    });
    const camera = navigator.mediaDevices?.getUserMedia
      ? button(say("camera"), () => void this.#photograph(field, list), { id: `f-${field.name}` })
      : null;
    const choose = button(say("file"), () => input.click(), camera ? {} : { id: `f-${field.name}` });
    return make("div", {}, list, make("div", { class: "buttons" }, camera, choose), input);
  }

  async #photograph(field, list) {
    try {
      const blob = await takePhoto();
      if (blob) await this.#add(field, blob, list);
    } catch {
      this.#mark(field, say("noCamera"));
    }
  }

  async #add(field, file, list) {
    const files = this.files.get(field.name);
    const blob = await shrink(file);
    const name = blob === file && file.name ? file.name : `${say("photo", { number: files.length + 1 })}.jpg`;
    const kept = { name, blob, preview: URL.createObjectURL(blob) };
    const candidate = [...files, kept];
    const problem = findFault({ ...field, required: false }, null, candidate);
    if (problem) {
      URL.revokeObjectURL(kept.preview);
      this.#mark(field, fault(problem.code, problem.limit));
      return;
    }
    this.#mark(field, "");
    this.#keep(field, kept, list);
  }

  #keep(field, kept, list) {
    const files = this.files.get(field.name);
    files.push(kept);
    const picture = kept.blob.type.startsWith("image/") ? make("img", { src: kept.preview, alt: "" }) : null;
    const item = make("li", {}, picture, make("span", {}, kept.name));
    const removal = () => {
      files.splice(files.indexOf(kept), 1);
      URL.revokeObjectURL(kept.preview);
      item.remove();
    };
    item.append(button("✕", removal, { class: "remove", "aria-label": say("remove", { name: kept.name }) }));
    list.append(item);
  }

  #value(field) {
    const controls = [...this.element.querySelectorAll("input, textarea")].filter((control) => control.name === field.name);
    if (field.type === "files") return null;
    if (field.type === "checkbox") return controls[0].checked;
    if (field.type === "choices") return controls.filter((control) => control.checked).map((control) => control.value);
    if (field.type === "choice") return controls.find((control) => control.checked)?.value ?? "";
    const text = controls[0].value.trim();
    if (field.type !== "number" || !text) return text;
    const number = Number(text.replace(",", "."));
    return Number.isFinite(number) ? number : text;
  }

  #control(name) {
    return this.element.querySelector(`#f-${name}`);
  }

  #mark(field, message) {
    const box = this.element.querySelector(`[data-field="${field.name}"]`);
    const error = box.querySelector(".error");
    error.textContent = message;
    error.hidden = !message;
    box.classList.toggle("wrong", Boolean(message));
    for (const control of box.querySelectorAll("input:not([type=file]), textarea")) {
      if (message) control.setAttribute("aria-invalid", "true");
      else control.removeAttribute("aria-invalid");
    }
  }
}
