// An SSE server in plain Node: no package, a map of sessions.
//
// SESSIONS_CLEANUP=never keeps every session for ever. Anything else is done right: a session that nobody used for SESSIONS_TTL_MS goes.
//
//   POST /sessions             -> 201 {"session_id": …}            DELETE /sessions/ID -> 204
//   GET  /events?session=ID&interval_ms=&limit=  -> text/event-stream: connected, message × n, completed
//   GET  /metrics (JSON)       GET /health

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import process from "node:process";

const cleanup = process.env.SESSIONS_CLEANUP ?? "ttl";
if (!["ttl", "never"].includes(cleanup)) {
  console.error(`SESSIONS_CLEANUP is \`${cleanup}\`: write \`ttl\` or \`never\``);
  process.exit(2);
}
const ttl = Number(process.env.SESSIONS_TTL_MS ?? 60_000);
const port = Number(process.env.PORT ?? 8080);

/** @type {Map<string, {id: string, created: Date, used: number, streams: number, last: object[]}>} */
const sessions = new Map();
const counted = { created: 0, removed: 0, streams: 0 };

function create() {
  const session = { id: randomUUID(), created: new Date(), used: Date.now(), streams: 0, last: [] };
  sessions.set(session.id, session);
  counted.created += 1;
  return session;
}

function remove(id) {
  const gone = sessions.delete(id);
  counted.removed += Number(gone);
  return gone;
}

/** What a session remembers: the last ten events that it was sent. */
function remember(session, event) {
  session.used = Date.now();
  session.last.push(event);
  if (session.last.length > 10) session.last.shift();
}

if (cleanup === "ttl") {
  setInterval(() => {
    const oldest = Date.now() - ttl;
    for (const session of sessions.values()) {
      if (session.used < oldest && session.streams === 0) remove(session.id);
    }
  }, ttl / 10).unref();
}

function json(response, status, value) {
  const body = JSON.stringify(value);
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(body) });
  response.end(body);
}

function stream(response, session, everyMs, limit) {
  counted.streams += 1;
  session.streams += 1;
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
  let number = 0;
  const send = (name, data) => response.write(`event: ${name}\nid: ${number}\ndata: ${JSON.stringify(data)}\n\n`);
  send("connected", { session_id: session.id });
  const timer = setInterval(() => {
    number += 1;
    const event = { number, text: `event ${number} of ${session.id}` };
    remember(session, event);
    send("message", event);
    if (number >= limit) {
      send("completed", { events: number });
      response.end();
    }
  }, everyMs);
  response.on("close", () => {
    clearInterval(timer);
    counted.streams -= 1;
    session.streams -= 1;
    session.used = Date.now();
  });
}

const server = createServer((request, response) => {
  request.resume();
  const url = new URL(request.url, "http://localhost");
  const what = `${request.method} ${url.pathname}`;
  if (what === "GET /health") return json(response, 200, { status: "ok" });
  if (what === "GET /metrics") {
    return json(response, 200, { sessions: { live: sessions.size, ...counted }, streams: { live: counted.streams } });
  }
  if (what === "POST /sessions") return json(response, 201, { session_id: create().id });
  if (request.method === "DELETE" && url.pathname.startsWith("/sessions/")) {
    if (!remove(url.pathname.slice("/sessions/".length))) return json(response, 404, { error: "no such session" });
    response.writeHead(204);
    return response.end();
  }
  if (what === "GET /events") {
    const id = url.searchParams.get("session");
    const session = id ? sessions.get(id) : { id: "", used: 0, streams: 0, last: [] };
    if (!session) return json(response, 404, { error: "no such session" });
    const every = Math.max(1, Number(url.searchParams.get("interval_ms") ?? 1000));
    const limit = Number(url.searchParams.get("limit") ?? Infinity);
    return stream(response, session, every, limit);
  }
  return json(response, 404, { error: "not found" });
});

server.keepAliveTimeout = 5_000;
server.listen(port, "127.0.0.1", () => console.log(`listening on 127.0.0.1:${server.address().port}`));
for (const signal of ["SIGTERM", "SIGINT"]) {
  process.on(signal, () => {
    server.close();
    server.closeAllConnections();
    process.exit(0);
  });
}
