"""Another's journal without an erased member's name. Pure.

A transfer, a household's hold or a referral stands in two journals. In the one that stays, the
erased member's id and the keys of its facts become random names, the same throughout it.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

_HALF = re.compile(r"/in\Z")
_NUMBER = re.compile(r"/\d+\Z")
_DRAWS_MAX = 1000


class Renaming(NamedTuple):
    """A member's id, the pseudonym for it, and new names for keys of its facts."""

    member_id: str
    pseudonym: str
    names: Mapping[str, str]

    def of(self, value: Any) -> Any:  # noqa: ANN401  # any BSON value
        """The value with all names replaced, in texts and names of fields, however deep."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            return {self._text(name): self.of(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self.of(each) for each in value]
        return value

    def _text(self, text: str) -> str:
        if self.names and "/" in text:
            text = self._key(text)
        return text.replace(self.member_id, self.pseudonym)

    def _key(self, text: str) -> str:
        """Keys are made of keys: `resolution/part/<member>/hold/<channel>/<store>/<id>`."""
        places = [0, *(place + 1 for place, sign in enumerate(text) if sign == "/")]
        for tail in (text[place:] for place in places):
            for core in _cores(tail, is_numbered=text.startswith("correction/")):
                if name := self.names.get(core):
                    return text[: len(text) - len(tail)] + name + tail[len(core) :]
        return text


def _cores(tail: str, *, is_numbered: bool) -> list[str]:
    """What of a key may be another's: all of it, or all but what makes two of one."""
    cores = [tail, _HALF.sub("", tail)]
    return [*cores, _NUMBER.sub("", tail)] if is_numbered else cores


def drawn(member_id: str, keys: Iterable[str], order: Sequence[tuple[datetime, str]]) -> Renaming:
    """Random names that leave the facts of a journal in their order.

    Facts of one moment are ordered by their keys, so that order has to stay.

    Args:
        member_id: who is to be named otherwise.
        keys: of its facts, such as `kind/channel/store/id`.
        order: times and keys of the journal's facts.
    """
    wanted = sorted(order)
    fixed = list(keys)
    for _ in range(_DRAWS_MAX):
        names = {key: f"{_place(key)}/{secrets.token_hex(16)}" for key in fixed}
        renaming = Renaming(member_id, f"m_{secrets.token_hex(16)}", names)
        found = [(at, renaming.of(key)) for at, key in wanted]
        if found == sorted(found):
            return renaming
    raise RuntimeError("No names were found that keep the order of facts.")


def _place(key: str) -> str:
    """The key without the sender's own id."""
    place = key.split("/", 3)
    return "/".join(place[:3]) if len(place) > 3 else place[0]  # noqa: PLR2004
