"""Bad input to every command ends in a sentence: an even sample of what benchmarks/hostile gives them."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_a_sample_of_bad_input_is_refused_or_taken():
    words = [sys.executable, "-m", "benchmarks.hostile", "--limit", "60"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "60 cases" in done.stdout
