// The videos that have arrived so far, and which of them are asked for.
"use strict";

(() => {
  const FIRST_CHUNKS = 3;
  const LONGEST = 200;
  const NEWEST_KEPT = 1; // chunks that are loaded again, because they still get videos
  const chunks = new Map();
  let listed = { chunks: 0, videos: 0 };
  let isLoading = false;

  // Called by the data's scripts.
  reeldrop.list = (found) => { listed = found; };
  reeldrop.chunk = (number, records) => { chunks.set(number, records.map(video)); };

  const pad = (number) => String(number).padStart(2, "0");

  const day = (iso) => {
    const at = new Date(iso);
    if (Number.isNaN(at.getTime())) return "";
    return `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
  };

  // A text as it is searched: without accents, in lower case.
  const plain = (text) => String(text).normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

  const video = ([path, changed, settings]) => {
    const { rendered = {}, ...own } = settings;
    const at = path.lastIndexOf("/");
    const searched = [own.prompt, own.negative_prompt ?? "", own.model, own.seed, path];
    return {
      path,
      own,
      rendered,
      folder: path.slice(0, Math.max(at, 0)),
      name: path.slice(at + 1),
      prompt: String(own.prompt ?? ""),
      formats: [own.format].flat().map(String),
      finished: String(rendered.finished ?? ""),
      day: day(rendered.finished),
      order: changed,
      words: searched.map(plain).join("\n"),
    };
  };

  // The prompt, cut where it is long, but in no character.
  reeldrop.shortPrompt = ({ prompt }) => (prompt.length > LONGEST
    ? `${prompt.slice(0, LONGEST).replace(/[\ud800-\udbff]$/, "")}…` : prompt);

  reeldrop.file = (found, suffix) => reeldrop.address(`${found.path}.${suffix}`);

  // All videos, the newest first. One that is in two chunks counts once.
  let all = [];
  let byPath = new Map();
  const collect = () => {
    byPath = new Map();
    for (const number of [...chunks.keys()].sort((a, b) => a - b)) {
      for (const found of chunks.get(number)) byPath.set(found.path, found);
    }
    all = [...byPath.values()].sort((a, b) => b.order - a.order);
  };

  reeldrop.videoAt = (path) => byPath.get(path);
  reeldrop.allVideos = () => all;
  reeldrop.countOfVideos = () => Math.max(listed.videos, all.length);

  // The takes of each prompt that match, as a list of lists, the newest first.
  reeldrop.find = ({ words, folder, model, day: date, rated }) => {
    const wanted = plain(words).split(/\s+/).filter(Boolean);
    const stacks = new Map();
    for (const found of all) {
      if (folder && !`${found.folder}/`.startsWith(`${folder}/`)) continue;
      if (model && found.own.model !== model) continue;
      if (date && found.day !== date) continue;
      if (rated && !reeldrop.isRated(found, rated)) continue;
      if (!wanted.every((word) => found.words.includes(word))) continue;
      if (stacks.has(found.prompt)) stacks.get(found.prompt).push(found);
      else stacks.set(found.prompt, [found]);
    }
    return [...stacks.values()];
  };

  // All takes of a video's prompt.
  reeldrop.takes = (found) => all.filter((other) => other.prompt === found.prompt);

  // The name of a job's log: each further job of a folder has a number in it.
  reeldrop.log = ({ folder, rendered }) => {
    const jobs = new Set(all.filter((other) => other.folder === folder)
      .map((other) => other.rendered.job));
    const number = [...jobs].sort().indexOf(rendered.job) + 1;
    return reeldrop.address(`${folder}/${number > 1 ? `job-${number}` : "job"}.log`);
  };

  // What can be chosen in the filters: folders of several videos, models and days.
  reeldrop.choices = () => {
    const folders = new Map();
    const models = new Set();
    const days = new Set();
    for (const found of all) {
      let folder = "";
      for (const part of found.folder.split("/").filter(Boolean)) {
        folder = folder ? `${folder}/${part}` : part;
        folders.set(folder, (folders.get(folder) ?? 0) + 1);
      }
      models.add(String(found.own.model));
      if (found.day) days.add(found.day);
    }
    const several = [...folders].filter(([, count]) => count > 1).map(([folder]) => folder);
    return { folders: several.sort(), models: [...models].sort(), days: [...days].sort().reverse() };
  };

  // Load the list and all chunks that are not there yet, the newest first. `changed` is called
  // when there is something to see, and when all is there.
  reeldrop.loadVideos = (changed) => {
    if (isLoading) return; // many chunks, or a slow disk: the next time is soon enough
    isLoading = true;
    const known = Math.max(0, ...chunks.keys());
    const load = () => {
      const numbers = [];
      for (let number = listed.chunks; number > 0; number -= 1) {
        if (number > known - NEWEST_KEPT || !chunks.has(number)) numbers.push(number);
      }
      loadChunks(numbers, changed);
    };
    reeldrop.load("_page/data/list.js", load, load);
  };

  const loadChunks = (numbers, changed) => {
    let loaded = 0;
    const next = () => {
      const number = numbers.shift();
      loaded += 1;
      if (loaded === FIRST_CHUNKS + 1 || number === undefined) {
        collect();
        changed();
      }
      if (number === undefined) {
        isLoading = false;
        return;
      }
      reeldrop.load(`_page/data/${String(number).padStart(4, "0")}.js`, next, next);
    };
    next();
  };
})();
