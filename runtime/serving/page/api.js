// Requests to the server, with the key if it asks for one.

const KEY = "sala.key";
let key = sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY) ?? "";

export class ServerError extends Error {
  constructor(status, error) {
    super(error?.message ?? `the server answered ${status}`);
    this.status = status;
    this.code = error?.code ?? null;
  }
}

export function setKey(value, keep) {
  key = value;
  sessionStorage.setItem(KEY, value);
  if (keep) localStorage.setItem(KEY, value);
  else localStorage.removeItem(KEY);
}

async function request(path, body, signal) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const method = body === undefined ? "GET" : "POST";
  const response = await fetch(path, { method, headers, signal, body: body && JSON.stringify(body) });
  if (!response.ok) {
    const found = await response.json().catch(() => ({}));
    throw new ServerError(response.status, found.error);
  }
  return response;
}

export async function ask(path, body, signal) {
  return (await request(path, body, signal)).json();
}

// The documents of a stream of server-sent events, until [DONE]. An error inside of it is thrown.
export async function* stream(path, body, signal) {
  const response = await request(path, body, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new ServerError(0, { message: "the connection ended before the answer did" });
    const events = (rest + value).split(/\r?\n\r?\n/);
    rest = events.pop();
    for (const event of events) {
      const data = event.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
      if (data === "[DONE]") return;
      if (!data) continue;
      const found = JSON.parse(data);
      if (found.error) throw new ServerError(500, found.error);
      yield found;
    }
  }
}
