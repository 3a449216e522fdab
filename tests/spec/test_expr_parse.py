"""Grammar of expressions, canonical text, equality and names of trees, refusals."""

import math
import pickle
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from archgraph.spec.expr import (
    Attr,
    Binary,
    Call,
    Comprehension,
    Expr,
    ExprError,
    Index,
    ListExpr,
    Name,
    Num,
    Slice,
    Splice,
    Unary,
    constant_value,
    literal,
    parse,
    walk,
)
from tests.spec.expr_strategies import trees


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a - b - c", Binary("-", Binary("-", Name("a"), Name("b")), Name("c"))),
        ("-a ** 2", Unary("-", Binary("**", Name("a"), Num(2)))),
        ("2 ** -1", Binary("**", Num(2), Unary("-", Num(1)))),
        ("a ** b ** c", Binary("**", Name("a"), Binary("**", Name("b"), Name("c")))),
        ("-a * b", Binary("*", Unary("-", Name("a")), Name("b"))),
        ("dims.0", Attr(Name("dims"), 0)),
        ("dims.0.5", Attr(Attr(Name("dims"), 0), 5)),
        ("row.k[1:]", Index(Attr(Name("row"), "k"), Slice(Num(1), None, None))),
        ("x[::2]", Index(Name("x"), Slice(None, None, Num(2)))),
        ("group.*", Splice(Name("group"))),
        ("scales.sw...", Splice(Attr(Name("scales"), "sw"))),
        ("f(a, k=1)", Call("f", (Name("a"),), (("k", Num(1)),))),
        ("sum(x for x in xs)", Call("sum", (Comprehension(Name("x"), ((("x",), Name("xs"), ()),)),))),
        ("[1, 2,]", ListExpr((Num(1), Num(2)))),
        ("layer.in", Attr(Name("layer"), "in")),
        ("1e-6", Num(1e-6)),
    ],
)
def test_grammar(text: str, tree: Expr) -> None:
    assert parse(text) == tree


@given(trees)
def test_canonical_text_is_read_back(tree: Expr) -> None:
    text = str(tree)
    assert len(text) > 4000 or parse(text) == tree


@given(trees)
def test_equal_trees_have_equal_hashes_names_and_pickles(tree: Expr) -> None:
    other = pickle.loads(pickle.dumps(tree))
    assert other == tree
    assert hash(other) == hash(tree)
    assert (other.names, other.attrs, other.depth) == (tree.names, tree.attrs, tree.depth)


def test_equality_ignores_the_position_and_sees_the_type() -> None:
    assert parse("a+b") == parse("  a  +  b")
    assert parse("1") != parse("1.0")
    assert parse("1") != parse("true")
    assert parse("'a'") != parse("a")
    assert len({parse("a"), parse(" a"), parse("(a)")}) == 1
    assert parse("[1]") != parse("[1.0]")


@pytest.mark.parametrize(
    ("text", "names", "attrs"),
    [
        ("dim // num_heads + min(dim, 2)", {"dim", "num_heads"}, set()),
        ("[x * y for x in xs if x > z]", {"xs", "y", "z"}, set()),
        ("[x for x in x]", {"x"}, set()),
        ("[a + b for a in xs for b in a]", {"xs"}, set()),
        ("[a for a in b for b in c]", {"b", "c"}, set()),
        ("widths.l + row.k", {"widths", "row"}, {"l", "k"}),
        ("[w.t for t in xs]", {"w", "xs"}, set()),
        ("f(key=value)", {"value"}, set()),
    ],
)
def test_free_names(text: str, names: set[str], attrs: set[str]) -> None:
    tree = parse(text)
    assert tree.names == names
    assert tree.attrs == attrs


def test_walk_visits_every_part_in_order() -> None:
    assert [str(node) for node in walk(parse("f(a + 1, k=b)[c:]"))] == [
        "f(a + 1, k=b)[c:]",
        "f(a + 1, k=b)",
        "a + 1",
        "a",
        "1",
        "b",
        "c:",
        "c",
    ]


@pytest.mark.parametrize(
    ("text", "offset", "length", "message"),
    [
        ("", 0, 1, "the expression is empty"),
        ("  ", 0, 1, "the expression is empty"),
        ("a +", 3, 1, "the expression ends too early"),
        ("a b", 2, 1, "`b` is not expected here"),
        ("(a", 0, 1, "`(` is not closed"),
        ("f(a, [b)", 7, 1, "`)` is not expected here"),
        ("a if b", 6, 1, "`else` is missing after `if`"),
        ("(1, 2)", 2, 1, "a list is written in brackets: `[a, b]`"),
        ("()", 0, 2, "nothing stands between the parentheses"),
        ("$name", 0, 1, "`$` has no meaning inside an expression"),
        ("a ^ 2", 2, 1, "`^` has no meaning in an expression"),
        ("x is null", 2, 2, "`is` is not expected here"),
        ("True", 0, 4, "`True` is not a name"),
        (".5", 0, 2, "`.5` is not a number"),
        ("1.", 1, 1, "a word or number is missing after `.`"),
        ("2.x", 1, 2, "a number can't be followed by `.x`"),
        ("013", 0, 3, "`013` has a leading zero"),
        ("00.5", 0, 4, "`00.5` has a leading zero"),
        ("1_000", 1, 4, "`_000` is not expected here"),
        ("x.01", 2, 2, "`01` has a leading zero"),
        ("9223372036854775808", 0, 19, "the number does not fit in 64 bits"),
        ("1e999", 0, 5, "`1e999` is beyond the largest float"),
        ("'abc", 0, 4, "the quoted text does not end"),
        ("'a\\n'", 2, 2, "`\\n` is not an escape"),
        ("a.b(c)", 3, 1, "only functions of the fixed list can be called"),
        ("f(a=1, b)", 7, 1, "an argument without a name can't follow one with a name"),
        ("f(a=1, a=2)", 7, 1, "`a` is given twice"),
        ("a... + 1", 1, 3, None),
        ("1 + a...", 5, 3, "`...` splices a list: only an argument or a list item may be one"),
        ("1 + not a", 4, 3, "`not` needs parentheses here"),
        ("x[]", 1, 2, "an index is missing between the brackets"),
        ("x[1, 2]", 3, 1, "one index only; for nested lists write `x[i][j]`"),
        ("[x for x, x in y]", 10, 1, "`x` stands twice after `for`"),
        ("[x for 1 in y]", 7, 1, "a name must follow `for`"),
        ("{1: 2}", 0, 1, "`{` has no meaning in an expression"),
        ("a = b", 2, 1, "`=` is not expected here"),
        ("θ + 1", 0, 1, "`θ` has no meaning in an expression"),
        ("a\x00", 1, 1, None),
        ("lambda x: x", 7, 1, "`x` is not expected here"),
    ],
)
def test_what_is_no_expression(text: str, offset: int, length: int, message: str | None) -> None:
    with pytest.raises(ExprError) as caught:
        parse(text)
    assert (caught.value.offset, caught.value.length) == (offset, length) or message is None
    assert caught.value.message == message or message is None


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("$act", "without `$`"),
        ("a ^ 2", "`**`"),
        ("a is b", "`==`"),
        ("a = b", "`==`"),
        (".5", "`0.5`"),
        ("None", "`null`"),
    ],
)
def test_advice(text: str, hint: str) -> None:
    with pytest.raises(ExprError) as caught:
        parse(text)
    assert caught.value.hint is not None
    assert hint in caught.value.hint


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63) + 1, 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner, max_size=4).map(tuple),
        max_leaves=10,
    )
)
def test_literal(given_value: Any) -> None:
    tree = literal(given_value)
    assert len(str(tree)) > 4000 or parse(str(tree)) == tree
    known, found = constant_value(tree)
    assert known
    assert repr(found) == repr(given_value)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, {}, b"", 2**63])
def test_what_has_no_literal(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        literal(wrong)


PIECES = (
    "a b.0 c.* ... 1 2.5 's' ( ) [ ] , : . = == < in not and or if else for + - * ** // % ~ | & f( x[ $ true null is"
)
expression_like = st.lists(st.sampled_from(PIECES.split()), max_size=25).map(" ".join)


@given(st.text(max_size=80) | expression_like)
@example("a" + "." * 10)
@example("'\\")
def test_any_text_gives_a_tree_or_an_expression_error(text: str) -> None:
    try:
        tree = parse(text)
    except ExprError as error:
        fault = error
    else:
        assert parse(str(tree)) == tree
        return
    assert 0 <= fault.offset <= len(text)
    assert fault.length >= 1


DEEP = {
    "parentheses": "(" * 30_000,
    "parentheses of the allowed length": "(" * 1_900 + "1" + ")" * 1_900,
    "lists": "[" * 1_900 + "]" * 1_900,
    "calls": "f(" * 1_300,
    "indices": "a[" * 1_300,
    "signs": "-" * 3_900 + "1",
    "nots": "not " * 990 + "1",
    "powers": "2**" * 1_300 + "2",
    "sums": "1+" * 1_900 + "1",
    "conditions": "1 if a else " * 330 + "1",
    "attributes": "a" + ".b" * 1_900,
    "subscripts": "a" + "[0]" * 1_300,
    "quotes": "'" * 3_999,
    "digits": "9" * 3_999,
    "length": " " * 4_001,
}


@pytest.mark.parametrize("name", DEEP)
def test_deep_and_long_texts_are_refused(name: str) -> None:
    start = time.process_time()
    with pytest.raises(ExprError):
        parse(DEEP[name])
    assert time.process_time() - start < 1
