"""A scene as glTF 2.0, in two .glb files: what moves, and the splats.

    <name>.glb   `world` with the key points as joints, an animation per motion, and `surface`, a skin of small coloured
                 flakes, one per opaque Gaussian, that every viewer plays
    splats.glb   the canonical Gaussians as KHR_gaussian_splatting (as ratified: linear scales, xyzw) with the joints
                 and weights that carry them (_JOINTS_0, _WEIGHTS_0); coloured points to viewers that do not know it

glTF is y-up and looks along +z: (x, y, z) -> (y, z, x) of ours. `world` turns the joints so; the vertices of the
surface are turned themselves, and a joint's inverse bind matrix turns them back before it takes its canonical place
away, so that the skin does what core/skinning.py does, and the surface is upright where no skin is read. No viewer
moves splats by a skin yet, and still ones would cover the surface that moves; many show all scenes of a file: hence two
files.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pygltflib as gltf
import torch

from dimo_ns.core.gaussians import SH0
from dimo_ns.core.geometry import quat_to_matrix
from dimo_ns.core.types import Gaussians
from dimo_ns.errors import DimoError
from dimo_ns.export.colours import displayed
from dimo_ns.export.ply import opaque
from dimo_ns.files.fields import check_unique
from dimo_ns.files.output import complete
from dimo_ns.space.motion_space import Clip, MotionSpace

SPLATS, UNLIT = "KHR_gaussian_splatting", "KHR_materials_unlit"
BESIDE = "splats.glb"
"""The file of the splats, beside the one that moves."""
TO_Y_UP = [-0.5, -0.5, -0.5, 0.5]
"""xyzw, of (x, y, z) -> (y, z, x)."""
Y_UP = [1, 2, 0]
"""The same, as which of our axes each of glTF's is."""
JOINTS = 4
FLAKE_OPACITY, FLAKE_SIGMAS = 0.3, 1.5
"""Gaussians at least so opaque get a flake; its corners lie so many standard deviations from the centre."""
COMPONENTS = {"f4": gltf.FLOAT, "u2": gltf.UNSIGNED_SHORT, "u4": gltf.UNSIGNED_INT}
TYPES = {1: gltf.SCALAR, 3: gltf.VEC3, 4: gltf.VEC4, 16: gltf.MAT4}


@torch.no_grad()
def export_gltf(
    space: MotionSpace, clips: Sequence[Clip], path: Path, overwrite: bool = False, min_opacity: float = 0.0
) -> list[Path]:
    """Writes the scene and these clips to the .glb file `path`, and its splats to splats.glb beside it; returns both.
    Gaussians less opaque than `min_opacity` are left out. Raises DimoError if none is left, if two clips bear one name,
    or if nothing can be written."""
    if path.suffix != ".glb":
        raise DimoError(f"A scene is written to a .glb file, and {path.name} is none.")
    if path.name == BESIDE:
        raise DimoError(f"{BESIDE} is the file of the splats, beside that of the scene; choose another name.")
    check_unique([clip.name for clip in clips], "Two of the motions are named")
    scene, rows = space.scene, opaque(space, min_opacity).cpu()
    carried = scene.skinning_weights()
    splats = Gaussians(*(value.cpu()[rows] for value in vars(displayed(scene.gaussians())).values()))
    joints, weights = carried.indices.cpu()[rows].numpy(), carried.weights.cpu()[rows].numpy()
    documents = {
        path.name: moving(space, clips, splats, joints, weights),
        BESIDE: still(space, splats, joints, weights),
    }
    with complete(path.parent, list(documents), overwrite) as partial:
        for name, document in documents.items():
            (partial / name).write_bytes(document.content())
    return [path.parent / name for name in documents]


def moving(
    space: MotionSpace, clips: Sequence[Clip], splats: Gaussians, joints: np.ndarray, weights: np.ndarray
) -> "Document":
    """Joints, animations, and the surface that they carry."""
    document = Document(space.info.licence, UNLIT)
    keypoints = space.scene.keypoints.cpu().numpy()
    document.file.materials = [
        gltf.Material(
            name="flakes",
            doubleSided=True,
            alphaCutoff=None,
            pbrMetallicRoughness=gltf.PbrMetallicRoughness(metallicFactor=0.0, roughnessFactor=1.0),
            extensions={UNLIT: {}},
        )
    ]
    document.file.nodes = [gltf.Node(name="world", rotation=TO_Y_UP)]
    skin = document.skin(keypoints)
    for clip in clips:
        document.animation(clip, keypoints)
    surface = document.surface(splats, joints, weights)
    document.file.nodes.append(gltf.Node(name="surface", mesh=surface, skin=skin))
    document.file.scenes = [gltf.Scene(name="motions", nodes=[0, len(document.file.nodes) - 1])]
    return document


def still(space: MotionSpace, splats: Gaussians, joints: np.ndarray, weights: np.ndarray) -> "Document":
    """The canonical Gaussians."""
    document = Document(space.info.licence, SPLATS)
    document.file.nodes = [gltf.Node(name="splats", mesh=document.splats(splats, joints, weights), rotation=TO_Y_UP)]
    document.file.scenes = [gltf.Scene(name="splats", nodes=[0])]
    return document


class Document:
    """A glTF file in the making, and its binary part."""

    def __init__(self, licence: str | None, extension: str):
        self.blob = bytearray()
        self.joints: list[int] = []
        self.file = gltf.GLTF2(
            asset=gltf.Asset(version="2.0", generator="dimo_ns", copyright=licence or None),
            scene=0,
            extensionsUsed=[extension],
        )

    def content(self) -> bytes:
        """The whole .glb."""
        self.file.buffers = [gltf.Buffer(byteLength=len(self.blob))]
        self.file.set_binary_blob(bytes(self.blob))
        return b"".join(self.file.save_to_bytes())

    def view(self, array: np.ndarray, target: int | None = None) -> int:
        """Appends the bytes of an array; the index of the buffer view."""
        self.blob += bytes(-len(self.blob) % 4)
        self.file.bufferViews.append(
            gltf.BufferView(buffer=0, byteOffset=len(self.blob), byteLength=array.nbytes, target=target)
        )
        self.blob += np.ascontiguousarray(array).tobytes()
        return len(self.file.bufferViews) - 1

    def accessor(self, rows: np.ndarray, view: int, offset: int = 0, bounds: bool = False) -> int:
        """How to read [count, components] from a buffer view."""
        rows = rows.reshape(len(rows), -1)
        self.file.accessors.append(
            gltf.Accessor(
                bufferView=view,
                byteOffset=offset,
                componentType=COMPONENTS[rows.dtype.str[1:]],
                count=len(rows),
                type=TYPES[rows.shape[1]],
                min=rows.min(0).tolist() if bounds else None,
                max=rows.max(0).tolist() if bounds else None,
            )
        )
        return len(self.file.accessors) - 1

    def attribute(self, rows: np.ndarray, bounds: bool = False) -> int:
        """An accessor of values per vertex."""
        return self.accessor(rows, self.view(rows, gltf.ARRAY_BUFFER), bounds=bounds)

    def skin(self, keypoints: np.ndarray) -> int:
        """The key points as joints below the first node; the index of their skin."""
        first = len(self.file.nodes)
        self.file.nodes += [
            gltf.Node(name=f"keypoint_{i}", translation=place.tolist()) for i, place in enumerate(keypoints)
        ]
        self.joints = list(range(first, len(self.file.nodes)))
        self.file.nodes[0].children = self.joints
        inverse = np.zeros((len(keypoints), 4, 4), np.float32)  # columns first
        inverse[:, range(3), Y_UP] = 1
        inverse[:, 3, :3] = -keypoints
        inverse[:, 3, 3] = 1
        inverse = inverse.reshape(-1, 16)
        matrices = self.accessor(inverse, self.view(inverse))
        self.file.skins.append(
            gltf.Skin(name="keypoints", joints=self.joints, skeleton=0, inverseBindMatrices=matrices)
        )
        return len(self.file.skins) - 1

    def animation(self, clip: Clip, keypoints: np.ndarray) -> None:
        """A motion; one that loops ends with its first frame."""
        order = torch.arange(len(clip) + 1 if clip.loop else len(clip)) % len(clip)
        transforms = clip.transforms[order.to(clip.transforms.quats.device)]
        places = keypoints + transforms.translations.cpu().numpy()
        turns = continuous(transforms.quats.cpu().numpy())[..., [1, 2, 3, 0]]
        seconds = (np.arange(len(order)) / clip.fps).astype(np.float32)
        clock = self.accessor(seconds, self.view(seconds), bounds=True)
        samplers, channels = [], []
        for path, values in (("translation", places), ("rotation", turns)):
            per_joint = values.transpose(1, 0, 2).astype(np.float32)  # [k, t, ...]
            view = self.view(per_joint)
            for joint, track in enumerate(per_joint):
                output = self.accessor(track, view, joint * track.nbytes)
                target = gltf.AnimationChannelTarget(node=self.joints[joint], path=path)
                channels.append(gltf.AnimationChannel(sampler=len(samplers), target=target))
                samplers.append(gltf.AnimationSampler(input=clock, output=output))
        self.file.animations.append(gltf.Animation(name=clip.name, samplers=samplers, channels=channels))

    def carried(self, joints: np.ndarray, weights: np.ndarray, prefix: str = "") -> dict[str, int]:
        """The attributes of a skin, from key points and weights [n, j]. Those of an application's own (with a prefix)
        are floats: readers keep no others."""
        missing = ((0, 0), (0, JOINTS - joints.shape[1]))
        return {
            f"{prefix}JOINTS_0": self.attribute(np.pad(joints, missing).astype(np.float32 if prefix else np.uint16)),
            f"{prefix}WEIGHTS_0": self.attribute(np.pad(weights, missing).astype(np.float32)),
        }

    def colours(self, splats: Gaussians) -> np.ndarray:
        """RGBA [n, 4] as glTF has vertex colours: linear, straight alpha."""
        display = splats.colors.numpy()
        linear = np.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4)
        return np.concatenate([linear, splats.opacities[:, None].numpy()], 1).astype(np.float32)

    def splats(self, splats: Gaussians, joints: np.ndarray, weights: np.ndarray) -> int:
        """The canonical Gaussians as points; the index of the mesh."""
        attributes = {
            "POSITION": self.attribute(splats.means.numpy(), bounds=True),
            "COLOR_0": self.attribute(self.colours(splats)),
            **self.carried(joints, weights, prefix="_"),
            f"{SPLATS}:ROTATION": self.attribute(splats.quats[:, [1, 2, 3, 0]].numpy()),
            f"{SPLATS}:SCALE": self.attribute(splats.scales.numpy()),
            f"{SPLATS}:OPACITY": self.attribute(splats.opacities.numpy()),
            f"{SPLATS}:SH_DEGREE_0_COEF_0": self.attribute(((splats.colors - 0.5) / SH0).numpy()),
        }
        extension = {SPLATS: {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}}
        return self.mesh("splats", attributes, mode=gltf.POINTS, extensions=extension)

    def surface(self, splats: Gaussians, joints: np.ndarray, weights: np.ndarray) -> int:
        """A flake across the two longer axes of every opaque Gaussian; the index of the mesh."""
        shown = splats.opacities >= min(FLAKE_OPACITY, float(splats.opacities.max()))
        scales, rotations = splats.scales[shown], quat_to_matrix(splats.quats[shown])
        longer = scales.topk(2, dim=1).indices[:, None].expand(-1, 3, -1)
        axes = (rotations * scales[:, None]).gather(2, longer) * FLAKE_SIGMAS  # [n, xyz, 2]
        corners = (splats.means[shown, :, None] + torch.cat([axes, -axes], 2))[:, Y_UP]
        triangles = np.array([0, 1, 2, 0, 2, 3]) + 4 * np.arange(len(corners))[:, None]
        keep = shown.numpy()
        colours = self.colours(splats)[keep]
        colours[:, 3] = 1
        attributes = {
            "POSITION": self.attribute(corners.transpose(1, 2).flatten(0, 1).contiguous().numpy(), bounds=True),
            "COLOR_0": self.attribute(np.repeat(colours, 4, 0)),
            **self.carried(np.repeat(joints[keep], 4, 0), np.repeat(weights[keep], 4, 0)),
        }
        indices = triangles.reshape(-1, 1).astype(np.uint32)
        view = self.view(indices, gltf.ELEMENT_ARRAY_BUFFER)
        return self.mesh("surface", attributes, indices=self.accessor(indices, view), material=0)

    def mesh(self, name: str, attributes: dict[str, int], **primitive) -> int:
        self.file.meshes.append(
            gltf.Mesh(name=name, primitives=[gltf.Primitive(attributes=gltf.Attributes(**attributes), **primitive)])
        )
        return len(self.file.meshes) - 1


def continuous(quats: np.ndarray) -> np.ndarray:
    """The same rotations [t, k, 4] with signs that do not jump from frame to frame."""
    agree = (quats[1:] * quats[:-1]).sum(-1, keepdims=True)
    signs = np.cumprod(np.concatenate([np.ones_like(agree[:1]), np.where(agree < 0, -1.0, 1.0)]), 0)
    return quats * signs
