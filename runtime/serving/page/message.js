// How a message looks: the user's with its files, the model's with its reasoning and how it ended.

import { partsOf } from "./composer.js";
import { prose } from "./prose.js";

const LONG = 4000; // characters of a message that is folded

export function element(name, className, text = "") {
  return Object.assign(document.createElement(name), { className, textContent: text });
}

// A text that is filled in when it is opened.
function folded(title, text, open = false) {
  const details = element("details", "");
  const whole = element("pre", "");
  whole.tabIndex = 0;
  details.append(element("summary", "", title), whole);
  details.addEventListener("toggle", () => (whole.textContent = text), { once: true });
  details.open = open;
  return details;
}

const sized = (title, text) => `${title} (${text.length.toLocaleString()} characters)`;

function userNodes(message) {
  const { files, words } = partsOf(message);
  const nodes = files.map(({ name, text }) => folded(sized(name, text), text));
  if (words.length > LONG) nodes.push(folded(sized(`${words.slice(0, 160).trim()} …`, words), words));
  else if (words) nodes.push(element("p", "", words));
  return nodes;
}

function modelNodes(message, open) {
  const nodes = prose(message.content.trimStart());
  if (message.reasoning) nodes.unshift(folded("Reasoning", message.reasoning, open));
  if (message.ended) nodes.push(element("p", "ended", message.ended));
  return nodes;
}

// Writes a message into the body of its article; what was opened stays open.
export function fill(article, message) {
  const body = article.querySelector(".body");
  const open = body.querySelector("details")?.open;
  body.replaceChildren(...(message.role === "user" ? userNodes(message) : modelNodes(message, open)));
}

function copyButton(message) {
  const button = element("button", "copy", "Copy");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(message.content.trim());
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  return button;
}

export function articleOf(message) {
  const article = element("article", message.role);
  article.append(element("h2", "hidden", message.role === "user" ? "You" : "Model"), element("div", "body"));
  fill(article, message);
  if (message.role === "assistant") {
    const actions = element("div", "actions");
    if (navigator.clipboard) actions.append(copyButton(message)); // a page without TLS has none
    actions.append(element("button", "again", "Answer again"));
    article.append(actions);
  }
  return article;
}

export function welcome() {
  return [
    element("p", "welcome", "Ask something, or drop text files into the page and ask about them."),
    element("p", "keys", "Enter sends · Shift+Enter begins a line · Escape stops · Alt+N begins a conversation"),
  ];
}

export function progressNodes({ processed, total, cache }) {
  const bar = Object.assign(document.createElement("progress"), { max: total, value: processed });
  const known = cache ? `, ${cache.toLocaleString()} known before` : "";
  return [bar, element("p", "ended", `Reading: ${processed.toLocaleString()} of ${total.toLocaleString()} tokens${known}`)];
}
