"""Where the reference fixtures lie: recorded inputs, weights and outputs of the papers' own implementations.

They are too large for the repository. They are looked for in the folder that the environment variable
``ARCHGRAPH_SHARED`` names, else in ``shared`` beside the checkout.
"""

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
VARIABLE = "ARCHGRAPH_SHARED"


def shared_folder() -> Path | None:
    """The folder of shared files, or None where this machine has none.

    Tests that need it take the fixture ``shared``; only tests that are parametrised over its contents call this.

    Raises:
        NotADirectoryError: the environment variable names something that is not a folder.
    """
    if named := os.environ.get(VARIABLE):
        folder = Path(named)
        if not folder.is_dir():
            raise NotADirectoryError(f"{VARIABLE}={named} is not a folder")
        return folder
    folder = CHECKOUT.parent / "shared"
    return folder if folder.is_dir() else None
