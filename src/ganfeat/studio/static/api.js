// What the page asks of its server, and only of it.

export class ServerError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

const connection = new EventTarget();
let gone = false;

export const onConnection = (listener) => connection.addEventListener("change", () => listener(!gone));

function lost() {
  if (gone) return;
  gone = true;
  connection.dispatchEvent(new Event("change"));
  const again = async () => {
    try {
      const answer = await fetch("/api/run", { cache: "no-store" });
      if (!answer.ok) throw new Error("not yet");
    } catch {
      setTimeout(again, 1500);
      return;
    }
    gone = false;
    connection.dispatchEvent(new Event("change"));
  };
  setTimeout(again, 1500);
}

export function address(path, query = {}) {
  const parts = [];
  for (const [name, value] of Object.entries(query)) {
    if (value === null || value === undefined) continue;
    const text = Array.isArray(value) ? value.join(",") : value === true ? "1" : value === false ? "0" : String(value);
    parts.push(`${name}=${encodeURIComponent(text).replaceAll("%2C", ",")}`);
  }
  return parts.length ? `${path}?${parts.join("&")}` : path;
}

async function request(url, options) {
  let answer;
  try {
    answer = await fetch(url, options);
  } catch (error) {
    if (error.name !== "AbortError") lost();
    throw error;
  }
  if (!answer.ok) {
    let message = `The server answered ${answer.status}.`;
    try {
      message = (await answer.json()).error ?? message;
    } catch {
      // Not ours: the status has to do.
    }
    throw new ServerError(message, answer.status);
  }
  return answer;
}

export async function get(path, query, { signal } = {}) {
  return (await request(address(path, query), { signal })).json();
}

export async function post(path, body, { signal, type } = {}) {
  const headers = { "Content-Type": type ?? "application/json" };
  const content = type ? body : JSON.stringify(body);
  return (await request(path, { method: "POST", headers, body: content, signal })).json();
}

// A PNG and the reference of the z it was drawn from.
export async function getPicture(path, query, { signal } = {}) {
  const answer = await request(address(path, query), { signal });
  return { blob: await answer.blob(), reference: answer.headers.get("X-Reference") };
}

// Long work: the server answers 202 with its progress until it is done.
export async function wait(path, query, { signal, progress }) {
  for (;;) {
    const answer = await request(address(path, query), { signal });
    const content = await answer.json();
    if (answer.status !== 202) return content;
    progress?.(content);
    await new Promise((resolve, reject) => {
      const leave = () => {
        clearTimeout(timer);
        reject(new DOMException("left", "AbortError"));
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener("abort", leave);
        resolve();
      }, 400);
      signal?.addEventListener("abort", leave, { once: true });
    });
  }
}

// Runs one call at a time. Calls that come meanwhile wait, and only the newest of them is ever made.
export function newest(work, onError) {
  let running = false;
  let waiting = null;
  const call = async (...values) => {
    if (running) {
      waiting = values;
      return;
    }
    running = true;
    try {
      await work(...values);
    } catch (error) {
      if (error.name !== "AbortError" && !waiting) onError?.(error);
    }
    running = false;
    if (waiting) {
      const next = waiting;
      waiting = null;
      call(...next);
    }
  };
  return call;
}

// In words, for a person.
export function explain(error) {
  return error instanceof ServerError ? error.message : "The studio's server does not answer.";
}
