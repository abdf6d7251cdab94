"""The trainer on a toy whose parameters grow and shrink while it trains, as Gaussians do."""

import os
import random
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from gsplat.strategy.ops import duplicate, remove
from nerfstudio.configs.base_config import InstantiateConfig
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackLocation
from nerfstudio.utils import writer
from torch import nn

from dimo_ns.errors import DimoError
from dimo_ns.training import checkpoint
from dimo_ns.training.optim import FusedAdamConfig
from dimo_ns.training.trainer import DimoMachineConfig, DimoTrainer, DimoTrainerConfig


@dataclass
class ToyConfig(InstantiateConfig):
    _target: type = field(default_factory=lambda: ToyPipeline)
    motions: tuple[str, ...] = ("walk", "jump")
    signal_at: dict[int, int] = field(default_factory=dict)
    """Step -> signal that the process sends itself in the middle of that step."""
    nan_loss_at: tuple[int, ...] = ()
    nan_grad_at: tuple[int, ...] = ()
    evaluates: bool = False
    step_s: float = 0.0
    datamanager: Any = field(default_factory=lambda: SimpleNamespace(data=None))

    def keep(self) -> None:
        """It names no files."""


class ToyPipeline(nn.Module):
    """Points and a layer fitted to noise from every global generator and from a sampler with a generator of its own."""

    def __init__(self, config: ToyConfig, device: str, **_: Any) -> None:
        super().__init__()
        self.config = config
        self.points = nn.ParameterDict(
            {"means": nn.Parameter(torch.randn(5, 3)), "opacities": nn.Parameter(torch.randn(5))}
        )
        self.layer = nn.Linear(3, 3)
        self.sampler = torch.Generator().manual_seed(7)
        self.datamanager = SimpleNamespace(
            train_dataset=[0], eval_dataset=[0] if config.evaluates else None, get_train_rays_per_batch=lambda: 1
        )

    def manifest(self) -> dict[str, Any]:
        return {"motions": list(self.config.motions), "dataset_hash": "0" * 64}

    def sampler_state(self) -> dict[str, Any]:
        return {"generator": self.sampler.get_state()}

    def load_sampler_state(self, state: dict[str, Any]) -> None:
        self.sampler.set_state(state["generator"])

    def get_param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {**{name: [param] for name, param in self.points.items()}, "layer": list(self.layer.parameters())}

    def get_training_callbacks(self, attributes: Any) -> list[TrainingCallback]:
        optimizers = attributes.optimizers.optimizers

        def resize(step: int) -> None:
            points = {name: optimizers[name] for name in self.points}
            mask = torch.rand(len(self.points["means"])) < 0.5
            mask[:3] = step % 3 == 1  # always one more, never fewer than three
            if step % 3 == 1:
                duplicate(self.points, points, {}, mask)
            elif step % 3 == 2:
                remove(self.points, points, {}, mask)

        return [TrainingCallback([TrainingCallbackLocation.AFTER_TRAIN_ITERATION], resize)]

    def get_train_loss_dict(self, step: int) -> tuple[Any, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        if step in self.config.signal_at:
            os.kill(os.getpid(), self.config.signal_at[step])
        threading.Event().wait(self.config.step_s)
        target = torch.rand(3) + random.random() + float(np.random.rand()) + torch.rand(3, generator=self.sampler)  # noqa: NPY002
        photo = (self.layer(self.points["means"]) - target).square().mean()
        mask = self.points["opacities"].square().mean()
        if step in self.config.nan_loss_at:
            photo = photo * float("nan")
        if step in self.config.nan_grad_at:  # sqrt has an infinite slope at 0: 0 * inf is NaN, while the loss is finite
            mask = mask + (self.points["opacities"] * 0).sum().sqrt()
        return None, {"photo": photo, "mask": mask}, {"points": torch.tensor(float(len(self.points["means"])))}

    def get_eval_loss_dict(self, step: int) -> tuple[Any, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        return None, {"photo": torch.rand(()) + random.random() + float(np.random.rand())}, {}  # noqa: NPY002

    def load_pipeline(self, state: dict[str, torch.Tensor], step: int) -> None:
        for name in self.points:
            self.points[name] = nn.Parameter(torch.zeros_like(state[f"points.{name}"]))
        self.load_state_dict(state)


def toy(
    output_dir: Path, steps: int = 12, run: str = "run", pipeline: ToyConfig | None = None, **options: Any
) -> DimoTrainerConfig:
    group = {"optimizer": FusedAdamConfig(lr=0.1), "scheduler": None}
    return DimoTrainerConfig(
        output_dir=output_dir,
        method_name="toy",
        experiment_name="toy",
        timestamp=run,
        vis="tensorboard",
        max_num_iterations=steps,
        machine=DimoMachineConfig(device_type="cpu"),
        pipeline=pipeline or ToyConfig(),  # type: ignore[arg-type]
        optimizers={"means": group, "opacities": group, "layer": group},
        **options,
    )


def train(config: DimoTrainerConfig) -> DimoTrainer:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)
    trainer = config.setup()
    trainer.setup()
    trainer.train()
    return trainer


def saved(config: DimoTrainerConfig) -> dict[str, Any]:
    return checkpoint.load_newest(config.get_checkpoint_dir())[1]


def same(a: Any, b: Any) -> bool:
    """Bitwise equality of nested containers of tensors and plain values."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.fixture(autouse=True)
def _fresh_writers():
    """nerfstudio keeps its event writers in globals: a run must not write into the files of the last test."""
    yield
    writer.EVENT_WRITERS.clear()
    writer.EVENT_STORAGE.clear()


@pytest.mark.parametrize("stop", [1, 2, 3, 6, 11])
def test_a_resumed_run_equals_an_uninterrupted_one_bitwise(tmp_path, stop):
    # Every third step adds points and every third removes some, so all stops fall at other sizes than at the start.
    whole = toy(tmp_path, 12, "whole")
    train(whole)

    half = toy(tmp_path, stop, "half")
    train(half)
    resumed = toy(tmp_path, 12, "resumed", load_dir=half.get_checkpoint_dir())
    trainer = train(resumed)

    assert saved(half)["step"] == stop - 1
    assert saved(whole)["step"] == saved(resumed)["step"] == 11
    assert same(saved(whole), saved(resumed))
    # The optimizers must hold the parameters that the pipeline renders with, not the ones from before loading.
    (held,) = trainer.optimizers.optimizers["means"].param_groups[0]["params"]
    assert held is trainer.pipeline.points["means"]


def test_evaluation_leaves_training_as_it_is(tmp_path):
    train(toy(tmp_path, 6, "without"))
    train(toy(tmp_path, 6, "with", ToyConfig(evaluates=True), steps_per_eval_batch=2, steps_per_eval_image=0))
    assert same(saved(toy(tmp_path, run="without")), saved(toy(tmp_path, run="with")))


def test_checkpoints_load_as_nerfstudio_loads_them(tmp_path):
    config = toy(tmp_path, 3)
    train(config)
    # ns-eval, ns-render and ns-viewer call torch.load with its default, and take the step from the names.
    (name,) = os.listdir(config.get_checkpoint_dir())
    state = torch.load(config.get_checkpoint_dir() / name, map_location="cpu", weights_only=True)
    assert int(name[name.find("-") + 1 : name.find(".")]) == state["step"] == 2
    assert type(state["optimizers"]["means"]["param_groups"][0]["lr"]) is float
    assert state["manifest"]["motions"] == ["walk", "jump"]
    assert state["manifest"]["seed"] == 42
    assert set(state["manifest"]["versions"]) == {"dimo-ns", "nerfstudio", "torch"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_step_saves_and_exits(tmp_path, number):
    before = signal.getsignal(number)  # a shell ignores SIGINT for what it runs in the background
    config = toy(tmp_path, 12, "stopped", ToyConfig(signal_at={4: number}))
    with pytest.raises(SystemExit) as exit_info:
        train(config)
    assert exit_info.value.code == 128 + number
    assert saved(config)["step"] == 4
    assert signal.getsignal(number) is before

    resumed = toy(tmp_path, 12, "resumed", load_dir=config.get_checkpoint_dir())
    train(resumed)
    train(toy(tmp_path, 12, "whole"))
    assert same(saved(resumed), saved(toy(tmp_path, run="whole")))


def test_a_signal_ends_a_paused_run(tmp_path):
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(SystemExit) as exit_info:
        train(toy(tmp_path, start_paused=True))
    assert exit_info.value.code == 143


def test_a_signal_ends_the_viewer_that_stays_open_after_training(tmp_path):
    config = toy(tmp_path, 2)
    trainer = config.setup()
    trainer.setup()
    trainer.viewer_state = SimpleNamespace(
        training_complete=lambda: threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    )
    with pytest.raises(SystemExit) as exit_info:
        trainer.train()
    assert exit_info.value.code == 130
    assert saved(config)["step"] == 1


def test_non_finite_steps_are_skipped_counted_and_named(tmp_path, capsys):
    config = toy(tmp_path, 6, pipeline=ToyConfig(nan_loss_at=(1,), nan_grad_at=(3,)))
    trainer = train(config)

    state = saved(config)
    assert trainer.guard.skipped == 2
    assert all(bool(torch.isfinite(value).all()) for value in state["pipeline"].values())
    # Adam counts only the steps that it took.
    assert all(entry["step"] == 4 for entry in state["optimizers"]["layer"]["state"].values())
    output = capsys.readouterr().out
    assert "loss term 'photo'" in output  # the cause, not the gradients that it spoils
    assert "'mask'" not in output


def test_a_gradient_that_is_not_finite_is_named_by_its_parameter_group(tmp_path, capsys):
    train(toy(tmp_path, 2, pipeline=ToyConfig(nan_grad_at=(1,))))
    assert "gradient of 'opacities' not finite" in capsys.readouterr().out


def test_a_skipped_step_changes_no_parameter(tmp_path):
    trainer = train(toy(tmp_path, 1))
    before = {name: value.clone() for name, value in trainer.pipeline.state_dict().items()}
    toy_config: Any = trainer.pipeline.config
    toy_config.nan_loss_at = (1,)
    trainer.train_iteration(1)
    assert same(before, dict(trainer.pipeline.state_dict()))


def test_too_many_non_finite_steps_in_a_row_stop_the_run_and_keep_the_checkpoint(tmp_path, capsys):
    config = toy(tmp_path, 200, pipeline=ToyConfig(nan_loss_at=tuple(range(5, 200))), steps_per_save=4)
    with pytest.raises(SystemExit) as exit_info:
        train(config)
    assert exit_info.value.code == 2
    assert isinstance(exit_info.value.__cause__, DimoError)
    (line,) = capsys.readouterr().err.splitlines()
    assert "loss term 'photo' not finite" in line
    state = saved(config)
    assert 5 + config.max_nonfinite_steps <= state["step"] + 4 + 10 < 60
    assert all(bool(torch.isfinite(value).all()) for value in state["pipeline"].values())


def test_a_full_gpu_stops_the_run_in_one_sentence_and_keeps_the_checkpoint(tmp_path, capsys, monkeypatch):
    loss = ToyPipeline.get_train_loss_dict

    def full(pipeline: ToyPipeline, step: int) -> Any:
        if step == 7:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return loss(pipeline, step)

    monkeypatch.setattr(ToyPipeline, "get_train_loss_dict", full)
    monkeypatch.setattr(ToyPipeline, "phase", "joint", raising=False)
    config = toy(tmp_path, steps_per_save=5)
    with pytest.raises(SystemExit, match="2"):
        train(config)
    said = capsys.readouterr().err
    assert "out of memory in step 7, phase 'joint'" in said
    assert "the checkpoint of step 5 is kept" in said
    assert saved(config)["step"] == 5


def test_resuming_with_other_motions_is_refused_in_one_sentence(tmp_path, capsys):
    train(toy(tmp_path, 2, "run"))
    other = toy(tmp_path, 4, "other", ToyConfig(motions=("walk", "sit")), load_dir=toy(tmp_path).get_checkpoint_dir())
    with pytest.raises(SystemExit) as exit_info:
        train(other)
    assert exit_info.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "walk, jump" in line
    assert "walk, sit" in line


def test_training_from_scratch_over_a_finished_run_is_refused(tmp_path, capsys):
    train(toy(tmp_path, 2))
    with pytest.raises(SystemExit, match="2"):
        train(toy(tmp_path, 2))
    assert "--load-dir" in capsys.readouterr().err
    assert saved(toy(tmp_path))["step"] == 1


NS_TRAIN = """
import sys
from pathlib import Path
from tests.training.test_trainer import ToyConfig, toy
from nerfstudio.scripts.train import main
main(toy(Path(sys.argv[1]), 100000, pipeline=ToyConfig(step_s=0.01), steps_per_save=5))
"""


def test_ns_train_stopped_by_sigterm_exits_with_143_and_a_checkpoint(tmp_path):
    folder = toy(tmp_path).get_checkpoint_dir()
    process = subprocess.Popen([sys.executable, "-c", NS_TRAIN, str(tmp_path)], cwd=Path(__file__).parents[2])
    while not checkpoint.steps(folder) and process.poll() is None:
        threading.Event().wait(0.1)
    process.terminate()
    assert process.wait(60) == 143
    assert checkpoint.load_newest(folder)[1]["step"] > 0
