"""`dimo demo` and `dimo report`: a training from end to end, and what came of one."""

from pathlib import Path

from dimo_ns.cli.commands import Out, Positional, say
from dimo_ns.errors import needs


@needs("train", "dimo demo")
def demo(out: Out = Path("demo")) -> None:
    """Train on the sample dataset, without a GPU too, and export pictures, a video and a page to play with.

    Args:
        out: Folder for everything that is made.
    """
    import dimo_ns.demo

    dimo_ns.demo.run(out, say)


@needs("train", "dimo report")
def report(run: Positional[Path]) -> None:
    """Write the report of a training run: what it was, how long it took, how good it became.

    Args:
        run: Folder of a training run, the one with config.yml.
    """
    from dimo_ns.reports.run_page import write_run_page

    say(write_run_page(run))
