"""From text to tree: a tokenizer and a precedence parser for expressions. Python's grammar, a fraction of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NoReturn

from archgraph.ir.expr import (
    Attr,
    Binary,
    BoolOp,
    Call,
    Clause,
    Compare,
    Comprehension,
    Const,
    Expr,
    ExprError,
    IfElse,
    Index,
    ListExpr,
    Name,
    Num,
    Slice,
    Splice,
    Str,
    Unary,
)

__all__ = ["MAX_BRACKETS", "MAX_TEXT", "parse"]

MAX_TEXT: Final = 4000
MAX_BRACKETS: Final = 64
_MAX_RECURSION: Final = 128

_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<num>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<attr>\.(?:\d+|[A-Za-z_][A-Za-z0-9_]*))
    |(?P<op>\*\*|//|==|!=|<=|>=|\.\.\.|\.\*|[-+*/%&|~<>()\[\],:=])
    |(?P<str>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    |(?P<end>\Z)
    |(?P<bad>.))""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_KEYWORDS: Final = frozenset(("and", "or", "not", "in", "if", "else", "for", "true", "false", "null"))
_FOREIGN: Final = {"True": "true", "False": "false", "None": "null", "is": "=="}

# Binding powers; the loop in `_Parser.operand` goes on while the next operator binds at least as strongly as asked.
_OR, _AND, _NOT, _COMPARE, _BIT_OR, _BIT_AND, _SUM, _PRODUCT, _SIGN, _POWER = range(1, 11)
_BINDING: Final = {
    "or": _OR, "and": _AND, "not": _COMPARE, "in": _COMPARE,
    "==": _COMPARE, "!=": _COMPARE, "<": _COMPARE, "<=": _COMPARE, ">": _COMPARE, ">=": _COMPARE,
    "|": _BIT_OR, "&": _BIT_AND, "+": _SUM, "-": _SUM,
    "*": _PRODUCT, "/": _PRODUCT, "//": _PRODUCT, "%": _PRODUCT, "**": _POWER,
}  # fmt: skip
_CONSTANTS: Final = {"true": True, "false": False, "null": None}
_ADVICE: Final = {
    "^": "a power is written `**`",
    "!": "write `not` or `!=`",
    "@": "a matrix product is the op `matmul`",
    "{": "dicts are written in YAML, not in expressions",
    "#": "comments belong to YAML",
    "\\": "backslashes stand only inside quoted text",
    ";": "one expression, without statements",
    "'": "close the quotation mark",
    '"': "close the quotation mark",
}

Token = tuple[str, str, int]
"""Kind (an operator or keyword is its own kind), text, offset."""


@lru_cache(maxsize=8192)
def parse(text: str) -> Expr:
    """The tree of an expression. Raises `ExprError`."""
    if len(text) > MAX_TEXT:
        raise ExprError(f"the expression has {len(text)} characters; at most {MAX_TEXT} are read", 0, 1)
    return _Parser(text).whole()


def _tokens(text: str) -> list[Token]:
    tokens: list[Token] = []
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        assert kind is not None
        value = match[kind]
        offset = match.start(kind)
        if kind == "op" or (kind == "name" and value in _KEYWORDS):
            kind = value
        elif kind == "bad":
            raise _bad_character(text, value, offset)
        elif kind == "end":
            tokens.append(("end", "", offset))
            break
        tokens.append((kind, value, offset))
    return tokens


def _bad_character(text: str, char: str, offset: int) -> ExprError:
    if char == "$":
        hint = "`$name` passes a text param on and stands alone; in an expression write the name without `$`"
        return ExprError("`$` has no meaning inside an expression", offset, 1, hint)
    if char == "." and text[offset + 1 : offset + 2] == "":
        return ExprError("a word or number is missing after `.`", offset, 1)
    if char in "'\"":
        return ExprError("the quoted text does not end", offset, len(text) - offset, _ADVICE[char])
    return ExprError(f"`{char}` has no meaning in an expression", offset, 1, _ADVICE.get(char))


class _Parser:
    __slots__ = ("at", "brackets", "kind", "level", "text", "tokens")

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _tokens(text)
        self.at = 0
        self.kind = self.tokens[0][0]
        self.brackets = 0
        self.level = 0

    # Tokens

    def advance(self) -> Token:
        token = self.tokens[self.at]
        if token[0] != "end":
            self.at += 1
            self.kind = self.tokens[self.at][0]
        return token

    def expect(self, kind: str, why: str) -> Token:
        if self.kind != kind:
            self.unexpected(f"`{kind}` is missing {why}")
        return self.advance()

    def unexpected(self, message: str | None = None) -> NoReturn:
        kind, value, offset = self.tokens[self.at]
        hint = None
        if message is None:
            message = "the expression ends too early" if kind == "end" else f"`{value}` is not expected here"
            if value in _FOREIGN:
                hint = f"write `{_FOREIGN[value]}`"
            elif self.at and kind in ("name", "num", "str", "(", "["):
                hint = "an operator or comma is missing before it"
            elif kind == "=":
                hint = "comparison is written `==`"
        raise ExprError(message, offset, max(1, len(value)), hint)

    def open(self) -> Token:
        token = self.advance()
        self.brackets += 1
        if self.brackets > MAX_BRACKETS:
            raise ExprError(f"more than {MAX_BRACKETS} levels of brackets", token[2], 1)
        return token

    def close(self, kind: str, opened: Token) -> None:
        if self.kind != kind:
            if self.kind == "end":
                raise ExprError(f"`{opened[1]}` is not closed", opened[2], 1)
            self.unexpected()
        self.advance()
        self.brackets -= 1

    # Grammar

    def whole(self) -> Expr:
        if self.kind == "end":
            raise ExprError("the expression is empty", 0, 1)
        tree = self.expression(splice=True)
        if self.kind != "end":
            self.unexpected()
        return tree

    def expression(self, *, splice: bool = False) -> Expr:
        then = self.operand(_OR, splice=splice)
        if self.kind != "if" or type(then) is Splice:
            return then
        offset = self.advance()[2]
        test = self.operand(_OR)
        self.expect("else", "after `if`")
        # The chain `a if p else b if q else c` goes on here: its depth counts like that of any operand.
        self.enter()
        other = self.expression()
        self.level -= 1
        return IfElse(then, test, other, offset=offset)

    def enter(self) -> None:
        self.level += 1
        if self.level > _MAX_RECURSION:
            raise ExprError("the expression is nested too deeply", self.tokens[self.at][2], 1)

    def operand(self, power: int, *, splice: bool = False) -> Expr:
        """A prefix form and all operators after it that bind at least as strongly as `power`."""
        self.enter()
        left = self.prefix(power)
        if type(left) is Splice:
            if not splice:
                raise ExprError("`...` splices a list: only an argument or a list item may be one", left.offset, 3)
            self.level -= 1
            return left
        while True:
            op = self.kind
            binding = _BINDING.get(op)
            if binding is None or binding < power:
                self.level -= 1
                return left
            if binding == _COMPARE:
                left = self.comparison(left)
            elif binding <= _AND:
                left = self.boolean(op, binding, left)
            else:
                offset = self.advance()[2]
                right = self.operand(_SIGN if op == "**" else binding + 1)
                left = Binary(op, left, right, offset=offset)

    def prefix(self, power: int) -> Expr:
        kind = self.kind
        if kind in ("-", "+", "~"):
            offset = self.advance()[2]
            return Unary(kind, self.operand(_SIGN), offset=offset)
        if kind == "not":
            offset = self.advance()[2]
            if power > _NOT:
                raise ExprError("`not` needs parentheses here", offset, 3, "write `(not x)`")
            return Unary("not", self.operand(_NOT), offset=offset)
        return self.postfix()

    def comparison(self, first: Expr) -> Expr:
        rest: list[tuple[str, Expr]] = []
        offset = self.tokens[self.at][2]
        while _BINDING.get(self.kind) == _COMPARE:
            op = self.advance()[0]
            if op == "not":
                self.expect("in", "after `not`")
                op = "not in"
            rest.append((op, self.operand(_BIT_OR)))
        return Compare(first, tuple(rest), offset=offset)

    def boolean(self, op: str, binding: int, first: Expr) -> Expr:
        values = [first]
        offset = self.tokens[self.at][2]
        while self.kind == op:
            self.advance()
            values.append(self.operand(binding + 1))
        return BoolOp(op, tuple(values), offset=offset)

    def postfix(self) -> Expr:
        bare_number = self.kind == "num"
        left = self.primary()
        while self.kind in ("attr", "[", "...", ".*", "("):
            kind, value, offset = self.tokens[self.at]
            if bare_number:
                hint = f"write `0{value}`" if value[1:].isdigit() and self.at == 0 else None
                raise ExprError(f"a number can't be followed by `{value}`", offset, len(value), hint)
            if kind == "(":
                raise ExprError("only functions of the fixed list can be called", offset, 1)
            if kind == "[":
                left = self.index(left)
                continue
            self.advance()
            if kind == "attr":
                word = value[1:]
                left = Attr(left, self.whole_number(word, offset + 1) if word.isdigit() else word, offset=offset)
            else:
                return Splice(left, offset=offset)
        return left

    def whole_number(self, digits: str, offset: int) -> int:
        if len(digits) > 1 and digits[0] == "0":
            raise ExprError(f"`{digits}` has a leading zero", offset, len(digits), f"write `{digits.lstrip('0') or 0}`")
        if len(digits) > 19 or int(digits) >= 2**63:
            raise ExprError("the number does not fit in 64 bits", offset, len(digits))
        return int(digits)

    def primary(self) -> Expr:
        kind, value, offset = self.tokens[self.at]
        if kind == "name":
            self.advance()
            if self.kind == "(":
                return self.call(value, offset)
            if value in _FOREIGN:
                word = _FOREIGN[value]
                raise ExprError(f"`{value}` is not a name", offset, len(value), f"write `{word}`")
            return Name(value, offset=offset)
        if kind == "num":
            self.advance()
            return self.number(value, offset)
        if kind == "str":
            self.advance()
            return Str(_unescape(value, offset), offset=offset)
        if kind in _CONSTANTS:
            self.advance()
            return Const(_CONSTANTS[kind], offset=offset)
        if kind == "(":
            return self.parentheses()
        if kind == "[":
            return self.list()
        if kind == "attr" and value[1:].isdigit():
            raise ExprError(f"`{value}` is not a number", offset, len(value), f"write `0{value}`")
        self.unexpected()

    def number(self, text: str, offset: int) -> Expr:
        if text.isdigit():
            return Num(self.whole_number(text, offset), offset=offset)
        if text[0] == "0" and text[1].isdigit():
            raise ExprError(f"`{text}` has a leading zero", offset, len(text), f"write `{text.lstrip('0')}`")
        value = float(text)
        if value == float("inf"):
            raise ExprError(f"`{text}` is beyond the largest float", offset, len(text))
        return Num(value, offset=offset)

    def parentheses(self) -> Expr:
        opened = self.open()
        if self.kind == ")":
            raise ExprError("nothing stands between the parentheses", opened[2], 2)
        inner = self.expression()
        if self.kind == ",":
            self.unexpected("a list is written in brackets: `[a, b]`")
        if self.kind == "for":
            self.unexpected("a comprehension is written in brackets: `[x for x in y]`")
        self.close(")", opened)
        return inner

    def list(self) -> Expr:
        opened = self.open()
        items: list[Expr] = []
        while self.kind != "]":
            items.append(self.expression(splice=True))
            if self.kind == "for" and len(items) == 1 and type(items[0]) is not Splice:
                clauses = self.clauses()
                self.close("]", opened)
                return Comprehension(items[0], clauses, offset=opened[2])
            if self.kind != ",":
                break
            self.advance()
        self.close("]", opened)
        return ListExpr(tuple(items), offset=opened[2])

    def clauses(self) -> tuple[Clause, ...]:
        clauses: list[Clause] = []
        while self.kind == "for":
            self.advance()
            targets = [self.target(())]
            while self.kind == ",":
                self.advance()
                targets.append(self.target(targets))
            self.expect("in", "after `for`")
            iterable = self.operand(_OR)
            conditions: list[Expr] = []
            while self.kind == "if":
                self.advance()
                conditions.append(self.operand(_OR))
            clauses.append((tuple(targets), iterable, tuple(conditions)))
        return tuple(clauses)

    def target(self, before: Sequence[str]) -> str:
        if self.kind != "name":
            self.unexpected("a name must follow `for`")
        _, name, offset = self.advance()
        if name in before:
            raise ExprError(f"`{name}` stands twice after `for`", offset, len(name))
        return name

    def index(self, obj: Expr) -> Expr:
        opened = self.open()
        parts: list[Expr | None] = [None]
        while self.kind != "]":
            if self.kind == ":" and len(parts) < 3:
                self.advance()
                parts.append(None)
            elif parts[-1] is None:
                parts[-1] = self.expression()
            elif self.kind == ",":
                self.unexpected("one index only; for nested lists write `x[i][j]`")
            else:
                break
        self.close("]", opened)
        if len(parts) == 1:
            if parts[0] is None:
                raise ExprError("an index is missing between the brackets", opened[2], 2)
            return Index(obj, parts[0], offset=opened[2])
        start, stop, step = [*parts, None][:3]
        return Index(obj, Slice(start, stop, step, offset=opened[2]), offset=opened[2])

    def call(self, function: str, offset: int) -> Expr:
        opened = self.open()
        args: list[Expr] = []
        kwargs: list[tuple[str, Expr]] = []
        while self.kind != ")":
            key = self.tokens[self.at]
            if key[0] == "name" and self.tokens[self.at + 1][0] == "=":
                self.advance()
                self.advance()
                if any(key[1] == name for name, _ in kwargs):
                    raise ExprError(f"`{key[1]}` is given twice", key[2], len(key[1]))
                kwargs.append((key[1], self.expression()))
            elif kwargs:
                self.unexpected("an argument without a name can't follow one with a name")
            else:
                args.append(self.expression(splice=True))
                if self.kind == "for" and len(args) == 1 and type(args[0]) is not Splice:
                    args[0] = Comprehension(args[0], self.clauses(), offset=opened[2])
                    break
            if self.kind != ",":
                break
            self.advance()
        self.close(")", opened)
        return Call(function, tuple(args), tuple(kwargs), offset=offset)


_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)


def _unescape(quoted: str, offset: int) -> str:
    text = quoted[1:-1]
    if "\\" not in text:
        return text
    for match in _ESCAPE.finditer(text):
        if match[1] not in "\\'\"":
            hint = "write a backslash as `\\\\`"
            raise ExprError(f"`{match[0]}` is not an escape", offset + 1 + match.start(), 2, hint)
    return _ESCAPE.sub(r"\1", text)
