// Babylon.js, in its own left-handed world.
for (const name of ["fflate/umd/index.js", "babylonjs/babylon.js", "babylonjs-loaders/babylonjs.loaders.min.js"]) {
  await new Promise((resolve, reject) => {
    const script = Object.assign(document.createElement("script"), { src: `/modules/${name}`, onload: resolve, onerror: reject });
    document.head.append(script);
  });
}

function start() {
  const engine = new BABYLON.Engine(document.getElementById("canvas"), false, { preserveDrawingBuffer: true });
  const scene = new BABYLON.Scene(engine);
  scene.clearColor = new BABYLON.Color4(1, 1, 1, 1);
  return { engine, scene };
}

export async function splats(url, { eye, target, up, fov }) {
  const { engine, scene } = start();
  const camera = new BABYLON.FreeCamera("camera", new BABYLON.Vector3(...eye), scene);
  camera.upVector = new BABYLON.Vector3(...up);
  camera.setTarget(new BABYLON.Vector3(...target));
  Object.assign(camera, { fov: (fov * Math.PI) / 180, minZ: 0.01, maxZ: 100 });
  const splat = { fflate, spzLibraryUrl: null }; // what it would ask a host for
  await BABYLON.AppendSceneAsync(url, scene, { pluginOptions: { splat } });
  scene.activeCamera = camera;
  engine.runRenderLoop(() => scene.render());
}

export async function bones(url, name, times) {
  const { scene } = start();
  new BABYLON.FreeCamera("camera", BABYLON.Vector3.Zero(), scene);
  const { animationGroups, transformNodes } = await BABYLON.ImportMeshAsync(url, scene);
  const group = animationGroups.find((each) => each.name === name);
  animationGroups.forEach((each) => each.stop());
  group.start();
  group.pause();
  const joints = transformNodes.filter(({ name }) => /^keypoint_\d+$/.test(name));
  const rate = group.targetedAnimations[0].animation.framePerSecond;
  return times.map((time) => {
    group.goToFrame(time * rate);
    scene.render();
    return joints.map((joint) => (joint.computeWorldMatrix(true), joint.getAbsolutePosition().asArray()));
  });
}
