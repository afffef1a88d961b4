// The conversation on show: its messages, and the answer that is on its way.

import { stream } from "./api.js";
import { partsOf } from "./composer.js";
import { articleOf, fill, progressNodes, welcome } from "./message.js";

const $ = (id) => document.getElementById(id);

export class Chat {
  constructor(store, panel) {
    this.store = store;
    this.panel = panel;
    this.running = null;
  }

  show() {
    const { messages, reply } = this.store.current;
    $("log").replaceChildren(...messages.map(articleOf));
    if (messages.length === 0) $("log").append(...welcome());
    if (reply) this.panel.showAnswer(reply);
    else this.panel.clearAnswer();
    this.toEnd(true);
  }

  toEnd(always) {
    const log = $("log");
    if (always || log.scrollHeight - log.scrollTop - log.clientHeight < 120) log.scrollTop = log.scrollHeight;
  }

  // Sends a message and waits for the answer; false if the browser has no room to keep it. A message that cannot be
  // answered is not part of the conversation.
  async send(message) {
    const conversation = this.store.current;
    conversation.messages.push(message);
    if (conversation.messages.length === 1) {
      const { files, words } = partsOf(message);
      conversation.title = (words.trim() || files[0].name).slice(0, 60);
    }
    const kept = this.store.save();
    await this.answer(conversation, () => conversation.messages.pop());
    return kept;
  }

  // Another answer to the last message; the one before stays if there is none.
  async again() {
    const conversation = this.store.current;
    const old = conversation.messages.pop();
    await this.answer(conversation, () => conversation.messages.push(old));
  }

  // Fetch the answer to the last message of a conversation, and write it as it comes; `undo` if nothing comes.
  async answer(conversation, undo) {
    this.show();
    const message = { role: "assistant", content: "", reasoning: "" };
    const article = articleOf(message);
    article.setAttribute("aria-busy", "true");
    $("log").append(article);
    this.toEnd(true);
    const abort = new AbortController();
    this.running = { abort, conversation };
    const reply = { began: performance.now(), first: 0, usage: null, blocks_read: null, speed: 0 };
    let drawn = false;
    const draw = () => {
      drawn = false;
      if (message.content || message.reasoning) fill(article, message), this.toEnd();
    };
    try {
      for await (const chunk of stream("/v1/chat/completions", this.body(conversation), abort.signal)) {
        this.take(chunk, message, reply, article);
        if (!drawn) drawn = true, requestAnimationFrame(draw);
      }
      if (!message.content && !message.reasoning) message.ended ||= "The answer is empty.";
    } catch (error) {
      if (error.name !== "AbortError") {
        if (message.content || message.reasoning) message.ended = `Interrupted: ${error.message}`;
        else undo();
        throw error;
      }
      message.ended = "Stopped.";
    } finally {
      this.running = null;
      article.removeAttribute("aria-busy");
      if (message.content || message.reasoning || message.ended) conversation.messages.push(message);
      if (reply.usage) conversation.reply = reply;
      this.store.save();
      if (this.store.current === conversation) this.show();
    }
  }

  take(chunk, message, reply, article) {
    const progress = chunk.prompt_progress;
    if (progress && !message.content) article.querySelector(".body").replaceChildren(...progressNodes(progress));
    const choice = chunk.choices?.[0];
    if (choice?.delta?.content || choice?.delta?.reasoning_content) {
      reply.first ||= performance.now() - reply.began;
      message.content += choice.delta.content ?? "";
      message.reasoning += choice.delta.reasoning_content ?? "";
    }
    if (choice?.finish_reason === "length") message.ended = "The answer ended at its length limit.";
    reply.blocks_read = choice?.blocks_read ?? reply.blocks_read;
    reply.speed = chunk.timings?.tokens_per_second ?? reply.speed;
    if (chunk.usage) {
      reply.usage = chunk.usage;
      const seconds = (performance.now() - reply.began - reply.first) / 1000;
      reply.speed ||= (chunk.usage.completion_tokens - 1) / Math.max(seconds, 1e-3);
    }
  }

  body(conversation) {
    return {
      model: $("model").textContent,
      messages: this.messages(conversation),
      stream: true,
      stream_options: { include_usage: true },
      return_progress: true,
      timings: true,
      blocks_read: true,
      ...this.panel.requestFields(),
    };
  }

  messages(conversation, more = []) {
    const system = this.store.options.system;
    const first = system ? [{ role: "system", content: system }] : [];
    return [...first, ...conversation.messages.map(({ role, content }) => ({ role, content })), ...more];
  }

  stop() {
    this.running?.abort.abort();
  }
}
