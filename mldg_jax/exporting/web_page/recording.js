// A decoded recording becomes windows, or is refused, as in `mldg score`.

import { SAMPLE_RATE, resample } from "./resample.js";

const SHORTEST = 0.2; // seconds
const LOUDEST = 8; // decoders overshoot 1 a little; 16-bit values lie far above
const STEP = 2 / 32768; // smallest difference of the lowest and the highest sample
const OVER = 0.001; // fraction of samples beyond full scale; codecs overshoot less often
const CANCELLED = 20; // dB

/** A recording that cannot be scored; the message says why and what to do. */
export class Refusal extends Error {}

/**
 * Averages channels.
 * @param {Float32Array[]} channels of equal length.
 * @returns {Float32Array} the mix, in single precision as numpy sums it.
 */
export function mixToMono(channels) {
  if (channels.length === 1) return channels[0];
  const mix = new Float32Array(channels[0].length);
  for (let i = 0; i < mix.length; i++) {
    let sum = channels[0][i];
    for (let k = 1; k < channels.length; k++) sum = Math.fround(sum + channels[k][i]);
    mix[i] = sum / channels.length;
  }
  return mix;
}

// Counts what the refusals and doubts need.
function measure(channels, mono) {
  const levels = { isFinite: true, peak: 0, low: Infinity, high: -Infinity };
  let power = 0;
  for (const samples of channels) {
    for (const x of samples) {
      if (!Number.isFinite(x)) levels.isFinite = false;
      else if (Math.abs(x) > levels.peak) levels.peak = Math.abs(x);
      power += x * x;
    }
  }
  let mixPower = 0;
  let over = 0;
  for (const x of mono) {
    if (x < levels.low) levels.low = x;
    if (x > levels.high) levels.high = x;
    if (Math.abs(x) > 1) over++;
    mixPower += x * x;
  }
  levels.over = over / Math.max(1, mono.length);
  levels.below = -10 * Math.log10(Math.max((mixPower * channels.length) / power, 1e-20));
  return levels;
}

function refuse(levels, seconds) {
  if (seconds < SHORTEST) {
    const length = seconds.toFixed(2);
    return `It is ${length} s long; a score needs at least ${SHORTEST} s of speech.`;
  }
  if (!levels.isFinite) return "It has NaN or infinite samples: export it again.";
  if (levels.peak > LOUDEST) {
    return (
      `Its samples reach ${levels.peak.toFixed(1)}; floating-point samples must be ` +
      "within −1 and 1."
    );
  }
  if (levels.peak === 0) return "Every sample is zero: there is nothing to score.";
  if (levels.high - levels.low < STEP) {
    return levels.peak >= STEP && Math.abs(levels.low) < STEP / 2
      ? "Its channels cancel each other when they are mixed to mono: nothing is left."
      : "It is silent: its samples are constant or lower than two steps of 16 bits.";
  }
  return "";
}

function doubts(levels, channels) {
  const messages = [];
  if (levels.over > OVER) {
    const share = (100 * levels.over).toFixed(1);
    messages.push(
      `${share} % of its samples are beyond full scale and were clipped; at most 0.1 % ` +
        "is usual. Export it at a lower level.",
    );
  }
  if (channels.length > 1 && levels.below >= CANCELLED) {
    messages.push(
      `Its channels cancel each other: the mix to mono is ${levels.below.toFixed(0)} dB ` +
        "below them, and the score is that of the rest. Give it one of the channels.",
    );
  }
  return messages;
}

/**
 * Mixes a recording to mono, resamples it to 16 kHz and clips it to [-1, 1].
 * @param {Float32Array[]} channels of equal length.
 * @param {number} rate in Hz.
 * @returns {{samples: Float32Array, doubts: string[]}}
 * @throws {Refusal} it is too short, silent, not finite or out of range.
 */
export function prepare(channels, rate) {
  const mono = mixToMono(channels);
  const levels = measure(channels, mono);
  const reason = refuse(levels, mono.length / rate);
  if (reason) throw new Refusal(reason);
  const samples = resample(mono, rate).map((x) => Math.max(-1, Math.min(1, x)));
  return { samples, doubts: doubts(levels, channels) };
}

/**
 * Returns the starts of the fewest, evenly spread windows that cover a recording.
 * @param {number} length of the recording, in samples.
 * @param {number} samples of a window.
 * @returns {number[]}
 */
export function windowStarts(length, samples) {
  const spare = Math.max(0, length - samples);
  const count = 1 + Math.ceil(spare / Math.max(1, samples));
  return Array.from({ length: count }, (_, i) =>
    Math.floor(Math.min(i / Math.max(1, count - 1), 1 - 1e-9) * (spare + 1)),
  );
}

/**
 * Cuts a window out of a recording; one that is too short is repeated.
 * @param {Float32Array} recording
 * @param {number} start in samples.
 * @param {number} samples length of the result.
 * @returns {Float32Array}
 */
export function cutWindow(recording, start, samples) {
  if (recording.length >= samples) return recording.subarray(start, start + samples);
  return Float32Array.from({ length: samples }, (_, i) => recording[i % recording.length]);
}

/** Seconds of a number of samples at 16 kHz. */
export function toSeconds(samples) {
  return samples / SAMPLE_RATE;
}
