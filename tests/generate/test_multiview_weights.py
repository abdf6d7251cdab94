"""A checkpoint with the published names fills the networks as it should; one that does not fit says so."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from dimo_ns.errors import DimoError
from dimo_ns.generate.multiview import names, weights
from dimo_ns.generate.multiview.model import MultiView
from dimo_ns.generate.multiview.variants import VARIANTS
from tests.generate.multiview_nets import TINY, TINY_CLIP, draw, tiny_networks

NAME = "sv4d2"
DEVICE = torch.device("cpu")
DTYPES = dict.fromkeys(names.PARTS, torch.float32)


class OpenClipBlock(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, hidden), "c_proj": nn.Linear(hidden, width)})

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.mlp["c_proj"](nn.functional.gelu(self.mlp["c_fc"](self.ln_2(x))))


class OpenClipVisual(nn.Module):
    """A vision transformer after Radford et al. (2021), with OpenCLIP's names, out of torch's own parts."""

    def __init__(self, config: dict):
        super().__init__()
        width, patch = config["hidden_size"], config["patch_size"]
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.zeros((config["image_size"] // patch) ** 2 + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        heads, hidden = config["num_attention_heads"], config["intermediate_size"]
        blocks = [OpenClipBlock(width, heads, hidden) for _ in range(config["num_hidden_layers"])]
        self.transformer = nn.ModuleDict({"resblocks": nn.Sequential(*blocks)})
        self.proj = nn.Parameter(torch.zeros(width, config["projection_dim"]))

    def forward(self, images: Tensor) -> Tensor:
        patches = self.conv1(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(images), 1, -1), patches], 1) + self.positional_embedding
        return self.ln_post(self.transformer["resblocks"](self.ln_pre(x))[:, 0]) @ self.proj


DIFFUSERS_TO_PUBLISHED = {
    r"(down_blocks\.\d+)\.resnets\.": r"\1.block.",
    r"(up_blocks\.\d+)\.resnets\.": r"\1.block.",
    r"\.downsamplers\.0\.": ".downsample.",
    r"\.upsamplers\.0\.": ".upsample.",
    r"down_blocks\.": "down.",
    r"up_blocks\.(\d)": lambda found: f"up.{3 - int(found[1])}",
    r"mid_block\.resnets\.(\d)": lambda found: f"mid.block_{int(found[1]) + 1}",
    r"mid_block\.attentions\.0\.": "mid.attn_1.",
    r"group_norm\.": "norm.",
    r"to_([qkv])\.": r"\1.",
    r"to_out\.0\.": "proj_out.",
    r"conv_norm_out\.": "norm_out.",
    r"conv_shortcut\.": "nin_shortcut.",
}
"""Of an autoencoder; its attention is made of 1 x 1 convolutions in the published one."""


def published_vae(vae: nn.Module) -> dict[str, Tensor]:
    state = {}
    for name, value in vae.state_dict().items():
        is_attention = ".attentions.0." in name and "group_norm" not in name and name.endswith("weight")
        prefix = "first_stage_model." if name.startswith("decoder.") else "conditioner.embedders.1.encoder."
        for pattern, replacement in DIFFUSERS_TO_PUBLISHED.items():
            name = re.sub(pattern, replacement, name)
        state[prefix + name] = value[:, :, None, None] if is_attention else value
    return state


@pytest.fixture(scope="module")
def source() -> dict[str, nn.Module]:
    """Networks of random weights, the image encoder OpenCLIP's."""
    networks = {**tiny_networks(NAME), "image_encoder": OpenClipVisual(TINY_CLIP)}
    for i, network in enumerate(networks.values()):
        draw(network, torch.Generator().manual_seed(i))
    return networks


@pytest.fixture
def checkpoint(source: dict[str, nn.Module]) -> dict[str, Tensor]:
    """Its tensors as in the published file, with some that are not needed."""
    unet = {f"model.diffusion_model.{key}": value for key, value in source["unet"].state_dict().items()}
    visual = source["image_encoder"].state_dict()
    clip = {f"conditioner.embedders.0.open_clip.model.visual.{key}": value for key, value in visual.items()}
    vae = published_vae(source["vae"])
    others = {
        "conditioner.embedders.0.open_clip.model.logit_scale": torch.ones(()),
        "conditioner.embedders.1.encoder.decoder.conv_in.weight": torch.ones(4, 4, 3, 3),
        "conditioner.embedders.1.encoder.post_quant_conv.bias": torch.ones(4),
        **{key.replace("embedders.1", "embedders.4"): torch.zeros(2) for key in vae if "embedders.1" in key},
    }
    return {key: value.clone().contiguous() for key, value in {**unet, **clip, **vae, **others}.items()}


def test_a_checkpoint_fills_the_networks(source: dict[str, nn.Module], checkpoint: dict[str, Tensor], tmp_path: Path):
    path = tmp_path / "sv4d2.safetensors"
    save_file(checkpoint, path)
    networks = tiny_networks(NAME)
    weights.check(networks, path, TINY[NAME])
    weights.fill(networks, path, DEVICE, DTYPES)
    for part in ("unet", "vae"):
        expected, found = source[part].state_dict(), networks[part].state_dict()
        assert expected.keys() == found.keys()
        assert all(torch.equal(value, found[key]) for key, value in expected.items())
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected, found = source["image_encoder"](images), networks["image_encoder"](images).image_embeds
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert expected.std() > 0.01


def test_precision_is_that_which_was_asked_for(checkpoint: dict[str, Tensor], tmp_path: Path):
    path = tmp_path / "sv4d2.safetensors"
    save_file(checkpoint, path)
    networks = tiny_networks(NAME)
    weights.fill(networks, path, DEVICE, {**DTYPES, "unet": torch.bfloat16})
    assert {p.dtype for p in networks["unet"].parameters()} == {torch.bfloat16}
    assert {p.dtype for p in networks["vae"].parameters()} == {torch.float32}
    assert not any(p.requires_grad for network in networks.values() for p in network.parameters())


def test_the_networks_in_full_size_come_to_the_size_of_the_published_file():
    """In float32: the UNet, ViT-H/14's image encoder (632.08 M) and text parts that stay (51.72 M), three autoencoders
    (83.65 M each) and a decoder (49.49 M). 11.98 GB is what the published parts add up to."""
    pytest.importorskip("diffusers", reason="needs the 'generate' extra")
    networks = weights.empty_networks(VARIANTS[NAME])
    millions = {part: sum(p.numel() for p in network.parameters()) / 1e6 for part, network in networks.items()}
    assert all(p.is_meta for network in networks.values() for p in network.parameters())
    assert millions["image_encoder"] == pytest.approx(632.08, abs=0.005)
    assert millions["vae"] == pytest.approx(83.65, abs=0.005)
    decoder = sum(p.numel() for p in networks["vae"].decoder.parameters()) / 1e6
    whole = millions["unet"] + millions["image_encoder"] + 51.72 + 3 * millions["vae"] + decoder
    assert 4 * whole / 1000 == pytest.approx(11.98, abs=0.01)
    assert VARIANTS[NAME].gigabytes == pytest.approx(4 * whole / 1000, abs=0.05)


def test_missing_weights_are_refused_with_the_command_that_gets_them(tmp_path: Path):
    path = tmp_path / "sv4d2.safetensors"
    with pytest.raises(DimoError) as refused:
        MultiView.load(path, NAME, DEVICE)
    assert str(path) in str(refused.value)
    assert "12.0 GB" in str(refused.value)
    assert "hf download stabilityai/sv4d2.0 sv4d2.safetensors" in str(refused.value)
    with pytest.raises(DimoError, match="'sv4d3'; choose one of sv4d2, sv4d2_8views"):
        MultiView.load(path, "sv4d3", DEVICE)


def broken(checkpoint: dict[str, Tensor], path: Path, how: str) -> None:
    unet_key = "model.diffusion_model.out.2.weight"
    if how == "without a tensor":
        del checkpoint[unet_key]
    elif how == "another shape":
        checkpoint[unet_key] = torch.zeros(3, 32, 3, 3)
    elif how == "one too many":
        checkpoint["model.diffusion_model.new.weight"] = torch.zeros(1)
    elif how == "no decoder":
        for key in [key for key in checkpoint if key.startswith("first_stage_model.")]:
            del checkpoint[key]
    elif how == "no image encoder":
        for key in [key for key in checkpoint if ".visual." in key]:
            del checkpoint[key]
    save_file(checkpoint, path)
    if how == "cut off":
        path.write_bytes(path.read_bytes()[:-1000])
    elif how == "empty":
        path.write_bytes(b"")


@pytest.mark.parametrize(
    ("how", "file", "complaint"),
    [
        ("without a tensor", "sv4d2", r"1 of 812 tensors of its unet .* first 'out.2.weight' \(None, expected \[4, 32"),
        ("another shape", "mine", r"not those of 'sv4d2': 1 of 812 .* \(\[3, 32, 3, 3\], expected \[4, 32, 3, 3\]\)"),
        ("one too many", "sv4d2", r"'new.weight' \(\[1\], expected None\)"),
        ("no decoder", "sv4d2", "of its vae are missing"),
        ("no image encoder", "sv4d2", "of its image_encoder are missing"),
        ("cut off", "sv4d2", r"\(0.0 GB\) are not a whole safetensors file"),
        ("empty", "sv4d2", "not a whole safetensors file"),
        ("of the other variant", "sv4d2_8views", "those of 'sv4d2_8views', not of 'sv4d2'"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    checkpoint: dict[str, Tensor], tmp_path: Path, how: str, file: str, complaint: str
):
    path = tmp_path / f"{file}.safetensors"
    broken(checkpoint, path, how)
    with pytest.raises(DimoError, match=complaint) as refused:
        weights.check(tiny_networks(NAME), path, TINY[NAME])
    assert str(path) in str(refused.value)
    assert "hf download" in str(refused.value)
