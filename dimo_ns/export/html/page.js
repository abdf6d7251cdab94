// The start of the page, and `window.dimo`, by which programs and tests drive it (docs/export.md describes it).

async function start() {
  if (typeof DecompressionStream === "undefined") throw new Error("this browser is too old to unpack compressed data.");
  const payload = await readPayload($("payload").textContent);
  const player = new Player(payload);
  new Controls(player, payload.header);
  await player.draw();
  show("");
  player.revive();
  player.run();
  return api(player);
}

function api(player) {
  const { space } = player;
  const indexOf = (motion) => {
    const index = typeof motion === "number" ? motion : space.motions.findIndex(({ name }) => name === motion);
    if (!space.motions[index]) throw new Error(`There is no motion ${motion}.`);
    return index;
  };
  /** Goes at once to what is asked for, without gliding. */
  const arrive = () => {
    player.arrive();
    player.changed();
  };
  return {
    arrive,
    names: space.motions.map(({ name }) => name),
    frames: space.frames,
    play: () => (player.playing = true),
    pause: () => (player.playing = false),
    setMotion(motion) {
      player.choose(indexOf(motion));
      arrive();
    },
    setLatent(z) {
      if (z.length !== player.base.length) throw new Error(`A latent has ${player.base.length} numbers.`);
      player.wander(Float32Array.from(z));
      arrive();
    },
    /** Goes to a place on the map, from (0, 0) at its lower left to (1, 1). */
    setPlace(x, y) {
      player.wander(space.latentAt([x, y]));
      arrive();
    },
    /** Goes so many standard deviations from what was chosen last, along a principal axis. */
    setAxis(axis, sigmas) {
      const { reach } = space.sliders;
      if (!(axis in player.offsets)) throw new Error(`There is no axis ${axis}; the page has ${player.offsets.length}.`);
      player.offsets[axis] = Math.min(Math.max(sigmas, -reach), reach);
      arrive();
    },
    setTime(t) {
      player.playing = false;
      player.seek(t * space.frames);
      player.changed();
    },
    /** Takes pictures of this size from this camera, until it is called without one. */
    setCamera(viewmat = null, K, width, height) {
      player.fixed = null;
      if (viewmat) {
        const [fx, , cx, , fy, cy] = K.flat();
        player.fixed = { viewmat: viewmat.flat(), intrinsics: [fx, fy, cx, cy], width, height };
      }
      player.stale = true;
    },
    async pixels() {
      await player.draw();
      return player.renderer.pixels();
    },
    /** Resolves to the corners of what is drawn of each splat, and the rows of the splats in the same order. */
    async splats() {
      const { carriers, order, camera } = await player.draw();
      return { order: [...order], corners: [...player.renderer.corners(carriers, order, camera)] };
    },
    pose(z, t) {
      return [...space.decoder.decode(Float32Array.from(z), t)];
    },
    get latent() {
      return [...player.shown];
    },
    get pictures() {
      return player.drawn;
    },
  };
}

window.dimo = {
  /** Resolves once the first picture is drawn and the rest of this object is there. */
  ready: start().then(
    (functions) => Object.defineProperties(window.dimo, Object.getOwnPropertyDescriptors(functions)),
    (error) => {
      show(`The page cannot be shown: ${error.message} From disk, a current Chrome, Edge, Firefox or Safari shows it.`);
      throw error;
    },
  ),
};
