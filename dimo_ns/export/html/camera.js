// The camera: it goes around the object, z up, and takes the mouse, fingers and the wheel.

const AZIMUTH = 40; // degrees, as the project's other pictures have it: 0 on +x, 90 on +y
const ELEVATION = 15;
const FOCAL = 1.64; // image heights: the view of 34 degrees that the method's data has
const FILLED = 0.92; // of the image, by the object at first

class OrbitCamera {
  /** `outline`: the outermost places where the object goes, three numbers each. `changed` is called after each move. */
  constructor(outline, changed) {
    this.outline = outline;
    this.changed = changed;
    this.home = [0, 1, 2].map((axis) => {
      const values = outline.filter((_, i) => i % 3 === axis);
      return (Math.min(...values) + Math.max(...values)) / 2;
    });
    this.reset();
  }

  reset() {
    this.azimuth = AZIMUTH;
    this.elevation = ELEVATION;
    this.zoom = 1;
    this.target = [...this.home];
    this.changed();
  }

  turn(azimuth, elevation) {
    this.azimuth = (this.azimuth + azimuth) % 360;
    this.elevation = Math.min(Math.max(this.elevation + elevation, -89), 89);
    this.changed();
  }

  scale(factor) {
    this.zoom = Math.min(Math.max(this.zoom * factor, 0.15), 6);
    this.changed();
  }

  /** Moves the target by so many pixels of an image of this size. */
  shift(x, y, width, height) {
    const [right, down] = axesOf(this.azimuth, this.elevation);
    const unit = (this.distance(width, height) * this.zoom) / (FOCAL * height);
    this.target = this.target.map((value, i) => value - unit * (x * right[i] + y * down[i]));
    this.changed();
  }

  /** How far away the whole outline fits an image of this size, seen from where the camera is at first. */
  distance(width, height) {
    const axes = axesOf(AZIMUTH, ELEVATION);
    let distance = 0.05;
    for (let i = 0; i < this.outline.length; i += 3) {
      const place = this.home.map((value, axis) => this.outline[i + axis] - value);
      const [x, y, z] = axes.map((axis) => dot(axis, place));
      const wide = (Math.abs(x) * FOCAL * height) / (0.5 * FILLED * width);
      const high = (Math.abs(y) * FOCAL) / (0.5 * FILLED);
      distance = Math.max(distance, wide - z, high - z);
    }
    return distance;
  }

  /** For an image of this size, as the renderer takes it. */
  at(width, height) {
    const axes = axesOf(this.azimuth, this.elevation);
    const away = this.distance(width, height) * this.zoom;
    const rows = axes.map((axis, i) => [...axis, (i === 2 ? away : 0) - dot(axis, this.target)]);
    const focal = FOCAL * height;
    return { viewmat: [...rows.flat(), 0, 0, 0, 1], intrinsics: [focal, focal, width / 2, height / 2], width, height };
  }

  /** Listens to a canvas: drag to turn, wheel or pinch to zoom, two fingers or Shift to move, double click to reset. */
  listen(canvas) {
    const fingers = new Map();
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, [event.clientX, event.clientY]);
    });
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => fingers.delete(event.pointerId));
    }
    canvas.addEventListener("pointermove", (event) => {
      const before = fingers.get(event.pointerId);
      if (!before) return;
      const now = [event.clientX, event.clientY];
      const [x, y] = [now[0] - before[0], now[1] - before[1]];
      const { clientWidth: width, clientHeight: height } = canvas;
      if (fingers.size > 1) {
        const [, other] = [...fingers].find(([id]) => id !== event.pointerId);
        this.scale(span(before, other) / Math.max(span(now, other), 1));
        this.shift(x / 2, y / 2, width, height);
      } else if (event.shiftKey || event.buttons === 2) {
        this.shift(x, y, width, height);
      } else {
        const degrees = 220 / Math.min(width, height);
        this.turn(-x * degrees, y * degrees);
      }
      fingers.set(event.pointerId, now);
    });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("dblclick", () => this.reset());
    canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
        this.scale(Math.exp(Math.min(Math.max(event.deltaY * lines, -200), 200) * 0.0015));
      },
      { passive: false },
    );
  }
}

/** Right, down and forward of a camera that looks at the target from there. */
function axesOf(azimuthDegrees, elevationDegrees) {
  const [azimuth, elevation] = [azimuthDegrees, elevationDegrees].map((degrees) => (degrees * Math.PI) / 180);
  const [ca, sa, ce, se] = [Math.cos(azimuth), Math.sin(azimuth), Math.cos(elevation), Math.sin(elevation)];
  return [
    [-sa, ca, 0],
    [se * ca, se * sa, -ce],
    [-ce * ca, -ce * sa, -se],
  ];
}

function span(a, b) {
  return Math.hypot(a[0] - b[0], a[1] - b[1]);
}
