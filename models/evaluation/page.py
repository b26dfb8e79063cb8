"""The report's page: one HTML file, plots inside it, nothing fetched from anywhere."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from models.evaluation import wording
from models.evaluation.plots import reliability_plot, risk_coverage_plot, roc_plot, strain_plot

_TEMPLATE = "report.html"


def write_page(path: Path, card: Mapping[str, Any], report: Mapping[str, Any]) -> None:
    """Write the page of a package's card and of what stands in its ``metrics.json``."""
    path.write_text(page(card, report), encoding="utf-8")


def page(card: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    """HTML. What was not measured is left out; a figure without an interval says so by a dash."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "interval": interval, "share": share, "name": readable}
    metrics, tables = report["metrics"], report["tables"]
    return environment.get_template(_TEMPLATE).render(
        card=card,
        report=report,
        metrics=metrics,
        tables=tables,
        words=wording,
        plots=_plots(metrics, tables),
        by_source=_by_source(metrics),
        sources=_sources(card, metrics),
        left_out=_prefixed(metrics, "left_out."),
        strangers=_strangers(metrics),
    )


def number(value: float | None) -> str:
    """Three decimals; a dash for what is undefined."""
    return "–" if value is None else f"{value:.3f}"


def interval(figure: Mapping[str, Any]) -> str:
    """``low to high``, or a dash where there is none."""
    pair = figure.get("interval")
    return "–" if not pair else f"{pair[0]:.3f} to {pair[1]:.3f}"


def share(value: float, largest: float) -> str:
    """How dark a cell of a confusion table is: 0 to 1."""
    return f"{value / largest if largest else 0:.2f}"


def readable(name: str) -> str:
    return name.replace("_", " ")


def _plots(metrics: Mapping[str, Any], tables: Mapping[str, Any]) -> dict[str, Any]:
    curves = {
        f"{wording.CURVES[name]} ({metrics[name]['value']:.3f})": points
        for name, points in tables["roc"].items()
        if name in metrics
    }
    strains = []
    for kind, (title, unit) in wording.STRAINS.items():
        prefix = f"robustness.{kind}."
        points = [
            (float(name.removeprefix(prefix)), figure["value"], figure["interval"])
            for name, figure in metrics.items()
            if name.startswith(prefix)
        ]
        if points:
            strains.append((title, strain_plot(kind, unit, points)))
    return {
        "reliability": reliability_plot(tables["reliability"]["before"], tables["reliability"]["after"]),
        "risk_coverage": risk_coverage_plot(tables["risk_coverage"]),
        "roc": roc_plot(curves) if curves else "",
        "strains": strains,
    }


def _by_source(metrics: Mapping[str, Any]) -> list[str]:
    prefix = "accuracy_eleven."
    return [name.removeprefix(prefix) for name in metrics if name.startswith(prefix)]


def _prefixed(metrics: Mapping[str, Any], prefix: str) -> list[str]:
    return [name for name in metrics if name.startswith(prefix)]


def _strangers(metrics: Mapping[str, Any]) -> list[str]:
    return [name.rpartition(".")[2] for name in _prefixed(metrics, "out_of_distribution.auroc.")]


def _sources(card: Mapping[str, Any], metrics: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Every source with what it was used for, how much, and its licence as found."""
    training = card.get("training", {}).get("sources", {})
    rows = [
        {
            "name": name, "use": "training and test", "cells": s.get("cells"), "groups": s.get("groups"),
            "licence": s["licence"], "what": wording.SOURCES.get(name, ""),
        }
        for name, s in training.items()
    ]  # fmt: skip
    tested = {"cellavision_blog": "accuracy.cellavision_blog", "taleqani": "taleqani_field_auroc"}
    for name, metric in tested.items():
        if metric in metrics and name not in training:
            rows.append({
                "name": name, "use": "test only", "cells": None, "groups": None,
                "licence": wording.TEST_ONLY_LICENCES[name], "what": wording.SOURCES[name],
            })  # fmt: skip
    return rows
