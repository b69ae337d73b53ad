"use strict";

for (const tabs of document.querySelectorAll(".tabs")) {
  const show = (chosen) => {
    for (const part of tabs.querySelectorAll("[data-tab]")) part.classList.toggle("on", part.dataset.tab === chosen);
  };
  for (const button of tabs.querySelectorAll("button[data-tab]")) button.onclick = () => show(button.dataset.tab);
  show("0");
}

for (const button of document.querySelectorAll(".copy")) {
  button.onclick = async () => {
    const element = button.closest(".tabs")?.querySelector("pre.on") ?? button.parentElement.querySelector("code");
    if (navigator.clipboard) await navigator.clipboard.writeText(element.textContent);
    else {
      // A page of another machine, without TLS, has no clipboard.
      getSelection().selectAllChildren(element);
      document.execCommand("copy");
    }
    button.textContent = "copied";
    setTimeout(() => (button.textContent = "copy"), 1200);
  };
}

// A picture may take a pass over much of its source: as long as one is missing, tell how far that is.
const pictures = [...document.querySelectorAll("article img")];
const missing = () => pictures.filter((picture) => !picture.complete);
async function tell() {
  const { sources } = await (await fetch(`${document.querySelector("nav a").getAttribute("href")}`)).json();
  for (const picture of pictures) {
    const link = picture.closest("a"), name = picture.closest("article").id;
    const { read_bytes, total_bytes, waiting } = sources[Object.keys(sources).find((each) => `${name}/`.startsWith(`${each}/`))].slow_lane;
    const part = total_bytes ? `reading: ${Math.floor((100 * read_bytes) / total_bytes)} %` : waiting ? "waiting" : "";
    if (picture.complete || !part) delete link.dataset.progress;
    else link.dataset.progress = part;
  }
  if (missing().length) setTimeout(tell, 1000);
}
setTimeout(() => missing().length && tell(), 1000);
