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
    const text = (button.closest(".tabs")?.querySelector("pre.on") ?? button.parentElement.querySelector("code")).textContent;
    await navigator.clipboard.writeText(text);
    button.textContent = "copied";
    setTimeout(() => (button.textContent = "copy"), 1200);
  };
}
