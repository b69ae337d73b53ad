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
