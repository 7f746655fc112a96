"""Every use of personal data says what it is for, and passes the gate where that needs consent."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import loyalty
import recommend
from app import create_app
from loyalty.consent.purposes import built_in
from loyalty.consent.uses import USES
from loyalty.kit.http import access_of
from loyalty.kit.settings import Settings
from tests.api.contract import document

if TYPE_CHECKING:
    from collections.abc import Iterator

# What gives personal data, by the store it belongs to. Methods that only write are not here.
READERS = {
    "journal": {
        "backwards",
        "by_key",
        "by_keys",
        "entries",
        "get",
        "head",
        "heads",
        "histories",
        "history",
        "page",
        "recent",
        "related",
        "sales",
        "restating",
        "standings",
    },
    "members": {"about", "addresses", "get"},
    "scan": {"documents", "entries", "heads", "heads_page"},
    "consents": {
        "get",
        "page",
        "refusing_since",
        "said",
        "standing",
        "standing_on",
        "standings",
        "standings_before",
    },
    "outbox": {"waiting", "held"},
    "requests": {"get", "page", "open_of", "held", "to_erase"},
    "accesslog": {"page", "held"},
    "feedback": {"exposures", "scan", "seen", "signals", "signals_of", "held"},
    "households": {"of", "get", "pool_of", "held"},
    "referrals": {"of", "code_of", "by_code", "held"},
    "rewards": {"taken", "held"},
    "exports": {"drafts", "held"},
    "holder": {"held"},
}
GATES = {"ask", "ask_each", "permit", "permits", "permits_for", "require"}
ROOT = Path(__file__).parents[2]


class Found(NamedTuple):
    """A function, what it calls of the readers, and whether it passes the gate."""

    name: str
    readers: set[str]
    passes_gate: bool


def functions() -> Iterator[Found]:
    for package in (loyalty, recommend):
        folder = Path(str(package.__file__)).parent
        for file in sorted(folder.rglob("*.py")):
            module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            yield from _in(ast.parse(file.read_text()), module)


def _in(tree: ast.AST, place: str) -> Iterator[Found]:
    """Functions at the top of a module or class; what is nested belongs to the one around it."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from _in(node, f"{place}.{node.name}")
        elif isinstance(node, ast.FunctionDef):
            yield _found(node, f"{place}.{node.name}")


def _found(node: ast.FunctionDef, name: str) -> Found:
    calls = [each.func for each in ast.walk(node) if isinstance(each, ast.Call)]
    names = {f"{_owner(each)}.{each.attr}" for each in calls if isinstance(each, ast.Attribute)}
    known = {f"{owner}.{reader}" for owner, readers in READERS.items() for reader in readers}
    return Found(name, names & known, bool(names & {f"gate.{each}" for each in GATES}))


def _owner(call: ast.Attribute) -> str:
    """The word in front of the method: `stores.journal.head()` belongs to `journal`."""
    value = call.value
    if isinstance(value, ast.Call):  # provided(ConsentStore).page()
        kinds = [each.id for each in value.args if isinstance(each, ast.Name)]
        words = {"ConsentStore": "consents", "MemberStore": "members", "JournalScan": "scan"}
        return words.get(kinds[0], "") if kinds else ""
    word = value.attr if isinstance(value, ast.Attribute) else getattr(value, "id", "")
    return word.lstrip("_")


USING = {each.name: each for each in functions() if each.readers}


def test_every_reading_of_personal_data_is_on_the_list_and_nothing_else_is() -> None:
    assert USING.keys() == USES.keys()


def test_a_new_use_in_any_function_would_be_seen() -> None:
    source = """
class Spy:
    def peek(self, stores, member_id):
        def inner():
            return self._sources.journal.history(member_id, limit=5)
        return inner()

def look(member_id):
    return provided(ConsentStore).standing(member_id), gate.permit(member_id, "x")
"""
    assert list(_in(ast.parse(source), "m")) == [
        Found("m.Spy.peek", {"journal.history"}, passes_gate=False),
        Found("m.look", {"consents.standing"}, passes_gate=True),
    ]


def test_every_purpose_on_the_list_exists() -> None:
    for name, use in USES.items():
        assert use.purposes, name
        assert set(use.purposes) <= built_in().keys(), name


def test_what_hangs_on_consent_passes_the_gate() -> None:
    gated = {each.name for each in functions() if each.passes_gate}
    for name, use in USES.items():
        if any(built_in()[each].needs_consent for each in use.purposes):
            assert (use.guard or name) in gated, f"{name} does not pass the gate"


def test_only_the_gate_makes_a_permit() -> None:
    for package in (loyalty, recommend):
        for file in Path(str(package.__file__)).parent.rglob("*.py"):
            makes = any(
                isinstance(each, ast.Call) and getattr(each.func, "id", "") == "Permit"
                for each in ast.walk(ast.parse(file.read_text()))
            )
            assert makes is (file.name == "gate.py"), file


def test_every_view_of_a_member_says_for_which_purpose() -> None:
    app = create_app(Settings(mongodb_uri="mongodb://localhost", secret="x" * 32))
    by_body = set()
    for rule in app.url_map.iter_rules():
        access = access_of(app.view_functions[rule.endpoint])
        if access is None or access.is_public:
            continue
        if _names_a_member(rule.rule):
            by_body.add(rule.rule)
        if "member_id" in rule.arguments or rule.rule in by_body:
            assert access.purpose in built_in(), rule
    assert {"/v1/purchases", "/v1/batches", "/v1/transfers", "/v1/consents/import"} <= by_body


def _names_a_member(rule: str) -> bool:
    """Whether a body of the operation, or a line of it, names a member."""
    item = document()["paths"].get(rule.replace("<", "{").replace(">", "}"), {})
    bodies = [each.get("requestBody") for each in item.values() if isinstance(each, dict)]
    return any(_mentions(each, {"member", "identifier"}, depth=0) for each in bodies if each)


def _mentions(schema: object, names: set[str], *, depth: int) -> bool:
    if depth > 12:
        return False
    if isinstance(schema, list):
        return any(_mentions(each, names, depth=depth + 1) for each in schema)
    if not isinstance(schema, dict):
        return False
    if "$ref" in schema:
        kind = schema["$ref"].rpartition("/")[2]
        return _mentions(document()["components"]["schemas"][kind], names, depth=depth + 1)
    if names & schema.get("properties", {}).keys():
        return True
    return any(_mentions(each, names, depth=depth + 1) for each in schema.values())
