"use strict"; // Uses what app.js defines.

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
