"""From typed graph to typed graph: weights made inputs, gradients, and leading axes.

These are what calls with given ``weights:``, ``vjp`` and ``vmap`` become while a spec is elaborated. All are closed
under the graph: what they make is an ordinary graph, whose cost, lowering and drawing follow from its ops' own rules.
"""
