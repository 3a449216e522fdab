"""Hypothesis strategies of expression trees."""

from typing import Any

from hypothesis import strategies as st

from archgraph.spec.expr import (
    Attr,
    Binary,
    BoolOp,
    Call,
    Compare,
    Comprehension,
    Const,
    Expr,
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

NAMES = ("a", "b", "c", "dims", "not_", "inner", "_")
words = st.sampled_from(NAMES)
numbers = st.integers(0, 2**63 - 1) | st.floats(0, allow_nan=False, allow_infinity=False).filter(
    lambda value: not str(value).startswith("-")
)


def branches(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    part = inner | st.none()
    item = inner | st.builds(Splice, inner.filter(lambda tree: not isinstance(tree, Splice)))
    clause = st.tuples(
        st.lists(words, min_size=1, max_size=2, unique=True).map(tuple), inner, st.lists(inner, max_size=2).map(tuple)
    )
    return st.one_of(
        st.builds(Attr, inner, words | st.integers(0, 99)),
        st.builds(Index, inner, inner | st.builds(Slice, part, part, part)),
        st.builds(Unary, st.sampled_from(["-", "+", "~", "not"]), inner),
        st.builds(Binary, st.sampled_from(["+", "-", "*", "/", "//", "%", "**", "&", "|"]), inner, inner),
        st.builds(
            Compare,
            inner,
            st.lists(
                st.tuples(st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "in", "not in"]), inner),
                min_size=1,
                max_size=3,
            ).map(tuple),
        ),
        st.builds(BoolOp, st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(IfElse, inner, inner, inner),
        st.builds(
            Call,
            st.sampled_from(["min", "softmax", "range"]),
            st.lists(item, max_size=3).map(tuple),
            st.dictionaries(words, inner, max_size=2).map(lambda given: tuple(given.items())),
        ),
        st.lists(item, max_size=3).map(tuple).map(ListExpr),
        st.builds(Comprehension, inner, st.lists(clause, min_size=1, max_size=2).map(tuple)),
    )


leaves: st.SearchStrategy[Any] = st.one_of(
    st.builds(Num, numbers),
    st.builds(Const, st.sampled_from([True, False, None])),
    st.builds(Str, st.text(max_size=5) | st.text(st.sampled_from("'\"\\a"), max_size=4)),
    st.builds(Name, words),
)
trees: st.SearchStrategy[Expr] = st.recursive(leaves, branches, max_leaves=20)


def arithmetic(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    """Trees whose text means the same in Python, over whole numbers."""
    return st.one_of(
        st.builds(Unary, st.sampled_from(["-", "+", "not"]), inner),
        st.builds(Binary, st.sampled_from(["+", "-", "*", "/", "//", "%", "**"]), inner, inner),
        st.builds(
            Compare,
            inner,
            st.lists(st.tuples(st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), inner), min_size=1, max_size=3).map(
                tuple
            ),
        ),
        st.builds(BoolOp, st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(IfElse, inner, inner, inner),
        st.builds(Call, st.sampled_from(["min", "max"]), st.lists(inner, min_size=2, max_size=3).map(tuple)),
    )


host_trees: st.SearchStrategy[Expr] = st.recursive(
    st.builds(Num, st.integers(0, 9)) | st.builds(Name, st.sampled_from(["a", "b", "c"])), arithmetic, max_leaves=12
)
