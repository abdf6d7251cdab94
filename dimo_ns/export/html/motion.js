// Motions: from a latent and a time to a pose, the rigid transforms of all key points.
// The mathematics of dimo_ns/core: decoder.py, latent_axes.py, skinning.py. A pose is a Float32Array of seven numbers per key point,
// translation x y z and unit quaternion w x y z. Times are counted in frames: frame f is t = f / (number of frames).

const POSE = 7;

/** core/decoder.py's LowRankDecoder: a small trunk gives the coordinates of the pose in a basis. */
class LowRankDecoder {
  constructor(arrays) {
    const get = (name) => arrays[`decoder.${name}`];
    this.layers = [0, 2, 4].map((i) => ({ weight: get(`trunk.${i}.weight`), bias: get(`trunk.${i}.bias`) }));
    this.basis = get("basis");
    this.offset = get("offset");
  }

  /** The pose at time t in [0, 1) under latent z. */
  decode(z, t) {
    let h = [...timeFeatures(t, this.layers[0].weight.length / this.layers[0].bias.length - z.length), ...z];
    this.layers.forEach(({ weight, bias }, i) => {
      h = linear(weight, bias, h);
      if (i < this.layers.length - 1) for (let j = 0; j < h.length; j++) h[j] /= 1 + Math.exp(-h[j]); // SiLU
    });
    const pose = new Float32Array(this.offset);
    for (let r = 0; r < h.length; r++) {
      const coordinate = h[r];
      const row = r * pose.length;
      for (let i = 0; i < pose.length; i++) pose[i] += coordinate * this.basis[row + i];
    }
    return normaliseTurns(pose);
  }
}

/** sin and cos of pi (k + 1) t / 2, `count` numbers in all. */
function timeFeatures(t, count) {
  const angles = Array.from({ length: count / 2 }, (_, k) => 0.5 * Math.PI * (k + 1) * t);
  return [...angles.map(Math.sin), ...angles.map(Math.cos)];
}

function linear(weight, bias, x) {
  const y = new Float32Array(bias);
  for (let i = 0; i < y.length; i++) {
    let sum = y[i];
    const row = i * x.length;
    for (let j = 0; j < x.length; j++) sum += weight[row + j] * x[j];
    y[i] = sum;
  }
  return y;
}

function normaliseTurns(pose) {
  for (let i = 3; i < pose.length; i += POSE) {
    const inverse = 1 / Math.max(Math.hypot(pose[i], pose[i + 1], pose[i + 2], pose[i + 3]), 1e-12);
    for (let j = i; j < i + 4; j++) pose[j] *= inverse;
  }
  return pose;
}

/** Adds `weight` times one pose to another, both quaternions of a key point in the same half-space. */
function addPose(sum, weight, pose, start = 0) {
  for (let i = 0; i < sum.length; i += POSE) {
    const from = start + i;
    for (let j = 0; j < 3; j++) sum[i + j] += weight * pose[from + j];
    let dot = 0;
    for (let j = 3; j < POSE; j++) dot += sum[i + j] * pose[from + j];
    const signed = dot < 0 ? -weight : weight;
    for (let j = 3; j < POSE; j++) sum[i + j] += signed * pose[from + j];
  }
}

/** Stands in for a decoder that is too heavy for a page: its latents are weights of the motions, one number each, and
 * poses are weighted sums of the motions' own. */
class TrajectoryBlend {
  constructor(trajectories, frames, keypoints) {
    Object.assign(this, { trajectories, frames, size: keypoints * POSE });
  }

  decode(weights, t) {
    const frame = Math.min(t * this.frames, this.frames - 1);
    const before = Math.floor(frame);
    const share = frame - before;
    const pose = new Float32Array(this.size);
    weights.forEach((weight, motion) => {
      const start = (motion * this.frames + before) * this.size;
      if (weight && share < 1) addPose(pose, weight * (1 - share), this.trajectories, start);
      if (weight && share > 0) addPose(pose, weight * share, this.trajectories, start + this.size);
    });
    return normaliseTurns(pose);
  }
}

/** All motions of the object: those that it learned, by name, and those between and beside them, by latent. */
class MotionSpace {
  constructor({ header, arrays }) {
    this.motions = header.motions;
    this.frames = header.frames;
    this.keypoints = arrays.keypoints;
    this.count = this.keypoints.length / 3;
    this.decodes = "decoder.basis" in arrays;
    const mu = rowsOf(arrays.mu, this.motions.length);
    this.centre = arrays.centre;
    this.sigmas = arrays.sigmas;
    this.axes = rowsOf(arrays.axes, this.sigmas.length);
    this.plane = rowsOf(arrays.plane, 2);
    [this.low, this.high] = rowsOf(arrays.edges, 2);
    /** Where the motions lie on the plane of the map, and how far along the principal axes one may go. */
    this.spots = mu.map((z) => this.plane.map((axis) => dotFrom(this.centre, z, axis)));
    this.sliders = header.sliders;
    /** What the decoder takes, of every motion. */
    this.latents = this.decodes ? mu : mu.map((_, i) => Float32Array.from(mu, (_, j) => Number(i === j)));
    this.decoder = this.decodes
      ? new LowRankDecoder(arrays)
      : new TrajectoryBlend(arrays.trajectories, this.frames, this.count);
  }

  /** The pose at a frame; beyond the last one, on the way back to the first. */
  poseAt(z, frame) {
    const last = this.frames - 1;
    const pose = this.decoder.decode(z, Math.min(frame, last) / this.frames);
    if (frame <= last) return pose;
    const between = pose.map((value) => value * (last + 1 - frame));
    addPose(between, frame - last, this.decoder.decode(z, 0));
    return normaliseTurns(between);
  }

  /** How much of each motion is in a latent: weights that sum to one, all of it where the latent is that motion's. */
  shares(z) {
    return inverseDistances(this.latents, z);
  }

  /** Seconds from the first frame to the last, and whether the motion is a cycle. */
  tempo(z) {
    const shares = this.shares(z);
    const main = shares.indexOf(Math.max(...shares));
    const logSeconds = this.motions.map(({ seconds }) => Math.log(Math.max(seconds, 1e-3)));
    return { seconds: Math.exp(dot(shares, logSeconds)), loop: this.motions[main].loop, main, share: shares[main] };
  }

  /** Where the motions lie on the map, from [0, 0] at its lower left to [1, 1]. */
  get places() {
    return this.spots.map((spot) => this.placeOfSpot(spot));
  }

  /** Where a latent lies on the map. */
  placeOf(z) {
    return this.placeOfSpot(this.spotOf(z));
  }

  spotOf(z) {
    if (this.decodes) return this.plane.map((axis) => dotFrom(this.centre, z, axis));
    return combine(this.spots, z);
  }

  placeOfSpot(spot) {
    return spot.map((value, i) => (value - this.low[i]) / Math.max(this.high[i] - this.low[i], 1e-12));
  }

  /** The latent at a place on the map: the motions around it, mixed, and then moved along the map to that very place. At
   * the place of a motion it is that motion's. */
  latentAt(place) {
    const spot = place.map((value, i) => this.low[i] + (this.high[i] - this.low[i]) * value);
    const z = combine(this.latents, inverseDistances(this.spots, spot));
    if (!this.decodes) return z;
    const here = this.spotOf(z);
    return moved(
      z,
      this.plane,
      spot.map((value, i) => value - here[i]),
    );
  }

  /** A draw from the Gaussian that the latents of the motions have along their principal axes. */
  randomLatent() {
    return this.shifted(this.centre, Array.from(this.sigmas, normal));
  }

  /** `z`, moved along the first principal axes by so many standard deviations. */
  shifted(z, sigmas) {
    return moved(
      z,
      this.axes,
      Array.from(sigmas, (amount, i) => amount * this.sigmas[i]),
    );
  }
}

/** `z`, moved so far in these directions. */
function moved(z, directions, amounts) {
  const sum = new Float32Array(z);
  amounts.forEach((amount, i) => directions[i].forEach((value, j) => (sum[j] += amount * value)));
  return sum;
}

function rowsOf(array, count) {
  const width = array.length / count;
  return Array.from({ length: count }, (_, i) => array.subarray(i * width, (i + 1) * width));
}

function dot(a, b) {
  return a.reduce((sum, value, i) => sum + value * b[i], 0);
}

function dotFrom(origin, z, axis) {
  return axis.reduce((sum, value, i) => sum + value * (z[i] - origin[i]), 0);
}

function combine(rows, weights) {
  return rows[0].map((_, i) => rows.reduce((sum, row, j) => sum + weights[j] * row[i], 0));
}

/** Shepard's weights, one over the fourth power of the distance from `point` to each row. */
function inverseDistances(rows, point) {
  const squared = rows.map((row) => row.reduce((sum, value, i) => sum + (value - point[i]) ** 2, 0));
  const smallest = Math.max(1e-12 * Math.max(...squared), 1e-30);
  const least = Math.max(Math.min(...squared), smallest);
  const weights = squared.map((value) => (least / Math.max(value, smallest)) ** 2);
  const sum = weights.reduce((a, b) => a + b);
  return weights.map((weight) => weight / sum);
}

/** A draw from N(0, 1) (Box and Muller). */
function normal() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

/** Where the key points are in a pose, three numbers each. */
function positionsOf(pose, keypoints) {
  return keypoints.map((value, i) => value + pose[Math.floor(i / 3) * POSE + (i % 3)]);
}

/** For linear blend skinning, 16 numbers of each key point's transform: the affine map x -> R (x - c) + c + translation
 * as three rows of four, then the quaternion. */
function carriersOf(pose, keypoints) {
  const carriers = new Float32Array((keypoints.length / 3) * 16);
  for (let k = 0; k < keypoints.length / 3; k++) {
    const [dx, dy, dz, w, x, y, z] = pose.subarray(k * POSE, (k + 1) * POSE);
    const [cx, cy, cz] = keypoints.subarray(k * 3, k * 3 + 3);
    const rows = [
      [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y), cx + dx],
      [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x), cy + dy],
      [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y), cz + dz],
    ];
    rows.forEach(([a, b, c, d], i) => carriers.set([a, b, c, d - a * cx - b * cy - c * cz], k * 16 + i * 4));
    carriers.set([w, x, y, z], k * 16 + 12);
  }
  return carriers;
}
