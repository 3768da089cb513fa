// The two drawings: returns over episodes, and the strip under the frame (return so far, rewards, sources, where we are).

const SOURCES = { m: "model", b: "buffer", p: "policy", f: "fallback" };

function scale(low, high, from, to) {
  const span = high - low || 1;
  return (value) => from + ((value - low) / span) * (to - from);
}

function drawCurve(box, episodes, current, choose) {
  const done = episodes.map((episode, i) => ({ ...episode, i })).filter((episode) => episode.return !== null);
  if (!done.length) {
    box.replaceChildren(el("p", { class: "dim" }, "No episode is finished yet."));
    return;
  }
  const width = Math.max(box.clientWidth, 200), height = Math.max(box.clientHeight, 100);
  const returns = done.map((episode) => episode.return);
  let low = Math.min(...returns), high = Math.max(...returns);
  if (low === high) { low -= 1; high += 1; }
  const x = scale(0, Math.max(episodes.length - 1, 1), 40, width - 10);
  const y = scale(low, high, height - 14, 16);
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Return of each episode" });
  for (const value of low < 0 && high > 0 ? [low, 0, high] : [low, high]) {
    chart.append(svg("line", { class: "axis", x1: 40, x2: width - 10, y1: y(value), y2: y(value) }));
    chart.append(svg("text", { class: "label", x: 34, y: y(value) + 4, "text-anchor": "end" }, number(value, 1)));
  }
  for (const phase of ["train", "eval"]) {
    const points = done.filter((episode) => episode.phase === phase);
    if (phase === "train" && points.length > 1) {
      chart.append(svg("polyline", { class: "line", points: points.map((p) => `${x(p.i)},${y(p.return)}`).join(" ") }));
    }
    for (const p of points) {
      const dot = svg("circle", { class: `dot ${phase}${p.i === current ? " current" : ""}`, cx: x(p.i), cy: y(p.return), r: p.i === current ? 5 : 3.5 });
      dot.append(svg("title", {}, `Episode ${p.episode} (${p.phase}): return ${number(p.return)}`));
      dot.addEventListener("click", () => choose(p.i));
      chart.append(dot);
    }
  }
  const both = done.some((e) => e.phase === "train") && done.some((e) => e.phase === "eval");
  if (both) {
    chart.append(svg("circle", { class: "dot", cx: width - 112, cy: 5, r: 3.5 }), svg("text", { class: "label", x: width - 104, y: 9 }, "train"));
    chart.append(svg("circle", { class: "dot eval", cx: width - 58, cy: 5, r: 3.5 }), svg("text", { class: "label", x: width - 50, y: 9 }, "eval"));
  }
  box.replaceChildren(chart);
}

// Steps gathered into at most `columns` columns: where each begins, what was earned in it, and whether a fallback is in it.
function columnsOf(detail, columns) {
  const steps = detail.action.length, count = Math.min(columns, steps), bars = [];
  for (let c = 0; c < count; c++) {
    const from = Math.floor((c * steps) / count), to = Math.max(from + 1, Math.floor(((c + 1) * steps) / count));
    const sources = detail.source.slice(from, to), rewards = detail.reward.slice(from, to);
    bars.push({
      from, to, up: rewards.some((r) => r > 0), down: rewards.some((r) => r < 0),
      source: sources.includes("f") ? "f" : sources[0],
    });
  }
  return bars;
}

function drawStrip(box, detail) {
  const width = Math.max(box.clientWidth, 100), height = Math.max(box.clientHeight, 40), steps = detail.action.length;
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const x = scale(0, Math.max(steps, 1), 0, width);
  const sums = detail.sums, low = Math.min(0, ...thin(sums)), high = Math.max(0, ...thin(sums));
  const y = scale(low, high || 1, height - 16, 4);
  chart.append(svg("line", { class: "axis", x1: 0, x2: width, y1: y(0), y2: y(0) }));
  for (const c of columnsOf(detail, Math.floor(width / 2))) {
    const left = x(c.from), wide = Math.max(x(c.to) - left, 0.5);
    chart.append(svg("rect", { class: "s-" + SOURCES[c.source], x: left, y: height - 8, width: wide + 0.3, height: 8 }));
    if (c.up) chart.append(svg("rect", { class: "up", x: left, y: height - 15, width: Math.max(wide, 2), height: 5 }));
    if (c.down) chart.append(svg("rect", { class: "down", x: left, y: height - 15, width: Math.max(wide, 2), height: 5 }));
  }
  const every = Math.max(1, Math.ceil(steps / width));
  const points = sums.map((sum, i) => (i % every && i + 1 < steps ? "" : `${x(i + 1)},${y(sum)}`)).filter(Boolean);
  chart.append(svg("polyline", { class: "line", points: [`0,${y(0)}`, ...points].join(" ") }));
  const cursor = svg("line", { class: "cursor", x1: 0, x2: 0, y1: 0, y2: height });
  chart.append(cursor);
  box.replaceChildren(chart);
  return (position) => {
    const at = x(Math.min(position + 0.5, steps));
    cursor.setAttribute("x1", at);
    cursor.setAttribute("x2", at);
  };
}

const thin = (values) => values.filter((_, i) => i % Math.max(1, Math.floor(values.length / 5000)) === 0);
