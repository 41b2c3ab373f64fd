// Small helpers. Text from outside goes in as text, never as markup.

export const $ = (id) => document.getElementById(id);

/** An element with properties (class, text, and attributes) and children. */
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") made.className = value;
    else if (name === "text") made.textContent = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function svg(tag, attributes = {}, text = null) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== null) made.textContent = text;
  return made;
}

export const count = (number) => number.toLocaleString("en");
export const share = (part, whole) => (whole ? `${((100 * part) / whole).toFixed(part === whole ? 0 : 1)} %` : "-");

/** Three significant digits, as a person reads a distance. */
export const distance = (number) => (number === null || number === undefined ? "" : Number(number.toPrecision(3)).toString());

/** "0101..." of a code in hexadecimal. */
export function bitsOf(code, bits) {
  return [...code].map((digit) => parseInt(digit, 16).toString(2).padStart(4, "0")).join("").slice(0, bits);
}
