"""``archgraph rewrite``, ``archgraph find`` and ``archgraph rules``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from archgraph.cli.options import At, GraphName, Json, Plugins, Settings, Spec, Variant


def complete_rule(incomplete: str) -> list[str]:
    """Shipped rules, for the shell."""
    from archgraph.rewrite.rule import shipped_rules

    return [name for name in shipped_rules() if name.startswith(incomplete)]


_RULE = "A shipped rule, or the path of a rule's file."
_WHERE = "Which sites, in place of the rule's own choice: a path such as `blocks.$j.attn`, `*` a segment, `**` several."
Where = Annotated[list[str] | None, typer.Option("--where", "-w", metavar="PATH", help=f"{_WHERE} May repeat.")]


def rewrite(
    spec: Spec,
    rules: Annotated[
        list[str], typer.Option("--rule", "-r", help=f"{_RULE} May repeat, in order.", autocompletion=complete_rule)
    ],
    variant: Variant = None,
    settings: Settings = None,
    where: Where = None,
    expect: Annotated[int | None, typer.Option("--expect", help="How many sites each rule must have.")] = None,
    at: At = None,
    graph: GraphName = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write a spec: base and rewrite.")
    ] = None,
    plugins: Plugins = None,
    json: Json = False,
) -> None:
    """Apply rewrite rules to an architecture, and show costs before and after and what becomes of its weights.

    `--set` gives params of the rules, and of the spec where no rule has one of that name. No site is an error, with the
    nearest miss.

    Example:  archgraph rewrite vit --variant tiny --rule softmax_to_linear --expect 12 -o linear_vit.yaml
    """
    from archgraph.cli.console import console, print_json
    from archgraph.cli.loading import read_at, use_plugins
    from archgraph.rewrite.api import rewrite as apply

    use_plugins(plugins)
    loaded = [_loaded(name) for name in rules]
    opened, given = _opened(spec, variant, settings, loaded)
    typed = opened.graph(graph, _sizes(opened, graph, read_at(at, opened, graph)))
    sites = list(where) if where else None
    now = typed
    steps: list[Any] = []
    for rule in loaded:
        own = {name: value for name, value in given.items() if name in rule.params}
        done = apply(now, rule, where=sites, expect=expect, settings=own)
        steps += done.steps
        now = done.after
    from archgraph.rewrite.api import Rewritten

    result = Rewritten(typed, now, tuple(steps), opened)
    if output is not None:
        from archgraph.rewrite.written import write_derived

        write_derived(output, opened, spec, [(rule, rules[k]) for k, rule in enumerate(loaded)], given, sites, expect)
    if json:
        from archgraph.report.rewriting import rewritten_to_dict

        print_json(rewritten_to_dict(result))
    else:
        from archgraph.report.rewriting_view import rewritten_view

        console().print(rewritten_view(result))
        if output is not None:
            typer.echo(f"\nwrote {output}")


def find(
    pattern: Annotated[
        str,
        typer.Argument(
            metavar="PATTERN",
            help="A rule, an op or block by name, or a node of a pattern such as '{op: conv2d, stride: 2, _: _}'.",
            autocompletion=complete_rule,
        ),
    ],
    spec: Spec,
    variant: Variant = None,
    settings: Settings = None,
    where: Where = None,
    at: At = None,
    graph: GraphName = None,
    plugins: Plugins = None,
    json: Json = False,
) -> None:
    """Find where a pattern stands, without replacing anything; exit code 1 if nowhere, with the nearest miss.

    Example:  archgraph find '{op: mhsa, num_heads: h, _: _}' vit
    """
    from archgraph.cli.console import console, print_faults, print_json
    from archgraph.cli.loading import read_at, use_plugins
    from archgraph.rewrite.api import find as find_in

    use_plugins(plugins)
    opened, given = _opened(spec, variant, settings, [])
    rule = _pattern(pattern, opened)
    typed = opened.graph(graph, _sizes(opened, graph, read_at(at, opened, graph)))
    found = find_in(typed, rule, where=where or None, settings=given)
    if json:
        from archgraph.report.rewriting import found_to_dict

        print_json(found_to_dict(found))
    elif found.places:
        from archgraph.report.rewriting_view import found_view

        console().print(found_view(found))
    if found.miss is not None:
        print_faults([found.miss])
        raise typer.Exit(1)


def rules(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help=_RULE, autocompletion=complete_rule, show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """List the shipped rewrite rules, or show one; a rule's file is checked on the way.

    Example:  archgraph rules softmax_to_linear
    """
    from archgraph.cli.console import console, print_json
    from archgraph.report.rewriting import rule_to_dict
    from archgraph.report.rewriting_view import rule_view, rules_view
    from archgraph.rewrite.rule import load_rule, shipped_rules

    if name is None:
        found = [load_rule(path) for path in shipped_rules().values()]
        if json:
            print_json([rule_to_dict(rule) for rule in found])
        else:
            console().print(rules_view(found))
        return
    rule = load_rule(name)
    if json:
        print_json(rule_to_dict(rule))
    else:
        console().print(rule_view(rule))


def _loaded(name: str) -> Any:
    from archgraph.rewrite.rule import load_rule

    return load_rule(name)


def _opened(spec: str, variant: str | None, settings: list[str] | None, rules: list[Any]) -> tuple[Any, dict[str, str]]:
    """The spec, and the settings that are the rules'."""
    from archgraph.cli.loading import open_specs, read_settings

    values = read_settings(settings)
    own = {name: value for name, value in values.items() if any(name in rule.params for rule in rules)}
    rest = [f"{name}={value}" for name, value in values.items() if name not in own]
    if rules:
        params = open_specs([spec], [variant] if variant else None, None)[0].file.params
        _known([name for name in values if name not in own and name not in params], rules, params)
    return open_specs([spec], [variant] if variant else None, rest)[0], own


def _known(unknown: list[str], rules: list[Any], params: Any) -> None:
    """Refuse settings that are neither of a rule nor of the spec."""
    from archgraph.ir.diagnostics import Diagnostic, SpecError, did_you_mean

    faults = []
    for name in unknown:
        near = did_you_mean(name, [p for rule in rules for p in rule.params] or params) or did_you_mean(name, params)
        own = [f"of `{rule.name}`: {', '.join(rule.params) or 'none'}" for rule in rules]
        expected = "; ".join([*own, f"of the spec: {', '.join(params)}"])
        hint = f"did you mean `{near}`?" if near else None
        message = f"neither a rule nor the spec has a param `{name}`"
        faults.append(Diagnostic("set/unknown", None, message, expected=expected, hint=hint))
    if faults:
        raise SpecError(*faults)


def _sizes(spec: Any, graph: str | None, at: dict[str, Any]) -> dict[str, Any]:
    from archgraph.analysis.sizes import default_sizes

    return dict(default_sizes(spec, graph, at))


def _pattern(text: str, spec: Any) -> Any:
    """A rule by name, or a pattern of one node."""
    from archgraph.rewrite.rule import load_rule, loads_pattern, resolve_rule

    if not text.lstrip().startswith("{"):
        try:
            resolve_rule(text)
        except Exception:
            from archgraph.ops.base import get_op

            if get_op(text) is None and spec.file.find(text) is None:
                raise
            text = f"{{op: {text}, _: _}}"
        else:
            return load_rule(text)
    return loads_pattern(text, spec.file)
