"use strict";
const $ = id => document.getElementById(id);
const pictures = [];
let current = null, key = sessionStorage.getItem("anytag-key") || "";

/* Asking the server ------------------------------------------------------------------------------------------- */

async function ask(route, form, method = "POST") {
  const headers = key ? {"X-API-Key": key} : {};
  if (typeof form === "string") headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(route, {method, body: form, headers});
  } catch {
    throw new Error("The server does not answer. Is it still running?");
  }
  const record = await answer.json().catch(() => null);
  if (answer.ok && record) return record;
  if (answer.status === 401) $("key").hidden = false;
  if (answer.status === 429) throw new Error("The server is busy. Try again in a moment.");
  throw new Error((record && record.error && record.error.message) || "The server answered with status " + answer.status + ".");
}

function formOf(picture, options = {}) {
  const form = new FormData();
  form.append("picture", picture.file, picture.file.name || "picture");
  for (const [name, value] of Object.entries(options))
    for (const one of [value].flat()) form.append(name, one);
  return form;
}

const quoted = names => names.map(name => /[",]/.test(name) ? '"' + name.replaceAll('"', '""') + '"' : name).join(",");

/* Pictures ---------------------------------------------------------------------------------------------------- */

async function add(files) {
  const chosen = [...files];
  if (!chosen.length) return;
  let last = null;
  const failed = [];
  for (const [number, file] of chosen.entries()) {
    say("Looking at " + (file.name || "the picture") + (chosen.length > 1 ? " (" + (number + 1) + " of " + chosen.length + ")" : "") + " …");
    const picture = {file, url: URL.createObjectURL(file), steer: new Set(), maps: new Map(), found: null, all: null};
    try {
      picture.seen = await ask("/v1/caption", formOf(picture));
      picture.tags = picture.seen.tags;
      last = picture;
    } catch (error) {
      failed.push(chosen.length === 1 || error.message.includes(file.name) ? error.message : file.name + ": " + error.message);
      continue;
    }
    pictures.push(picture);
    drawStrip();
    if (!current || chosen.length === 1) show(picture);
  }
  if (last && last !== current) show(last);
  const several = pictures.length > 1 ? pictures.length + " pictures" : "";
  say(failed.length ? [several, ...failed].filter(Boolean).join(" · ") : several, failed.length > 0);
}

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

function drawStrip() {
  $("strip").hidden = pictures.length < 2;
  $("strip").replaceChildren(...pictures.map(picture => {
    const button = document.createElement("button"), img = document.createElement("img");
    button.type = "button";
    button.role = "tab";
    button.setAttribute("aria-selected", picture === current);
    button.setAttribute("aria-label", picture.file.name || "picture");
    img.src = picture.url;
    img.alt = "";
    button.append(img);
    button.onclick = () => show(picture);
    return button;
  }));
}

function show(picture) {
  current = picture;
  $("detail").hidden = false;
  $("picture").src = picture.url;
  $("picture").alt = picture.seen.caption || "your picture";
  hideMap();
  $("words").value = "";
  drawStrip();
  draw();
  allScores(picture);
}

function draw() {
  const picture = current, limit = Number($("threshold").value) / 100;
  const focused = document.activeElement, chosen = focused.dataset.name, place = chosen && focused.parentElement;
  $("caption").textContent = picture.seen.caption || "";
  const given = picture.steered || [], covered = new Set(picture.seen.covered || []);
  const missed = given.filter(name => !covered.has(name));
  $("covered").textContent = given.length ? "asked to mention " + given.join(", ") + (missed.length ? "; it leaves out " + missed.join(", ") : "") : "";
  $("threshold-value").textContent = limit ? limit.toFixed(2) : "their own thresholds";
  const tags = limit ? (picture.all || picture.tags).filter(tag => tag.score >= limit) : picture.tags;
  $("tags").replaceChildren(...tags.slice(0, 60).map(tag => chip(tag, true)));
  if (!tags.length) $("tags").textContent = "No tag reaches this score.";
  $("found").replaceChildren(...(picture.found || []).map(tag => chip(tag, false)));
  /* Chips are new; whoever works with the keyboard stays where they were. */
  if (place) [...place.children].find(one => one.dataset.name === chosen)?.focus();
}

function chip(tag, steers) {
  const button = document.createElement("button"), more = document.createElement("small");
  button.type = "button";
  button.dataset.name = tag.name;
  /* What people look for has no kind. */
  more.textContent = " " + tag.score.toFixed(2) + (steers ? " " + tag.kind : "");
  button.append(tag.name, more);
  if (steers) {
    button.setAttribute("aria-pressed", current.steer.has(tag.name));
    button.onclick = () => {
      current.steer[current.steer.has(tag.name) ? "delete" : "add"](tag.name);
      draw();
      steer();
    };
  }
  button.onmouseenter = button.onfocus = () => showMap(tag.name);
  button.onmouseleave = button.onblur = hideMap;
  return button;
}

/* Captions that mention what was chosen ----------------------------------------------------------------------- */

async function steer(words = []) {
  const picture = current, names = [...picture.steer, ...words];
  $("caption").style.opacity = .5;
  try {
    picture.seen = await ask("/v1/caption", formOf(picture, names.length ? {tags: quoted(names)} : {}));
    picture.steered = names;
    say("");
  } catch (error) {
    say(error.message, true);
  }
  $("caption").style.opacity = 1;
  if (picture === current) draw();
}

/* Where a tag is seen ---------------------------------------------------------------------------------------- */

let wanted = null;

async function showMap(name) {
  wanted = name;
  const picture = current;
  await new Promise(done => setTimeout(done, 120));
  if (wanted !== name) return;
  if (!picture.maps.has(name)) {
    try {
      picture.maps.set(name, (await ask("/v1/locate", formOf(picture, {tag: name}))).grid);
    } catch {
      return;
    }
  }
  if (wanted === name && picture === current) drawMap(picture.maps.get(name));
}

function drawMap(map) {
  const small = document.createElement("canvas"), canvas = $("heat"), img = $("picture");
  small.width = map[0].length;
  small.height = map.length;
  const dots = small.getContext("2d"), data = dots.createImageData(small.width, small.height);
  map.flat().forEach((value, place) => data.data.set([255, Math.round(210 * (1 - value)), 0, Math.round(255 * value)], 4 * place));
  dots.putImageData(data, 0, 0);
  canvas.width = img.clientWidth;
  canvas.height = img.clientHeight;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  canvas.classList.add("on");
}

function hideMap() {
  wanted = null;
  $("heat").classList.remove("on");
}

/* Controls --------------------------------------------------------------------------------------------------- */

$("files").onchange = $("camera").onchange = event => { add(event.target.files); event.target.value = ""; };
addEventListener("paste", event => add([...event.clipboardData.files].filter(file => file.type.startsWith("image/"))));
addEventListener("dragover", event => { event.preventDefault(); $("drop").classList.add("over"); });
addEventListener("dragleave", () => $("drop").classList.remove("over"));
addEventListener("drop", event => { event.preventDefault(); $("drop").classList.remove("over"); add(event.dataTransfer.files); });

/* What a picture's tags score below their own thresholds, once somebody wants to see it. */
async function allScores(picture) {
  if (!picture || picture.all || picture.asked || !Number($("threshold").value)) return;
  picture.asked = true;
  try {
    picture.all = (await ask("/v1/tag", formOf(picture, {threshold: 0.01}))).tags;
  } catch (error) {
    say(error.message, true);
  }
  picture.asked = false;
  if (picture === current) draw();
}

$("threshold").oninput = () => {
  if (current) draw();
  allScores(current);
};

/* Names between commas; one with a comma in it stands in double quotes, as on the command line. */
function listed(text) {
  const names = text.matchAll(/\s*(?:"((?:[^"]|"")*)"[^,]*|([^,]*))(?:,|$)/g);
  return [...names].map(name => (name[1] === undefined ? name[2] : name[1].replaceAll('""', '"')).trim()).filter(Boolean);
}

$("words-form").onsubmit = event => { event.preventDefault(); if (current) steer(listed($("words").value)); };
$("categories-form").onsubmit = async event => {
  event.preventDefault();
  const names = listed($("categories").value), picture = current;
  if (!picture || !names.length) return;
  try {
    picture.found = (await ask("/v1/tag", formOf(picture, {categories: quoted(names), threshold: 0}))).tags;
    say("");
  } catch (error) {
    say(error.message, true);
  }
  draw();
};
$("copy").onclick = async () => {
  const text = JSON.stringify(current.seen, null, 1);
  /* Browsers have the clipboard only at https and on this machine, not at an address of the local network. */
  const done = navigator.clipboard ? await navigator.clipboard.writeText(text).then(() => true, () => false) : copySelected(text);
  $("copy").textContent = done ? "Copied" : "The browser does not allow it";
  setTimeout(() => $("copy").textContent = "Copy as JSON", done ? 1200 : 4000);
};

function copySelected(text) {
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  $("copy").focus();
  return done;
}

$("key").onclick = () => {
  key = prompt("API key") || "";
  sessionStorage.setItem("anytag-key", key);
  $("key").hidden = true;
  lookForLibrary();
};
