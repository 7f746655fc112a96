"""`carnet evaluate`: from files to an appraisal and its report, without database or secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np
import orjson

from recommend.appraise import (
    Appraisal,
    NothingToEvaluateError,
    appraise,
    file_task,
    last_basket_task,
)
from recommend.dataset import build
from recommend.files import Lines, UnusableFileError, read
from recommend.report.appraisal import page_of, to_json

if TYPE_CHECKING:
    from pathlib import Path

    from recommend.appraise import Progress, Task
    from recommend.model import Settings
    from recommend.report.model import Page

Split: TypeAlias = Literal["last-basket", "file"]


class Evaluated(NamedTuple):
    """An appraisal, and the report that tells it."""

    appraisal: Appraisal
    page: Page


def evaluate_files(
    data: Path,
    test: Path | None,
    settings: Settings,
    *,
    k: int,
    seed: int,
    progress: Progress,
) -> Evaluated:
    """Appraise what can be learned from one file on its last baskets, or on another file.

    Raises:
        UnusableFileError: a file cannot be read or used; says which, where and why.
    """
    lines = _read(data, progress)
    answers = _read(test, progress) if test else None
    try:
        task = _task(lines, answers, seed)
    except NothingToEvaluateError as error:
        raise UnusableFileError(f"{test or data}: {error}") from error
    found = appraise(task, settings, k=k, seed=seed, progress=progress)
    title = f"Recommendations, evaluated on {data.name}"
    return Evaluated(found, page_of(found, title=title, notes=_notes(lines, answers, found)))


def json_of(found: Appraisal) -> bytes:
    """All figures for a machine; two runs with one seed give the same bytes."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(to_json(found), option=options)


def _read(path: Path, progress: Progress) -> Lines:
    stage = f"Read {path.name}"
    return read(path, progress=lambda done, total: progress(stage, done, total))


def _task(lines: Lines, answers: Lines | None, seed: int) -> Task:
    dataset = build(lines.baskets())
    if answers is None:
        return last_basket_task(dataset, seed=seed)
    known = {name: row for row, name in enumerate(lines.members)}
    rows = np.array([known.get(name, -1) for name in answers.members], dtype=np.int64)
    times = np.full(len(answers.member), np.nan) if answers.at is None else answers.at
    skus = [answers.items[n] for n in answers.item.tolist()]
    pairs = zip(answers.member.tolist(), skus, times.tolist(), strict=True)
    return file_task(dataset, rows, list(pairs))


def _notes(lines: Lines, answers: Lines | None, found: Appraisal) -> tuple[str, ...]:
    """What was left out or taken for something, in sentences."""
    data = found.data
    others = lines.other_kinds + (answers.other_kinds if answers else 0)
    said = (
        (lines.time_note, f"The column at was read as {lines.time_note}."),
        (lines.at is None, "Without a column at, the order of the file is the order in time."),
        (
            lines.basket is None and lines.at is None,
            "Without columns basket and at, all that a member has is one basket without order.",
        ),
        (others, f"{others:,} lines are of another kind than purchase and were left out."),
        (
            data["unknown_members"],
            f"{data['unknown_members']:,} members of the test file have no history: they count.",
        ),
        (
            data["unknown_answers"],
            f"{data['unknown_answers']:,} right answers are items without history: all misses.",
        ),
    )
    return tuple(sentence for holds, sentence in said if holds)
