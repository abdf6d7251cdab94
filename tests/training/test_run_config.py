"""config.yml of a run is read as nerfstudio's own loader reads it, and nothing that it names beyond that is made."""

from pathlib import Path

import pytest
import yaml

from dimo_ns.config import dimo, dimo_laptop, dimo_paper
from dimo_ns.errors import DimoError
from dimo_ns.training.run_config import read_config

METHODS = [method.config for method in (dimo, dimo_laptop, dimo_paper)]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.method_name)
def test_what_nerfstudio_writes_is_read(tmp_path: Path, method):
    path = tmp_path / "config.yml"
    path.write_text(yaml.dump(method))  # as nerfstudio's save_config
    assert read_config(path, METHODS) == yaml.load(path.read_text(), yaml.Loader) == method


TOUCH = "touch {0}/ran"
HOSTILE = {
    "call": "!!python/object/apply:os.system ['{touch}']",
    "new": "!!python/object/new:subprocess.Popen [['touch', '{folder}/ran']]",
    "popen": "!!python/object/apply:subprocess.check_output [['touch', '{folder}/ran']]",
    "eval": '!!python/object/apply:builtins.eval [\'__import__("os").system("{touch}")\']',
    "name": "{{a: !!python/name:os.system ''}}",
    "module": "{{a: !!python/module:antigravity ''}}",
    "object": "!!python/object:subprocess.Popen {{args: [touch, '{folder}/ran']}}",
    "called class": "!!python/object/apply:dimo_ns.training.trainer.DimoTrainer [1]",
    "called target": "!!python/object/apply:nerfstudio.utils.writer.LocalWriter [1]",
    "class without fields": "!!python/object:dimo_ns.training.trainer.DimoTrainer {{a: 1}}",
    "enumeration of one's own": "!!python/object/apply:nerfstudio.utils.writer.EventName [a, b c]",
    "enumeration's no member": "!!python/object/apply:nerfstudio.utils.writer.EventName [a]",
    "path of numbers": "!!python/object/apply:pathlib.PosixPath [1]",
    "other path": "!!python/object/apply:pathlib.Path.home []",
    "nested": "a: [1, {{b: !!python/object/apply:os.system ['{touch}']}}]",
    "in a set": "!!set {{? !!python/object/apply:os.system ['{touch}']}}",
    "as a key": "? !!python/object/apply:os.system ['{touch}']\n: 1",
    "no yaml": "[",
    "deep": "[" * 5000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_nothing_else_that_is_named_runs(tmp_path: Path, text: str):
    path = tmp_path / "config.yml"
    path.write_text(text.format(touch=f"touch {tmp_path}/ran", folder=tmp_path))
    with pytest.raises(DimoError, match=r"config\.yml"):
        read_config(path, METHODS)
    assert list(tmp_path.iterdir()) == [path]
