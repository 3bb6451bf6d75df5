// Scores recordings away from the page, which stays responsive.
//
// Messages in: {kind: "load", runtime, wasm, model, threads, windowSamples}, once, and
// {kind: "score", id, channels, rate}. Messages out: ready, prepared, progress, done,
// refused, failed.

import { Refusal, cutWindow, prepare, windowStarts } from "./recording.js";

const BATCH = 4; // windows in one call: a long recording shows progress
let loaded;

async function load({ runtime, wasm, model, threads, windowSamples }) {
  // A worker of the single HTML file cannot import: its script begins with the runtime.
  const ort = await (self.onnxruntime ?? import(runtime));
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmBinary = wasm;
  ort.env.logLevel = "error";
  const session = await ort.InferenceSession.create(new Uint8Array(model), {
    executionProviders: ["wasm"],
  });
  return { ort, session, windowSamples };
}

async function scoreWindows(waveform, starts, report) {
  const { ort, session, windowSamples } = await loaded;
  const scores = [];
  for (let i = 0; i < starts.length; i += BATCH) {
    const batch = starts.slice(i, i + BATCH);
    const values = new Float32Array(batch.length * windowSamples);
    batch.forEach((start, k) =>
      values.set(cutWindow(waveform, start, windowSamples), k * windowSamples),
    );
    const input = new ort.Tensor("float32", values, [batch.length, windowSamples]);
    const { score } = await session.run({ waveform: input });
    scores.push(...score.data);
    report(scores.length, starts.length);
  }
  return scores;
}

async function score({ id, channels, rate }) {
  const { windowSamples } = await loaded;
  const { samples, doubts } = prepare(channels, rate);
  postMessage({ kind: "prepared", id, samples, doubts });
  const starts = windowStarts(samples.length, windowSamples);
  const scores = await scoreWindows(samples, starts, (done, all) =>
    postMessage({ kind: "progress", id, done, all }),
  );
  const windows = starts.map((start, i) => ({
    start,
    end: Math.min(start + windowSamples, samples.length),
    score: scores[i],
  }));
  postMessage({ kind: "done", id, windows });
}

self.onmessage = async ({ data }) => {
  try {
    if (data.kind === "load") {
      loaded = load(data);
      await loaded;
      postMessage({ kind: "ready" });
    } else {
      await score(data);
    }
  } catch (error) {
    const kind = error instanceof Refusal ? "refused" : "failed";
    postMessage({ kind, id: data.id, message: String(error?.message ?? error) });
  }
};
