// What the service does, what waits, and what failed and why.
"use strict";

(() => {
  const { element } = reeldrop;
  let status = null;
  let failures = [];
  let areMore = false;
  let aside = "_failed/";
  let shown = "";

  // Called by the data's scripts.
  reeldrop.status = (found) => { status = found; };
  reeldrop.failed = (found) => { ({ listed: failures, more: areMore, aside } = found); };

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

  const row = (name, reason, ...more) => element("li", {}, element("strong", { dir: "auto" }, name),
    " ", element("span", { dir: "auto" }, reason), " ", ...more);

  const button = (text, about, click) => element("button", {
    type: "button", click, "data-key": `${text} ${about}`, "aria-label": `${text} ${about}`,
  }, text);

  const cancel = (name) => reeldrop.isWhole(name)
    && button("Cancel", name, () => reeldrop.saveCancel(name));

  const waiting = ({ prompt_file: name, reason }) => row(name, reason, cancel(name));
  const plain = ({ prompt_file: name, reason }) => row(name, reason);

  // A report is beside its prompt file, which may be outside of the results.
  const report = (name) => reeldrop.isWhole(name) && !aside.startsWith("/") && element("a", {
    href: reeldrop.address(`${aside}${name}.error.txt`), target: "_blank",
    "data-key": `Report ${name}`, "aria-label": `Report on ${name}`,
  }, "Report");

  const failure = (found) => element("li", {},
    element("strong", { dir: "auto" }, found.name), " ",
    found.failed && element("time", { class: "meta" }, reeldrop.time(found.failed)),
    element("p", { class: "reason", dir: "auto" }, found.reason), report(found.name), " ",
    !found.goes_back ? "" : found.text != null && reeldrop.isWhole(found.name)
      ? button("Retry", found.name, () => reeldrop.saveRetry(found, aside))
      : element("span", {}, `To retry it, move it from ${aside} into the inbox.`));

  const rendering = (now) => [
    element("p", { dir: "auto", class: "prompt" }, now.prompt),
    status.has_preview ? element("img", {
      class: "preview", alt: "", src: `_page/preview.jpg?${Date.parse(status.updated)}`,
      error: (event) => event.target.remove(),
    }) : "",
    element("progress", { value: now.step, max: now.steps, "aria-label": "Steps" }),
    element("p", { class: "meta" }, `${now.prompt_file}, step ${now.step} of ${now.steps} `,
      cancel(now.prompt_file)),
  ];

  const steering = () => [
    element("h2", {}, "Steer"),
    element("p", {}, status?.state === "paused" && status.said.includes("PAUSE")
      ? "Delete PAUSE from the inbox to go on."
      : button("Pause", "the service", reeldrop.savePause)),
    element("p", { class: "meta" }, "Prompt files in the folder NOW of the inbox go first, those in"
      + " NIGHT wait for the night. A video or its settings, put into AGAIN, is rendered once more"
      + " with another seed. Buttons save files: each says where it belongs."),
  ];

  // What has not changed stays as it is, with the focus and what somebody has marked.
  const show = () => {
    const found = JSON.stringify([status, status && isOutdated(), failures, areMore, aside]);
    if (found === shown) return;
    shown = found;
    const [kind, text] = line();
    const place = document.getElementById("now-line");
    reeldrop.tell(place, text);
    place.dataset.kind = failures.length && kind === "on" ? "failed" : kind;
    const count = areMore ? `more than ${failures.length}` : failures.length;
    const failed = failures.length ? `${count} failed` : "";
    place.dataset.failed = failed;
    const more = document.getElementById("now-more");
    const { key } = document.activeElement?.dataset ?? {};
    more.replaceChildren(
      ...(status?.rendering && !isOutdated() ? rendering(status.rendering) : []),
      ...(status && !isOutdated() ? rows("Renderers", status.renderers, plain) : []),
      ...(status ? rows(`Waiting: ${status.queue_count}`, status.queue, waiting) : []),
      ...(status ? rows("Not recognised", status.unrecognised, plain) : []),
      ...rows("Failed", failures, failure),
      ...steering(),
      ...(status ? [element("p", { class: "meta" }, `as of ${reeldrop.time(status.updated)}`)] : []),
    );
    if (key) [...more.querySelectorAll("[data-key]")].find((b) => b.dataset.key === key)?.focus();
  };

  // Say something, until somebody has read it; then the focus goes back.
  reeldrop.say = (text) => {
    document.querySelector(".said")?.remove();
    const before = document.activeElement;
    const close = () => { said.remove(); before?.focus({ preventScroll: true }); };
    const said = element("div", { class: "said", role: "alert" }, element("p", {}, text),
      element("button", { type: "button", click: close }, "OK"));
    (document.querySelector("dialog[open]") ?? document.body).append(said);
  };

  reeldrop.loadNow = () => {
    reeldrop.load("_page/data/status.js", show, show);
    reeldrop.load("_page/data/failed.js", show, () => {});
  };
})();
