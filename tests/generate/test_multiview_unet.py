"""The UNet has the published checkpoint's parameters, and computes what the published code computes with them."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from dimo_ns.generate.multiview import blocks
from dimo_ns.generate.multiview.blocks import Mix, SpaceTimeTransformer, sincos
from dimo_ns.generate.multiview.unet import UNet
from dimo_ns.generate.multiview.variants import VARIANTS
from tests.generate.multiview_nets import TINY_UNET, draw

FIXTURES = Path(__file__).parent / "fixtures"
NAMES = ("sv4d2", "sv4d2_8views")


@pytest.mark.parametrize("name", NAMES)
def test_names_and_shapes_are_those_of_the_published_network(name: str):
    """Listed from the published code with its published configurations."""
    expected = json.loads((FIXTURES / "sv4d2_unet_shapes.json").read_text())
    with torch.device("meta"):
        unet = UNet(VARIANTS[name].across_views)
    assert len(expected) == 1924
    assert {key: list(value.shape) for key, value in unet.state_dict().items()} == expected
    assert sum(parameter.numel() for parameter in unet.parameters()) == 2_010_961_338


@pytest.mark.parametrize("index", [0, 1], ids=NAMES)
def test_outputs_are_those_of_the_published_code(index: int):
    """Recorded from it: weights, then inputs, of one variant after the other, drawn from one seed; two samples of each,
    3 frames x 4 views."""
    generator = torch.Generator().manual_seed(0)
    for name in NAMES[: index + 1]:
        unet = UNet(VARIANTS[name].across_views, **TINY_UNET, camera_dim=128)
        draw(unet, generator)
        x, cameras, clip, views = (
            torch.randn(shape, generator=generator).half().float()
            for shape in [(2, 3, 4, 8, 8, 8), (2, 3, 4, 128), (2, 3, 16), (2, 4, 4, 8, 8)]
        )
    expected = load_file(FIXTURES / "sv4d2_tiny_outputs.safetensors")[NAMES[index]].view(2, 3, 4, 4, 8, 8)
    with torch.no_grad():
        for sample in range(2):
            found = unet(x[sample], torch.tensor(0.7), cameras[sample], clip[sample], views[sample])
            assert (found - expected[sample]).abs().max() < 1e-5
    assert expected.std() > 0.05  # what 1e-5 is to be compared with


def transformer(across_views: bool) -> SpaceTimeTransformer:
    made = SpaceTimeTransformer(32, 8, clip_dim=16, latent_dim=4, emb_dim=24, across_views=across_views)
    draw(made, torch.Generator().manual_seed(3))
    return made


@given(t=st.integers(1, 4), v=st.integers(1, 4), p=st.integers(1, 9), across_views=st.booleans())
@settings(max_examples=30)
def test_cutting_into_sequences_is_undone(t: int, v: int, p: int, across_views: bool):
    tokens = torch.randn(t, v, p, 2)
    layer = transformer(across_views)
    assert torch.equal(layer.uncut(layer.cut(tokens), t, v), tokens)


@pytest.mark.parametrize("across_views", [True, False])
def test_the_second_attention_sees_views_or_neighbouring_pixels_but_one_frame(across_views: bool):
    """A sequence of the model of eight: one pixel in all views; of the model of four: a run of pixels of one view."""
    t, v, p = 3, 4, 8
    index = torch.stack(torch.meshgrid(*(torch.arange(n) for n in (t, v, p)), indexing="ij"), -1).float()
    for sequence in transformer(across_views).cut(index):
        frames, views, pixels = sequence.T.tolist()
        assert len(set(frames)) == 1
        if across_views:
            assert (views, len(set(pixels))) == ([0, 1, 2, 3], 1)
        else:
            assert len(set(views)) == 1
            assert pixels == [pixels[0] + i for i in range(v)]


def test_slices_of_sequences_give_the_same(monkeypatch: pytest.MonkeyPatch):
    generator = torch.Generator().manual_seed(5)
    shapes = [(6, 32, 4, 4), (6, 24), (3, 16), (2, 4, 4, 4)]
    inputs = [torch.randn(shape, generator=generator) for shape in shapes]
    layer = transformer(True)
    with torch.no_grad():
        whole = layer(*inputs)
        monkeypatch.setattr(blocks, "TOKENS_AT_ONCE", 7)  # three sequences of two views, one image of 16 pixels
        torch.testing.assert_close(layer(*inputs), whole, atol=1e-5, rtol=0)


def test_cross_attention_to_one_token_does_not_depend_on_the_query():
    """So that it may be left out: torch's attention over one key gives its value for any query."""
    layer = blocks.Attention(8, 4, context_dim=3)
    context = torch.randn(5, 3)
    q, k, v = torch.randn(5, 2, 7, 4), layer.to_k(context), layer.to_v(context)
    k, v = (x.view(5, 1, 2, 4).transpose(1, 2) for x in (k, v))
    full = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    expected = layer.to_out(full.transpose(1, 2).flatten(2))
    torch.testing.assert_close(layer.to_context(context).expand(-1, 7, -1), expected, atol=1e-6, rtol=0)


def test_the_blend_gives_the_sigmoid_share_to_the_first():
    mix = Mix()
    mix.mix_factor.data.fill_(1.5)
    share = 1 / (1 + torch.tensor(-1.5).exp())
    torch.testing.assert_close(mix(torch.tensor([2.0]), torch.tensor([10.0])), 2 * share[None] + 10 * (1 - share))


def test_sincos_holds_cosines_then_sines_of_falling_frequencies():
    found = sincos(torch.tensor([0.0, 3.0]), 4)
    slow = torch.tensor(0.03)  # 10,000^(-1/2) of 3
    expected = [[1, 1, 0, 0], [torch.tensor(3.0).cos(), slow.cos(), torch.tensor(3.0).sin(), slow.sin()]]
    torch.testing.assert_close(found, torch.tensor(expected))
