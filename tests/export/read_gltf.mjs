// What others make of .glb files: node read_gltf.mjs MODULES SCENE SPLATS. Prints JSON: the messages of Khronos' validator,
// and from three.js the joints and skinned vertices (world positions) of every animation at its key frames, and the splats.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [modules, ...paths] = process.argv.slice(2);
const load = (name) => import(pathToFileURL(`${modules}/${name}`));
const files = paths.map((path) => readFileSync(path));
const validator = createRequire(import.meta.url)(`${modules}/gltf-validator`);
const validate = async (data) => (await validator.validateBytes(new Uint8Array(data))).issues.messages;
const messages = async (datas) => (await Promise.all(datas.map(validate))).flat();

globalThis.self = globalThis;
const THREE = await load('three/build/three.module.js');
const { GLTFLoader } = await load('three/examples/jsm/loaders/GLTFLoader.js');
const { GLTFGaussianSplatLoaderExtension: Splats } = await load('three/examples/jsm/loaders/GLTFGaussianSplatLoaderExtension.js');
const loader = new GLTFLoader().register((parser) => new Splats(parser));
const [gltf, still] = await Promise.all(files.map((bytes) =>
  loader.parseAsync(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length), '')));
const mixer = new THREE.AnimationMixer(gltf.scene);
const surface = gltf.scene.getObjectByName('surface');
const splats = [];
still.scene.traverse((object) => object.isGaussianSplat && splats.push(object.splatGeometry.attributes));
const flat = (vectors) => Array.from(vectors, (vector) => vector.toArray());

const animations = gltf.animations.map((clip) => {
  mixer.stopAllAction();
  mixer.clipAction(clip).play();
  const frames = Array.from(clip.tracks[0].times, (seconds) => {
    mixer.setTime(Math.min(seconds, clip.duration - 1e-6)); // at its end it starts again
    gltf.scene.updateMatrixWorld(true);
    const count = surface.geometry.attributes.position.count;
    return {
      seconds,
      joints: flat(surface.skeleton.bones.map((bone) => bone.getWorldPosition(new THREE.Vector3()))),
      vertices: flat(Array.from({ length: count }, (_, i) =>
        surface.localToWorld(surface.getVertexPosition(i, new THREE.Vector3())))),
    };
  });
  return { name: clip.name, frames };
});
console.log(JSON.stringify({
  messages: await messages(files),
  // The validator is older than KHR_gaussian_splatting. It takes names with a leading underscore for anything at all.
  messagesWithOtherNames: await messages(files.map((bytes) =>
    Buffer.from(bytes.toString('latin1').replaceAll('"KHR_gaussian_splatting:', '"_HR_gaussian_splatting:'), 'latin1'))),
  scenes: [gltf, still].map(({ scenes }) => scenes.map((scene) => scene.name)),
  centres: splats.map(({ position }) => Array.from(position.array)).flat(),
  covariances: splats.map(({ covariance }) => Array.from(covariance.array)).flat(),
  colours: splats.map(({ color }) => Array.from(color.array)).flat(),
  animations,
}));
