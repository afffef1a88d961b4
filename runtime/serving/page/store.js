// Conversations and options, kept in this browser.

const CONVERSATIONS = "sala.conversations";
const OPTIONS = "sala.options";
const CURRENT = "sala.current";

function read(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

// False if the browser has no room (texts of books): the page says so and goes on without.
function write(name, value) {
  try {
    localStorage.setItem(name, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

function isConversation(value) {
  return typeof value?.id === "string" && Array.isArray(value.messages);
}

export class Store {
  constructor() {
    const found = read(CONVERSATIONS, []);
    this.conversations = Array.isArray(found) ? found.filter(isConversation) : [];
    this.options = read(OPTIONS, {}) ?? {};
    const current = read(CURRENT, null);
    this.current = this.conversations.find((each) => each.id === current) ?? this.conversations[0] ?? this.begin();
  }

  begin() {
    const unused = this.conversations.find((each) => each.messages.length === 0);
    if (unused) {
      this.current = unused;
      return unused;
    }
    const conversation = { id: crypto.randomUUID?.() ?? String(Date.now() + Math.random()), title: "New conversation", messages: [] };
    this.conversations.unshift(conversation);
    this.current = conversation;
    return conversation;
  }

  choose(id) {
    this.current = this.conversations.find((each) => each.id === id) ?? this.current;
    return this.save();
  }

  remove(id) {
    this.conversations = this.conversations.filter((each) => each.id !== id);
    if (this.current.id === id) this.current = this.conversations[0] ?? this.begin();
    return this.save();
  }

  save() {
    return write(CONVERSATIONS, this.conversations) && write(CURRENT, this.current.id) && write(OPTIONS, this.options);
  }
}
