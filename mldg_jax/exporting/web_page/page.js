// The page: takes a recording, has it scored, shows the result.

import { readAsset } from "./assets.js";
import { decode } from "./decode.js";
import { loadEngine } from "./engine.js";
import { startRecording } from "./microphone.js";
import { Refusal } from "./recording.js";
import { drawTimeline, windowAt } from "./timeline.js";
import { writeWav } from "./wav.js";
import { explanation, facts, meaning, segmentTable, signed } from "./words.js";

const LARGEST = 400e6; // bytes of a file that browsers can be trusted to decode
const GAUGE = 6; // nats at its ends

const element = (id) => document.getElementById(id);
const state = { detector: null, engine: null, isBusy: false, finished: 0, shown: null };

function fill(parent, tag, texts) {
  parent.replaceChildren(
    ...texts.map((text) => Object.assign(document.createElement(tag), { textContent: text })),
  );
}

function say(text, fraction) {
  element("status").textContent = text;
  element("progress").hidden = fraction === undefined;
  if (fraction !== undefined) element("progress").value = fraction;
}

function setBusy(isBusy) {
  state.isBusy = isBusy;
  element("drop").classList.toggle("busy", isBusy);
  element("file").disabled = isBusy;
  element("record").disabled = isBusy;
}

function showProblem(text) {
  element("problem").textContent = text;
  element("problem").hidden = !text;
  element("problem").classList.remove("late");
}

// Runs a task of the page; its failure becomes a message.
async function attempt(name, task) {
  if (state.isBusy) return;
  setBusy(true);
  showProblem("");
  element("announcement").textContent = ""; // the same result is announced again
  try {
    await task();
  } catch (error) {
    const isKnown = error instanceof Refusal;
    showProblem(`${name}: ${isKnown ? "" : "it could not be scored. "}${error.message}`);
    say("");
  } finally {
    setBusy(false);
    document.documentElement.dataset.finished = ++state.finished; // tests wait for it
  }
}

async function engine() {
  if (!state.engine) {
    say("Loading the detector …");
    state.engine = loadEngine(state.detector);
    state.engine.catch(() => (state.engine = null)); // the next recording tries again
  }
  return state.engine;
}

async function scoreFile(file) {
  element("result").hidden = true;
  if (file.size > LARGEST) {
    throw new Refusal(
      `The file has ${Math.round(file.size / 1e6)} MB; a browser takes at most ` +
        `${LARGEST / 1e6} MB. Cut it, or use mldg score.`,
    );
  }
  say("Decoding …");
  const recording = await decode(new Uint8Array(await file.arrayBuffer()));
  await scoreRecording(file.name, recording);
}

async function scoreRecording(name, { channels, rate, notes = [] }) {
  element("result").hidden = true;
  const score = await engine();
  say("Scoring …", 0);
  let heard;
  const windows = await score(channels, rate, (message) => {
    if (message.kind === "prepared") heard = message;
    else say(`Scoring: ${message.done} of ${message.all} segments`, message.done / message.all);
  });
  const scale = 1 / state.detector.sample_rate;
  show({
    name,
    samples: heard.samples,
    notes: [...notes, ...heard.doubts],
    windows: windows.map((x) => ({ start: x.start * scale, end: x.end * scale, score: x.score })),
    table: segmentTable(name, windows, state.detector.sample_rate),
    score: windows.reduce((sum, x) => sum + x.score, 0) / windows.length,
  });
}

function show(result) {
  const { detector } = state;
  const isCalibrated = Boolean(detector.calibration);
  state.shown = { ...result, selected: 0 };
  element("name").textContent = result.name;
  element("score").textContent = signed(result.score);
  element("score").dataset.value = result.score;
  element("unit").textContent = isCalibrated ? "score, a log-likelihood ratio" : "score, not calibrated";
  element("meaning").textContent = meaning(result.score, isCalibrated);
  element("gauge").hidden = !isCalibrated;
  const place = 0.5 + Math.max(-0.5, Math.min(0.5, result.score / (2 * GAUGE)));
  element("needle").style.left = `${100 * place}%`;
  fill(element("notes"), "li", result.notes);
  element("notes").hidden = !result.notes.length;
  const player = element("player");
  if (player.src) URL.revokeObjectURL(player.src);
  const wav = writeWav(result.samples, detector.sample_rate);
  player.src = URL.createObjectURL(new Blob([wav], { type: "audio/wav" }));
  fillTable(result.windows);
  element("result").hidden = false;
  redraw();
  const seconds = result.windows.at(-1).end.toFixed(1);
  say(`Scored ${seconds} s of audio.`);
  element("announcement").textContent =
    `${result.name}: score ${signed(result.score)}. ${meaning(result.score, isCalibrated)}`;
}

function fillTable(windows) {
  element("rows").replaceChildren(
    ...windows.map((x) => {
      const row = document.createElement("tr");
      fill(row, "td", [x.start.toFixed(2), x.end.toFixed(2), signed(x.score)]);
      return row;
    }),
  );
}

function redraw() {
  const { shown, detector } = state;
  if (!shown) return;
  shown.picture = drawTimeline(
    element("picture"), shown.windows, shown.score, Boolean(detector.calibration),
  );
  select(shown.selected);
  shown.picture.moveTo(element("player").currentTime || 0);
}

function select(index) {
  const { shown } = state;
  shown.selected = Math.max(0, Math.min(shown.windows.length - 1, index));
  const { start, end, score } = shown.windows[shown.selected];
  shown.picture.select(shown.selected);
  const text =
    `Segment ${shown.selected + 1} of ${shown.windows.length}, ${start.toFixed(2)} to ` +
    `${end.toFixed(2)} s: ${signed(score)}`;
  element("segment").textContent = text;
  const slider = element("timeline");
  slider.setAttribute("aria-valuemin", 1);
  slider.setAttribute("aria-valuemax", shown.windows.length);
  slider.setAttribute("aria-valuenow", shown.selected + 1);
  slider.setAttribute("aria-valuetext", text);
}

function listenFrom(seconds) {
  const player = element("player");
  player.currentTime = seconds;
  player.play().catch(() => {}); // refused without a gesture; the position is set
}

function watchTimeline() {
  const slider = element("timeline");
  const player = element("player");
  const secondsAt = (event) =>
    state.shown.picture.toSeconds(event.clientX - element("picture").getBoundingClientRect().left);
  slider.addEventListener("pointermove", (event) =>
    select(windowAt(state.shown.windows, secondsAt(event))),
  );
  slider.addEventListener("click", (event) => listenFrom(secondsAt(event)));
  slider.addEventListener("keydown", (event) => {
    const { selected, windows } = state.shown;
    const places = {
      ArrowLeft: selected - 1, ArrowDown: selected - 1, ArrowRight: selected + 1,
      ArrowUp: selected + 1, Home: 0, End: windows.length - 1,
    };
    if (event.key in places) select(places[event.key]);
    else if (event.key === "Enter" || event.key === " ") listenFrom(windows[selected].start);
    else return;
    event.preventDefault();
  });
  player.addEventListener("timeupdate", () => {
    state.shown.picture.moveTo(player.currentTime);
    if (!player.paused) select(windowAt(state.shown.windows, player.currentTime));
  });
  new ResizeObserver(redraw).observe(slider);
}

function watchFiles() {
  const drop = element("drop");
  const take = (files) => {
    if (files?.length) attempt(files[0].name, () => scoreFile(files[0]));
  };
  element("file").addEventListener("change", ({ target }) => {
    take([...target.files]);
    target.value = ""; // so that the same file can be chosen again
  });
  // Anywhere on the page: a browser would otherwise leave it to show the file.
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  document.addEventListener("dragleave", () => drop.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    take(event.dataTransfer?.files);
  });
}

function watchRecorder() {
  const button = element("record");
  let recorder = null;
  let clock = 0;
  const started = async () => {
    showProblem("");
    try {
      recorder = await startRecording();
    } catch (error) {
      const isDenied = error.name === "NotAllowedError";
      showProblem(`Microphone: ${isDenied ? "the browser was not allowed to use it." : error.message}`);
      return;
    }
    const begin = performance.now();
    button.classList.add("recording");
    say("Recording; press Stop to score it.");
    const tick = () =>
      (button.textContent = `Stop (${Math.floor((performance.now() - begin) / 1000)} s)`);
    tick();
    clock = setInterval(tick, 500);
  };
  const stopped = async () => {
    const active = recorder;
    recorder = null;
    clearInterval(clock);
    button.classList.remove("recording");
    button.textContent = "Record";
    const name = `Recording of ${new Date().toLocaleTimeString()}`;
    const recording = await active.stop();
    await attempt(name, () => scoreRecording(name, recording));
  };
  button.addEventListener("click", () => (recorder ? stopped() : started()));
}

function save() {
  const { name, table } = state.shown;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([table], { type: "text/tab-separated-values" }));
  link.download = `${name}.tsv`;
  link.click();
  URL.revokeObjectURL(link.href);
}

async function start() {
  showProblem("");
  try {
    const text = new TextDecoder().decode(await readAsset("detector.json"));
    state.detector = JSON.parse(text);
  } catch (error) {
    showProblem(`The page is incomplete: ${error.message}. Export it again.`);
    return;
  }
  fill(element("explanation"), "p", explanation(state.detector));
  for (const [term, description] of facts(state.detector)) {
    const list = element("facts");
    list.appendChild(document.createElement("dt")).textContent = term;
    list.appendChild(document.createElement("dd")).textContent = description;
  }
  watchFiles();
  watchRecorder();
  watchTimeline();
  element("save").addEventListener("click", save);
  await engine().then(
    () => say("Ready."),
    (error) => showProblem(`The detector could not be loaded: ${error.message}`),
  );
  document.documentElement.dataset.ready = "true";
}

start();
