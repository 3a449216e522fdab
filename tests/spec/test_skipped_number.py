"""A node that is skipped may stand for a number."""

from archgraph.spec.load import loads


def test_else_takes_a_number() -> None:
    body = "{a: {op: relu, when: 1 > 2, else: 0.5}, y: {formula: x + a, in: {x: x, a: a}}}"
    text = f"archgraph: 1\ninputs: {{x: [2, 3]}}\ngraph: {body}\n"
    graph = loads(text).graph()
    assert graph.nodes[0].op.op_name == "full"  # type: ignore[union-attr]
    assert graph.nodes[0].types[0].shape == ()
