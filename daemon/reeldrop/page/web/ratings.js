// Favourites and ratings: those of this browser, which it keeps, and those of all, which the
// service has counted. Ours get to the others as a file for the inbox.
"use strict";

(() => {
  const { element } = reeldrop;
  const KEY = `reeldrop ratings ${location.pathname.replace(/\/$/, "/index.html")}`;
  const NONE = { favourite: false, rating: 0 };
  let counted = {};

  // Called by the data's script: how many call a video a favourite, the sum and number of ratings.
  reeldrop.ratings = (found) => { counted = found; };

  const id = (video) => `${video.rendered.job}/${video.rendered.number}`;

  const newVoter = () => [...crypto.getRandomValues(new Uint8Array(16))]
    .map((byte) => byte.toString(16).padStart(2, "0")).join("");

  const kept = () => {
    try {
      const found = JSON.parse(localStorage.getItem(KEY));
      if (found?.voter && found.videos) return found;
    } catch { /* nothing is kept for pages on a disk, or it is no JSON */ }
    return { voter: newVoter(), videos: {}, changed: false };
  };
  let ours = kept();
  let isWarned = false;

  const keep = () => {
    try {
      localStorage.setItem(KEY, JSON.stringify(ours));
    } catch {
      if (!isWarned) reeldrop.say("This browser keeps nothing: save your ratings before you leave.");
      isWarned = true;
    }
  };
  addEventListener("storage", ({ key }) => { // another tab
    if (key !== KEY) return;
    ours = kept();
    show();
  });

  reeldrop.ours = (video) => ours.videos[id(video)] ?? NONE;

  reeldrop.rate = (video, change) => {
    const { favourite, rating } = { ...reeldrop.ours(video), ...change };
    if (favourite || rating) ours.videos[id(video)] = { favourite, rating };
    else delete ours.videos[id(video)];
    ours.changed = true;
    keep();
    show();
  };

  const drawStar = (star) => {
    const is = (ours.videos[star.dataset.video] ?? NONE).favourite;
    star.setAttribute("aria-pressed", is);
    star.textContent = is ? "★" : "☆";
  };

  reeldrop.star = (video) => {
    const star = element("button", {
      type: "button", class: "star", "data-video": id(video),
      "aria-label": `Favourite ${reeldrop.shortPrompt(video)}`,
      click: () => reeldrop.rate(video, { favourite: !reeldrop.ours(video).favourite }),
    });
    drawStar(star);
    return star;
  };

  reeldrop.ratingOf = (video) => {
    const choice = element("select", {
      "aria-label": "Your rating",
      change: () => reeldrop.rate(video, { rating: Number(choice.value) }),
    }, ...[0, 5, 4, 3, 2, 1].map((rating) => element("option", { value: rating },
      rating ? `${rating} of 5` : "Not rated")));
    choice.value = reeldrop.ours(video).rating;
    return choice;
  };

  // What all think of a video.
  reeldrop.everyones = (video) => {
    const [favourites = 0, sum = 0, count = 0] = counted[id(video)] ?? [];
    return { favourites, mean: count && sum / count, count };
  };

  // The same in words; empty if nobody has said anything.
  reeldrop.everyonesWords = (video) => {
    const { favourites, mean, count } = reeldrop.everyones(video);
    const all = [favourites && `★ ${favourites}`, count && `${mean.toFixed(1)} of 5 (${count})`];
    return all.filter(Boolean).join(" · ");
  };

  // Whether a video belongs to a choice of the filter.
  reeldrop.isRated = (video, choice) => {
    if (choice === "ours") return reeldrop.ours(video).favourite;
    const { favourites, mean } = reeldrop.everyones(video);
    return choice === "all" ? favourites > 0 : Math.max(mean, reeldrop.ours(video).rating) >= 4;
  };

  const button = document.getElementById("save-ratings");
  const show = () => {
    document.querySelectorAll(".star").forEach(drawStar);
    button.hidden = !ours.changed && !Object.keys(ours.videos).length;
    button.textContent = ours.changed ? "Save my ratings" : "Save my ratings again"; // it got lost
  };
  button.addEventListener("click", () => {
    const content = { voter: ours.voter, saved: Date.now(), videos: ours.videos };
    reeldrop.save(`ratings-${ours.voter.slice(0, 8)}.json`, JSON.stringify(content),
      "into the inbox, and everybody sees your ratings");
    ours.changed = false;
    keep();
    show();
  });
  show();
})();
