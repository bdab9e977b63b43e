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

/* The library ------------------------------------------------------------------------------------------------ */

function view(library) {
  $("library").hidden = !library;
  $("pictures").hidden = library;
  $("show-library").setAttribute("aria-pressed", library);
  $("show-pictures").setAttribute("aria-pressed", !library);
}
$("show-library").onclick = () => { view(true); if (!$("hits").children.length) search(); };
$("show-pictures").onclick = () => view(false);
$("search-form").onsubmit = event => { event.preventDefault(); search(); };

const hints = [$("query").placeholder, "a child on a swing"];
function choose(sentence) {
  $("sentence").checked = sentence;
  $("query").placeholder = hints[Number(sentence)];
}
$("sentence").onchange = () => { choose($("sentence").checked); search(); };

let searches = 0;
async function search() {
  const number = ++searches;
  const query = $("query").value.trim();
  const route = "/v1/search?limit=60&facets=30&" + ($("sentence").checked ? "text=" : "q=") + encodeURIComponent(query);
  try {
    const found = await ask(route, undefined, "GET");
    if (number !== searches) return;  // A later search has answered, or will.
    $("search-status").classList.remove("bad");
    $("search-status").textContent = query ? found.hits.length + " of " + found.total + " pictures" + (found.unknown.length ? "; nothing has " + found.unknown.join(", ") : "") : found.total + " pictures" + (found.total > 1 ? ", the newest first" : "") + ". Press a tag, or type.";
    $("facets").replaceChildren(...found.facets.map(facet => {
      const button = document.createElement("button"), count = document.createElement("small");
      button.type = "button";
      count.textContent = " " + facet.count;
      button.append(facet.name, count);
      button.onclick = () => {
        $("query").value = (($("sentence").checked ? "" : $("query").value) + ' "' + facet.name + '"').trim();
        choose(false);
        search();
      };
      return button;
    }));
    $("hits").replaceChildren(...found.hits.map(hit => {
      const figure = document.createElement("figure"), img = document.createElement("img"), text = document.createElement("figcaption");
      img.loading = "lazy";
      img.alt = hit.caption || hit.path;
      const small = thumbnail(hit.id);
      small.then(url => { if (url) img.src = url; });
      const open = document.createElement("button");
      open.type = "button";
      open.dataset.id = hit.id;
      open.setAttribute("aria-label", "Tags of " + hit.path.split("/").pop());
      open.append(img);
      open.onclick = () => edit(hit.id, small);
      const name = document.createElement("div"), why = document.createElement("div");
      name.textContent = hit.path.split("/").pop();
      name.title = hit.path;
      why.className = "soft";
      why.textContent = hit.reasons.map(because).join(", ");
      text.append(name, why);
      figure.append(open, text);
      return figure;
    }));
  } catch (error) {
    if (number !== searches) return;
    $("search-status").textContent = error.message;
    $("search-status").classList.add("bad");
  }
}

function because(reason) {
  if (reason.where === "people") return reason.name + ", given by people";
  if (reason.where === "text") return "the sentence " + reason.score.toFixed(2);
  return reason.name + (reason.where === "caption" || reason.where === "path" ? " in " + reason.where : " " + reason.score.toFixed(2));
}

/* Tags of people --------------------------------------------------------------------------------------------- */

let edited = null, wasSaved = false, wasWarned = false;
const same = (some, others) => some.length === others.length && some.every(one => others.includes(one));
const isDirty = () => edited && edited.editable && !(same(edited.people, edited.before.people) && same([...edited.refused], edited.before.refused));

async function edit(id, small) {
  try {
    take(await ask("/v1/library/" + id + "/tags", undefined, "GET"));
  } catch (error) {
    $("search-status").textContent = error.message;
    $("search-status").classList.add("bad");
    return;
  }
  $("editor-picture").hidden = true;
  $("editor-picture").alt = edited.caption || "";
  small.then(url => {
    if (!url || edited?.id !== id) return;
    $("editor-picture").src = url;
    $("editor-picture").hidden = false;
  });
  wasSaved = wasWarned = false;
  tell(edited.editable ? "" : "To change tags, start the server with --allow-edits.");
  $("editor").showModal();
  if (edited.editable) $("new-tag").focus();
}

function take(record) {
  const refused = record.tags.filter(tag => tag.refused).map(tag => tag.name);
  edited = {...record, people: [...record.people], refused: new Set(refused), before: {people: record.people, refused}};
  drawEditor();
}

function tell(text, bad = false) {
  $("editor-status").textContent = text;
  $("editor-status").classList.toggle("bad", bad);
}

function drawEditor() {
  const focused = document.activeElement, chosen = focused.dataset.name, place = chosen !== undefined && focused.parentElement;
  const index = place ? [...place.children].indexOf(focused) : -1;
  $("editor-name").textContent = edited.path.split("/").pop();
  $("editor-name").title = edited.path;
  $("editor-caption").textContent = edited.caption || "";
  $("people-form").hidden = $("save").hidden = !edited.editable;
  $("people").replaceChildren(...edited.people.map(name => {
    const button = editorChip(name, edited.editable ? " ×" : "");
    button.className = "theirs";
    button.setAttribute("aria-label", edited.editable ? "Remove " + name : name);
    button.onclick = () => { edited.people = edited.people.filter(other => other !== name); change(); };
    return button;
  }));
  if (!edited.people.length) $("people").textContent = "None yet.";
  $("ours-hint").textContent = edited.editable && edited.tags.length ? "Press a tag that is wrong." : "";
  $("ours").replaceChildren(...edited.tags.map(tag => {
    const button = editorChip(tag.name, " " + tag.score.toFixed(2)), refused = edited.refused.has(tag.name);
    button.title = refused ? tag.kind + ", wrong" : tag.kind;
    button.classList.toggle("refused", refused);
    button.setAttribute("aria-label", tag.name + (refused ? ", wrong" : ""));
    button.onclick = () => { edited.refused[refused ? "delete" : "add"](tag.name); change(); };
    return button;
  }));
  if (!edited.tags.length) $("ours").textContent = "Nothing.";
  $("save").disabled = !isDirty() && edited.sidecar !== null;
  $("close").textContent = isDirty() ? "Discard" : "Close";
  if (place) ([...place.children].find(one => one.dataset.name === chosen) || place.children[Math.min(index, place.children.length - 1)] || $("new-tag")).focus();
}

function editorChip(name, more) {
  const button = document.createElement("button"), small = document.createElement("small");
  button.type = "button";
  button.dataset.name = name;
  button.disabled = !edited.editable;
  small.textContent = more;
  button.append(name, small);
  return button;
}

function change() {
  wasWarned = false;
  tell(isDirty() ? "Not saved yet." : "");
  drawEditor();
}

function addTyped() {
  for (const name of listed($("new-tag").value))
    if (!edited.people.some(other => other.toLowerCase() === name.toLowerCase())) edited.people.push(name);
  $("new-tag").value = "";
  change();
}

$("people-form").onsubmit = event => { event.preventDefault(); addTyped(); };
$("save").onclick = async () => {
  addTyped();
  const {people, refused, revision, id} = edited;
  $("save").disabled = true;
  try {
    take(await ask("/v1/library/" + id + "/tags", JSON.stringify({people, refused: [...refused], revision}), "PUT"));
    wasSaved = true;
    tell("Saved in " + edited.sidecar.split("/").pop() + ".");
    $("close").focus();
  } catch (error) {
    tell(error.message, true);
    $("save").disabled = false;
  }
};
$("close").onclick = () => $("editor").close();
$("editor").oncancel = event => {
  if (!isDirty() || wasWarned) return;
  event.preventDefault();
  wasWarned = true;
  tell("Press Escape again to discard what you changed.", true);
};
$("editor").onclose = async () => {
  const id = edited.id;
  edited = null;
  if (wasSaved) await search();
  document.querySelector('#hits button[data-id="' + id + '"]')?.focus();
};

async function thumbnail(id) {
  const answer = await fetch("/v1/library/" + id + "/thumbnail", {headers: key ? {"X-API-Key": key} : {}}).catch(() => null);
  return answer && answer.ok ? URL.createObjectURL(await answer.blob()) : null;
}

function lookForLibrary() {
  fetch("/v1/facets?limit=1", {headers: key ? {"X-API-Key": key} : {}}).then(answer => {
    $("show-library").hidden = !answer.ok;
    if (answer.status === 401) $("key").hidden = false;
  }).catch(() => {});
}

lookForLibrary();
