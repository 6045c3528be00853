"""Fetch the page's JavaScript libraries from their npm packages: `make vendor`.

Writes `src/sequela/reports/assets/vendor/`: each library as its package ships it, its licence, and `vendor.json` with
versions and hashes. The files are committed, so that neither users nor tests need npm.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

OUT = Path(__file__).parents[1] / "src/sequela/reports/assets/vendor"
LIBRARIES: list[tuple[str, str, str | None]] = [
    # package, version, file; in the order in which the page loads them
    ("cytoscape", "3.34.4", "dist/cytoscape.min.js"),
    ("cytoscape-dagre", "4.0.1", "dist/cytoscape-dagre.min.js"),
    # inside the file of cytoscape-dagre: only their licences are needed
    ("@dagrejs/dagre", "3.1.3", None),
    ("@dagrejs/graphlib", "4.0.6", None),
]


def main() -> None:
    """Write the folder anew."""
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    record = []
    for package, version, file in LIBRARIES:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["npm", "pack", "--silent", f"{package}@{version}"], cwd=folder, check=True)
            (archive,) = Path(folder).glob("*.tgz")
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
            root = Path(folder) / "package"
            described = json.loads((root / "package.json").read_text(encoding="utf-8"))
            entry = {"package": package, "version": version, "license": described["license"], "file": None}
            shutil.copy(root / "LICENSE", OUT / f"{package.replace('/', '-')}.LICENSE")
            if file is not None:
                lines = (root / file).read_text(encoding="utf-8").splitlines(keepends=True)
                text = "".join(line for line in lines if not line.startswith("//# sourceMapping"))
                entry["file"] = Path(file).name
                entry["sha256"] = hashlib.sha256(text.encode()).hexdigest()
                (OUT / Path(file).name).write_text(text, encoding="utf-8")
            record.append(entry)
    (OUT / "vendor.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
