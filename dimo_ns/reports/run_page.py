"""The report of a run: its figures as metrics.json, its pictures and videos, and a page that shows them all."""

import html
import json
from pathlib import Path
from typing import Any

from dimo_ns.draw.contact_sheet import draw_contact_sheet
from dimo_ns.draw.curves import draw_curves, read_scalars
from dimo_ns.draw.latent_map import draw_latent_map
from dimo_ns.draw.motion_videos import trained_motions, write_grid_video, write_orbit_video
from dimo_ns.draw.tracks import draw_tracks
from dimo_ns.runs import RunWithData, load_run
from dimo_ns.training.evaluation import evaluate_model

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2.5rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin-bottom: 0 } h2 { font-size: 1.1rem; margin-top: 2.2rem }
p, figcaption { color: #666 } figure { margin: 1rem 0 } img, video { max-width: 100% }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .2rem .9rem .2rem 0; text-align: right; border-bottom: 1px solid #e4e4e4; font-weight: normal }
th:first-child, td:first-child { text-align: left } thead th { color: #666 }
"""
CHAMFER = {"cd_3d": "CD-3D", "cd_4d": "CD-4D", "cd_m": "CD-M"}


def write_run_page(path: Path) -> Path:
    """Evaluates a run and writes the folder `report` in it: index.html and what it shows. Returns that page.

    `path` is the folder of the run, or its config.yml. Raises DimoError, also while the motions are not in the decoder.
    """
    run = load_run(path)
    model, dataset = run.model, run.pipeline.datamanager.dataset
    scene, motions, frames = run.scene, model.motion_names, model.frame_count
    folder = run.folder / "report"
    folder.mkdir(exist_ok=True)
    figures = evaluate_model(model, run.pipeline.datamanager)
    figures |= {"method": run.config.method_name, "step": run.step, "seed": run.manifest["seed"]}
    (folder / "metrics.json").write_text(json.dumps(figures, indent=1) + "\n")
    shown = trained_motions(scene, motions, frames)
    write_orbit_video(scene, shown, folder / "orbit.mp4")
    write_grid_video(scene, shown, folder / "motions.mp4")
    draw_contact_sheet(scene, dataset, motions, folder / "contact_sheet.png")
    draw_tracks(scene, motions, frames, folder / "tracks.png")
    draw_latent_map(scene.latents, motions, folder / "latent_map.png")
    scalars = read_scalars(run.folder)
    if scalars:
        phases = [(phase.name, phase.length(len(motions))) for phase in model.recipe.phases]
        draw_curves(scalars, phases, folder / "curves.png")
    index = folder / "index.html"
    index.write_text(page(run, figures, bool(scalars)))
    return index


def page(run: RunWithData, figures: dict[str, Any], has_curves: bool) -> str:
    """The HTML page."""
    dataset = run.pipeline.datamanager.dataset
    shown = [
        ("motions.mp4", "All motions", ""),
        ("orbit.mp4", "Once around", "The motions one after another."),
        ("contact_sheet.png", "Truth, render, error", ""),
        (
            "tracks.png",
            "Key points",
            "Trails of some of the key points over the last frame; hidden stretches are faint.",
        ),
        ("latent_map.png", "Latent space", "Means of the motions' latents; ellipses: one standard deviation."),
    ]
    if has_curves:
        shown.append(("curves.png", "Training", ""))
    pictures = "".join(
        f"<h2>{title}</h2><figure>{_shown(name)}<figcaption>{text}</figcaption></figure>" for name, title, text in shown
    )
    missing = "" if has_curves else "<p>No curves: the run was not logged (--vis tensorboard).</p>"
    facts = (
        f"{figures['method']}, step {figures['step']:,}, seed {figures['seed']}; {figures['gaussians']:,} Gaussians, "
        f"{figures['keypoints']} key points, {figures['decoder'].replace('_', '-')} decoder, "
        f"{figures['latent_dim']} numbers per latent; dataset {figures['dataset_hash'][:12]}; "
        + ", ".join(f"{name} {number}" for name, number in figures["versions"].items())
    )
    title = html.escape(dataset.object or run.folder.resolve().name)
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{STYLE}</style>"
        f"<h1>{title}</h1><p>{html.escape(dataset.prompt)}</p>{_tables(figures)}{pictures}{missing}"
        f'<p>{html.escape(facts)}. All figures: <a href="metrics.json">metrics.json</a>.</p></html>\n'
    )


def _shown(name: str) -> str:
    if name.endswith(".mp4"):
        return f'<video src="{name}" autoplay loop muted playsinline controls></video>'
    return f'<img src="{name}" alt="">'


def _tables(figures: dict[str, Any]) -> str:
    columns = [
        ("psnr", "PSNR", 2),
        ("foreground_psnr", "foreground PSNR", 2),
        ("ssim", "SSIM", 4),
        ("flip", "FLIP", 4),
        ("st_lpips", "ST-LPIPS", 4),
        ("lpips", "LPIPS", 4),
    ]
    present = [c for c in columns if c[0] in figures]
    errors, surfaces = figures.get("track_errors", {}), figures.get("chamfer", {})
    head = ["", *(label for _, label, _ in present), "still PSNR"]
    head += ["track error", *CHAMFER.values()] if errors else []
    rows = [
        [
            name,
            *(f"{m[key]:.{digits}f}" if key in m else "" for key, _, digits in present),
            f"{m['still_psnr']:.2f}" if "still_psnr" in m else "",
        ]
        + ([f"{errors[name]['percent']:.2f} %", *(f"{surfaces[name][key]:.4f}" for key in CHAMFER)] if errors else [])
        for name, m in figures["motions"].items()
    ]
    mean = ["all", *(f"{figures[key]:.{digits}f}" for key, _, digits in present)]
    mean += [f"{figures['still']['first_frame']['psnr']:.2f}"] if "first_frame" in figures["still"] else [""]
    if errors:
        mean += [f"{figures['track_error_percent']:.2f} %", *(f"{figures[key]:.4f}" for key in CHAMFER)]
    train = figures["train_views"]
    note = (
        f"Over {figures['images']} images of held-out {figures['held_out']}, on white; on training views PSNR "
        f"{train['psnr']:.2f}. Still: the true first frame of the motion, held. "
        + (
            "Track error: mean, in % of the object's diameter. CD: Chamfer distances of the Gaussians from the true "
            "points, of shape, of shape and course, of motion; in half of the longest side of the object's box."
            if errors
            else ""
        )
    )
    return _table(head, [*rows, mean]) + f"<p>{note}</p>"


def _table(head: list[str], rows: list[list[str]]) -> str:
    cells = "".join(f"<th>{html.escape(c)}" for c in head)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(c)}" for c in row) for row in rows)
    return f"<table><thead><tr>{cells}</thead><tbody>{body}</tbody></table>"
