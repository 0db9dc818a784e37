// Elements made of data, and their changes applied to the page. What comes from outside only ever becomes text or the value
// of an attribute, never markup.

const HANDLERS = Symbol("handlers");
const SVG = "http://www.w3.org/2000/svg";
const FIELDS = new Set(["INPUT", "TEXTAREA", "SELECT"]);

const dispatch = (event) => event.currentTarget[HANDLERS]?.[event.type]?.(event);

function listen(element, handlers) {
  const before = element[HANDLERS] ?? {};
  element[HANDLERS] = handlers;
  for (const type of Object.keys(handlers)) {
    if (!(type in before)) element.addEventListener(type, dispatch);
  }
}

function build(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") listen(element, value);
    else if (name === "css") for (const [key, part] of Object.entries(value)) element.style.setProperty(key, part);
    else if (name === "value") continue;
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child);
  }
  // A choice among options can only be made once they are there.
  if (props && "value" in props) element.value = props.value ?? "";
  return element;
}

/** An HTML element: attributes by name, `on` for handlers, `css` for single properties. */
export const h = (tag, props, ...children) => build(document.createElement(tag), props, children);

/** An SVG element. */
export const s = (tag, props, ...children) => build(document.createElementNS(SVG, tag), props, children);

/** Makes `old` look like `next` and keeps what a reader has: focus, selection, scroll position, open details. */
export function morph(old, next) {
  const other = old.nodeType !== next.nodeType || old.nodeName !== next.nodeName;
  if (other || key(old) !== key(next)) {
    old.replaceWith(next);
  } else if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== next.data) old.data = next.data;
  } else {
    morphAttributes(old, next);
    listen(old, next[HANDLERS] ?? {});
    morphChildren(old, next);
    // Whoever types is right.
    if (FIELDS.has(old.nodeName) && old !== document.activeElement && old.value !== next.value) old.value = next.value;
  }
}

const key = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.getAttribute("data-key") : null);

function morphAttributes(old, next) {
  for (const { name } of [...old.attributes]) {
    const kept = name === "style" || (name === "open" && old.nodeName === "DETAILS");
    if (!kept && !next.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (name !== "style" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  // As an attribute it would be a style within the page, which the policy forbids.
  if (old.style.cssText !== next.style.cssText) old.style.cssText = next.style.cssText;
}

function morphChildren(old, next) {
  const keyed = new Map([...old.children].filter(key).map((child) => [key(child), child]));
  let at = old.firstChild;
  for (const child of [...next.childNodes]) {
    const name = key(child);
    let match = name ? keyed.get(name) : at;
    if (match && !name && key(match)) match = null;
    if (!match) {
      old.insertBefore(child, at);
      continue;
    }
    if (match === at) at = at.nextSibling;
    else old.insertBefore(match, at);
    morph(match, child);
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}
