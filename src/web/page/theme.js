// The colours and the font of the style sheet, for canvases. Browsers do not apply a forced palette
// of the system to a canvas, so each colour is resolved as if it were that of a text.

/** Shown by no canvas; its computed colour is that of a variable of the style sheet. */
const probe = document.createElement("span");
probe.hidden = true;
probe.style.setProperty("forced-color-adjust", "none");

let colours = new Map();
let values = new Map();

/** The colour `--name`, as `rgb(..)`. */
export function colour(name) {
  if (!colours.has(name)) {
    if (!probe.isConnected) document.body.append(probe);
    probe.style.color = `var(--${name})`;
    colours.set(name, getComputedStyle(probe).color);
  }
  return colours.get(name);
}

/** The value of the variable `--name`, such as a number. */
export function value(name) {
  if (!values.has(name)) {
    const style = getComputedStyle(document.documentElement);
    values.set(name, style.getPropertyValue(`--${name}`).trim());
  }
  return values.get(name);
}

export const font = () => getComputedStyle(document.documentElement).fontFamily;

/** Reads the style sheet again when the colours change; `onChange` may draw with them. */
export function watchTheme(onChange = () => {}) {
  for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)"]) {
    matchMedia(query).addEventListener("change", () => {
      colours = new Map();
      values = new Map();
      onChange();
    });
  }
}
