"""The set of packages that is installed: nothing contradicts anything, but for what is left out by intention."""

import re
import sysconfig
import tomllib
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def overridden() -> set[str]:
    """What pyproject.toml says to leave out, or to take in other versions than nerfstudio wants."""
    rules = tomllib.loads(PROJECT.read_text())["tool"]["uv"]["override-dependencies"]
    return {canonicalize_name(Requirement(rule).name) for rule in rules}


def packages() -> dict[str, Distribution]:
    """What is installed, by name; what setuptools brings inside itself and puts on the path does not count."""
    found = distributions(path=[sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    return {canonicalize_name(package.metadata["Name"]): package for package in found}


def conflicts() -> list[str]:
    """Every requirement of an installed package, extras aside, that is not met."""
    installed = packages()
    found = []
    for name, package in installed.items():
        for text in package.requires or ():
            wanted = Requirement(text)
            if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
                continue
            have = installed.get(canonicalize_name(wanted.name))
            if have is None or not wanted.specifier.contains(have.version, prereleases=True):
                found.append(f"{name} wants {wanted}, and there is {have.version if have else 'none'}")
    return found


def test_nothing_contradicts_anything_but_what_is_left_out_by_intention():
    intended = overridden()
    others = [c for c in conflicts() if canonicalize_name(re.match(r"\S+ wants ([\w.-]+)", c)[1]) not in intended]
    assert others == []


def test_the_extra_for_generation_is_installed_as_the_project_declares_it():
    installed = {name: package.version for name, package in packages().items()}
    wanted = [
        Requirement(text) for text in tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]["generate"]
    ]
    if "diffusers" not in installed:
        pytest.skip("needs the 'generate' extra")
    for one in wanted:
        assert one.specifier.contains(installed[canonicalize_name(one.name)]), one


def test_a_tokenizer_that_is_a_sentencepiece_model_alone_can_be_read(tmp_path):
    """As CogVideoX's is. sentencepiece 0.2.3 wants a newer protobuf than nerfstudio allows, without saying so."""
    transformers = pytest.importorskip("transformers", reason="needs the 'generate' extra")
    import sentencepiece

    (tmp_path / "words.txt").write_text(
        "\n".join(f"the fox {i} walks in place and jumps {chr(97 + i % 26) * 3}" for i in range(500))
    )
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "words.txt"), model_prefix=str(tmp_path / "spiece"), vocab_size=60, pad_id=0, eos_id=1,
        unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    tokenizer = transformers.T5Tokenizer.from_pretrained(tmp_path, extra_ids=0)
    assert tokenizer.decode(tokenizer("the fox jumps").input_ids, skip_special_tokens=True) == "the fox jumps"
