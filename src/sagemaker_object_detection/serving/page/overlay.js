"use strict";

/*
 * Boxes with names and scores over the picture. Places of boxes are shares of the picture, so they
 * scale with it; letters keep their size. Labels are put where they are whole and cover none of a
 * better detection; the label for which there is no such place is seen when its box is picked.
 */

const SVG = "http://www.w3.org/2000/svg";
const LABEL = { height: 18, padding: 5, baseline: 13, longest: 26 };

/* Neighbouring classes get hues far apart, all of one lightness that white letters can be read on. */
function colourOf(classId) {
  return `oklch(0.52 0.17 ${(262 + classId * 137.508) % 360})`;
}

class Overlay {
  constructor(svg) {
    this.svg = svg;
    this.marks = new Map();
    new ResizeObserver(() => this.#placeLabels()).observe(svg);
  }

  /* predictions: best first, bbox in pixels of a picture of this width and height. */
  draw(predictions, width, height) {
    this.marks.clear();
    for (const one of predictions) {
      this.marks.set(one, { frame: frameOf(one, width, height), label: labelOf(one) });
    }
    // The best lie over the others, and all labels over all frames.
    const fromBelow = [...this.marks.values()].reverse();
    this.svg.replaceChildren(...fromBelow.map((mark) => mark.frame), ...fromBelow.map((mark) => mark.label));
    this.pick(null);
    this.#placeLabels();
  }

  /* Let one box stand out; null for none. */
  pick(prediction) {
    const picked = this.marks.get(prediction);
    this.svg.classList.toggle("picked", picked !== undefined);
    for (const mark of this.marks.values()) {
      mark.frame.classList.toggle("picked", mark === picked);
      mark.label.classList.toggle("picked", mark === picked);
    }
  }

  #placeLabels() {
    const { clientWidth: width, clientHeight: height } = this.svg;
    if (!width || !height) return;
    const placed = [];
    for (const { frame, label } of this.marks.values()) {
      const [plate, text] = label.children;
      const share = (name) => Number.parseFloat(frame.lastChild.getAttribute(name)) / 100;
      const labelWidth = text.getComputedTextLength() + 2 * LABEL.padding;
      const left = Math.max(0, Math.min(share("x") * width - 1, width - labelWidth));
      const right = left + labelWidth;
      const edge = share("y") * height;
      const [above, within, below] = [edge - LABEL.height, Math.max(0, edge), edge + share("height") * height];
      const isFree = (top) =>
        top >= 0 && top + LABEL.height <= height
        && !placed.some((one) => left < one.right && one.left < right && Math.abs(top - one.top) < LABEL.height);
      const free = [above, within, below].find(isFree);
      label.classList.toggle("crowded", free === undefined);
      if (free !== undefined) placed.push({ left, right, top: free });
      const top = free ?? Math.max(0, above);
      setAll(plate, { x: left, y: top, width: labelWidth, height: LABEL.height, rx: 3 });
      setAll(text, { x: left + LABEL.padding, y: top + LABEL.baseline });
    }
  }
}

function frameOf(prediction, width, height) {
  const [left, top, right, bottom] = prediction.bbox;
  const place = {
    x: `${(100 * left) / width}%`,
    y: `${(100 * top) / height}%`,
    width: `${(100 * Math.max(0, right - left)) / width}%`,
    height: `${(100 * Math.max(0, bottom - top)) / height}%`,
    rx: 2,
  };
  return markOf(prediction, "frame", shape("rect", "halo", place), shape("rect", "line", place));
}

function labelOf(prediction) {
  const text = shape("text", "", {});
  text.textContent = `${shortened(prediction.class_name)} ${prediction.score.toFixed(2)}`;
  return markOf(prediction, "label", shape("rect", "plate", {}), text);
}

function markOf(prediction, kind, ...shapes) {
  const group = shape("g", kind, { "data-class-id": prediction.class_id });
  group.classList.add("mark");
  group.style.setProperty("--colour", colourOf(prediction.class_id));
  group.append(...shapes);
  return group;
}

function shape(tag, kind, attributes) {
  const element = document.createElementNS(SVG, tag);
  if (kind) element.classList.add(kind);
  setAll(element, attributes);
  return element;
}

function setAll(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
}

function shortened(name) {
  const letters = [...name];
  return letters.length > LABEL.longest ? `${letters.slice(0, LABEL.longest - 1).join("")}…` : name;
}
