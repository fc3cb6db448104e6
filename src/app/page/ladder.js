// A call's ladder as the border draws it, and under it the message whose arrow was chosen. The picture is parsed as a document of its own, in which nothing runs,
// and put in as nodes; messages are put in as text.

/// Which message of which ladder is shown, so that drawing the view again does not close it.
const chosen = new Map();

/// `path`: of a ladder of the API. `ask` and `el` are the page's. Null where nothing is held.
export async function ladder(path, ask, el) {
  let answers;
  try {
    answers = await Promise.all([ask(`${path}?format=svg&alone=false`), ask(`${path}?format=json`)]);
  } catch (refused) {
    if (refused.status !== 404) throw refused;
    // Kept as text by a program before this one, perhaps.
    const text = await ask(path).catch(() => null);
    return text ? el("pre", { tabindex: "0" }, text) : null;
  }
  const [markup, drawing] = answers;
  const picture = document.importNode(new DOMParser().parseFromString(markup, "image/svg+xml").documentElement, true);
  const message = el("pre", { class: "message", tabindex: "0", "aria-live": "polite" });
  const about = el("p", { class: "faint" });
  const arrows = [...picture.querySelectorAll(".arrow")];
  const show = (arrow) => {
    for (const other of arrows) other.classList.toggle("chosen", other === arrow);
    const passed = arrow && drawing.messages[Number(arrow.dataset.message)];
    if (!passed) {
      chosen.delete(path);
      about.textContent = "Choose an arrow to read its message; keys and credentials are blotted out.";
      message.hidden = true;
      return;
    }
    chosen.set(path, arrow.dataset.message);
    about.textContent = `${new Date(passed.at / 1000).toISOString()} ${passed.transport} ${passed.from} → ${passed.to}`;
    message.textContent = passed.text;
    message.hidden = false;
  };
  arrows.forEach((arrow, index) => {
    arrow.addEventListener("click", () => show(arrow.classList.contains("chosen") ? null : arrow));
    arrow.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (event.key === "Enter" || event.key === " ") show(arrow);
      else if (event.key === "Escape") show(null);
      else if (step && arrows[index + step]) { arrows[index + step].focus(); show(arrows[index + step]); } else return;
      event.preventDefault();
    });
  });
  show(arrows.find((arrow) => arrow.dataset.message === chosen.get(path)));
  const save = (words, form, name) => el("button", { type: "button", on: { click: () => keep(`${path}?format=${form}`, name, ask) } }, words);
  const name = path.split("/").slice(-3, -1).join("-");
  return el("div", {},
    el("div", { class: "scroll picture", tabindex: "0" }, picture),
    about, message,
    el("p", {}, save("Save the picture", "svg", `${name}.svg`), " ", save("Save as text", "text", `${name}.txt`), " ", save("Save a capture file", "pcapng", `${name}.pcapng`)));
}

/// With the operator's token, which a plain link would not carry.
async function keep(path, name, ask) {
  const content = await ask(path, "GET", undefined, "blob");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content]));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
