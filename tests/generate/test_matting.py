"""Mattings and framing against clips that were drawn by hand."""

from pathlib import Path

import numpy as np
import pytest

from dimo_ns.data.images import alpha_from_white
from dimo_ns.errors import DimoError
from dimo_ns.generate import matting
from dimo_ns.generate.framing import cut, object_box, square_around
from tests.generate.clips import clip, disc


def test_over_white_it_is_the_rule_of_the_datasets():
    frames = clip()
    expected = np.stack([alpha_from_white(frame, Path("frame")) for frame in frames])
    assert np.array_equal(matting.plain(frames), expected)


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (90, 160, 220)])
def test_composited_again_it_is_the_picture_it_came_from(colour):
    rng = np.random.default_rng(0)
    alpha = np.zeros((1, 40, 40), np.float32)
    alpha[0, 10:30, 10:30] = rng.uniform(0.5, 1, (20, 20))
    rgb = (np.array(colour) + 128) % 256 * alpha[..., None] + np.array(colour) * (1 - alpha[..., None])
    frames = rgb.round().astype(np.uint8)
    rgba = matting.plain(frames).astype(np.float32)
    share = rgba[..., 3:] / 255
    again = rgba[..., :3] * share + np.array(colour) * (1 - share)
    assert np.abs(again - frames).max() <= 5
    assert (rgba[..., 3] > 0).sum() == 400


def test_a_background_that_is_plain_and_one_that_is_not():
    assert matting.plainness(clip()) == 1
    assert matting.plainness(clip("background")) < 0.5
    half = clip()
    half[2, :, :50] = 120  # in one frame only
    assert matting.plainness(half) == pytest.approx(0.47, abs=0.03)


@pytest.mark.parametrize("name", ["", "plane", "rembg", "rembg:", "sam2:"])
def test_other_names_are_refused(name):
    with pytest.raises(DimoError, match="choose 'plain', 'rembg:MODEL' or 'sam2:FOLDER'"):
        matting.named(name)


def test_what_is_not_installed_or_not_there_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rembg", None)
    with pytest.raises(DimoError, match=r"pip install 'rembg\[cpu\]'"):
        matting.named("rembg:isnet-general-use")(clip())
    pytest.importorskip("transformers", reason="needs the 'generate' extra")
    with pytest.raises(DimoError, match="hf download facebook"):
        matting.named(f"sam2:{tmp_path}")(clip())


def test_rembgs_masks_become_alpha(monkeypatch):
    import types

    fake = types.SimpleNamespace(
        new_session=lambda name: name,
        remove=lambda frame, session, only_mask: np.where(frame[..., 2] < 200, 255, 0).astype(np.uint8),
    )
    monkeypatch.setitem(__import__("sys").modules, "rembg", fake)
    frames = clip()
    assert np.array_equal(matting.named("rembg:u2net")(frames)[..., 3] > 0, frames[..., 2] < 200)


def test_rembg_without_a_runtime_leaves_the_program_which_is_caught(tmp_path, monkeypatch, capsys):
    (tmp_path / "rembg.py").write_text("import sys; print('No onnxruntime backend found.'); sys.exit(1)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "rembg", raising=False)
    with pytest.raises(DimoError, match=r"pip install 'rembg\[cpu\]'"):
        matting.named("rembg:u2net")(clip())
    assert capsys.readouterr().out == ""


def test_rembgs_models_that_give_several_masks_are_refused(monkeypatch):
    import types

    fake = types.SimpleNamespace(
        new_session=lambda name: name,
        remove=lambda frame, session, only_mask: np.zeros((3 * len(frame), frame.shape[1]), np.uint8),
    )
    monkeypatch.setitem(__import__("sys").modules, "rembg", fake)
    with pytest.raises(DimoError, match="'u2net_cloth_seg' does not give one mask for a picture"):
        matting.named("rembg:u2net_cloth_seg")(clip())


def test_sam2_needs_a_first_frame_that_shows_the_object_alone(tmp_path):
    pytest.importorskip("transformers", reason="needs the 'generate' extra")
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(DimoError, match="the first frame shows on a plain background"):
        matting.named(f"sam2:{tmp_path}")(clip("background"))


def test_the_square_holds_the_object_of_all_frames_in_its_middle():
    solid = np.zeros((3, 50, 80), bool)
    solid[0, 10:20, 5:15] = True
    solid[2, 30:34, 60:75] = True
    box = object_box(solid)
    assert box == (5, 10, 75, 34)
    left, top, right, bottom = square_around(box, 0.7)
    assert (right - left, bottom - top) == (100, 100)
    assert (left + right, top + bottom) == (80, 44)
    assert object_box(np.zeros((2, 5, 5), bool)) is None


def test_framed_the_object_has_its_share_of_the_picture_and_all_of_it_is_there():
    """A disc of radius 10 that moves by 40 to the right and lies at the edge of its frames: 60 wide, so 0.9 of 576."""
    frames = matting.plain(np.stack([disc(12 + 10 * t, 80, 10) for t in range(5)]))
    box = object_box(frames[..., 3] > 25)
    framed = cut(frames, square_around(box), 576)
    assert framed.shape == (5, 576, 576, 4)
    found = object_box(framed[..., 3] > 127)
    assert found is not None
    left, top, right, bottom = found
    assert (right - left) / 576 == pytest.approx(0.9, abs=0.02)
    assert left + right == pytest.approx(576, abs=12)
    assert top + bottom == pytest.approx(576, abs=12)
    scale = (576 / (square_around(box)[2] - square_around(box)[0])) ** 2
    areas = (framed[..., 3] > 127).sum((1, 2)) / scale
    assert areas == pytest.approx(np.pi * 100, rel=0.05)


def test_colours_of_transparent_pixels_do_not_bleed():
    frames = np.zeros((1, 64, 64, 4), np.uint8)
    frames[..., :3] = (0, 255, 0)
    frames[0, 16:48, 16:48] = (200, 10, 10, 255)
    framed = cut(frames, (0, 0, 64, 64), 100)
    seen = framed[framed[..., 3] > 10]
    assert seen[:, 0].min() > 150
    assert seen[:, 1].max() < 60


def test_sam2_gives_a_mask_for_every_frame(tmp_path):
    """A tiny one of random weights, saved as the published ones are: it sees nothing, but it is asked rightly."""
    pytest.importorskip("transformers", reason="needs the 'generate' extra")
    import torch
    from transformers import (
        Sam2HieraDetConfig,
        Sam2ImageProcessor,
        Sam2VideoConfig,
        Sam2VideoModel,
        Sam2VideoProcessor,
        Sam2VideoVideoProcessor,
        Sam2VisionConfig,
    )

    backbone = Sam2HieraDetConfig(
        hidden_size=12, num_attention_heads=1, blocks_per_stage=[1, 1, 2, 1], embed_dim_per_stage=[12, 24, 48, 96],
        num_attention_heads_per_stage=[1, 2, 4, 8], image_size=[128, 128], global_attention_blocks=[3],
        window_size_per_stage=[8, 4, 8, 4], window_positional_embedding_background_size=[4, 4],
    )  # fmt: skip
    vision = Sam2VisionConfig(
        backbone_config=backbone.to_dict(), backbone_channel_list=[96, 48, 24, 12], fpn_hidden_size=128,
        backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
    )  # fmt: skip
    torch.manual_seed(0)
    config = Sam2VideoConfig(
        vision_config=vision.to_dict(), image_size=128,
        prompt_encoder_config={"hidden_size": 128, "image_size": 128, "mask_input_channels": 8},
        mask_decoder_config={"hidden_size": 128, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32},
        memory_attention_hidden_size=128, memory_attention_num_layers=1, memory_attention_rope_feat_sizes=[8, 8],
        memory_attention_feed_forward_hidden_size=64, memory_encoder_hidden_size=128, mask_downsampler_embed_dim=128,
        memory_fuser_embed_dim=128, memory_fuser_intermediate_dim=64, memory_fuser_num_layers=1,
    )  # fmt: skip
    Sam2VideoModel(config).save_pretrained(tmp_path)
    size = {"height": 128, "width": 128}
    pictures = Sam2ImageProcessor(size=size, mask_size={"height": 32, "width": 32})
    Sam2VideoProcessor(pictures, Sam2VideoVideoProcessor(size=size), target_size=128).save_pretrained(tmp_path)
    frames = clip()
    rgba = matting.named(f"sam2:{tmp_path}")(frames)
    assert rgba.shape == (*frames.shape[:3], 4)
    assert rgba[0, ..., 3].any()
    seen = rgba[..., 3] == 255
    assert np.array_equal(rgba[seen][:, :3], frames[seen])
    assert np.array_equal(rgba, matting.named(f"sam2:{tmp_path}")(frames))
