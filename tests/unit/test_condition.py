"""Conditions: what they say, what they refuse and where, how much work they can take."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loyalty.program.condition import (
    FUNCTIONS,
    ITERATIONS_MAX,
    LINE_FIELDS,
    LOOPS,
    SIZES,
    SOURCE_MAX,
    VARIABLES,
    WORK_MAX,
    ConditionError,
    compile_condition,
    work_max,
)

COFFEE = {"sku": "coffee-1", "quantity": 2, "amount": 5000, "category": "coffee", "brand": "A"}
TEA = {"sku": "tea-1", "quantity": 1, "amount": 7500, "category": "tea", "brand": "B"}
VALUES: dict[str, Any] = {
    "channel": "web",
    "store": "S1",
    "kind": "purchase",
    "engagement": "",
    "fulfilment": "delivery",
    "basket": {"amount": 12500, "quantity": 3, "lines": 2, "tax": 100, "discount": 50},
    "lines": [COFFEE, TEA],
    "payment": {"gift_card": 0, "points": 0, "methods": ["card"]},
    "details": {"score": 9.5, "vip": True, "n": 3, "note": "café"},
    "member": {
        "tier": "gold",
        "segments": ["parents", "vip"],
        "stage": "active",
        "purchases": 4,
        "joined_days": 400,
        "balance": 120,
    },
    "at": {"year": 2025, "month": 3, "day": 3, "weekday": 1, "hour": 9, "minute": 30},
}
HOLDS = "the condition holds"
FAILS = "the condition does not hold"
ALL_FUNCTIONS = ", ".join((*FUNCTIONS, *LOOPS, "has"))
OTHER_TYPE = "a detail has another type than the condition expects"
NO_QUESTION = "a condition is a yes or no, and this is not"
TOO_DEEP = "parts stand too deep inside one another or in too long a chain"
TOO_MUCH = "this loop can take too much work: use fewer loops, or in for a list"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ('basket.amount >= 10000 && channel == "web"', HOLDS),
        ("basket.amount >= 12501", FAILS),
        ("basket.amount % 1000 == 500 && -basket.tax < 0", HOLDS),
        ('lines.exists(l, l.category == "coffee" && l.amount > 4000)', HOLDS),
        ('lines.exists(l, l.category == "coffee" && l.amount > 5000)', FAILS),
        ('lines.all(line, line.brand in ["A", "B"])', HOLDS),
        ('lines.exists_one(l, l . sku.startsWith("tea"))', HOLDS),
        ("lines.map(x, x.quantity).exists(q, q > 1)", HOLDS),
        ('size(lines.filter(x, x.brand == "A")) == 1', HOLDS),
        ('"coffee" in lines.map(l, l.category)', HOLDS),
        ('lines.exists(l,\n  l\n  .amount > 7499 && l.sku.endsWith("1"))', HOLDS),
        ('"vip" in member.segments && member.tier != "silver"', HOLDS),
        ("at.weekday in [6, 7] || at.hour < 10", HOLDS),
        ('payment.methods == ["card"]', HOLDS),
        ('(basket.lines > 1 ? "many" : "one") == "many"', HOLDS),
        ("details.vip == true && details.score > 9", HOLDS),
        ("double(details.score) + double(details.n) > 12.4", HOLDS),
        ('details.note == "café"', HOLDS),
        ("has(details.missing) && details.missing > 9", FAILS),
        ('channel.contains("e") // a remark', HOLDS),
        ("details.missing > 9", "details has no 'missing'"),
        ("details.missing > 9 || true", HOLDS),
        ('details.score == "a" || details.vip > 3', OTHER_TYPE),
        ("basket.amount / payment.points > 1", "a division by zero"),
        ("basket.amount % payment.points > 1", "a division by zero"),
        ("basket.amount * 9223372036854775807 > 1", "a number became too large"),
    ],
)  # fmt: skip
def test_a_condition_says_whether_it_holds_and_why(source: str, reason: str) -> None:
    condition = compile_condition(source)
    assert condition.judge(VALUES) == (reason == HOLDS, reason)
    assert condition.holds(VALUES) is (reason == HOLDS)


@pytest.mark.parametrize(
    ("source", "line", "column", "message"),
    [
        ("", 1, 1, "a condition is empty"),
        (" \n", 1, 1, "a condition is empty"),
        ("true" + " " * SOURCE_MAX, 1, 1, "a condition has at most 2000 characters"),
        ("true &&\n '\x00' == channel", 2, 3, "a character here cannot be written"),
        ("channel == '\ud800'", 1, 13, "a character here cannot be written"),
        ("channel ==", 1, 11, "the condition ends too early"),
        ('(channel == "a"', 1, 16, "')' is missing"),
        ("channel = 'a'", 1, 9, "= is not understood here: write == to compare"),
        ("channel == 'a' and true", 1, 16, "and is not expected here: write &&"),
        ("channel == 'é' && é", 1, 19, "é is not understood here"),
        ("if", 1, 1, "if is a reserved word"),
        ("channel == 'abc", 1, 12,
         "a text begins here and does not end, or has a \\ in it: write \\\\ for one"),
        ("99999999999999999999 > basket.amount", 1, 1, "this number is too large"),
        ("((" * 40 + "true" + "))" * 40, 1, 1, TOO_DEEP),
        ("basket.amuont > 3", 1, 1, "there is no name basket.amuont: did you mean basket.amount?"),
        ("true &&\n  stor == 'S1'", 2, 3, "there is no name stor: did you mean store?"),
        ("lines.all(l, l.quantity > 1 &&\n\n l.amuont > 2)", 3, 2,
         "there is no name l.amuont: did you mean l.amount?"),
        ("payment == 3", 1, 1,
         "payment is read by its parts: payment.gift_card, payment.points, payment.methods"),
        ("channel.contian('w')", 1, 9, "there is no function contian: did you mean contains?"),
        ("zzz(1) > 1", 1, 1, f"there is no function zzz: there are {ALL_FUNCTIONS}"),
        ("basket.amount > 'x'", 1, 15, "> does not go with a whole number and a text"),
        ("basket.amount > 10.5", 1, 15,
         "> does not go with a whole number and a decimal number"),
        ("lines.exists(l, l.sku + 1 > 2)", 1, 23, "+ does not go with a text and a whole number"),
        ("lines.map(l, l.sku).exists(s, s > 3)", 1, 33,
         "> does not go with a text and a whole number"),
        ("3 in channel", 1, 3, "in does not go with a whole number and a text"),
        ("channel ? true : false", 1, 9,
         "? : does not go with a text and a yes or no and a yes or no"),
        ("basket.amount", 1, 1, NO_QUESTION),
        ("details.score", 1, 1,
         f"{NO_QUESTION}: compare the detail, such as details.score > 5"),
        ("basket.amount.x > 1", 1, 14, "a whole number has no parts to read with a dot"),
        ("lines[0].sku == 'a'", 1, 9,
         "a line is read inside a loop: lines.exists(x, x.amount > 100)"),
        ("lines.exists(l, has(l.sku))", 1, 22, "has asks for a detail: has(details.score)"),
        ("lines.exists(l.x, true)", 1, 15,
         "a loop's variable is one plain name: lines.exists(x, ...)"),
        ("lines.exists(store, true)", 1, 13,
         "store is a name already: call the loop's variable another"),
        ("channel.exists(x, true)", 1, 1, "a loop goes over a list, not over a text"),
        ("details.a.exists(x, true)", 1, 17, "a loop goes over a list, not over a detail"),
        ("type(channel) == string", 1, 5,
         f"type cannot be used in a condition: there are {ALL_FUNCTIONS}"),
        ("int == int", 1, 1, "int cannot be used in a condition"),
        ("{'a': 1}.a == 1", 1, 1, "a table cannot be written in a condition"),
    ],
)  # fmt: skip
def test_a_mistake_has_its_place_and_plain_words(
    source: str, line: int, column: int, message: str
) -> None:
    with pytest.raises(ConditionError) as error:
        compile_condition(source)
    assert (error.value.message, error.value.line, error.value.column) == (message, line, column)
    assert str(error.value) == f"line {line}, column {column}: {message}"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("lines.all(a, lines.all(b, a.sku != b.sku))", TOO_MUCH),
        ("lines.exists(l, member.segments.exists(s, s == l.category))", TOO_MUCH),
        ("lines.all(a, lines.filter(b, true).size() > 0)", TOO_MUCH),
        ("lines" + ".filter(l, true)" * 4 + ".size() > 0", TOO_MUCH),
        ("lines.all(l, !(l.amount in [" + "1," * 500 + "0]))", TOO_MUCH),
        ("lines.all(l, " + " && ".join(["l.sku in member.segments"] * 8) + ")", TOO_MUCH),
        ("[1].all(a, [1].all(b, [1].all(c, true)))", "at most 2 loops stand inside one another"),
        ("[1, 2]" + ".map(x, [x, x])" * 50 + " == []", TOO_DEEP),
        ("[1, 2].map(x, [x, x]).size() > 1", "a list cannot stand inside a list"),
        ("lines.map(l, lines) == lines.map(l, lines)", "a list cannot stand inside a list"),
        ("(true ? lines : lines).exists(l, true)",
         "? : chooses between single values, not between lists"),
        ("lines.all(l, lines == lines)", "lines are not compared whole: compare their parts"),
        ("lines in [lines]", "lines are not compared whole: compare their parts"),
        ("['a'].map(a, a + a).map(a, a + a).map(a, a + a) == []",
         "+ adds numbers only: write double(...) around a detail"),
        ("[details.a].map(a, a + a).map(a, a + a) == []",
         "+ adds numbers only: write double(...) around a detail"),
        ("size(member.segments + member.segments) > 1",
         "+ adds numbers only: write double(...) around a detail"),
        ("channel.matches('(a+)+$')",
         f"matches cannot be used in a condition: there are {ALL_FUNCTIONS}"),
        ("dyn(channel) == 1", f"dyn cannot be used in a condition: there are {ALL_FUNCTIONS}"),
        ("string(lines.size()) == ''",
         f"string cannot be used in a condition: there are {ALL_FUNCTIONS}"),
        ("google.protobuf.Struct{}.a == 1", "a table cannot be written in a condition"),
    ],
)  # fmt: skip
def test_what_could_take_too_long_is_refused(source: str, message: str) -> None:
    with pytest.raises(ConditionError) as error:
        compile_condition(source)
    assert error.value.message == message


@pytest.mark.parametrize(
    "source",
    [
        "lines" + ".filter(l, l.amount > 0)" * 3 + ".size() == 500",
        'lines.all(l, l.sku in member.segments || l.brand == "A")',
        "lines.all(l, " + " && ".join(["l.amount > 0"] * 100) + ")",
        "lines.all(l, [1, 2, 3].exists(n, n == l.quantity))",
        "lines.map(l, l.sku) == lines.map(l, l.sku)",
    ],
)
def test_what_passes_is_bounded_and_runs_with_every_list_at_its_longest(source: str) -> None:
    work = work_max(source)
    assert 0 < work.rounds <= ITERATIONS_MAX
    assert work.parts <= WORK_MAX
    member = {**VALUES["member"], "segments": [f"s{n}" for n in range(SIZES["member.segments"])]}
    full = {**VALUES, "lines": [COFFEE] * SIZES["lines"], "member": member}
    assert compile_condition(source).judge(full) == (True, HOLDS)


def test_rounds_of_loops_inside_one_another_multiply() -> None:
    assert work_max("lines.all(a, [1, 2, 3].all(n, n > 0))").rounds == 500 * (1 + 3)
    assert work_max("lines.all(a, true) && [1, 2, 3].all(n, n > 0)").rounds == 500 + 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"lines": [COFFEE] * 501}, "lines has more than 500 entries"),
        ({"lines": (COFFEE,)}, HOLDS),
        ({"lines": None}, "the condition could not be worked out"),
        ({"basket": {}}, "basket.amount is not known"),
        ({"basket": None}, "the condition could not be worked out"),
        ({"basket": {"amount": "12"}}, "a value has another type than it should"),
        ({"basket": {"amount": 2**63}}, "a number became too large"),
        ({"channel": "\ud800"}, "the condition could not be worked out"),
    ],
)
def test_values_that_do_not_fit_make_it_false(change: dict[str, Any], reason: str) -> None:
    source = 'basket.amount > 0 && channel != "app" && lines.size() > 0'
    assert compile_condition(source).judge({**VALUES, **change}) == (reason == HOLDS, reason)


def test_a_value_that_decides_nothing_may_be_missing() -> None:
    condition = compile_condition('channel == "web" || lines.size() > 3')
    assert condition.holds({"channel": "web"})
    assert condition.judge({"channel": "app"}) == (False, "lines is not known")


def test_a_condition_names_what_it_reads() -> None:
    condition = compile_condition("basket.amount > 1 && lines.exists(l, l.amount > basket.tax)")
    assert condition.uses == {"basket", "lines"}
    assert condition.holds({name: VALUES[name] for name in condition.uses})


def test_conditions_of_one_source_are_equal() -> None:
    assert compile_condition("true") == compile_condition("true") != compile_condition("!false")
    assert hash(compile_condition("true")) == hash(compile_condition("true"))


@pytest.mark.parametrize("name", VARIABLES)
def test_each_variable_has_its_type_and_its_value(name: str) -> None:
    kind = VARIABLES[name][0]
    sample = {
        "string": f'{name} != "none of these"',
        "int": f"{name} >= 0",
        "list(string)": f'{name}.all(x, x != "")',
        "list(line)": f"{name}.size() == 2",
        "map(string, dyn)": f'"score" in {name}',
    }[kind]
    assert compile_condition(sample).holds(VALUES)


@pytest.mark.parametrize(("name", "kind"), LINE_FIELDS.items())
def test_each_part_of_a_line_has_its_type(name: str, kind: str) -> None:
    good, bad = {"string": ('"x"', "1"), "int": ("1", '"x"')}[kind]
    assert compile_condition(f"lines.all(x, x.{name} != {good} || true)").holds(VALUES)
    with pytest.raises(ConditionError, match="does not go with"):
        compile_condition(f"lines.all(x, x.{name} != {bad})")


def test_threads_share_a_condition() -> None:
    condition = compile_condition("lines.exists(l, l.amount > basket.amount)")

    def judged(amount: int) -> bool:
        return condition.holds({"basket": {"amount": amount}, "lines": [COFFEE, TEA]})

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(judged, range(7000, 8000)))
    assert results == [amount < 7500 for amount in range(7000, 8000)]


def test_the_library_is_not_loaded_without_a_condition() -> None:
    code = "import sys, loyalty.program.condition; print('cel_expr_python' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)  # noqa: S603 - our own text
    assert done.stdout.strip() == b"False"


OPERATORS = "&& || ! == != < > + - * / % ? : , ( ) [ ] { } . .? @ // ` \\"
WORDS = [
    *VARIABLES,
    *OPERATORS.split(),
    *(f"lines.{loop}(l," for loop in LOOPS),
    *(f"{name}(" for name in FUNCTIONS),
    *("l", "l.sku", "l.amount", "in", "true", "null", "1", "0.5", "'a'", '"b"', "b'c'", "2u", "\n"),
    "details.",
    "google.protobuf.Any",
    "timestamp('x')",
    "\U0001f600",
]


@given(st.text(max_size=60) | st.lists(st.sampled_from(WORDS), max_size=20).map(" ".join))
def test_any_text_is_a_condition_or_a_condition_error(source: str) -> None:
    try:
        condition = compile_condition(source)
    except ConditionError as error:
        refused = error
    else:
        assert isinstance(condition.holds(VALUES), bool)
        return
    assert refused.message
    assert 1 <= refused.line <= source.count("\n") + 1
    assert 1 <= refused.column <= len(source) + 1
