
"use strict";
// Names are anybody's words: they reach the page by textContent only.

const REFRESH_MS = 2000;
const key = new URLSearchParams(location.search).get("key") ?? "";
const HOLDER_COLORS = ["#1f6feb", "#d9730d", "#1a7f45", "#8e44ad", "#c0392b", "#0e8a93", "#9a6b00", "#5d6d7e"];
let chosen = null;

const byId = (id) => document.getElementById(id);

function element(name, content = [], attributes = {}) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.append(...[content].flat());
  return made;
}

function drawn(name, attributes, content = []) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.append(...[content].flat());
  return made;
}

function bytes(amount) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (amount >= 1024 && unit < units.length - 1) { amount /= 1024; unit += 1; }
  return `${unit === 0 || amount >= 100 ? Math.round(amount) : amount.toFixed(1)} ${units[unit]}`;
}

const rate = (amount) => amount >= 1 ? `${bytes(amount)}/s` : "–";
const perSecond = (amount) => amount >= 0.05 ? `${amount >= 100 ? Math.round(amount) : amount.toFixed(1)}/s` : "–";

function duration(ms) {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 90) return `${seconds} s`;
  if (seconds < 5400) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

function table(columns, rows, none) {
  if (rows.length === 0) return element("p", none, { class: "none" });
  const cell = (name, column, content) => element(name, content, column.class ? { class: column.class } : {});
  const head = element("tr", columns.map((column) => cell("th", column, column.title)));
  const body = rows.map((row) => {
    const made = element("tr", columns.map((column) => cell("td", column, column.of(row))));
    if (row.file_id !== undefined && row.file_id === chosen) made.className = "chosen";
    return made;
  });
  return element("table", [element("thead", head), element("tbody", body)]);
}

const number = (title, of) => ({ title, of, class: "number" });

function tiles(now) {
  const up = now.servers.filter((server) => server.live).length;
  const total = now.servers.reduce((sum, server) => sum + server.total_bytes, 0);
  const free = now.servers.reduce((sum, server) => sum + server.free_bytes, 0);
  const list = [
    [rate(now.traffic.written_bytes_per_s), "written"],
    [rate(now.traffic.read_bytes_per_s), "read"],
    [`${up} of ${now.servers.length}`, "file servers up"],
    [`${now.sessions_connected} of ${now.sessions_open}`, "sessions connected"],
    [perSecond(now.tokens.requests_per_s), "token requests"],
    [perSecond(now.tokens.revokes_per_s), "revokes"],
    [`${now.tokens.waiting}`, "requests waiting"],
    [`${bytes(free)}`, `free of ${bytes(total)}`],
  ];
  byId("tiles").replaceChildren(...list.map(([value, what]) => element("div", [element("b", value), element("span", what)])));
}

// A round number at least as large as the largest.
function ceiling(largest) {
  if (largest <= 0) return 1;
  const power = 2 ** Math.floor(Math.log2(largest));
  return [1, 1.5, 2].map((factor) => factor * power).find((step) => step >= largest);
}

function chart(history, lines, label) {
  const [width, height, left, right, top, bottom] = [560, 190, 74, 10, 8, 22];
  const span = 600_000;
  const most = ceiling(Math.max(0, ...history.flatMap((moment) => lines.map((line) => line.of(moment)))));
  const x = (age) => left + (width - left - right) * (1 - Math.min(age, span) / span);
  const y = (value) => top + (height - top - bottom) * (1 - value / most);
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  for (const part of [0, 0.5, 1]) {
    svg.append(drawn("line", { class: "grid", x1: left, x2: width - right, y1: y(part * most), y2: y(part * most) }));
    svg.append(drawn("text", { x: left - 6, y: y(part * most) + 4, "text-anchor": "end" }, label(part * most)));
  }
  for (const minutes of [10, 8, 6, 4, 2, 0]) {
    const text = minutes === 0 ? "now" : `−${minutes} min`;
    const anchor = minutes === 0 ? "end" : minutes === 10 ? "start" : "middle";
    svg.append(drawn("text", { x: x(minutes * 60_000), y: height - 6, "text-anchor": anchor }, text));
  }
  for (const line of lines) {
    const points = history.map((moment) => `${x(moment.age_ms).toFixed(1)},${y(line.of(moment)).toFixed(1)}`);
    const look = { points: points.join(" "), fill: "none", stroke: `var(${line.color})`, "stroke-width": 1.8, "stroke-linejoin": "round" };
    svg.append(drawn("polyline", look));
  }
  return [svg, legend(lines.map((line) => [`var(${line.color})`, line.name]))];
}

function legend(entries) {
  return element("ul", entries.map(([color, name]) => {
    const mark = element("i");
    mark.style.background = color;
    return element("li", [mark, name]);
  }), { class: "legend" });
}

function charts(history) {
  byId("throughput").replaceChildren(...chart(history, [
    { name: "written", color: "--write", of: (moment) => moment.written_bytes_per_s },
    { name: "read", color: "--read", of: (moment) => moment.read_bytes_per_s },
  ], (value) => value === 0 ? "0" : `${bytes(value)}/s`));
  byId("traffic").replaceChildren(...chart(history, [
    { name: "requests", color: "--write", of: (moment) => moment.token_requests_per_s },
    { name: "revokes", color: "--bad", of: (moment) => moment.revokes_per_s },
  ], (value) => `${Number(value.toPrecision(3))}/s`));
}

function servers(list) {
  const bar = (server) => {
    const filled = element("i");
    filled.style.width = `${server.total_bytes ? 100 * (1 - server.free_bytes / server.total_bytes) : 0}%`;
    return element("span", filled, { class: "bar", title: `${bytes(server.free_bytes)} free` });
  };
  byId("servers").replaceChildren(table([
    { title: "Server", of: (server) => server.name, class: "name" },
    { title: "Address", of: (server) => server.address },
    { title: "State", of: (server) => element("span", server.live ? "up" : `down, silent for ${duration(server.heartbeat_age_ms)}`, { class: server.live ? "up" : "down" }) },
    { title: "Space used", of: bar },
    number("Free", (server) => bytes(server.free_bytes)),
    number("Objects", (server) => `${server.objects}`),
    number("Written", (server) => rate(server.traffic?.written_bytes_per_s ?? 0)),
    number("Read", (server) => rate(server.traffic?.read_bytes_per_s ?? 0)),
    number("Requests", (server) => perSecond(server.traffic?.requests_per_s ?? 0)),
    number("Failures", (server) => perSecond(server.traffic?.failures_per_s ?? 0)),
  ], list, "no file server has registered yet"));
}

const nameOf = (file) => file.path || `file ${file.file_id}`;

function files(list) {
  const choose = (file) => {
    const button = element("button", nameOf(file), { type: "button", title: nameOf(file) });
    button.addEventListener("click", () => { chosen = file.file_id; refresh(); });
    return button;
  };
  byId("files").replaceChildren(table([
    { title: "File", of: choose, class: "name" },
    number("Written", (file) => rate(file.written_bytes_per_s)),
    number("Read", (file) => rate(file.read_bytes_per_s)),
    number("Requests", (file) => perSecond(file.requests_per_s)),
    number("Token requests", (file) => perSecond(file.token_requests_per_s)),
    number("Revokes", (file) => perSecond(file.revokes_per_s)),
    number("Waiting", (file) => `${file.waiting}`),
    number("Ranges", (file) => `${file.live_ranges}`),
  ], list, "nothing is read or written now"));
}

function tokenMap(name, map) {
  const [width, height, left, right, top] = [1120, 92, 8, 8, 8];
  const barHeight = 46;
  const finite = map.tokens.flatMap((token) => [token.start, token.end ?? token.start]);
  const end = Math.max(map.size_bytes, ...finite, 1);
  const x = (at) => left + (width - left - right) * Math.min(at, end) / end;
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  svg.append(drawn("rect", { x: left, y: top, width: width - left - right, height: barHeight, fill: "var(--line)" }));
  const holders = [...new Set(map.tokens.flatMap((token) => token.holders))];
  const color = (holder) => HOLDER_COLORS[holders.indexOf(holder) % HOLDER_COLORS.length];
  for (const token of map.tokens) {
    const [from, to] = [x(token.start), x(token.end ?? end)];
    const part = barHeight / token.holders.length;
    token.holders.forEach((holder, index) => {
      const look = { class: "token", x: from, y: top + index * part, width: Math.max(to - from, 0.8), height: part, fill: color(holder) };
      if (token.mode === "shared") look["fill-opacity"] = 0.45;
      if (token.revoking) Object.assign(look, { stroke: "var(--bad)", "stroke-width": 2 });
      const range = `${token.start} to ${token.end ?? "the end"}`;
      svg.append(drawn("rect", look, drawn("title", {}, `${range}: ${token.mode}, ${holder}${token.revoking ? ", being revoked" : ""}`)));
    });
  }
  // A file of no bytes whose holder has all that may come: there is no scale.
  const label = (part) => end > 1 ? bytes(part * end) : part === 0 ? "0 B" : "∞";
  for (const part of end > 1 ? [0, 0.25, 0.5, 0.75, 1] : [0, 1]) {
    const anchor = part === 0 ? "start" : part === 1 ? "end" : "middle";
    svg.append(drawn("line", { class: "grid", x1: x(part * end), x2: x(part * end), y1: top + barHeight, y2: top + barHeight + 6 }));
    svg.append(drawn("text", { x: x(part * end), y: top + barHeight + 19, "text-anchor": anchor }, label(part)));
  }
  const title = `${name}: ${bytes(map.size_bytes)}, ${map.stripe_count} stripes of ${bytes(map.stripe_unit_bytes)}; ` +
    `${map.tokens.length + map.left_out} ranges, ${map.waiting} requests waiting, ${map.revokes} revokes so far. ` +
    "Full colour: exclusive; pale: shared; red edge: being revoked.";
  const names = new Map(map.tokens.flatMap((token) => token.holders.map((holder, index) => [holder, token.holder_names[index]])));
  const entries = holders.slice(0, 24).map((holder) => [color(holder), `${holder} (${names.get(holder) ?? "unknown"})`]);
  return [element("p", title, { class: "none" }), svg, legend(entries)];
}

function sessions(now) {
  const cache = (of) => (session) => session.cache ? of(session.cache) : "–";
  const hits = (counts) => {
    const [hit, all] = [counts.read_hits + counts.write_hits, counts.read_hits + counts.read_misses + counts.write_hits + counts.write_misses];
    return all ? `${Math.round(100 * hit / all)} %` : "–";
  };
  byId("sessions").replaceChildren(table([
    { title: "Client", of: (session) => session.client_name, class: "name" },
    number("Id", (session) => `${session.client_id}`),
    { title: "Stream", of: (session) => element("span", session.connected ? "connected" : "broken", { class: session.connected ? "up" : "down" }) },
    number("Age", (session) => duration(session.age_ms)),
    number("Token requests", (session) => `${session.token_requests}`),
    number("Waiting", (session) => `${session.token_requests_waiting}`),
    number("Cached", cache((counts) => bytes(counts.cached_bytes))),
    number("Dirty", cache((counts) => bytes(counts.dirty_bytes))),
    number("Cache hits", cache(hits)),
  ], now.sessions, "no session"));
}

async function ask(path) {
  const answer = await fetch(path, { headers: { Authorization: `Bearer ${key}` }, cache: "no-store" });
  if (!answer.ok) throw new Error(`${path.split("?")[0]}: ${answer.status}`);
  return answer.json();
}

async function drawMap(now) {
  // Until somebody chooses one: the hottest that anybody holds, for others have no map.
  const wanted = (candidate) => chosen === null ? candidate.live_ranges > 0 : candidate.file_id === chosen;
  const file = now.hottest_files.find(wanted) ?? now.hottest_files[0];
  if (chosen === null && !file) {
    byId("map").replaceChildren(element("p", "no file is hot", { class: "none" }));
    return;
  }
  const id = chosen ?? file.file_id;
  try {
    byId("map").replaceChildren(...tokenMap(file?.file_id === id ? nameOf(file) : `file ${id}`, await ask(`api/tokens?file=${id}`)));
  } catch (error) {
    byId("map").replaceChildren(element("p", `no token map: ${error.message}`, { class: "none" }));
  }
}

async function refresh() {
  const state = byId("state");
  try {
    const now = await ask("api/activity");
    byId("about").textContent = `cluster ${now.cluster_id}, start ${now.boot}, up ${duration(now.uptime_ms)}; ` +
      `${now.files} files, ${now.directories} directories, ${now.open_handles} open`;
    tiles(now);
    charts(now.history);
    servers(now.servers);
    files(now.hottest_files);
    sessions(now);
    await drawMap(now);
    state.textContent = `as of ${new Date().toLocaleTimeString()}`;
    state.className = "";
  } catch (error) {
    state.textContent = `no answer (${error.message}); what is shown is old`;
    state.className = "bad";
  }
}

async function keepRefreshing() {
  await refresh();
  setTimeout(keepRefreshing, REFRESH_MS);
}

keepRefreshing();
