"""Small valid input of every kind that `dimo` reads, made by the project's own writers: what bad input starts as."""

import copy
import dataclasses
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from dimo_ns.apps.language import fit_projector, load_encoder, save_projector
from dimo_ns.apps.language.encoder import DEFAULT
from dimo_ns.config import dimo_laptop
from dimo_ns.data.dataset import orbit_view
from dimo_ns.files.configs import CONFIGS
from dimo_ns.files.videos import write_video
from dimo_ns.space.file import FILE
from dimo_ns.space.latent_files import LATENTS, write_latents
from dimo_ns.space.motion_space import MotionSpace
from tests.data.tiny_sets import FRAMES, MOTIONS, SIZE, VIEWS, disc, on_white, write_tiny
from tests.space.authors_checkpoint import write_checkpoint
from tests.spaces import a_motion, some_space

CHECKPOINT = "nerfstudio_models/step-000000001.ckpt"
POINTS = 8
"""On the object of the dataset, whose tracks are known."""


def make(folder: Path) -> None:
    """Makes all of it in an empty folder."""
    torch.manual_seed(0)
    write_tiny(folder / "data", tracks=tracks())
    scene(folder / "scene", FRAMES)
    spoken(folder / "spoken")
    authors_data(folder / "authors_data")
    videos(folder / "videos")
    run(folder)
    write_checkpoint(folder / "checkpoint")
    texts(folder)
    Image.fromarray(disc(0, 0, 0, 256)).save(folder / "picture.png")


def tracks() -> dict[str, np.ndarray]:
    """What tracks.npz of the dataset holds: points that stay where they are, seen from everywhere."""
    shape = (len(MOTIONS), len(VIEWS), FRAMES, POINTS)
    points = np.random.default_rng(0).uniform(-0.3, 0.3, (POINTS, 3)).astype(np.float32)
    return {
        "tracks": np.broadcast_to(points, (len(MOTIONS), FRAMES, POINTS, 3)).copy(),
        "canonical": points,
        "visible": np.packbits(np.ones(shape, bool), axis=-1),
        "visible_shape": np.array(shape),
        "motions": np.array(MOTIONS),
        "views": np.array(VIEWS),
    }


def scene(folder: Path, frames: int) -> MotionSpace:
    """A scene with cameras, some motions of which bear names of the dataset's, and a file of latents beside it."""
    folder.mkdir()
    space = some_space()
    motions = tuple(a_motion(name, frames=frames) for name in (*MOTIONS, "sit", "wave"))
    views = tuple(orbit_view(name, "train", 90.0 * i, 0.0, SIZE) for i, name in enumerate(VIEWS))
    info = dataclasses.replace(
        space.info, motions=motions, frames=frames, views=views, background=(1.0, 1.0, 1.0), seed=1
    )
    MotionSpace(space.scene, info).save(folder / FILE)
    space = MotionSpace.open(folder)
    write_latents(space.clips(), folder / LATENTS)
    return space


def spoken(folder: Path) -> None:
    """A scene that has learned words, whose motions are longer than those of the dataset."""
    space = scene(folder, 2 * FRAMES)
    save_projector(fit_projector(space, {}, load_encoder(DEFAULT)))


def authors_data(folder: Path) -> None:
    """The dataset in the layout of the method's authors: pictures over white, with masks."""
    angles = {"azimuths_deg": [0, 120], "elevations_deg": [0, 10], "input_videos": list(MOTIONS)}
    for m, motion in enumerate(MOTIONS):
        for v in range(2):
            home = folder / motion / f"view_{v:02d}"
            home.mkdir(parents=True)
            for f in range(FRAMES):
                picture = disc(m, v, f)
                Image.fromarray(on_white(picture)).save(home / f"{f:02d}.png")
                np.save(home / f"{f:02d}_mask.npy", picture[..., 3])
    (folder / "info.json").write_text(json.dumps(angles))


def videos(folder: Path) -> None:
    """A folder of videos per motion."""
    for m, motion in enumerate(MOTIONS):
        (folder / motion).mkdir(parents=True)
        for v, view in enumerate(VIEWS[:2]):
            write_video(folder / motion / f"{view}.mp4", (on_white(disc(m, v, f)) for f in range(FRAMES)), 8.0)


def run(folder: Path) -> None:
    """A training run of a few steps on the dataset."""
    config: Any = copy.deepcopy(dimo_laptop.config)
    config.data = config.pipeline.datamanager.data = folder / "data"
    config.pipeline.model.length = 0.0001
    config.experiment_name, config.timestamp, config.vis = "e", "t", "tensorboard"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:  # events are still being written
        config.output_dir = Path(home)
        config.save_config()
        trainer = config.setup(local_rank=0, world_size=1)  # ns-train's own program imports every method there is
        trainer.setup()
        trainer.train()
        shutil.copytree(config.get_base_dir(), folder / "run")
    (checkpoint,) = (folder / "run").glob("*/*.ckpt")
    checkpoint.rename(folder / "run" / CHECKPOINT)


def texts(folder: Path) -> None:
    """Camera path, protocol, paraphrases, preset, and motions in words."""
    path = copy.deepcopy(json.loads((CONFIGS / "camera_paths" / "orbit.json").read_text()))
    path |= {"render_height": 16, "render_width": 16, "camera_path": path["camera_path"][:3]}
    (folder / "path.json").write_text(json.dumps(path))
    protocol = {"samples": 2, "interpolation_steps": 1, "fit": False, "repeats": 1, "temperature": 1.0}
    (folder / "protocol.yaml").write_text(json.dumps(protocol))
    said = {name: {"train": [f"it {name}s", f"a {name}"], "held_out": [f"the {name}"]} for name in MOTIONS}
    (folder / "paraphrases.yaml").write_text(json.dumps(said))
    prompts = [{"label": name, "prompt": f"it {name}s"} for name in MOTIONS]
    (folder / "prompts.yaml").write_text(json.dumps({"motions": prompts}))
    (folder / "preset.yaml").write_bytes((CONFIGS / "generate" / "presets" / "12gb.yaml").read_bytes())
