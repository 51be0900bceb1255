// One video: the picture, its prompt, its settings, its files, and what can be ordered from it.
"use strict";

(() => {
  const { element } = reeldrop;
  const dialog = document.getElementById("view");

  const LOOPED = { loop: true, muted: true, playsinline: true };

  // The element that shows a video, in the first of its formats that a page can play.
  reeldrop.player = (video, attributes = {}) => {
    const format = ["mp4", "webm"].find((one) => video.formats.includes(one));
    if (!format) {
      const src = reeldrop.file(video, video.formats[0]);
      return element("img", { src, alt: reeldrop.shortPrompt(video) });
    }
    const player = element("video", {
      ...LOOPED, ...attributes, src: reeldrop.file(video, format),
      poster: reeldrop.file(video, "jpg"), preload: "auto",
    });
    player.muted = true; // the attribute counts only for what a parser has made
    return player;
  };

  // The same; what the page can't play or find is said in its place.
  reeldrop.playerOrWhy = (video, attributes) => {
    const player = reeldrop.player(video, attributes);
    player.addEventListener("error", () => player.replaceWith(
      element("p", { class: "missing" }, "The video has not arrived here yet.")));
    return player;
  };

  // A value in words: of a list its items, of a mapping its lines.
  const shown = (value) => {
    if (value === null || typeof value !== "object") return String(value);
    if (Array.isArray(value)) return value.map(shown).join(", ");
    return Object.entries(value).map(([name, of]) => `${name}: ${shown(of)}`).join(", ");
  };

  // Names and values of all settings, those of the render last.
  reeldrop.settings = (video) => {
    const { prompt, ...own } = video.own;
    const all = [...Object.entries(own), ...Object.entries(video.rendered)
      .map(([name, value]) => [`rendered: ${name}`, value])];
    return all.filter(([, value]) => value != null).map(([name, value]) => [name, shown(value)]);
  };

  // What tells each of some videos from the others, in words: the settings in which they differ.
  reeldrop.apart = (videos) => {
    const names = new Set(videos.flatMap((video) => Object.keys(video.own)));
    names.delete("prompt");
    const differing = [...names].filter((name) =>
      new Set(videos.map((video) => shown(video.own[name] ?? null))).size > 1);
    return videos.map(({ own }) => (differing.length ? differing : ["seed"])
      .filter((name) => own[name] != null).map((name) => `${name} ${shown(own[name])}`).join(", "));
  };

  // A page on a disk can't save what it leads to: the file is shown, and this page stays open.
  const link = (address, text, attributes = { download: true }) =>
    element("a", { href: address, target: "_blank", ...attributes }, text);
  const HOW_TO_SAVE = "Files open in a tab of their own. To save one, choose “Save link as” in the "
    + "menu of its link: a right click, or a long press.";
  const button = (text, click) => element("button", { type: "button", click }, text);

  const files = (video) => element("p", { class: "links" },
    ...video.formats.map((format) => link(reeldrop.file(video, format), `${format} file`)),
    link(reeldrop.file(video, "yaml"), "Settings as a prompt file"),
    link(reeldrop.log(video), "Log of its job", {}),
    location.protocol === "file:" && element("span", { class: "meta" }, HOW_TO_SAVE));

  const takes = (video, others) => {
    if (others.length < 2) return [];
    const apart = reeldrop.apart(others);
    const at = others.indexOf(video);
    return [
      element("ul", { class: "takes", "aria-label": "Takes of this prompt" },
        ...others.map((other, number) => element("li", {}, element("button", {
          type: "button", "aria-current": other === video && "true", title: apart[number],
          "aria-label": `Take with ${apart[number]}`, click: () => reeldrop.open(other),
        }, element("img", { src: reeldrop.file(other, "jpg"), alt: "", loading: "lazy" }))))),
      element("p", { class: "meta" }, `Take ${at + 1} of ${others.length}: ${apart[at]}`),
    ];
  };

  const newPrompt = (video) => {
    const text = element("textarea", { rows: 4, dir: "auto", "aria-label": "New prompt" });
    text.value = video.prompt;
    return element("details", {}, element("summary", {}, "Same settings, new prompt"), text,
      button("Save the prompt file", () => reeldrop.saveNewPrompt(video, text.value)));
  };

  const table = (video) => element("details", { open: true }, element("summary", {}, "Settings"),
    element("dl", {}, ...reeldrop.settings(video).flatMap(([name, value]) =>
      [element("dt", {}, name), element("dd", { dir: "auto" }, value)])));

  // What has the focus stays in reach of a keyboard when another video is shown.
  const keepFocus = (text) => {
    const same = [...dialog.querySelectorAll("button")]
      .find((other) => text && other.textContent === text);
    (same ?? dialog.querySelector(".takes [aria-current]") ?? dialog).focus();
  };

  reeldrop.show = (video) => {
    const focused = dialog.open && (document.activeElement?.textContent ?? "");
    const others = reeldrop.takes(video);
    dialog.replaceChildren(
      element("div", { class: "bar" },
        button("Previous", () => reeldrop.step(-1)), button("Next", () => reeldrop.step(1)),
        reeldrop.star(video),
        reeldrop.ratingOf(video), reeldrop.pick(video), button("Close", () => dialog.close())),
      reeldrop.playerOrWhy(video, { controls: true, autoplay: true }), ...takes(video, others),
      element("p", { class: "prompt", dir: "auto", tabindex: 0 }, video.prompt),
      element("p", { class: "meta" }, element("bdi", {}, video.path),
        ...[reeldrop.time(video.finished), reeldrop.everyonesWords(video)].filter(Boolean)
          .map((text) => ` · ${text}`)),
      files(video),
      element("p", { class: "links" },
        button("Another take", () => reeldrop.saveAnotherTake(video)), newPrompt(video)),
      table(video));
    dialog.setAttribute("aria-label", reeldrop.shortPrompt(video));
    if (!dialog.open) dialog.showModal();
    else keepFocus(focused);
  };

  reeldrop.hide = () => { if (dialog.open) dialog.close(); };

  dialog.addEventListener("close", () => {
    dialog.replaceChildren(); // or the video would go on
    reeldrop.open(null);
  });
  dialog.addEventListener("keydown", ({ key, target, altKey, ctrlKey, metaKey, shiftKey }) => {
    if (altKey || ctrlKey || metaKey || shiftKey) return; // Alt with an arrow is "back"
    if (target.closest("textarea, video, input, select")) return;
    if (key === "ArrowLeft") reeldrop.step(-1);
    if (key === "ArrowRight") reeldrop.step(1);
  });
})();
