"""nerfstudio's trainer with safe checkpoints, exact resumption, clean stops, and a guard against non-finite steps.

What it asks of the pipeline beyond nerfstudio's own interface is `ResumablePipeline`.
"""

import contextlib
import functools
import gc
import os
import signal
import sys
import threading
import time
import warnings
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any, Literal, Protocol, cast, runtime_checkable

import torch
from nerfstudio.configs.base_config import LocalWriterConfig, LoggingConfig, MachineConfig, ViewerConfig
from nerfstudio.engine.callbacks import TrainingCallbackLocation
from nerfstudio.engine.trainer import TRAIN_INTERATION_OUTPUT, Trainer, TrainerConfig
from nerfstudio.utils import profiler, writer
from nerfstudio.utils.misc import step_check
from nerfstudio.utils.rich_utils import CONSOLE
from nerfstudio.utils.writer import EventName, TimeWriter

from dimo_ns.errors import DimoError, exit_on_error
from dimo_ns.files.lock import alone
from dimo_ns.files.opening import resolved
from dimo_ns.training import checkpoint
from dimo_ns.training.console import tell
from dimo_ns.training.device import check_gpu, check_machine, choose_device, out_of_memory
from dimo_ns.training.optim import NonFiniteGuard, clear_gradients
from dimo_ns.training.threads import sleep_sooner

GUARD_REPORT_EVERY = 10  # steps between two looks at what the guard counted: each waits for the device
PROGRESS_EVERY_S = 5.0


@dataclass
class DimoMachineConfig(MachineConfig):
    """nerfstudio's machine configuration, with a device that is chosen by itself."""

    device_type: Literal["auto", "cpu", "cuda", "mps"] = "auto"  # pyright: ignore[reportIncompatibleVariableOverride]
    """Device to train on; auto: CUDA where there is one, else the CPU."""


@dataclass
class DimoTrainerConfig(TrainerConfig):
    """nerfstudio's training configuration, with dimo's defaults: quiet, and the viewer on loopback."""

    _target: type = field(default_factory=lambda: DimoTrainer)
    machine: DimoMachineConfig = field(default_factory=DimoMachineConfig)
    """Machine configuration"""
    logging: LoggingConfig = field(
        default_factory=lambda: LoggingConfig(
            steps_per_log=50, local_writer=LocalWriterConfig(enable=False), profiler="none"
        )
    )
    """Logging configuration"""
    viewer: ViewerConfig = field(default_factory=lambda: ViewerConfig(websocket_host="127.0.0.1"))
    """Viewer configuration"""
    max_num_iterations: int = 0
    """Step at which training ends, also when it was resumed on the way; 0: where the pipeline's recipe ends."""
    max_nonfinite_steps: int = 20
    """Steps in a row with a non-finite loss or gradient after which training stops."""

    def __post_init__(self) -> None:
        if self.data is not None:
            self.data = resolved(self.data)  # the run finds its dataset from any folder

    def save_config(self) -> None:
        """As nerfstudio, with everything in it that the run depends on."""
        with exit_on_error():
            check_machine(self.machine)  # nerfstudio starts a process for each device next
            with alone(self.get_base_dir()):
                cast(SelfContained, self.pipeline).keep()
                super().save_config()


@runtime_checkable
class SelfContained(Protocol):
    """What `DimoTrainerConfig` needs of a pipeline's configuration, so that a run can be read without other files."""

    def keep(self) -> None:
        """Takes in the content of files that it names. Raises DimoError."""
        ...


@runtime_checkable
class ResumablePipeline(Protocol):
    """What `DimoTrainer` needs of a pipeline so that a resumed run continues as if nothing had happened."""

    length: int
    """Steps of its recipe."""
    phase: str
    """What the present step is doing, in a word or two."""

    def manifest(self) -> dict[str, Any]:
        """`motions` (list of names, in order), `dataset_hash` and `scene` (as in scene.json); plain values."""
        ...

    def sampler_state(self) -> dict[str, Any]:
        """What the next training batch depends on beside the step and the global generators: tensors, plain values."""
        ...

    def load_sampler_state(self, state: dict[str, Any]) -> None:
        """Undo of `sampler_state`."""
        ...


class StopSignals:
    """While entered, SIGINT and SIGTERM are noted in `received`; the second one ends the process at once."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None

    def __enter__(self) -> "StopSignals":
        in_main_thread = threading.current_thread() is threading.main_thread()
        caught = (signal.SIGINT, signal.SIGTERM) if in_main_thread else ()
        self._previous = {number: signal.signal(number, self._note) for number in caught}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.received is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.received = signal.Signals(number)


class DimoTrainer(Trainer):
    """Trains like nerfstudio's Trainer; see the module's first lines for what differs."""

    config: DimoTrainerConfig

    def __init__(self, config: DimoTrainerConfig, local_rank: int = 0, world_size: int = 1) -> None:
        with exit_on_error():
            check_machine(config.machine)
            if config.mixed_precision or config.use_grad_scaler or config.gradient_accumulation_steps:
                raise DimoError(
                    "dimo trains in float32 with a step per batch; drop --mixed-precision, --use-grad-scaler and "
                    "--gradient-accumulation-steps."
                )
            config.machine.device_type = choose_device(config.machine.device_type)
        sleep_sooner()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # nerfstudio's gradient scaler, which is off
            super().__init__(config, local_rank, world_size)
        self.stop_training = False
        self.guard = NonFiniteGuard(config.max_nonfinite_steps)
        self._stop = StopSignals()
        self._rng_state: dict[str, Any] | None = None  # of the checkpoint that was loaded
        self._saved_step = -1
        self._last_progress = self._last_log = (time.monotonic(), 0)

    def setup(self, test_mode: Literal["test", "val", "inference"] = "val") -> None:
        with exit_on_error():
            check_gpu(torch.device(self.device))
            super().setup(test_mode)
        if self.config.max_num_iterations == 0:
            self.config.max_num_iterations = cast(ResumablePipeline, self.pipeline).length

    def train(self) -> None:
        """Train to `max_num_iterations`. Exits with 128 + n on signal n, after the step and a checkpoint."""
        with exit_on_error(), alone(self.base_dir), self._stop:
            self._init_viewer_state()
            if torch.device(self.device).type == "cuda":
                gc.collect()
                gc.freeze()  # what is there stays: when recorded steps are freed, it is not looked at again
            if self._rng_state is not None:
                checkpoint.set_rng_state(self._rng_state)
            self.step = self._start_step - 1
            self._last_progress = self._last_log = (time.monotonic(), self._start_step - 1)
            with TimeWriter(writer, EventName.TOTAL_TRAIN_TIME):
                for step in range(self._start_step, self.config.max_num_iterations):
                    self._wait_while_paused()
                    if self._stop.received or self.stop_training:
                        break
                    self.step = step
                    try:
                        self._train_step(step)
                    except torch.cuda.OutOfMemoryError as error:
                        phase = cast(ResumablePipeline, self.pipeline).phase
                        raise out_of_memory(step, phase, self._saved_step, error) from error
            self._after_train()

    def _wait_while_paused(self) -> None:
        while self.training_state == "paused" and not self._stop.received and not self.stop_training:
            time.sleep(0.01)

    def _train_step(self, step: int) -> None:
        """One optimization step and what is due after it: viewer, logs, checkpoint, evaluation."""
        with self.train_lock:
            if not self.pipeline.training:
                self.pipeline.train()
            self._run_callbacks(TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)
            loss, loss_dict, metrics_dict = self.train_iteration(step)
            self._run_callbacks(TrainingCallbackLocation.AFTER_TRAIN_ITERATION)
        self._update_viewer_state(step)

        if step_check(step, GUARD_REPORT_EVERY):
            self.guard.report()
        self._show_progress(step, loss)
        if step_check(step, self.config.logging.steps_per_log, run_at_zero=True):
            self._log_time(step)
            writer.put_scalar("Train Loss", loss, step)
            writer.put_dict("Train Loss Dict", loss_dict, step)
            writer.put_dict("Train Metrics Dict", metrics_dict, step)
            rates = {name: item.param_groups[0]["lr"] for name, item in self.optimizers.optimizers.items()}
            writer.put_dict("learning_rate", rates, step)
        # Before the evaluation: a run that is killed there has lost nothing.
        if step_check(step, self.config.steps_per_save):
            self.save_checkpoint(step)
        if self._evaluates(step) and not self._stop.received:
            with self.train_lock:
                rng_state = checkpoint.rng_state()
                self.eval_iteration(step)
                checkpoint.set_rng_state(rng_state)
        writer.write_out_storage()

    def _evaluates(self, step: int) -> bool:
        """Whether some evaluation is due after this step."""
        config = self.config
        intervals = config.steps_per_eval_batch, config.steps_per_eval_image, config.steps_per_eval_all_images
        due = any(step_check(step, interval) for interval in intervals)
        return due and bool(self.pipeline.datamanager.eval_dataset)

    def _run_callbacks(self, location: TrainingCallbackLocation) -> None:
        for callback in self.callbacks:
            callback.run_callback_at_location(self.step, location)

    @profiler.time_function
    def train_iteration(self, step: int) -> TRAIN_INTERATION_OUTPUT:
        """Loss, gradients, guarded optimizer step. Never waits for the device."""
        clear_gradients(self.optimizers)
        _, loss_dict, metrics_dict = self.pipeline.get_train_loss_dict(step=step)
        loss = functools.reduce(torch.add, loss_dict.values())
        loss.backward()
        self.guard.step(loss_dict, self.optimizers)
        return loss.detach(), {name: term.detach() for name, term in loss_dict.items()}, metrics_dict

    def _log_time(self, step: int) -> None:
        """How long a step has taken on average since this was last written."""
        (since, last_step), self._last_log = self._last_log, (time.monotonic(), step)
        seconds = (self._last_log[0] - since) / max(step - last_step, 1)
        writer.put_time(EventName.ITER_TRAIN_TIME, seconds, step, avg_over_steps=True, update_eta=True)
        rays = self.pipeline.datamanager.get_train_rays_per_batch()
        writer.put_time(EventName.TRAIN_RAYS_PER_SEC, rays / max(seconds, 1e-9), step, avg_over_steps=True)

    def _show_progress(self, step: int, loss: torch.Tensor) -> None:
        since, last_step = self._last_progress
        now = time.monotonic()
        if now - since < PROGRESS_EVERY_S:
            return
        self._last_progress = (now, step)
        rate = (step - last_step) / (now - since)
        end = self.config.max_num_iterations
        left = time.strftime("%H:%M:%S", time.gmtime((end - step) / max(rate, 1e-9)))
        phase = cast(ResumablePipeline, self.pipeline).phase
        line = (
            f"{phase:<14} step {step}/{end} ({step / end:.0%})  loss {float(loss):.4f}  {rate:.1f} steps/s  {left} left"
        )
        tell(f"{line:<100}", end="\r" if CONSOLE.is_terminal else "\n")

    def _after_train(self) -> None:
        if self.step > self._saved_step:
            self.save_checkpoint(self.step)
        self.guard.report()
        writer.write_out_storage()
        if self._stop.received:
            self._exit_on_signal(f"Stopped after step {self.step}; continue with --load-dir {self.checkpoint_dir}")
        self.training_state = "completed"
        self._run_callbacks(TrainingCallbackLocation.AFTER_TRAIN)
        config_path = self.base_dir / "config.yml"
        tell(f"Training finished: --load-config {config_path}")
        if self.viewer_state is not None and not self.config.viewer.quit_on_train_completion:
            self._train_complete_viewer()

    def _train_complete_viewer(self) -> None:
        assert self.viewer_state is not None
        with contextlib.suppress(RuntimeError):  # a render that is under way; the viewer starts it anew
            self.viewer_state.training_complete()
        tell("The viewer stays open; end it with Ctrl-C.")
        while not self._stop.received and not self.stop_training:
            time.sleep(0.05)
        self._exit_on_signal("Viewer closed.")

    def _exit_on_signal(self, message: str) -> None:
        if self._stop.received:
            tell(message)
            sys.exit(128 + self._stop.received)

    def save_checkpoint(self, step: int) -> None:
        pipeline = cast(ResumablePipeline, self.pipeline)
        state = {
            "step": step,
            "pipeline": self.pipeline.state_dict(),
            "optimizers": {name: item.state_dict() for name, item in self.optimizers.optimizers.items()},
            "scalers": self.grad_scaler.state_dict(),
            "sampler": pipeline.sampler_state(),
            "rng": checkpoint.rng_state(),
            "manifest": {
                **pipeline.manifest(),
                "seed": self.config.machine.seed,
                "versions": {name: version(name) for name in ("dimo-ns", "nerfstudio", "torch")},
            },
        }
        checkpoint.save(self.checkpoint_dir, state, keep_only_latest=self.config.save_only_latest_checkpoint)
        self._saved_step = step

    def _load_checkpoint(self) -> None:
        config = self.config
        if config.load_checkpoint is not None:
            path, state = config.load_checkpoint, checkpoint.load(config.load_checkpoint)
        elif config.load_dir is not None and config.load_step is not None:
            path = config.load_dir / f"step-{config.load_step:09d}.ckpt"
            state = checkpoint.load(path)
        elif config.load_dir is not None:
            path, state = checkpoint.load_newest(config.load_dir)
        elif checkpoint.steps(self.checkpoint_dir):
            raise DimoError(
                f"{self.checkpoint_dir} already holds a run: continue it with --load-dir {self.checkpoint_dir}, "
                f"or train beside it with another --timestamp."
            )
        else:
            return
        self._restore(path, state)
        tell(f"Continuing after step {state['step']} from {path}")

    def _restore(self, path: Path, state: dict[str, Any]) -> None:
        pipeline = cast(ResumablePipeline, self.pipeline)
        checkpoint.check_manifest(path, state["manifest"], pipeline.manifest())
        with checkpoint.misfits(path):
            self.pipeline.load_pipeline(state["pipeline"], state["step"])
            pipeline.load_sampler_state(state["sampler"])
            # Loading may have replaced parameters by ones of another size: the optimizers must hold the new ones.
            self.optimizers = self.setup_optimizers()
            self.optimizers.load_optimizers(state["optimizers"])
        self._rng_state = state["rng"]
        self._start_step = state["step"] + 1
        self._saved_step = state["step"]
