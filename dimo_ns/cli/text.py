"""`dimo text`: motions in words."""

from dataclasses import dataclass
from pathlib import Path

from dimo_ns.cli.commands import OutOrNone, Positional, Scene, choice, is_command, say

CAPTION = 30
"""Letters that fit below a picture."""


def text_fit(
    scene: Scene,
    prompts: Path | None = None,
    encoder: str | None = None,
    revision: str | None = None,
    overwrite: bool = False,
) -> None:
    """Learn what words mean to a scene: from its prompts, the names of its motions, and paraphrases.

    Writes text.safetensors beside the scene.

    Args:
        scene: A scene.safetensors, its folder, or the folder of a training run.
        prompts: Paraphrases in YAML, such as configs/paraphrases/robot.yaml: motion -> train: [...], held_out: [...].
        encoder: A text model, on the Hugging Face Hub or in a folder; by default all-MiniLM-L6-v2, without network.
        revision: Its revision.
        overwrite: Replace what an earlier call has learned.
    """
    from dimo_ns.apps.language import (
        fit_projector,
        load_encoder,
        measure_projector,
        read_paraphrases,
        save_projector,
    )
    from dimo_ns.apps.language.encoder import DEFAULT
    from dimo_ns.apps.language.file import FILE, place
    from dimo_ns.files.output import check_free
    from dimo_ns.runs import open_space

    space = open_space(scene)
    check_free(place(space).parent, [FILE], overwrite)
    paraphrases = read_paraphrases(prompts) if prompts else {}
    projector = fit_projector(space, paraphrases, load_encoder(encoder or DEFAULT, revision))
    say(f"{save_projector(projector)}: {len(space.names)} motions, {len(projector.texts)} texts")
    missing = [name for name in space.names if name not in paraphrases]
    if missing:
        say(f"Known by prompt and name alone, and so less well: {', '.join(missing)}. Add paraphrases with --prompts.")
    if any(entry.held_out for entry in paraphrases.values()):
        found = measure_projector(projector, paraphrases)
        say(
            f"Of {found['texts']} held-out texts, {found['top_1']:.1%} find their motion first, {found['top_3']:.1%} "
            f"among the first three; {found['warned']:.1%} are taken for unknown."
        )


def text_ask(scene: Scene, words: Positional[str], out: OutOrNone = None, overwrite: bool = False) -> None:
    """Say a motion in words: its latent, what it is a mixture of, the nearest known texts; a video with --out.

    The short form is dimo text SCENE "WORDS".

    Args:
        scene: A scene.safetensors, its folder, or the folder of a training run, after dimo text fit.
        words: What is to be seen, such as "raise both arms".
        out: Folder to make, with a video, the latent and the trajectories.
        overwrite: Replace what an earlier call wrote to the same folder.
    """
    from rich.table import Table
    from rich.text import Text as Styled

    from dimo_ns.apps.clips import VIDEO, write_clips
    from dimo_ns.apps.language import check_words, load_projector
    from dimo_ns.files.output import check_free
    from dimo_ns.runs import open_space

    words = check_words(words)
    if out:
        check_free(out, overwrite=overwrite)
    space = open_space(scene)
    answer = load_projector(space).ask(words)
    say(f"{words}: {', '.join(f'{name} {weight:.0%}' for name, weight in answer.motions)}")
    table = Table("similarity", "known text", "motion")
    for text, name, similarity in answer.nearest:
        table.add_row(f"{similarity:.2f}", text, name)
    say(table)
    if not answer.is_known:
        far = "Far from everything that this scene has learned: what comes out may mean nothing."
        say(Styled(far, style="yellow"))
    say(f"latent: {' '.join(f'{value:.4f}' for value in answer.latent.tolist())}")
    if out:
        name = words if len(words) <= CAPTION else f"{words[: CAPTION - 1].rstrip()}…"
        similarity = answer.nearest[0][2]
        about = {"text": words, "motions": dict(answer.motions), "similarity": similarity, "known": answer.is_known}
        write_clips(space, [space.clip(name, answer.latent)], out, overwrite, {name: about})
        say(f"{out}: {VIDEO}")


def short_form(args: list[str]) -> list[str]:
    """`text SCENE WORDS` as `text ask SCENE WORDS`; everything else as it is."""
    if args[:1] != ["text"] or len(args) == 1 or args[1].startswith("-") or is_command(args[1], ("ask", "fit")):
        return args
    return ["text", "ask", *args[1:]]


@dataclass
class Text:
    """Say motions in words: dimo text SCENE "raise both arms", after dimo text fit SCENE."""

    command: choice(fit=text_fit, ask=text_ask)  # pyright: ignore
    """what to do"""
