"""A Jupyter kernel that ends with the process that started it, from its first moment on.

ipykernel watches its parent too, but only once it is up: orphaned before, it can live on.
"""

import os
import threading
import time


def end_with_parent():
    """End this process soon after its parent has ended (on Windows ipykernel does that by
    itself).
    """
    parent = int(os.environ.get("JPY_PARENT_PID", 0))
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)


if __name__ == "__main__":
    if os.name == "posix" and "JPY_PARENT_PID" in os.environ:
        threading.Thread(target=end_with_parent, daemon=True).start()
    from ipykernel import kernelapp

    kernelapp.launch_new_instance()
