"use strict";
// The page of `phalanx label`. Text of the data goes into the document as text only, never as HTML.

const $ = (id) => document.getElementById(id);
const make = (tag, cls, text) => {
  const node = document.createElement(tag);
  if (cls) node.className = cls;
  if (text !== undefined) node.textContent = text;
  return node;
};

let labeller = "", state = null, shownAt = 0, hiddenFor = 0, hiddenSince = 0, busy = false, editing = false, editSide = "";

// ---- talking to the program

async function ask(path, body) {
  let response;
  try {
    response = await fetch(path, body === undefined ? {} : {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  } catch {
    throw new Error("The program does not answer. Nothing that was confirmed is lost: start it again, then press the key again.");
  }
  if (response.ok) return response.json();
  const words = (await response.text()).trim();
  if (response.status === 507) throw new Error("Not saved, the disk is full or broken: " + words);
  if (response.status === 401) throw new Error("The token is missing or old: " + words + ".");
  throw new Error(words || "The program answered " + response.status + ".");
}

// One request at a time; a failure is shown and changes nothing on the screen.
async function act(path, body, then) {
  if (busy) return;
  busy = true;
  document.body.classList.add("busy");
  try {
    state = await ask(path, body);
    tell("");
    then?.();
    show();
  } catch (error) {
    tell(error.message);
    for (const side of ["left", "right"]) $(side).classList.remove("chosen");
  } finally {
    busy = false;
    document.body.classList.remove("busy");
  }
}

function tell(message, kind) {
  const box = $($("edit-dialog").open ? "edit-alert" : "alert");
  box.hidden = !message;
  box.textContent = message;
  box.classList.toggle("info", kind === "info");
}

// ---- drawing

// Fenced code blocks and `code` look like code; everything else stays as it was written.
function prose(text) {
  const box = make("div");
  const fence = /^[ ]{0,3}(```+|~~~+)[ ]*([^\n`]*)\n([\s\S]*?)(?:^[ ]{0,3}\1[ ]*$\n?|(?![\s\S]))/gm;
  let last = 0;
  for (const match of text.matchAll(fence)) {
    addProse(box, text.slice(last, match.index).replace(/\n+$/, ""));
    const code = make("pre", "", match[3].replace(/\n$/, ""));
    if (match[2].trim()) code.dataset.language = match[2].trim().slice(0, 30);
    code.tabIndex = 0;
    box.append(code);
    last = match.index + match[0].length;
  }
  addProse(box, text.slice(last).replace(/^\n+/, last > 0 ? "" : "$&"));
  if (!text.trim()) box.append(make("span", "empty", "(empty)"));
  return box;
}

function addProse(box, text) {
  if (!text.trim()) return;
  const block = make("div", "prose");
  text.split(/(`[^`\n]+`)/).forEach((piece, i) => {
    block.append(i % 2 ? make("code", "inline", piece.slice(1, -1)) : piece);
  });
  box.append(block);
}

function drawMessages(box, messages, named) {
  box.replaceChildren(...messages.map((message) => {
    const part = make("div", "part " + (["system", "assistant"].includes(message.role) ? message.role : ""));
    part.dir = "auto";
    if (message.role && named) {
      const role = make("span", "role", message.role);
      role.dir = "ltr";  // so that the text alone decides on the direction of the part
      part.append(role);
    }
    if (message.reasoning) {
      const details = make("details", "reasoning");
      details.append(make("summary", "", "Reasoning"), prose(message.reasoning));
      part.append(details);
    }
    if (message.text || !message.calls) part.append(prose(message.text));
    if (message.calls) {
      const calls = make("pre", "", message.calls);
      calls.dataset.language = "tool calls";
      part.append(calls);
    }
    return part;
  }));
}

function show() {
  const question = state.finished ? null : state.question;
  editing = false;
  document.body.classList.remove("editing");
  $("edit").classList.remove("active");
  $("who").textContent = labeller;
  $("count").textContent = `${state.answered} of ${state.total}`
    + (state.goal === null ? "" : `, ${state.preferences} of ${state.goal} preferences`);
  $("fill").style.width = `${100 * state.answered / state.total}%`;
  $("fill").parentElement.setAttribute("aria-valuenow", state.answered);
  $("fill").parentElement.setAttribute("aria-valuemax", state.total);
  $("verdicts").hidden = false;
  $("question").hidden = !question;
  $("message").hidden = Boolean(question);
  for (const button of document.querySelectorAll("#verdicts button")) button.disabled = !question;
  $("undo").disabled = !state.last || state.finished;
  $("finish").hidden = state.goal === null || state.finished;
  if (!question) return finished();
  drawMessages($("prompt"), question.prompt, question.prompt.length > 1);
  for (const side of ["left", "right"]) {
    const { messages } = question[side];
    $(side).classList.remove("chosen");
    drawMessages($(side).querySelector(".text"), messages, messages.length > 1);
  }
  document.body.dataset.pair = question.pair;
  $("prompt").parentElement.scrollTop = 0;
  window.scrollTo(0, 0);
  shownAt = performance.now();
  hiddenFor = 0;
}

function finished() {
  delete document.body.dataset.pair;
  const box = make("div");
  if (state.finished) {
    box.append(make("h1", "", "Enough"), make("p", "", "That was all that is needed. Every answer is saved; this page can be closed."));
    return $("message").replaceChildren(box);
  }
  box.append(make("h1", "", "All done"), make("p", "", `You have answered all ${state.total} questions. Every answer is saved.`));
  const more = make("p");
  more.append("Press ", make("kbd", "", "u"), " to take the last one back.");
  box.append(more);
  $("message").replaceChildren(box);
}

// ---- answering

// Time with the page in another tab is not time spent on the question.
const secondsTaken = () => Math.max(0, Math.round((performance.now() - shownAt - hiddenFor) / 10) / 100);

function choose(choice, edit) {
  if (!state?.question || state.finished || busy) return;
  if (editing && edit === undefined && (choice === "left" || choice === "right")) return openEditor(choice);
  if (choice === "left" || choice === "right") $(choice).classList.add("chosen");
  const body = { labeller, pair: state.question.pair, choice, seconds: secondsTaken() };
  if (edit !== undefined) body.edit = edit;
  return act("/api/answer", body, () => $("edit-dialog").close());
}

function undo() {
  if (state?.last && !state.finished) return act("/api/undo", { labeller, pair: state.last });
}

function toggleEditing() {
  if (!state?.question) return;
  editing = !editing;
  document.body.classList.toggle("editing", editing);
  $("edit").classList.toggle("active", editing);
  tell(editing ? "Choose the better answer (1 or 2); then you can improve it. e again to leave." : "", "info");
}

function openEditor(side) {
  const text = state.question[side].edit;
  if (text === null) return tell("This answer has no text that could be edited.");
  editSide = side;
  tell("");
  $("edit-which").textContent = `The ${side} answer becomes the better one in your words; the other is the worse.`;
  $("edit-text").value = text;
  $("edit-alert").hidden = true;
  $("edit-dialog").showModal();
  $("edit-text").focus();
}

const saveEdit = () => choose(editSide, $("edit-text").value);

const keys = {
  1: () => choose("left"), ArrowLeft: () => choose("left"), 2: () => choose("right"), ArrowRight: () => choose("right"),
  t: () => choose("tie"), b: () => choose("both_bad"), s: () => choose("skip"), u: undo, e: toggleEditing,
  "?": () => $("help-dialog").showModal(),
  Escape: () => editing && toggleEditing(),
};

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]") || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (!Object.hasOwn(keys, key) || $("verdicts").hidden) return;
  if (key.startsWith("Arrow") && event.target.closest?.("pre")) return;  // scrolls the code
  event.preventDefault();
  keys[key]();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) hiddenSince = performance.now();
  else hiddenFor += performance.now() - hiddenSince;
});
for (const button of document.querySelectorAll("[data-choice]")) button.addEventListener("click", () => { button.blur(); choose(button.dataset.choice); });
for (const side of ["left", "right"]) $(side).querySelector(".side").addEventListener("click", () => choose(side));
$("edit").addEventListener("click", () => { $("edit").blur(); toggleEditing(); });
$("undo").addEventListener("click", () => { $("undo").blur(); undo(); });
$("finish").addEventListener("click", () => { $("finish").blur(); act("/api/finish", { labeller }); });
$("help-button").addEventListener("click", () => $("help-dialog").showModal());
$("edit-cancel").addEventListener("click", () => $("edit-dialog").close());
$("edit-save").addEventListener("click", saveEdit);
$("edit-dialog").addEventListener("close", () => editing && toggleEditing());
$("edit-text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); saveEdit(); }
});
$("who").addEventListener("click", askName);

// ---- agreement

const percent = (part, whole) => whole ? `${(100 * part / whole).toFixed(0)} %` : "–";
const kappa = (value) => value === null ? "undefined" : value.toFixed(3);

function table(heads, rows) {
  const node = make("table");
  const line = (cells, tag) => {
    const row = make("tr");
    for (const cell of cells) {
      const place = make(tag);
      place.append(cell);
      row.append(place);
    }
    return row;
  };
  node.append(line(heads, "th"), ...rows.map((row) => line(row, "td")));
  return node;
}

function kappaCell(value) {
  const cell = make("span", "kappa");
  if (value !== null) {
    const meter = make("span", "meter"), fill = make("i");
    fill.style.width = `${Math.max(0, 100 * value)}%`;
    meter.append(fill);
    cell.append(meter);
  }
  cell.append(kappa(value));
  return cell;
}

async function showAgreement() {
  const box = $("agreement");
  box.hidden = false;
  $("to-agreement").textContent = "Back to the questions";
  $("to-agreement").href = "/";
  $("who").hidden = true;
  $("help-button").hidden = true;
  try {
    const data = await ask("/api/agreement");
    box.replaceChildren(make("h1", "", "Agreement"),
      make("p", "", "Kappa is the agreement beyond chance: 1 is perfect, 0 is what labellers of these habits reach by guessing. "
        + "Skipped pairs do not count. “Left” far from 50 % means that the side was chosen, not the answer."));
    box.append(make("h2", "", "Labellers"), table(["Labeller", "Choices", "Ties", "Both bad", "Skipped", "Edited", "Left", "Median time"],
      data.labellers.map((one) => [one.name, one.choices, one.tie, one.both_bad, one.skip, one.edited, percent(one.left, one.choices),
        `${one.median_seconds.toFixed(1)} s`])));
    if (data.agreement.length) {
      box.append(make("h2", "", "Every two of them"), table(["Labellers", "Pairs", "Equal", "Cohen’s kappa"],
        data.agreement.map((one) => [`${one.first} and ${one.second}`, one.pairs, percent(one.equal, one.pairs), kappaCell(one.cohen_kappa)])));
    }
    if (data.labellers.length > 2) {
      box.append(make("h2", "", "All of them"), table(["Pairs that two or more judged", "Fleiss’ kappa"], [[data.rated_twice, kappaCell(data.fleiss_kappa)]]));
    }
  } catch (error) {
    tell(error.message);
  }
}

// ---- starting

function askName() {
  $("name").value = labeller;
  $("name-dialog").showModal();
  $("name").select();
}

function start(name) {
  labeller = name;
  $("who").textContent = name;
  try { localStorage.setItem("labeller", name); } catch { /* private window: asked again next time */ }
  const address = new URL(location.href);
  address.searchParams.set("labeller", name);
  history.replaceState(null, "", address);
  return act("/api/state?labeller=" + encodeURIComponent(name));
}

$("name-dialog").addEventListener("close", () => {
  const name = $("name").value.trim();
  if (name && name !== labeller) start(name);
  else if (!labeller) askName();
});

if (location.pathname === "/agreement") {
  showAgreement();
} else {
  let name = new URLSearchParams(location.search).get("labeller");
  try { name ||= localStorage.getItem("labeller"); } catch { /* as above */ }
  if (name) start(name); else askName();
}
