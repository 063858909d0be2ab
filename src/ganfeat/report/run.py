"""The report of a run: what goes into the page, and where."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ganfeat.report import figures, maps, pictures, tables
from ganfeat.report.health import health_section
from ganfeat.report.page import Section, write_page

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class FeatureMap:
    """What :func:`~ganfeat.report.feature_map` draws."""

    points: npt.ArrayLike
    labels: npt.ArrayLike | None = None
    classes: Sequence[str] | None = None
    caption: str = ""


@dataclass(frozen=True)
class Neighbours:
    """What :func:`~ganfeat.report.neighbours` shows."""

    queries: Images
    neighbours: Images
    query_labels: npt.ArrayLike | None = None
    neighbour_labels: npt.ArrayLike | None = None
    classes: Sequence[str] | None = None


@dataclass(frozen=True)
class RunReport:
    """All that a page about a run can show; what is missing is left out of the page.

    Parameters
    ----------
    title : str
        The heading of the page.
    summary : str
        One or two sentences under it: what was run and what came out.
    results : mapping, optional
        The accuracies, as for :func:`~ganfeat.report.accuracy_table`.
    samples : sequence of (str, ndarray of uint8 (n, height, width, channels))
        Labels and samples, first to last.
    real : ndarray of uint8, shape (n, height, width, channels), optional
        Real images to set beside the samples.
    reconstructions : sequence of (str, ndarray of uint8 (n, height, width, channels))
        Labels and reconstructions of ``reconstructed``, first to last.
    reconstructed : ndarray of uint8, shape (n, height, width, channels), optional
        Images, in the size of their reconstructions.
    history : sequence of mapping
        The run's records, as for :func:`~ganfeat.report.training_curves`.
    feature_map : FeatureMap, optional
        The features in two dimensions.
    neighbours : Neighbours, optional
        Images and those nearest to them.
    explorations : sequence of Section
        What was found inside the networks, as for :func:`~ganfeat.report.explorations.exploration_sections`.
    protocol : mapping
        How the features were measured.
    settings : mapping
        How the network was trained.
    footer : str
        Version, date, machine, the command to run again.
    """

    title: str
    summary: str = ""
    results: Mapping[str, Any] | None = None
    samples: Sequence[tuple[str, Images]] = ()
    real: Images | None = None
    reconstructions: Sequence[tuple[str, Images]] = ()
    reconstructed: Images | None = None
    history: Sequence[Mapping[str, Any]] = ()
    feature_map: FeatureMap | None = None
    neighbours: Neighbours | None = None
    explorations: Sequence[Section] = ()
    protocol: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] | None = None
    footer: str = ""


def write_report(report: RunReport, path: str | os.PathLike[str]) -> Path:
    """Write the page of a run.

    Parameters
    ----------
    report : RunReport
        What to show.
    path : path-like
        The HTML file to write; it appears whole or not at all.

    Returns
    -------
    pathlib.Path
        ``path``.

    Raises
    ------
    MissingExtraError
        If there is a chart to draw and matplotlib is not installed.
    """
    sections = [section for section in _sections(report) if section.body]
    return write_page(path, report.title, report.summary, sections, footer=report.footer)


def _sections(report: RunReport) -> list[Section]:
    worth = drawn = near = again = ""
    if report.results is not None:
        worth = f"{tables.accuracy_table(report.results)}\n{figures.accuracy_curve(report.results)}"
    if report.reconstructed is not None:
        again = pictures.reconstructions_over_time(report.reconstructions, report.reconstructed)
    if (spots := report.feature_map) is not None:
        drawn = maps.feature_map(spots.points, spots.labels, spots.classes, spots.caption)
    if (found := report.neighbours) is not None:
        near = pictures.neighbours(
            found.queries, found.neighbours, found.query_labels, found.neighbour_labels, found.classes
        )
    details = [
        tables.protocol_card(report.protocol or {}),
        tables.settings_table(report.settings or {}, caption="How the network was trained"),
    ]
    return [
        Section(
            "What the features are worth", "worth", worth,
            "The features were learned without labels; a classifier on them learns from few labelled images.",
        ),
        Section(
            "Samples over time", "samples", pictures.samples_over_time(report.samples, reference=report.real),
            "What the generator draws from the same latents as it learns.",
        ),
        Section(
            "Reconstructions", "reconstructions", again,
            "Rows of real images, and under each row what the generator makes of the encoder's code for them.",
        ),
        Section("Training", "training", figures.training_curves(report.history)),
        Section(
            "Health", "health", health_section(report.history),
            "Whether the generator's samples cover the images, or have collapsed into few of them.",
        ),
        Section(
            "Map of the features", "map", drawn,
            "Each dot is an image; images with similar features lie close together.",
        ),
        Section("Nearest neighbours", "neighbours", near),
        *report.explorations,
        Section(
            "Protocol and settings" if report.protocol else "Settings", "settings",
            "\n".join(table for table in details if table),
        ),
    ]  # fmt: skip
