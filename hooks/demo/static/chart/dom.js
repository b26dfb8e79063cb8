// Elements made by hand: what a card says becomes text, never markup.

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "onclick") made.addEventListener("click", value);
    else if (typeof value === "boolean") made.toggleAttribute(key, value);
    else if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const SHAPES = {
  info: ["M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Z", "M8 7.2v4.3", "M8 4.6v.2"],
  warning: ["M8 1.2 15.2 14.4H.8Z", "M8 6v4.2", "M8 12.2v.2"],
  critical: ["M5 1h6l4 4v6l-4 4H5l-4-4V5Z", "M8 4.4v4.4", "M8 11.3v.2"],
};

/** A shape for each indicator, so that colour is never alone. */
export function icon(indicator) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  (SHAPES[indicator] ?? SHAPES.info).forEach((line, number) => {
    const path = document.createElementNS(space, "path");
    path.setAttribute("d", line);
    path.setAttribute("class", number ? "mark" : "shape");
    svg.append(path);
  });
  return svg;
}

/** Address that a page may lead to: http or https and nothing else; or null. */
export function webAddress(text) {
  try {
    const url = new URL(text);
    return ["http:", "https:"].includes(url.protocol) ? url : null;
  } catch {
    return null;
  }
}
