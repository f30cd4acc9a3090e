"""The page: drop a picture, choose, compare, download. Made by gradio, with nothing from the internet."""

from __future__ import annotations

import html
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from lightsr_basicsr.tools.serve.desk import ENDINGS, Desk, Outcome, Wish, Work

TITLE = "Enlarge a picture"
SCALES = (("the network's own", 0), ("1.5", 1.5), ("2", 2), ("3", 3), ("4", 4), ("8", 8))
NAMES = {"auto": "that of the picture", "png": "PNG", "jpg": "JPEG", "webp": "WebP", "tif": "TIFF"}
WAIT = 0.3  # seconds between looks at the work
WAITING = 16  # pictures that may wait for the one that is computed
HOUR = 3600
FONTS = ["system-ui", "sans-serif"]  # of the reader's own machine
CSS = """
.status { min-height: 3.5em; line-height: 1.5; overflow-wrap: anywhere }
.status progress { width: 100%; height: .6em }
.status .problem { font-weight: 600 }
footer { display: none !important }
"""


def build_page(desk: Desk) -> gr.Blocks:
    """Return the page of a desk; its endpoint for programs is called ``upscale``."""
    running: dict[str, Work] = {}

    def enlarge(
        file: str | None, network: str, scale: float | None, ending: str, request: gr.Request
    ) -> Iterator[tuple]:
        if not file:
            yield None, None, problem("Expected a picture, got none: drop one on the left.")
            return
        reader = request.session_hash or secrets.token_hex(8)  # programs need not say who they are
        if reader in running:
            running[reader].cancel()
        work = running[reader] = Work(desk, Path(file), Wish(network, float(scale or 0) or None, ending))
        try:
            yield None, None, progress(work)
            while not work.wait(WAIT) and not work.stop.is_set():
                yield gr.skip(), gr.skip(), progress(work)
            yield outputs(work)
        finally:
            work.cancel()
            if running.get(reader) is work:
                del running[reader]

    def cancel(request: gr.Request) -> None:
        work = running.get(request.session_hash or "")
        if work:
            work.cancel()

    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(HOUR, HOUR), fill_width=True) as page:
        gr.Markdown(f"# {TITLE}\n{_taken(desk)}")
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                inputs = _inputs(desk)
                with gr.Row():
                    start = gr.Button("Enlarge", variant="primary", min_width=120)
                    stop = gr.Button("Cancel", min_width=100)
            with gr.Column(scale=2, min_width=320):
                shown = _results()
        # The desk takes one picture after the other; those that wait for it can be cancelled.
        options = {"concurrency_limit": WAITING, "show_progress": "hidden"}
        start.click(enlarge, inputs, shown, api_name="upscale", trigger_mode="once", **options)
        stop.click(cancel, None, None, api_name=False, **options)
    page.queue(max_size=4 * WAITING)
    return page


def theme() -> gr.themes.Base:
    """Return colors and fonts, of which none is fetched."""
    return gr.themes.Default(font=FONTS, font_mono=["ui-monospace", "monospace"])


def _taken(desk: Desk) -> str:
    size = f"at most {desk.limits.bytes / 1e6:g} MB and {desk.limits.pixels / 1e6:g} million pixels"
    return f"PNG, JPEG, WebP, TIFF, BMP or GIF, {size}. The result keeps bits, transparency, color profile and tags."


def _inputs(desk: Desk) -> list[Any]:
    titles = desk.networks.titles
    return [
        gr.File(label="Picture", height=160),
        gr.Dropdown(titles, value=titles[0], label="Network"),
        gr.Dropdown([*SCALES], value=0, label="Scale"),
        gr.Dropdown([(NAMES[ending], ending) for ending in ENDINGS], value=ENDINGS[0], label="Format of the result"),
    ]


def _results() -> list[Any]:
    text = gr.HTML(sentence("Drop a picture, then press Enlarge."), elem_classes="status")
    slider = gr.ImageSlider(
        label="Before (interpolated) and after", type="filepath", interactive=False, buttons=["fullscreen"],
        max_height=640,
    )  # fmt: skip
    return [slider, gr.File(label="Result", interactive=False, height=110), text]


def outputs(work: Work) -> tuple[Any, Any, str]:
    """Return pictures, file and sentence of a work that has ended."""
    if isinstance(work.outcome, Outcome):
        outcome = work.outcome
        return (str(outcome.before), str(outcome.after)), str(outcome.file), sentence(outcome.text)
    return None, None, problem(work.problem or "Cancelled.")


def progress(work: Work) -> str:
    """Return a bar, what is being done, and for how long."""
    bar = f'<progress max="1" value="{work.part:.3f}"></progress>' if work.part else "<progress></progress>"
    return f'<div role="status">{bar}<p>{html.escape(work.stage)}, {work.seconds:.0f} s</p></div>'


def sentence(text: str) -> str:
    """Return a text of anybody's for the page."""
    return f'<p role="status">{html.escape(text)}</p>'


def problem(text: str) -> str:
    """Return a text on what went wrong for the page."""
    return f'<p role="alert" class="problem">{html.escape(text)}</p>'
