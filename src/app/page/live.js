// What the border tells as it happens, and when to draw again for it. However many changes come, one drawing is under way at a time, and after it there is rest in
// proportion to what it took: a page that looks at thousands of calls, or at a border that is slow to answer, stays at hand. A page nobody sees asks for nothing.

/// Milliseconds: between two drawings at least, and after a drawing so many times what it took.
const REST = 1000;
const TIMES = 4;
/// Until a border that does not answer is asked again.
const AGAIN = 3000;

/// Server-sent events by fetch, which carries the operator's token. `headers` gives what a request needs; `wanted` says whether the view shows what changes of a
/// kind; `draw` draws it anew and is done when that is; `every` says after how many milliseconds it is drawn though nothing was told; `told` shows how it stands.
export function live({ headers, wanted, draw, every, told }) {
  let due = null, busy = false, more = false, rest = REST, last = performance.now(), listening = null;

  async function run() {
    due = null;
    [busy, more] = [true, false];
    const began = performance.now();
    try { await draw(); } finally { busy = false; }
    last = performance.now();
    rest = Math.max(REST, TIMES * (last - began));
    if (more) soon();
  }

  function soon() {
    if (busy) more = true;
    else due ??= setTimeout(run, rest);
  }

  async function follow(signal) {
    const answer = await fetch("/v1/events", { headers: headers(), cache: "no-store", signal });
    // Who has to sign in again is asked to where a view is drawn.
    if (answer.status === 401) return listening.abort();
    if (!answer.ok) throw new Error(`${answer.status}`);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    told("live", "good");
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (text + value).split("\n\n");
      text = blocks.pop();
      const kinds = blocks.map((block) => block.split("\n").find((line) => line.startsWith("event:"))?.slice(6).trim());
      if (kinds.some((kind) => kind === "lagged" || wanted(kind))) soon();
    }
  }

  async function listen() {
    listening?.abort();
    const { signal } = listening = new AbortController();
    while (!signal.aborted) {
      await follow(signal).catch(() => { /* told below */ });
      if (signal.aborted) return;
      told("the border does not answer; trying again", "bad");
      await new Promise((wake) => setTimeout(wake, AGAIN));
      // What has changed meanwhile was not told.
      soon();
    }
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) listening?.abort();
    else if (listening) { listen(); soon(); }
  });
  // Ages go on though nothing happens.
  setInterval(() => { if (!document.hidden && performance.now() - last >= every()) soon(); }, REST);
  return listen;
}

/// Puts a view, elements, in the place of the one before, and takes nothing out of the operator's hands: what had the focus has it again, what was scrolled stays there.
export function put(main, nodes) {
  const scrolled = () => [...main.querySelectorAll(".scroll, pre")];
  const places = scrolled().map((node) => [node.scrollLeft, node.scrollTop]);
  const named = name(main.contains(document.activeElement) ? document.activeElement : null);
  nodes.forEach((node, index) => {
    const old = main.children[index];
    if (!old) main.append(node);
    else if (!settle(old, node)) old.replaceWith(node);
  });
  while (main.children.length > nodes.length) main.lastElementChild.remove();
  const now = scrolled();
  if (now.length === places.length) now.forEach((node, index) => { [node.scrollLeft, node.scrollTop] = places[index]; });
  if (named) main.querySelector(named)?.focus({ preventScroll: true });
}

/// Of a table, rows that have not changed stay, and with them what the browser has worked out of them: a hundred calls are drawn anew each second. A row with something to
/// press is always the new one, since what its button does is not to be seen. False: it is another table, or none.
function settle(old, node) {
  const [was, now] = [old, node].map((part) => (part.classList.contains("scroll") ? part.querySelector(":scope > table") : null));
  if (!was || !now || !was.tHead.isEqualNode(now.tHead)) return false;
  const [rows, next] = [was, now].map((table) => [...table.tBodies[0].rows]);
  next.forEach((row, index) => {
    const before = rows[index];
    if (!before) was.tBodies[0].append(row);
    else if (row.querySelector("button") || !before.isEqualNode(row)) before.replaceWith(row);
  });
  rows.slice(next.length).forEach((row) => row.remove());
  return true;
}

/// By what the same thing is found in the next drawing. A button has nothing that says whose it is, and what it does is not done to another.
function name(node) {
  const key = ["href", "data-message"].find((key) => node?.hasAttribute(key));
  return key ? `${node.localName}[${key}="${CSS.escape(node.getAttribute(key))}"]` : null;
}

/// Whether drawing anew would take something away: a field that is being written in, or text that is marked to be copied.
export function inHand(main) {
  const typing = main.contains(document.activeElement) && ["INPUT", "TEXTAREA"].includes(document.activeElement.tagName);
  const marked = getSelection();
  return typing || (!marked.isCollapsed && main.contains(marked.anchorNode));
}
