// What is shown and how it goes on: motion, time, camera, background; draws a picture whenever one of them changes.

const REST = 0.6; // seconds in the last frame of a motion that is no cycle
const GLIDE = 0.09; // seconds in which most of the way to another motion is done
const TRAIL = 0.4; // of the motion's length
const STEPS_PER_FRAME = 3; // of trails
const SLOW = 45; // milliseconds a picture: above, the next ones are coarser,
const QUICK = 20; // and below, finer again
const COARSEST = 2.5;

const $ = (id) => document.getElementById(id);

class Player {
  constructor({ header, arrays }) {
    this.space = new MotionSpace({ header, arrays });
    this.arrays = arrays;
    this.renderer = new Renderer($("canvas"), arrays);
    this.sorter = new Sorter(arrays);
    this.camera = new OrbitCamera(arrays.outline, () => (this.stale = true));
    this.camera.listen($("canvas"));
    this.tints = tintsOf(arrays.keypoints);

    this.chosen = 0; // the motion that was chosen last; null on the map and at random
    this.base = this.space.latents[0];
    this.partner = Math.min(1, this.space.motions.length - 1);
    this.blend = 0;
    this.offsets = new Float32Array(this.space.decodes ? Math.min(this.space.sliders.axes, this.space.axes.length) : 0);
    this.shown = new Float32Array(this.base); // glides to what is wanted
    this.frame = 0;
    this.rested = 0;
    this.speed = 1;
    this.playing = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.background = [1, 1, 1];
    this.showsPoints = false;
    this.showsTrails = false;
    this.fixed = null; // a camera that a program has set
    this.coarse = false; // whether the last picture has fewer pixels than it should
    this.drawn = 0; // pictures so far
    this.changed = () => {}; // called before each picture, for the controls
    this.stale = true;
  }

  /** The latent that the controls ask for. */
  get wanted() {
    const partner = this.space.latents[this.partner];
    const between = this.base.map((value, i) => value + this.blend * (partner[i] - value));
    return this.space.shifted(between, this.offsets);
  }

  choose(motion) {
    this.chosen = motion;
    this.base = this.space.latents[motion];
    if (this.partner === motion) this.partner = (motion + 1) % this.space.motions.length;
    this.settle();
  }

  /** Goes to a latent that is no motion's. */
  wander(z) {
    this.chosen = null;
    this.base = z;
    this.settle();
  }

  settle() {
    this.blend = 0;
    this.offsets.fill(0);
    this.rested = 0;
    this.stale = true;
  }

  /** Without gliding. */
  arrive() {
    this.shown = new Float32Array(this.wanted);
    this.stale = true;
  }

  /** The last frame of what is shown: a cycle goes on to its first frame. */
  get end() {
    return this.space.tempo(this.shown).loop ? this.space.frames : this.space.frames - 1;
  }

  /** Goes on by so many seconds. */
  advance(seconds) {
    const wanted = this.wanted;
    const distance = Math.max(...wanted.map((value, i) => Math.abs(value - this.shown[i])));
    if (distance > 0) {
      const share = distance < 1e-3 ? 1 : 1 - Math.exp(-seconds / GLIDE);
      this.shown = this.shown.map((value, i) => value + share * (wanted[i] - value));
      this.stale = true;
    }
    if (!this.playing || this.space.frames < 2) return;
    this.stale = true;
    const tempo = this.space.tempo(this.shown);
    const last = this.space.frames - 1;
    this.frame += (seconds * this.speed * last) / tempo.seconds;
    if (tempo.loop) this.frame %= this.space.frames;
    else if (this.frame >= last) {
      this.frame = last;
      this.rested += seconds;
      if (this.rested > REST) this.seek(0);
    }
  }

  seek(frame) {
    this.frame = Math.min(Math.max(frame, 0), this.end);
    this.rested = 0;
    this.stale = true;
  }

  /** Makes a picture of how things stand, as coarse as quick ones are if need be; resolves once it is drawn, in the task
   * that drew it. */
  async draw(coarseness = 1) {
    this.stale = false;
    this.coarse = coarseness > 1 && !this.fixed;
    const { space, renderer, shown, frame } = this;
    const camera = this.fixed ?? this.camera.at(...this.size(coarseness));
    const pose = space.poseAt(shown, frame);
    const carriers = carriersOf(pose, space.keypoints);
    const order = await this.sorter.order(carriers, camera.viewmat);
    renderer.draw(carriers, order, camera, this.background);
    if (this.showsTrails) this.drawTrails(shown, frame, camera);
    if (this.showsPoints) {
      renderer.drawPoints(positionsOf(pose, space.keypoints), this.tints, 3 * this.unit(camera), camera);
    }
    this.drawn++;
    return { carriers, order, camera };
  }

  drawTrails(z, frame, camera) {
    const { space, arrays } = this;
    const { loop } = space.tempo(z);
    const steps = (loop ? space.frames : space.frames - 1) * STEPS_PER_FRAME;
    if (this.trailsOf !== z) {
      this.trailsOf = z;
      const moments = Array.from({ length: steps + 1 }, (_, step) => {
        const positions = positionsOf(space.poseAt(z, step / STEPS_PER_FRAME), space.keypoints);
        return chosenRows(positions, arrays.trails);
      });
      this.path = Float32Array.from(moments.flatMap((moment) => moment));
    }
    const tints = chosenRows(this.tints, arrays.trails);
    const times = { now: frame * STEPS_PER_FRAME, reach: TRAIL * steps, cycle: loop ? steps : 0 };
    this.renderer.drawTrails(this.path, tints, times, this.unit(camera), camera);
  }

  /** Pixels of an image that are one on the page. */
  unit({ width }) {
    return this.fixed ? 1 : width / Math.max($("canvas").clientWidth, 1);
  }

  /** How large the pictures are, in pixels. */
  size(coarseness) {
    const { clientWidth, clientHeight } = $("canvas");
    const ratio = Math.min(devicePixelRatio, 2) / coarseness;
    return [clientWidth, clientHeight].map((length) => Math.max(Math.round(length * ratio), 1));
  }

  /** Draws whenever something has changed, for as long as the page lives; what stands still at last in full. */
  run() {
    let before = performance.now();
    let busy = false;
    let coarseness = 1;
    const durations = [];
    const tick = async (now) => {
      requestAnimationFrame(tick);
      if (busy) return;
      const passed = now - before;
      before = now;
      this.advance(Math.min(Math.max(passed, 0) / 1000, 0.1)); // the first tick may bear an earlier time
      this.changed();
      if (this.stale) durations.push(passed);
      else durations.length = 0;
      if (durations.length >= 20) {
        const typical = durations.sort((a, b) => a - b)[10];
        if (typical > SLOW) coarseness = Math.min(coarseness * 1.25, COARSEST);
        if (typical < QUICK) coarseness = Math.max(coarseness / 1.25, 1);
        durations.length = 0;
      }
      if (!this.stale && !this.coarse) return;
      busy = true;
      await this.draw(this.stale ? coarseness : 1).catch((error) => show(`The page stopped working: ${error.message}`));
      busy = false;
    };
    requestAnimationFrame(tick);
  }

  /** A canvas that was lost, as phones do with those in the background, is set up again. */
  revive() {
    const canvas = $("canvas");
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => {
      this.renderer = new Renderer(canvas, this.arrays);
      this.stale = true;
    });
  }
}

/** The worker that orders the splats. */
class Sorter {
  constructor({ means, weights, neighbours, keypoints }) {
    const address = URL.createObjectURL(new Blob([$("sorter").textContent], { type: "text/javascript" }));
    this.worker = new Worker(address);
    this.worker.postMessage({ means, weights, neighbours });
    this.count = keypoints.length / 3;
    this.waiting = [];
    this.worker.onmessage = ({ data }) => this.waiting.shift().resolve(data);
    this.worker.onerror = ({ message }) => {
      this.error = new Error(message || "workers are forbidden, by this browser or where the page comes from.");
      for (const { reject } of this.waiting.splice(0)) reject(this.error);
    };
  }

  /** Resolves to the rows of all splats, the farthest first; rejected once the worker has failed. */
  async order(carriers, viewmat) {
    if (this.error) throw this.error;
    const rows = new Float32Array(this.count * 4);
    for (let k = 0; k < this.count; k++) {
      for (let column = 0; column < 4; column++) {
        let sum = column === 3 ? viewmat[11] : 0;
        for (let i = 0; i < 3; i++) sum += viewmat[8 + i] * carriers[k * 16 + i * 4 + column];
        rows[k * 4 + column] = sum;
      }
    }
    this.worker.postMessage({ rows }, [rows.buffer]);
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
  }
}

/** These rows of three numbers, as a list of numbers. */
function chosenRows(values, rows) {
  return Array.from(rows).flatMap((row) => Array.from(values.subarray(row * 3, row * 3 + 3)));
}

/** Colours that tell key points apart: by where they lie at rest. */
function tintsOf(keypoints) {
  const ranges = [0, 1, 2].map((axis) => {
    const values = keypoints.filter((_, i) => i % 3 === axis);
    return [Math.min(...values), Math.max(...values)];
  });
  return keypoints.map((value, i) => {
    const [low, high] = ranges[i % 3];
    return 0.08 + (0.84 * (value - low)) / Math.max(high - low, 1e-9);
  });
}

/** In the place of the object; nothing, and the object is there. */
function show(message) {
  $("message").textContent = message;
  $("canvas").hidden = message !== "";
}
