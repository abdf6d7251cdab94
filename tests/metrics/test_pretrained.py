"""Figures of pretrained networks, by networks of the same kind with tiny random weights."""

import shutil
from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers", reason="transformers is not installed")

import transformers

from dimo_ns.errors import DimoError
from dimo_ns.metrics.pretrained import ClipSimilarity, VideoFeatures, frechet_distance
from tests.tiny_networks import PIXELS, save_networks


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return save_networks(tmp_path_factory.mktemp("models"))


def a_video(seed: int, frames: int = 6) -> torch.Tensor:
    return torch.rand(frames, PIXELS, PIXELS, 3, generator=torch.Generator().manual_seed(seed))


def test_a_video_is_most_like_itself_to_clip(folders: dict[str, Path]):
    clip = ClipSimilarity(folders["clip"])
    same, other = clip.figures(a_video(0), a_video(0)), clip.figures(a_video(0), 0.2 * a_video(1))
    assert same["clip"] == pytest.approx(1, abs=1e-5)
    assert other["clip"] < 0.999
    assert same["clip_frames"] == same["clip_frames_truth"] < 0.99999
    still = clip.figures(a_video(0)[:1].expand(6, -1, -1, -1), a_video(0))
    assert still["clip_frames"] == pytest.approx(1, abs=1e-5)
    assert clip.figures(a_video(0, 1), a_video(0, 1)) == {"clip": pytest.approx(1, abs=1e-5)}


def test_embeddings_are_those_of_transformers_own_way(folders: dict[str, Path]):
    pictures = a_video(2)
    model = transformers.CLIPModel.from_pretrained(folders["clip"])
    inputs = transformers.CLIPImageProcessor.from_pretrained(folders["clip"])(
        [p.numpy() for p in (pictures * 255).round().byte()], return_tensors="pt"
    )
    with torch.no_grad():
        features = model.get_image_features(**inputs)
    assert not isinstance(features, tuple)
    torch.testing.assert_close(ClipSimilarity(folders["clip"]).embed(pictures), features.pooler_output)


def test_videos_of_any_length_have_features_and_order_matters(folders: dict[str, Path]):
    features = VideoFeatures(folders["video"])
    assert features(a_video(0, 21)).shape == features(a_video(0, 2)).shape == (16,)
    assert torch.equal(features(a_video(0)), features(a_video(0)))
    assert not torch.allclose(features(a_video(0)), features(a_video(0).flip(0)))


@pytest.mark.parametrize("samples", [5, 500])
def test_the_frechet_distance_is_that_of_the_textbook(samples: int):
    """Against the matrix square root of the covariances, also where there are fewer samples than dimensions."""
    generator = torch.Generator().manual_seed(samples)
    a = torch.randn(samples, 8, generator=generator, dtype=torch.float64)
    b = torch.randn(samples, 8, generator=generator, dtype=torch.float64) * torch.linspace(0.5, 2, 8) + 1
    scipy = pytest.importorskip("scipy.linalg")
    root = torch.from_numpy(scipy.sqrtm((a.T.cov() @ b.T.cov()).numpy()).real)
    expected = (a.mean(0) - b.mean(0)).square().sum() + torch.trace(a.T.cov() + b.T.cov() - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(float(expected), rel=1e-4)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + 3) == pytest.approx(9 * 8)


@pytest.mark.parametrize("network", [ClipSimilarity, VideoFeatures])
def test_what_is_no_model_is_refused(network: type, folders: dict[str, Path], tmp_path: Path):
    kind = "clip" if network is ClipSimilarity else "video"
    with pytest.raises(DimoError, match=r"expected a folder with config\.json"):
        network(tmp_path)
    broken = shutil.copytree(folders[kind], tmp_path / "broken")
    whole = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DimoError, match="broken cannot be loaded"):
        network(broken)
    other = folders["video" if kind == "clip" else "clip"]
    with pytest.raises(DimoError, match="model"):
        network(other)


def test_weights_of_another_shape_are_refused(folders: dict[str, Path], tmp_path: Path):
    other = shutil.copytree(folders["clip"], tmp_path / "other")
    config = (other / "config.json").read_text()
    (other / "config.json").write_text(config.replace('"projection_dim": 8', '"projection_dim": 12'))
    with pytest.raises(DimoError, match="cannot be loaded"):
        ClipSimilarity(other)


def test_weights_that_could_run_code_are_refused(folders: dict[str, Path], tmp_path: Path):
    pickled = shutil.copytree(folders["clip"], tmp_path / "pickled")
    torch.save({}, pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    with pytest.raises(DimoError, match="cannot be loaded"):
        ClipSimilarity(pickled)
