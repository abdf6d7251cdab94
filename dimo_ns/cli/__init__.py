"""`dimo`: the command line beside nerfstudio's own. Every command is a few lines over the function that does the work,
imported only when it is called, so that `dimo --help` is quick."""

import os
import sys
from contextlib import nullcontext

import tyro

from dimo_ns.cli.commands import check_command, choice
from dimo_ns.cli.data import Data
from dimo_ns.cli.evaluate import evaluate
from dimo_ns.cli.export import Export
from dimo_ns.cli.fit import fit
from dimo_ns.cli.generate import Generate, with_run
from dimo_ns.cli.importing import Import
from dimo_ns.cli.interpolate import interpolate
from dimo_ns.cli.render import render
from dimo_ns.cli.runs import demo, report
from dimo_ns.cli.sample import sample
from dimo_ns.cli.text import Text, short_form
from dimo_ns.cli.view import view
from dimo_ns.errors import exit_on_error
from dimo_ns.files.caches import settle

TRACEBACK = "--traceback"
DESCRIPTION = f"""One model of an object and all its motions. With {TRACEBACK}, an error shows where in the program it
came from."""


def main(args: list[str] | None = None) -> None:
    """Entry point: exits with 2 and one sentence on stderr after a user's error, with 130 after Ctrl-C."""
    commands = choice(
        data=Data,
        generate=Generate,
        export=Export,
        render=render,
        view=view,
        sample=sample,
        interpolate=interpolate,
        text=Text,
        fit=fit,
        evaluate=evaluate,
        demo=demo,
        report=report,
        **{"import": Import},
    )
    # Before torch is imported: its threads, while they wait, leave the cores to other programs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Nothing is shown by matplotlib, and a notebook's backend may not be installed here.
    os.environ["MPLBACKEND"] = "agg"
    settle()
    args = list(sys.argv[1:] if args is None else args)
    whole = TRACEBACK in args
    args = with_run(short_form([word for word in args if word != TRACEBACK]))
    markers = (tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes)
    with nullcontext() if whole else exit_on_error():
        check_command(args, commands)
        tyro.cli(commands, prog="dimo", description=DESCRIPTION, args=args, config=markers)
