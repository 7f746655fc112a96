"""A rule's free condition, in CEL: compiled once, checked to the place, bounded before it runs.

The Common Expression Language (https://cel.dev) has no loops but those over a list, no recursion
and no effects. `compile_condition` narrows it further: typed names, whole-number money, few
functions, and a bound on the work that is worked out from the expression alone. `cel-expr-python`
parses, checks and runs; it is imported when the first condition is compiled. Which activities are
judged, and what follows, is left to the rules.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SOURCE_MAX = 2000
"""Characters of a condition. The library bounds nesting, at 32 levels."""
LOOPS_MAX = 2
"""Loops inside one another."""
ITERATIONS_MAX = 10_000
"""Rounds of all loops together: what the library stops at (`comprehension_max_iterations`)."""
WORK_MAX = 400_000
"""Parts of the expression that are worked out, each round of a loop counted again. A part takes
about 25 ns, so the costliest condition takes about 10 ms, with every list at its longest."""

VARIABLES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "channel": ("string", "the channel of the activity, such as web"),
        "store": ("string", "the store's id; empty where there is none"),
        "kind": ("string", "what happened: purchase, engagement"),
        "engagement": ("string", "the kind of engagement, such as review; empty for a purchase"),
        "fulfilment": ("string", "how the goods reach the member, such as delivery"),
        "basket.amount": ("int", "what was paid for all lines, in minor units"),
        "basket.quantity": ("int", "pieces in all lines"),
        "basket.lines": ("int", "number of lines"),
        "basket.tax": ("int", "tax in the amount, in minor units"),
        "basket.discount": ("int", "taken off before the amount, in minor units"),
        "lines": ("list(line)", "the lines; each has sku, quantity, amount, category, brand"),
        "payment.gift_card": ("int", "paid by gift card, in minor units"),
        "payment.points": ("int", "paid with points, in minor units"),
        "payment.methods": ("list(string)", "the means of payment, such as card"),
        "details": ("map(string, dyn)", "what an engagement tells: numbers, yes or no, text"),
        "member.tier": ("string", "the member's tier; empty where there is none"),
        "member.segments": ("list(string)", "the segments that the member is in"),
        "member.stage": ("string", "where the member stands, such as new, active, lapsed"),
        "member.purchases": ("int", "purchases before this one"),
        "member.joined_days": ("int", "days since the member joined"),
        "member.balance": ("int", "points before this activity"),
        "at.year": ("int", "year, local time"),
        "at.month": ("int", "month, 1 to 12"),
        "at.day": ("int", "day of the month, 1 to 31"),
        "at.weekday": ("int", "1 Monday to 7 Sunday"),
        "at.hour": ("int", "hour, 0 to 23"),
        "at.minute": ("int", "minute, 0 to 59"),
    }
)
"""Each name that a condition can use: its type and what it means."""

LINE_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "sku": "string",
        "quantity": "int",
        "amount": "int",
        "category": "string",
        "brand": "string",
    }
)
"""What each of `lines` has. A text that is not known is empty."""

SIZES: Mapping[str, int] = MappingProxyType(
    {"lines": 500, "payment.methods": 32, "member.segments": 100, "details": 64}
)
"""The longest each list may be when a condition is judged; a longer one is judged False."""

FUNCTIONS = ("size", "contains", "startsWith", "endsWith", "int", "double")
LOOPS = ("exists", "all", "exists_one", "filter", "map")
"""What may be written besides operators and `has`."""

_OPERATORS = frozenset(
    {"_&&_", "_||_", "!_", "_?_:_", "_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "@in", "_[_]"}
    | {"_+_", "_-_", "_*_", "_/_", "_%_", "-_", "@not_strictly_false"}
)
_NUMBER_SUMS = frozenset({"add_int64", "add_uint64", "add_double"})
_ROOTS = frozenset(name.split(".")[0] for name in VARIABLES)
_NAMES = frozenset(VARIABLES) | {f"_{name}" for name in LINE_FIELDS}
_SIZE_MAX = max(SIZES.values())
_TEXT_WORK = 8
_TEXT_FUNCTIONS = frozenset({"contains", "startsWith", "endsWith", "int", "double"})

_HOLDS = "the condition holds"
_FAILS = "the condition does not hold"


class ConditionError(ValueError):
    """A condition that cannot be used: why in plain words, and the place (both from 1)."""

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        super().__init__(f"line {line}, column {column}: {message}")
        self.message = message
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition; two of the same source are equal. Safe from several threads at once.

    `uses` names the parts of the values that it reads (`basket`, `lines`): no others are needed.
    """

    source: str
    uses: frozenset[str] = field(compare=False)
    _reads: tuple[_Read, ...] = field(compare=False, repr=False)
    _program: Any = field(compare=False, repr=False)

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether it holds for the values; what cannot be worked out does not hold.

        Args:
            values: what `VARIABLES` names, nested: `{"channel": "web", "basket": {"amount": 1}}`.
                Lines are dicts. A name that is missing matters only where it decides.
        """
        return self.judge(values)[0]

    def judge(self, values: Mapping[str, Any]) -> tuple[bool, str]:
        """Whether it holds, and why in plain words."""
        try:
            data = {read.name: read.value(values) for read in self._reads if read.known(values)}
            result = self._program.eval(data=data).value()
        except _TooLongError as error:
            return False, str(error)
        except Exception as error:  # noqa: BLE001 - the library raises plain RuntimeError for most
            result = error
        if result is True:
            return True, _HOLDS
        return False, _FAILS if result is False else _failure(str(result))


def compile_condition(source: str) -> Condition:
    """The condition that the text says, checked and bounded.

    Raises:
        ConditionError: it is not CEL, uses a name that does not exist, compares what cannot be
            compared, is no yes-or-no question, or could take too much work.
    """
    _check_text(source)
    program = _compiled(source, _run_environment())
    tree = _typed(_Tree(program.serialize(), source))
    _check_answer(tree)
    _check_parts(tree)
    _check_work(tree)
    names = sorted(name for name in set(tree.names.values()) if name in VARIABLES)
    reads = tuple(_Read.of(name) for name in names)
    return Condition(source, frozenset(read.root for read in reads), reads, program)


# --- values at run time


class _TooLongError(Exception):
    """A list is longer than the bound that the work was worked out for."""


class _Read(NamedTuple):
    """Where the value of a name stands in the nested values."""

    name: str
    root: str
    leaf: str
    size_max: int

    @classmethod
    def of(cls, name: str) -> _Read:
        root, _, leaf = name.partition(".")
        return cls(name, root, leaf, SIZES.get(name, 0))

    def known(self, values: Mapping[str, Any]) -> bool:
        return self.root in values and (not self.leaf or self.leaf in values[self.root])

    def value(self, values: Mapping[str, Any]) -> Any:  # noqa: ANN401 - whatever the caller knows
        found = values[self.root]
        if self.leaf:
            found = found[self.leaf]
        if not self.size_max:
            return found
        if len(found) > self.size_max:
            raise _TooLongError(f"{self.name} has more than {self.size_max} entries")
        return list(found) if isinstance(found, (tuple, set, frozenset)) else found


def _failure(raw: str) -> str:
    """Why an evaluation went wrong. The library's own text may hold values, so it is not shown."""
    if found := re.search(r'Key not found in map : "?([^"]*)"?', raw):
        return f"details has no '{found[1]}'"
    if found := re.search(r'No value with name "([^"]*)"', raw):
        return f"{found[1]} is not known"
    for sign, words in _FAILURES.items():
        if sign in raw:
            return words
    return "the condition could not be worked out"


_FAILURES = {
    "divide by zero": "a division by zero",
    "modulus by zero": "a division by zero",
    "overflow": "a number became too large",
    "out of range": "a number became too large",
    "too big": "a number became too large",
    "No matching overloads": "a detail has another type than the condition expects",
    "Unexpected value type": "a value has another type than it should",
    "Iteration budget": "the condition takes too much work",
}


# --- the library


@lru_cache(maxsize=1)
def _cel() -> Any:  # noqa: ANN401 - the library has no typed package
    return import_module("cel_expr_python.cel")


def _type(text: str, line: Any) -> Any:  # noqa: ANN401 - the library's own types
    kinds = _cel().Type
    plain = {"string": kinds.STRING, "int": kinds.INT}
    return plain.get(text) or {
        "list(string)": kinds.List(kinds.STRING),
        "list(line)": kinds.List(line),
        "map(string, dyn)": kinds.Map(kinds.STRING, kinds.DYN),
    }.get(text)


@lru_cache(maxsize=1)
def _run_environment() -> Any:  # noqa: ANN401 - the library's own type
    """For running: a line is a map, since only a protobuf message could have typed fields."""
    kinds = _cel().Type
    line = kinds.Map(kinds.STRING, kinds.DYN)
    return _cel().NewEnv(variables={name: _type(of, line) for name, (of, _) in VARIABLES.items()})


@lru_cache(maxsize=1)
def _check_environment() -> Any:  # noqa: ANN401 - the library's own type
    """For checking: a line cannot be looked into, and each of its fields has a name of its own."""
    line = _cel().Type.AbstractType("line")
    fields = {_stand_in(name): _type(of, line) for name, of in LINE_FIELDS.items()}
    names = {name: _type(of, line) for name, (of, _) in VARIABLES.items()}
    return _cel().NewEnv(variables=names | fields)


def _stand_in(line_field: str) -> str:
    """Never longer than the shortest `x.field` that it stands for."""
    return f"_{line_field}"


def _check_text(source: str) -> None:
    if len(source) > SOURCE_MAX:
        raise ConditionError(f"a condition has at most {SOURCE_MAX} characters")
    if not source.strip():
        raise ConditionError("a condition is empty")
    # The library takes UTF-8 and ends its own messages at a NUL.
    if found := re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", source):
        raise ConditionError("a character here cannot be written", *_place(source, found.start()))


def _compiled(source: str, environment: Any) -> Any:  # noqa: ANN401 - the library's own types
    try:
        return environment.compile(source)
    except RuntimeError as error:
        raise _translated(str(error), source) from None


def _place(source: str, offset: int) -> tuple[int, int]:
    """Line and column, from 1, of an offset."""
    before = source[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1


# --- the library's messages in plain words


def _translated(raw: str, source: str) -> ConditionError:
    if "recursion" in raw:
        return ConditionError("parts stand too deep inside one another or in too long a chain")
    found = re.search(r"ERROR: <input>:(\d+):(\d+): ([^\n]*)", raw)
    if not found:
        return ConditionError("this condition is not understood")
    line, column = int(found[1]), int(found[2])
    text = source.split("\n")[line - 1] if line <= source.count("\n") + 1 else ""
    for pattern, words in _MESSAGES:
        if match := re.match(pattern, found[3]):
            start = _name_start(text, column, match[1]) if words is _unknown else column
            return ConditionError(words(match, text[start - 1 :]), line, start)
    return ConditionError("this part is not understood", line, column)


def _name_start(text: str, column: int, name: str) -> int:
    """The column where the name begins whose dot or bracket is at the column."""
    begin = text.rfind(name, 0, column + len(name))
    return column if begin < 0 else begin + 1


def _unknown(match: re.Match[str], text: str) -> str:
    name = match[1]
    if re.match(rf"{re.escape(name)}\s*\(", text):
        return _no_such(name, "function", (*FUNCTIONS, *LOOPS, "has"))
    parts = [known for known in VARIABLES if known.startswith(f"{name}.")]
    if parts:
        return f"{name} is read by its parts: {', '.join(parts)}"
    return _no_such(name, "name", tuple(VARIABLES))


def _no_such(name: str, what: str, known: tuple[str, ...]) -> str:
    nearest = get_close_matches(name, known, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(known)}"
    return f"there is no {what} {name}: {hint}"


def _no_fit(match: re.Match[str], _: str) -> str:
    sign = match[1].strip("_@").replace("_", " ")
    kinds = " and ".join(_kind(name) for name in _type_names(match[2]))
    return f"{sign} does not go with {kinds}"


def _type_names(listed: str) -> Iterator[str]:
    """The types in `(int, list(string), map(string, dyn))`, one by one."""
    for found in re.finditer(r"[\w.*]+(?:\((?:[^()]|\([^()]*\))*\))?", listed[1:-1]):
        yield found[0]


def _kind(name: str) -> str:
    return _KINDS.get(name.partition("(")[0], "what stands here")


_KINDS = {
    "int": "a whole number",
    "uint": "a whole number",
    "double": "a decimal number",
    "string": "a text",
    "bool": "a yes or no",
    "list": "a list",
    "map": "a table",
    "line": "a line",
    "null_type": "nothing",
    "dyn": "a detail",
}


def _unexpected(match: re.Match[str], _: str) -> str:
    if match[1] == "<EOF>":
        return "the condition ends too early"
    hint = {"and": ": write &&", "or": ": write ||", "not": ": write !"}.get(match[1], "")
    return f"{match[1]} is not expected here{hint}"


def _unreadable(match: re.Match[str], _: str) -> str:
    if match[1][:1] in {"'", '"'}:
        return "a text begins here and does not end, or has a \\ in it: write \\\\ for one"
    sign = match[1].strip()
    hint = {"=": ": write == to compare", "&": ": write &&", "|": ": write ||"}.get(sign, "")
    return f"{sign} is not understood here{hint}"


def _not_inside(match: re.Match[str], _: str) -> str:
    if match[1] == "line":
        return "a line is read inside a loop: lines.exists(x, x.amount > 100)"
    return f"{_kind(match[1])} has no parts to read with a dot"


_MESSAGES: tuple[tuple[str, Callable[[re.Match[str], str], str]], ...] = (
    (r"undeclared reference to '(.*)' \(in container", _unknown),
    (r"found no matching overload for '(.*?)' applied to '(.*)'", _no_fit),
    (r"Syntax error: token recognition error at: '(.*)'$", _unreadable),
    (r"Syntax error: (?:mismatched|extraneous) input '?(.*?)'? expecting", _unexpected),
    (r"Syntax error: no viable alternative at input '(.*)'", _unexpected),
    (r"Syntax error: missing (.*?) at ", lambda match, _: f"{match[1]} is missing"),
    (r"reserved identifier: (.*)", lambda match, _: f"{match[1]} is a reserved word"),
    (r"expression of type '(.*)' cannot be the operand of a select", _not_inside),
    (
        r"expression of type '(.*)' cannot be the range of",
        lambda match, _: f"a loop goes over a list, not over {_kind(match[1])}",
    ),
    (r"has\(\) argument", lambda *_: "has asks for a detail: has(details.score)"),
    (r".* variable name", lambda *_: "a loop's variable is one plain name: lines.exists(x, ...)"),
    (r"invalid .*int literal", lambda *_: "this number is too large"),
    (r"Invalid string literal", lambda *_: "this text has a \\ that means nothing"),
)


# --- the checked expression, as the library serialises it (cel/expr/checked.proto, syntax.proto)

_Kind = Literal["constant", "name", "part", "call", "list", "struct", "loop"]
_Message = dict[int, list[Any]]

# By kind: the field of Expr that holds it, and in that the fields of its parts and of its text.
_SHAPES: Mapping[_Kind, tuple[int, tuple[int, ...], int]] = {
    "constant": (3, (), 0),
    "name": (4, (), 1),
    "part": (5, (1,), 2),
    "call": (6, (1, 3), 2),
    "list": (7, (1,), 0),
    "struct": (8, (), 1),
    "loop": (9, (2, 4, 5, 6, 7), 1),
}

# The fields of Type that matter here.
_DYN, _PRIMITIVE, _LIST, _MAP, _LINE = 1, 3, 6, 7, 14
_MANY = frozenset({_LIST, _MAP})
_BOOL = 1


class _Node(NamedTuple):
    """A part of the expression.

    `text` is the name, the part's name, the function or the loop's variable. The parts of a loop
    are its range, first result, whether to go on, step and result.
    """

    id: int
    kind: _Kind
    text: str
    parts: tuple[_Node, ...]


class _Tree:
    """A checked expression: its parts, where each stands, its type and what it stands for."""

    def __init__(self, serialized: bytes, source: str) -> None:
        checked = _message(_message(serialized)[2][0])
        self.source = source
        self.root = _node(checked[4][0])
        self.types = {at: _message(of) for at, of in _entries(checked, 3)}
        self.names: dict[int, str] = {}
        self.overloads: dict[int, frozenset[str]] = {}
        for at, of in _entries(checked, 2):
            reference = _message(of)
            if (name := _text(reference, 1)) in _NAMES:
                self.names[at] = name
            self.overloads[at] = frozenset(bytes(each).decode() for each in reference.get(3, ()))
        self._offsets = dict(_entries(_message(checked[5][0]), 4))

    def walk(self) -> Iterator[_Node]:
        """Every part, the outer before the inner."""
        todo = [self.root]
        while todo:
            node = todo.pop()
            yield node
            # A declared name such as `basket.amount` is one thing: `basket` alone means nothing.
            todo += () if node.id in self.names else reversed(node.parts)

    def type_of(self, node: _Node) -> int:
        return next(iter(self.types.get(node.id, ())), _DYN)

    def offset(self, node: _Node) -> int:
        return int(self._offsets.get(node.id, 0))

    def refuse(self, node: _Node, message: str) -> NoReturn:
        raise ConditionError(message, *_place(self.source, self.offset(node)))


def _message(data: bytes) -> _Message:
    """The fields of a protobuf message: whole numbers and bytes by field number."""
    fields: _Message = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        value, at = _varint(data, at) if tag & 7 == 0 else _bytes(data, at, tag & 7)
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _bytes(data: bytes, at: int, wire_type: int) -> tuple[bytes, int]:
    """Eight bytes, four bytes, or as many as are told first."""
    size = {1: 8, 5: 4}.get(wire_type, 0)
    if not size:
        size, at = _varint(data, at)
    return data[at : at + size], at + size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while data[at] & 0x80:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
    return value | data[at] << shift, at + 1


def _entries(message: _Message, number: int) -> Iterator[tuple[int, Any]]:
    """The entries of a map field whose keys are the ids of parts."""
    for entry in message.get(number, ()):
        of = _message(entry)
        yield of.get(1, [0])[0], of.get(2, [0])[0]


def _text(message: _Message, number: int) -> str:
    return bytes(message.get(number, [b""])[0]).decode()


def _node(data: bytes) -> _Node:
    expr = _message(data)
    kind = next(kind for kind, (number, *_) in _SHAPES.items() if number in expr)
    number, fields, text = _SHAPES[kind]
    inner = _message(expr[number][0])
    parts = tuple(_node(part) for each in fields for part in inner.get(each, ()))
    return _Node(int(expr.get(2, [0])[0]), kind, _text(inner, text), parts)


# --- what a condition must be


def _typed(tree: _Tree) -> _Tree:
    """The same expression with the fields of lines typed; the places stay the same."""
    source = tree.source
    for node in tree.walk():
        if node.kind != "part" or node.id in tree.names or not _is_line(tree, node.parts[0]):
            continue
        line = node.parts[0]
        if node.text not in LINE_FIELDS:
            tree.refuse(line, _no_such(f"{line.text}.{node.text}", "name", _fields_of(line.text)))
        begin = tree.offset(line)
        pattern = re.compile(rf"{line.text}\s*\.\s*{node.text}\b")
        if found := pattern.match(source, begin):
            space = re.sub(r"\S", " ", found[0][: -len(node.text) - 1])
            source = f"{source[:begin]}{space}{_stand_in(node.text)}{source[found.end() :]}"
    return _Tree(_compiled(source, _check_environment()).serialize(), source)


def _is_line(tree: _Tree, node: _Node) -> bool:
    return node.kind == "name" and node.id not in tree.names and tree.type_of(node) == _MAP


def _fields_of(line: str) -> tuple[str, ...]:
    return tuple(f"{line}.{name}" for name in LINE_FIELDS)


def _check_answer(tree: _Tree) -> None:
    kind = tree.type_of(tree.root)
    if tree.types.get(tree.root.id, {}).get(_PRIMITIVE) == [_BOOL]:
        return
    hint = ": compare the detail, such as details.score > 5" if kind == _DYN else ""
    raise ConditionError(f"a condition is a yes or no, and this is not{hint}")


def _check_parts(tree: _Tree) -> None:
    """Only what is listed; lists stay flat and no text is put together: nothing can grow."""
    loops = {node.text for node in tree.walk() if node.kind == "loop"}
    for node in tree.walk():
        if node.kind == "struct":
            tree.refuse(node, "a table cannot be written in a condition")
        if node.kind == "loop" and node.text in _ROOTS:
            tree.refuse(node, f"{node.text} is a name already: call the loop's variable another")
        if node.kind == "name" and not _is_known(tree, node, loops):
            tree.refuse(node, f"{node.text} cannot be used in a condition")
        if node.kind == "loop" and tree.type_of(node.parts[0]) not in _MANY:
            tree.refuse(node, "a loop goes over a list, not over a detail")
        if node.kind == "list" and _is_nested(tree, node):
            tree.refuse(node, "a list cannot stand inside a list")
        if node.kind == "call":
            _check_call(tree, node)


def _is_known(tree: _Tree, node: _Node, loops: set[str]) -> bool:
    return node.id in tree.names or node.text in loops or node.text.startswith("@")


def _check_call(tree: _Tree, node: _Node) -> None:
    if node.text not in _OPERATORS and node.text not in FUNCTIONS:
        known = ", ".join((*FUNCTIONS, *LOOPS, "has"))
        tree.refuse(node, f"{node.text} cannot be used in a condition: there are {known}")
    # The library's own calls gather a loop's result: one entry a round.
    if any(part.text.startswith("@result") for part in node.parts):
        return
    if node.text == "_+_" and not tree.overloads.get(node.id, frozenset()) <= _NUMBER_SUMS:
        tree.refuse(node, "+ adds numbers only: write double(...) around a detail")
    if node.text == "_?_:_" and _is_nested(tree, node):
        tree.refuse(node, "? : chooses between single values, not between lists")
    if node.text in {"_==_", "_!=_", "@in"} and any(_holds_lines(tree, n) for n in node.parts):
        tree.refuse(node, "lines are not compared whole: compare their parts")


def _is_nested(tree: _Tree, node: _Node) -> bool:
    return any(tree.type_of(part) in _MANY for part in node.parts)


def _holds_lines(tree: _Tree, node: _Node) -> bool:
    """A line or a list of lines."""
    of = tree.types.get(node.id, {})
    if _LIST in of:
        return _LINE in _message(_message(of[_LIST][0]).get(1, [b""])[0])
    return _LINE in of


# --- how much work it can be


class Work(NamedTuple):
    """The most that an evaluation takes, and the most entries of its result."""

    rounds: int
    parts: int
    size: int


def work_max(source: str) -> Work:
    """The bound on the work of a condition that compiles, with every list at its longest."""
    tree = _typed(_Tree(_compiled(source, _run_environment()).serialize(), source))
    return _work(tree, tree.root)


def _check_work(tree: _Tree) -> None:
    loops = [node for node in tree.walk() if node.kind == "loop"]
    for node in loops:
        if _depth(node) > LOOPS_MAX:
            tree.refuse(node, f"at most {LOOPS_MAX} loops stand inside one another")
    work = _work(tree, tree.root)
    if work.rounds > ITERATIONS_MAX or work.parts > WORK_MAX:
        costly = max(loops, key=lambda node: _work(tree, node).parts)
        tree.refuse(costly, "this loop can take too much work: use fewer loops, or in for a list")


def _depth(node: _Node) -> int:
    """Loops inside one another; one that runs over the result of another is beside it."""
    if node.kind != "loop":
        return max((_depth(part) for part in node.parts), default=0)
    return max(_depth(node.parts[0]), 1 + max(_depth(part) for part in node.parts[1:]))


def _work(tree: _Tree, node: _Node) -> Work:
    if name := tree.names.get(node.id):
        return Work(0, 1, SIZES.get(name, 1))
    inner = [_work(tree, part) for part in node.parts]
    if node.kind == "loop":
        return _loop_work(inner, gathers=tree.type_of(node) == _LIST)
    rounds, parts = sum(work.rounds for work in inner), 1 + sum(work.parts for work in inner)
    sizes = [work.size for work in inner]
    return Work(rounds, parts + _call_work(node, sizes), _size(tree, node, sizes))


def _size(tree: _Tree, node: _Node, sizes: list[int]) -> int:
    """The most entries of what a part gives: 1 of anything but a list."""
    if node.kind == "list":
        return len(sizes)
    return _SIZE_MAX if tree.type_of(node) in _MANY else 1


def _loop_work(inner: list[Work], *, gathers: bool) -> Work:
    over, first, going_on, step, result = inner
    size = over.size
    # The library copies what a loop has gathered so far each time it adds to it.
    copies = size * size // 2 if gathers else 0
    return Work(
        over.rounds + size * (1 + going_on.rounds + step.rounds),
        over.parts + first.parts + result.parts + size * (going_on.parts + step.parts) + copies,
        size if gathers else 1,
    )


def _call_work(node: _Node, sizes: list[int]) -> int:
    """What a call takes besides its arguments."""
    if node.text == "@in":
        return sizes[1]
    if node.text in {"_==_", "_!=_"}:
        return max(sizes)
    return _TEXT_WORK if node.text in _TEXT_FUNCTIONS else 0
