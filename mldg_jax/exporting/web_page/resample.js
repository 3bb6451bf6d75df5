// Resamples as `mldg score` does: soxr's quality HQ, from any rate to 16 kHz.
//
// soxr's filter is a windowed sinc with a Kaiser window. Its three numbers were fitted to
// soxr's response to impulses, for the two ways in which it divides its work:
// "whole": one filter, for the rates in WHOLE_RATES; the fit is exact to 1e-7.
// "staged": that filter at an intermediate rate and a short one after it, for the other
// rates; one window describes both to 1.3e-4 of the peak.

export const SAMPLE_RATE = 16000;
const WHOLE_RATES = [8000, 12000, 24000, 32000, 48000];
// cutoff: of the lower Nyquist frequency; half: in samples of the lower rate
const WHOLE = { cutoff: 0.956872, half: 97, beta: 13.04 };
const STAGED = { cutoff: 0.956843, half: 109.67, beta: 15.98 };
// The short filter of the staged way; half in samples of the intermediate rate.
const SECOND = { cutoff: 0.9, half: 7, beta: 15.5 };
const POINTS = 2048; // of the table, for one sample of the lower rate
const MOST_PHASES = 1000; // whose taps are kept: 160 at 44.1 kHz

// The modified Bessel function I0: its power series, all of whose terms are positive.
function besselI0(x) {
  let term = 1;
  let sum = 1;
  for (let k = 1; term > 1e-17 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

// The filter at `u` samples from its centre.
function kaiserSinc({ cutoff, half, beta }, u) {
  const edge = 1 - (u / half) ** 2;
  if (edge <= 0) return 0;
  const x = Math.PI * cutoff * u;
  const sinc = x === 0 ? 1 : Math.sin(x) / x;
  return (cutoff * sinc * besselI0(beta * Math.sqrt(edge))) / besselI0(beta);
}

function greatestCommonDivisor(a, b) {
  return b ? greatestCommonDivisor(b, a % b) : a;
}

// Returns a function: the weight of an input sample that is `t` input samples away.
function makeKernel(filter, step) {
  const length = Math.ceil(filter.half * POINTS) + 2;
  const table = Float64Array.from({ length }, (_, i) => kaiserSinc(filter, i / POINTS));
  return (t) => {
    const place = Math.min(Math.abs(t) * step * POINTS, length - 2);
    const left = Math.floor(place);
    return step * (table[left] + (place - left) * (table[left + 1] - table[left]));
  };
}

// Returns the weights of the input around a position: the first sample's index relative
// to floor(position), and one weight a sample.
function makeTaps(kernel, reach, fraction) {
  const first = Math.ceil(fraction - reach);
  const count = Math.floor(fraction + reach) - first + 1;
  const weights = Float64Array.from({ length: count }, (_, i) =>
    kernel(first + i - fraction),
  );
  return { first, weights };
}

function weightedSum(samples, start, weights) {
  const begin = Math.max(0, -start);
  const end = Math.min(weights.length, samples.length - start);
  let sum = 0;
  for (let i = begin; i < end; i++) sum += samples[start + i] * weights[i];
  return sum;
}

/**
 * Resamples to 16 kHz.
 * @param {Float32Array} samples mono.
 * @param {number} rate in Hz.
 * @returns {Float32Array} ceil(samples.length * 16000 / rate) samples.
 */
export function resample(samples, rate) {
  if (rate === SAMPLE_RATE) return samples;
  const isWhole = WHOLE_RATES.includes(rate);
  const filter = isWhole ? WHOLE : STAGED;
  const step = Math.min(1, SAMPLE_RATE / rate);
  const kernel = makeKernel(filter, step);
  const reach = filter.half / step; // in input samples
  const output = new Float32Array(Math.ceil(samples.length * (SAMPLE_RATE / rate)));
  const isRational = Number.isInteger(rate);
  const divisor = isRational ? greatestCommonDivisor(rate, SAMPLE_RATE) : 1;
  const phases = SAMPLE_RATE / divisor;
  const kept = new Map();
  for (let n = 0; n < output.length; n++) {
    const position = (n * rate) / SAMPLE_RATE;
    const whole = Math.floor(position);
    let taps = kept.get(n % phases);
    if (!taps) {
      taps = makeTaps(kernel, reach, position - whole);
      if (isRational && phases <= MOST_PHASES) kept.set(n % phases, taps);
    }
    output[n] = weightedSum(samples, whole + taps.first, taps.weights);
  }
  if (!isWhole) cutBeginning(output, samples, rate, kernel, reach);
  return output;
}

// In the staged way soxr drops what the first filter puts before the recording's start,
// so that the second lacks it: up to 1 % of full scale in the first six samples. This
// leaves 4e-4 from 11 to 24 and 32 to 48 kHz, 3e-3 between them, as above 48 kHz without.
function cutBeginning(output, samples, rate, kernel, reach) {
  if (rate < 11000 || rate > 48000) return;
  const between = rate < 28000 ? 2 * rate : rate;
  const count = Math.ceil((SECOND.half * SAMPLE_RATE) / between);
  for (let m = 1; m <= SECOND.half; m++) {
    const position = (-m * rate) / between;
    const taps = makeTaps(kernel, reach, position);
    const before = weightedSum(samples, taps.first, taps.weights);
    for (let n = 0; n < Math.min(count, output.length); n++) {
      output[n] -= before * kaiserSinc(SECOND, (n * between) / SAMPLE_RATE + m);
    }
  }
}
