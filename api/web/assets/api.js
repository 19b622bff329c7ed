// The REST interface, as the browser uses it: with the session's cookie and,
// for changes, the session's token.

// Where the interface is, whatever prefix a proxy puts before it.
export const ROOT = new URL("../../", import.meta.url);

export const session = { role: null, clientId: null, csrfToken: null };
export const isAdmin = () => session.role === "admin";

export class ApiError extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

let onSignedOut = () => {};
export const whenSignedOut = (listener) => {
  onSignedOut = listener;
};

function detailOf(body, status) {
  const detail = body && body.detail;
  if (typeof detail === "string") return detail;
  if (Array.isArray(detail)) {
    return detail
      .map((each) => `${(each.loc || []).slice(1).join(".")}: ${each.msg}`)
      .join("; ");
  }
  return `The service answered ${status}`;
}

function urlOf(path, query = {}) {
  const url = new URL(path, ROOT);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") {
      url.searchParams.set(name, value);
    }
  }
  return url;
}

async function request(method, path, { query, body, client, signal } = {}) {
  const headers = {};
  if (method !== "GET" && session.csrfToken) {
    headers[session.csrfHeader] = session.csrfToken;
  }
  if (body !== undefined) headers["content-type"] = "application/json";
  if (client && isAdmin()) headers["client-id"] = client;
  let answer;
  try {
    answer = await fetch(urlOf(path, query), {
      method,
      headers,
      signal,
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The service cannot be reached");
  }
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => null);
  if (answer.status === 401 && session.role) {
    session.role = null;
    onSignedOut();
  }
  throw new ApiError(answer.status, detailOf(told, answer.status));
}

async function json(method, path, options) {
  const answer = await request(method, path, options);
  return answer.status === 204 ? null : answer.json();
}

// `path` never begins with a slash: it is relative to ROOT.
export const get = (path, query, options = {}) =>
  json("GET", path, { ...options, query });
export const post = (path, body = {}, options = {}) =>
  json("POST", path, { ...options, body });
export const act = (path, options = {}) => json("POST", path, options);
export const patch = (path, body, options = {}) =>
  json("PATCH", path, { ...options, body });
export const remove = (path, options = {}) => json("DELETE", path, options);

// One page of a list, and the cursor of the next one.
export async function page(path, query, options = {}) {
  const answer = await request("GET", path, { ...options, query });
  const next = answer.headers.get("x-next-cursor");
  return { items: await answer.json(), next };
}

// Reads the list to its end, or to `most`.
export async function all(path, query = {}, most = 5000) {
  const items = [];
  let cursor;
  do {
    const found = await page(path, { limit: 1000, ...query, cursor });
    items.push(...found.items);
    cursor = found.next;
  } while (cursor && items.length < most);
  return items;
}

// An answer in pieces, as they come.
export async function stream(path, body, client, onText, signal) {
  const answer = await request("POST", path, { body, client, signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return answer.headers.get("x-stream-id");
    onText(value);
  }
}

export async function signIn(key) {
  Object.assign(session, await post("console/session", { key }));
}

export async function currentSession() {
  Object.assign(session, await get("console/session"));
  return session.role !== null;
}

export async function signOut(everywhere = false) {
  await json("DELETE", "console/session", {
    query: everywhere ? { everywhere: true } : {},
  });
  session.role = null;
}

// Names of clients, for the administrator.
let names = new Map();
export async function learnClients() {
  if (!isAdmin()) return;
  const found = await all("clients");
  names = new Map(found.map((each) => [each.clientId, each.name]));
}
export const clientName = (id) => names.get(id) || id || "everybody";
export const clientNames = () => [...names];
