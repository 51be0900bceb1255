// Elements, addresses and texts. Values get into the page as texts only: prompts are untrusted.
"use strict";

const reeldrop = {};

// Make an element. Attributes that are functions listen to the event of their name; those that are
// false or missing are left out. Children are elements or texts.
reeldrop.element = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child != null && child !== false));
  return made;
};

// Change a text that screen readers say when it changes: only to another one.
reeldrop.tell = (place, text) => {
  if (place.textContent !== text) place.textContent = text;
};

// The address of a file below the results, from this page.
reeldrop.address = (path) => "./" + path.split("/").map(encodeURIComponent).join("/");

// Load a script; call `done` when it ran, `failed` if it is not there: a sync tool may bring it yet.
reeldrop.load = (path, done, failed) => {
  const script = reeldrop.element("script", { src: `${path}?${Date.now()}` });
  const ended = (then) => () => { script.remove(); then(); };
  script.onload = ended(done);
  script.onerror = ended(failed);
  document.head.append(script);
};

// A time in the reader's words, with the year if it is another one.
reeldrop.time = (iso) => {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return String(iso);
  const isThisYear = at.getFullYear() === new Date().getFullYear();
  return at.toLocaleString([], {
    year: isThisYear ? undefined : "numeric", month: "short", day: "numeric", hour: "numeric",
    minute: "2-digit",
  });
};

reeldrop.duration = (seconds) => {
  if (seconds < 100) return `${Math.ceil(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 100 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
};
