"""Runs with stubs: nothing is done twice, kills leave no trace, flagged clips are kept aside and tried again."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dimo_ns.data.check import check
from dimo_ns.data.frames import read_clip
from dimo_ns.errors import DimoError
from dimo_ns.generate.assembly import in_common
from dimo_ns.generate.clip_files import read_frames, write_video
from dimo_ns.generate.framing import object_box, square_around
from dimo_ns.generate.generation import Generation
from dimo_ns.generate.items import Item, Items
from dimo_ns.generate.videos import GivenVideos
from dimo_ns.generate.work import work_folder
from tests.generate.clips import clip
from tests.generate.stub_makers import FRAMES, SETTINGS, StubVideos, StubViews, do_all, motions, stub_generation, tree

ROOT = Path(__file__).parents[2]


def test_a_dataset_comes_out_with_every_motion_and_view(tmp_path):
    made = stub_generation(tmp_path / "set.work")
    dataset = do_all(made, tmp_path / "set")
    assert [m.name for m in dataset.motions] == ["move_0", "move_1", "move_2"]
    assert [v.azimuth_deg for v in dataset.views] == [0, 90, 180]
    assert dataset.frames == FRAMES
    assert dataset.motions[0].times_s == (0.0, 0.1, 0.3, 0.4, 0.5, 0.7, 0.8)
    assert check(tmp_path / "set").ok
    front, _, swapped = (next(iter(read_clip(dataset, "move_0", v.name)))[1] for v in dataset.views)
    assert ((front[..., 3] > 127) != (swapped[..., 3] > 127)).mean() < 0.06  # the edge is a pixel of 64
    solid = (front[..., 3] == 255) & (swapped[..., 3] == 255)
    assert np.abs(front[solid][:, :3].astype(int) - swapped[solid][:, 2::-1]).mean() < 3
    assert sorted(p.name for p in (tmp_path / "set.work").iterdir()) == [
        "clips", "clips.png", "manifest.json", "run.json", "videos", "views",
    ]  # fmt: skip


def test_a_second_run_computes_nothing_and_changes_nothing(tmp_path):
    do_all(stub_generation(tmp_path / "set.work"), tmp_path / "set")
    before = tree(tmp_path / "set", tmp_path / "set.work")
    again = stub_generation(tmp_path / "set.work")
    do_all(again, tmp_path / "set")
    assert again.tries.videos.maker.calls == again.views.maker.calls == []
    assert tree(tmp_path / "set", tmp_path / "set.work") == before


def test_only_what_depends_on_a_change_is_made_anew_and_the_rest_is_kept(tmp_path):
    do_all(stub_generation(tmp_path / "set.work"), tmp_path / "set")
    before = tree(tmp_path / "set.work" / "videos")
    other = stub_generation(tmp_path / "set.work", settings=replace(SETTINGS, size=128))
    do_all(other, tmp_path / "set2")
    assert other.tries.videos.maker.calls == []
    assert len(other.views.maker.calls) == 6
    more = stub_generation(tmp_path / "set.work", count=4)
    do_all(more, tmp_path / "set3")
    assert [prompt for prompt, _ in more.tries.videos.maker.calls] == [motions(4)[3].prompt]
    assert len(more.views.maker.calls) == 2
    assert before.items() <= tree(tmp_path / "set.work" / "videos").items()
    changed = stub_generation(
        tmp_path / "set.work", settings=replace(SETTINGS, limits=replace(SETTINGS.limits, most_motion=1e3))
    )
    do_all(changed, tmp_path / "set")
    assert changed.tries.videos.maker.calls == changed.views.maker.calls == []  # limits judge what is there


def test_seeds_depend_on_the_base_seed_the_prompt_and_the_try_alone(tmp_path):
    made, more = stub_generation(tmp_path / "a", 2), stub_generation(tmp_path / "b", 5)
    motion = made.motions[1]
    assert made.tries.seed(motion, 0) == more.tries.seed(more.motions[1], 0)
    seeds = {made.tries.seed(m, n) for m in more.motions for n in range(3)}
    assert len(seeds) == 15
    assert stub_generation(tmp_path / "c", settings=replace(SETTINGS, seed=1)).tries.seed(motion, 0) not in seeds


def test_a_flagged_clip_is_kept_aside_and_tried_again_with_another_seed(tmp_path):
    made = stub_generation(tmp_path / "set.work", 1, videos=StubVideos(bad=2))
    do_all(made, tmp_path / "set")
    tries = made.tries.of(made.motions[0])
    assert [list(clip.flags) for clip in tries] == [["still"], ["still"], []]
    assert len({seed for _, seed in made.tries.videos.maker.calls}) == 3
    assert len(list((tmp_path / "set.work" / "videos").iterdir())) == 3
    (row,) = json.loads((tmp_path / "set.work" / "manifest.json").read_text())["motions"]
    assert [list(t["flags"]) for t in row["tries"]] == [["still"], ["still"], []]
    assert row["clip"] == row["tries"][2]["clip"]


def test_a_motion_whose_tries_all_fail_is_left_out_or_kept_if_asked(tmp_path):
    bad = stub_generation(tmp_path / "set.work", 2, videos=StubVideos(bad=9))
    bad.make_clips()
    with pytest.raises(DimoError, match=r"No clip can be used; see .*clips.png .*--keep-flagged"):
        bad.kept()
    asked = stub_generation(tmp_path / "set.work", 2, settings=replace(SETTINGS, keep_flagged=True))
    dataset = do_all(asked, tmp_path / "set")
    assert len(dataset.motions) == 2
    assert asked.tries.videos.maker.calls == []


def test_the_folder_and_the_output_of_another_object_are_refused(tmp_path):
    do_all(stub_generation(tmp_path / "set.work"), tmp_path / "set")
    with pytest.raises(DimoError, match=r"is that of another object .*choose another output"):
        Generation(tmp_path / "set.work", "another", motions(1), SETTINGS, GivenVideos({}))
    other = stub_generation(tmp_path / "other.work", 2)
    before = tree(tmp_path / "set")
    with pytest.raises(DimoError, match="is there already and has another content"):
        do_all(other, tmp_path / "set")
    assert tree(tmp_path / "set") == before


def test_an_interrupt_at_a_step_loses_the_item_at_hand_only(tmp_path):
    class Interrupting:
        def __init__(self, at):
            self.left = at

        def say(self, text): ...
        def item(self, stage, name, done, total): ...

        def step(self, done, total):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

    do_all(stub_generation(tmp_path / "whole.work"), tmp_path / "whole")
    videos, views = StubVideos(), StubViews()
    for at in (2, 3, 1, 2, 1):
        with pytest.raises(KeyboardInterrupt):
            do_all(
                stub_generation(tmp_path / "set.work", videos=videos, views=views, progress=Interrupting(at)),
                tmp_path / "set",
            )
        assert not (tmp_path / "set").exists()
        assert not list((tmp_path / "set.work" / ".partial").iterdir())
    do_all(stub_generation(tmp_path / "set.work", videos=videos, views=views), tmp_path / "set")
    names = [
        {k.split("/", 1)[1]: v for k, v in tree(tmp_path / n, tmp_path / f"{n}.work").items()} for n in ("whole", "set")
    ]
    assert names[0] == names[1]


def test_killed_at_random_moments_it_ends_as_if_it_had_not_been_and_does_nothing_twice(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "tests.generate.killed_generations", str(tmp_path), "12", "20"],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr + result.stdout
    assert int(result.stdout.split()[-1]) >= 10  # children that were killed before their end
    whole = tmp_path / "whole"
    assert tree(tmp_path / "set", tmp_path / "set.work") == tree(whole / "set", whole / "set.work")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.txt", "set", "set.work", "whole"]
    finished: set[str] = set()
    by_prompt = {f"videos/{m.prompt}": f"videos/{m.name}-" for m in motions(12)}
    for line in (tmp_path / "log.txt").read_text().splitlines():
        if line.startswith("FINISHED "):
            finished.add(line.removeprefix("FINISHED "))
        elif line in by_prompt:
            assert not [name for name in finished if name.startswith(by_prompt[line])], line
    assert len(finished) > 12


def test_an_item_that_was_changed_since_is_not_used(tmp_path):
    items = Items(tmp_path)
    item = Item("a/b", {"x": 1})
    assert items.make(item, lambda folder: (folder / "f").write_text("abc") and None)
    assert items.has(item)
    (items.path(item) / "f").write_text("abcd")
    with pytest.raises(DimoError, match="was changed since it was made; remove the folder"):
        items.has(item)
    assert not items.has(Item("a/b", {"x": 2}))


def test_what_fails_to_be_made_leaves_nothing(tmp_path):
    items = Items(tmp_path)

    def fail(folder: Path) -> None:
        (folder / "f").write_text("half")
        raise DimoError("no")

    with pytest.raises(DimoError, match="no"):
        items.make(Item("a", {}), fail)
    assert not items.has(Item("a", {}))
    assert not list((tmp_path / ".partial").iterdir())


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"size": 100}, "size is 100 pixels; expected a multiple of 64"),
        ({"retries": -1}, "-1 retries"),
        ({"frames": 3}, "clip has 3 frames, and at least 4 are needed"),
        ({"matting": "x"}, "no matting 'x'"),
    ],
)
def test_settings_that_a_later_stage_cannot_take_are_refused_at_once(tmp_path, change, complaint):
    with pytest.raises(DimoError, match=complaint):
        stub_generation(tmp_path / "set.work", settings=replace(SETTINGS, **change))
    assert not (tmp_path / "set.work").exists()


def test_a_locked_item_is_left_to_its_maker(tmp_path):
    items = Items(tmp_path)
    with items.lock("a") as mine:
        assert mine
        assert not items.make(Item("a", {}), lambda folder: None)
    assert items.make(Item("a", {}), lambda folder: None)


def test_videos_are_read_as_they_were_written(tmp_path):
    frames = clip(frames=9)
    write_video(tmp_path / "a.mp4", frames, 12)
    write_video(tmp_path / "b.mp4", frames, 12)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    found, times = read_frames(tmp_path / "a.mp4", 5)
    assert np.abs(found[..., :3].astype(int) - frames[::2]).mean() < 2
    assert times == pytest.approx([0, 2 / 12, 4 / 12, 6 / 12, 8 / 12], abs=1e-5)
    assert (found[:, 0, 0] >= 254).all()


def test_clips_that_were_framed_each_by_itself_come_back_to_one_scale():
    """The object as it stands, 100 wide, and a clip in which it reaches to 300: framed it is 0.9 and 0.3 of the picture
    wide; in common it is 0.3 in both, at the place where its video has it."""
    size, common = 600, square_around((100, 100, 400, 400))
    for box in [(100, 100, 200, 200), (100, 100, 400, 400), (150, 200, 250, 280)]:
        square = square_around(box)
        scale = size / (square[2] - square[0])
        solid = np.zeros((1, size, size), bool)
        x0, y0, x1, y1 = (round((v - square[i % 2]) * scale) for i, v in enumerate(box))
        solid[0, y0:y1, x0:x1] = True
        from dimo_ns.generate.framing import cut

        rgba = np.where(solid[..., None], np.uint8(255), np.uint8(0)).repeat(4, -1)
        found = object_box(cut(rgba, in_common(square, common, 0, size), size)[..., 3] > 127)
        assert found is not None
        left, top, right, bottom = found
        expected = [(v - common[i % 2]) * size / (common[2] - common[0]) for i, v in enumerate(box)]
        assert [left, top, right, bottom] == pytest.approx(expected, abs=4)
    box = square_around((100, 100, 200, 200))
    front, back, side = (in_common(box, common, azimuth, size) for azimuth in (0, 180, 90))
    assert front[0] + front[2] - size == pytest.approx(size - back[0] - back[2], abs=2)
    assert front[0] + front[2] - size > 0.5 * size
    assert side[0] + side[2] == pytest.approx(size, abs=2)  # what moves sideways comes nearer or goes farther there
    assert front[1] == back[1] == side[1]


def test_accelerate_splits_the_items_over_its_processes(tmp_path):
    pytest.importorskip("accelerate", reason="needs the 'generate' extra")
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
    ]
    options = ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    result = subprocess.run(
        [*launch, *options, "-m", "tests.generate.accelerated", str(tmp_path)], capture_output=True, text=True, cwd=ROOT
    )
    assert result.returncode == 0, result.stderr
    logs = [(tmp_path / f"log{rank}.txt").read_text().splitlines() for rank in range(2)]
    assert min(len([line for line in log if line.startswith("videos")]) for log in logs) >= 2
    assert len(set(logs[0] + logs[1])) == len(logs[0] + logs[1]) == 8 + 2 * 8
    whole = tmp_path / "whole"
    do_all(stub_generation(whole / "set.work", 8), whole / "set")
    assert tree(tmp_path / "set", tmp_path / "set.work") == tree(whole / "set", whole / "set.work")


def test_progress_counts_what_is_done(tmp_path):
    class Counting:
        def __init__(self):
            self.items, self.steps = [], 0

        def say(self, text): ...
        def item(self, stage, name, done, total):
            self.items.append((stage, name, done, total))

        def step(self, done, total):
            self.steps += 1

    counting = Counting()
    do_all(stub_generation(tmp_path / "set.work", progress=counting), tmp_path / "set")
    stages = ("videos", "views", "dataset")
    assert counting.items == [(stage, f"move_{i}", i, 3) for stage in stages for i in range(3)]
    assert counting.steps == 3 * 3 + 3 * 2


def test_the_first_ctrl_c_waits_for_a_step_and_the_second_does_not():
    from dimo_ns.cli.generate import _shown

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)

    before = signal.getsignal(signal.SIGINT)
    with _shown() as progress:
        progress.step(1, 3)
        interrupt()
        with pytest.raises(KeyboardInterrupt):
            progress.step(2, 3)
        with pytest.raises(KeyboardInterrupt):
            interrupt()
    assert signal.getsignal(signal.SIGINT) is before


def test_work_is_beside_the_folder_that_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert work_folder(Path()) == tmp_path / "a" / "b.work"
    assert work_folder(Path("..")) == tmp_path / "a.work"
    assert work_folder(tmp_path / "out") == tmp_path / "out.work"
    with pytest.raises(DimoError, match="no room for a folder beside /;"):
        work_folder(Path("/"))
