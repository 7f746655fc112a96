"""Keys, scopes, bound keys and member tokens, as values."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from loyalty.access.model import (
    SCOPES,
    BoundKeyError,
    Caller,
    InvalidKeyError,
    Key,
    UnknownScopeError,
    hash_secret,
    mint,
    opens,
    speak_for,
    split,
)
from loyalty.access.tokens import ALGORITHM, AUDIENCE, ISSUER, TOKEN_SECONDS_MAX, TYPE, TokenMint
from loyalty.kit.clock import now

AT = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
MEMBER = "m_" + "a" * 32
SECRET = b"t" * 32


def minted(*scopes: str) -> tuple[Key, str]:
    return mint("till", frozenset(scopes), at=AT, channel=None, store=None)


def test_a_key_opens_with_its_own_secret_and_no_other() -> None:
    key, text = minted("points:read")
    key_id, secret = split(text)
    assert key_id == key.id
    assert opens(key, secret)
    assert not opens(key, split(minted("points:read")[1])[1])
    assert not opens(key, "")


def test_a_revoked_key_does_not_open() -> None:
    key, text = minted("points:read")
    assert not opens(replace(key, revoked_at=AT), split(text)[1])


def test_a_key_is_kept_without_its_secret() -> None:
    key, text = minted("points:read")
    secret = split(text)[1]
    assert secret not in repr(key)
    assert key.secret_sha256 == hash_secret(secret)
    assert len(secret) == 43


def test_no_two_keys_are_alike() -> None:
    assert len({minted("points:read")[1] for _ in range(50)}) == 50


def test_a_scope_that_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(UnknownScopeError, match="points:steal"):
        minted("points:read", "points:steal")
    assert minted(*SCOPES)[0].scopes == SCOPES.keys()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "carnet",
        "carnet__",
        "Bearer x",
        "carnet_abcdefghijkl_" + "x" * 42,
        "carnet_abcdefghijkl_" + "x" * 44,
        "carnet_ABCDEFGHIJKL_" + "x" * 43,
        "carnet_abcdefghijkl_" + "x" * 42 + "\n",
        "carnet_abcdefghijkl_" + "x" * 43 + "\n",
        "carnet_abcdefghijkl_" + "ä" * 43,
    ],
)
def test_what_has_not_the_form_of_a_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidKeyError):
        split(text)


@pytest.mark.parametrize(
    ("bound_to", "says", "speaks_for"),
    [
        ((None, None), ("web", None), None),
        ((None, None), ("store", "S1"), "S1"),
        (("store", None), ("store", "S9"), "S9"),
        (("store", "S1"), ("store", None), "S1"),
        (("store", "S1"), ("store", "S1"), "S1"),
        ((None, "S1"), ("web", None), "S1"),
    ],
)
def test_a_key_speaks_for_what_it_is_bound_to(
    bound_to: tuple[str | None, str | None], says: tuple[str, str | None], speaks_for: str | None
) -> None:
    caller = Caller("k", frozenset(), *bound_to)
    assert speak_for(caller, *says) == speaks_for


@pytest.mark.parametrize(
    ("bound_to", "says"),
    [
        (("store", None), ("web", None)),
        (("store", "S1"), ("store", "S2")),
        (("store", "S1"), ("web", "S1")),
        ((None, "S1"), ("store", "S2")),
    ],
)
def test_a_key_does_not_speak_for_another(
    bound_to: tuple[str | None, str | None], says: tuple[str, str | None]
) -> None:
    with pytest.raises(BoundKeyError):
        speak_for(Caller("k", frozenset(), *bound_to), *says)


def test_a_token_speaks_for_its_member_and_has_no_scopes() -> None:
    tokens = TokenMint(SECRET)
    caller = tokens.read(tokens.mint(MEMBER, at=now(), seconds=60))
    assert (caller.member_id, caller.scopes) == (MEMBER, frozenset())


def test_a_token_lives_for_fifteen_minutes_at_most() -> None:
    token = TokenMint(SECRET).mint(MEMBER, at=now(), seconds=10**6)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == TOKEN_SECONDS_MAX == 900


def test_a_token_of_another_secret_or_of_the_past_is_refused() -> None:
    tokens = TokenMint(SECRET)
    forged = TokenMint(b"f" * 32).mint(MEMBER, at=now(), seconds=60)
    expired = tokens.mint(MEMBER, at=now() - timedelta(seconds=61), seconds=60)
    for token in (forged, expired, "a.b.c", ""):
        with pytest.raises(InvalidKeyError):
            tokens.read(token)


def crafted(*, typ: str = TYPE, algorithm: str = ALGORITHM, **change: Any) -> str:
    """A token that somebody with the right secret made otherwise than we do."""
    at = now()
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": MEMBER,
        "iat": at,
        "exp": at + timedelta(seconds=60),
        **change,
    }
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(kept, SECRET, algorithm=algorithm, headers={"typ": typ})


def test_a_crafted_token_like_ours_is_read() -> None:
    assert TokenMint(SECRET).read(crafted()).member_id == MEMBER


@pytest.mark.parametrize(
    "change",
    [
        {"typ": "JWT"},
        {"aud": "carnet:staff"},
        {"aud": None},
        {"iss": "somebody"},
        {"iss": None},
        {"sub": None},
        {"sub": 7},
        {"exp": None},
        {"iat": None},
        {"exp": now() + timedelta(days=1)},
        {"iat": now() + timedelta(hours=1)},
    ],
)
def test_a_token_of_another_kind_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidKeyError):
        TokenMint(SECRET).read(crafted(**change))


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize("algorithm", ["none", "HS384", "HS512"])
def test_the_header_of_a_token_does_not_choose_its_algorithm(algorithm: str) -> None:
    if algorithm == "none":
        body = {"iss": ISSUER, "aud": AUDIENCE, "sub": MEMBER}
        token = jwt.encode(body, "", algorithm="none", headers={"typ": TYPE})
    else:
        token = crafted(algorithm=algorithm)
    with pytest.raises(InvalidKeyError):
        TokenMint(SECRET).read(token)


@pytest.mark.parametrize(
    ("minutes_ago", "proof"), [(0, "login"), (14.9, "login"), (15.1, ""), (-0.4, "login"), (-2, "")]
)
def test_a_proof_holds_for_fifteen_minutes_from_the_login(minutes_ago: float, proof: str) -> None:
    mint, at = TokenMint(SECRET), now()
    proven_at = at - minutes_ago * MINUTE
    token = mint.mint(MEMBER, at=at, seconds=60, proof="login", proven_at=proven_at)
    assert mint.read(token).proof == proof


def test_a_proof_lapses_in_a_token_that_lives_on() -> None:
    mint, at = TokenMint(SECRET), now() - 10 * MINUTE
    # Minted ten minutes ago, for fifteen, on a login that was nine minutes old by then.
    token = mint.mint(MEMBER, at=at, seconds=900, proof="login", proven_at=at - 9 * MINUTE)
    caller = mint.read(token)
    assert (caller.member_id, caller.proof) == (MEMBER, "")


@pytest.mark.parametrize("claims", [{"proof": "login"}, {"proof": 1, "proven_at": 1}, {}])
def test_a_token_without_a_time_of_its_proof_has_none(claims: dict[str, Any]) -> None:
    at = now()
    whole = {"iss": ISSUER, "aud": AUDIENCE, "sub": MEMBER, "iat": at, "exp": at + MINUTE, **claims}
    token = jwt.encode(whole, SECRET, algorithm=ALGORITHM, headers={"typ": TYPE})
    assert TokenMint(SECRET).read(token).proof == ""
