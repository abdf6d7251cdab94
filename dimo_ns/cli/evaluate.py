"""`dimo evaluate`: how good a scene is at everything that is made from it."""

from pathlib import Path

from dimo_ns.cli.commands import Out, Scene, say


def evaluate(
    scene: Scene,
    data: Path,
    out: Out = Path("evaluation"),
    protocol: Path | None = None,
    paraphrases: Path | None = None,
    clip: Path | None = None,
    fvd: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Measure a scene: reconstruction, held-out motions, samples, blends, words, times. Writes one JSON and one page.

    Args:
        scene: Folder or file of a scene, or a training run.
        data: The dataset that it was trained on.
        out: Folder for evaluation.json and evaluation.png.
        protocol: What is measured, and how much of it: a copy of configs/evaluate.yaml, changed.
        paraphrases: Texts for every motion, known and held out, as in configs/paraphrases.
        clip: Folder of a CLIP model (transformers, safetensors), for the likeness of renders and truth to it.
        fvd: Folder of a VideoMAE model, for the Frechet distance between rendered and true videos.
        overwrite: Replace an evaluation that is there.
    """
    import json

    from dimo_ns.apps.evaluate import Protocol, evaluate_space
    from dimo_ns.apps.language import read_paraphrases
    from dimo_ns.data.format import load
    from dimo_ns.files.output import check_free, complete
    from dimo_ns.metrics.pretrained import ClipSimilarity, VideoFeatures
    from dimo_ns.reports.space_page import draw_space_page
    from dimo_ns.runs import open_space

    names = ["evaluation.json", "evaluation.png"]
    check_free(out, names, overwrite)
    space, dataset = open_space(scene), load(data)
    texts = read_paraphrases(paraphrases) if paraphrases else None
    figures = evaluate_space(
        space,
        dataset,
        Protocol.read(protocol) if protocol else Protocol(),
        texts,
        ClipSimilarity(clip) if clip else None,
        VideoFeatures(fvd) if fvd else None,
        say=say,
    )
    with complete(out, names, overwrite) as folder:
        (folder / names[0]).write_text(json.dumps(figures, indent=1, allow_nan=False) + "\n")
        draw_space_page(figures, folder / names[1])
    say(out / names[0], out / names[1])
