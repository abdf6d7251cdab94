// Spark: splats in three.js' WebGL renderer.
import * as THREE from "three";
import { SparkRenderer, SplatMesh } from "@sparkjsdev/spark";

export async function splats(url, { eye, target, up, fov }) {
  const renderer = new THREE.WebGLRenderer({ canvas: document.getElementById("canvas"), antialias: false });
  renderer.setSize(512, 512, false);
  const scene = new THREE.Scene();
  scene.background = new THREE.Color("white");
  scene.add(new SparkRenderer({ renderer }));
  const mesh = new SplatMesh({ url });
  await mesh.initialized;
  scene.add(mesh);
  const camera = new THREE.PerspectiveCamera(fov, 1, 0.01, 100);
  camera.position.set(...eye);
  camera.up.set(...up);
  camera.lookAt(...target);
  renderer.setAnimationLoop(() => renderer.render(scene, camera));
}
