// Records from the microphone, as it is: browsers otherwise suppress noise and echo, which
// changes what the detector hears.

import { moduleAddress } from "./assets.js";

const AS_IT_IS = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };

/**
 * Starts to record.
 * @returns {Promise<{stop: () => Promise<{channels: Float32Array[], rate: number}>}>}
 * @throws {DOMException} there is no microphone or it is not allowed.
 */
export async function startRecording() {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Error("This browser gives pages no microphone here; choose a file instead.");
  }
  const stream = await navigator.mediaDevices.getUserMedia({ audio: AS_IT_IS });
  const context = new AudioContext();
  await context.audioWorklet.addModule(moduleAddress("capture.js"));
  const blocks = [];
  const capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
  capture.port.onmessage = ({ data }) => blocks.push(data);
  context.createMediaStreamSource(stream).connect(capture);

  async function stop() {
    stream.getTracks().forEach((track) => track.stop());
    await context.close();
    const samples = new Float32Array(blocks.reduce((sum, block) => sum + block.length, 0));
    let place = 0;
    for (const block of blocks) {
      samples.set(block, place);
      place += block.length;
    }
    return { channels: [samples], rate: context.sampleRate };
  }

  return { stop };
}
