// The form that asks what would become of a call or a message: every decision with its rule and values, and what would be sent on. Nothing is sent by it.

export function form({ el, ask, table, wide }, peers) {
  const answer = el("div", { "aria-live": "polite" });
  const field = (name, words, attributes = {}) => el("label", {}, words, el("input", { name, autocomplete: "off", spellcheck: "false", ...attributes }));
  const chosen = el("select", { name: "peer" }, el("option", { value: "" }, "by address"), peers.map((peer) => el("option", { value: peer }, peer)));
  const asked = el("form", { class: "row", on: { submit: async (event) => {
    event.preventDefault();
    const said = new FormData(asked);
    const question = {};
    for (const [key, value] of said) if (value.trim() !== "") question[key] = value;
    if (question.message) { delete question.caller; delete question.called; delete question.diverted_by; }
    try {
      answer.replaceChildren(...shown(await ask("/v1/explain", "POST", question), { el, table, wide }));
    } catch (refused) {
      answer.replaceChildren(el("p", { class: "bad" }, refused.message));
    }
  } } },
    el("label", {}, "From peer", chosen),
    field("from", "or address", { placeholder: "192.0.2.10" }),
    field("caller", "Caller", { placeholder: "+4930100" }),
    field("called", "Called", { placeholder: "5000" }),
    field("diverted_by", "Diverted by"),
    el("label", {}, "or a whole message", el("textarea", { name: "message", rows: "3", cols: "40", spellcheck: "false" })),
    el("button", { type: "submit" }, "Explain"));
  return [el("p", {}, "What the border would do with a call now, and by which rule."), asked, answer];
}

function shown(explained, { el, table, wide }) {
  const outcome = explained.outcome;
  const values = (compared) => Object.entries(compared).map(([name, value]) => `${name}: ${value}`).join("; ");
  const decisions = explained.decisions.map((step) => [
    step.stage, el("td", { class: step.refused ? "bad" : "good" }, step.refused ? `refused: ${step.refused}` : "passed"), wide(step.rule), wide(values(step.compared)),
  ]);
  return [
    el("p", { class: `says ${outcome.verdict === "refused" ? "bad" : ""}` }, verdict(outcome)),
    table(["stage", "", "rule", "values"], decisions, "Nothing was asked."),
    ...(outcome.verdict === "admitted" ? [table(["sent on", "value"], [...outcome.sent_on, ...outcome.carried].map((field) => [field.name, wide(field.value)]), "")] : []),
    el("p", { class: "faint" }, `Policy set ${explained.policy_set}, peer table ${explained.peer_table}. Assumed: ${explained.assumed.join("; ") || "nothing"}.`),
  ];
}

function verdict(outcome) {
  if (outcome.verdict === "allowed") return `Taken: ${outcome.what}.`;
  if (outcome.verdict === "refused") return `Refused with ${outcome.status ?? "silence"}: ${outcome.reason}, ${outcome.meaning}. What to do: ${outcome.remedy}.`;
  return `Let in from ${outcome.peer} by plan ${outcome.dial_plan ?? "none"} to ${outcome.targets.join(", then ")} as ${outcome.called}; A leg ${outcome.a_leg.mode}, B leg ${outcome.b_leg.mode}.${outcome.target_limits.map((limit) => ` To ${limit.target} ${limit.under_way} calls go now, of ${limit.calls ?? "any number"}.`).join("")}`;
}
