"""What a key for each member costs: `python -m benchmarks.sealed` prints medians."""

from __future__ import annotations

import secrets
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from app import assemble, initialise
from loyalty.kit.clock import now
from loyalty.kit.embedded import EmbeddedMongo
from loyalty.kit.settings import Settings
from loyalty.members.model import Identifier, Member, Profile
from loyalty.members.service import new_member_id
from loyalty.vault.permit import Permit

if TYPE_CHECKING:
    from collections.abc import Callable

    from app import Parts

MEMBERS = 500
PAGE = 64
ROUNDS = 100


def enrolments(count: int) -> list[tuple[Member, list[Identifier], str]]:
    """New members with a card and an address each."""
    return [
        (
            Member(new_member_id(), "active", now()),
            [
                Identifier("card", secrets.token_hex(6)),
                Identifier("email", f"{secrets.token_hex(6)}@example.org"),
            ],
            secrets.token_hex(8),
        )
        for _ in range(count)
    ]


def median_ms(act: Callable[[], object], rounds: int = ROUNDS) -> float:
    """The median duration."""
    taken = []
    for _ in range(rounds):
        begun = time.perf_counter()
        act()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken) * 1000


def measure(parts: Parts) -> dict[str, float]:
    """Each operation with its median."""
    members, vault = parts.members, parts.vault
    known = enrolments(MEMBERS)
    members.add_all(known)
    ids = [member.id for member, _, _ in known[:PAGE]]
    members.set_profile(ids[0], Profile((2, 29), frozenset({"vip"})))
    permits = [Permit(each, "marketing", "email") for each in ids]
    sealed = vault.seal_all([(each, "ada@example.org") for each in ids])
    return {
        f"import of {MEMBERS} members": median_ms(
            lambda: members.add_all(enrolments(MEMBERS)), rounds=5
        ),
        f"addresses of {PAGE} members": median_ms(lambda: members.addresses(permits, "email")),
        f"{PAGE} values opened together": median_ms(lambda: vault.open_all(sealed)),
        f"{PAGE} values opened one by one": median_ms(lambda: [vault.open(e) for e in sealed]),
        "a member with two identifiers and a profile": median_ms(lambda: members.get(ids[0])),
        "a member with two identifiers": median_ms(lambda: members.get(ids[1])),
        "what an award needs, with a profile": median_ms(lambda: members.about(ids[0])),
        "what an award needs, without one": median_ms(lambda: members.about(ids[1])),
        "a look-up": median_ms(lambda: members.resolve(known[5][1][0])),
        "an enrolment": median_ms(lambda: members.add(*enrolments(1)[0][:2])),
    }


def main() -> None:
    """Measure on a database of its own."""
    with tempfile.TemporaryDirectory() as name:
        mongod = EmbeddedMongo(Path(name))
        mongod.start()
        try:
            settings = Settings(data_dir=Path(name), secret="b" * 40)  # of nobody
            parts = assemble(settings, mongod.uri)
            initialise(settings, parts)
            for what, taken in measure(parts).items():
                print(f"{taken:8.2f} ms  {what}")
            parts.close()
        finally:
            mongod.stop()


if __name__ == "__main__":
    main()
