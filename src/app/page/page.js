// The operator's page: asks the API, draws what it answers, and asks again when the border tells of a change. Whatever comes from the network is put in as text,
// never as markup: callers choose their own names.

import { ladder } from "/ladder.js";
import { form } from "/explain.js";
import { inHand, live, put } from "/live.js";

const main = document.querySelector("#main");
const standing = document.querySelector("#standing");
const signIn = document.querySelector("#sign-in");
let token = sessionStorage.getItem("token");

// ---- drawing

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "on") for (const [event, act] of Object.entries(value)) node.addEventListener(event, act);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

const dash = (value) => (value === null || value === undefined || value === "" ? "–" : String(value));
/// UTC, and says so.
const when = (time) => (time ? time.replace("T", " ").replace(/\.\d+/, "") : "–");
const user = (uri) => dash(uri).replace(/^sips?:/, "").replace(/;.*$/, "");

function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

function table(heads, rows, nothing) {
  if (rows.length === 0) return el("p", { class: "faint" }, nothing);
  const cell = (content) => {
    if (content instanceof HTMLTableCellElement) return content;
    return el("td", {}, content instanceof Node ? content : dash(content));
  };
  return el("div", { class: "scroll", tabindex: "0" },
    el("table", {},
      el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map(cell))))));
}

const tile = (value, words, link, mood) => el("a", { class: "tile", href: link }, el("b", { class: mood }, dash(value)), el("span", {}, words));
const wraps = (content, mood) => el("td", { class: `wraps ${mood ?? ""}` }, dash(content));
const wide = (content, mood) => el("td", { class: `wide ${mood ?? ""}` }, content instanceof Node ? content : dash(content));

// ---- asking

class Refused extends Error {
  constructor(status, detail) { super(detail); this.status = status; }
}

async function ask(path, method = "GET", body = undefined, form = undefined) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store" });
  const kind = answer.headers.get("content-type") ?? "";
  if (form === "blob" && answer.ok) return answer.blob();
  const content = kind.includes("json") ? await answer.json() : await answer.text();
  if (!answer.ok) {
    if (answer.status === 401) askForToken(token ? "This token is not known here." : "");
    throw new Refused(answer.status, content.detail ?? `${answer.status}`);
  }
  return content;
}

/// What may be missing without harm: a store that is not configured, say.
const perhaps = (path) => ask(path).catch((refused) => { if (refused.status === 404) return null; throw refused; });

function askForToken(trouble) {
  document.querySelector("#sign-in-trouble").textContent = trouble;
  if (!signIn.open) signIn.showModal();
}

signIn.addEventListener("cancel", (event) => event.preventDefault());
signIn.querySelector("form").addEventListener("submit", () => {
  token = document.querySelector("#token").value.trim();
  document.querySelector("#token").value = "";
  sessionStorage.setItem("token", token);
  start();
});
document.querySelector("#leave").addEventListener("click", () => {
  sessionStorage.removeItem("token");
  location.reload();
});

// ---- views: each takes what the address says after its name and gives what is to be drawn

const views = { overview, calls, call, history, record, peers, bans, explain, certificates, audit };
/// Which kinds of change a view is drawn again for.
const moved = { overview: ["calls", "limits", "peers", "bans", "drain", "certificates", "policy"], calls: ["calls"], call: ["calls"], peers: ["peers", "policy"], bans: ["bans"], certificates: ["certificates"], audit: ["audit"] };

async function overview() {
  const [status, limits, peers, bans, certs, page] = await Promise.all([ask("/v1/status"), ask("/v1/limits"), ask("/v1/peers"), ask("/v1/bans"), ask("/v1/certs"), perhaps("/v1/records?limit=100")]);
  const down = peers.peers.filter((peer) => ["down", "draining"].includes(peer.liveness));
  const watched = peers.peers.filter((peer) => !["unwatched", "disabled"].includes(peer.liveness));
  const names = peers.peers.flatMap((peer) => peer.names);
  const stale = names.filter((name) => name.state !== "fresh");
  const oldest = names.map((name) => name.age_seconds).filter((age) => age !== null).sort((a, b) => b - a)[0];
  const days = certs.held.map((held) => held.days_left).sort((a, b) => a - b)[0];
  const records = (page?.records ?? []).map((found) => found.record);
  const heard = records.filter((record) => record.audio && record.answered);
  const silent = heard.filter((record) => record.audio.a_to_b.fault || record.audio.b_to_a.fault);
  const scores = records.flatMap((record) => [record.media?.a_to_b.mos, record.media?.b_to_a.mos]).filter((mos) => mos);
  const mean = scores.length ? (scores.reduce((sum, mos) => sum + mos, 0) / scores.length).toFixed(2) : null;
  return [
    el("h2", {}, "Overview"),
    status.refused_reload ? el("p", { class: "bad" }, `The reload of ${when(status.refused_reload.at)} (${status.refused_reload.by}) was refused; the set before it is in force, and a start would fail on what lies in the folder: ${status.refused_reload.problems.join(" ")}`) : null,
    status.not_in_force.map((part) => el("p", { class: "bad" }, `Of the policy set this is not in force: ${part}.`)),
    status.records.filter((place) => place.error).map((place) => el("p", { class: "bad" }, `Call records are not kept (${place.to}): ${place.error}. ${place.waiting} wait, ${place.lost} are lost; calls go on.`)),
    status.receivers.filter((receiver) => receiver.state === "down").map((receiver) => el("p", { class: "warn" }, `${receiver.server} takes no ${copies(receiver)}: ${receiver.last_error?.why}. ${receiver.lost} are lost; calls go on.`)),
    status.records.filter((place) => !place.error && place.lost).map((place) => el("p", { class: "warn" }, `${place.lost} call records were lost since the start (${place.to}).`)),
    status.writing.filter((place) => place.error).map((place) => el("p", { class: "bad" }, `Not written (${place.what.replace("_", " ")}): ${place.error}. ${place.waiting} wait, ${place.lost} are lost; calls go on.`)),
    status.before ? el("p", { class: "warn" }, `Process ${status.before.process}, from which this one has taken over, still has ${status.before.calls} calls; they are listed with these.`) : null,
    el("div", { class: "tiles" },
      tile(status.before ? `${status.calls} + ${status.before.calls}` : status.calls, "calls up", "#calls"),
      tile(`${status.calls_per_minute}`, "new calls a minute", "#history"),
      tile(`${limits.occupancy.percent} %`, limits.holds_back ? "busy: new calls are held back" : "of its time signalling is busy", "#overview", limits.holds_back ? "bad" : ""),
      watched.length ? tile(`${down.length} of ${watched.length}`, "watched peers that do not answer", "#peers", down.length ? "bad" : "good") : tile("–", "peers that do not answer: none is watched (probe)", "#peers"),
      tile(span(status.peer_table_seconds), oldest === undefined ? "age of the trust table" : `age of the trust table; its oldest DNS answer: ${span(oldest)}`, "#peers"),
      tile(stale.length, "names not fresh in DNS", "#peers", stale.length ? "warn" : "good"),
      tile(bans.bans.length, "sources shut out", "#bans"),
      tile(days, "days until a certificate ends", "#certificates", days === undefined ? "" : days < 7 ? "bad" : days < 30 ? "warn" : "good"),
      page ? tile(mean, "mean MOS of the last calls", "#history", mean && mean < 3.6 ? "warn" : "") : null,
      page ? tile(`${silent.length} of ${heard.length}`, "last calls not heard well", "#history?audio_fault=true", silent.length ? "bad" : "good") : null),
    page ? [el("h3", {}, "Last calls that failed"), recordTable(page.records.filter((found) => found.record.fault !== "none").slice(0, 8), "None of the last hundred.")] : null,
    el("h3", {}, "In force"),
    table(["policy set", "peer table", "certificates", "up since", "version"], [[status.policy_set, status.peer_table, `load ${status.certificates}`, when(status.started), status.version]], ""),
    status.receivers.length ? [el("h3", {}, "Copies and traces"), receivers(status.receivers)] : null,
    el("h3", {}, "Service"),
    drainForm(status),
  ];
}

const copies = (receiver) => (receiver.kind === "hep" ? "copies of SIP messages (HEP)" : "traces of calls (OpenTelemetry)");

function receivers(all) {
  const mood = { up: "good", down: "bad", untried: "faint" };
  const rows = all.map((receiver) => [copies(receiver), receiver.server, el("td", { class: mood[receiver.state] }, receiver.state), receiver.sent, receiver.lost, receiver.refused, `${receiver.waiting} of ${receiver.places}`,
    wide(receiver.last_error ? `${when(receiver.last_error.at)}: ${receiver.last_error.why}` : null)]);
  return table(["what", "to", "state", "sent", "lost", "refused", "waiting", "last error"], rows, "");
}

function drainForm(status) {
  if (status.drain) {
    const left = status.drain.release_in_seconds === null ? "they end by themselves" : `ended in ${span(status.drain.release_in_seconds)}`;
    return el("p", {}, el("b", { class: "warn" }, "Draining. "), `${status.drain.calls} calls are left; ${left}. `,
      el("button", { type: "button", on: { click: () => act("/v1/drain", "DELETE") } }, "Take calls again"));
  }
  return el("p", {}, el("b", { class: "good" }, "Taking calls. "),
    el("button", { type: "button", class: "danger", on: { click: () => confirm("Refuse new calls from now on? Calls that are up go on.") && act("/v1/drain", "POST", { seconds: null }) } }, "Drain"));
}

/// Asks for a change, says what came of it, and draws the view again.
async function act(path, method, body) {
  try {
    await ask(path, method, body);
  } catch (refused) {
    alert(refused.message);
  }
  draw();
}

async function calls(asked) {
  const query = new URLSearchParams(asked);
  const answer = await ask(`/v1/calls?limit=100&${query}`);
  const window = (after) => `#calls?${new URLSearchParams([...query].filter(([key]) => key !== "after").concat(after ? [["after", after]] : []))}`;
  const rows = answer.calls.map((call) => [
    el("a", { href: `#call/${call.call}` }, String(call.call)), call.state, span(call.answered_seconds), user(call.from), user(call.to),
    call.a.peer, call.a.mode, call.b?.peer, call.b?.mode, when(call.began), ...(answer.before ? [call.process ?? "this"] : []),
  ]);
  return [
    el("h2", {}, `${answer.up} calls`),
    answer.before && !answer.before.answers ? el("p", { class: "bad" }, `Process ${answer.before.process}, from which this one has taken over, does not answer: its ${answer.before.calls} calls are not shown.`) : null,
    search("calls", query, [["number", "Number"], ["peer", "Peer"]]),
    table(["call", "state", "for", "from", "to", "A", "mode", "B", "mode", "began", ...(answer.before ? ["process"] : [])], rows, "No call is up."),
    el("p", {}, query.get("after") ? el("a", { href: window() }, "First") : null, " ", answer.next ? el("a", { href: window(answer.next) }, "Next hundred") : null),
  ];
}

async function call(number) {
  const [shown, drawn] = await Promise.all([perhaps(`/v1/calls/${number}`), ladder(`/v1/calls/${number}/ladder`, ask, el)]);
  if (!shown) return [el("h2", {}, `Call ${number} is not up`), drawn ?? el("p", { class: "faint" }, "Its signalling is not held in memory any more; look in the history.")];
  const media = await perhaps(`/v1/media/${number}`);
  const stream = media?.calls[0]?.stream;
  return [
    el("h2", {}, `Call ${number}: ${user(shown.from)} → ${user(shown.to)}`),
    el("p", {}, `${shown.state} for ${span(shown.answered_seconds)}; ${shown.a.peer} (${dash(shown.a.mode)}) → ${dash(shown.b?.peer)} (${dash(shown.b?.mode)}) `,
      el("button", { type: "button", class: "danger", on: { click: () => confirm("End this call?") && act(`/v1/calls/${number}`, "DELETE") } }, "End it")),
    stream ? [says(stream.a_to_b.audio), says(stream.b_to_a.audio), quality(stream.a_to_b.counted, stream.b_to_a.counted)] : null,
    el("h3", {}, "Signalling"),
    drawn ?? el("p", { class: "faint" }, "It is not held in memory any more."),
  ];
}

const says = (audio) => (audio ? el("p", { class: `says ${audio.fault ? "bad" : ""}` }, audio.says) : null);

function quality(a, b) {
  const row = (name, counted) => [name, counted.received, counted.sent, `${counted.loss_percent} %`, `${counted.jitter_ms} ms`, counted.round_trip_ms === null ? "–" : `${counted.round_trip_ms} ms`, counted.mos, counted.from];
  return table(["direction", "packets in", "out", "lost", "jitter", "round trip", "MOS", "heard from"], [row("A → B", a), row("B → A", b)], "");
}

const FIELDS = [["number", "Number (also 49* or *123)"], ["peer", "Peer"], ["reason", "Reason"], ["from", "From (2026-11-22T13:00:00Z)"], ["until", "Until"]];

async function history(asked) {
  const query = new URLSearchParams(asked);
  let page;
  try {
    page = await ask(`/v1/records?limit=100&${query}`);
  } catch (refused) {
    return [el("h2", {}, "History"), search("history", query, FIELDS), el("p", { class: "bad" }, refused.message)];
  }
  const next = page.next ? new URLSearchParams([...query].filter(([key]) => key !== "after").concat([["after", page.next]])) : null;
  return [
    el("h2", {}, "History"),
    search("history", query, FIELDS, [["audio_fault", "not heard well"]]),
    recordTable(page.records, "No such call."),
    next ? el("p", {}, el("a", { href: `#history?${next}` }, "Older")) : null,
  ];
}

function recordTable(found, nothing) {
  const rows = found.map(({ number, record }) => [
    el("a", { href: `#record/${number}` }, String(number)), when(record.began), wraps(user(record.from)), wraps(user(record.to)), wraps(record.a.peer), wraps(record.b?.peer), record.status,
    el("td", { class: record.fault === "none" ? "" : "bad" }, record.reason), span(record.talk_ms === null ? null : Math.round(record.talk_ms / 1000)), audioCell(record),
  ]);
  return table(["record", "began", "from", "to", "A", "B", "status", "reason", "talk", "audio"], rows, nothing);
}

function audioCell({ audio, answered }) {
  if (!audio || !answered) return "–";
  const causes = [audio.a_to_b, audio.b_to_a].filter((direction) => direction.fault).map((direction) => direction.cause);
  return causes.length ? wraps(causes.join(", "), "bad") : el("td", { class: "good" }, "heard");
}

async function record(number) {
  const [{ record }, drawn] = await Promise.all([ask(`/v1/records/${number}`), ladder(`/v1/records/${number}/ladder`, ask, el)]);
  const reasons = await ask("/v1/reasons");
  const { meaning, remedy } = reasons.find((reason) => reason.code === record.reason) ?? {};
  return [
    el("h2", {}, `${user(record.from)} → ${user(record.to)}, ${when(record.began)}`),
    el("p", { class: `says ${record.fault === "none" ? "" : "bad"}` }, `${record.reason}: ${dash(meaning)}; status ${dash(record.status)}, released by ${record.released_by}.`),
    record.fault !== "none" && remedy ? el("p", {}, el("b", {}, "What to do: "), `${remedy}.`) : null,
    says(record.audio?.a_to_b), says(record.audio?.b_to_a),
    record.media ? quality(record.media.a_to_b, record.media.b_to_a) : null,
    drawn ? [el("h3", {}, "Signalling"), drawn] : null,
    el("h3", {}, "Record"),
    el("pre", { tabindex: "0" }, JSON.stringify(record, null, 2)),
  ];
}

function search(view, query, fields, flags = []) {
  const form = el("form", { class: "row", role: "search", on: { submit: (event) => {
    event.preventDefault();
    const asked = new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== ""));
    location.hash = asked.size ? `${view}?${asked}` : view;
  } } },
    fields.map(([key, words]) => el("label", {}, words, el("input", { name: key, value: query.get(key) ?? "", autocomplete: "off" }))),
    flags.map(([key, words]) => el("label", {}, words, el("input", { type: "checkbox", name: key, value: "true", checked: query.get(key) === "true" }))),
    el("button", { type: "submit" }, "Search"));
  return form;
}

// What of a peer's hosts an address that no name resolved to stands for: itself, or the network that was written.
function hostOf(peer, place) {
  const written = peer.hosts.filter((host) => !peer.names.some((name) => name.name === host));
  return written.find((host) => host === place?.address) ?? (written.length === 1 ? written[0] : place?.address ?? peer.hosts[0]);
}

async function peers() {
  const answer = await ask("/v1/peers");
  const mood = { up: "good", down: "bad", draining: "warn", disabled: "faint" };
  const rows = answer.peers.flatMap((peer) => {
    const places = peer.addresses.length ? peer.addresses : [null];
    return places.map((place, index) => {
      const name = peer.names.find((name) => name.addresses.some((held) => held.address === place?.address)) ?? (place ? null : peer.names[0]);
      const state = name ? el("td", { class: name.state === "fresh" ? "good" : "bad" }, `${name.state}${name.last_error ? `: ${name.last_error}` : ""}`) : "–";
      const live = place?.liveness?.state ?? peer.liveness;
      return [index ? "" : peer.name, index ? "" : peer.kind, index ? "" : peer.mode, peer.transport, name?.name ?? hostOf(peer, place), state, place?.address,
        place?.ttl_left_seconds === null || !place ? "–" : span(place.ttl_left_seconds), el("td", { class: mood[live] ?? "" }, `${live}${place?.liveness?.since_seconds ? ` for ${span(place.liveness.since_seconds)}` : ""}${["down", "draining"].includes(live) && place?.liveness ? `: ${place.liveness.reason}` : ""}`)];
    });
  });
  const shared = answer.shared.map((place) => [place.place, place.transport, place.peers.join(", "), place.resolution, place.preferred, when(place.since)]);
  return [
    el("h2", {}, `Peers, table ${answer.table}`),
    table(["peer", "kind", "mode", "via", "host", "DNS", "address", "TTL left", "liveness"], rows, "The policy set has no peers."),
    shared.length ? [el("h3", {}, "Shared places (event 1175)"), table(["place", "transport", "peers", "told apart by", "preferred", "since"], shared, "")] : null,
  ];
}

async function bans() {
  const [answer, firewall] = await Promise.all([ask("/v1/bans"), ask("/v1/firewall")]);
  const lift = (net) => el("button", { type: "button", on: { click: () => act(`/v1/bans/${net}`, "DELETE") } }, "Lift");
  const rows = answer.bans.map((ban) => [ban.net, ban.cause, ban.owner, span(ban.since_seconds), ban.left_seconds === null ? "until lifted" : span(ban.left_seconds), wide(ban.why), lift(ban.net)]);
  const form = el("form", { class: "row", on: { submit: (event) => {
    event.preventDefault();
    const said = new FormData(form);
    act("/v1/bans", "POST", { source: said.get("source"), seconds: Number(said.get("hours")) * 3600, reason: said.get("reason") });
  } } },
    el("label", {}, "Address or network", el("input", { name: "source", required: true, placeholder: "203.0.113.0/24" })),
    el("label", {}, "Hours", el("input", { name: "hours", type: "number", min: "1", max: "8784", value: "24" })),
    el("label", {}, "Why", el("input", { name: "reason", maxlength: "200" })),
    el("button", { type: "submit", class: "danger" }, "Shut out"));
  const dropped = Object.entries(firewall.kernel.dropped).map(([reason, packets]) => [`firewall.${reason}`, packets]);
  return [
    el("h2", {}, "Bans"), form,
    table(["source", "cause", "by", "for", "left", "why", ""], rows, "Nobody is shut out."),
    el("h3", {}, "Firewall"),
    el("p", {}, `Mode ${firewall.kernel.mode}: `, firewall.kernel.in_force ? el("b", { class: "good" }, "in the kernel") : el("b", { class: "warn" }, "not in the kernel; strangers are turned away by the border itself"),
      `, ${firewall.kernel.elements} elements, rebuilt ${firewall.kernel.rebuilt} times.`),
    table(["dropped for", "packets"], dropped, "The kernel has dropped nothing."),
  ];
}

async function explain(asked) {
  const query = new URLSearchParams(asked);
  const [reasons, known] = await Promise.all([ask("/v1/reasons"), ask("/v1/peers")]);
  const sought = (query.get("reason") ?? "").trim();
  const chosen = sought ? reasons.filter((reason) => reason.code.includes(sought) || reason.meaning.includes(sought) || reason.exchange_events.join(" ").includes(sought)) : reasons;
  const rows = chosen.map((reason) => [reason.code, reason.fault, reason.status, reason.exchange_events.join(", "), wide(reason.meaning), wide(reason.remedy)]);
  return [
    el("h2", {}, "Explain"),
    form({ el, ask, table, wide }, known.peers.map((peer) => peer.name)),
    el("h3", {}, "Reasons"),
    el("p", {}, "Why a call ended or a request was refused: the code that logs, records and ladders carry, or an event number of Exchange."),
    search("explain", query, [["reason", "Code, word or event number"]]),
    table(["code", "at fault", "status", "events", "meaning", "what to do"], rows, "No code, meaning or event has that."),
  ];
}

async function certificates() {
  const answer = await ask("/v1/certs");
  const left = (days) => el("td", { class: days < 7 ? "bad" : days < 30 ? "warn" : "good" }, `${days} days`);
  const own = answer.own.map((held) => [held.file, held.names.join(", "), when(held.not_after), left(held.days_left), held.issuer, held.shown_by.join(", ")]);
  const cas = answer.authorities.map((held) => [held.file, held.pinned ? "pinned" : "CA", held.subject, when(held.not_after), left(held.days_left), [...held.peers, ...(held.operators ? ["operators"] : [])].join(", ")]);
  const crls = answer.crls.map((list) => [list.source, el("td", { class: list.state === "current" ? "good" : "bad" }, list.state), list.lists.map((held) => `${held.issuer}, next ${when(held.next_update)}`).join("; "), list.last_error]);
  return [
    el("h2", {}, `Certificates, load ${answer.generation} of ${when(answer.loaded_at)}`),
    el("p", {}, el("button", { type: "button", on: { click: () => act("/v1/certs/rotate", "POST") } }, "Load anew")),
    el("h3", {}, "Ours"), table(["file", "names", "ends", "left", "issuer", "shown by"], own, "None."),
    el("h3", {}, "What peers and operators are held against"), table(["file", "what", "subject", "ends", "left", "whom"], cas, "None."),
    el("h3", {}, "Revocation lists"), table(["source", "state", "lists", "last error"], crls, "None."),
  ];
}

async function audit() {
  const answer = await ask("/v1/audit");
  const rows = answer.entries.map((entry) => [when(entry.time), entry.operator, entry.via, wraps(entry.request), el("td", { class: entry.status < 400 ? "good" : "bad" }, String(entry.status)), wide(entry.detail ?? (entry.asked ? JSON.stringify(entry.asked) : ""))]);
  return [el("h2", {}, "Audit"), table(["time", "operator", "via", "request", "status", "detail"], rows, "Nothing was changed since the start.")];
}

// ---- where we are

function place() {
  const [path, asked = ""] = location.hash.slice(1).split("?");
  const [view, argument] = path.split("/");
  return { view: views[view] ? view : "overview", argument: argument ?? asked };
}

let drawn = 0;
/// `asked`: by the operator, and not because something has changed.
async function draw(asked = true) {
  const mine = ++drawn;
  const { view, argument } = place();
  for (const link of document.querySelectorAll("nav a")) {
    const here = link.hash === `#${view}` || (view === "call" && link.hash === "#calls") || (view === "record" && link.hash === "#history");
    if (here) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  let content;
  try {
    content = await views[view](argument);
  } catch (trouble) {
    content = [el("h2", {}, "Not shown"), el("p", { class: "bad" }, trouble.message)];
  }
  // What was asked for later is not overdrawn by what came late.
  if (mine !== drawn || (!asked && inHand(main))) return;
  put(main, content.flat(2).filter((node) => node));
}

async function redraw() {
  // An explanation stays until it is asked for anew.
  if (!inHand(main) && !document.hidden && place().view !== "explain") await draw(false);
}

const listen = live({
  headers: () => (token ? { Authorization: `Bearer ${token}` } : {}),
  wanted: (kind) => (moved[place().view] ?? []).includes(kind),
  draw: redraw,
  // The media of a call goes on without an event.
  every: () => (place().view === "call" ? 3000 : 10000),
  told,
});

function told(words, mood) {
  standing.textContent = words;
  standing.className = mood;
}

async function start() {
  try {
    const status = await ask("/v1/status");
    document.querySelector("#name").textContent = status.name;
    document.title = `${status.name} – Portcullis`;
    document.querySelector("#leave").hidden = !token;
    draw();
    listen();
  } catch (trouble) {
    if (trouble.status !== 401) told(trouble.message, "bad");
  }
}

// ---- keys and looks

addEventListener("hashchange", () => { draw(); main.focus({ preventScroll: true }); scrollTo(0, 0); });
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || signIn.open || ["INPUT", "TEXTAREA", "SELECT"].includes(event.target.tagName)) return;
  const link = document.querySelectorAll("nav a")[Number(event.key) - 1];
  if (link) location.hash = link.hash;
  if (event.key === "/") { main.querySelector("input")?.focus(); event.preventDefault(); }
  if (event.key === "r") draw();
});
const themes = ["", "light", "dark"];
function theme(next) {
  if (next) document.documentElement.dataset.theme = next; else delete document.documentElement.dataset.theme;
  localStorage.setItem("theme", next);
}
document.querySelector("#theme").addEventListener("click", () => theme(themes[(themes.indexOf(document.documentElement.dataset.theme ?? "") + 1) % 3]));
theme(localStorage.getItem("theme") ?? "");
start();
