// Prompt files to save into the inbox: the page itself can't write.
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

  const save = (name, content, where) => {
    const address = URL.createObjectURL(new Blob([content], { type: "text/plain" }));
    const link = reeldrop.element("a", { href: address, download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
    reeldrop.say(`Put ${name} into the inbox${where}.`);
  };

  const beside = (video) => pictures(video.own).map((name) => `, with ${name} beside it`).join("");

  const withoutSeed = ({ seed, ...rest }) => rest;

  // The same prompt and settings with a seed that is drawn anew.
  reeldrop.saveAnotherTake = (video) =>
    save(`${video.name}-take.yaml`, text(withoutSeed(video.own)), beside(video));

  // The same settings and seed for another prompt.
  reeldrop.saveNewPrompt = (video, prompt) => {
    const name = prompt.trim().slice(0, 40).replace(/[^\p{L}\p{N}]+/gu, "_") || "prompt";
    save(`${name}.yaml`, text({ ...video.own, prompt: prompt.trim() }), beside(video));
  };

  // A prompt file that failed, as it is. It belongs where it was: that may have defaults.
  reeldrop.saveRetry = ({ name, text: content, has_pictures: hasPictures }) => {
    const at = name.lastIndexOf("/");
    const folder = at > 0 ? `, into its folder ${name.slice(0, at)}` : "";
    const beside = hasPictures ? `, with the pictures in _failed/${name}.pictures beside it` : "";
    save(name.slice(at + 1), content, folder + beside);
  };
})();
