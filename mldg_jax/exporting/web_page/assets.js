// The page's own files: next to it, or inside the single HTML file.

function embedded(name) {
  return document.getElementById(`asset:${name}`);
}

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

async function unzipped(bytes) {
  // Some servers unpack *.gz on the way, so its first bytes decide.
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(unpacked).arrayBuffer());
}

/**
 * Reads one of the page's files.
 * @param {string} name as in the folder.
 * @returns {Promise<Uint8Array>} its bytes, unpacked if it is a gzip file.
 */
export async function readAsset(name) {
  const element = embedded(name);
  if (element) return unzipped(fromBase64(element.textContent));
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`${name}: the server answers ${answer.status}`);
  return unzipped(new Uint8Array(await answer.arrayBuffer()));
}

/**
 * Returns an address of one of the page's modules, for a worker or a worklet.
 * @param {string} name as in the folder.
 * @returns {string}
 */
export function moduleAddress(name) {
  const element = embedded(name);
  if (!element) return new URL(name, document.baseURI).href;
  const text = new TextDecoder().decode(fromBase64(element.textContent));
  return URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
}
