"use strict";
// Small helpers. Everything that comes from a model or a file reaches the page through `textContent` or `visible`, never as markup.

const byId = (id) => document.getElementById(id);

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function svg(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, String(value));
  node.append(...children);
  return node;
}

// Control, format and surrogate characters (terminal escapes, direction overrides, zero-width and tag characters) are shown by
// number instead of acting. Line feed, tab and the two joiners that scripts and emoji need stay.
const UNSEEN = /((?:(?![\n\t\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}])+)/u;
const FIRST_CHARACTERS = 6000;

function codes(run) {
  const points = Array.from(run);
  const named = points.slice(0, 6).map((c) => "U+" + c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0"));
  return named.join(" ") + (points.length > 6 ? " and " + (points.length - 6) + " more" : "");
}

function visible(text) {
  const fragment = document.createDocumentFragment();
  text.split(UNSEEN).forEach((piece, i) => {
    if (i % 2) fragment.append(el("span", { class: "ctl" }, codes(piece)));
    else if (piece) fragment.append(piece);
  });
  return fragment;
}

const plainLine = (text) => String(text).split(UNSEEN).map((piece, i) => (i % 2 ? codes(piece) : piece)).join("");

// A block of somebody else's text: its beginning, and the rest on request.
function block(text, className, leftOut) {
  const body = el("div", { class: "said " + (className || ""), dir: "auto" });
  const whole = el("div", {}, body);
  body.append(visible(text.slice(0, FIRST_CHARACTERS)));
  if (text.length > FIRST_CHARACTERS) {
    const button = el("button", { class: "more" }, "Show all " + text.length.toLocaleString("en") + " characters");
    button.addEventListener("click", () => {
      body.replaceChildren(visible(text));
      button.remove();
    });
    whole.append(button);
  }
  if (leftOut) whole.append(el("p", { class: "dim" }, leftOut.toLocaleString("en") + " further characters are in the journal only."));
  return whole;
}

function facts(list, rows) {
  list.replaceChildren(
    ...rows.map(([name, value, className]) => {
      const body = el("dd", { class: className || null });
      body.append(visible(String(value)));
      return el("div", { class: String(value).length > 90 ? "wide" : null }, el("dt", {}, plainLine(name)), body);
    }),
  );
}

const number = (value, digits = 2) =>
  value === null || value === undefined ? "n/a" : Number(value).toLocaleString("en", { maximumFractionDigits: digits });
const percent = (value) => (value === null || value === undefined ? "n/a" : (100 * value).toFixed(value > 0 && value < 0.1 ? 1 : 0) + "%");
const seconds = (value) => (value === null || value === undefined ? "n/a" : value < 1 ? Math.round(1000 * value) + " ms" : value.toFixed(1) + " s");
function dollars(value) {
  if (value === null || value === undefined) return "unknown";
  if (value === 0) return "$0";
  return "$" + (value < 0.01 ? value.toPrecision(2) : value.toFixed(2));
}
const signed = (value) => (value > 0 ? "+" : "") + number(value);
