"""Mounts over protected paths, made before bubblewrap runs: it takes them along with the directory that they lie in.

Why here: to bubblewrap each mount is a reading of the whole mount table, and there are some twenty. With the calls of Linux 5.2
(open_tree(2), move_mount(2)) and 5.12 (mount_setattr(2)) one costs some microseconds. They are made in a namespace above that of
bubblewrap's user, where nobody inside can take them off (mount_namespaces(7), "Restrictions on mount namespaces").

*Trust:* the paths lie in a workspace, where another sandbox may be at work: no link is followed to what is covered. *Fails:* closed;
OSError, naming the path.
"""

import os
from collections.abc import Iterable

from immure.launcher import kernel

STEP = "cover the protected paths"


def cover(paths: Iterable[tuple[str, bool]]) -> None:
    """Mount each path over itself, parents first, read-only unless it is said to be writable. In a mount namespace of our own."""
    for path, is_writable in paths:
        mount = kernel.clone_mount(path, recursive=True, follow=False)
        try:
            if not is_writable:
                kernel.make_read_only(mount, path)
            kernel.attach_mount(mount, path)
        finally:
            os.close(mount)
