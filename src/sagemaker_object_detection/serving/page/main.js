"use strict";

/* The page: takes a picture, asks the endpoint, and shows what passes threshold and classes. */

{
  const part = (id) => document.getElementById(id);
  const overlay = new Overlay(part("boxes"));
  const hidden = new Set(); // ids of classes that are switched off
  let picture = null; // the file or sample at hand, {blob, name}
  let size = null; // [width, height] of the image as displayed; null while it is not shown
  let answer = null; // to that picture; null while there is none
  let request = null; // AbortController of the latest question

  async function take(chosen) {
    picture = chosen;
    request?.abort();
    request = new AbortController();
    const { signal } = request;
    clear();
    document.querySelector("main").classList.remove("empty");
    markSample(chosen.name);
    part("status").textContent = "Asking the endpoint…";
    part("result").hidden = false;
    try {
      const [canShow, came] = await Promise.all([showPicture(chosen, signal), ask(chosen.blob, signal)]);
      if (signal.aborted) return;
      part("unshowable").hidden = canShow;
      showAnswer(came);
    } catch (error) {
      if (signal.aborted) return;
      part("result").hidden = true;
      showFailure(error);
    }
  }

  function clear() {
    answer = size = null;
    hidden.clear();
    overlay.draw([], 1, 1);
    for (const list of ["stages", "class-toggles", "found"]) part(list).replaceChildren();
    for (const text of ["json", "total", "found-count"]) part(text).textContent = "";
    for (const box of ["failure", "stage", "unshowable", "nothing", "classes"]) part(box).hidden = true;
    part("result").classList.add("waiting");
  }

  /* Whether this browser can show it. What it cannot show, the endpoint may still read. */
  async function showPicture({ blob, name }, signal) {
    const shown = part("picture");
    URL.revokeObjectURL(shown.src);
    shown.src = URL.createObjectURL(blob);
    shown.alt = name;
    part("caption").textContent = name;
    try {
      await shown.decode();
    } catch {
      return false;
    }
    if (signal.aborted) return false;
    part("stage").hidden = false;
    const [width, height] = [shown.naturalWidth, shown.naturalHeight];
    size = [width, height];
    part("stage").style.setProperty("--ratio", width / height);
    part("caption").textContent = `${name}, ${width} × ${height} px`;
    return true;
  }

  function showAnswer(came) {
    answer = came;
    part("result").classList.remove("waiting");
    part("json").textContent = readable(answer.text);
    part("total").textContent = inMilliseconds(answer.milliseconds);
    part("stages").replaceChildren(...stageRows(answer.stages, answer.milliseconds));
    part("class-toggles").replaceChildren(...classToggles(answer.predictions, switchClass));
    part("classes").hidden = answer.predictions.length === 0;
    update();
  }

  /* Show what passes the threshold and the classes. */
  function update() {
    const threshold = part("threshold").valueAsNumber;
    part("threshold-value").textContent = threshold.toFixed(2);
    if (answer === null) return;
    const above = answer.predictions.filter((one) => one.score > threshold);
    const visible = above.filter((one) => !hidden.has(one.class_id));
    if (size !== null) overlay.draw(visible, ...size);
    part("found").replaceChildren(...detectionRows(visible, (one) => overlay.pick(one)));
    countInToggles(part("class-toggles"), above);
    part("nothing").hidden = visible.length > 0;
    const all = answer.predictions.length;
    if (all === 0) {
      part("nothing").textContent = part("status").textContent = "The model finds nothing on this picture.";
      return;
    }
    part("nothing").textContent = "All are below the threshold or of classes that are switched off.";
    part("found-count").textContent = `${visible.length} of ${all}`;
    part("status").textContent = `${visible.length} of ${all} detection${all === 1 ? "" : "s"} shown.`;
  }

  function switchClass(classId, on) {
    if (on) hidden.delete(classId);
    else hidden.add(classId);
    update();
  }

  function switchAll(on) {
    for (const box of part("class-toggles").querySelectorAll("input")) {
      box.checked = on;
      switchClass(Number(box.dataset.classId), on);
    }
  }

  function showFailure(error) {
    const failure = error instanceof Failure ? error : new Failure("This page failed", { what: String(error) });
    part("status").textContent = "";
    part("failure-title").textContent = failure.message;
    part("failure-what").textContent = failure.what;
    part("failure-hint").textContent = failure.hint;
    part("again").hidden = !failure.passing;
    part("failure-answer").hidden = failure.answer === "";
    part("failure-json").textContent = readable(failure.answer);
    part("failure").hidden = false;
  }

  function markSample(name) {
    for (const button of document.querySelectorAll(".thumb")) button.setAttribute("aria-pressed", button.dataset.name === name);
  }

  part("file").addEventListener("change", () => {
    const [file] = part("file").files;
    part("file").value = ""; // so that the same file can be chosen again
    if (file) take({ blob: file, name: file.name });
  });
  for (const button of document.querySelectorAll(".thumb")) {
    button.addEventListener("click", () => {
      const [head, data] = button.querySelector("img").src.split(",");
      const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
      const type = head.slice("data:".length, head.indexOf(";"));
      take({ blob: new Blob([bytes], { type }), name: button.dataset.name });
    });
  }
  part("again").addEventListener("click", () => take(picture));
  part("threshold").addEventListener("input", update);
  part("all").addEventListener("click", () => switchAll(true));
  part("none").addEventListener("click", () => switchAll(false));

  const hasFile = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!hasFile(event)) return;
    event.preventDefault();
    part("drop").hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) part("drop").hidden = true;
  });
  document.addEventListener("drop", (event) => {
    if (!hasFile(event)) return;
    event.preventDefault();
    part("drop").hidden = true;
    const [file] = event.dataTransfer.files;
    if (file) take({ blob: file, name: file.name });
  });
}
