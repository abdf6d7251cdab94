"""Figures that a pretrained network gives: CLIP's for single pictures, VideoMAE's for whole videos. Weights come from a
folder in transformers' format, safetensors only; nothing is downloaded and none of their code is run."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity

from dimo_ns.errors import DimoError, first_line, needs


class ClipSimilarity:
    """How alike pictures are to CLIP (Radford et al., 2021)."""

    def __init__(self, folder: Path):
        """`folder`: of a CLIP model, for example openai/clip-vit-base-patch32. Raises DimoError."""
        self.network, self.processor = pretrained(folder, "CLIPModel", "CLIP")

    @torch.no_grad()
    def embed(self, images: Float[Tensor, "f h w 3"]) -> Float[Tensor, "f d"]:
        """What CLIP sees in images in [0, 1]."""
        pixels = self.processor(images=as_bytes(images), return_tensors="pt")["pixel_values"]
        seen = self.network.vision_model(pixel_values=pixels.to(images.device)).pooler_output
        return self.network.visual_projection(seen).float()

    def figures(self, video: Float[Tensor, "f h w 3"], truth: Float[Tensor, "f h w 3"]) -> dict[str, float]:
        """`clip`: mean cosine similarity of a video's frames to the true ones; `clip_frames`: to the frames after them,
        of the truth in `clip_frames_truth`."""
        self.network.to(video.device)
        ours, theirs = self.embed(video), self.embed(truth)

        def steady(x: Float[Tensor, "f d"]) -> float:
            return float(cosine_similarity(x[:-1], x[1:]).mean())

        found = {"clip": float(cosine_similarity(ours, theirs).mean())}
        return found | ({"clip_frames": steady(ours), "clip_frames_truth": steady(theirs)} if len(ours) > 1 else {})


class VideoFeatures:
    """What VideoMAE (Tong et al., 2022) sees in a video. The Frechet distance between two sets of its features is the
    content-debiased FVD of Ge et al., 2024; figures of the older network, I3D, are on another scale."""

    def __init__(self, folder: Path):
        """`folder`: of a VideoMAE model, for example MCG-NJU/videomae-base. Raises DimoError."""
        self.network, self.processor = pretrained(folder, "VideoMAEModel", "VideoMAE")

    @torch.no_grad()
    def __call__(self, video: Float[Tensor, "f h w 3"]) -> Float[Tensor, " d"]:
        """Looks at frames in [0, 1]: as many as the network takes, evenly over the video."""
        chosen = torch.linspace(0, len(video) - 1, self.network.config.num_frames).round().long()
        frames = self.processor(list(as_bytes(video[chosen])), return_tensors="pt")["pixel_values"]
        return self.network.to(video.device)(frames.to(video.device)).last_hidden_state[0].mean(0).float()


def frechet_distance(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> float:
    """Between the Gaussians of two sets of features (Heusel et al., 2017, eq. 6). With fewer samples than dimensions it
    is biased upwards: compare only figures of equally many."""
    a, b = a.double(), b.double()
    ours, theirs = ((x - x.mean(0)) / (len(x) - 1) ** 0.5 for x in (a, b))
    # trace of sqrt(A^T A B^T B) is the nuclear norm of A B^T: exact, and small where samples are few
    cross = torch.linalg.svdvals(ours @ theirs.T).sum()
    return float((a.mean(0) - b.mean(0)).square().sum() + ours.square().sum() + theirs.square().sum() - 2 * cross)


def as_bytes(images: Float[Tensor, "f h w 3"]) -> Any:
    return (images.clamp(0, 1) * 255).round().byte().cpu().numpy()


def pretrained(folder: Path, kind: str, name: str) -> tuple[Any, Any]:
    """A network of transformers and what prepares its pictures."""
    if not (folder / "config.json").is_file():
        raise DimoError(f"No {name} model in {folder}; expected a folder with config.json and model.safetensors.")
    with needs("text", name):
        import transformers
    transformers.utils.logging.disable_progress_bar()
    try:
        network, told = getattr(transformers, kind).from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
        processor = transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # of many kinds: a truncated file, a missing one, a model of another sort
        raise DimoError(f"The {name} model in {folder} cannot be loaded ({first_line(error)}).") from error
    finally:
        transformers.utils.logging.enable_progress_bar()
    if told["missing_keys"]:
        missing = sorted(told["missing_keys"])[0]
        raise DimoError(f"The model in {folder} is not a whole {name} model: it has no {missing}, for one.")
    return network.eval(), processor
