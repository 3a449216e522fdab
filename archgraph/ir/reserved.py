"""Names that a node can't bear, as data: public members of ``torch.nn.Module`` and ``torch.fx.GraphModule``.

Kept here so that checking a spec needs no torch; a test compares them with the installed torch.
"""

from __future__ import annotations

import keyword
from typing import Final

RESERVED: Final = frozenset(
    """
    T_destination add_module add_submodule apply bfloat16 buffers call_super_init children code
    compile cpu cuda delete_all_unused_submodules delete_submodule double dump_patches eval
    extra_repr float forward get_buffer get_extra_state get_parameter get_submodule graph half ipu
    load_state_dict meta modules mtia named_buffers named_children named_modules named_parameters
    parameters print_readable recompile register_backward_hook register_buffer register_forward_hook
    register_forward_pre_hook register_full_backward_hook register_full_backward_pre_hook
    register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module
    register_parameter register_state_dict_post_hook register_state_dict_pre_hook requires_grad_
    self set_extra_state set_submodule shape_env share_memory state_dict to to_empty to_folder train training
    type xpu zero_grad
    """.split()  # noqa: SIM905  # a hundred words, not a hundred lines
)


def can_name(name: str) -> bool:
    """Whether a node can bear a name: an identifier that torch leaves free, or a whole number (a turn of a loop)."""
    if name.isdecimal():
        return str(int(name)) == name
    return name.isidentifier() and name.isascii() and not keyword.iskeyword(name) and name not in RESERVED
