"""Which pixels of a video are the object: RGB frames in, RGBA with straight alpha out.

A matting is named in one word: `plain` (the default: needs no weights), `rembg:MODEL` (the package rembg, which
downloads the model and has a licence for each) or `sam2:FOLDER` (Segment Anything 2 through transformers, which follows
the object that the first frame shows, and needs a plain background only there).
"""

import io
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from dimo_ns.data.images import WHITE_CLEAR, WHITE_SOLID
from dimo_ns.errors import DimoError

Rgb = UInt8[np.ndarray, "t h w 3"]
Rgba = UInt8[np.ndarray, "t h w 4"]
Matting = Callable[[Rgb], Rgba]

PLAIN_ENOUGH = 0.5
"""The least share of the border that must have the background's colour for it to count as plain."""


def named(name: str) -> Matting:
    """The matting of that name; its model is loaded when it is first called. Raises DimoError for other names."""
    kind, _, model = name.partition(":")
    if name == "plain":
        return plain
    if kind == "rembg" and model:
        return _rembg(model)
    if kind == "sam2" and model:
        return _sam2(Path(model))
    raise DimoError(f"There is no matting '{name}'; choose 'plain', 'rembg:MODEL' or 'sam2:FOLDER'.")


def plain(frames: Rgb) -> Rgba:
    """The distance to the background's colour, which is the median of the border over all frames: transparent up to 5
    (of 255, in the channel that differs most), opaque from 25, linear between. Parts of that colour are lost."""
    colour = background(frames)
    distance = np.abs(frames.astype(np.float32) - colour).max(-1)
    share = np.clip((distance - WHITE_CLEAR) / (WHITE_SOLID - WHITE_CLEAR), 0, 1)
    return unmix(frames, np.round(255 * share).astype(np.uint8), colour)


def cut_out(frames: Rgba, matting: Matting) -> tuple[Rgb, Rgba]:
    """The frames over white, and the object in them: by their own alpha where they have any, else by the matting."""
    rgb, alpha = frames[..., :3], frames[..., 3:]
    if alpha.min() == 255:
        return rgb, matting(rgb)
    share = alpha / np.float32(255)
    over_white = np.round(rgb * share + 255 * (1 - share)).astype(np.uint8)
    return over_white, np.where(alpha > 0, frames, np.uint8(0))


def background(frames: Rgb) -> Float[np.ndarray, "3"]:
    """The median colour of the border over all frames."""
    return np.median(border(frames).reshape(-1, 3), axis=0).astype(np.float32)


def plainness(frames: Rgb) -> float:
    """The share of the border's pixels that have the background's colour, in the frame where it is least."""
    near = np.abs(border(frames).astype(np.float32) - background(frames)).max(-1) <= WHITE_CLEAR
    return float(near.mean(-1).min())


def border(frames: Shaped[np.ndarray, "t h w *c"]) -> Shaped[np.ndarray, "t n *c"]:
    """The outermost pixels."""
    return np.concatenate([frames[:, 0], frames[:, -1], frames[:, :, 0], frames[:, :, -1]], axis=1)


def unmix(frames: Rgb, alpha: UInt8[np.ndarray, "t h w"], colour: Float[np.ndarray, "3"]) -> Rgba:
    """The frames with this alpha, the background's colour taken out of what is half transparent."""
    rgba = np.concatenate([frames, alpha[..., None]], axis=-1)
    rgba[alpha == 0] = 0
    edge = (alpha > 0) & (alpha < 255)
    share = alpha[edge, None] / np.float32(255)
    rgba[edge, :3] = np.clip(np.round((frames[edge] - colour * (1 - share)) / share), 0, 255)
    return rgba


def _rembg(model: str) -> Matting:
    sessions = []

    def matte(frames: Rgb) -> Rgba:
        try:
            with redirect_stdout(io.StringIO()):
                import rembg  # pyright: ignore[reportMissingImports]
        except (ImportError, SystemExit) as error:  # it prints and exits where onnxruntime is missing
            raise DimoError("The matting 'rembg' needs a package: pip install 'rembg[cpu]'.") from error
        if not sessions:
            try:
                sessions.append(rembg.new_session(model))
            except Exception as error:
                raise DimoError(
                    f"rembg cannot load '{model}' ({error}); it downloads a model when that is first used, and its "
                    "README names them: isnet-general-use, for example."
                ) from error
        alpha = np.stack([np.asarray(rembg.remove(frame, session=sessions[0], only_mask=True)) for frame in frames])
        if alpha.shape != frames.shape[:3]:
            raise DimoError(f"rembg's '{model}' does not give one mask for a picture; try isnet-general-use.")
        return unmix(frames, alpha.astype(np.uint8), background(frames))

    return matte


def _sam2(folder: Path) -> Matting:
    def matte(frames: Rgb) -> Rgba:
        import torch
        from transformers import Sam2VideoModel, Sam2VideoProcessor

        model: Any

        if not (folder / "model.safetensors").is_file():
            raise DimoError(
                f"There is no Segment Anything 2 in {folder}: expected model.safetensors; get it with "
                f"'hf download facebook/sam2.1-hiera-small --local-dir {folder}'."
            )
        if plainness(frames[:1]) < PLAIN_ENOUGH:
            raise DimoError(
                "Segment Anything 2 follows the object that the first frame shows on a plain background, and a video "
                "begins without one; choose another matting: rembg:isnet-general-use."
            )
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model = Sam2VideoModel.from_pretrained(folder, use_safetensors=True, local_files_only=True)
        model = model.to(device).eval()
        processor = Sam2VideoProcessor.from_pretrained(folder, local_files_only=True)
        session = processor.init_video_session(video=list(frames), inference_device=device)
        first = plain(frames[:1])[0, ..., 3] > 127
        processor.add_inputs_to_inference_session(session, frame_idx=0, obj_ids=1, input_masks=first)
        alpha = np.zeros(frames.shape[:3], np.uint8)
        with torch.no_grad():
            model(inference_session=session, frame_idx=0)
            for output in model.propagate_in_video_iterator(session):
                masks = processor.post_process_masks([output.pred_masks], [frames.shape[1:3]], binarize=False)[0]
                alpha[output.frame_idx] = (255 * torch.sigmoid(masks[0, 0])).round().byte().cpu().numpy()
        return unmix(frames, alpha, background(frames))

    return matte
