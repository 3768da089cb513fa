// Asks for the state once a second and writes it into the page. Names, questions and replies are somebody else's: they become text
// nodes (`visible`, `textContent`), never markup, and a picture is shown only where it is the PNG that the program itself made.

const STATE = "state.json" + location.search;
const EVERY_MS = 1000, HIDDEN_MS = 5000, LOST_MS = 3000;
const PNG = /^data:image\/png;base64,[A-Za-z0-9+/=]+$/;
const LEFT_OUT = new Set(["base_url", "input_tokens", "output_tokens", "model_served"]);
const cards = new Map();
let seen = null;

byId("json").href = STATE;

function write(node, text, make = visible) {
  const words = text === null || text === undefined ? "" : String(text);
  if (node.written === words) return;
  node.written = words;
  node.replaceChildren(make(words));
}

function shownValue(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return value.toLocaleString("en", { maximumFractionDigits: Math.abs(value) < 1 ? 4 : 2 });
  if (Array.isArray(value)) return "[" + value.map(shownValue).join(" ") + "]";
  return String(value);
}

function clock(total) {
  if (total === null || total === undefined) return "n/a";
  const whole = Math.round(total), h = Math.floor(whole / 3600), m = Math.floor(whole / 60) % 60, s = whole % 60;
  const two = (n) => String(n).padStart(2, "0");
  return h ? h + ":" + two(m) + ":" + two(s) : m + ":" + two(s);
}

function tiles(state) {
  const { done, total, unit } = state.progress;
  const rate = state.decisions ? state.fallbacks / state.decisions : 0;
  const budget = state.budget_usd === null ? "" : " of " + dollars(state.budget_usd);
  const most = state.max_calls === null ? "" : " of " + number(state.max_calls, 0);
  const isPlayed = state.calls > 0 || state.decisions > 0 || state.budget_usd !== null;
  return [
    [unit, number(done, 0) + (total === null ? "" : " of " + number(total, 0))],
    [state.finished ? "time" : "so far", clock(state.seconds)],
    ...(state.seconds_left === null ? [] : [["about left", clock(state.seconds_left)]]),
    ...(isPlayed ? [
      ["cost", dollars(state.cost_usd) + budget],
      ["calls", number(state.calls, 0) + most],
      ["fallbacks", number(state.fallbacks, 0) + (state.decisions ? " (" + percent(rate) + ")" : ""), rate > 0.05 ? "warn" : ""],
      ["retries", number(state.retries, 0), state.retries ? "warn" : ""],
    ] : []),
  ];
}

function keyed(list, entries) {
  const html = entries.map(([name, value, className]) => el("div", {}, el("dt", {}, plainLine(name)),
    el("dd", { class: className || null }, plainLine(String(value)))));
  list.replaceChildren(...html);
}

function makeCard() {
  const part = {
    picture: el("img", { alt: "The game as it is now", draggable: "false" }), game: el("h2"), who: el("p", { class: "who" }),
    numbers: el("dl", { class: "numbers" }), asked: el("h3", {}, "Question"), question: el("div", { class: "words", dir: "auto" }),
    answered: el("h3", {}, "Reply"), reply: el("div", { class: "words", dir: "auto" }),
  };
  const side = el("div", {}, part.game, part.who, part.numbers, part.asked, part.question, part.answered, part.reply);
  part.card = el("article", { class: "card episode" }, el("div", { class: "stage" }, part.picture), side);
  return part;
}

function fill(part, one) {
  write(part.game, one.game || "Unnamed game");
  const number_of = one.unit === "steps" ? "episode " : "number ";
  const facts = [one.agent, one.phase === "eval" ? "" : one.phase, one.seed === null ? "" : "seed " + one.seed,
    one.episode === null ? "" : number_of + one.episode, one.worker];
  write(part.who, facts.filter(Boolean).join(", "));
  const steps = number(one.step, 0) + (one.steps ? " of " + number(one.steps, 0) : "");
  const isFallback = one.source === "fallback";
  keyed(part.numbers, [
    [one.unit, steps],
    ...(one.return === null ? [] : [["return", shownValue(one.return)]]),
    ...(one.action === null ? [] : [["action", shownValue(one.action)]]),
    ...(one.source === null ? [] : [["decided by", one.source, isFallback ? "warn" : ""]]),
  ]);
  for (const node of [part.asked, part.question]) node.hidden = !one.question;
  for (const node of [part.answered, part.reply]) node.hidden = !one.question && !one.reply;
  write(part.answered, one.waiting_s === null ? "Reply" : "Reply, the next awaited for " + one.waiting_s.toFixed(1) + " s");
  write(part.question, one.question);
  write(part.reply, one.reply);
  const frame = typeof one.frame === "string" && PNG.test(one.frame) ? one.frame : "";
  part.card.classList.toggle("blind", !frame);
  if (frame && part.picture.src !== frame) part.picture.src = frame;
}

function episodes(running) {
  const names = new Set();
  const shown = running.map((one) => {
    const name = JSON.stringify([one.game, one.agent, one.phase, one.seed, one.episode]);
    names.add(name);
    if (!cards.has(name)) cards.set(name, makeCard());
    fill(cards.get(name), one);
    return cards.get(name).card;
  });
  for (const name of [...cards.keys()]) if (!names.has(name)) cards.delete(name);
  const place = byId("running"), old = [...place.children];
  if (old.length !== shown.length || shown.some((card, i) => card !== old[i])) place.replaceChildren(...shown);
}

function stages(list) {
  const rows = list.map((one) => el("div", { class: "card stage-row" },
    el("span", {}, plainLine(one.name)),
    el("span", { class: "amount" }, number(one.done, 0) + (one.total === null ? "" : " of " + number(one.total, 0)) + " " + plainLine(one.unit)),
    one.total ? el("progress", { max: one.total, value: Math.min(one.done, one.total), "aria-label": plainLine(one.name) }) : null));
  byId("stages").replaceChildren(...rows);
}

function table(node, rows) {
  const names = [];
  for (const row of rows) for (const name of Object.keys(row)) if (!names.includes(name) && !LEFT_OUT.has(name)) names.push(name);
  const used = names.filter((name) => rows.some((row) => row[name] !== null && row[name] !== "" && row[name] !== undefined));
  const side = (name) => (rows.some((row) => typeof row[name] === "number") ? "n" : null);
  const head = el("tr", {}, ...used.map((name) => el("th", { class: side(name) }, plainLine(name.replaceAll("_", " ")))));
  const body = rows.map((row) => el("tr", {}, ...used.map((name) => {
    const words = plainLine(name === "cost_usd" ? dollars(row[name]) : name === "fallback_rate" ? percent(row[name]) : shownValue(row[name]));
    return el("td", { class: side(name), title: words.length > 40 ? words : null }, words);
  })));
  node.replaceChildren(el("thead", {}, head), el("tbody", {}, ...body));
  node.closest("section").hidden = !rows.length;
}

function show(state) {
  const title = state.title || state.program;
  document.title = plainLine(state.progress.done + "/" + (state.progress.total ?? "?") + " " + title);
  write(byId("title"), title);
  write(byId("subtitle"), "python -m atari_vlm." + state.program);
  write(byId("status"), state.finished ? "Finished" : "Running");
  byId("dot").className = "dot on";
  keyed(byId("tiles"), tiles(state));
  const { done, total } = state.progress;
  byId("whole").hidden = !total;
  if (total) byId("whole").value = Math.min(1, done / total);
  stages(state.stages);
  episodes(state.running);
  byId("nobody").hidden = state.running.length + state.stages.length > 0;
  const results = JSON.stringify(state.results), metrics = JSON.stringify(state.metrics);
  if (!seen || seen.results !== results) table(byId("results"), state.results);
  if (!seen || seen.metrics !== metrics) table(byId("metrics"), [...state.metrics].reverse());
  seen = { results, metrics };
  byId("messages-card").hidden = !state.messages.length;
  byId("messages").replaceChildren(...[...state.messages].reverse().map((words) => el("p", {}, visible(words))));
  byId("notices").replaceChildren();
}

function lost() {
  write(byId("status"), "Ended");
  byId("dot").className = "dot off";
  const words = seen ? "The program has ended, or cannot be reached: this is what it said last." : "There is nobody at this address.";
  byId("notices").replaceChildren(el("p", { class: "notice" }, words));
}

async function follow() {
  let wait = document.hidden ? HIDDEN_MS : EVERY_MS;
  try {
    const answer = await fetch(STATE, { cache: "no-store", referrerPolicy: "no-referrer" });
    if (!answer.ok) throw new Error("refused");
    show(await answer.json());
  } catch (error) {
    lost();
    wait = LOST_MS;
  }
  setTimeout(follow, wait);
}

follow();
