"""Run by a Python that has bpy: blender.py SCENE.glb OUT.json. What Blender makes of the file: the heads of the bones
in every frame of every action, world frame, and which collections it leaves out."""

import json
import sys

import bpy  # pyright: ignore[reportMissingImports]

FPS = 1000
"""Of the Blender scene: so that every key lies near a whole frame."""

scene, out = sys.argv[-2:]
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.context.scene.render.fps = FPS
bpy.ops.import_scene.gltf(filepath=scene)
(armature,) = (item for item in bpy.data.objects if item.type == "ARMATURE")
bones = sorted(armature.pose.bones, key=lambda bone: int(bone.name.rpartition("_")[2]))
for track in armature.animation_data.nla_tracks:
    track.mute = True
found = {}
for action in bpy.data.actions:
    armature.animation_data.action = action
    if hasattr(action, "slots"):
        armature.animation_data.action_slot = action.slots[0]
    curves = action.layers[0].strips[0].channelbags[0].fcurves if hasattr(action, "layers") else action.fcurves
    places = []
    for key in curves[0].keyframe_points:
        bpy.context.scene.frame_set(int(key.co.x), subframe=key.co.x - int(key.co.x))
        places.append([list(armature.matrix_world @ bone.head) for bone in bones])
    found[action.name] = places
hidden = [layer.name for layer in bpy.context.view_layer.layer_collection.children if layer.exclude]
shown = [item.name for item in bpy.data.objects if item.type == "MESH"]
with open(out, "w", encoding="utf-8") as file:
    json.dump({"version": bpy.app.version_string, "bones": found, "excluded": hidden, "meshes": shown}, file)
