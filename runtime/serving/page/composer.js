// What the user is about to send: words, and text files that go before them.

import { ask } from "./api.js";

const $ = (id) => document.getElementById(id);
const MOST = 12 * 1024 * 1024; // characters; the server takes bodies of 16 MiB
const COUNTED = 1000; // characters from which on tokens are counted

export class Composer {
  // `say` shows a notice; `messages` gives those of a request with one more.
  constructor(say, messages, panel) {
    Object.assign(this, { say, messages, panel, files: [], counting: 0 });
    $("message").addEventListener("input", () => this.change());
    $("attach").addEventListener("click", () => $("file").click());
    $("file").addEventListener("change", async (event) => {
      await this.add([...event.target.files]);
      event.target.value = "";
    });
    document.addEventListener("dragover", (event) => (event.preventDefault(), this.markDrop(true)));
    document.addEventListener("dragleave", (event) => event.relatedTarget === null && this.markDrop(false));
    document.addEventListener("drop", (event) => (event.preventDefault(), this.markDrop(false), this.add([...event.dataTransfer.files])));
  }

  // The message as it is kept: `content` begins with the files, one after the other. Null if there is nothing to send.
  get message() {
    const words = $("message").value.trim() ? $("message").value : "";
    const content = [...this.files.map(({ text }) => text), words].filter(Boolean).join("\n\n");
    if (!content) return null;
    return { role: "user", content, files: this.files.map(({ name, text }) => ({ name, length: text.length })) };
  }

  clear() {
    this.set("", []);
  }

  // Puts a message back that was not answered.
  restore(message) {
    const { files, words } = partsOf(message);
    this.set(words, files);
  }

  set(words, files) {
    $("message").value = words;
    this.files = files;
    this.change();
  }

  async add(files) {
    for (const file of files) {
      if (file.size > MOST) return this.say(`${file.name} has ${Math.ceil(file.size / 1048576)} MiB; a message takes ${MOST / 1048576}.`);
      const text = (await file.text()).trim();
      if (text.includes("\0")) return this.say(`${file.name} is not a text file.`);
      if (!text) return this.say(`${file.name} is empty.`);
      this.files.push({ name: file.name, text });
    }
    this.say("");
    this.change();
    $("message").focus();
  }

  change() {
    this.fit();
    $("files").hidden = this.files.length === 0;
    $("files").replaceChildren(...this.files.map((file) => this.chip(file)));
    this.countSoon();
  }

  chip(file) {
    const item = document.createElement("li");
    const remove = Object.assign(document.createElement("button"), { type: "button", textContent: "×" });
    remove.setAttribute("aria-label", `Remove ${file.name}`);
    remove.addEventListener("click", () => {
      this.files = this.files.filter((each) => each !== file);
      this.change();
      $("message").focus();
    });
    item.append(file.name, remove);
    return item;
  }

  countSoon() {
    clearTimeout(this.counting);
    $("cost").textContent = "";
    if ((this.message?.content.length ?? 0) < COUNTED) return;
    this.counting = setTimeout(async () => {
      const message = this.message;
      const { count } = await ask("/tokenize", { messages: this.messages(message) }).catch(() => ({}));
      if (count === undefined || this.message?.content !== message.content) return;
      const over = this.panel.context && count > this.panel.context ? ": more than the context holds" : "";
      $("cost").textContent = `${count.toLocaleString()} tokens with the conversation${over}`;
    }, 400);
  }

  fit() {
    const box = $("message");
    box.style.height = "auto";
    box.style.height = `${Math.min(box.scrollHeight + 2, window.innerHeight / 3)}px`;
  }

  markDrop(shown) {
    document.body.classList.toggle("dropping", shown);
  }
}

// The files and the words of a message that `Composer.message` made.
export function partsOf({ content, files = [] }) {
  let at = 0;
  const found = files.map(({ name, length }) => {
    const text = content.slice(at, at + length);
    at += length + 2;
    return { name, text };
  });
  return { files: found, words: content.slice(at) };
}
