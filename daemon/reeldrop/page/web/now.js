// What the service does, what waits, and what failed and why.
"use strict";

(() => {
  const { element } = reeldrop;
  let status = null;
  let failures = [];
  let areMore = false;

  // Called by the data's scripts.
  reeldrop.status = (found) => { status = found; };
  reeldrop.failed = ({ listed, more }) => { failures = listed; areMore = more; };

  const isOutdated = () => Date.now() - Date.parse(status.updated) > status.outdated_seconds * 1000;

  const line = () => {
    if (!status) return ["off", "The service has written nothing yet."];
    if (status.state === "stopped") return ["off", `Stopped, ${reeldrop.time(status.updated)}`];
    if (isOutdated()) {
      return ["off", `Not running, or not synced, since ${reeldrop.time(status.updated)}`];
    }
    const now = status.rendering;
    if (!now) return [status.is_obstacle ? "held" : "on", status.said];
    const left = now.eta_seconds == null ? "" : `, about ${reeldrop.duration(now.eta_seconds)} left`;
    return ["on", `Rendering ${now.prompt_file}, video ${now.number} of ${now.count}${left}`];
  };

  const rows = (title, found, row) => (found.length
    ? [element("h2", {}, title), element("ul", { class: "rows" }, ...found.map(row))] : []);

  const waiting = ({ prompt_file: name, reason }) => element("li", {},
    element("strong", { dir: "auto" }, name), " ", element("span", {}, reason));

  const failure = (found) => element("li", {},
    element("strong", { dir: "auto" }, found.name), " ",
    element("span", { dir: "auto" }, found.reason), " ",
    found.failed ? element("time", {}, reeldrop.time(found.failed)) : null, " ",
    found.text != null
      ? element("button", { type: "button", click: () => reeldrop.saveRetry(found) }, "Retry") : null);

  const rendering = (now) => [
    element("p", { dir: "auto", class: "prompt" }, now.prompt),
    element("progress", { value: now.step, max: now.steps, "aria-label": "Steps" }),
    element("p", { class: "meta" }, `step ${now.step} of ${now.steps}`),
  ];

  const show = () => {
    const [kind, text] = line();
    const place = document.getElementById("now-line");
    if (place.textContent !== text) place.textContent = text;
    place.dataset.kind = failures.length && kind === "on" ? "failed" : kind;
    const count = areMore ? `more than ${failures.length}` : failures.length;
    const failed = failures.length ? `${count} failed` : "";
    place.dataset.failed = failed;
    document.getElementById("now-more").replaceChildren(
      ...(status?.rendering && !isOutdated() ? rendering(status.rendering) : []),
      ...(status ? rows(`Waiting: ${status.queue_count}`, status.queue, waiting) : []),
      ...(status ? rows("Not recognised", status.unrecognised, waiting) : []),
      ...rows("Failed", failures, failure),
      ...(status ? [element("p", { class: "meta" }, `as of ${reeldrop.time(status.updated)}`)] : []),
    );
  };

  // Say something that has just happened.
  reeldrop.say = (text) => {
    const said = element("p", { class: "said", role: "status" }, text);
    (document.querySelector("dialog[open]") ?? document.body).append(said);
    setTimeout(() => said.remove(), 8000);
  };

  reeldrop.loadNow = () => {
    reeldrop.load("_page/data/status.js", show, show);
    reeldrop.load("_page/data/failed.js", show, () => {});
  };
})();
