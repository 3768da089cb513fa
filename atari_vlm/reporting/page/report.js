// The player: which episode, which step, and the controls that move them.

const data = JSON.parse(byId("data").textContent);
const clocksOf = JSON.parse(byId("clocks").textContent).episodes;
const state = { episode: 0, step: 0, timer: null, moveCursor: () => {} };

const current = () => data.episodes[state.episode];
const lastStep = () => (current() && current().detail ? current().detail.action.length - (current().detail.frames.length ? 0 : 1) : 0);

function start() {
  byId("title").append(visible(data.run.title));
  byId("subtitle").append(visible(data.run.subtitle));
  facts(byId("tiles"), data.run.tiles);
  facts(byId("conditions"), data.run.conditions);
  facts(byId("settings"), data.run.settings);
  byId("all-settings").hidden = !data.run.settings.length;
  byId("command").append(visible(data.run.command));
  byId("notices").replaceChildren(...data.run.notices.map((note) => el("p", { class: "notice" }, plainLine(note))));
  for (const episode of data.episodes) {
    let sum = 0;
    if (episode.detail) episode.detail.sums = episode.detail.reward.map((reward) => (sum += reward));
  }
  listEpisodes();
  const [, episode, step] = location.hash.match(/^#e=(\d+)&s=(\d+)$/) || [];
  const wanted = data.episodes.findIndex((row) => String(row.episode) === episode);
  const first = data.episodes.findIndex((row) => row.detail && row.detail.action.length);
  chooseEpisode(wanted >= 0 ? wanted : Math.max(first, 0), Number(step) || 0);
}

function listEpisodes() {
  if (data.episodes.some((row) => row.label)) byId("phase").textContent = "Episode of";
  byId("episodes").replaceChildren(
    ...data.episodes.map((row, i) => {
      const running = row.status === "running";
      const cells = [
        [row.episode], [plainLine(row.label || row.phase) + (running ? ", running" : "")], [row.seed, "n"], [number(row.return), "n"], [number(row.length), "n"],
        [percent(row.fallback_rate), row.fallback_rate > 0.05 ? "n warn-text" : "n"], [running ? "n/a" : dollars(row.cost_usd), "n"],
      ];
      const line = el("tr", { tabindex: 0, class: row.detail ? null : "dim" }, ...cells.map(([text, name]) => el("td", { class: name }, String(text))));
      line.addEventListener("click", () => chooseEpisode(i, 0));
      line.addEventListener("keydown", (event) => { if (event.key === "Enter") chooseEpisode(i, 0); });
      return line;
    }),
  );
}

function chooseEpisode(index, step) {
  stop();
  state.episode = index;
  [...byId("episodes").children].forEach((row, i) => row.setAttribute("aria-selected", String(i === index)));
  drawCharts();
  const detail = current() && current().detail;
  for (const id of ["slider", "first", "back", "play", "forward", "last", "next-reward", "next-fallback"]) byId(id).disabled = !detail;
  byId("slider").max = lastStep();
  if (detail && detail.action.length) show(step);
  else showNothing();
}

function drawCharts() {
  drawCurve(byId("curve"), data.episodes, state.episode, (i) => chooseEpisode(i, 0));
  const detail = current() && current().detail;
  if (detail && detail.action.length) state.moveCursor = drawStrip(byId("strip"), detail);
  else byId("strip").replaceChildren();
  state.moveCursor(state.step);
}

function show(step) {
  const episode = current(), detail = episode.detail, steps = detail.action.length;
  state.step = Math.max(0, Math.min(step, lastStep()));
  byId("slider").value = state.step;
  byId("slider").setAttribute("aria-valuetext", `step ${state.step} of ${steps}`);
  byId("position").textContent = state.step < steps ? `Episode ${episode.episode} · step ${state.step + 1} of ${steps}` : `Episode ${episode.episode} · end`;
  state.moveCursor(state.step);
  showFrame(detail);
  if (state.step < steps) decisionPanel(data, episode, state.step, clocksOf[episode.episode]);
  else endPanel(episode);
}

function showFrame(detail) {
  let at = state.step;
  while (at > 0 && !(detail.frames[at] >= 0)) at--;
  const index = detail.frames[at];
  const here = index >= 0;
  byId("frame").hidden = !here;
  byId("no-frame").textContent = here ? "" : detail.frame_note || "There is no picture of this step.";
  if (here) byId("frame").src = picture(data, index);
  byId("frame").alt = here ? `Frame of step ${at + 1}` : "";
  byId("stage-tag").textContent = here && at !== state.step ? `frame of step ${at + 1}` : "";
}

function showNothing() {
  byId("frame").hidden = true;
  byId("stage-tag").textContent = "";
  const reason = (current() && current().left_out) || "This run has no steps yet.";
  byId("no-frame").textContent = reason;
  byId("position").textContent = current() ? `Episode ${current().episode}` : "";
  emptyPanel(reason);
}

function stop() {
  clearInterval(state.timer);
  state.timer = null;
  byId("play").textContent = "Play";
}

function play() {
  if (state.timer !== null) return stop();
  if (state.step >= lastStep()) show(0);
  byId("play").textContent = "Pause";
  state.timer = setInterval(() => (state.step >= lastStep() ? stop() : show(state.step + 1)), 1000 / Number(byId("speed").value));
}

function go(step) {
  stop();
  show(step);
}

function seek(wanted) {
  const detail = current().detail;
  for (let step = state.step + 1; step < detail.action.length; step++) if (wanted(detail, step)) return go(step);
}

function changeSpeed(by) {
  const menu = byId("speed");
  menu.selectedIndex = Math.max(0, Math.min(menu.options.length - 1, menu.selectedIndex + by));
  if (state.timer !== null) { stop(); play(); }
}

const toReward = () => seek((detail, step) => detail.reward[step] !== 0);
const toFallback = () => seek((detail, step) => detail.source[step] === "f");
const KEYS = {
  ArrowLeft: (shift) => go(state.step - (shift ? 10 : 1)), ArrowRight: (shift) => go(state.step + (shift ? 10 : 1)),
  ArrowUp: () => chooseEpisode(Math.max(0, state.episode - 1), 0),
  ArrowDown: () => chooseEpisode(Math.min(data.episodes.length - 1, state.episode + 1), 0),
  Home: () => go(0), End: () => go(lastStep()), " ": play, "[": () => changeSpeed(-1), "]": () => changeSpeed(1),
  r: toReward, R: toReward, f: toFallback, F: toFallback,
};
const WITHOUT_STEPS = new Set(["ArrowUp", "ArrowDown", "[", "]"]);

function pointStep(event) {
  const box = byId("strip").getBoundingClientRect();
  go(Math.floor(((event.clientX - box.left) / box.width) * current().detail.action.length));
}

function connect() {
  byId("slider").addEventListener("input", (event) => go(Number(event.target.value)));
  byId("first").addEventListener("click", KEYS.Home);
  byId("last").addEventListener("click", KEYS.End);
  byId("back").addEventListener("click", () => go(state.step - 1));
  byId("forward").addEventListener("click", () => go(state.step + 1));
  byId("play").addEventListener("click", play);
  byId("next-reward").addEventListener("click", toReward);
  byId("next-fallback").addEventListener("click", toFallback);
  byId("speed").addEventListener("change", () => changeSpeed(0));
  byId("strip").addEventListener("pointerdown", (event) => { if (byId("strip").firstChild) { byId("strip").setPointerCapture(event.pointerId); pointStep(event); } });
  byId("strip").addEventListener("pointermove", (event) => { if (event.buttons && byId("strip").firstChild) pointStep(event); });
  window.addEventListener("resize", drawCharts);
  window.addEventListener("keydown", (event) => {
    const key = KEYS[event.key], tag = event.target.tagName;
    const hasSteps = current() && current().detail && current().detail.action.length;
    if (!key || event.ctrlKey || event.metaKey || event.altKey || tag === "SELECT") return;
    if (event.key === " " && (tag === "BUTTON" || tag === "SUMMARY")) return;
    if (!hasSteps && !WITHOUT_STEPS.has(event.key)) return;
    event.preventDefault();
    key(event.shiftKey);
  });
}

start();
connect();
