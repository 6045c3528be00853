"""A MariaDB server of the tests' own: no network, a folder of its own, gone when the tests are through."""

import os
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

_PATIENCE = 60


@contextmanager
def server():
    """Start a server that anybody may use; yield its socket."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    install, program = (shutil.which(name, path=path) for name in ("mariadb-install-db", "mariadbd"))
    if install is None or program is None:
        pytest.skip("no MariaDB server is installed (apt-get install mariadb-server)")
    home = Path(tempfile.mkdtemp(prefix="sequela-maria-"))
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    own = ["--no-defaults", f"--datadir={home / 'data'}", *(["--user=root"] if os.geteuid() == 0 else [])]
    try:
        subprocess.run([install, *own, "--auth-root-authentication-method=normal", "--skip-test-db"],
                       check=True, **quiet)  # fmt: skip
        socket = home / "socket"
        running = subprocess.Popen(
            [program, *own, f"--socket={socket}", f"--pid-file={home / 'pid'}", "--skip-networking",
             "--innodb-flush-method=nosync"],
            **quiet,
        )  # fmt: skip
        try:
            begun = time.monotonic()
            while not socket.exists():
                assert running.poll() is None, "the server ended"
                assert time.monotonic() - begun < _PATIENCE, "the server did not start"
                time.sleep(0.05)
            yield socket
        finally:
            running.kill()
            running.wait()
    finally:
        shutil.rmtree(home, ignore_errors=True)
