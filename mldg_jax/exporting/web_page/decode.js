// Decodes a file with the browser's own decoders, at the file's own rate.

import { identify } from "./containers.js";
import { Refusal } from "./recording.js";
import { readWav } from "./wav.js";

const UNKNOWN_RATE = 48000; // Hz, of the audio context for a file that does not say

const NOTES = {
  rate:
    "The file does not say its sampling rate in a way that this page reads, so that the " +
    "browser resampled it: the score can differ from that of mldg score by 0.1 and more. " +
    "Convert the file to WAV or FLAC to be sure.",
  opus:
    "This is Opus, recorded at 24 kHz or less. A browser decodes it at 48 kHz and mldg " +
    "score at the recorded rate, with other filters: the score can differ by up to 0.3.",
  vorbis:
    "Some browsers shorten Ogg Vorbis of a low sampling rate: the score can differ from that " +
    "of mldg score by up to 0.5. Convert the file to WAV or FLAC to be sure.",
};

function notesFor({ kind, rate, recordedAt = 0 }) {
  if (!rate) return [NOTES.rate];
  if (recordedAt > 0 && recordedAt <= 24000) return [NOTES.opus];
  return kind === "vorbis" && rate < 16000 ? [NOTES.vorbis] : [];
}

function makeContext(rate) {
  try {
    return new OfflineAudioContext(1, 1, rate);
  } catch {
    return null; // each browser has its own range of rates
  }
}

/**
 * Decodes a recording.
 * @param {Uint8Array} bytes the whole file.
 * @returns {Promise<{channels: Float32Array[], rate: number, notes: string[]}>} notes:
 *   what makes the score differ from that of `mldg score`.
 * @throws {Refusal} the file is empty or the browser cannot decode it.
 */
export async function decode(bytes) {
  if (!bytes.length) throw new Refusal("The file is empty.");
  const stream = identify(bytes);
  const wav = stream.kind === "wav" ? readWav(bytes) : null;
  if (wav) return { ...wav, notes: [] };
  const own = stream.rate && makeContext(stream.rate);
  const context = own || makeContext(UNKNOWN_RATE);
  let audio;
  try {
    audio = await context.decodeAudioData(bytes.slice().buffer);
  } catch {
    const kind = stream.kind === "unknown" ? "" : ` (it looks like ${stream.kind})`;
    throw new Refusal(
      `This browser cannot decode the file${kind}. It may be damaged or not be audio; ` +
        "if it plays elsewhere, convert it to WAV, FLAC or MP3.",
    );
  }
  const channels = Array.from({ length: audio.numberOfChannels }, (_, i) =>
    audio.getChannelData(i),
  );
  const notes = notesFor(own ? stream : { ...stream, rate: null });
  return { channels, rate: audio.sampleRate, notes };
}
