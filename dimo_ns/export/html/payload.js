// The payload of the page, as pack.py wrote it: a JSON header and named arrays.

/** Reads base64 of gzip of the stream that pack.py describes; resolves to its header and its arrays as Float32Array,
 * or as whole numbers where they are indices. */
async function readPayload(base64) {
  const bytes = await unzip(Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)));
  const headerBytes = new DataView(bytes).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, headerBytes)));
  const first = 4 + Math.ceil(headerBytes / 4) * 4;
  const arrays = {};
  for (const [name, entry] of Object.entries(header.arrays))
    arrays[name] = readArray(bytes, first + entry.start, entry);
  const length = (row) => Math.hypot(...row);
  const sum = (row) => row.reduce((a, b) => a + b);
  divideRows(arrays.quats, length); // quantisation has changed both a little
  divideRows(arrays.weights, sum);
  return { header, arrays };
}

/** Divides each four numbers by a measure of theirs. */
function divideRows(array, measure) {
  for (let i = 0; i < array.length; i += 4) {
    const row = array.subarray(i, i + 4);
    const divisor = measure(row);
    for (let j = 0; j < 4; j++) row[j] /= divisor;
  }
}

async function unzip(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

function readArray(bytes, start, { type, shape, low, high }) {
  const count = shape.reduce((product, size) => product * size, 1);
  if (type === "float32") return new Float32Array(bytes, start, count);
  if (type === "float16") return fromHalves(new Uint16Array(bytes, start, count));
  const numbers = type === "uint8" ? new Uint8Array(bytes, start, count) : new Uint16Array(bytes, start, count);
  if (!low) return numbers;
  const channels = shape[1];
  const largest = type === "uint8" ? 255 : 65535;
  const values = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    const channel = i % channels;
    values[i] = low[channel] + ((high[channel] - low[channel]) * numbers[i]) / largest;
  }
  return values;
}

/** What the last bit of a 16-bit float is worth, by its exponent. */
const HALF_STEPS = Float32Array.from({ length: 32 }, (_, exponent) => 2 ** (Math.max(exponent, 1) - 25));

/** 16-bit floats, by their bits, as 32-bit floats; all finite. */
function fromHalves(halves) {
  const values = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) {
    const exponent = (halves[i] >> 10) & 31;
    const size = ((exponent ? 1024 : 0) + (halves[i] & 1023)) * HALF_STEPS[exponent];
    values[i] = halves[i] & 0x8000 ? -size : size;
  }
  return values;
}
