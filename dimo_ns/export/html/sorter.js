// A worker: the order in which the splats are drawn, the farthest first. It is told once what carries each splat, and
// then for every picture the third row of (camera after key point), of which a splat's depth is a weighted sum.

const BUCKETS = 65536;
const counts = new Uint32Array(BUCKETS + 1);
let object, depths, keys;

self.onmessage = ({ data }) => {
  if (data.means) {
    object = data;
    depths = new Float32Array(data.means.length / 3);
    keys = new Uint16Array(depths.length);
    return;
  }
  const order = sort(data.rows);
  self.postMessage(order, [order.buffer]);
};

/** `rows`: four numbers per key point. */
function sort(rows) {
  const { means, weights, neighbours } = object;
  const order = new Uint32Array(depths.length);
  let near = Infinity;
  let far = -Infinity;
  for (let i = 0; i < depths.length; i++) {
    const x = means[i * 3];
    const y = means[i * 3 + 1];
    const z = means[i * 3 + 2];
    let depth = 0;
    for (let j = i * 4; j < i * 4 + 4; j++) {
      const row = neighbours[j] * 4;
      depth += weights[j] * (rows[row] * x + rows[row + 1] * y + rows[row + 2] * z + rows[row + 3]);
    }
    depths[i] = depth;
    if (depth < near) near = depth;
    if (depth > far) far = depth;
  }
  // A counting sort on the depth in 16 bits.
  const scale = (BUCKETS - 1) / Math.max(far - near, 1e-12);
  counts.fill(0);
  for (let i = 0; i < depths.length; i++) {
    keys[i] = (far - depths[i]) * scale;
    counts[keys[i] + 1]++;
  }
  for (let i = 1; i <= BUCKETS; i++) counts[i] += counts[i - 1];
  for (let i = 0; i < depths.length; i++) order[counts[keys[i]]++] = i;
  return order;
}
