"use strict";

/* Parts of the page that are lists: class toggles, detections, stages of time. */

function element(tag, kind, ...content) {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  made.append(...content);
  return made;
}

function dotOf(classId) {
  const dot = element("span", "dot");
  dot.style.setProperty("--colour", colourOf(classId));
  return dot;
}

/* One checkbox for each class among the predictions, in the order of their ids. */
function classToggles(predictions, onChange) {
  const names = new Map(predictions.map((one) => [one.class_id, one.class_name]));
  return [...names.keys()].sort((one, other) => one - other).map((classId) => {
    const box = element("input", "unseen");
    Object.assign(box, { type: "checkbox", id: `class-${classId}`, checked: true });
    box.dataset.classId = classId;
    box.addEventListener("change", () => onChange(classId, box.checked));
    const label = element("label", "", dotOf(classId), element("span", "name", names.get(classId)), " ", element("b", "count"));
    label.htmlFor = box.id;
    return element("span", "toggle", box, label);
  });
}

/* Count what is above the threshold, shown or not, in each toggle. */
function countInToggles(root, predictions) {
  for (const box of root.querySelectorAll("input")) {
    const count = predictions.filter((one) => one.class_id === Number(box.dataset.classId)).length;
    box.nextElementSibling.querySelector(".count").textContent = count;
  }
}

/* A row for each prediction; the one that is pointed at or has the focus is passed to onPick. */
function detectionRows(predictions, onPick) {
  return predictions.map((one) => {
    const [left, top, right, bottom] = one.bbox.map(Math.round);
    const row = element(
      "button",
      "row",
      dotOf(one.class_id),
      element("span", "name", one.class_name),
      element("span", "score", one.score.toFixed(3)),
      element("span", "place", `${right - left} × ${bottom - top} px at ${left}, ${top}`),
    );
    row.type = "button";
    for (const event of ["pointerenter", "focus"]) row.addEventListener(event, () => onPick(one));
    for (const event of ["pointerleave", "blur"]) row.addEventListener(event, () => onPick(null));
    return element("li", "", row);
  });
}

/* Name, milliseconds and share of the whole for each stage. */
function stageRows(stages, whole) {
  return stages.map(({ name, milliseconds }) => {
    const bar = element("i", "");
    bar.style.width = `${Math.min(100, (100 * milliseconds) / whole)}%`;
    return element("div", "", element("dt", "", name), element("dd", "", inMilliseconds(milliseconds)), element("dd", "bar", bar));
  });
}

function inMilliseconds(value) {
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
}

/* The answer with one prediction a line; as it came where it is no JSON. */
function readable(text) {
  const said = parsed(text);
  if (!Array.isArray(said?.predictions)) return said === null ? text : JSON.stringify(said, null, 2);
  const lines = said.predictions.map((one) => `  ${onOneLine(one)}`);
  return lines.length ? `{"predictions": [\n${lines.join(",\n")}\n]}` : '{"predictions": []}';
}

/* JSON with spaces between its parts, where a narrow window can break the line. */
function onOneLine(value) {
  if (Array.isArray(value)) return `[${value.map(onOneLine).join(", ")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const parts = Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${onOneLine(one)}`);
  return `{${parts.join(", ")}}`;
}
