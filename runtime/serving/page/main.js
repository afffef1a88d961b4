// The page: what keys and buttons do.

import { ask, setKey } from "./api.js";
import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { Panel } from "./panel.js";
import { Store } from "./store.js";

const $ = (id) => document.getElementById(id);
const store = new Store();
const panel = new Panel(store);
const chat = new Chat(store, panel);
const composer = new Composer(say, (message) => chat.messages(store.current, [message]), panel);

function say(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

function askForKey() {
  $("key-dialog").returnValue = "";
  $("key-dialog").showModal();
  return new Promise((done) => $("key-dialog").addEventListener("close", () => {
    const given = $("key-dialog").returnValue === "ok";
    if (given) setKey($("key").value, $("keep-key").checked);
    $("key").value = "";
    done(given);
  }, { once: true }));
}

// Does something that may need the key: asks for it, and tries again.
async function withKey(action) {
  for (;;) {
    try {
      return await action();
    } catch (error) {
      if (error.status !== 401 || !(await askForKey())) throw error;
    }
  }
}

async function tell(action) {
  try {
    say("");
    await withKey(action);
  } catch (error) {
    say(error instanceof TypeError ? "The server does not answer." : error.message);
  }
}

function showList() {
  $("list").replaceChildren(...store.conversations.map((each) => {
    const item = document.createElement("li");
    const open = Object.assign(document.createElement("button"), { textContent: each.title, title: each.title, className: "open" });
    const remove = Object.assign(document.createElement("button"), { textContent: "×", className: "remove" });
    remove.setAttribute("aria-label", `Delete ${each.title}`);
    if (each === store.current) open.setAttribute("aria-current", "true");
    open.addEventListener("click", () => change(() => store.choose(each.id)));
    remove.addEventListener("click", () => change(() => store.remove(each.id)));
    item.append(open, remove);
    return item;
  }));
}

function change(action) {
  chat.stop();
  action();
  showList();
  chat.show();
  toggle("conversations", "show-conversations", false);
  $("message").focus();
}

function showRunning(running) {
  $("send").hidden = running;
  $("stop").hidden = !running;
  $("log").setAttribute("aria-busy", String(running));
}

// Lets the model answer; `action` is what asks it.
async function run(action) {
  showRunning(true);
  const told = tell(action);
  showList(); // the first message names its conversation
  await told;
  showRunning(false);
  showList();
  $("message").focus();
  await panel.showMemory().catch(() => {});
}

async function send() {
  const message = composer.message;
  if (!message || chat.running) return;
  const conversation = store.current;
  composer.clear();
  await run(async () => {
    if (!(await chat.send(message))) say("This browser has no room to keep the conversation; it is lost when the page is closed.");
  });
  if (store.current === conversation && !conversation.messages.includes(message)) composer.restore(message);
}

function toggle(part, button, shown = !document.body.classList.contains(part)) {
  document.body.classList.toggle(part, shown);
  $(button).setAttribute("aria-expanded", String(shown));
}

function listen() {
  $("composer").addEventListener("submit", (event) => (event.preventDefault(), send()));
  $("stop").addEventListener("click", () => chat.stop());
  $("new").addEventListener("click", () => change(() => store.begin()));
  $("change-key").addEventListener("click", async () => (await askForKey()) && start());
  $("message").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) event.preventDefault(), send();
  });
  $("log").addEventListener("click", (event) => event.target.closest(".again") && !chat.running && run(() => chat.again()));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && chat.running) chat.stop();
    if (event.altKey && event.code === "KeyN") event.preventDefault(), change(() => store.begin());
  });
  $("show-conversations").addEventListener("click", () => toggle("conversations", "show-conversations"));
  $("show-panel").addEventListener("click", () => toggle("panel", "show-panel"));
}

const start = () => tell(async () => {
  const { data } = await ask("/v1/models");
  panel.showModel(data[0]);
  chat.show();
  await panel.showMemory();
});

listen();
showList();
chat.show();
$("message").focus();
start();
