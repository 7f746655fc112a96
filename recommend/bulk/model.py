"""What is asked for an audience, and the rows of the answer, as values. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from loyalty.kit.errors import ConflictError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from loyalty.catalogue.model import Price
    from recommend.model import Pick

Format: TypeAlias = Literal["ndjson", "csv", "parquet"]
FORMATS: tuple[Format, ...] = ("ndjson", "csv", "parquet")
EXPORT_ID_PATTERN = r"^x_[0-9a-f]{32}$"
# What a job has made can be downloaded for so long; then its key goes, and then it.
EXPORTS_MAX = 100
EXPORT_LASTS = timedelta(hours=24)


class ExportNotFoundError(NotFoundError):
    """No export has that id, or it has expired."""

    code = "export_not_found"
    title = "There is no such export, or it has expired"


class TooManyExportsError(ConflictError):
    """Many exports have not expired yet; each can be removed when it has been fetched."""

    code = "too_many_exports"
    title = "Too many exports are kept already"


class ExportNotReadyError(ConflictError):
    """The job is still at it, was cancelled or has failed: its status says which."""

    code = "export_not_ready"
    title = "The export is not finished"


class Question(NamedTuple):
    """What is asked for: picks for everyone who agreed to marketing on a channel.

    Attributes:
        channel: the marketing channel.
        limit: picks a member at most.
        store: whose popular products count, beside the whole shop's.
        campaign: a label of the caller's; it stands in every row and link.
    """

    channel: str
    limit: int
    store: str | None = None
    campaign: str | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Question:
        """The question out of a query or of a job's params, whatever else is in them."""
        store, campaign = values.get("store"), values.get("campaign")
        return cls(values["channel"], values["limit"], store, campaign)


class Draft(NamedTuple):
    """The picks of one member before they are written out: no address, no texts.

    `pinned` are the skus of those that a rule of the shop put there.
    """

    member_id: str
    reason: str
    model_version: str | None
    picks: Sequence[Pick]
    pinned: Sequence[str] = ()


class Item(NamedTuple):
    """One product of a row, as a template shows it."""

    sku: str
    score: float
    name: str | None
    price: Price | None
    image_url: str | None
    url: str | None
    because: str


class Row(NamedTuple):
    """One member of the audience, ready to be written out.

    `cursor` is where to go on after this row; `unsubscribe_url` ends marketing on the channel.
    """

    member_id: str
    address: str | None
    personalised: bool
    reason: str
    model_version: str | None
    campaign: str | None
    unsubscribe_url: str
    items: tuple[Item, ...]
    cursor: str


class Export(NamedTuple):
    """The result of a job, while it is made and until it expires.

    `rows` counts the members drawn so far; how many are written out is decided at each download.
    """

    id: str
    job_id: str | None
    question: Question
    format: Format
    created_at: datetime
    expires_at: datetime
    finished_at: datetime | None = None
    rows: int = 0


class Part(NamedTuple):
    """A stretch of an export: the drafts of the members from after one id up to another.

    Parts of an export follow each other without gaps, so each member is in one at most.
    """

    export_id: str
    number: int
    last: str
    drafts: Sequence[Draft]
