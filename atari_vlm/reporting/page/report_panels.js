// What stands beside the frame: the decision, what the model was sent, what it said, and a planner's plans.

const textOf = (data, index) => (index === null || index === undefined ? "" : data.texts[index]);
const said = (data, index, className) => block(textOf(data, index), className, data.cut[index]);

function decisionPanel(data, episode, position, clocks) {
  const detail = episode.detail, step = detail.steps[position], source = SOURCES[detail.source[position]];
  const name = detail.names[detail.action[position]];
  byId("decision").classList.toggle("fallback", source === "fallback");
  byId("action").replaceChildren(visible(name || "action " + detail.action[position]));
  byId("source").className = "badge " + source;
  byId("source").textContent = source === "fallback" ? "fallback: no valid answer" : "from " + source;
  const reward = detail.reward[position];
  facts(byId("facts"), [
    ["Reward", signed(reward), reward > 0 ? "good" : reward < 0 ? "bad" : ""],
    ["Return so far", number(detail.sums[position])],
    ["Cost", dollars(detail.cost[position])],
    ["Latency", seconds(clocks ? clocks.latency[position] : null)],
    ...(step ? [["Calls", step.calls.length]] : []),
  ]);
  if (!step) {
    byId("warnings").replaceChildren(el("p", { class: "problem" }, "This step's words and picture were left out to keep the file small; they are in the journal."));
    for (const id of ["reasoning", "details", "calls"]) byId(id).replaceChildren();
    return;
  }
  byId("warnings").replaceChildren(
    ...step.problems.map((index) => {
      const line = el("p", { class: "problem", dir: "auto" }, el("b", {}, "Not understood: "));
      line.append(visible(textOf(data, index)));
      return line;
    }),
  );
  byId("reasoning").replaceChildren(...(textOf(data, step.reasoning) ? [el("h3", {}, "Reasoning"), said(data, step.reasoning)] : []));
  byId("details").replaceChildren(...detailsPanel(step.details));
  const callClocks = clocks ? clocks.calls[position] : [];
  byId("calls").replaceChildren(...step.calls.map((call, i) => callCard(data, call, i, callClocks[i], step.calls.length)));
}

function endPanel(episode) {
  byId("decision").classList.remove("fallback");
  byId("action").textContent = "End of the episode";
  byId("source").className = "badge policy";
  byId("source").textContent = episode.detail.end || episode.status;
  facts(byId("facts"), [["Return", number(episode.return)], ["Steps", number(episode.length)], ["Fallback rate", percent(episode.fallback_rate)], ["Cost", dollars(episode.cost_usd)]]);
  for (const id of ["warnings", "reasoning", "details", "calls"]) byId(id).replaceChildren();
}

function emptyPanel(reason) {
  byId("decision").classList.remove("fallback");
  byId("action").textContent = "No steps to show";
  byId("source").className = "badge";
  byId("source").textContent = "summary only";
  facts(byId("facts"), []);
  byId("warnings").replaceChildren(el("p", { class: "dim" }, reason));
  for (const id of ["reasoning", "details", "calls"]) byId(id).replaceChildren();
}

function callCard(data, call, index, clock, count) {
  const card = el("article", { class: "card call" });
  card.append(el("h2", {}, count > 1 ? `Call ${index + 1} of ${count}` : "Reply"));
  const usage = call.usage || {}, meta = [call.model, call.finish && call.finish !== "stop" ? "ended by " + call.finish : null];
  if (usage.input_tokens != null) meta.push(`${number(usage.input_tokens)} tokens in`);
  if (usage.cached_tokens) meta.push(`${number(usage.cached_tokens)} of them cached`);
  if (usage.output_tokens != null) meta.push(`${number(usage.output_tokens)} out`);
  if (call.kind === "complete") meta.push(dollars(call.cost));
  if (clock) meta.push(seconds(clock.latency));
  if (clock && clock.attempts > 1) meta.push(`${clock.attempts} attempts`);
  card.append(el("p", { class: "meta" }, ...meta.filter(Boolean).map((entry) => el("span", {}, plainLine(entry)))));
  if (call.reply !== null) card.append(textOf(data, call.reply) ? said(data, call.reply, "reply") : el("p", { class: "dim" }, "The reply is empty."));
  else if (call.scores) card.append(el("p", {}, "Scores of the legal answers: " + call.scores.map((s) => number(s, 3)).join(", ")));
  else card.append(el("p", { class: "dim" }, "No reply was recorded."));
  card.append(...promptPanel(data, call));
  return card;
}

const openMessages = new Set();  // positions in the prompt that the reader opened; they stay open from step to step

function promptPanel(data, call) {
  const messages = call.messages.map((index) => data.messages[index]);
  const entries = messages.map((message, i) => messageEntry(data, message, i === messages.length - 1 ? "last" : i));
  if (entries.length > 4) {
    const between = entries.splice(1, entries.length - 2);
    const pictures = messages.slice(1, -1).flatMap(([, parts]) => parts).filter(([kind]) => kind === "image").length;
    const label = ` · examples and earlier turns · ${pictures} pictures`;
    const group = el("details", { open: openMessages.has("between") }, el("summary", {}, el("b", {}, `${between.length} messages`), label), ...between);
    group.addEventListener("toggle", (event) => { if (event.target === group) remember("between", group.open); });
    entries.splice(1, 0, group);
  }
  return [el("h3", {}, "Prompt"), ...entries];
}

function remember(key, open) {
  if (open) openMessages.add(key);
  else openMessages.delete(key);
}

function messageEntry(data, [role, parts], key) {
  const pictures = parts.filter(([kind]) => kind === "image").length;
  const letters = parts.reduce((sum, [kind, index]) => sum + (kind === "text" ? textOf(data, index).length : 0), 0);
  const counted = ` · ${number(letters)} characters` + (pictures ? ` · ${pictures} picture${pictures > 1 ? "s" : ""}` : "");
  const open = key === "last" ? !openMessages.has("last closed") : openMessages.has(key);
  const entry = el("details", { open }, el("summary", {}, el("b", {}, plainLine(role)), counted));
  const fill = () => { if (entry.open && entry.childElementCount === 1) entry.append(...messageParts(data, parts)); };
  entry.addEventListener("toggle", () => {
    fill();
    if (key === "last") remember("last closed", !entry.open);
    else remember(key, entry.open);
  });
  fill();
  return entry;
}

function messageParts(data, parts) {
  const nodes = [];
  for (const [kind, index] of parts) {
    if (kind === "text") { nodes.push(el("div", { class: "part" }, said(data, index))); continue; }
    const row = nodes.length && nodes[nodes.length - 1].className === "part pictures" ? nodes[nodes.length - 1] : el("div", { class: "part pictures" });
    row.append(el("img", { alt: "Picture sent to the model", src: picture(data, index) }));
    if (row !== nodes[nodes.length - 1]) nodes.push(row);
  }
  return nodes;
}

const picture = (data, index) => "data:image/png;base64," + data.images[index];

function detailsPanel(details) {
  const nodes = [], rest = { ...details };
  if (Array.isArray(details.plans) && details.plans.length) {
    delete rest.plans;
    nodes.push(el("h3", {}, "Plans"), el("div", { class: "wide" }, plansTable(details)));
  }
  const simple = Object.entries(rest).filter(([, value]) => value === null || typeof value !== "object");
  const nested = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== null && typeof value === "object"));
  if (simple.length) {
    const short = simple.map(([name, value]) => el("span", {}, plainLine(name) + ": " + shown(value).slice(0, 300)));
    nodes.push(el("p", { class: "meta details" }, ...short));
  }
  if (Object.keys(nested).length) nodes.push(el("h3", {}, "Details"), block(JSON.stringify(nested, null, 1), "tree"));
  return nodes;
}

const shown = (value) => plainLine(Array.isArray(value) ? value.join(" ") : typeof value === "number" ? number(value, 3) : typeof value === "string" ? value : JSON.stringify(value));

function plansTable(details) {
  const plans = details.plans.map((plan) => (plan && typeof plan === "object" && !Array.isArray(plan) ? plan : { actions: plan }));
  const columns = [...new Set(plans.flatMap((plan) => Object.keys(plan)))].sort((a, b) => (b === "actions") - (a === "actions"));
  const head = el("tr", {}, ...columns.map((name) => el("th", { class: name === "actions" ? null : "n" }, plainLine(name))));
  const rows = plans.map((plan, i) => el("tr", { class: details.chosen === i ? "chosen" : null },
    ...columns.map((name) => el("td", { class: name === "actions" ? "sequence" : "n" }, plan[name] === undefined ? "" : shown(plan[name])))));
  return el("table", { class: "plans" }, el("thead", {}, head), el("tbody", {}, ...rows));
}
