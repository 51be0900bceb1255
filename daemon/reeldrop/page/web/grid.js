// The grid: a card for each prompt, with its newest take. Only as many as somebody has scrolled to.
"use strict";

(() => {
  const { element } = reeldrop;
  const PAGE = 60;
  const MOST_COMPARED = 4;
  const grid = document.getElementById("grid");
  const more = document.getElementById("more");
  const compare = document.getElementById("compare");
  const moves = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  const picked = new Map();
  let stacks = [];
  let shown = 0;

  reeldrop.pick = (video) => {
    const box = element("input", {
      type: "checkbox", "data-path": video.path, "aria-label": `Compare ${reeldrop.shortPrompt(video)}`,
    });
    box.checked = picked.has(video.path);
    box.addEventListener("change", () => {
      if (box.checked) picked.set(video.path, video);
      else picked.delete(video.path);
      if (picked.size > MOST_COMPARED) {
        picked.delete(video.path);
        reeldrop.say(`Up to ${MOST_COMPARED} videos can be compared.`);
      }
      for (const other of document.querySelectorAll("input[data-path]")) {
        other.checked = picked.has(other.dataset.path);
      }
      compare.disabled = picked.size < 2;
      compare.textContent = picked.size ? `Compare (${picked.size})` : "Compare";
    });
    return element("label", { class: "pick" }, box, " Compare");
  };
  compare.addEventListener("click", () => reeldrop.compare([...picked.values()]));

  const plays = (card, video) => {
    let player = null;
    const stop = () => { player?.remove(); player = null; };
    const start = ({ pointerType }) => {
      if (!moves || player || pointerType === "touch") return;
      player = reeldrop.player(video, { autoplay: true, "aria-hidden": "true" });
      player.removeAttribute("poster");
      player.addEventListener("error", stop);
      card.querySelector(".poster").append(player);
    };
    card.addEventListener("pointerenter", start);
    card.addEventListener("pointerleave", stop);
    card.addEventListener("focusin", start);
    card.addEventListener("focusout", ({ relatedTarget }) => {
      if (!card.contains(relatedTarget)) stop();
    });
  };

  const card = (takes) => {
    const [video] = takes;
    const count = takes.length > 1 ? `${takes.length} takes` : "";
    const poster = element("img", { src: reeldrop.file(video, "jpg"), alt: "", loading: "lazy" });
    poster.addEventListener("error", () => made.classList.add("missing"));
    poster.addEventListener("load", () => made.classList.remove("missing"));
    const made = element("li", { class: takes.length > 1 ? "card stack" : "card" },
      element("button", {
        type: "button", class: "poster", click: () => reeldrop.open(video),
        "aria-label": [reeldrop.shortPrompt(video), count].filter(Boolean).join(", "),
      }, poster, count && element("span", { class: "badge", "aria-hidden": "true" }, count)),
      element("p", { class: "prompt", dir: "auto" }, reeldrop.shortPrompt(video)),
      element("p", { class: "meta" }, `${video.own.model} · ${reeldrop.time(video.finished)}`),
      element("p", { class: "meta" }, reeldrop.everyonesWords(video)),
      element("div", { class: "deeds" }, reeldrop.star(video), reeldrop.pick(video)));
    made.dataset.key = key(takes);
    plays(made, video);
    return made;
  };

  const key = ([video, ...others]) =>
    `${others.length} ${video.order} ${video.path} ${reeldrop.everyonesWords(video)}`;

  // Show the first stacks. Cards that are right stay in the page, with the focus and what plays.
  const draw = () => {
    const wanted = new Map(stacks.slice(0, shown).map((takes) => [key(takes), takes]));
    for (const one of [...grid.children]) if (!wanted.has(one.dataset.key)) one.remove();
    const there = new Map([...grid.children].map((one) => [one.dataset.key, one]));
    let at = grid.firstChild;
    for (const [name, takes] of wanted) {
      if (at?.dataset.key === name) at = at.nextSibling;
      else grid.insertBefore(there.get(name) ?? card(takes), at);
    }
    more.hidden = shown >= stacks.length;
  };

  reeldrop.drawGrid = (found, isNewQuestion) => {
    stacks = found;
    if (isNewQuestion || shown < PAGE) shown = PAGE;
    draw();
    if (isNewQuestion) return;
    for (const poster of grid.querySelectorAll(".missing .poster img")) poster.src = poster.src;
  };

  const showMore = () => { shown += PAGE; draw(); };
  more.addEventListener("click", showMore);
  new IntersectionObserver(([entry]) => { if (entry.isIntersecting) showMore(); },
    { rootMargin: "600px" }).observe(more);

  // The next or previous card's video, seen from the one that is shown.
  reeldrop.neighbour = (video, by) => {
    const at = stacks.findIndex((takes) => takes.some((take) => take.prompt === video.prompt));
    return stacks[at + by]?.[0];
  };
})();
