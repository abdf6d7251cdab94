"""From end to end through the command line: every video pipeline and the multi-view model with tiny random weights that
were saved to disk, a dataset, a training; and what is refused on the way."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from tests.generate import tiny_multiview, tiny_pipelines
from tests.generate.clips import disc

pytest.importorskip("diffusers", reason="needs the 'generate' extra")

from dimo_ns import cli
from dimo_ns.data.format import load
from dimo_ns.errors import DimoError
from dimo_ns.generate import presets
from dimo_ns.generate.image_to_video import Videos
from tests.generate.stub_makers import tree


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights and presets of all kinds, and a picture."""
    folder = tmp_path_factory.mktemp("shelf")
    for kind in tiny_pipelines.KINDS:
        tiny_pipelines.save(kind, folder / kind)
    tiny_multiview.save(folder / f"{tiny_multiview.NAME}.safetensors")
    Image.fromarray(disc(48, 48, 25)).save(folder / "disc.png")
    return folder


def command(shelf: Path, kind: str, out: Path, *more: str) -> list[str]:
    return [
        "generate", str(shelf / "disc.png"), "-o", str(out), "--category", "rigid", "--device", "cpu",
        "--preset", str(shelf / f"{kind}.yaml"), "--weights", str(shelf / kind),
        "--multiview-weights", str(shelf / f"{tiny_multiview.NAME}.safetensors"),
        "--frames", "4", "--size", "64", "--retries", "0", "--keep-flagged", "--motions", "1", *more,
    ]  # fmt: skip


@pytest.mark.parametrize("kind", tiny_pipelines.KINDS)
def test_a_picture_becomes_a_dataset(shelf, tmp_path, monkeypatch, kind):
    tiny_multiview.expect(monkeypatch)
    count = 2 if kind == tiny_pipelines.KINDS[0] else 1
    cli.main(command(shelf, kind, tmp_path / "set", "--motions", str(count)))
    dataset = load(tmp_path / "set")
    assert [v.azimuth_deg for v in dataset.views] == [0, 90, 180, 270]
    assert (len(dataset.motions), dataset.frames) == (count, 4)
    assert dataset.motions[0].prompt == "jumps up and down"
    before = tree(tmp_path / "set", tmp_path / "set.work")
    monkeypatch.setattr("dimo_ns.generate.image_to_video.load", None)  # nothing is loaded again
    monkeypatch.setattr("dimo_ns.generate.views.MultiView", None)
    cli.main(command(shelf, kind, tmp_path / "set", "--motions", str(count)))
    assert tree(tmp_path / "set", tmp_path / "set.work") == before
    if count > 1:
        train(tmp_path / "set", tmp_path)


def train(data: Path, folder: Path) -> None:
    """20 steps of ns-train on noise: what comes out of random weights."""
    code = (
        "import sys; from nerfstudio.scripts.train import entrypoint; entrypoint();"
        "assert not {'diffusers', 'transformers', 'openai', 'accelerate'} & set(sys.modules)"
    )
    result = subprocess.run(
        [
            sys.executable, "-c", code, "dimo-laptop", "--data", str(data), "--output-dir", str(folder / "out"),
            "--max-num-iterations", "20", "--vis", "tensorboard",
        ],
        capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert list((folder / "out").rglob("*.ckpt"))


def test_one_seed_is_one_video_and_it_can_be_stopped_at_a_step(shelf):
    kind = "wan2.2-i2v-a14b"
    preset = presets.read(shelf / f"{kind}.yaml")
    videos = Videos(preset, "cpu", shelf / kind)
    image = disc(32, 32, 15, side=64)
    steps: list[tuple[int, int]] = []
    first = videos(image, "a disc jumps", "camera", 5, lambda done, total: steps.append((done, total)))
    assert steps == [(1, 2), (2, 2)]
    assert first.shape == (9, 64, 64, 3)
    again = Videos(preset, "cpu", shelf / kind)(image, "a disc jumps", "camera", 5, lambda *_: None)
    assert np.array_equal(first, again)
    for other in [("a fox walks", 5), ("a disc jumps", 6)]:
        assert not np.array_equal(first, videos(image, other[0], "camera", other[1], lambda *_: None))

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        videos(image, "a disc jumps", "camera", 5, stop)


@pytest.mark.parametrize("kind", tiny_pipelines.KINDS)
def test_in_the_precision_of_a_gpu_it_is_nearly_the_same_video(shelf, kind):
    preset = presets.replace(presets.read(shelf / f"{kind}.yaml"), tiling=True)
    made = []
    for precision in (torch.float32, torch.bfloat16):
        videos = Videos(preset, "cpu", shelf / kind)
        videos.dtype = precision
        made.append(videos(disc(32, 32, 15, side=64), "a disc jumps", "camera", 3, lambda *_: None).astype(float))
    assert 0 < np.abs(made[0] - made[1]).mean() < 2  # of 255
    vae = next(videos.pipe.vae.parameters()).dtype
    assert vae == (torch.float32 if kind.startswith("wan") else torch.bfloat16)


def test_not_enough_memory_names_what_to_do(shelf, monkeypatch):
    preset = presets.read(shelf / "hunyuan.yaml")
    videos = Videos(preset, "cpu", shelf / "hunyuan")

    def full(*_):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr("dimo_ns.generate.image_to_video.load", full)
    with pytest.raises(DimoError, match=r"'hunyuan' needs more memory than the GPU has .*take a smaller one"):
        videos(disc(32, 32, 15, side=64), "a", "b", 1, lambda *_: None)


@pytest.mark.parametrize("step", [4, 8, 16])
def test_numbers_of_frames_are_rounded_to_what_the_model_makes(shelf, step):
    model = presets.read(shelf / "hunyuan.yaml").model
    model = presets.replace(model, frame_step=step, most_frames=5 * step + 1)
    for frames in range(1, 200):
        made = presets.rounded(frames, model)
        assert made % step == 1
        assert step + 1 <= made <= 5 * step + 1
        if step + 1 <= frames <= 5 * step + 1:
            assert abs(made - frames) <= step / 2


def test_the_dry_run_says_what_there_is_to_do_and_makes_nothing(shelf, tmp_path, monkeypatch, capsys):
    tiny_multiview.expect(monkeypatch)
    preset = yaml.safe_load((shelf / "wan2.2-ti2v-5b.yaml").read_text()) | {"frames": 11}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(preset))
    args = command(shelf, "wan2.2-ti2v-5b", tmp_path / "set", "--motions", "40", "--dry-run")
    args[args.index("--preset") + 1] = str(tmp_path / "mine.yaml")
    cli.main(args)
    said = capsys.readouterr().out
    assert "makes 4k+1 frames" in said
    assert "There are 36 motions, not 40." in said
    rows = {
        line.split("│")[1].strip(): line.split("│")[2].strip() for line in said.splitlines() if line.count("│") == 3
    }
    assert (rows["videos"], rows["clips"], rows["chunks of views"]) == ("36", "36", "108")
    assert set(rows) >= {"RTX 4090, computed", "disk", "GPU memory"}
    assert not (tmp_path / "set").exists()
    assert not (tmp_path / "set.work").exists()
    cli.main([*args, "--weights", str(tmp_path / "absent")])
    assert "model_index.json is missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (["--category", "dragon"], "no category 'dragon'"),
        (["--weights", "absent"], "model_index.json is missing; get them .* with 'hf download nobody/hunyuan'"),
        (["--multiview-weights", "absent.safetensors"], "hf download stabilityai/sv4d2.0 sv4d2_8views.safetensors"),
        (["--preset", "7gb"], "no preset '7gb'; choose one of 12gb, 16gb"),
        (["--matting", "magic"], "no matting 'magic'"),
        (["--frames", "10"], "10 frames are wanted and 'hunyuan' makes videos of 9"),
        (["--size", "100"], "expected a multiple of 64"),
        (["--prompts", "absent.txt"], "The file absent.txt is missing"),
        (["--endpoint", "http://127.0.0.1:9/v1"], "--language-model"),
        (["--motions", "0"], "0 motions were asked for; expected 1 or more"),
        (["--device", "tpu"], "no device 'tpu' here; choose cuda, cuda:0 or cpu"),
        (["--device", "cuda"], "no device 'cuda' here"),
    ],
)
def test_bad_input_is_one_sentence(shelf, tmp_path, monkeypatch, capsys, change, complaint):
    if change == ["--device", "cuda"] and torch.cuda.is_available():
        pytest.skip("there is one")
    tiny_multiview.expect(monkeypatch)
    args = command(shelf, "hunyuan", tmp_path / "set")
    if change[0] == "--endpoint":
        at = args.index("--category")
        del args[at : at + 2]
    with pytest.raises(SystemExit) as exit_info:
        cli.main([*args, *change])
    assert exit_info.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(complaint, line), line
    assert not (tmp_path / "set").exists()
    assert not (tmp_path / "set.work").exists()


def test_without_a_category_the_motions_suit_anything_and_that_is_said(shelf, tmp_path, monkeypatch, capsys):
    tiny_multiview.expect(monkeypatch)
    args = [a for a in command(shelf, "hunyuan", tmp_path / "set", "--dry-run") if a not in ("--category", "rigid")]
    cli.main(args)
    said = capsys.readouterr().out
    assert "No --category is given" in said
    assert "biped, bird, fish, quadruped, soft, vehicle." in said


def test_all_motions_of_a_file_are_taken_unless_fewer_are_asked_for(tmp_path):
    from dimo_ns.generate.image import Picture
    from dimo_ns.generate.items import Items
    from dimo_ns.generate.start import MOTIONS, Words, motions_of, remarks

    (tmp_path / "p.txt").write_text("".join(f"does number {i}\n" for i in range(MOTIONS + 20)) + "does number 3\n\n")
    nothing = Picture(np.zeros((1, 1, 4), np.uint8), ()), Items(tmp_path)
    words = Words(file=tmp_path / "p.txt")
    assert len(motions_of(words, *nothing)) == MOTIONS + 20
    assert remarks(words, MOTIONS + 20) == [f"Motions of {words.file}, without repetitions: {MOTIONS + 20}."]
    assert len(motions_of(Words(4, file=tmp_path / "p.txt"), *nothing)) == 4


def test_one_view_is_a_dataset_too(shelf, tmp_path, monkeypatch):
    args = command(shelf, "hunyuan", tmp_path / "set", "--one-view")
    at = args.index("--multiview-weights")
    del args[at : at + 2]
    cli.main(args)
    dataset = load(tmp_path / "set")
    assert [v.azimuth_deg for v in dataset.views] == [0]
    assert not (tmp_path / "set.work" / "views").exists()


def test_a_dataset_that_is_there_is_seen_before_anything_else_is_computed(shelf, tmp_path, monkeypatch, capsys):
    tiny_multiview.expect(monkeypatch)
    cli.main(command(shelf, "hunyuan", tmp_path / "set"))
    before = tree(tmp_path / "set", tmp_path / "set.work")
    monkeypatch.setattr("dimo_ns.generate.image_to_video.load", None)
    with pytest.raises(SystemExit) as exit_info:
        cli.main(command(shelf, "hunyuan", tmp_path / "set", "--seed", "7"))
    assert exit_info.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is there already, and 5 videos, clips and chunks of views are still to be made" in line
    assert tree(tmp_path / "set", tmp_path / "set.work") == before


def test_where_nobody_sees_bars_every_item_is_a_line(capsys):
    from dimo_ns.cli.generate import _shown

    with _shown() as progress:
        for _ in range(3):  # as while other processes are waited for
            progress.item("videos", "walks [fast]", 1, 5)
            progress.step(1, 2)
    assert capsys.readouterr().out == "videos: walks [fast] (2 of 5)\n"


def test_an_output_that_is_not_ours_is_left_alone(shelf, tmp_path, capsys):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "precious.txt").write_text("x")
    with pytest.raises(SystemExit):
        cli.main(command(shelf, "hunyuan", tmp_path / "set"))
    assert "is not empty; choose another place" in capsys.readouterr().err
    assert [p.name for p in tmp_path.rglob("*")] == ["set", "precious.txt"]


def test_a_disk_that_is_too_small_is_said_before_anything_is_made(shelf, tmp_path, monkeypatch, capsys):
    import shutil

    tiny_multiview.expect(monkeypatch)
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(SystemExit):
        cli.main(command(shelf, "hunyuan", tmp_path / "set"))
    assert "GB are needed and the disk of" in capsys.readouterr().err
    assert not list((tmp_path / "set.work").rglob("*.mp4"))


def test_prompts_alone_can_be_written_edited_and_used(tmp_path):
    cli.main(["generate", "prompts", "-o", str(tmp_path / "p.yaml"), "--category", "bird", "--motions", "7"])
    assert len(yaml.safe_load((tmp_path / "p.yaml").read_text())["motions"]) == 7
    for path in ("p.yaml", "absent/p.yaml"):
        with pytest.raises(SystemExit) as exit_info:
            cli.main(["generate", "prompts", "-o", str(tmp_path / path), "--category", "bird"])
        assert exit_info.value.code == 2


def test_the_command_line_and_what_runs_without_models_load_neither_diffusers_nor_transformers():
    code = """
import sys
import dimo_ns, dimo_ns.cli, dimo_ns.generate.generation, dimo_ns.generate.start, dimo_ns.generate.doctor
print(sorted({m.split(".")[0] for m in sys.modules} & {"diffusers", "transformers", "openai", "accelerate"}))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_every_preset_that_comes_with_dimo_can_be_run():
    from dimo_ns.files.fields import is_name

    found = presets.all_presets()
    assert {p.model.name for p in found} == set(presets.models())
    for preset in found:
        assert preset.fitted() == (preset, [])
        assert is_name(preset.name)
    assert [p.name for p in found if p.automatic] == ["12gb", "16gb", "24gb", "80gb"]
    json.dumps([p.name for p in found])


@pytest.mark.parametrize(("free", "name"), [(11, "12gb"), (15.5, "16gb"), (23.6, "24gb"), (79, "80gb"), (200, "80gb")])
def test_the_largest_preset_that_fits_is_chosen(free, name):
    assert presets.fitting(free).name == name


def test_a_preset_that_does_not_fit_names_the_one_that_does():
    with pytest.raises(DimoError, match=r"'80gb' needs 70 GB and the GPU has 15.0 GB free; '16gb' fits"):
        presets.fitting(15, "80gb")
    with pytest.raises(DimoError, match=r"6.0 GB free; the smallest preset, '12gb', needs 10.5 GB"):
        presets.fitting(6)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"height": "tall"}, "'height' is \"tall\"; expected a whole number of at least 1"),
        ({"hight": 3}, "there is no field 'hight'; the fields are name, needs_gb"),
        ({"model": "sora"}, "'model' is \"sora\"; expected one of wan2.2-ti2v-5b"),
        ({"model": "cogvideox-5b"}, "makes 720 x 480 only"),
        ({"height": 70}, "makes multiples of 16"),
        ({"offload": "disk"}, "'offload' is \"disk\"; expected 'none' or 'model' or 'group'"),
        ({"multiview": "sv9"}, "no multi-view model 'sv9'"),
        ({"steps": None}, "'steps' is null; expected a whole number"),
    ],
)
def test_a_preset_with_a_mistake_is_refused(shelf, tmp_path, change, complaint):
    content = yaml.safe_load((shelf / "hunyuan.yaml").read_text()) | change
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(DimoError, match=complaint):
        presets.read(tmp_path / "a.yaml")


def test_run_may_be_left_out():
    from dimo_ns.cli.generate import with_run

    assert with_run(["generate", "a.png", "-o", "b"]) == ["generate", "run", "a.png", "-o", "b"]
    assert with_run(["generate", "-o", "b", "a.png"]) == ["generate", "run", "-o", "b", "a.png"]
    for args in (
        ["generate", "doctor"],
        ["generate", "run", "a"],
        ["generate", "--help"],
        ["generate"],
        ["data", "x"],
        [],
    ):
        assert with_run(args) == args
