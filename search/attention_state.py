"""The metric ``state`` of attention_recall: how many numbers attention keeps of a sequence to answer its next query.

Per block of width C with heads of width d, for N tokens: softmax keeps all keys and values, 2 N C; routing its
regions' mean keys too; linear attention a d x d matrix and a sum for each head, C (d + 1); lightning the matrix
alone, C d; agent attention its n agents' keys and values, 2 n C.
"""

from archgraph.search.candidate import Candidate
from archgraph.search.metrics import metric


@metric("state")
def state(candidate: Candidate) -> float:
    """Numbers kept, over all blocks."""
    params = candidate.spec.params()
    width, tokens, depth = params["dim"], params["length"], params["depth"]
    head = width // params["num_heads"]
    (rule,) = candidate.assignment.rewrites or ({"rule": "softmax", "set": {}},)
    given = rule.get("set", {})
    kept = {
        "softmax": 2 * tokens * width,
        "softmax_to_linear": width * (head + 1),
        "softmax_to_lightning": width * head,
        "softmax_to_agent": 2 * given.get("agents", 0) * width,
        "softmax_to_bi_level_routing": (2 * tokens + given.get("n_win", 0) ** 2) * width,
    }
    return float(depth * kept[rule["rule"]])
