// Prompt files and control files to save for the inbox: the page itself can't write.
"use strict";

(() => {
  // A YAML value: JSON, with what YAML takes for a line break or can't hold as escapes.
  const value = (found) => JSON.stringify(found).replace(
    /[\u007f-\u009f\u2028\u2029\ufeff\ufffe\uffff]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );

  const text = (settings) => Object.entries(settings)
    .filter(([, found]) => found != null)
    .map(([key, found]) => `${key}: ${key === "seed" ? found : value(found)}\n`)
    .join("");

  // The pictures that a video was made from: settings that name a picture.
  const PICTURE = /\.(png|jpe?g|webp)$/i;
  const pictures = ({ prompt, negative_prompt: negative, ...rest }) =>
    Object.values(rest).filter((found) => typeof found === "string" && PICTURE.test(found));

  // Save a file, and say where to put it. Of this type, a browser adds no ending to the name.
  reeldrop.save = (name, content, where) => {
    const address = URL.createObjectURL(new Blob([content], { type: "application/octet-stream" }));
    const link = reeldrop.element("a", { href: address, download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
    reeldrop.say(`Put ${name} ${where}.`);
  };

  const folderOf = (path) => path.slice(0, Math.max(path.lastIndexOf("/"), 0));
  const nameOf = (path) => path.slice(path.lastIndexOf("/") + 1);
  const into = (folder) => (folder ? `into the folder ${folder} of the inbox` : "into the inbox");
  const beside = (video) => pictures(video.own).map((name) => `, with ${name} beside it`).join("");

  // A name for the inbox, which refuses those that begin with an underscore.
  const named = (name) => name.replace(/^_+/, "") || "prompt";

  const withoutSeed = ({ seed, ...rest }) => rest;

  // Of which texts its translations are: else nobody would hear that they are of others.
  const translated = ({ rendered }) => {
    const of = Object.entries(rendered).filter(([key]) => key.includes("translated_from"));
    return of.length ? { rendered: Object.fromEntries(of) } : {};
  };

  // The same prompt and settings with a seed that is drawn anew.
  reeldrop.saveAnotherTake = (video) => {
    const content = text({ ...withoutSeed(video.own), ...translated(video) });
    reeldrop.save(`${named(video.name)}-take.yaml`, content, into("") + beside(video));
  };

  // The same settings and seed for another prompt, which the translation is not of; for the same
  // one, a person may have given it.
  reeldrop.saveNewPrompt = (video, prompt) => {
    const name = named(prompt.trim().slice(0, 40).replace(/[^\p{L}\p{M}\p{N}]+/gu, "_"));
    const { translated_prompt: _, ...own } = video.own;
    const same = prompt.trim() === video.prompt.trim() ? video.own : own;
    const content = text({ ...same, prompt: prompt.trim(), ...translated(video) });
    reeldrop.save(`${name}.yaml`, content, into("") + beside(video));
  };

  // A prompt file that failed, as it is. It belongs where it was: that may have defaults.
  reeldrop.saveRetry = ({ name, into: path, text: content, has_pictures: hasPictures }, aside) => {
    const beside = hasPictures ? `, with the pictures in ${aside}${name}.pictures beside it` : "";
    reeldrop.save(nameOf(path), content, into(folderOf(path)) + beside);
  };

  const EXACTLY = "with exactly this name";

  reeldrop.savePause = () => reeldrop.save("PAUSE", "",
    `into the inbox, ${EXACTLY}: the service pauses after the videos in hand. Delete it to go on`);

  reeldrop.saveCancel = (path) => reeldrop.save(`${nameOf(path)}.cancel`, "",
    `${into(folderOf(path))}, ${EXACTLY}: ${nameOf(path)} is not rendered any more`);

  // Whether a name is shown as it is: neither cut nor with escapes.
  reeldrop.isWhole = (path) => !/[\\…]/.test(path);
})();
