"use strict";
/* A page of a run that goes on loads itself again; what the reader has chosen stays. */

const opened = Date.now();
let touched = 0; // when the reader last did something

function makeLive() {
  if (!data.live) return;
  find("live").hidden = false;
  find("pause").addEventListener("click", () => change({ paused: !state.paused }));
  for (const name of ["pointermove", "pointerdown", "keydown", "wheel"]) addEventListener(name, () => { touched = Date.now(); }, { passive: true });
  setInterval(lookAgain, 500);
  showLive();
}

function lookAgain() {
  showLive();
  const due = Date.now() - opened > data.live * 1000;
  if (!due || state.paused || Date.now() - touched < 1500 || document.activeElement === find("search")) return;
  keep();
  location.reload();
}

function showLive() {
  if (!data.live) return;
  const age = Math.max(0, Date.now() - data.made) / 1000;
  const old = age > 3 * data.live + 20;
  find("live").classList.toggle("old", old);
  find("pause").textContent = state.paused ? "go on" : "pause";
  find("pause").setAttribute("aria-pressed", String(state.paused));
  const what = old ? "Not written again since then: the watch may have been ended." : `Written again every ${data.live} s while a run goes on.`;
  find("live-text").textContent = `As of ${data.date.slice(11, 19)}, ${duration(age)} ago. ${what}`;
}
