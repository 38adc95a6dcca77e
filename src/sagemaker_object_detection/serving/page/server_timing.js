"use strict";

/*
 * The stages that a Server-Timing header tells of, in its order: name and milliseconds.
 * 'decode;dur=3.1, model;dur=98;desc="the network"' -> [{name: "decode", milliseconds: 3.1}, ...];
 * a description stands for the name, and what has no duration is left out.
 */
function stagesOf(header) {
  const stages = [];
  for (const entry of splitOutsideQuotes(header ?? "", ",")) {
    const [name, ...parameters] = splitOutsideQuotes(entry, ";");
    const values = new Map();
    for (const parameter of parameters) {
      const at = parameter.indexOf("=");
      if (at > 0) values.set(parameter.slice(0, at).trim().toLowerCase(), unquoted(parameter.slice(at + 1).trim()));
    }
    const milliseconds = Number.parseFloat(values.get("dur"));
    if (name && milliseconds >= 0) stages.push({ name: values.get("desc") || name, milliseconds });
  }
  return stages;
}

function splitOutsideQuotes(text, separator) {
  const parts = [""];
  let quoted = false;
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at];
    if (character === '"') quoted = !quoted;
    if (character === separator && !quoted) {
      parts.push("");
    } else {
      parts[parts.length - 1] += character;
      if (quoted && character === "\\" && at + 1 < text.length) parts[parts.length - 1] += text[++at];
    }
  }
  return parts.map((part) => part.trim());
}

function unquoted(text) {
  return text.startsWith('"') ? text.replace(/^"|"$/g, "").replace(/\\(.)/g, "$1") : text;
}
