"""One self-contained HTML page from a run.

Arrays and plain dictionaries go in, HTML comes out: nothing here knows torch or scikit-learn, and only ``folder``
and ``explorations`` know the layout of a run folder. :func:`report_of_run` gathers a :class:`RunReport` from one, and
:func:`write_report` makes the whole page; the functions below them each make one fragment for a page of one's own
(:class:`Section`, :func:`write_page`). The page opens from ``file://``, asks no host for anything and follows the
reader's light or dark setting. The same input gives the same bytes.

Modules: ``page`` (the frame and ``page.css``), ``pictures`` (pixels), ``figures`` (charts), ``svg``
(matplotlib to inline SVG), ``maps``, ``tables``, ``overview`` (one PNG), ``run`` (what goes where),
``folder`` (what a run folder has to show), ``explorations`` (what looks inside its
networks), ``walk`` and ``forget`` (their tables and notes).
"""

from ganfeat.report.figures import accuracy_curve, training_curves
from ganfeat.report.folder import report_of_run, samples_of
from ganfeat.report.maps import feature_map
from ganfeat.report.overview import draw_overview
from ganfeat.report.page import Section, write_page
from ganfeat.report.pictures import image_sheet, neighbours, reconstructions_over_time, samples_over_time
from ganfeat.report.run import FeatureMap, Neighbours, RunReport, write_report
from ganfeat.report.tables import accuracy_table, protocol_card, settings_table

__all__ = [
    "FeatureMap",
    "Neighbours",
    "RunReport",
    "Section",
    "accuracy_curve",
    "accuracy_table",
    "draw_overview",
    "feature_map",
    "image_sheet",
    "neighbours",
    "protocol_card",
    "reconstructions_over_time",
    "report_of_run",
    "samples_of",
    "samples_over_time",
    "settings_table",
    "training_curves",
    "write_page",
    "write_report",
]
