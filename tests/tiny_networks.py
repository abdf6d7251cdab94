"""Networks of transformers with tiny random weights, saved as the published ones are."""

from pathlib import Path

import torch

PIXELS = 32


def save_networks(root: Path) -> dict[str, Path]:
    """The folders of a CLIP model, both towers, and of a VideoMAE model."""
    import transformers

    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    seeing = small | {"image_size": PIXELS, "patch_size": 8}
    clip = transformers.CLIPConfig(text_config=small | {"vocab_size": 8}, vision_config=seeing, projection_dim=8)
    transformers.CLIPModel(clip).save_pretrained(root / "clip")
    size = {"shortest_edge": PIXELS}
    transformers.CLIPImageProcessor(size=size, crop_size=PIXELS).save_pretrained(root / "clip")
    video = transformers.VideoMAEConfig(**seeing, num_frames=4)
    transformers.VideoMAEModel(video).save_pretrained(root / "video")
    transformers.VideoMAEImageProcessor(size=size, crop_size=PIXELS).save_pretrained(root / "video")
    return {"clip": root / "clip", "video": root / "video"}
