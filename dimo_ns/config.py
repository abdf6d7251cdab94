"""The methods that `ns-train` offers. nerfstudio imports this for every one of its commands: keep it light."""

from nerfstudio.plugins.types import MethodSpecification

from dimo_ns.files.caches import settle
from dimo_ns.training.model import DimoModelConfig
from dimo_ns.training.optim import FrameAdamConfig, FusedAdamConfig
from dimo_ns.training.pipeline import DimoPipelineConfig
from dimo_ns.training.trainer import DimoTrainerConfig
from dimo_ns.viewer.nerfstudio import MotionTab

settle()

ADAM_GROUPS = ("means", "quats", "scales", "opacities", "colors", "keypoints", "radii", "latents", "decoder", "basis")
FRAME_GROUPS = ("translations", "rotations")


def _trainer(name: str, recipe: str) -> DimoTrainerConfig:
    optimizers = {group: {"optimizer": FusedAdamConfig(), "scheduler": None} for group in ADAM_GROUPS}
    optimizers |= {group: {"optimizer": FrameAdamConfig(), "scheduler": None} for group in FRAME_GROUPS}
    return DimoTrainerConfig(
        method_name=name,
        pipeline=DimoPipelineConfig(model=DimoModelConfig(recipe=recipe, panel=MotionTab)),
        optimizers=optimizers,
        vis="viewer+tensorboard",
    )


dimo = MethodSpecification(
    config=_trainer("dimo", "full"),
    description="DIMO: one model of an object's many motions, at full size; for a GPU.",
)
dimo_laptop = MethodSpecification(
    config=_trainer("dimo-laptop", "laptop"),
    description="DIMO sized for two CPU cores: motions found as explicit trajectories, then distilled into latents.",
)
dimo_paper = MethodSpecification(
    config=_trainer("dimo-paper", "paper"),
    description="DIMO by the paper's two stages, with its decoder, losses and schedules; for comparison.",
)
