// The settings, and their controls.

import { byId, setText, showMs } from "./dom.js";

const STEPS = {
  rate: [0, 0.2, 0.5, 1, 2, 5, 10, 20],
  pollIntervalMs: [100, 250, 500, 1000, 2000, 3000, 5000, 10_000],
  roundTripMs: [0, 10, 20, 40, 100, 200, 400, 1000],
};

const query = new URLSearchParams(location.search);

/** Fires `change` when a setting has changed. */
class Settings extends EventTarget {
  /** Messages per second that are published for the race. */
  rate = 1;
  pollIntervalMs = 1000;
  /** Of the simulated link. */
  roundTripMs = 100;
  isPaused = false;
  /** Whether lanes wait for a random part of the backoff before they reconnect. */
  hasJitter = true;
  /** Interval of heartbeats that streams request; `?heartbeat=` of the page, seconds. */
  heartbeatMs = 1000 * Math.min(Math.max(Number(query.get("heartbeat")) || 5, 1), 25);

  set(name, value) {
    this[name] = value;
    this.dispatchEvent(new CustomEvent("change", { detail: name }));
  }
}

export const settings = new Settings();

const perSecond = (rate) => (rate === 0 ? "none" : `${rate} a second`);

/** Connects the sliders and the pause button with the settings. */
export function connectControls() {
  connectSlider("rate", "rate", perSecond);
  connectSlider("interval", "pollIntervalMs", showMs);
  if (byId("interval-one")) connectSlider("interval-one", "pollIntervalMs", showMs);
  connectSlider("round-trip", "roundTripMs", (ms) => (ms === 0 ? "none" : showMs(ms)));
  const pause = byId("pause");
  if (!pause) return;
  pause.onclick = () => {
    settings.set("isPaused", !settings.isPaused);
    pause.setAttribute("aria-pressed", String(settings.isPaused));
  };
}

function connectSlider(id, name, show) {
  const slider = byId(id);
  const step = STEPS[name];
  const describe = () => {
    const text = show(settings[name]);
    setText(byId(`${id}-shown`), text);
    slider.setAttribute("aria-valuetext", text);
  };
  settings.addEventListener("change", ({ detail }) => {
    if (detail !== name) return;
    slider.value = step.indexOf(settings[name]);
    describe();
  });
  slider.value = step.indexOf(settings[name]);
  slider.oninput = () => {
    settings.set(name, step[slider.value]);
    describe();
  };
  describe();
}
