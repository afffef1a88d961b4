// The column about the model: context, memory, the last answer, options.

import { ask } from "./api.js";
import { drawStrip, summary } from "./strip.js";

const $ = (id) => document.getElementById(id);
const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB"];

export function bytes(count) {
  let unit = 0;
  while (count >= 1024 && unit < UNITS.length - 1) {
    count /= 1024;
    unit++;
  }
  return `${count.toFixed(unit ? 1 : 0)} ${UNITS[unit]}`;
}

const words = (name) => name.replaceAll("_", " ");
const whole = (count) => Math.round(count).toLocaleString();

// What options are where neither the user nor the checkpoint says: a small model at OpenAI's temperature of 1 wanders.
const SENSIBLE = { temperature: 0.7, top_p: 0.9 };

function fillList(list, rows) {
  list.replaceChildren(
    ...rows.flatMap(([name, value]) => [Object.assign(document.createElement("dt"), { textContent: name }), Object.assign(document.createElement("dd"), { textContent: value })]),
  );
}

export class Panel {
  constructor(store) {
    this.store = store;
    this.context = 0;
    this.own = {}; // options that requests name though the user did not choose them
    const form = $("options");
    for (const field of form.elements) {
      if (!field.name) continue;
      const value = store.options[field.name];
      if (field.type === "checkbox") field.checked = value === true;
      else field.value = value ?? "";
    }
    form.addEventListener("input", () => this.keepOptions());
    form.addEventListener("reset", () => setTimeout(() => this.keepOptions()));
    form.addEventListener("submit", (event) => event.preventDefault());
  }

  keepOptions() {
    const options = {};
    for (const field of $("options").elements) {
      if (!field.name) continue;
      if (field.type === "checkbox") options[field.name] = field.checked;
      else if (field.value !== "" && field.checkValidity()) options[field.name] = field.type === "number" ? Number(field.value) : field.value;
    }
    this.store.options = options;
    this.store.save();
  }

  // The fields of a request that the options stand for.
  requestFields() {
    const { system, read_only, ...fields } = this.store.options;
    return { ...this.own, ...fields, ...(read_only ? { prefix_reuse: "read" } : {}) };
  }

  showModel(model) {
    this.context = model.max_model_len;
    $("model").textContent = model.id;
    document.title = `${model.id} · sala-serve`;
    this.showContext(0);
    this.showDefaults(model.default_sampling ?? {});
  }

  // Empty fields show what holds without them.
  showDefaults(known) {
    const says = known.temperature !== undefined;
    this.own = says ? {} : SENSIBLE;
    const all = { top_p: 1, top_k: 0, min_p: 0, ...known, ...this.own };
    for (const [name, value] of Object.entries(all)) {
      const field = $("options").elements[name];
      if (field) field.placeholder = value === 0 && name !== "temperature" ? "off" : String(value);
    }
    $("options-text").textContent = says
      ? "Empty fields are as the checkpoint's generation_config.json says."
      : "The checkpoint names no sampling; empty fields are what suits most models.";
  }

  showContext(used) {
    $("context").max = this.context || 1;
    $("context").high = 0.9 * this.context;
    $("context").value = used;
    const left = whole(Math.max(0, this.context - used));
    $("context-text").textContent = `${whole(used)} tokens used, ${left} left of ${whole(this.context)}`;
  }

  async showMemory() {
    const { memory, prefix_cache: kept, running, waiting } = await ask("/usage");
    const pools = Object.entries(memory.pools).filter(([, pool]) => pool.total > 0);
    const needed = pools.filter(([name]) => name !== "snapshots"); // which stay until others need the room
    $("memory").value = Math.max(0, ...needed.map(([, pool]) => pool.used / pool.total));
    $("memory-text").textContent = `${bytes(memory.planned_bytes)} planned`;
    const parts = Object.entries(memory.parts).sort(([, one], [, other]) => other - one);
    fillList($("memory-parts"), parts.map(([name, size]) => [words(name), bytes(size)]));
    const rows = pools.map(([name, pool]) => [words(name), `${whole(pool.used)} of ${whole(pool.total)}`]);
    if (kept.enabled) rows.push(["kept prefixes", `${whole(kept.cached_tokens)} tokens`]);
    rows.push(["requests", `${whole(running)} running, ${whole(waiting)} waiting`]);
    fillList($("memory-held"), rows);
  }

  showAnswer(reply) {
    this.showContext(reply.usage.prompt_tokens + reply.usage.completion_tokens);
    const prompt = reply.usage.prompt_tokens;
    const cached = reply.usage.prompt_tokens_details?.cached_tokens ?? 0;
    const rows = [
      ["Prompt", `${whole(prompt)} tokens`],
      ["Known before", cached ? `${whole(cached)} tokens (${((100 * cached) / prompt).toFixed(0)} %)` : "nothing"],
      ["First token", `${(reply.first / 1000).toFixed(2)} s`],
      ["Answer", `${whole(reply.usage.completion_tokens)} tokens`],
    ];
    if (reply.speed > 0) rows.push(["Speed", `${reply.speed.toFixed(1)} tokens/s`]);
    fillList($("answer"), rows);
    $("answer-section").hidden = false;
    this.showStrip(reply.blocks_read);
  }

  showStrip(reads) {
    $("strip-section").hidden = !reads;
    if (!reads) return;
    drawStrip($("strip"), reads);
    $("strip-text").textContent = `${summary(reads)}.`;
  }

  clearAnswer() {
    $("answer-section").hidden = true;
    this.showStrip(null);
    this.showContext(0);
  }
}
