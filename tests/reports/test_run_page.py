"""A report is complete."""

import copy
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from dimo_ns.config import dimo_laptop
from dimo_ns.errors import DimoError
from dimo_ns.reports.run_page import page, write_run_page
from dimo_ns.runs import export_scene, load_run
from dimo_ns.space.file import load_scene
from dimo_ns.training import checkpoint
from tests.hostile_texts import TEXTS
from tests.training.tiny_runs import MOTIONS, flat, open_set, write_set


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run as training leaves it: configuration, checkpoint, tensorboard file."""
    root = tmp_path_factory.mktemp("run")
    model, manager = open_set(write_set(root / "set", lambda m, v, f: flat(40 * f), frames=3))
    config = copy.deepcopy(dimo_laptop.config)
    config.data = config.pipeline.datamanager.data = root / "set"
    config.output_dir, config.experiment_name, config.timestamp = root / "out", "thing", "now"
    config.save_config()
    state = {
        "step": 10**6,
        "pipeline": {f"_model.{name}": value for name, value in model.state_dict().items()},
        "optimizers": {},
        "scalers": {},
        "sampler": {"seed": 42},
        "rng": checkpoint.rng_state(),
        "manifest": {
            "motions": list(MOTIONS),
            "dataset_hash": manager.dataset.hash,
            "seed": 42,
            "versions": {"torch": "2"},
        },
    }
    checkpoint.save(config.get_checkpoint_dir(), state, keep_only_latest=True)
    with SummaryWriter(str(config.get_base_dir())) as events:
        for step in range(20):
            events.add_scalar("Train Loss Dict/l1", 1 / (step + 1), step)
    moved = root / "moved"
    return config.get_base_dir().rename(moved)


def test_a_report_holds_its_page_and_all_that_the_page_shows(run: Path):
    written = write_run_page(run / "config.yml").read_text()
    names = {path.name for path in (run / "report").iterdir()}
    pictures = {"contact_sheet.png", "tracks.png", "latent_map.png", "curves.png"}
    assert names == pictures | {"index.html", "metrics.json", "orbit.mp4", "motions.mp4"}
    for name in names - {"index.html"}:
        assert f'"{name}"' in written
    for name in pictures:
        with Image.open(run / "report" / name) as image:
            assert min(image.size) > 300
            assert np.asarray(image.convert("L")).std() > 1  # something is drawn
    for motion in MOTIONS:
        assert f"<td>{motion}" in written


class Elements(HTMLParser):
    """What a browser would make of a page: its elements, with their attributes' names, and all text."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[tuple[str, list[str]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, [name for name, _ in attrs]))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_texts_of_the_dataset_stay_texts(run: Path):
    write_run_page(run / "config.yml")
    loaded, figures = load_run(run), json.loads((run / "report" / "metrics.json").read_text())
    manager = loaded.pipeline.datamanager
    plain = Elements(page(loaded, figures, True))
    for text in TEXTS:
        manager.dataset = replace(manager.dataset, object=text, prompt=f"{text} again")
        found = Elements(page(loaded, figures, True))
        assert found.tags == plain.tags
        assert f"{text}{text} again" in found.text  # the heading, then the prompt


def test_figures_that_are_none_are_refused(run: Path):
    figures = run / "report" / "metrics.json"
    kept = figures.read_text()
    try:
        for text in ("{", "[1]", "[" * 100 + "]" * 100):
            figures.write_text(text)
            with pytest.raises(DimoError, match=r"metrics\.json"):
                _ = load_run(run).info
    finally:
        figures.write_text(kept)


def test_an_exported_run_poses_as_the_run_does(run: Path, tmp_path: Path):
    scene, info = load_scene(export_scene(run, tmp_path))
    trained = load_run(run).scene
    z, t = trained.latents.mu.detach(), torch.tensor([0.2, 0.7])
    assert torch.equal(scene.pose(z, t).means, trained.pose(z, t).means)
    assert [motion["name"] for motion in info["motions"]] == list(MOTIONS)
    assert info["motions"][0]["prompt"] == "a thing that walks"
    assert [camera["name"] for camera in info["cameras"]] == ["view_00", "view_01", "test_00"]
    assert info["seed"] == 42
    assert info["metrics"]["step"] == 10**6  # of the report that was written before


def test_a_folder_without_a_run_is_said_to_be_one(tmp_path: Path):
    with pytest.raises(DimoError, match=r"There is no run at .*config\.yml"):
        write_run_page(tmp_path)
