"""The process of a kvstore's scheduler or parameter server: `python -m ...kvstore_node PARENT`.

MXNet decides by DMLC_ROLE, when it is imported, what a process is; a scheduler and a server work
inside that import and never return from it.
"""

import os
import sys

from sagemaker_object_detection.platform.orphans import end_with_parent

if __name__ == "__main__":
    end_with_parent(int(sys.argv[1]))
    import mxnet

    sys.exit(f"{mxnet.__name__} did not take DMLC_ROLE={os.environ.get('DMLC_ROLE')}.")
