"""Fetch axe-core, the checker of accessibility, for the page's tests: `make axe`.

It is under the MPL-2.0, so it is neither shipped nor committed: one file in the ignored folder `.cache`, unchanged,
loaded by `tests/reports/test_browser_access.py` alone. Without it that test is skipped; those of contrast and of the
names of controls need no library.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

OUT = Path(__file__).parents[1] / ".cache" / "axe.min.js"
VERSION = "4.14.1"
SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"


def main() -> None:
    """Write the file, if it is the one that was checked."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", f"axe-core@{VERSION}"], cwd=folder, check=True)
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as tar:
            tar.extract("package/axe.min.js", folder, filter="data")
        file = Path(folder) / "package" / "axe.min.js"
        found = hashlib.sha256(file.read_bytes()).hexdigest()
        if found != SHA256:
            sys.exit(f"axe-core {VERSION} is not the file that was checked: sha256 {found}, expected {SHA256}")
        OUT.parent.mkdir(exist_ok=True)
        shutil.copy(file, OUT)


if __name__ == "__main__":
    main()
