"""Each product says why it is shown, in the reader's language, and of nobody but the reader."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from loyalty.catalogue.model import Product
from recommend.dataset import build
from recommend.due import Habit
from recommend.merchandising.arrange import Arranged
from recommend.model import Part, Pick, Popular, Settings, train
from recommend.reasons import CODES, LANGUAGES, LOCALES, Known, interval, reason_of

NAMES = {sku: Product(sku, sku.title()) for sku in ("milk", "oats", "jam")}
POPULAR = Popular(np.array([0], dtype=np.int32), np.array([1.0], dtype=np.float32))
MODEL = replace(
    train(build([]), Settings(), collaborative=False),
    items=np.array([b"milk"]),
    popular={"everywhere": POPULAR, "store:S1": POPULAR, "channel:web": POPULAR},
)
OWN = Known(NAMES, habits={"oats": Habit(0.0), "jam": Habit(0.0, 21.0, 20.0)})


def pick(sku: str = "milk", *because: str, part: Part = "collaborative") -> Arranged:
    return Arranged(Pick(sku, 1.0, part, because))


@pytest.mark.parametrize(
    ("arranged", "known", "code", "text", "skus"),
    [
        (pick("milk", "oats"), OWN, "bought", "Because you bought Oats", ("oats",)),
        (pick("milk"), OWN, "goes_with", "Goes with what you buy", ()),
        (pick("oats", "jam"), OWN, "bought_before", "You bought it before", ("oats",)),
        (pick("jam"), OWN, "bought_often", "You usually buy it every 3 weeks", ("jam",)),
        (
            pick("milk", "eggs", "oats"),
            OWN._replace(cart=("eggs",)),
            "basket",
            "Goes with what is in your basket",
            ("eggs",),
        ),
        (
            pick("milk", "eggs"),
            OWN._replace(viewing="eggs"),
            "viewing",
            "Goes with what you are looking at",
            ("eggs",),
        ),
        (
            pick("milk", "oats"),
            Known(NAMES, given=frozenset({"oats"})),
            "similar",
            "Goes with Oats",
            ("oats",),
        ),
        (
            pick(part="shared"),
            Known(NAMES, places=("store:S1", "channel:web")),
            "popular_store",
            "Popular in this store",
            (),
        ),
        (
            pick(part="shared"),
            Known(NAMES, places=("store:S2", "channel:web")),
            "popular_channel",
            "Popular on this channel",
            (),
        ),
        (pick("jam", part="shared"), Known(NAMES), "popular", "Popular right now", ()),
        (
            pick("eggs"),
            OWN._replace(
                names={"eggs": Product("eggs", "Eggs", "Food/Fresh")}, fresh=frozenset({"eggs"})
            ),
            "new",
            "New in Fresh",
            (),
        ),
        (
            pick("oats")._replace(is_pinned=True),
            OWN,
            "selected",
            "Selected by the shop",
            (),
        ),
    ],
)
def test_the_reason_is_the_one_that_speaks_loudest(
    arranged: Arranged, known: Known, code: str, text: str, skus: tuple[str, ...]
) -> None:
    assert reason_of(arranged, MODEL, known) == (code, skus, text)


def test_what_is_not_the_readers_own_is_never_named() -> None:
    somebody = Known(NAMES, habits={"oats": Habit(0.0)})
    assert reason_of(pick("milk", "jam"), MODEL, somebody).code == "goes_with"
    nameless = OWN._replace(names={})
    assert reason_of(pick("milk", "oats"), MODEL, nameless) == (
        "goes_with",
        (),
        "Goes with what you buy",
    )


def test_it_is_said_in_the_readers_language() -> None:
    french = OWN._replace(language="fr")
    assert reason_of(pick("milk", "oats"), MODEL, french).text == "Parce que vous avez acheté Oats"
    assert (
        reason_of(pick("jam"), MODEL, french).text
        == "Vous l\u2019achetez d\u2019habitude toutes les 3 semaines"
    )


@pytest.mark.parametrize(
    ("days", "text"),
    [
        (0.4, "every day"), (1, "every day"), (2, "every 2 days"), (7, "every week"),
        (10, "every 10 days"), (14, "every 2 weeks"), (30, "every month"), (45, "every 6 weeks"),
        (61, "every 2 months"),
    ],
)  # fmt: skip
def test_an_interval_is_said_in_its_own_unit(days: float, text: str) -> None:
    assert interval(days, "en") == text


def test_every_language_says_every_reason() -> None:
    keys = [json.loads((LOCALES / f"{each}.json").read_text("utf-8")).keys() for each in LANGUAGES]
    assert keys[0] == keys[1]
    assert set(CODES) <= keys[0]
