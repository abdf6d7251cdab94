"""Weights are judged by their headers alone: files with true headers and holes for content, and what can be wrong."""

import json
import re
from pathlib import Path

import pytest

from dimo_ns import cli
from dimo_ns.errors import DimoError
from dimo_ns.generate import checkpoints, doctor, presets
from dimo_ns.generate.checkpoints import check, read_header
from dimo_ns.generate.presets import Model

MODEL = Model(
    name="made-up", pipeline="WanImageToVideoPipeline", repo="nobody/made-up", licence="none",
    parameters={"transformer": 5.0}, gigabytes=24, frame_step=4, most_frames=81, multiple=16, fps=16, patch=16,
    layers=1, channels=1,
)  # fmt: skip
COMPONENTS = {"transformer": 5.0, "vae": 0.7, "text_encoder": 5.7}


def headers_only(path: Path, billions: float) -> None:
    """A file whose header tells of so many parameters in bfloat16, and which has the right size without its content."""
    count = round(billions * 1e9)
    header = json.dumps(
        {"w": {"dtype": "BF16", "shape": [count // 1000, 1000], "data_offsets": [0, 2 * count]}}
    ).encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 2 * count)  # a hole, which takes no room on the disk


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / ("0123456789abcdef" * 3)[:40]
    index = {"_class_name": MODEL.pipeline, "scheduler": ["diffusers", "S"], "image_encoder": [None, None]}
    (folder / "scheduler").mkdir(parents=True)
    for name, billions in COMPONENTS.items():
        index[name] = ["diffusers", "X"]
        (folder / name).mkdir()
        (folder / name / "config.json").write_text("{}")
        if name == "text_encoder":
            for i in (1, 2):
                headers_only(folder / name / f"model-{i}.safetensors", billions / 2)
            shards = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
            (folder / name / "model.safetensors.index.json").write_text(json.dumps(shards))
        else:
            headers_only(folder / name / "diffusion_pytorch_model.safetensors", billions)
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def test_whole_weights_of_the_right_model_are_known_by_commit_and_headers(weights):
    about = check(MODEL, weights)
    assert about["commit"] == weights.name
    assert check(MODEL, weights) == about
    headers_only(weights / "vae" / "diffusion_pytorch_model.safetensors", 0.71)
    assert check(MODEL, weights)["headers"] != about["headers"]


FILE = "diffusion_pytorch_model.safetensors"


def broken(folder: Path, how: str) -> None:
    if how == "cut off":
        path = folder / "transformer" / FILE
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size - 1000)
    elif how == "empty":
        (folder / "vae" / FILE).write_bytes(b"")
    elif how == "a web page":
        (folder / "vae" / FILE).write_text("<html>" * 100)
    elif how == "a shard missing":
        (folder / "text_encoder" / "model-2.safetensors").unlink()
    elif how == "a folder missing":
        (folder / "scheduler").rmdir()
    elif how == "no weights":
        (folder / "vae" / FILE).unlink()
    elif how == "pickles":
        (folder / "vae" / FILE).rename(folder / "vae" / "diffusion_pytorch_model.bin")
    elif how == "another size":
        headers_only(folder / "transformer" / FILE, 14.3)
    elif how == "another pipeline":
        (folder / "model_index.json").write_text(json.dumps({"_class_name": "CogVideoXImageToVideoPipeline"}))
    elif how == "no index":
        (folder / "model_index.json").write_text("{")


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        (
            "cut off",
            r"transformer/diffusion_pytorch_model.safetensors has 9,999,999,\d{3} bytes and must have 10,000,000,\d",
        ),
        ("empty", "vae/diffusion.* is not a safetensors file"),
        ("a web page", "vae/diffusion.* is not a safetensors file"),
        ("a shard missing", "text_encoder/model-2.safetensors is missing"),
        ("a folder missing", "scheduler is missing"),
        ("no weights", r"vae has no .safetensors"),
        ("pickles", r"\.bin files only, which can run code"),
        ("another size", "not those of made-up: 'transformer' has 14.30 billion parameters, expected 5.00"),
        ("another pipeline", "are for CogVideoXImageToVideoPipeline, not for WanImageToVideoPipeline"),
        ("no index", r"model_index.json cannot be read"),
    ],
)
def test_what_is_wrong_with_weights_is_named_with_the_size_and_the_command_that_gets_them(weights, how, complaint):
    broken(weights, how)
    with pytest.raises(DimoError, match=complaint) as refused:
        check(MODEL, weights)
    assert "get them (about 24 GB) with 'hf download nobody/made-up'" in str(refused.value)


def test_a_header_tells_parameters_without_reading_them(tmp_path):
    headers_only(tmp_path / "a.safetensors", 7)
    assert read_header(tmp_path / "a.safetensors").parameters == 7_000_000_000


def test_weights_are_not_fetched_unasked(monkeypatch, tmp_path):
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        DimoError, match=r"not on this machine; get them .* 'hf download nobody/made-up --revision abc'"
    ):
        checkpoints.find(presets.replace(MODEL, revision="abc"), None)


def test_every_model_that_comes_with_dimo_is_pinned_to_a_commit():
    for model in presets.models().values():
        assert re.fullmatch("[0-9a-f]{40}", model.revision or ""), model.name
        assert model.download == f"hf download {model.repo} --revision {model.revision}"


def test_too_little_main_memory_is_said(monkeypatch):
    preset = presets.preset_named("80gb")
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_PHYS_PAGES": 16_000_000, "SC_PAGE_SIZE": 4000}[name])
    found = doctor.main_memory(preset)
    assert (found.state, found.text) == ("missing", "64.0 GB; '80gb' needs about 80")
    assert doctor.main_memory(presets.preset_named("24gb")).state == "ok"


def test_the_doctor_says_all_that_is_missing_and_exits_with_2(weights, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    pytest.importorskip("diffusers", reason="needs the 'generate' extra")
    args = [
        "generate",
        "doctor",
        "--preset",
        "24gb",
        "--weights",
        str(weights),
        "--multiview-weights",
        str(tmp_path / "x"),
    ]
    with pytest.raises(SystemExit) as exit_info:
        cli.main(args)
    assert exit_info.value.code == 2
    shown = capsys.readouterr()
    assert "Preset '24gb'" in shown.out
    text = " ".join(shown.out.replace("│", " ").split())
    assert "the file (12.0 GB)" in text
    assert "--matting rembg:MODEL: pip install 'rembg[cpu]'" in text
    assert "'24gb' needs about 32" in text
    commands = shown.out.split("What gets it:\n")[1].splitlines()  # whole, to be copied, however narrow the screen is
    assert "  hf download stabilityai/sv4d2.0 sv4d2_8views.safetensors --local-dir ." in commands
    (video,) = (line for line in commands if "Wan-AI" in line)
    assert re.fullmatch("  hf download Wan-AI/Wan2.2-I2V-A14B-Diffusers --revision [0-9a-f]{40}", video)
    assert "Apache-2.0" in text
    assert "bitsandbytes" in text
    assert shown.err.strip().endswith("GPU, video model, multi-view model.") or "bitsandbytes" in shown.err


def test_versions_are_compared_as_versions(monkeypatch):
    assert doctor.older("0.9", "0.42")
    assert not doctor.older("5.23.0", "5")
    monkeypatch.setattr(doctor, "installed", lambda name: {"diffusers": "0.30", "transformers": None}.get(name, "99"))
    found = {f.what: f for f in doctor.packages(presets.preset_named("24gb"))}
    assert found["diffusers"].state == found["transformers"].state == "missing"
    assert "too old" in found["diffusers"].text
    assert found["torch"].state == "ok"
