// three.js: splats by its own renderer (on WebGL: no browser without a screen has WebGPU everywhere), animations by its mixer.
import * as THREE from "three/webgpu";
import { GaussianSplatPLYLoader } from "three/addons/loaders/GaussianSplatPLYLoader.js";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import { GLTFGaussianSplatLoaderExtension } from "three/addons/loaders/GLTFGaussianSplatLoaderExtension.js";
import { GaussianSplat } from "three/addons/objects/GaussianSplat.js";

const loader = new GLTFLoader().register((parser) => new GLTFGaussianSplatLoaderExtension(parser));

export async function splats(url, { eye, target, up, fov }) {
  const scene = new THREE.Scene();
  scene.background = new THREE.Color("white");
  if (url.endsWith(".glb")) scene.add((await loader.loadAsync(url)).scene);
  else scene.add(new GaussianSplat(await new GaussianSplatPLYLoader().loadAsync(url)));
  const camera = new THREE.PerspectiveCamera(fov, 1, 0.01, 100);
  camera.position.set(...eye);
  camera.up.set(...up);
  camera.lookAt(...target);
  const renderer = new THREE.WebGPURenderer({ canvas: document.getElementById("canvas"), forceWebGL: true });
  renderer.outputColorSpace = THREE.LinearSRGBColorSpace; // it takes colours of splats as linear, and they are for display
  renderer.setSize(512, 512, false);
  await renderer.init();
  renderer.setAnimationLoop(() => renderer.render(scene, camera));
}

export async function bones(url, name, times) {
  const { scene, animations } = await loader.loadAsync(url);
  const mixer = new THREE.AnimationMixer(scene);
  const clip = animations.find((animation) => animation.name === name);
  mixer.clipAction(clip).play();
  const joints = [];
  scene.traverse((node) => node.isBone && joints.push(node));
  return times.map((time) => {
    mixer.setTime(Math.min(time, clip.duration - 1e-6)); // at its end it starts again
    scene.updateMatrixWorld(true);
    return joints.map((joint) => joint.getWorldPosition(new THREE.Vector3()).toArray());
  });
}
