// What the page does at its start, and with what somebody asks for.
"use strict";

(() => {
  const REFRESH_SECONDS = 15;
  const { element } = reeldrop;
  const field = (id) => document.getElementById(id);
  let current = null;

  const question = () => ({
    words: field("words").value,
    folder: field("folder").value,
    model: field("model").value,
    day: field("day").value,
    rated: field("rated").value,
  });

  const choose = (id, all, values) => {
    const select = field(id);
    const before = select.value;
    const there = [...select.options].slice(1).map((option) => option.value);
    if (select.options.length && there.join("\n") === values.join("\n")) return;
    select.replaceChildren(element("option", { value: "" }, all),
      ...values.map((value) => element("option", { value }, value)));
    select.value = values.includes(before) ? before : "";
  };

  const count = (stacks) => {
    const videos = stacks.reduce((sum, takes) => sum + takes.length, 0);
    const all = reeldrop.countOfVideos();
    const there = reeldrop.allVideos().length;
    const away = all - there;
    const missing = !away ? ""
      : `; ${away.toLocaleString()} ${away === 1 ? "has" : "have"} not arrived yet`;
    const of = videos === there ? "" : ` of ${there.toLocaleString()}`;
    return all ? `${videos.toLocaleString()}${of} ${there === 1 ? "video" : "videos"}${missing}`
      : "No videos yet. Put a prompt file into the inbox.";
  };

  const draw = (isNewQuestion) => {
    const stacks = reeldrop.find(question());
    reeldrop.drawGrid(stacks, isNewQuestion);
    reeldrop.tell(field("count"), count(stacks));
  };

  const arrived = () => {
    const { folders, models, days } = reeldrop.choices();
    choose("folder", "All folders", folders);
    choose("model", "All models", models);
    choose("day", "All days", days);
    draw(false);
    if (!current) followAddress();
  };

  // The address names the video that is shown, so that "back" closes it and a link can be kept.
  reeldrop.open = (video) => {
    const hash = video ? `#${encodeURIComponent(video.path)}` : "#all";
    if (video || current) location.hash = hash;
  };
  const followAddress = () => {
    let path = "";
    try {
      path = decodeURIComponent(location.hash.slice(1));
    } catch { /* not one of ours */ }
    current = reeldrop.videoAt(path) ?? null;
    if (current) reeldrop.show(current);
    else reeldrop.hide();
  };
  reeldrop.step = (by) => {
    const next = current && reeldrop.neighbour(current, by);
    if (next) reeldrop.open(next);
  };
  addEventListener("hashchange", followAddress);

  field("filters").addEventListener("submit", (event) => event.preventDefault());
  field("words").addEventListener("input", () => draw(true));
  for (const id of ["folder", "model", "day", "rated"]) {
    field(id).addEventListener("change", () => draw(true));
  }
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "/" && !event.target.closest("input, textarea, select")) {
      event.preventDefault();
      field("words").focus();
    }
  });

  const refresh = () => {
    reeldrop.loadNow();
    reeldrop.load("_page/data/ratings.js", () => draw(false), () => {});
    reeldrop.loadVideos(arrived);
  };
  refresh();
  setInterval(() => { if (!document.hidden) refresh(); }, REFRESH_SECONDS * 1000);
})();
