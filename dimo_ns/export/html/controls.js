// The controls: they say what the player shows, and change it.

const BACKGROUNDS = { White: "#ffffff", Grey: "#8c8f93", Black: "#111214" };
const MAP = { width: 268, height: 170, letter: 5.8 };
const MAP_STEP = 0.05; // of the map, by an arrow
const TURN_STEP = 10; // degrees, by a key
const ZOOM_STEP = 1.15;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

const readable = (name) => name.replaceAll("_", " ");

/** An element with these properties; its text is never taken as HTML. */
function make(name, properties, text = "") {
  const element = Object.assign(document.createElement(name), properties);
  element.textContent = text;
  return element;
}

/** Buttons of which one is chosen, for a screen reader too; Tab goes to that one. */
function mark(buttons, chosen) {
  buttons.forEach((button, i) => {
    button.setAttribute("aria-checked", String(i === chosen));
    button.tabIndex = i === (chosen ?? 0) ? 0 : -1;
  });
}

/** Among such buttons, an arrow chooses the next one or the one before. */
function stepAmong(buttons, button, [right, up]) {
  const next = buttons.at((buttons.indexOf(button) + right - up) % buttons.length);
  next.click();
  next.focus();
}

class Controls {
  constructor(player, header) {
    this.player = player;
    this.space = player.space;
    this.buildMotions();
    this.buildExplorer();
    this.buildView();
    this.buildTransport();
    addEventListener("keydown", (event) => this.key(event));
    const counts = `${plural(this.space.motions.length, "motion")}, ${plural(player.renderer.count, "Gaussian")}`;
    $("credits").textContent = [counts, header.licence, "made with dimo"].filter(Boolean).join(" · ");
    player.changed = () => this.refresh();
    this.refresh();
  }

  buildMotions() {
    const { player } = this;
    this.motionButtons = this.space.motions.map(({ name, prompt }, i) => {
      const button = make("button", { title: prompt, onclick: () => player.choose(i) }, readable(name));
      button.setAttribute("role", "radio");
      $("motions").append(button);
      return button;
    });
    this.space.motions.forEach(({ name }, i) => $("to").append(make("option", { value: i }, readable(name))));
    $("to").onchange = () => {
      player.partner = Number($("to").value);
      player.stale = true;
    };
    $("blend").oninput = () => (player.blend = Number($("blend").value));
    $("blending").hidden = this.space.motions.length < 2;
  }

  buildExplorer() {
    const { player, space } = this;
    const axes = player.offsets.length;
    const { reach } = space.sliders;
    const several = space.motions.length > 1;
    $("exploring").hidden = !several && !axes;
    $("random").hidden = !axes;
    $("random").onclick = () => player.wander(space.randomLatent());
    $("note").textContent = space.decodes
      ? `${several ? "Drag across the map, or go" : "Go"} up to ${reach} standard deviations along each principal axis of the motions.`
      : "Drag across the map. The decoder of this object is too heavy for a page: motions between the known ones are " +
        "blends of their paths.";
    this.sliders = Array.from({ length: axes }, (_, i) => {
      const slider = make("input", { type: "range", min: -reach, max: reach, step: 0.05, value: 0 });
      slider.oninput = () => (player.offsets[i] = Number(slider.value));
      const title = `Principal axis ${i + 1} of the latents`;
      slider.setAttribute("aria-label", title);
      const row = make("label", { title }, String(i + 1));
      row.append(slider);
      $("axes").append(row);
      return slider;
    });
    $("map").toggleAttribute("hidden", !several);
    if (!several) return;
    this.map = new LatentMap($("map"), space, (place, motion) => {
      if (motion === null) player.wander(space.latentAt(place));
      else player.choose(motion);
    });
  }

  buildView() {
    const { player } = this;
    $("home").onclick = () => player.camera.reset();
    $("points").onchange = () => this.setOverlays($("points").checked, $("trails").checked);
    $("trails").onchange = () => this.setOverlays($("points").checked, $("trails").checked);
    this.swatches = Object.entries(BACKGROUNDS).map(([title, color], i) => {
      const swatch = make("button", { title, className: "swatch", onclick: () => this.setBackground(i) });
      swatch.setAttribute("role", "radio");
      swatch.setAttribute("aria-label", title);
      swatch.style.background = color;
      $("backgrounds").append(swatch);
      return swatch;
    });
    this.setBackground(0);
  }

  setOverlays(points, trails) {
    Object.assign(this.player, { showsPoints: points, showsTrails: trails, stale: true });
    $("points").checked = points;
    $("trails").checked = trails;
  }

  /** By its number among BACKGROUNDS; the whole page follows. */
  setBackground(number) {
    const color = Object.values(BACKGROUNDS)[number];
    this.background = number;
    this.player.background = [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16) / 255);
    this.player.stale = true;
    document.documentElement.dataset.theme = ["light", "grey", "dark"][number];
    mark(this.swatches, number);
  }

  buildTransport() {
    const { player } = this;
    $("play").onclick = () => this.toggle();
    $("time").oninput = () => {
      player.playing = false;
      player.seek(Number($("time").value));
    };
    $("speed").onchange = () => (player.speed = Number($("speed").value));
    $("full").hidden = !document.fullscreenEnabled;
    $("full").onclick = () => this.fullScreen();
    $("fold").onclick = () => {
      const folded = document.body.classList.toggle("folded");
      $("fold").setAttribute("aria-expanded", String(!folded));
    };
    new ResizeObserver(() => (player.stale = true)).observe($("canvas"));
  }

  toggle() {
    this.player.playing = !this.player.playing;
  }

  fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else document.documentElement.requestFullscreen();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { player } = this;
    const count = this.space.motions.length;
    const current = player.chosen ?? 0;
    const step = (frames) => {
      player.playing = false;
      const next = Math.round(player.frame + frames);
      player.seek(next < 0 ? this.space.frames - 1 : next > this.space.frames - 1 ? 0 : next);
    };
    const arrow = ARROWS[event.key];
    const groups = event.target.matches(":focus-visible") ? [this.motionButtons, this.swatches] : [];
    const radios = groups.find((buttons) => buttons.includes(event.target));
    const actions = {
      " ": () => this.toggle(),
      ArrowLeft: () => step(-1),
      ArrowRight: () => step(1),
      ArrowUp: () => player.choose((current + count - 1) % count),
      ArrowDown: () => player.choose((current + 1) % count),
      k: () => this.setOverlays(!player.showsPoints, player.showsTrails),
      t: () => this.setOverlays(player.showsPoints, !player.showsTrails),
      b: () => this.setBackground((this.background + 1) % this.swatches.length),
      a: () => player.camera.turn(-TURN_STEP, 0),
      d: () => player.camera.turn(TURN_STEP, 0),
      w: () => player.camera.turn(0, TURN_STEP),
      s: () => player.camera.turn(0, -TURN_STEP),
      "+": () => player.camera.scale(1 / ZOOM_STEP),
      "-": () => player.camera.scale(ZOOM_STEP),
      r: () => $("random").click(),
      f: () => $("full").click(),
      c: () => $("fold").click(),
      0: () => player.camera.reset(),
    };
    if (arrow && radios) Object.assign(actions, { [event.key]: () => stepAmong(radios, event.target, arrow) });
    if (arrow && event.target === $("map")) Object.assign(actions, { [event.key]: () => this.map.step(arrow) });
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    const own = arrow ? "select, [type=range]" : "select";
    if (!action || event.target.matches(own)) return;
    if (event.key === " " && event.target.matches("[type=checkbox], button:focus-visible")) return;
    event.preventDefault();
    action();
  }

  /** Brings the controls up to date with the player. */
  refresh() {
    const { player, space } = this;
    const seconds = space.tempo(player.shown).seconds;
    document.body.classList.toggle("playing", player.playing);
    $("time").max = player.end;
    $("time").value = player.frame;
    const now = (player.frame * seconds) / Math.max(space.frames - 1, 1);
    $("clock").textContent = `${now.toFixed(2)} s`;
    $("time").setAttribute("aria-valuetext", `${now.toFixed(2)} seconds`);

    const place = space.placeOf(player.shown);
    const state = [player.chosen, player.partner, player.blend, ...player.offsets, ...place].join();
    if (state === this.state) return;
    this.state = state;
    mark(this.motionButtons, player.chosen);
    $("from").textContent = player.chosen === null ? "this one" : readable(space.motions[player.chosen].name);
    $("to").value = player.partner;
    [...$("to").options].forEach((option, i) => (option.disabled = i === player.chosen));
    $("blend").value = player.blend;
    $("blend").setAttribute("aria-valuetext", `${Math.round(player.blend * 100)} %`);
    this.sliders.forEach((slider, i) => {
      slider.value = player.offsets[i];
      slider.setAttribute("aria-valuetext", `${player.offsets[i].toFixed(2)} standard deviations`);
    });
    this.map?.refresh(place, player.chosen, player.blend > 0 ? player.partner : null);
    $("caption").textContent = this.describe();
  }

  /** What is shown, in words. */
  describe() {
    const { player, space } = this;
    const named = (motion) => readable(space.motions[motion].name);
    const moved = player.offsets.some(Boolean);
    if (player.chosen !== null && !moved && player.blend === 0) {
      return space.motions[player.chosen].prompt || named(player.chosen);
    }
    if (player.chosen !== null && !moved) {
      const share = Math.round(player.blend * 100);
      return `${100 - share} % ${named(player.chosen)}, ${share} % ${named(player.partner)}`;
    }
    const { main, share } = space.tempo(player.wanted);
    return `A new motion, ${share > 0.6 ? "close to" : "nearest to"} ${named(main)}`;
  }
}

/** The motions on the plane where they lie farthest apart, with a mark for what is shown; a click or a drag goes there. */
class LatentMap {
  constructor(svg, space, go) {
    this.space = space;
    this.go = go;
    this.place = [0.5, 0.5];
    svg.setAttribute("viewBox", `0 0 ${MAP.width} ${MAP.height}`);
    this.places = space.places;
    this.line = svg.appendChild(draw("line", {}));
    this.dots = this.places.map((place, i) => {
      const [cx, cy] = this.pixel(place);
      const dot = svg.appendChild(draw("circle", { cx, cy, r: 4.5 }));
      dot.append(draw("title", {}, readable(space.motions[i].name)));
      return dot;
    });
    this.label(svg);
    this.here = svg.appendChild(draw("circle", { class: "here", r: 8 }));
    const visit = (event) => {
      const [x, y] = this.cursor(svg, event);
      const near = this.places.findIndex((place) => span(this.pixel(place), [x, y]) < 8);
      go([x / MAP.width, 1 - y / MAP.height], near < 0 ? null : near);
    };
    svg.onpointerdown = (event) => {
      svg.setPointerCapture(event.pointerId);
      visit(event);
    };
    svg.onpointermove = (event) => event.buttons && visit(event);
  }

  pixel([x, y]) {
    return [x * MAP.width, (1 - y) * MAP.height];
  }

  /** Where a pointer is, on the map as it is drawn. */
  cursor(svg, event) {
    const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    return [Math.min(Math.max(place.x, 0), MAP.width), Math.min(Math.max(place.y, 0), MAP.height)];
  }

  /** Names beside the dots, where they cover neither a dot nor another name. */
  label(svg) {
    const taken = this.places.map((place) => {
      const [x, y] = this.pixel(place);
      return [x - 5, y - 5, x + 5, y + 5];
    });
    this.places.forEach((place, i) => {
      const [x, y] = this.pixel(place);
      const text = readable(this.space.motions[i].name);
      const wide = text.length * MAP.letter;
      const sides = [
        [x + 11, y + 4],
        [x - 11 - wide, y + 4],
        [x - wide / 2, y - 11],
        [x - wide / 2, y + 19],
      ];
      for (const [left, base] of sides) {
        const box = [left, base - 10, left + wide, base + 2];
        const inside = box[0] > 2 && box[2] < MAP.width - 2 && box[1] > 0 && box[3] < MAP.height;
        const free = taken.every((b) => box[0] > b[2] || box[2] < b[0] || box[1] > b[3] || box[3] < b[1]);
        if (!inside || !free) continue;
        taken.push(box);
        svg.append(draw("text", { x: left, y: base }, text));
        break;
      }
    });
  }

  /** Goes a little to the right and up from what is shown. */
  step(direction) {
    const place = this.place.map((value, i) => Math.min(Math.max(value + MAP_STEP * direction[i], 0), 1));
    this.go(place, null);
  }

  refresh(place, chosen, partner) {
    this.place = place;
    const [x, y] = this.pixel(place);
    move(this.here, { cx: x, cy: y });
    this.dots.forEach((dot, i) => dot.classList.toggle("chosen", i === chosen || i === partner));
    this.line.toggleAttribute("hidden", chosen === null || partner === null);
    if (chosen === null || partner === null) return;
    const [[x1, y1], [x2, y2]] = [chosen, partner].map((motion) => this.pixel(this.places[motion]));
    move(this.line, { x1, y1, x2, y2 });
  }
}

function draw(name, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  element.textContent = text;
  return move(element, attributes);
}

function move(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function plural(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}
