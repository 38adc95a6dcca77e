"use strict";

/*
 * Sends images to the endpoint as any client does, and shows each with its boxes. Threshold and classes filter
 * all images together. The server writes a checkbox for each class, with its colors; its position is the class_id.
 */

const ACCEPT = "application/json;format=objects";
const LABEL = { height: 18, padding: 5, baseline: 13, font: 12, longest: 26 }; // pixels on the screen, and letters
const part = (id) => document.getElementById(id);
const toggles = [...document.querySelectorAll("#class-toggles input")];
let cards = [];
let controller = new AbortController();
let queue = Promise.resolve();

/* An image on the page. size: null while it is not shown. predictions: null while there is no answer. */
class Card {
  root = part("image").content.firstElementChild.cloneNode(true);
  at = (kind) => this.root.querySelector(`.${kind}`);

  constructor(file, signal) {
    Object.assign(this, { file, signal, size: null, predictions: null, visible: [], picked: null });
    // The endpoint refuses types that it does not list, and otherwise goes by the bytes.
    this.type = ["image/jpeg", "image/png"].includes(file.type) ? file.type : "application/octet-stream";
    this.root.ariaLabel = this.at("name").textContent = this.at("picture").alt = file.name;
    this.at("picture").src = URL.createObjectURL(file);
    this.at("again").addEventListener("click", () => send([this]));
    this.at("download").addEventListener("click", () => this.download());
    this.at("copy-json").addEventListener("click", ({ target }) => copy("JSON", this.text, target));
    this.at("copy-curl").addEventListener("click", ({ target }) => copy("Command", this.command(), target));
    new ResizeObserver(() => this.draw()).observe(this.at("boxes"));
  }

  async ask() {
    try {
      await Promise.all([this.showPicture(), this.fetchAnswer()]);
      this.at("answer").hidden = false;
    } catch (error) {
      this.at("failure-title").textContent = error.message;
      this.at("failure-hint").textContent = error.hint ?? "";
      this.at("again").hidden = !error.passing;
      this.at("failure").hidden = false;
    }
    this.root.classList.remove("waiting");
    if (!this.signal.aborted) update();
  }

  async fetchAnswer() {
    const start = performance.now();
    const gone = () => Promise.reject(failure("The endpoint does not answer.", "It stopped, or the connection is lost.", true));
    const headers = { "Content-Type": this.type, Accept: ACCEPT, "X-Amzn-SageMaker-Custom-Attributes": "threshold=0.01" };
    const question = { method: "POST", headers, body: this.file };
    const response = await fetch("invocations", { ...question, signal: this.signal }).catch(gone);
    this.text = await response.text().catch(gone);
    const stages = (response.headers.get("Server-Timing") ?? "").matchAll(/([\w-]+);dur=([\d.]+)/g);
    this.at("total").textContent = inMilliseconds(performance.now() - start);
    this.at("stages").textContent = [...stages].map(([, name, value]) => `${name} ${inMilliseconds(value)}`).join(", ");
    const said = await new Response(this.text).json().catch(() => null);
    if (!response.ok) {
      const what = said?.error ?? "the endpoint failed, or a proxy before it";
      throw failure(`HTTP ${response.status}: ${what}.`, said?.hint, [429, 502, 503, 504].includes(response.status));
    }
    const isReadable = said?.predictions?.every?.((one) => one.class_id in toggles && one.bbox?.length === 4);
    if (!isReadable) throw failure("This page cannot read the answer. Reload it.", this.text.slice(0, 300));
    this.predictions = said.predictions.toSorted((one, other) => other.score - one.score);
    this.at("json").textContent = `{"predictions": [${said.predictions.map((one) => `\n${JSON.stringify(one)}`)}\n]}`;
  }

  /* The endpoint may read an image that this browser cannot show. */
  async showPicture() {
    await this.at("picture").decode().catch(() => {});
    const { naturalWidth: width, naturalHeight: height } = this.at("picture");
    this.size = width > 0 ? [width, height] : null;
    this.at("size").textContent = this.size ? `, ${width} × ${height} px` : "";
    this.at("stage").style.setProperty("--ratio", width / height);
    this.at("stage").hidden = this.at("download").hidden = this.size === null;
    this.at("unshowable").hidden = this.size !== null;
  }

  show(isVisible) {
    Object.assign(this, { visible: this.predictions.filter(isVisible), picked: null });
    const [shown, all] = [this.visible.length, this.predictions.length];
    this.at("count").textContent = all ? `${shown} of ${all}` : "";
    const why = all ? "All are below the threshold or of hidden classes." : "The model found nothing.";
    this.at("nothing").textContent = shown ? "" : why;
    this.at("found").replaceChildren(...this.visible.map((one) => this.row(one)));
    this.draw();
  }

  row(one) {
    const [left, top, right, bottom] = one.bbox.map(Math.round);
    const place = `${right - left} × ${bottom - top} px at ${left}, ${top}`;
    const texts = { [`dot c${one.class_id}`]: "", name: one.class_name, score: one.score.toFixed(3), place };
    const row = make("button", { type: "button", class: "row" });
    row.append(...Object.entries(texts).map(([kind, text]) => make("span", { class: kind }, text)));
    const pick = (picked) => {
      this.picked = picked; // its box stands out
      this.draw();
    };
    for (const event of ["pointerenter", "focus"]) row.addEventListener(event, () => pick(one));
    for (const event of ["pointerleave", "blur"]) row.addEventListener(event, () => pick(null));
    return make("li", {}, row);
  }

  /* Boxes and labels, the best on top, in pixels of the image; lines and letters keep their size on the screen. A label
   * is put where it is whole and covers none of a better detection; without such a place it is seen when it is picked. */
  draw() {
    if (this.size === null) return;
    const [svg, frames, labels, placed] = [this.at("boxes"), make("g"), make("g"), []];
    const [width, height] = this.size;
    const unit = width / (svg.clientWidth || width);
    setAll(svg, { width, height, viewBox: `0 0 ${width} ${height}` });
    svg.classList.toggle("picking", this.picked !== null);
    svg.replaceChildren(frames, labels);
    for (const one of this.visible) {
      const [x, y, right, bottom] = one.bbox;
      const { color, ink } = toggles[one.class_id].dataset;
      const box = { x, y, width: Math.max(0, right - x), height: Math.max(0, bottom - y), fill: "none" };
      const halo = make("rect", { ...box, stroke: "#fff", "stroke-opacity": 0.8, "stroke-width": 5 * unit });
      const line = make("rect", { ...box, class: "line", stroke: color, "stroke-width": 2.5 * unit });
      const font = { "font-family": "system-ui, sans-serif", "font-weight": 600, "font-size": LABEL.font * unit };
      const at = { x: LABEL.padding * unit, y: LABEL.baseline * unit };
      const text = make("text", { ...font, ...at, fill: ink }, `${shortened(one.class_name)} ${one.score.toFixed(2)}`);
      const mark = one === this.picked ? "picked" : "mark";
      const label = make("g", { class: `${mark} label` }, text);
      frames.prepend(make("g", { class: `${mark} frame` }, halo, line));
      labels.prepend(label);
      const size = { width: text.getComputedTextLength() + 2 * LABEL.padding * unit, height: LABEL.height * unit };
      const left = Math.max(0, Math.min(x - unit, width - size.width));
      const isFree = (top) => top >= 0 && top + size.height <= height && placed.every((other) =>
        Math.abs(top - other.top) >= size.height || left >= other.right || other.left >= left + size.width);
      const free = [y - size.height, Math.max(0, y), bottom].find(isFree);
      const top = free ?? Math.max(0, y - size.height);
      if (free === undefined) label.setAttribute("visibility", "hidden");
      else placed.push({ left, top, right: left + size.width });
      label.prepend(make("rect", { ...size, fill: color, rx: 3 * unit }));
      label.setAttribute("transform", `translate(${left} ${top})`);
    }
  }

  /* Save the image at its full size, with the boxes that are shown. */
  async download() {
    const [width, height] = this.size;
    const canvas = make("canvas", { width, height });
    const source = new XMLSerializer().serializeToString(this.at("boxes"));
    const overlay = make("img", { src: `data:image/svg+xml,${encodeURIComponent(source)}` });
    await overlay.decode();
    for (const layer of [this.at("picture"), overlay]) canvas.getContext("2d").drawImage(layer, 0, 0, width, height);
    const blob = await new Promise((done) => canvas.toBlob(done));
    if (blob === null) return say("This browser cannot write an image of this size.");
    const [href, name] = [URL.createObjectURL(blob), this.file.name.replace(/\.\w+$/, "")];
    make("a", { href, download: `${name}-detections.png` }).click();
    setTimeout(() => URL.revokeObjectURL(href), 60_000);
  }

  command() {
    const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
    const headers = `-H 'Content-Type: ${this.type}' -H 'Accept: ${ACCEPT}'`;
    return `curl ${quoted(new URL("invocations", location).href)} ${headers} --data-binary ${quoted(`@${this.file.name}`)}`;
  }
}

/* Show what passes the threshold and the classes, on all images. */
function update() {
  const threshold = part("threshold").valueAsNumber;
  part("threshold-value").textContent = threshold.toFixed(2);
  const answered = cards.filter((card) => card.predictions !== null);
  for (const card of answered) card.show((one) => one.score > threshold && toggles[one.class_id].checked);
  const all = answered.flatMap((card) => card.predictions);
  for (const [classId, box] of toggles.entries()) {
    const found = all.filter((one) => one.class_id === classId);
    box.parentElement.hidden = found.length === 0;
    box.labels[0].querySelector(".count").textContent = found.filter((one) => one.score > threshold).length;
  }
  part("classes").hidden = all.length === 0;
  const shown = answered.flatMap((card) => card.visible).length;
  const images = cards.length > 1 ? `${answered.length} of ${cards.length} images: ` : "";
  const result = answered.length && `${images}${shown} of ${all.length} detection${all.length === 1 ? "" : "s"} shown.`;
  say(cards.some((card) => card.root.matches(".waiting")) ? "Asking the endpoint…" : result || "");
}

/* Without the clipboard API, which needs HTTPS or localhost. */
function copy(what, text, button) {
  const area = make("textarea", { class: "unseen" }, text);
  document.body.append(area);
  area.select();
  say(document.execCommand("copy") ? `${what} copied.` : "This browser does not let the page copy.");
  area.remove();
  button.focus();
}

/* Replace the images on the page. */
function take(files) {
  if (files.length === 0) return;
  controller.abort();
  controller = new AbortController();
  for (const card of cards) URL.revokeObjectURL(card.at("picture").src);
  cards = [...files].map((file) => new Card(file, controller.signal));
  part("images").replaceChildren(...cards.map((card) => card.root));
  document.querySelector("main").classList.remove("empty");
  send(cards);
}

/* One after the other: each shows its own time, and a folder of images does not occupy the endpoint. */
function send(some) {
  for (const card of some) {
    card.root.classList.add("waiting");
    card.at("failure").hidden = card.at("answer").hidden = true;
    queue = queue.then(() => card.ask()).catch(reportError);
  }
  update();
}

const say = (text) => (part("status").textContent = text);
const failure = (title, hint, passing = false) => Object.assign(new Error(title), { hint, passing });
const inMilliseconds = (value) => `${value < 10 ? Number(value).toFixed(1) : Math.round(value)} ms`;
const shortened = (name) => (name.length > LABEL.longest ? `${[...name].slice(0, LABEL.longest - 1).join("")}…` : name);

function make(tag, attributes = {}, ...content) {
  const space = ["g", "rect", "text"].includes(tag) ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml";
  const made = document.createElementNS(space, tag);
  made.append(...content);
  return setAll(made, attributes);
}

function setAll(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

part("file").addEventListener("change", ({ target }) => {
  take([...target.files]);
  target.value = ""; // so that the same file can be chosen again
});
for (const thumb of document.querySelectorAll(".thumb")) thumb.addEventListener("click", () => {
  const bytes = Uint8Array.from(atob(thumb.firstElementChild.src.split(",")[1]), (one) => one.charCodeAt(0));
  take([new File([bytes], thumb.dataset.name, { type: "image/jpeg" })]);
});
for (const id of ["threshold", "class-toggles"]) part(id).addEventListener("input", update);
for (const id of ["all", "none"]) part(id).addEventListener("click", () => {
  for (const box of toggles) box.checked = id === "all";
  update();
});
for (const kind of ["dragover", "dragleave", "drop"]) document.addEventListener(kind, (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  part("drop").hidden = kind === "drop" || (kind === "dragleave" && !event.relatedTarget);
  if (kind === "drop") take(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => take(event.clipboardData.files));
