// PlayCanvas' engine.
import * as pc from "playcanvas";

function start() {
  const canvas = document.getElementById("canvas");
  const app = new pc.Application(canvas, { graphicsDeviceOptions: { antialias: false, deviceTypes: ["webgl2"] } });
  app.setCanvasFillMode(pc.FILLMODE_NONE, 512, 512);
  app.setCanvasResolution(pc.RESOLUTION_FIXED, 512, 512);
  app.start();
  return app;
}

function load(app, kind, url) {
  return new Promise((resolve, reject) => {
    const asset = new pc.Asset(url, kind, { url, filename: url.split("/").pop() });
    asset.once("load", () => resolve(asset));
    asset.once("error", (error) => reject(new Error(error)));
    app.assets.add(asset);
    app.assets.load(asset);
  });
}

export async function splats(url, { eye, target, up, fov }) {
  const app = start();
  const asset = await load(app, url.endsWith(".glb") ? "container" : "gsplat", url);
  let object;
  if (url.endsWith(".glb")) object = asset.resource.instantiateRenderEntity();
  else {
    object = new pc.Entity("splats");
    object.addComponent("gsplat", { asset });
  }
  app.root.addChild(object);
  const camera = new pc.Entity("camera");
  camera.addComponent("camera", { clearColor: new pc.Color(1, 1, 1), fov, nearClip: 0.01, farClip: 100 });
  camera.camera.toneMapping = pc.TONEMAP_NONE;
  app.root.addChild(camera);
  camera.setPosition(...eye);
  camera.lookAt(new pc.Vec3(...target), new pc.Vec3(...up));
}

export async function bones(url, name, times) {
  const app = start();
  const { resource } = await load(app, "container", url);
  const object = resource.instantiateRenderEntity();
  app.root.addChild(object);
  const track = resource.animations.map(({ resource }) => resource).find((each) => each.name === name);
  object.addComponent("anim", { activate: true });
  object.anim.assignAnimation("shown", track, undefined, 1, false);
  const joints = object.find((node) => /^keypoint_\d+$/.test(node.name));
  return times.map((time) => {
    object.anim.baseLayer.play("shown");
    object.anim.baseLayer.activeStateCurrentTime = time;
    object.anim.update(0);
    return joints.map((joint) => joint.getPosition().toArray());
  });
}
