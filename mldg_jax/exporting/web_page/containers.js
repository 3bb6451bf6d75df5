// Finds out what a recording is and its sampling rate, from its first bytes.
//
// A browser decodes to the rate of the audio context, with a resampler of its own, so that
// the context must have the file's rate.

const MP3_RATES = { 3: [44100, 48000, 32000], 2: [22050, 24000, 16000], 0: [11025, 12000, 8000] };
const AAC_RATES = [
  96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350,
];
const LOOKED_AT = 1 << 20; // bytes in which a stream may begin

function textAt(bytes, place, length) {
  return String.fromCharCode(...bytes.subarray(place, place + length));
}

function viewOf(bytes) {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function indexOf(bytes, text, from = 0, to = bytes.length) {
  const codes = Array.from(text, (x) => x.charCodeAt(0));
  const end = Math.min(to, bytes.length) - codes.length;
  for (let i = from; i <= end; i++) {
    if (codes.every((code, k) => bytes[i + k] === code)) return i;
  }
  return -1;
}

// After an ID3v2 tag, whose size has seven bits a byte.
function afterTag(bytes) {
  if (textAt(bytes, 0, 3) !== "ID3" || bytes.length < 10) return 0;
  const size = bytes.subarray(6, 10).reduce((sum, byte) => sum * 128 + (byte & 127), 0);
  return 10 + size;
}

function oggStream(bytes) {
  const opus = indexOf(bytes, "OpusHead", 0, 4096);
  // Opus has no rate of its own: every decoder can give 48 kHz.
  if (opus >= 0) {
    const recorded = viewOf(bytes).getUint32(opus + 12, true);
    return { kind: "opus", rate: 48000, recordedAt: recorded };
  }
  const vorbis = indexOf(bytes, "\x01vorbis", 0, 4096);
  if (vorbis >= 0) {
    return { kind: "vorbis", rate: viewOf(bytes).getUint32(vorbis + 12, true) };
  }
  const flac = indexOf(bytes, "fLaC", 0, 4096);
  return flac >= 0 ? flacStream(bytes, flac) : { kind: "ogg", rate: null };
}

function flacStream(bytes, place) {
  const at = place + 18; // 4 of the mark, 4 of the block's header, 10 before the rate
  const rate = (bytes[at] << 12) | (bytes[at + 1] << 4) | (bytes[at + 2] >> 4);
  return { kind: "flac", rate };
}

function mpegStream(bytes, start) {
  const end = Math.min(bytes.length - 4, start + LOOKED_AT);
  for (let i = start; i < end; i++) {
    if (bytes[i] !== 0xff || (bytes[i + 1] & 0xe0) !== 0xe0) continue;
    const version = (bytes[i + 1] >> 3) & 3;
    const layer = (bytes[i + 1] >> 1) & 3;
    if (layer === 0 && (bytes[i + 1] & 0xf6) === 0xf0) {
      return { kind: "aac", rate: AAC_RATES[(bytes[i + 2] >> 2) & 15] ?? null };
    }
    const rate = MP3_RATES[version]?.[(bytes[i + 2] >> 2) & 3];
    const isFrame = layer !== 0 && bytes[i + 2] >> 4 !== 15 && bytes[i + 2] >> 4 !== 0;
    if (rate && isFrame) return { kind: "mp3", rate };
  }
  return null;
}

// Calls visit(type, start of the content, end) for the boxes of an MP4 file.
function walkBoxes(bytes, start, end, visit) {
  const view = viewOf(bytes);
  for (let place = start; place + 8 <= end; ) {
    let size = view.getUint32(place);
    let header = 8;
    if (size === 1 && place + 16 <= end) {
      size = Number(view.getBigUint64(place + 8));
      header = 16;
    }
    if (size === 0) size = end - place;
    if (size < header) return;
    visit(textAt(bytes, place + 4, 4), place + header, Math.min(end, place + size));
    place += size;
  }
}

const MP4_PARENTS = ["moov", "trak", "mdia", "minf", "stbl"];

function mp4Stream(bytes) {
  const view = viewOf(bytes);
  const found = { kind: "mp4", rate: null };
  let timescale = null;
  const visit = (type, start, end) => {
    if (MP4_PARENTS.includes(type)) return walkBoxes(bytes, start, end, visit);
    if (type === "mdhd") timescale = view.getUint32(start + (bytes[start] ? 20 : 12));
    if (type !== "stsd" || found.rate) return;
    const codec = textAt(bytes, start + 12, 4);
    if (!["mp4a", "Opus", "alac", "fLaC"].includes(codec)) return;
    // The entry has 16 bits for the rate; the track's clock has it where they are 0.
    found.rate = view.getUint16(start + 8 + 32) || timescale;
    found.kind = codec === "Opus" ? "opus" : "mp4";
  };
  walkBoxes(bytes, 0, bytes.length, visit);
  return found;
}

function matroskaStream(bytes) {
  // The element of the rate: its id, a length of 4 or 8, a floating-point number.
  const view = viewOf(bytes);
  const end = Math.min(bytes.length - 10, LOOKED_AT);
  const isOpus = indexOf(bytes, "A_OPUS", 0, LOOKED_AT) >= 0;
  if (isOpus) return { kind: "opus", rate: 48000 };
  for (let i = 0; i < end; i++) {
    if (bytes[i] !== 0xb5 || (bytes[i + 1] !== 0x84 && bytes[i + 1] !== 0x88)) continue;
    const rate = bytes[i + 1] === 0x84 ? view.getFloat32(i + 2) : view.getFloat64(i + 2);
    if (rate >= 1000 && rate <= 1e6 && Number.isInteger(rate)) {
      return { kind: "matroska", rate };
    }
  }
  return { kind: "matroska", rate: null };
}

/**
 * Identifies a recording.
 * @param {Uint8Array} bytes the whole file.
 * @returns {{kind: string, rate: number | null, recordedAt?: number}} kind: wav, flac, opus,
 *   vorbis, ogg, mp3, aac, mp4, matroska or unknown; rate in Hz, null if the file does not
 *   say it; recordedAt, of Ogg Opus: the rate before it was encoded, 0 if not recorded.
 */
export function identify(bytes) {
  if (["RIFF", "RF64"].includes(textAt(bytes, 0, 4)) && textAt(bytes, 8, 4) === "WAVE") {
    const format = indexOf(bytes, "fmt ", 12, 65536);
    const rate = format < 0 ? null : viewOf(bytes).getUint32(format + 12, true);
    return { kind: "wav", rate };
  }
  if (textAt(bytes, 0, 4) === "OggS") return oggStream(bytes);
  if (textAt(bytes, 4, 4) === "ftyp") return mp4Stream(bytes);
  if (textAt(bytes, 0, 4) === "\x1a\x45\xdf\xa3") return matroskaStream(bytes);
  const start = afterTag(bytes);
  if (textAt(bytes, start, 4) === "fLaC") return flacStream(bytes, start);
  return mpegStream(bytes, start) ?? { kind: "unknown", rate: null };
}
