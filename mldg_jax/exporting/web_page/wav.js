// Reads and writes WAV. Read here, samples are exact, NaN is seen, and a rate that no
// audio context takes is no obstacle; what is not PCM or floating point is left to the
// browser.

const PCM = 1;
const FLOAT = 3;
const EXTENSIBLE = 0xfffe;

// Returns a function that reads the sample at a byte, as libsndfile scales it.
function sampleReader(view, format, bits) {
  if (format === FLOAT && bits === 32) return (i) => view.getFloat32(i, true);
  if (format === FLOAT && bits === 64) return (i) => Math.fround(view.getFloat64(i, true));
  if (format !== PCM) return null;
  if (bits === 8) return (i) => (view.getUint8(i) - 128) / 128;
  if (bits === 16) return (i) => view.getInt16(i, true) / 32768;
  if (bits === 24) {
    return (i) => ((view.getInt8(i + 2) << 16) | view.getUint16(i, true)) / 8388608;
  }
  if (bits === 32) return (i) => Math.fround(view.getInt32(i, true) / 2147483648);
  return null;
}

/**
 * Reads a WAV file.
 * @param {Uint8Array} bytes the whole file.
 * @returns {{rate: number, channels: Float32Array[]} | null} null if it is not a WAV file
 *   of PCM or floating-point samples.
 */
export function readWav(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 44 || view.getUint32(8) !== 0x57415645) return null; // "WAVE"
  let form = null;
  for (let place = 12; place + 8 <= bytes.length; ) {
    const name = view.getUint32(place);
    const size = view.getUint32(place + 4, true);
    const start = place + 8;
    if (name === 0x666d7420 && start + 16 <= bytes.length) { // "fmt "
      const code = view.getUint16(start, true);
      form = {
        format: code === EXTENSIBLE && size >= 26 ? view.getUint16(start + 24, true) : code,
        channels: view.getUint16(start + 2, true),
        rate: view.getUint32(start + 4, true),
        frame: view.getUint16(start + 12, true),
        bits: view.getUint16(start + 14, true),
      };
    }
    if (name === 0x64617461) { // "data"
      const read = form && sampleReader(view, form.format, form.bits);
      if (!read || form.frame !== (form.channels * form.bits) / 8) return null;
      // Recorders that crash leave a length of 0: the samples go on to the file's end.
      const end = size ? Math.min(bytes.length, start + size) : bytes.length;
      return { rate: form.rate, channels: split(read, form, start, end) };
    }
    place = start + size + (size % 2);
  }
  return null;
}

function split(read, form, start, end) {
  const frames = Math.floor((end - start) / form.frame);
  const width = form.bits / 8;
  return Array.from({ length: form.channels }, (_, channel) => {
    const samples = new Float32Array(frames);
    for (let i = 0; i < frames; i++) {
      samples[i] = read(start + i * form.frame + channel * width);
    }
    return samples;
  });
}

/**
 * Writes a 16-bit mono WAV file.
 * @param {Float32Array} samples within [-1, 1].
 * @param {number} rate in Hz.
 * @returns {Uint8Array} the file.
 */
export function writeWav(samples, rate) {
  const bytes = new Uint8Array(44 + 2 * samples.length);
  const view = new DataView(bytes.buffer);
  const words = [
    [0, 0x52494646], [8, 0x57415645], [12, 0x666d7420], [36, 0x64617461],
  ];
  for (const [place, word] of words) view.setUint32(place, word);
  const sizes = [[4, 36 + 2 * samples.length], [16, 16], [24, rate], [28, 2 * rate],
    [40, 2 * samples.length]];
  for (const [place, size] of sizes) view.setUint32(place, size, true);
  for (const [place, value] of [[20, PCM], [22, 1], [32, 2], [34, 16]]) {
    view.setUint16(place, value, true);
  }
  samples.forEach((x, i) => {
    const value = Math.max(-32768, Math.min(32767, Math.round(32768 * x)));
    view.setInt16(44 + 2 * i, value, true);
  });
  return bytes;
}
