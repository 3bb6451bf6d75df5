// Starts the worker that has the detector, and sends recordings to it.

import { moduleAddress, readAsset } from "./assets.js";
import { Refusal } from "./recording.js";

const MOST_THREADS = 4;

function threadCount() {
  // WebAssembly has threads only where the server sends COOP and COEP headers.
  if (!self.crossOriginIsolated) return 1;
  return Math.max(1, Math.min(MOST_THREADS, (navigator.hardwareConcurrency || 2) - 1));
}

function startWorker() {
  const own = moduleAddress("worker.js");
  if (own.startsWith("blob:")) return new Worker(own); // a page on disk gets no modules
  // From a blob, the worker obeys the page's content security policy: a worker with an
  // address of its own would have that of its server's answer, if any.
  const code = `import ${JSON.stringify(own)};`;
  const address = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  return new Worker(address, { type: "module" });
}

/**
 * Loads the detector.
 * @param {object} detector the content of detector.json.
 * @returns {Promise<(channels: Float32Array[], rate: number, report: (message: object) =>
 *   void) => Promise<object[]>>} a function that scores a recording: report gets the
 *   worker's messages "prepared" and "progress"; the result is the windows, in samples.
 */
export async function loadEngine(detector) {
  const [wasm, model] = await Promise.all([
    readAsset(detector.files.wasm),
    readAsset(detector.files.model),
  ]);
  const worker = startWorker();
  const jobs = new Map();
  const ready = new Promise((resolve, reject) => jobs.set(undefined, { resolve, reject }));
  worker.onerror = (event) => {
    const error = new Error(event.message || "the browser did not start the worker");
    for (const job of jobs.values()) job.reject(error);
  };
  worker.onmessage = ({ data }) => {
    const job = jobs.get(data.id);
    if (data.kind === "ready") job.resolve();
    else if (data.kind === "done") job.resolve(data.windows);
    else if (data.kind === "refused") job.reject(new Refusal(data.message));
    else if (data.kind === "failed") job.reject(new Error(data.message));
    else job.report(data);
  };
  const runtime = moduleAddress(detector.files.runtime);
  const settings = { threads: threadCount(), windowSamples: detector.window_samples };
  const message = { kind: "load", runtime, wasm, model, ...settings };
  worker.postMessage(message, [wasm.buffer, model.buffer]);
  await ready;
  let id = 0;
  return (channels, rate, report) =>
    new Promise((resolve, reject) => {
      jobs.set(++id, { resolve, reject, report });
      worker.postMessage({ kind: "score", id, channels, rate });
    });
}
