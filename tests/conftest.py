"""What every test shares: one thread, one seed, the hypothesis profiles, and things from outside the repository."""

import os
import random
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

from tests.shared_files import VARIABLE, shared_folder

# Read when torch or numpy is first imported, by a test module or a command that a test starts. The suite runs one
# process per core, and the results of one thread do not depend on how many cores there are.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

# No deadline and no check of generation speed: both measure the machine's other work. In CI the examples are a fixed
# function of the test, so that a change is judged by what it changed; elsewhere each run looks at new ones.
settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

SEED = 0


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Seed the global generators of those libraries that the test's module has imported; imports none itself."""
    random.seed(SEED)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(SEED)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(SEED)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the reference fixtures; the test is skipped on a machine without one."""
    folder = shared_folder()
    if folder is None:
        pytest.skip(f"no reference fixtures: neither a folder `shared` beside the checkout nor {VARIABLE} is there")
    return folder


@pytest.fixture(scope="session")
def torchvision() -> ModuleType:
    """The module torchvision (timm brings it), importable beside a CPU build of torch too."""
    from tools.torchvision_import import import_torchvision

    return import_torchvision()


@pytest.fixture(scope="session")
def timm(torchvision: ModuleType) -> ModuleType:
    """The module timm, importable beside a CPU build of torch too."""
    return import_module("timm")
