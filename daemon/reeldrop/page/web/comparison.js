// Two to four videos side by side, in step, with the settings that differ marked.
"use strict";

(() => {
  const { element } = reeldrop;
  const dialog = document.getElementById("comparison");
  const DRIFT_SECONDS = 0.1;
  let players = [];

  const inStep = (seconds) => {
    for (const player of players) {
      const drift = Math.abs(player.currentTime - seconds);
      if (player.duration && drift > DRIFT_SECONDS && player.duration - drift > DRIFT_SECONDS) {
        player.currentTime = seconds % player.duration;
      }
    }
  };

  const follow = (slider) => () => {
    if (!dialog.open) return;
    const [first] = players;
    if (first && !first.paused) {
      inStep(first.currentTime);
      slider.value = first.duration ? (1000 * first.currentTime) / first.duration : 0;
    }
    requestAnimationFrame(follow(slider));
  };

  const controls = () => {
    const play = element("button", { type: "button" }, "Pause");
    const slider = element("input", { type: "range", max: 1000, value: 0, "aria-label": "Position" });
    play.addEventListener("click", () => {
      const goes = players[0]?.paused;
      if (goes) inStep(players[0].currentTime);
      for (const player of players) goes ? player.play() : player.pause();
      play.textContent = goes ? "Pause" : "Play";
    });
    slider.addEventListener("input", () => {
      const [first] = players;
      if (!first?.duration) return;
      for (const player of players) player.pause();
      play.textContent = "Play";
      for (const player of players) player.currentTime = (slider.value / 1000) * first.duration;
    });
    requestAnimationFrame(follow(slider));
    return element("div", { class: "bar" }, ...(players.length ? [play, slider] : []),
      element("button", { type: "button", click: () => dialog.close() }, "Close"));
  };

  // A name that may be broken behind its underscores.
  const breakable = (name) => name.split("_")
    .flatMap((part, number) => (number ? ["_", element("wbr"), part] : [part]));

  const differ = (values) => new Set(values).size > 1;

  const row = ([name, values]) => {
    const differs = differ(values);
    return element("tr", { class: differs && "differs", role: "row" },
      element("th", { scope: "row", role: "rowheader" }, ...breakable(name),
        differs && element("span", { class: "unseen" }, " differs")),
      ...values.map((value) => element("td", { dir: "auto", role: "cell" }, value)));
  };

  // What differs between any two videos, and says nothing.
  const OWN = new Set(["job", "prompt_file", "number", "finished"].map((name) => `rendered: ${name}`));

  const table = (videos) => {
    const found = videos.map((video) => new Map([["prompt", video.prompt],
      ...reeldrop.settings(video).filter(([name]) => !OWN.has(name))]));
    const names = [...new Set(found.flatMap((settings) => [...settings.keys()]))];
    const all = names.map((name) => [name, found.map((settings) => settings.get(name) ?? "—")]);
    const isFirst = ([name, values]) => !name.startsWith("rendered: ") && differ(values);
    all.sort((one, other) => isFirst(other) - isFirst(one));
    // The roles, because on a phone its rows are laid out otherwise than as those of a table.
    return element("table", { role: "table", "aria-label": "Settings" },
      element("tbody", { role: "rowgroup" }, ...all.map(row)));
  };

  reeldrop.compare = (videos) => {
    const shown = videos.map((video) => reeldrop.playerOrWhy(video, { autoplay: true }));
    players = shown.filter((player) => player.tagName === "VIDEO");
    for (const player of players) {
      player.addEventListener("error", () => { players = players.filter((p) => p !== player); });
    }
    const apart = reeldrop.apart(videos);
    dialog.style.setProperty("--count", videos.length);
    dialog.replaceChildren(controls(),
      element("div", { class: "beside" }, ...shown.map((player, number) =>
        element("figure", {}, player, element("figcaption", { dir: "auto" }, apart[number])))),
      table(videos));
    dialog.showModal();
  };

  dialog.addEventListener("close", () => {
    players = [];
    dialog.replaceChildren();
  });
})();
